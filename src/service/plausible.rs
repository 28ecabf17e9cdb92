//! What another site says, before the state machine sees it: whether it can be at all (G9).
//!
//! As [`crate::model::plausible`] says it of each part; besides, nothing is decided that was not received, and pages
//! have no gaps. What passes may still be false; what does not pass was never true, so its sender is disconnected
//! and named, and nothing of it is believed. Whether what passes fits to what this site knows, the state machine looks
//! at itself ([`Core::contradiction`]).
use super::core::Core;
use super::{Cursor, Known, Message, Page, Status, Wish, WishWord};
use crate::model::plausible::{
    Checked, NAMES_MAX, check_after, check_answer, check_attempt, check_facts, check_id, check_item, check_outcome,
    check_request, check_site, count, not, number,
};
use crate::model::{LogId, SiteName, WriteId, decided_by, is_decision};

/// Series and stores in one status: as many as the logs of a group may become over the years.
const LINES_MAX: usize = 4_096;
/// Items of a page, far above what one is filled with.
const ITEMS_MAX: usize = 1 << 16;

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

fn check_wish(wish: &Wish) -> Checked {
    check_id(wish.id).and(check_attempt(wish.attempt))?;
    not(is_decision(wish.id), "a decision is wished for")?;
    check_facts(&wish.facts).and(check_after(&wish.must)).and(check_request(&wish.request))?;
    check_pages(&wish.pages)
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
