//! The store contract: what is durable, and how it is asked for.
//!
//! Owns every durable byte of a node: [`Journal`] in SQLite, and [`Memory`], the same in plain maps, for simulation.
//! Both pass one test suite (`contract.rs`). [`Single`] is the journal without its threads, for simulation on a disk
//! that fails.
//!
//! Promises that one batch of [`Op`]s is one transaction, that batches become durable in the order in which they were
//! handed over, and that a batch reported durable survives what [`Durability`] says. A crash loses a suffix of the
//! batches that were not reported yet, never a part of one. After a failure other than a full disk nothing more is
//! written by this process, and what became of the last batches is unknown until a restart.
//!
//! Assumes that the facts of a write and a position once given never change, that an id belongs to one group, and that
//! one process at a time uses the directory (it takes a lock).
//!
//! The way of a batch: [`Journal::commit`] → `queue` (bounded) → `writer` (one thread, one transaction for all that
//! waits) → `apply` (ops to rows) → `record` (bytes and CRC32) → commit, fsync → `done`. Look-ups go through `pool` to
//! `reader`s with connections of their own, and `checkpoint` moves the write-ahead log into the database beside the
//! commits. `open` does what must be done after any restart before a recovered row may be acted upon; `wal` finds
//! damage that SQLite would not tell. `files` looks at what other hands do to the files meanwhile, and who they are: a
//! stranger's lock is waited for ([`Held`]), a file that was taken away ends the process.
mod apply;
mod behind;
mod beneath;
mod checkpoint;
mod error;
mod files;
mod find;
mod handle;
mod memory;
mod mend;
mod names;
mod open;
mod options;
mod people;
pub(crate) mod plausible;
mod pool;
mod quarantine;
mod queue;
mod reader;
mod record;
mod row;
mod schema;
mod seen;
mod shared;
mod single;
mod space;
mod standing;
#[cfg(test)]
mod tests;
mod verify;
mod wal;
mod writer;

use std::collections::BTreeMap;

pub use error::{CommitError, Damage, Error, Fatal, RecordName};
pub use find::{Find, Found};
pub use handle::{Held, Journal, Returned};
pub use memory::Memory;
pub use options::{Durability, OpenOptions, Space};
pub use people::{Aged, Filter, ListState, Listed, Shown, Stats, Usage};
pub use quarantine::{InOrder, QuarantineCounts, QuarantineFilter, QuarantineListed, QuarantinePage};
pub use queue::{Done, Refusal};
pub use row::{
    Age, Confirmed, Fate, Here, Op, Origin, QuarantineReason, Quarantined, Row, SeriesMeta, Stop, StopKind, WishHeld,
};
pub use single::{NotWritten, Single};
pub use space::free_bytes;
pub use verify::Report;

use crate::model::{Lane, LogId, WriteId};

/// Entries of a group that wait for others ([`Quarantined::unknown`]); who comes when there are more waits for a person
/// alone.
pub const WAITING_MAX: usize = 1_024;

/// What a group's state machine needs to begin again (all of it bounded by what is not final yet, but `keys` and
/// `lanes`).
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    pub series: Vec<SeriesMeta>,
    /// Rows that are not final ([`Row::is_final`]), but without foreign rows that were received and not touched: those
    /// are read again in order of their positions. With requests.
    pub open: Vec<Found>,
    /// Positions above a series' `decided` that are decided at this replica.
    pub decided_beyond: Vec<(LogId, u64)>,
    /// [`crate::model::KeyHash::short`] of every key that the journal knows.
    pub keys: Vec<u64>,
    /// The write applied last of each lane and log, with its position, latest settled first, as many as the limit
    /// allows.
    pub lanes: Vec<(Lane, WriteId, u64)>,
    /// Of these lanes, those whose last write was one of many that share nothing, and was answered 201.
    pub creating: Vec<Lane>,
    /// Entries of the rows in `open`, of what is broken, and others as the limit allows, in order of their ids.
    pub quarantined: Vec<Quarantined>,
    /// Entries that are tried once more when others are decided, oldest first, as many as [`WAITING_MAX`].
    pub waiting: Vec<(WriteId, Vec<WriteId>)>,
    /// The latest writes in quarantine of which nobody knows what became of them, as many as [`UNKNOWN_MAX`].
    pub unknown: Vec<WriteId>,
    /// How many there are, with those that the limit left out.
    pub quarantine: QuarantineCounts,
    /// Positions of rows that are broken, and that something was left to be done with or may have been.
    pub broken: Vec<(LogId, u64)>,
    pub stopped: Option<Stop>,
    pub age: Age,
    /// Where the store lies now: another number than in [`Age::place`] means that its file was copied there. 0: cannot
    /// be told.
    pub place: u64,
}

/// What a durable batch has done besides what was asked for in so many words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// So many entries more stand in quarantine, or fewer.
    pub quarantine: i64,
    /// Refusals that this site decided in lanes that have an entry in quarantine: that may be their cause.
    pub refused_behind: u64,
    /// [`crate::model::KeyHash::short`] of keys that [`Op::Forget`], [`Op::ForgetCancelled`] and [`Op::Erase`] made
    /// vanish: no row of the group has them any more. Sorted within each op.
    pub forgotten_keys: Vec<u64>,
    /// One op forgets at most [`FORGET_ROWS_MAX`] rows, lowest positions first: say it again.
    pub more_to_forget: bool,
}

/// Rows that one [`Op::Forget`] or [`Op::ForgetCancelled`] deletes at most, so that a transaction stays short.
pub const FORGET_ROWS_MAX: usize = 1_000;

/// Recovery looks at so many rows of each series per lane it may return: with few lanes the scan must end somewhere.
const LANE_SCAN_FACTOR: usize = 4;

/// The lanes settled last; ties in order of log and lane, so that every implementation agrees.
/// The last applied row of a lane in one series.
struct Newest {
    clock_ms: u64,
    id: WriteId,
    position: u64,
    creates: bool,
}

/// It says itself that others of its path share nothing with it, and was answered so.
fn creates(row: &Row) -> bool {
    row.facts.creates && row.outcome.as_ref().is_some_and(|outcome| outcome.status == 201)
}

/// [`Recovered::lanes`] and [`Recovered::creating`].
type Lanes = (Vec<(Lane, WriteId, u64)>, Vec<Lane>);

fn newest_lanes(newest: BTreeMap<(Lane, LogId), Newest>, lanes_max: usize) -> Lanes {
    let mut lanes: Vec<_> = newest.into_iter().map(|((lane, log), last)| (last, log, lane)).collect();
    lanes.sort_unstable_by(|a, b| b.0.clock_ms.cmp(&a.0.clock_ms).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    lanes.truncate(lanes_max);
    let creating = lanes.iter().filter(|(last, ..)| last.creates).map(|(.., lane)| *lane).collect();
    (lanes.into_iter().map(|(last, _, lane)| (lane, last.id, last.position)).collect(), creating)
}
