//! Whose turn it is to be sent here as a shadow: there are so many places, and who finds none stands in line.
use std::collections::{BTreeSet, VecDeque};

use super::apply::goes_before;
use crate::model::WriteId;
use crate::service::core::{Core, Cx, Work};
use crate::service::write::Stage;

#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Shadows that are at the service now.
    here: BTreeSet<WriteId>,
    /// Those that had their turn and found no place, or no healthy replica.
    waiting: VecDeque<WriteId>,
}

impl Turns {
    pub fn comes(&mut self, id: WriteId) {
        self.here.insert(id);
    }

    /// Whether it was at the service.
    pub fn leaves(&mut self, id: WriteId) -> bool {
        self.here.remove(&id)
    }

    pub fn here(&self) -> usize {
        self.here.len()
    }

    pub fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn waits(&self, id: &WriteId) -> bool {
        self.waiting.contains(id)
    }

    /// At the end of the line.
    pub fn wait(&mut self, id: WriteId) {
        self.waiting.push_back(id);
    }

    /// It had its turn, and has the first place again: behind those alone that go before it.
    pub fn wait_again(&mut self, id: WriteId, goes_before: impl Fn(&WriteId) -> bool) {
        let at = self.waiting.iter().rposition(goes_before).map_or(0, |at| at + 1);
        self.waiting.insert(at, id);
    }

    pub fn next(&mut self) -> Option<WriteId> {
        self.waiting.pop_front()
    }

    /// In front of all others.
    pub fn put_back(&mut self, mut passed_over: VecDeque<WriteId>) {
        passed_over.append(&mut self.waiting);
        self.waiting = passed_over;
    }

    /// Out of the line, if it stands there.
    pub fn take(&mut self, id: WriteId) -> Option<WriteId> {
        let at = self.waiting.iter().position(|other| *other == id)?;
        self.waiting.remove(at)
    }
}

impl Core {
    /// Who finds no place stands in line, and nobody who comes later overtakes: a low position that waits holds up all
    /// that comes after it, live writes too.
    pub(super) fn may_start_shadow(&mut self, cx: &Cx, id: WriteId) -> bool {
        let is_held_back = self.replay.stopping.is_stopped() && self.is_held_back(id, self.demand().as_ref());
        let has_place = self.free_shadow_places(cx) > 0 && !is_held_back && self.is_its_turn(id, cx.ms());
        let Some(write) = self.live.get_mut(&id) else { return false };
        let in_turn = std::mem::take(&mut write.tries.in_turn);
        if has_place && (in_turn || self.replay.turns.nobody_waits()) {
            return true;
        }
        if has_place && self.replay.stopping.is_stopped() {
            // Before it stand some that a stopped replica does not follow.
            self.agenda.push(Work::Shadows);
        }
        if in_turn {
            let live = &self.live;
            self.replay.turns.wait_again(id, |other| goes_before(live, *other, id));
        } else {
            self.replay.turns.wait(id);
        }
        false
    }

    /// While clients write here, catching up leaves them a part of the replica (`replay.share`).
    fn free_shadow_places(&self, cx: &Cx) -> usize {
        /// Clients have written lately.
        const LIVE_MS: u64 = 1_000;
        if !self.replica.is_healthy() || self.is_in_doubt() {
            return 0;
        }
        let limits = &self.settings.limits;
        let is_live = self.replica.was_written_within(LIVE_MS, cx.ms());
        let places = if is_live { limits.shadows_beside_writes.min(limits.shadows) } else { limits.shadows };
        places.saturating_sub(self.replay.turns.here())
    }

    pub(crate) fn resume_shadows(&mut self, cx: &Cx) {
        let mut free = self.free_shadow_places(cx);
        if free == 0 {
            return;
        }
        if let Some(alone) = self.take_alone() {
            if let Some(id) = alone {
                self.has_its_turn(id);
            }
            return;
        }
        let demand = self.demand();
        let mut held_back = VecDeque::new();
        while free > 0
            && let Some(id) = self.replay.turns.next()
        {
            if self.is_held_back(id, demand.as_ref()) {
                held_back.push_back(id);
                continue;
            }
            // Whoever was decided meanwhile takes no place.
            free -= usize::from(self.has_its_turn(id));
        }
        self.replay.turns.put_back(held_back);
    }

    fn has_its_turn(&mut self, id: WriteId) -> bool {
        let Some(write) = self.live.get_mut(&id).filter(|write| write.stage == Stage::Waiting) else { return false };
        write.tries.in_turn = true;
        self.agenda.push(Work::Look(id));
        true
    }
}
