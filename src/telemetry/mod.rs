//! Logs, metrics, and what the service manager is told.
//!
//! Owns the names of all metrics ([`metrics`]) and the form of a log line. May be called from any thread at any time;
//! promises that counting costs an atomic addition and never waits. A crash loses the counts: nothing is decided by them.
mod instruments;
mod log;
mod metrics;
mod notify;

pub use instruments::{By, Counter, Gauge, Histogram, Instrument, Label};
pub use log::{InitError, init};
pub use metrics::{Metrics, NodeMetrics, RequestKind, ServiceMetrics, StatusClass};
pub use notify::{Notifier, Notify};
