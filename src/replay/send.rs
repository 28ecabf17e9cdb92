//! Sending a write to this replica: `sending` is durable first, with all that it comes after; and whether it may still
//! be sent, whatever of its lane was applied meanwhile (G3).
use crate::journal::QuarantineReason;
use crate::model::{After, Chain, Lane, Outcome, SiteName, WriteId, decided_by};
use crate::service::core::{Core, Cx};
use crate::service::write::{Order, Role, Stage, Write};
use crate::service::{Attempt, Bug, Effect, Note, OnConcurrent, Shadow};

impl Core {
    /// The write may be sent: the first time a decider has a connection for it before it writes that down.
    pub(crate) fn send(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        if matches!(write.role, Role::Own | Role::Wish) && !write.tries.doubtful {
            self.connect(cx, id);
        } else {
            self.send_now(cx, id);
        }
    }

    /// Makes `sending` durable and lets the first byte leave after that. The first time, fixes `after` in the same
    /// transaction.
    pub(super) fn send_now(&mut self, cx: &mut Cx, id: WriteId) {
        let decided = self.decided_here();
        let unknown = self.unknown_now(id);
        let without = self.live.get(&id).map(|write| self.not_decided_yet(write)).unwrap_or_default();
        let at_accept = self.bug(Bug::AfterAtAccept);
        let Some(write) = self.live.get(&id) else { return };
        if let Some(other) = self.would_overwrite(write) {
            self.free_place(write.row.facts.lane, id);
            return self.is_overtaken_by(cx, id, other);
        }
        if write.role == Role::Shadow
            && !write.tries.is_concurrent
            && write.tries.refusals == 0
            && write.tries.by_order.is_none()
            && !write.tries.doubtful
            && let Some(outcome) = &write.row.outcome
            && let Some(with) = self.replay.lane_memory.concurrent(write.row.facts.lane, id, &outcome.after)
        {
            let lane = write.row.facts.lane;
            self.replay.counts.concurrent += 1;
            cx.note(Note::Concurrent { id, with });
            if let Some(write) = self.live.get_mut(&id) {
                write.tries.is_concurrent = true;
            }
            if self.settings.on_concurrent == OnConcurrent::Quarantine {
                let detail = format!("concurrent with {with}: its decider had not seen it");
                self.free_place(lane, id);
                return self.quarantine_shadow(cx, id, QuarantineReason::ConcurrentWrites, detail, 0);
            }
        }
        let Some(write) = self.live.get(&id) else { return };
        if self.is_overtaken(write) {
            let detail = "decided late; this replica has applied later writes of its lane".to_owned();
            self.free_place(write.row.facts.lane, id);
            return self.quarantine_shadow(cx, id, QuarantineReason::LateDecision, detail, 0);
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        let Some(request) = write.request.clone() else {
            let (lane, detail) = (write.row.facts.lane, "its request is missing from the journal".to_owned());
            self.free_place(lane, id);
            return self.quarantine_shadow(cx, id, QuarantineReason::Damaged, detail, 0);
        };
        write.tries.attempts += 1;
        if !write.tries.doubtful {
            // Should nobody learn what becomes of it, its time begins now.
            write.tries.pass_at_ms = None;
        }
        // A later try of a write in doubt overlaps with all that was decided since the first. To raise its `after`
        // could put it after one that another site decided after it (a wish that was given up): followers would wait
        // for ever.
        if write.tries.after.is_none() || !(write.tries.doubtful || at_accept) {
            write.tries.after = Some(decided);
            write.tries.unknown = unknown;
        }
        write.tries.without = without;
        write.stage = Stage::Sending;
        // Another replica's late outcome counts no longer.
        write.placing.pending = None;
        self.mirror.wishes.outcome_is_void(id);
        self.replica.begins(id, write.tries.attempts, cx.ms());
        if matches!(write.role, Role::Shadow | Role::Ordered) {
            self.replay.turns.comes(id);
        }
        let attempt = Attempt { id, attempt: write.tries.attempts, request, origin: SiteName::new(""), shadow: None };
        let shadow = matches!(write.role, Role::Shadow).then(|| shadow_of(write));
        let origin = self.site_of(id);
        self.replay.lanes.take_place(self.live[&id].row.facts.lane, id);
        self.persist(cx, id);
        self.release_held(cx, id);
        cx.out.push(Effect::Attempt(Attempt { origin, shadow, ..attempt }));
    }

    /// The site that accepted a write.
    pub(crate) fn site_of(&self, id: WriteId) -> SiteName {
        let by_series = self.mirror.series.get(&id.log).map(|s| s.site.clone());
        let by_wish = || self.live.get(&id).and_then(|w| w.row.wish.as_ref()).map(|w| w.from.clone());
        by_series.or_else(by_wish).unwrap_or_else(|| self.settings.me.clone())
    }

    /// A decision that comes after later writes of its lane were applied here is concurrent with them: what
    /// may overwrite them waits for a person, at its origin as elsewhere. Looked at when it is sent: they may be
    /// applied while it waits for what it comes after.
    fn is_overtaken(&self, write: &Write) -> bool {
        let (Role::Shadow, 0, Some((old, position))) = (write.role, write.tries.attempts, write.row.decides) else {
            return false;
        };
        write.tries.by_order.is_none()
            && write.overwrites()
            && self.replay.lane_memory.passed(write.row.facts.lane, old.log, position)
            && !self.bug(Bug::LatePutApplied)
    }

    /// Tried before, or sent by order of a person: what was applied of its lane since, or beside it, it would
    /// overwrite.
    pub(crate) fn would_overwrite(&self, write: &Write) -> Option<WriteId> {
        let is_again = matches!(write.role, Role::Shadow | Role::Ordered)
            && (write.tries.refusals > 0 || write.tries.by_order == Some(Order::Resend))
            && !write.tries.doubtful;
        if !is_again || !write.overwrites() || self.bug(Bug::ResendOverLater) {
            return None;
        }
        self.applied_over(
            write.row.facts.lane,
            write.row.id,
            write.row.position,
            write.row.decides,
            write.row.outcome.as_ref(),
        )
    }

    /// A write of the lane that this replica applied, and that comes after this one or is concurrent with it.
    pub(crate) fn applied_over(
        &self,
        lane: Lane,
        id: WriteId,
        position: Option<(u64, Chain)>,
        decides: Option<(WriteId, u64)>,
        outcome: Option<&Outcome>,
    ) -> Option<WriteId> {
        let place = decides.map(|(_, position)| position).or(position.map(|(position, _)| position));
        let nothing = After::new();
        let after = outcome.map_or(&nothing, |outcome| &outcome.after);
        self.replay.lane_memory.later_or_concurrent(lane, decided_by(id), place, after)
    }

    /// It stays what it is, a write that waits for a person; or becomes one.
    fn is_overtaken_by(&mut self, cx: &mut Cx, id: WriteId, other: WriteId) {
        let detail = format!("this replica has applied {other} of its lane, which it would overwrite: not sent again");
        let Some(write) = self.live.get(&id) else { return };
        // A 500 leaves open whether it was applied.
        let reason =
            if write.tries.may_have_applied { QuarantineReason::Divergence } else { QuarantineReason::LateDecision };
        let status = write.tries.refused_with;
        match write.role {
            Role::Ordered => self.ordered_in_vain(cx, id, &detail, status),
            _ => self.quarantine_shadow(cx, id, reason, detail, status),
        }
    }
}

fn shadow_of(write: &Write) -> Shadow {
    let answer = write.row.outcome.as_ref().and_then(|o| o.answer.as_ref());
    Shadow {
        original_ms: write.row.facts.original_ms,
        original_status: write.row.outcome.as_ref().map_or(0, |o| o.status),
        original_location: answer.and_then(|a| a.header("location")).map(<[u8]>::to_vec),
    }
}
