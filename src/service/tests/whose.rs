//! Whose answer it is: a key that two clients bring, at one site, at two, and across a cut.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{
    ClientMark, ClientRules, Digest, Facts, Header, HeldState, Item, KeyHash, Lane, LogId, Problem, Request, SiteName,
    Verdict, WriteId,
};

fn bench() -> Bench {
    Bench::new(settings("a", &["a", "b", "c"]))
}

/// As a gateway describes what this client brings; nobody in particular where it is empty. The salt is the write's own:
/// hashed with a secret of each site instead, every retry at another site was a stranger's.
fn mark(client: &str, salt: u8) -> (Arc<Request>, Option<ClientMark>) {
    let line = |value: &str| Header { name: "authorization".into(), value: value.as_bytes().to_vec() };
    let headers = Some(client).filter(|client| !client.is_empty()).map(line).into_iter().collect();
    let request = Request { headers, ..Request::clone(&request("POST", "/sales")) };
    let mark = ClientMark::of([salt; 16], &ClientRules::default().who(&request));
    (Arc::new(request), Some(mark))
}

/// The key 7 for one request.
fn by(client: &str) -> NewWrite {
    let write = new_write("POST", 1, 7);
    let (request, mark) = mark(client, 7);
    NewWrite { facts: Facts { client: mark, ..write.facts }, request, ..write }
}

/// The key 7 for another request.
fn other_by(client: &str) -> NewWrite {
    let write = by(client);
    NewWrite { facts: Facts { digest: Digest([1; 32]), ..write.facts }, ..write }
}

/// The first item of another site, with the key 7.
fn item_by(client: &str, log: LogId, verdict: Verdict, status: u16) -> Item {
    let (request, mark) = mark(client, log.store[0]);
    let mut item = Item { request: Some(request), ..item(log, 1, 0) };
    item.facts = Facts { key: Some(KeyHash([7; 16])), lane: Lane(u64::from(log.store[0])), client: mark, ..item.facts };
    (item.outcome.verdict, item.outcome.status, item.outcome.answer) = (verdict, status, Some(answer(status)));
    item
}

fn hear(bench: &mut Bench, site: &str, item: Item) -> Vec<Effect> {
    bench.hear(site, Message::Page(page_of(item.id.log, site, vec![item])))
}

fn first(n: u8) -> WriteId {
    WriteId { log: log(n), n: 1 }
}

/// What an answer, or a problem with whether it names a write.
#[derive(Debug, PartialEq)]
enum Told {
    First(u16),
    Again(u16),
    Problem(Problem, bool),
}

fn told(effects: &[Effect], req: u64) -> Option<Told> {
    match reply_to(effects, req)? {
        Reply::Answer { answer, replayed: false, .. } => Some(Told::First(answer.status)),
        Reply::Answer { answer, .. } => Some(Told::Again(answer.status)),
        Reply::Problem { id, problem } => Some(Told::Problem(problem.clone(), id.is_some())),
        other => panic!("{other:?}"),
    }
}

fn anothers(state: HeldState) -> Option<Told> {
    Some(Told::Problem(Problem::KeyOfAnother { state }, false))
}

#[test]
fn what_was_or_may_have_been_executed_is_told_to_its_client_alone_and_executed_for_nobody_else() {
    for (result, state) in
        [(answered(201), HeldState::Done), (answered(500), HeldState::Unknown), (broken(), HeldState::Unknown)]
    {
        let mut bench = bench();
        assert_eq!(attempts(&bench.submit(by("x"))).len(), 1);
        let its = told(&bench.attempted(own(1), 1, result.clone()), 1).expect("it is told");
        for lives in ["this life", "the next"] {
            for stranger in ["y", ""] {
                let said = bench.submit(by(stranger));
                let req = bench.last();
                assert_eq!(told(&said, req), anothers(state), "{result:?} to {stranger:?} in {lives}");
                assert_eq!(attempts(&said).len(), 0, "{result:?} to {stranger:?} in {lives}");
            }
            let again = bench.submit(by("x"));
            let req = bench.last();
            match (&its, told(&again, req)) {
                (Told::First(status), Some(Told::Again(again))) => assert_eq!(*status, again),
                (Told::Problem(..), Some(Told::Problem(Problem::OutcomeUnknown, true))) => {}
                (its, again) => panic!("{its:?}, then {again:?} in {lives}"),
            }
            bench.restart();
        }
    }
}

#[test]
fn who_brings_nothing_has_its_answer_from_whoever_brings_nothing_and_from_nobody_else() {
    let mut bench = bench();
    bench.submit(by(""));
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(told(&bench.submit(by("")), 2), Some(Told::Again(201)));
    assert_eq!(told(&bench.submit(by("x")), 3), anothers(HeldState::Done));
}

#[test]
fn a_refusal_holds_its_key_against_its_client_alone_and_who_is_executed_first_owns_it() {
    for honest in [by("y"), other_by("y")] {
        let mut bench = bench();
        bench.submit(by("planter"));
        assert_eq!(told(&bench.attempted(own(1), 1, answered(422)), 1), Some(Told::First(422)));
        assert_eq!(attempts(&bench.submit(honest.clone())).len(), 1, "for others the key is new");
        assert_eq!(told(&bench.attempted(own(2), 1, answered(201)), 2), Some(Told::First(201)));
        assert_eq!(told(&bench.submit(honest.clone()), 3), Some(Told::Again(201)));
        let planted = told(&bench.submit(by("planter")), 4);
        assert_eq!(planted, Some(Told::Again(422)), "it has its own answer");
        let third = told(&bench.submit(NewWrite { request: by("z").request, ..honest.clone() }), 5);
        assert_eq!(third, anothers(HeldState::Done));
    }
}

#[test]
fn who_comes_while_anothers_is_in_flight_waits_and_is_judged_when_that_ends() {
    let executed: Option<Told> = None;
    let table = [
        (by("y"), answered(201), anothers(HeldState::Done)),
        (by("y"), answered(404), executed),
        (by("y"), answered(429), None),
        (by("y"), never_sent(), None),
        (by("y"), answered(500), anothers(HeldState::Unknown)),
        (by("y"), broken(), anothers(HeldState::Unknown)),
        (other_by("y"), answered(201), Some(Told::Problem(Problem::KeyReused, false))),
        (other_by("y"), answered(404), None),
    ];
    for (stranger, result, expected) in table {
        let mut bench = bench();
        bench.submit(by("x"));
        let said = bench.submit(stranger);
        assert_eq!((told(&said, 2), attempts(&said).len()), (None, 0), "{result:?}: it learns nothing");
        let said = bench.attempted(own(1), 1, result.clone());
        assert_eq!(told(&said, 2), expected, "{result:?}");
        let sent: Vec<WriteId> = attempts(&said).iter().map(|attempt| attempt.id).collect();
        assert_eq!(sent.contains(&own(2)), expected.is_none(), "{result:?}");
    }
}

#[test]
fn of_two_who_wait_one_is_executed_and_the_other_waits_on() {
    let mut bench = bench();
    bench.submit(by("x"));
    bench.submit(by("y"));
    bench.submit(by("z"));
    let said = bench.attempted(own(1), 1, answered(404));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [own(2)]);
    let said = bench.attempted(own(2), 1, answered(201));
    assert_eq!((told(&said, 2), told(&said, 3)), (Some(Told::First(201)), anothers(HeldState::Done)));
    assert!(bench.core.idempotency.strangers.len() == 0);
}

#[test]
fn who_waits_for_anothers_has_a_time_and_a_place_that_others_get_back() {
    let in_flight = Some(Told::Problem(Problem::KeyInFlight { retry_after_s: 1 }, false));
    let mut bench = Bench::new(Settings {
        limits: Limits { waiters_per_key: 2, ..Limits::default() },
        longest_request_ms: 60_000,
        ..settings("a", &["a", "b"])
    });
    bench.submit(by("x"));
    let weighs = bench.core.live.bytes();
    bench.submit(by("x"));
    bench.submit(by("y"));
    assert!(bench.core.live.bytes() > weighs, "what it brings counts");
    assert_eq!(told(&bench.submit(by("z")), 4), in_flight, "no place is left");
    let said = bench.handle(Event::Left { req: ReqId(3) });
    assert_eq!(told(&said, 3), in_flight);
    assert_eq!(bench.core.live.bytes(), weighs);
    assert_eq!(told(&bench.submit(by("z")), 5), None, "the place of who left");
    let said = bench.wait(5_000);
    assert_eq!(told(&said, 5), in_flight, "its time is over");
    assert_eq!((bench.core.live.bytes(), bench.core.idempotency.strangers.len()), (weighs, 0));
}

#[test]
fn of_two_clients_with_one_key_across_a_cut_the_second_at_a_replica_waits_for_a_person() {
    let mut bench = bench();
    hear(&mut bench, "b", item_by("x", log(2), Verdict::Applied, 201));
    bench.attempted(first(2), 1, answered(201));
    let said = hear(&mut bench, "c", item_by("y", log(3), Verdict::Applied, 201));
    assert_eq!(attempts(&said).len(), 0);
    let fate = Here::Decided(Fate::Quarantined(QuarantineReason::KeyOfAnother));
    assert_eq!(bench.row(first(3)).map(|row| row.here), Some(fate));
    assert!(bench.is_listed(first(3)) && bench.listed()[&first(3)].detail.contains(&first(2).to_string()));
    // Each has its own answer here, and nobody else has any.
    assert_eq!(told(&bench.submit(by("x")), 1), Some(Told::Again(201)));
    assert_eq!(told(&bench.submit(by("y")), 2), Some(Told::Again(201)));
    assert_eq!(told(&bench.submit(by("z")), 3), anothers(HeldState::Done));
    // Both sales were real: a person says so.
    let said = bench.handle(Event::Operator { req: ReqId(9), id: Some(first(3)), operation: Operation::Resend });
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [first(3)]);
    bench.attempted(first(3), attempts(&said)[0].attempt, answered(201));
    assert_eq!(bench.row(first(3)).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
    assert!(!bench.is_listed(first(3)));
}

/// Services that number what they refuse, too.
#[test]
fn a_refusal_that_replicas_repeat_holds_its_key_against_its_client_alone() {
    let mut bench = Bench::new(Settings { replicate_all: true, ..settings("a", &["a", "b", "c"]) });
    bench.submit(by("planter"));
    bench.attempted(own(1), 1, answered(422));
    assert_eq!(attempts(&bench.submit(by("y"))).len(), 1);
    let mut bench = Bench::new(Settings { replicate_all: true, ..settings("a", &["a", "b", "c"]) });
    hear(&mut bench, "b", item_by("planter", log(2), Verdict::Applied, 422));
    bench.attempted(first(2), 1, answered(422));
    let said = hear(&mut bench, "c", item_by("y", log(3), Verdict::Applied, 201));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [first(3)]);
}

#[test]
fn one_that_another_site_refused_holds_nobody_up_here() {
    let mut bench = bench();
    let mut refused = item_by("planter", log(2), Verdict::Refused, 422);
    refused.request = None;
    hear(&mut bench, "b", refused);
    assert_eq!(told(&bench.submit(by("planter")), 1), Some(Told::Again(422)));
    assert_eq!(attempts(&bench.submit(by("y"))).len(), 1);
}

#[test]
fn an_own_write_that_waits_is_not_sent_once_anothers_is_applied_here() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(attempts(&bench.submit(by("y"))).len(), 0, "its lane is taken");
    hear(&mut bench, "b", item_by("x", log(2), Verdict::Applied, 201));
    bench.attempted(first(2), 1, answered(201));
    let said = bench.attempted(own(1), 1, answered(201));
    assert_eq!((told(&said, 2), attempts(&said).len()), (anothers(HeldState::Done), 0));
    assert!(bench.row(own(2)).is_none(), "it was never sent, and nobody has an address");
}

/// What site `b` wishes of this one.
fn wish(client: &str, attempt: u32) -> Message {
    let write = by(client);
    Message::Wish(Box::new(Wish {
        id: first(2),
        attempt,
        facts: Facts { lane: Lane(2), ..write.facts },
        must: Default::default(),
        after_ms: 800,
        request: write.request,
        pages: Vec::new(),
    }))
}

#[test]
fn a_decider_executes_no_wish_whose_key_is_anothers_and_says_so_as_often_as_it_is_asked() {
    let mut bench = bench();
    bench.submit(by("x"));
    let said = bench.hear("b", wish("y", 1));
    assert_eq!(attempts(&said).len(), 0, "it waits for the first: {:?}", words(&said));
    let said = bench.attempted(own(1), 1, answered(201));
    assert_eq!(words(&said), [WishWord::OfAnother(HeldState::Done)]);
    assert_eq!(words(&bench.hear("b", wish("y", 1))), [WishWord::OfAnother(HeldState::Done)]);
    let revoke = Message::Revoke { id: first(2), attempt: 1 };
    assert_eq!(words(&bench.hear("b", revoke)), [WishWord::OfAnother(HeldState::Done)]);
    bench.restart();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let said = bench.hear("b", wish("y", 2));
    assert!(words(&said).ends_with(&[WishWord::OfAnother(HeldState::Done)]), "{:?}", words(&said));
    assert_eq!(attempts(&said).len(), 0);
}

#[test]
fn a_decider_executes_a_wish_whose_key_another_was_refused_with() {
    let mut bench = bench();
    bench.submit(by("planter"));
    bench.hear("b", wish("y", 1));
    let said = bench.attempted(own(1), 1, answered(422));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [first(2)]);
}

#[test]
fn an_origin_that_hears_that_the_key_is_anothers_tells_it_and_asks_nobody_else() {
    for when_down in [WhenDown::Refuse, WhenDown::Queue] {
        let order = ["b", "c", "a"].map(SiteName::new).to_vec();
        let mut bench = Bench::new(Settings { order, when_down, ..settings("a", &["a", "b", "c"]) });
        let said = bench.submit(by("y"));
        assert!(messages(&said).iter().any(|(to, message)| *to == "b" && matches!(message, Message::Wish(_))));
        let word = WishWord::OfAnother(HeldState::Unknown);
        let said = bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
        assert_eq!(told(&said, 1), anothers(HeldState::Unknown));
        assert!(messages(&said).iter().all(|(_, message)| !matches!(message, Message::Wish(_))));
        assert_eq!(attempts(&said).len(), 0);
        assert!(bench.core.live.is_empty() && bench.listed().is_empty());
    }
}

#[test]
fn one_that_another_site_may_have_decided_waits_for_a_person_when_its_key_is_anothers() {
    let order = ["b", "c", "a"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(Settings { order, ..settings("a", &["a", "b", "c"]) });
    bench.submit(by("y"));
    // No word of `b`: it is given up there, and `c` is asked.
    let said = bench.wait(900);
    assert!(messages(&said).iter().any(|(to, message)| *to == "c" && matches!(message, Message::Wish(_))));
    let word = WishWord::OfAnother(HeldState::Done);
    let said = bench.hear("c", Message::Word { id: own(1), attempt: 2, word });
    assert_eq!(told(&said, 1), Some(Told::Problem(Problem::OutcomeUnknown, true)), "its own address");
    let entry = &bench.listed()[&own(1)];
    assert_eq!(entry.reason, QuarantineReason::KeyOfAnother);
    assert!(bench.row(own(1)).is_some_and(|row| row.position.is_some()), "others skip it");
}

#[test]
fn the_origin_of_a_key_tells_another_site_what_is_true_for_the_client_that_asks_there() {
    let ask = |bench: &mut Bench, write: NewWrite| {
        let who = Some(ClientRules::default().who(&write.request));
        let question = Message::Question { token: 5, key: KeyHash([7; 16]), digest: write.facts.digest, who };
        let said = bench.hear("b", question);
        let known = |message: &Message| match message {
            Message::Reply { token: 5, known } => Some(known.clone()),
            _ => None,
        };
        messages(&said).into_iter().find_map(|(_, message)| known(message)).expect("it is told")
    };
    let mut bench = bench();
    bench.submit(by("x"));
    assert_eq!(ask(&mut bench, by("x")), Known::InFlight);
    assert_eq!(ask(&mut bench, by("y")), Known::InFlight);
    assert_eq!(ask(&mut bench, other_by("y")), Known::InFlight, "it may be refused");
    assert_eq!(ask(&mut bench, other_by("x")), Known::OtherRequest);
    bench.attempted(own(1), 1, answered(201));
    assert!(matches!(ask(&mut bench, by("x")), Known::Recorded { .. }));
    assert_eq!(ask(&mut bench, by("y")), Known::OfAnother(HeldState::Done));
    assert_eq!(ask(&mut bench, other_by("y")), Known::OtherRequest);
}

#[test]
fn who_asks_at_another_site_is_told_that_the_key_is_anothers() {
    let mut bench = bench();
    let (origin, id) = (SiteName::new("b"), first(2));
    bench.handle(Event::Fingerprint(crate::dedup::Fingerprint { key: KeyHash([7; 16]), origin, id }));
    let said = bench.submit(by("y"));
    let asked = |message: &Message| match message {
        Message::Question { token, who: Some(who), .. } => Some((*token, *who)),
        _ => None,
    };
    let (token, who) = messages(&said).into_iter().find_map(|(_, message)| asked(message)).expect("there is a hint");
    assert_eq!(who, ClientRules::default().who(&by("y").request));
    let known = Known::OfAnother(HeldState::Done);
    assert_eq!(told(&bench.hear("b", Message::Reply { token, known }), 1), anothers(HeldState::Done));
}

#[test]
fn nothing_that_names_a_client_is_written_to_a_log() {
    let write = by("secret-token");
    let shown = format!("{:?} {:?}", write.facts.client, ClientRules::default().who(&write.request));
    assert_eq!(shown, "Some(client#) who#");
}
