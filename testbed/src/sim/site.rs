//! One site: a state machine, its outbox, its disk, its service; and the executor of its effects.
//!
//! The executor does what the product's task does: absorb, execute what is ready, hand over the next batch. A process may die
//! between any two effects; batches that were not reported durable are lost, or the first few of those under way survive.
use std::collections::{BTreeMap, VecDeque};

use holdfast::journal::{Memory, Op, QuarantineReason};
use holdfast::model::{Problem, WriteId};
use holdfast::service::{Attempt, AttemptResult, Effect, Event, Note, Now, Outbox, ProbeResult, Reply, ReqId};

use super::clients::Heard;
use super::history::{Name, Report, Said};
use super::machine::Machine;
use super::plan::Planted;
use super::rng::mix;
use super::upstream::{Mood, Upstream, refuses};
use super::world::{Ev, World, name_of};

/// 2026-01-01, milliseconds since 1970.
const WALL_BASE_MS: u64 = 1_767_225_600_000;

pub(super) struct Site<M> {
    pub core: Option<M>,
    /// Counts processes: what is meant for a dead one reaches nobody.
    pub life: u32,
    outbox: Outbox,
    disk: Memory,
    /// Batches handed to the disk, in order; the first `writing` of them are one commit under way.
    handed_over: VecDeque<u64>,
    /// The number of the latest batch of this life.
    batches: u64,
    writing: usize,
    pub slow_disk: bool,
    pub upstream: Upstream,
    /// Never used twice: a restart begins after everything that was reserved.
    next_id: u64,
    next_req: u64,
    born_ms: u64,
    mono_offset_ms: u64,
    /// Milliseconds in all earlier lives.
    lived_ms: u64,
    pub wall_offset_ms: i64,
    pub paused_until_ms: u64,
    /// Until then the disk or the process was too slow to keep promises about time.
    pub excused_until_ms: u64,
    tick_at_ms: Option<u64>,
    /// Clients that wait for an answer of this life.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Attempts the machine wants or has under way: index into the history.
    wanted: BTreeMap<(WriteId, u32), usize>,
    /// Outcomes that the machine knows but the disk does not: batch and index into the history.
    undurable: Vec<(u64, usize)>,
}

#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub client: usize,
    pub attempt: u32,
    pub name: Name,
    pub submission: usize,
}

/// A request at a service. It outlives the process that sent it.
pub(super) struct Job {
    pub site: usize,
    pub life: u32,
    pub id: WriteId,
    pub attempt: u32,
    pub name: Name,
    pub history: usize,
    pub mood: Mood,
    /// The service is through with it.
    pub served: bool,
    /// The machine was told something.
    pub told: bool,
}

impl<M> Site<M> {
    pub fn new(site: usize) -> Self {
        Site {
            core: None,
            life: 0,
            outbox: Outbox::new(),
            disk: Memory::new(),
            handed_over: VecDeque::new(),
            batches: 0,
            writing: 0,
            slow_disk: false,
            upstream: Upstream::default(),
            next_id: 1,
            next_req: 1 + site as u64,
            born_ms: 0,
            mono_offset_ms: 0,
            lived_ms: 0,
            wall_offset_ms: 0,
            paused_until_ms: 0,
            excused_until_ms: 0,
            tick_at_ms: None,
            waiting: BTreeMap::new(),
            wanted: BTreeMap::new(),
            undurable: Vec::new(),
        }
    }
    pub fn fresh_id(&mut self, log: holdfast::model::LogId) -> WriteId {
        self.next_id += 1;
        WriteId { log, n: self.next_id - 1 }
    }
    pub fn fresh_req(&mut self) -> ReqId {
        self.next_req += 1;
        ReqId(self.next_req)
    }
}

impl<M: Machine> World<M> {
    pub fn now(&self, site: usize) -> Now {
        let node = &self.sites[site];
        let running = self.now_ms - node.born_ms;
        Now {
            mono_ms: running + node.mono_offset_ms,
            wall_ms: (WALL_BASE_MS + self.now_ms).saturating_add_signed(node.wall_offset_ms),
            clock_ms: node.lived_ms + running,
        }
    }

    pub fn start(&mut self, site: usize) {
        if self.sites[site].core.is_some() {
            return;
        }
        let offset = self.rng.range(0, 5_000);
        let skipped = self.rng.range(0, 64);
        let node = &mut self.sites[site];
        node.life += 1;
        node.outbox = Outbox::new();
        node.batches = 0;
        node.born_ms = self.now_ms;
        node.mono_offset_ms = offset;
        node.next_id += skipped;
        node.tick_at_ms = None;
        let life = node.life;
        let settings = self.plan.settings[site].clone();
        let recovered = self.sites[site].disk.recover(&self.group, settings.limits.lanes);
        self.trace.line(self.now_ms, || format!("site {site} starts life {life}"));
        let (now, mut out) = (self.now(site), Vec::new());
        self.sites[site].core = Some(M::recover(settings, Self::log(site), recovered, now, &mut out));
        self.absorb(site, out);
        let delay = self.rng.range(5, 500);
        self.after(delay, Ev::HealthCheck { site, life });
    }

    pub fn crash(&mut self, site: usize) {
        let Some(_) = self.sites[site].core.take() else { return };
        self.trace.line(self.now_ms, || format!("site {site} dies"));
        self.history.crash(site);
        self.history.disturb();
        let writing = self.sites[site].writing;
        let survive = if writing > 0 { self.rng.range(0, writing as u64) } else { 0 };
        for _ in 0..survive {
            self.sites[site].disk.sync_one();
            self.stats.hit("fault: batch survived unreported");
        }
        if self.sites[site].disk.unsynced() > 0 {
            self.stats.hit("fault: batch lost");
        }
        let restart = self.rng.range(20, 4_000);
        let node = &mut self.sites[site];
        node.disk.crash();
        node.handed_over.clear();
        node.writing = 0;
        node.lived_ms += self.now_ms - node.born_ms;
        node.paused_until_ms = 0;
        let clients = std::mem::take(&mut node.waiting);
        let doubtful = std::mem::take(&mut node.wanted).into_values();
        let doubtful: Vec<usize> = doubtful.chain(node.undurable.drain(..).map(|(_, index)| index)).collect();
        for index in doubtful {
            self.history.attempts[index].known = None;
            let name = self.history.attempts[index].name;
            self.history.write(name).touched.insert(site);
        }
        self.network.forget_site(site);
        for waiting in clients.into_values() {
            let Waiting { client, attempt, .. } = waiting;
            self.after(2, Ev::Heard { client, attempt, heard: Box::new(Heard::ConnectionLost) });
        }
        self.after(restart, Ev::Start { site });
    }

    pub fn tell_core(&mut self, site: usize, event: Event) {
        let now = self.now(site);
        let Some(core) = self.sites[site].core.as_mut() else { return };
        if self.trace.is_read() {
            let text = format!("site {site} <- {}", super::brief::event(&event));
            self.trace.line(self.now_ms, || text);
        }
        let mut out = Vec::new();
        core.handle(now, event, &mut out);
        self.absorb(site, out);
    }

    pub fn tick(&mut self, site: usize, due_ms: u64) {
        if self.sites[site].tick_at_ms == Some(due_ms) {
            self.sites[site].tick_at_ms = None;
            self.tell_core(site, Event::Tick);
        }
    }

    fn absorb(&mut self, site: usize, out: Vec<Effect>) {
        for effect in &out {
            if self.trace.is_read() {
                self.trace.line(self.now_ms, || format!("site {site} -> {}", super::brief::effect(effect)));
            }
            if let Effect::Attempt(attempt) = effect {
                let name = name_of(&attempt.request);
                let index = self.history.want(name, site, attempt.shadow.is_some());
                self.sites[site].wanted.insert((attempt.id, attempt.attempt), index);
            }
            // A late decision has an id of its own; it is about the same client's write.
            if let Effect::Persist(Op::Row(row)) = effect
                && let Some(&name) = row.decides.and_then(|(decided, _)| self.ids.get(&decided))
            {
                self.ids.insert(row.id, name);
            }
        }
        let mut ready = Vec::new();
        let out = self.bypass(out, &mut ready);
        self.sites[site].outbox.absorb(out, &mut ready);
        if self.execute(site, ready) {
            self.hand_over(site);
            self.schedule_tick(site);
        }
    }

    /// The two errors that are planted here: what should wait for the disk does not.
    fn bypass(&self, out: Vec<Effect>, ready: &mut Vec<Effect>) -> Vec<Effect> {
        let early = |effect: &Effect| match self.plan.planted {
            Some(Planted::AnswerBeforeCommit) => matches!(effect, Effect::Reply { .. } | Effect::Attempt(_)),
            Some(Planted::ConfirmBeforeDurable) => matches!(effect, Effect::Send { .. }),
            _ => false,
        };
        let (first, rest): (Vec<_>, Vec<_>) = out.into_iter().partition(early);
        ready.extend(first);
        rest
    }

    fn schedule_tick(&mut self, site: usize) {
        let late = self.rng.range(0, 3);
        let node = &mut self.sites[site];
        let Some(deadline) = node.core.as_ref().and_then(Machine::deadline) else { return };
        let due_ms = (node.born_ms + deadline.saturating_sub(node.mono_offset_ms)).max(self.now_ms + 1) + late;
        if node.tick_at_ms.is_none_or(|at| due_ms < at) {
            node.tick_at_ms = Some(due_ms);
            let life = node.life;
            self.after(due_ms - self.now_ms, Ev::Tick { site, life, due_ms });
        }
    }

    // === disk ===

    fn hand_over(&mut self, site: usize) {
        let node = &mut self.sites[site];
        while let Some((number, ops)) = node.outbox.next_batch() {
            node.disk.queue(&self.group, ops);
            node.handed_over.push_back(number);
            node.batches = number;
        }
        if node.writing > 0 || node.handed_over.is_empty() {
            return;
        }
        node.writing = node.handed_over.len();
        let (life, slow) = (node.life, node.slow_disk);
        let mut delay = self.rng.range(1, self.plan.commit_ms.max(1));
        if slow {
            delay += self.rng.range(10, 800);
        }
        self.after(delay, Ev::Synced { site, life });
    }

    pub fn synced(&mut self, site: usize) {
        let node = &mut self.sites[site];
        let mut forgotten = Vec::new();
        let mut last = 0;
        for _ in 0..std::mem::take(&mut node.writing) {
            let committed = node.disk.sync_one().expect("a batch is queued for each number");
            forgotten.extend(committed.forgotten_keys);
            last = node.handed_over.pop_front().expect("a number for each batch");
        }
        node.undurable.retain(|(batch, _)| *batch > last);
        let mut ready = Vec::new();
        node.outbox.durable(last, &mut ready);
        if !self.execute(site, ready) {
            return;
        }
        self.hand_over(site);
        if !forgotten.is_empty() {
            self.tell_core(site, Event::Forgotten { keys: forgotten });
        }
    }

    pub fn read(&mut self, site: usize, effect: Effect) {
        let disk = &self.sites[site].disk;
        let event = match effect {
            Effect::Find { token, find } => Event::Found { token, rows: disk.find(&self.group, find) },
            Effect::ReadSeries { log, from, items_max, bytes_max, for_peer } => {
                let items = disk.read_series(&self.group, log, from, items_max, bytes_max);
                Event::SeriesRead { log, from, items, for_peer }
            }
            other => unreachable!("not a question to the journal: {other:?}"),
        };
        self.tell_core(site, event);
    }

    // === effects ===

    /// `false`: the process died on the way.
    fn execute(&mut self, site: usize, effects: Vec<Effect>) -> bool {
        for effect in effects {
            if self.rng.below(100_000) < self.rates.kill_between_effects {
                self.stats.hit("fault: kill between two effects");
                self.crash(site);
                return false;
            }
            self.perform(site, effect);
        }
        true
    }

    fn perform(&mut self, site: usize, effect: Effect) {
        let life = self.sites[site].life;
        match effect {
            Effect::Persist(_) => unreachable!("the outbox keeps these"),
            Effect::Attempt(attempt) => self.attempt(site, attempt),
            Effect::Probe { id, request } => self.probe(site, id, name_of(&request)),
            Effect::Reply { req, reply } => self.reply(site, req, reply),
            Effect::Send { to, message } => {
                let to = self.index(&to);
                self.send(site, to, message);
            }
            Effect::Decider(_) => {}
            Effect::Publish(print) => self.publish(site, &print),
            Effect::Find { .. } | Effect::ReadSeries { .. } => {
                let delay = self.rng.range(0, 4);
                self.after(delay, Ev::Read { site, life, effect: Box::new(effect) });
            }
            Effect::Note(note) => self.note(site, note),
        }
    }

    fn attempt(&mut self, site: usize, attempt: Attempt) {
        let name = name_of(&attempt.request);
        let node = &self.sites[site];
        let history = node.wanted[&(attempt.id, attempt.attempt)];
        let unexecuted = &self.plan.settings[site].unexecuted;
        let mood = node.upstream.mood(&mut self.rng, &self.rates, unexecuted);
        let (down, slow) = (node.upstream.down, node.upstream.slow);
        let (id, life) = (attempt.id, node.life);
        let job = Job { site, life, id, attempt: attempt.attempt, name, history, mood, served: down, told: false };
        let index = self.jobs.len();
        self.jobs.push(job);
        self.trace.mix(u64::from(name) ^ (site as u64) << 32);
        if down {
            let result = AttemptResult::NeverSent { why: "connection refused".into() };
            return self.after(2, Ev::Attempted { job: index, result, clean: true });
        }
        // Never longer than the service's declared longest request: that is the fault model.
        let longest = self.plan.settings[site].longest_request_ms - 1;
        let mut work = self.rng.range(1, 10);
        if (slow && self.rng.chance(500)) || self.rng.chance(self.rates.slow_answer) {
            work = self.rng.range(10, longest);
        }
        self.after(work, Ev::Serve { job: index });
        let result = AttemptResult::Broken { why: "timed out".into() };
        self.after(self.plan.try_ms, Ev::Attempted { job: index, result, clean: false });
    }

    /// The service acts; whoever sent the request may be dead by now.
    pub fn serve(&mut self, job: usize) {
        let Job { site, name, mood, history, told, life, .. } = self.jobs[job];
        let method = self.history.writes[&name].method;
        let (rule, keys) = (refuses(self.plan.seed, name, self.plan.refused), self.plan.settings[site].idempotent);
        self.jobs[job].served = true;
        let broken = |why: &str| AttemptResult::Broken { why: why.into() };
        if mood == Mood::HangUpBefore || self.sites[site].upstream.down {
            self.stats.hit("fault: hung up before applying");
            return self.after(1, Ev::Attempted { job, result: broken("reset before the answer"), clean: false });
        }
        if let Mood::Busy | Mood::Fails { applies: false, .. } = mood {
            let status = if let Mood::Fails { status, .. } = mood { status } else { 429 };
            return self.respond(job, super::upstream::answer(status, Vec::new(), "not now"));
        }
        let served = self.sites[site].upstream.serve(site, name, method, rule, keys);
        if served.applied {
            self.history.apply(site, name, history);
            self.trace.mix(0xA1 ^ u64::from(name) ^ (site as u64) << 40);
            self.trace.line(self.now_ms, || format!("service {site} applies write w{name}"));
            if told {
                self.stats.hit("fault: still working after a timeout");
            }
            if !self.is_alive(site, life) {
                self.stats.hit("fault: applied after the appliance died");
            }
        } else if rule {
            self.stats.hit("service: refused");
        }
        match mood {
            Mood::HangUpAfter => {
                self.stats.hit("fault: hung up after applying");
                self.after(1, Ev::Attempted { job, result: broken("reset before the answer"), clean: false });
            }
            Mood::Fails { status, .. } => self.respond(job, super::upstream::answer(status, Vec::new(), "failed")),
            _ => self.respond(job, served.answer),
        }
    }

    fn respond(&mut self, job: usize, answer: std::sync::Arc<holdfast::model::Answer>) {
        match answer.status {
            500 => self.stats.hit("fault: answered 500"),
            502..=504 => self.stats.hit("fault: answered 502-504"),
            429 => self.stats.hit("fault: answered 429"),
            _ => {}
        }
        let clean = self.jobs[job].mood.is_clean();
        let delay = self.rng.range(1, 5);
        self.after(delay, Ev::Attempted { job, result: AttemptResult::Answered(answer), clean });
    }

    pub fn attempted(&mut self, job: usize, result: AttemptResult, clean: bool) {
        let Job { site, life, id, attempt, name, history, told, .. } = self.jobs[job];
        if told || !self.is_alive(site, life) {
            return;
        }
        self.jobs[job].told = true;
        self.sites[site].wanted.remove(&(id, attempt));
        if !clean {
            self.history.write(name).touched.insert(site);
        }
        if matches!(&result, AttemptResult::Answered(answer) if answer.status == 429) {
            self.history.write(name).turned_away = true;
        }
        let success = matches!(&result, AttemptResult::Answered(answer) if (200..400).contains(&answer.status));
        if clean && success {
            let at = self.history.next();
            self.history.attempts[history].known = Some(at);
            // The outcome goes into the batch that is handed over next.
            let batch = self.sites[site].batches + 1;
            self.sites[site].undurable.push((batch, history));
        }
        self.tell_core(site, Event::Attempted { id, attempt, result });
    }

    fn probe(&mut self, site: usize, id: WriteId, name: Name) {
        let (life, node) = (self.sites[site].life, &self.sites[site]);
        let result = if node.upstream.down {
            ProbeResult::Nothing
        } else {
            node.upstream.look_up(name).map_or(ProbeResult::NotFound, ProbeResult::Applied)
        };
        self.stats.hit("effect: probe");
        let delay = self.rng.range(1, 20);
        self.after(delay, Ev::Handle { site, life, event: Box::new(Event::Probed { id, result }) });
    }

    pub fn health_check(&mut self, site: usize) {
        let healthy = !self.sites[site].upstream.down;
        self.tell_core(site, Event::Health { healthy });
    }

    fn reply(&mut self, site: usize, req: ReqId, reply: Reply) {
        let Some(waiting) = self.sites[site].waiting.remove(&req.0) else {
            return match reply {
                Reply::Done | Reply::Rejected { .. } | Reply::Go { .. } => {}
                other => self.history.broken.push((0, format!("site {site} answered {req:?} twice: {other:?}"))),
            };
        };
        let Waiting { client, attempt, name, submission } = waiting;
        let mut seen_now = None;
        let said = match reply {
            Reply::Answer { answer, replayed, served_by, seen, .. } => {
                seen_now = Some(seen);
                self.stats.hit(if replayed { "reply: replayed" } else { "reply: answer" });
                let body = answer.body.iter().fold(7, |hash, byte| mix(hash ^ u64::from(*byte)));
                Said::Answer { status: answer.status, body, replayed, served_by: self.index(&served_by) }
            }
            Reply::Queued { .. } => {
                self.stats.hit("reply: queued");
                Said::Queued
            }
            Reply::Problem { problem, .. } => {
                self.stats.hit(problem_kind(&problem));
                Said::Problem(problem_kind(&problem))
            }
            other => return self.history.broken.push((name, format!("a write was answered {other:?}"))),
        };
        self.trace.mix(0xB2 ^ u64::from(name));
        self.trace.line(self.now_ms, || format!("site {site} tells client {client} of w{name}: {said:?}"));
        let told = self.history.tell(name, site, submission, said.clone());
        if self.rng.chance(self.rates.client_answer_loss) {
            return self.stats.hit("client: answer lost");
        }
        let delay = self.rng.range(1, 3);
        let heard = Box::new(Heard::Said { said, told, seen: seen_now });
        self.after(delay, Ev::Heard { client, attempt, heard });
    }

    pub fn reply_due(&mut self, site: usize, life: u32, req: u64, asked_ms: u64) {
        let node = &self.sites[site];
        let Some(waiting) = node.waiting.get(&req).filter(|_| self.is_alive(site, life)) else { return };
        let excused = node.excused_until_ms.max(node.paused_until_ms);
        if excused > asked_ms && self.now_ms < excused + 3_000 + self.plan.settings[site].total_ms {
            return self.after(1_000, Ev::ReplyDue { site, life, req, asked_ms });
        }
        let why = format!("site {site} did not answer within its total timeout ({} ms)", self.now_ms - asked_ms);
        let name = waiting.name;
        self.history.broken.push((name, why));
    }

    fn note(&mut self, site: usize, note: Note) {
        self.stats.hit(match &note {
            Note::Accepted => "note: accepted",
            Note::Settled { verdict: holdfast::model::Verdict::Undecided, .. } => "note: settled undecided",
            Note::Settled { .. } => "note: settled",
            Note::ShadowApplied => "note: shadow applied",
            Note::Duplicate => "note: duplicate",
            Note::Replayed => "note: replayed",
            Note::Concurrent { .. } => "note: concurrent",
            Note::Unknown { .. } => "note: unknown",
            Note::Quarantined { .. } => "note: quarantined",
            Note::Divergence { .. } => "note: divergence",
            Note::Stopped { .. } => "note: stopped",
            Note::Failover { .. } => "note: failover",
            Note::AskedOrigin => "note: asked origin",
            Note::Fork { .. } => "note: fork",
            Note::Invalid { .. } => "note: invalid",
        });
        match note {
            Note::Quarantined { id, reason } => {
                if let Some(&name) = self.ids.get(&id) {
                    self.history.quarantine(Report { site, name, reason });
                }
            }
            // Nobody was restored from a copy, and nobody speaks another language, in this world.
            Note::Fork { peer, log } => {
                self.history.broken.push((0, format!("site {site} sees a fork of {log} at {peer}")));
            }
            Note::Invalid { peer, why } => {
                self.history.broken.push((0, format!("site {site} cannot read what {peer} says: {why}")));
            }
            _ => {}
        }
    }

    /// A person with the services' own records at hand: resumes what stopped and settles the quarantine.
    pub fn operator(&mut self) {
        self.after(3_000, Ev::Operator);
        for site in 0..self.sites.len() {
            let Some(core) = &self.sites[site].core else { continue };
            let view = core.view();
            if view.stopped.is_some() {
                self.order(site, None, holdfast::service::Operation::Resume);
            }
            if !self.plan.operator {
                continue;
            }
            for entry in view.quarantined {
                let Some(&name) = self.ids.get(&entry.id) else { continue };
                if self.jobs.iter().any(|job| job.site == site && job.name == name && !job.served) {
                    continue;
                }
                // What concerns two sites (a wish that was given up, or that its decider is not sure of) is not settled by an
                // order at one of them.
                let wished = |a: &super::history::Attempt| a.site == site && a.name == name && !a.shadow;
                let foreign = entry.id.log != Self::log(site) && self.history.attempts.iter().any(wished);
                if foreign || entry.reason == QuarantineReason::Contrary {
                    continue;
                }
                let applied = self.history.applied[site].iter().any(|a| a.name == name);
                use holdfast::service::Operation::{Applied, Discard, Resend};
                // Nobody sends again what the service refuses anyway.
                let refused = self.history.writes[&name].refused_by_rule;
                let operation = if applied {
                    Applied
                } else if refused {
                    Discard
                } else {
                    Resend
                };
                self.order(site, Some(entry.id), operation);
            }
        }
    }

    fn order(&mut self, site: usize, id: Option<WriteId>, operation: holdfast::service::Operation) {
        if self.sites[site].core.is_none() {
            return;
        }
        self.stats.hit("operator: order");
        let req = self.sites[site].fresh_req();
        self.tell_core(site, Event::Operator { req, id, operation });
    }
}

fn problem_kind(problem: &Problem) -> &'static str {
    match problem {
        Problem::KeyReused => "reply: key-reused",
        Problem::KeyInFlight { .. } => "reply: key-in-flight",
        Problem::ReplayUnavailable => "reply: replay-unavailable",
        Problem::OriginUnreachable { .. } => "reply: origin-unreachable",
        Problem::LaneBusy => "reply: lane-busy",
        Problem::NoReplica { .. } => "reply: no-replica",
        Problem::Overloaded { .. } => "reply: overloaded",
        Problem::Stale => "reply: stale",
        Problem::OutcomeUnknown => "reply: outcome-unknown",
        Problem::OutcomePending => "reply: outcome-pending",
        Problem::DiskReserve => "reply: disk-reserve",
        Problem::StoreDown => "reply: store-down",
        Problem::Draining => "reply: draining",
    }
}
