//! An endpoint that gives no connection is left alone for a moment, a growing one, and asked again by us, not by a
//! client's request: while a service is down its writes cost nothing and leave nothing behind.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::h1::Conn;
use super::pool::Pool;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);
/// How long a new connection of an endpoint that is not trusted is looked at before a request is sent on it.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Rest {
    resting: AtomicBool,
    /// A service stands behind the endpoint: one has answered, and no new connection has ended without a byte of an
    /// answer since. A proxy before a dead service ends each of them so.
    trusted: AtomicBool,
}

impl Rest {
    pub fn is_resting(&self) -> bool {
        self.resting.load(Ordering::Relaxed)
    }
    pub fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
    pub fn ended_in_silence(&self) {
        self.trusted.store(false, Ordering::Relaxed);
    }
    pub fn answered(&self) {
        if !self.is_trusted() {
            self.trusted.store(true, Ordering::Relaxed);
        }
    }
}

/// Shorter than any patience that is left for the request itself.
pub fn look(connect_timeout: Duration) -> Duration {
    LOOK.min(connect_timeout / 8)
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
    if let Err(why) = pool.try_connect(true).await {
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
