//! The owner of a group's decisions: its state, how it is rebuilt, and what each event is handed to.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::accept::{Asking, Reader};
use super::chooser::Chooser;
use super::hanging::Hanging;
use super::looking::Looking;
use super::orders::Orders;
use super::peer::Peer;
use super::recent::{Changes, RECENT, Recent};
use super::restored::Hold;
use super::unheard::Arrival;
use super::whose::Stranger;
use super::write::{Stage, Write};
use super::{Bug, Effect, Event, Note, Now, Reply, ReqId, Sender, Settings};
use crate::dedup::Ring;
use crate::idempotency::KeyTable;
use crate::journal::{Age, Fate, Op, Quarantined, Stop};
use crate::mirror::Series;
use crate::model::{After, Item, KeyHash, Lane, LogId, SiteName, WriteId};
use crate::replay::{Alone, Blocked, CreatingLanes, LaneMemory, LaneState, Mending, Unknown};

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

/// What is due at a time. Whoever is woken looks at the present state: a timer that is out of date does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Client(ReqId),
    /// Backoff, doubt, wish deadlines of one write.
    Write(WriteId),
    Asking(u64),
    /// A write whose client has seen what nobody here can know.
    Arrival(ReqId),
    /// What a broken record hid is over.
    HiddenTry,
    Status,
    Clean,
}

/// What is left to be done after an event's own handler: never nested, so no handler meets a half-changed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The lane may have a place for the next own write, or for the next at this replica.
    Lane(Lane),
    /// What it waits for may be decided.
    Look(WriteId),
    /// Own write: find it a decider (again).
    Place(WriteId),
    /// The follower may take up more of this series.
    Load(LogId),
    /// What divergences here wait for may be decided.
    Unknown(WriteId),
    /// The write that a late decision is about, or that copies repeat, may be decided here.
    Decision(WriteId),
    /// Own queued writes may find a decider.
    Drain,
    /// Shadows may have a place at the service again.
    Shadows,
    /// What this write came to may free its key for the others who brought it.
    Strangers(WriteId),
}

pub(crate) struct Client {
    pub write: Option<WriteId>,
    pub deadline_ms: u64,
}

/// What two sites did that cannot be put right, since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Conflicts {
    /// Keys taken for different requests.
    pub keys: u64,
    /// Copies of one write that were answered differently.
    pub answers: u64,
}

/// All that a group knows and decides. Rebuilt from the journal at every start: recovery is the normal start path.
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) own: LogId,
    pub(crate) series: BTreeMap<LogId, Series>,
    /// Writes that are not final, and those whose clients still wait.
    pub(crate) live: BTreeMap<WriteId, Write>,
    pub(crate) live_bytes: usize,
    /// Of them, what each sender of this life has: how many, and bytes.
    pub(crate) by_sender: BTreeMap<Sender, (usize, usize)>,
    pub(crate) lanes: BTreeMap<Lane, LaneState>,
    pub(crate) lane_memory: LaneMemory,
    pub(crate) creating: CreatingLanes,
    pub(crate) blocked: Blocked,
    pub(crate) keys: KeyTable,
    pub(crate) ring: Ring,
    pub(crate) peers: BTreeMap<SiteName, Peer>,
    /// Wishes decided here whose position is not known yet: `after` names them by id.
    pub(crate) unpositioned: BTreeSet<WriteId>,
    /// Wishes decided here whose origins settled them as undecided, and have not heard our word.
    pub(crate) words_owed: BTreeSet<WriteId>,
    /// Own writes with a wish out or a revocation owed.
    pub(crate) wishes_out: BTreeSet<WriteId>,
    /// Own wishes whose outcome waits for the entries it comes after.
    pub(crate) pending: BTreeSet<WriteId>,
    /// One of them may be settled now.
    pub(crate) pending_due: bool,
    /// What is missing ahead is not asked for again before.
    pub(crate) missing_asked_ms: u64,
    /// Writes that outcomes of wishes name by id and that are not live: how much of their series was stored when the
    /// journal was asked for their position.
    pub(crate) named: BTreeMap<WriteId, u64>,
    /// Decided lately and no longer live: a look-up under way may still ask for them.
    pub(crate) recently_final: Recent,
    /// Keys of writes that left memory lately, with the last token given before: what a look-up of them found since is
    /// stale.
    pub(crate) evicted_keys: VecDeque<(u64, KeyHash)>,
    /// Own writes answered 202, in order of acceptance.
    pub(crate) queue: VecDeque<WriteId>,
    /// The queued write that is being decided.
    pub(crate) draining: Option<WriteId>,
    pub(crate) drain_at_ms: u64,
    pub(crate) clients: BTreeMap<ReqId, Client>,
    pub(crate) readers: BTreeMap<ReqId, Reader>,
    /// Writes that wait for what nobody here can know, outside of their lanes.
    pub(crate) arrivals: BTreeMap<ReqId, Arrival>,
    /// What of a log was waited for in vain, and up to where.
    pub(crate) in_vain: VecDeque<(LogId, u64)>,
    /// Answers that wait for receipts (`ack`), by position.
    pub(crate) receipts: BTreeMap<u64, Vec<(ReqId, Reply)>>,
    /// Late decisions about writes whose own outcome here is not known yet.
    pub(crate) decisions_waiting: BTreeMap<WriteId, Arc<Item>>,
    /// Positions of copies, by the write that each repeats and that is not decided here yet.
    pub(crate) copies_waiting: BTreeMap<WriteId, Vec<Arc<Item>>>,
    pub(crate) looking: BTreeMap<u64, Looking>,
    /// Foreign writes that the journal is asked for by their wish, its revocation, or what was told of them ahead.
    pub(crate) looked_for: BTreeMap<WriteId, u64>,
    /// Writes that the journal is asked for by order of a person, and whether their rows changed since: then it is
    /// asked again.
    pub(crate) ordered_rows: BTreeMap<WriteId, bool>,
    pub(crate) asking: BTreeMap<u64, Asking>,
    /// Copies of other clients' writes in flight, by the write.
    pub(crate) strangers: BTreeMap<WriteId, Vec<Stranger>>,
    pub(crate) mending: Mending,
    pub(crate) next_token: u64,
    /// Entries of live writes, and of records that cannot be read. All others the journal alone has: they come with
    /// their rows when somebody asks ([`Core::take_entries`]).
    pub(crate) quarantined: BTreeMap<WriteId, Quarantined>,
    pub(crate) changes: Changes,
    pub(crate) unknown: Unknown,
    /// Orders about many writes whose rows the journal is asked for.
    pub(crate) orders: BTreeMap<u64, Orders>,
    /// Out of quarantine by order and not done with: until then the journal holds the entry, and a crash brings it back
    /// (G1).
    pub(crate) releasing: BTreeSet<WriteId>,
    /// The endpoints are, and no try of the life before may be under way unseen: writes can be sent.
    pub(crate) healthy: bool,
    pub(crate) endpoints_healthy: bool,
    pub(crate) hanging: Hanging,
    pub(crate) stopped: Option<Stop>,
    /// Logs that this site made with an earlier store, before a person said what its replica holds of them.
    pub(crate) past: BTreeSet<LogId>,
    /// A peer knows another past of the own log: nothing more is accepted.
    pub(crate) forked: bool,
    /// What this store knows of its own age, and of others'.
    pub(crate) age: Age,
    /// Where it lies now ([`crate::journal::Recovered::place`]).
    pub(crate) place: u64,
    /// Nothing is done here: it is an older copy, or may be one.
    pub(crate) hold: Option<Hold>,
    /// The number of the state that others were told of last, and whether it is another one by now.
    pub(crate) state: u64,
    pub(crate) changed: bool,
    /// Whether the outcomes compared last differed, as far as `on_divergence` counts them.
    pub(crate) differed: VecDeque<bool>,
    pub(crate) alone: Alone,
    pub(crate) chooser: Chooser,
    /// Shadows that are at the service now.
    pub(crate) shadows_here: BTreeSet<WriteId>,
    /// When a client's write, or a wish, was taken here last.
    pub(crate) written_ms: Option<u64>,
    /// Shadows that had their turn and found no place, or no healthy replica.
    pub(crate) shadows_waiting: VecDeque<WriteId>,
    pub(crate) timers: BTreeSet<(u64, Timer)>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) concurrent: u64,
    pub(crate) conflicts: Conflicts,
    /// Something changed that peers should hear soon.
    /// When what peers had confirmed was written down last.
    pub(crate) confirmed_ms: u64,
    pub(crate) status_due: bool,
    pub(crate) next_status_ms: u64,
    pub(crate) statuses_said: u64,
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
        if self.status_due {
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
            Event::Forgotten { keys } => self.keys.forgotten(&keys),
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
        self.timers.first().map(|&(at, _)| at)
    }

    pub(crate) fn work_off(&mut self, cx: &mut Cx) {
        loop {
            let Some(work) = self.work.pop_front() else {
                // When all that came with them has been looked at.
                if std::mem::take(&mut self.pending_due) {
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
        while let Some(&(at, timer)) = self.timers.first() {
            if at > cx.ms() {
                return;
            }
            self.timers.pop_first();
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
        self.timers.insert((at_ms, timer));
    }

    pub(crate) fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn bug(&self, bug: Bug) -> bool {
        self.settings.has_bug(bug)
    }

    /// What this replica has decided: `after` of whatever it sends now, and what a client that reads here has seen.
    pub(crate) fn decided_here(&self) -> After {
        let mut after = After::new();
        let mut beyond = Vec::new();
        let ignore_others = self.bug(Bug::OtherSitesIgnored);
        for series in self.series.values().filter(|series| !ignore_others || series.log == self.own) {
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
        for &id in &self.unpositioned {
            after.add_id(id);
        }
        after
    }

    /// As [`Core::decided_here`], without what stands beyond an open position.
    pub(crate) fn decided_without_gaps(&self) -> After {
        let mut after = After::new();
        self.series.values().for_each(|series| after.raise(series.log, series.decided));
        after
    }

    /// Puts the write's row (and its request, the first time) into this event's transaction.
    pub(crate) fn persist(&mut self, cx: &mut Cx, id: WriteId) {
        let write = self.live.get_mut(&id).expect("only live writes change");
        if !write.stored {
            write.stored = true;
            if id.log == self.own && write.decides.is_none() {
                cx.note(Note::Accepted);
            }
            if let Some(request) = &write.request {
                cx.persist(Op::Request(id, request.clone()));
            }
        }
        cx.persist(Op::Row(Box::new(write.row())));
        self.changed = true;
    }

    pub(crate) fn persist_series(&mut self, cx: &mut Cx, log: LogId) {
        if let Some(series) = self.series.get_mut(&log) {
            series.is_saved();
            cx.persist(Op::Series(series.meta()));
            self.changed = true;
        }
    }

    pub(crate) fn insert(&mut self, write: Write) {
        self.live_bytes += write.weight();
        if let Some(key) = write.facts.key {
            self.keys.insert(key, write.id);
        }
        self.live.insert(write.id, write);
    }

    /// Lets go of a final write; the journal has it.
    pub(crate) fn evict_if_final(&mut self, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        if write.is_final() && !self.unpositioned.contains(&id) && !write.holds_lane && write.owed.is_empty() {
            self.evict(id);
        }
    }

    /// What the journal was asked for before does not know it.
    pub(crate) fn entry_changed(&mut self, id: WriteId) {
        self.changes.push(self.next_token, id);
        self.row_changed(id);
    }

    /// What the journal was asked for by a person's order may be out of date.
    pub(crate) fn row_changed(&mut self, id: WriteId) {
        if let Some(changed) = self.ordered_rows.get_mut(&id) {
            *changed = true;
        }
    }

    pub(crate) fn evict(&mut self, id: WriteId) {
        let Some(write) = self.live.remove(&id) else { return };
        self.quarantined.remove(&id);
        self.left_memory(&write);
        self.row_changed(id);
        self.blocked.forget(id);
        self.live_bytes -= write.weight();
        self.discharge(write.sender, write.charged);
        if let Some(key) = write.facts.key {
            self.keys.leave_memory(key, id, write.stored);
            self.evicted_keys.push_back((self.next_token, key));
            if self.evicted_keys.len() > RECENT {
                self.evicted_keys.pop_front();
            }
        }
        let may_come_back = write.position.is_none() && write.stage == Stage::Decided(Fate::Void);
        if matches!(write.stage, Stage::Decided(_)) && !write.awaits_decision() && !may_come_back {
            self.remember_final(id);
        }
    }

    pub(crate) fn remember_final(&mut self, id: WriteId) {
        self.recently_final.push(id);
    }
}
