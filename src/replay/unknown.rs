//! Divergences that may come of what nobody knew.
//!
//! With each write its decider names those of which it did not know what had become of them when it sent it. What it
//! had applied without knowing, a follower has not got yet: a write that builds on it is refused there. Such a
//! divergence stands in quarantine and holds up nobody. When they are decided here it is tried once more, as if a
//! person had ordered it.
use std::collections::{BTreeMap, BTreeSet};

use crate::journal::{Fate, QuarantineReason, WAITING_MAX};

use crate::model::{UNKNOWN_MAX, Verdict, WriteId, decided_by};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage, Write};
use crate::service::{Find, Found, Looking, Note, Operation};

#[derive(Debug, Default)]
pub(crate) struct Unknown {
    /// Of what became of these this replica does not know, as far as it goes back; oldest first.
    here: Vec<WriteId>,
    /// Entries that are tried once more, with what each still waits for.
    waiting: BTreeMap<WriteId, BTreeSet<WriteId>>,
    /// The other way round.
    awaited: BTreeMap<WriteId, BTreeSet<WriteId>>,
}

impl Unknown {
    /// As the journal tells of it, the latest first.
    pub(crate) fn recover(unknown: Vec<WriteId>) -> Self {
        Self { here: unknown.into_iter().rev().collect(), ..Self::default() }
    }

    pub(crate) fn is_unknown(&mut self, id: WriteId) {
        self.is_known(id);
        self.here.push(id);
        if self.here.len() > UNKNOWN_MAX {
            self.here.remove(0);
        }
    }

    pub(crate) fn is_known(&mut self, id: WriteId) {
        self.here.retain(|other| *other != id);
    }

    pub(crate) fn is_awaited(&self, id: WriteId) -> bool {
        self.awaited.contains_key(&id)
    }

    /// `false`: too many wait. A person decides about this one.
    fn wait(&mut self, entry: WriteId, unknown: &[WriteId]) -> bool {
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        for id in unknown {
            self.awaited.entry(decided_by(*id)).or_default().insert(entry);
            self.waiting.entry(entry).or_default().insert(decided_by(*id));
        }
        true
    }

    /// Whatever it waited for.
    pub(crate) fn wait_no_more(&mut self, entry: WriteId) {
        for id in self.waiting.remove(&entry).unwrap_or_default() {
            if let Some(entries) = self.awaited.get_mut(&id) {
                entries.remove(&entry);
                if entries.is_empty() {
                    self.awaited.remove(&id);
                }
            }
        }
    }

    /// Entries that wait for nothing any more.
    fn decided(&mut self, id: WriteId) -> Vec<WriteId> {
        let entries = self.awaited.remove(&id).unwrap_or_default();
        let is_last = |entry: &WriteId| {
            let left = self.waiting.get_mut(entry);
            left.is_none_or(|left| {
                left.remove(&id);
                left.is_empty()
            })
        };
        let ready: Vec<WriteId> = entries.into_iter().filter(is_last).collect();
        ready.iter().for_each(|entry| drop(self.waiting.remove(entry)));
        ready
    }
}

impl Core {
    /// What a write that is sent now names.
    pub(crate) fn unknown_now(&self, sent: WriteId) -> Vec<WriteId> {
        let is_unknown = |id: &WriteId| self.live.get(id).is_none_or(is_unknown);
        let others = self.completer.unknown.here.iter().copied().filter(|id| decided_by(*id) != decided_by(sent));
        others.filter(is_unknown).collect()
    }

    /// It left memory; in quarantine it may be unknown still.
    pub(crate) fn left_memory(&mut self, write: &Write) {
        if !is_unknown(write) {
            self.completer.unknown.is_known(write.row.id);
        }
    }

    /// What a shadow that is sent now goes without, although its decider may have had it.
    pub(crate) fn not_decided_yet(&self, write: &Write) -> Vec<WriteId> {
        let Some(outcome) = &write.row.outcome else { return Vec::new() };
        let may_wait = write.role == Role::Shadow && write.tries.by_order.is_none();
        let unknown = outcome.unknown.iter().copied().filter(|id| may_wait && !self.is_decided(*id));
        unknown.collect()
    }

    /// The divergence stands in quarantine.
    pub(crate) fn await_decisions(&mut self, cx: &mut Cx, entry: WriteId, unknown: &[WriteId]) {
        if self.completer.unknown.wait(entry, unknown) {
            for id in unknown {
                self.find(cx, Find::Either(decided_by(*id)), Looking::Unknown(decided_by(*id)));
            }
        }
    }

    /// As it was when the process ended.
    pub(crate) fn await_decisions_again(&mut self, waiting: Vec<(WriteId, Vec<WriteId>)>) {
        let mut asked = BTreeSet::new();
        for (entry, unknown) in waiting {
            self.completer.unknown.wait(entry, &unknown);
            asked.extend(unknown.into_iter().map(decided_by));
        }
        self.agenda.extend(asked.into_iter().map(Work::Unknown));
    }

    pub(crate) fn ask_whether_decided(&mut self, cx: &mut Cx, id: WriteId) {
        if self.completer.unknown.is_awaited(id) {
            self.find(cx, Find::Either(id), Looking::Unknown(id));
        }
    }

    pub(crate) fn unknown_found(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
        let is_decided_here = |found: &Found| {
            let position = found.row.position.map(|(position, _)| position);
            let series = self.mirror.series.get(&found.row.id.log);
            let is_old = !self.live.contains_key(&found.row.id);
            let has_decision = found.row.id != id || !found.row.awaits_decision();
            is_old && has_decision && position.zip(series).is_some_and(|(position, series)| series.is_decided(position))
        };
        if !self.is_decided(id) && !rows.iter().any(is_decided_here) {
            return;
        }
        for entry in self.completer.unknown.decided(id) {
            if !self.is_ordered(entry) {
                cx.note(Note::TriedOnceMore { id: entry });
                self.look_for_order(cx, None, entry, Operation::Resend);
            }
        }
    }
}

/// It may have been applied at this replica, or at one that was asked.
fn is_unknown(write: &Write) -> bool {
    let passed = matches!(write.stage, Stage::Decided(Fate::Quarantined(QuarantineReason::UnknownOutcome)));
    let skipped = write.stage == Stage::Decided(Fate::Skipped)
        && write.row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Undecided);
    write.tries.doubtful || matches!(write.stage, Stage::Unknown(_)) || passed || skipped
}
