//! The gateway's own answers, as problem+json (RFC 9457).
//!
//! The boundary to `problem/`: every answer of our own is a [`Refusal`] and goes through [`response`]. When
//! `crate::problem::response` exists, that one function is to be replaced by a call of it.
use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LINK, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::Body;
use super::headers::{HOLDFAST_WRITE, X_REQUEST_ID};
use crate::idempotency::Dialect;
use crate::model::{Problem, Retry};

const DOCS: &str = "https://holdfast.example/errors/";

/// Why a request is not answered by a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub title: &'static str,
    pub detail: Cow<'static, str>,
    /// Who failed: `appliance`, `upstream` or `peer`.
    pub origin: &'static str,
    pub retry: Retry,
    pub retry_after_s: Option<u32>,
    /// The connection cannot go on: what follows on it cannot be trusted, or was not read.
    pub close: bool,
}

impl Refusal {
    pub fn new(status: u16, code: &'static str, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let (detail, retry) = (detail.into(), Retry::Never);
        Self { status, code, title, detail, origin: "appliance", retry, retry_after_s: None, close: false }
    }
    pub fn retry(self, retry: Retry, retry_after_s: Option<u32>) -> Self {
        Self { retry, retry_after_s, ..self }
    }
    pub fn origin(self, origin: &'static str) -> Self {
        Self { origin, ..self }
    }
    pub fn close(self) -> Self {
        Self { close: true, ..self }
    }
}

/// The one edge where a cause becomes bytes. `write`: token and status address of the write it is about.
pub fn response(refusal: &Refusal, request_id: &str, write: Option<(&str, &str)>) -> Response<Body> {
    let mut body = serde_json::json!({
        "type": format!("{DOCS}{}", refusal.code),
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "origin": refusal.origin,
        "retry": refusal.retry,
        "request_id": request_id,
    });
    if let Some((_, address)) = write {
        body["write"] = address.into();
    }
    let mut response = Response::new(Body::Full(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    let mut text = |name, text: &str| HeaderValue::from_str(text).map(|value| headers.append(name, value)).is_ok();
    text(X_REQUEST_ID, request_id);
    text(LINK, &format!("<{DOCS}{}>; rel=\"describedby\"", refusal.code));
    if let Some((token, address)) = write {
        text(HOLDFAST_WRITE, token);
        text(LINK, &format!("<{address}>; rel=\"monitor\""));
    }
    if let Some(seconds) = refusal.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What the group said about a write.
pub fn of_problem(problem: &Problem, dialect: Dialect) -> Refusal {
    let envoy = dialect == Dialect::Envoy;
    match problem {
        Problem::KeyReused => {
            let status = if envoy { 409 } else { 422 };
            Refusal::new(status, "key-reused", "The key belongs to another request", "this key was used with another request; use a new key")
        }
        Problem::KeyInFlight { retry_after_s } => {
            Refusal::new(409, "key-in-flight", "The first copy is in flight", "a request with this key is still being worked on")
                .retry(Retry::SameKey, Some(*retry_after_s))
        }
        Problem::ReplayUnavailable => Refusal::new(
            409,
            "replay-unavailable",
            "The answer was too large to keep",
            "the request was carried out; its answer was larger than max_replay_body and cannot be repeated",
        ),
        Problem::OriginUnreachable { site } => {
            let detail = format!("site {site} holds the record of this key and cannot be reached");
            Refusal::new(409, "origin-unreachable", "The key's record is elsewhere", detail)
                .origin("peer")
                .retry(Retry::SameKey, Some(5))
        }
        Problem::LaneBusy => {
            Refusal::new(503, "lane-busy", "Other writes came first", "other writes of this lane took all the time; nothing was sent")
                .retry(Retry::Safe, Some(1))
        }
        Problem::NoReplica { retry_after_s } => {
            Refusal::new(503, "no-replica", "No replica can be asked", "no replica of this service can be asked; nothing was sent")
                .origin("upstream")
                .retry(Retry::Safe, Some(*retry_after_s))
        }
        Problem::Overloaded { what } => {
            Refusal::new(503, "overloaded", "Too much at once", format!("{what}: at its limit; nothing was sent"))
                .retry(Retry::Safe, Some(1))
        }
        Problem::Stale => {
            Refusal::new(503, "stale", "Not yet up to date", "this replica has not yet decided what Holdfast-Seen names")
                .retry(Retry::Safe, Some(1))
        }
        Problem::OutcomeUnknown => Refusal::new(
            504,
            "outcome-unknown",
            "Nobody knows whether it was done",
            "the request was sent and its answer was lost; ask the status address, or retry with the same key",
        )
        .origin("upstream")
        .retry(Retry::Unknown, Some(5)),
        Problem::OutcomePending => Refusal::new(
            504,
            "outcome-pending",
            "Another site may still decide it",
            "the request went to another site and no word came back yet; ask the status address, or retry with the same key",
        )
        .origin("peer")
        .retry(Retry::Unknown, Some(5)),
        Problem::DiskReserve => {
            Refusal::new(507, "disk-reserve", "The disk is nearly full", "the journal's disk is below its reserve; nothing was sent")
                .retry(Retry::Safe, Some(60))
        }
        Problem::StoreDown => {
            let status = if envoy { 500 } else { 503 };
            Refusal::new(status, "store-down", "The journal takes no writes", "the journal takes no writes; nothing was sent")
                .retry(Retry::Safe, Some(5))
        }
        Problem::Draining => {
            Refusal::new(503, "draining", "Shutting down", "this appliance is shutting down; retry with the same key")
                .retry(Retry::SameKey, Some(1))
        }
    }
}
