//! The source side: settling, series, pages, wishes.
//!
//! Owns what this site owes others: the positions of its own series (never used twice), pages of any series for peers
//! that want them, and the wishes it has out. Promises that a position is durable before anyone is told of it (G1), and
//! that a wish given up is owed a revocation until its target has answered. An outcome that comes back is settled when
//! this replica can go on behind it (`pending`). After a crash, wishes that were out are revoked; the word that comes
//! back decides.
mod pending;
mod series;
mod settle;
mod ship;
mod statuses;
mod wish;
mod wishes;
mod words;

use std::collections::BTreeMap;

use crate::model::{LogId, SiteName};
use crate::service::peer::Peer;

pub(crate) use pending::Named;
pub use series::Series;
pub(crate) use ship::{RESEND_MS, SERIES_MAX};
pub(crate) use statuses::Statuses;
pub(crate) use wishes::Wishes;
pub(crate) use words::Words;

/// What this site owes others, and what it has asked of them.
pub(crate) struct Mirror {
    pub series: BTreeMap<LogId, Series>,
    pub peers: BTreeMap<SiteName, Peer>,
    pub statuses: Statuses,
    pub wishes: Wishes,
    pub named: Named,
    pub words: Words,
}

impl Mirror {
    pub fn begin(now_ms: u64) -> Self {
        Self {
            series: BTreeMap::new(),
            peers: BTreeMap::new(),
            statuses: Statuses::begin(now_ms),
            wishes: Wishes::default(),
            named: Named::default(),
            words: Words::default(),
        }
    }
}
