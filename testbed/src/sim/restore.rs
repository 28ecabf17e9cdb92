//! A store that was put back to an older copy of itself, alone or with its service; or that was only moved.
//!
//! A copy is put back only where every other site that ever speaks with this one remembers, durably, more of it than
//! the copy does. What nobody has heard nobody can tell: then it is a disk that was lost.
use holdfast::journal::Memory;
use holdfast::model::Group;

use super::disk::{Death, Disk};
use super::history::{Gone, Moment};
use super::machine::Machine;
use super::plan::{Back, Restore};
use super::upstream::Upstream;
use super::world::{Ev, World};

/// What a site held at some moment.
pub(super) struct Copy {
    at: Moment,
    store: Memory,
    service: Upstream,
    next_id: u64,
    lived_ms: u64,
}

impl Copy {
    fn said_below(&self, group: &Group) -> u64 {
        self.store.recover(group, 0, 0).age.said_below
    }
}

/// Where stores lie in this world, before and after.
pub(super) const PLACE: u64 = 100;
const OTHER_PLACE: u64 = 101;

impl<M: Machine> World<M> {
    pub fn expect_restore(&mut self) {
        let Some(Restore { copied_ms, back_ms, .. }) = self.plan.restore.filter(|_| !self.plan.sqlite) else { return };
        self.after(copied_ms, Ev::CopyStore);
        self.after(back_ms, Ev::PutBack);
    }

    pub fn copy_store(&mut self) {
        let Some(Restore { site, .. }) = self.plan.restore else { return };
        let at = self.history.next();
        let node = &self.sites[site];
        let Disk::Memory(memory) = &node.disk else { return };
        // Of what is under way nothing is in the file.
        let mut store = memory.clone();
        store.crash();
        let lived_ms = self.now(site).clock_ms;
        let (service, next_id) = (node.upstream.clone(), node.next_id);
        self.copy = Some(Copy { at, store, service, next_id, lived_ms });
    }

    pub fn put_back(&mut self) {
        let (Some(Restore { site, back, .. }), Some(copy)) = (self.plan.restore, self.copy.take()) else { return };
        let remembered = match back {
            Back::Moved => self.others_remember(site, 1),
            Back::Older | Back::OlderWithService => self.others_remember(site, copy.said_below(&self.group).max(1)),
        };
        if !self.has_faults() || self.sites[site].core.is_none() || !remembered {
            return;
        }
        self.trace.line(self.now_ms, || format!("the store of site {site} comes back: {back:?}"));
        self.meets(
            match back {
                Back::Older => "fault: older store put back",
                Back::OlderWithService => "fault: older store and service put back",
                Back::Moved => "fault: store moved",
            },
            site,
        );
        self.die(site, Death::Process);
        let at = self.history.next();
        if back != Back::Moved {
            self.history.gone = Some(Gone { site, copied: copy.at, back: at });
        }
        let node = &mut self.sites[site];
        if back == Back::OlderWithService {
            node.upstream.put_back(copy.service);
            self.history.applied[site].retain(|application| application.at < copy.at);
            self.jobs.iter_mut().filter(|job| job.site == site).for_each(|job| job.served = true);
        }
        let Disk::Memory(memory) = &mut node.disk else { return };
        if back != Back::Moved {
            *memory = copy.store;
            (node.next_id, node.lived_ms) = (copy.next_id, copy.lived_ms);
        }
        memory.move_to(OTHER_PLACE);
    }

    /// All who ever speak with this site have heard of so late a state of its store, durably.
    fn others_remember(&self, site: usize, state: u64) -> bool {
        let name = &self.names[site];
        let never = |other: usize| {
            self.plan.never_linked.is_some_and(|(a, b)| (a, b) == (site, other) || (a, b) == (other, site))
        };
        let heard = |other: usize| {
            let Disk::Memory(memory) = &self.sites[other].disk else { return 0 };
            let age = memory.recover(&self.group, 0, 0).age;
            age.heard.iter().find(|(heard, _, _)| heard == name).map_or(0, |(_, _, number)| *number)
        };
        (0..self.sites.len()).filter(|&other| other != site && !never(other)).all(|other| heard(other) >= state)
    }

    /// What others need was known to the store that is gone, and to nobody else; or two sites spoke through it only.
    pub fn is_hindered(&self) -> bool {
        let Some(gone) = self.history.gone else { return false };
        let apart = self.plan.never_linked.is_some_and(|(a, b)| a != gone.site && b != gone.site);
        let split = apart && self.sites.len() == 3;
        split || (0..self.sites.len()).any(|site| self.waits_for_what_is_gone(site))
    }

    /// What another site waits for was known to the store that is gone, and to nobody else: a position that it gave, or
    /// what became of a write that it was asked to decide, which is named by its id.
    pub fn waits_for_what_is_gone(&self, site: usize) -> bool {
        let Some(gone) = self.history.gone else { return false };
        let log = Self::log(gone.site).to_string();
        let waits = self.sites[site].core.as_ref().map(|core| core.view().waits).unwrap_or_default();
        waits.iter().any(|wait| wait.on.contains(&log) || !wait.on.starts_with("position"))
    }
}
