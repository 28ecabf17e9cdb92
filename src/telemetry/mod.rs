//! Logs, metrics, and what the service manager is told.
//!
//! Owns the names of all metrics ([`metrics`]), the form of a log line and its way out ([`Lines`]). May be called from
//! any thread at any time; promises that counting costs an atomic addition, that logging never fails, and that neither
//! ever waits. A crash loses the counts: nothing is decided by them.
mod instruments;
mod lines;
mod log;
mod metrics;
mod notify;

pub use instruments::{By, Counter, Gauge, Histogram, Instrument, Label};
pub use lines::Lines;
pub use log::{InitError, init, last_words, say, say_panic};
pub use metrics::{Metrics, NodeMetrics, RequestKind, ServiceMetrics, StatusClass};
pub use notify::{Notifier, Notify};
