//! What a group still has to do: at a time, and right after the event that is being handled.
use std::collections::{BTreeSet, VecDeque};

use super::ReqId;
use crate::model::{Lane, LogId, WriteId};

/// What is due at a time. Whoever is woken looks at the present state: a timer that is out of date does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Client(ReqId),
    /// Backoff, doubt, wish deadlines of one write.
    Write(WriteId),
    Asking(u64),
    /// A write whose client has seen what nobody here can know.
    Arrival(ReqId),
    /// What a broken record hid is over.
    HiddenTry,
    Status,
    Clean,
}

/// What is left to be done after an event's own handler: never nested, so no handler meets a half-changed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The lane may have a place for the next own write, or for the next at this replica.
    Lane(Lane),
    /// What it waits for may be decided.
    Look(WriteId),
    /// Own write: find it a decider (again).
    Place(WriteId),
    /// The follower may take up more of this series.
    Load(LogId),
    /// What divergences here wait for may be decided.
    Unknown(WriteId),
    /// The write that a late decision is about, or that copies repeat, may be decided here.
    Decision(WriteId),
    /// Own queued writes may find a decider.
    Drain,
    /// Shadows may have a place at the service again.
    Shadows,
    /// What this write came to may free its key for the others who brought it.
    Strangers(WriteId),
}

/// Timers by time, and work in order.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    timers: BTreeSet<(u64, Timer)>,
    work: VecDeque<Work>,
}

impl Agenda {
    pub fn at(&mut self, at_ms: u64, timer: Timer) {
        self.timers.insert((at_ms, timer));
    }

    pub fn withdraw(&mut self, at_ms: u64, timer: Timer) {
        self.timers.remove(&(at_ms, timer));
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(at_ms, _)| at_ms)
    }

    pub fn due(&mut self, now_ms: u64) -> Option<Timer> {
        let &(at_ms, _) = self.timers.first()?;
        if at_ms > now_ms {
            return None;
        }
        self.timers.pop_first().map(|(_, timer)| timer)
    }

    pub fn push(&mut self, work: Work) {
        self.work.push_back(work);
    }

    pub fn extend(&mut self, work: impl IntoIterator<Item = Work>) {
        self.work.extend(work);
    }

    pub fn next(&mut self) -> Option<Work> {
        self.work.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_due_in_order_of_time_and_work_in_order_of_coming() {
        let mut agenda = Agenda::default();
        for (at_ms, timer) in [(20, Timer::Status), (10, Timer::Clean), (20, Timer::Client(ReqId(1)))] {
            agenda.at(at_ms, timer);
        }
        agenda.withdraw(20, Timer::Client(ReqId(1)));
        agenda.withdraw(19, Timer::Status);
        assert_eq!((agenda.next_ms(), agenda.due(9)), (Some(10), None));
        assert_eq!([10, 19, 20, 20].map(|now| agenda.due(now)), [Some(Timer::Clean), None, Some(Timer::Status), None]);
        agenda.push(Work::Drain);
        agenda.extend([Work::Shadows, Work::Drain]);
        assert_eq!([(); 4].map(|()| agenda.next()), [Some(Work::Drain), Some(Work::Shadows), Some(Work::Drain), None]);
    }
}
