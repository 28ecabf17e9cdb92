//! What waits for the writer: bounded in count and bytes, in order.
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::{CommitError, Committed, Fatal, Op};
use crate::model::Group;

/// Called on the writer's thread once the batch is durable, or once it is known that this process cannot make it so.
/// It must not block: it holds up all batches behind.
pub type Done = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;

pub(super) enum Work {
    Batch { group: Arc<Group>, ops: Vec<Op>, done: Done },
    Named { name: String, value: Vec<u8>, done: Done },
}

impl Work {
    pub(super) fn weight(&self) -> usize {
        match self {
            Work::Batch { ops, .. } => ops.iter().map(Op::weight).sum(),
            Work::Named { name, value, .. } => 64 + name.len() + value.len(),
        }
    }
    pub(super) fn finish(self, result: Result<Committed, CommitError>) {
        match self {
            Work::Batch { done, .. } | Work::Named { done, .. } => done(result),
        }
    }
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue is at its limit: wait for [`super::Journal::room`].
    NoRoom,
    Closed,
    Fatal(Fatal),
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// Wakes those who wait for room.
    pub(super) room: tokio::sync::Notify,
    batches_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    /// With its weight, and since when it waits.
    works: VecDeque<(Work, usize, Instant)>,
    /// Waiting and under way.
    batches: usize,
    bytes: usize,
    /// The writer should look around, though there may be no work.
    nudged: bool,
    closed: bool,
    failed: Option<Fatal>,
}

/// What the writer makes one transaction of.
pub(super) struct Taken {
    pub(super) works: Vec<Work>,
    pub(super) bytes: usize,
    /// Since when the first of them waited.
    pub(super) since: Option<Instant>,
    /// No more will come, and nothing is left.
    pub(super) finished: bool,
}

impl Queue {
    pub(super) fn new(batches_max: usize, bytes_max: usize) -> Self {
        let state = Mutex::new(State::default());
        Self { state, filled: Condvar::new(), room: tokio::sync::Notify::new(), batches_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves plain counters behind, nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn push(&self, work: Work) -> Result<(), (Work, Refusal)> {
        let weight = work.weight();
        let mut state = self.lock();
        if let Some(fatal) = &state.failed {
            let fatal = fatal.clone();
            return Err((work, Refusal::Fatal(fatal)));
        }
        if state.closed {
            return Err((work, Refusal::Closed));
        }
        // One batch is always taken, however large: it could never be taken otherwise.
        let no_room = state.batches >= self.batches_max || state.bytes + weight > self.bytes_max;
        if no_room && state.batches > 0 {
            return Err((work, Refusal::NoRoom));
        }
        state.batches += 1;
        state.bytes += weight;
        state.works.push_back((work, weight, Instant::now()));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state.closed || state.failed.is_some() || (state.batches < self.batches_max && state.bytes < self.bytes_max)
    }

    /// Waits for work, or until it is time to look around; takes whole batches up to `bytes_max`, one at least.
    pub(super) fn take(&self, timeout: Duration, bytes_max: usize) -> Taken {
        let idle = |state: &mut State| state.works.is_empty() && !state.closed && !state.nudged;
        let waited = self.filled.wait_timeout_while(self.lock(), timeout, idle);
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state.nudged = false;
        let mut taken = Taken { works: Vec::new(), bytes: 0, since: None, finished: false };
        while let Some((_, weight, _)) = state.works.front() {
            if !taken.works.is_empty() && taken.bytes + weight > bytes_max {
                break;
            }
            let (work, weight, since) = state.works.pop_front().expect("it has a front");
            taken.since.get_or_insert(since);
            taken.bytes += weight;
            taken.works.push(work);
        }
        taken.finished = taken.works.is_empty() && state.closed;
        taken
    }

    /// Waits while the disk is full; true when the queue was closed meanwhile.
    pub(super) fn wait_closed(&self, timeout: Duration) -> bool {
        let waited = self.filled.wait_timeout_while(self.lock(), timeout, |state| !state.closed && !state.nudged);
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        state.nudged = false;
        state.closed
    }

    /// What was taken is durable.
    pub(super) fn release(&self, batches: usize, bytes: usize) {
        let mut state = self.lock();
        state.batches -= batches;
        state.bytes -= bytes;
        drop(state);
        self.room.notify_waiters();
    }

    pub(super) fn nudge(&self) {
        self.lock().nudged = true;
        self.filled.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.room.notify_waiters();
    }

    /// Takes nothing from now on; hands back what waits.
    pub(super) fn fail(&self, fatal: Fatal) -> Vec<Work> {
        let mut state = self.lock();
        state.failed.get_or_insert(fatal);
        let works = state.works.drain(..).map(|(work, ..)| work).collect();
        drop(state);
        self.room.notify_waiters();
        works
    }

    pub(super) fn has_ended(&self) -> bool {
        let state = self.lock();
        state.closed || state.failed.is_some()
    }

    pub(super) fn failed(&self) -> Option<Fatal> {
        self.lock().failed.clone()
    }
}
