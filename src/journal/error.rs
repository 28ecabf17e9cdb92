//! What can go wrong with the store, as facts.
use std::path::PathBuf;

use super::Quarantined;
use crate::model::{Group, LogId, WriteId};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data directory {} is in use by another process", .dir.display())]
    InUse { dir: PathBuf },
    #[error("{} is being read by another process: it must end first", .path.display())]
    BeingRead { path: PathBuf },
    #[error("cannot use data directory {}", .dir.display())]
    Directory {
        dir: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{} has schema version {found}, this binary knows versions up to {known}: \
         start the newer binary that wrote it", .path.display()
    )]
    NewerSchema { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} has schema version {found}, this binary knows versions from {first} on: bring the site to rest with the \
         binary that wrote it, then begin with an empty data directory", .path.display()
    )]
    OlderSchema { path: PathBuf, found: i64, first: i64 },
    #[error("{} is not a journal of this appliance: {why}", .path.display())]
    NotAJournal { path: PathBuf, why: String },
    #[error(
        "{} is missing, but its write-ahead log is there: put the file back. To begin as a new store instead, move the \
         whole data directory away", .path.display()
    )]
    DatabaseMissing { path: PathBuf },
    #[error("there is no journal at {}", .path.display())]
    NoJournal { path: PathBuf },
    #[error(
        "{} {why}. They were durable, and what they say of writes that were applied or acknowledged is lost: going on \
         would apply some again. Put the file back, or begin anew as after a lost disk", .path.display()
    )]
    WriteAheadLog { path: PathBuf, why: String },
    #[error(
        "{} is the journal of site {found:?}, and this is site {expected:?}: a data directory belongs to one \
         site", .path.display()
    )]
    OtherSite { path: PathBuf, found: String, expected: String },
    #[error("SQLite did not take {setting}: expected {expected}, it says {found}")]
    Setting { setting: &'static str, expected: String, found: String },
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Of a position: other sites may have it.
    #[error("{damage}")]
    Broken {
        log: LogId,
        position: u64,
        /// It stands in quarantine, and that can be read.
        entry: Option<Box<Quarantined>>,
        damage: Box<Damage>,
    },
    #[error("the journal's readers have more than {limit} questions waiting")]
    Busy { limit: usize },
    #[error("the journal is closed")]
    Closed,
    #[error(transparent)]
    Failed(#[from] Fatal),
    #[error("cannot {action} in the journal")]
    Sqlite {
        action: &'static str,
        #[source]
        source: rusqlite::Error,
    },
}

impl Error {
    /// Of an opening: another moment may be better. A process that is about to end has the folder, or the disk is not
    /// mounted yet, so that there is none, or one that belongs to somebody else.
    pub fn may_pass(&self) -> bool {
        use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        match self {
            Error::InUse { .. } | Error::BeingRead { .. } => true,
            Error::Directory { dir, source } => {
                let is_nowhere = dir.is_symlink() && !dir.exists();
                let kinds = [NotFound, NotADirectory, PermissionDenied];
                is_nowhere || kinds.contains(&source.kind())
            }
            _ => false,
        }
    }

    pub(super) fn sqlite(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
        move |source| Error::Sqlite { action, source }
    }
}

/// One record that is not what was written, or is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[error("{record}: {why}")]
pub struct Damage {
    pub record: RecordName,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordName {
    Row(WriteId),
    Request(WriteId),
    Quarantined(WriteId),
    Series { group: Group, log: LogId },
    Position { group: Group, log: LogId, position: u64 },
    Stopped(Group),
    Age(Group),
    Named(String),
    Database,
}

impl std::fmt::Display for RecordName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordName::Row(id) => write!(f, "row of write {id}"),
            RecordName::Request(id) => write!(f, "request of write {id}"),
            RecordName::Quarantined(id) => write!(f, "quarantine record of write {id}"),
            RecordName::Series { group, log } => write!(f, "series {log} of {group}"),
            RecordName::Position { group, log, position } => {
                write!(f, "position {position} in series {log} of {group}")
            }
            RecordName::Stopped(group) => write!(f, "stop record of {group}"),
            RecordName::Age(group) => write!(f, "age record of {group}"),
            RecordName::Named(name) => write!(f, "named value {name:?}"),
            RecordName::Database => f.write_str("database"),
        }
    }
}

/// Why a batch was not made durable. What became of it is unknown, not "no": after `Fatal` only a restart can tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the journal failed and takes no writes until a restart: {0}")]
    Fatal(Fatal),
    #[error("the journal was closed before the batch was written")]
    Closed,
}

/// The disk or the database failed: stop taking writes and end the process (exit code 74), never try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action}: {why}")]
pub struct Fatal {
    pub action: &'static str,
    pub why: String,
}
