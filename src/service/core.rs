//! The owner of a group's decisions: its state, how it is rebuilt, and what each event is handed to.
use super::agenda::Agenda;
use super::chooser::Chooser;
use super::clients::Clients;
use super::keys::Keys;
use super::live::Live;
use super::looking::LookUps;
use super::queue::Queue;
use super::readers::Readers;
use super::replica::Replica;
use super::restored::StoreAge;
use super::write::{Stage, Write};
use super::{Bug, Effect, Event, Note, Now, Reply, ReqId, Settings};
use crate::completer::Completer;
use crate::dedup::Ring;
use crate::journal::{Fate, Op};
use crate::mirror::Mirror;
use crate::model::{After, LogId, WriteId};
use crate::replay::Replay;

pub(crate) use super::agenda::{Timer, Work};

/// The time of an event and where its effects go.
pub(crate) struct Cx<'a> {
    pub now: Now,
    pub out: &'a mut Vec<Effect>,
}

impl Cx<'_> {
    pub fn ms(&self) -> u64 {
        self.now.mono_ms
    }
    pub fn persist(&mut self, op: Op) {
        self.out.push(Effect::Persist(op));
    }
    pub fn note(&mut self, note: Note) {
        self.out.push(Effect::Note(note));
    }
    pub fn reply(&mut self, req: ReqId, reply: Reply) {
        self.out.push(Effect::Reply { req, reply });
    }
    /// Nobody waits for what became of an order that no person gave.
    pub fn reply_to_order(&mut self, req: Option<ReqId>, reply: Reply) {
        if let Some(req) = req {
            self.reply(req, reply);
        }
    }
}

/// All that a group knows and decides. Rebuilt from the journal at every start: recovery is the normal start path.
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) own: LogId,
    pub(crate) age: StoreAge,
    pub(crate) agenda: Agenda,
    pub(crate) lookups: LookUps,
    /// Writes that are not final, and those whose clients still wait.
    pub(crate) live: Live,
    pub(crate) clients: Clients,
    pub(crate) readers: Readers,
    pub(crate) queue: Queue,
    pub(crate) ring: Ring,
    pub(crate) idempotency: Keys,
    pub(crate) mirror: Mirror,
    pub(crate) replay: Replay,
    pub(crate) completer: Completer,
    pub(crate) replica: Replica,
    pub(crate) chooser: Chooser,
}

impl Core {
    /// Learns one thing. Everything pushed to `out` by one call is one transaction and what follows from it.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let cx = &mut Cx { now, out };
        if self.is_held() {
            self.handle_held(cx, event);
        } else {
            self.learn(cx, event);
        }
        self.fire_timers(cx);
        self.work_off(cx);
        if self.mirror.statuses.are_due() {
            self.say_status_soon(cx);
        }
    }

    fn learn(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Submit { req, id, write } => self.submit(cx, req, id, write),
            Event::Left { req } => self.left(cx, req),
            Event::AwaitSeen { req, seen, deadline_ms } => self.await_seen(cx, req, seen, deadline_ms),
            Event::Ready { id, attempt, result } => self.ready(cx, id, attempt, result),
            Event::Attempted { id, attempt, result } => self.attempted(cx, id, attempt, result),
            Event::Probed { id, attempt, result } => self.probed(cx, id, attempt, result),
            Event::Found { token, rows } => self.found(cx, token, rows),
            Event::SeriesRead { log, from, items, for_peer } => self.series_read(cx, log, from, items, for_peer),
            Event::Broken { log, position, entry, asked } => self.met_broken(cx, log, position, entry, asked),
            Event::Forgotten { keys } => self.idempotency.keys.forgotten(&keys),
            Event::Health { healthy } => self.health(cx, healthy),
            Event::LinkUp { peer } => self.link_up(cx, peer),
            Event::LinkDown { peer } => self.link_down(cx, peer),
            Event::Message { from, message } => self.message(cx, from, message),
            Event::WishLeft { to, id, attempt, whole } => self.wish_left(cx, &to, id, attempt, whole),
            Event::Fingerprint(fingerprint) => self.hinted(fingerprint),
            Event::Operator { req, id, operation } => self.operate(cx, req, id, operation),
            Event::Orders { req, ids, operation, keep_going } => self.order_many(cx, req, ids, operation, keep_going),
            Event::Tick => {}
        }
    }

    /// When [`Event::Tick`] is due next, on the monotonic clock.
    pub fn deadline(&self) -> Option<u64> {
        self.agenda.next_ms()
    }

    pub(crate) fn work_off(&mut self, cx: &mut Cx) {
        loop {
            let Some(work) = self.agenda.next() else {
                // When all that came with them has been looked at.
                if self.mirror.wishes.is_due() {
                    self.retry_pending(cx);
                    continue;
                }
                return;
            };
            match work {
                Work::Lane(lane) => self.advance_lane(cx, lane),
                Work::Look(id) => self.look(cx, id),
                Work::Place(id) => self.place(cx, id),
                Work::Load(log) => self.load(cx, log),
                Work::Unknown(id) => self.ask_whether_decided(cx, id),
                Work::Decision(old) => self.take_waiting_decision(cx, old),
                Work::Drain => self.drain_queue(cx),
                Work::Shadows => self.resume_shadows(cx),
                Work::Strangers(first) => self.judge_strangers(cx, first),
            }
        }
    }

    fn fire_timers(&mut self, cx: &mut Cx) {
        while let Some(timer) = self.agenda.due(cx.ms()) {
            match timer {
                Timer::Client(req) => self.client_deadline(cx, req),
                Timer::Write(id) => self.write_deadline(cx, id),
                Timer::Asking(token) => self.asking_deadline(cx, token),
                Timer::Arrival(req) => self.arrival_deadline(cx, req),
                Timer::HiddenTry => self.hidden_try_is_over(cx),
                Timer::Status => self.say_status(cx),
                Timer::Clean => self.clean(cx),
            }
            self.work_off(cx);
        }
    }

    pub(crate) fn at(&mut self, at_ms: u64, timer: Timer) {
        self.agenda.at(at_ms, timer);
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.lookups.token()
    }

    pub(crate) fn bug(&self, bug: Bug) -> bool {
        self.settings.has_bug(bug)
    }

    /// What this replica has decided: `after` of whatever it sends now, and what a client that reads here has seen.
    pub(crate) fn decided_here(&self) -> After {
        let mut after = After::new();
        let mut beyond = Vec::new();
        let ignore_others = self.bug(Bug::OtherSitesIgnored);
        for series in self.mirror.series.values().filter(|series| !ignore_others || series.log == self.own) {
            after.raise(series.log, series.decided);
            for stretch in series.beyond() {
                if self.bug(Bug::GapsWaitedFor) {
                    after.raise(stretch.log, stretch.last);
                } else {
                    beyond.push(stretch);
                }
            }
        }
        after.add_stretches(beyond);
        for id in self.mirror.words.unpositioned() {
            after.add_id(id);
        }
        after
    }

    /// As [`Core::decided_here`], without what stands beyond an open position.
    pub(crate) fn decided_without_gaps(&self) -> After {
        let mut after = After::new();
        self.mirror.series.values().for_each(|series| after.raise(series.log, series.decided));
        after
    }

    /// Puts the write's row (and its request, the first time) into this event's transaction.
    pub(crate) fn persist(&mut self, cx: &mut Cx, id: WriteId) {
        let write = self.live.get_mut(&id).expect("only live writes change");
        if !write.stored {
            write.stored = true;
            if id.log == self.own && write.row.decides.is_none() {
                cx.note(Note::Accepted);
            }
            if let Some(request) = &write.request {
                cx.persist(Op::Request(id, request.clone()));
            }
        }
        cx.persist(Op::Row(Box::new(write.record())));
        self.age.changes();
    }

    pub(crate) fn persist_series(&mut self, cx: &mut Cx, log: LogId) {
        if let Some(series) = self.mirror.series.get_mut(&log) {
            series.is_saved();
            cx.persist(Op::Series(series.meta()));
            self.age.changes();
        }
    }

    pub(crate) fn insert(&mut self, write: Write) {
        if let Some(key) = write.row.facts.key {
            self.idempotency.keys.insert(key, write.row.id);
        }
        self.live.insert(write);
    }

    /// Lets go of a final write; the journal has it.
    pub(crate) fn evict_if_final(&mut self, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        if write.is_final() && !self.mirror.words.is_unpositioned(&id) && !write.holds_lane && write.row.owed.is_empty()
        {
            self.evict(id);
        }
    }

    /// What the journal was asked for before does not know it.
    pub(crate) fn entry_changed(&mut self, id: WriteId) {
        self.lookups.entry_changed(id);
        self.row_changed(id);
    }

    /// What the journal was asked for by a person's order may be out of date.
    pub(crate) fn row_changed(&mut self, id: WriteId) {
        self.completer.orders.row_changed(id);
    }

    pub(crate) fn evict(&mut self, id: WriteId) {
        let Some(write) = self.live.remove(&id) else { return };
        self.completer.quarantine.leave_memory(id);
        self.left_memory(&write);
        self.row_changed(id);
        self.replay.blocked.forget(id);
        if let Some(key) = write.row.facts.key {
            self.idempotency.keys.leave_memory(key, id, write.stored);
            self.lookups.key_left_memory(key);
        }
        let may_come_back = write.row.position.is_none() && write.stage == Stage::Decided(Fate::Void);
        if matches!(write.stage, Stage::Decided(_)) && !write.awaits_decision() && !may_come_back {
            self.lookups.remember_final(id);
        }
    }
}
