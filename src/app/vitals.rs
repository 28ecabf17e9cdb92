//! What is looked at now and then, because it tells something only by how it changes: the room on the disk, the wall
//! clock, counts of what should not happen.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attention;
use super::forecast::{Forecast, Left};
use super::numbers::wall_ms;
use super::wall_clock::WallClock;
use crate::journal::Journal;

const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What jumps and jumps back between two looks is not seen.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Where more goes by between readings of two clocks, their difference says nothing.
const READ_WITHIN_MS: u64 = 50;

pub(super) struct Vitals {
    began: Instant,
    seen: Mutex<Seen>,
}

/// Counts of what a person should hear of while it is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    ClockJumps,
    LogLines,
    Panics,
    Connections,
    Keys,
    Answers,
    Concurrent,
}

const MISHAPS: usize = 7;

/// A count without what a person has seen, and how long ago it was seen to have grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    pub count: u64,
    pub ago_ms: u64,
    /// Of them some were seen.
    pub is_rest: bool,
}

#[derive(Default)]
struct Seen {
    forecast: Forecast,
    clock: WallClock,
    /// With the moment at which it was seen to have grown.
    mishaps: [(u64, u64); MISHAPS],
    /// So many of each a person has marked as seen.
    known: [u64; MISHAPS],
}

impl Vitals {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until no more than the reserve is free; `None` where nobody can say.
    pub fn left(&self, reserve_bytes: u64) -> Option<Left> {
        self.seen().forecast.left(reserve_bytes)
    }

    pub fn clock_jumps(&self) -> u64 {
        self.seen().clock.jumps()
    }

    pub fn last_clock_jump_ms(&self) -> i64 {
        self.seen().clock.last_jump_ms()
    }

    /// Takes what a count is now; `None` while there is nothing to be counted, but what a person has seen.
    pub fn lately(&self, of: Mishap, count: u64) -> Option<Lately> {
        let now_ms = self.mono_ms();
        let mut seen = self.seen();
        let known = seen.known[of as usize];
        let (before, grew_ms) = &mut seen.mishaps[of as usize];
        if count > *before {
            (*before, *grew_ms) = (count, now_ms);
        }
        let ago_ms = now_ms.saturating_sub(*grew_ms);
        let count = count.saturating_sub(known);
        (count > 0).then_some(Lately { count, ago_ms, is_rest: known > 0 })
    }

    /// A person has seen these.
    pub fn saw(&self, of: Mishap, lately: Lately) {
        self.seen().known[of as usize] += lately.count;
    }

    /// Those that nobody else needs to be asked about.
    pub fn look_at_counts(&self) {
        self.lately(Mishap::ClockJumps, self.clock_jumps());
        self.lately(Mishap::LogLines, crate::telemetry::Lines::standard().lost());
        self.lately(Mishap::Panics, crate::contain::contained());
        self.lately(Mishap::Connections, crate::descriptors::refused());
    }

    /// For as long as the process lives.
    pub async fn watch(self: Arc<Self>, journal: Journal) {
        tokio::join!(self.watch_clock(), self.watch_counts(journal));
    }

    async fn watch_clock(&self) {
        let mut looks = tokio::time::interval(CLOCK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_at_clock(|| (self.mono_ms(), wall_ms(), self.mono_ms()));
        }
    }

    async fn watch_counts(&self, journal: Journal) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_at_counts();
            // While it cannot be read there is nothing to be measured.
            let Ok(usage) = journal.usage().await else { continue };
            let at_ms = self.mono_ms();
            self.seen().forecast.measure(at_ms, usage.disk_free_bytes, usage.journal_bytes);
        }
    }

    /// `read`: the wall clock, between two readings of the monotonic one.
    fn look_at_clock(&self, read: impl Fn() -> (u64, u64, u64)) {
        let (before, wall, mono) = read();
        if mono.saturating_sub(before) > READ_WITHIN_MS {
            return;
        }
        let jump_ms = self.seen().clock.look(mono, wall);
        if let Some(jump_ms) = jump_ms {
            let by = attention::by(jump_ms);
            tracing::warn!(
                jump_ms,
                "the wall clock has jumped {by}: times that are shown and logged jump with it, order does not"
            );
        }
    }

    fn mono_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_as_old_as_its_last_growth() {
        let vitals = Vitals::new();
        assert_eq!(vitals.lately(Mishap::Panics, 0), None);
        let first = vitals.lately(Mishap::Panics, 2).unwrap();
        assert_eq!((first.count, vitals.lately(Mishap::LogLines, 0)), (2, None));
        vitals.seen().mishaps[Mishap::Panics as usize].1 = 0;
        std::thread::sleep(Duration::from_millis(2));
        assert!(vitals.lately(Mishap::Panics, 2).unwrap().ago_ms >= 2);
        assert!(vitals.lately(Mishap::Panics, 3).unwrap().ago_ms <= vitals.mono_ms());
    }

    #[test]
    fn what_a_person_has_seen_is_not_said_again() {
        let vitals = Vitals::new();
        let first = vitals.lately(Mishap::Keys, 2).unwrap();
        assert_eq!((first.count, first.is_rest), (2, false));
        // One more came before it was marked, which nobody has seen.
        vitals.lately(Mishap::Keys, 3);
        vitals.saw(Mishap::Keys, first);
        let rest = vitals.lately(Mishap::Keys, 3).unwrap();
        assert_eq!((rest.count, rest.is_rest), (1, true));
        vitals.saw(Mishap::Keys, rest);
        assert_eq!(vitals.lately(Mishap::Keys, 3), None);
        assert!(vitals.lately(Mishap::Answers, 1).is_some(), "another thing");
    }

    #[test]
    fn a_process_that_stood_between_two_clocks_is_no_jump() {
        let vitals = Vitals::new();
        for (read, jumps) in [
            ((0, 1_000_000, 0), 0),
            // It stood for a quarter of an hour behind the first, and read the others then.
            ((1_000, 1_001_000, 901_000), 0),
            ((902_000, 1_902_000, 902_000), 0),
            ((903_000, 1_903_700, 903_001), 1),
        ] {
            vitals.look_at_clock(|| read);
            assert_eq!(vitals.clock_jumps(), jumps, "{read:?}");
        }
        assert_eq!(vitals.last_clock_jump_ms(), 699);
    }
}
