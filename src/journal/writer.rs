//! The one thread that writes: group commit, emptying the write-ahead log, room on the disk.
//!
//! Everything that waits goes into one transaction; what arrives meanwhile is the next one. An error other than a full
//! disk is fatal: reported once, never tried again, because a failed commit means *unknown*.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::apply::{Applier, WriteError};
use super::checkpoint::{self, Checkpointer};
use super::files::{self, Files, Hold};
use super::open::{self, Opened};
use super::queue::Work;
use super::seen::Found;
use super::shared::Shared;
use super::{CommitError, Committed, Durability, Error, Fatal, Held, OpenOptions, Space, schema};

/// What one transaction holds at most, so that the first in it need not wait for too many others.
const TRANSACTION_BYTES_MAX: usize = 8 << 20;
/// How often the writer looks around when there is nothing to write.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// In the write-ahead log when there is nothing else to do: then a checkpoint disturbs nobody.
const IDLE_CHECKPOINT_PAGES: u32 = 256;
/// The write-ahead log is emptied between two commits when it holds as much as so many checkpoints, and of the last one
/// so little is left to move: commits that follow each other would let it grow for ever.
const EMPTY_AT_CHECKPOINTS: u32 = 4;
/// Then it is emptied whatever is left.
const EMPTY_AT_LAST_CHECKPOINTS: u32 = 8;
const LITTLE_LEFT: u32 = 8;
/// How often a full disk is tried again.
const FULL_INTERVAL: Duration = Duration::from_millis(500);
/// How often another program's lock is tried again, beside the time that SQLite itself waits; it is named, and writes
/// are refused, when it was not let go for so long; and looked at again, whose it is, and said again.
const HELD_INTERVAL: Duration = Duration::from_millis(50);
const HELD_TRIES: u32 = 200;
const HELD_NAMED_AFTER: Duration = Duration::from_millis(500);
const HELD_SAID_INTERVAL: Duration = Duration::from_secs(60);
/// So many checkpoints are due and could not be made: then whoever keeps them from it is named.
const LONG_AT_CHECKPOINTS: u32 = 2;
/// The retention clock is written down with a transaction that is due anyway, or alone after a while without one.
pub(super) const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
const CLOCK_IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// The disk is asked for its room this often, and after so many bytes.
const SPACE_INTERVAL: Duration = Duration::from_millis(500);
const SPACE_BYTES: usize = 8 << 20;
/// A write-ahead log of this length gives its room back where the disk has little.
const GIVEN_BACK_BYTES: u64 = 1 << 20;

pub(super) fn start(opened: Opened, options: &OpenOptions) -> Result<std::thread::JoinHandle<()>, Error> {
    let (durability, checkpoint_bytes) = (options.durability, options.checkpoint_bytes);
    let dir = options.data_dir.clone();
    let checkpointer = Checkpointer::start(&opened.shared, options)?;
    let thread = std::thread::Builder::new().name("journal-writer".into()).spawn(move || {
        let Opened { mut connection, shared, files, .. } = opened;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            run(&mut connection, &shared, files, checkpointer, durability, checkpoint_bytes)
        }));
        let fatal = match ended {
            Ok(Ok(())) => return,
            Ok(Err(fatal)) => fatal,
            Err(_) => Fatal { action: "go on writing", why: "the writer's thread panicked".to_owned() },
        };
        fail(&shared, fatal);
    });
    thread.map_err(|source| Error::Directory { dir, source })
}

/// Says it once; whoever waits is told, nothing more is taken.
pub(super) fn fail(shared: &Shared, fatal: Fatal) {
    if shared.queue.failed().is_some() {
        return;
    }
    tracing::error!(error = %fatal, "the journal has failed");
    for work in shared.queue.fail(fatal.clone()) {
        work.finish(Err(CommitError::Fatal(fatal.clone())));
    }
    shared.fatal.send_replace(Some(fatal));
}

fn run(
    connection: &mut Connection,
    shared: &Arc<Shared>,
    files: Files,
    checkpointer: Checkpointer,
    durability: Durability,
    checkpoint_bytes: u64,
) -> Result<(), Fatal> {
    let wal_pages = watch_log(connection)?;
    let page_bytes: u64 =
        connection.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(sqlite("read the page size"))?;
    connection.busy_timeout(schema::WRITER_PATIENCE).map_err(sqlite("set the busy timeout"))?;
    let applier = Applier::new(connection).map_err(fatal)?;
    let now = Instant::now();
    let mut writer = Writer {
        connection,
        shared,
        applier,
        files,
        checkpointer,
        durability,
        wal_pages,
        page_bytes,
        checkpoint_pages: (checkpoint_bytes / page_bytes).max(1) as u32,
        asked_pages: 0,
        tried_pages: 0,
        clock_written: now,
        clock_known: shared.clock.base_ms(),
        space_looked: now,
        bytes_since_look: 0,
    };
    writer.look_first()?;
    writer.look_at_space()?;
    loop {
        let taken = shared.queue.take(IDLE_INTERVAL, TRANSACTION_BYTES_MAX);
        if let Some(fatal) = shared.queue.failed() {
            taken.works.into_iter().for_each(|work| work.finish(Err(CommitError::Fatal(fatal.clone()))));
            return Err(fatal);
        }
        if taken.finished {
            return writer.close();
        }
        let batches = taken.works.len();
        if batches == 0 {
            writer.idle()?;
            continue;
        }
        writer.reserve_ids()?;
        if let Some(since) = taken.since {
            shared.metrics.wait_seconds.observe(since.elapsed());
        }
        writer.write_until_durable(taken.works, taken.bytes)?;
        shared.queue.release(batches, taken.bytes);
        writer.after_commit(taken.bytes)?;
    }
}

/// Pages in the write-ahead log after the last commit.
pub(super) fn watch_log(connection: &mut Connection) -> Result<Arc<AtomicU32>, Fatal> {
    let wal_pages = Arc::new(AtomicU32::new(0));
    let pages = wal_pages.clone();
    let hook = move |_: &mut rusqlite::hooks::Wal, frames: std::ffi::c_int| {
        pages.store(frames.max(0) as u32, Ordering::Relaxed);
        Ok(())
    };
    connection.wal_hook(Some(hook)).map_err(sqlite("watch the write-ahead log"))?;
    Ok(wal_pages)
}

/// All of it as one transaction; with the retention clock if it is to be written down.
pub(super) fn transact(
    applier: &mut Applier<'_>,
    works: &[Work],
    clock_ms: Option<u64>,
) -> Result<Vec<Committed>, WriteError> {
    applier.begin()?;
    let mut committed = Vec::with_capacity(works.len());
    for work in works {
        committed.push(match work {
            Work::Batch { group, ops, .. } => applier.apply(group, ops)?,
            Work::Named { name, value, .. } => {
                applier.put_named(name, value)?;
                Committed::default()
            }
        });
    }
    if let Some(clock_ms) = clock_ms {
        applier.put_number(open::NAMED_CLOCK, clock_ms)?;
    }
    applier.commit()?;
    Ok(committed)
}

/// With an fsync whatever the durability: a number that was handed out may be known elsewhere. A checkpoint must follow
/// before the first of them is: as at opening, they must not be in the write-ahead log alone.
pub(super) fn reserve(connection: &Connection, applier: &mut Applier<'_>, end: u64) -> Result<(), WriteError> {
    schema::set_level(connection, Durability::PowerLoss).map_err(unset)?;
    applier.begin()?;
    applier.put_number(open::NAMED_IDS, end)?;
    applier.commit()
}

fn unset(error: Error) -> WriteError {
    WriteError::Fatal(Fatal { action: "reserve numbers for writes", why: error.to_string() })
}

fn sqlite(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Fatal {
    move |error| Fatal { action, why: error.to_string() }
}

/// Where a full disk cannot be waited for.
fn fatal(error: WriteError) -> Fatal {
    match error {
        WriteError::Full => Fatal { action: "begin", why: "the disk is full".to_owned() },
        WriteError::Held => Fatal { action: "begin", why: "another program holds the lock of the database".to_owned() },
        WriteError::Fatal(fatal) => fatal,
    }
}

struct Writer<'c> {
    connection: &'c Connection,
    shared: &'c Shared,
    applier: Applier<'c>,
    files: Files,
    checkpointer: Checkpointer,
    durability: Durability,
    /// In the write-ahead log after the last commit; begins again once all was moved and nobody reads it.
    wal_pages: Arc<AtomicU32>,
    page_bytes: u64,
    checkpoint_pages: u32,
    /// What `wal_pages` was when a checkpoint was made, or asked for, last.
    asked_pages: u32,
    /// And when it was to be emptied last.
    tried_pages: u32,
    clock_written: Instant,
    /// What stands in the database: whoever puts an older one in its place has an older clock.
    clock_known: u64,
    space_looked: Instant,
    bytes_since_look: usize,
}

impl Writer<'_> {
    /// Keeps the batches while the disk is full. Those that cannot be written are told why.
    fn write_until_durable(&mut self, works: Vec<Work>, bytes: usize) -> Result<(), Fatal> {
        let mut waiting_since = None;
        loop {
            let began = Instant::now();
            match self.write(&works) {
                Ok(committed) => {
                    // A sync that failed beside it may have been about these very bytes.
                    if let Some(fatal) = self.shared.queue.failed() {
                        works.into_iter().for_each(|work| work.finish(Err(CommitError::Fatal(fatal.clone()))));
                        return Err(fatal);
                    }
                    self.shared.metrics.commit_seconds.observe(began.elapsed());
                    self.shared.metrics.commits.one();
                    self.shared.metrics.committed_bytes.add(bytes as u64);
                    self.shared.metrics.batches.add(works.len() as u64);
                    if self.shared.space.load(Ordering::Relaxed) == Space::Full as u8 {
                        self.look_at_space()?;
                    }
                    self.let_go(waiting_since);
                    for (work, committed) in works.into_iter().zip(committed) {
                        work.finish(Ok(committed));
                    }
                    return Ok(());
                }
                Err(WriteError::Full) => {
                    self.set_space(Space::Full);
                    self.applier.roll_back().map_err(fatal)?;
                    // The database may have free pages: then the write-ahead log can be used again from its beginning.
                    self.checkpoint()?;
                    if self.shared.queue.wait_closed(FULL_INTERVAL) {
                        works.into_iter().for_each(|work| work.finish(Err(CommitError::Closed)));
                        return Ok(());
                    }
                }
                Err(WriteError::Held) => {
                    if !self.connection.is_autocommit() {
                        self.applier.roll_back().map_err(fatal)?;
                    }
                    self.wait_for_lock(*waiting_since.get_or_insert_with(Instant::now));
                    if self.shared.queue.wait_closed(HELD_INTERVAL) {
                        works.into_iter().for_each(|work| work.finish(Err(CommitError::Closed)));
                        return Ok(());
                    }
                }
                Err(WriteError::Fatal(fatal)) => {
                    works.into_iter().for_each(|work| work.finish(Err(CommitError::Fatal(fatal.clone()))));
                    return Err(fatal);
                }
            }
        }
    }

    fn write(&mut self, works: &[Work]) -> Result<Vec<Committed>, WriteError> {
        #[cfg(test)]
        self.apply_pages_max();
        let clock_ms = (self.clock_written.elapsed() >= CLOCK_INTERVAL).then(|| self.shared.clock.now_ms());
        self.look_for_cuts()?;
        let committed = transact(&mut self.applier, works, clock_ms)?;
        if let Some(clock_ms) = clock_ms {
            (self.clock_written, self.clock_known) = (Instant::now(), clock_ms);
        }
        self.look_behind_commit()?;
        Ok(committed)
    }

    fn look_first(&mut self) -> Result<(), Fatal> {
        let first = loop {
            match self.files.look_first(self.connection) {
                Err(WriteError::Held) if !self.shared.queue.wait_closed(HELD_INTERVAL) => {}
                first => break first.map_err(fatal)?,
            }
        };
        *self.checkpointer.turn() = first;
        Ok(())
    }

    /// What other hands did to the files since the last commit. What is written behind a cut would be lost with what
    /// was cut off.
    fn look_for_cuts(&mut self) -> Result<(), WriteError> {
        // Of one that has only lost its name, what is in it can still be had.
        self.look_for_changes().map_err(WriteError::Fatal)?;
        self.files.look_for_cuts(self.connection, self.wal_pages.load(Ordering::Relaxed))?;
        self.look_for_writes(false)
    }

    /// Nothing is reported durable that is in a file which the next start will not find, or behind what it cannot read.
    fn look_behind_commit(&mut self) -> Result<(), WriteError> {
        self.look_for_changes().map_err(WriteError::Fatal)?;
        // What is committed is not committed once more.
        for _ in 0..HELD_TRIES {
            match self.look_for_writes(true) {
                Err(WriteError::Held | WriteError::Full) => std::thread::sleep(HELD_INTERVAL),
                looked => return looked,
            }
        }
        let why = "other programs hold the files without end: whether the last commit stands cannot be told";
        Err(WriteError::Fatal(Fatal { action: files::KEEP, why: why.to_owned() }))
    }

    fn look_for_writes(&mut self, is_own: bool) -> Result<(), WriteError> {
        let log = self.files.look_at_log(self.connection, is_own)?;
        // A checkpoint of our own that is under way writes the database.
        let database = match self.checkpointer.try_turn() {
            Some(mut moved) => self.files.look_at_database(self.connection, &mut moved)?,
            None => Found::Own,
        };
        if log == Found::Own && database == Found::Own {
            return Ok(());
        }
        // Pages in memory would hide what is gone.
        let clock = self.connection.execute_batch("PRAGMA shrink_memory").map_err(Error::sqlite("look again"));
        let clock = clock.and_then(|()| open::get_named::<u64>(self.connection, open::NAMED_CLOCK));
        let why = match clock {
            Ok(Some(clock_ms)) if clock_ms == self.clock_known => return Ok(()),
            Err(Error::Sqlite { source, .. }) if files::is_held(&source) => return Err(WriteError::Held),
            Ok(_) => "what this process committed last is not there".to_owned(),
            Err(error) => error.to_string(),
        };
        let path = self.shared.database.display();
        let why = format!("{path} was overwritten by another program while it was in use: {why}");
        Err(WriteError::Fatal(Fatal { action: files::KEEP, why }))
    }

    fn look_for_changes(&mut self) -> Result<(), Fatal> {
        let Some(mut why) = self.files.changed() else { return Ok(()) };
        if self.files.log_is_gone() {
            // SQLite still has the file: what is in it need not be lost.
            let pages = self.wal_pages.load(Ordering::Relaxed);
            let _turn = self.checkpointer.turn();
            match open::checkpoint(self.connection) {
                Ok(moved) if moved >= pages => why.push_str("; all that was in it has been moved into the database"),
                _ => why.push_str("; what was in it is lost"),
            }
        }
        Err(Fatal { action: files::KEEP, why })
    }

    /// Another program's lock is no broken disk: what was accepted waits, and people are told for whom.
    fn wait_for_lock(&self, since: Instant) {
        if since.elapsed() < HELD_NAMED_AFTER {
            return;
        }
        let known = self.shared.held.borrow().clone();
        if known.is_some() && since.elapsed().as_millis() % HELD_SAID_INTERVAL.as_millis() >= 200 {
            return;
        }
        let by = files::holders(&self.shared.database, Hold::Writes).unwrap_or_else(files::unnamed);
        tracing::warn!(
            by,
            seconds = since.elapsed().as_secs(),
            "another program holds the lock of the journal's database: what was accepted waits, new writes are refused"
        );
        self.shared.held.send_replace(Some(Held { since, by }));
    }

    fn let_go(&self, waiting_since: Option<Instant>) {
        if waiting_since.is_some() && self.shared.held.send_replace(None).is_some() {
            tracing::info!("the lock of the journal's database was let go; writes are taken again");
        }
    }

    fn reserve_ids(&mut self) -> Result<(), Fatal> {
        let Some(end) = self.shared.ids.wanted_end() else { return Ok(()) };
        let reserved = self.look_for_cuts().and_then(|()| reserve(self.connection, &mut self.applier, end));
        let reserved = reserved.and_then(|()| self.look_behind_commit());
        match reserved {
            Ok(()) => {
                self.checkpoint()?;
                self.shared.ids.extend(end);
            }
            // Half a block is left; the next round tries again.
            Err(WriteError::Full) => {
                self.set_space(Space::Full);
                self.applier.roll_back().map_err(fatal)?;
            }
            Err(WriteError::Held) if self.connection.is_autocommit() => {}
            Err(WriteError::Held) => self.applier.roll_back().map_err(fatal)?,
            Err(WriteError::Fatal(fatal)) => return Err(fatal),
        }
        schema::set_level(self.connection, self.durability).map_err(|error| fatal(unset(error)))
    }

    fn after_commit(&mut self, bytes: usize) -> Result<(), Fatal> {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        self.shared.wal_pages.store(pages.into(), Ordering::Relaxed);
        if pages < self.asked_pages {
            (self.asked_pages, self.tried_pages) = (0, 0);
        }
        if pages - self.asked_pages >= self.checkpoint_pages && self.checkpointer.ask() {
            self.asked_pages = pages;
        }
        self.empty_when_long(pages)?;
        self.bytes_since_look += bytes;
        if self.bytes_since_look >= SPACE_BYTES || self.space_looked.elapsed() >= SPACE_INTERVAL {
            self.look_at_space()?;
        }
        Ok(())
    }

    fn empty_when_long(&mut self, pages: u32) -> Result<(), Fatal> {
        let left = pages.saturating_sub(self.checkpointer.moved_pages());
        let cheap = left <= self.checkpoint_pages / LITTLE_LEFT && !self.checkpointer.is_running();
        let checkpoints = if cheap { EMPTY_AT_CHECKPOINTS } else { EMPTY_AT_LAST_CHECKPOINTS };
        // Where somebody still reads it stays long: not at every commit.
        let tried = pages.saturating_sub(self.tried_pages) < self.checkpoint_pages;
        if pages < checkpoints * self.checkpoint_pages || tried {
            return Ok(());
        }
        self.tried_pages = pages;
        self.checkpoint()
    }

    /// Moves what is in the write-ahead log into the database; waits for nobody but the checkpoint beside it.
    fn checkpoint(&mut self) -> Result<(), Fatal> {
        let mut turn = self.checkpointer.turn();
        let moved = open::checkpoint(self.connection).map_err(WriteError::sqlite(open::MOVE));
        match moved.and_then(|pages| checkpoint::note(&mut turn, self.connection, self.shared).map(|()| pages)) {
            Ok(pages) => self.checkpointer.has_moved(pages),
            // Nothing is lost: it stays in the write-ahead log.
            Err(WriteError::Held) => {}
            Err(WriteError::Full) => self.set_space(Space::Full),
            Err(WriteError::Fatal(fatal)) => return Err(fatal),
        }
        self.asked_pages = self.wal_pages.load(Ordering::Relaxed);
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Fatal> {
        match self.look_for_cuts() {
            Ok(()) => {}
            // The next look tells.
            Err(WriteError::Held | WriteError::Full) => return Ok(()),
            Err(WriteError::Fatal(fatal)) => return Err(fatal),
        }
        self.reserve_ids()?;
        // A few pages are not worth two fsyncs.
        let pages = self.wal_pages.load(Ordering::Relaxed);
        if pages.saturating_sub(self.asked_pages) >= IDLE_CHECKPOINT_PAGES.min(self.checkpoint_pages) {
            self.checkpoint()?;
        }
        if self.clock_written.elapsed() >= CLOCK_IDLE_INTERVAL {
            self.write_clock()?;
        }
        // Grown while somebody read: nothing waits for it now.
        if self.shared.log_bytes() > self.page_bytes * u64::from(self.checkpoint_pages) {
            self.give_room_back()?;
        }
        self.look_at_space()
    }

    fn write_clock(&mut self) -> Result<(), Fatal> {
        self.clock_written = Instant::now();
        let clock_ms = self.shared.clock.now_ms();
        let written = self
            .applier
            .begin()
            .and_then(|()| self.applier.put_number(open::NAMED_CLOCK, clock_ms))
            .and_then(|()| self.applier.commit());
        if written.is_ok() {
            self.clock_known = clock_ms;
            return self.look_behind_commit().map_err(fatal);
        }
        match written {
            // Without room for it the clock falls back a little after a restart, which is safe.
            Err(WriteError::Full) => self.applier.roll_back().map_err(fatal),
            Err(WriteError::Held) if self.connection.is_autocommit() => Ok(()),
            Err(WriteError::Held) => self.applier.roll_back().map_err(fatal),
            Err(WriteError::Fatal(fatal)) => Err(fatal),
            Ok(()) => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), Fatal> {
        self.checkpointer.stop();
        if let Some(fatal) = self.shared.queue.failed() {
            return Err(fatal);
        }
        self.write_clock()?;
        open::checkpoint_whole(self.connection)
            .or_else(|error| match error {
                // Somebody still reads: the next start does it.
                Error::BeingRead { .. } => Ok(()),
                Error::Sqlite { source, .. } if files::is_held(&source) => Ok(()),
                error => Err(error),
            })
            .map_err(|error| Fatal { action: "close", why: error.to_string() })
    }

    fn look_at_space(&mut self) -> Result<(), Fatal> {
        self.space_looked = Instant::now();
        self.bytes_since_look = 0;
        self.look_who_reads();
        if self.has_room() == Some(false) && self.shared.log_bytes() >= GIVEN_BACK_BYTES {
            self.give_room_back()?;
        }
        // A disk that does not answer this question will fail a commit soon enough.
        if let Some(has_room) = self.has_room() {
            self.set_space(if has_room { Space::Ok } else { Space::Reserve });
        }
        Ok(())
    }

    /// A checkpoint that cannot be completed is no error: the write-ahead log grows, until `reserve` is reached, and
    /// people are told why.
    fn look_who_reads(&self) {
        let mut known = self.shared.read_by.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let left = self.wal_pages.load(Ordering::Relaxed).saturating_sub(self.checkpointer.moved_pages());
        if left <= self.checkpoint_pages {
            if known.take().is_some() {
                tracing::info!("the write-ahead log (WAL) of the journal is moved into the database again");
            }
            return;
        }
        if known.is_some() || left / self.checkpoint_pages < LONG_AT_CHECKPOINTS {
            return;
        }
        // Of the own readers none takes long but `verify`.
        let Some(by) = files::holders(&self.shared.database, Hold::Reads) else { return };
        let bytes = self.shared.log_bytes();
        tracing::warn!(
            by,
            bytes,
            "the write-ahead log (WAL) of the journal grows: another program reads the database for long, no \
             checkpoint can empty it"
        );
        *known = Some(by);
    }

    /// Whether as much is free as is to be kept.
    fn has_room(&self) -> Option<bool> {
        let disk = self.shared.disk_free_bytes().ok()?;
        let free_pages: u64 = self.connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap_or(0);
        self.shared.free_bytes.store(disk, Ordering::Relaxed);
        Some(disk + free_pages * self.page_bytes >= self.shared.reserve_bytes)
    }

    /// The file of the write-ahead log keeps the length that it once had. On a small disk nothing new would be taken
    /// for want of the room that it holds, and nothing would be written that begins it again. Where somebody still
    /// reads it, the next look does it.
    fn give_room_back(&mut self) -> Result<(), Fatal> {
        let mut turn = self.checkpointer.turn();
        let emptied = open::checkpoint_unread(self.connection).map_err(WriteError::sqlite(open::MOVE));
        let emptied = emptied.and_then(|emptied| {
            checkpoint::note(&mut turn, self.connection, self.shared)?;
            self.files.emptied(self.connection)?;
            Ok(emptied)
        });
        match emptied {
            Ok(true) => {
                self.wal_pages.store(0, Ordering::Relaxed);
                (self.asked_pages, self.tried_pages) = (0, 0);
                Ok(())
            }
            // Nothing is lost: it stays in the write-ahead log.
            Ok(false) | Err(WriteError::Full | WriteError::Held) => Ok(()),
            Err(WriteError::Fatal(fatal)) => Err(fatal),
        }
    }

    fn set_space(&self, space: Space) {
        let before = Space::from_u8(self.shared.space.swap(space as u8, Ordering::Relaxed));
        if before != space {
            match space {
                Space::Ok => tracing::info!("there is room for the journal again: new writes are taken"),
                Space::Reserve => tracing::warn!("less than store.reserve is free: new writes are refused (507)"),
                Space::Full => {
                    tracing::warn!("the disk is full: new writes are refused (507), what was accepted waits for room");
                }
            }
        }
    }

    #[cfg(test)]
    fn apply_pages_max(&self) {
        let pages = self.shared.pages_max.load(Ordering::Relaxed);
        if pages == 0 {
            return;
        }
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).expect("a pragma");
    }
}
