//! What is looked at now and then, because it tells something only by how it changes: the room on the disk, the wall
//! clock, counts of what should not happen.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::forecast::Forecast;
use super::numbers::wall_ms;
use super::wall_clock::WallClock;
use crate::journal::Journal;

const LOOK_EVERY: Duration = Duration::from_secs(15);

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
}

const MISHAPS: usize = 6;

/// A count, and how long ago it was seen to have grown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lately {
    pub count: u64,
    pub ago_ms: u64,
}

#[derive(Default)]
struct Seen {
    forecast: Forecast,
    clock: WallClock,
    /// With the moment at which it was seen to have grown.
    mishaps: [(u64, u64); MISHAPS],
}

impl Vitals {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), seen: Mutex::default() })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seconds until no more than the reserve is free; `None` where nobody can say.
    pub fn left_s(&self, reserve_bytes: u64) -> Option<f64> {
        self.seen().forecast.left_s(reserve_bytes)
    }

    pub fn clock_jumps(&self) -> u64 {
        self.seen().clock.jumps()
    }

    /// Takes what a count is now; `None` while there was nothing to be counted.
    pub fn lately(&self, of: Mishap, count: u64) -> Option<Lately> {
        let now_ms = self.mono_ms();
        let mut seen = self.seen();
        let (before, grew_ms) = &mut seen.mishaps[of as usize];
        if count > *before {
            (*before, *grew_ms) = (count, now_ms);
        }
        (count > 0).then(|| Lately { count, ago_ms: now_ms.saturating_sub(*grew_ms) })
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
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_at_clock();
            self.look_at_counts();
            // While it cannot be read there is nothing to be measured.
            let Ok(usage) = journal.usage().await else { continue };
            let at_ms = self.mono_ms();
            self.seen().forecast.measure(at_ms, usage.disk_free_bytes, usage.journal_bytes);
        }
    }

    fn look_at_clock(&self) {
        let jump_ms = self.seen().clock.look(self.mono_ms(), wall_ms());
        if let Some(jump_ms) = jump_ms {
            tracing::warn!(
                jump_ms,
                "the wall clock has jumped: times that are shown and logged jump with it, order does not"
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
}
