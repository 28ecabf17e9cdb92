//! The journal as the rest of the appliance sees it.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::people::{Aged, Filter, Listed, Shown, Stats, Usage};
use super::pool::Pool;
use super::quarantine::{InOrder, QuarantineCounts, QuarantineFilter, QuarantinePage};
use super::queue::Work;
use super::reader::Reader;
use super::shared::Shared;
use super::verify::Report;
use super::{
    CommitError, Committed, Damage, Done, Error, Fatal, Op, OpenOptions, Quarantined, Recovered, Refusal, Space, open,
};
use crate::journal::{Find, Found};
use crate::model::{Group, Item, LogId, WriteId};
use crate::telemetry::JournalMetrics;

/// Cheap to clone. The last one dropped closes the journal: it blocks until what was handed over is written.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    log: LogId,
    readers: Pool,
    writer: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// The writer waits for a lock that another program holds on the database: nothing becomes durable meanwhile, and
/// nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub since: std::time::Instant,
    /// Who it is, as far as the system tells.
    pub by: String,
}

/// A batch that was not taken, given back whole.
pub struct Returned {
    pub ops: Vec<Op>,
    pub done: Done,
    pub why: Refusal,
}

impl std::fmt::Debug for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned").field("ops", &self.ops.len()).field("why", &self.why).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens or makes the journal of a data directory and does what must be done after any restart before a recovered
    /// row may be acted upon. Blocks; call it once at start.
    pub fn open(options: &OpenOptions) -> Result<Self, Error> {
        Self::start(open::open(options)?, options, true)
    }

    fn start(opened: open::Opened, options: &OpenOptions, in_service: bool) -> Result<Self, Error> {
        if in_service {
            super::schema::check_indexes(&opened.connection)?;
        }
        let readers = Pool::start(&opened, options)?;
        let (shared, log) = (opened.shared.clone(), opened.log);
        let writer = std::sync::Mutex::new(Some(super::writer::start(opened, options)?));
        Ok(Self { inner: Arc::new(Inner { shared, log, readers, writer }) })
    }

    /// As [`Journal::open`], for somebody who only wants to look: nothing is made where there is none, and more damage
    /// is looked over.
    pub fn open_existing(options: &OpenOptions) -> Result<Self, Error> {
        open::exists(options)?;
        Self::start(open::open(options)?, options, false)
    }

    /// The log of this store: its own writes.
    pub fn log(&self) -> LogId {
        self.inner.log
    }

    /// A number that no life of this log has used or will use, whether or not it is ever persisted.
    pub fn next_id(&self) -> WriteId {
        WriteId { log: self.inner.log, n: self.inner.shared.ids.next(&self.inner.shared.queue) }
    }

    /// The retention clock: milliseconds this node has been running, over all its lives. Falls back a little in a
    /// crash, never runs ahead of monotonic time.
    pub fn clock_ms(&self) -> u64 {
        self.inner.shared.clock.now_ms()
    }

    /// Makes `ops` durable as one transaction (which may hold other batches too). Never blocks. Batches become durable
    /// in the order of the calls; `done` is called on the writer's thread in that order.
    ///
    /// A batch is refused, and given back, when the queue is at its limit: [`Journal::room`] tells when to come again.
    pub fn commit(&self, group: &Arc<Group>, ops: Vec<Op>, done: Done) -> Result<(), Box<Returned>> {
        self.inner.shared.queue.push(Work::Batch { group: group.clone(), ops, done }).map_err(
            |(work, why)| match work {
                Work::Batch { ops, done, .. } => Box::new(Returned { ops, done, why }),
                Work::Named { .. } => unreachable!("a batch was pushed"),
            },
        )
    }

    /// Waits until the queue takes a batch, or never will again.
    pub async fn room(&self) {
        loop {
            let room = self.inner.shared.queue.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.inner.shared.queue.has_room() {
                return;
            }
            room.await;
        }
    }

    pub fn space(&self) -> Space {
        Space::from_u8(self.inner.shared.space.load(Ordering::Relaxed))
    }

    /// Set while another program keeps this one from writing.
    pub fn held(&self) -> watch::Receiver<Option<Held>> {
        self.inner.shared.held.subscribe()
    }

    /// Who reads the database for so long that the write-ahead log cannot be emptied, and its bytes.
    pub fn read_by(&self) -> Option<(String, u64)> {
        let by = self.inner.shared.read_by.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        by.map(|by| (by, self.inner.shared.log_bytes()))
    }

    /// Set once when the journal has failed: end the process with exit code 74.
    pub fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.inner.shared.fatal.subscribe()
    }

    /// Broken records met so far, by name; at most 1,000.
    pub fn damages(&self) -> Vec<Damage> {
        self.inner.shared.damages.list()
    }

    /// Everything a group's state machine needs to begin again. Blocks: call it at start.
    ///
    /// A broken row that something was left to be done with comes back as quarantined with the reason `Damaged`. It is
    /// in [`Journal::damages`] too, as are broken requests and, of each series, the first position that is missing. A
    /// broken record of how far a series is, is an error.
    ///
    /// `lanes_max` bounds [`Recovered::lanes`], `quarantined_max` those of [`Recovered::quarantined`] that nothing else
    /// asks for.
    pub fn recover(&self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Result<Recovered, Error> {
        let group = group.clone();
        self.inner.readers.ask_blocking(move |reader| reader.recover(&group, lanes_max, quarantined_max))?
    }

    /// All groups that it has ever had writes of, whoever configures them now. Blocks: call it at start.
    pub fn groups(&self) -> Result<Vec<Group>, Error> {
        self.inner.readers.ask_blocking(Reader::groups)?
    }

    /// All rows that match, in order of their ids, with requests. A broken row that may match is an error
    /// ([`Error::Broken`] where it has a position): not to find a write that is there would let it be applied twice
    /// (G2).
    pub async fn find(&self, group: &Group, find: Find) -> Result<Vec<Found>, Error> {
        let group = group.clone();
        self.read(move |reader| reader.find(&group, find)).await
    }

    /// Dense from `from` on: the first item's position is `from`, and nothing is returned where that one was forgotten
    /// or is still to come. [`Error::Broken`] where it should be there and cannot be read. Requests are attached where
    /// followers need them. The first item is returned however large it is.
    pub async fn read_series(
        &self,
        group: &Group,
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Item>>, Error> {
        let group = group.clone();
        self.read(move |reader| reader.read_series(&group, log, from, items_max, bytes_max)).await
    }

    /// Writes for people, newest first.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Listed>, Error> {
        self.read(move |reader| reader.list(&filter)).await
    }

    /// Where one write stands, with its request and, if it waits for a person, why.
    pub async fn show(&self, id: WriteId) -> Result<Option<Shown>, Error> {
        self.read(move |reader| reader.show(id)).await
    }

    /// All writes of all groups with this key.
    pub async fn show_key(&self, key: crate::model::KeyHash) -> Result<Vec<Shown>, Error> {
        self.read(move |reader| reader.show_key(key)).await
    }

    /// Entries of the quarantine for people, oldest first, from behind `after` (the last one of the page before,
    /// whether or not it is still there), and how many there are in all.
    pub async fn quarantine_page(
        &self,
        filter: QuarantineFilter,
        after: Option<(u64, WriteId)>,
        limit: usize,
    ) -> Result<QuarantinePage, Error> {
        self.read(move |reader| reader.quarantine_page(&filter, after, limit)).await
    }

    pub async fn quarantine_counts(&self, filter: QuarantineFilter) -> Result<QuarantineCounts, Error> {
        self.read(move |reader| reader.quarantine_counts(&filter)).await
    }

    /// How many lanes of a group have an entry: so much of it may not be equal.
    pub async fn quarantine_firsts(&self, group: Group) -> Result<u64, Error> {
        self.read(move |reader| reader.quarantine_firsts(&group)).await
    }

    /// One entry, also where the row of its write cannot be read.
    pub async fn quarantine_entry(&self, id: WriteId) -> Result<Option<(Group, Quarantined)>, Error> {
        self.read(move |reader| reader.quarantine_entry(id)).await
    }

    /// Whose write it is that stands in quarantine, or that has a row at all.
    pub async fn quarantine_group(&self, id: WriteId) -> Result<Option<Group>, Error> {
        self.read(move |reader| reader.quarantine_group(id)).await
    }

    /// Entries in the order in which orders of people about many go: series by series in order of position, then what
    /// has none in order of acceptance. From behind `after`, the last one of the answer before, which need not be there
    /// any more.
    pub async fn quarantine_in_order(
        &self,
        filter: QuarantineFilter,
        after: Option<InOrder>,
        limit: usize,
    ) -> Result<Vec<InOrder>, Error> {
        self.read(move |reader| reader.quarantine_in_order(&filter, after.as_ref(), limit)).await
    }

    /// Reads every record and checks it, at one moment: while it runs, the write-ahead log grows.
    pub async fn verify(&self) -> Result<Report, Error> {
        self.read(|reader| reader.verify()).await
    }

    /// For each series the age of its first write from a position on that is still kept.
    pub async fn ages(&self, asked: Vec<(Group, LogId, u64)>) -> Result<Vec<Option<Aged>>, Error> {
        self.read(move |reader| reader.ages(&asked)).await
    }

    pub async fn usage(&self) -> Result<Usage, Error> {
        self.read(|reader| reader.usage()).await
    }

    pub fn metrics(&self) -> Arc<JournalMetrics> {
        self.inner.shared.metrics.clone()
    }

    pub async fn stats(&self) -> Result<Stats, Error> {
        let shared = self.inner.shared.clone();
        self.read(move |reader| reader.stats(&shared)).await
    }

    /// A small named value, for example a secret. Blocks: for start.
    pub fn meta_get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let name = name.to_owned();
        self.inner.readers.ask_blocking(move |reader| reader.named(&name))?
    }

    /// Keeps a small named value durably. Blocks: for start.
    pub fn meta_put(&self, name: &str, value: &[u8]) -> Result<(), CommitError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let done: Done = Box::new(move |result: Result<Committed, CommitError>| {
            // The caller waits below; it cannot be gone.
            let _ = sender.send(result);
        });
        let work = Work::Named { name: format!("meta.{name}"), value: value.to_vec(), done };
        if let Err((work, refusal)) = self.inner.shared.queue.push(work) {
            work.finish(Err(match refusal {
                Refusal::Fatal(fatal) => CommitError::Fatal(fatal),
                Refusal::Closed | Refusal::NoRoom => CommitError::Closed,
            }));
        }
        receiver.recv().unwrap_or(Err(CommitError::Closed)).map(drop)
    }

    /// Writes what was handed over and closes; later batches are refused. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Makes the disk full, or not, for tests.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        self.inner.shared.pages_max.store(pages, Ordering::Relaxed);
    }

    /// As if it were on a disk of its own, of this size, for tests.
    #[cfg(test)]
    pub(super) fn limit_disk(&self, bytes: u64) {
        self.inner.shared.disk_bytes.store(bytes, Ordering::Relaxed);
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.inner.readers.ask(question).await?
    }
}

impl Inner {
    fn close(&self) {
        self.readers.close();
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
        {
            // A panic there was already reported as fatal.
            let _ = writer.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
