//! What clients of a site were told stays so, and binds it (G3, G4).
use super::super::testing::*;
use super::super::*;
use crate::model::{After, Answer, Facts, Item, KeyHash, LogId, Outcome, Problem, SiteName, Verdict, WriteId};
use std::sync::Arc;

fn first(log: LogId) -> WriteId {
    WriteId { log, n: 1 }
}

/// Position 1 of a site's series, with key 7, settled so.
fn settled(of: LogId, verdict: Verdict, status: u16) -> Item {
    let base = item(of, 1, 0);
    let facts = Facts { key: Some(KeyHash([7; 16])), lane: crate::model::Lane(7), ..base.facts };
    let answer = (status != 0).then(|| answer(status));
    let outcome = Outcome { verdict, status, answer, ..base.outcome };
    let request = base.request.filter(|_| verdict == Verdict::Applied);
    Item { facts, outcome, request, ..base }
}

fn wish_of(of: LogId) -> Message {
    let facts = settled(of, Verdict::Applied, 201).facts;
    wish_to_decide(first(of), facts, request("POST", "/sales"))
}

fn page_at(of: LogId, site: &str, item: Item) -> Message {
    Message::Page(page_of(of, site, vec![item]))
}

fn told(effects: &[Effect], req: u64) -> Option<u16> {
    match reply_to(effects, req)? {
        Reply::Answer { answer, replayed: true, .. } => Some(answer.status),
        _ => None,
    }
}

/// Site `b` wished it, this site decided it, `b` heard nothing and settled it: (ours, theirs, what the key is told
/// here).
const SETTLED_OTHERWISE: [(u16, Verdict, u16, u16); 8] = [
    (201, Verdict::Undecided, 0, 201),
    (404, Verdict::Undecided, 0, 404),
    (500, Verdict::Undecided, 0, 500),
    (201, Verdict::Void, 0, 201),
    (201, Verdict::Refused, 409, 201),
    (404, Verdict::Void, 0, 404),
    // Another replica applied it: of two recorded answers success wins.
    (404, Verdict::Applied, 201, 201),
    (201, Verdict::NotExecuted, 429, 201),
];

#[test]
fn what_this_replica_decided_stays_its_answer_whatever_its_origin_settles() {
    for (ours, theirs, status, stays) in SETTLED_OTHERWISE {
        for told_before in [false, true] {
            let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
            bench.hear("b", wish_of(log(2)));
            bench.attempted(first(log(2)), 1, answered(ours));
            if told_before {
                assert_eq!(told(&bench.submit(new_write("POST", 9, 7)), 1), Some(ours));
            }
            bench.hear("b", page_at(log(2), "b", settled(log(2), theirs, status)));
            let next = bench.submit(new_write("POST", 9, 7));
            let req = if told_before { 2 } else { 1 };
            assert_eq!(told(&next, req), Some(stays), "{ours} here, {theirs:?} by its origin");
            // Over a restart too, when it is no longer in memory, and in a cut.
            bench.restart();
            bench.handle(Event::LinkUp { peer: SiteName::new("c") });
            let again = bench.submit(new_write("POST", 9, 7));
            assert_eq!(told(&again, req + 1), Some(stays), "{ours}, {theirs:?}, after a restart");
            // Another site that asks is told the same.
            let question = bench.hear("c", question(3, 7));
            let says = messages(&question).into_iter().any(|(to, message)| match message {
                Message::Reply { known: Known::Recorded { answer: Some(answer), .. }, .. } => {
                    to == "c" && answer.status == stays
                }
                _ => false,
            });
            assert!(says, "{ours}, {theirs:?}: {question:?}");
        }
    }
}

/// Its entry comes while it is at the service here: whoever waits for it is told what the service says.
#[test]
fn a_copy_that_waits_is_told_what_the_service_here_says() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", wish_of(log(2)));
    bench.submit(new_write("POST", 9, 7));
    bench.hear("b", page_at(log(2), "b", settled(log(2), Verdict::Undecided, 0)));
    let said = bench.attempted(first(log(2)), 1, answered(201));
    assert_eq!(told(&said, 1), Some(201));
    assert_eq!(told(&bench.submit(new_write("POST", 9, 7)), 2), Some(201));
}

/// A third site that was told of it ahead of its position.
#[test]
fn what_was_told_of_ahead_stays_the_answer_where_its_origin_knows_nothing() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let ahead = Arc::new(Item { position: 0, ..settled(log(2), Verdict::Applied, 201) });
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    bench.hear("c", Message::Ahead { site: SiteName::new("b"), item: ahead });
    assert_eq!(told(&bench.submit(new_write("POST", 9, 7)), 1), Some(201));
    bench.hear("c", page_at(log(2), "b", settled(log(2), Verdict::Undecided, 0)));
    assert_eq!(told(&bench.submit(new_write("POST", 9, 7)), 2), Some(201));
}

fn asked(effects: &[Effect]) -> Option<u64> {
    messages(effects).into_iter().find_map(|(_, message)| match message {
        Message::Question { token, .. } => Some(*token),
        _ => None,
    })
}

/// Site `b` recorded it; this site asks for it by its hint, tells it, and has not applied it.
fn told_over_the_link(bench: &mut Bench, pages: Vec<Page>) -> Vec<Effect> {
    let seen = pages.iter().flat_map(|page| &page.items).next().map_or_else(After::new, |i| i.outcome.after.clone());
    let print = crate::dedup::Fingerprint { key: KeyHash([7; 16]), origin: SiteName::new("b"), id: first(log(2)) };
    bench.handle(Event::Fingerprint(print));
    let token = asked(&bench.submit(new_write("POST", 7, 7))).expect("the origin is asked");
    let known = Known::Recorded {
        id: first(log(2)),
        verdict: Verdict::Applied,
        repeats: None,
        position: 1,
        pages,
        answer: Some(answer(201)),
        seen,
    };
    bench.hear("b", Message::Reply { token, known })
}

fn own_attempts(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).filter(|id| id.log == log(1)).collect()
}

fn entry() -> Page {
    page_of(log(2), "b", vec![settled(log(2), Verdict::Applied, 201)])
}

#[test]
fn what_is_sent_after_a_told_answer_is_decided_after_its_write() {
    for restarts in [false, true] {
        let mut bench = Bench::new(settings("a", &["a", "b"]));
        bench.handle(Event::Health { healthy: false });
        let said = told_over_the_link(&mut bench, vec![entry()]);
        assert_eq!((told(&said, 1), attempts(&said).len()), (Some(201), 0));
        let mut begun = if restarts { bench.restart() } else { bench.handle(Event::Health { healthy: true }) };
        // What was stored and not touched is read again.
        let read = begun.iter().filter(|effect| matches!(effect, Effect::ReadSeries { .. }));
        let read: Vec<Event> = read.filter_map(|effect| bench.journal_says(effect)).collect();
        begun.extend(read.into_iter().flat_map(|event| bench.handle(event)).collect::<Vec<_>>());
        assert_eq!(attempts(&begun).iter().map(|a| a.id).collect::<Vec<_>>(), [first(log(2))]);
        // Another lane.
        assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), []);
        let said = bench.attempted(first(log(2)), 1, answered(201));
        assert_eq!(own_attempts(&said), [own(2)], "restarts: {restarts}");
        assert!(bench.core.mirror.series[&log(2)].told.is_empty(), "what is decided binds as all that is");
    }
}

#[test]
fn what_could_not_be_followed_in_a_cut_is_not_told_yet() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let said = told_over_the_link(&mut bench, Vec::new());
    assert!(matches!(problem_of(&said, 1), Some(Problem::KeyInFlight { .. })), "{said:?}");
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), [own(2)]);
}

/// It is stored; but what comes before it elsewhere has not come, and never comes in a cut.
#[test]
fn an_answer_that_rests_on_what_is_not_stored_here_is_not_told_yet() {
    let mut rests_on = After::new();
    rests_on.raise(log(3), 1);
    let base = settled(log(2), Verdict::Applied, 201);
    let item = Item { outcome: Outcome { after: rests_on, ..base.outcome.clone() }, ..base };
    for asked_for in [false, true] {
        let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
        let entry = page_of(log(2), "b", vec![item.clone()]);
        let (said, req) = if asked_for {
            (told_over_the_link(&mut bench, vec![entry]), 1)
        } else {
            bench.hear("b", Message::Page(entry));
            (bench.submit(new_write("POST", 7, 7)), 1)
        };
        assert!(matches!(problem_of(&said, req), Some(Problem::KeyInFlight { .. })), "{said:?}");
        bench.handle(Event::LinkDown { peer: SiteName::new("c") });
        assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1, "nobody else waits for it");
        bench.handle(Event::LinkUp { peer: SiteName::new("c") });
        bench.hear("c", page_at(log(3), "c", settled(log(3), Verdict::Refused, 409)));
        assert_eq!(told(&bench.submit(new_write("POST", 7, 7)), 3), Some(201));
    }
}

/// Seed 17572: what was told of ahead was settled as undecided, and its decision was behind the cut.
#[test]
fn an_answer_that_rests_on_what_was_only_told_of_ahead_is_not_told_yet() {
    let far = WriteId { log: log(3), n: 9 };
    let mut ahead = item(log(3), 0, 0);
    (ahead.id, ahead.facts.lane) = (far, crate::model::Lane(50));
    let base = settled(log(2), Verdict::Applied, 201);
    let mut rests_on = After::new();
    rests_on.add_id(far);
    let entry = Item { outcome: Outcome { after: rests_on, ..base.outcome.clone() }, ..base };
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![entry])));
    bench.hear("b", Message::Ahead { site: SiteName::new("c"), item: std::sync::Arc::new(ahead) });
    let said = bench.submit(new_write("POST", 7, 7));
    assert!(matches!(problem_of(&said, 1), Some(Problem::KeyInFlight { .. })), "{said:?}");
    bench.attempted(far, 1, answered(201));
    assert_eq!(told(&bench.submit(new_write("POST", 7, 7)), 2), Some(201), "it is decided here");
}

#[test]
fn its_entry_comes_with_the_answer_so_that_a_cut_stops_nobody() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let said = told_over_the_link(&mut bench, vec![entry()]);
    assert_eq!((told(&said, 1), attempts(&said).len()), (Some(201), 1));
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), []);
    assert_eq!(own_attempts(&bench.attempted(first(log(2)), 1, answered(201))), [own(2)]);

    // The other end of it.
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.submit(new_write("POST", 1, 7));
    bench.attempted(own(1), 1, answered(201));
    let said = bench.hear("b", question(3, 7));
    let brings = messages(&said).into_iter().any(|(_, message)| match message {
        Message::Reply { known: Known::Recorded { pages, position: 1, .. }, .. } => {
            pages.iter().flat_map(|page| &page.items).any(|item| item.id == own(1))
        }
        _ => false,
    });
    assert!(brings, "{said:?}");
}

#[test]
fn an_answer_that_is_stored_and_not_applied_binds_when_it_is_told() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let said = bench.hear("b", page_at(log(2), "b", settled(log(2), Verdict::Applied, 201)));
    assert_eq!(attempts(&said).len(), 1);
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), [own(1)], "who was told nothing overlaps with it");
    assert_eq!(told(&bench.submit(new_write("POST", 7, 7)), 2), Some(201));
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 2, 0))), []);
    assert_eq!(own_attempts(&bench.attempted(first(log(2)), 1, answered(201))), [own(3)]);
}

#[test]
fn a_wish_to_another_site_comes_after_what_was_told_here() {
    let order = vec![SiteName::new("c"), SiteName::new("a")];
    let mut bench = Bench::new(Settings { order, ..settings("a", &["a", "b", "c"]) });
    told_over_the_link(&mut bench, vec![entry()]);
    let said = bench.submit(new_write("POST", 1, 0));
    let wish = messages(&said).into_iter().find_map(|(to, message)| match message {
        Message::Wish(wish) if to == "c" => Some(wish.clone()),
        _ => None,
    });
    let wish = wish.expect("it is wished");
    assert!(wish.must.covers(log(2), 1) || wish.must.ids().contains(&first(log(2))), "{:?}", wish.must);
    assert!(wish.pages.iter().flat_map(|page| &page.items).any(|item| item.id == first(log(2))), "{:?}", wish.pages);
}

#[test]
fn a_told_refusal_binds_nothing_and_numbers_that_no_log_gives_are_not_believed() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", page_at(log(2), "b", settled(log(2), Verdict::Refused, 404)));
    assert_eq!(told(&bench.submit(new_write("POST", 7, 7)), 1), Some(404));
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), [own(2)]);

    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let print = crate::dedup::Fingerprint { key: KeyHash([7; 16]), origin: SiteName::new("b"), id: first(log(2)) };
    bench.handle(Event::Fingerprint(print));
    let token = asked(&bench.submit(new_write("POST", 7, 7))).expect("the origin is asked");
    let known = Known::Recorded {
        id: first(log(2)),
        verdict: Verdict::Applied,
        repeats: None,
        position: u64::MAX,
        pages: Vec::new(),
        answer: Some(Arc::new(Answer::clone(&answer(201)))),
        seen: After::new(),
    };
    let said = bench.hear("b", Message::Reply { token, known });
    assert!(said.iter().any(|effect| matches!(effect, Effect::Note(Note::Invalid { .. }))) && told(&said, 1).is_none());
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1);
}

/// Told of ahead as applied, and its origin settled it as undecided while it was on its way here.
#[test]
fn what_was_told_ahead_binds_until_it_is_applied() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let ahead = Arc::new(Item { position: 0, ..settled(log(2), Verdict::Applied, 201) });
    bench.hear(
        "b",
        page_at(log(2), "b", Item { id: WriteId { n: 9, ..first(log(2)) }, ..settled(log(2), Verdict::Refused, 404) }),
    );
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    let said = bench.hear("c", Message::Ahead { site: SiteName::new("b"), item: ahead });
    assert_eq!(attempts(&said).len(), 1);
    assert_eq!(told(&bench.submit(new_write("POST", 9, 7)), 1), Some(201));
    assert_eq!(own_attempts(&bench.submit(new_write("POST", 1, 0))), []);
    assert_eq!(own_attempts(&bench.attempted(first(log(2)), 1, answered(201))), [own(2)]);
}
