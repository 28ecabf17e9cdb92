//! How a journal is opened.
use std::path::PathBuf;

/// What a batch reported durable survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: one fsync per transaction (`synchronous = FULL`).
    PowerLoss,
    /// `kill -9` of the process. `synchronous = NORMAL`, not `OFF`: both survive a dead process, but after a loss of
    /// power `NORMAL` has lost only the last commits, `OFF` the whole database; it costs two fsyncs per checkpoint,
    /// none per transaction. Numbers of writes are reserved with an fsync all the same.
    ProcessCrash,
}

#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Made when it does not exist. One process at a time may use it.
    pub data_dir: PathBuf,
    /// Whose journal it is. The first one named is written down, and no other site takes the directory. `None`:
    /// whoever's.
    pub site: Option<String>,
    pub durability: Durability,
    /// With less free space than this [`super::Journal::space`] says [`Space::Reserve`]; the journal itself writes on.
    pub reserve_bytes: u64,
    /// Threads and connections for look-ups.
    pub readers: usize,
    /// Questions that may wait for a reader.
    pub questions_max: usize,
    /// Batches, and their bytes, that may wait for the writer or be under way.
    pub queue_batches_max: usize,
    pub queue_bytes_max: usize,
    /// Numbers for writes that are reserved durably at once.
    pub id_block: u64,
    /// Of a new database only.
    pub page_bytes: u32,
    /// A checkpoint follows a commit that leaves more than this in the write-ahead log.
    pub checkpoint_bytes: u64,
}

impl OpenOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            site: None,
            durability: Durability::PowerLoss,
            reserve_bytes: 512 << 20,
            readers: 2,
            questions_max: 256,
            queue_batches_max: 4_096,
            queue_bytes_max: 256 << 20,
            id_block: 1 << 20,
            page_bytes: 4_096,
            checkpoint_bytes: 16 << 20,
        }
    }
}

/// Whether new writes should be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Space {
    Ok = 0,
    /// Less than `reserve` is free: refuse new writes with 507, what was accepted goes on.
    Reserve = 1,
    /// The disk took no more: batches wait until it does.
    Full = 2,
}

impl Space {
    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            0 => Space::Ok,
            1 => Space::Reserve,
            _ => Space::Full,
        }
    }
}
