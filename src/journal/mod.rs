//! The store contract (§12): what is durable, and how it is asked for.
//!
//! Owns every durable byte of a node. Promises that one [`Batch`] is one transaction, that batches become durable in the
//! order in which they were handed over, and that a batch reported durable survives what `durability` says. A crash loses
//! a suffix of the batches that were not reported yet, never a part of one.
mod row;

pub use row::{Fate, Here, Op, Origin, QuarantineReason, Quarantined, Row, SeriesMeta, WishHeld};

use crate::model::{Lane, LogId};

/// What a group's state machine needs to begin again (all of it bounded by what is not final yet, but `keys` and `lanes`).
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub series: Vec<SeriesMeta>,
    /// Rows that are not final ([`Row::is_final`]), but without foreign rows that were received and not touched: those are
    /// read again in order of their positions. With requests.
    pub open: Vec<crate::service::Found>,
    /// Positions above a series' `decided` that are decided at this replica.
    pub decided_beyond: Vec<(LogId, u64)>,
    /// [`crate::model::KeyHash::short`] of every key that the journal knows.
    pub keys: Vec<u64>,
    /// Last applied position of each lane and log, latest settled first, as many as the limit allows.
    pub lanes: Vec<(Lane, LogId, u64)>,
    pub quarantined: Vec<Quarantined>,
    pub stopped: Option<String>,
}
