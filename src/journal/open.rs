//! The way from a data directory to a journal in service.
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension};

use super::files::{self, Files, Hold};
use super::record::{self, Key};
use super::shared::{Clock, Ids, Shared};
use super::{Damage, Durability, Error, OpenOptions, RecordName, names, schema, space, wal};
use crate::model::{DECISION, LogId};

const LOCK_NAME: &str = "holdfast.lock";
/// At once, of a write-ahead log that is made durable at start.
const REWRITE_BYTES: usize = 1 << 20;
pub(super) const NAMED_LOG: &str = "log";
pub(super) const NAMED_IDS: &str = "ids";
pub(super) const NAMED_CLOCK: &str = "clock";
const NAMED_SITE: &str = "site";

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) log: LogId,
    pub(super) files: Files,
}

/// Whether there is anything to open.
pub(super) fn exists(options: &OpenOptions) -> Result<(), Error> {
    let path = options.data_dir.join(schema::FILE_NAME);
    let log = options.data_dir.join(format!("{}-wal", schema::FILE_NAME));
    if path.exists() || log.exists() { Ok(()) } else { Err(Error::NoJournal { path }) }
}

/// What must have happened before a recovered row may be acted upon: the write-ahead log that an
/// earlier life left is made durable and moved into the database, and one commit is synced behind it.
pub(super) fn open(options: &OpenOptions) -> Result<Opened, Error> {
    crate::failpoint::lose_power_with_the_process();
    let dir = &options.data_dir;
    let in_directory = |source: io::Error| Error::Directory { dir: dir.clone(), source };
    create_directory(dir).map_err(in_directory)?;
    let lock = lock(dir)?;
    let database = dir.join(schema::FILE_NAME);
    look_at_files(&database, options.durability)?;
    files::make_private(&database).map_err(in_directory)?;
    rewrite_log(&database).map_err(in_directory)?;
    // The last time that anything but SQLite opens it: closing it later would drop the locks of this process (`files`).
    sync(&database).map_err(in_directory)?;
    let opened = files::wait_for_lock(&database, || {
        let connection = schema::open_writer(&database, options.page_bytes)?;
        check_site(&connection, &database, options.site.as_deref())?;
        let life = begin(&connection, options, || *uuid::Uuid::new_v4().as_bytes())?;
        schema::set_level(&connection, options.durability)?;
        let page_bytes = connection.query_row("PRAGMA page_size", [], |row| row.get(0));
        Ok((connection, life, page_bytes.map_err(Error::sqlite("read the page size"))?))
    });
    let (connection, life, page_bytes) = opened?;
    sync(dir).map_err(in_directory)?;
    let log = life.log;
    let files = Files::known(&database, page_bytes).map_err(in_directory)?;
    let shared = Shared::new(options, database, life, Some(lock));
    shared.free_bytes.store(space::free_bytes(dir).map_err(in_directory)?, Ordering::Relaxed);
    Ok(Opened { connection, shared: Arc::new(shared), log, files })
}

/// Before SQLite does: it would take what is missing or broken for the end of the log, and begin there.
fn look_at_files(database: &Path, durability: Durability) -> Result<(), Error> {
    let in_directory =
        |source: io::Error| Error::Directory { dir: database.parent().unwrap_or(database).to_owned(), source };
    let log = database.with_file_name(format!("{}-wal", schema::FILE_NAME));
    let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    // The database is written and synced before there is a log of it.
    if length(database) == 0 && length(&log) > 0 {
        return Err(Error::DatabaseMissing { path: database.to_owned() });
    }
    let broken = match durability {
        Durability::PowerLoss => wal::broken(&log, &database.with_file_name(format!("{}-shm", schema::FILE_NAME))),
        // Without a sync at each commit a loss of power may leave any part of it, as promised.
        Durability::ProcessCrash => wal::without_header(&log),
    };
    match broken.map_err(in_directory)? {
        None => Ok(()),
        Some(broken) => Err(Error::WriteAheadLog { path: log, why: broken.to_string() }),
    }
}

/// Two sites that act as one log would give two writes one name.
fn check_site(connection: &Connection, database: &Path, site: Option<&str>) -> Result<(), Error> {
    let found: Option<String> = get_named(connection, NAMED_SITE)?;
    match (found, site) {
        (Some(found), Some(expected)) if found != expected => {
            Err(Error::OtherSite { path: database.to_owned(), found, expected: expected.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Makes durable what is read of the write-ahead log.
///
/// After an fsync that failed the kernel takes its pages for written, shows them to the next process, and loses them
/// with the power; another fsync does nothing for them. Moved into the database as they are, a loss of power during the
/// move would leave a part of the last transaction there, and no log to complete it from. Written again, byte by byte
/// the same, they are.
fn rewrite_log(database: &Path) -> io::Result<()> {
    let log = match File::options().read(true).write(true).open(database.with_extension("db-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        log => log?,
    };
    let (mut chunk, mut offset) = (vec![0; REWRITE_BYTES], 0);
    loop {
        match log.read_at(&mut chunk, offset)? {
            0 => return log.sync_all(),
            length => {
                log.write_all_at(&chunk[..length], offset)?;
                offset += length as u64;
            }
        }
    }
}

/// One life of a store: its log, the numbers that this life may give, the retention clock as the last one left it.
pub(super) struct Life {
    pub(super) log: LogId,
    pub(super) ids: Ids,
    pub(super) clock: Clock,
}

/// What comes before the first look at a row, on a connection that syncs every commit.
pub(super) fn begin(
    connection: &Connection,
    options: &OpenOptions,
    new_store: impl FnOnce() -> [u8; 16],
) -> Result<Life, Error> {
    match checkpoint_whole(connection) {
        // Of what somebody still reads nothing is lost: it was written anew where it stands, and what is committed here
        // follows it.
        Err(Error::BeingRead { path }) => {
            let by = files::holders(&path, Hold::Reads).unwrap_or_else(files::unnamed);
            tracing::warn!(
                by,
                "another program reads the journal's database; the start goes on without emptying the write-ahead log"
            );
        }
        moved => moved?,
    }
    let life = begin_life(connection, options, new_store)?;
    // SQLite does not notice a write-ahead log that lost its tail: the reservation must not be in it alone.
    checkpoint(connection).map_err(Error::sqlite(MOVE))?;
    Ok(life)
}

/// Its name in the parent directory must be durable too.
fn create_directory(dir: &Path) -> io::Result<()> {
    if let Some(file) = dir.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is a file", file.display())));
    }
    let is_new = !dir.is_dir();
    files::make_folder(dir)?;
    if !is_new {
        return Ok(());
    }
    dir.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Keeps other processes out of the data directory.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child process that was being started just now holds the file open for a
        // moment. If it fails, closing it follows.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, Error> {
    let in_directory = |source: io::Error| Error::Directory { dir: dir.to_owned(), source };
    let file = files::open_private(&dir.join(LOCK_NAME)).map_err(in_directory)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(in_directory(source)),
    }
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) const MOVE: &str = "move the write-ahead log into the database";

/// Moves what nobody still reads into the database; waits for nobody. Returns how many pages of the write-ahead log are
/// there now.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<u32> {
    // -1 where there is no write-ahead log.
    let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(2))?;
    Ok(u32::try_from(moved).unwrap_or(0))
}

/// Moves all of the write-ahead log into the database and empties it.
pub(super) fn checkpoint_whole(connection: &Connection) -> Result<(), Error> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).map_err(Error::sqlite(MOVE))?;
    if busy != 0 {
        return Err(Error::BeingRead { path: connection.path().unwrap_or_default().into() });
    }
    Ok(())
}

/// As [`checkpoint_whole`], but waits for nobody who reads. Returns whether it was emptied.
pub(super) fn checkpoint_unread(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(std::time::Duration::ZERO)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(schema::WRITER_PATIENCE)?;
    Ok(busy? == 0)
}

/// The one synced commit: numbers for this life, and for a new store its name.
fn begin_life(
    connection: &Connection,
    options: &OpenOptions,
    new_store: impl FnOnce() -> [u8; 16],
) -> Result<Life, Error> {
    let (action, id_block) = ("begin a new life of the log", options.id_block);
    let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate);
    let transaction = transaction.map_err(Error::sqlite(action))?;
    let log = match get_named(&transaction, NAMED_LOG)? {
        Some((store, incarnation)) => LogId { store, incarnation },
        None if is_empty(&transaction)? => LogId { store: new_store(), incarnation: 1 },
        None => return Err(damaged_name(NAMED_LOG, "it is missing although writes are there").into()),
    };
    let reserved: Option<u64> = get_named(&transaction, NAMED_IDS)?;
    let start = reserved.unwrap_or(1).max(highest_own(&transaction, log)? + 1);
    let clock_ms: u64 = get_named(&transaction, NAMED_CLOCK)?.unwrap_or(0);
    let put = |name, value: &[u8]| {
        transaction.execute(PUT_NAMED, (name, value)).map(drop).map_err(Error::sqlite("begin a new life of the log"))
    };
    let mut record = Vec::new();
    record::encode(&mut record, Key::named(NAMED_LOG), &(log.store, log.incarnation));
    put(NAMED_LOG, &record)?;
    record::encode(&mut record, Key::named(NAMED_IDS), &(start + id_block));
    put(NAMED_IDS, &record)?;
    record::encode(&mut record, Key::named(NAMED_CLOCK), &clock_ms);
    put(NAMED_CLOCK, &record)?;
    if let Some(site) = &options.site {
        record::encode(&mut record, Key::named(NAMED_SITE), site);
        put(NAMED_SITE, &record)?;
    }
    transaction.commit().map_err(Error::sqlite(action))?;
    Ok(Life { log, ids: Ids::new(start, start + id_block, id_block), clock: Clock::new(clock_ms) })
}

pub(super) const PUT_NAMED: &str =
    "INSERT INTO named (name, body) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET body = excluded.body";

fn damaged_name(name: &str, why: &str) -> Damage {
    Damage { record: RecordName::Named(name.to_owned()), why: why.to_owned() }
}

/// A named record, checked.
pub(super) fn get_named<T>(connection: &Connection, name: &str) -> Result<Option<T>, Error>
where
    T: for<'de> wincode::SchemaRead<'de, record::Layout, Dst = T>,
{
    let body: Option<Vec<u8>> = connection
        .query_row("SELECT body FROM named WHERE name = ?1", [name], |row| row.get(0))
        .optional()
        .map_err(Error::sqlite("read a named value"))?;
    let decoded = body.map(|body| record::decode(Key::named(name), &body)).transpose();
    decoded.map_err(|why| damaged_name(name, &why).into())
}

fn is_empty(connection: &Connection) -> Result<bool, Error> {
    connection
        .query_row("SELECT NOT EXISTS (SELECT 1 FROM write) AND NOT EXISTS (SELECT 1 FROM named)", [], |row| row.get(0))
        .map_err(Error::sqlite("look for writes"))
}

/// A number in use is never below the reservation, unless that was lost. Decisions are not counted: theirs are made of
/// the numbers of what they decide, and a write that began above them would be taken for one.
fn highest_own(connection: &Connection, log: LogId) -> Result<u64, Error> {
    let ix: Option<i64> = connection
        .query_row("SELECT ix FROM log WHERE store = ?1 AND incarnation = ?2", (log.store, log.incarnation), |r| {
            r.get(0)
        })
        .optional()
        .map_err(Error::sqlite("look for the own log"))?;
    let Some(ix) = ix else { return Ok(0) };
    let highest: Option<i64> = connection
        .query_row("SELECT max(id) FROM write WHERE id BETWEEN ?1 AND ?2", names::places(ix, 0, DECISION - 1), |row| {
            row.get(0)
        })
        .map_err(Error::sqlite("look for the highest own write"))?;
    Ok(highest.map_or(0, names::position_of))
}
