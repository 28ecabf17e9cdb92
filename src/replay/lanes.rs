//! Lanes: writes that touch the same state do not overlap at this replica (G3).
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Lane, WriteId};
use crate::service::Sender;

/// Senders whose turns are over are forgotten when there are so many more than wait.
const SENDERS_SPARE: usize = 16;

/// One lane at this site.
#[derive(Debug, Default)]
struct LaneState {
    /// The own write that is being decided, here or elsewhere: until it is settled or passed the next own one waits.
    holder: Option<WriteId>,
    /// Own writes behind it.
    line: Line,
    /// The write that is at this replica (sent, or unknown): nothing else of the lane is sent here meanwhile.
    here: Option<WriteId>,
    /// Writes of every kind whose `after` is fulfilled and that wait for `here`.
    ready: VecDeque<WriteId>,
    /// POSTs that make something new and of which nobody knows what became of them: other such POSTs go on beside them,
    /// all else of the lane waits.
    beside: BTreeSet<WriteId>,
}

impl LaneState {
    fn is_idle(&self) -> bool {
        self.holder.is_none()
            && self.line.is_empty()
            && self.here.is_none()
            && self.ready.is_empty()
            && self.beside.is_empty()
    }

    /// The next own write that may hold the lane. `creates`: it is a POST that makes something new.
    fn next_own(&mut self, creates: impl Fn(WriteId) -> bool) -> Option<WriteId> {
        if self.holder.is_some() {
            return None;
        }
        let only_beside = !self.beside.is_empty();
        self.line.take(|id| !only_beside || creates(id))
    }

    /// The next write that may have the lane's place at this replica.
    fn next_ready(&mut self, creates: impl Fn(WriteId) -> bool) -> Option<WriteId> {
        if self.here.is_some() {
            return None;
        }
        next(&mut self.ready, &self.beside, creates)
    }

    /// Lets other POSTs go on beside this one, until it leaves. Whether it did not stand aside before.
    fn stand_aside(&mut self, id: WriteId) -> bool {
        self.holder.take_if(|holder| *holder == id);
        self.here.take_if(|here| *here == id);
        self.beside.insert(id)
    }

    /// The write takes the place at this replica, unless it stands aside.
    fn take_place(&mut self, id: WriteId) {
        if !self.beside.contains(&id) {
            self.here = Some(id);
        }
    }

    /// The write is no longer at this replica.
    fn leave(&mut self, id: WriteId) {
        self.here.take_if(|here| *here == id);
        self.beside.remove(&id);
    }
}

/// The lanes in use.
#[derive(Debug, Default)]
pub(crate) struct Lanes(BTreeMap<Lane, LaneState>);

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut LaneState {
        self.0.entry(lane).or_default()
    }

    /// An own write stands in line for its lane.
    pub fn join(&mut self, lane: Lane, id: WriteId, sender: Sender) {
        self.of(lane).line.push(id, sender);
    }

    pub fn leave_line(&mut self, lane: Lane, id: WriteId) {
        if let Some(state) = self.0.get_mut(&lane) {
            state.line.remove(id);
        }
    }

    /// The next own write that may hold the lane: it stands in line no more. `creates`: it is a POST that makes
    /// something new.
    pub fn next_own(&mut self, lane: Lane, creates: impl Fn(WriteId) -> bool) -> Option<WriteId> {
        self.0.get_mut(&lane)?.next_own(creates)
    }

    pub fn hold(&mut self, lane: Lane, id: WriteId) {
        self.of(lane).holder = Some(id);
    }

    /// It neither holds the lane nor has its place at this replica, if it did.
    pub fn release(&mut self, lane: Lane, id: WriteId) {
        if let Some(state) = self.0.get_mut(&lane) {
            state.holder.take_if(|holder| *holder == id);
            state.leave(id);
        }
    }

    /// What it must come after is decided here: it waits for the lane's place at this replica, in front of those that
    /// it goes before.
    pub fn is_ready(&mut self, lane: Lane, id: WriteId, goes_before: impl Fn(&WriteId) -> bool) {
        let ready = &mut self.of(lane).ready;
        if !ready.contains(&id) {
            let at = ready.iter().position(goes_before).unwrap_or(ready.len());
            ready.insert(at, id);
        }
    }

    /// The next write that may have the lane's place at this replica.
    pub fn next_ready(&mut self, lane: Lane, creates: impl Fn(WriteId) -> bool) -> Option<WriteId> {
        self.0.get_mut(&lane)?.next_ready(creates)
    }

    pub fn take_place(&mut self, lane: Lane, id: WriteId) {
        self.of(lane).take_place(id);
    }

    /// Lets other POSTs go on beside this one, until it leaves. Whether it did not stand aside before.
    pub fn stand_aside(&mut self, lane: Lane, id: WriteId) -> bool {
        self.of(lane).stand_aside(id)
    }

    /// The write is no longer at this replica. Whether there is such a lane.
    pub fn leave(&mut self, lane: Lane, id: WriteId) -> bool {
        self.0.get_mut(&lane).map(|state| state.leave(id)).is_some()
    }

    /// Who has the lane's place at this replica.
    pub fn here(&self, lane: Lane) -> Option<WriteId> {
        self.0.get(&lane)?.here
    }

    /// Who holds the lane, or is at this replica: for those the next in line waits.
    pub fn waits_for(&self, lane: Lane) -> impl Iterator<Item = &WriteId> {
        let state = self.0.get(&lane).into_iter();
        state.flat_map(|state| state.holder.iter().chain(state.here.iter()).chain(&state.beside))
    }

    pub fn holder(&self, lane: Lane) -> Option<WriteId> {
        self.0.get(&lane)?.holder
    }

    /// All that stand in line, in order of acceptance.
    pub fn in_line(&self) -> Vec<WriteId> {
        let mut ids: Vec<WriteId> = self.0.values().flat_map(|state| state.line.ids()).collect();
        ids.sort_unstable();
        ids
    }

    pub fn holders(&self) -> Vec<WriteId> {
        self.0.values().filter_map(|state| state.holder).collect()
    }

    /// A lane that nobody uses is forgotten.
    pub fn forget_if_idle(&mut self, lane: Lane) {
        if self.0.get(&lane).is_some_and(LaneState::is_idle) {
            self.0.remove(&lane);
        }
    }

    #[cfg(test)]
    pub fn is_used(&self, lane: Lane) -> bool {
        self.0.contains_key(&lane)
    }

    #[cfg(test)]
    pub fn is_held(&self, lane: Lane) -> bool {
        self.0.get(&lane).is_some_and(|state| state.holder.is_some())
    }

    #[cfg(test)]
    pub fn none_is_used(&self) -> bool {
        self.0.is_empty()
    }
}

/// Own writes that wait for a lane: those of one sender in order of acceptance, and senders in turn, so that who sends
/// many takes of a lane's time what is his, and no other's (G9; start-time fair queueing).
#[derive(Debug, Default)]
struct Line {
    /// In order of turns, and within one of acceptance.
    waiting: VecDeque<(u64, WriteId)>,
    /// The turn of the last that went.
    now: u64,
    /// The last turn that each sender has, or had.
    last: BTreeMap<Sender, u64>,
}

impl Line {
    fn push(&mut self, id: WriteId, from: Sender) {
        if self.last.len() > 2 * self.waiting.len() + SENDERS_SPARE {
            let now = self.now;
            self.last.retain(|_, turn| *turn > now);
        }
        let last = self.last.entry(from).or_default();
        let turn = self.now.max(*last) + 1;
        *last = turn;
        let at = self.waiting.partition_point(|(other, _)| *other <= turn);
        self.waiting.insert(at, (turn, id));
    }

    fn remove(&mut self, id: WriteId) {
        self.waiting.retain(|(_, other)| *other != id);
    }

    fn ids(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.waiting.iter().map(|(_, id)| *id)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take(&mut self, may_go: impl Fn(WriteId) -> bool) -> Option<WriteId> {
        let at = self.waiting.iter().position(|(_, id)| may_go(*id))?;
        let (turn, id) = self.waiting.remove(at)?;
        self.now = self.now.max(turn);
        Some(id)
    }
}

/// The first of a queue, or while something of the lane is unknown the first that may go beside it.
fn next(
    queue: &mut VecDeque<WriteId>,
    beside: &BTreeSet<WriteId>,
    creates: impl Fn(WriteId) -> bool,
) -> Option<WriteId> {
    let at = if beside.is_empty() { 0 } else { queue.iter().position(|&id| creates(id))? };
    queue.remove(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::id;

    #[test]
    fn beside_an_unknown_post_only_others_that_make_something_new_go_on() {
        let (unknown, put, post) = (id(1, 1), id(1, 2), id(1, 3));
        let mut lane = LaneState { holder: Some(unknown), here: Some(unknown), ..LaneState::default() };
        lane.ready = [put, post].into();
        [put, post].into_iter().for_each(|id| lane.line.push(id, Sender::default()));
        let creates = |id: WriteId| id != put;
        assert_eq!((lane.next_own(creates), lane.next_ready(creates)), (None, None));
        lane.stand_aside(unknown);
        assert_eq!((lane.next_own(creates), lane.next_ready(creates)), (Some(post), Some(post)));
        assert_eq!((lane.next_own(creates), lane.next_ready(creates)), (None, None));
        // Tried again while another is there, it takes no place and frees none.
        lane.take_place(post);
        lane.take_place(unknown);
        lane.leave(unknown);
        assert_eq!((lane.here, lane.next_own(creates)), (Some(post), Some(put)));
        lane.leave(post);
        assert_eq!(lane.next_ready(creates), Some(put));
        assert!(lane.is_idle());
    }
}
