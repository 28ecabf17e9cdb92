//! What a node's decisions are fed with, and what they lead to.
use uuid::Uuid;

use super::watch::Reopen;
use crate::dedup::Fingerprint;
use crate::model::{Group, LogId, SiteName};

/// A fact whose latest value counts: said again until a newer one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    Head { position: u64 },
    Cursor { received: u64, decided: u64 },
    Health { healthy: bool, lag_ms: u64 },
}

/// What a level is about. `log` is `None` for health.
pub type LevelId = (u8, Group, Option<LogId>);

impl Level {
    pub fn id(&self, group: Group, log: Option<LogId>) -> LevelId {
        let kind = match self {
            Level::Head { .. } => 0,
            Level::Cursor { .. } => 1,
            Level::Health { .. } => 2,
        };
        (kind, group, log)
    }
}

/// What happens at a node.
#[derive(Debug)]
pub enum Input {
    Publish(Vec<(Group, Fingerprint)>),
    Level(LevelId, Level),
    /// A publication, or the answer to a question.
    Sample {
        key: String,
        payload: Vec<u8>,
    },
    /// A node's liveliness token came or went.
    Token {
        generation: u64,
        key: String,
        up: bool,
    },
    /// The session was opened or closed.
    Session {
        generation: u64,
        open: bool,
    },
    /// A connection to a hub came or went.
    Hub {
        generation: u64,
        up: bool,
    },
    Tick,
}

/// What other nodes said, and was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    Fingerprints { group: Group, prints: Vec<Fingerprint> },
    Head { site: SiteName, group: Group, log: LogId, position: u64 },
    Cursor { site: SiteName, group: Group, log: LogId, received: u64, decided: u64 },
    Health { site: SiteName, group: Group, healthy: bool, lag_ms: u64 },
    Alive { site: SiteName, node: String, boot: Uuid, up: bool },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Put { key: String, payload: Vec<u8> },
    Ask { key: String, payload: Vec<u8> },
    Hint(Hint),
    Reopen(Reopen),
}
