//! The clock, the queue of events, and everything that exists in a run.
use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast::dedup::Fingerprint;
use holdfast::model::{Group, LogId, SiteName, WriteId};
use holdfast::service::{Effect, Event, Message, View};

use super::clients::{Client, Heard};
use super::disk::{Disk, Sqlite};
use super::enumerate::{Act, Stage};
use super::history::{History, Name};
use super::machine::Machine;
use super::network::Network;
use super::plan::{CHAOS_MAX_MS, LANES_MAX, Plan, Rates};
use super::restore::{Copy, PLACE};
use super::rng::{Rng, mix};
use super::site::{Job, Site};
use super::stats::Stats;
use super::trace::Trace;

/// More events than this in one seed are a storm: two machines that answer each other for ever.
const EVENTS_MAX: u64 = 3_000_000;
/// More than this at one instant are a machine that asks itself the same thing again and again.
const EVENTS_AT_ONCE_MAX: u64 = 1_000;

const WRITES_MIN: usize = 300;
const FAULTS_MIN: u64 = 10;

pub(super) enum Ev {
    Start {
        site: usize,
    },
    Handle {
        site: usize,
        life: u32,
        event: Box<Event>,
    },
    Tick {
        site: usize,
        life: u32,
        due_ms: u64,
    },
    Synced {
        site: usize,
        life: u32,
    },
    Read {
        site: usize,
        life: u32,
        effect: Box<Effect>,
    },
    Dial {
        a: usize,
        b: usize,
    },
    LinkUp {
        site: usize,
        peer: usize,
        epoch: u32,
        life: u32,
    },
    LinkDown {
        site: usize,
        peer: usize,
        epoch: u32,
        life: u32,
    },
    Deliver {
        from: usize,
        to: usize,
        epoch: u32,
        message: Box<Message>,
    },
    /// A wish has left, or was lost on the way out.
    WishLeft {
        from: usize,
        life: u32,
        to: usize,
        id: WriteId,
        attempt: u32,
        /// The connection over which it was to leave.
        over: Option<u32>,
    },
    Hint {
        to: usize,
        print: Fingerprint,
    },
    Serve {
        job: usize,
    },
    Attempted {
        job: usize,
        result: holdfast::service::AttemptResult,
        clean: bool,
    },
    HealthCheck {
        site: usize,
        life: u32,
    },
    ClientNext {
        client: usize,
    },
    Arrive {
        client: usize,
        attempt: u32,
        name: Name,
        submission: usize,
        site: usize,
    },
    Heard {
        client: usize,
        attempt: u32,
        heard: Box<Heard>,
    },
    ClientTimeout {
        client: usize,
        attempt: u32,
    },
    ClientReads {
        client: usize,
        site: usize,
    },
    ClientRetry {
        client: usize,
        attempt: u32,
    },
    ReplyDue {
        site: usize,
        life: u32,
        req: u64,
        asked_ms: u64,
    },
    Nemesis {
        number: usize,
    },
    Mend {
        mend: Mend,
    },
    Operator,
    CopyStore,
    PutBack,
    ServeAlone,
    CheckQuiet,
    /// What a script has for this moment.
    Scripted {
        act: Act,
    },
}

/// The end of a fault (or, for flapping lines, one more of them).
#[derive(Clone, Copy, Debug)]
pub(super) enum Mend {
    Line(usize, usize),
    CutLine(usize, usize),
    Service(usize),
    Fast(usize),
    Answers(usize),
    Disk(usize),
    Control,
}

pub(super) struct World<M> {
    pub plan: Plan,
    /// The plan's rates while chaos lasts, then all zero.
    pub rates: Rates,
    pub rng: Rng,
    pub now_ms: u64,
    pub queue: BTreeMap<(u64, u64), Ev>,
    sequence: u64,
    pub chaos: bool,
    /// Since a long cut began: from when on clients write again.
    pub serves_alone_ms: Option<u64>,
    /// Somebody looks at the quarantine now and then.
    pub person_comes: bool,
    /// When everything healed, or the last write was applied after that.
    healed_ms: u64,
    pub chaos_end_ms: Option<u64>,
    /// Applications so far.
    moved: usize,
    /// Met so far; chaos lasts until there were enough.
    pub faults: u64,
    pub sites: Vec<Site<M>>,
    pub names: Vec<SiteName>,
    pub group: Group,
    pub network: Network,
    pub jobs: Vec<Job>,
    pub clients: Vec<Client>,
    /// Planned faults that it met, by number.
    pub met: Vec<usize>,
    pub ids: BTreeMap<WriteId, Name>,
    /// Of the store that is to be put back.
    pub copy: Option<Copy>,
    pub history: History,
    pub stats: Stats,
    pub trace: Trace,
    quiet_since_ms: Option<u64>,
    /// An instant, and the orders of a person at it.
    pub ordered: (u64, u64),
    /// An instant, and its events so far.
    at_once: (u64, u64),
    /// How many events wait for a frozen process to go on, by when it does.
    piled_up: BTreeMap<u64, u64>,
    /// A script and faults at steps, in the place of what is drawn.
    pub stage: Option<Stage>,
}

impl<M: Machine> World<M> {
    pub fn new(plan: Plan, trace: Trace) -> Self {
        Self::with_stage(plan, trace, None)
    }

    pub fn with_stage(plan: Plan, trace: Trace, stage: Option<Stage>) -> Self {
        let sites = plan.sites();
        let mut history = History::new(sites);
        history.replicates_all = plan.settings[0].replicate_all;
        history.idempotent = plan.settings[0].idempotent;
        history.remembers_lanes = plan.settings[0].limits.lanes as u64 >= LANES_MAX;
        history.key_ttl_ms = plan.settings[0].key_ttl_ms;
        history.quarantines_concurrent = plan.settings[0].on_concurrent == holdfast::service::OnConcurrent::Quarantine;
        let mut world = World {
            rates: plan.rates.clone(),
            rng: match &stage {
                Some(stage) => Rng::calm(stage.pace),
                None => Rng::new(plan.seed ^ 0x5EED_0FA4_0F1E_E700),
            },
            now_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            chaos: true,
            serves_alone_ms: None,
            person_comes: false,
            healed_ms: 0,
            chaos_end_ms: None,
            moved: 0,
            faults: 0,
            sites: (0..sites)
                .map(|site| Site::new(site, plan.settings[site].compare_body, Self::disk(&plan, site)))
                .collect(),
            names: plan.settings.iter().map(|s| s.me.clone()).collect(),
            group: group(),
            network: Network::new(plan.never_linked),
            jobs: Vec::new(),
            clients: plan.clients.iter().cloned().map(Client::new).collect(),
            met: Vec::new(),
            ids: BTreeMap::new(),
            copy: None,
            history,
            stats: Stats { seeds: 1, ..Stats::default() },
            trace,
            quiet_since_ms: None,
            ordered: (0, 0),
            at_once: (0, 0),
            piled_up: BTreeMap::new(),
            stage,
            plan,
        };
        world.begin();
        world
    }

    fn disk(plan: &Plan, site: usize) -> Disk {
        if !plan.sqlite {
            let mut memory = holdfast::journal::Memory::new();
            memory.move_to(PLACE);
            return Disk::Memory(memory);
        }
        let seed = mix(plan.seed ^ mix(site as u64 + 1));
        Disk::Sqlite(Box::new(Sqlite::new(seed, Self::log(site), group(), plan.settings[site].limits.lanes)))
    }

    fn begin(&mut self) {
        for site in 0..self.sites.len() {
            let delay = self.rng.range(0, 300);
            self.after(delay, Ev::Start { site });
            for peer in site + 1..self.sites.len() {
                self.after(1, Ev::Dial { a: site, b: peer });
            }
        }
        for client in 0..self.clients.len() {
            // A script says itself when.
            let latest = if self.stage.is_some() { 100 } else { 2_000 };
            let delay = self.rng.range(100, latest);
            self.after(delay, Ev::ClientNext { client });
        }
        self.person_comes = self.orders_early();
        if self.person_comes {
            self.after(5_000, Ev::Operator);
        }
        self.expect_fault(0);
        self.expect_restore();
        self.expect_script();
    }

    /// Runs to the end. The oracle has not spoken yet: the history is complete.
    pub fn run(&mut self) {
        while let Some(((at_ms, sequence), event)) = self.queue.pop_first() {
            self.trace.passes(at_ms);
            if self.chaos && self.is_chaos_over(at_ms) {
                (self.now_ms, self.healed_ms) = (at_ms, at_ms);
                self.chaos_end_ms.get_or_insert(at_ms);
                match (self.plan.long_cut, self.serves_alone_ms) {
                    (Some(cut), None) => self.begin_long_cut(cut),
                    (Some(cut), Some(serves_ms)) if at_ms < serves_ms + cut.serve_ms => {}
                    _ => self.heal(),
                }
            }
            let at_once = if self.at_once.0 == at_ms { self.at_once.1 } else { 0 };
            self.at_once = (at_ms, at_once + 1);
            (self.now_ms, self.history.now_ms) = (at_ms, at_ms);
            self.stats.events += 1;
            self.trace.mix(at_ms ^ sequence.rotate_left(40));
            if self.stats.events > EVENTS_MAX {
                return self.break_off("a storm: more events than a seed may have".into());
            }
            if at_once > EVENTS_AT_ONCE_MAX + self.orders_now() + self.piled_up_now() {
                return self.break_off(format!("a storm: more than {EVENTS_AT_ONCE_MAX} events in one millisecond"));
            }
            let moved = self.history.applied.iter().map(Vec::len).sum();
            if moved != std::mem::replace(&mut self.moved, moved) {
                // Long queues take their time, one write after the other.
                self.healed_ms = self.now_ms;
            }
            if !self.chaos && self.now_ms > self.healed_ms + self.plan.heal_ms {
                let why = self.why_not_quiet().unwrap_or_else(|| "it became quiet too late".into());
                return self.break_off(format!("not quiet {} ms after healing: {why}", self.plan.heal_ms));
            }
            if matches!(event, Ev::CheckQuiet) {
                if self.check_quiet() {
                    break;
                }
                continue;
            }
            self.step(event);
        }
        self.finish();
    }

    /// A person who goes through a long list gives many orders at one instant; each is read from the journal, and
    /// answered.
    fn orders_now(&self) -> u64 {
        if self.ordered.0 == self.now_ms { 4 * self.ordered.1 } else { 0 }
    }

    /// What a process that went on has before it, and what that brings with it.
    fn piled_up_now(&self) -> u64 {
        4 * self.piled_up.get(&self.now_ms).copied().unwrap_or(0)
    }

    /// A seed has at least so many writes and faults.
    fn is_chaos_over(&self, now_ms: u64) -> bool {
        if let Some(end_ms) = self.plan.keep.end_ms {
            return now_ms >= end_ms;
        }
        let enough = self.history.writes.len() >= WRITES_MIN && self.faults >= FAULTS_MIN;
        now_ms >= self.plan.chaos_ms && (enough || now_ms >= CHAOS_MAX_MS)
    }

    /// Something may go wrong still.
    pub fn has_faults(&self) -> bool {
        self.chaos && self.serves_alone_ms.is_none()
    }

    fn break_off(&mut self, why: String) {
        self.history.broken.push((0, why));
        self.finish();
    }

    pub fn after(&mut self, delay_ms: u64, event: Ev) {
        self.sequence += 1;
        self.queue.insert((self.now_ms + delay_ms, self.sequence), event);
    }

    pub fn is_alive(&self, site: usize, life: u32) -> bool {
        self.sites[site].life == life && self.sites[site].core.is_some()
    }

    pub fn index(&self, name: &SiteName) -> usize {
        self.names.iter().position(|n| n == name).expect("a machine names only sites of its settings")
    }

    pub fn log(site: usize) -> LogId {
        LogId { store: [site as u8 + 1; 16], incarnation: 1 }
    }

    /// A frozen process handles nothing; what is meant for it waits.
    fn defer(&self, event: &Ev) -> Option<u64> {
        let site = match event {
            Ev::Handle { site, .. }
            | Ev::Tick { site, .. }
            | Ev::Synced { site, .. }
            | Ev::Read { site, .. }
            | Ev::LinkUp { site, .. }
            | Ev::LinkDown { site, .. }
            | Ev::HealthCheck { site, .. }
            | Ev::Arrive { site, .. } => *site,
            Ev::Deliver { to, .. } | Ev::Hint { to, .. } => *to,
            Ev::WishLeft { from, .. } => *from,
            Ev::Attempted { job, .. } => self.jobs[*job].site,
            _ => return None,
        };
        let until = self.sites[site].paused_until_ms;
        (until > self.now_ms).then(|| until - self.now_ms)
    }

    fn step(&mut self, event: Ev) {
        if let Some(delay) = self.defer(&event) {
            *self.piled_up.entry(self.now_ms + delay).or_default() += 1;
            return self.after(delay, event);
        }
        let Some(event) = self.stage_event(event) else { return };
        match event {
            Ev::Start { site } => self.start(site),
            Ev::Handle { site, life, event } if self.is_alive(site, life) => self.tell_core(site, *event),
            Ev::Tick { site, life, due_ms } if self.is_alive(site, life) => self.tick(site, due_ms),
            Ev::Synced { site, life } if self.is_alive(site, life) => self.synced(site),
            Ev::Read { site, life, effect } if self.is_alive(site, life) => self.read(site, *effect),
            Ev::HealthCheck { site, life } if self.is_alive(site, life) => self.health_check(site),
            Ev::Handle { .. } | Ev::Tick { .. } | Ev::Synced { .. } | Ev::Read { .. } | Ev::HealthCheck { .. } => {}
            Ev::Dial { a, b } => self.dial(a, b),
            Ev::LinkUp { site, peer, epoch, life } => self.link_up(site, peer, epoch, life),
            Ev::LinkDown { site, peer, epoch, life } => self.link_down(site, peer, epoch, life),
            Ev::Deliver { from, to, epoch, message } => self.deliver(from, to, epoch, message),
            Ev::WishLeft { from, life, to, id, attempt, over } => {
                // What was under way over a connection that is gone is told of by its end.
                let is_over = over.is_some() && self.network.believed(from, to) != over;
                if self.is_alive(from, life) && !is_over {
                    let to = self.names[to].clone();
                    self.tell_core(from, Event::WishLeft { to, id, attempt, whole: over.is_some() });
                }
            }
            Ev::Hint { to, print } => {
                if self.sites[to].core.is_some() {
                    self.tell_core(to, Event::Fingerprint(print));
                }
            }
            Ev::Serve { job } => self.serve(job),
            Ev::Attempted { job, result, clean } => self.attempted(job, result, clean),
            Ev::ClientNext { client } => self.client_next(client),
            Ev::Arrive { client, attempt, name, submission, site } => {
                self.arrive(client, attempt, name, submission, site);
            }
            Ev::Heard { client, attempt, heard } => self.heard(client, attempt, *heard),
            Ev::ClientTimeout { client, attempt } => self.client_timeout(client, attempt),
            Ev::ClientReads { client, site } => self.client_reads(client, site),
            Ev::ClientRetry { client, attempt } => self.client_retry(client, attempt),
            Ev::ReplyDue { site, life, req, asked_ms } => self.reply_due(site, life, req, asked_ms),
            Ev::Nemesis { number } => self.nemesis(number),
            Ev::Mend { mend } => self.mend(mend),
            Ev::Operator => self.operator(),
            Ev::CopyStore => self.copy_store(),
            Ev::PutBack => self.put_back(),
            Ev::ServeAlone => self.show_waits(),
            Ev::Scripted { act } => {
                if self.has_faults() {
                    self.act(act);
                }
            }
            Ev::CheckQuiet => unreachable!("looked at before"),
        }
    }

    /// What each site waits for while one is cut off for long, for whoever reads the trace.
    fn show_waits(&mut self) {
        for (n, site) in self.sites.iter().enumerate() {
            let Some(view) = site.core.as_ref().map(Machine::view) else { continue };
            self.trace.line(self.now_ms, || {
                let series: Vec<String> =
                    view.series.iter().map(|s| format!("s{} {}/{}", s.log, s.decided, s.received)).collect();
                let waits: Vec<String> = view.waits.iter().map(|w| format!("{} for {}", w.write, w.on)).collect();
                let (stages, series, waits) = (&view.stages, series.join(", "), waits.join(", "));
                format!(
                    "left alone: site {n}: {stages:?}, stopped {:?}, decided of {series}, waits: {waits}",
                    view.stopped
                )
            });
        }
    }

    // === the end ===

    fn check_quiet(&mut self) -> bool {
        self.after(500, Ev::CheckQuiet);
        if self.why_not_quiet().is_some() {
            self.quiet_since_ms = None;
            return false;
        }
        let since = *self.quiet_since_ms.get_or_insert(self.now_ms);
        let settings = &self.plan.settings[0];
        // What still comes late, a doubled write for example, must come within this time.
        self.now_ms - since >= settings.longest_request_ms + settings.hold_ms + settings.total_ms + 2_000
    }

    fn why_not_quiet(&self) -> Option<String> {
        if self.chaos {
            return Some("still chaos".into());
        }
        if let Some(client) = self.clients.iter().position(|c| c.current.is_some()) {
            return Some(format!("client {client} waits"));
        }
        if let Some(job) = self.jobs.iter().find(|job| !job.served) {
            return Some(format!("the service of site {} still works on write {}", job.site, job.name));
        }
        for (n, site) in self.sites.iter().enumerate() {
            let Some(core) = &site.core else { return Some(format!("site {n} is down")) };
            let view = core.view();
            if self.history.is_gone(n) {
                if view.stopped.is_none() {
                    return Some(format!("site {n} has not noticed that its store is an older copy"));
                }
                continue;
            }
            if self.history.gone.is_some() && view.stopped.is_none() && self.may_stay_open(&view) {
                continue;
            }
            if view.open_writes > 0 || view.queued > 0 || view.stopped.is_some() {
                let (open, queued) = (view.open_writes, view.queued);
                let waits: Vec<String> = view.waits.iter().map(|w| format!("{} for {}", w.write, w.on)).collect();
                return Some(format!(
                    "site {n}: {open} open {:?}, {queued} queued, stopped: {:?}, waits: {}",
                    view.stages,
                    view.stopped,
                    waits.join(", ")
                ));
            }
        }
        if self.is_hindered() {
            return None;
        }
        super::oracle::first_difference(&self.history, &self.quarantined_now())
            .map(|(name, site)| format!("write {name} is not at site {site}"))
    }

    /// What the store that is gone should have settled, and what comes after that.
    fn may_stay_open(&self, view: &View) -> bool {
        let is_settled = |stage: &&str| matches!(*stage, "wish-decided" | "decided");
        self.is_hindered() || (view.queued == 0 && view.stages.keys().all(is_settled))
    }

    fn quarantined_now(&self) -> std::collections::BTreeSet<super::history::Report> {
        let mut reports = std::collections::BTreeSet::new();
        for n in 0..self.sites.len() {
            for entry in self.entries(n) {
                if let Some(&name) = self.ids.get(&entry.id) {
                    reports.insert(super::history::Report { site: n, name, reason: entry.reason });
                }
            }
        }
        reports
    }

    fn finish_disks(&mut self) {
        for site in &mut self.sites {
            let Disk::Sqlite(disk) = &mut site.disk else { continue };
            disk.verify();
            let fates = disk.fates();
            for (what, times) in [
                ("disk: sector lost", fates.lost),
                ("disk: sector kept", fates.kept),
                ("disk: sector of an earlier moment", fates.earlier),
                ("disk: sector torn", fates.torn),
                ("disk: file shorter", fates.shorter),
            ] {
                if times > 0 {
                    *self.stats.met.entry(what).or_default() += times;
                }
            }
        }
    }

    fn finish(&mut self) {
        self.history.hindered = self.is_hindered();
        self.history.quarantined_at_end = self.quarantined_now();
        for report in self.history.quarantined_at_end.clone() {
            self.history.quarantine(report);
        }
        self.finish_disks();
        self.stats.simulated_ms = self.now_ms;
        self.stats.writes = self.history.writes.len() as u64;
        self.stats.acknowledged =
            self.history.writes.values().filter(|w| w.told.iter().any(|t| t.said.is_success())).count() as u64;
        self.stats.applied = self.history.applied.iter().map(|a| a.len() as u64).sum();
        // Status messages now and then, plus a bounded number for each write and each try of a client.
        let pairs = (self.sites.len() * (self.sites.len() - 1)) as u64;
        let tries: u64 = self.history.writes.values().map(|w| w.submissions.len() as u64).sum();
        let allowed = 2_000 + pairs * (20 * self.now_ms / 1_000 + 200 * tries);
        if self.stats.messages > allowed {
            let why =
                format!("a storm: {} messages for {tries} tries, at most {allowed} expected", self.stats.messages);
            self.history.broken.push((0, why));
        }
    }
}

fn group() -> Group {
    Group { service: "pos".into(), store: String::new() }
}

/// The number of the client's write in a request's body.
pub(super) fn name_of(request: &Arc<holdfast::model::Request>) -> Name {
    std::str::from_utf8(&request.body).ok().and_then(|text| text.parse().ok()).expect("bodies are names of writes")
}
