//! Reads that must not be older than what their client has seen, and what people see.
use super::super::testing::*;
use super::super::*;
use crate::model::{After, Verdict, WriteId};

fn seen(position: u64) -> After {
    let mut seen = After::new();
    seen.raise(log(2), position);
    seen
}

/// Whether the reader was told to go on, and that all is there.
fn goes(effects: &[Effect], req: u64) -> Option<bool> {
    match reply_to(effects, req)? {
        Reply::Go { fresh, .. } => Some(*fresh),
        _ => None,
    }
}

fn reads(bench: &mut Bench, req: u64, seen: After) -> Vec<Effect> {
    let deadline_ms = bench.now.mono_ms + 700;
    bench.handle(Event::AwaitSeen { req: ReqId(req), seen, deadline_ms })
}

#[test]
fn a_read_waits_for_what_its_client_has_seen_and_no_longer() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    assert_eq!(goes(&reads(&mut bench, 1, After::new()), 1), Some(true));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 2)));
    for req in 2..=3 {
        assert_eq!(reply_to(&reads(&mut bench, req, seen(req - 1)), req), None, "it is not decided here yet");
    }
    let said = bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    assert_eq!(goes(&said, 2), Some(true));
    assert_eq!(reply_to(&said, 3), None);
    assert_eq!(reply_to(&bench.wait(699), 3), None);
    assert_eq!(goes(&bench.wait(1), 3), Some(false));
    assert_eq!(goes(&reads(&mut bench, 4, seen(1)), 4), Some(true), "at once");
}

/// Each read looks for the copy in the journal; it waits for the write that it repeats, once.
#[test]
fn a_copy_that_is_named_again_and_again_waits_once() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let (first, copy) = (WriteId { log: log(3), n: 1 }, WriteId { log: log(2), n: 1 });
    let mut item = item(log(2), 1, 0);
    (item.outcome.verdict, item.outcome.repeats, item.request) = (Verdict::Duplicate, Some(first), None);
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
    for req in 1..=3 {
        let mut seen = After::new();
        seen.add_id(copy);
        assert_eq!(reply_to(&reads(&mut bench, req, seen), req), None, "it is not decided here yet");
    }
    assert_eq!(bench.core.replay.postponed.copies().filter(|(of, _)| *of == first).count(), 1);
}

#[test]
fn a_write_whose_client_has_seen_what_is_decided_here_does_not_wait() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    bench.submit(NewWrite { seen: seen(1), refuse_stale: true, ..new_write("POST", 9, 0) });
    assert!(bench.core.live[&own(1)].brought.seen.is_empty());
}

#[test]
fn the_view_counts_what_stands_where() {
    let mut bench = Bench::new(Settings { when_down: WhenDown::Queue, ..settings("a", &["a", "b", "c"]) });
    bench.submit(new_write("POST", 11, 0));
    bench.attempted(own(1), 1, broken());
    bench.submit(new_write("POST", 12, 0));
    bench.attempted(own(2), 1, answered(201));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 5)));
    bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    bench.handle(Event::Health { healthy: false });
    for n in 3..=5 {
        assert!(matches!(reply_to(&bench.submit(new_write("POST", 10 + n, 0)), n), Some(Reply::Queued { .. })), "{n}");
    }
    let site = crate::model::SiteName::new;
    let cursor = |of, at, received, decided| {
        let chain = crate::model::Chain::default();
        Cursor { log: log(of), site: site(at), received, chain, decided, want: false, again: 0 }
    };
    bench.status("c", true, vec![cursor(1, "a", 0, 0)]);
    bench.core.mirror.series.get_mut(&log(1)).expect("the own one").confirm(&site("c"), 1, 0);
    bench.status("b", false, Vec::new());
    bench.wait(70);
    let view = bench.core.view(bench.now);
    assert_eq!((view.queued, view.unknown, view.open_writes), (3, 1, 8));
    let series: Vec<_> = view.series.iter().map(|s| (s.log, s.received, s.decided)).collect();
    assert_eq!(series, [(log(1), 1, 1), (log(2), 5, 1)]);
    let peers: Vec<_> =
        view.peers.iter().map(|p| (p.site.as_str(), p.healthy, p.not_received, p.not_decided)).collect();
    // One is unknown here and three are queued: nobody else has them.
    assert_eq!(peers, [("b", false, 4 + 1, 4 + 1), ("c", true, 4 + 5, 4 + 6)], "b's own series it has");
    let ages: Vec<_> = view.peers.iter().map(|p| (p.unreceived_ms, p.lag_ms)).collect();
    assert_eq!(ages, [(70, 70), (70, 70)]);
    assert_eq!((view.lag_ms, view.stages["queued"], view.stages["shadow-sending"]), (70, 3, 4));
}

fn invented(n: u8) -> After {
    let mut seen = After::new();
    seen.raise(log(n), 7);
    seen
}

#[test]
fn what_nobody_can_know_is_waited_for_once_and_carried_on_by_no_answer() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(WriteId { log: log(2), n: 1 }, 1, answered(201));
    let mut both = invented(77);
    both.raise(log(2), 1);
    let deadline_ms = bench.now.mono_ms + 5_000;
    let asked = bench.handle(Event::AwaitSeen { req: ReqId(1), seen: both.clone(), deadline_ms });
    assert_eq!(goes(&asked, 1), None, "its site may be about to speak");
    let said = bench.wait(1_000);
    assert_eq!(reply_to(&said, 1), Some(&Reply::Go { fresh: false, seen: seen(1) }));
    let said = reads(&mut bench, 2, both);
    assert_eq!(reply_to(&said, 2), Some(&Reply::Go { fresh: false, seen: seen(1) }), "once");
    // Beyond all that the one that makes it says there is.
    let asked = reads(&mut bench, 3, seen(9));
    assert_eq!(goes(&asked, 3), None);
    assert_eq!(reply_to(&bench.wait(1_000), 3), Some(&Reply::Go { fresh: false, seen: seen(1) }));
}

#[test]
fn a_write_waits_outside_of_its_lane_for_what_nobody_can_know() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let write = |seen| NewWrite { seen, ..new_write("POST", 1, 0) };
    assert_eq!(attempts(&bench.submit(write(invented(77)))).len(), 0);
    assert_eq!(attempts(&bench.submit(write(After::new()))).len(), 1, "its lane is free");
    bench.attempted(own(2), 1, answered(201));
    assert_eq!(attempts(&bench.wait(1_000)).len(), 1, "it goes on without");
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&bench.submit(write(invented(77)))).len(), 1, "waited for once");
    bench.attempted(own(3), 1, answered(201));
    let stale = NewWrite { refuse_stale: true, ..write(invented(77)) };
    assert_eq!(problem_of(&bench.submit(stale), 4), Some(&crate::model::Problem::Stale));
    // Another site says that there is so much: then it is waited for as it always was.
    bench.submit(write(seen(1)));
    let said = bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    let theirs = WriteId { log: log(2), n: 1 };
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [theirs]);
    let said = bench.attempted(theirs, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [own(5)]);
}

#[test]
fn tokens_with_invented_logs_leave_nothing_behind() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    for n in 0..3_000_u32 {
        let mut seen = After::new();
        let [a, b, ..] = n.to_le_bytes();
        let mut store = [0xEE; 16];
        (store[0], store[1]) = (a, b);
        seen.raise(crate::model::LogId { store, incarnation: 1 }, u64::MAX);
        bench.submit(NewWrite { seen, ..new_write("POST", 1, 0) });
    }
    assert_eq!(bench.core.readers.arrivals(), 1_024);
    bench.wait(1_000);
    assert_eq!((bench.core.readers.arrivals(), bench.core.readers.in_vain()), (0, 1_024));
    bench.wait(5_000);
    assert!(bench.core.live.len() <= 1 && bench.core.clients.len() <= 1, "their time was over");
}

/// A token with a number that no store has given yet must not keep those of others from being honoured.
#[test]
fn one_that_names_too_much_takes_nothing_from_others() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    assert_eq!(goes(&reads(&mut bench, 1, seen(1 << 39)), 1), None);
    bench.wait(1_000);
    assert_eq!(goes(&reads(&mut bench, 2, seen(1)), 2), None, "its site is there, and may be about to tell");
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    let said = bench.attempted(WriteId { log: log(2), n: 1 }, 1, answered(201));
    assert_eq!(goes(&said, 2), Some(true));
    bench.handle(Event::LinkDown { peer: crate::model::SiteName::new("b") });
    assert_eq!(goes(&reads(&mut bench, 3, seen(50)), 3), None);
    bench.wait(1_000);
    assert_eq!(goes(&reads(&mut bench, 4, seen(40)), 4), Some(false), "nobody is there who could tell");
}

#[test]
fn writes_that_wait_for_what_nobody_can_know_count_as_open() {
    let mut settings = settings("a", &["a", "b"]);
    settings.limits.open_bytes = 1;
    let mut bench = Bench::new(settings);
    let write = || NewWrite { seen: invented(77), ..new_write("POST", 1, 0) };
    assert_eq!(problem_of(&bench.submit(write()), 1), None);
    assert!(matches!(problem_of(&bench.submit(write()), 2), Some(crate::model::Problem::Overloaded { .. })));
    assert_eq!(attempts(&bench.wait(1_000)).len(), 1);
    bench.attempted(own(1), 1, answered(201));
    assert_eq!((bench.core.live.bytes(), bench.core.readers.arrivals()), (0, 0));
}

/// The log is in every token that a client gets; a number is soon invented.
#[test]
fn ids_that_nobody_has_heard_of_are_waited_for_briefly_and_not_carried_on() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(WriteId { log: log(2), n: 1 }, 1, answered(201));
    let id = |n| {
        let mut seen = seen(1);
        seen.add_id(WriteId { log: log(2), n });
        seen
    };
    assert_eq!(goes(&reads(&mut bench, 1, id(1)), 1), Some(true), "it is here");
    assert_eq!(goes(&reads(&mut bench, 2, id(1 << 39)), 2), None);
    assert_eq!(reply_to(&bench.wait(1_000), 2), Some(&Reply::Go { fresh: false, seen: seen(1) }));
    // A write with it leaves its lane to others.
    assert_eq!(attempts(&bench.submit(NewWrite { seen: id(1 << 39), ..new_write("POST", 1, 0) })).len(), 0);
    assert_eq!(attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1, "its lane is free");
    bench.attempted(own(2), 1, answered(201));
    assert_eq!(attempts(&bench.wait(1_000)).len(), 1, "it goes on without");
}

/// A client may name what is here and not decided, too.
#[test]
fn what_is_known_and_not_decided_is_waited_for_outside_of_the_lane() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    let theirs = WriteId { log: log(2), n: 1 };
    let with = |refuse_stale| NewWrite { seen: seen(1), refuse_stale, ..new_write("POST", 7, 0) };
    assert_eq!(attempts(&bench.submit(with(false))).len(), 0);
    assert_eq!(attempts(&bench.submit(new_write("POST", 7, 0))).len(), 1, "nobody else waits");
    bench.attempted(own(2), 1, answered(201));
    bench.submit(with(true));
    let said = bench.wait(2_500);
    assert_eq!(problem_of(&said, 3), Some(&crate::model::Problem::Stale));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [own(1)], "in the end without");
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&bench.submit(with(false))).len(), 0);
    let said = bench.attempted(theirs, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [own(4)], "as soon as it is");
}
