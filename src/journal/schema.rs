//! Opening the database: settings that the promises rest on, read back, and migrations.
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Damage, Durability, Error, RecordName, files};

pub(super) const FILE_NAME: &str = "holdfast.db";
/// "HFJL": tells a journal from any other SQLite file.
const APPLICATION_ID: i64 = 0x4846_4a4c;
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
/// The writer asks again itself, so that it can be closed meanwhile.
pub(super) const WRITER_PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);
/// Older ones held records of a format that nobody ever ran and nothing reads.
const FIRST_VERSION: i64 = 4;
/// One entry per schema version from [`FIRST_VERSION`] on, each a step from the one before.
const MIGRATIONS: &[&str] = &[include_str!("schema_4.sql")];

/// The one connection that writes and checkpoints.
pub(super) fn open_writer(path: &Path, page_bytes: u32) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Error::sqlite("open the database"))?;
    check_identity(&connection, path)?;
    // Has an effect on a new database only.
    connection.pragma_update(None, "page_size", page_bytes).map_err(Error::sqlite("set the page size"))?;
    set(&connection, "journal_mode", "wal", "wal")?;
    // FULL until the first synced commit; the level of service is set after it.
    set_level(&connection, Durability::PowerLoss)?;
    set_common(&connection)?;
    // Checkpoints are made by the writer between commits, never inside one.
    set(&connection, "wal_autocheckpoint", 0, "0")?;
    set(&connection, "journal_size_limit", 64 << 20, &(64 << 20).to_string())?;
    migrate(&connection)?;
    check_tables(&connection)?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(Error::sqlite("open the database for reading"))?;
    set_level(&connection, Durability::PowerLoss)?;
    set_common(&connection)?;
    set(&connection, "wal_autocheckpoint", 0, "0")?;
    set(&connection, "query_only", 1, "1")?;
    Ok(connection)
}

/// The level belongs to the connection and is not stored in the file.
pub(super) fn set_level(connection: &Connection, durability: Durability) -> Result<(), Error> {
    match durability {
        Durability::PowerLoss => set(connection, "synchronous", "FULL", "2"),
        Durability::ProcessCrash => set(connection, "synchronous", "NORMAL", "1"),
    }
}

fn set_common(connection: &Connection) -> Result<(), Error> {
    // A mapped page could be written back without the pager's knowledge, and a read error would be a signal.
    set(connection, "mmap_size", 0, "0")?;
    // Nobody else writes; somebody may look at the file with another program for a moment.
    connection.busy_timeout(BUSY_TIMEOUT).map_err(Error::sqlite("set the busy timeout"))?;
    // Closing the last connection would move the write-ahead log and fsync again, even after an fsync has failed. The
    // writer does it itself when all is well.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(Error::sqlite("keep the write-ahead log at closing"))?;
    connection.pragma_update(None, "cache_size", -16_384).map_err(Error::sqlite("set the cache size"))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Sets a pragma and asserts that SQLite took it.
fn set(connection: &Connection, name: &'static str, value: impl rusqlite::ToSql, expected: &str) -> Result<(), Error> {
    let action = "set what the promises rest on";
    let ignore_row = |_: &rusqlite::Row<'_>| Ok(());
    connection.pragma_update_and_check(None, name, &value, ignore_row).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(Error::Sqlite { action, source: error }),
    })?;
    let found = match connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)) {
        Ok(rusqlite::types::Value::Text(text)) => text,
        Ok(rusqlite::types::Value::Integer(number)) => number.to_string(),
        // A build without memory-mapped files has no value to report.
        Err(rusqlite::Error::QueryReturnedNoRows) if name == "mmap_size" => "0".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(source) => return Err(Error::Sqlite { action, source }),
    };
    if found != expected {
        return Err(Error::Setting { setting: name, expected: expected.to_owned(), found });
    }
    Ok(())
}

fn pragma(connection: &Connection, name: &str) -> Result<i64, Error> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(Error::sqlite("read the schema version"))
}

/// Refuses foreign files and newer schemas before anything is changed.
fn check_identity(connection: &Connection, path: &Path) -> Result<(), Error> {
    let application_id = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0));
    let not_a_journal = |why: String| Error::NotAJournal { path: path.to_owned(), why };
    let refuse = |error: rusqlite::Error| match files::is_held(&error) {
        true => Error::Sqlite { action: "look at the database", source: error },
        false => not_a_journal(error.to_string()),
    };
    let application_id = application_id.map_err(&refuse)?;
    let found = pragma(connection, "user_version")?;
    // A crash while it was made may have left a database without tables.
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    let is_empty = tables.map_err(&refuse)? == 0;
    let is_new = application_id == 0 && found == 0 && is_empty;
    if !is_new && application_id != APPLICATION_ID {
        return Err(not_a_journal(format!("application id {application_id:#x}, expected {APPLICATION_ID:#x}")));
    }
    let known = FIRST_VERSION + MIGRATIONS.len() as i64 - 1;
    if found > known {
        return Err(Error::NewerSchema { path: path.to_owned(), found, known });
    }
    if !is_new && (1..FIRST_VERSION).contains(&found) {
        return Err(Error::OlderSchema { path: path.to_owned(), found, first: FIRST_VERSION });
    }
    Ok(())
}

fn migrate(connection: &Connection) -> Result<(), Error> {
    let version = pragma(connection, "user_version")?;
    for (version, sql) in (FIRST_VERSION..).zip(MIGRATIONS).filter(|(step, _)| *step > version) {
        // One transaction per step: a crash leaves the version before or the one after.
        let step = format!(
            "BEGIN IMMEDIATE; {sql} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}; COMMIT;"
        );
        connection.execute_batch(&step).map_err(Error::sqlite("bring the schema up to date"))?;
    }
    Ok(())
}

/// The text of each table and index is as it was made: with another one rows are still found, but not all of them, or
/// not by what they should be.
fn check_tables(connection: &Connection) -> Result<(), Error> {
    let failed = || Error::sqlite("compare the schema");
    let right = Connection::open_in_memory().map_err(failed())?;
    right.execute_batch(&MIGRATIONS.concat()).map_err(failed())?;
    let tables = |of: &Connection| {
        let mut read = of.prepare("SELECT name, type, tbl_name, sql FROM sqlite_schema")?;
        let tables = read.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?))))?;
        tables.collect::<rusqlite::Result<BTreeMap<String, (String, String, Option<String>)>>>()
    };
    let (found, right) = (tables(connection).map_err(failed())?, tables(&right).map_err(failed())?);
    match right.iter().find(|(name, table)| found.get(*name) != Some(*table)) {
        Some((name, _)) => {
            let why = format!("the definition of {name} is not as it was written");
            Err(Damage { record: RecordName::Database, why }.into())
        }
        None => Ok(()),
    }
}

/// Of a larger database it would hold up the start for seconds.
const CHECKED_BYTES_MAX: i64 = 256 << 20;

/// By these indexes keys and open writes are found, and what they have lost is not there for anybody: a key would be
/// taken for a new one. Sums of both sides tell; which entry it is, `verify` says.
pub(super) fn check_indexes(connection: &Connection) -> Result<(), Error> {
    let failed = || Error::sqlite("compare indexes with their tables");
    let bytes: i64 = connection
        .query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| row.get(0))
        .map_err(failed())?;
    if bytes > CHECKED_BYTES_MAX {
        return Ok(());
    }
    // In one statement, so of one moment. Every changed bit changes its remainder by a prime.
    let sums = "SELECT t.keys, t.open, \
                (SELECT ifnull(sum((grp * 31 + key % 1000003) % 1000003), 0) || '/' || count(*) \
                 FROM write INDEXED BY write_key WHERE key IS NOT NULL), \
                (SELECT ifnull(sum((grp * 31 + id) % 1000003), 0) || '/' || count(*) \
                 FROM write INDEXED BY write_open WHERE standing = 1) \
                FROM (SELECT ifnull(sum((grp * 31 + key % 1000003) % 1000003), 0) || '/' || count(key) AS keys, \
                      ifnull(sum(iif(standing = 1, (grp * 31 + id) % 1000003, 0)), 0) || '/' \
                      || ifnull(sum(standing = 1), 0) AS open FROM write NOT INDEXED) t";
    let read = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
    let [keys, open, indexed_keys, indexed_open]: [String; 4] =
        connection.query_row(sums, [], read).map_err(failed())?;
    for (name, table, index) in [("write_key", keys, indexed_keys), ("write_open", open, indexed_open)] {
        if table != index {
            let why = format!("index {name} does not fit its table; `journal verify` names the rows");
            return Err(Damage { record: RecordName::Database, why }.into());
        }
    }
    Ok(())
}
