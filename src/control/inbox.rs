//! The one bounded queue in front of the control thread: what the appliance wants to say and what the network brought.
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::event::{Input, Level, LevelId};
use super::status::Counters;
use crate::dedup::Fingerprint;
use crate::model::Group;

/// Fingerprints that wait for the control thread: eight seconds at 1,000/s. Beyond it they are dropped and counted (G6,
/// G7).
const PRINTS_MAX: usize = 8_192;
/// Levels that wait; newer values of one take the place of older ones.
const LEVELS_MAX: usize = 4_096;
/// Messages, and their bytes, that wait to be read.
const SAMPLES_MAX: usize = 8_192;
const SAMPLE_BYTES_MAX: usize = 16 << 20;
/// Liveliness and connection changes that wait: several for each of the nodes a hub can see. They are few and their
/// loss would show.
const CHANGES_MAX: usize = 65_536;
/// Questions that wait to be answered; who gets no answer asks again.
const QUESTIONS_MAX: usize = 64;
/// So many fingerprints go out at once, without waiting for the pace.
const FLUSH_AT: usize = 64;
/// Between two flushes. The first after a quiet time goes at once; under load this bounds wake-ups and messages to
/// 1,000/s.
const PACE: Duration = Duration::from_millis(1);

/// Takes the answers to a question.
pub(super) type Reply = Box<dyn FnOnce(Vec<(String, Vec<u8>)>) + Send>;

/// What the network brought.
pub(super) enum Inbound {
    Input(Input),
    Question { payload: Vec<u8>, reply: Reply },
}

/// What the control thread does next.
#[derive(Default)]
pub(super) struct Work {
    pub prints: Vec<(Group, Fingerprint)>,
    pub levels: BTreeMap<LevelId, Level>,
    pub inbound: Vec<Inbound>,
    pub stop: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asleep {
    No,
    /// Until something comes.
    Idle,
    /// Until the pace allows the next flush: one more fingerprint does not wake it.
    Paced,
}

struct State {
    prints: Vec<(Group, Fingerprint)>,
    levels: BTreeMap<LevelId, Level>,
    inbound: VecDeque<Inbound>,
    samples: usize,
    sample_bytes: usize,
    changes: usize,
    questions: usize,
    stop: bool,
    asleep: Asleep,
    flushed: Option<Instant>,
}

pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    stopping: Condvar,
}

impl Inbox {
    pub fn new() -> Self {
        let state = State {
            prints: Vec::new(),
            levels: BTreeMap::new(),
            inbound: VecDeque::new(),
            samples: 0,
            sample_bytes: 0,
            changes: 0,
            questions: 0,
            stop: false,
            asleep: Asleep::No,
            flushed: None,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), stopping: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }

    fn wake_for(&self, state: MutexGuard<'_, State>, urgent: bool) {
        let wake = state.asleep == Asleep::Idle || (urgent && state.asleep == Asleep::Paced);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Never blocks for longer than a queue operation; drops and counts when the queue is full.
    pub fn print(&self, group: &Group, print: Fingerprint, counters: &Counters) {
        let mut state = self.lock();
        if state.stop || state.prints.len() >= PRINTS_MAX {
            drop(state);
            return counters.add(&counters.dropped_out, 1);
        }
        state.prints.push((group.clone(), print));
        let urgent = state.prints.len() == FLUSH_AT;
        self.wake_for(state, urgent);
    }

    pub fn level(&self, id: LevelId, level: Level, counters: &Counters) {
        let mut state = self.lock();
        if state.stop || (state.levels.len() >= LEVELS_MAX && !state.levels.contains_key(&id)) {
            drop(state);
            return counters.add(&counters.dropped_out, 1);
        }
        state.levels.insert(id, level);
        self.wake_for(state, false);
    }

    /// From a thread of the network: never blocks.
    pub fn inbound(&self, inbound: Inbound, counters: &Counters) {
        let mut state = self.lock();
        let full = match &inbound {
            Inbound::Input(Input::Sample { payload, .. }) => {
                let full = state.samples >= SAMPLES_MAX || state.sample_bytes + payload.len() > SAMPLE_BYTES_MAX;
                if !full {
                    state.samples += 1;
                    state.sample_bytes += payload.len();
                }
                full
            }
            Inbound::Input(_) => {
                state.changes += 1;
                state.changes > CHANGES_MAX
            }
            Inbound::Question { .. } => {
                state.questions += 1;
                state.questions > QUESTIONS_MAX
            }
        };
        if full || state.stop {
            drop(state);
            return counters.add(&counters.dropped_in, 1);
        }
        state.inbound.push_back(inbound);
        self.wake_for(state, true);
    }

    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
        self.stopping.notify_all();
    }

    pub fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits for `pause`, or less when the control plane stops; true when it did.
    pub fn pause(&self, pause: Duration) -> bool {
        let waited = self.stopping.wait_timeout_while(self.lock(), pause, |state| !state.stop);
        waited.expect("nothing panics while it is held").0.stop
    }

    /// Everything that is there, at once and without pacing: for a driver that owns the time.
    pub fn take_all(&self) -> Work {
        let mut state = self.lock();
        let work = take_inbound(&mut state);
        take_outbound(&mut state, work)
    }

    /// Waits until there is work or until `until`.
    pub fn wait(&self, until: Instant) -> Work {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let paced = state.flushed.is_some_and(|flushed| now < flushed + PACE);
            let outbound = !state.prints.is_empty() || !state.levels.is_empty();
            let flush = outbound && (!paced || state.prints.len() >= FLUSH_AT);
            if flush || !state.inbound.is_empty() || state.stop || now >= until {
                let mut work = take_inbound(&mut state);
                if flush {
                    work = take_outbound(&mut state, work);
                    state.flushed = Some(now);
                }
                return work;
            }
            let (asleep, until) = match state.flushed {
                Some(flushed) if outbound => (Asleep::Paced, until.min(flushed + PACE)),
                _ => (Asleep::Idle, until),
            };
            state.asleep = asleep;
            let waited = self.wake.wait_timeout(state, until.saturating_duration_since(now));
            state = waited.expect("nothing panics while it is held").0;
            state.asleep = Asleep::No;
        }
    }
}

fn take_inbound(state: &mut State) -> Work {
    (state.samples, state.sample_bytes, state.changes, state.questions) = (0, 0, 0, 0);
    Work { inbound: state.inbound.drain(..).collect(), stop: state.stop, ..Work::default() }
}

fn take_outbound(state: &mut State, mut work: Work) -> Work {
    // Keeps its room where it is ordinary, so that publishing does not allocate.
    let room = state.prints.capacity().min(4 * FLUSH_AT);
    work.prints = std::mem::replace(&mut state.prints, Vec::with_capacity(room));
    work.levels = std::mem::take(&mut state.levels);
    work
}
