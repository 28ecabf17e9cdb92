//! What a site that is left alone may go on with, and what it must not bind itself to before (G8).
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here};
use crate::model::{After, Item, Lane, Outcome, SiteName, Stretch, Verdict, WriteId, decision_of};

/// Known to nobody here.
const FAR: WriteId = WriteId { log: crate::model::LogId { store: [3; 16], incarnation: 1 }, n: 5 };

fn sent(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// Items of `b`'s series, each of a lane of its own.
fn hear(bench: &mut Bench, items: Vec<Item>) -> Vec<Effect> {
    bench.hear("b", Message::Page(page_of(log(2), "b", items)))
}

fn items(count: u64) -> Vec<Item> {
    let in_lane = |position| {
        let mut item = item(log(2), position, 0);
        item.facts.lane = Lane(position);
        item
    };
    (1..=count).map(in_lane).collect()
}

fn theirs(n: u64) -> WriteId {
    WriteId { log: log(2), n }
}

#[test]
fn an_own_write_does_not_wait_for_what_stands_before_what_is_decided() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let mut items = items(4);
    items[1].outcome.after.add_id(FAR);
    assert_eq!(sent(&hear(&mut bench, items)), [1, 3, 4].map(theirs));
    for n in [1, 4, 3] {
        bench.attempted(theirs(n), 1, answered(201));
    }
    assert_eq!(sent(&bench.submit(new_write("POST", 9, 0))), [own(1)]);
    let after = bench.core.live[&own(1)].tries.after.clone().expect("it is on its way");
    assert_eq!((after.position(log(2)), after.beyond()), (1, &[Stretch { log: log(2), first: 3, last: 4 }][..]));
}

#[test]
fn a_follower_waits_for_each_position_of_a_stretch_and_for_none_before_it() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let mut naming = items(4);
    naming[0].outcome.after.add_id(FAR);
    hear(&mut bench, naming);
    let mut follows = item(log(4), 1, 0);
    follows.facts.lane = Lane(9);
    follows.outcome.after.add_stretch(Stretch { log: log(2), first: 3, last: 4 });
    let id = follows.id;
    assert_eq!(sent(&bench.hear("c", Message::Page(page_of(log(4), "c", vec![follows])))), []);
    assert_eq!(sent(&bench.attempted(theirs(2), 1, answered(201))), []);
    assert_eq!(sent(&bench.attempted(theirs(4), 1, answered(201))), []);
    assert_eq!(sent(&bench.attempted(theirs(3), 1, answered(201))), [id], "the first still waits");
}

/// The first own write was asked of the other site, and its lane has passed it.
fn with_a_word_to_come() -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![SiteName::new("b")];
    let mut bench = Bench::new(settings);
    bench.submit(new_write("POST", 11, 0));
    bench.wait(20_000);
    assert_eq!(bench.row(own(1)).map(|row| row.here), Some(Here::Decided(Fate::Skipped)));
    bench
}

fn word(id: WriteId, after: After) -> Message {
    let outcome = Outcome { answer: Some(answer(201)), after, ..item(log(1), 1, 0).outcome };
    Message::Word { id, attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } }
}

fn decision(bench: &Bench) -> Option<Verdict> {
    bench.row(decision_of(own(1))).and_then(|row| row.outcome).map(|outcome| outcome.verdict)
}

#[test]
fn a_late_word_is_a_decision_when_what_it_comes_after_is_here() {
    let mut bench = with_a_word_to_come();
    let (mut position, mut named) = (After::new(), After::new());
    position.raise(log(2), 2);
    named.add_id(theirs(2));
    for after in [&position, &named] {
        bench.hear("b", word(own(1), after.clone()));
        assert_eq!(decision(&bench), None, "a cut might keep it away");
    }
    hear(&mut bench, items(2));
    bench.hear("b", word(own(1), named));
    bench.hear("b", word(own(1), position));
    assert_eq!(decision(&bench), Some(Verdict::Applied));
}

/// Seeds 30028 and 34212: what its client had seen, or what it names, came here much later, or after it: nobody could
/// follow.
#[test]
fn what_a_person_decides_comes_after_what_is_decided_here() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = vec![SiteName::new("b")];
    let mut bench = Bench::new(settings);
    hear(&mut bench, items(2));
    bench.attempted(theirs(1), 1, answered(201));
    bench.attempted(theirs(2), 1, answered(201));
    bench.says_it_has("b", log(2), 9);
    let mut write = new_write("POST", 11, 0);
    write.seen.raise(log(2), 9);
    write.seen.add_id(FAR);
    bench.submit(write);
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    bench.wait(30_000);
    let after_of = |bench: &Bench, id| bench.row(id).and_then(|row| row.outcome).map(|outcome| outcome.after);
    let settled = after_of(&bench, own(1)).expect("it is settled");
    assert_eq!((settled.position(log(2)), settled.ids()), (9, &[FAR][..]), "as it was wished");
    bench.handle(Event::Operator { req: ReqId(9), id: Some(own(1)), operation: Operation::Applied });
    let decided = after_of(&bench, decision_of(own(1))).expect("it is decided");
    assert_eq!((decided.position(log(2)), decided.ids()), (2, &[][..]));
}

/// Seed 64037: the other site applied the first, and this replica could not tell whether it did. That is no decision to
/// wait for.
#[test]
fn a_late_word_waits_for_no_decision_about_what_was_decided() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![SiteName::new("b")];
    let mut bench = Bench::new(settings);
    bench.submit(new_write("POST", 10, 0));
    assert_eq!(sent(&bench.hear("b", word(own(1), After::new()))), [own(1)]);
    bench.attempted(own(1), 1, broken());
    bench.wait(20_000);
    assert!(bench.quarantined().contains_key(&own(1)));
    bench.restart();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let (log, site, chain) = (log(1), SiteName::new("a"), bench.core.mirror.series[&log(1)].chain);
    bench.status("b", true, vec![Cursor { log, site, received: 1, chain, decided: 1, want: false, again: 0 }]);
    bench.submit(new_write("POST", 11, 0));
    bench.wait(20_000);
    let mut after = After::new();
    after.add_id(own(1));
    bench.hear("b", word(own(2), after.clone()));
    bench.hear("b", word(own(2), after));
    assert!(bench.row(decision_of(own(2))).is_some());
}

/// Seed 2481: the decision was on its way when it was asked for, and later nobody asked again.
#[test]
fn a_late_word_is_a_decision_when_what_it_names_was_decided_meanwhile() {
    let mut bench = with_a_word_to_come();
    let mut items = items(2);
    items[0].outcome.verdict = Verdict::Undecided;
    (items[1].id, items[1].decides) = (decision_of(theirs(1)), Some((theirs(1), 1)));
    let mut after = After::new();
    after.add_id(theirs(1));
    hear(&mut bench, items[..1].to_vec());
    bench.hear("b", word(own(1), after.clone()));
    assert_eq!(decision(&bench), None, "what it names is not decided");
    assert_eq!(sent(&hear(&mut bench, items)), [decision_of(theirs(1))]);
    bench.core.lookups.forget_final();
    bench.attempted(decision_of(theirs(1)), 1, answered(201));
    bench.core.lookups.forget_final();
    for _ in 0..2 {
        bench.hear("b", word(own(1), after.clone()));
    }
    assert_eq!(decision(&bench), Some(Verdict::Applied));
}

/// The own service is down: what waits for it, and what names that, holds up nobody whom another site answers.
#[test]
fn what_only_this_replica_is_late_with_holds_up_no_outcome() {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![SiteName::new("b"), SiteName::new("a")];
    let mut bench = Bench::new(settings);
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 11, 0));
    let is_answered = |said: &[Effect], req| matches!(reply_to(said, req), Some(Reply::Answer { .. }));
    assert!(is_answered(&bench.hear("b", word(own(1), After::new())), 1));
    let mut naming = items(1);
    naming[0].outcome.after.add_id(own(1));
    hear(&mut bench, naming);
    bench.submit(new_write("POST", 12, 0));
    let mut behind = After::new();
    behind.raise(log(2), 1);
    behind.add_id(own(1));
    assert!(is_answered(&bench.hear("b", word(own(2), behind)), 2));
}

/// What is stored here waits for the decision about the first; the outcome of the second comes after that.
#[test]
fn no_outcome_is_settled_behind_what_waits_for_a_word() {
    let mut bench = with_a_word_to_come();
    let mut naming = items(2);
    naming[0].outcome.after.add_id(own(1));
    naming[1].outcome.after.raise(log(2), 1);
    assert_eq!(sent(&hear(&mut bench, naming)), []);
    bench.submit(new_write("POST", 12, 0));
    let (mut direct, mut behind) = (After::new(), After::new());
    direct.add_id(own(1));
    behind.raise(log(2), 2);
    for after in [&direct, &behind] {
        assert_eq!(reply_to(&bench.hear("b", word(own(2), after.clone())), 2), None);
        assert_eq!(bench.core.live[&own(2)].row.position, None);
    }
    // What it comes after may come with it.
    let mut items = items(3);
    items[0].outcome.after.add_id(own(1));
    (2..=3).for_each(|position| items[position - 1].outcome.after.raise(log(2), position as u64 - 1));
    let all = page_of(log(2), "b", items);
    let pages = vec![Page { from: 2, items: all.items[2..].to_vec(), ..all }];
    behind.raise(log(2), 3);
    let outcome = Outcome { answer: Some(answer(201)), after: behind, ..item(log(1), 1, 0).outcome };
    let with_pages = Message::Word { id: own(2), attempt: 1, word: WishWord::Done { outcome, pages } };
    assert_eq!(reply_to(&bench.hear("b", with_pages), 2), None);
    assert_eq!((bench.core.mirror.series[&log(2)].received, bench.core.live[&own(2)].row.position), (3, None));
    let said = bench.hear("b", word(own(1), After::new()));
    assert_eq!(decision(&bench), Some(Verdict::Applied));
    assert_eq!(sent(&said), [decision_of(own(1))]);
    let said = bench.attempted(decision_of(own(1)), 1, answered(201));
    assert!(matches!(reply_to(&said, 2), Some(Reply::Answer { .. })), "now it is");
}

/// After a restart a backlog is read from the journal. What was read for a connection that is gone leads to nothing:
/// asked for on, it would be read again and again until the line is back.
#[test]
fn what_was_read_for_a_connection_that_is_gone_has_no_effect() {
    let (b, of) = (SiteName::new("b"), log(1));
    let wants = Cursor {
        log: of,
        site: SiteName::new("a"),
        received: 0,
        chain: crate::model::Chain::default(),
        decided: 0,
        want: true,
        again: 0,
    };
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    for n in 1..=3 {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(201));
    }
    bench.restart();
    bench.handle(Event::LinkUp { peer: b.clone() });
    let read = |effects: &[Effect]| effects.iter().filter(|e| matches!(e, Effect::ReadSeries { .. })).count();
    let items = |bench: &Bench| {
        let asked = Effect::ReadSeries { log: of, from: 1, items_max: 9, bytes_max: 9_999, for_peer: Some(b.clone()) };
        bench.journal_says(&asked).expect("the journal answers")
    };
    let status = |count| {
        let cursors = vec![wants.clone()];
        let (heard, missing) = (Vec::new(), Vec::new());
        let (healthy, last, lag_ms) = (true, false, 0);
        let status = Status {
            count,
            log: log(2),
            state: 1,
            heard,
            healthy,
            last,
            hangs: false,
            lag_ms,
            retried_ms: 0,
            cursors,
            missing,
        };
        Event::Message { from: b.clone(), message: Message::Status(status) }
    };
    assert_eq!(read(&bench.step(status(100))), 1);
    bench.step(Event::LinkDown { peer: b.clone() });
    let late = items(&bench);
    assert_eq!(bench.step(late), [], "nobody is there to get it");
    // The next connection begins anew, once.
    bench.step(Event::LinkUp { peer: b.clone() });
    let late = items(&bench);
    assert_eq!(
        bench.step(late).iter().filter(|e| !matches!(e, Effect::Note(_))).count(),
        0,
        "it has not said what it wants"
    );
    assert_eq!(read(&bench.step(status(101))), 1);
    let late = items(&bench);
    let pages = messages(&bench.step(late)).len();
    assert_eq!(pages, 1);
}
