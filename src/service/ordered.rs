//! Writes that a person ordered to be sent again, and what comes of it.
use std::collections::BTreeSet;

use super::core::{Core, Cx, Work};
use super::outcome::Class;
use super::write::{Order, Role, Stage, Write};
use super::{Find, Found, Looking, Operation};
use crate::journal::{Fate, Here, Origin, QuarantineReason, Quarantined, Row};
use crate::model::{Verdict, WriteId, decision_of};

impl Core {
    /// A live write, as a look-up would find it.
    pub(crate) fn as_found(&self, write: &Write) -> Found {
        let quarantined = self.completer.quarantine.get(&write.row.id).cloned();
        Found { row: write.record(), request: write.request.clone(), quarantined }
    }

    /// `found` has a request, and its order is not to be asked about any more.
    pub(super) fn resend(&mut self, cx: &Cx, found: Found, operation: Operation) {
        let id = found.row.id;
        self.hold_quarantine(id);
        self.make_live(found, cx.ms());
        let Some(write) = self.live.get_mut(&id) else { return };
        let followed = write.row.outcome.as_ref().is_some_and(|o| o.verdict == Verdict::Applied);
        write.role = if followed { Role::Shadow } else { Role::Ordered };
        if write.row.position.is_none() && !followed {
            // What was known of it before: a wish has an outcome when it is decided.
            write.row.outcome = None;
        }
        write.tries.doubtful = false;
        write.tries.pass_at_ms = None;
        write.tries.attempts = write.tries.attempts.max(1);
        write.tries.by_order =
            Some(if operation == Operation::ResendOverLater { Order::OverLater } else { Order::Resend });
        (write.tries.refusals, write.tries.is_concurrent) = (0, false);
        write.stage = Stage::Waiting;
        self.agenda.push(Work::Look(id));
    }

    /// What came of a write that a person ordered to be sent again.
    pub(crate) fn finish_ordered(&mut self, cx: &mut Cx, id: WriteId, class: Class) {
        let Some(write) = self.live.get(&id) else { return };
        let found = self.as_found(write);
        let own = write.row.origin == Origin::Settled;
        let settled = write.row.position.and(write.row.outcome.as_ref()).map(|outcome| outcome.verdict);
        match class {
            Class::Success(answer) if own => {
                // Until the decision is durable, a crash finds it unknown again.
                self.set_stage(id, Stage::Decided(Fate::Quarantined(QuarantineReason::UnknownOutcome)));
                let found = Found { row: self.live[&id].record(), ..found };
                let after = self.decided_without_gaps();
                self.decide_now(cx, found, Verdict::Applied, Some(answer), Some(after), true);
            }
            // Others follow the decision of its origin, which a person makes, or has made.
            Class::Success(_) if settled == Some(Verdict::MayHaveApplied) => {
                self.decide_shadow(cx, id, Fate::Applied);
            }
            Class::Success(answer) => {
                let (mut ours, fate) = self.outcome_of(id, Class::Success(answer)).expect("a success is an outcome");
                ours.after = self.decided_without_gaps();
                self.complete_wish(cx, id, ours, fate);
                self.evict_if_final(id);
            }
            Class::Refused(answer) | Class::NotExecuted(answer) | Class::MayHaveApplied(answer) => {
                self.ordered_in_vain(cx, id, &format!("the service answered {}", answer.status), answer.status);
            }
            Class::NeverSent { why } | Class::Unknown { why } => self.ordered_in_vain(cx, id, &why, 0),
        }
    }

    /// Nobody knows more than before.
    pub(crate) fn ordered_in_vain(&mut self, cx: &mut Cx, id: WriteId, why: &str, status: u16) {
        let reason = QuarantineReason::UnknownOutcome;
        self.quarantine(cx, id, reason, format!("sent again by order; {why}"), status);
        self.close(cx, id, Fate::Quarantined(reason));
    }

    /// A person ordered it to be sent, but a copy of it is applied here: that one stands for both.
    pub(crate) fn ordered_is_copy(&mut self, cx: &mut Cx, id: WriteId, of: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let row = Row { here: Here::Decided(Fate::Duplicate(of)), ..write.record() };
        let found = Found { row, request: write.request.clone(), quarantined: None };
        let is_own = write.row.origin == Origin::Settled;
        self.close(cx, id, Fate::Duplicate(of));
        if is_own {
            self.decide_now(cx, found, Verdict::Void, None, None, false);
        }
    }

    /// A write turned out not to be applied: copies that stood back for it have to be applied after all.
    pub(super) fn reopen(&mut self, cx: &mut Cx, id: WriteId) {
        self.find(cx, Find::Id(id), Looking::Reopen(id));
    }

    pub(crate) fn look_for_copies(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
        match rows.iter().find(|found| found.row.id == id).and_then(|found| found.row.facts.key) {
            Some(key) => self.find(cx, Find::Key(key), Looking::ReopenCopies(id)),
            None => self.release_held(cx, id),
        }
    }

    pub(crate) fn reopen_copies(&mut self, cx: &mut Cx, id: WriteId, rows: Vec<Found>) {
        let copies = rows.into_iter().filter(|found| found.row.here == Here::Decided(Fate::Duplicate(id)));
        let copies: Vec<Found> = copies.collect();
        let ids: BTreeSet<WriteId> = copies.iter().map(|found| found.row.id).collect();
        // One that was decided late stands there twice: what was decided is followed.
        let is_decided = |id: WriteId| decision_of(id) != id && ids.contains(&decision_of(id));
        for found in copies.into_iter().filter(|found| !is_decided(found.row.id)) {
            let outcome = found.row.outcome.as_ref();
            if outcome.is_some_and(|outcome| outcome.verdict == Verdict::Duplicate) {
                // Its client has the answer of the first, and no replica applies it.
                continue;
            }
            let (copy, reason) = (found.row.id, QuarantineReason::UnknownOutcome);
            let detail = format!("a copy of {id}, which was not applied: to be sent");
            let entry = Quarantined::new(copy, reason, detail, cx.now.wall_ms);
            self.keep_entry(cx, entry);
            self.look_for_order(cx, None, copy, Operation::Resend);
        }
        self.release_held(cx, id);
    }
}
