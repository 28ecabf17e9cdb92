//! What waits for more than an answer.
//!
//! Owns the quarantine's entries while they are looked at, and which of them are on their way out. Assumes that the
//! journal holds every entry (G1): in memory are those of live writes, and those whose record cannot be read. Promises
//! that an entry leaves only when what was ordered has begun durably; until then a crash brings it back.
mod quarantine;

use crate::replay::Unknown;
use crate::service::orders::OrdersUnderWay;

pub(crate) use quarantine::Quarantine;

/// What waits for a person, or for what nobody here knows yet.
pub(crate) struct Completer {
    pub quarantine: Quarantine,
    pub orders: OrdersUnderWay,
    pub unknown: Unknown,
}
