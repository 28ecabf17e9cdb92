//! Counts a request of a client: how it was answered, by whom, and when; or that nobody waited for it any more.
use std::time::Instant;

use http::Response;

use super::body::Body;
use super::refusal::Refusal;
use crate::problem::{Cause, Code};
use crate::telemetry::{Outcome, RequestKind, ServiceMetrics, StatusClass};

/// Dropped before it is answered, its client has left.
pub(super) struct Counted<'a> {
    metrics: &'a ServiceMetrics,
    kind: RequestKind,
    began: Instant,
    is_answered: bool,
}

impl<'a> Counted<'a> {
    pub fn new(metrics: &'a ServiceMetrics, kind: RequestKind) -> Self {
        metrics.requests_in_flight.enter();
        Self { metrics, kind, began: Instant::now(), is_answered: false }
    }

    pub fn answered(&mut self, result: &Result<Response<Body>, Refusal>) {
        let (status, outcome) = match result {
            Ok(response) => {
                let status = response.status().as_u16();
                let of_service = if status < 500 { Outcome::Answered } else { Outcome::Failed };
                (status, response.extensions().get::<Outcome>().copied().unwrap_or(of_service))
            }
            Err(refusal) => (refusal.cause.status().as_u16(), of_cause(&refusal.cause)),
        };
        self.count(StatusClass::of(status), outcome);
    }

    fn count(&mut self, class: StatusClass, outcome: Outcome) {
        self.is_answered = true;
        self.metrics.requests.of(self.kind).of(class).one();
        self.metrics.request_seconds.of(outcome).observe(self.began.elapsed());
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.count(StatusClass::None, Outcome::Gone);
        }
        self.metrics.requests_in_flight.leave();
    }
}

/// Whether anybody knows what became of a request that is refused so.
pub(super) fn of_cause(cause: &Cause) -> Outcome {
    match cause.code() {
        Code::OutcomeUnknown | Code::OutcomePending | Code::UpstreamBroken | Code::UpstreamTimeout => Outcome::Unknown,
        _ => Outcome::Refused,
    }
}
