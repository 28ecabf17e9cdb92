//! What is told of a write, and what is not.
use std::sync::Arc;

use super::*;
use crate::journal::{Fate, Here};
use crate::model::{Chain, Digest, Facts, KeyHash, Lane, LogId, Outcome};

pub(in crate::admin) fn teller(masks: &[&str]) -> Teller {
    let rules = masks.iter().map(|mask| mask.parse().unwrap()).collect();
    let lanes: Vec<LaneRule> = vec!["header:x-session-id".parse().unwrap(), LaneRule::Path];
    let clients = [ClientRule::Header("authorization".into()), ClientRule::Header("x-till".into())];
    Teller::new(SiteName::new("edge"), Privacy::new(rules, [7; 32])).service(
        "tx",
        LaneRules::new(&lanes),
        &clients,
        false,
    )
}

pub(in crate::admin) fn request() -> Request {
    let header = |(name, value): (&str, &[u8])| Header { name: name.into(), value: value.to_vec() };
    let headers = [
        ("Authorization", &b"Bearer s3cret"[..]),
        ("X-Till", b"s3cret"),
        ("X-Session-Id", b"till-7"),
        ("Idempotency-Key", b"\"sale 7\\\"\""),
        ("X-Forwarded-For", b"6.6.6.6"),
        ("x-forwarded-for", b"10.0.0.7"),
        ("X-Odd", b"caf\xe9\x1b"),
    ];
    Request {
        method: "PUT".into(),
        target: "/tx/7?pan=4111&q=1".into(),
        authority: "pos".into(),
        headers: headers.into_iter().map(header).collect(),
        body: br#"{"card":{"no":"4111"}}"#.as_slice().into(),
    }
}

pub(in crate::admin) fn row(id: WriteId) -> Row {
    let facts = Facts {
        lane: Lane::of("header:x-session-id", b"till-7"),
        key: Some(KeyHash([1; 16])),
        digest: Digest([2; 32]),
        client: None,
        original_ms: 1_795_259_574_123,
        traceparent: None,
        renews: Vec::new(),
        creates: false,
    };
    Row {
        id,
        facts,
        origin: Origin::Foreign,
        queued: false,
        owed: Default::default(),
        wish: None,
        here: Here::Decided(Fate::Quarantined(QuarantineReason::Divergence)),
        outcome: Some(outcome(201, Some(answer(201, "{\"total\":1}")))),
        ours: None,
        position: Some((1, Chain::default())),
        decides: None,
        settled_clock_ms: 0,
    }
}

fn id(n: u64) -> WriteId {
    WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n }
}

fn answer(status: u16, body: &str) -> Answer {
    let header = Header { name: "Set-Cookie".into(), value: b"sid=s3cret".to_vec() };
    Answer { status, headers: vec![header], body: body.as_bytes().to_vec().into(), omitted: None }
}

fn outcome(status: u16, answer: Option<Answer>) -> Outcome {
    Outcome {
        verdict: Verdict::Applied,
        after: crate::model::After::new(),
        repeats: None,
        status,
        answer: answer.map(Arc::new),
        told_by_probe: false,
        unknown: Vec::new(),
    }
}

fn group() -> Group {
    Group { service: "tx".into(), store: String::new() }
}

fn held(answer: Option<Answer>) -> Quarantined {
    let mut held = Quarantined::new(id(7), QuarantineReason::Divergence, "201, 409".into(), 5);
    (held.status, held.answer) = (409, answer.map(Arc::new));
    held
}

#[test]
fn who_when_what_and_in_which_lane_is_told_by_the_kept_request() {
    let (row, request, group, cloud) = (row(id(7)), request(), group(), SiteName::new("cloud"));
    let kept = Kept { group: &group, row: &row, request: Some(&request), origin: Some(&cloud), bodies: false };
    let told = teller(&["form:pan"]).account(kept);
    let client = told.client.unwrap();
    assert_eq!(client.address, Some("10.0.0.7".parse().unwrap()), "the gateway's line, not the client's");
    assert_eq!((client.by.as_deref(), client.mark.map(|mark| mark.len())), (Some("header:authorization"), Some(12)));
    assert_eq!(told.accepted_ms, 1_795_259_574_123);
    assert_eq!(told.key.as_deref(), None, "a blank is no part of a key");
    let lane = LaneView { rule: "header:x-session-id".into(), value: "till-7".into() };
    assert_eq!(told.lane_said, Some(lane));
    let asked = told.request.unwrap();
    assert_eq!((asked.target.as_str(), asked.body.text), ("/tx/7?pan=***&q=1", None));
    let value = |name: &str| asked.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((value("Authorization"), value("X-Till")), (Some("Bearer ***"), Some("***")));
    assert_eq!(value("X-Odd"), Some("caf\\xe9\u{1b}"));
    assert_eq!(told.elsewhere, Vec::<String>::new());
}

#[test]
fn the_same_client_has_the_same_mark_and_another_has_another() {
    let (row, group, teller) = (row(id(7)), group(), teller(&[]));
    let mark = |request: &Request| {
        let kept = Kept { group: &group, row: &row, request: Some(request), origin: None, bodies: true };
        teller.account(kept).client.unwrap().mark
    };
    let mut other = request();
    other.headers[0].value = b"Bearer other".to_vec();
    assert_eq!(mark(&request()), mark(&request()));
    assert_ne!(mark(&request()), mark(&other));
    other.headers.clear();
    assert_eq!(mark(&other), None, "nobody in particular");
}

#[test]
fn what_is_masked_is_masked_in_key_lane_and_lists() {
    let (row, group) = (row(id(7)), group());
    let mut request = request();
    request.headers[3].value = b"sale-7".to_vec();
    let kept = Kept { group: &group, row: &row, request: Some(&request), origin: None, bodies: true };
    assert_eq!(teller(&[]).account(kept).key.as_deref(), Some("sale-7"));
    let masked = teller(&["header:idempotency-key", "header:x-session-id", "form:q", "header:location"]);
    let told = masked.account(kept);
    assert_eq!(told.key.as_deref(), Some(MASKED));
    assert_eq!(teller(&[]).lane_words(&group, &row, &request).as_deref(), Some("till-7"));
    assert_eq!(masked.lane_words(&group, &row, &request), None);
    assert!(told.lane_said.is_some_and(|lane| lane.value.len() == 12 && lane.value != "till-7"));
    assert_eq!(told.request.unwrap().body.text, None, "no form, and not shown");
    let mut entry = QuarantineEntry::new(&group, &held(None), Some(&row), Some(&request));
    entry.detail = "Location differs: /a at the decider, /b here".to_owned();
    let entry = masked.entry(entry);
    let lane = entry.lane.clone().unwrap();
    assert_eq!(masked.lane_of(&lane), Some(row.facts.lane), "an order may name it");
    assert_ne!(lane, format!("{:016x}", row.facts.lane.0), "by a plain hash values could be tried out");
    assert_eq!(entry.target.as_deref(), Some("/tx/7?pan=4111&q=***"));
    assert_eq!(entry.detail, "Location differs (masked)");
}

#[test]
fn nothing_that_is_serialised_holds_the_hash_of_a_lane() {
    let (row, group, teller, request) = (row(id(7)), group(), teller(&["header:x-session-id"]), request());
    let kept = Kept { group: &group, row: &row, request: Some(&request), origin: None, bodies: true };
    let summary = teller.summary(WriteSummary::new(&group, &row, Some(&request), (None, true), None));
    let entry = QuarantineEntry::new(&group, &held(None), Some(&row), Some(&request));
    let judged = teller.judged(entry, &held(None), Some(kept), &[]);
    let said = [
        serde_json::to_string(&summary).unwrap(),
        serde_json::to_string(&judged).unwrap(),
        serde_json::to_string(&teller.account(kept)).unwrap(),
    ];
    let lane = row.facts.lane.0;
    for hash in [format!("{lane:x}"), lane.to_string(), format!("{:x}", lane.swap_bytes())] {
        assert!(said.iter().all(|text| !text.contains(&hash)), "{hash}: {said:?}");
    }
    assert!(said[0].contains(&format!("\"lane\":\"{}\"", summary.lane)) && !summary.lane.is_empty(), "{said:?}");
}

#[test]
fn a_lane_of_the_path_is_shown_as_far_as_the_path_is() {
    let (teller, group) = (teller(&[]), group());
    for (path, shown) in [("/tx/7", Some("/tx/7")), ("/tx;token=s3cret/7", None)] {
        let mut request = request();
        request.headers.clear();
        request.target = path.to_owned();
        let mut row = row(id(7));
        row.facts.lane = Lane::of("path", path.as_bytes());
        assert_eq!(teller.lane_words(&group, &row, &request).as_deref(), shown, "{path}");
    }
}

#[test]
fn both_answers_and_what_differs_are_told_as_far_as_they_are_kept() {
    let (group, cloud, teller) = (group(), SiteName::new("cloud"), teller(&[]));
    let judge = |row: &Row, held: &Quarantined, bodies: bool| {
        let request = request();
        let kept = Kept { group: &group, row, request: Some(&request), origin: Some(&cloud), bodies };
        let entry = QuarantineEntry::new(&group, held, Some(row), Some(&request));
        (teller.judged(entry, held, Some(kept), std::slice::from_ref(&cloud)), teller.account(kept))
    };
    let (judged, told) = judge(&row(id(7)), &held(Some(answer(409, "{\"total\":2}"))), true);
    assert_eq!(judged.differences, ["status: 201 at the decider, 409 here", "/total: 1 at the decider, 2 here"]);
    assert_eq!(judged.answer.unwrap().body.text.as_deref(), Some("{\"total\":2}"));
    let theirs = told.deciders_answer.unwrap();
    assert_eq!((theirs.status, theirs.body.text.as_deref()), (201, Some("{\"total\":1}")));
    assert_eq!(theirs.headers, [("Set-Cookie".to_owned(), MASKED.to_owned())]);
    assert!(judged.next.iter().any(|step| step.at == cloud && step.command.contains("writes show")));
    assert!(judged.next.iter().any(|step| step.command.starts_with("holdfast quarantine resend --over-later")));
    // Too long to be kept, and to travel.
    let mut far = row(id(7));
    far.outcome = Some(outcome(201, None));
    let (judged, told) = judge(&far, &held(None), true);
    assert_eq!((judged.answer, told.deciders_answer), (None, None));
    assert!(judged.differences[0].contains("longer than what is kept"), "{:?}", judged.differences);
    assert!(told.elsewhere[0].contains("answered 201") && told.elsewhere[0].contains("cloud"), "{:?}", told.elsewhere);
    let (judged, _) = judge(&row(id(7)), &held(None), true);
    assert_eq!(judged.differences[0], "status: 201 at the decider, 409 here");
    // Settled for all sites: nothing is sent again.
    let mut void = row(id(7));
    void.outcome = Some(Outcome { verdict: Verdict::Void, ..outcome(0, None) });
    let (judged, _) = judge(&void, &held(None), false);
    assert!(judged.next.iter().all(|step| !step.command.contains("resend")), "{:?}", judged.next);
}

#[test]
fn its_place_in_the_lane_is_that_of_now() {
    let entry = || QuarantineEntry::new(&group(), &held(None), None, None);
    let place_of = |first: Option<WriteId>, total| {
        let mut entry = QuarantineEntry { behind: Some(id(1)), ..entry() };
        place(&mut entry, first, total);
        (entry.behind, entry.others_behind)
    };
    assert_eq!(place_of(Some(id(7)), 3), (None, 2));
    assert_eq!(place_of(Some(id(2)), 3), (Some(id(2)), 0));
    assert_eq!(place_of(None, 0), (Some(id(1)), 0));
}
