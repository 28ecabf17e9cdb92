//! What is counted and shown.
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::codec::CodecError;

/// Counted since the start; monotone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Fingerprints handed to the network.
    pub published: AtomicU64,
    /// Fingerprints heard from others, each once.
    pub heard: AtomicU64,
    /// Fingerprints and levels that found the outbound queue or a table full.
    pub dropped_out: AtomicU64,
    /// Messages that found the inbound queue full.
    pub dropped_in: AtomicU64,
    /// Messages under the key of another site or of a site that is not of the realm, and fingerprints of another site's
    /// writes.
    pub foreign: AtomicU64,
    /// Messages that are damaged or of another version.
    pub invalid: AtomicU64,
    pub questions_asked: AtomicU64,
    pub questions_answered: AtomicU64,
    /// Sessions opened anew because nobody heard this node.
    pub reopened: AtomicU64,
}

impl Counters {
    pub(super) fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Logs the 1st, 2nd, 4th, 8th … of a kind: a talkative peer cannot fill the log.
    fn nth(counter: &AtomicU64) -> Option<u64> {
        let n = counter.fetch_add(1, Ordering::Relaxed) + 1;
        n.is_power_of_two().then_some(n)
    }

    pub(super) fn invalid(&self, key: &str, error: &CodecError) {
        if let Some(n) = Self::nth(&self.invalid) {
            tracing::warn!(key, n, "control message refused: {error}");
        }
    }

    pub(super) fn misplaced(&self, key: &str) {
        if let Some(n) = Self::nth(&self.foreign) {
            tracing::warn!(
                key,
                n,
                "control message refused: its key is not that of the site it names, or that site is not listed"
            );
        }
    }
}

/// A picture for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ControlStatus {
    /// A hub is connected (at a hub: another hub).
    pub connected: bool,
    /// Addresses on which a hub listens.
    pub listening: Vec<String>,
    /// Why the last attempt to open a session failed; `None` while one is open.
    pub trouble: Option<String>,
    pub published: u64,
    pub heard: u64,
    pub dropped_out: u64,
    pub dropped_in: u64,
    pub foreign: u64,
    pub invalid: u64,
    pub questions_asked: u64,
    pub questions_answered: u64,
    pub reopened: u64,
}

/// Shared by the threads of one control plane and its handles.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub connected: AtomicBool,
    pub session: Mutex<(Vec<String>, Option<String>)>,
}

impl Shown {
    pub fn set_session(&self, listening: Vec<String>, trouble: Option<String>) {
        *self.session.lock().expect("nothing panics while it is held") = (listening, trouble);
    }

    pub fn status(&self, counters: &Counters) -> ControlStatus {
        let (listening, trouble) = self.session.lock().expect("nothing panics while it is held").clone();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ControlStatus {
            connected: self.connected.load(Ordering::Relaxed),
            listening,
            trouble,
            published: get(&counters.published),
            heard: get(&counters.heard),
            dropped_out: get(&counters.dropped_out),
            dropped_in: get(&counters.dropped_in),
            foreign: get(&counters.foreign),
            invalid: get(&counters.invalid),
            questions_asked: get(&counters.questions_asked),
            questions_answered: get(&counters.questions_answered),
            reopened: get(&counters.reopened),
        }
    }
}
