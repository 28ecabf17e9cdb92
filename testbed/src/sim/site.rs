//! One site: a process with its state machine, its outbox and its disk.
//!
//! The executor does what the product's task does: absorb, execute what is ready, hand over the next batch. A process
//! may die between any two effects; batches that were not reported durable are lost, or the first few of those under
//! way survive. Over SQLite it dies in the middle of a transaction or of a start, with or without the power.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast::journal::{Op, Quarantined, Recovered};
use holdfast::model::WriteId;
use holdfast::service::{Asked, Effect, Event, Now, Outbox, ReqId};

use super::clients::Heard;
use super::disk::{Death, Disk, Met, Synced};
use super::history::Name;
use super::machine::Machine;
use super::plan::Planted;
use super::upstream::{Mood, Upstream};
use super::world::{Ev, World, name_of};

/// 2026-01-01, milliseconds since 1970.
const WALL_BASE_MS: u64 = 1_767_225_600_000;

pub(super) struct Site<M> {
    pub core: Option<M>,
    /// Counts processes: what is meant for a dead one reaches nobody.
    pub life: u32,
    pub outbox: Outbox,
    pub disk: Disk,
    /// Batches handed to the disk, in order; the first `writing` of them are one commit under way.
    pub handed_over: VecDeque<u64>,
    /// The number of the latest batch of this life.
    pub batches: u64,
    pub writing: usize,
    pub slow_disk: bool,
    /// Batches wait for room, and clients are refused.
    pub disk_full_until_ms: u64,
    /// The next sync fails, and with it the process.
    pub fsync_fails: bool,
    pub upstream: Upstream,
    /// Never used twice: a restart begins after everything that was reserved.
    pub next_id: u64,
    pub next_req: u64,
    born_ms: u64,
    mono_offset_ms: u64,
    /// Milliseconds in all earlier lives.
    pub lived_ms: u64,
    pub wall_offset_ms: i64,
    pub paused_until_ms: u64,
    /// Until then the disk or the process was too slow to keep promises about time.
    pub excused_until_ms: u64,
    pub tick_at_ms: Option<u64>,
    /// Before an orderly end: nothing more is sent to its service.
    pub rests: bool,
    /// Clients that wait for an answer of this life.
    pub waiting: BTreeMap<u64, Waiting>,
    /// Readers that wait until this replica has decided what they have seen.
    pub reading: BTreeMap<u64, Vec<Name>>,
    /// What a person wanted sent again, by request.
    pub resent: BTreeMap<u64, WriteId>,
    /// What that person was told is decided void.
    pub told_void: BTreeSet<WriteId>,
    /// Attempts the machine wants or has under way: index into the history.
    pub wanted: BTreeMap<(WriteId, u32), usize>,
    /// Outcomes that the machine knows but the disk does not: batch and index into the history.
    pub undurable: Vec<(u64, usize)>,
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
    pub fn new(site: usize, same_bodies: bool, disk: Disk) -> Self {
        Site {
            core: None,
            life: 0,
            outbox: Outbox::new(),
            disk,
            handed_over: VecDeque::new(),
            batches: 0,
            writing: 0,
            slow_disk: false,
            disk_full_until_ms: 0,
            fsync_fails: false,
            upstream: Upstream::new(same_bodies),
            next_id: 1,
            next_req: 1 + site as u64,
            born_ms: 0,
            mono_offset_ms: 0,
            lived_ms: 0,
            wall_offset_ms: 0,
            paused_until_ms: 0,
            excused_until_ms: 0,
            tick_at_ms: None,
            rests: false,
            waiting: BTreeMap::new(),
            reading: BTreeMap::new(),
            resent: BTreeMap::new(),
            told_void: BTreeSet::new(),
            wanted: BTreeMap::new(),
            undurable: Vec::new(),
        }
    }
    pub fn fresh_id(&mut self, log: holdfast::model::LogId) -> WriteId {
        if let Disk::Sqlite(disk) = &self.disk {
            return disk.next_id();
        }
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
        let Some(recovered) = self.open_disk(site) else { return };
        let offset = self.rng.range(0, 5_000);
        let skipped = self.rng.range(0, 64);
        let node = &mut self.sites[site];
        node.life += 1;
        node.outbox = Outbox::new();
        node.batches = 0;
        node.born_ms = self.now_ms;
        node.mono_offset_ms = offset;
        node.next_id += skipped;
        if self.plan.planted == Some(Planted::NumberReused) {
            node.next_id = node.next_id.saturating_sub(200).max(1);
        }
        node.tick_at_ms = None;
        let life = node.life;
        let settings = self.plan.settings[site].clone();
        self.trace.line(self.now_ms, || format!("site {site} starts life {life}"));
        let (now, mut out) = (self.now(site), Vec::new());
        self.sites[site].core = Some(M::recover(settings, Self::log(site), recovered, now, &mut out));
        self.absorb(site, out);
        let delay = self.rng.range(5, 500);
        self.after(delay, Ev::HealthCheck { site, life });
    }

    /// `None`: it died on the way, and begins again.
    fn open_disk(&mut self, site: usize) -> Option<Recovered> {
        let lanes = self.plan.settings[site].limits.lanes;
        let may_die = self.has_faults();
        let node = &mut self.sites[site];
        let disk = match &mut node.disk {
            Disk::Memory(memory) => return Some(memory.recover(&self.group, lanes, 0)),
            Disk::Sqlite(disk) => disk,
        };
        let dies = may_die && self.rng.chance(150);
        let dies_at = if dies { Some(self.rng.range(1, 60)) } else { None };
        let death = disk.draw_death(&mut self.rng);
        let Some((mut recovered, met)) = disk.start(dies_at, death) else {
            self.stats.hit("disk: died while starting");
            let again = self.rng.range(20, 2_000);
            self.after(again, Ev::Start { site });
            return None;
        };
        // The retention clock falls back to what was written down.
        node.lived_ms = disk.clock_base_ms();
        match met {
            Met::Nothing => {}
            Met::Survived => self.stats.hit("fault: batch survived unreported"),
            Met::Lost => self.stats.hit("fault: batch lost"),
        }
        // Read whole to be compared; the product reads no more than this.
        let open: BTreeSet<WriteId> = recovered.open.iter().map(|found| found.row.id).collect();
        recovered.quarantined.retain(|entry| open.contains(&entry.id));
        Some(recovered)
    }

    /// What a person would see at a site: what the journal has, and what memory holds of broken records.
    pub fn entries(&self, site: usize) -> Vec<Quarantined> {
        let node = &self.sites[site];
        let Some(core) = &node.core else { return Vec::new() };
        let mut entries = node.disk.quarantined(&self.group);
        entries.extend(core.view().unreadable);
        entries
    }

    pub fn crash(&mut self, site: usize) {
        let death = match &self.sites[site].disk {
            Disk::Memory(_) => Death::Process,
            Disk::Sqlite(disk) => disk.draw_death(&mut self.rng),
        };
        self.die(site, death);
    }

    /// What becomes of the batches that were handed over.
    fn lose(&mut self, site: usize, death: Death) {
        let clock_ms = self.now(site).clock_ms;
        let writing = self.sites[site].writing;
        match &mut self.sites[site].disk {
            Disk::Memory(disk) => {
                let drawn = if writing > 0 { self.rng.range(0, writing as u64) } else { 0 };
                let staged = self.stage.as_ref().and_then(|stage| stage.crash);
                let survive = staged.map_or(drawn, |(kept, _)| kept.of(writing));
                for _ in 0..survive {
                    disk.sync_one();
                    self.stats.hit("fault: batch survived unreported");
                }
                if disk.unsynced() > 0 {
                    self.stats.hit("fault: batch lost");
                }
                disk.crash();
            }
            Disk::Sqlite(disk) => {
                disk.crash(writing, clock_ms, death, &mut self.rng);
                self.stats.hit(if death == Death::Power { "disk: power cut" } else { "disk: process died" });
            }
        }
    }

    pub fn die(&mut self, site: usize, death: Death) {
        let Some(_) = self.sites[site].core.take() else { return };
        self.trace.line(self.now_ms, || format!("site {site} dies"));
        self.history.crash(site);
        self.history.disturb();
        self.lose(site, death);
        let drawn = self.rng.range(20, 4_000);
        let restart = match &mut self.stage {
            Some(stage) => stage.crash.take().map_or(20, |(_, restart_ms)| restart_ms),
            None => drawn,
        };
        let node = &mut self.sites[site];
        node.handed_over.clear();
        node.writing = 0;
        node.lived_ms += self.now_ms - node.born_ms;
        (node.paused_until_ms, node.rests) = (0, false);
        node.reading.clear();
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
            match &mut node.disk {
                Disk::Memory(disk) => disk.queue(&self.group, ops),
                Disk::Sqlite(disk) => disk.queue(ops),
            }
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
        let life = self.sites[site].life;
        let all_committed = match self.commit(site) {
            Synced::Durable(committed) => committed,
            Synced::Full => return self.after(100, Ev::Synced { site, life }),
            // Fail-stop: what of the commit is durable nobody knows. The machine goes on, with its page cache.
            Synced::Failed => {
                self.say_last_words(site);
                return self.die(site, Death::Process);
            }
        };
        let node = &mut self.sites[site];
        node.writing = 0;
        let mut forgotten = Vec::new();
        let mut last = 0;
        for committed in all_committed {
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

    /// Clients hear what the service said, although it will not be remembered.
    fn say_last_words(&mut self, site: usize) {
        for (req, reply) in self.sites[site].outbox.abandon() {
            if let Some(name) = self.sites[site].waiting.get(&req.0).map(|waiting| waiting.name) {
                self.history.write(name).told_at_the_end = true;
                self.stats.hit("reply: when the journal had failed");
            }
            self.reply(site, req, reply);
        }
        // Who waits for a receipt, or only asked again, waits in vain; of all others the answer was there.
        if self.plan.settings[site].ack_peers > 0 {
            return;
        }
        let node = &self.sites[site];
        for &(_, index) in &node.undurable {
            let attempt = &self.history.attempts[index];
            let waits = |name| node.waiting.values().any(|waiting| waiting.name == name);
            let came_once = self.history.writes[&attempt.name].submissions.len() == 1;
            if !attempt.shadow && attempt.known.is_some() && came_once && waits(attempt.name) {
                let what = format!("site {site} kept to itself what its service said of write {}", attempt.name);
                self.history.broken.push((attempt.name, what));
            }
        }
    }

    /// What was handed over, as one transaction.
    fn commit(&mut self, site: usize) -> Synced {
        let clock_ms = self.now(site).clock_ms;
        let node = &mut self.sites[site];
        let is_full = self.now_ms < node.disk_full_until_ms;
        match &mut node.disk {
            Disk::Memory(_) if is_full => Synced::Full,
            Disk::Memory(_) if std::mem::take(&mut node.fsync_fails) => Synced::Failed,
            Disk::Memory(disk) => {
                let next = || disk.sync_one().expect("a batch is queued for each number");
                Synced::Durable(std::iter::repeat_with(next).take(node.writing).collect())
            }
            Disk::Sqlite(disk) => disk.commit(node.writing, clock_ms, is_full, std::mem::take(&mut node.fsync_fails)),
        }
    }

    pub fn read(&mut self, site: usize, effect: Effect) {
        let (disk, group) = (&mut self.sites[site].disk, &self.group);
        let event = match effect {
            Effect::Find { token, find } if let Some((log, position)) = disk.broken_among(group, find) => {
                let entry = disk.entry_at(group, log, position);
                Event::Broken { log, position, entry, asked: Asked::LookUp { token, find } }
            }
            Effect::ReadSeries { log, from, for_peer, .. } if disk.is_broken(group, log, from) => {
                let entry = disk.entry_at(group, log, from);
                let asked = for_peer.map_or(Asked::ForFollower, Asked::ForPeer);
                Event::Broken { log, position: from, entry, asked }
            }
            Effect::Find { token, find } => {
                let rows = match disk {
                    Disk::Memory(disk) => disk.find(group, find),
                    Disk::Sqlite(disk) => disk.find(group, find),
                };
                Event::Found { token, rows }
            }
            Effect::ReadSeries { log, from, items_max, bytes_max, for_peer } => {
                let items = match disk {
                    Disk::Memory(disk) => disk.read_series(group, log, from, items_max, bytes_max),
                    Disk::Sqlite(disk) => disk.read_series(group, log, from, items_max, bytes_max),
                };
                Event::SeriesRead { log, from, items, for_peer }
            }
            other => unreachable!("not a question to the journal: {other:?}"),
        };
        self.tell_core(site, event);
    }
}
