//! The files of the database, and what other hands do to them while this process runs.
//!
//! SQLite's locks are POSIX locks: they belong to the process and the file, and go with the first descriptor of that
//! file that the process closes, whoever opened it. So once SQLite has opened them, nothing here opens one of these
//! files again: they are looked at by their names alone.
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::apply::WriteError;
use super::seen::{Found, Moved, Seen, Written};
use super::{Fatal, beneath, schema};

/// What failed where other hands were at the files.
pub(super) const KEEP: &str = "keep the database";
const PRIVATE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;
const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
/// SQLite's locks in `-shm`: the one who writes, and those who read.
const WRITER_BYTE: u64 = 120;
const READER_BYTES: std::ops::RangeInclusive<u64> = 123..=127;

/// Database, write-ahead log, index of the log.
pub(super) fn paths(database: &Path) -> [PathBuf; 3] {
    let beside = |suffix| {
        let mut path = database.to_owned().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    };
    [database.to_owned(), beside("-wal"), beside("-shm")]
}

// === what they are ===

/// The files that SQLite has open, known by their numbers.
pub(super) struct Files {
    paths: [PathBuf; 3],
    /// `None` where they have no names that others could know.
    known: Option<[(u64, u64); 3]>,
    page_bytes: u64,
    /// The database's length never falls but by somebody's `VACUUM`.
    length: u64,
    /// `None` as for `known`.
    seen: Option<Seen>,
}

impl Files {
    /// Right after they were opened.
    pub(super) fn known(database: &Path, page_bytes: u64) -> io::Result<Self> {
        let paths = paths(database);
        let number = |path: &Path| path.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        if crate::failpoint::loses_power() {
            return Ok(Self { paths, known: None, page_bytes, length: 0, seen: None });
        }
        let known = Some([number(&paths[0])?, number(&paths[1])?, number(&paths[2])?]);
        let length = database.metadata()?.len();
        Ok(Self { paths, known, page_bytes, length, seen: None })
    }

    /// What is at their places is not what SQLite has open.
    pub(super) fn changed(&self) -> Option<String> {
        self.paths.iter().zip(self.known?).find_map(|(path, known)| match path.metadata() {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == known => {
                // Touched behind its end, what is mapped of it would end the process without a word.
                let is_cut = *path == self.paths[2] && metadata.len() < beneath::REGION_BYTES;
                is_cut.then(|| format!("{} was cut short while it was in use", path.display()))
            }
            Ok(_) => Some(format!("{} was replaced by another file while it was in use", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("{} was deleted or moved away while it was in use", path.display()))
            }
            Err(error) => Some(format!("{} cannot be looked at any more: {error}", path.display())),
        })
    }

    /// The write-ahead log alone is gone: what was committed into it is still to be had from the file that has no name
    /// any more.
    pub(super) fn log_is_gone(&self) -> bool {
        let Some(known) = self.known else { return false };
        let is_known = |n: usize| self.paths[n].metadata().is_ok_and(|m| (m.dev(), m.ino()) == known[n]);
        is_known(0) && is_known(2) && !self.paths[1].exists()
    }

    /// Before the first commit.
    pub(super) fn look_first(&mut self, connection: &Connection) -> Result<Option<Moved>, WriteError> {
        if self.known.is_none() {
            return Ok(None);
        }
        self.seen = Some(Seen::now(connection, &self.paths[1])?);
        Moved::now(connection, &self.paths[0])
    }

    /// What other hands wrote into the log. `is_own`: right behind a commit of this connection.
    pub(super) fn look_at_log(&mut self, connection: &Connection, is_own: bool) -> Result<Found, WriteError> {
        self.seen.as_mut().map_or(Ok(Found::Own), |seen| seen.look(connection, &self.paths[1], is_own))
    }

    /// And into the database, since it was moved into last; `moved` is brought up to date.
    pub(super) fn look_at_database(
        &self,
        connection: &Connection,
        moved: &mut Option<Moved>,
    ) -> Result<Found, WriteError> {
        if self.known.is_none() {
            return Ok(Found::Own);
        }
        let Some(now) = Moved::now(connection, &self.paths[0])? else { return Ok(Found::Own) };
        let found = match moved.as_ref().map(|before| before.written_until(&now)) {
            None | Some(Written::Not) => Found::Own,
            Some(Written::BySqlite) => Found::Foreign,
            Some(Written::Past) => {
                let path = self.paths[0].display();
                let why = format!("{path} was written into by another program than SQLite while it was in use");
                return Err(WriteError::Fatal(Fatal { action: KEEP, why }));
            }
        };
        *moved = Some(now);
        Ok(found)
    }

    /// After this connection has emptied the log.
    pub(super) fn emptied(&mut self, connection: &Connection) -> Result<(), WriteError> {
        self.seen.as_mut().map_or(Ok(()), |seen| seen.forget(connection, &self.paths[1]))
    }

    fn log_bytes(&self, frames: u32) -> u64 {
        if frames == 0 { 0 } else { LOG_HEADER_BYTES + u64::from(frames) * (FRAME_HEADER_BYTES + self.page_bytes) }
    }

    /// The write-ahead log is shorter than what was committed into it, of which `frames` is known. Somebody else may
    /// have moved it into the database and emptied it, as anybody may: SQLite is asked before it counts as damage.
    pub(super) fn look_for_cuts(&mut self, connection: &Connection, frames: u32) -> Result<(), WriteError> {
        if self.known.is_none() {
            return Ok(());
        }
        let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        let cut = |path: &Path| {
            let why = format!("{} was cut short while it was in use", path.display());
            WriteError::Fatal(Fatal { action: KEEP, why })
        };
        let log = || length(&self.paths[1]);
        if log() < self.log_bytes(frames) {
            // Looked at between two equal answers: others may write and empty it meanwhile, and the frames come before
            // their number.
            let mut before = frames_there(connection)?;
            loop {
                let is_short = log() < self.log_bytes(before);
                let after = frames_there(connection)?;
                match (is_short, before == after) {
                    (false, _) => break,
                    (true, true) => return Err(cut(&self.paths[1])),
                    (true, false) => before = after,
                }
            }
        }
        let database = length(&self.paths[0]);
        if database < self.length {
            // A stranger's `VACUUM` makes it shorter too. Pages in memory would hide what is gone.
            let whole = connection.execute_batch("PRAGMA shrink_memory").and_then(|()| {
                connection.query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get_ref(0)?.as_str()? == "ok"))
            });
            match whole {
                Ok(true) => {}
                Err(error) if is_held(&error) => return Err(WriteError::Held),
                _ => return Err(cut(&self.paths[0])),
            }
        }
        self.length = database;
        Ok(())
    }
}

/// Frames in the write-ahead log, as the index that all share says.
fn frames_there(connection: &Connection) -> Result<u32, WriteError> {
    let there: i64 = connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1))
        .map_err(WriteError::sqlite("look at the write-ahead log"))?;
    // -1: somebody makes the index anew just now.
    u32::try_from(there).map_err(|_| WriteError::Held)
}

// === who may read them ===

/// Makes the folder for its owner alone, and takes from others what an earlier version, or a hand, has left them.
pub(super) fn make_folder(dir: &Path) -> io::Result<()> {
    if !dir.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(dir)?;
    }
    tighten(dir, PRIVATE_FOLDER)
}

/// The database is made empty before SQLite does it, which gives its other files the same mode whatever the umask.
pub(super) fn make_private(database: &Path) -> io::Result<()> {
    if !database.exists() {
        std::fs::File::options().create(true).append(true).mode(PRIVATE).open(database)?;
    }
    paths(database).iter().filter(|path| path.exists()).try_for_each(|path| tighten(path, PRIVATE))
}

pub(super) fn open_private(path: &Path) -> io::Result<std::fs::File> {
    let file = std::fs::File::options().create(true).truncate(false).write(true).mode(PRIVATE).open(path)?;
    tighten(path, PRIVATE)?;
    Ok(file)
}

fn tighten(path: &Path, mode: u32) -> io::Result<()> {
    let found = path.metadata()?.permissions().mode() & 0o7777;
    if found & !mode & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(
        path = %path.display(), mode = format!("{found:o}"),
        "others could read or change it; now its owner alone may"
    );
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(found & mode))
}

// === who else uses them ===

/// What other processes hold of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Writes,
    Reads,
}

/// Which other programs hold it, with number and name as far as the system tells: for people.
pub(super) fn holders(database: &Path, hold: Hold) -> Option<String> {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let [database, _, index] = paths(database);
    let number = |path: &Path| path.metadata().map_or(0, |metadata| metadata.ino());
    let mut pids = foreign(&locks, number(&index), hold);
    if pids.is_empty() {
        pids = foreign(&locks, number(&database), hold);
    }
    let own = std::process::id();
    let named = pids.into_iter().filter(|pid| *pid != own).map(|pid| match pid {
        0 => "a process of another container".to_owned(),
        pid => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (process {pid})", if name.trim().is_empty() { "a program" } else { name.trim() })
        }
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// Where the system does not tell.
pub(super) fn unnamed() -> String {
    "another program".to_owned()
}

/// As `/proc/locks` has them: `1: POSIX  ADVISORY  WRITE 4711 08:01:1234 120 120`.
fn foreign(locks: &str, inode: u64, hold: Hold) -> Vec<u32> {
    let mut pids = Vec::new();
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "->").collect();
        let [_, class, _, kind, pid, file, from, to] = words[..] else { continue };
        let of_file = class != "FLOCK" && file.rsplit(':').next().and_then(|ino| ino.parse().ok()) == Some(inode);
        let (from, to) = (from.parse().unwrap_or(0), to.parse().unwrap_or(u64::MAX));
        let touches = |range: std::ops::RangeInclusive<u64>| from <= *range.end() && to >= *range.start();
        let holds = match hold {
            Hold::Writes => kind == "WRITE" && (touches(WRITER_BYTE..=WRITER_BYTE) || from > *READER_BYTES.end() + 1),
            Hold::Reads => kind == "READ" && touches(READER_BYTES),
        };
        // Of another namespace: 0, of a lock that belongs to no process: -1.
        let pid = pid.parse().unwrap_or(0);
        if of_file && holds && !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    pids
}

/// Somebody else holds a lock: it is not the disk.
pub(super) fn is_held(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, FileLockingProtocolFailed};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | FileLockingProtocolFailed))
}

/// For opening, where there is no writer yet: again and again, and said to whoever looks for why it takes so long.
pub(super) fn wait_for_lock<T>(
    database: &Path,
    mut open: impl FnMut() -> Result<T, super::Error>,
) -> Result<T, super::Error> {
    const SAID_EVERY: u32 = 6;
    let mut tries = 0;
    loop {
        match open() {
            Err(super::Error::Sqlite { action, source }) if is_held(&source) => {
                if tries % SAID_EVERY == 0 {
                    let by = holders(database, Hold::Writes).unwrap_or_else(unnamed);
                    tracing::warn!(
                        by,
                        action,
                        "another program holds the lock of the journal's database; the start waits for it"
                    );
                }
                tries += 1;
                // Where SQLite does not wait itself.
                std::thread::park_timeout(schema::BUSY_TIMEOUT / 10);
            }
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_read_from_the_systems_list() {
        let locks = "1: FLOCK  ADVISORY  WRITE 9 08:01:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 11 08:01:77 120 120\n\
                     3: POSIX  ADVISORY  READ  12 08:01:77 124 124\n\
                     3: -> POSIX  ADVISORY  WRITE 13 08:01:77 121 121\n\
                     4: POSIX  ADVISORY  READ  14 08:01:77 128 128\n\
                     5: POSIX  ADVISORY  WRITE 15 08:01:78 120 120\n\
                     6: POSIX  ADVISORY  WRITE 0 08:01:79 120 127\n\
                     nonsense\n";
        assert_eq!(foreign(locks, 77, Hold::Writes), [11]);
        assert_eq!(foreign(locks, 77, Hold::Reads), [12]);
        assert_eq!(foreign(locks, 79, Hold::Writes), [0]);
        assert!(foreign(locks, 80, Hold::Reads).is_empty());
    }
}
