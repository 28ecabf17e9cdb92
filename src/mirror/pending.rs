//! When the outcome of a wish may be settled, or a late one made a decision of: when this replica can go on behind it.
//!
//! All that this site does from then on comes after it, so what it comes after must be here, and must not wait for a
//! word that a cut may keep away. Until then the outcome stays what it is, a hint about what the asked site has
//! durably, and is said again.
use std::collections::{BTreeMap, BTreeSet};

use crate::mirror::RESEND_MS;

use crate::model::{After, LogId, Outcome, Verdict, WriteId, decision_of, is_decision};
use crate::replay::Dependency;
use crate::service::core::{Core, Cx};
use crate::service::write::{Stage, Write};
use crate::service::{Find, Found, Looking};

/// In [`Named`]: its position is stored here.
const FOUND: u64 = u64::MAX;
/// Names whose positions are remembered to be stored here.
const NAMED_MAX: usize = 4_096;

/// Positions that are stored here and wait, directly or behind others, for what another site has to say of a write.
pub(crate) type Stuck = BTreeSet<(LogId, u64)>;

/// Writes that outcomes of wishes name by id and that are not live: how much of their series was stored when the
/// journal was asked for their position.
#[derive(Debug, Default)]
pub(crate) struct Named {
    asked_at: BTreeMap<WriteId, u64>,
    /// When other sites were asked last to tell ahead what is missing.
    asked_ahead_ms: u64,
}

impl Named {
    fn is_found(&self, id: &WriteId) -> bool {
        self.asked_at.get(id) == Some(&FOUND)
    }

    fn found(&mut self, id: WriteId) {
        self.asked_at.insert(id, FOUND);
    }

    fn is_asked_for(&self, id: &WriteId) -> bool {
        self.asked_at.contains_key(id)
    }

    /// It is to be asked for as often as more has come.
    fn ask_for(&mut self, id: WriteId) {
        self.asked_at.entry(id).or_insert(0);
    }

    /// Whether it is to be asked for now that so much of its series is stored.
    fn ask_now(&mut self, id: WriteId, received: u64) -> bool {
        if self.asked_at.get(&id).is_some_and(|&asked_at| asked_at >= received) {
            return false;
        }
        if self.asked_at.len() >= NAMED_MAX {
            self.asked_at.clear();
        }
        self.asked_at.insert(id, received);
        true
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &WriteId> {
        self.asked_at.keys()
    }

    /// What is missing ahead is not asked for again at once.
    pub(crate) fn may_ask_ahead(&self, now_ms: u64) -> bool {
        now_ms >= self.asked_ahead_ms + RESEND_MS
    }

    pub(crate) fn asked_ahead(&mut self, now_ms: u64) {
        self.asked_ahead_ms = now_ms;
    }
}

impl Core {
    /// The origin settles an outcome only when it has stored what it comes after.
    pub(crate) fn try_pending(&mut self, cx: &mut Cx, id: WriteId, stuck: &Stuck) {
        let Some((_, outcome)) = self.live.get(&id).and_then(|w| w.placing.pending.clone()) else { return };
        if self.may_come_after(cx, &outcome, stuck) {
            self.settle(cx, id, outcome, None);
        }
    }

    pub(crate) fn may_come_after(&mut self, cx: &mut Cx, outcome: &Outcome, stuck: &Stuck) -> bool {
        let after = &outcome.after;
        if !self.has_stored_positions_of(after) || stuck.iter().any(|&(log, position)| after.covers(log, position)) {
            return false;
        }
        // The write that a copy repeats too: what comes next at this site waits for it, and a cut must not hold that
        // up.
        let repeated = outcome.repeats.filter(|_| outcome.verdict == Verdict::Duplicate);
        let named = after.ids().iter().copied().chain(repeated);
        let missing: Vec<WriteId> = named.filter(|id| !self.has_position(*id)).collect();
        for &other in &missing {
            self.ask_for_position(cx, other);
            if self.mirror.named.is_asked_for(&decision_of(other)) {
                self.ask_for_position(cx, decision_of(other));
            }
        }
        missing.is_empty()
    }

    pub(crate) fn stuck(&self) -> Stuck {
        let mut stuck = Stuck::new();
        if !self.replay.blocked.awaits_ids() {
            return stuck;
        }
        // Each stands under the first thing that it misses; it may miss more.
        let misses_word = |write: &Write| {
            write.comes_after().ids().iter().any(|&id| !self.is_decided(id) && self.waits_for_word_of(id))
        };
        let waits = self.replay.blocked.iter().filter_map(|(id, on)| {
            let write = self.live.get(&id).filter(|write| write.stage == Stage::Waiting)?;
            Some(((id.log, write.row.position?.0), on, misses_word(write)))
        });
        let waits: Vec<_> = waits.collect();
        loop {
            let before = stuck.len();
            for &(place, on, misses_word) in &waits {
                let is_stuck = match on {
                    _ if misses_word => true,
                    Dependency::Id(_) => false,
                    Dependency::Exactly(log, position) => stuck.contains(&(log, position)),
                    Dependency::Position(log, position) => stuck.range((log, 0)..=(log, position)).next().is_some(),
                };
                if is_stuck {
                    stuck.insert(place);
                }
            }
            if stuck.len() == before {
                return stuck;
            }
        }
    }

    /// That this replica has not applied it yet, where it has it, holds up only this replica.
    fn waits_for_word_of(&self, id: WriteId) -> bool {
        self.live.get(&id).is_none_or(|write| {
            let has_word = write.row.position.is_some() || write.placing.pending.is_some() || write.is_decided_ahead();
            write.awaits_decision() || !has_word
        })
    }

    fn has_stored_positions_of(&self, after: &After) -> bool {
        // What this site made with an earlier store it may never take.
        let stored = |(log, position): (_, u64)| {
            self.age.is_past(&log) || self.mirror.series.get(&log).is_some_and(|s| s.received >= position)
        };
        after.lasts().all(stored)
    }

    /// Whether this replica can decide all of it whatever becomes of the links.
    pub(crate) fn has_stored(&mut self, cx: &mut Cx, after: &After) -> bool {
        // What was told of ahead may be settled as undecided all the same, and then waits for a decision.
        let is_only_told = |id: WriteId| {
            self.live.get(&id).is_some_and(|write| write.row.position.is_none() && write.is_decided_ahead())
                && !self.is_decided(id)
        };
        let missing = |id: &&WriteId| !self.has_position(**id) || is_only_told(**id);
        let missing: Vec<WriteId> = after.ids().iter().filter(missing).copied().collect();
        for &id in &missing {
            self.ask_for_position(cx, id);
        }
        missing.is_empty() && self.has_stored_positions_of(after)
    }

    /// Its position is stored here, and says what became of it; or that was told of ahead, or decided here.
    pub(crate) fn has_position(&self, id: WriteId) -> bool {
        let found = |id| self.mirror.named.is_found(&id) || self.lookups.was_final_lately(&id);
        let is_told =
            |id| self.live.get(&id).is_some_and(|write| write.row.position.is_some() || write.is_decided_ahead());
        let itself = match self.live.get(&id) {
            Some(write) => is_told(id) && !write.awaits_decision(),
            None => found(id),
        };
        itself || self.is_decided(id) || (!is_decision(id) && (found(decision_of(id)) || is_told(decision_of(id))))
    }

    /// It may be stored and not taken up yet: the journal knows. Asked again only when more of its series has come.
    fn ask_for_position(&mut self, cx: &mut Cx, id: WriteId) {
        let received = self.mirror.series.get(&id.log).map_or(0, |s| s.received);
        if !self.live.contains_key(&id) && self.mirror.named.ask_now(id, received) {
            self.find(cx, Find::Id(id), Looking::Named(id));
        }
    }

    pub(crate) fn named_found(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
        let stored = rows.iter().map(|found| &found.row).find(|row| row.id == id && row.position.is_some());
        match stored {
            Some(row) if row.awaits_decision() => {
                // From now on that is asked for, as often as more has come.
                self.mirror.named.ask_for(decision_of(id));
                self.ask_for_position(cx, decision_of(id));
            }
            Some(_) => {
                self.mirror.named.found(id);
                self.retry_pending(cx);
            }
            // An own one that is over and forgotten.
            None if id.log == self.own && !is_decision(id) && !self.live.contains_key(&id) => {
                self.mirror.named.found(id);
                self.retry_pending(cx);
            }
            None => {}
        }
    }

    /// More of some series is stored.
    pub(crate) fn retry_pending(&mut self, cx: &mut Cx) {
        let pending: Vec<WriteId> = self.mirror.wishes.pending().collect();
        if !pending.is_empty() {
            let stuck = self.stuck();
            pending.into_iter().for_each(|id| self.try_pending(cx, id, &stuck));
        }
    }
}
