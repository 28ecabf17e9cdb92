//! Whether what a file says can be at all: a record whose checksum fits and whose numbers do not is as broken as any
//! other.
use super::{Confirmed, Here, Origin, Row, SeriesMeta};
use crate::model::plausible::{Checked, check_after, check_attempt, check_facts, check_id, check_outcome, number};

pub(crate) fn check_row(row: &Row) -> Checked {
    check_id(row.id).and(check_facts(&row.facts))?;
    if let Some((position, _)) = row.position {
        number("a position", position)?;
    }
    if let Some((old, position)) = row.decides {
        check_id(old).and(number("the position that is decided", position))?;
    }
    row.outcome.as_ref().map_or(Ok(()), check_outcome)?;
    if let Some(held) = &row.wish {
        check_attempt(held.attempt).and(held.owed_word.as_ref().map_or(Ok(()), check_outcome))?;
    }
    row.owed.iter().try_for_each(|(_, attempt)| check_attempt(*attempt))?;
    match &row.origin {
        Origin::Wished { attempt, .. } => check_attempt(*attempt)?,
        Origin::Foreign | Origin::Accepted | Origin::Queued | Origin::Here | Origin::Settled | Origin::Cancelled => {}
    }
    match &row.here {
        Here::Sending { after, .. } => check_after(after),
        Here::Untouched | Here::Decided(_) => Ok(()),
    }
}

pub(crate) fn check_meta(meta: &SeriesMeta) -> Checked {
    number("the position up to which a series was received", meta.received)?;
    number("the position up to which a series is decided", meta.decided)?;
    number("the position up to which a series is forgotten", meta.forgotten)?;
    let told = |(n, position): &(u64, u64)| number("a write that was told", *n).and(number("a position", *position));
    meta.told.iter().try_for_each(told)?;
    let confirmed = |of: &Confirmed| number("a position that was confirmed", of.received.max(of.decided));
    meta.confirmed.iter().try_for_each(confirmed)
}
