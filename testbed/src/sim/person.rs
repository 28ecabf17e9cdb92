//! The person who looks after the fleet: once it has healed, in some seeds before.
use std::collections::BTreeSet;

use holdfast::journal::QuarantineReason;
use holdfast::model::WriteId;
use holdfast::service::{Event, ORDERS_MAX, Operation};

use super::enumerate::Person;
use super::history::{Name, Said};
use super::machine::Machine;
use super::upstream::Difference;
use super::world::{Ev, World};

/// What a site decides late about a write has the write's number with this bit.
const DECISION: u64 = 1 << 40;

impl<M: Machine> World<M> {
    pub fn orders_early(&self) -> bool {
        self.plan.operator && self.plan.orders_early
    }

    /// Has the services' own records at hand: settles what one site can settle, and resumes what stopped.
    pub fn operator(&mut self) {
        self.after(3_000, Ev::Operator);
        self.look_after();
    }

    pub fn look_after(&mut self) {
        // At a store that is an older copy there is nothing to be resumed.
        for site in (0..self.sites.len()).filter(|&site| !self.history.is_gone(site)).collect::<Vec<_>>() {
            let Some(core) = &self.sites[site].core else { continue };
            let view = core.view();
            let stopped = view.stopped.is_some();
            // One order at a time: a write may stand there twice, as itself and as what its origin decided late.
            let mut ordered = BTreeSet::new();
            let entries = if self.plan.operator { self.entries(site) } else { Vec::new() };
            let mut at_once = Vec::new();
            let many = self.person_is(Person::Bundles, 300);
            let twice = |id: WriteId| {
                let decision = WriteId { n: id.n | DECISION, ..id };
                (decision != id && entries.iter().any(|entry| entry.id == decision)).then_some(decision)
            };
            for entry in &entries {
                let Some(&name) = self.ids.get(&entry.id) else { continue };
                if !ordered.insert(name) {
                    continue;
                }
                if entry.reason != QuarantineReason::Contrary
                    && self.is_at_rest(site, name)
                    && !self.is_refused_for_good(site, name)
                {
                    let operation = match self.what_to_do(site, name) {
                        Operation::Resend if self.sites[site].told_void.contains(&entry.id) => Operation::Discard,
                        Operation::Resend
                            if self.is_nobodys(site, name, entry.id) && self.person_is(Person::Discards, 200) =>
                        {
                            self.stats.hit("operator: discards what nobody was promised");
                            self.history.write(name).discarded = true;
                            Operation::Discard
                        }
                        operation => operation,
                    };
                    match (operation, twice(entry.id)) {
                        (Operation::Resend, Some(decision)) => self.order(site, Some(decision), Operation::Discard),
                        (operation, None) if many => at_once.push((entry.id, operation)),
                        (operation, twice) => {
                            self.order(site, Some(entry.id), operation);
                            if twice.is_none() && self.person_is(Person::HasARival, 200) {
                                self.order_the_contrary(site, entry.id, operation);
                            }
                        }
                    }
                }
            }
            self.order_many(site, &at_once);
            if stopped {
                self.order(site, None, Operation::Resume);
            }
        }
    }

    fn person_is(&mut self, person: Person, per_mille: u64) -> bool {
        match &self.stage {
            Some(stage) => stage.scenario.person == person,
            None => self.rng.chance(per_mille),
        }
    }

    /// While the service still works on a write nobody knows what became of it.
    pub fn is_at_rest(&self, site: usize, name: Name) -> bool {
        !self.jobs.iter().any(|job| job.site == site && job.name == name && !job.served)
    }

    /// The service here differs, and no order changes that: it stays listed.
    fn is_refused_for_good(&self, site: usize, name: Name) -> bool {
        let kind = self.difference(site, name);
        matches!(kind, Some(Difference::Lasting(_))) && self.history.differed.contains_key(&(site, name))
    }

    /// Accepted here, applied nowhere, and no client was told more than that nobody knows.
    fn is_nobodys(&self, site: usize, name: Name, id: WriteId) -> bool {
        let write = &self.history.writes[&name];
        let promised = write.told.iter().any(|told| told.said.is_success() || told.said == Said::Queued);
        let applied = self.history.applied.iter().flatten().any(|application| application.name == name);
        let served = self.jobs.iter().any(|job| job.name == name && !job.served);
        id.log == Self::log(site) && !promised && !applied && !served
    }

    pub fn what_to_do(&self, site: usize, name: Name) -> Operation {
        if self.history.applied[site].iter().any(|a| a.name == name) {
            Operation::Applied
        } else if self.history.writes[&name].refused_by_rule {
            // Nobody sends again what the service refuses anyway.
            Operation::Discard
        } else {
            Operation::Resend
        }
    }

    /// Somebody else has looked too, and comes a moment later: the first order counts.
    fn order_the_contrary(&mut self, site: usize, id: WriteId, first: Operation) {
        self.stats.hit("operator: contrary order at once");
        let second = if first == Operation::Resend { Operation::Discard } else { Operation::Resend };
        self.order(site, Some(id), second);
    }

    /// One order for each kind.
    fn order_many(&mut self, site: usize, orders: &[(WriteId, Operation)]) {
        for operation in [Operation::Applied, Operation::Discard, Operation::Resend] {
            let ids: Vec<WriteId> = orders.iter().filter(|(_, of)| *of == operation).map(|(id, _)| *id).collect();
            for ids in ids.chunks(ORDERS_MAX).map(<[WriteId]>::to_vec) {
                if self.sites[site].core.is_none() {
                    return;
                }
                self.stats.hit("operator: order about many");
                let req = self.sites[site].fresh_req();
                let orders = if self.ordered.0 == self.now_ms { self.ordered.1 } else { 0 };
                self.ordered = (self.now_ms, orders + ids.len() as u64);
                self.tell_core(site, Event::Orders { req, ids, operation, keep_going: true });
            }
        }
    }

    pub fn order(&mut self, site: usize, id: Option<WriteId>, operation: Operation) {
        if self.sites[site].core.is_none() {
            return;
        }
        self.stats.hit("operator: order");
        let req = self.sites[site].fresh_req();
        if let (Some(id), Operation::Resend) = (id, operation) {
            self.sites[site].resent.insert(req.0, id);
        }
        let orders = if self.ordered.0 == self.now_ms { self.ordered.1 } else { 0 };
        self.ordered = (self.now_ms, orders + 1);
        self.tell_core(site, Event::Operator { req, id, operation });
    }
}
