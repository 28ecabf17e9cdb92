//! What a site's journal lies on: plain maps, or the product's own journal code in SQLite on a disk that loses power.
//!
//! [`Sqlite`] keeps what was reported durable in plain maps beside it. After each start the journal must hold exactly
//! that, and of the transaction that the crash met all or nothing; every look-up must find the same in both. A
//! difference is a finding.
use std::collections::VecDeque;
use std::sync::Arc;

use holdfast::journal::{Committed, Durability, Memory, NotWritten, Op, OpenOptions, Quarantined, Recovered, Single};
use holdfast::model::{Group, Item, LogId, WriteId};
use holdfast::service::{Find, Found};
use powerloss::{Fates, Vfs};

use super::rng::Rng;

pub(super) enum Disk {
    Memory(Memory),
    Sqlite(Box<Sqlite>),
}

impl Disk {
    /// Only maps have broken records; what a wrong bit does to SQLite is tested by itself.
    pub fn broken_among(&self, group: &Group, find: Find) -> Option<(LogId, u64)> {
        match self {
            Disk::Memory(memory) => memory.broken_among(group, find),
            Disk::Sqlite(_) => None,
        }
    }

    /// What stands in quarantine, durably.
    pub fn quarantined(&self, group: &Group) -> Vec<Quarantined> {
        match self {
            Disk::Memory(memory) => memory.quarantined(group),
            Disk::Sqlite(disk) => disk.durable.quarantined(group),
        }
    }

    pub fn entry_at(&self, group: &Group, log: LogId, position: u64) -> Option<Box<Quarantined>> {
        match self {
            Disk::Memory(memory) => memory.entry_at(group, log, position).map(Box::new),
            Disk::Sqlite(_) => None,
        }
    }

    pub fn is_broken(&self, group: &Group, log: LogId, position: u64) -> bool {
        matches!(self, Disk::Memory(memory) if memory.is_broken(group, log, position))
    }
}

/// What a transaction came to.
pub(super) enum Synced {
    Durable(Vec<Committed>),
    Full,
    /// The process must end; what became of it is unknown.
    Failed,
}

/// How the process at this disk ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Process,
    Power,
}

/// What a start found of the transaction that a crash met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    Nothing,
    Survived,
    Lost,
}

const FILE: &str = "/holdfast.db";
const LOG: &str = "/holdfast.db-wal";
const SERIES_ITEMS: usize = 100_000;

pub(super) struct Sqlite {
    disk: Arc<powerloss::Disk>,
    vfs: Vfs,
    options: OpenOptions,
    own: LogId,
    group: Arc<Group>,
    lanes: usize,
    journal: Option<Single>,
    queued: VecDeque<Vec<Op>>,
    /// What was reported durable.
    durable: Memory,
    /// One transaction that may be there or not.
    doubtful: Vec<Vec<Op>>,
    /// Of the latest transaction.
    operations: u64,
}

impl Sqlite {
    pub fn new(seed: u64, own: LogId, group: Group, lanes: usize) -> Self {
        let disk = Arc::new(powerloss::Disk::in_memory(seed));
        let vfs = Vfs::register(&disk, false);
        let mut rng = Rng::new(seed);
        let options = OpenOptions {
            durability: if rng.chance(800) { Durability::PowerLoss } else { Durability::ProcessCrash },
            // Small, so that all of it happens often: numbers run out, the write-ahead log is moved and begins again.
            id_block: rng.pick(&[2_048, 65_536]),
            checkpoint_bytes: rng.pick(&[16 << 10, 256 << 10, 16 << 20]),
            page_bytes: rng.pick(&[1_024, 4_096]),
            ..OpenOptions::new("/")
        };
        Self {
            disk,
            vfs,
            options,
            own,
            group: Arc::new(group),
            lanes,
            journal: None,
            queued: VecDeque::new(),
            durable: Memory::new(),
            doubtful: Vec::new(),
            operations: 20,
        }
    }

    pub fn fates(&self) -> Fates {
        self.disk.fates()
    }

    /// Where only the death of the process is survived, that is what happens.
    pub fn draw_death(&self, rng: &mut Rng) -> Death {
        match self.options.durability {
            Durability::PowerLoss if rng.chance(750) => Death::Power,
            _ => Death::Process,
        }
    }

    pub fn clock_base_ms(&self) -> u64 {
        self.journal.as_ref().expect("it is open").clock_base_ms()
    }

    pub fn next_id(&self) -> WriteId {
        self.journal.as_ref().expect("it is open").next_id()
    }

    /// The normal start. `power_goes_at`: in the middle of this operation; then there is nothing to begin with.
    pub fn start(&mut self, power_goes_at: Option<u64>, death: Death) -> Option<(Recovered, Met)> {
        if let Some(nth) = power_goes_at {
            self.disk.off_at(nth);
        }
        // As `Journal::open` does with a real file.
        let opened = self.disk.rewrite(LOG).then(|| Single::open(&self.vfs.uri(FILE), &self.options, self.own.store));
        let journal = match opened.unwrap_or(Err(holdfast::journal::Error::Closed)) {
            Ok(journal) => journal,
            Err(_) if self.disk.is_off() => {
                self.after(death);
                return None;
            }
            Err(error) => panic!("the journal does not open: {error}: {:?}", std::error::Error::source(&error)),
        };
        if self.disk.is_off() {
            drop(journal);
            self.after(death);
            return None;
        }
        self.disk.power_on();
        assert_eq!(journal.log(), self.own, "another log");
        self.journal = Some(journal);
        let met = self.compare();
        let recovered = self.open().recover_or_panic();
        Some((recovered, met))
    }

    /// What is there must be what was reported, with all or nothing of what was under way.
    fn compare(&mut self) -> Met {
        let doubtful = std::mem::take(&mut self.doubtful);
        let rows = doubtful.iter().flatten().filter_map(|op| if let Op::Row(row) = op { Some(row.id) } else { None });
        let rows: Vec<WriteId> = rows.collect();
        let found = self.contents(None, &rows);
        let before = self.contents(Some(&self.durable.clone()), &rows);
        if doubtful.is_empty() {
            assert!(found == before, "not what was reported durable: {}", difference(&before, &found));
            return Met::Nothing;
        }
        let mut with = self.durable.clone();
        for ops in &doubtful {
            with.apply(&self.group, ops);
        }
        let after = self.contents(Some(&with), &rows);
        if found == after {
            self.durable = with;
            return Met::Survived;
        }
        assert!(
            found == before,
            "neither what was reported durable nor with all of the last transaction: {}\nor {}",
            difference(&before, &found),
            difference(&after, &found)
        );
        Met::Lost
    }

    /// Everything in words, of the journal, or of maps: what recovery finds, all series, and these rows.
    fn contents(&mut self, of: Option<&Memory>, rows: &[WriteId]) -> Vec<String> {
        let (group, lanes) = (self.group.clone(), self.lanes);
        let recovered = match of {
            Some(memory) => memory.recover(&group, lanes, usize::MAX),
            None => self.open().recover_or_panic(),
        };
        let mut words = vec![
            format!("{:?}", recovered.decided_beyond),
            format!("{:?} {:?} {:?}", recovered.keys, recovered.lanes, recovered.stopped),
        ];
        words.extend(recovered.open.iter().map(|found| format!("{found:?}")));
        words.extend(recovered.quarantined.iter().map(|quarantined| format!("{quarantined:?}")));
        for meta in &recovered.series {
            words.push(format!("{meta:?}"));
            let from = meta.forgotten + 1;
            let items = match of {
                Some(memory) => memory.read_series(&group, meta.log, from, SERIES_ITEMS, usize::MAX),
                None => self.open().series_or_panic(&group, meta.log, from, SERIES_ITEMS, usize::MAX),
            };
            words.extend(items.iter().map(|item| format!("{item:?}")));
        }
        for &id in rows {
            let found = match of {
                Some(memory) => memory.find(&group, Find::Id(id)),
                None => self.open().find_or_panic(&group, Find::Id(id)),
            };
            words.push(format!("{id}: {found:?}"));
        }
        words
    }

    fn open(&mut self) -> Asked<'_> {
        let group = self.group.clone();
        Asked { journal: self.journal.as_mut().expect("it is open"), group, lanes: self.lanes }
    }

    pub fn queue(&mut self, ops: Vec<Op>) {
        self.queued.push_back(ops);
    }

    /// The first `count` of what is queued as one transaction.
    pub fn commit(&mut self, count: usize, clock_ms: u64, is_full: bool, sync_fails: bool) -> Synced {
        let batches: Vec<Vec<Op>> = self.queued.iter().take(count).cloned().collect();
        assert_eq!(batches.len(), count, "a batch is queued for each number");
        self.disk.set_full(is_full);
        self.disk.fail_syncs(u32::from(sync_fails));
        let before = self.disk.operations();
        let together = batches.iter().map(|ops| (self.group.clone(), ops.clone())).collect();
        let journal = self.journal.as_mut().expect("it is open");
        let written = journal.commit(together, clock_ms);
        self.disk.set_full(false);
        match written {
            Ok(committed) => {
                self.operations = self.disk.operations() - before;
                self.queued.drain(..count);
                for ops in &batches {
                    self.durable.apply(&self.group, ops);
                }
                Synced::Durable(committed)
            }
            Err(NotWritten::Full) => Synced::Full,
            Err(NotWritten::Fatal(_)) => {
                self.doubtful = batches;
                Synced::Failed
            }
        }
    }

    /// In the middle of a transaction if `writing` of them were handed over.
    pub fn crash(&mut self, writing: usize, clock_ms: u64, death: Death, rng: &mut Rng) {
        if writing > 0 && self.doubtful.is_empty() {
            self.disk.off_at(rng.range(1, self.operations + self.operations / 2 + 4));
            let batches: Vec<Vec<Op>> = self.queued.iter().take(writing).cloned().collect();
            let together = batches.iter().map(|ops| (self.group.clone(), ops.clone())).collect();
            let journal = self.journal.as_mut().expect("it is open");
            match journal.commit(together, clock_ms) {
                // Nobody was told.
                Ok(_) | Err(NotWritten::Fatal(_)) => self.doubtful = batches,
                Err(NotWritten::Full) => {}
            }
        }
        // One that was to fail and never came is not for the next start.
        self.disk.fail_syncs(0);
        self.disk.power_off();
        self.journal = None;
        self.queued.clear();
        self.after(death);
    }

    fn after(&mut self, death: Death) {
        self.disk.power_off();
        match death {
            Death::Power => self.disk.cut(),
            Death::Process => self.disk.power_on(),
        }
    }

    pub fn find(&mut self, group: &Group, find: Find) -> Vec<Found> {
        let expected = self.durable.find(group, find);
        let found = self.open().find_or_panic(group, find);
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{find:?}");
        found
    }

    pub fn read_series(&mut self, group: &Group, log: LogId, from: u64, items: usize, bytes: usize) -> Vec<Arc<Item>> {
        let expected = self.durable.read_series(group, log, from, items, bytes);
        let read = self.open().series_or_panic(group, log, from, items, bytes);
        assert_eq!(read, expected, "series {log} from {from}");
        read
    }

    /// At the end of a run.
    pub fn verify(&mut self) {
        let Some(journal) = self.journal.as_mut() else { return };
        let report = journal.verify().expect("it can be read");
        assert!(report.is_whole(), "verify: {:?}", report.damages);
    }
}

struct Asked<'a> {
    journal: &'a mut Single,
    group: Arc<Group>,
    lanes: usize,
}

impl Asked<'_> {
    fn recover_or_panic(self) -> Recovered {
        let recovered = self.journal.recover(&self.group, self.lanes, usize::MAX);
        let recovered = recovered.unwrap_or_else(|error| panic!("the journal cannot be recovered: {error}"));
        assert!(self.journal.damages().is_empty(), "damaged: {:?}", self.journal.damages());
        recovered
    }

    fn find_or_panic(self, group: &Group, find: Find) -> Vec<Found> {
        self.journal.find(group, find).unwrap_or_else(|error| panic!("{find:?}: {error}"))
    }

    fn series_or_panic(self, group: &Group, log: LogId, from: u64, items: usize, bytes: usize) -> Vec<Arc<Item>> {
        let read = self.journal.read_series(group, log, from, items, bytes);
        read.unwrap_or_else(|error| panic!("series {log} cannot be read: {error}"))
    }
}

/// The first words that differ.
fn difference(expected: &[String], found: &[String]) -> String {
    let at = expected.iter().zip(found).position(|(a, b)| a != b).unwrap_or(expected.len().min(found.len()));
    let word = |of: &[String]| of.get(at).cloned().unwrap_or_else(|| "nothing more".to_owned());
    format!("expected {}, found {}", word(expected), word(found))
}

#[cfg(test)]
mod tests {
    use holdfast::journal::{Here, Origin, Row};
    use holdfast::model::{After, Digest, Facts, KeyHash, Lane, Request};

    use super::*;

    fn disk(seed: u64) -> Sqlite {
        let own = LogId { store: [1; 16], incarnation: 1 };
        let mut disk = Sqlite::new(seed, own, Group { service: "pos".into(), store: String::new() }, 16);
        disk.options.durability = Durability::PowerLoss;
        disk
    }

    /// An accepted write, with a request that takes several pages.
    fn batch(disk: &Sqlite, n: u64) -> Vec<Op> {
        let id = disk.next_id();
        let facts = Facts {
            lane: Lane(n),
            key: Some(KeyHash([n as u8; 16])),
            digest: Digest([n as u8; 32]),
            original_ms: n,
            traceparent: None,
            client: None,
            renews: Vec::new(),
            creates: false,
        };
        let row = Row {
            id,
            facts,
            origin: Origin::Here,
            queued: false,
            owed: Default::default(),
            wish: None,
            here: Here::Sending { attempt: 1, after: After::new() },
            outcome: None,
            ours: None,
            position: None,
            decides: None,
            settled_clock_ms: 0,
        };
        let request = Request {
            method: "POST".into(),
            target: "/".into(),
            authority: "pos".into(),
            headers: Vec::new(),
            body: vec![n as u8; 9_000].into(),
        };
        vec![Op::Request(id, Arc::new(request)), Op::Row(Box::new(row))]
    }

    fn commit(disk: &mut Sqlite, n: u64, sync_fails: bool) -> Synced {
        let ops = batch(disk, n);
        disk.queue(ops);
        disk.commit(1, n, false, sync_fails)
    }

    /// What is found of a write after a bit of the database has changed must be what was written, or an error, or
    /// nothing; and when it is not what was written, something says so.
    #[test]
    fn a_flipped_bit_of_the_database_is_named_and_wrong_content_is_never_handed_out() {
        let (mut named, mut nothing_changed) = (0, 0);
        for seed in 0..400 {
            let (mut disk, mut rng) = (disk(seed % 4), Rng::new(seed));
            disk.start(None, Death::Process).expect("the power is on");
            for n in 1..6 {
                assert!(matches!(commit(&mut disk, n, false), Synced::Durable(_)));
            }
            // The next start moves everything into the database.
            disk.crash(0, 6, Death::Process, &mut rng);
            disk.start(None, Death::Process).expect("the power is on");
            disk.crash(0, 6, Death::Process, &mut rng);
            let length = disk.disk.length(FILE).expect("it is there");
            let (offset, bit) = (rng.below(length), rng.below(8) as u8);
            disk.disk.flip(FILE, offset, bit);
            if is_named(&disk) {
                named += 1;
            } else {
                nothing_changed += 1;
            }
        }
        // Of a small database many pages are empty.
        assert!(named > 150 && nothing_changed > 5, "named {named}, nothing changed {nothing_changed}");
    }

    fn is_named(disk: &Sqlite) -> bool {
        let Ok(mut journal) = Single::open(&disk.vfs.uri(FILE), &disk.options, disk.own.store) else { return true };
        let expected = disk.durable.recover(&disk.group, disk.lanes, usize::MAX).open;
        let Ok(recovered) = journal.recover(&disk.group, disk.lanes, usize::MAX) else { return true };
        let mut differs = false;
        let mut compare = |wanted: &Found, found: &[Found]| match found {
            [] => differs = true,
            [found] => {
                assert_eq!(found.row, wanted.row, "wrong content");
                assert!(found.request.is_none() || found.request == wanted.request, "a wrong request");
                differs |= found.request.is_none();
            }
            more => panic!("one write, found as {more:?}"),
        };
        for wanted in &expected {
            let same: Vec<Found> =
                recovered.open.iter().filter(|found| found.row.id == wanted.row.id).cloned().collect();
            compare(wanted, &same);
            for find in [Find::Id(wanted.row.id), Find::Key(wanted.row.facts.key.expect("each has one"))] {
                match journal.find(&disk.group, find) {
                    Ok(found) => compare(wanted, &found),
                    Err(_) => return true,
                }
            }
        }
        let named = journal.verify().map_or(true, |report| !report.is_whole()) || !journal.damages().is_empty();
        assert!(named || !differs, "something is missing and nothing says so");
        named
    }

    /// The kernel takes for written what a failed fsync has left: the next process must not build on it before it is.
    #[test]
    fn after_an_fsync_error_a_start_that_loses_power_at_any_step_keeps_whole_transactions() {
        let (mut survived, mut lost) = (0, 0);
        for seed in 0..4 {
            for step in 1..70 {
                let (mut disk, mut rng) = (disk(seed), Rng::new(seed));
                disk.start(None, Death::Process).expect("the power is on");
                for n in 1..4 {
                    assert!(matches!(commit(&mut disk, n, false), Synced::Durable(_)));
                }
                assert!(matches!(commit(&mut disk, 4, true), Synced::Failed));
                disk.crash(1, 4, Death::Process, &mut rng);
                let met = disk.start(Some(step), Death::Power).or_else(|| disk.start(None, Death::Power));
                match met.expect("nothing goes wrong the second time").1 {
                    Met::Survived => survived += 1,
                    Met::Lost => lost += 1,
                    Met::Nothing => unreachable!("a transaction was under way"),
                }
            }
        }
        assert!(survived > 10 && lost > 10, "survived {survived}, lost {lost}");
    }
}
