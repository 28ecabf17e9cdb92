//! What waits to be sent to one peer. Bounded in count and bytes (G6); at a limit the newest is dropped and counted: it
//! can be said again. Urgent messages leave in order, of several statuses of a group only the newest, pages apart from
//! both.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

use super::Limits;
use crate::model::{Group, LogId, WriteId};
use crate::service::{Message, Page, Status, WishWord};

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Queued,
    /// A limit was reached.
    Full,
    NotConnected,
    /// The definitions of this service differ.
    NotExchanged,
    /// Not a site of the realm, or this one.
    NoSuchSite,
}

/// One series of one group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series {
    pub group: Group,
    pub log: LogId,
}

#[expect(clippy::large_enum_variant, reason = "written at once; a box would be an allocation for each message")]
pub(super) enum Entry {
    Message(Group, Message),
    Beat(Bytes),
}

#[expect(clippy::large_enum_variant, reason = "as above: most slots are messages")]
enum Slot {
    Message {
        group: Group,
        message: Message,
        weight: usize,
    },
    /// Where the newest status of this group leaves.
    StatusOf(Group),
}

#[derive(Default)]
struct Queues {
    /// The session that is up.
    session: Option<u64>,
    /// Services that are not exchanged in it.
    refused: BTreeSet<String>,
    /// Beats: the newest that asks, and the newest that answers.
    ask: Option<Bytes>,
    answer: Option<Bytes>,
    slots: VecDeque<Slot>,
    statuses: BTreeMap<Group, Status>,
    bytes: usize,
    waker: Option<Waker>,
    /// Longer than a window, with their weights.
    large: VecDeque<(Group, Message, usize)>,
    large_bytes: usize,
    pages: BTreeMap<Series, VecDeque<(Page, usize)>>,
    page_bytes: usize,
    /// Whose turn it is; each series with pages is in it once.
    turns: VecDeque<Series>,
    /// What this side asked for in its statuses, and from where on.
    wants: BTreeMap<Series, u64>,
}

impl Queues {
    /// Messages and pages.
    fn waiting(&self) -> usize {
        let pages: usize = self.pages.values().map(VecDeque::len).sum();
        self.slots.len() + self.large.len() + pages
    }
}

pub(super) struct Outgoing {
    queues: Mutex<Queues>,
    limits: Limits,
    /// A page was queued.
    pub paged: Notify,
    /// A message that is longer than a window was.
    pub large_queued: Notify,
    /// `wants` has changed.
    pub wanted: Notify,
    pub dropped: AtomicU64,
    /// Messages and pages that were handed to the line.
    pub sent: AtomicU64,
    /// What was to be sent so far, and reads that were asked.
    stirs: AtomicU64,
    /// Nothing is outstanding, and somebody wants to know when that changes.
    rests: AtomicBool,
    pub stirred: Notify,
}

impl Outgoing {
    pub fn new(limits: Limits) -> Self {
        let (paged, large_queued, wanted) = (Notify::new(), Notify::new(), Notify::new());
        Self {
            queues: Mutex::default(),
            limits,
            paged,
            large_queued,
            wanted,
            dropped: 0.into(),
            sent: 0.into(),
            stirs: 0.into(),
            rests: false.into(),
            stirred: Notify::new(),
        }
    }

    /// Something is outstanding from now on: the other side had better live.
    pub fn stir(&self) {
        self.stirs.fetch_add(1, SeqCst);
        if self.rests.load(SeqCst) && self.rests.swap(false, SeqCst) {
            self.stirred.notify_one();
        }
    }

    pub fn stirs(&self) -> u64 {
        self.stirs.load(SeqCst)
    }

    /// The next stir is told; so is one that came after those.
    pub fn rests(&self, stirs: u64) {
        self.rests.store(true, SeqCst);
        if self.stirs() != stirs {
            self.stirred.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No code in this file leaves the queues half changed when it panics.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session begins, with nothing of the last one.
    pub fn open(&self, session: u64, refused: BTreeSet<String>) {
        let mut queues = self.lock();
        let waker = queues.waker.take();
        self.dropped.fetch_add(queues.waiting() as u64, Relaxed);
        *queues = Queues { session: Some(session), refused, ..Queues::default() };
        drop(queues);
        // The body of the last session finds that it is over.
        waker.into_iter().for_each(Waker::wake);
    }

    pub fn close(&self, session: u64) {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return;
        }
        let waker = queues.waker.take();
        self.dropped.fetch_add(queues.waiting() as u64, Relaxed);
        *queues = Queues::default();
        drop(queues);
        waker.into_iter().for_each(Waker::wake);
        self.paged.notify_waiters();
        self.large_queued.notify_waiters();
        self.wanted.notify_waiters();
    }

    pub fn exchanges(&self, service: &str) -> bool {
        !self.lock().refused.contains(service)
    }

    /// Messages and pages that wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let queues = self.lock();
        (queues.waiting(), queues.bytes + queues.large_bytes + queues.page_bytes)
    }

    pub fn send(&self, group: &Group, message: Message) -> Sent {
        let mut queues = self.lock();
        let sent = if queues.session.is_none() {
            Sent::NotConnected
        } else if queues.refused.contains(&group.service) {
            Sent::NotExchanged
        } else {
            match message {
                Message::Page(page) => self.push_page(&mut queues, group, page),
                Message::Status(status) => self.push_status(&mut queues, group, status),
                message => self.push_message(&mut queues, group, message),
            }
        };
        match sent {
            Sent::Queued => self.stir(),
            _ => drop(self.dropped.fetch_add(1, Relaxed)),
        }
        let waker = if queues.slots.is_empty() { None } else { queues.waker.take() };
        drop(queues);
        waker.into_iter().for_each(Waker::wake);
        sent
    }

    fn push_message(&self, queues: &mut Queues, group: &Group, message: Message) -> Sent {
        let weight = weight(&message);
        if weight > self.limits.stream_window_bytes as usize {
            return self.push_large(queues, group, message, weight);
        }
        let over_bytes = queues.bytes > 0 && queues.bytes + weight > self.limits.queue_bytes;
        if queues.slots.len() >= self.limits.queue_messages || over_bytes {
            return Sent::Full;
        }
        queues.bytes += weight;
        queues.slots.push_back(Slot::Message { group: group.clone(), message, weight });
        Sent::Queued
    }

    fn push_large(&self, queues: &mut Queues, group: &Group, message: Message, weight: usize) -> Sent {
        let over_bytes = queues.large_bytes > 0 && queues.large_bytes + weight > self.limits.queue_large_bytes;
        if queues.large.len() >= self.limits.queue_messages || over_bytes {
            return Sent::Full;
        }
        queues.large_bytes += weight;
        queues.large.push_back((group.clone(), message, weight));
        self.large_queued.notify_one();
        Sent::Queued
    }

    fn push_status(&self, queues: &mut Queues, group: &Group, status: Status) -> Sent {
        self.note_wants(queues, group, &status);
        if let Some(older) = queues.statuses.get_mut(group) {
            *older = status;
            return Sent::Queued;
        }
        if queues.slots.len() >= self.limits.queue_messages {
            return Sent::Full;
        }
        queues.statuses.insert(group.clone(), status);
        queues.slots.push_back(Slot::StatusOf(group.clone()));
        Sent::Queued
    }

    /// A status names all series of its group: what it does not want is not fetched any more.
    fn note_wants(&self, queues: &mut Queues, group: &Group, status: &Status) {
        let before: Vec<Series> = queues.wants.keys().filter(|series| series.group == *group).cloned().collect();
        let mut changed = false;
        for series in before {
            if !status.cursors.iter().any(|cursor| cursor.want && cursor.log == series.log) {
                queues.wants.remove(&series);
                changed = true;
            }
        }
        for cursor in status.cursors.iter().filter(|cursor| cursor.want) {
            let series = Series { group: group.clone(), log: cursor.log };
            let room = queues.wants.len() < self.limits.series;
            if queues.wants.contains_key(&series) || room {
                changed |= queues.wants.insert(series, cursor.received).is_none();
            }
        }
        if changed {
            self.wanted.notify_one();
        }
    }

    fn push_page(&self, queues: &mut Queues, group: &Group, page: Page) -> Sent {
        let weight = weight_of_page(&page);
        let series = Series { group: group.clone(), log: page.log };
        let slot = queues.pages.entry(series.clone()).or_default();
        let end = slot.back().map(|(last, _)| last.from + last.items.len() as u64);
        // Before the end of what waits: the sender started again from the receiver's cursor.
        if end.is_some_and(|end| page.from < end) {
            queues.page_bytes -= slot.iter().map(|(_, weight)| weight).sum::<usize>();
            self.dropped.fetch_add(slot.len() as u64, Relaxed);
            slot.clear();
        }
        // Behind a gap: one before it was dropped, and the receiver could not take it.
        let gap = slot.back().is_some() && end != Some(page.from);
        let over_bytes = queues.page_bytes > 0 && queues.page_bytes + weight > self.limits.queue_page_bytes;
        if gap || slot.len() >= self.limits.queue_pages || over_bytes {
            if slot.is_empty() {
                queues.pages.remove(&series);
            }
            return Sent::Full;
        }
        slot.push_back((page, weight));
        queues.page_bytes += weight;
        if !queues.turns.contains(&series) {
            queues.turns.push_back(series);
        }
        self.paged.notify_waiters();
        Sent::Queued
    }

    pub fn ask(&self, session: u64, beat: Bytes) {
        self.beat(session, beat, |queues| &mut queues.ask);
    }

    pub fn answer(&self, session: u64, beat: Bytes) {
        self.beat(session, beat, |queues| &mut queues.answer);
    }

    fn beat(&self, session: u64, beat: Bytes, place: impl FnOnce(&mut Queues) -> &mut Option<Bytes>) {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return;
        }
        *place(&mut queues) = Some(beat);
        let waker = queues.waker.take();
        drop(queues);
        waker.into_iter().for_each(Waker::wake);
    }

    /// The next message of this session. `Ready(None)`: the session is over.
    pub fn poll_next(&self, session: u64, cx: &mut Context<'_>) -> Poll<Option<Entry>> {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return Poll::Ready(None);
        }
        if let Some(beat) = queues.answer.take().or_else(|| queues.ask.take()) {
            return Poll::Ready(Some(Entry::Beat(beat)));
        }
        match queues.slots.pop_front() {
            Some(Slot::Message { group, message, weight }) => {
                queues.bytes -= weight;
                self.sent.fetch_add(1, Relaxed);
                Poll::Ready(Some(Entry::Message(group, message)))
            }
            Some(Slot::StatusOf(group)) => {
                let status = queues.statuses.remove(&group).expect("a slot is pushed with its status");
                self.sent.fetch_add(1, Relaxed);
                Poll::Ready(Some(Entry::Message(group, Message::Status(status))))
            }
            None => {
                queues.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next message that has a stream of its own.
    pub fn next_large(&self, session: u64) -> Option<(Group, Message)> {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return None;
        }
        let (group, message, weight) = queues.large.pop_front()?;
        queues.large_bytes -= weight;
        self.sent.fetch_add(1, Relaxed);
        if !queues.large.is_empty() {
            // One notice wakes one of those that wait, and there may be several.
            self.large_queued.notify_one();
        }
        Some((group, message))
    }

    /// The next page of any series, in turn.
    pub fn next_page(&self, session: u64) -> Option<(Group, Page)> {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return None;
        }
        let series = queues.turns.front()?.clone();
        let page = take_page(&mut queues, &series)?;
        self.sent.fetch_add(1, Relaxed);
        Some((series.group, page))
    }

    /// The next page of one series for a fetcher that has everything up to `from`.
    pub fn page_of(&self, session: u64, series: &Series, from: u64) -> Option<Page> {
        let mut queues = self.lock();
        if queues.session != Some(session) {
            return None;
        }
        loop {
            let page = take_page(&mut queues, series)?;
            // What the fetcher has already is not worth the line.
            if page.items.is_empty() || page.from + page.items.len() as u64 > from {
                self.sent.fetch_add(1, Relaxed);
                return Some(page);
            }
        }
    }

    /// What to fetch, and from where on.
    pub fn wants(&self) -> Vec<Series> {
        self.lock().wants.keys().cloned().collect()
    }

    pub fn wanted_from(&self, series: &Series) -> Option<u64> {
        self.lock().wants.get(series).copied()
    }
}

fn take_page(queues: &mut Queues, series: &Series) -> Option<Page> {
    let slot = queues.pages.get_mut(series)?;
    let (page, weight) = slot.pop_front()?;
    queues.page_bytes -= weight;
    let more = !slot.is_empty();
    if !more {
        queues.pages.remove(series);
    }
    queues.turns.retain(|turn| turn != series);
    if more {
        queues.turns.push_back(series.clone());
    }
    Some(page)
}

fn weight_of_page(page: &Page) -> usize {
    128 + page.items.iter().map(|item| item.weight()).sum::<usize>()
}

/// Of which wish it is to be told that it has left.
pub(super) fn wish_of(message: &Message) -> Option<(WriteId, u32)> {
    match message {
        Message::Wish(wish) => Some((wish.id, wish.attempt)),
        _ => None,
    }
}

/// What it costs to keep a message.
fn weight(message: &Message) -> usize {
    let pages = |pages: &[Page]| pages.iter().map(weight_of_page).sum::<usize>();
    128 + match message {
        Message::Status(status) => 96 * status.cursors.len() + 28 * status.missing.len(),
        Message::Page(page) => weight_of_page(page),
        Message::Wish(wish) => 256 + wish.request.weight() + pages(&wish.pages),
        Message::Word { word: WishWord::Done { outcome, pages: ahead }, .. } => {
            outcome.answer.as_ref().map_or(0, |answer| answer.weight()) + pages(ahead)
        }
        Message::Reply { known: crate::service::Known::Recorded { answer: Some(answer), .. }, .. } => answer.weight(),
        Message::Revoke { .. } | Message::Word { .. } | Message::Ask { .. } => 0,
        Message::Again(page) => weight_of_page(page),
        Message::Ahead { item, .. } => item.weight(),
        Message::Question { .. } | Message::Reply { .. } => 0,
    }
}

#[cfg(test)]
mod tests;
