//! What one side of a link refuses the other, and why: problem+json on the line, one log line on each side.
use http::{Response, StatusCode, header};

use super::body::{LinkBody, full};

/// A refusal by this site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub status: StatusCode,
    /// Stable, for machines.
    pub code: &'static str,
    pub detail: String,
}

/// Marks answers of the link itself, as opposed to what a service answered to a read.
pub(super) const REFUSED_HEADER: &str = "holdfast-link-refused";
pub(super) const PROBLEM_BYTES_MAX: usize = 16 << 10;

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    pub fn into_response(self) -> Response<LinkBody> {
        let problem = serde_json::json!({
            "type": format!("urn:holdfast:problem:{}", self.code),
            "title": "The link refused this",
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "origin": "peer",
        });
        let mut response = Response::new(full(problem.to_string().into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        headers.insert(REFUSED_HEADER, header::HeaderValue::from_static(self.code));
        response
    }
}

/// What the other side's problem says, in one line.
pub(super) fn describe(status: StatusCode, body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let member = |name: &str| problem.as_ref().and_then(|p| p.get(name)).and_then(|v| v.as_str());
    match (member("code"), member("detail")) {
        (Some(code), Some(detail)) => format!("{code} ({status}): {detail}"),
        _ => format!("status {status} without a problem document: is this a link of Holdfast?"),
    }
}
