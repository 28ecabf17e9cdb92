//! What is remembered of lanes: which paths make something new with each POST, and what was applied last.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{After, Lane, LogId, WriteId};

/// Lanes whose POSTs were answered 201: paths at which each POST makes something new. Bounded; what falls out is
/// learned again. Over a restart the writes themselves say it ([`crate::model::Facts::creates`]).
pub struct CreatingLanes {
    known: BTreeSet<Lane>,
    /// In order of first use: the oldest falls out.
    order: VecDeque<Lane>,
    limit: usize,
}

impl CreatingLanes {
    pub fn new(limit: usize) -> Self {
        Self { known: BTreeSet::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    pub fn learn(&mut self, lane: Lane) {
        if self.known.insert(lane) {
            self.order.push_back(lane);
            if self.order.len() > self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    pub fn contains(&self, lane: Lane) -> bool {
        self.known.contains(&lane)
    }
}

/// The last write of a lane and log that this replica has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastApplied {
    pub id: WriteId,
    /// Unknown while a wish decided here has not come back in its series.
    pub position: Option<u64>,
}

/// Remembers for each lane what was applied last of each log, to find concurrent writes. Bounded; what falls out is not
/// found.
pub struct LaneMemory {
    lanes: BTreeMap<Lane, BTreeMap<LogId, LastApplied>>,
    /// In order of first use: the oldest falls out.
    order: VecDeque<Lane>,
    limit: usize,
}

impl LaneMemory {
    pub fn new(limit: usize) -> Self {
        Self { lanes: BTreeMap::new(), order: VecDeque::new(), limit: limit.max(1) }
    }

    pub fn applied(&mut self, lane: Lane, id: WriteId, position: Option<u64>) {
        if !self.lanes.contains_key(&lane) {
            if self.order.len() >= self.limit
                && let Some(oldest) = self.order.pop_front()
            {
                self.lanes.remove(&oldest);
            }
            self.order.push_back(lane);
        }
        let last = self.lanes.entry(lane).or_default().entry(id.log).or_insert(LastApplied { id, position });
        let newer = match (last.position, position) {
            (Some(known), Some(new)) => new >= known,
            _ => true,
        };
        if newer {
            *last = LastApplied { id, position };
        }
    }

    /// A wish decided here got its position.
    pub fn positioned(&mut self, lane: Lane, id: WriteId, position: u64) {
        if let Some(last) = self.lanes.get_mut(&lane).and_then(|l| l.get_mut(&id.log))
            && last.id == id
        {
            last.position = Some(position);
        }
    }

    /// An applied write of the lane from another log that `after` does not cover: concurrent with `id`.
    pub fn concurrent(&self, lane: Lane, id: WriteId, after: &After) -> Option<WriteId> {
        self.lanes.get(&lane)?.iter().find_map(|(log, last)| {
            let by_position = last.position.is_some_and(|position| after.covers(*log, position));
            let covered = *log == id.log || by_position || after.ids().contains(&last.id);
            (!covered).then_some(last.id)
        })
    }

    /// An applied write of the lane that stands after position `place` of the same log, or of another log and uncovered
    /// by `after`: applied now, `id` would overwrite what it wrote.
    pub fn later_or_concurrent(&self, lane: Lane, id: WriteId, place: Option<u64>, after: &After) -> Option<WriteId> {
        let later = |last: &LastApplied| match (last.position, place) {
            (Some(last), Some(place)) => last > place,
            _ => last.id.n > id.n,
        };
        let own = self.lanes.get(&lane)?.get(&id.log).filter(|last| last.id != id && later(last));
        own.map(|last| last.id).or_else(|| self.concurrent(lane, id, after))
    }

    /// Whether any write of the lane was applied after position `position` of `log`, or from another log uncovered by
    /// `after`.
    pub fn passed(&self, lane: Lane, log: LogId, position: u64) -> bool {
        self.lanes
            .get(&lane)
            .is_some_and(|logs| logs.iter().any(|(l, last)| *l != log || last.position.is_none_or(|p| p > position)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{id, log};

    #[test]
    fn a_write_is_concurrent_with_what_its_after_does_not_cover() {
        let mut memory = LaneMemory::new(8);
        memory.applied(Lane(1), id(1, 10), Some(4));
        let mut after = After::new();
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &after), Some(id(1, 10)));
        assert_eq!(memory.concurrent(Lane(1), id(1, 11), &after), None, "one log is never concurrent with itself");
        assert_eq!(memory.concurrent(Lane(2), id(2, 1), &after), None);
        after.raise(log(1), 4);
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &after), None);
        memory.applied(Lane(1), id(1, 12), None);
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &after), Some(id(1, 12)));
        after.add_id(id(1, 12));
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &after), None);
    }

    #[test]
    fn of_lanes_that_create_the_one_learned_first_falls_out() {
        let mut lanes = CreatingLanes::new(2);
        (1..=3).for_each(|n| lanes.learn(Lane(n)));
        lanes.learn(Lane(2));
        assert_eq!([1, 2, 3].map(|n| lanes.contains(Lane(n))), [false, true, true]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = LaneMemory::new(2);
        (1..=3).for_each(|lane| memory.applied(Lane(lane), id(1, lane), Some(lane)));
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &After::new()), None);
        assert!(memory.concurrent(Lane(3), id(2, 1), &After::new()).is_some());
    }

    /// The first write of a lane is remembered as long as the lane is one of the last.
    #[test]
    fn the_lane_used_first_falls_out_first() {
        let mut memory = LaneMemory::new(2);
        for lane in [1, 2, 1, 3] {
            memory.applied(Lane(lane), id(1, lane), Some(lane));
        }
        let known = |memory: &LaneMemory, lane| memory.concurrent(Lane(lane), id(2, 1), &After::new()).is_some();
        assert_eq!([1, 2, 3].map(|lane| known(&memory, lane)), [false, true, true]);
        assert!(known(
            &{
                let mut least = LaneMemory::new(0);
                least.applied(Lane(9), id(1, 9), None);
                least
            },
            9
        ));
    }

    #[test]
    fn the_last_of_a_log_is_the_one_with_the_highest_position() {
        let mut memory = LaneMemory::new(8);
        let last = |memory: &LaneMemory| memory.concurrent(Lane(1), id(2, 1), &After::new());
        memory.applied(Lane(1), id(1, 10), Some(4));
        memory.applied(Lane(1), id(1, 9), Some(3));
        assert_eq!(last(&memory), Some(id(1, 10)), "an earlier position that is applied late");
        memory.applied(Lane(1), id(1, 11), Some(5));
        assert_eq!(last(&memory), Some(id(1, 11)));
        memory.applied(Lane(1), id(1, 12), None);
        memory.positioned(Lane(1), id(1, 11), 9);
        let mut after = After::new();
        after.raise(log(1), 8);
        assert_eq!(
            memory.concurrent(Lane(1), id(2, 1), &after),
            Some(id(1, 12)),
            "it is not the one that got a position"
        );
        memory.positioned(Lane(1), id(1, 12), 8);
        assert_eq!(memory.concurrent(Lane(1), id(2, 1), &after), None);
    }

    #[test]
    fn what_is_sent_again_would_overwrite_what_came_later_or_beside_it() {
        let mut memory = LaneMemory::new(8);
        let after = After::new();
        memory.applied(Lane(1), id(1, 10), Some(4));
        let over =
            |memory: &LaneMemory, n, place, after: &After| memory.later_or_concurrent(Lane(1), id(1, n), place, after);
        assert_eq!(over(&memory, 9, Some(3), &after), Some(id(1, 10)), "later");
        assert_eq!(over(&memory, 10, Some(4), &after), None, "itself");
        assert_eq!(over(&memory, 11, Some(5), &after), None, "earlier");
        memory.applied(Lane(1), id(2, 1), Some(7));
        assert_eq!(over(&memory, 11, Some(5), &after), Some(id(2, 1)), "from elsewhere");
        let mut seen = After::new();
        seen.raise(log(2), 7);
        assert_eq!(over(&memory, 11, Some(5), &seen), None, "it comes after that one");
    }

    #[test]
    fn a_position_is_passed_by_what_came_later_or_from_elsewhere() {
        let mut memory = LaneMemory::new(8);
        assert!(!memory.passed(Lane(1), log(1), 4));
        memory.applied(Lane(1), id(1, 10), Some(4));
        assert!(!memory.passed(Lane(1), log(1), 4) && memory.passed(Lane(1), log(1), 3));
        assert!(memory.passed(Lane(1), log(2), 9), "from another log");
        assert!(!memory.passed(Lane(2), log(1), 3), "another lane");
        memory.applied(Lane(1), id(1, 11), None);
        assert!(memory.passed(Lane(1), log(1), 9), "where it stands nobody knows yet");
    }
}
