//! Orders about writes that hold something up and do not stand in quarantine: whatever they wait for, a person may take
//! them out of the way. They go into quarantine first, durably, as if their lane had passed them, and the order goes on
//! from there.
use super::core::{Core, Cx};
use super::write::{Role, Stage};
use super::{Operation, WishWord};
use crate::journal::{Fate, QuarantineReason};
use crate::model::{Problem, WriteId};

pub(super) enum Aside {
    /// It stands in quarantine now.
    Quarantined,
    /// Nothing is left to be ordered.
    Done,
}

impl Core {
    pub(super) fn set_aside(&mut self, cx: &mut Cx, id: WriteId, operation: Operation) -> Result<Aside, String> {
        let Some(write) = self.live.get(&id) else { return self.set_copy_aside(cx, id, operation) };
        let (lane, attempt) = (write.row.facts.lane, write.row.wish.as_ref().map_or(0, |held| held.attempt));
        let is_discarded = operation == Operation::Discard;
        match (&write.stage, write.role) {
            (Stage::Decided(_), _) => {
                return Err(format!("{id} is not in quarantine at this site, and holds up nothing"));
            }
            (Stage::Checking | Stage::Connecting | Stage::Sending | Stage::Judging, _) | (_, Role::Ordered) => {
                return Err(format!("{id} is on its way to the service: look again"));
            }
            (Stage::Unknown(_), _) => self.pass(cx, id),
            (_, Role::Own) if write.is_unsent() && is_discarded => {
                self.cancel(cx, id, Problem::LaneBusy { retry_after_s: 1 });
                return Ok(Aside::Done);
            }
            (_, Role::Own) => {
                self.replay.lanes.leave_line(lane, id);
                self.replay.blocked.forget(id);
                self.settle_untold(cx, id);
            }
            (_, Role::Wish) if is_discarded => {
                self.void_wish(cx, id, attempt, WishWord::Void);
                return Ok(Aside::Done);
            }
            (_, Role::Wish) => {
                return Err(format!("{id} was not sent yet, and its origin decides about it: order it there"));
            }
            (Stage::Idle, Role::Shadow) => {
                self.replay.postponed.take_copy(id);
                self.decide_shadow(cx, id, Fate::Skipped);
                return Ok(Aside::Done);
            }
            (_, Role::Shadow) => {
                let waited = self.waits_on(write).map_or_else(String::new, |on| format!("; it waited for {on}"));
                // A 500 leaves open whether it was applied.
                let reason = if write.tries.may_have_applied {
                    QuarantineReason::Divergence
                } else {
                    QuarantineReason::SetAside
                };
                let (detail, status) = (format!("taken out of the way by order{waited}"), write.tries.refused_with);
                self.replay.blocked.forget(id);
                self.quarantine_shadow(cx, id, reason, detail, status);
            }
        }
        Ok(Aside::Quarantined)
    }

    pub(super) fn is_waiting_copy(&self, id: WriteId) -> bool {
        self.replay.postponed.is_copy(id)
    }

    /// The position of a copy waits for the write that it repeats.
    fn set_copy_aside(&mut self, cx: &mut Cx, id: WriteId, operation: Operation) -> Result<Aside, String> {
        let found = self.replay.postponed.copies().find(|(_, copy)| copy.id == id);
        let Some((first, position)) = found.map(|(first, copy)| (first, copy.position)) else {
            return Err(format!("{id} is not in quarantine at this site"));
        };
        if matches!(operation, Operation::Resend | Operation::ResendOverLater) {
            return Err(format!("{id} is a copy of {first}, and never sent: order that one"));
        }
        self.replay.postponed.take_copy(id);
        self.position_decided(cx, id.log, position);
        self.decided_id(id);
        Ok(Aside::Done)
    }
}
