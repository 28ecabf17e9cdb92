//! What a client has seen and nobody here can know: a log that is no more, a position beyond all that any site says
//! there is.
//!
//! It may be on its way, so it is waited for once, and briefly. After that it is waited for no more, and no answer
//! carries it on. What is known and not decided here yet is waited for longer. All of it outside of every lane, for a
//! client names what it likes.

use super::core::{Core, Cx, Timer};
use super::readers::{Arrival, Reader};
use super::{NewWrite, Reply, ReqId};
use crate::model::{After, LogId, Problem, WriteId};

/// A status of a peer, which says what there is, and the way to here.
const BRIEFLY_MS: u64 = 1_000;
impl Core {
    fn known_of(&self, log: LogId) -> u64 {
        let here = self.mirror.series.get(&log).map_or(0, |series| series.received);
        let told = self.mirror.peers.values().filter_map(|peer| peer.cursors.get(&log)).map(|cursor| cursor.received);
        told.fold(here, u64::max)
    }

    /// A log that lives gives no bound: of a write by id nothing is known before it is there.
    fn is_heard_of(&self, id: WriteId) -> bool {
        self.live.contains_key(&id) || self.is_decided(id)
    }

    /// What of it this site, or one that it has heard of, can have.
    pub(crate) fn knowable(&self, seen: &After) -> After {
        seen.knowable(|log| self.known_of(log), |id| self.is_heard_of(id))
    }

    /// The site that makes it is there: what it has not told of yet may come at any moment, and one client that names
    /// too much of it takes that from nobody else.
    fn is_being_made(&self, log: LogId) -> bool {
        self.mirror.peers.values().any(|peer| peer.linked && peer.log == Some(log))
    }

    fn was_in_vain(&self, seen: &After) -> bool {
        let in_vain = |log: LogId, position: u64| !self.is_being_made(log) && self.readers.was_in_vain(log, position);
        let new = |(log, position): (LogId, u64)| position > self.known_of(log) && !in_vain(log, position);
        let new_id = |id: &WriteId| !self.is_heard_of(*id) && !in_vain(id.log, 0);
        !seen.lasts().any(new) && !seen.ids().iter().any(new_id)
    }

    fn give_up_on(&mut self, seen: &After) {
        let is_unknown = |&(log, position): &(LogId, u64)| position > self.known_of(log) && !self.is_being_made(log);
        let positions = seen.lasts().filter(is_unknown);
        let ids = seen.ids().iter().filter(|id| !self.is_heard_of(**id)).map(|id| (id.log, 0));
        let unknown: Vec<(LogId, u64)> = positions.chain(ids).collect();
        unknown.into_iter().for_each(|(log, position)| self.readers.give_up_on(log, position));
    }

    /// Whoever decides waits for what the client has seen: another site there, this one before the write gets to its
    /// lane.
    fn waits_at_another_site(&self, seen: &After) -> bool {
        !self.decides() && self.knowable_where_decided(seen) == *seen
    }

    fn decides(&self) -> bool {
        self.chooser.current() == Some(&self.settings.me)
    }

    /// Another site may have what this one has not heard of, of a log that lives.
    fn knowable_where_decided(&self, seen: &After) -> After {
        let lives = |log: LogId| {
            let is_told_of = |peer: &super::peer::Peer| peer.log == Some(log) || peer.cursors.contains_key(&log);
            self.mirror.series.contains_key(&log) || self.mirror.peers.values().any(is_told_of)
        };
        let is_known = |id: WriteId| self.is_heard_of(id) || (!self.decides() && id.log != self.own && lives(id.log));
        seen.knowable(|log| self.known_of(log), is_known)
    }

    /// A new write comes in at once, unless its client has seen what is not decided here yet.
    pub(super) fn arrive(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, write: NewWrite) {
        if self.has_decided(&write.seen) || self.waits_at_another_site(&write.seen) {
            return self.consider(cx, req, id, write, false);
        }
        if !self.readers.has_room() {
            // In its lane, for what there is.
            let Some(write) = self.without_the_unknown(cx, req, write) else { return };
            return self.consider(cx, req, id, write, false);
        }
        if let Some(what) = self.live.is_full_for(&self.settings.limits, write.sender, write.request.weight()) {
            return self.answer(cx, req, Reply::Problem { id: None, problem: Problem::Overloaded { what } });
        }
        let at_most_until_ms = cx.ms() + self.settings.total_ms / 2;
        let is_known = self.knowable_where_decided(&write.seen) == write.seen;
        let until_ms = if is_known { at_most_until_ms } else { at_most_until_ms.min(cx.ms() + BRIEFLY_MS) };
        if !is_known && self.was_in_vain(&write.seen) {
            return self.arrive_with_what_is_known(cx, req, Arrival { id, write, until_ms, at_most_until_ms });
        }
        self.await_its_seen(cx, req, Arrival { id, write, until_ms, at_most_until_ms });
    }

    fn without_the_unknown(&mut self, cx: &mut Cx, req: ReqId, mut write: NewWrite) -> Option<NewWrite> {
        let knowable = self.knowable_where_decided(&write.seen);
        if write.refuse_stale && knowable != write.seen {
            self.answer(cx, req, Reply::Problem { id: None, problem: Problem::Stale });
            return None;
        }
        write.seen = knowable;
        Some(write)
    }

    fn await_its_seen(&mut self, cx: &mut Cx, req: ReqId, arrival: Arrival) {
        self.live.hold(arrival.write.sender, arrival.write.request.weight());
        self.look_for(cx, &arrival.write.seen);
        self.at(arrival.until_ms, Timer::Arrival(req));
        self.readers.arrive(req, arrival);
    }

    /// What nobody can know is waited for no more; the rest is.
    fn arrive_with_what_is_known(&mut self, cx: &mut Cx, req: ReqId, mut arrival: Arrival) {
        let Some(write) = self.without_the_unknown(cx, req, arrival.write) else { return };
        arrival.write = write;
        if self.has_decided(&arrival.write.seen) || self.waits_at_another_site(&arrival.write.seen) {
            return self.consider(cx, req, arrival.id, arrival.write, false);
        }
        arrival.until_ms = arrival.at_most_until_ms;
        self.await_its_seen(cx, req, arrival);
    }

    fn take_arrival(&mut self, req: ReqId) -> Option<Arrival> {
        let arrival = self.readers.take_arrival(req)?;
        self.live.let_go(arrival.write.sender, arrival.write.request.weight());
        Some(arrival)
    }

    fn arrive_without(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, mut write: NewWrite) {
        if write.refuse_stale {
            return self.answer(cx, req, Reply::Problem { id: None, problem: Problem::Stale });
        }
        write.seen = After::new();
        self.consider(cx, req, id, write, false);
    }

    pub(crate) fn arrival_deadline(&mut self, cx: &mut Cx, req: ReqId) {
        if self.readers.arrival(req).is_none_or(|arrival| cx.ms() < arrival.until_ms) {
            return;
        }
        let Some(arrival) = self.take_arrival(req) else { return };
        self.give_up_on(&arrival.write.seen);
        if !self.clients.contains(req) {
            return;
        }
        if cx.ms() < arrival.at_most_until_ms {
            return self.arrive_with_what_is_known(cx, req, arrival);
        }
        self.arrive_without(cx, req, arrival.id, arrival.write);
    }

    /// A site has said what there is, or something was decided here.
    pub(crate) fn wake_arrivals(&mut self, cx: &mut Cx) {
        let may_go = |seen: &After| self.has_decided(seen) || self.waits_at_another_site(seen);
        for req in self.readers.arrivals_ready(may_go) {
            if let Some(Arrival { id, write, .. }) = self.take_arrival(req)
                && self.clients.contains(req)
            {
                self.consider(cx, req, id, write, false);
            }
        }
    }

    pub(crate) fn await_seen(&mut self, cx: &mut Cx, req: ReqId, seen: After, deadline_ms: u64) {
        if self.has_decided(&seen) {
            return cx.reply(req, Reply::Go { fresh: true, seen });
        }
        let mut reader = Reader { seen, deadline_ms, brief_ms: None, is_fresh: true };
        if self.knowable(&reader.seen) != reader.seen {
            if self.was_in_vain(&reader.seen) {
                self.read_without(&mut reader);
                if self.has_decided(&reader.seen) {
                    return cx.reply(req, Reply::Go { fresh: false, seen: reader.seen });
                }
            } else {
                reader.brief_ms = Some(deadline_ms.min(cx.ms() + BRIEFLY_MS));
            }
        }
        self.look_for(cx, &reader.seen);
        self.at(reader.due_ms(), Timer::Client(req));
        self.readers.wait(req, reader);
    }

    fn look_for(&mut self, cx: &mut Cx, seen: &After) {
        let asked_for: Vec<WriteId> = seen.ids().iter().filter(|id| !self.live.contains_key(id)).copied().collect();
        for id in asked_for {
            self.find(cx, super::Find::Id(id), super::Looking::Dependency(id));
        }
    }

    fn read_without(&self, reader: &mut Reader) {
        (reader.seen, reader.is_fresh) = (self.knowable(&reader.seen), false);
    }

    /// A reader's time is over; or that for what nobody here can know, and the rest is waited for still.
    pub(super) fn reader_deadline(&mut self, cx: &mut Cx, req: ReqId) -> bool {
        let Some(mut reader) = self.readers.take(req) else { return false };
        let is_brief = reader.brief_ms.take().is_some();
        let knowable = self.knowable(&reader.seen);
        if is_brief && knowable != reader.seen {
            self.give_up_on(&reader.seen);
            self.read_without(&mut reader);
        }
        let is_decided = self.has_decided(&reader.seen);
        if is_brief && !is_decided && cx.ms() < reader.deadline_ms {
            self.at(reader.deadline_ms, Timer::Client(req));
            self.readers.wait(req, reader);
        } else {
            // What has not come by now may still: it is passed on, but for what nobody can know.
            cx.reply(req, Reply::Go { fresh: is_decided && reader.is_fresh, seen: knowable });
        }
        true
    }

    /// Clients are known from when they come.
    pub(crate) fn submit(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, write: NewWrite) {
        let deadline_ms = cx.ms() + self.settings.total_ms;
        self.clients.come(req, deadline_ms);
        self.at(deadline_ms, Timer::Client(req));
        self.arrive(cx, req, id, write);
    }
}
