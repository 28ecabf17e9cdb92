//! What this site has told of other sites' writes, and has not decided itself (G3).
//!
//! A client that repeats its write at another site, and gets the answer recorded elsewhere, sends its next write there.
//! To this replica the first may not have come yet. A told answer therefore binds as a decided one does: what is placed
//! from then on must come after its write. Durable before the answer leaves, with the series it belongs to, for a
//! restart forgets no promise.
use super::core::{Core, Cx};
use crate::mirror::Series;
use crate::model::{After, LogId, Outcome, Stretch, Verdict, WriteId, decided_by};

/// Verdict of the answer that is told, and the write that it repeats.
pub(super) type Binding = (Verdict, Option<WriteId>);

/// Of one series. Beyond it a client is asked to come again: by then some are decided.
const TOLD_MAX: usize = 1_024;

impl Core {
    /// Before a recorded answer of another site's write is told here, which rests on what is given. False: not now.
    /// What comes next here will wait for it, so all that it must come after is stored first: a cut must not hold that
    /// up (G8).
    pub(super) fn bind_to(
        &mut self,
        cx: &mut Cx,
        id: WriteId,
        outcome: Binding,
        rests_on: &After,
        position: Option<u64>,
    ) -> bool {
        let first = match outcome {
            (Verdict::Applied, _) => id,
            // A copy that was settled counts as decided when its first does, and stands where its own log settled it.
            (Verdict::Duplicate, Some(_)) if position.is_some() => id,
            (Verdict::Duplicate, Some(repeats)) => repeats,
            _ => return true,
        };
        if first.log == self.own || self.is_decided(first) {
            return true;
        }
        let Some(series) = self.mirror.series.get(&first.log) else { return true };
        let position = position.filter(|_| first == id).unwrap_or(0);
        if series.told.get(&first.n).is_some_and(|known| *known >= position) {
            return true;
        }
        if !self.has_stored(cx, rests_on) {
            return false;
        }
        let series = self.mirror.series.get_mut(&first.log).expect("looked at above");
        if series.told.len() >= TOLD_MAX {
            return false;
        }
        series.told.insert(first.n, position);
        self.persist_series(cx, first.log);
        true
    }

    /// Another site's record of a success is told here only when its entry is stored (G8).
    pub(super) fn has_entry_of(&self, id: WriteId, outcome: Binding, position: Option<u64>) -> bool {
        let binds = matches!(outcome.0, Verdict::Applied | Verdict::Duplicate);
        let is_stored = |series: &Series| position.is_some_and(|position| position <= series.received);
        let is_known = || self.live.contains_key(&id) || self.is_decided(id);
        !binds || id.log == self.own || self.mirror.series.get(&id.log).is_some_and(is_stored) || is_known()
    }

    /// What was told here and is not decided: by position where that is stored, so that a decider elsewhere can be
    /// given it.
    pub(super) fn told_here(&self) -> After {
        let mut after = After::new();
        for series in self.mirror.series.values() {
            for (&n, &position) in &series.told {
                let id = WriteId { log: series.log, n };
                // What is decided at its position and told all the same was settled undecided, or is about to be found
                // decided.
                if (1..=series.received).contains(&position) && !series.is_decided(position) {
                    after.add_stretch(Stretch { log: series.log, first: position, last: position });
                } else {
                    after.add_id(id);
                }
            }
        }
        after
    }

    /// This replica has decided it, so that it is named as all that is decided here.
    pub(crate) fn told_is_decided(&mut self, id: WriteId) {
        for id in [id, decided_by(id)] {
            let is_told = self.mirror.series.get(&id.log).is_some_and(|series| series.told.contains_key(&id.n));
            if is_told && self.is_decided(id) {
                self.mirror.series.get_mut(&id.log).expect("looked at above").told.remove(&id.n);
            }
        }
    }

    /// Not known here, and told of: another site that has decided it may tell ahead of its position.
    pub(crate) fn told_ids(&self) -> impl Iterator<Item = WriteId> + '_ {
        let of = |series: &Series| -> Vec<WriteId> {
            let log: LogId = series.log;
            series.told.keys().map(|&n| WriteId { log, n }).collect()
        };
        self.mirror.series.values().flat_map(of)
    }

    /// What a site that asks must have stored before it tells a recorded answer.
    pub(super) fn after_of(id: WriteId, outcome: &Outcome, position: Option<u64>) -> After {
        let mut after = outcome.after.clone();
        if let Some(position) = position {
            after.add_stretch(Stretch { log: id.log, first: position, last: position });
        }
        after
    }

    pub(super) fn binding(outcome: &Outcome) -> Binding {
        (outcome.verdict, outcome.repeats)
    }
}
