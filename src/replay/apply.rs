//! Sending a write to this replica: when all that it must come after is decided, when its lane is free, and once (G2,
//! G3).
use std::collections::VecDeque;
use std::sync::Arc;

use crate::journal::{Fate, Here, Origin, QuarantineReason, Row};
use crate::model::{After, Chain, HeldState, Item, Lane, Outcome, SiteName, Stretch, Verdict, WriteId};
use crate::model::{decided_by, decision_of, is_decision};
use crate::replay::Dependency;
use crate::service::core::{Core, Cx, Work};
use crate::service::live::Live;
use crate::service::whose::is_refusal;
use crate::service::write::{Order, Role, Stage, Write};
use crate::service::{Attempt, Bug, Effect, Find, Found, Looking, Note, OnConcurrent, Shadow, WishWord};

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
    /// Looks whether a waiting write misses anything; if not it gets in line for its lane's place at this replica.
    pub(crate) fn look(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        if write.stage != Stage::Waiting {
            return;
        }
        let role = write.role;
        match self.missing_for(write) {
            Some(dependency) => {
                self.replay.blocked.wait(id, dependency);
                if let Dependency::Exactly(log, position) = dependency
                    && self.mirror.series.get(&log).is_some_and(|series| !series.is_taken_up(position))
                {
                    self.agenda.push(Work::Load(log));
                }
                if role != Role::Shadow {
                    self.is_demanded();
                }
                if let Dependency::Id(other) = dependency
                    && !self.live.contains_key(&other)
                {
                    self.find(cx, Find::Id(other), Looking::Dependency(other));
                }
            }
            None => {
                let lane = write.row.facts.lane;
                let live = &self.live;
                self.replay.lanes.is_ready(lane, id, |other| goes_before(live, id, *other));
                self.agenda.push(Work::Lane(lane));
            }
        }
    }

    pub(crate) fn missing_for(&self, write: &Write) -> Option<Dependency> {
        let ignore = self.bug(Bug::IgnoreAfter) && write.role == Role::Shadow;
        if ignore { None } else { self.first_missing(write.comes_after()) }
    }

    fn first_missing(&self, after: &After) -> Option<Dependency> {
        let position =
            after.positions().iter().find(|(log, p)| self.mirror.series.get(log).is_none_or(|s| s.decided < *p));
        if let Some(&(log, position)) = position {
            return Some(Dependency::Position(log, position));
        }
        let beyond = |&Stretch { log, first, last }: &Stretch| match self.mirror.series.get(&log) {
            Some(series) => series.first_undecided(first, last).map(|position| Dependency::Exactly(log, position)),
            None => Some(Dependency::Exactly(log, first)),
        };
        let beyond = after.beyond().iter().find_map(beyond);
        beyond.or_else(|| after.ids().iter().find(|id| !self.is_decided(**id)).map(|id| Dependency::Id(*id)))
    }

    /// Whether this replica has decided all that a client says it has seen.
    pub(crate) fn has_decided(&self, seen: &After) -> bool {
        self.first_missing(seen).is_none()
    }

    /// Who names a write by id has seen it applied at another site. Where its origin settled it as undecided, its place
    /// is that of the decision.
    pub(crate) fn is_decided(&self, id: WriteId) -> bool {
        let decided = match self.live.get(&id) {
            Some(write) if write.awaits_decision() => false,
            Some(write) => match write.row.position {
                Some((position, _)) => self.mirror.series.get(&id.log).is_some_and(|s| s.is_decided(position)),
                // Void here says nothing of a site that was asked after this one.
                None => {
                    matches!(&write.stage, Stage::Decided(fate) if *fate != Fate::Void || write.is_decided_ahead())
                }
            },
            // A decision that others were told of ahead, about what was decided here.
            None => {
                self.lookups.was_final_lately(&id) || (is_decision(id) && self.mirror.words.is_owed(&decided_by(id)))
            }
        };
        decided || (!is_decision(id) && self.is_decided(decision_of(id)))
    }

    /// The journal was asked whether a write that is not live is decided.
    pub(crate) fn dependency_found(&mut self, cx: &mut Cx, id: WriteId, rows: Vec<Found>) {
        if let Some(found) = rows.iter().find(|found| found.row.id == id)
            && found.row.awaits_decision()
            && !self.live.contains_key(&decision_of(id))
        {
            return self.find(cx, Find::Id(decision_of(id)), Looking::Dependency(decision_of(id)));
        }
        if !self.live.contains_key(&id)
            && let Some(item) = rows.iter().find_map(|found| stored_item(found, id))
        {
            if item.is_followed() && item.request.is_none() {
                return self.is_to_be_mended(cx, id.log, item.position);
            }
            // Beyond the follower's window: what is in the window may wait for it.
            self.take_up(cx, Arc::new(item));
        }
        let found_decided = |found: &Found| match found.row.position {
            Some((position, _)) => self.mirror.series.get(&id.log).is_some_and(|s| s.is_decided(position)),
            None => matches!(&found.row.here, Here::Decided(fate) if *fate != Fate::Void),
        };
        let is_live = self.live.contains_key(&id);
        if if is_live { self.is_decided(id) } else { rows.iter().any(found_decided) } {
            if !is_live {
                self.lookups.remember_final(id);
            }
            self.decided_id(id);
            self.wake_readers(cx);
        }
    }

    /// Gives the lane's place at this replica to the next that is ready.
    pub(crate) fn grant(&mut self, cx: &mut Cx, lane: Lane) {
        while let Some(id) = self.next_ready(lane) {
            let Some(write) = self.live.get(&id).filter(|w| w.stage == Stage::Waiting) else { continue };
            // It may have got in line as something else, with less to come after: a late word made a shadow of it (G3).
            if self.missing_for(write).is_some() {
                self.agenda.push(Work::Look(id));
            } else {
                self.start(cx, id);
            }
        }
    }

    fn next_ready(&mut self, lane: Lane) -> Option<WriteId> {
        let live = &self.live;
        self.replay.lanes.next_ready(lane, |id| live.get(&id).is_none_or(|write| write.row.facts.creates))
    }

    /// The write has its turn.
    fn start(&mut self, cx: &mut Cx, id: WriteId) {
        let role = self.live.get(&id).map(|write| write.role);
        if matches!(role, Some(Role::Shadow | Role::Ordered)) && !self.may_start_shadow(cx, id) {
            return;
        }
        let Some(write) = self.live.get(&id) else { return };
        let (lane, key) = (write.row.facts.lane, write.row.facts.key);
        if self.must_not_decide(id) {
            return self.want_place(id);
        }
        self.replay.lanes.take_place(lane, id);
        if let Some(key) = key
            && !write.tries.doubtful
        {
            if self.idempotency.keys.may_be_stored(&key) {
                self.set_stage(id, Stage::Checking);
                return self.find(cx, Find::Key(key), Looking::Copies(id));
            }
            return self.start_unless_copy(cx, id, &[]);
        }
        self.send(cx, id);
    }

    /// An own write that another site may have decided, and that is named as decided there.
    pub(super) fn must_not_decide(&self, id: WriteId) -> bool {
        let Some(write) = self.live.get(&id) else { return false };
        write.role == Role::Own && !write.tries.doubtful && !write.row.owed.is_empty() && self.is_named_as_decided(id)
    }

    /// Who finds no place stands in line, and nobody who comes later overtakes: a low position that waits holds up all
    /// that comes after it, live writes too.
    fn may_start_shadow(&mut self, cx: &Cx, id: WriteId) -> bool {
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

    fn start_unless_copy(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
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
            if (row.id.log == write.row.id.log && !contrary && !is_released(row)) || row.id == write.row.id || !same {
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

    /// The lane's place at this replica is free again, if this write had it.
    pub(crate) fn free_place(&mut self, lane: Lane, id: WriteId) {
        if self.replay.lanes.leave(lane, id) {
            self.agenda.push(Work::Lane(lane));
        }
    }

    pub(crate) fn set_stage(&mut self, id: WriteId, stage: Stage) {
        if let Some(write) = self.live.get_mut(&id) {
            write.stage = stage;
        }
    }
}

/// Of one lane, what a person has ordered to be sent goes in order of the positions: one order may be about many.
fn goes_before(live: &Live, first: WriteId, second: WriteId) -> bool {
    let (Some(one), Some(other)) = (live.get(&first), live.get(&second)) else { return false };
    let place =
        |write: &Write| (write.row.id.log, write.row.position.map_or(u64::MAX, |(position, _)| position), write.row.id);
    let are_ordered = one.tries.by_order.is_some() && other.tries.by_order.is_some();
    are_ordered && one.row.facts.lane == other.row.facts.lane && place(one) < place(other)
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

/// Another site's position that is stored and untouched.
fn stored_item(found: &Found, id: WriteId) -> Option<Item> {
    let untouched = found.row.id == id && found.row.here == Here::Untouched && found.row.origin == Origin::Foreign;
    if untouched { found.row.item(found.request.clone()) } else { None }
}

fn shadow_of(write: &Write) -> Shadow {
    let answer = write.row.outcome.as_ref().and_then(|o| o.answer.as_ref());
    Shadow {
        original_ms: write.row.facts.original_ms,
        original_status: write.row.outcome.as_ref().map_or(0, |o| o.status),
        original_location: answer.and_then(|a| a.header("location")).map(<[u8]>::to_vec),
    }
}

/// Its origin released its key although this replica may have applied it: what comes next of that key is it.
fn is_released(row: &Row) -> bool {
    let verdict = row.outcome.as_ref().map(|outcome| outcome.verdict);
    let released = matches!(verdict, Some(Verdict::NotExecuted | Verdict::Void));
    let doubtful = match row.here {
        Here::Sending { .. } => true,
        Here::Decided(Fate::Quarantined(reason)) => may_have_applied(reason),
        _ => false,
    };
    released && doubtful
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
