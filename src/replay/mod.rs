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
mod decider;
mod doubt;
mod finish;
mod lane_memory;
mod lanes;
mod mend;
mod postponed;
mod receive;
mod stop;
mod turns;
mod unknown;

pub(crate) use again::Alone;
pub use blocked::{Blocked, Dependency};
pub use lane_memory::{CreatingLanes, LaneMemory};
pub(crate) use lanes::Lanes;
pub(crate) use mend::Mending;
pub(crate) use postponed::Postponed;
pub(crate) use stop::Stopping;
pub(crate) use turns::Turns;
pub(crate) use unknown::Unknown;
