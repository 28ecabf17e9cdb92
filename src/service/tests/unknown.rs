//! What a decider did not know when it sent a write, and what a follower makes of a divergence that may come of it.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{Answer, Header, Item, Lane, SiteName, Verdict, WriteId};

fn theirs(n: u64) -> WriteId {
    WriteId { log: log(2), n }
}

fn named(bench: &Bench, position: u64) -> Vec<WriteId> {
    bench.core.mirror.series[&log(1)].tail_item(position).expect("it is settled").outcome.unknown.clone()
}

/// Until a person has said it, over a restart too.
#[test]
fn a_write_names_those_of_which_its_decider_does_not_know_what_became() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("PUT", 2, 0));
    bench.submit(new_write("PUT", 3, 0));
    bench.attempted(own(2), 1, answered(200));
    assert_eq!(named(&bench, 1), [], "the other was at the service, and might have been answered");
    bench.attempted(own(1), 1, broken());
    bench.attempted(own(3), 1, answered(200));
    assert_eq!(named(&bench, 2), [], "it was sent before");
    let later = |bench: &mut Bench, n: u64| {
        bench.submit(new_write("PUT", 10 + n, 0));
        bench.attempted(own(n), 1, answered(200));
    };
    later(&mut bench, 4);
    assert_eq!(named(&bench, 3), [own(1)]);
    bench.wait(15_000);
    assert!(bench.is_listed(own(1)) && !bench.core.live.contains_key(&own(1)), "its lane has passed it");
    later(&mut bench, 5);
    assert_eq!(named(&bench, 5), [own(1)]);
    bench.restart();
    later(&mut bench, 6);
    assert_eq!(named(&bench, 6), [own(1)]);
    bench.handle(Event::Operator { req: ReqId(90), id: Some(own(1)), operation: Operation::Applied });
    later(&mut bench, 7);
    assert_eq!(named(&bench, 8), []);
}

#[test]
fn no_write_names_more_than_the_latest() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    for n in 1..=40 {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, broken());
    }
    bench.submit(new_write("PUT", 99, 0));
    bench.attempted(own(41), 1, answered(200));
    assert_eq!(named(&bench, 1), (25..=40).map(own).collect::<Vec<_>>());
}

/// Of b: a PUT on what a POST has made, of which b did not know it when it sent the PUT; and then what became of the
/// POST.
struct Story {
    put: Item,
    settled: Item,
    decision: Option<Item>,
}

fn story(is_undecided: bool) -> Story {
    let mut put = Item { id: theirs(2), request: Some(request("PUT", "/sales/1")), ..item(log(2), 1, 0) };
    (put.facts.lane, put.outcome.status) = (Lane(2), 200);
    put.outcome.unknown = vec![theirs(1)];
    let mut settled = Item { id: theirs(1), ..item(log(2), 2, 0) };
    settled.facts.lane = Lane(1);
    let mut decision = None;
    if is_undecided {
        let mut late = Item { position: 3, decides: Some((theirs(1), 2)), ..settled.clone() };
        late.id.n |= 1 << 40;
        decision = Some(late);
        (settled.outcome.verdict, settled.outcome.status, settled.request) = (Verdict::Undecided, 0, None);
    }
    Story { put, settled, decision }
}

fn hear(bench: &mut Bench, items: &[&Item]) -> Vec<Effect> {
    bench.hear("b", Message::Page(page_of(log(2), "b", items.iter().map(|item| (*item).clone()).collect())))
}

fn tried(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// The PUT was refused here, for the POST is not.
fn refused(story: &Story) -> Bench {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    assert_eq!(tried(&hear(&mut bench, &[&story.put])), [theirs(2)]);
    bench.attempted(theirs(2), 1, answered(404));
    let entry = bench.quarantined()[&theirs(2)].clone();
    assert_eq!((entry.reason, entry.status, entry.unknown), (QuarantineReason::Divergence, 404, vec![theirs(1)]));
    assert_eq!(bench.core.mirror.series[&log(2)].decided, 1, "it holds up nobody");
    assert_eq!(tried(&bench.wait(5_000)), [], "nor is it asked for again and again");
    bench
}

/// The POST comes, and is applied; with its late decision where it was settled without.
fn told(bench: &mut Bench, story: &Story) -> Vec<Effect> {
    let mut said = hear(bench, &[&story.put, &story.settled]);
    let mut id = theirs(1);
    if let Some(decision) = &story.decision {
        assert_eq!(tried(&said), [], "of what is not decided nobody knows more than before");
        said = hear(bench, &[&story.put, &story.settled, decision]);
        id = decision.id;
    }
    assert_eq!(tried(&said), [id]);
    bench.attempted(id, 1, answered(201))
}

#[test]
fn a_divergence_is_tried_once_more_when_what_its_decider_did_not_know_is_decided() {
    for (is_undecided, restarts) in [(false, false), (true, false), (false, true), (true, true)] {
        let story = story(is_undecided);
        let mut bench = refused(&story);
        if restarts {
            bench.restart();
            bench.handle(Event::LinkUp { peer: SiteName::new("b") });
            bench.status("b", true, Vec::new());
        }
        let said = told(&mut bench, &story);
        assert!(said.contains(&Effect::Note(Note::TriedOnceMore { id: theirs(2) })), "{is_undecided} {restarts}");
        let attempt = attempts(&said).into_iter().find(|attempt| attempt.id == theirs(2)).expect("it is sent");
        let number = attempt.attempt;
        bench.attempted(theirs(2), number, answered(200));
        assert!(bench.quarantined().is_empty());
        assert_eq!(bench.row(theirs(2)).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
    }
}

fn location(value: &str) -> Vec<Header> {
    vec![Header { name: "location".into(), value: value.as_bytes().to_vec() }]
}

/// It may have been applied: a person decides, whatever was not known (G2).
#[test]
fn what_may_have_been_applied_is_not_tried_once_more() {
    let elsewhere = Answer { headers: location("/sales/9"), ..Answer::clone(&answer(201)) };
    for said in [answered(500), AttemptResult::Answered(Arc::new(elsewhere))] {
        let mut story = story(false);
        (story.put.request, story.put.outcome.status) = (Some(request("POST", "/sales")), 201);
        let made = Answer { headers: location("/sales/1"), ..Answer::clone(&answer(201)) };
        story.put.outcome.answer = Some(Arc::new(made));
        let mut bench = Bench::new(settings("a", &["a", "b"]));
        hear(&mut bench, &[&story.put]);
        bench.attempted(theirs(2), 1, said);
        let entry = bench.quarantined()[&theirs(2)].clone();
        assert_eq!((entry.reason, entry.unknown), (QuarantineReason::Divergence, vec![]));
        assert_eq!(tried(&told(&mut bench, &story)), []);
    }
}

/// What still differs then is a divergence as any other.
#[test]
fn once_more_is_once() {
    let story = story(false);
    let mut bench = refused(&story);
    let said = told(&mut bench, &story);
    let mut number = attempts(&said)[0].attempt;
    let mut said = bench.attempted(theirs(2), number, answered(404));
    for _ in 0..4 {
        said.extend(bench.wait(2_000));
        number += 1;
        said = bench.attempted(theirs(2), number, answered(404));
    }
    let entry = bench.quarantined()[&theirs(2)].clone();
    assert_eq!((entry.reason, entry.unknown), (QuarantineReason::Divergence, vec![]));
    bench.restart();
    assert_eq!(tried(&bench.wait(60_000)), []);
}

#[test]
fn what_a_person_has_decided_meanwhile_is_not_tried() {
    for operation in [Operation::Discard, Operation::Applied] {
        let story = story(true);
        let mut bench = refused(&story);
        bench.handle(Event::Operator { req: ReqId(90), id: Some(theirs(2)), operation });
        assert_eq!(tried(&told(&mut bench, &story)), [], "{operation:?}");
    }
}

/// As what a person orders: later writes of its lane stay as they are.
#[test]
fn it_is_not_tried_over_later_writes_of_its_lane() {
    let story = story(true);
    let mut bench = refused(&story);
    bench.submit(new_write("PUT", 2, 0));
    bench.attempted(own(1), 1, answered(200));
    assert_eq!(tried(&told(&mut bench, &story)), []);
    assert!(bench.is_listed(theirs(2)));
}

/// It is decided here before the answer comes: there is nothing to wait for, and one more try is due at once.
#[test]
fn what_is_decided_while_it_is_tried_counts() {
    let story = story(false);
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let said = hear(&mut bench, &[&story.put, &story.settled]);
    assert_eq!(tried(&said), [theirs(2), theirs(1)]);
    bench.attempted(theirs(1), 1, answered(201));
    let said = bench.attempted(theirs(2), 1, answered(404));
    assert_eq!(tried(&said), [theirs(2)]);
}
