//! The store contract (§12): what is durable, and how it is asked for.
//!
//! Owns every durable byte of a node. Promises that one [`Batch`] is one transaction, that batches become durable in the
//! order in which they were handed over, and that a batch reported durable survives what `durability` says. A crash loses
//! a suffix of the batches that were not reported yet, never a part of one.
mod error;
mod memory;
mod row;
mod standing;

use std::collections::BTreeMap;

pub use error::{CommitError, Damage, Error, Fatal, RecordName};
pub use memory::Memory;
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

/// What a durable batch has done besides what was asked for in so many words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// [`crate::model::KeyHash::short`] of keys that [`Op::Forget`] and [`Op::ForgetCancelled`] made vanish: no row of the
    /// group has them any more. Sorted within each op.
    pub forgotten_keys: Vec<u64>,
    /// One op forgets at most [`FORGET_ROWS_MAX`] rows, lowest positions first: say it again.
    pub more_to_forget: bool,
}

/// Rows that one [`Op::Forget`] or [`Op::ForgetCancelled`] deletes at most, so that a transaction stays short.
pub const FORGET_ROWS_MAX: usize = 1_000;

/// Recovery looks at so many rows of each series per lane it may return: with few lanes the scan must end somewhere.
const LANE_SCAN_FACTOR: usize = 4;

/// The lanes settled last; ties in order of log and lane, so that every implementation agrees.
fn newest_lanes(newest: BTreeMap<(Lane, LogId), (u64, u64)>, lanes_max: usize) -> Vec<(Lane, LogId, u64)> {
    let mut lanes: Vec<_> = newest.into_iter().map(|((lane, log), (clock, at))| (clock, log, at, lane)).collect();
    lanes.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.3).cmp(&(b.1, b.3))));
    lanes.truncate(lanes_max);
    lanes.into_iter().map(|(_, log, position, lane)| (lane, log, position)).collect()
}
