//! What the files held when this process looked last, so that what other hands write into them is noticed.
//!
//! Other programs may use the database by SQLite's rules, which tell all in the index that they share (`-shm`): how
//! many
//! frames the log has, their checksum, how many of them were moved. What does not fit to it, or goes back behind what
//! was there, was written past SQLite: nothing that is committed behind it would be found again.
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;

use super::apply::WriteError;
use super::wal::{self, Index};
use super::{Fatal, beneath, files};

/// How often what somebody is writing just now is looked at again.
const TRIES: u32 = 200;
const TRY_INTERVAL: std::time::Duration = std::time::Duration::from_millis(1);
const LOOK: &str = "look at the write-ahead log";

/// When a file was written last, and how long it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    length: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self { modified: (metadata.mtime(), metadata.mtime_nsec()), length: metadata.len() })
    }
}

/// The database, as the last checkpoint of anybody left it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    database: Stamp,
    index: Index,
}

/// How a look at the database ended.
pub(super) enum Written {
    Not,
    /// By somebody who moved the log into it, as anybody may.
    BySqlite,
    Past,
}

impl Moved {
    /// `None` where somebody is at it just now: the next look tells.
    pub(super) fn now(connection: &Connection, database: &Path) -> Result<Option<Self>, WriteError> {
        for _ in 0..TRIES {
            let (before, stamp, after) = (index(connection)?, Stamp::of(database), index(connection)?);
            if let (Some(before), Some(after), Ok(stamp)) = (before, after, stamp)
                && before.same_checkpoint(&after)
            {
                return Ok(Some(Self { database: stamp, index: after }));
            }
        }
        Ok(None)
    }

    pub(super) fn written_until(&self, now: &Self) -> Written {
        if self.database == now.database {
            Written::Not
        } else if self.index.same_checkpoint(&now.index) && !now.index.is_moving() {
            Written::Past
        } else {
            Written::BySqlite
        }
    }
}

/// The write-ahead log and its index.
pub(super) struct Seen {
    index: Index,
    log: Stamp,
    closed: Option<Closed>,
}

/// What is to be believed of a log that was written by somebody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Own,
    Foreign,
}

impl Seen {
    pub(super) fn now(connection: &Connection, log: &Path) -> Result<Self, WriteError> {
        let closed = Closed::watch(log);
        let stamp = Stamp::of(log).map_err(|error| gone(log, &error))?;
        let index = settled_index(connection)?.ok_or_else(|| overwritten(log))?;
        Ok(Self { index, log: stamp, closed })
    }

    /// Compares. `is_own`: behind a commit of this connection, before anybody is told of it. On [`Found::Foreign`] all
    /// frames were read and fit together.
    pub(super) fn look(&mut self, connection: &Connection, log: &Path, is_own: bool) -> Result<Found, WriteError> {
        let was_closed = self.closed.as_ref().is_some_and(Closed::take);
        for _ in 0..TRIES {
            let stamp = Stamp::of(log).map_err(|error| gone(log, &error))?;
            let index = settled_index(connection)?.ok_or_else(|| overwritten(log))?;
            let is_other = was_closed || !is_own && (stamp != self.log || index.salts != self.index.salts);
            let why = self.compare(connection, log, &index, is_other)?;
            if settled_index(connection)?.is_none_or(|again| again != index) {
                // Somebody writes it, or empties it, while it is looked at.
                std::thread::sleep(TRY_INTERVAL);
                continue;
            }
            if let Some(why) = why {
                return Err(WriteError::Fatal(Fatal { action: files::KEEP, why }));
            }
            (self.index, self.log) = (index, stamp);
            return Ok(if is_other { Found::Foreign } else { Found::Own });
        }
        Err(WriteError::Held)
    }

    /// After this connection has emptied the log.
    pub(super) fn forget(&mut self, connection: &Connection, log: &Path) -> Result<(), WriteError> {
        let stamp = Stamp::of(log).map_err(|error| gone(log, &error))?;
        if let Some(index) = settled_index(connection)? {
            (self.index, self.log) = (index, stamp);
        }
        Ok(())
    }

    fn compare(
        &self,
        connection: &Connection,
        log: &Path,
        index: &Index,
        whole: bool,
    ) -> Result<Option<String>, WriteError> {
        let before = &self.index;
        let goes_on = index.salts == before.salts;
        if index.is_before(before) || goes_on && index.frames < before.frames {
            let why = "the index of the write-ahead log went back to what it was: it was overwritten by another \
                       program while it was in use";
            return Ok(Some(format!("{}: {why}", log.with_extension("db-shm").display())));
        }
        let read = |offset: u64, bytes: &mut [u8]| {
            beneath::read_log(connection, offset, bytes).map_err(WriteError::sqlite(LOOK))
        };
        let written = |what: &str| {
            Ok(Some(format!("{} was overwritten by another program while it was in use: {what}", log.display())))
        };
        let stands = wal::Stands { index, read };
        if goes_on && before.frames > 0 && !stands.frame(before.frames, before)? {
            return written("what was committed into it last is not there");
        }
        if index.frames > 0 {
            if !stands.header()? {
                return written("its header is not the one that was written");
            }
            if !stands.frame(index.frames, index)? {
                return written("its last commit is not there");
            }
            if whole && let Some(frame) = stands.first_broken()? {
                return written(&format!("frame {frame} of {} is broken", index.frames));
            }
        }
        Ok(None)
    }
}

fn index(connection: &Connection) -> Result<Option<Index>, WriteError> {
    Ok(Index::new(&beneath::index(connection).map_err(WriteError::sqlite(LOOK))?))
}

/// `None`: whoever writes it does not come to an end.
fn settled_index(connection: &Connection) -> Result<Option<Index>, WriteError> {
    for _ in 0..TRIES {
        if let Some(index) = index(connection)? {
            return Ok(Some(index));
        }
        std::thread::sleep(TRY_INTERVAL);
    }
    Ok(None)
}

fn overwritten(log: &Path) -> WriteError {
    let index = log.with_extension("db-shm");
    let why = format!("{} was overwritten by another program while it was in use", index.display());
    WriteError::Fatal(Fatal { action: files::KEEP, why })
}

fn gone(path: &Path, error: &io::Error) -> WriteError {
    let why = format!("{} cannot be looked at any more: {error}", path.display());
    WriteError::Fatal(Fatal { action: files::KEEP, why })
}

/// Told by the system when somebody who could write a file has closed it: moments are too coarse for what is written
/// right behind a commit. Where it does not tell, moments must do.
struct Closed(OwnedFd);

impl Closed {
    #[allow(unsafe_code)]
    fn watch(path: &Path) -> Option<Self> {
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: a new descriptor that nobody else has, and a name that lives through the call. Watching opens
        // nothing.
        unsafe {
            let fd = libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC);
            let fd = (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?;
            (libc::inotify_add_watch(fd.as_raw_fd(), name.as_ptr(), libc::IN_CLOSE_WRITE) >= 0).then_some(Self(fd))
        }
    }

    #[allow(unsafe_code)]
    fn take(&self) -> bool {
        let mut events = [0_u8; 4096];
        // SAFETY: it writes at most so many bytes there.
        let length = unsafe { libc::read(self.0.as_raw_fd(), events.as_mut_ptr().cast(), events.len()) };
        length > 0
    }
}
