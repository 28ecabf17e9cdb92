//! G9: a panic that one client or one answer brings about ends its own connection, and nothing else. That nothing
//! beyond it is caught by chance is seen by what was contained: the hook of the appliance ends the process for all
//! other panics.
use std::sync::Arc;

use super::http2::Http2;
use super::support::*;
use crate::contain::planted::was_contained;
use crate::gateway::Upstream;
use crate::model::Request;
use crate::service::{Attempt, AttemptResult, ProbeResult};

#[tokio::test]
async fn a_panic_in_a_request_closes_its_connection_and_no_other() {
    let service = service(|_, _| ok("fine")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut other = Wire::to(gateway.address).await;
    let mut other_h2 = Http2::to(&gateway).await;
    assert!(other.ask(&get("/x", "")).await.ends_with("fine"));

    let mut http1 = Wire::to(gateway.address).await;
    assert_eq!(http1.ask(&get("/planted-panic/http1", "")).await, "");
    let mut http2 = Http2::to(&gateway).await;
    let path = b"/planted-panic/http2";
    http2.ask(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a"), (":path", path)]).await;
    assert!(!http2.is_answered().await);
    assert!(http2.is_closed().await);
    assert_eq!((was_contained("http1"), was_contained("http2")), (Some(true), Some(true)));

    assert!(other.ask(&get("/x", "")).await.ends_with("fine"));
    other_h2.ask(&[(":method", b"GET"), (":scheme", b"http"), (":authority", b"a"), (":path", b"/x")]).await;
    assert!(other_h2.is_answered().await);
}

#[tokio::test]
async fn a_panic_over_an_answer_leaves_the_outcome_unknown_and_the_next_attempt_is_as_ever() {
    let service = service(|_, _| ok("fine")).await;
    let mut settings = upstream_settings(&[service.address]);
    settings.probe = Some("GET /planted-panic/{key}".parse().unwrap());
    let upstream = Upstream::new(settings);
    let request = |target: &str| Request {
        method: "POST".into(),
        target: target.into(),
        authority: "shop.example".into(),
        headers: vec![crate::model::Header { name: "idempotency-key".into(), value: b"probe".to_vec() }],
        body: bytes::Bytes::new(),
    };
    let attempt = |target: &str| {
        let request = Arc::new(request(target));
        upstream.attempt(Attempt { id: write_id(1), attempt: 1, request, origin: site(), shadow: None })
    };
    assert!(matches!(attempt("/planted-panic/attempt").await, AttemptResult::Broken { .. }));
    assert!(matches!(attempt("/x").await, AttemptResult::Answered(_)));
    assert!(matches!(upstream.probe(&request("/x")).await, ProbeResult::Nothing));
    assert_eq!((was_contained("attempt"), was_contained("probe")), (Some(true), Some(true)));
}
