//! Whether this store was put back to an older copy of itself.
//!
//! A store cannot know what it has forgotten; two things tell it. Its file lies elsewhere than when it was written: it
//! is a copy, perhaps of now, perhaps of last week. And others remember: every state that they are told of has a number
//! that no life of this store gives again (reserved durably, in blocks), and peers say the highest that they have
//! heard. One that was never reserved here was said by a later store of this site: this one is *stale*.
//!
//! A copy does nothing with what it holds before every other replica has spoken, or a person. A stale store accepts,
//! applies and answers nothing, and gives no number (G2): all of it may have been done before. It goes on handing out
//! the pages that it has, which may be the only ones (G1).
use std::collections::BTreeSet;

use super::core::{Core, Cx};
use super::{Bug, Event, Found, Message, Note, Operation, Reply, ReqId, Status};
use crate::journal::{Age, Op, Stop, StopKind};
use crate::model::{LogId, Problem, SiteName};

/// Numbers of states that are reserved at once. A copy that is younger than so many is not told from its original.
const BLOCK: u64 = 16;
/// Stores of one site that are remembered.
const STORES_MAX: usize = 8;

/// Why nothing is done at this site.
pub(crate) enum Hold {
    /// Its file was copied. These sites have not spoken yet; with what waits for them.
    Copied {
        silent: BTreeSet<SiteName>,
        open: Vec<Found>,
        stopped: Option<Stop>,
    },
    Stale,
}

/// Why no order lets it go on.
pub(super) const OLDER_COPY: &str = "this store is an older copy: begin anew with an empty data_dir, and give the \
                                     service the state of another site first";

/// What this store knows of its own age, and of others'.
pub(crate) struct StoreAge {
    known: Age,
    /// Where it lies now ([`crate::journal::Recovered::place`]).
    place: u64,
    /// Nothing is done here: it is an older copy, or may be one.
    hold: Option<Hold>,
    /// A peer knows another past of the own log: nothing more is accepted.
    forked: bool,
    /// Logs that this site made with an earlier store, before a person said what its replica holds of them.
    past: BTreeSet<LogId>,
    /// The number of the state that others were told of last, and whether it is another one by now.
    state: u64,
    changed: bool,
}

impl StoreAge {
    pub fn recover(known: Age, place: u64) -> Self {
        let state = known.said_below.max(1) - 1;
        Self { known, place, hold: None, forked: false, past: BTreeSet::new(), state, changed: true }
    }

    /// What others are told of next is another state than before.
    pub fn changes(&mut self) {
        self.changed = true;
    }

    /// Another site knows of an earlier store of this one. Whether that is new, and there is room for it.
    pub fn has_past(&mut self, log: LogId, limit: usize) -> bool {
        self.past.len() < limit && self.past.insert(log)
    }

    pub fn is_past(&self, log: &LogId) -> bool {
        self.past.contains(log)
    }

    /// A person says that they are followed like any other.
    pub fn take_past(&mut self) -> BTreeSet<LogId> {
        std::mem::take(&mut self.past)
    }

    pub fn is_forked(&self) -> bool {
        self.forked
    }
}

impl Core {
    /// What the journal says of the store's age, before anything else is looked at. Returns what may be begun with at
    /// once.
    pub(crate) fn consider_age(&mut self, cx: &mut Cx, open: Vec<Found>) -> Vec<Found> {
        let others = self.settings.replicas.iter().filter(|site| **site != self.settings.me);
        let silent: BTreeSet<SiteName> = others.cloned().collect();
        if self.age.known.place == Age::NOWHERE && !self.bug(Bug::NumberReusedAfterRestore) {
            self.age.hold = Some(Hold::Stale);
            return Vec::new();
        }
        let is_copy = self.age.known.place != 0 && self.age.place != 0 && self.age.known.place != self.age.place;
        if is_copy && !silent.is_empty() && !self.bug(Bug::NumberReusedAfterRestore) {
            let why = "data_dir is a copy, perhaps an old one: nothing is taken or applied before all other sites have \
                       spoken. If it is known to be the latest, resume";
            cx.note(Note::Stopped { why: why.to_owned() });
            let stopped = self.replay.stopping.replace(Some(Stop { kind: StopKind::Doubt, why: why.to_owned() }));
            self.age.hold = Some(Hold::Copied { silent, open, stopped });
            return Vec::new();
        }
        if self.age.place != 0 && self.age.known.place != self.age.place {
            self.age.known.place = self.age.place;
            self.persist_age(cx);
        }
        open
    }

    pub(crate) fn is_held(&self) -> bool {
        self.age.hold.is_some()
    }

    /// As [`Core::handle`], while nothing is done here. What is not answered is asked for again by whoever needs it.
    pub(crate) fn handle_held(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Submit { req, .. } => cx.reply(req, Reply::Problem { id: None, problem: Problem::StoreDown }),
            Event::AwaitSeen { req, seen, deadline_ms } => self.await_seen(cx, req, seen, deadline_ms),
            Event::SeriesRead { log, from, items, for_peer: Some(peer) } => self.page_read(cx, &peer, log, from, items),
            Event::Health { healthy } => self.health(cx, healthy),
            Event::LinkUp { peer } => self.link_up(cx, peer),
            Event::LinkDown { peer } => self.link_down(cx, peer),
            Event::Message { from, message: Message::Status(status) } => {
                self.message(cx, from, Message::Status(status));
            }
            Event::Operator { req, id: None, operation: Operation::Resume } => self.resume_held(cx, req),
            Event::Operator { req, .. } | Event::Orders { req, .. } => {
                let why = self.replay.stopping.stop().map(|stop| stop.why.clone()).unwrap_or_default();
                cx.reply(req, Reply::Rejected { why });
            }
            Event::Fingerprint(fingerprint) => self.hinted(fingerprint),
            Event::Forgotten { keys } => self.idempotency.keys.forgotten(&keys),
            Event::Ready { .. }
            | Event::Attempted { .. }
            | Event::Probed { .. }
            | Event::Found { .. }
            | Event::SeriesRead { for_peer: None, .. }
            | Event::Broken { .. }
            | Event::Message { .. }
            | Event::WishLeft { .. }
            | Event::Left { .. }
            | Event::Tick => {}
        }
    }

    /// A person says that the copy is the latest.
    fn resume_held(&mut self, cx: &mut Cx, req: ReqId) {
        match self.age.hold {
            Some(Hold::Copied { .. }) => {
                self.release_hold(cx);
                cx.reply(req, Reply::Done);
            }
            _ => {
                cx.reply(req, Reply::Rejected { why: OLDER_COPY.to_owned() });
            }
        }
    }

    fn release_hold(&mut self, cx: &mut Cx) {
        let Some(Hold::Copied { open, stopped, .. }) = self.age.hold.take() else { return };
        self.replay.stopping.replace(stopped);
        self.age.known.place = self.age.place;
        self.persist_age(cx);
        self.begin(cx, open);
        self.mirror.statuses.say_soon();
        self.choose(cx);
    }

    /// The number of the state that a status tells of. While nothing is done here there is none: its original is not to
    /// be measured by what a copy says.
    pub(crate) fn state_to_say(&mut self, cx: &mut Cx) -> u64 {
        if self.is_held() {
            return 0;
        }
        // A site at rest says the same number again and again, and writes nothing down for it.
        if std::mem::take(&mut self.age.changed) {
            self.age.state = self.age.state.saturating_add(1);
        }
        if self.age.state >= self.age.known.said_below {
            self.age.known.said_below = self.age.state.saturating_add(BLOCK);
            self.persist_age(cx);
        }
        self.age.state
    }

    pub(crate) fn heard_of(&self, site: &SiteName) -> Vec<(LogId, u64)> {
        let of_site = self.age.known.heard.iter().filter(|(heard, _, _)| heard == site);
        of_site.map(|&(_, log, number)| (log, number)).collect()
    }

    /// Compares what a peer remembers of this site with what this store remembers itself.
    pub(crate) fn compare_ages(&mut self, cx: &mut Cx, from: &SiteName, status: &Status) {
        let later = |&(log, number): &(LogId, u64)| log == self.own && number >= self.age.known.said_below;
        if status.heard.iter().any(later) {
            self.stop_for_fork(cx, from);
        }
        // A peer that has started since names an earlier store of this site only so, where nothing was settled under it:
        // what the service here holds nobody knows all the same (G2).
        let is_known = |log: &LogId| log.store == self.own.store || self.mirror.series.contains_key(log);
        let earlier: Vec<LogId> = status.heard.iter().map(|(log, _)| *log).filter(|log| !is_known(log)).collect();
        for log in earlier {
            self.stop_for_past(cx, from, log);
        }
        self.hear(cx, from, status.log, status.state);
    }

    fn hear(&mut self, cx: &mut Cx, from: &SiteName, log: LogId, number: u64) {
        let known = self.age.known.heard.iter_mut().find(|(site, of, _)| site == from && *of == log);
        let before = known.as_ref().map_or(0, |(_, _, heard)| *heard);
        if number <= before {
            return;
        }
        match known {
            Some((_, _, heard)) => *heard = number,
            None => {
                self.age.known.heard.push((from.clone(), log, number));
                self.forget_earliest_store(from);
            }
        }
        let first_heard = before == 0;
        if (first_heard || number / BLOCK > before / BLOCK) && !self.is_held() {
            self.persist_age(cx);
        }
    }

    /// G6: a site whose disk is replaced again and again.
    fn forget_earliest_store(&mut self, site: &SiteName) {
        let stores = self.age.known.heard.iter().filter(|(of, _, _)| of == site).count();
        if stores > STORES_MAX
            && let Some(earliest) = self.age.known.heard.iter().position(|(of, _, _)| of == site)
        {
            self.age.known.heard.remove(earliest);
        }
    }

    /// Whether a site can tell how old this store is: one whose own disk was replaced remembers nothing.
    pub(crate) fn is_remembered(&self, status: &Status) -> bool {
        self.age.known.said_below == 0 || status.heard.iter().any(|(log, _)| *log == self.own)
    }

    /// A site has spoken, and remembers this store, and no more than it does itself.
    pub(crate) fn has_spoken(&mut self, cx: &mut Cx, site: &SiteName) {
        let Some(Hold::Copied { silent, .. }) = &mut self.age.hold else { return };
        silent.remove(site);
        if silent.is_empty() {
            self.release_hold(cx);
        }
    }

    /// This store was restored from a copy, or its directory copied: numbers and positions that it would give now were
    /// given before, and what it accepts would never arrive (G1). It takes no more; after the next start it does
    /// nothing else either.
    pub(crate) fn stop_for_fork(&mut self, cx: &mut Cx, peer: &SiteName) {
        if self.bug(Bug::NumberReusedAfterRestore) {
            return;
        }
        self.age.forked = true;
        if matches!(self.age.hold, Some(Hold::Copied { .. })) {
            self.age.hold = Some(Hold::Stale);
            self.replay.stopping.replace(None);
        }
        if self.age.known.place != Age::NOWHERE {
            self.age.known.place = Age::NOWHERE;
            self.persist_age(cx);
        }
        let why = format!(
            "{peer} knows a later past of this site than its own store: data_dir was put back to an older copy, or is \
             in use twice. It takes and applies nothing; begin anew with an empty data_dir"
        );
        self.stop(cx, StopKind::Doubt, why);
    }

    fn persist_age(&self, cx: &mut Cx) {
        cx.persist(Op::Age(self.age.known.clone()));
    }
}
