//! What a second request with a key gets, and which writes are one.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here};
use crate::model::{After, Answer, Item, KeyHash, Lane, LogId, Outcome, Problem, SiteName, Verdict, WriteId};
use crate::service::write::Stage;

fn bench() -> Bench {
    Bench::new(settings("a", &["a", "b", "c"]))
}

/// Another site's first item, with the key 7, answered so.
fn keyed(log: LogId, verdict: Verdict, status: u16) -> Item {
    let mut item = item(log, 1, 0);
    item.facts.key = Some(KeyHash([7; 16]));
    item.facts.lane = Lane(u64::from(log.store[0]));
    item.outcome = Outcome { verdict, status, answer: Some(answer(status)), ..item.outcome };
    item
}

fn hear(bench: &mut Bench, site: &str, item: Item) -> Vec<Effect> {
    bench.hear(site, Message::Page(page_of(item.id.log, site, vec![item])))
}

fn first(n: u8) -> WriteId {
    WriteId { log: log(n), n: 1 }
}

fn replayed(effects: &[Effect], req: u64) -> Option<(WriteId, u16)> {
    match reply_to(effects, req) {
        Some(Reply::Answer { id, answer, replayed: true, .. }) => Some((*id, answer.status)),
        _ => None,
    }
}

#[test]
fn of_several_records_of_a_key_success_wins_and_then_the_lower_log() {
    let table = [
        ((Verdict::Applied, 201), (Verdict::Applied, 200), (first(2), 201)),
        ((Verdict::Refused, 404), (Verdict::Applied, 200), (first(3), 200)),
        ((Verdict::Applied, 201), (Verdict::Refused, 404), (first(2), 201)),
        ((Verdict::Duplicate, 404), (Verdict::Applied, 200), (first(3), 200)),
        ((Verdict::Duplicate, 201), (Verdict::Applied, 200), (first(2), 201)),
        ((Verdict::Refused, 404), (Verdict::Refused, 409), (first(2), 404)),
    ];
    for (of_b, of_c, wins) in table {
        let mut bench = bench();
        hear(&mut bench, "c", keyed(log(3), of_c.0, of_c.1));
        hear(&mut bench, "b", keyed(log(2), of_b.0, of_b.1));
        assert_eq!(replayed(&bench.submit(new_write("POST", 9, 7)), 1), Some(wins), "{of_b:?} {of_c:?}");
    }
}

#[test]
fn a_key_with_another_request_is_refused() {
    let mut bench = bench();
    hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
    let mut write = new_write("POST", 9, 7);
    write.facts.digest = crate::model::Digest([1; 32]);
    assert_eq!(problem_of(&bench.submit(write), 1), Some(&Problem::KeyReused));
}

#[test]
fn what_nobody_knows_or_kept_is_told_so() {
    let mut bench = bench();
    let mut item = keyed(log(2), Verdict::Undecided, 0);
    (item.outcome.answer, item.request) = (None, None);
    hear(&mut bench, "b", item);
    assert_eq!(problem_of(&bench.submit(new_write("POST", 9, 7)), 1), Some(&Problem::OutcomeUnknown));

    bench.submit(new_write("POST", 1, 8));
    let large = Arc::new(Answer { omitted: Some(crate::model::Digest([0; 32])), ..Answer::clone(&answer(201)) });
    let said = bench.attempted(own(2), 1, AttemptResult::Answered(large));
    assert!(matches!(reply_to(&said, 2), Some(Reply::Answer { replayed: false, .. })), "the first has all of it");
    assert_eq!(problem_of(&bench.submit(new_write("POST", 1, 8)), 3), Some(&Problem::ReplayUnavailable));
}

#[test]
fn what_was_not_executed_leaves_the_key_free() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 8));
    bench.attempted(own(1), 1, answered(429));
    assert_eq!(attempts(&bench.submit(new_write("POST", 1, 8))).len(), 1);
}

#[test]
fn who_gets_a_recorded_answer_has_seen_its_write() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 8));
    bench.attempted(own(1), 1, answered(201));
    let said = bench.submit(new_write("POST", 1, 8));
    assert_eq!(replayed(&said, 2), Some((own(1), 201)));
    assert!(matches!(reply_to(&said, 2), Some(Reply::Answer { seen, .. }) if seen.position(log(1)) == 1));
    hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
    let said = bench.submit(new_write("POST", 1, 7));
    assert!(
        matches!(reply_to(&said, 3), Some(Reply::Answer { seen, .. }) if seen.position(log(2)) == 1),
        "undecided here"
    );
}

/// Its origin may settle it without this site's word, which is owed only where it was applied.
#[test]
fn who_gets_a_recorded_answer_waits_for_nothing_that_may_never_be_told() {
    for (status, names) in [(201, true), (404, false), (500, false)] {
        let mut bench = Bench::new(Settings { has_probe: false, ..settings("a", &["a", "b"]) });
        let Item { facts, .. } = keyed(log(2), Verdict::Applied, status);
        let (id, must, request) = (first(2), After::new(), request("POST", "/sales"));
        bench.hear(
            "b",
            Message::Wish(Box::new(Wish { id, attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() })),
        );
        bench.attempted(first(2), 1, answered(status));
        let said = bench.submit(new_write("POST", 1, 7));
        assert_eq!(replayed(&said, 1), Some((first(2), status)));
        let Some(Reply::Answer { seen, .. }) = reply_to(&said, 1) else { panic!("{said:?}") };
        assert_eq!(seen.ids().contains(&first(2)), names, "{status}");
    }
}

/// Its row was read before its outcome was there, and it left memory before that was told (G2).
#[test]
fn a_look_up_that_is_out_of_date_is_made_again() {
    let mut bench =
        Bench::new(Settings { limits: Limits { keys: 0, ..Limits::default() }, ..settings("a", &["a", "b"]) });
    bench.core.idempotency.keys.stored(KeyHash([9; 16]));
    bench.submit(new_write("POST", 1, 7));
    let write = new_write("POST", 1, 7);
    let asked = bench.step(Event::Submit { req: ReqId(2), id: own(2), write });
    let stale: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
    assert_eq!(stale.len(), 1);
    bench.attempted(own(1), 1, answered(201));
    let said: Vec<Effect> = stale.into_iter().flat_map(|event| bench.handle(event)).collect();
    assert_eq!(replayed(&said, 2), Some((own(1), 201)));
}

/// The other site decided the same request meanwhile, and this replica has applied that.
#[test]
fn an_own_write_that_is_a_copy_gets_the_first_ones_answer() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("POST", 1, 7));
    hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
    bench.attempted(first(2), 1, answered(201));
    let said = bench.attempted(own(1), 1, answered(200));
    assert_eq!(attempts(&said).len(), 0, "it is not sent");
    assert_eq!(replayed(&said, 2), Some((own(2), 201)));
    let row = bench.row(own(2)).expect("it is settled");
    assert_eq!(row.here, Here::Decided(Fate::Duplicate(first(2))));
    assert_eq!(row.outcome.map(|o| (o.verdict, o.repeats)), Some((Verdict::Duplicate, Some(first(2)))));
}

#[test]
fn copies_from_two_sites_are_one_write_unless_one_renews_the_other() {
    for renews in [false, true] {
        let mut bench = bench();
        hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
        bench.attempted(first(2), 1, answered(201));
        let mut again = keyed(log(3), Verdict::Applied, 201);
        again.facts.renews = if renews { vec![first(2)] } else { Vec::new() };
        assert_eq!(attempts(&hear(&mut bench, "c", again)).len(), usize::from(renews));
        let fate = Here::Decided(Fate::Duplicate(first(2)));
        assert_eq!(bench.row(first(3)).is_some_and(|row| row.here == fate), !renews);
    }
    let mut bench = bench();
    hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
    bench.attempted(first(2), 1, answered(201));
    let mut other = keyed(log(3), Verdict::Applied, 201);
    other.facts.digest = crate::model::Digest([1; 32]);
    assert_eq!(attempts(&hear(&mut bench, "c", other)).len(), 1, "another request");
}

#[test]
fn a_copy_of_one_that_is_at_the_service_waits_for_it() {
    for (result, decided) in [(answered(201), true), (never_sent(), false), (answered(404), true)] {
        let mut bench =
            Bench::new(Settings { on_divergence: OnDivergence::Quarantine, ..settings("a", &["a", "b", "c"]) });
        hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
        assert_eq!(attempts(&hear(&mut bench, "c", keyed(log(3), Verdict::Applied, 201))).len(), 0);
        let said = bench.attempted(first(2), 1, result.clone());
        assert_eq!(attempts(&said).len(), 0, "{result:?}");
        let fate = Here::Decided(Fate::Duplicate(first(2)));
        assert_eq!(bench.row(first(3)).is_some_and(|row| row.here == fate), decided, "{result:?}");
    }
}

#[test]
fn the_origin_tells_what_it_knows_of_a_key() {
    let mut bench = bench();
    let asks = |bench: &mut Bench| {
        let said = bench.hear("b", question(5, 8));
        let known = |m: &Message| if let Message::Reply { token: 5, known } = m { Some(known.clone()) } else { None };
        messages(&said).iter().filter(|(to, _)| *to == "b").find_map(|(_, m)| known(m)).expect("it is told")
    };
    assert_eq!(asks(&mut bench), Known::Nothing);
    bench.submit(new_write("POST", 1, 8));
    assert_eq!(asks(&mut bench), Known::InFlight);
    bench.attempted(own(1), 1, answered(201));
    let Known::Recorded { id, answer: Some(_), seen, .. } = asks(&mut bench) else { panic!("recorded") };
    assert_eq!((id, seen.position(log(1))), (own(1), 1));
}

/// Its origin released the key, although this replica may have applied the first: the next of that key is it.
#[test]
fn what_comes_next_of_a_released_key_is_not_applied_beside_the_first() {
    for (verdict, passed) in [(Verdict::NotExecuted, true), (Verdict::NotExecuted, false), (Verdict::Void, true)] {
        let mut bench = bench();
        let mut released = keyed(log(2), verdict, 429);
        let (facts, request) = (released.facts.clone(), request("POST", "/sales"));
        let must = crate::model::After::new();
        let wish = Wish { id: first(2), attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() };
        bench.hear("b", Message::Wish(Box::new(wish)));
        bench.attempted(first(2), 1, broken());
        bench.wait(if passed { 15_000 } else { 1_000 });
        released.request = None;
        let mut next = keyed(log(2), Verdict::Applied, 201);
        (next.id.n, next.position, next.facts.lane) = (2, 2, Lane(50));
        let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![released, next.clone()])));
        assert_eq!(attempts(&said).len(), 0, "{verdict:?} {passed}");
        let fate = Here::Decided(Fate::Duplicate(first(2)));
        assert_eq!(bench.row(next.id).expect("it is stored").here == fate, passed);
    }
}

#[test]
fn copies_of_one_that_a_person_says_was_not_applied_are_applied_after_all() {
    let mut bench = bench();
    hear(&mut bench, "b", keyed(log(2), Verdict::Applied, 201));
    bench.attempted(first(2), 1, broken());
    bench.wait(15_000);
    assert_eq!(attempts(&hear(&mut bench, "c", keyed(log(3), Verdict::Applied, 201))).len(), 0);
    let event = Event::Operator { req: ReqId(9), id: Some(first(2)), operation: Operation::Discard };
    let said = bench.handle(event);
    assert_eq!(reply_to(&said, 9), Some(&Reply::Done));
    assert_eq!(attempts(&said).iter().map(|a| a.id).collect::<Vec<_>>(), [first(3)]);
}

/// The journal is asked for copies of another site's wish, and meanwhile it comes with its position and more to come
/// after (G3).
#[test]
fn what_became_a_shadow_while_the_journal_was_asked_waits_for_what_it_comes_after() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.core.idempotency.keys.stored(KeyHash([7; 16]));
    let id = WriteId { log: log(2), n: 1 };
    let NewWrite { facts, request, .. } = new_write("POST", 2, 7);
    let mut item = Item { facts: facts.clone(), ..item(log(2), 1, 0) };
    item.outcome.after.raise(log(3), 1);
    let wish = Wish { id, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
    let mut asked = bench.step(Event::Message { from: SiteName::new("b"), message: Message::Wish(Box::new(wish)) });
    let is_checking = |bench: &Bench| bench.core.live.get(&id).is_some_and(|write| write.stage == Stage::Checking);
    let answers = |bench: &mut Bench, asked: Vec<Effect>| -> Vec<Effect> {
        let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
        answers.into_iter().flat_map(|answer| bench.step(answer)).collect()
    };
    while !is_checking(&bench) {
        assert!(!asked.is_empty(), "the journal is asked for copies");
        asked = answers(&mut bench, asked);
    }
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
    assert!(is_checking(&bench));
    assert_eq!(attempts(&answers(&mut bench, asked)).len(), 0, "its decider had decided another one before");
    assert_eq!(bench.row(id).and_then(|row| row.position).map(|(position, _)| position), Some(1));
    bench.hear("c", Message::Page(page(log(3), "c", 1, 1)));
    let said = bench.attempted(WriteId { log: log(3), n: 1 }, 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [id]);
}

/// Asked twice, because a late word made a shadow of it in between: its lane is its own until it is answered.
#[test]
fn a_write_that_is_being_sent_keeps_its_place_when_the_journal_answers_again() {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = ["b", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(settings);
    bench.core.idempotency.keys.stored(KeyHash([7; 16]));
    let other = WriteId { log: log(3), n: 1 };
    bench.submit(new_write("POST", 5, 7));
    let mut outcome = Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome };
    outcome.after.add_id(other);
    let word = WishWord::Done { outcome, pages: Vec::new() };
    bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
    bench.now.mono_ms += 800;
    let first = bench.step(Event::Tick);
    assert_eq!(bench.core.live[&own(1)].stage, Stage::Checking);
    bench.hear("c", Message::Page(page(log(3), "c", 1, 1)));
    let second = bench.step(Event::Attempted { id: other, attempt: 1, result: answered(201) });
    let mut sent = Vec::new();
    for asked in [first, second] {
        let answers: Vec<Event> = asked.iter().filter_map(|effect| bench.journal_says(effect)).collect();
        sent.extend(answers.into_iter().flat_map(|answer| bench.step(answer)));
    }
    assert_eq!(attempts(&sent).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [own(1)]);
    assert_eq!(bench.core.replay.lanes.here(Lane(5)), Some(own(1)));
}

/// Nobody knew whether the first was applied; a person at its origin discarded it, which frees the key there. This
/// replica may have applied it: what comes next of that key is it, as where its origin settled it as void (G2).
#[test]
fn what_comes_next_of_a_key_that_was_discarded_late_is_not_applied_beside_the_first() {
    let mut bench = bench();
    let mut undecided = keyed(log(2), Verdict::Undecided, 0);
    let (facts, request) = (undecided.facts.clone(), request("POST", "/sales"));
    bench.hear("b", wish_to_decide(first(2), facts, request));
    bench.attempted(first(2), 1, broken());
    bench.wait(20_000);
    assert!(bench.is_listed(first(2)));
    (undecided.outcome.answer, undecided.request) = (None, None);
    let mut void = keyed(log(2), Verdict::Void, 0);
    (void.id, void.position, void.decides) = (crate::model::decision_of(first(2)), 2, Some((first(2), 1)));
    (void.outcome.answer, void.request) = (None, None);
    let mut next = keyed(log(2), Verdict::Applied, 201);
    (next.id.n, next.position, next.facts.lane) = (2, 3, Lane(50));
    let said = bench.hear("b", Message::Page(page_of(log(2), "b", vec![undecided, void, next.clone()])));
    assert_eq!(attempts(&said).len(), 0, "it may be applied here already");
    assert_eq!(bench.row(next.id).map(|row| row.here), Some(Here::Decided(Fate::Duplicate(first(2)))));
}
