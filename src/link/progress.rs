//! Whether a body still moves. A long one may take its time on a thin line; one that stands still gives its place back.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Moving,
    /// Its last piece was taken.
    Whole,
    /// Nobody wants the rest.
    Dropped,
}

#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// When something was taken last, after `began`.
    moved_ms: AtomicU64,
    stage: watch::Sender<Stage>,
}

impl Progress {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), moved_ms: 0.into(), stage: watch::Sender::new(Stage::Moving) })
    }

    pub fn moved(&self) {
        self.moved_ms.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    pub fn is_whole(&self) {
        self.moved();
        self.end(Stage::Whole);
    }

    pub fn is_dropped(&self) {
        self.end(Stage::Dropped);
    }

    fn end(&self, stage: Stage) {
        // The first end counts: a body is dropped after its last piece too.
        self.stage.send_if_modified(|now| *now == Stage::Moving && std::mem::replace(now, stage) == Stage::Moving);
    }

    /// Returns when nothing has moved for `limit`.
    pub async fn silence(&self, limit: Duration) {
        loop {
            let silent = self.began.elapsed().saturating_sub(Duration::from_millis(self.moved_ms.load(Relaxed)));
            if silent >= limit {
                return;
            }
            tokio::time::sleep(limit - silent).await;
        }
    }

    /// Waits for the end of the body, or for `limit` without a move; whether all of it was taken.
    pub async fn ended(&self, limit: Duration) -> bool {
        let mut stage = self.stage.subscribe();
        tokio::select! {
            ended = stage.wait_for(|stage| *stage != Stage::Moving) => ended.is_ok_and(|stage| *stage == Stage::Whole),
            () = self.silence(limit) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_counts_from_the_last_move_and_the_first_end_stays() {
        let progress = Progress::new();
        let limit = Duration::from_millis(60);
        let watched = progress.clone();
        let silent = tokio::spawn(async move { watched.silence(limit).await });
        for _ in 0..5 {
            tokio::time::sleep(limit / 3).await;
            progress.moved();
        }
        silent.await.unwrap();
        let silent_for = progress.began.elapsed() - Duration::from_millis(progress.moved_ms.load(Relaxed));
        assert!(silent_for >= limit, "{silent_for:?}");
        assert!(!progress.ended(Duration::from_millis(1)).await);
        progress.is_whole();
        progress.is_dropped();
        assert!(progress.ended(Duration::from_secs(60)).await);
        let dropped = Progress::new();
        dropped.is_dropped();
        assert!(!dropped.ended(Duration::from_secs(60)).await);
    }
}
