//! Who waits for what to be decided at this replica, without asking everybody each time.
use std::collections::BTreeMap;
use std::fmt;

use crate::model::{LogId, WriteId};

/// Something that must be decided at this replica first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// A series up to this position.
    Position(LogId, u64),
    /// This position of a series, whatever stands before it.
    Exactly(LogId, u64),
    Id(WriteId),
}

/// Each waiting write stands under the first thing that it misses; when that is decided it is looked at again.
#[derive(Default)]
pub struct Blocked {
    waiting: BTreeMap<Dependency, Vec<WriteId>>,
    on: BTreeMap<WriteId, Dependency>,
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dependency::Position(log, position) => write!(f, "position {position} of {log}"),
            Dependency::Exactly(log, position) => write!(f, "position {position} of {log} alone"),
            Dependency::Id(id) => write!(f, "{id}"),
        }
    }
}

impl Blocked {
    pub fn wait(&mut self, id: WriteId, on: Dependency) {
        if self.on.get(&id) != Some(&on) {
            self.forget(id);
            self.on.insert(id, on);
            self.waiting.entry(on).or_default().push(id);
        }
    }

    pub fn is_waiting(&self, id: WriteId) -> bool {
        self.on.contains_key(&id)
    }

    /// It waits no longer: what it missed may never come, for a client names what it likes.
    pub fn forget(&mut self, id: WriteId) {
        let Some(on) = self.on.remove(&id) else { return };
        let Some(waiting) = self.waiting.get_mut(&on) else { return };
        waiting.retain(|other| *other != id);
        if waiting.is_empty() {
            self.waiting.remove(&on);
        }
    }

    fn wake(&mut self, on: Dependency) -> Vec<WriteId> {
        let woken = self.waiting.remove(&on).unwrap_or_default();
        for id in &woken {
            self.on.remove(id);
        }
        woken
    }

    /// All that waited for positions of `log` up to `decided`.
    pub fn decided(&mut self, log: LogId, decided: u64) -> Vec<WriteId> {
        let range = Dependency::Position(log, 0)..=Dependency::Position(log, decided);
        let keys: Vec<Dependency> = self.waiting.range(range).map(|(&k, _)| k).collect();
        keys.into_iter().flat_map(|k| self.wake(k)).collect()
    }

    /// All that waited for this position alone.
    pub fn decided_exactly(&mut self, log: LogId, position: u64) -> Vec<WriteId> {
        self.wake(Dependency::Exactly(log, position))
    }

    pub fn decided_id(&mut self, id: WriteId) -> Vec<WriteId> {
        self.wake(Dependency::Id(id))
    }

    /// The positions of `log` that are waited for alone.
    pub fn alone(&self, log: LogId) -> impl Iterator<Item = u64> + '_ {
        let range = Dependency::Exactly(log, 0)..=Dependency::Exactly(log, u64::MAX);
        self.waiting.range(range).filter_map(|(dependency, _)| match dependency {
            Dependency::Exactly(_, position) => Some(*position),
            _ => None,
        })
    }

    /// Whether anybody waits for this write.
    pub fn is_awaited(&self, id: WriteId) -> bool {
        self.waiting.contains_key(&Dependency::Id(id))
    }

    pub fn awaits_ids(&self) -> bool {
        self.ids().next().is_some()
    }

    /// What is waited for by its id.
    pub fn ids(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.waiting.keys().rev().map_while(|dependency| match dependency {
            Dependency::Id(id) => Some(*id),
            _ => None,
        })
    }

    /// Who waits for what, for people: what is named by its id first, it often holds up all the others.
    pub fn iter(&self) -> impl Iterator<Item = (WriteId, Dependency)> + '_ {
        self.waiting.iter().rev().flat_map(|(&on, waiting)| waiting.iter().map(move |&id| (id, on)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_waited_for_a_position_are_found_once() {
        let log = |n| LogId { store: [n; 16], incarnation: 1 };
        let id = |n| WriteId { log: log(9), n };
        let mut blocked = Blocked::default();
        blocked.wait(id(1), Dependency::Position(log(1), 5));
        blocked.wait(id(2), Dependency::Position(log(1), 6));
        blocked.wait(id(3), Dependency::Position(log(2), 1));
        blocked.wait(id(4), Dependency::Id(id(7)));
        blocked.wait(id(5), Dependency::Exactly(log(1), 7));
        assert_eq!(blocked.decided(log(1), 4), []);
        assert_eq!(blocked.decided(log(1), 5), [id(1)]);
        assert_eq!(blocked.decided(log(1), 9), [id(2)]);
        assert_eq!(blocked.decided_exactly(log(1), 6), []);
        let alone = |blocked: &Blocked, n| blocked.alone(log(n)).collect::<Vec<_>>();
        assert_eq!((alone(&blocked, 1), alone(&blocked, 2)), (vec![7], vec![]));
        assert_eq!(blocked.decided_exactly(log(1), 7), [id(5)]);
        assert_eq!((blocked.awaits_ids(), blocked.ids().collect::<Vec<_>>()), (true, vec![id(7)]));
        assert_eq!(blocked.decided_id(id(7)), [id(4)]);
        assert_eq!(blocked.decided_id(id(7)), []);
        assert!(!blocked.awaits_ids());
    }

    #[test]
    fn a_write_waits_for_one_thing_and_not_when_it_is_gone() {
        let id = |n| WriteId { log: LogId { store: [9; 16], incarnation: 1 }, n };
        let mut blocked = Blocked::default();
        for on in [8, 7, 7] {
            blocked.wait(id(1), Dependency::Id(id(on)));
        }
        blocked.wait(id(2), Dependency::Id(id(7)));
        assert_eq!(blocked.iter().count(), 2);
        blocked.forget(id(1));
        assert_eq!(blocked.decided_id(id(7)), [id(2)]);
        blocked.wait(id(2), Dependency::Id(id(7)));
        blocked.forget(id(2));
        assert!(!blocked.awaits_ids());
    }
}
