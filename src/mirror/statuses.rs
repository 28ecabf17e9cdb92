//! When peers are told how far this site is, and when what they confirmed is written down.
use crate::service::core::{Core, Cx, Timer};

const EVERY_MS: u64 = 500;
/// Changes are gathered for so long before peers hear of them.
const SOON_MS: u64 = 10;
/// What peers confirm is written down this often, and when they go: for people, who may ask after a restart what is
/// owed.
const CONFIRMED_EVERY_MS: u64 = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Statuses {
    /// Something changed that peers should hear soon.
    due: bool,
    next_ms: u64,
    said: u64,
    /// When what peers had confirmed was written down last.
    confirmed_ms: u64,
}

impl Statuses {
    pub fn begin(now_ms: u64) -> Self {
        Self { next_ms: now_ms, confirmed_ms: now_ms, ..Self::default() }
    }

    pub fn say_soon(&mut self) {
        self.due = true;
    }

    pub fn are_due(&self) -> bool {
        self.due
    }

    /// One is said to all. When the next one follows at the latest.
    pub fn say(&mut self, now_ms: u64) -> u64 {
        self.due = false;
        self.next_ms = now_ms + EVERY_MS;
        self.next_ms
    }

    /// Numbers those said in this life.
    pub fn count(&mut self) -> u64 {
        self.said += 1;
        self.said
    }

    pub fn said(&self) -> u64 {
        self.said
    }

    pub fn is_confirmation_due(&self, now_ms: u64) -> bool {
        now_ms >= self.confirmed_ms + CONFIRMED_EVERY_MS
    }

    pub fn confirmation_is_written(&mut self, now_ms: u64) {
        self.confirmed_ms = now_ms;
    }
}

impl Core {
    pub(crate) fn say_status_soon(&mut self, cx: &mut Cx) {
        let soon_ms = cx.ms() + SOON_MS;
        if soon_ms < self.mirror.statuses.next_ms {
            self.agenda.withdraw(self.mirror.statuses.next_ms, Timer::Status);
            self.mirror.statuses.next_ms = soon_ms;
            self.agenda.at(soon_ms, Timer::Status);
        }
    }
}
