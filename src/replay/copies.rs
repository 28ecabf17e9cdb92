//! Copies: writes with one key from different logs are one write, of which a replica applies one (G2).
use super::Dependency;
use crate::journal::{Fate, Here, QuarantineReason, Row};
use crate::model::{HeldState, Outcome, Verdict, WriteId, decision_of, is_decision};
use crate::service::core::{Core, Cx, Work};
use crate::service::whose::is_refusal;
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Found, Note, WishWord};

/// What the copies of a key mean for a write that is about to be sent.
enum Copy {
    None,
    /// This one may be applied: wait until it is decided.
    Wait(WriteId),
    /// As `Of`, but another client's.
    OfAnother(WriteId, HeldState),
    /// It was applied, or may have been: that is this write.
    Of {
        first: WriteId,
        is_applied: bool,
        outcome: Option<Outcome>,
    },
}

impl Core {
    pub(crate) fn copies_found(&mut self, cx: &mut Cx, id: WriteId, rows: Vec<Found>) {
        let Some(write) = self.live.get(&id) else { return };
        match write.stage {
            Stage::Checking => {
                let (lane, misses) = (write.row.facts.lane, self.missing_for(write).is_some());
                self.set_stage(id, Stage::Waiting);
                if misses {
                    // It has become a shadow meanwhile, with more to come after.
                    self.free_place(lane, id);
                    return self.agenda.push(Work::Look(id));
                }
                self.start_unless_copy(cx, id, &rows);
            }
            // The journal was asked twice, and the other answer has been acted upon.
            Stage::Sending | Stage::Judging | Stage::Unknown(_) => {}
            // Settled by a late word while the journal was asked.
            _ => self.free_place(write.row.facts.lane, id),
        }
    }

    pub(super) fn start_unless_copy(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
        let Some(write) = self.live.get(&id) else { return };
        let lane = write.row.facts.lane;
        if let Some(with) = self.conflicting(write, rows) {
            self.replay.counts.conflicts.keys += 1;
            cx.note(Note::KeyConflict { id, with });
        }
        match self.copy_of(write, rows) {
            Copy::None if self.must_not_decide(id) => {
                // Named while the journal was asked.
                self.free_place(lane, id);
                self.want_place(id);
            }
            Copy::None => self.send(cx, id),
            // A person who orders it knows better.
            Copy::OfAnother(..) if write.tries.by_order.is_some() => self.send(cx, id),
            Copy::OfAnother(first, state) => {
                self.free_place(lane, id);
                self.is_of_another(cx, id, first, state);
            }
            Copy::Wait(other) => {
                self.free_place(lane, id);
                self.replay.blocked.wait(id, Dependency::Id(other));
            }
            Copy::Of { first, is_applied, outcome } => {
                self.free_place(lane, id);
                cx.note(Note::Duplicate);
                self.is_copy(cx, id, first, is_applied, outcome);
            }
        }
    }

    /// Writes with the same key and digest from different logs are one write, if one of them is applied or unknown at
    /// this replica and the other does not renew it.
    fn copy_of(&self, write: &Write, rows: &[Found]) -> Copy {
        let key = write.row.facts.key.expect("only writes with a key have copies");
        if self.bug(Bug::FingerprintProves)
            && write.role == Role::Shadow
            && let Some(print) = self.ring.get(&key).filter(|print| print.id.log != write.row.id.log)
        {
            return Copy::Of { first: print.id, is_applied: false, outcome: None };
        }
        let live =
            self.idempotency.keys.live(&key).iter().filter_map(|id| self.live.get(id)).map(|w| (w.record(), Some(w)));
        let stored = rows.iter().filter(|f| !self.live.contains_key(&f.row.id)).map(|f| (f.row.clone(), None));
        let rows: Vec<(Row, Option<&Write>)> = live.chain(stored).collect();
        let mut found = Copy::None;
        let mut of_another = Copy::None;
        let who = self.who_of(write);
        for (row, live) in &rows {
            let same_request = row.facts.digest == write.row.facts.digest || self.bug(Bug::CopiesDespiteDigest);
            let same = row.facts.key == Some(key) && same_request;
            // Applied here although its origin settled it otherwise and released the key: what came next of that key is
            // it.
            let contrary = row.here == Here::Decided(Fate::Quarantined(QuarantineReason::Contrary));
            let is_released = is_released(row) || (is_doubtful(row) && is_decided_void(row.id, &rows));
            if (row.id.log == write.row.id.log && !contrary && !is_released) || row.id == write.row.id || !same {
                continue;
            }
            if renews(write, row.id, rows.iter().map(|(row, _)| row)) {
                continue;
            }
            match &row.here {
                Here::Sending { .. } if live.is_some() => return Copy::Wait(row.id),
                // It is sent as soon as it has its connection, and asks nothing more.
                Here::Untouched if live.is_some_and(|live| live.stage == Stage::Connecting) => {
                    return Copy::Wait(row.id);
                }
                Here::Decided(fate) if !self.is_of(&row.facts, who) => {
                    of_another = match fate {
                        Fate::Applied if !is_refusal(row) => Copy::OfAnother(row.id, HeldState::Done),
                        Fate::Quarantined(reason) if may_have_applied(*reason) => {
                            Copy::OfAnother(row.id, HeldState::Unknown)
                        }
                        _ => continue,
                    }
                }
                Here::Decided(Fate::Applied) => {
                    return Copy::Of { first: row.id, is_applied: true, outcome: row.told().cloned() };
                }
                Here::Decided(Fate::Quarantined(reason)) if may_have_applied(*reason) => {
                    let is_applied = row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Applied);
                    found = Copy::Of { first: row.id, is_applied, outcome: row.told().cloned() };
                }
                _ => {}
            }
        }
        if matches!(found, Copy::None) { of_another } else { found }
    }

    /// Another request under the same key that this replica has applied, or may have: two sites took the key while they
    /// did not know of each other.
    fn conflicting(&self, write: &Write, rows: &[Found]) -> Option<WriteId> {
        if write.tries.attempts > 0 || !matches!(write.role, Role::Shadow | Role::Wish) {
            return None;
        }
        let key = write.row.facts.key?;
        let live = self.idempotency.keys.live(&key).iter().filter_map(|id| self.live.get(id)).map(Write::record);
        let stored = rows.iter().map(|found| &found.row).filter(|row| !self.live.contains_key(&row.id)).cloned();
        let is_other = |row: &Row| {
            let another = row.facts.key == Some(key) && row.facts.digest != write.row.facts.digest;
            let is_here = matches!(row.here, Here::Sending { .. } | Here::Decided(Fate::Applied));
            another && is_here && row.id.log != write.row.id.log && !write.row.facts.renews.contains(&row.id)
        };
        live.chain(stored).find(is_other).map(|row| row.id)
    }

    /// The write is a copy of one that this replica has, or may have, applied. What comes after this one comes after
    /// that one (G3); but where there is only an answer that does not tell whether it was applied, that stands in
    /// quarantine and holds up nothing.
    fn is_copy(&mut self, cx: &mut Cx, id: WriteId, of: WriteId, is_applied: bool, outcome: Option<Outcome>) {
        let Some(write) = self.live.get(&id) else { return };
        if write.role == Role::Shadow {
            if let (Some(theirs), Some(ours)) = (&write.row.outcome, &outcome)
                && are_answered_differently(theirs, ours)
            {
                self.replay.counts.conflicts.answers += 1;
                cx.note(Note::AnsweredDifferently { id, with: of });
            }
            return self.decide_shadow(cx, id, Fate::Duplicate(of));
        }
        if write.role == Role::Ordered {
            return self.ordered_is_copy(cx, id, of);
        }
        let known = outcome.filter(|o| o.answer.is_some() || o.status != 0);
        let verdict = if known.is_some() { Verdict::Duplicate } else { Verdict::Undecided };
        let outcome = Outcome {
            repeats: (known.is_none() || is_applied).then_some(of),
            status: known.as_ref().map_or(0, |o| o.status),
            answer: known.and_then(|o| o.answer),
            ..Outcome::new(verdict, self.decided_here())
        };
        match write.role {
            Role::Own => self.settle(cx, id, outcome, Some(Fate::Duplicate(of))),
            _ => self.complete_wish(cx, id, outcome, Fate::Duplicate(of)),
        }
    }

    /// The key and request of another client's write that this replica has, or may have, applied.
    fn is_of_another(&mut self, cx: &mut Cx, id: WriteId, first: WriteId, state: HeldState) {
        let Some(write) = self.live.get_mut(&id) else { return };
        match (write.role, &mut write.row.wish) {
            (Role::Own, _) => self.is_anothers(cx, id, state),
            (Role::Wish, Some(held)) => {
                held.of_another = Some(state);
                let attempt = held.attempt;
                self.void_wish(cx, id, attempt, WishWord::OfAnother(state));
            }
            _ => {
                let detail = format!("{first}, another client's write, has its key and its request");
                self.quarantine_shadow(cx, id, QuarantineReason::KeyOfAnother, detail, 0);
            }
        }
    }
}

/// The time of the other one was over when this one was accepted: the key was used again. That its decider had decided
/// the other one proves no such thing: it may have come while this one waited. Where copies were one write, of which
/// this replica applied one and the origin knew the other, both are meant.
fn renews<'r>(write: &Write, other: WriteId, mut rows: impl Iterator<Item = &'r Row>) -> bool {
    let renewed = &write.row.facts.renews;
    let is_copy = |row: &Row| row.here == Here::Decided(Fate::Duplicate(other)) && renewed.contains(&row.id);
    !renewed.is_empty() && (renewed.contains(&other) || rows.any(is_copy))
}

/// Two clients, or one that asked at two sites, were told different things of one write.
fn are_answered_differently(theirs: &Outcome, ours: &Outcome) -> bool {
    let told = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Applied | Verdict::Refused);
    let bodies = match (&theirs.answer, &ours.answer) {
        (Some(theirs), Some(ours)) if theirs.omitted.is_none() && ours.omitted.is_none() => theirs.body != ours.body,
        _ => false,
    };
    told(theirs) && told(ours) && (theirs.status != ours.status || bodies)
}

/// Its origin released its key although this replica may have applied it: what comes next of that key is it.
fn is_released(row: &Row) -> bool {
    let verdict = row.outcome.as_ref().map(|outcome| outcome.verdict);
    matches!(verdict, Some(Verdict::NotExecuted | Verdict::Void)) && is_doubtful(row)
}

fn is_doubtful(row: &Row) -> bool {
    match row.here {
        Here::Sending { .. } => true,
        Here::Decided(Fate::Quarantined(reason)) => may_have_applied(reason),
        _ => false,
    }
}

/// Settled as undecided, and decided void late: as if it had been settled so.
fn is_decided_void(id: WriteId, rows: &[(Row, Option<&Write>)]) -> bool {
    let is_void = |row: &Row| row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Void);
    !is_decision(id) && rows.iter().any(|(row, _)| row.id == decision_of(id) && is_void(row))
}

/// It was sent to this replica, and whether it changed something there is for a person to say.
fn may_have_applied(reason: QuarantineReason) -> bool {
    match reason {
        QuarantineReason::UnknownOutcome
        | QuarantineReason::MayHaveApplied
        | QuarantineReason::Divergence
        | QuarantineReason::Contrary
        | QuarantineReason::Damaged => true,
        QuarantineReason::ConcurrentWrites
        | QuarantineReason::LateDecision
        | QuarantineReason::Hole
        | QuarantineReason::SetAside
        | QuarantineReason::KeyOfAnother => false,
    }
}
