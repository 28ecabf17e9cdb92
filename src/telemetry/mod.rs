//! Logs, metrics, and what the service manager is told.
//!
//! Owns the names of all metrics ([`metrics`]), the form of a log line and its way out ([`Lines`]). May be called from
//! any thread at any time; promises that counting costs an atomic addition, that logging never fails, and that neither
//! ever waits. A crash loses the counts: nothing is decided by them.
mod form;
mod instruments;
mod labels;
mod lines;
mod log;
mod metrics;
mod notify;
mod process;
mod records;
#[cfg(test)]
mod reference;
mod repeats;
mod safe;

pub use form::without_build_folders;
pub use instruments::{By, Counter, Gauge, Histogram, Instrument, Label, Level, Seconds};
pub use labels::{AttemptResult, CertificateUse, Closed, Outcome, RequestKind, ShadowFate, StatusClass};
pub use lines::Lines;
pub use log::{InitError, init, last_words, say, say_error, say_panic, say_warning};
pub use metrics::{
    GatewayMetrics, Gathered, GroupMetrics, JournalMetrics, Metrics, NodeMetrics, PeerMetrics, ServiceMetrics,
};
pub use notify::{Notifier, Notify};
pub use records::{Access, AccessLog, Audit, access, audit};
pub use safe::{is_unsafe, safe, safe_lines};
