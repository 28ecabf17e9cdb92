//! What a person orders about a write that no rule can decide, and what must not come of it twice.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, Op, Quarantined, Row};
use crate::model::{Verdict, WriteId};

/// The first own write is unknown, and its lane has passed it.
fn with_an_undecided_write() -> Bench {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.submit(new_write("POST", 1, 0));
    bench.attempted(own(1), 1, broken());
    bench.wait(15_000);
    assert!(bench.quarantined().contains_key(&own(1)));
    bench
}

fn order(req: u64, operation: Operation) -> Event {
    Event::Operator { req: ReqId(req), id: Some(own(1)), operation }
}

/// Verdicts of the own series from position 2 on: decisions about the first.
fn decisions(bench: &Bench) -> Vec<(WriteId, Verdict)> {
    let items = bench.core.mirror.series[&log(1)].tail_after(1, 9, usize::MAX);
    items.iter().map(|item| (item.decides.expect("of the first").0, item.outcome.verdict)).collect()
}

fn is_rejected(effects: &[Effect], req: u64) -> bool {
    matches!(reply_to(effects, req), Some(Reply::Rejected { .. }))
}

/// Seed 75370: its position came while the journal was asked, and what the journal said was older. Written back, it had
/// none.
#[test]
fn an_order_does_not_put_back_what_was_known_before_its_position_came() {
    let id = WriteId { log: log(2), n: 1 };
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let mut settled = item(log(2), 1, 0);
    let (facts, request) = (settled.facts.clone(), settled.request.clone().expect("it has one"));
    let wish = Wish { id, attempt: 1, after_ms: 800, facts, must: Default::default(), request, pages: Vec::new() };
    bench.hear("b", Message::Wish(Box::new(wish)));
    bench.attempted(id, 1, broken());
    bench.wait(20_000);
    let asked = bench.step(Event::Operator { req: ReqId(9), id: Some(id), operation: Operation::Applied });
    let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
    settled.outcome.verdict = Verdict::Undecided;
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![settled])));
    assert!(!bench.core.live.contains_key(&id), "nothing is left to be done with it");
    let said: Vec<Effect> = answers.into_iter().flat_map(|answer| bench.handle(answer)).collect();
    assert_eq!(reply_to(&said, 9), Some(&Reply::Done));
    let row = bench.row(id).expect("it stays");
    assert_eq!((row.here, row.position.map(|(at, _)| at)), (Here::Decided(Fate::Applied), Some(1)));
}

/// Seed 5620: the journal was asked for copies of a write that has none, again and again.
#[test]
fn the_copies_of_a_discarded_write_are_looked_for_once() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.submit(new_write("POST", 1, 7));
    bench.attempted(own(1), 1, broken());
    bench.wait(15_000);
    let (mut asked, mut effects) = (0, bench.step(order(9, Operation::Discard)));
    while let Some(effect) = effects.pop() {
        if let Some(answer) = bench.journal_says(&effect) {
            asked += 1;
            assert!(asked < 20, "it goes on asking");
            effects.extend(bench.step(answer));
        }
    }
    assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Void)));
}

/// Two copies of one write stand in quarantine, and a person has both sent again: seed 19162, where neither was.
#[test]
fn a_write_is_no_copy_of_one_that_was_decided_void() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = ["b", "a"].map(crate::model::SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 7));
    bench.wait(20_000);
    bench.handle(Event::Health { healthy: true });
    let copy = WriteId { log: log(2), n: 1 };
    let mut items = vec![item(log(2), 1, 0)];
    items[0].facts = new_write("POST", 1, 7).facts;
    assert_eq!(attempts(&bench.hear("b", Message::Page(page_of(log(2), "b", items)))).len(), 1);
    bench.attempted(copy, 1, broken());
    bench.wait(20_000);
    assert_eq!(bench.quarantined().into_keys().collect::<Vec<_>>(), [own(1), copy]);
    assert_eq!(attempts(&bench.handle(order(8, Operation::Resend))).len(), 0, "the other one may have been applied");
    assert_eq!(decisions(&bench), [(own(1), Verdict::Void)]);
    let said = bench.handle(Event::Operator { req: ReqId(9), id: Some(copy), operation: Operation::Resend });
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [copy]);
}

/// Its record broke and came back; what its origin decided late stood there already.
#[test]
fn a_write_that_stands_in_quarantine_twice_is_sent_once() {
    let decision = crate::model::decision_of(own(1));
    for (first, second) in [(own(1), decision), (decision, own(1))] {
        let mut bench = with_an_undecided_write();
        let entry = bench.quarantined()[&own(1)].clone();
        let row = Row { id: decision, position: None, ..bench.row(own(1)).expect("it is there") };
        let entry = Quarantined { id: decision, ..entry };
        bench.record(&[Op::Row(Box::new(row)), Op::Quarantine(entry)]);
        let order = |req, id, operation| Event::Operator { req: ReqId(req), id: Some(id), operation };
        let said = bench.handle(order(9, first, Operation::Resend));
        assert!(matches!(reply_to(&said, 9), Some(Reply::Rejected { why }) if why.contains(&second.to_string())));
        assert_eq!(attempts(&said).len(), 0);
        bench.record(&[Op::Release(decision)]);
        assert_eq!(attempts(&bench.handle(order(10, own(1), Operation::Resend))).len(), 1);
    }
}

/// A crash between the order and the first byte: the entry is still there.
#[test]
fn what_a_person_has_sent_again_stands_in_quarantine_until_it_is_sent() {
    let mut bench = with_an_undecided_write();
    bench.handle(Event::Health { healthy: false });
    let foreign = Message::Page(page(log(2), "b", 1, 1));
    bench.hear("b", foreign);
    assert_eq!(reply_to(&bench.handle(order(9, Operation::Resend)), 9), Some(&Reply::Done));
    assert!(bench.quarantined().is_empty());
    assert!(is_rejected(&bench.handle(order(10, Operation::Resend)), 10), "once");
    bench.restart();
    assert!(bench.quarantined().contains_key(&own(1)), "nobody sent it");
    assert_eq!(attempts(&bench.handle(order(11, Operation::Resend))).len(), 1);
    assert!(!bench.is_listed(own(1)));
}

/// A crash between the decision that a write is void and the first byte of its copy.
#[test]
fn a_copy_of_what_a_person_discarded_is_not_lost() {
    let mut settings = settings("a", &["a", "b"]);
    settings.has_probe = false;
    let mut bench = Bench::new(settings);
    bench.submit(new_write("POST", 1, 7));
    bench.attempted(own(1), 1, broken());
    bench.wait(20_000);
    let copy = WriteId { log: log(2), n: 1 };
    let mut items = vec![item(log(2), 1, 0)];
    items[0].facts = new_write("POST", 1, 7).facts;
    assert_eq!(attempts(&bench.hear("b", Message::Page(page_of(log(2), "b", items)))).len(), 0, "it may be applied");
    assert_eq!(bench.row(copy).map(|row| row.here), Some(Here::Decided(Fate::Duplicate(own(1)))));
    for looks in 0..4 {
        let mut asked = bench.step(order(9, Operation::Discard));
        for _ in 0..looks {
            asked = bench.journal_answers(&asked);
        }
        if attempts(&asked).is_empty() {
            bench.restart();
            assert!(bench.is_listed(own(1)) || bench.is_listed(copy), "after {looks} answers of the journal");
        }
    }
    let listed = if bench.is_listed(own(1)) { own(1) } else { copy };
    let operation = if listed == copy { Operation::Resend } else { Operation::Discard };
    let said = bench.handle(Event::Operator { req: ReqId(19), id: Some(listed), operation });
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [copy]);
    assert!(!bench.is_listed(own(1)) && !bench.is_listed(copy));
}

#[test]
fn an_order_is_carried_out_once() {
    let table =
        [(Operation::Applied, Verdict::Applied, Fate::Applied), (Operation::Discard, Verdict::Void, Fate::Void)];
    for (operation, verdict, fate) in table {
        let mut bench = with_an_undecided_write();
        let said = bench.handle(order(9, operation));
        assert_eq!(reply_to(&said, 9), Some(&Reply::Done));
        assert_eq!(decisions(&bench), [(own(1), verdict)]);
        assert!(bench.quarantined().is_empty());
        assert_eq!(
            bench.row(own(1)).expect("it stays").here,
            Here::Decided(fate),
            "a person speaks of this replica too"
        );
        assert!(is_rejected(&bench.handle(order(10, operation)), 10), "it is no longer in quarantine");
        assert_eq!(decisions(&bench).len(), 1);
    }
}

/// The second comes before the journal has told the first one all that it was asked, once and again.
#[test]
fn of_two_orders_at_once_the_first_is_carried_out() {
    let orders = [Operation::Applied, Operation::Discard, Operation::Resend];
    let pairs = orders.into_iter().flat_map(|first| orders.map(|second| (first, second)));
    for ((first, second), answers) in pairs.flat_map(|pair| [(pair, 0), (pair, 1)]) {
        let mut bench = with_an_undecided_write();
        let mut asked = bench.step(order(9, first));
        for _ in 0..answers {
            asked = bench.journal_answers(&asked);
        }
        let sent_before = attempts(&asked).len();
        let said = bench.handle(order(10, second));
        assert!(is_rejected(&said, 10), "{first:?}, then {second:?} after {answers} answers");
        let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
        let said: Vec<Effect> = answers.into_iter().flat_map(|answer| bench.handle(answer)).collect();
        let sent = sent_before + attempts(&said).len();
        assert_eq!(sent, usize::from(first == Operation::Resend));
        if sent == 1 {
            bench.attempted(own(1), 2, answered(201));
        }
        let verdict = if first == Operation::Discard { Verdict::Void } else { Verdict::Applied };
        assert_eq!(decisions(&bench), [(own(1), verdict)]);
        assert_eq!(attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1, "its lane is free");
    }
}

#[test]
fn what_is_sent_again_by_order_is_decided_by_its_answer() {
    let mut bench = with_an_undecided_write();
    let said = bench.handle(order(9, Operation::Resend));
    assert_eq!(attempts(&said).iter().map(|a| (a.id, a.attempt)).collect::<Vec<_>>(), [(own(1), 2)]);
    assert!(bench.quarantined().is_empty());
    bench.attempted(own(1), 2, answered(409));
    assert!(bench.quarantined().contains_key(&own(1)), "nobody knows more than before");
    assert_eq!(decisions(&bench), []);
    let said = bench.handle(order(10, Operation::Resend));
    bench.attempted(own(1), attempts(&said)[0].attempt, answered(201));
    assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)]);
    assert!(bench.quarantined().is_empty());
}

#[test]
fn orders_that_make_no_sense_are_rejected() {
    let mut bench = with_an_undecided_write();
    assert!(is_rejected(&bench.handle(order(9, Operation::Resume)), 9));
    for operation in [Operation::Applied, Operation::Resend, Operation::Discard] {
        let event = Event::Operator { req: ReqId(10), id: None, operation };
        assert!(is_rejected(&bench.handle(event), 10));
        let event = Event::Operator { req: ReqId(11), id: Some(own(2)), operation };
        assert!(is_rejected(&bench.handle(event), 11));
    }
    assert!(bench.quarantined().contains_key(&own(1)));
}

/// The other site decided it after this one had given up on it.
#[test]
fn a_late_word_and_an_order_make_one_decision() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![crate::model::SiteName::new("b")];
    let mut bench = Bench::new(settings);
    bench.submit(new_write("POST", 1, 0));
    bench.wait(20_000);
    assert!(bench.quarantined().contains_key(&own(1)));
    let outcome = crate::model::Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome };
    let word = || Message::Word {
        id: own(1),
        attempt: 1,
        word: WishWord::Done { outcome: outcome.clone(), pages: Vec::new() },
    };
    let said = bench.hear("b", word());
    assert_eq!(attempts(&said).len(), 1, "this replica follows");
    assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)]);
    bench.hear("b", word());
    assert!(is_rejected(&bench.handle(order(9, Operation::Applied)), 9));
    assert_eq!(decisions(&bench).len(), 1);
}

#[test]
fn what_was_sent_by_order_and_a_probe_found_is_decided_by_that() {
    for restarts in [false, true] {
        let mut bench = Bench::new(Settings { has_probe: true, ..settings("a", &["a", "b"]) });
        bench.submit(new_write("POST", 1, 0));
        bench.attempted(own(1), 1, broken());
        bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::Nothing });
        bench.wait(15_000);
        let said = bench.handle(order(9, Operation::Resend));
        let mut attempt = attempts(&said)[0].attempt;
        if restarts {
            bench.restart();
            attempt = bench.core.live[&own(1)].tries.attempts;
        } else {
            bench.attempted(own(1), attempt, broken());
        }
        bench.wait(10_000);
        let probe = ProbeResult::Applied(answer(201));
        bench.handle(Event::Probed { id: own(1), attempt, result: probe });
        assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)], "restarts: {restarts}");
        assert_eq!(bench.row(own(1)).expect("it stays").here, Here::Decided(Fate::Applied));
    }
}

/// Seed 62207: sent for nothing by order it counted as decided, what names it was applied here, and the decision of the
/// next order came after that: no other site could follow.
#[test]
fn what_names_an_undecided_write_waits_for_its_decision_whatever_this_replica_knows() {
    for restarts in [false, true] {
        let mut bench = with_an_undecided_write();
        if restarts {
            bench.restart();
            bench.handle(Event::LinkUp { peer: crate::model::SiteName::new("b") });
        }
        let mut naming = item(log(2), 1, 0);
        naming.facts.lane = crate::model::Lane(8);
        naming.outcome.after.add_id(own(1));
        assert_eq!(attempts(&bench.hear("b", Message::Page(page_of(log(2), "b", vec![naming.clone()])))).len(), 0);
        let outcome = crate::model::Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome };
        let word = WishWord::Done { outcome, pages: Vec::new() };
        let said = bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
        assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)]);
        assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [naming.id]);
        assert!(bench.quarantined().contains_key(&own(1)), "what this replica did a person has to say");
    }
}

/// `a` asks `b` first; nobody has answered in time, and neither has this replica sent it. Then its service is well.
fn given_up_by_b(request: NewWrite) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = ["b", "a"].map(crate::model::SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(request);
    bench.wait(20_000);
    bench.handle(Event::Health { healthy: true });
    assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Skipped)));
    bench
}

fn late_word(verdict: Verdict) -> Event {
    let answer = (verdict == Verdict::Applied).then(|| answer(201));
    let outcome = crate::model::Outcome { verdict, answer, ..item(log(1), 1, 0).outcome };
    let word = Message::Word { id: own(1), attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } };
    Event::Message { from: crate::model::SiteName::new("b"), message: word }
}

fn asks_for_the_decision(asked: &[Effect]) -> bool {
    asked.iter().any(|effect| matches!(effect, Effect::Find { find: Find::Id(id), .. } if *id != own(1)))
}

/// What the journal answers from now on, in its order.
fn answer_all(bench: &mut Bench, asked: &[Effect]) -> Vec<Effect> {
    let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
    answers.into_iter().flat_map(|answer| bench.handle(answer)).collect()
}

/// Seed 12479: the late word of another site asked the journal for a decision, and meanwhile a person had the write
/// sent. What was read for the one was out of date for the other.
#[test]
fn while_a_late_word_asks_the_journal_an_order_is_rejected() {
    for verdict in [Verdict::Applied, Verdict::Void] {
        let mut bench = given_up_by_b(new_write("POST", 1, 0));
        let mut asked = bench.step(late_word(verdict));
        while !asks_for_the_decision(&asked) {
            assert!(!asked.is_empty(), "the journal is asked whether there is a decision");
            asked = bench.journal_answers(&asked);
        }
        assert!(is_rejected(&bench.handle(order(9, Operation::Resend)), 9));
        let sent = attempts(&answer_all(&mut bench, &asked)).len();
        assert_eq!((decisions(&bench), sent), (vec![(own(1), verdict)], usize::from(verdict == Verdict::Applied)));
    }
}

/// And the other way round: what comes of the order is the decision, once.
#[test]
fn a_late_word_does_not_take_a_write_from_the_order_that_sends_it() {
    for (verdict, asks) in [(Verdict::Applied, 0), (Verdict::Applied, 1), (Verdict::Void, 0), (Verdict::Void, 1)] {
        let mut bench = given_up_by_b(new_write("POST", 1, 0));
        let mut asked = bench.step(order(9, Operation::Resend));
        for _ in 0..asks {
            asked = bench.journal_answers(&asked);
        }
        bench.handle(late_word(verdict));
        let said = [asked.clone(), answer_all(&mut bench, &asked)].concat();
        let attempt = attempts(&said)[0].attempt;
        bench.handle(late_word(verdict));
        let said = bench.attempted(own(1), attempt, answered(201));
        assert_eq!(attempts(&said).len(), 0, "once");
        assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)]);
        assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
        let said = bench.submit(new_write("POST", 1, 0));
        assert_eq!(attempts(&said).len() + attempts(&bench.wait(900)).len(), 1, "its lane is free");
    }
}

/// Seed 4977: the decision leaves what this replica does to the order, and a crash forgets the order.
#[test]
fn an_order_that_a_crash_cut_short_leaves_its_write_in_quarantine_when_the_word_is_repeated() {
    let mut bench = given_up_by_b(new_write("POST", 1, 0));
    bench.handle(Event::Health { healthy: false });
    let ordered = bench.step(order(9, Operation::Resend));
    let told = bench.step(late_word(Verdict::Applied));
    answer_all(&mut bench, &ordered);
    answer_all(&mut bench, &told);
    assert_eq!(decisions(&bench), [(own(1), Verdict::Applied)]);
    bench.restart();
    bench.handle(Event::LinkUp { peer: crate::model::SiteName::new("b") });
    bench.handle(late_word(Verdict::Applied));
    assert!(bench.quarantined().contains_key(&own(1)), "nobody has applied it here");
    bench.handle(Event::Health { healthy: true });
    let said = bench.handle(order(10, Operation::Resend));
    assert_eq!(attempts(&said).len(), 1);
    bench.attempted(own(1), attempts(&said)[0].attempt, answered(201));
    assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
    assert!(bench.quarantined().is_empty());
}

/// Seed 312970: its entry is held until the copies of what turned out void are looked for; a crash before that brings
/// it back.
#[test]
fn what_a_late_word_made_void_is_not_sent_by_order() {
    for key in [0, 7] {
        let mut bench = given_up_by_b(new_write("POST", 1, key));
        let mut asked = bench.step(late_word(Verdict::Void));
        while decisions(&bench).is_empty() {
            assert!(!asked.is_empty(), "the journal is asked whether there is a decision");
            asked = bench.journal_answers(&asked);
        }
        bench.restart();
        assert!(bench.is_listed(own(1)), "a copy of it may wait");
        let said = bench.handle(order(9, Operation::Resend));
        assert!(matches!(reply_to(&said, 9), Some(Reply::Rejected { why }) if why.contains("was decided void")));
        assert_eq!(attempts(&said).len(), 0);
        assert_eq!(reply_to(&bench.handle(order(10, Operation::Discard)), 10), Some(&Reply::Done));
        assert_eq!(bench.core.mirror.series[&log(1)].decided, 2, "one decision");
        let decision = bench.row(crate::model::decision_of(own(1))).and_then(|row| row.outcome);
        assert_eq!(decision.map(|outcome| outcome.verdict), Some(Verdict::Void));
        assert!(!bench.is_listed(own(1)) && bench.quarantined().is_empty());
    }
}

/// It is still nobody's decision that it is void.
#[test]
fn what_was_sent_by_order_and_a_probe_does_not_find_stands_in_quarantine_again() {
    let mut bench = Bench::new(Settings { has_probe: true, ..settings("a", &["a", "b"]) });
    bench.submit(new_write("POST", 1, 0));
    bench.attempted(own(1), 1, broken());
    bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::Nothing });
    bench.wait(15_000);
    let attempt = attempts(&bench.handle(order(9, Operation::Resend)))[0].attempt;
    bench.attempted(own(1), attempt, broken());
    for _ in 0..40 {
        bench.handle(Event::Probed { id: own(1), attempt, result: ProbeResult::NotFound });
        bench.wait(500);
    }
    assert!(bench.is_listed(own(1)) && bench.quarantined().contains_key(&own(1)));
    assert_eq!(decisions(&bench), []);
    assert_eq!(attempts(&bench.handle(order(10, Operation::Resend))).len(), 1);
}

/// Its position is decided long since: nothing but the quarantine would bring it back after a crash.
#[test]
fn a_followed_write_that_is_sent_by_order_and_not_taken_is_tried_again_and_not_lost() {
    let mut bench = Bench::new(Settings { on_divergence: OnDivergence::Quarantine, ..settings("a", &["a", "b"]) });
    let id = WriteId { log: log(2), n: 1 };
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(id, 1, answered(404));
    let resend = |req| Event::Operator { req: ReqId(req), id: Some(id), operation: Operation::Resend };
    let attempt = attempts(&bench.handle(resend(9)))[0].attempt;
    assert!(!bench.is_listed(id));
    bench.attempted(id, attempt, answered(429));
    assert!(bench.is_listed(id));
    assert_eq!(attempts(&bench.wait(1_000)).iter().map(|a| a.id).collect::<Vec<_>>(), [id]);
    bench.attempted(id, attempt + 1, answered(429));
    bench.restart();
    assert!(bench.quarantined().contains_key(&id));
    assert_eq!(attempts(&bench.handle(resend(10))).len(), 1);
}

/// Two hundred 500s of one lane, on a site of its own.
fn with_many_in_quarantine(count: u64) -> Bench {
    let mut bench = Bench::new(settings("a", &["a"]));
    for n in 1..=count {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(500));
    }
    assert_eq!(bench.quarantined().len() as u64, count);
    assert!(bench.core.completer.quarantine.is_empty() && bench.core.live.is_empty(), "memory holds none of them");
    bench
}

fn decided_after(bench: &Bench, position: u64) -> Vec<(WriteId, Verdict)> {
    let items = bench.core.mirror.series[&log(1)].tail_after(position, usize::MAX, usize::MAX);
    items.iter().filter_map(|item| Some((item.decides?.0, item.outcome.verdict))).collect()
}

fn orders(req: u64, ids: &[u64], operation: Operation, keep_going: bool) -> Event {
    let ids = ids.iter().map(|n| own(*n)).collect();
    Event::Orders { req: ReqId(req), ids, operation, keep_going }
}

#[test]
fn a_full_quarantine_stops_nobody_and_one_order_is_about_many() {
    let mut bench = with_many_in_quarantine(200);
    let said = bench.submit(new_write("POST", 900, 0));
    assert_eq!(attempts(&said).len(), 1, "a client is served");
    bench.attempted(own(201), 1, answered(201));
    let all: Vec<u64> = (1..=200).collect();
    // Whatever the journal's readers do: their answers come in any order, and nothing is done before all are there.
    let mut answers: Vec<Event> =
        bench.step(orders(900, &all, Operation::Applied, false)).iter().filter_map(|e| bench.journal_says(e)).collect();
    answers.reverse();
    assert!(decided_after(&bench, 201).is_empty());
    let said: Vec<Effect> = answers.into_iter().flat_map(|answer| bench.handle(answer)).collect();
    let done = Ordered { done: 200, ..Ordered::default() };
    assert_eq!(reply_to(&said, 900), Some(&Reply::Orders(done)));
    let decided: Vec<WriteId> = decided_after(&bench, 201).into_iter().map(|(id, _)| id).collect();
    assert_eq!(decided, all.iter().map(|n| own(*n)).collect::<Vec<_>>(), "in the order in which they were named");
    assert!(bench.quarantined().is_empty() && bench.core.completer.orders.is_empty());
}

#[test]
fn an_order_about_many_goes_up_to_the_first_that_is_rejected_or_on() {
    for (keep_going, done) in [(false, 2), (true, 4)] {
        let mut bench = with_many_in_quarantine(5);
        // Of the third the request is gone: it cannot be sent.
        bench.record(&[Op::DropRequest(own(3))]);
        let said = bench.handle(orders(900, &[1, 2, 3, 4, 5, 4], Operation::Resend, keep_going));
        let Some(Reply::Orders(ordered)) = reply_to(&said, 900) else { panic!("{said:?}") };
        assert_eq!((ordered.done, ordered.gone, ordered.busy), (done, 0, false));
        assert_eq!(ordered.rejected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [own(3)]);
        assert_eq!(attempts(&said).len() as u64, done, "lanes of their own");
    }
}

/// Nobody's memory holds them: what an order does with one is durable, and the other is about nothing any more.
#[test]
fn of_two_orders_about_many_each_write_is_in_one() {
    let mut bench = with_many_in_quarantine(6);
    let asked = bench.step(orders(900, &[1, 2, 3, 4], Operation::Discard, false));
    let said = bench.handle(orders(901, &[3, 4, 5, 6], Operation::Applied, false));
    assert!(matches!(reply_to(&said, 901), Some(Reply::Orders(Ordered { done: 2, gone: 0, .. }))), "{said:?}");
    let single = Event::Operator { req: ReqId(902), id: Some(own(1)), operation: Operation::Applied };
    assert!(is_rejected(&bench.handle(single), 902));
    let said = answer_all(&mut bench, &asked);
    assert!(matches!(reply_to(&said, 900), Some(Reply::Orders(Ordered { done: 4, .. }))), "{said:?}");
    let verdicts: Vec<_> = decided_after(&bench, 6).into_iter().map(|(id, verdict)| (id.n, verdict)).collect();
    let (void, applied) = (Verdict::Void, Verdict::Applied);
    assert_eq!(verdicts, [(5, applied), (6, applied), (1, void), (2, void), (3, void), (4, void)]);
    assert!(bench.quarantined().is_empty());
    for (ids, operation) in
        [(0..300).collect::<Vec<_>>(), vec![1]].into_iter().zip([Operation::Discard, Operation::Resume])
    {
        assert!(is_rejected(&bench.handle(orders(903, &ids, operation, false)), 903), "{operation:?}");
    }
}
