//! What another site says, before the state machine sees it: whether it can be at all (G9).
//!
//! Numbers come from a decoder that reads any 64 bits. Here they are held against what a store can give: no number and
//! no position above [`NUMBER_MAX`], nothing decided that was not received, pages without gaps, lists of a length that
//! a site has use for. What passes may still be false; what does not pass was never true, so its sender is disconnected
//! and named, and nothing of it is believed. Whether what passes fits to what this site knows, the state machine looks
//! at itself ([`Core::contradiction`]).
use std::sync::Arc;

use super::core::Core;
use super::{Cursor, Known, Message, Page, Status, Wish, WishWord};
use crate::journal::{Confirmed, Here, NUMBER_MAX, Origin, Row, SeriesMeta, UNKNOWN_MAX};
use crate::mirror::{decided_by, is_decision};
use crate::model::{After, Answer, Facts, Header, Item, LogId, Outcome, Request, SiteName, Stretch, WriteId};

/// Longest name of a site.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Series and stores in one status: as many as the logs of a group may become over the years.
const LINES_MAX: usize = 4_096;
/// Writes that are asked for, or renewed, at once.
const NAMES_MAX: usize = 4_096;
/// Entries of an `after` of one kind: as many as writes may be open at a site.
const AFTER_MAX: usize = 1 << 18;
/// Items of a page, far above what one is filled with.
const ITEMS_MAX: usize = 1 << 16;
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

type Checked = Result<(), Implausible>;

impl Message {
    /// Whether it can be at all, whoever says it and whatever is known.
    pub fn check(&self) -> Checked {
        match self {
            Message::Status(status) => check_status(status),
            Message::Page(page) | Message::Again(page) => check_page(page),
            Message::Wish(wish) => check_wish(wish),
            Message::Revoke { id, attempt } | Message::Ask { id, attempt } => {
                check_id(*id).and(check_attempt(*attempt))
            }
            Message::Word { id, attempt, word } => {
                check_id(*id).and(check_attempt(*attempt))?;
                match word {
                    WishWord::Done { outcome, pages } => check_outcome(outcome).and(check_pages(pages)),
                    WishWord::Stored
                    | WishWord::Sending
                    | WishWord::Unknown
                    | WishWord::Void
                    | WishWord::NotHere
                    | WishWord::OfAnother(_) => Ok(()),
                }
            }
            Message::Question { .. } => Ok(()),
            Message::Reply { known, .. } => match known {
                Known::Recorded { id, repeats, position, pages, answer, seen, .. } => {
                    check_id(*id).and(check_after(seen)).and(check_pages(pages))?;
                    repeats.map_or(Ok(()), check_id)?;
                    number("a position", *position)?;
                    answer.as_deref().map_or(Ok(()), check_answer)
                }
                Known::Nothing | Known::OtherRequest | Known::OfAnother(_) | Known::InFlight | Known::Unknown => Ok(()),
            },
            Message::Ahead { site, item } => {
                check_site(site)?;
                number("a position", item.position)?;
                check_item(item)
            }
        }
    }
}

fn number(what: &'static str, got: u64) -> Checked {
    if got > NUMBER_MAX { Err(Implausible::Number { what, got, max: NUMBER_MAX }) } else { Ok(()) }
}

fn count(what: &'static str, got: usize, max: usize) -> Checked {
    if got > max { Err(Implausible::Count { what, got, max }) } else { Ok(()) }
}

fn not(wrong: bool, what: &'static str) -> Checked {
    if wrong { Err(Implausible::Contrary(what)) } else { Ok(()) }
}

fn check_id(id: WriteId) -> Checked {
    number("the number of a write", id.n)
}

fn check_attempt(attempt: u32) -> Checked {
    let (what, max) = ("the attempt of a wish", ATTEMPTS_MAX);
    if attempt > max { Err(Implausible::Number { what, got: attempt.into(), max: max.into() }) } else { Ok(()) }
}

fn check_site(site: &SiteName) -> Checked {
    count("bytes of a site's name", site.as_str().len(), NAME_BYTES_MAX)
}

fn check_status(status: &Status) -> Checked {
    number("the number of a state", status.state)?;
    count("stores heard of", status.heard.len(), LINES_MAX)?;
    status.heard.iter().try_for_each(|(_, state)| number("the number of a state that was heard of", *state))?;
    count("series", status.cursors.len(), LINES_MAX)?;
    status.cursors.iter().try_for_each(check_cursor)?;
    count("writes that are asked for", status.missing.len(), NAMES_MAX)?;
    status.missing.iter().try_for_each(|id| check_id(*id))
}

fn check_cursor(cursor: &Cursor) -> Checked {
    check_site(&cursor.site)?;
    number("the position up to which a series was received", cursor.received)?;
    not(cursor.decided > cursor.received, "more of a series is decided than was received")?;
    not(cursor.again > cursor.received, "what was never received is asked for again")
}

fn check_pages(pages: &[Page]) -> Checked {
    count("pages with one message", pages.len(), LINES_MAX)?;
    pages.iter().try_for_each(check_page)
}

fn check_page(page: &Page) -> Checked {
    check_site(&page.site)?;
    count("items of a page", page.items.len(), ITEMS_MAX)?;
    number("the position that a page begins behind", page.from)?;
    number("the position that a page ends at", page.from + page.items.len() as u64)?;
    for (item, position) in page.items.iter().zip(page.from + 1..) {
        not(item.position != position, "a page has a gap")?;
        not(item.id.log != page.log, "a page holds writes of another log")?;
        check_item(item)?;
    }
    Ok(())
}

fn check_item(item: &Arc<Item>) -> Checked {
    check_id(item.id).and(check_facts(&item.facts)).and(check_outcome(&item.outcome))?;
    if let Some((old, position)) = item.decides {
        check_id(old).and(number("the position that is decided", position))?;
    }
    item.request.as_deref().map_or(Ok(()), check_request)
}

fn check_wish(wish: &Wish) -> Checked {
    check_id(wish.id).and(check_attempt(wish.attempt))?;
    not(is_decision(wish.id), "a decision is wished for")?;
    check_facts(&wish.facts).and(check_after(&wish.must)).and(check_request(&wish.request))?;
    check_pages(&wish.pages)
}

fn check_facts(facts: &Facts) -> Checked {
    count("bytes of a trace context", facts.traceparent.as_ref().map_or(0, String::len), HEADERS_BYTES_MAX)?;
    count("writes that are renewed", facts.renews.len(), NAMES_MAX)?;
    facts.renews.iter().try_for_each(|id| check_id(*id))
}

fn check_outcome(outcome: &Outcome) -> Checked {
    check_status_code(outcome.status).and(check_after(&outcome.after))?;
    outcome.repeats.map_or(Ok(()), check_id)?;
    count("writes that were unknown", outcome.unknown.len(), UNKNOWN_MAX)?;
    outcome.unknown.iter().try_for_each(|id| check_id(*id))?;
    outcome.answer.as_deref().map_or(Ok(()), check_answer)
}

/// Of no answer it is 0.
fn check_status_code(status: u16) -> Checked {
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

fn check_request(request: &Request) -> Checked {
    not(http::Method::from_bytes(request.method.as_bytes()).is_err(), "a method that HTTP has not")?;
    count("bytes of a target", request.target.len(), TARGET_BYTES_MAX)?;
    count("bytes of an authority", request.authority.len(), TARGET_BYTES_MAX)?;
    check_headers(&request.headers)
}

fn check_answer(answer: &Answer) -> Checked {
    check_status_code(answer.status).and(check_headers(&answer.headers))
}

fn check_headers(headers: &[Header]) -> Checked {
    count("header lines", headers.len(), HEADERS_MAX)?;
    count("bytes of headers", headers.iter().map(|h| h.name.len() + h.value.len()).sum(), HEADERS_BYTES_MAX)
}

/// The same for what a file says: a record whose checksum fits and whose numbers do not is as broken as any other.
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

impl Core {
    /// What the sender cannot say, by what this site knows: of whom a log is, and what a site may ask for.
    pub(crate) fn contradiction(&self, from: &SiteName, message: &Message) -> Option<String> {
        match message {
            Message::Status(status) if status.log == self.own => Some(format!("{from} speaks for this site's own log")),
            Message::Status(status) => {
                let foreign = self.owner_of(status.log).filter(|owner| *owner != from);
                let own = foreign.map(|owner| format!("{from} speaks for {}, the log of {owner}", status.log));
                own.or_else(|| status.cursors.iter().find_map(|line| self.wrong_owner(line.log, &line.site)))
            }
            Message::Page(page) | Message::Again(page) => self.wrong_page(page),
            Message::Wish(wish) => {
                self.wrong_asker(from, wish.id).or_else(|| wish.pages.iter().find_map(|page| self.wrong_page(page)))
            }
            Message::Revoke { id, .. } | Message::Ask { id, .. } => self.wrong_asker(from, *id),
            Message::Word { word: WishWord::Done { pages, .. }, .. } => {
                pages.iter().find_map(|page| self.wrong_page(page))
            }
            Message::Reply { known: Known::Recorded { pages, .. }, .. } => {
                pages.iter().find_map(|page| self.wrong_page(page))
            }
            Message::Ahead { site, item } => self.wrong_owner(item.id.log, site),
            Message::Word { .. } | Message::Question { .. } | Message::Reply { .. } => None,
        }
    }

    /// The site that makes a log, where something of it is stored here.
    fn owner_of(&self, log: LogId) -> Option<&SiteName> {
        self.mirror.series.get(&log).filter(|series| log == self.own || series.received > 0).map(|series| &series.site)
    }

    fn wrong_owner(&self, log: LogId, site: &SiteName) -> Option<String> {
        let owner = self.owner_of(log).filter(|owner| *owner != site)?;
        Some(format!("{log} is the log of {owner}, it is said to be of {site}"))
    }

    fn wrong_page(&self, page: &Page) -> Option<String> {
        let wrong = page.items.iter().find(|item| {
            let decides = item.decides.map(|(old, _)| old);
            let is_late = item.decides.is_some_and(|(_, position)| position >= item.position);
            is_late || decides != is_decision(item.id).then(|| decided_by(item.id))
        });
        let wrong = wrong.map(|item| format!("{} at position {} decides what it cannot", item.id, item.position));
        wrong.or_else(|| self.wrong_owner(page.log, &page.site))
    }

    /// A wish, and its revocation, comes from the site that accepted the write: they do not chain.
    fn wrong_asker(&self, from: &SiteName, id: WriteId) -> Option<String> {
        let foreign = self.owner_of(id.log).filter(|owner| *owner != from)?;
        Some(format!("{from} asks for {id}, a write of {foreign}"))
    }
}
