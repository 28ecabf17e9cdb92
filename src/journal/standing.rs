//! Where a row stands as the store sees it: what recovery must list, and what may be forgotten.
use super::{Fate, Here, Origin, Row};

/// Kept as a number beside each row, so that recovery finds rows without reading all of them. The row itself is the
/// truth: `verify` compares the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Standing {
    /// Final, has a position, changed nothing at this replica.
    Final = 0,
    /// Something is left to be done with it: recovery lists it.
    Open = 1,
    /// Another site's position, stored and not touched: read again in order of positions, not listed.
    Received = 2,
    /// Final without a position: an own write that was never sent.
    Cancelled = 3,
    /// Final, has a position, applied at this replica.
    Applied = 4,
}

impl Standing {
    pub(super) fn of(row: &Row) -> Self {
        if row.is_final() {
            return match (&row.here, row.position) {
                (_, None) => Standing::Cancelled,
                (Here::Decided(Fate::Applied), Some(_)) => Standing::Applied,
                _ => Standing::Final,
            };
        }
        let untouched = row.origin == Origin::Foreign && row.wish.is_none() && row.here == Here::Untouched;
        if untouched && row.position.is_some() { Standing::Received } else { Standing::Open }
    }

    /// Rows that somebody still needs are never forgotten, however old.
    pub(super) fn may_be_forgotten(self) -> bool {
        matches!(self, Standing::Final | Standing::Cancelled | Standing::Applied)
    }
}
