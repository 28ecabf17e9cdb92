//! The same question gets the same answer (G4), and is asked once (G2).
use std::time::Duration;

use crate::harness::ledger::same_answer;
use crate::harness::{Act, Call, Gate, SOON, Scene, wait_for};

#[test]
fn a_recorded_answer_is_given_again_byte_for_byte() {
    let scene = Scene::one(|tx| tx);
    let body: Vec<u8> = (0..=255).collect();
    let act = Act::answer(201)
        .header("Content-Type", "application/octet-stream")
        .header("Set-Cookie", "a=1; Path=/")
        .header("X-Between", "1")
        .header("Set-Cookie", "b=2; HttpOnly")
        .header("Location", "/tx/receipts/1")
        .header("Keep-Alive", "timeout=5")
        .body(body.clone());
    scene.service.at("/tx/sale", act);
    let call = Call::post("/tx/sale").key("k1").body("lines");
    let first = scene.store.tell(&call).expect(201);
    assert_eq!(first.body, body);
    assert_eq!(first.all("set-cookie"), ["a=1; Path=/", "b=2; HttpOnly"]);
    assert!(!first.replayed() && first.header("keep-alive").is_none());
    for field in ["holdfast-write", "holdfast-seen"] {
        assert!(first.header(field).is_some_and(|value| !value.is_empty()), "{field}: {:?}", first.headers);
    }
    assert_eq!(first.header("holdfast-served-by"), Some("store"));
    // A quoted key is the same key.
    for again in [call.clone(), Call::post("/tx/sale").key("\"k1\"").body("lines")] {
        let again = scene.store.tell(&again);
        assert!(again.replayed());
        assert_eq!(again.body, body);
        same_answer(&first, &again);
    }
    assert_eq!(scene.service.times_applied("k1"), 1);
}

#[test]
fn it_outlives_a_kill() {
    let mut scene = Scene::one(|tx| tx);
    let call = Call::post("/tx/sale").key("k1").body("lines");
    let first = scene.store.tell(&call).expect(201);
    scene.store.kill();
    scene.store.restart();
    let again = scene.store.tell(&call);
    assert!(again.replayed());
    same_answer(&first, &again);
    assert_eq!(scene.service.times_applied("k1"), 1);
}

#[test]
fn a_refusal_is_recorded_and_what_was_not_executed_is_not() {
    let scene = Scene::one(|tx| tx);
    // status of the service | is the second copy answered from the record
    for (status, recorded) in [(404, true), (409, true), (422, true), (501, true), (401, false), (429, false)] {
        let key = format!("k{status}");
        scene.service.at("/tx/sale", Act::answer(status).body("no"));
        let call = Call::post("/tx/sale").key(&key);
        scene.store.tell(&call).expect(status);
        let again = scene.store.tell(&call).expect(status);
        assert_eq!(again.replayed(), recorded, "{status}");
        assert_eq!(scene.service.writes_of(&key).len(), if recorded { 1 } else { 2 }, "{status}");
    }
    // Released: the same key is new when the service has changed its mind.
    scene.service.as_usual();
    scene.store.tell(&Call::post("/tx/sale").key("k429")).expect(201);
}

#[test]
fn another_request_under_the_same_key_is_refused() {
    let scene = Scene::one(|tx| tx);
    scene.store.tell(&Call::post("/tx/sale").key("k1").body("one")).expect(201);
    for other in [
        Call::post("/tx/sale").key("k1").body("two"),
        Call::post("/tx/other").key("k1").body("one"),
        Call::put("/tx/sale").key("k1").body("one"),
        Call::post("/tx/sale?x=1").key("k1").body("one"),
        Call::post("/tx/sale").key("k1").body("one").header("Content-Type", "text/plain"),
    ] {
        scene.store.tell(&other).expect_problem(422, "key-reused");
    }
    assert_eq!(scene.service.writes().len(), 1);
}

#[test]
fn a_second_copy_waits_for_the_first() {
    let scene = Scene::one(|tx| tx);
    let gate = Gate::default();
    scene.service.at("/tx/sale", Act::answer(201).behind(&gate).body("once"));
    let call = Call::post("/tx/sale").key("k1");
    let first = call.spawn(scene.store.at());
    scene.service.wait_arrived("k1");
    let second = call.spawn(scene.store.at());
    // While the first is in flight another request under the key is refused at once.
    scene.store.tell(&Call::post("/tx/sale").key("k1").body("x")).expect_problem(422, "key-reused");
    gate.open();
    let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
    same_answer(&first.expect(201), &second.expect(201));
    assert_eq!(scene.service.writes_of("k1").len(), 1);
}

#[test]
fn a_client_that_hangs_up_does_not_cancel_its_write() {
    let scene = Scene::one(|tx| tx);
    let gate = Gate::default();
    scene.service.at("/tx/sale", Act::answer(201).behind(&gate).body("kept"));
    let call = Call::post("/tx/sale").key("k1");
    let stream = call.begin(scene.store.at()).unwrap();
    scene.service.wait_arrived("k1");
    drop(stream);
    gate.open();
    scene.service.wait_applied("k1");
    let told = scene.store.tell(&call).expect(201);
    assert!(told.replayed());
    assert_eq!(told.text(), "kept");
    assert_eq!(scene.service.writes_of("k1").len(), 1);
}

#[test]
fn malformed_keys_are_refused_before_anything_is_kept() {
    let scene = Scene::one(|tx| tx);
    let long = "x".repeat(256);
    let calls = [
        Call::post("/tx/sale").key(""),
        Call::post("/tx/sale").key("\"\""),
        Call::post("/tx/sale").key(&long),
        Call::post("/tx/sale").key("two words"),
        Call::post("/tx/sale").key("\"open"),
        Call::post("/tx/sale").key("caf\u{e9}"),
        Call::post("/tx/sale").key("one").key("one"),
        Call::post("/tx/sale").key("one").key("two"),
    ];
    for call in &calls {
        scene.store.tell(call).expect_problem(400, "key-malformed");
    }
    assert!(scene.service.writes().is_empty());
    scene.store.tell(&Call::post("/tx/sale").key(&"x".repeat(255))).expect(201);
}

#[test]
fn a_service_may_insist_on_keys() {
    let scene = Scene::one(|tx| tx.set("idempotency", "{ require_key = true }"));
    scene.store.tell(&Call::post("/tx/sale")).expect_problem(400, "key-required");
    scene.store.tell(&Call::new("PATCH", "/tx/sale")).expect_problem(400, "key-required");
    scene.store.tell(&Call::put("/tx/sale")).expect(201);
    scene.store.tell(&Call::post("/tx/sale").key("k")).expect(201);
    assert_eq!(scene.service.writes().len(), 2);
}

#[test]
fn without_a_key_every_write_is_new_and_gets_one() {
    let scene = Scene::one(|tx| tx);
    for _ in 0..2 {
        assert!(!scene.store.tell(&Call::post("/tx/sale").body("x")).expect(201).replayed());
    }
    let writes = scene.service.writes();
    assert_eq!(writes.len(), 2);
    assert!(writes.iter().all(|seen| !seen.key().is_empty()) && writes[0].key() != writes[1].key());
}

#[test]
fn the_envoy_dialect_speaks_as_the_paper_does() {
    let scene = Scene::one(|tx| tx.set("idempotency", "{ dialect = \"envoy\" }"));
    let call = Call::post("/tx/sale").header("X-Request-Id", "r1").body("x");
    scene.store.tell(&call).expect(201);
    let again = scene.store.tell(&call).expect(201);
    assert_eq!(again.header("idempotency-status"), Some("true"));
    assert_eq!(again.header("x-envoy-ratelimited"), Some("true"));
    scene.store.tell(&Call::post("/tx/sale").header("X-Request-Id", "r1").body("y")).expect_problem(409, "key-reused");
    assert_eq!(scene.service.writes().len(), 1);
}

#[test]
fn the_status_page_knows_the_write_and_nobody_guesses_its_address() {
    let scene = Scene::one(|tx| tx);
    let told = scene.store.tell(&Call::post("/tx/sale").key("k1")).expect(201);
    let token = told.header("holdfast-write").unwrap().to_owned();
    let page = scene.store.tell(&Call::get(&format!("/.holdfast/writes/{token}"))).expect(200).json();
    assert_eq!((page["state"].as_str(), page["status"].as_u64()), (Some("done"), Some(201)), "{page}");
    let mut other = token.into_bytes();
    let last = other.len() - 1;
    other[last] = if other[last] == b'A' { b'B' } else { b'A' };
    let other = format!("/.holdfast/writes/{}", String::from_utf8(other).unwrap());
    scene.store.tell(&Call::get(&other)).expect_problem(404, "unknown-token");
}

#[test]
fn an_answer_too_large_to_keep_is_given_once() {
    let scene = Scene::one(|tx| tx.set("max_replay_body", "\"1KiB\"").set("answer_max", "\"1KiB\""));
    let body = "x".repeat(20_000);
    scene.service.at("/tx/sale", Act::answer(201).body(body.clone()));
    let call = Call::post("/tx/sale").key("k1");
    assert_eq!(scene.store.tell(&call).expect(201).text(), body);
    scene.store.tell(&call).expect_problem(409, "replay-unavailable");
    assert_eq!(scene.service.writes_of("k1").len(), 1);
}

#[test]
fn a_storm_of_copies_is_one_write() {
    let scene = Scene::one(|tx| tx);
    scene.service.at("/tx/sale", Act::answer(201).slow(Duration::from_millis(50)));
    let call = Call::post("/tx/sale").key("storm");
    let copies: Vec<_> = (0..24).map(|_| call.spawn(scene.store.at())).collect();
    for copy in copies {
        copy.join().unwrap().unwrap().expect(201);
    }
    wait_for("settled", SOON, || scene.store.count("open_writes") == 0);
    assert_eq!(scene.service.writes_of("storm").len(), 1);
}
