//! What the handles, the writer and the readers share.
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::open::{Life, Lock};
use super::queue::Queue;
use super::{Age, Damage, Fatal, Held, OpenOptions, RecordName, space};
use crate::telemetry::JournalMetrics;

/// Broken records kept by name; more are only counted by `verify`.
const DAMAGES_MAX: usize = 1_000;

pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) ids: Ids,
    pub(super) clock: Clock,
    pub(super) space: AtomicU8,
    pub(super) free_bytes: AtomicU64,
    pub(super) wal_pages: AtomicU64,
    pub(super) metrics: Arc<JournalMetrics>,
    pub(super) fatal: watch::Sender<Option<Fatal>>,
    /// While the writer waits for another program's lock.
    pub(super) held: watch::Sender<Option<Held>>,
    /// Who keeps the write-ahead log from being emptied, while it is long.
    pub(super) read_by: Mutex<Option<String>>,
    pub(super) damages: Damages,
    pub(super) database: PathBuf,
    /// Of the database's file ([`super::Recovered::place`]).
    pub(super) place: u64,
    pub(super) reserve_bytes: u64,
    #[cfg(test)]
    pub(super) pages_max: std::sync::atomic::AtomicU32,
    /// How large the disk is for this journal; 0: as it is.
    #[cfg(test)]
    pub(super) disk_bytes: AtomicU64,
    /// Held as long as any thread of this journal lives.
    pub(super) _lock: Option<Lock>,
}

impl Shared {
    pub(super) fn new(options: &OpenOptions, database: PathBuf, life: Life, lock: Option<Lock>) -> Self {
        Self {
            queue: Queue::new(options.queue_batches_max, options.queue_bytes_max),
            ids: life.ids,
            clock: life.clock,
            space: 0.into(),
            free_bytes: 0.into(),
            wal_pages: 0.into(),
            metrics: Arc::default(),
            fatal: watch::Sender::new(None),
            held: watch::Sender::new(None),
            read_by: Mutex::default(),
            damages: Damages::default(),
            place: place_of(&database),
            database,
            reserve_bytes: options.reserve_bytes,
            #[cfg(test)]
            pages_max: 0.into(),
            #[cfg(test)]
            disk_bytes: 0.into(),
            _lock: lock,
        }
    }
}

impl Shared {
    pub(super) fn disk_free_bytes(&self) -> std::io::Result<u64> {
        #[cfg(test)]
        if let disk @ 1.. = self.disk_bytes.load(Ordering::Relaxed) {
            return Ok(disk.saturating_sub(self.database.metadata()?.len() + self.log_bytes()));
        }
        space::free_bytes(&self.database)
    }

    /// Length of the write-ahead log's file.
    pub(super) fn log_bytes(&self) -> u64 {
        let mut log = self.database.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }
}

/// The file's own number and the moment at which it was made: both stay as long as it is only moved within a disk, and
/// no copy has them. 0 where the file system does not tell.
fn place_of(file: &Path) -> u64 {
    let Ok(metadata) = file.metadata() else { return 0 };
    let made = metadata.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    let made_ns = made.map_or(0, |made| made.as_nanos());
    let hash = Sha256::new().chain_update(metadata.ino().to_le_bytes()).chain_update(made_ns.to_le_bytes()).finalize();
    u64::from_le_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes")).max(Age::PLACES_FROM)
}

/// Hands out numbers from a range whose end is durable before the numbers are.
pub(super) struct Ids {
    next: AtomicU64,
    /// First number that is not reserved.
    end: AtomicU64,
    block: u64,
    wanted: AtomicBool,
    /// For the case that the whole block is used up before the writer has reserved more.
    extended: (Mutex<()>, std::sync::Condvar),
}

impl Ids {
    pub(super) fn new(start: u64, end: u64, block: u64) -> Self {
        let extended = (Mutex::new(()), std::sync::Condvar::new());
        Self { next: start.into(), end: end.into(), block, wanted: false.into(), extended }
    }

    pub(super) fn next(&self, queue: &Queue) -> u64 {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let end = self.end.load(Ordering::Acquire);
        if n + self.block / 2 >= end {
            if !self.wanted.swap(true, Ordering::AcqRel) {
                queue.nudge();
            }
            if n >= end {
                self.wait_for(n, queue);
            }
        }
        n
    }

    /// For one thread that reserves itself: none when the block is used up.
    pub(super) fn next_of_block(&self) -> Option<u64> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        (n < self.end.load(Ordering::Acquire)).then_some(n)
    }

    #[cold]
    fn wait_for(&self, n: u64, queue: &Queue) {
        let mut guard = self.extended.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // A failed journal reserves no more; the process is ending and nothing that it still says becomes durable.
        while n >= self.end.load(Ordering::Acquire) && queue.failed().is_none() {
            let waited = self.extended.1.wait_timeout(guard, Duration::from_millis(100));
            guard = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    /// The end that should be made durable now, if more numbers are wanted.
    pub(super) fn wanted_end(&self) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        let short = next + self.block / 2 >= self.end.load(Ordering::Relaxed);
        short.then(|| next.max(self.end.load(Ordering::Relaxed)) + self.block)
    }

    /// `end` is durable.
    pub(super) fn extend(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        self.wanted.store(false, Ordering::Release);
        let _guard = self.extended.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.extended.1.notify_all();
    }
}

/// The retention clock.
pub(super) struct Clock {
    base_ms: u64,
    started: Instant,
}

impl Clock {
    pub(super) fn new(base_ms: u64) -> Self {
        Self { base_ms, started: Instant::now() }
    }
    /// As the lives before have left it.
    pub(super) fn base_ms(&self) -> u64 {
        self.base_ms
    }
    pub(super) fn now_ms(&self) -> u64 {
        self.base_ms + self.started.elapsed().as_millis() as u64
    }
}

#[derive(Default)]
pub(super) struct Damages(Mutex<BTreeMap<RecordName, String>>);

impl Damages {
    pub(super) fn report(&self, damage: &Damage) {
        let mut known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.len() >= DAMAGES_MAX || known.contains_key(&damage.record) {
            return;
        }
        tracing::error!(record = %damage.record, why = damage.why, "a record of the journal is damaged");
        known.insert(damage.record.clone(), damage.why.clone());
    }
    pub(super) fn list(&self) -> Vec<Damage> {
        let known = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        known.iter().map(|(record, why)| Damage { record: record.clone(), why: why.clone() }).collect()
    }
}
