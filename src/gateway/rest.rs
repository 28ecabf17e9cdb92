//! An endpoint that gives no connection is left alone for a moment, a growing one, and asked again by us, not by a
//! client's request: while a service is down its writes cost nothing and leave nothing behind.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::h1::Conn;
use super::pool::Pool;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a new connection of a suspect endpoint is looked at before a request is trusted to it.
pub const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Rest {
    resting: AtomicBool,
    /// The last new connection ended without a byte of an answer. A proxy before a dead service does that with each of
    /// them.
    suspect: AtomicBool,
}

impl Rest {
    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }
    pub fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }
    /// A service stands behind the endpoint.
    pub fn answered(&self) {
        if self.is_suspect() {
            self.suspect.store(false, Ordering::Relaxed);
        }
    }
}

impl Pool {
    /// Nobody is sent there until a connection of our own succeeds.
    pub(super) fn rest_from_now(self: &Arc<Self>, why: &str) {
        // A health check's own pool asks at its own pace.
        let Some(owner) = self.owner.upgrade() else { return };
        self.trouble.met(why);
        if self.rest.resting.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::info!(endpoint = self.name(), why, "an endpoint gives no connection: it is left alone until it does");
        owner.note_health();
        tokio::spawn(ask_again(Arc::downgrade(self)));
    }
}

/// Whoever is to look at a service must not wait for its first client to find it gone.
pub(super) async fn look_once(pool: Weak<Pool>) {
    let Some(pool) = pool.upgrade() else { return };
    if let Err(why) = pool.try_connect(false).await {
        pool.rest_from_now(&why);
    }
}

async fn ask_again(pool: Weak<Pool>) {
    let mut pause = FIRST;
    loop {
        // Apart from each other: many appliances may wait for one service.
        tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        let Some(pool) = pool.upgrade() else { return };
        match pool.try_connect(true).await {
            Ok(stream) => {
                if !pool.is_h2c() {
                    pool.put_fresh(Conn::new(stream));
                }
                pool.rest.resting.store(false, Ordering::Relaxed);
                pool.forget_trouble();
                tracing::info!(endpoint = pool.name(), "an endpoint gives connections again");
                if let Some(owner) = pool.owner.upgrade() {
                    owner.note_health();
                }
                return;
            }
            Err(why) => {
                pool.trouble.met(&why);
                tracing::debug!(why, "an endpoint is left alone");
            }
        }
        pause = (pause * 2).min(LONGEST);
    }
}
