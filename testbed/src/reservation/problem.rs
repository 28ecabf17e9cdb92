//! What goes wrong, as RFC 9457 says it: a type that a machine tells apart, and beside it what a solver needs to go on.
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::exchange::Reply;

/// A problem's type is this and its name.
pub const TYPES: &str = "https://reservations.example/problems/";
/// The paper's header: `;`-separated pairs that lead a solver to what stands already at the services further down.
pub const DOWNSTREAM_RESOURCE: HeaderName = HeaderName::from_static("completer-downstream-resource");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    BadRequest,
    NotFound,
    NotAllowed,
    TooLarge,
    NoRestaurant,
    NoReservation,
    /// Every table that would do is taken; nothing was charged.
    NoTable,
    PaymentDeclined,
    NoCharge,
    /// Charged, and then there was no table. The reservation stands, without one.
    TableGone,
    /// Charged, and then the restaurant could not be asked. The reservation stands, without a table. No 503: that
    /// changes nothing.
    SeatNotAsked,
    Cancelled,
    /// A service further down cannot be reached; nothing was changed.
    NotReachable,
    /// A service further down was asked and gave no word; the booking finds out what became of it.
    NoWord,
    Database,
}

impl Kind {
    /// Status, name and title.
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request is not understood"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Kind::NotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "not-allowed", "This cannot be done here"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large or broke off"),
            Kind::NoRestaurant => (StatusCode::NOT_FOUND, "no-restaurant", "There is no such restaurant"),
            Kind::NoReservation => (StatusCode::NOT_FOUND, "no-reservation", "There is no such reservation"),
            Kind::NoTable => (StatusCode::CONFLICT, "no-table", "No table is free"),
            Kind::PaymentDeclined => (StatusCode::PAYMENT_REQUIRED, "payment-declined", "The card was declined"),
            Kind::NoCharge => (StatusCode::NOT_FOUND, "no-charge", "There is no charge to refund"),
            Kind::TableGone => (StatusCode::CONFLICT, "table-gone", "Charged, but the table is gone"),
            Kind::SeatNotAsked => {
                (StatusCode::BAD_GATEWAY, "seat-not-asked", "Charged, but the restaurant is out of reach")
            }
            Kind::Cancelled => (StatusCode::CONFLICT, "cancelled", "The reservation is cancelled already"),
            Kind::NotReachable => (StatusCode::SERVICE_UNAVAILABLE, "not-reachable", "A service is out of reach"),
            Kind::NoWord => (StatusCode::GATEWAY_TIMEOUT, "no-word", "A service was asked and gave no word"),
            Kind::Database => (StatusCode::INTERNAL_SERVER_ERROR, "database", "The database failed"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub detail: String,
    /// Names and plain values for [`DOWNSTREAM_RESOURCE`].
    pub resource: Vec<(&'static str, String)>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), resource: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.resource.push((name, value.to_string()));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.kind.told().0
    }

    pub fn reply(&self) -> Reply {
        let (status, name, title) = self.kind.told();
        let body = json!({
            "type": format!("{TYPES}{name}"), "title": title, "status": status.as_u16(), "detail": self.detail,
        });
        let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
        *reply.status_mut() = status;
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let pairs: Vec<String> = self.resource.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Some(value) = HeaderValue::try_from(pairs.join(";")).ok().filter(|value| !value.is_empty()) {
            headers.insert(DOWNSTREAM_RESOURCE, value);
        }
        reply
    }
}
