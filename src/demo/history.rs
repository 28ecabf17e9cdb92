//! What the tills were told: the only memory of the demo beside the services themselves.
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How a write ended for the till that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Told of a success (2xx but 202, 3xx).
    Acknowledged { status: u16 },
    /// Told of a client error by the service: nothing was to change.
    Refused { status: u16 },
    /// Never told: it may have happened.
    Unanswered,
}

/// One write as its till knows it. Times count from the history's beginning, on one monotonic clock for all tills.
#[derive(Clone, Debug)]
pub struct Told {
    pub key: String,
    pub method: String,
    pub path: String,
    pub body_sha256: String,
    pub till: String,
    /// The till's site.
    pub home: String,
    /// Sites that it was sent to: its own, sometimes another one with the same key.
    pub sites: Vec<String>,
    /// What orders it within its service: writes of one lane are applied in one order everywhere. `None` where both
    /// sites write.
    pub lane: Option<String>,
    pub tries: u32,
    pub sent: Duration,
    /// When the answer that ended it came.
    pub answered: Option<Duration>,
    pub ending: Ending,
    /// The site whose replica gave that answer, as far as the appliance said it.
    pub served_by: Option<String>,
}

impl Told {
    /// The first path segment: Holdfast's services in the demo are cut like that.
    pub fn service(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    pub fn is_acknowledged(&self) -> bool {
        matches!(self.ending, Ending::Acknowledged { .. })
    }

    /// Whether it only ever went to its own site, so that real time orders it.
    pub fn stayed_home(&self) -> bool {
        self.sites.iter().all(|site| *site == self.home)
    }
}

/// Shared by all tills. Bounded by their number and the demo's length.
#[derive(Debug)]
pub struct History {
    began: Instant,
    told: Mutex<Vec<Told>>,
}

impl Default for History {
    fn default() -> Self {
        Self { began: Instant::now(), told: Mutex::new(Vec::new()) }
    }
}

impl History {
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn record(&self, told: Told) {
        self.lock().push(told);
    }

    /// Runs `look` over everything told so far.
    pub fn with<T>(&self, look: impl FnOnce(&[Told]) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        // A panicking till does not damage a list that only grows.
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
