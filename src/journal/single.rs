//! The journal without its threads, one call after the other: the same schema, start, transactions and look-ups. For
//! simulation, over a disk that fails on order.
//!
//! What [`super::Journal`] decides by time and threads is decided here by whoever calls: what makes one transaction,
//! when a full disk is tried again. Checkpoints follow a commit at once.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::apply::{Applier, Remembered, WriteError};
use super::queue::Work;
use super::reader::Reader;
use super::shared::Shared;
use super::{Committed, Damage, Error, Fatal, Op, OpenOptions, Recovered, Report, open, schema, writer};
use crate::journal::{Find, Found};
use crate::model::{Group, Item, LogId, WriteId};

pub struct Single {
    reader: Reader,
    connection: Connection,
    remembered: Remembered,
    shared: Arc<Shared>,
    log: LogId,
    options: OpenOptions,
    wal_pages: Arc<AtomicU32>,
    checkpoint_pages: u32,
    clock_written_ms: u64,
}

/// Why a transaction was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// Nothing of it: the same again when there is room.
    #[error("the disk is full")]
    Full,
    /// What became of it only the next opening can tell.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl From<WriteError> for NotWritten {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full => NotWritten::Full,
            // Nobody else opens what a simulation writes to.
            WriteError::Held => NotWritten::Fatal(Fatal { action: "write", why: "the database is locked".to_owned() }),
            WriteError::Fatal(fatal) => NotWritten::Fatal(fatal),
        }
    }
}

impl Single {
    /// `database` is what SQLite opens: a path, or a URI that names a VFS. A new one gets the name `store`. Of the
    /// options `data_dir`, threads and queues mean nothing here. What a journal does to its files besides SQLite,
    /// making the write-ahead log durable before anything else, is up to whoever owns the disk.
    pub fn open(database: &str, options: &OpenOptions, store: [u8; 16]) -> Result<Self, Error> {
        let database = PathBuf::from(database);
        let mut connection = schema::open_writer(&database, options.page_bytes)?;
        let life = open::begin(&connection, options, || store)?;
        schema::set_level(&connection, options.durability)?;
        let log = life.log;
        let failed = |fatal: Fatal| Error::Failed(fatal);
        let wal_pages = writer::watch_log(&mut connection).map_err(failed)?;
        let remembered = match Applier::new(&connection) {
            Ok(applier) => applier.into_remembered(),
            Err(WriteError::Full | WriteError::Held) => unreachable!("nothing was written"),
            Err(WriteError::Fatal(fatal)) => return Err(failed(fatal)),
        };
        let page_bytes: u64 = connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .map_err(Error::sqlite("read the page size"))?;
        let shared = Arc::new(Shared::new(options, database, life, None));
        let reader = Reader::open(shared.clone())?;
        let clock_written_ms = shared.clock.base_ms();
        let checkpoint_pages = (options.checkpoint_bytes / page_bytes).max(1) as u32;
        let options = options.clone();
        Ok(Self { reader, connection, remembered, shared, log, options, wal_pages, checkpoint_pages, clock_written_ms })
    }

    pub fn log(&self) -> LogId {
        self.log
    }

    /// The retention clock as the lives before have left it.
    pub fn clock_base_ms(&self) -> u64 {
        self.shared.clock.base_ms()
    }

    /// A number that no life of this log has used or will use. More are reserved with the next commit: between two
    /// commits not more than half of `id_block` may be taken.
    pub fn next_id(&self) -> WriteId {
        let n = self.shared.ids.next_of_block().expect("numbers last until the next commit");
        WriteId { log: self.log, n }
    }

    /// All batches as one transaction, durable when it returns, as far as [`super::Durability`] says. `clock_ms`: the
    /// retention clock now.
    pub fn commit(&mut self, batches: Vec<(Arc<Group>, Vec<Op>)>, clock_ms: u64) -> Result<Vec<Committed>, NotWritten> {
        let mut applier = Applier::with(&self.connection, std::mem::take(&mut self.remembered))?;
        let works = batches.into_iter().map(|(group, ops)| Work::Batch { group, ops, done: Box::new(|_| ()) });
        let works: Vec<Work> = works.collect();
        let clock_due = clock_ms.saturating_sub(self.clock_written_ms) >= writer::CLOCK_INTERVAL.as_millis() as u64;
        let written = Self::reserve(&self.connection, &self.shared, &mut applier, &self.options)
            .and_then(|()| writer::transact(&mut applier, &works, clock_due.then_some(clock_ms)));
        if matches!(written, Err(WriteError::Full)) {
            applier.roll_back()?;
        }
        self.remembered = applier.into_remembered();
        let committed = match written {
            Ok(committed) => committed,
            Err(WriteError::Full) => {
                // The database may have free pages: then the write-ahead log can be used again from its beginning.
                self.checkpoint()?;
                return Err(NotWritten::Full);
            }
            Err(error) => return Err(error.into()),
        };
        if clock_due {
            self.clock_written_ms = clock_ms;
        }
        if self.wal_pages.load(Ordering::Relaxed) >= self.checkpoint_pages {
            self.checkpoint()?;
        }
        Ok(committed)
    }

    fn reserve(
        connection: &Connection,
        shared: &Shared,
        applier: &mut Applier<'_>,
        options: &OpenOptions,
    ) -> Result<(), WriteError> {
        let Some(end) = shared.ids.wanted_end() else { return Ok(()) };
        match writer::reserve(connection, applier, end) {
            Ok(()) => {
                match open::checkpoint(connection).map_err(WriteError::sqlite(open::MOVE)) {
                    Ok(_) | Err(WriteError::Full) => {}
                    Err(error) => return Err(error),
                }
                shared.ids.extend(end);
            }
            // Half a block is left.
            Err(WriteError::Full) => applier.roll_back()?,
            Err(error) => return Err(error),
        }
        let level = schema::set_level(connection, options.durability);
        level.map_err(|error| WriteError::Fatal(Fatal { action: "reserve numbers", why: error.to_string() }))
    }

    fn checkpoint(&mut self) -> Result<(), NotWritten> {
        match open::checkpoint(&self.connection).map_err(WriteError::sqlite(open::MOVE)) {
            // Full: nothing is lost, it stays in the write-ahead log.
            Ok(_) | Err(WriteError::Full) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// As [`super::Journal::recover`], and the others as there.
    pub fn recover(&mut self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Result<Recovered, Error> {
        self.reader.recover(group, lanes_max, quarantined_max)
    }

    pub fn find(&mut self, group: &Group, find: Find) -> Result<Vec<Found>, Error> {
        self.reader.find(group, find)
    }

    pub fn read_series(
        &mut self,
        group: &Group,
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Item>>, Error> {
        self.reader.read_series(group, log, from, items_max, bytes_max)
    }

    pub fn verify(&mut self) -> Result<Report, Error> {
        self.reader.verify()
    }

    /// Broken records met so far.
    pub fn damages(&self) -> Vec<Damage> {
        self.shared.damages.list()
    }
}
