//! The follower side: receive, order by `after`, apply, compare.
//!
//! Owns everything that is done *at this replica*: lanes, the order of sending, attempts and their outcomes, for own
//! writes, wishes and shadows alike. Assumes that what [`crate::service::Outbox`] executes is durable first. Promises
//! that a write is sent only when all that it must come after is decided here (G3), never while another of its lane is
//! here, and never again on a guess (G2). What a site out of reach, or its own broken record, keeps from it, it asks of
//! others (`ahead`, `mend`). After a crash a row `sending` is unknown and takes the same way as an attempt that broke.
mod again;
mod ahead;
mod apply;
mod blocked;
mod connect;
mod copies;
mod counts;
mod decider;
mod doubt;
mod finish;
mod lane_memory;
mod lanes;
mod mend;
mod postponed;
mod receive;
mod send;
mod stop;
mod turns;
mod unknown;

pub(crate) use again::Alone;
pub use blocked::{Blocked, Dependency};
pub use counts::Conflicts;
pub(crate) use counts::Counts;
pub use lane_memory::{CreatingLanes, LaneMemory};
pub(crate) use lanes::Lanes;
pub(crate) use mend::Mending;
pub(crate) use postponed::Postponed;
pub(crate) use stop::Stopping;
pub(crate) use turns::Turns;
pub(crate) use unknown::Unknown;

/// What is done at this replica, and waits to be.
pub(crate) struct Replay {
    pub lanes: Lanes,
    pub lane_memory: LaneMemory,
    pub creating: CreatingLanes,
    pub blocked: Blocked,
    pub postponed: Postponed,
    pub turns: Turns,
    pub alone: Alone,
    pub stopping: Stopping,
    pub mending: Mending,
    pub counts: Counts,
}

impl Replay {
    /// `lanes`: so many are remembered.
    pub fn begin(lanes: usize, stopping: Stopping) -> Self {
        Self {
            lanes: Lanes::default(),
            lane_memory: LaneMemory::new(lanes),
            creating: CreatingLanes::new(lanes),
            blocked: Blocked::default(),
            postponed: Postponed::default(),
            turns: Turns::default(),
            alone: Alone::default(),
            stopping,
            mending: Mending::default(),
            counts: Counts::default(),
        }
    }
}
