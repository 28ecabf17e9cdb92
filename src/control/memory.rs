//! The in-memory twin: the same decisions and handles as over zenoh, without threads or a clock of its own. The caller
//! moves time; every run with the same calls and seed is the same.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::core::Node;
use super::event::Input;
use super::handle::{Control, ControlEvents};
use super::inbox::Work;
use super::names::{Keys, Topic};
use super::settings::ControlSettings;
use super::tuning::Tuning;
use super::watch::Reopen;
use super::worker::{Carrier, Worker};
use crate::model::SiteName;

/// Messages on the way at the same time; beyond it they are lost, as on a real line.
const FLIGHTS_MAX: usize = 100_000;

/// How the way from one site to another is; the way back is its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    pub cut: bool,
    /// Of 1,000 messages so many are lost.
    pub lost_per_mille: u16,
    pub delay_ms: u64,
}

/// Who is meant: a node's place in the order of joining, never used again.
type NodeId = usize;

#[derive(Default)]
struct Outgoing {
    puts: Vec<(String, Vec<u8>)>,
    questions: Vec<(String, Vec<u8>)>,
}

impl Carrier for Outgoing {
    fn put(&mut self, key: String, payload: Vec<u8>) {
        self.puts.push((key, payload));
    }
    fn ask(&mut self, key: String, payload: Vec<u8>) {
        self.questions.push((key, payload));
    }
    /// There is nothing that could be deaf here.
    fn reopen(&mut self, _: Reopen) {}
}

enum Cargo {
    Sample { key: String, payload: Vec<u8> },
    Question { from: NodeId, payload: Vec<u8> },
}

struct Joined {
    site: SiteName,
    token: String,
    worker: Worker<Outgoing>,
    keys: Keys,
}

struct Network {
    now_ms: u64,
    rng: fastrand::Rng,
    nodes: BTreeMap<NodeId, Joined>,
    next: NodeId,
    ways: BTreeMap<(SiteName, SiteName), Way>,
    /// By due time, then in order of sending.
    flights: BTreeMap<(u64, u64), (NodeId, Cargo)>,
    sent: u64,
    tuning: Tuning,
}

/// A network in memory. Cheap to clone. Events are called from within [`Memory::advance`], [`Memory::join`],
/// [`Memory::leave`] and [`Memory::set`]; they may use their own [`Control`], not the network.
#[derive(Clone)]
pub struct Memory {
    network: Arc<Mutex<Network>>,
}

impl Memory {
    pub fn new(seed: u64) -> Self {
        Self::with_tuning(seed, Tuning::default())
    }

    pub(super) fn with_tuning(seed: u64, tuning: Tuning) -> Self {
        let (rng, nodes, ways, flights) =
            (fastrand::Rng::with_seed(seed), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let network = Network { now_ms: 0, rng, nodes, next: 0, ways, flights, sent: 0, tuning };
        Self { network: Arc::new(Mutex::new(network)) }
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.network.lock().expect("no event panics")
    }

    /// Adds a node. `boot` in the settings should come from the caller's seed; the role does not matter here.
    pub fn join(&self, settings: &ControlSettings, events: Arc<dyn ControlEvents>) -> Control {
        let control = Control::unwatched();
        let (inbox, counters, shown) = control.parts();
        let mut network = self.lock();
        let mut identity = settings.identity();
        (identity.expects_echo, identity.is_hub) = (false, false);
        let keys = Keys::new(&settings.realm);
        let token = keys.alive(&settings.me, &settings.node, settings.boot);
        let node = Node::new(identity, network.tuning.clone(), counters, network.now_ms);
        let mut worker = Worker::new(node, Outgoing::default(), inbox, events, shown);
        let now_ms = network.now_ms;
        worker.turn(now_ms, Work::default());
        worker.input(now_ms, Input::Session { generation: 1, open: true });
        worker.input(now_ms, Input::Hub { generation: 1, up: true });
        let id = network.next;
        network.next += 1;
        network.nodes.insert(id, Joined { site: settings.me.clone(), token, worker, keys });
        network.tokens(id, true);
        control
    }

    /// The process of a node ends.
    pub fn leave(&self, site: &SiteName, node: &str) {
        let mut network = self.lock();
        let ids: Vec<NodeId> = network.nodes.iter().filter(|(_, n)| n.is(site, node)).map(|(id, _)| *id).collect();
        for id in ids {
            network.tokens(id, false);
            network.nodes.remove(&id);
        }
    }

    /// Changes the way from one site to another. What is under way arrives all the same. A cut is noticed at once.
    pub fn set(&self, from: &SiteName, to: &SiteName, way: Way) {
        let mut network = self.lock();
        let before = network.ways.insert((from.clone(), to.clone()), way).unwrap_or_default();
        if before.cut == way.cut {
            return;
        }
        let at = |site: &SiteName| -> Vec<NodeId> {
            network.nodes.iter().filter(|(_, n)| n.site == *site).map(|(id, _)| *id).collect()
        };
        let (speakers, hearers) = (at(from), at(to));
        for speaker in speakers {
            let token = network.nodes[&speaker].token.clone();
            hearers.iter().for_each(|&hearer| network.token(hearer, &token, !way.cut));
        }
    }

    /// Cuts, or heals, both ways between two sites.
    pub fn cut(&self, a: &SiteName, b: &SiteName, cut: bool) {
        for (from, to) in [(a, b), (b, a)] {
            let way = self.lock().ways.get(&(from.clone(), to.clone())).copied().unwrap_or_default();
            self.set(from, to, Way { cut, ..way });
        }
    }

    /// Moves time on to `now_ms` and carries out everything that is due until then, in order of time.
    pub fn advance(&self, now_ms: u64) {
        let mut network = self.lock();
        assert!(now_ms >= network.now_ms, "time runs forward: {now_ms} after {}", network.now_ms);
        loop {
            network.settle();
            let flight = network.flights.keys().next().map(|due| due.0);
            let deadline = network.nodes.values().map(|n| n.worker.node.deadline_ms()).min();
            match [flight, deadline].into_iter().flatten().min() {
                Some(due) if due <= now_ms => network.now_ms = network.now_ms.max(due),
                _ => break,
            }
        }
        network.now_ms = now_ms;
    }

    /// When the network itself has something to do next: for a simulation that jumps from event to event.
    pub fn deadline_ms(&self) -> Option<u64> {
        let network = self.lock();
        let flight = network.flights.keys().next().map(|due| due.0);
        let deadline = network.nodes.values().map(|n| n.worker.node.deadline_ms()).min();
        [flight, deadline].into_iter().flatten().min()
    }
}

impl Joined {
    fn is(&self, site: &SiteName, node: &str) -> bool {
        let id = self.keys.parse_alive(&self.token);
        id.is_some_and(|(s, n, _)| s == *site && n == node)
    }
}

impl Network {
    /// Delivers what is due now and lets every node work until nothing is left to do at this moment.
    fn settle(&mut self) {
        loop {
            let now_ms = self.now_ms;
            while let Some(flight) = self.flights.first_entry().filter(|flight| flight.key().0 <= now_ms) {
                let (to, cargo) = flight.remove();
                self.deliver(to, cargo);
            }
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for id in ids {
                let Some(joined) = self.nodes.get_mut(&id) else { continue };
                let work = joined.worker.inbox.take_all();
                if !work.stop {
                    joined.worker.turn(now_ms, work);
                    self.carry(id);
                }
            }
            if self.flights.first_key_value().is_none_or(|(due, _)| due.0 > now_ms) {
                return;
            }
        }
    }

    fn deliver(&mut self, to: NodeId, cargo: Cargo) {
        let Some(joined) = self.nodes.get_mut(&to) else { return };
        match cargo {
            Cargo::Sample { key, payload } => joined.worker.input(self.now_ms, Input::Sample { key, payload }),
            Cargo::Question { from, payload } => {
                for (key, payload) in joined.worker.node.answer(&payload) {
                    self.send(to, from, Cargo::Sample { key, payload });
                }
            }
        }
        self.carry(to);
    }

    /// Puts what a node said on its ways.
    fn carry(&mut self, id: NodeId) {
        let Some(joined) = self.nodes.get_mut(&id) else { return };
        let Outgoing { puts, questions } = std::mem::take(&mut joined.worker.carrier);
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for (key, payload) in puts {
            for &to in &others {
                self.send(id, to, Cargo::Sample { key: key.clone(), payload: payload.clone() });
            }
        }
        for (key, payload) in questions {
            for &to in &others {
                let asked = &self.nodes[&to];
                let prefix = asked.keys.service(Topic::Digest, &asked.site, "x");
                if key.starts_with(prefix.trim_end_matches('x')) {
                    self.send(id, to, Cargo::Question { from: id, payload: payload.clone() });
                }
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, cargo: Cargo) {
        let (Some(a), Some(b)) = (self.nodes.get(&from), self.nodes.get(&to)) else { return };
        let way = self.ways.get(&(a.site.clone(), b.site.clone())).copied().unwrap_or_default();
        // Drawn in any case, so that a switch does not shift the luck of later messages.
        let lost = self.rng.u16(0..1_000) < way.lost_per_mille;
        if way.cut || lost || self.flights.len() >= FLIGHTS_MAX {
            return;
        }
        self.sent += 1;
        self.flights.insert((self.now_ms + way.delay_ms, self.sent), (to, cargo));
    }

    /// Tells a node's coming or going to all who hear it; on coming, tells it of the others.
    fn tokens(&mut self, id: NodeId, up: bool) {
        let (site, token) = (self.nodes[&id].site.clone(), self.nodes[&id].token.clone());
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            let other_site = self.nodes[&other].site.clone();
            if !self.is_cut(&site, &other_site) {
                self.token(other, &token, up);
            }
            if up && !self.is_cut(&other_site, &site) {
                let token = self.nodes[&other].token.clone();
                self.token(id, &token, true);
            }
        }
    }

    fn is_cut(&self, from: &SiteName, to: &SiteName) -> bool {
        self.ways.get(&(from.clone(), to.clone())).is_some_and(|way| way.cut)
    }

    fn token(&mut self, hearer: NodeId, token: &str, up: bool) {
        let now_ms = self.now_ms;
        if let Some(joined) = self.nodes.get_mut(&hearer) {
            joined.worker.input(now_ms, Input::Token { generation: 1, key: token.to_owned(), up });
            self.carry(hearer);
        }
    }
}
