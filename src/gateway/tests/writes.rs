//! Writes, from the client's bytes to the client's answer.
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::support::*;
use crate::idempotency::{Dialect, KeyRules};
use crate::service::AttemptResult;

#[tokio::test]
async fn a_write_is_described_sent_and_answered_and_a_copy_gets_the_same_answer() {
    let service = service(|n, _| {
        let cookies =
            "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive";
        vec![Step::Write(format!(
            "HTTP/1.1 201 Created\r\n{cookies}\r\nLocation: /tx/{n}\r\nContent-Length: 1\r\n\r\n{n}"
        ))]
    })
    .await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let lines = "Idempotency-Key: \"k-1\"\r\nX-Session-Id: s\r\nHoldfast-Origin: forged\r\nX-Request-Id: r\r\n";
    let mut wire = Wire::to(gateway.address).await;
    let first = wire.ask(&post("/tx?x", lines, "{}")).await;
    let again = wire.ask(&post("/tx?x", &lines.replace('"', ""), "{}")).await;
    let other = wire.ask(&post("/tx?x", lines, "{ }")).await;
    for answer in [&first, &again] {
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n") && answer.ends_with("\r\n\r\n1"), "{answer}");
        for line in [
            "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
            "Location: /tx/1\r\n",
            "holdfast-seen: AgEA",
            "holdfast-served-by: store-1\r\n",
            "content-length: 1\r\n",
        ] {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        assert!(!answer.contains("1970") && answer.matches("date: ").count() == 1, "{answer}");
    }
    assert!(first.contains("holdfast-write: tok-1\r\n") && !first.contains("idempotent-replayed"), "{first}");
    assert!(again.contains("idempotent-replayed: true\r\n"), "{again}");
    assert!(other.starts_with("HTTP/1.1 422") && other.contains("\"code\":\"key-reused\""), "{other}");
    let requests = service.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert!(request.starts_with("POST /tx?x HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"), "{request}");
    for line in [
        "Host: shop.example\r\n",
        "Idempotency-Key: \"k-1\"\r\n",
        "X-Request-Id: r\r\n",
        "traceparent: 00-",
        "holdfast-origin: store-1\r\n",
        "via: 1.1 holdfast-",
        "x-forwarded-for: 127.0.0.1\r\n",
        "Content-Length: 2\r\n",
    ] {
        assert!(request.contains(line), "{line}: {request}");
    }
    let seen = gateway.seen.lock().unwrap();
    assert_eq!(seen.writes[0].facts.lane, crate::model::Lane::of("header:x-session-id", b"s"));
    assert!(seen.writes[0].facts.traceparent.is_some());
}

#[tokio::test]
async fn a_write_without_a_key_gets_one_of_ours_and_has_no_copies() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for _ in 0..2 {
        let answer = ask(gateway.address, &post("/tx", "", "{}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let requests = service.requests.lock().unwrap();
    let key = |request: &str| {
        let at = request.find("idempotency-key: ").expect("a key") + 17;
        uuid::Uuid::parse_str(&request[at..at + 36]).expect("a UUID")
    };
    assert_eq!(key(&requests[0]).get_version_num(), 7);
    assert_ne!(key(&requests[0]), key(&requests[1]));
    assert!(gateway.seen.lock().unwrap().writes.iter().all(|w| w.facts.key.is_none()));
}

#[tokio::test]
async fn bad_keys_are_refused_before_anything_is_kept() {
    let service = service(|_, _| ok("")).await;
    let rules = KeyRules { dialect: Dialect::Ietf, require_key: true };
    let gateway = gateway(upstream_settings(&[service.address]), |s| s.keys = rules).await;
    for (lines, code) in [
        ("Idempotency-Key: \r\n".to_owned(), "key-malformed"),
        ("Idempotency-Key: a\r\nIdempotency-Key: b\r\n".to_owned(), "key-malformed"),
        (format!("Idempotency-Key: {}\r\n", "k".repeat(256)), "key-malformed"),
        (String::new(), "key-required"),
    ] {
        let answer = ask(gateway.address, &post("/tx", &lines, "{}")).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
        assert!(answer.contains("rel=\"describedby\""), "{answer}");
    }
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 0);
}

#[tokio::test]
async fn the_envoy_dialect_speaks_envoys_headers() {
    let service = service(|_, _| ok("x")).await;
    let rules = KeyRules { dialect: Dialect::Envoy, require_key: false };
    let gateway = gateway(upstream_settings(&[service.address]), |s| s.keys = rules).await;
    let first = ask(gateway.address, &post("/tx", "X-Request-Id: r-1\r\n", "{}")).await;
    let again = ask(gateway.address, &post("/tx", "X-Request-Id: r-1\r\n", "{}")).await;
    let other = ask(gateway.address, &post("/tx", "X-Request-Id: r-1\r\n", "{ }")).await;
    assert!(!first.contains("idempotency-status"), "{first}");
    assert!(
        again.contains("idempotency-status: true\r\n") && again.contains("x-envoy-ratelimited: true\r\n"),
        "{again}"
    );
    assert!(other.starts_with("HTTP/1.1 409"), "{other}");
    assert!(service.requests.lock().unwrap()[0].contains("idempotency-key: r-1\r\n"));
}

#[tokio::test]
async fn a_body_over_the_limit_leaves_no_trace() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    let chunked =
        format!("POST /tx HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}1\r\nx\r\n0\r\n\r\n");
    let announced = "POST /tx HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\nExpect: 100-continue\r\n\r\n".to_owned();
    for request in [chunked, announced, post("/tx", "", &"x".repeat(10_001))] {
        let answer = ask(gateway.address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"), "{answer}");
    }
    assert!(ask(gateway.address, &post("/tx", "", &"x".repeat(10_000))).await.starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 1);
}

#[tokio::test]
async fn continue_is_said_when_the_body_is_wanted() {
    let service = service(|_, _| ok("done")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for path in ["/tx", "/plain"] {
        let mut wire = Wire::to(gateway.address).await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        let interim = wire.ask(&head).await;
        assert!(interim.starts_with("HTTP/1.1 100 Continue\r\n"), "{path}: {interim}");
        assert!(wire.ask("hi").await.ends_with("done"), "{path}");
    }
    assert!(!service.requests.lock().unwrap().iter().any(|r| r.contains("expect")));
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_no_write() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = service(move |_, _| [vec![Step::Pass(held.clone())], ok("done")].concat()).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut wire = Wire::to(gateway.address).await;
    wire.send(&post("/tx", "Idempotency-Key: k\r\n", "{}")).await;
    until("the service is asked", || service.requests.lock().unwrap().len() == 1).await;
    drop(wire);
    gate.add_permits(1);
    until("the write is answered", || gateway.seen.lock().unwrap().results.len() == 1).await;
    assert!(matches!(&gateway.seen.lock().unwrap().results[0], AttemptResult::Answered(a) if a.body == "done"));
    let again = ask(gateway.address, &post("/tx", "Idempotency-Key: k\r\n", "{}")).await;
    assert!(again.contains("idempotent-replayed: true") && again.ends_with("done"), "{again}");
}

#[tokio::test]
async fn an_unfinished_body_is_no_write() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut wire = Wire::to(gateway.address).await;
    wire.send("POST /tx HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    drop(wire);
    let answer = ask(gateway.address, &post("/tx", "", "whole")).await;
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 1);
}

#[tokio::test]
async fn receipts_and_unknown_outcomes_carry_the_status_address() {
    let service = service(|_, _| vec![Step::Close]).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let queued = ask(gateway.address, &post("/queue", "", "{}")).await;
    assert!(queued.starts_with("HTTP/1.1 202") && queued.contains("location: /.holdfast/writes/tok-1\r\n"), "{queued}");
    let unknown = ask(gateway.address, &post("/tx", "", "{}")).await;
    assert!(unknown.starts_with("HTTP/1.1 504") && unknown.contains("\"code\":\"outcome-unknown\""), "{unknown}");
    assert!(
        unknown.contains("</.holdfast/writes/tok-2>; rel=\"monitor\"") && unknown.contains("\"retry\":\"unknown\"")
    );
}

#[tokio::test]
async fn an_answer_too_large_to_keep_reaches_the_first_asker_whole() {
    let service = service(|_, _| ok(&"x".repeat(100_000))).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let first = ask(gateway.address, &post("/tx", "Idempotency-Key: k\r\n", "{}")).await;
    assert!(first.contains("content-length: 100000\r\n") && first.ends_with("xxx"), "{first:.300}");
    let again = ask(gateway.address, &post("/tx", "Idempotency-Key: k\r\n", "{}")).await;
    assert!(again.starts_with("HTTP/1.1 409") && again.contains("replay-unavailable"), "{again}");
}

#[tokio::test]
async fn what_goes_out_is_what_came_in_and_a_reason_comes_back() {
    let reason = "HTTP/1.1 422 Drawer not closed\r\nContent-Length: 0\r\n\r\n";
    let service = service(move |_, _| vec![Step::Write(reason.into())]).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for (path, key) in [("/tx", "a"), ("/tx", "a"), ("/plain", "b")] {
        let answer = ask(gateway.address, &post(path, &format!("Idempotency-Key: {key}\r\n"), "")).await;
        assert!(answer.starts_with("HTTP/1.1 422 Drawer not closed\r\n"), "{answer}");
    }
    let read = ask(gateway.address, &get("/tx", "")).await;
    assert!(read.starts_with("HTTP/1.1 422 Drawer not closed\r\n"), "{read}");
    let delete = "DELETE /tx/1 HTTP/1.1\r\nHost: shop.example\r\n";
    ask(gateway.address, &format!("{delete}Content-Length: 0\r\n\r\n")).await;
    ask(gateway.address, &format!("{delete}\r\n")).await;
    let requests = service.requests.lock().unwrap();
    // A POST and its copy, one without a journal, a GET, a DELETE with a length, and one without.
    let lengths: Vec<_> =
        requests.iter().map(|request| request.to_lowercase().contains("content-length: 0\r\n")).collect();
    assert_eq!(lengths, [true, true, false, true, false], "{requests:?}");
}

#[tokio::test]
async fn a_key_is_described_with_its_scope_and_with_who_brings_it() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |settings| {
        settings.scope = ["host", "header:x-shop"].iter().map(|rule| rule.parse().unwrap()).collect();
    })
    .await;
    let at = |host: &str, lines: &str| {
        format!("POST /tx HTTP/1.1\r\nHost: {host}\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n{lines}\r\n{{}}")
    };
    for text in [
        at("a.shop", ""),
        at("A.Shop.:80", "Authorization: Bearer 1\r\n"),
        at("b.shop", "Authorization: Bearer 1\r\n"),
        at("a.shop", "X-Shop: 1\r\n"),
        at("a.shop", "X-Shop: 1\r\nConnection: x-shop, authorization\r\nAuthorization: Bearer 1\r\n"),
        post("/tx", "", "{}"),
    ] {
        let answer = ask(gateway.address, &text).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let seen = gateway.seen.lock().unwrap();
    let facts: Vec<_> = seen.writes.iter().map(|write| &write.facts).collect();
    let keys: Vec<_> = facts[..5].iter().map(|facts| facts.key.expect("it has one")).collect();
    assert_eq!(keys[0], keys[1], "a host is spelled in several ways");
    assert_eq!(keys[3], keys[4]);
    assert!(keys[0] != keys[2] && keys[0] != keys[3] && keys[2] != keys[3]);
    let who = |n: usize| crate::model::ClientRules::default().who(&seen.writes[n].request);
    let is_by = |n: usize, other: usize| facts[n].client.expect("it has one").is(&who(other));
    assert!(is_by(0, 3) && is_by(1, 2) && is_by(1, 4) && !is_by(0, 1));
    assert_ne!(facts[1].client, facts[2].client, "each write has its salt");
    assert_eq!((facts[5].key, facts[5].client), (None, None), "no key, no copies");
}
