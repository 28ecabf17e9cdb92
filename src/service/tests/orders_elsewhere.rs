//! What a person orders where another site accepted the write, and about copies: others must come to the same.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, Op, Origin, QuarantineReason, Row};
use crate::model::{Lane, Outcome, SiteName, Verdict, WriteId, decision_of};

/// The first write of `b`.
fn theirs() -> WriteId {
    WriteId { log: log(2), n: 1 }
}

fn wish_of(key: u8) -> Message {
    let facts = new_write("POST", 1, key).facts;
    let request = item(log(2), 1, 0).request.expect("it has one");
    wish_to_decide(theirs(), facts, request)
}

/// `b` wished that this site decides its first write. It was sent, no answer came, and its lane has passed it.
fn with_a_passed_wish() -> Bench {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", wish_of(0));
    bench.attempted(theirs(), 1, broken());
    bench.wait(20_000);
    assert!(bench.quarantined().contains_key(&theirs()));
    bench
}

fn order(req: u64, id: WriteId, operation: Operation) -> Event {
    Event::Operator { req: ReqId(req), id: Some(id), operation }
}

fn applied(effects: &[Effect]) -> usize {
    let is_applied =
        |word: &&WishWord| matches!(word, WishWord::Done { outcome, .. } if outcome.verdict == Verdict::Applied);
    words(effects).iter().filter(is_applied).count()
}

fn is_done(effects: &[Effect], req: u64) -> bool {
    reply_to(effects, req) == Some(&Reply::Done)
}

fn sent(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// Its first write, as `b` settled it; and what it decided late.
fn settled(verdict: Verdict, decision: Option<Verdict>) -> Message {
    let mut items = vec![item(log(2), 1, 0)];
    items[0].outcome.verdict = verdict;
    items[0].facts.lane = Lane(1);
    if let Some(verdict) = decision {
        let mut late = item(log(2), 2, 0);
        late.facts.lane = Lane(1);
        (late.id, late.decides, late.outcome.verdict) = (decision_of(theirs()), Some((theirs(), 1)), verdict);
        items.push(late);
    }
    Message::Page(page_of(log(2), "b", items))
}

#[test]
fn a_wish_that_a_person_has_sent_again_is_not_void() {
    for restarts in [false, true] {
        let mut bench = with_a_passed_wish();
        bench.handle(Event::Health { healthy: false });
        assert!(is_done(&bench.handle(order(9, theirs(), Operation::Resend)), 9));
        for attempt in [1, 2] {
            let said = bench.hear("b", Message::Revoke { id: theirs(), attempt });
            assert_eq!(words(&said), [WishWord::Unknown], "it was sent once");
            bench.hear("b", wish_of(0));
        }
        if restarts {
            bench.restart();
            assert_ne!(bench.row(theirs()).map(|row| row.origin), Some(Origin::Cancelled));
            bench.handle(Event::Health { healthy: true });
            assert_eq!(sent(&bench.handle(order(10, theirs(), Operation::Resend))), [theirs()]);
        } else {
            assert_eq!(sent(&bench.handle(Event::Health { healthy: true })), [theirs()]);
        }
    }
}

/// It was known at this replica alone: its origin settled it as undecided, and no other had it.
#[test]
fn the_origin_hears_what_came_of_a_wish_that_a_person_has_sent_again() {
    let mut bench = with_a_passed_wish();
    bench.handle(order(9, theirs(), Operation::Resend));
    assert_eq!(applied(&bench.attempted(theirs(), 2, answered(201))), 1);
    assert_eq!(bench.row(theirs()).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
    assert!(bench.quarantined().is_empty());
    assert_eq!(applied(&bench.hear("b", settled(Verdict::Undecided, None))), 1, "owed from now on");
    assert!(bench.core.mirror.words.is_owed(&theirs()));
    bench.hear("b", settled(Verdict::Undecided, Some(Verdict::Applied)));
    assert!(bench.core.mirror.words.none_is_owed() && bench.core.mirror.words.unpositioned().next().is_none());
    assert_eq!(bench.core.mirror.series[&log(2)].decided, 2);
}

/// Said once it would be lost with the line; and what this replica alone has must not look as if all were well.
#[test]
fn what_a_person_says_was_applied_here_is_owed_to_its_origin_or_stays_listed() {
    let table = [
        (None, Some(Fate::Applied), true),
        (Some(Verdict::Undecided), Some(Fate::Applied), true),
        (Some(Verdict::MayHaveApplied), Some(Fate::Applied), false),
        (Some(Verdict::Applied), Some(Fate::Applied), false),
        (Some(Verdict::NotExecuted), Some(Fate::Quarantined(QuarantineReason::Contrary)), false),
    ];
    for (verdict, fate, is_told) in table {
        let mut bench = with_a_passed_wish();
        if let Some(verdict) = verdict {
            bench.hear("b", settled(verdict, None));
        }
        let said = bench.handle(order(9, theirs(), Operation::Applied));
        assert!(is_done(&said, 9));
        assert_eq!(applied(&said), usize::from(is_told), "{verdict:?}");
        assert_eq!(bench.row(theirs()).map(|row| row.here), fate.map(Here::Decided), "{verdict:?}");
        bench.restart();
        bench.handle(Event::LinkUp { peer: SiteName::new("b") });
        assert_eq!(
            bench.core.mirror.words.is_unpositioned(&theirs()),
            is_told,
            "{verdict:?}: named until its origin has heard"
        );
        if verdict.is_none() {
            let said = bench.hear("b", Message::Revoke { id: theirs(), attempt: 1 });
            assert_eq!(applied(&said), 1, "{said:?}");
            bench.hear("b", settled(Verdict::Undecided, None));
        }
        assert_eq!(bench.core.mirror.words.is_owed(&theirs()), is_told);
        if is_told {
            bench.hear("b", settled(Verdict::Undecided, Some(Verdict::Void)));
            assert!(bench.core.mirror.words.none_is_owed() && bench.core.mirror.words.unpositioned().next().is_none());
            assert!(bench.is_listed(theirs()), "applied here and void elsewhere");
            assert!(is_done(&bench.handle(order(10, theirs(), Operation::Applied)), 10));
            assert!(!bench.is_listed(theirs()), "it was looked at");
        }
        if verdict == Some(Verdict::NotExecuted) {
            assert!(is_done(&bench.handle(order(10, theirs(), Operation::Applied)), 10));
            assert!(!bench.is_listed(theirs()), "it was looked at");
        }
    }
}

/// An entry outlives what its origin has decided. Owed after that, the word would never be heard, and all that is sent
/// from here would name the write for good.
#[test]
fn what_a_person_says_was_applied_after_it_was_decided_is_owed_to_nobody() {
    for (decision, is_contrary) in [(Verdict::Applied, false), (Verdict::Void, true)] {
        let mut bench = with_a_passed_wish();
        bench.hear("b", settled(Verdict::Undecided, Some(decision)));
        assert!(bench.is_listed(theirs()), "what this replica did a person has to say");
        assert!(is_done(&bench.handle(order(9, theirs(), Operation::Applied)), 9));
        assert!(
            bench.core.mirror.words.none_is_owed() && bench.core.mirror.words.unpositioned().next().is_none(),
            "{decision:?}"
        );
        assert_eq!(bench.is_listed(theirs()), is_contrary, "{decision:?}");
    }
}

/// The same where a crash comes before the journal was asked for the decision.
#[test]
fn a_word_that_is_owed_after_the_decision_is_not_owed_for_ever() {
    let mut bench = with_a_passed_wish();
    bench.hear("b", settled(Verdict::Undecided, Some(Verdict::Applied)));
    let attempt = attempts(&bench.handle(order(9, theirs(), Operation::Resend)))[0].attempt;
    let said = bench.step(Event::Attempted { id: theirs(), attempt, result: answered(201) });
    assert_eq!(applied(&said), 1, "nobody has looked yet");
    bench.restart();
    assert!(bench.core.mirror.words.none_is_owed() && bench.core.mirror.words.unpositioned().next().is_none());
    assert!(!bench.is_listed(theirs()));
}

/// The entry is still there after the crash, so what its origin decides is not carried out beside it (G2).
#[test]
fn an_order_that_waited_and_was_cut_short_is_still_for_a_person_to_give() {
    let mut bench = with_a_passed_wish();
    bench.handle(Event::Health { healthy: false });
    bench.handle(order(9, theirs(), Operation::Resend));
    bench.hear("b", settled(Verdict::Undecided, None));
    let mut tries = bench.restart();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    assert_eq!(bench.row(theirs()).map(|row| row.here), {
        let reason = QuarantineReason::UnknownOutcome;
        Some(Here::Decided(Fate::Quarantined(reason)))
    });
    tries.extend(bench.hear("b", settled(Verdict::Undecided, Some(Verdict::Applied))));
    assert_eq!(sent(&tries), []);
    assert_eq!(sent(&bench.handle(order(10, theirs(), Operation::Resend))), [theirs()]);
}

/// Its position comes while the order waits for the service, or while it is being sent.
#[test]
fn an_order_that_its_origin_overtakes_ends_as_that_says() {
    let (no, yes, unknown) = (Verdict::Refused, Verdict::Applied, Verdict::Undecided);
    for (verdict, waits) in [(no, true), (no, false), (yes, true), (yes, false), (unknown, true), (unknown, false)] {
        let what = format!("{verdict:?}, waits: {waits}");
        let mut bench = with_a_passed_wish();
        bench.handle(Event::Health { healthy: !waits });
        bench.handle(order(9, theirs(), Operation::Resend));
        bench.hear("b", settled(verdict, None));
        let tries = bench.handle(Event::Health { healthy: true });
        assert_eq!(sent(&tries).len(), usize::from(waits && verdict != no), "{what}");
        let said = bench.attempted(theirs(), 2, answered(201));
        assert_eq!(applied(&said), usize::from(verdict == unknown), "{what}");
        let here = bench.row(theirs()).map(|row| row.here);
        let fate = match (verdict, waits) {
            (Verdict::Refused, true) => Fate::Skipped,
            (Verdict::Refused, false) => Fate::Quarantined(QuarantineReason::Contrary),
            _ => Fate::Applied,
        };
        assert_eq!(here, Some(Here::Decided(fate.clone())), "{what}");
        assert_eq!(bench.is_listed(theirs()), matches!(fate, Fate::Quarantined(_)), "{what}");
        assert_eq!(bench.core.mirror.series[&log(2)].decided, 1, "{what}");
    }
}

/// Its row is open again, and its entry was still there: listed while it was sent, and for good.
#[test]
fn what_is_taken_up_again_after_a_crash_is_no_longer_in_quarantine() {
    for verdict in [Verdict::Applied, Verdict::Undecided] {
        let mut bench = with_a_passed_wish();
        bench.handle(Event::Health { healthy: false });
        bench.handle(order(9, theirs(), Operation::Resend));
        bench.hear("b", settled(verdict, None));
        let tries = bench.restart();
        assert_eq!(bench.is_listed(theirs()), verdict == Verdict::Undecided);
        assert_eq!(bench.quarantined().len(), usize::from(verdict == Verdict::Undecided));
        let tries = [tries, bench.handle(order(10, theirs(), Operation::Resend))].concat();
        assert_eq!(sent(&tries), [theirs()], "{verdict:?}");
    }
}

#[test]
fn what_its_origin_has_settled_otherwise_is_not_sent_by_order() {
    let table = [
        (Verdict::Refused, None, false),
        (Verdict::MayHaveApplied, None, false),
        (Verdict::MayHaveApplied, Some(Verdict::Applied), true),
        (Verdict::Undecided, Some(Verdict::Void), false),
        (Verdict::Undecided, Some(Verdict::Applied), true),
        (Verdict::Undecided, None, true),
    ];
    for (verdict, decision, is_sent) in table {
        let mut bench = with_a_passed_wish();
        bench.hear("b", settled(verdict, decision));
        let said = bench.handle(order(9, theirs(), Operation::Resend));
        assert_eq!(is_done(&said, 9), is_sent, "{verdict:?}, {decision:?}: {said:?}");
        assert_eq!(sent(&said).len(), usize::from(is_sent), "{verdict:?}, {decision:?}");
        if is_sent {
            bench.attempted(theirs(), 2, answered(201));
            assert_eq!(bench.row(theirs()).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
            assert_eq!(bench.core.mirror.words.owed().count(), usize::from(decision.is_none()), "it is decided since");
        } else {
            assert!(is_done(&bench.handle(order(10, theirs(), Operation::Discard)), 10));
        }
        assert!(!bench.is_listed(theirs()));
    }
}

/// Seen by reading: applied here and nowhere else, with no entry anywhere.
#[test]
fn a_copy_that_is_sent_after_all_is_decided_by_its_origin() {
    for (settles_first, crashes) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = Bench::new(Settings { has_probe: crashes, ..settings("a", &["a", "b"]) });
        bench.submit(new_write("POST", 1, 7));
        bench.attempted(own(1), 1, broken());
        bench.wait(20_000);
        let said = bench.hear("b", wish_of(7));
        let repeats =
            |word: &WishWord| matches!(word, WishWord::Done { outcome, .. } if outcome.repeats == Some(own(1)));
        assert!(words(&said).iter().any(repeats), "nobody knows of the first");
        if settles_first {
            bench.hear("b", settled(Verdict::Undecided, None));
        }
        let said = bench.handle(order(9, own(1), Operation::Discard));
        assert_eq!(sent(&said), [theirs()]);
        let attempt = attempts(&said)[0].attempt;
        if crashes {
            bench.restart();
            bench.handle(Event::LinkUp { peer: SiteName::new("b") });
            // Its fence is over.
            bench.wait(10_000);
            let result = ProbeResult::Applied(answer(201));
            assert_eq!(applied(&bench.handle(Event::Probed { id: theirs(), attempt, result })), 1);
        } else {
            assert_eq!(applied(&bench.attempted(theirs(), attempt, answered(201))), 1);
        }
        assert!(!bench.is_listed(own(1)) && !bench.is_listed(theirs()));
    }
}

/// As it was recorded before 2026-11-28: applied here, with no outcome.
#[test]
fn what_a_person_said_to_an_older_version_is_still_understood() {
    for (verdict, is_contrary) in [(Verdict::Applied, false), (Verdict::Refused, true)] {
        let mut bench = with_a_passed_wish();
        let row = Row { here: Here::Decided(Fate::Applied), ..bench.row(theirs()).expect("it is stored") };
        assert_eq!(row.outcome, None);
        bench.record(&[Op::Row(Box::new(row)), Op::Release(theirs())]);
        bench.restart();
        bench.handle(Event::LinkUp { peer: SiteName::new("b") });
        let mut theirs_settled = item(log(2), 1, 0);
        theirs_settled.outcome.verdict = verdict;
        bench.hear("b", Message::Page(page_of(log(2), "b", vec![theirs_settled])));
        assert_eq!(bench.core.mirror.series[&log(2)].decided, 1);
        assert_eq!(bench.is_listed(theirs()), is_contrary, "{verdict:?}");
    }
}

/// A client's write at the site that asks `b` first.
fn asked_elsewhere() -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = ["b", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    bench.submit(new_write("POST", 1, 7));
    bench
}

/// The same at its origin, which has no entry of it.
#[test]
fn the_late_word_about_a_copy_makes_a_decision() {
    let mut bench = asked_elsewhere();
    let word = |verdict, repeats, status: u16| {
        let answer = (status != 0).then(|| answer(status));
        let outcome = Outcome { verdict, repeats, answer, ..item(log(1), 1, 0).outcome };
        Message::Word { id: own(1), attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } }
    };
    let mut first = item(log(2), 1, 0);
    first.outcome.verdict = Verdict::Undecided;
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![first])));
    // It is said again now and then, and says no more than before.
    for _ in 0..2 {
        bench.hear("b", word(Verdict::Undecided, Some(theirs()), 0));
        bench.hear("b", word(Verdict::MayHaveApplied, None, 500));
        bench.hear("b", word(Verdict::Duplicate, None, 500));
    }
    assert_eq!(bench.core.mirror.series[&log(1)].received, 1, "nothing is decided");
    assert_eq!(bench.row(own(1)).and_then(|row| row.outcome).map(|o| o.verdict), Some(Verdict::Undecided));
    assert!(bench.quarantined().is_empty());
    assert_eq!(sent(&bench.hear("b", word(Verdict::Applied, None, 201))).len(), 1, "this replica follows");
    let decision = bench.row(decision_of(own(1))).and_then(|row| row.outcome).map(|outcome| outcome.verdict);
    assert_eq!(decision, Some(Verdict::Applied));
    bench.hear("b", word(Verdict::Applied, None, 201));
    assert_eq!(bench.core.mirror.series[&log(1)].received, 2, "one decision");
}

/// The first was answered 500, and so was the client of the copy: no site applies either.
#[test]
fn a_copy_that_was_answered_as_its_first_is_not_sent_when_that_is_discarded() {
    let mut bench = Bench::new(Settings { has_probe: false, ..settings("a", &["a", "b"]) });
    bench.submit(new_write("POST", 2, 0));
    bench.submit(new_write("POST", 2, 7));
    bench.hear("b", wish_of(7));
    bench.attempted(theirs(), 1, answered(500));
    assert!(bench.quarantined().contains_key(&theirs()));
    bench.attempted(own(1), 1, answered(201));
    let copy = bench.row(own(2)).and_then(|row| row.outcome).map(|outcome| (outcome.verdict, outcome.repeats));
    assert_eq!(copy, Some((Verdict::Duplicate, None)), "nothing waits until a person has decided about the first");
    let said = bench.handle(order(9, theirs(), Operation::Discard));
    assert_eq!(sent(&said), []);
    assert!(bench.quarantined().is_empty());
}

/// A person has it sent again, it is found to be a copy of another in quarantine and decided void; then that one is
/// discarded.
#[test]
fn a_copy_that_was_decided_void_is_not_sent_when_the_first_is_discarded() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = ["b", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 7));
    bench.wait(20_000);
    bench.handle(Event::Health { healthy: true });
    let mut copy = item(log(2), 1, 0);
    copy.facts = new_write("POST", 1, 7).facts;
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![copy])));
    bench.attempted(theirs(), 1, broken());
    bench.wait(20_000);
    assert_eq!(sent(&bench.handle(order(8, own(1), Operation::Resend))), []);
    let decision = bench.row(decision_of(own(1))).and_then(|row| row.outcome).map(|outcome| outcome.verdict);
    assert_eq!(decision, Some(Verdict::Void));
    assert_eq!(sent(&bench.handle(order(9, theirs(), Operation::Discard))), []);
    assert!(bench.quarantined().is_empty() && !bench.is_listed(own(1)));
}

/// Its origin took it for a copy, and its decider had applied it: the decision stands beside it, with the same key.
#[test]
fn a_copy_that_was_decided_late_is_sent_once_when_the_first_is_discarded() {
    let mut bench = asked_elsewhere();
    bench.hear("b", wish_of(7));
    bench.attempted(theirs(), 1, broken());
    bench.wait(20_000);
    assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Duplicate(theirs()))));
    let outcome = Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome };
    let word = WishWord::Done { outcome, pages: Vec::new() };
    bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
    let decision = decision_of(own(1));
    assert_eq!(bench.row(decision).map(|row| row.here), Some(Here::Decided(Fate::Duplicate(theirs()))));
    let said = bench.handle(order(9, theirs(), Operation::Discard));
    assert_eq!(sent(&said), [decision]);
    bench.attempted(decision, attempts(&said)[0].attempt, answered(201));
    assert!(bench.quarantined().is_empty() && !bench.is_listed(own(1)));
    assert_eq!(bench.row(decision).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
}
