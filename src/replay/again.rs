//! Trying a shadow again that its service did not execute, or answered otherwise than at its decider.
//!
//! Whatever comes after it waits so long: so it is tried a few times and no more, alone, for what it met may have been
//! another shadow; and where that is in vain too often, once. What still differs then is a divergence.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{Answer, WriteId};
use crate::service::core::{Core, Cx};
use crate::service::write::{Role, Stage};

/// The last one some 1.5 s after the first.
const TRIES_MAX: u32 = 5;
const MINUTE_MS: u64 = 60_000;

/// The shadow that is tried again while no other is sent, and what such tries have cost.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    holder: Option<WriteId>,
    since_ms: u64,
    /// When tries ended in vain, and how long they had taken.
    in_vain: VecDeque<(u64, u64)>,
}

impl Alone {
    fn begin(&mut self, id: WriteId, now_ms: u64) {
        if self.holder != Some(id) {
            (self.holder, self.since_ms) = (Some(id), now_ms);
        }
    }

    /// It got its answer, or a person decided: that was worth the time.
    pub(crate) fn ended(&mut self, id: WriteId) {
        if self.holder == Some(id) {
            self.holder = None;
        }
    }

    fn ended_in_vain(&mut self, id: WriteId, now_ms: u64) {
        if self.holder == Some(id) {
            self.holder = None;
            self.in_vain.push_back((now_ms, now_ms.saturating_sub(self.since_ms)));
        }
    }

    /// How much of the last minute such tries took, the one that goes on included, milliseconds.
    pub(crate) fn took_ms(&self, now_ms: u64) -> u64 {
        let ended = self.in_vain.iter().filter(|(ended_ms, _)| ended_ms + MINUTE_MS > now_ms);
        let goes_on = self.holder.map_or(0, |_| now_ms.saturating_sub(self.since_ms));
        (ended.map(|(_, took_ms)| took_ms).sum::<u64>() + goes_on).min(MINUTE_MS)
    }

    fn in_vain_ms(&mut self, now_ms: u64) -> u64 {
        while self.in_vain.front().is_some_and(|(ended_ms, _)| ended_ms + MINUTE_MS <= now_ms) {
            self.in_vain.pop_front();
        }
        self.in_vain.iter().map(|(_, took_ms)| took_ms).sum()
    }
}

impl Core {
    /// The service did not execute the shadow, or what it said may be asked for once more.
    pub(crate) fn try_again(&mut self, cx: &mut Cx, id: WriteId, answer: &Arc<Answer>) {
        let now = cx.ms();
        let holder = self.alone_holder();
        let is_dear = self.replay.alone.in_vain_ms(now) >= self.settings.alone_ms;
        let Some(write) = self.live.get_mut(&id) else { return };
        write.tries.refusals += 1;
        write.tries.may_have_applied |= answer.status >= 500;
        write.tries.refused_with = answer.status;
        let tries = write.tries.refusals;
        if tries >= TRIES_MAX || (tries == 1 && is_dear) {
            self.replay.alone.ended_in_vain(id, now);
            let detail = format!("{}, {tries} times", self.other_answer(id, answer.status));
            return self.diverged(cx, id, detail, answer);
        }
        if holder.is_none() {
            self.replay.alone.begin(id, now);
        }
        self.back_off(cx, id);
    }

    /// While it is on its way, and may be sent, no other shadow is.
    fn alone_holder(&self) -> Option<WriteId> {
        let id = self.replay.alone.holder?;
        let write = self.live.get(&id)?;
        let is_on_its_way =
            matches!(write.stage, Stage::Backoff { .. } | Stage::Waiting | Stage::Checking | Stage::Sending);
        let lane = self.replay.lanes.here(write.row.facts.lane);
        let may_be_sent = lane.is_none_or(|other| other == id) && !self.replay.blocked.is_waiting(id);
        (write.role == Role::Shadow && is_on_its_way && may_be_sent).then_some(id)
    }

    /// Whether this shadow may be sent now, as far as others that are tried again are concerned.
    pub(crate) fn is_its_turn(&mut self, id: WriteId, now_ms: u64) -> bool {
        let is_again = self.live.get(&id).is_some_and(|write| write.tries.refusals > 0 && write.role == Role::Shadow);
        match self.alone_holder() {
            Some(holder) if holder != id => false,
            None if !is_again => true,
            _ => {
                self.replay.alone.begin(id, now_ms);
                self.replay.turns.here() == 0
            }
        }
    }

    /// Who is tried again stands in front of all others.
    pub(crate) fn take_alone(&mut self) -> Option<Option<WriteId>> {
        let holder = self.alone_holder()?;
        Some(if self.replay.turns.here() == 0 { self.replay.turns.take(holder) } else { None })
    }

    /// PUT and DELETE, and everything at a service that says so itself: another answer may be asked for once more.
    pub(crate) fn may_be_repeated(&self, id: WriteId) -> bool {
        let request = self.live.get(&id).and_then(|write| write.request.as_ref());
        self.settings.idempotent || request.is_some_and(|request| request.is_idempotent())
    }

    /// A DELETE that an earlier try may have carried out finds nothing to delete.
    pub(crate) fn was_deleted_before(&self, id: WriteId, status: u16) -> bool {
        let Some(write) = self.live.get(&id) else { return false };
        let is_delete = write.request.as_ref().is_some_and(|request| request.method == "DELETE");
        write.tries.may_have_applied && is_delete && matches!(status, 404 | 410)
    }
}
