//! Records of the journal that are broken: fetched again from a site that has them, and neither done twice nor passed.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{LogId, SiteName, WriteId};

const B: fn(u64) -> WriteId = |n| WriteId { log: log(2), n };

/// Three sites; this one has stored the first three positions of `b`, and applied none: its service is down.
fn stored() -> Bench {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.handle(Event::Health { healthy: false });
    bench.hear("b", Message::Page(page(log(2), "b", 1, 3)));
    bench
}

/// It begins again with these records broken, and all have told how far they are.
fn begin_again(bench: &mut Bench, log: LogId, broken: &[u64]) -> Vec<Effect> {
    broken.iter().for_each(|&position| bench.break_at(log, position));
    let asked = bench.restart();
    let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
    let mut said: Vec<Effect> = answers.into_iter().flat_map(|answer| bench.handle(answer)).collect();
    said.extend(asked);
    for peer in ["b", "c"] {
        said.extend(bench.handle(Event::LinkUp { peer: SiteName::new(peer) }));
        let (received, decided, chain) = (3, 3, page(log, "b", 1, 3).items[2].chain);
        let cursor = Cursor { log, site: site_of(log), received, chain, decided, want: false, again: 0 };
        said.extend(bench.status(peer, true, vec![cursor]));
    }
    said
}

fn site_of(log: LogId) -> SiteName {
    SiteName::new(if log == super::super::testing::log(1) { "a" } else { "b" })
}

fn asked_again(effects: &[Effect]) -> Vec<(&str, u64)> {
    let mut asked = Vec::new();
    for (to, message) in messages(effects) {
        if let Message::Status(status) = message {
            asked.extend(status.cursors.iter().filter(|cursor| cursor.again > 0).map(|cursor| (to, cursor.again)));
        }
    }
    asked
}

fn applied(bench: &mut Bench, effects: &[Effect]) -> Vec<u64> {
    let mut numbers: Vec<u64> = attempts(effects).iter().map(|attempt| attempt.id.n).collect();
    for n in numbers.clone() {
        let said = bench.attempted(B(n), 1, answered(201));
        numbers.extend(applied(bench, &said));
    }
    numbers
}

fn again(first: u64, last: u64) -> Message {
    Message::Again(page(log(2), "b", first, last))
}

#[test]
fn what_was_only_received_is_fetched_again_and_applied_once() {
    let mut bench = stored();
    let mut said = begin_again(&mut bench, log(2), &[2]);
    said.extend(bench.wait(1_000));
    assert!(said.contains(&Effect::Note(Note::Broken { log: log(2), position: 2 })));
    assert_eq!(asked_again(&said), [("b", 2), ("c", 2)], "all who have it");
    assert_eq!(applied(&mut bench, &said), [1], "what stands behind it waits");
    assert_eq!(bench.core.view(bench.now).series.iter().find(|s| s.log == log(2)).and_then(|s| s.broken), Some(2));
    let said = bench.hear("c", again(2, 3));
    assert!(said.contains(&Effect::Note(Note::Mended { id: B(2) })));
    assert_eq!(applied(&mut bench, &said), [2, 3]);
    assert!(attempts(&bench.hear("b", again(2, 3))).is_empty(), "the other one's");
}

#[test]
fn who_has_lost_neighbours_asks_for_one_after_the_other_and_again_when_nobody_answers() {
    let mut bench = stored();
    let mut said = begin_again(&mut bench, log(2), &[1, 2, 3]);
    said.extend(bench.wait(2_600));
    assert_eq!(asked_again(&said), [("b", 1), ("c", 1), ("b", 1), ("c", 1)]);
    assert!(attempts(&said).is_empty());
    for position in 1..=3 {
        let mut said = bench.hear("b", again(position, 3));
        assert_eq!(applied(&mut bench, &said), [position]);
        said.extend(bench.wait(20));
        let next = (position < 3).then_some(position + 1);
        assert_eq!(asked_again(&said).first().map(|(_, position)| *position), next);
    }
}

#[test]
fn what_was_begun_here_waits_for_a_person_with_its_request() {
    let mut bench = stored();
    let said = bench.handle(Event::Health { healthy: true });
    assert_eq!(attempts(&said).len(), 3, "lanes of their own");
    bench.attempted(B(3), 1, answered(201));
    // The first is under way, the third decided beyond it.
    begin_again(&mut bench, log(2), &[1, 3]);
    let reason = |bench: &Bench, n| bench.quarantined().get(&B(n)).map(|entry| entry.reason);
    assert_eq!((reason(&bench, 1), reason(&bench, 3)), (Some(QuarantineReason::Damaged), None));
    let order = |req, operation| Event::Operator { req: ReqId(req), id: Some(B(1)), operation };
    let said = bench.handle(order(8, Operation::Resend));
    assert!(matches!(reply_to(&said, 8), Some(Reply::Rejected { why }) if why.contains("broken")), "{said:?}");
    let said = [bench.hear("b", again(1, 3)), bench.hear("b", again(3, 3))].concat();
    assert!(attempts(&said).is_empty(), "{said:?}");
    let row = bench.row(B(1)).expect("it was written anew");
    assert_eq!(row.here, Here::Decided(Fate::Quarantined(QuarantineReason::Damaged)));
    assert_eq!(reason(&bench, 1), Some(QuarantineReason::Damaged));
    assert!(attempts(&bench.handle(order(9, Operation::Resend))).is_empty(), "the try of before may be under way");
    let said = bench.wait(bench.core.settings.longest_request_ms);
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [B(1)]);
}

/// Seed 5802: the service was at it for longer than the restart took, its record broke, and it was done after a later
/// write of its lane.
#[test]
fn while_a_broken_record_may_hide_a_try_nothing_is_sent_here() {
    let mut bench = stored();
    let said = bench.handle(Event::Health { healthy: true });
    assert_eq!(attempts(&said).len(), 3);
    for n in [2, 3] {
        bench.attempted(B(n), 1, answered(201));
    }
    let mut said = begin_again(&mut bench, log(2), &[1]);
    said.extend(bench.hear("b", again(1, 3)));
    said.extend(bench.hear("b", Message::Page(page(log(2), "b", 4, 5))));
    let longest_ms = bench.core.settings.longest_request_ms;
    said.extend(bench.wait(longest_ms - 1));
    assert!(attempts(&said).is_empty(), "{said:?}");
    let says_unhealthy = messages(&said).iter().all(|(_, message)| !matches!(message, Message::Status(s) if s.healthy));
    assert!(says_unhealthy, "another site decides meanwhile");
    let left_ms = bench.core.view(bench.now).hidden_try_ms;
    assert_eq!(left_ms, Some(1));
    let said = bench.wait(1);
    assert_eq!(applied(&mut bench, &said), [4, 5]);
}

#[test]
fn the_next_start_has_no_try_to_wait_for() {
    let mut bench = stored();
    bench.handle(Event::Health { healthy: true });
    begin_again(&mut bench, log(2), &[1]);
    let longest_ms = bench.core.settings.longest_request_ms;
    assert_eq!(bench.core.view(bench.now).hidden_try_ms, Some(longest_ms));
    // Nobody has sent its record again.
    bench.wait(longest_ms);
    assert_eq!(bench.core.view(bench.now).hidden_try_ms, None);
    begin_again(&mut bench, log(2), &[]);
    assert_eq!(bench.core.view(bench.now).hidden_try_ms, None);
    let entry = bench.quarantined().get(&B(1)).cloned().expect("it waits for a person");
    assert!(entry.is_written() && entry.reason == QuarantineReason::Damaged);
}

/// Seed 40353: sent again by order, its position decided long since, it broke on its way. Mended, it was nowhere after
/// the next start.
#[test]
fn what_was_on_its_way_by_order_stays_in_quarantine_when_it_is_mended() {
    let mut bench = Bench::new(Settings { on_divergence: OnDivergence::Quarantine, ..settings("a", &["a", "b", "c"]) });
    bench.hear("b", Message::Page(page(log(2), "b", 1, 3)));
    for (n, status) in [(1, 404), (2, 201), (3, 201)] {
        bench.attempted(B(n), 1, answered(status));
    }
    let order = |req, operation| Event::Operator { req: ReqId(req), id: Some(B(1)), operation };
    assert_eq!(attempts(&bench.handle(order(8, Operation::Resend))).len(), 1);
    assert!(!bench.is_listed(B(1)));
    begin_again(&mut bench, log(2), &[1]);
    bench.wait(1_000);
    bench.hear("b", again(1, 3));
    bench.restart();
    assert!(bench.is_listed(B(1)));
    assert_eq!(attempts(&bench.handle(order(9, Operation::Resend))).len(), 1);
}

/// A client asks again with its key, and the journal cannot tell what it was answered.
#[test]
fn a_look_up_that_meets_a_broken_record_goes_on_when_it_is_there_again() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let said = bench.submit(new_write("POST", 1, 7));
    assert_eq!(attempts(&said).len(), 1);
    bench.attempted(own(1), 1, answered(201));
    let row = bench.row(own(1)).expect("it is settled");
    let mut item = row.item(Some(request("POST", "/sales"))).expect("it has a position");
    item.outcome.answer = Some(answer(201));
    bench.break_at(log(1), 1);
    bench.restart();
    let cursor = Cursor {
        log: log(1),
        site: site_of(log(1)),
        received: 1,
        chain: item.chain,
        decided: 1,
        want: false,
        again: 0,
    };
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    bench.status("b", true, vec![cursor]);
    let said = bench.submit(new_write("POST", 1, 7));
    assert!(
        attempts(&said).is_empty() && reply_to(&said, 2).is_none(),
        "whether it is a copy is not known (G2): {said:?}"
    );
    assert_eq!(asked_again(&bench.wait(1_500)), [("b", 1)]);
    let page = Page { log: log(1), site: SiteName::new("a"), from: 0, items: vec![std::sync::Arc::new(item)] };
    let said = bench.hear("b", Message::Again(page));
    assert!(matches!(reply_to(&said, 2), Some(Reply::Answer { replayed: true, .. })), "{said:?}");
}

#[test]
fn who_is_asked_again_sends_what_it_has_from_memory_or_from_its_journal() {
    for restarts in [false, true] {
        let mut bench = stored();
        if restarts {
            begin_again(&mut bench, log(2), &[]);
            bench.handle(Event::Health { healthy: false });
        }
        let chain = page(log(2), "b", 1, 3).items[2].chain;
        let cursor =
            Cursor { log: log(2), site: SiteName::new("b"), received: 3, chain, decided: 1, want: false, again: 2 };
        let said = bench.status("c", true, vec![cursor]);
        let pages: Vec<_> = messages(&said).into_iter().filter(|(_, m)| matches!(m, Message::Again(_))).collect();
        assert_eq!(pages, [("c", &again(2, 3))], "restarts {restarts}");
    }
}
