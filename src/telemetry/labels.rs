//! The values of all labels. Names of services, stores and peers come from the configuration; everything else stands
//! here.
use http::Method;

use super::instruments::{Label, label};
use crate::journal::{Fate, QuarantineReason};
use crate::model::Verdict;
use crate::service::FailoverReason;

label! {
    /// What a request may do to a replica.
    RequestKind, "kind" {
        Read = "read",
        Write = "write",
        /// Of a service without replicas.
        Plain = "plain",
    }
}

label! {
    /// Of the status that a client was answered.
    StatusClass, "class" {
        Success = "2xx",
        Redirect = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        /// The client left before it was answered.
        None = "none",
    }
}

impl StatusClass {
    pub fn of(status: u16) -> Self {
        match status {
            0..=299 => StatusClass::Success,
            300..=399 => StatusClass::Redirect,
            400..=499 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }
}

label! {
    /// Who answered a request, and what that says of it.
    Outcome, "outcome" {
        /// The service, with any status below 500.
        Answered = "answered",
        /// The service, with 500 or above.
        Failed = "failed",
        /// The record of an earlier answer.
        Replayed = "replayed",
        /// Holdfast, with 202: it will be sent.
        Queued = "queued",
        /// Holdfast, which did nothing.
        Refused = "refused",
        /// Holdfast, which does not know, or not yet, what the service did.
        Unknown = "unknown",
        /// Nobody: the client left.
        Gone = "gone",
    }
}

label! {
    /// What one try at an endpoint proved.
    AttemptResult, "result" {
        /// Any status below 500.
        Answered = "answered",
        /// 500 or above.
        Failed = "failed",
        /// It did not reach the service: no endpoint, no connection, no place.
        NeverSent = "never-sent",
        /// No whole answer, and the service may have done it.
        Broken = "broken",
    }
}

impl AttemptResult {
    pub fn of(status: u16) -> Self {
        if status < 500 { AttemptResult::Answered } else { AttemptResult::Failed }
    }
}

label! {
    /// What became at this replica of a write of another site.
    ShadowFate, "fate" {
        Applied = "applied",
        Refused = "refused",
        Skipped = "skipped",
        Duplicate = "duplicate",
        Void = "void",
        Quarantined = "quarantined",
    }
}

impl ShadowFate {
    pub fn of(fate: &Fate) -> Self {
        match fate {
            Fate::Applied => ShadowFate::Applied,
            Fate::Refused => ShadowFate::Refused,
            Fate::Skipped => ShadowFate::Skipped,
            Fate::Duplicate(_) => ShadowFate::Duplicate,
            Fate::Void => ShadowFate::Void,
            Fate::Quarantined(_) => ShadowFate::Quarantined,
        }
    }
}

label! {
    /// Why a connection of a client was closed at once.
    Closed, "reason" {
        /// Its address has all that one may have.
        Address = "address",
        /// The last descriptors are kept for work.
        Descriptors = "descriptors",
    }
}

label! {
    /// What a certificate is shown for.
    CertificateUse, "use" {
        /// Links and control.
        Identity = "identity",
        Gateway = "gateway",
    }
}

impl RequestKind {
    pub fn of(method: &Method, writes: bool, has_replicas: bool) -> Self {
        match (has_replicas, writes) {
            (false, _) => RequestKind::Plain,
            (true, true) => RequestKind::Write,
            // What is neither is refused; it would have been a write.
            (true, false) if !method.is_safe() => RequestKind::Write,
            (true, false) => RequestKind::Read,
        }
    }
}

impl Label for Verdict {
    const NAME: &'static str = "verdict";
    const ALL: &'static [Self] = &[
        Verdict::Applied,
        Verdict::Refused,
        Verdict::NotExecuted,
        Verdict::MayHaveApplied,
        Verdict::Undecided,
        Verdict::Void,
        Verdict::Duplicate,
    ];
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Refused => "refused",
            Verdict::NotExecuted => "not-executed",
            Verdict::MayHaveApplied => "may-have-applied",
            Verdict::Undecided => "undecided",
            Verdict::Void => "void",
            Verdict::Duplicate => "duplicate",
        }
    }
}

impl Label for FailoverReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        FailoverReason::Link,
        FailoverReason::Service,
        FailoverReason::Hangs,
        FailoverReason::Stopped,
        FailoverReason::Behind,
        FailoverReason::Order,
    ];
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            FailoverReason::Link => "link-down",
            FailoverReason::Service => "service-down",
            FailoverReason::Hangs => "no-answer",
            FailoverReason::Stopped => "stopped",
            FailoverReason::Behind => "behind",
            FailoverReason::Order => "order",
        }
    }
}

impl Label for QuarantineReason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &QuarantineReason::ALL;
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            QuarantineReason::UnknownOutcome => "unknown-outcome",
            QuarantineReason::MayHaveApplied => "may-have-applied",
            QuarantineReason::Divergence => "divergence",
            QuarantineReason::Contrary => "contrary",
            QuarantineReason::ConcurrentWrites => "concurrent-writes",
            QuarantineReason::LateDecision => "late-decision",
            QuarantineReason::Damaged => "damaged",
            QuarantineReason::Hole => "hole",
            QuarantineReason::SetAside => "set-aside",
            QuarantineReason::KeyOfAnother => "key-of-another",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_number_themselves_and_their_values_differ() {
        fn check<L: Label + std::fmt::Debug>() {
            assert!(L::ALL.iter().enumerate().all(|(i, label)| label.index() == i), "{:?}", L::ALL);
            let mut values: Vec<_> = L::ALL.iter().map(|label| label.value()).collect();
            values.sort_unstable();
            values.dedup();
            assert_eq!(values.len(), L::ALL.len());
        }
        check::<RequestKind>();
        check::<StatusClass>();
        check::<Outcome>();
        check::<AttemptResult>();
        check::<ShadowFate>();
        check::<Closed>();
        check::<CertificateUse>();
        check::<Verdict>();
        check::<QuarantineReason>();
        check::<FailoverReason>();
    }

    #[test]
    fn reasons_are_called_as_in_the_api() {
        for reason in QuarantineReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.value());
        }
    }
}
