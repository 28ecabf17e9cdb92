//! What RFC 9113 section 8.2 and section 8.3 ask of a request that is passed on as HTTP/1.1. Pure.
//!
//! The protocol's own parser resets streams whose names have capitals, whose pseudo-headers are unknown, repeated,
//! missing or late, which name a connection's own headers, or whose body has another length than announced. Here is
//! what it lets pass.
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts as Head;
use http::{Method, Uri};

use super::path;
use super::refusal::Refusal;
use super::strict::{self, Violation};
use crate::problem::Cause;

const OF_A_CONNECTION: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Refuses what HTTP/1.1 would read differently, and brings the rest into its form: one `Cookie`, a target in ASCII.
pub fn check(head: &mut Head, max_headers: usize) -> Result<(), Refusal> {
    let bad = |what| Refusal::from(Cause::BadRequest { what });
    if head.headers.len() > max_headers {
        return Err(Cause::HeadersTooLarge.into());
    }
    if head.headers.values().any(|value| value.as_bytes().trim_ascii().len() != value.len()) {
        return Err(bad("a header value may not begin or end with white space"));
    }
    if OF_A_CONNECTION.iter().any(|name| head.headers.contains_key(name)) {
        return Err(bad("a header of a connection has no place in HTTP/2"));
    }
    if head.headers.get_all(TE).iter().any(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(bad("the only TE of HTTP/2 is \"trailers\""));
    }
    if head.headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(bad(Violation::RepeatedLength.detail()));
    }
    if head.headers.get(CONTENT_LENGTH).is_some_and(|length| strict::parse_length(length.as_bytes()).is_err()) {
        return Err(bad(Violation::InvalidLength.detail()));
    }
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(bad("the scheme must be http or https"));
    }
    check_target(head)?;
    join_cookies(&mut head.headers);
    Ok(())
}

/// `:path` is a path from the root, or `*` for OPTIONS.
fn check_target(head: &mut Head) -> Result<(), Refusal> {
    let bad = || Refusal::from(Cause::BadRequest { what: "the path must begin with a slash" });
    if head.method == Method::CONNECT {
        return Ok(());
    }
    let target = head.uri.path_and_query().map(|target| target.as_str()).unwrap_or_default();
    if !(target.starts_with('/') || (target == "*" && head.method == Method::OPTIONS)) {
        return Err(bad());
    }
    if !target.is_ascii() {
        let mut parts = head.uri.clone().into_parts();
        parts.path_and_query = path::in_ascii(target.as_bytes()).parse().ok();
        head.uri = Uri::from_parts(parts).map_err(|_| bad())?;
    }
    Ok(())
}

/// Crumbs become one line (RFC 9113 section 8.2.3): of several, an HTTP/1.1 service may read the first alone.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}
