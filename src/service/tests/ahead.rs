//! Writes of a site out of reach that another one has decided: told of ahead of their positions.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{After, Chain, Item, Lane, LogId, SiteName, Verdict, WriteId, decision_of};

/// Of site `c`, which is out of reach; `b` has decided it.
const FAR: WriteId = WriteId { log: LogId { store: [3; 16], incarnation: 1 }, n: 5 };
/// What `b` decided then, and names it.
const NAMING: WriteId = WriteId { log: LogId { store: [2; 16], incarnation: 1 }, n: 1 };

fn far(position: u64) -> Item {
    let mut item = item(FAR.log, position, 0);
    (item.id, item.facts.lane) = (FAR, Lane(50));
    item
}

fn naming() -> Message {
    let mut item = item(NAMING.log, 1, 0);
    item.facts.lane = Lane(8);
    item.outcome.after.add_id(FAR);
    Message::Page(page_of(NAMING.log, "b", vec![item]))
}

fn ahead() -> Message {
    Message::Ahead { site: SiteName::new("c"), item: Arc::new(far(0)) }
}

/// It is wished that this site decides it.
fn wish() -> Message {
    let Item { facts, request, .. } = far(0);
    let request = request.expect("it has one");
    Message::Wish(Box::new(Wish {
        id: FAR,
        attempt: 1,
        after_ms: 800,
        facts,
        must: Default::default(),
        request,
        pages: Vec::new(),
    }))
}

/// The position that its origin gives it in the end.
fn position(verdict: Verdict) -> Message {
    let mut item = far(1);
    item.outcome.verdict = verdict;
    Message::Page(page_of(FAR.log, "c", vec![item]))
}

fn sent(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// What `b` is asked to tell of meanwhile.
fn missing(effects: &[Effect]) -> Vec<WriteId> {
    let asked = messages(effects).into_iter().filter_map(|(to, message)| match message {
        Message::Status(status) if to == "b" => Some(status.missing.clone()),
        _ => None,
    });
    asked.flatten().collect()
}

/// `c` is out of reach, and `b` names its write.
fn bench() -> Bench {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.handle(Event::LinkDown { peer: SiteName::new("c") });
    assert_eq!(sent(&bench.hear("b", naming())), []);
    bench
}

#[test]
fn what_an_unreachable_site_began_is_asked_for_applied_and_named() {
    let mut bench = bench();
    assert_eq!(missing(&bench.wait(1_600)), [FAR]);
    assert_eq!(sent(&bench.hear("b", ahead())), [FAR]);
    assert_eq!(sent(&bench.hear("b", ahead())), [], "it may be told of twice");
    assert_eq!(missing(&bench.wait(1_600)), []);
    assert_eq!(sent(&bench.attempted(FAR, 1, answered(201))), [NAMING]);
    bench.submit(new_write("POST", 9, 0));
    let after = bench.core.live[&own(1)].tries.after.clone().expect("it is on its way");
    assert_eq!(after.ids(), [FAR], "its position is not known");
    bench.handle(Event::LinkUp { peer: SiteName::new("c") });
    assert_eq!(sent(&bench.hear("c", position(Verdict::Applied))), [], "it is done");
    assert_eq!(bench.row(FAR).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
    bench.attempted(NAMING, 1, answered(201));
    bench.submit(new_write("POST", 10, 0));
    let after = bench.core.live[&own(2)].tries.after.clone().expect("it is on its way");
    assert!(after.ids().is_empty() && after.covers(FAR.log, 1));
    assert!(!bench.core.live.contains_key(&FAR));
}

#[test]
fn what_its_origin_can_tell_of_is_not_asked_for() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    // Of `c`'s series something has come; of `d`'s nothing ever.
    bench.hear("c", Message::Page(page(FAR.log, "c", 1, 1)));
    bench.hear("b", naming());
    assert_eq!(missing(&bench.wait(1_600)), []);
    bench.handle(Event::LinkDown { peer: SiteName::new("c") });
    assert_eq!(missing(&bench.wait(1_000)), [FAR]);
    assert_eq!(missing(&bench.wait(1_500)), [FAR], "not with each status, and again");
}

/// All that is known to be missing is asked for at once, but nothing that only a client names.
#[test]
fn what_is_asked_for_are_all_that_entries_and_outcomes_name() {
    let id = |n| WriteId { n, ..FAR };
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = vec![SiteName::new("b")];
    let mut bench = Bench::new(settings);
    bench.handle(Event::LinkDown { peer: SiteName::new("c") });
    // The late word of one, the outcome of another, a copy, and an entry with two.
    bench.submit(new_write("POST", 20, 0));
    bench.wait(20_000);
    bench.submit(new_write("POST", 21, 0));
    let word = |own_id, named| {
        let mut outcome = item(log(1), 1, 0).outcome;
        outcome.after.add_id(named);
        Message::Word { id: own_id, attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } }
    };
    bench.hear("b", word(own(1), id(1)));
    bench.hear("b", word(own(2), id(2)));
    let mut items: Vec<Item> = (1..=2).map(|position| item(NAMING.log, position, 0)).collect();
    items[0].outcome.verdict = Verdict::Duplicate;
    items[0].outcome.repeats = Some(id(3));
    [id(4), id(5)].into_iter().for_each(|named| items[1].outcome.after.add_id(named));
    bench.hear("b", Message::Page(page_of(NAMING.log, "b", items)));
    let mut write = new_write("POST", 22, 0);
    write.seen.add_id(id(6));
    bench.submit(write);
    let mut asked = missing(&bench.wait(1_600));
    asked.dedup();
    assert_eq!(asked, [1, 2, 3, 4, 5].map(id));
}

#[test]
fn its_decider_tells_of_it() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let asks = |bench: &mut Bench| {
        let said = bench.status_with("b", true, Vec::new(), vec![FAR]);
        let told = messages(&said).into_iter().filter_map(|(to, message)| match message {
            Message::Ahead { site, item } => Some((to.to_owned(), site.as_str().to_owned(), item.clone())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    bench.hear("c", wish());
    assert!(asks(&mut bench).is_empty(), "nobody has decided it");
    bench.attempted(FAR, 1, answered(201));
    let told = asks(&mut bench);
    let [(to, site, item)] = told.as_slice() else { panic!("told once: {told:?}") };
    assert_eq!((to.as_str(), site.as_str(), item.id, item.position, item.chain), ("b", "c", FAR, 0, Chain::default()));
    assert_eq!((item.outcome.verdict, item.outcome.status, item.request.is_some()), (Verdict::Applied, 201, true));
    bench.hear("c", position(Verdict::Applied));
    assert!(asks(&mut bench).is_empty(), "it has its position");
}

#[test]
fn over_a_restart_it_is_applied_once_and_named() {
    for (before, attempts_after) in [(0, 1), (1, 0), (2, 0)] {
        let mut bench = bench();
        if before == 0 {
            bench.handle(Event::Health { healthy: false });
        }
        bench.hear("b", ahead());
        if before == 2 {
            bench.attempted(FAR, 1, answered(201));
        }
        let said = bench.restart();
        assert_eq!(sent(&said).iter().filter(|id| **id == FAR).count(), attempts_after, "{before}");
        match before {
            0 => _ = bench.attempted(FAR, 1, answered(201)),
            1 => {
                bench.wait(20_000);
                assert_eq!(bench.quarantined()[&FAR].reason, QuarantineReason::UnknownOutcome);
                continue;
            }
            _ => {}
        }
        bench.submit(new_write("POST", 9, 0));
        assert_eq!(bench.core.live[&own(1)].tries.after.as_ref().expect("it is on its way").ids(), [FAR], "{before}");
    }
}

/// Its origin settled it otherwise: applied here, it is contrary; not here yet, it is skipped.
#[test]
fn what_its_origin_settled_otherwise_is_told_apart() {
    let contrary = Some(Fate::Quarantined(QuarantineReason::Contrary));
    let table = [
        (Verdict::Refused, answered(201), contrary.clone(), Fate::Quarantined(QuarantineReason::Contrary)),
        (Verdict::Refused, never_sent(), Some(Fate::Skipped), Fate::Quarantined(QuarantineReason::Contrary)),
        (Verdict::Undecided, answered(201), Some(Fate::Applied), Fate::Applied),
        (Verdict::Applied, answered(201), Some(Fate::Applied), Fate::Applied),
    ];
    for (verdict, result, meanwhile, afterwards) in table {
        // The position comes while it is at the service.
        let mut on_its_way = bench();
        on_its_way.hear("b", ahead());
        on_its_way.hear("b", position(verdict));
        on_its_way.attempted(FAR, 1, result);
        let fate = on_its_way.row(FAR).map(|row| row.here);
        assert_eq!(fate, meanwhile.map(Here::Decided), "{verdict:?}, on its way");
        // Or when it is done.
        let mut done = bench();
        done.hear("b", ahead());
        done.attempted(FAR, 1, answered(201));
        done.hear("b", position(verdict));
        assert_eq!(done.row(FAR).map(|row| row.here), Some(Here::Decided(afterwards)), "{verdict:?}, done");
        // Or when it waits.
        let mut waits = bench();
        waits.handle(Event::Health { healthy: false });
        waits.hear("b", ahead());
        waits.hear("b", position(verdict));
        let said = waits.handle(Event::Health { healthy: true });
        assert_eq!(sent(&said).contains(&FAR), verdict == Verdict::Applied, "{verdict:?}, waiting");
    }
}

#[test]
fn its_origin_undecided_hears_from_whoever_applied_it() {
    let mut bench = bench();
    bench.hear("b", ahead());
    bench.attempted(FAR, 1, answered(201));
    bench.handle(Event::LinkUp { peer: SiteName::new("c") });
    let said = bench.hear("c", position(Verdict::Undecided));
    let word = |(to, message): &(&str, &Message)| {
        let applied =
            |word: &WishWord| matches!(word, WishWord::Done { outcome, .. } if outcome.verdict == Verdict::Applied);
        *to == "c" && matches!(message, Message::Word { id, word, .. } if *id == FAR && applied(word))
    };
    assert!(messages(&said).iter().any(word));
    bench.submit(new_write("POST", 9, 0));
    let after = bench.core.live[&own(1)].tries.after.clone().expect("it is on its way");
    assert_eq!(after.ids(), [FAR], "the position that was skipped says nothing of it");
}

#[test]
fn a_replica_that_answers_otherwise_diverges() {
    let mut bench = bench();
    bench.hear("b", ahead());
    assert_eq!(sent(&bench.attempted(FAR, 1, answered(404))), [NAMING], "it holds up nothing");
    assert_eq!(bench.quarantined()[&FAR].reason, QuarantineReason::Divergence);
    // Discarded, it holds up nothing either, and is named as its position would be.
    bench.handle(Event::Operator { req: ReqId(9), id: Some(FAR), operation: Operation::Discard });
    assert_eq!(bench.row(FAR).map(|row| row.here), Some(Here::Decided(Fate::Void)));
    let mut items = vec![item(NAMING.log, 1, 0), item(NAMING.log, 2, 0)];
    items.iter_mut().for_each(|item| (item.facts.lane, item.outcome.after) = (Lane(7 + item.position), named_far()));
    let next = items[1].id;
    assert_eq!(sent(&bench.hear("b", Message::Page(page_of(NAMING.log, "b", items)))), [next]);
    for n in 1..=2 {
        bench.submit(new_write("POST", 20 + n, 0));
        assert_eq!(bench.core.live[&own(n)].tries.after, Some(named_far()), "also over a restart");
        bench.restart();
    }
}

fn named_far() -> After {
    let mut after = After::new();
    after.add_id(FAR);
    after
}

/// Asked for when it was not here; its wish, or its position, came before the journal had answered.
#[test]
fn what_comes_while_the_journal_is_asked_goes_first() {
    for with_wish in [false, true] {
        let mut bench = bench();
        let asked = bench.step(Event::Message { from: SiteName::new("b"), message: ahead() });
        let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
        let said = if with_wish {
            bench.handle(Event::LinkUp { peer: SiteName::new("c") });
            bench.hear("c", wish())
        } else {
            bench.hear("b", position(Verdict::Applied))
        };
        let late: Vec<Effect> = answers.into_iter().flat_map(|answer| bench.handle(answer)).collect();
        assert_eq!((sent(&said), sent(&late)), (vec![FAR], vec![]));
        let row = bench.row(FAR).expect("it is stored");
        assert_eq!(row.position.is_some(), !with_wish);
    }
}

#[test]
fn what_nobody_could_have_decided_is_not_taken() {
    let mut bench = bench();
    for change in [
        |item: &mut Item| item.request = None,
        |item: &mut Item| item.outcome.verdict = Verdict::Refused,
        |item: &mut Item| item.id.n = u64::MAX,
    ] {
        let mut item = far(0);
        change(&mut item);
        let said = bench.hear("b", Message::Ahead { site: SiteName::new("c"), item: Arc::new(item) });
        assert!(said.iter().any(|effect| matches!(effect, Effect::Note(Note::Invalid { .. }))));
    }
    for site in ["a", "x"] {
        let said = bench.hear("b", Message::Ahead { site: SiteName::new(site), item: Arc::new(far(0)) });
        assert_eq!(sent(&said), [], "{site}");
    }
    assert!(!bench.core.live.contains_key(&FAR));
}

/// Before it went out of reach, its origin had settled it as undecided: then what is told of is the decision.
#[test]
fn the_decision_about_what_an_unreachable_site_settled_undecided_is_told_of_too() {
    let decision = decision_of(FAR);
    let told = || {
        let item = Item { id: decision, decides: Some((FAR, 1)), ..far(0) };
        Message::Ahead { site: SiteName::new("c"), item: Arc::new(item) }
    };
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    assert_eq!(sent(&bench.hear("b", told())), [], "nothing is known here of what it decides");
    bench.hear("c", position(Verdict::Undecided));
    bench.handle(Event::LinkDown { peer: SiteName::new("c") });
    assert_eq!(sent(&bench.hear("b", naming())), []);
    assert_eq!(missing(&bench.wait(1_600)), [FAR]);
    assert_eq!(sent(&bench.hear("b", told())), [decision]);
    assert_eq!(missing(&bench.wait(1_600)), []);
    assert_eq!(sent(&bench.attempted(decision, 1, answered(201))), [NAMING]);
    bench.submit(new_write("POST", 9, 0));
    assert_eq!(bench.core.live[&own(1)].tries.after.as_ref().expect("it is on its way").ids(), [decision]);
    let mut items = vec![far(1), item(FAR.log, 2, 0)];
    items[0].outcome.verdict = Verdict::Undecided;
    (items[1].id, items[1].decides) = (decision, Some((FAR, 1)));
    bench.handle(Event::LinkUp { peer: SiteName::new("c") });
    assert_eq!(sent(&bench.hear("c", Message::Page(page_of(FAR.log, "c", items)))), [], "it is done");
    assert_eq!(bench.core.mirror.series[&FAR.log].decided, 2);
}

/// A person has it in quarantine here; the decision says nothing about this replica.
#[test]
fn a_decision_about_what_stands_in_quarantine_here_holds_up_nothing() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.hear("c", wish());
    bench.attempted(FAR, 1, broken());
    bench.wait(20_000);
    bench.hear("c", position(Verdict::Undecided));
    bench.handle(Event::LinkDown { peer: SiteName::new("c") });
    assert!(bench.quarantined().contains_key(&FAR) && !bench.core.live.contains_key(&FAR));
    let mut next = item(NAMING.log, 1, 0);
    next.facts.lane = Lane(30);
    next.outcome.after.add_id(decision_of(FAR));
    let id = next.id;
    assert_eq!(sent(&bench.hear("b", Message::Page(page_of(NAMING.log, "b", vec![next])))), []);
    let told = Item { id: decision_of(FAR), decides: Some((FAR, 1)), ..far(0) };
    let told = Message::Ahead { site: SiteName::new("c"), item: Arc::new(told) };
    assert_eq!(sent(&bench.hear("b", told)), [id]);
}

/// Decided here, its word not heard: the same from the other side.
#[test]
fn who_owes_a_word_tells_others_of_the_decision_and_counts_it_as_made() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.hear("c", wish());
    bench.attempted(FAR, 1, answered(201));
    bench.hear("c", position(Verdict::Undecided));
    let said = bench.status_with("b", true, Vec::new(), vec![FAR, decision_of(FAR)]);
    let told = messages(&said).into_iter().filter_map(|(_, message)| match message {
        Message::Ahead { item, .. } => Some((item.id, item.decides, item.outcome.verdict)),
        _ => None,
    });
    let decision = (decision_of(FAR), Some((FAR, 1)), Verdict::Applied);
    assert_eq!(told.collect::<Vec<_>>(), [decision, decision]);
    let mut named = item(NAMING.log, 1, 0);
    named.outcome.after.add_id(decision_of(FAR));
    assert_eq!(sent(&bench.hear("b", Message::Page(page_of(NAMING.log, "b", vec![named])))), [NAMING]);
}

/// Seed 43360: the other site was told of the decision, and names it in what it answers.
#[test]
fn who_owes_a_word_takes_an_outcome_that_comes_after_the_decision() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = vec![SiteName::new("b"), SiteName::new("a")];
    let mut bench = Bench::new(settings);
    bench.hear("c", wish());
    bench.attempted(FAR, 1, answered(201));
    bench.hear("c", position(Verdict::Undecided));
    bench.submit(new_write("POST", 9, 0));
    let mut outcome = item(log(1), 1, 0).outcome;
    outcome.answer = Some(answer(201));
    outcome.after.add_id(decision_of(FAR));
    let word = WishWord::Done { outcome, pages: Vec::new() };
    let said = bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
    assert!(matches!(reply_to(&said, 1), Some(Reply::Answer { .. })));
}

/// Two sites are owed a word each; who speaks first leaves the other its turn.
#[test]
fn each_site_hears_the_words_that_it_is_owed() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    for (site, log) in [("b", NAMING.log), ("c", FAR.log)] {
        let mut of_it = item(log, 1, 0);
        of_it.facts.lane = Lane(u64::from(log.store[0]));
        let (id, request) = (of_it.id, of_it.request.clone().expect("it has one"));
        let (facts, must) = (of_it.facts.clone(), Default::default());
        let wish = Wish { id, attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() };
        bench.hear(site, Message::Wish(Box::new(wish)));
        bench.attempted(id, 1, answered(201));
        of_it.outcome.verdict = Verdict::Undecided;
        bench.hear(site, Message::Page(page_of(log, site, vec![of_it])));
    }
    for _ in 0..3 {
        bench.wait(1_600);
        for site in ["b", "c"] {
            let said = bench.status(site, true, Vec::new());
            let words = messages(&said).into_iter().filter(|(to, m)| *to == site && matches!(m, Message::Word { .. }));
            assert_eq!(words.count(), 1, "{site}");
        }
    }
}
