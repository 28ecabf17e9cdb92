//! Whether numbers and lists that come from outside, from a peer or a file, can be at all (G9).
//!
//! A decoder reads any 64 bits. Here they are held against what a store can give: no number above [`NUMBER_MAX`], lists
//! in order and of a length that a site has use for. What passes may still be false; what does not was never true.
use std::sync::Arc;

use super::{
    After, Answer, Facts, Header, Item, LogId, NUMBER_MAX, Outcome, Request, SiteName, Stretch, UNKNOWN_MAX, WriteId,
};

/// Longest name of a site.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Writes that are asked for, or renewed, at once.
pub(crate) const NAMES_MAX: usize = 4_096;
/// Entries of an `after` of one kind: as many as writes may be open at a site.
const AFTER_MAX: usize = 1 << 18;
/// Of one request or answer. A gateway takes far less.
const HEADERS_MAX: usize = 4_096;
const HEADERS_BYTES_MAX: usize = 4 << 20;
const TARGET_BYTES_MAX: usize = 1 << 20;
/// Wishes of one write: one a second for sixty years.
const ATTEMPTS_MAX: u32 = 1 << 31;

/// Something that no site of this version says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Implausible {
    #[error("{what} is {got}: none is above {max}")]
    Number { what: &'static str, got: u64, max: u64 },
    #[error("{what}: {got} of them, at most {max} make sense")]
    Count { what: &'static str, got: usize, max: usize },
    #[error("{0}")]
    Contrary(&'static str),
}

pub(crate) type Checked = Result<(), Implausible>;

pub(crate) fn number(what: &'static str, got: u64) -> Checked {
    if got > NUMBER_MAX { Err(Implausible::Number { what, got, max: NUMBER_MAX }) } else { Ok(()) }
}

pub(crate) fn count(what: &'static str, got: usize, max: usize) -> Checked {
    if got > max { Err(Implausible::Count { what, got, max }) } else { Ok(()) }
}

pub(crate) fn not(wrong: bool, what: &'static str) -> Checked {
    if wrong { Err(Implausible::Contrary(what)) } else { Ok(()) }
}

pub(crate) fn check_id(id: WriteId) -> Checked {
    number("the number of a write", id.n)
}

pub(crate) fn check_attempt(attempt: u32) -> Checked {
    let (what, max) = ("the attempt of a wish", ATTEMPTS_MAX);
    if attempt > max { Err(Implausible::Number { what, got: attempt.into(), max: max.into() }) } else { Ok(()) }
}

pub(crate) fn check_site(site: &SiteName) -> Checked {
    count("bytes of a site's name", site.as_str().len(), NAME_BYTES_MAX)
}

pub(crate) fn check_item(item: &Arc<Item>) -> Checked {
    check_id(item.id).and(check_facts(&item.facts)).and(check_outcome(&item.outcome))?;
    if let Some((old, position)) = item.decides {
        check_id(old).and(number("the position that is decided", position))?;
    }
    item.request.as_deref().map_or(Ok(()), check_request)
}

pub(crate) fn check_facts(facts: &Facts) -> Checked {
    count("bytes of a trace context", facts.traceparent.as_ref().map_or(0, String::len), HEADERS_BYTES_MAX)?;
    count("writes that are renewed", facts.renews.len(), NAMES_MAX)?;
    facts.renews.iter().try_for_each(|id| check_id(*id))
}

pub(crate) fn check_outcome(outcome: &Outcome) -> Checked {
    check_status_code(outcome.status).and(check_after(&outcome.after))?;
    outcome.repeats.map_or(Ok(()), check_id)?;
    count("writes that were unknown", outcome.unknown.len(), UNKNOWN_MAX)?;
    outcome.unknown.iter().try_for_each(|id| check_id(*id))?;
    outcome.answer.as_deref().map_or(Ok(()), check_answer)
}

/// Of no answer it is 0.
pub(crate) fn check_status_code(status: u16) -> Checked {
    not(status != 0 && !(100..1_000).contains(&status), "a status that HTTP has not")
}

/// Everything about positions relies on the order of these lists.
pub(crate) fn check_after(after: &After) -> Checked {
    count("positions of an after", after.positions().len(), AFTER_MAX)?;
    count("stretches of an after", after.beyond().len(), AFTER_MAX)?;
    count("writes of an after", after.ids().len(), AFTER_MAX)?;
    after.positions().iter().try_for_each(|(_, position)| number("a position of an after", *position))?;
    after.ids().iter().try_for_each(|id| check_id(*id))?;
    let in_order = |pair: &[(LogId, u64)]| pair[0].0 < pair[1].0;
    not(!after.positions().windows(2).all(in_order), "the positions of an after are not in order")?;
    not(!after.ids().is_sorted_by(|a, b| a < b), "the writes of an after are not in order")?;
    let is_one = |s: &Stretch| s.first > 0 && s.first <= s.last && s.last <= NUMBER_MAX;
    not(!after.beyond().iter().all(is_one), "a stretch of an after is none")?;
    let apart =
        |pair: &[Stretch]| pair[0].log < pair[1].log || (pair[0].log == pair[1].log && pair[0].last < pair[1].first);
    not(!after.beyond().windows(2).all(apart), "the stretches of an after are not in order")
}

pub(crate) fn check_request(request: &Request) -> Checked {
    not(http::Method::from_bytes(request.method.as_bytes()).is_err(), "a method that HTTP has not")?;
    count("bytes of a target", request.target.len(), TARGET_BYTES_MAX)?;
    count("bytes of an authority", request.authority.len(), TARGET_BYTES_MAX)?;
    check_headers(&request.headers)
}

pub(crate) fn check_answer(answer: &Answer) -> Checked {
    check_status_code(answer.status).and(check_headers(&answer.headers))
}

pub(crate) fn check_headers(headers: &[Header]) -> Checked {
    count("header lines", headers.len(), HEADERS_MAX)?;
    count("bytes of headers", headers.iter().map(|h| h.name.len() + h.value.len()).sum(), HEADERS_BYTES_MAX)
}
