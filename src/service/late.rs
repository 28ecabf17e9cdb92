//! Late decisions: an own write that was settled undecided is decided, by a person or by another site's late word.
use std::sync::Arc;

use super::core::{Core, Cx};
use super::write::{Role, Stage, Write};
use super::{Find, Found, Looking};
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{After, Answer, Verdict, decision_of};

/// A decision about an own write that was settled without one, while the journal is asked whether there is one already.
pub(crate) struct Late {
    pub(super) found: Found,
    pub(super) verdict: Verdict,
    pub(super) answer: Option<Arc<Answer>>,
    /// What the decision comes after, where that is not what the write itself came after.
    pub(super) after: Option<After>,
    pub(super) by_person: bool,
}

impl Core {
    /// An own write that was settled as undecided is decided: by a person, who speaks of this replica too where it was
    /// sent here, or by the late word of another site, which speaks of its own. Once: the journal is asked whether it
    /// was before.
    pub(crate) fn decide_now(
        &mut self,
        cx: &mut Cx,
        found: Found,
        verdict: Verdict,
        answer: Option<Arc<Answer>>,
        after: Option<After>,
        by_person: bool,
    ) {
        let decision = decision_of(found.row.id);
        let late = Late { found, verdict, answer, after, by_person };
        self.find(cx, Find::Id(decision), Looking::Late(Box::new(late)));
    }

    pub(crate) fn decide_late_once(&mut self, cx: &mut Cx, late: Late, rows: &[Found]) {
        let read = self.take_entries(std::slice::from_ref(&late.found));
        self.decide_once(cx, late, rows);
        self.leave_entries(read);
    }

    pub(super) fn decide_once(&mut self, cx: &mut Cx, late: Late, rows: &[Found]) {
        let Late { mut found, verdict, answer, after, by_person } = late;
        let id = found.row.id;
        let decision = decision_of(id);
        let before = !rows.is_empty() || self.live.contains_key(&decision) || self.lookups.was_final_lately(&decision);
        if before && !by_person {
            // Decided already. What still stands in quarantine here waits for an order that a crash may have cut short.
            return;
        }
        let mut ordered = false;
        if let Some(write) = self.live.get(&id) {
            found.row = write.record();
            ordered = !by_person && write.role == Role::Ordered && !matches!(write.stage, Stage::Decided(_));
        }
        if ordered && verdict == Verdict::Void {
            // A person is having it sent here: what comes of that is the decision.
            return;
        }
        let fate = match (&found.row.here, verdict) {
            (Here::Decided(Fate::Quarantined(_)) | Here::Sending { .. }, Verdict::Applied) if by_person => {
                Fate::Applied
            }
            (Here::Decided(Fate::Quarantined(_)), Verdict::Void) if by_person => Fate::Void,
            (Here::Decided(fate), _) => fate.clone(),
            // What this replica does with it is for that order to say, and no second time by the decision (G2).
            _ if ordered => Fate::Quarantined(QuarantineReason::UnknownOutcome),
            (Here::Untouched | Here::Sending { .. }, _) => Fate::Skipped,
        };
        if verdict == Verdict::Void {
            self.hold_quarantine(id);
        }
        let mut old = Write::recover(found.clone(), cx.ms());
        old.stage = Stage::Decided(fate.clone());
        if by_person || !matches!(fate, Fate::Quarantined(_)) {
            self.rewrite_fate(cx, id, Some(found), fate);
        }
        if !before {
            self.decide_late(cx, old, verdict, answer, after);
        }
        if verdict == Verdict::Void {
            self.reopen(cx, id);
        }
    }
}
