//! Writes that another site is asked to decide: what its words mean, and what a wish comes after.
use super::super::testing::*;
use super::super::*;
use crate::journal::QuarantineReason;
use crate::model::{After, Item, Lane, LogId, Outcome, Problem, SiteName, Verdict, WriteId};

/// The other site decides.
fn bench() -> Bench {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = vec![SiteName::new("b"), SiteName::new("a")];
    Bench::new(settings)
}

fn wishes(effects: &[Effect]) -> Vec<(&str, u32)> {
    let wishes = messages(effects).into_iter().filter_map(|(to, message)| match message {
        Message::Wish(wish) => Some((to, wish.attempt)),
        _ => None,
    });
    wishes.collect()
}

fn revokes(effects: &[Effect]) -> usize {
    messages(effects).iter().filter(|(_, message)| matches!(message, Message::Revoke { .. })).count()
}

fn word(bench: &mut Bench, word: WishWord) -> Vec<Effect> {
    bench.hear("b", Message::Word { id: own(1), attempt: 1, word })
}

fn done(after: After) -> WishWord {
    let outcome = Outcome { answer: Some(answer(201)), after, ..item(log(1), 1, 0).outcome };
    WishWord::Done { outcome, pages: Vec::new() }
}

fn is_answered(effects: &[Effect]) -> bool {
    matches!(reply_to(effects, 1), Some(Reply::Answer { served_by, replayed: false, .. }) if served_by.as_str() == "b")
}

#[test]
fn a_site_that_does_not_know_is_asked_by_nobody_else() {
    let mut bench = bench();
    assert_eq!(wishes(&bench.submit(new_write("POST", 1, 0))), [("b", 1)]);
    bench.wait(500);
    let said = word(&mut bench, WishWord::Unknown);
    assert_eq!(problem_of(&said, 1), Some(&Problem::OutcomeUnknown));
    bench.wait(5_000);
    word(&mut bench, WishWord::Unknown);
    let said = bench.wait(9_999);
    assert_eq!((revokes(&said), attempts(&said).len()), (0, 0));
    assert!(bench.quarantined().is_empty());
    bench.wait(1);
    assert!(bench.quarantined().contains_key(&own(1)), "its lane waits no longer than for its own unknown writes");
}

#[test]
fn what_a_site_that_does_not_know_finds_out_counts() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    word(&mut bench, WishWord::Unknown);
    let said = word(&mut bench, done(After::new()));
    assert!(said.contains(&Effect::Note(Note::Settled { verdict: Verdict::Applied })));
    assert!(bench.row(own(1)).is_some_and(|row| row.position.is_some_and(|(position, _)| position == 1)));
}

#[test]
fn an_outcome_is_settled_when_all_it_comes_after_is_stored() {
    let other = WriteId { log: log(3), n: 1 };
    let (mut by_position, mut by_id) = (After::new(), After::new());
    by_position.raise(log(3), 1);
    by_id.add_id(other);
    for after in [by_position, by_id] {
        let mut bench = bench();
        bench.submit(new_write("POST", 1, 0));
        assert!(!is_answered(&word(&mut bench, done(after.clone()))), "{after:?}");
        let said = bench.hear("c", Message::Page(page(log(3), "c", 1, 1)));
        assert!(is_answered(&said), "{after:?}");
    }
}

#[test]
fn an_outcome_that_names_an_own_write_is_settled_at_once() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    let mut after = After::new();
    after.add_id(own(77));
    let said = word(&mut bench, done(after));
    assert!(is_answered(&said), "it was settled here, or cancelled");
}

#[test]
fn who_was_given_up_on_is_reminded_now_and_then() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(revokes(&bench.wait(800)), 1);
    let mut said = Vec::new();
    for _ in 0..30 {
        bench.wait(100);
        said.push(revokes(&bench.status("b", true, Vec::new())));
    }
    assert_eq!(said.iter().sum::<usize>(), 2, "in three seconds: {said:?}");
}

#[test]
fn a_wish_is_said_again_over_a_new_connection_and_one_given_up_is_revoked() {
    for given_up in [false, true] {
        let mut bench = bench();
        bench.submit(new_write("POST", 1, 0));
        bench.wait(if given_up { 800 } else { 100 });
        bench.handle(Event::LinkDown { peer: SiteName::new("b") });
        let said = bench.handle(Event::LinkUp { peer: SiteName::new("b") });
        assert_eq!((wishes(&said).len(), revokes(&said)), if given_up { (0, 1) } else { (1, 0) });
    }
}

#[test]
fn who_cannot_take_it_is_not_asked_again_and_the_next_decides() {
    for no in [WishWord::NotHere, WishWord::Void] {
        let mut bench = bench();
        bench.submit(new_write("POST", 1, 0));
        let said = word(&mut bench, no);
        assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(1)]);
        assert_eq!(wishes(&said), []);
    }
}

/// An item that names others by id.
fn naming(log: LogId, position: u64, ids: &[WriteId]) -> Item {
    let mut item = item(log, position, 0);
    item.facts.lane = Lane(100 * u64::from(log.store[0]) + position);
    ids.iter().for_each(|&id| item.outcome.after.add_id(id));
    item
}

/// It is stored here as undecided, and nobody was told of a decision yet.
#[test]
fn what_names_an_undecided_write_waits_for_its_decision() {
    let mut bench = bench();
    let id = |log, n| WriteId { log, n };
    let old = id(log(2), 1);
    let mut undecided = naming(log(2), 1, &[]);
    undecided.outcome.verdict = Verdict::Undecided;
    undecided.request = None;
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![undecided.clone()])));
    let said = bench.hear("c", Message::Page(page_of(log(3), "c", vec![naming(log(3), 1, &[old])])));
    assert_eq!(attempts(&said).len(), 0);
    let mut decision = Item { decides: Some((old, 1)), ..naming(log(2), 2, &[]) };
    decision.id = id(log(2), 1 | 1 << 40);
    let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![undecided, decision.clone()])));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [decision.id]);
    let said = bench.attempted(decision.id, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [id(log(3), 1)]);
}

/// It was given up there, and nobody else could take it.
#[test]
fn what_nobody_could_take_is_decided_when_somebody_can() {
    let mut bench = bench();
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(revokes(&bench.wait(800)), 1);
    bench.status("b", false, Vec::new());
    let said = bench.handle(Event::Health { healthy: true });
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(1)]);
}

#[test]
fn a_wish_given_up_that_nobody_tells_of_is_passed_when_its_time_is_up() {
    let mut bench = bench();
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    bench.wait(800 + 14_999);
    assert!(bench.quarantined().is_empty());
    bench.wait(1);
    assert!(bench.quarantined().contains_key(&own(1)));
}

/// A new try of a wish that waits here.
#[test]
fn the_latest_try_of_a_wish_counts() {
    let mut bench = bench();
    let id = WriteId { log: log(2), n: 1 };
    let wish = |attempt| {
        let NewWrite { facts, request, .. } = new_write("POST", 1, 0);
        let mut must = After::new();
        must.raise(log(3), 1);
        Message::Wish(Box::new(Wish { id, attempt, after_ms: 800, facts, must, request, pages: Vec::new() }))
    };
    let words = |effects: &[Effect]| -> Vec<(u32, WishWord)> {
        let word = |m: &Message| {
            if let Message::Word { attempt, word, .. } = m { Some((*attempt, word.clone())) } else { None }
        };
        messages(effects).iter().filter_map(|(_, m)| word(m)).collect()
    };
    assert_eq!(words(&bench.hear("b", wish(2))), []);
    assert_eq!(words(&bench.hear("b", wish(2))), [(2, WishWord::Stored)]);
    assert_eq!(words(&bench.hear("b", wish(1))), [], "an old one");
    assert_eq!(words(&bench.hear("c", wish(4))), [], "not its origin");
    assert_eq!(words(&bench.hear("b", wish(3))), [(3, WishWord::Stored)]);
    assert_eq!(words(&bench.hear("b", Message::Revoke { id, attempt: 2 })), [], "the third is not revoked");
    assert_eq!(words(&bench.hear("b", Message::Revoke { id, attempt: 3 })), [(3, WishWord::Void)]);
    assert_eq!(words(&bench.hear("b", wish(3))), [(3, WishWord::Void)], "for good");
    bench.hear("b", wish(4));
    assert_eq!(words(&bench.hear("b", wish(4))), [(4, WishWord::Stored)], "a new try is a new wish");
}

/// In order of acceptance, each when the one before is settled.
#[test]
fn what_was_queued_goes_when_somebody_can_decide() {
    let mut settings = settings("a", &["a", "b"]);
    settings.when_down = WhenDown::Queue;
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    for n in 1..=3 {
        assert_eq!(reply_to(&bench.submit(new_write("POST", n, 0)), n), Some(&Reply::Queued { id: own(n) }));
    }
    let mut said = bench.handle(Event::Health { healthy: true });
    for n in 1..=3 {
        assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(n)]);
        said = if n == 2 { bench.submit(new_write("POST", 2, 0)) } else { Vec::new() };
        assert_eq!(reply_to(&said, 4).is_some(), n == 2, "who comes later waits for those before");
        said = bench.attempted(own(n), 1, answered(201));
    }
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(4)]);
}

/// Sent again when the service says that it did not execute it: its client has a receipt.
#[test]
fn a_queued_write_that_was_not_executed_stays_first() {
    let mut settings = settings("a", &["a", "b"]);
    settings.when_down = WhenDown::Queue;
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("POST", 2, 0));
    bench.handle(Event::Health { healthy: true });
    let said = bench.attempted(own(1), 1, answered(429));
    assert_eq!(attempts(&said).len(), 0);
    let said = bench.wait(1_000);
    assert_eq!(attempts(&said).iter().map(|a| (a.id, a.attempt)).collect::<Vec<_>>(), [(own(1), 2)]);
    bench.attempted(own(1), 2, answered(401));
    assert!(bench.row(own(1)).is_some_and(|row| row.position.is_some()), "who asks may not: to ask again is in vain");
}

fn numbered(effects: &[Effect]) -> Vec<(WriteId, u32)> {
    attempts(effects).iter().map(|attempt| (attempt.id, attempt.attempt)).collect()
}

/// One client's write that the service does not take, whatever the reason, must not hold up all that are queued after
/// it.
#[test]
fn a_queued_write_that_is_never_executed_is_set_aside_and_others_go_on() {
    for status in [408, 409, 425, 429] {
        let mut settings = settings("a", &["a", "b"]);
        (settings.when_down, settings.unexecuted) = (WhenDown::Queue, vec![409]);
        let mut bench = Bench::new(settings);
        bench.handle(Event::Health { healthy: false });
        bench.submit(new_write("POST", 1, 0));
        bench.submit(new_write("POST", 2, 0));
        let mut sent = numbered(&bench.handle(Event::Health { healthy: true }));
        let (began_ms, mut offers) = (bench.now.mono_ms, 0);
        while sent.iter().all(|(id, _)| *id == own(1)) {
            for (_, attempt) in sent {
                offers += 1;
                let said = bench.attempted(own(1), attempt, answered(status));
                assert!(offers > 1 || attempts(&said).is_empty(), "not at once");
                let waits = bench.core.view(bench.now).waits;
                let says = |wait: &WaitView| wait.write == own(1) && wait.on.contains(&status.to_string());
                assert!(offers == 10 || waits.iter().any(says), "{waits:?}");
                if offers == 10 {
                    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(2)]);
                    bench.attempted(own(2), 1, answered(201));
                }
            }
            if offers == 10 {
                break;
            }
            sent = numbered(&bench.wait(100));
            assert!(bench.now.mono_ms - began_ms < 60_000, "{status}: offered {offers} times");
        }
        assert_eq!(bench.quarantined()[&own(1)].reason, QuarantineReason::SetAside, "{status}");
        assert!(bench.row(own(2)).is_some_and(|row| row.position.is_some()));
        // When the service is well again a person sends it.
        let said = bench.handle(Event::Operator { req: ReqId(99), id: Some(own(1)), operation: Operation::Resend });
        assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(1)], "{status}");
    }
}

/// Of which no request can be made: those behind it are not held up by it, here or elsewhere.
#[test]
fn a_queued_write_that_can_never_be_sent_is_settled_and_the_next_one_goes() {
    let mut settings = settings("a", &["a", "b"]);
    settings.when_down = WhenDown::Queue;
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("POST", 2, 0));
    bench.handle(Event::Health { healthy: true });
    let said = bench.attempted(own(1), 1, AttemptResult::Refused(answer(400)));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(2)]);
    let row = bench.row(own(1)).expect("its client may ask");
    assert!(row.position.is_some());
    assert_eq!(row.outcome.map(|outcome| outcome.status), Some(400));
    bench.wait(60_000);
    let tried = bench.attempted(own(2), 1, answered(201));
    assert_eq!(attempts(&tried).len(), 0, "never again");
}

/// Seed 93158, where it stood at the head of the queue for ever: the service was busy, and the site that had been given
/// up on was too far behind to be asked again.
#[test]
fn a_queued_write_that_another_site_was_asked_for_goes_when_somebody_can_decide() {
    for restarts in [false, true] {
        let mut settings = settings("a", &["a", "b", "c"]);
        settings.order = ["a", "b"].map(SiteName::new).to_vec();
        settings.when_down = WhenDown::Queue;
        settings.limits.page_items = 1;
        let mut bench = Bench::new(settings);
        bench.handle(Event::Health { healthy: false });
        bench.status("b", false, Vec::new());
        assert_eq!(reply_to(&bench.submit(new_write("POST", 9, 0)), 1), Some(&Reply::Queued { id: own(1) }));
        assert_eq!(wishes(&bench.status("b", true, Vec::new())), [("b", 1)]);
        assert_eq!(revokes(&bench.wait(800)), 1);
        assert_eq!(attempts(&bench.handle(Event::Health { healthy: true })).len(), 1);
        // Later writes of a third site are here now, and not there.
        bench.hear("c", Message::Page(page(log(3), "c", 1, 3)));
        (1..=3).for_each(|n| drop(bench.attempted(WriteId { log: log(3), n }, 1, answered(201))));
        bench.attempted(own(1), 1, answered(429));
        let said = bench.handle(Event::Health { healthy: false });
        assert_eq!(wishes(&said), [], "it is more than a page behind");
        bench.wait(1_000);
        if restarts {
            let said = bench.restart();
            assert_eq!(
                (attempts(&said).len(), revokes(&bench.handle(link_up("b")))),
                (0, 1),
                "it may be decided there"
            );
            let said = word(&mut bench, WishWord::Void);
            assert_eq!(attempts(&said).len(), 1, "nobody has it");
        } else {
            word(&mut bench, WishWord::Void);
            let mut said = bench.handle(Event::Health { healthy: true });
            said.extend(bench.wait(1_000));
            assert_eq!(attempts(&said).iter().map(|a| (a.id, a.attempt)).collect::<Vec<_>>(), [(own(1), 2)]);
        }
    }
}

/// It came to this replica's turn late, and never got there; the site that was given up on is away.
#[test]
fn a_lane_waits_no_longer_for_a_write_that_nobody_could_take() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(attempts(&bench.wait(800)).len(), 1);
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    bench.wait(20_000);
    bench.attempted(own(1), 1, never_sent());
    bench.wait(14_000);
    bench.submit(new_write("POST", 1, 0));
    assert!(bench.quarantined().is_empty());
    let said = bench.wait(2_000);
    assert!(bench.quarantined().contains_key(&own(1)), "who was given up on may have applied it");
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(2)]);
}

/// What it must come after here does not come: its client has seen it at the site that is away, or an own one that was
/// answered is not applied here.
#[test]
fn a_lane_waits_no_longer_for_a_write_that_waits_for_another_site() {
    for answered_before in [false, true] {
        let mut bench = bench();
        bench.says_it_has("b", log(2), 100);
        let mut write = new_write("POST", 7, 0);
        let id = if answered_before {
            bench.submit(new_write("POST", 6, 0));
            assert_eq!(attempts(&word(&mut bench, done(After::new()))).len(), 1, "it does not end");
            own(2)
        } else {
            write.seen.raise(log(2), 100);
            own(1)
        };
        assert_eq!(wishes(&bench.submit(write)), [("b", 1)]);
        bench.handle(Event::LinkDown { peer: SiteName::new("b") });
        let said = bench.wait(6_000);
        assert_eq!((revokes(&said), attempts(&said).len()), (1, usize::from(!answered_before)), "{answered_before}");
        bench.wait(20_000);
        assert_eq!(bench.quarantined().contains_key(&id), answered_before);
        assert_eq!(bench.core.replay.lanes.is_held(Lane(7)), !answered_before);
    }
}

/// The word has come, and what the outcome comes after is of a site that is away.
#[test]
fn a_lane_waits_no_longer_for_what_an_outcome_comes_after() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    bench.wait(800);
    bench.attempted(own(1), 1, never_sent());
    let mut after = After::new();
    after.add_id(WriteId { log: log(3), n: 1 });
    assert!(!is_answered(&word(&mut bench, done(after.clone()))));
    bench.wait(20_000);
    assert!(bench.quarantined().contains_key(&own(1)));
    // The other site comes back, and the word is repeated.
    bench.hear("c", Message::Page(page(log(3), "c", 1, 1)));
    bench.attempted(WriteId { log: log(3), n: 1 }, 1, answered(201));
    let said = word(&mut bench, done(after));
    assert_eq!(attempts(&said).len(), 1, "a decision of its own");
    assert!(bench.quarantined().is_empty());
}

/// As after an answer that says so.
#[test]
fn a_queued_write_that_never_got_to_the_service_is_queued_again() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = ["a", "b"].map(SiteName::new).to_vec();
    settings.when_down = WhenDown::Queue;
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.status("b", false, Vec::new());
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(wishes(&bench.status("b", true, Vec::new())), [("b", 1)]);
    bench.wait(800);
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    assert_eq!(attempts(&bench.handle(Event::Health { healthy: true })).len(), 1);
    for attempt in 1..4 {
        bench.attempted(own(1), attempt, never_sent());
        let said = bench.wait(20_000);
        assert_eq!(attempts(&said).iter().map(|a| a.attempt).collect::<Vec<_>>(), [attempt + 1]);
    }
    assert!(bench.quarantined().is_empty());
}

fn link_up(peer: &str) -> Event {
    Event::LinkUp { peer: SiteName::new(peer) }
}

/// Final before a restart, so that memory does not know it.
#[test]
fn an_outcome_that_names_what_only_the_journal_knows_is_settled() {
    let mut bench = bench();
    let other = WriteId { log: log(3), n: 1 };
    bench.hear("c", Message::Page(page(log(3), "c", 1, 1)));
    bench.attempted(other, 1, answered(201));
    bench.restart();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let (site, chain) = (SiteName::new("c"), Default::default());
    bench.status("b", true, vec![Cursor { log: log(3), site, received: 1, chain, decided: 1, want: false, again: 0 }]);
    assert_eq!(wishes(&bench.submit(new_write("POST", 1, 0))), [("b", 1)]);
    let mut after = After::new();
    after.add_id(other);
    assert!(is_answered(&word(&mut bench, done(after))));
}

/// To decide it here all the same would put it after what comes after it.
#[test]
fn what_another_sites_write_names_as_decided_is_not_decided_here() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![naming(log(2), 1, &[own(1)])])));
    assert_eq!(attempts(&said).len(), 0, "it comes after the wish");
    let said = bench.wait(800);
    assert_eq!((revokes(&said), attempts(&said).len()), (1, 0));
    let said = word(&mut bench, done(After::new()));
    assert!(is_answered(&said));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [own(1)], "this replica follows");
    let said = bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [WriteId { log: log(2), n: 1 }]);
}

#[test]
fn who_is_given_up_on_may_decide_all_the_same_until_it_says_that_it_does_not() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    let said = bench.wait(800);
    assert_eq!(attempts(&said).len(), 1, "the next in order");
    let said = bench.attempted(own(1), 1, never_sent());
    assert_eq!(reply_to(&said, 1), None, "the word may come yet");
    assert_eq!(bench.row(own(1)).expect("it is owed").owed.get(&SiteName::new("b")), Some(1));
    assert!(is_answered(&word(&mut bench, done(After::new()))));
    let row = bench.row(own(1)).expect("it is settled");
    assert!(row.position.is_some() && row.owed.is_empty(), "the late word counts: this replica never got it");
}

#[test]
fn what_names_an_own_undecided_write_waits_for_its_decision() {
    let mut bench = bench();
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    bench.wait(20_000);
    bench.handle(Event::Health { healthy: true });
    let said = bench.hear("c", Message::Page(page_of(log(3), "c", vec![naming(log(3), 1, &[own(1)])])));
    assert_eq!(attempts(&said).len(), 0);
    let said = word(&mut bench, done(After::new()));
    let decision = WriteId { n: 1 | 1 << 40, ..own(1) };
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [decision]);
    let said = bench.attempted(decision, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [WriteId { log: log(3), n: 1 }]);
}

/// A third has it by then.
#[test]
fn what_was_given_up_there_and_is_void_changes_nothing_elsewhere() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = ["b", "c", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    assert_eq!(wishes(&bench.submit(new_write("POST", 1, 0))), [("b", 1)]);
    assert_eq!(wishes(&bench.wait(800)), [("c", 2)]);
    for _ in 0..2 {
        let said = word(&mut bench, WishWord::Void);
        assert_eq!((wishes(&said).len(), attempts(&said).len()), (0, 0));
    }
}

/// Stored beyond the follower's window, when it was not awaited yet.
#[test]
fn what_is_awaited_is_taken_up_beyond_the_window() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.limits.window_items = 1;
    let mut bench = Bench::new(settings);
    let third = WriteId { log: log(3), n: 3 };
    assert_eq!(attempts(&bench.hear("c", Message::Page(page(log(3), "c", 1, 3)))).len(), 1);
    let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![naming(log(2), 1, &[third])])));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [third]);
    let said = bench.attempted(third, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [WriteId { log: log(2), n: 1 }]);
}

/// It waits for its place here, after it was given up elsewhere.
#[test]
fn what_is_named_as_decided_while_it_waits_here_is_not_sent() {
    let mut bench = bench();
    let mut before = naming(log(3), 1, &[]);
    before.facts.lane = Lane(1);
    assert_eq!(attempts(&bench.hear("c", Message::Page(page_of(log(3), "c", vec![before.clone()])))).len(), 1);
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(attempts(&bench.wait(800)).len(), 0, "its lane's place is taken");
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![naming(log(2), 1, &[own(1)])])));
    assert_eq!(attempts(&bench.attempted(before.id, 1, answered(201))).len(), 0);
}

/// Two sites have each decided what the other one took, and no word came through: a third could follow neither.
#[test]
fn what_may_stand_before_a_wish_that_was_decided_here_since_is_not_sent() {
    let wished = WriteId { log: log(2), n: 7 };
    let decide_wish = |bench: &mut Bench| {
        let NewWrite { facts, request, .. } = new_write("POST", 2, 0);
        let wish =
            Wish { id: wished, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
        assert_eq!(attempts(&bench.hear("b", Message::Wish(Box::new(wish)))).len(), 1);
        bench.attempted(wished, 1, answered(201));
    };
    for (before, positioned) in [(true, false), (false, false), (false, true)] {
        let mut bench = bench();
        if before {
            decide_wish(&mut bench);
        }
        assert_eq!(wishes(&bench.submit(new_write("POST", 1, 0))), [("b", 1)]);
        if !before {
            decide_wish(&mut bench);
        }
        if positioned {
            let mut item = naming(log(2), 1, &[own(1)]);
            item.id = wished;
            item.facts = new_write("POST", 2, 0).facts;
            bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
        }
        assert_eq!(attempts(&bench.wait(800)).len(), usize::from(before), "before {before}, positioned {positioned}");
        if !before {
            assert!(is_answered(&word(&mut bench, done(After::new()))));
        }
    }
}

/// What was stored before the restart may name it.
#[test]
fn after_a_restart_a_queued_wish_waits_for_the_words_of_all_who_were_asked() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = ["b", "c", "a"].map(SiteName::new).to_vec();
    settings.when_down = WhenDown::Queue;
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.status("b", false, Vec::new());
    bench.status("c", false, Vec::new());
    bench.submit(new_write("POST", 1, 0));
    bench.status("b", true, Vec::new());
    bench.status("c", true, Vec::new());
    assert_eq!(bench.core.live[&own(1)].placing.wish_attempts, 1);
    assert_eq!(wishes(&bench.wait(800)), [("c", 2)]);
    bench.restart();
    let void = |site, attempt| (site, Message::Word { id: own(1), attempt, word: WishWord::Void });
    for ((site, message), sent) in [(void("c", 2), 0), (void("b", 1), 1)] {
        bench.handle(Event::LinkUp { peer: SiteName::new(site) });
        assert_eq!(attempts(&bench.hear(site, message)).len(), sent, "{site}");
    }
}

/// Another site was asked after this one, and decided it; what comes after it there comes after it here (G3).
#[test]
fn what_was_void_here_is_not_decided_before_it_comes_with_its_position() {
    for restarts in [false, true] {
        let mut bench = bench();
        let NewWrite { facts, request, .. } = new_write("POST", 2, 0);
        let wish =
            Wish { id: id_of_b(7), attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
        bench.handle(Event::Health { healthy: false });
        bench.hear("b", Message::Wish(Box::new(wish)));
        bench.hear("b", Message::Revoke { id: id_of_b(7), attempt: 1 });
        assert_eq!(
            bench.row(id_of_b(7)).map(|row| row.here),
            Some(crate::journal::Here::Decided(crate::journal::Fate::Void))
        );
        if restarts {
            bench.restart();
            for peer in ["b", "c"] {
                bench.handle(Event::LinkUp { peer: SiteName::new(peer) });
            }
        }
        bench.handle(Event::Health { healthy: true });
        let after = bench.hear("c", Message::Page(page_of(log(3), "c", vec![naming(log(3), 1, &[id_of_b(7)])])));
        assert_eq!(attempts(&after).len(), 0, "restarts {restarts}");
        let mut item = naming(log(2), 1, &[]);
        (item.id, item.facts) = (id_of_b(7), new_write("POST", 2, 0).facts);
        let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
        assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [id_of_b(7)]);
        let said = bench.attempted(id_of_b(7), 1, answered(201));
        assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [WriteId { log: log(3), n: 1 }]);
    }
}

fn id_of_b(n: u64) -> WriteId {
    WriteId { log: log(2), n }
}
