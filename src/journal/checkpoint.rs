//! Moves the write-ahead log into the database beside the commits, on a thread and a connection of its own.
//!
//! A checkpoint of some MiB writes all over the database and syncs it: tens of milliseconds that no commit should wait
//! for. It cannot empty the log while commits follow each other; the writer does that with the little that is left
//! (`writer`).
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::apply::WriteError;
use super::seen::Moved;
use super::shared::Shared;
use super::{Error, Fatal, OpenOptions, Space, open, schema, writer};

/// What the writer knows of it.
pub(super) struct Checkpointer {
    asked: Option<SyncSender<()>>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// From being asked until it is done.
    running: AtomicBool,
    /// Pages of the write-ahead log that are in the database.
    moved_pages: AtomicU32,
    /// Held during a checkpoint: of two at once, SQLite would turn one away. What the database was after the last one.
    turn: Mutex<Option<Moved>>,
}

impl Checkpointer {
    pub(super) fn start(shared: &Arc<Shared>, options: &OpenOptions) -> Result<Self, Error> {
        let connection = schema::open_reader(&shared.database)?;
        let state = Arc::new(State::default());
        let (asked, questions) = sync_channel(1);
        let (shared, of_thread) = (shared.clone(), state.clone());
        let thread = std::thread::Builder::new().name("journal-checkpoint".into()).spawn(move || {
            while questions.recv().is_ok() {
                if let Err(fatal) = of_thread.checkpoint(&connection, &shared) {
                    return writer::fail(&shared, fatal);
                }
            }
        });
        let thread = thread.map_err(|source| Error::Directory { dir: options.data_dir.clone(), source })?;
        Ok(Self { asked: Some(asked), state, thread: Some(thread) })
    }

    /// Asks for one, unless one is under way; returns whether it was asked for.
    pub(super) fn ask(&self) -> bool {
        let Some(asked) = &self.asked else { return false };
        if self.state.running.swap(true, Ordering::AcqRel) {
            return false;
        }
        // The place is free: none is under way. A thread that has failed takes no more.
        asked.try_send(()).is_ok()
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.running.load(Ordering::Acquire)
    }

    pub(super) fn moved_pages(&self) -> u32 {
        self.state.moved_pages.load(Ordering::Relaxed)
    }

    pub(super) fn has_moved(&self, pages: u32) {
        self.state.moved_pages.store(pages, Ordering::Relaxed);
    }

    /// For a checkpoint by somebody else. Waits for the one under way.
    pub(super) fn turn(&self) -> MutexGuard<'_, Option<Moved>> {
        self.state.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while one is under way.
    pub(super) fn try_turn(&self) -> Option<MutexGuard<'_, Option<Moved>>> {
        match self.state.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the one under way; there are no others afterwards.
    pub(super) fn stop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, what is not moved stays in the write-ahead log.
            let _ = thread.join();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// After a checkpoint, within its turn.
pub(super) fn note(turn: &mut Option<Moved>, connection: &Connection, shared: &Shared) -> Result<(), WriteError> {
    if !crate::failpoint::loses_power() {
        *turn = Moved::now(connection, &shared.database)?;
    }
    Ok(())
}

impl State {
    fn checkpoint(&self, connection: &Connection, shared: &Shared) -> Result<(), Fatal> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = open::checkpoint(connection).map_err(WriteError::sqlite(open::MOVE)).and_then(|moved| {
            note(&mut turn, connection, shared)?;
            Ok(moved)
        });
        drop(turn);
        match moved {
            Ok(pages) => self.moved_pages.store(pages, Ordering::Relaxed),
            // Nothing is lost: it stays in the write-ahead log.
            Err(WriteError::Held) => {}
            Err(WriteError::Full) => shared.space.store(Space::Full as u8, Ordering::Relaxed),
            Err(WriteError::Fatal(fatal)) => return Err(fatal),
        }
        self.running.store(false, Ordering::Release);
        Ok(())
    }
}
