//! The task that owns a group: feeds its state machine, and executes what it wants. Decides nothing.
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::intake::{Intake, PAGES_MAX};
use super::{
    Asked, Attempt, AttemptResult, Command, Core, Effect, Event, Handle, Message, Note, Now, Outbox, ProbeResult,
    Reply, ReqId, Settings,
};
use crate::dedup::Fingerprint;
use crate::failpoint;
use crate::journal::{self, Committed, Held, Journal, Op, Refusal, Space};
use crate::model::{After, Group, Problem, Request, SiteName, WriteId};

/// Commands that may wait for the task.
const COMMANDS_MAX: usize = 1_024;
/// Finished attempts and look-ups that may wait; their senders wait too.
const RESULTS_MAX: usize = 4_096;
/// Events handled before the task looks at the journal and the outside again.
const EVENTS_PER_TURN: usize = 256;
/// Batches handed to the journal and not durable yet; what comes meanwhile is the next one (group commit).
const BATCHES_UNDER_WAY: u64 = 2;
/// Clients write here if one has in so long a time.
const LIVE: Duration = Duration::from_secs(1);
/// Clients whose writes wait for another program's lock are told so after this, in time for most of them.
const TOLD_HELD_AFTER: Duration = Duration::from_secs(4);
/// For those whose write was at the service just then.
const TOLD_HELD_AGAIN: Duration = Duration::from_secs(1);

/// Everything that is not the journal: this site's replica, the links, the control plane, people.
pub trait Outside: Send + Sync + 'static {
    /// A place and a connection at an endpoint; dropped unused, it serves others.
    type Connection: Send + 'static;
    /// `Err`: why there is none, at any endpoint. A connection that is kept is had at once.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, String>> + Send;
    /// Sends the write to an endpoint of this site's replica, once. Tries all endpoints where it was never sent.
    fn attempt(&self, attempt: Attempt, over: Option<Self::Connection>) -> impl Future<Output = AttemptResult> + Send;
    fn probe(&self, request: &Request) -> impl Future<Output = ProbeResult> + Send;
    /// May lose it. Never blocks.
    fn send(&self, to: &SiteName, group: &Group, message: Message);
    /// May lose it. Never blocks.
    fn publish(&self, group: &Group, fingerprint: Fingerprint);
    fn note(&self, group: &Group, note: &Note);
}

/// The clock of one process.
#[derive(Clone)]
pub struct Clock {
    started: Instant,
    journal: Journal,
}

impl Clock {
    pub fn new(journal: Journal) -> Self {
        Self { started: Instant::now(), journal }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: wall.as_millis() as u64,
            clock_ms: self.journal.clock_ms(),
        }
    }

    fn instant(&self, mono_ms: u64) -> Instant {
        self.started + Duration::from_millis(mono_ms)
    }
}

/// By the write and the number of its try.
type Connections<C> = Arc<Mutex<HashMap<(WriteId, u32), C>>>;

fn lock<C>(connections: &Connections<C>) -> MutexGuard<'_, HashMap<(WriteId, u32), C>> {
    // Nothing panics while it is held.
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A group that was recovered and not yet started.
pub struct Task<O: Outside> {
    group: Arc<Group>,
    core: Core,
    outbox: Outbox,
    journal: Journal,
    /// So many entries stand in the journal's quarantine.
    quarantine: u64,
    outside: Arc<O>,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    results: mpsc::Receiver<Event>,
    intake: Intake,
    /// When a client's write came last.
    written: Option<Instant>,
    results_in: mpsc::Sender<Event>,
    /// Holds as many messages as batches may be under way, so the writer's thread never waits.
    commits: mpsc::Receiver<(u64, Option<Committed>)>,
    commits_in: mpsc::Sender<(u64, Option<Committed>)>,
    decider: watch::Sender<Option<SiteName>>,
    decided: watch::Sender<After>,
    clients: HashMap<ReqId, oneshot::Sender<Reply>>,
    /// Had before their writes were written down.
    connections: Connections<O::Connection>,
    /// Sent to the service, and not answered yet.
    at_service: HashSet<(WriteId, u32)>,
    /// The own series is durable up to here; and what batches under way make of that.
    own_durable: u64,
    own_under_way: VecDeque<(u64, u64)>,
    /// Of these, clients with writes; with its name, where the client named no key.
    writers: BTreeMap<ReqId, Option<WriteId>>,
    /// Whether another program keeps the journal from writing.
    held: watch::Receiver<Option<Held>>,
    told_held: Option<Instant>,
    /// A batch that the journal had no room for.
    returned: Option<(u64, Vec<Op>)>,
    /// The end is near: nothing more is sent to the service.
    resting: Option<Resting>,
    effects: Vec<Effect>,
    ready: Vec<Effect>,
}

struct Resting {
    done: Option<oneshot::Sender<()>>,
    /// The last of what the service had been at is in it.
    batch: Option<u64>,
}

impl<O: Outside> Task<O> {
    /// Recovers the group from the journal. Blocks: call it at start.
    pub fn recover(
        group: Group,
        settings: Settings,
        journal: Journal,
        clock: Clock,
        outside: Arc<O>,
    ) -> Result<(Self, Handle), journal::Error> {
        // All others are read when they are asked for.
        let recovered = journal.recover(&group, settings.limits.lanes, 0)?;
        let quarantine = recovered.quarantine.total;
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let (results_in, results) = mpsc::channel(RESULTS_MAX);
        let (pages_in, pages) = mpsc::channel(PAGES_MAX);
        let (commits_in, commits) = mpsc::channel(BATCHES_UNDER_WAY as usize + 1);
        let (decider, decider_now) = watch::channel(None);
        let held = journal.held();
        let mut effects = Vec::new();
        let core = Core::recover(settings, journal.log(), recovered, clock.now(), &mut effects);
        let (decided, decided_now) = watch::channel(core.decided_here());
        let own_durable = core.own_settled();
        let task = Self {
            group: Arc::new(group),
            core,
            outbox: Outbox::new(),
            journal,
            quarantine,
            outside,
            clock,
            commands,
            results,
            intake: Intake::new(pages),
            written: None,
            results_in,
            commits,
            commits_in,
            decider,
            decided,
            clients: HashMap::new(),
            connections: Arc::default(),
            at_service: HashSet::new(),
            own_durable,
            own_under_way: VecDeque::new(),
            writers: BTreeMap::new(),
            held,
            told_held: None,
            returned: None,
            resting: None,
            effects,
            ready: Vec::new(),
        };
        Ok((task, Handle::new(commands_in, pages_in, decider_now, decided_now)))
    }

    /// Runs until every handle is gone, or the journal has failed. What was accepted is in the journal.
    pub async fn run(mut self) {
        self.turn();
        loop {
            let deadline = self.core.deadline().map(|at| self.clock.instant(at).into());
            let held_until = self.held_until();
            tokio::select! {
                biased;
                Some((number, done)) = self.commits.recv() => {
                    let Some(done) = done else { return self.end().await };
                    self.durable(number, done);
                }
                Some(event) = self.results.recv() => self.handle(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(page) = self.intake.arrived(), if self.intake.is_hungry(self.outbox.durable_up_to()) => {
                    self.intake.open(page);
                }
                () = sleep_until(held_until.unwrap_or_else(Instant::now).into()), if held_until.is_some() => {
                    self.tell_held();
                }
                _ = self.held.changed() => {}
                () = self.journal.room(), if self.returned.is_some() => {}
                () = sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => {
                    self.handle(Event::Tick);
                }
            }
            self.drain();
            self.take_in();
            self.turn();
            self.tell_rested();
        }
    }

    /// A slice of what other sites sent, when the transaction of the last one is durable.
    fn take_in(&mut self) {
        self.intake.beside_writes(self.written.is_some_and(|at| at.elapsed() < LIVE));
        while let Some((from, page)) = self.intake.next(self.outbox.durable_up_to()) {
            self.handle(Event::Message { from, message: Message::Page(page) });
            self.intake.taken_in(self.outbox.last_batch());
        }
    }

    /// Handles what else is there already, so that it shares one transaction.
    fn drain(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            if let Ok(event) = self.results.try_recv() {
                self.handle(event);
            } else if let Ok(command) = self.commands.try_recv() {
                self.command(command);
            } else {
                return;
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Submit { req, write, reply } => {
                if self.journal.space() != Space::Ok {
                    // The gateway may be gone, then nobody waits.
                    let _ = reply.send(Reply::Problem { id: None, problem: Problem::DiskReserve });
                    return;
                }
                if self.held.borrow().is_some() {
                    let _ = reply.send(Reply::Problem { id: None, problem: Problem::JournalHeld });
                    return;
                }
                self.written = Some(Instant::now());
                self.clients.insert(req, reply);
                let id = self.journal.next_id();
                self.writers.insert(req, write.facts.key.is_none().then_some(id));
                self.handle(Event::Submit { req, id, write });
            }
            Command::AwaitSeen { req, seen, timeout_ms, reply } => {
                self.clients.insert(req, reply);
                let deadline_ms = self.clock.now().mono_ms + timeout_ms;
                self.handle(Event::AwaitSeen { req, seen, deadline_ms });
            }
            Command::Operator { req, id, operation, reply } => {
                self.clients.insert(req, reply);
                self.handle(Event::Operator { req, id, operation });
            }
            Command::Orders { req, ids, operation, keep_going, reply } => {
                self.clients.insert(req, reply);
                self.handle(Event::Orders { req, ids, operation, keep_going });
            }
            Command::Event(Event::Health { .. }) if self.resting.is_some() => {}
            Command::Event(event) => self.handle(event),
            Command::Rest(done) => {
                self.resting = Some(Resting { done: Some(done), batch: None });
                // As when nobody answers there: others decide meanwhile, and what is applied here waits.
                self.handle(Event::Health { healthy: false });
            }
            Command::View(reply) => {
                let mut view = self.core.view(self.clock.now());
                view.quarantine = view.quarantine.saturating_add(self.quarantine);
                let _ = reply.send(view);
            }
        }
    }

    fn tell_rested(&mut self) {
        let Some(resting) = &mut self.resting else { return };
        if resting.batch.is_none() && self.at_service.is_empty() && !self.core.is_at_service() {
            resting.batch = Some(self.outbox.last_batch());
        }
        if resting.batch.is_some_and(|batch| batch <= self.outbox.durable_up_to())
            && let Some(done) = resting.done.take()
        {
            // Who ordered it may wait no more.
            let _ = done.send(());
        }
    }

    /// When clients are told who wait for a write that the journal cannot take.
    fn held_until(&self) -> Option<Instant> {
        let since = self.held.borrow().as_ref()?.since;
        let again = self.told_held.map_or(since, |told| told + TOLD_HELD_AGAIN);
        (!self.writers.is_empty()).then(|| again.max(since + TOLD_HELD_AFTER))
    }

    /// Their writes go on when the lock is let go, as those of clients that hung up: which of them is applied then, a
    /// retry with the same key is told. Without a key a retry would be another write, so nothing is told that asks for
    /// one.
    fn tell_held(&mut self) {
        self.told_held = Some(Instant::now());
        for (req, keyless) in std::mem::take(&mut self.writers) {
            if self.core.awaited_try(req).is_some_and(|attempt| self.at_service.contains(&attempt)) {
                self.writers.insert(req, keyless);
                continue;
            }
            let reply = match (self.core.last_words(req), keyless) {
                (Reply::Problem { problem: Problem::StoreDown, .. }, None) => {
                    Reply::Problem { id: None, problem: Problem::JournalHeld }
                }
                (Reply::Problem { problem: Problem::StoreDown, .. }, id) => {
                    Reply::Problem { id, problem: Problem::OutcomeUnknown }
                }
                (reply, _) => reply,
            };
            self.core.hands_out(&reply);
            self.tell(req, reply);
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Attempted { id, attempt, .. } = &event {
            self.at_service.remove(&(*id, *attempt));
        }
        let ready = if let Event::Ready { id, attempt, .. } = &event { Some((*id, *attempt)) } else { None };
        self.core.handle(self.clock.now(), event, &mut self.effects);
        if let Some((id, attempt)) = ready.filter(|(id, attempt)| !self.core.is_sending(*id, *attempt)) {
            // Nobody wants it any more.
            lock(&self.connections).remove(&(id, attempt));
        }
        self.absorb();
    }

    /// A connection that is there costs neither a turn of this task nor a transaction of its own.
    fn absorb(&mut self) {
        while let Some(at) = self.effects.iter().position(|effect| matches!(effect, Effect::Connect { .. })) {
            if let Effect::Connect { id, attempt } = self.effects.remove(at) {
                self.connect(id, attempt);
            }
        }
        self.outbox.absorb(self.effects.drain(..), &mut self.ready);
    }

    fn connect(&mut self, id: WriteId, attempt: u32) {
        let (outside, connections) = (self.outside.clone(), self.connections.clone());
        let mut had = Box::pin(async move {
            let result = match outside.connect().await {
                Ok(connection) => {
                    lock(&connections).insert((id, attempt), connection);
                    Ok(())
                }
                Err(why) => Err(why),
            };
            Event::Ready { id, attempt, result }
        });
        match had.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => {
                self.core.handle(self.clock.now(), event, &mut self.effects);
                if !self.core.is_sending(id, attempt) {
                    lock(&self.connections).remove(&(id, attempt));
                }
            }
            Poll::Pending => self.later(async move { Some(had.await) }),
        }
    }

    /// Hands the next batch to the journal and executes what may be seen.
    fn turn(&mut self) {
        self.absorb();
        while self.outbox.under_way() < BATCHES_UNDER_WAY || self.returned.is_some() {
            let Some((number, ops)) = self.returned.take().or_else(|| self.outbox.next_batch()) else { break };
            if !self.commit(number, ops) {
                break;
            }
        }
        // Before anybody is answered: a reader is not told less than the answer to a write before said.
        self.tell_readers();
        let mut ready = std::mem::take(&mut self.ready);
        for effect in ready.drain(..) {
            self.execute(effect);
        }
        // Back with its room: nothing that was executed made more.
        self.ready = ready;
    }

    fn tell_readers(&mut self) {
        let decided = self.core.decided_here();
        self.decided.send_if_modified(|known| {
            *known != decided && {
                *known = decided;
                true
            }
        });
    }

    /// The journal has failed, or is closed. Nothing more is taken, sent or promised; but whoever waits for the service
    /// is told what it says: the process lives on for a moment.
    async fn end(mut self) {
        self.say_what_may_be_said();
        let (core, at_service) = (&self.core, &self.at_service);
        let is_at_service = |req: &ReqId| core.awaited_try(*req).is_some_and(|attempt| at_service.contains(&attempt));
        let others: Vec<ReqId> = self.clients.keys().filter(|req| !is_at_service(req)).copied().collect();
        for req in others {
            let reply = self.core.last_words(req);
            self.tell(req, reply);
        }
        while !self.clients.is_empty() {
            tokio::select! {
                event = self.results.recv() => {
                    let Some(event @ Event::Attempted { id, attempt, .. }) = event else { continue };
                    if self.at_service.remove(&(id, attempt)) {
                        self.core.handle(self.clock.now(), event, &mut self.effects);
                        self.say_what_may_be_said();
                    }
                }
                // Dropped, it is answered like everything that comes from now on.
                command = self.commands.recv() => if command.is_none() { return },
            }
        }
    }

    fn say_what_may_be_said(&mut self) {
        self.outbox.absorb(self.effects.drain(..), &mut self.ready);
        self.ready.clear();
        for (req, mut reply) in self.outbox.abandon() {
            if let Reply::Answer { seen, .. } = &mut reply {
                // These positions may be given to others.
                seen.lower(self.journal.log(), self.own_durable);
            }
            self.tell(req, reply);
        }
    }

    fn tell(&mut self, req: ReqId, reply: Reply) {
        if let Some(client) = self.clients.remove(&req) {
            // A client that hung up does not cancel its write.
            let _ = client.send(reply);
        }
    }

    fn commit(&mut self, number: u64, ops: Vec<Op>) -> bool {
        let own = self.journal.log();
        let settled = ops.iter().rev().find_map(|op| match op {
            Op::Series(meta) if meta.log == own => Some(meta.received),
            _ => None,
        });
        self.own_under_way.extend(settled.map(|position| (number, position)));
        let commits = self.commits_in.clone();
        let done = Box::new(move |result: Result<Committed, _>| {
            // There is a place for every batch under way; the task is gone only when the process ends.
            let _ = commits.try_send((number, result.ok()));
        });
        failpoint::hit("before-commit");
        match self.journal.commit(&self.group, ops, done) {
            Ok(()) => true,
            Err(returned) if returned.why == Refusal::NoRoom => {
                self.returned = Some((number, returned.ops));
                false
            }
            Err(returned) => {
                tracing::debug!(group = %self.group, why = ?returned.why, "journal takes no batches any more");
                (returned.done)(Err(journal::CommitError::Closed));
                false
            }
        }
    }

    fn durable(&mut self, number: u64, done: Committed) {
        failpoint::hit("after-commit");
        self.quarantine = self.quarantine.saturating_add_signed(done.quarantine);
        if done.refused_behind > 0 {
            self.outside.note(&self.group, &Note::RefusedBehind { count: done.refused_behind });
        }
        if !done.forgotten_keys.is_empty() {
            self.handle(Event::Forgotten { keys: done.forgotten_keys });
        }
        while let Some((_, position)) = self.own_under_way.pop_front_if(|(batch, _)| *batch <= number) {
            self.own_durable = position;
        }
        self.outbox.durable(number, &mut self.ready);
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(_) | Effect::Connect { .. } => {
                unreachable!("these are seen to before anything is executed")
            }
            Effect::Attempt(attempt) => {
                let (outside, id, number) = (self.outside.clone(), attempt.id, attempt.attempt);
                self.at_service.insert((id, number));
                let connection = lock(&self.connections).remove(&(id, number));
                let (before, after) = attempt_points(&attempt);
                failpoint::hit(before);
                self.later(async move {
                    let result = outside.attempt(attempt, connection).await;
                    failpoint::hit(after);
                    Some(Event::Attempted { id, attempt: number, result })
                });
            }
            Effect::Probe { id, attempt, request } => {
                let outside = self.outside.clone();
                self.later(async move { Some(Event::Probed { id, attempt, result: outside.probe(&request).await }) });
            }
            Effect::Reply { req, reply } => {
                failpoint::hit("before-reply");
                self.writers.remove(&req);
                self.tell(req, reply);
            }
            Effect::Send { to, message } => {
                failpoint::hit(message_point(&message));
                self.outside.send(&to, &self.group, message);
            }
            Effect::Decider(site) => {
                self.decider.send_replace(site);
            }
            Effect::Publish(fingerprint) => self.outside.publish(&self.group, fingerprint),
            Effect::Find { token, find } => {
                let (journal, group) = (self.journal.clone(), self.group.clone());
                self.later(async move {
                    match journal.find(&group, find).await {
                        Ok(rows) => Some(Event::Found { token, rows }),
                        Err(journal::Error::Broken { log, position, entry, .. }) => {
                            Some(Event::Broken { log, position, entry, asked: Asked::LookUp { token, find } })
                        }
                        Err(error) => {
                            // Not to answer leaves the write undecided, which is safe; to guess is not (G2).
                            tracing::error!(%group, %error, "journal look-up failed");
                            None
                        }
                    }
                });
            }
            Effect::ReadSeries { log, from, items_max, bytes_max, for_peer } => {
                let (journal, group) = (self.journal.clone(), self.group.clone());
                self.later(async move {
                    let items = match journal.read_series(&group, log, from, items_max, bytes_max).await {
                        Ok(items) => items,
                        Err(journal::Error::Broken { log, position, entry, .. }) => {
                            let asked = for_peer.map_or(Asked::ForFollower, Asked::ForPeer);
                            return Some(Event::Broken { log, position, entry, asked });
                        }
                        Err(error) => {
                            tracing::error!(%group, %log, from, %error, "journal cannot read a series");
                            Vec::new()
                        }
                    };
                    Some(Event::SeriesRead { log, from, items, for_peer })
                });
            }
            // That this replica decides no more is not the fault of anything.
            Effect::Note(Note::Failover { .. }) if self.resting.is_some() => {}
            Effect::Note(note) => self.outside.note(&self.group, &note),
        }
    }

    fn later(&self, work: impl Future<Output = Option<Event>> + Send + 'static) {
        let results = self.results_in.clone();
        tokio::spawn(async move {
            if let Some(event) = work.await {
                // The task is gone only when the process ends; recovery finds what was under way.
                let _ = results.send(event).await;
            }
        });
    }
}

/// Names of the points around an attempt; see `failpoint`.
fn attempt_points(attempt: &Attempt) -> (&'static str, &'static str) {
    match attempt.shadow {
        None => ("before-attempt", "after-attempt"),
        Some(_) => ("before-shadow", "after-shadow"),
    }
}

fn message_point(message: &Message) -> &'static str {
    match message {
        Message::Status(_) => "before-status",
        Message::Page(_) => "before-page",
        Message::Wish(_) => "before-wish",
        Message::Revoke { .. } => "before-revoke",
        Message::Word { .. } => "before-word",
        Message::Ask { .. } => "before-ask",
        Message::Question { .. } => "before-question",
        Message::Reply { .. } => "before-known",
        Message::Again(_) => "before-again",
        Message::Ahead { .. } => "before-ahead",
    }
}
