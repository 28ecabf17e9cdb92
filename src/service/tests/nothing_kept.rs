//! What the journal holds of writes that nobody applied: of what was never sent nothing, of refusals the answer.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Op, Origin};
use crate::model::{KeyHash, Problem, SiteName, WriteId};

fn with(endpoint: Endpoint, change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    change(&mut settings);
    let mut bench = Bench::new(settings);
    bench.endpoint = endpoint;
    bench
}

fn written(effects: &[Effect]) -> Vec<&Op> {
    let ops = effects.iter().filter_map(|effect| if let Effect::Persist(op) = effect { Some(op) } else { None });
    ops.filter(|op| !matches!(op, Op::Age(_))).collect()
}

fn sent(effects: &[Effect]) -> Vec<(WriteId, u32)> {
    attempts(effects).iter().map(|attempt| (attempt.id, attempt.attempt)).collect()
}

fn is_refused_without_an_address(effects: &[Effect], req: u64) -> bool {
    matches!(reply_to(effects, req), Some(Reply::Problem { id: None, problem: Problem::NoReplica { .. } }))
}

fn theirs() -> WriteId {
    WriteId { log: log(2), n: 1 }
}

fn wish(key: u8) -> Message {
    let NewWrite { facts, request, .. } = new_write("POST", 50, key);
    wish_to_decide(theirs(), facts, request)
}

fn ready(bench: &mut Bench, id: WriteId) -> Vec<Effect> {
    bench.handle(Event::Ready { id, attempt: 1, result: Ok(()) })
}

#[test]
fn a_service_that_takes_no_connections_leaves_nothing_in_the_journal() {
    let mut bench = with(Endpoint::Refuses, |_| ());
    for n in 1..=100 {
        let said = bench.submit(new_write("POST", n, n as u8));
        assert!(is_refused_without_an_address(&said, n));
        assert_eq!(written(&said), [] as [&Op; 0]);
    }
    assert_eq!((bench.core.live.len(), bench.core.live.bytes()), (0, 0));
    bench.endpoint = Endpoint::Connects;
    assert_eq!(sent(&bench.submit(new_write("POST", 1, 1))), [(own(101), 1)], "its key is new");
}

/// The service took the connection, and proved that it did not take the write.
#[test]
fn what_turns_out_never_to_have_been_sent_is_erased() {
    let mut bench = with(Endpoint::Connects, |_| ());
    bench.submit(new_write("POST", 1, 7));
    assert!(bench.has_request(own(1)));
    let said = bench.attempted(own(1), 1, never_sent());
    assert!(is_refused_without_an_address(&said, 1));
    assert_eq!((bench.row(own(1)), bench.has_request(own(1))), (None, false));
    assert_eq!(sent(&bench.submit(new_write("POST", 1, 7))), [(own(2), 1)]);
    bench.attempted(own(2), 1, answered(201));
    let again = bench.submit(new_write("POST", 1, 7));
    assert!(matches!(reply_to(&again, 3), Some(Reply::Answer { replayed: true, .. })));
}

#[test]
fn what_a_client_has_an_address_of_stays_known() {
    let mut bench = with(Endpoint::Connects, |settings| settings.has_probe = true);
    bench.submit(new_write("POST", 1, 7));
    bench.attempted(own(1), 1, broken());
    assert_eq!(problem_of(&bench.wait(10_000), 1), Some(&Problem::OutcomeUnknown));
    let found = |result| Event::Probed { id: own(1), attempt: 1, result };
    bench.handle(found(ProbeResult::Nothing));
    bench.wait(600);
    let said = bench.handle(found(ProbeResult::NotFound));
    assert_eq!(sent(&said), [(own(1), 2)]);
    bench.attempted(own(1), 2, never_sent());
    let row = bench.row(own(1)).expect("its client may ask");
    assert_eq!((row.origin, bench.has_request(own(1))), (Origin::Cancelled, false));
}

#[test]
fn of_a_wish_that_finds_no_service_its_id_is_kept() {
    let mut bench = with(Endpoint::Refuses, |_| ());
    let said = bench.hear("b", wish(0));
    assert_eq!((words(&said), sent(&said)), (vec![WishWord::NotHere], Vec::new()));
    assert_eq!(bench.row(theirs()).map(|row| row.origin), Some(Origin::Cancelled), "a copy must find it void");
    assert!(!bench.has_request(theirs()));
    assert_eq!(words(&bench.hear("b", wish(0))), [WishWord::Void]);
}

#[test]
fn of_what_was_wished_and_is_void_there_the_id_is_kept() {
    let order = ["b", "a"].map(SiteName::new).to_vec();
    let mut bench = with(Endpoint::Refuses, |settings| settings.order = order);
    bench.submit(new_write("POST", 1, 0));
    assert!(bench.has_request(own(1)));
    let said = bench.hear("b", Message::Word { id: own(1), attempt: 1, word: WishWord::Void });
    assert!(matches!(problem_of(&said, 1), Some(Problem::NoReplica { .. })));
    assert_eq!(bench.row(own(1)).map(|row| row.origin), Some(Origin::Cancelled));
    assert!(!bench.has_request(own(1)));
    assert!(said.contains(&Effect::Note(Note::Cancelled)));
}

/// Accepted, settled, cancelled: what came in last for a client.
fn counted(effects: &[Effect]) -> [usize; 3] {
    let count = |of: fn(&Note) -> bool| {
        effects.iter().filter(|effect| matches!(effect, Effect::Note(note) if of(note))).count()
    };
    [
        count(|note| *note == Note::Accepted),
        count(|note| matches!(note, Note::Settled { .. })),
        count(|note| *note == Note::Cancelled),
    ]
}

#[test]
fn what_is_accepted_is_what_was_journalled_and_each_of_it_is_settled_or_cancelled() {
    let mut bench = with(Endpoint::Refuses, |_| ());
    assert_eq!(counted(&bench.submit(new_write("POST", 1, 1))), [0, 0, 0], "refused, and in no journal");
    bench.endpoint = Endpoint::Connects;
    assert_eq!(counted(&bench.submit(new_write("POST", 2, 2))), [1, 0, 0]);
    assert_eq!(counted(&bench.attempted(own(2), 1, answered(201))), [0, 1, 0]);
    assert_eq!(counted(&bench.submit(new_write("POST", 2, 2))), [0, 0, 0], "a copy");
    bench.submit(new_write("POST", 3, 3));
    assert_eq!(counted(&bench.attempted(own(4), 1, never_sent())), [0, 0, 1]);
    // What is decided late about one that was settled is no other write.
    bench.submit(new_write("POST", 4, 4));
    bench.attempted(own(5), 1, broken());
    let passed = bench.wait(bench.core.settings.give_up_ms());
    assert_eq!(counted(&passed), [0, 1, 0], "nobody knows what became of it");
    let order = Event::Operator { req: ReqId(90), id: Some(own(5)), operation: Operation::Applied };
    let late = bench.handle(order);
    assert_eq!((reply_to(&late, 90), counted(&late)), (Some(&Reply::Done), [0, 0, 0]));
    // Another site's is not this one's client's.
    let theirs = bench.hear("b", wish(9));
    assert_eq!(counted(&theirs), [0, 0, 0]);
}

#[test]
fn a_refusal_is_kept_without_what_was_asked() {
    for (status, is_kept) in [(201, true), (500, true), (404, false), (422, false), (429, false), (501, false)] {
        let mut bench = with(Endpoint::Connects, |_| ());
        bench.submit(new_write("POST", 1, 7));
        assert!(reply_to(&bench.attempted(own(1), 1, answered(status)), 1).is_some());
        assert_eq!(bench.has_request(own(1)), is_kept, "{status}");
        let outcome = bench.row(own(1)).and_then(|row| row.outcome).expect("it is the key's answer");
        assert_eq!(outcome.status, status);
    }
}

#[test]
fn a_client_waits_for_a_connection_no_longer_than_it_may() {
    let mut bench = with(Endpoint::IsSlow, |_| ());
    let said = bench.submit(new_write("POST", 1, 7));
    assert_eq!((written(&said), sent(&said)), (Vec::new(), Vec::new()));
    assert!(matches!(problem_of(&bench.wait(5_000), 1), Some(Problem::LaneBusy { .. })));
    let late = ready(&mut bench, own(1));
    assert_eq!((written(&late), sent(&late)), (Vec::new(), Vec::new()), "it was told that it is not sent");
    bench.endpoint = Endpoint::Connects;
    assert_eq!(sent(&bench.submit(new_write("POST", 1, 7))), [(own(2), 1)], "its lane is free, and its key");
}

/// As if it were sent (G2): it asks nothing more.
#[test]
fn a_copy_waits_for_what_waits_for_its_connection() {
    let mut bench = with(Endpoint::IsSlow, |_| ());
    bench.submit(new_write("POST", 1, 7));
    let same = bench.core.live[&own(1)].row.facts.key;
    assert_eq!(same, Some(KeyHash([7; 16])));
    bench.endpoint = Endpoint::Connects;
    assert_eq!(sent(&bench.hear("b", wish(7))), []);
    assert_eq!(sent(&ready(&mut bench, own(1))), [(own(1), 1)]);
    let said = bench.attempted(own(1), 1, answered(201));
    assert!(matches!(&words(&said)[..], [WishWord::Done { outcome, .. }] if outcome.repeats == Some(own(1))));
    assert_eq!(sent(&said), []);
}

#[test]
fn a_wish_revoked_while_it_waits_for_its_connection_is_void() {
    let mut bench = with(Endpoint::IsSlow, |_| ());
    bench.hear("b", wish(0));
    let said = bench.hear("b", Message::Revoke { id: theirs(), attempt: 1 });
    assert_eq!(words(&said), [WishWord::Void]);
    assert_eq!(sent(&ready(&mut bench, theirs())), []);
}

/// Another site has decided it meanwhile.
#[test]
fn what_becomes_a_shadow_while_it_waits_for_its_connection_is_sent_as_one() {
    let mut bench = with(Endpoint::IsSlow, |_| ());
    bench.hear("b", wish(0));
    let mut item = item(log(2), 1, 0);
    item.facts = new_write("POST", 50, 0).facts;
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
    let said = ready(&mut bench, theirs());
    assert!(attempts(&said)[..].iter().all(|attempt| attempt.shadow.is_some()));
    assert_eq!(sent(&said), [(theirs(), 1)]);
    assert!(bench.core.replay.lanes.is_used(crate::model::Lane(50)), "it has its lane's place");
    bench.attempted(theirs(), 1, answered(201));
    assert!(bench.core.live.is_empty() && bench.core.replay.lanes.none_is_used());
}
