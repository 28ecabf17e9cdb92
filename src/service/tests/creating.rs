//! POSTs that make something new: one of which nobody knows what became of it stops no other of its path.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here};
use crate::model::{Problem, SiteName, Verdict, WriteId};

const LANE: u64 = 7;

/// A write of the collection; a POST of it is named by its path alone.
fn write(method: &str, key: u8) -> NewWrite {
    let mut write = new_write(method, LANE, key);
    write.facts.creates = method == "POST";
    write
}

fn bench() -> Bench {
    Bench::new(settings("a", &["a", "b"]))
}

/// The first POST of the path was answered so.
fn taught(status: u16) -> Bench {
    let mut bench = bench();
    bench.submit(write("POST", 0));
    bench.attempted(own(1), 1, answered(status));
    bench
}

fn sent(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// A POST to `/stock/7/set` makes nothing: the next one waits, or the first, still at work, would come after it,
/// unmarked
/// (G3).
#[test]
fn beside_an_unknown_post_others_of_a_path_that_answers_201_go_on() {
    // answered before | others go on
    for (status, goes_on) in [(201, true), (200, false), (204, false), (303, false), (404, false)] {
        let mut bench = taught(status);
        bench.submit(write("POST", 0));
        bench.submit(write("POST", 0));
        let next = bench.attempted(own(2), 1, broken());
        assert_eq!(sent(&next), if goes_on { vec![own(3)] } else { vec![] }, "{status}");
        let is_marked = next.contains(&Effect::Note(Note::StoodAside { id: own(2) }));
        assert_eq!(is_marked, goes_on, "{status}: what may overlap is said");
    }
}

#[test]
fn a_service_may_say_that_its_posts_make_something_new() {
    let mut bench = Bench::new(Settings { creates: true, ..settings("a", &["a", "b"]) });
    bench.submit(write("POST", 0));
    bench.attempted(own(1), 1, broken());
    assert_eq!(sent(&bench.submit(write("POST", 0))), [own(2)]);
}

#[test]
fn what_changes_the_collection_waits_and_holds_up_no_post() {
    let mut bench = taught(201);
    bench.submit(write("POST", 0));
    bench.attempted(own(2), 1, broken());
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(sent(&bench.submit(write(method, 0))), [], "{method}");
    }
    let post = WriteId { n: 6, ..own(1) };
    assert_eq!(sent(&bench.submit(write("POST", 0))), [post]);
    bench.attempted(post, 1, answered(201));
    // Its time is over: what waited goes on.
    let passed = bench.wait(bench.core.settings.give_up_ms());
    assert!(bench.row(own(2)).and_then(|row| row.outcome).is_some_and(|o| o.verdict == Verdict::Undecided));
    assert_eq!(sent(&passed), [], "the client of each has gone by then");
    assert_eq!(sent(&bench.submit(write("DELETE", 0))).len(), 1);
}

/// Standing aside is not passing: what the probe says still counts.
#[test]
fn it_is_asked_for_and_sent_again_as_if_its_lane_waited() {
    let mut bench = Bench::new(Settings { has_probe: true, creates: true, ..settings("a", &["a", "b"]) });
    bench.submit(write("POST", 0));
    bench.attempted(own(1), 1, broken());
    assert_eq!(sent(&bench.submit(write("POST", 0))), [own(2)]);
    let fence_ms = bench.core.settings.longest_request_ms;
    // What was asked for before the fence has ended proves nothing.
    bench.wait(fence_ms);
    bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::NotFound });
    bench.wait(1_000);
    let again = bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::NotFound });
    assert_eq!(sent(&again), [own(1)]);
    // The other one's place is not taken by it, and not freed.
    assert_eq!(sent(&bench.submit(write("POST", 0))), [], "one beside it is at the service");
    assert_eq!(sent(&bench.attempted(own(1), 2, answered(201))), []);
    assert_eq!(sent(&bench.attempted(own(2), 1, answered(201))), [own(3)]);
    let order: Vec<_> = [1, 2].map(|n| bench.row(own(n)).and_then(|row| row.position).map(|(p, _)| p)).into();
    assert_eq!(order, [Some(1), Some(2)], "positions come with settling");
}

#[test]
fn where_it_was_wished_others_go_on_too_and_so_does_its_origin() {
    let mut decider = bench();
    let wish = |n: u64| {
        let NewWrite { facts, request, .. } = write("POST", 0);
        let id = WriteId { log: log(2), n };
        (id, wish_to_decide(id, facts, request))
    };
    let ((first, first_wish), (second, second_wish)) = (wish(1), wish(2));
    decider.hear("b", first_wish);
    assert_eq!(sent(&decider.hear("b", second_wish)), []);
    assert_eq!(sent(&decider.attempted(first, 1, broken())), [second]);

    let order = vec![SiteName::new("b"), SiteName::new("a")];
    let mut origin = Bench::new(Settings { creates: true, order, ..settings("a", &["a", "b"]) });
    origin.handle(Event::LinkUp { peer: SiteName::new("b") });
    origin.status("b", true, Vec::new());
    let wishes = |effects: &[Effect]| messages(effects).iter().filter(|(_, m)| matches!(m, Message::Wish(_))).count();
    assert_eq!(wishes(&origin.submit(write("POST", 0))), 1);
    assert_eq!(wishes(&origin.submit(write("POST", 0))), 0);
    let said = origin.hear("b", Message::Word { id: own(1), attempt: 1, word: WishWord::Unknown });
    assert_eq!(wishes(&said), 1);
}

#[test]
fn a_restart_remembers_by_the_unknown_write_itself() {
    let mut bench = taught(201);
    bench.submit(write("POST", 0));
    bench.restart();
    assert!(matches!(bench.row(own(2)).map(|row| row.here), Some(Here::Sending { .. })));
    assert_eq!(sent(&bench.submit(write("POST", 0))), [own(3)]);
    assert!(!matches!(bench.row(own(2)).map(|row| row.here), Some(Here::Decided(Fate::Void))));
}

#[test]
fn lane_busy_tells_when_the_lane_goes_on_and_no_address_of_what_is_not_kept() {
    let mut bench = bench();
    bench.submit(new_write("POST", LANE, 0));
    bench.attempted(own(1), 1, broken());
    bench.submit(new_write("PUT", LANE, 0));
    let said = bench.wait(bench.core.settings.total_ms);
    let left_s = (bench.core.settings.give_up_ms() - bench.core.settings.total_ms).div_ceil(1_000) as u32;
    let problem = Problem::LaneBusy { retry_after_s: left_s };
    assert_eq!(reply_to(&said, 2), Some(&Reply::Problem { id: None, problem }));
}

#[test]
fn a_copy_whose_client_has_gone_leaves_its_place_and_its_write_goes_on() {
    let mut bench = Bench::new({
        let mut settings = settings("a", &["a", "b"]);
        settings.limits.waiters_per_key = 1;
        settings
    });
    bench.submit(new_write("POST", LANE, 5));
    assert_eq!(problem_of(&bench.submit(new_write("POST", LANE, 5)), 2), None, "one copy may wait beside the first");
    assert!(matches!(problem_of(&bench.submit(new_write("POST", LANE, 5)), 3), Some(Problem::KeyInFlight { .. })));
    bench.handle(Event::Left { req: ReqId(2) });
    assert_eq!(problem_of(&bench.submit(new_write("POST", LANE, 5)), 4), None, "it has its place");
    bench.handle(Event::Left { req: ReqId(1) });
    let said = bench.attempted(own(1), 1, answered(201));
    assert!(matches!(reply_to(&said, 4), Some(Reply::Answer { replayed: true, .. })));
}

#[test]
fn who_asks_again_for_an_unknown_write_gets_its_address() {
    let mut bench = bench();
    bench.submit(new_write("POST", LANE, 5));
    let first = bench.attempted(own(1), 1, broken());
    let again = bench.submit(new_write("POST", LANE, 5));
    for (effects, req) in [(&first, 1), (&again, 2)] {
        let problem = Problem::OutcomeUnknown;
        assert_eq!(reply_to(effects, req), Some(&Reply::Problem { id: Some(own(1)), problem }), "{req}");
    }
}

#[test]
fn one_key_for_two_requests_and_a_copy_answered_differently_are_reported() {
    // the digest of the other's | its status | what is counted
    for (digest, status, keys, answers) in [(9, 201, 1, 0), (0, 200, 0, 1), (0, 201, 0, 0)] {
        let mut bench = bench();
        bench.submit(new_write("POST", LANE, 5));
        bench.attempted(own(1), 1, answered(201));
        let mut item = item(log(2), 1, 0);
        item.facts.key = new_write("POST", LANE, 5).facts.key;
        item.facts.digest.0[0] = digest;
        item.outcome.status = status;
        bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
        let conflicts = bench.core.view(bench.now).conflicts;
        assert_eq!(conflicts, Conflicts { keys, answers }, "{digest} {status}");
    }
}

/// A crash is when it is needed: what it left unknown must not stop the path.
#[test]
fn what_a_path_answers_is_known_again_after_a_restart() {
    let mut bench = taught(201);
    bench.submit(write("POST", 0));
    bench.attempted(own(2), 1, answered(201));
    bench.restart();
    bench.submit(write("POST", 0));
    assert_eq!(sent(&bench.attempted(own(3), 1, broken())), []);
    assert_eq!(sent(&bench.submit(write("POST", 0))), [own(4)], "beside it");
}
