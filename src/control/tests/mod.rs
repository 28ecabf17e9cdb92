//! Whole nodes: over memory with a clock of the test's own, and over real zenoh on loopback.
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::handle::ControlEvents;
use crate::dedup::Fingerprint;
use crate::model::{Group, KeyHash, LogId, SiteName, WriteId};

mod decisions;
mod memory;
mod wrong_numbers;
mod zenoh;

/// What one node heard.
#[derive(Default)]
struct Heard {
    prints: Vec<(Group, Fingerprint, Instant)>,
    heads: Vec<(SiteName, Group, LogId, u64)>,
    health: Vec<(SiteName, Group, bool, u64)>,
    alive: Vec<(SiteName, String, Uuid, bool)>,
}

#[derive(Default)]
struct Recorder {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Recorder {
    fn note(&self, note: impl FnOnce(&mut Heard)) {
        note(&mut self.heard.lock().unwrap());
        self.changed.notify_all();
    }

    fn numbers(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.heard.lock().unwrap().prints.iter().map(|p| p.1.id.n).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Waits for a condition; the deadline is far beyond what a loaded machine needs.
    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&Heard) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut heard = self.heard.lock().unwrap();
        while !condition(&heard) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not in time: {what}");
            heard = self.changed.wait_timeout(heard, left).unwrap().0;
        }
    }
}

impl ControlEvents for Recorder {
    fn fingerprint(&self, group: &Group, print: Fingerprint) {
        self.note(|heard| heard.prints.push((group.clone(), print, Instant::now())));
    }
    fn head(&self, site: &SiteName, group: &Group, log: LogId, position: u64) {
        self.note(|heard| heard.heads.push((site.clone(), group.clone(), log, position)));
    }
    fn alive(&self, site: &SiteName, node: &str, boot: Uuid, up: bool) {
        self.note(|heard| heard.alive.push((site.clone(), node.to_owned(), boot, up)));
    }
    fn health(&self, site: &SiteName, group: &Group, healthy: bool, lag_ms: u64) {
        self.note(|heard| heard.health.push((site.clone(), group.clone(), healthy, lag_ms)));
    }
}

fn group(store: &str) -> Group {
    Group { service: "transactions".into(), store: store.into() }
}

fn log() -> LogId {
    LogId { store: [7; 16], incarnation: 1 }
}

fn print(origin: &str, n: u64) -> Fingerprint {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_le_bytes());
    Fingerprint { key: KeyHash(key), origin: SiteName::new(origin), id: WriteId { log: log(), n } }
}
