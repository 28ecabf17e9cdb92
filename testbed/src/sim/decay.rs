//! Records of a journal that get a wrong bit.
//!
//! A record breaks only where another site that ever speaks with this one has it, and all that it says: what nobody
//! else has is lost, as with a disk.
use holdfast::model::{LogId, WriteId};

use super::disk::Disk;
use super::machine::Machine;
use super::rng::Rng;
use super::world::World;

/// Neighbours that break together, as in one sector.
const TOGETHER_MAX: u64 = 3;

impl<M: Machine> World<M> {
    /// Returns whether there was anything to break.
    pub fn break_records(&mut self, rng: &mut Rng, site: usize) -> bool {
        if self.plan.restore.is_some() {
            return false;
        }
        let Disk::Memory(memory) = &self.sites[site].disk else { return false };
        let decided = memory.recover(&self.group, 0, 0).series;
        let is_open = |log: LogId, position: u64| decided.iter().any(|meta| meta.log == log && meta.decided < position);
        let stored = memory.positions(&self.group);
        let open: Vec<_> = stored.iter().filter(|(log, position, _)| is_open(*log, *position)).copied().collect();
        let among = if open.is_empty() || rng.chance(250) { &stored } else { &open };
        if among.is_empty() {
            return false;
        }
        let (log, first, _) = among[rng.below(among.len() as u64) as usize];
        let last = first + rng.below(TOGETHER_MAX);
        let near = |(of, position, _): &&(LogId, u64, WriteId)| *of == log && (first..=last).contains(position);
        let broken: Vec<_> =
            stored.iter().filter(near).filter(|found| self.is_elsewhere(site, **found)).copied().collect();
        for &(log, position, id) in &broken {
            if let Some(&name) = self.ids.get(&id) {
                self.history.damaged.insert((site, name));
            }
            let Disk::Memory(memory) = &mut self.sites[site].disk else { return false };
            memory.break_at(&self.group, log, position);
            self.trace.line(self.now_ms, || format!("the record of {log} at {position} breaks at site {site}"));
        }
        !broken.is_empty()
    }

    /// And nobody else's is broken.
    fn is_elsewhere(&self, site: usize, (log, position, id): (LogId, u64, WriteId)) -> bool {
        let never = |other: usize| {
            self.plan.never_linked.is_some_and(|(a, b)| (a, b) == (site, other) || (a, b) == (other, site))
        };
        let has = |other: &usize| {
            let Disk::Memory(memory) = &self.sites[*other].disk else { return false };
            !never(*other) && memory.positions(&self.group).contains(&(log, position, id))
        };
        let Disk::Memory(own) = &self.sites[site].disk else { return false };
        let others = || (0..self.sites.len()).filter(|&other| other != site);
        let breaks = |other: usize| self.sites[other].disk.is_broken(&self.group, log, position);
        own.is_copied_elsewhere(&self.group, id) && others().any(|other| has(&other)) && !others().any(breaks)
    }
}
