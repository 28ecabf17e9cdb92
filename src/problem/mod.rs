//! The one place where causes become problem+json (RFC 9457).
//!
//! Owns the codes, their status, what a client may do next, and the words. A code never changes its meaning; each has a
//! page in `docs/errors/`, and `type` is [`DOCS`] followed by the code. Pure: it only builds answers. Promises that
//! `retry` never says more than is known: `safe` only where nothing was sent and nothing is kept.
mod cause;
mod code;
#[cfg(test)]
mod tests;

pub use cause::Cause;
pub use code::{Code, Source};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response};
use http_body_util::Full;

use crate::model::{HeldState, Retry};

/// Where `type` points. A client must compare `code`; the address is for people.
pub const DOCS: &str = "https://holdfast.dev/errors/";

/// The body of an answer of the appliance itself.
#[derive(serde::Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    origin: Source,
    retry: Retry,
    request_id: &'a str,
    /// Where the write's further fate can be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<HeldState>,
}

/// The answer for a cause. `request_id` is what the client finds in its own logs.
pub fn response(cause: &Cause, request_id: &str) -> Response<Full<Bytes>> {
    let code = cause.code();
    let status = cause.status();
    let body = Body {
        r#type: format!("{DOCS}{}", code.name()),
        title: code.title(),
        status: status.as_u16(),
        detail: cause.detail(),
        code: code.name(),
        origin: code.source(),
        retry: cause.retry(),
        request_id,
        status_address: cause.status_address(),
        state: cause.state(),
    };
    let bytes = serde_json::to_vec(&body).expect("a body of texts and numbers always serialises");
    let mut response = Response::new(Full::new(Bytes::from(bytes)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = cause.retry_after_s() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Cause::MethodNotAllowed { allowed, .. } = cause
        && !allowed.is_empty()
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        headers.insert(ALLOW, allowed);
    }
    if code == Code::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
