//! What the log says of a peer that this side dials and does not reach.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::model::SiteName;

/// What was said of a peer that cannot be reached. Each reason once: the attempts go on quietly, in all the hours of a
/// cut, and when it is back it is said how many there were.
#[derive(Default)]
pub(super) struct Outage {
    tries: AtomicU64,
    said: Mutex<Vec<String>>,
}

impl Outage {
    /// One line says more than many; beyond this the peer's `last_error` tells.
    const REASONS: usize = 8;

    pub fn failed(&self, peer: &SiteName, error: &str) {
        if self.is_new(error) {
            tracing::warn!(%peer, %error, "cannot be reached, tried again quietly");
        } else {
            tracing::debug!(%peer, %error, "cannot be reached");
        }
    }

    pub fn refused(&self, peer: &SiteName, why: &str) {
        if self.is_new(why) {
            tracing::error!(%peer, %why, "the peer refuses the link, asked again quietly");
        } else {
            tracing::debug!(%peer, %why, "the peer refuses the link");
        }
    }

    fn is_new(&self, reason: &str) -> bool {
        self.tries.fetch_add(1, Relaxed);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= Self::REASONS || said.iter().any(|known| known == reason) {
            return false;
        }
        said.push(reason.to_owned());
        true
    }

    pub fn ends(&self, peer: &SiteName) {
        let tries = self.tries.swap(0, Relaxed);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if tries > 0 {
            tracing::info!(%peer, tries, "reached again");
        }
    }
}
