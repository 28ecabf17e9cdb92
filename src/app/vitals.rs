//! What is looked at now and then, because it tells something only by how it changes: the room on the disk, the wall
//! clock.
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

#[derive(Default)]
struct Seen {
    forecast: Forecast,
    clock: WallClock,
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

    /// For as long as the process lives.
    pub async fn watch(self: Arc<Self>, journal: Journal) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look_at_clock();
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
