//! When a write may be sent to this replica: when all that it must come after is decided, and its lane is free (G3).
use std::sync::Arc;

use super::Dependency;
use crate::journal::{Fate, Here, Origin};
use crate::model::{After, Item, Lane, Stretch, WriteId, decided_by, decision_of, is_decision};
use crate::service::core::{Core, Cx, Work};
use crate::service::live::Live;
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Find, Found, Looking};

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
pub(super) fn goes_before(live: &Live, first: WriteId, second: WriteId) -> bool {
    let (Some(one), Some(other)) = (live.get(&first), live.get(&second)) else { return false };
    let place =
        |write: &Write| (write.row.id.log, write.row.position.map_or(u64::MAX, |(position, _)| position), write.row.id);
    let are_ordered = one.tries.by_order.is_some() && other.tries.by_order.is_some();
    are_ordered && one.row.facts.lane == other.row.facts.lane && place(one) < place(other)
}

/// Another site's position that is stored and untouched.
fn stored_item(found: &Found, id: WriteId) -> Option<Item> {
    let untouched = found.row.id == id && found.row.here == Here::Untouched && found.row.origin == Origin::Foreign;
    if untouched { found.row.item(found.request.clone()) } else { None }
}
