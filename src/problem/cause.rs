//! What went wrong, with what a person must know to act.
use http::StatusCode;

use super::Code;
use crate::model::{HeldState, Problem, Retry};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What the state machine said about a write.
    Write {
        problem: Problem,
        /// The service speaks Essex' dialect: 409 instead of 422.
        envoy: bool,
        /// Where the client may ask further.
        status_address: Option<String>,
    },
    NoRoute {
        host: String,
        path: String,
    },
    /// The request's shape is refused: two lengths, folded headers, bad chunks …
    BadRequest {
        what: &'static str,
    },
    KeyMalformed {
        what: &'static str,
    },
    KeyRequired,
    SeenMalformed,
    StoreMissing {
        /// As in the configuration, for example `header:x-store`.
        from: String,
    },
    StoreForeign {
        store: String,
    },
    BodyTooLarge {
        limit_bytes: usize,
    },
    HeadersTooLarge,
    RequestTimeout,
    ExpectationFailed,
    UpgradeUnsupported,
    MethodUnsupported {
        method: String,
    },
    UnknownToken,
    /// Plain proxying and reads: no byte was sent.
    UpstreamUnreachable {
        service: String,
    },
    /// Plain proxying and reads: broken off after the first byte. `read`: the method changes nothing.
    UpstreamBroken {
        service: String,
        read: bool,
    },
    UpstreamTimeout {
        service: String,
        read: bool,
    },
    /// A read that another site answers.
    PeerUnreachable {
        site: String,
    },
    LoopDetected,
    /// The admin API.
    Unauthorized,
    UnknownWrite {
        asked: String,
    },
    UnknownService {
        asked: String,
        /// Those that there are.
        known: Vec<String>,
    },
    OperationRejected {
        why: String,
    },
    NotFound {
        path: String,
    },
    /// The address is there.
    MethodNotAllowed {
        method: String,
        /// As in `Allow`.
        allowed: String,
    },
    /// Something that must not happen. What it was is in the log, not in the answer.
    Internal,
}

impl From<Problem> for Cause {
    fn from(problem: Problem) -> Self {
        Cause::Write { problem, envoy: false, status_address: None }
    }
}

impl Cause {
    pub fn code(&self) -> Code {
        match self {
            Cause::Write { problem, .. } => problem_code(problem),
            Cause::NoRoute { .. } => Code::NoRoute,
            Cause::BadRequest { .. } => Code::BadRequest,
            Cause::KeyMalformed { .. } => Code::KeyMalformed,
            Cause::KeyRequired => Code::KeyRequired,
            Cause::SeenMalformed => Code::SeenMalformed,
            Cause::StoreMissing { .. } => Code::StoreMissing,
            Cause::StoreForeign { .. } => Code::StoreForeign,
            Cause::BodyTooLarge { .. } => Code::BodyTooLarge,
            Cause::HeadersTooLarge => Code::HeadersTooLarge,
            Cause::RequestTimeout => Code::RequestTimeout,
            Cause::ExpectationFailed => Code::ExpectationFailed,
            Cause::UpgradeUnsupported => Code::UpgradeUnsupported,
            Cause::MethodUnsupported { .. } => Code::MethodUnsupported,
            Cause::UnknownToken => Code::UnknownToken,
            Cause::UpstreamUnreachable { .. } => Code::UpstreamUnreachable,
            Cause::UpstreamBroken { .. } => Code::UpstreamBroken,
            Cause::UpstreamTimeout { .. } => Code::UpstreamTimeout,
            Cause::PeerUnreachable { .. } => Code::PeerUnreachable,
            Cause::LoopDetected => Code::LoopDetected,
            Cause::Unauthorized => Code::Unauthorized,
            Cause::UnknownWrite { .. } => Code::UnknownWrite,
            Cause::UnknownService { .. } => Code::UnknownService,
            Cause::OperationRejected { .. } => Code::OperationRejected,
            Cause::NotFound { .. } => Code::NotFound,
            Cause::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Cause::Internal => Code::Internal,
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Cause::Write { problem: Problem::KeyReused, envoy: true, .. } => StatusCode::CONFLICT,
            Cause::Write { problem: Problem::StoreDown, envoy: true, .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => self.code().status(),
        }
    }

    /// All that is said of another client's write.
    pub fn state(&self) -> Option<HeldState> {
        match self {
            Cause::Write { problem: Problem::KeyOfAnother { state }, .. } => Some(*state),
            _ => None,
        }
    }

    pub fn status_address(&self) -> Option<&str> {
        match self {
            Cause::Write { status_address, .. } => status_address.as_deref(),
            _ => None,
        }
    }

    /// What a client may do next. `Safe` claims that nothing was sent and nothing is kept.
    pub fn retry(&self) -> Retry {
        match self {
            Cause::Write { problem, .. } => problem_retry(problem),
            Cause::RequestTimeout | Cause::UpstreamUnreachable { .. } | Cause::PeerUnreachable { .. } => Retry::Safe,
            Cause::UpstreamBroken { read, .. } | Cause::UpstreamTimeout { read, .. } => {
                if *read {
                    Retry::Safe
                } else {
                    Retry::Unknown
                }
            }
            Cause::Internal => Retry::Unknown,
            Cause::NoRoute { .. }
            | Cause::BadRequest { .. }
            | Cause::KeyMalformed { .. }
            | Cause::KeyRequired
            | Cause::SeenMalformed
            | Cause::StoreMissing { .. }
            | Cause::StoreForeign { .. }
            | Cause::BodyTooLarge { .. }
            | Cause::HeadersTooLarge
            | Cause::ExpectationFailed
            | Cause::UpgradeUnsupported
            | Cause::MethodUnsupported { .. }
            | Cause::UnknownToken
            | Cause::LoopDetected
            | Cause::Unauthorized
            | Cause::UnknownWrite { .. }
            | Cause::UnknownService { .. }
            | Cause::OperationRejected { .. }
            | Cause::NotFound { .. }
            | Cause::MethodNotAllowed { .. } => Retry::Never,
        }
    }

    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Cause::Write { problem, .. } => match problem {
                Problem::KeyInFlight { retry_after_s }
                | Problem::NoReplica { retry_after_s }
                | Problem::LaneBusy { retry_after_s } => Some(*retry_after_s),
                Problem::Overloaded { .. } | Problem::Stale => Some(1),
                Problem::OriginUnreachable { .. } | Problem::StoreDown | Problem::JournalHeld | Problem::Draining => {
                    Some(5)
                }
                Problem::OutcomeUnknown | Problem::OutcomePending => Some(5),
                Problem::DiskReserve => Some(60),
                Problem::KeyReused | Problem::KeyOfAnother { .. } | Problem::ReplayUnavailable => None,
            },
            Cause::UpstreamUnreachable { .. } | Cause::PeerUnreachable { .. } => Some(1),
            _ => None,
        }
    }

    pub fn detail(&self) -> String {
        match self {
            Cause::Write { problem, .. } => problem_detail(problem),
            Cause::NoRoute { host, path } => format!("no service is configured for {path:?} at host {host:?}"),
            Cause::BadRequest { what } => format!("refused before anything was forwarded: {what}"),
            Cause::KeyMalformed { what } => {
                format!("Idempotency-Key must be one line of 1 to 255 visible ASCII characters: {what}")
            }
            Cause::KeyRequired => "send Idempotency-Key with a value of your own, for example a UUID".to_owned(),
            Cause::SeenMalformed => "send the value of Holdfast-Seen as an earlier answer gave it, or none".to_owned(),
            Cause::StoreMissing { from } => format!("the store is read from {from}, which is absent or empty"),
            Cause::StoreForeign { store } => format!("{store:?} is not a store of this service at this site"),
            Cause::BodyTooLarge { limit_bytes } => {
                format!("a body may have at most {limit_bytes} bytes; nothing was kept")
            }
            Cause::HeadersTooLarge => "send fewer or shorter headers".to_owned(),
            Cause::RequestTimeout => "the body stopped arriving; nothing was forwarded or kept".to_owned(),
            Cause::ExpectationFailed => "only Expect: 100-continue is known".to_owned(),
            Cause::UpgradeUnsupported => "send the request without Upgrade; nothing was forwarded".to_owned(),
            Cause::MethodUnsupported { method } => format!("{method} is not forwarded by this proxy"),
            Cause::UnknownToken => {
                "the address is wrong, or the write has been forgotten after its retention".to_owned()
            }
            Cause::UpstreamUnreachable { service } => {
                format!("no endpoint of {service} took the request; nothing was sent")
            }
            Cause::UpstreamBroken { service, .. } => {
                format!("{service} closed the connection before its answer was complete")
            }
            Cause::UpstreamTimeout { service, .. } => format!("{service} took the request and did not answer in time"),
            Cause::PeerUnreachable { site } => {
                format!("site {site} answers for this service now and cannot be reached")
            }
            Cause::LoopDetected => "this appliance's name already stands in Via: check the endpoints".to_owned(),
            Cause::Unauthorized => "send Authorization: Bearer with the token of [admin]".to_owned(),
            Cause::UnknownWrite { asked } => {
                format!("{asked:?} is neither the id nor the status token of a write kept here")
            }
            Cause::UnknownService { asked, known } => match known.as_slice() {
                [] => format!("there is no service {asked:?} at this site, and no other with replicas"),
                known => format!("there is no service {asked:?} at this site, which has: {}", known.join(", ")),
            },
            Cause::OperationRejected { why } => why.clone(),
            Cause::NotFound { path } => format!("{path:?} is not an address of this listener"),
            Cause::MethodNotAllowed { method, allowed } => format!("this address takes {allowed}, and not {method}"),
            Cause::Internal => "the operator finds the reason in the log under this request id".to_owned(),
        }
    }
}

fn problem_code(problem: &Problem) -> Code {
    match problem {
        Problem::KeyReused => Code::KeyReused,
        Problem::KeyOfAnother { .. } => Code::KeyOfAnother,
        Problem::KeyInFlight { .. } => Code::KeyInFlight,
        Problem::ReplayUnavailable => Code::ReplayUnavailable,
        Problem::OriginUnreachable { .. } => Code::OriginUnreachable,
        Problem::LaneBusy { .. } => Code::LaneBusy,
        Problem::NoReplica { .. } => Code::NoReplica,
        Problem::Overloaded { .. } => Code::Overloaded,
        Problem::Stale => Code::Stale,
        Problem::OutcomeUnknown => Code::OutcomeUnknown,
        Problem::OutcomePending => Code::OutcomePending,
        Problem::DiskReserve => Code::DiskReserve,
        Problem::StoreDown => Code::StoreDown,
        Problem::JournalHeld => Code::JournalHeld,
        Problem::Draining => Code::Draining,
    }
}

fn problem_retry(problem: &Problem) -> Retry {
    match problem {
        Problem::LaneBusy { .. }
        | Problem::NoReplica { .. }
        | Problem::Overloaded { .. }
        | Problem::Stale
        | Problem::DiskReserve => Retry::Safe,
        // A write may have been taken just before: its key makes the retry harmless either way.
        Problem::StoreDown | Problem::JournalHeld | Problem::Draining => Retry::SameKey,
        Problem::KeyInFlight { .. } | Problem::OriginUnreachable { .. } => Retry::SameKey,
        Problem::OutcomeUnknown | Problem::OutcomePending => Retry::Unknown,
        Problem::KeyOfAnother { state: HeldState::Unknown } => Retry::Unknown,
        Problem::KeyOfAnother { state: HeldState::Done } | Problem::KeyReused | Problem::ReplayUnavailable => {
            Retry::Never
        }
    }
}

fn problem_detail(problem: &Problem) -> String {
    match problem {
        Problem::KeyReused => {
            "a key names one request: use a new key for another method, path, type or body".to_owned()
        }
        Problem::KeyOfAnother { .. } => {
            "another client has sent this request with this key; it is not sent again, and its answer is for that \
             client"
                .to_owned()
        }
        Problem::KeyInFlight { .. } => "send it again with the same key to get the first copy's answer".to_owned(),
        Problem::ReplayUnavailable => {
            "the request was carried out and is not sent again; its answer was too large to keep, or nobody received it"
                .to_owned()
        }
        Problem::OriginUnreachable { site } => format!("site {site} has seen this key; nothing was sent"),
        Problem::LaneBusy { .. } => {
            "earlier writes of the same lane did not finish in time; nothing was sent".to_owned()
        }
        Problem::NoReplica { .. } => "no site with a replica is healthy and reachable; nothing was sent".to_owned(),
        Problem::Overloaded { what } => format!("no room for more {what}; nothing was sent"),
        Problem::Stale => "nothing was sent; the replica is catching up".to_owned(),
        Problem::OutcomeUnknown => {
            "the request was sent and no answer came; ask the status address, or send it again with the same key"
                .to_owned()
        }
        Problem::OutcomePending => {
            "the site that was asked has not answered; ask the status address, or send it again with the same key"
                .to_owned()
        }
        Problem::DiskReserve => "reads go on; writes are taken again when there is room; nothing was sent".to_owned(),
        Problem::StoreDown => "nothing can be written down, so nothing is sent".to_owned(),
        Problem::JournalHeld => {
            "what came before the lock was taken goes on when it is let go: send it again with the same key, never \
             with a new one"
                .to_owned()
        }
        Problem::Draining => "send it again with the same key, here after the restart or at another site".to_owned(),
    }
}
