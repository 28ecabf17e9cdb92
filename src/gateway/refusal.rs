//! A request that the gateway answers itself: the cause, which `problem/` turns into bytes, and what the gateway adds
//! to it.
use http::Response;
use http::header::{CONNECTION, HeaderValue, LINK};
use http_body_util::BodyExt;

use super::body::Body;
use super::counted::of_cause;
use super::headers::{HOLDFAST_WRITE, X_REQUEST_ID};
use crate::problem::{self, Cause};

/// Why a request is not answered by a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub cause: Cause,
    /// The connection cannot go on: what follows on it cannot be trusted, or was not read.
    pub close: bool,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self { cause, close: false }
    }
}

impl Refusal {
    /// A refusal after which the connection ends.
    pub fn closing(cause: Cause) -> Self {
        Self { cause, close: true }
    }
}

/// The one edge where a refusal becomes an answer. `token`: of the write that it is about.
pub fn response(refusal: &Refusal, request_id: &str, token: Option<&str>) -> Response<Body> {
    let response = problem::response(&refusal.cause, request_id);
    let mut response = response.map(|full| Body::Boxed(full.map_err(|never| match never {}).boxed_unsync()));
    response.extensions_mut().insert(of_cause(&refusal.cause));
    let headers = response.headers_mut();
    let mut append = |name, text: &str| HeaderValue::from_str(text).map(|value| headers.append(name, value)).is_ok();
    append(X_REQUEST_ID, request_id);
    append(LINK, &format!("<{}{}>; rel=\"describedby\"", problem::DOCS, refusal.cause.code().name()));
    if let Some(token) = token {
        append(HOLDFAST_WRITE, token);
    }
    if let Some(address) = refusal.cause.status_address() {
        append(LINK, &format!("<{address}>; rel=\"monitor\""));
    }
    if refusal.close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
