//! Stopping, and what a stopped replica does all the same.
//!
//! A stop is of one of two kinds. In doubt about its state a replica neither follows nor decides. After too many
//! divergences it is chosen last; when it is chosen, it follows what the write must come after: a stop is a preference,
//! never a wall, and two sites that stopped each other still serve their clients.
use std::collections::VecDeque;

use crate::journal::{Op, Stop, StopKind};
use crate::model::{After, WriteId};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Note, OnDivergence};

/// Whether this replica has stopped, and why.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    stopped: Option<Stop>,
    /// Whether the outcomes compared last differed, as far as `on_divergence` counts them.
    differed: VecDeque<bool>,
}

impl Stopping {
    pub fn recover(stopped: Option<Stop>) -> Self {
        Self { stopped, differed: VecDeque::new() }
    }

    pub fn stop(&self) -> Option<&Stop> {
        self.stopped.as_ref()
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    pub fn is_in_doubt(&self) -> bool {
        self.stopped.as_ref().is_some_and(|stop| stop.kind == StopKind::Doubt)
    }

    /// Another stop, or none; the one before is returned. What was counted goes on being counted.
    pub fn replace(&mut self, stop: Option<Stop>) -> Option<Stop> {
        std::mem::replace(&mut self.stopped, stop)
    }

    /// A person lets it go on.
    pub fn resume(&mut self) {
        *self = Self::default();
    }

    /// How many of the last `of` comparisons differed, and of how many.
    fn compared(&mut self, differs: bool, of: u32) -> (usize, usize) {
        self.differed.push_back(differs);
        if self.differed.len() > of as usize {
            self.differed.pop_front();
        }
        (self.differed.iter().filter(|differed| **differed).count(), self.differed.len())
    }
}

impl Core {
    pub(crate) fn stop(&mut self, cx: &mut Cx, kind: StopKind, why: String) {
        if self.replay.stopping.stop().is_some_and(|stop| stop.kind >= kind) {
            return;
        }
        cx.note(Note::Stopped { why: why.clone() });
        let stop = Stop { kind, why };
        cx.persist(Op::Stopped(Some(stop.clone())));
        self.replay.stopping.replace(Some(stop));
        self.mirror.statuses.say_soon();
        self.choose(cx);
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.replay.stopping.is_in_doubt()
    }

    /// A shadow's outcome was compared with its decider's; `differs` says in what.
    pub(crate) fn compared(&mut self, cx: &mut Cx, id: WriteId, differs: Option<&str>) {
        if let Some(why) = differs
            && self.bug(Bug::DivergenceStops)
        {
            return self.stop(cx, StopKind::Doubt, format!("{id}: {why}"));
        }
        let OnDivergence::Stop { differ, of } = self.settings.on_divergence else { return };
        let (differed, last) = self.replay.stopping.compared(differs.is_some(), of);
        if let Some(why) = differs
            && differed >= differ as usize
        {
            self.stop(
                cx,
                StopKind::Divergences,
                format!("{differed} of the last {last} differ; the last, {id}: {why}"),
            );
        }
    }

    /// What a stopped replica follows all the same: what own writes and wishes that wait here must come after, and what
    /// that must come after. None where nothing is held back.
    pub(crate) fn demand(&self) -> Option<After> {
        self.replay.stopping.stop()?;
        let mut demand = After::new();
        if self.is_in_doubt() {
            return Some(demand);
        }
        let waits = |write: &&Write| matches!(write.role, Role::Own | Role::Wish) && write.stage == Stage::Waiting;
        self.live.values().filter(waits).for_each(|write| demand.merge(&write.must));
        loop {
            let before = demand.clone();
            for (id, write) in self.live.iter().filter(|(_, write)| write.role == Role::Shadow) {
                if is_named(&before, *id, write.row.position.map(|(position, _)| position))
                    && let Some(outcome) = &write.row.outcome
                {
                    demand.merge(&outcome.after);
                }
            }
            for (first, copy) in self.replay.postponed.copies() {
                if is_named(&before, copy.id, Some(copy.position)) {
                    demand.add_id(first);
                }
            }
            if demand == before {
                return Some(demand);
            }
        }
    }

    /// `demand`: as [`Core::demand`] says.
    pub(crate) fn is_held_back(&self, id: WriteId, demand: Option<&After>) -> bool {
        let (Some(demand), Some(write)) = (demand, self.live.get(&id)) else { return false };
        let position = write.row.position.map(|(position, _)| position);
        // What a person orders is not what the replica was stopped for.
        let is_ordered = write.role == Role::Ordered || write.tries.by_order.is_some();
        (!is_ordered || self.is_in_doubt()) && !is_named(demand, id, position)
    }

    /// A write waits here for what a stopped replica does not follow by itself.
    pub(crate) fn is_demanded(&mut self) {
        if self.replay.stopping.is_stopped() {
            self.agenda.push(Work::Shadows);
        }
    }
}

fn is_named(demand: &After, id: WriteId, position: Option<u64>) -> bool {
    position.is_some_and(|position| demand.covers(id.log, position)) || demand.ids().binary_search(&id).is_ok()
}
