//! A small fleet with a few writes, and the words in which the table describes one.
use holdfast::model::SiteName;
use holdfast::service::{Limits, OnConcurrent, OnDivergence, OnUnreachable, Settings, WhenDown};

use super::act::Act;
use crate::sim::history::{Method, Name};
use crate::sim::keep::Keep;
use crate::sim::plan::{ClientPlan, LongCut, Plan, Rates};
use crate::sim::upstream::{Difference, Mood};

pub const HUB: usize = 0;
pub const EDGE: usize = 1;
pub const EDGE_2: usize = 2;

/// When clients begin to speak: all sites are up and linked, however slow everything is.
const BEGIN_MS: u64 = 1_700;
/// How long faults are possible after that, where a scenario does not say otherwise.
const LASTS_MS: u64 = 1_500;
const TOTAL_MS: u64 = 400;
const LONGEST_MS: u64 = 150;
const HOLD_MS: u64 = 150;
const TRY_MS: u64 = 100;

/// Who is asked to decide.
#[derive(Clone, Copy)]
pub enum Order {
    Local,
    HubFirst,
    LocalThenHub,
    /// Each asks the next one first.
    Crossed,
    /// One edge asks the hub first, the others decide for themselves.
    EdgeAsks,
}

/// The person who looks at the quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    Careful,
    /// Somebody else orders the contrary a moment later.
    HasARival,
    /// Gives one order about many.
    Bundles,
    /// Discards what nobody was promised.
    Discards,
}

/// One write of a script.
#[derive(Clone, Debug)]
pub struct Deed {
    pub client: usize,
    /// Ten times its number in the script, counted from 1, and its client's.
    pub name: Name,
    pub at_ms: u64,
    pub site: usize,
    pub lane: u64,
    pub key: Option<Name>,
    /// Another client's write, whose key and request it brings.
    pub borrows: Option<Name>,
    pub method: Method,
    /// Every replica refuses it.
    pub refused: bool,
    /// The service of this site differs when it follows.
    pub differs: Option<(usize, Difference)>,
    /// What the service does with the first try of whoever decides.
    pub mood: Option<Mood>,
    /// That try takes as long as the service may take, and longer than the appliance waits.
    pub slow: bool,
    /// The line is busy with it for so long.
    pub large_ms: u64,
    /// Sites and delays of later tries.
    pub retry: Vec<(usize, u64)>,
    /// Tries them also where it was answered.
    pub insists: bool,
    /// Its client reads there afterwards, with what it has seen.
    pub reads: Option<usize>,
    /// `at_ms` counts from when sites are left alone in a long cut.
    pub alone: bool,
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub plan: Plan,
    pub deeds: Vec<Deed>,
    /// Part of the scenario itself, whatever else happens.
    pub script: Vec<(u64, Act)>,
    /// Copies of a store are taken and put back.
    pub restores: bool,
    pub person: Person,
}

pub fn scenario(name: &'static str, about: &'static str, sites: usize, order: Order) -> Scenario {
    let names: Vec<SiteName> = (0..sites).map(|n| SiteName::new(format!("site-{n}"))).collect();
    let settings = (0..sites).map(|me| {
        let mut asked = match order {
            Order::Local => vec![me],
            Order::HubFirst => vec![HUB, me],
            Order::LocalThenHub => vec![me, if me == HUB { EDGE } else { HUB }],
            Order::Crossed => vec![(me + 1) % sites, me],
            Order::EdgeAsks if me == EDGE => vec![HUB, me],
            Order::EdgeAsks => vec![me],
        };
        asked.dedup();
        settings(&names, me, &asked)
    });
    let plan = Plan {
        seed: 7,
        settings: settings.collect(),
        clients: Vec::new(),
        rates: Rates::default(),
        planted: None,
        never_linked: None,
        chaos_ms: 0,
        heal_ms: 60_000,
        nemesis_ms: 1_000,
        latency_ms: 5,
        commit_ms: 2,
        read_ms: 4,
        try_ms: TRY_MS,
        refused: 0,
        operator: false,
        differs: 0,
        orders_early: false,
        control_off: false,
        sqlite: false,
        short_ttl: false,
        restore: None,
        long_cut: None,
        large: None,
        faults: Vec::new(),
        keep: Keep { end_ms: Some(BEGIN_MS + LASTS_MS), ..Keep::default() },
    };
    let (deeds, script) = (Vec::new(), Vec::new());
    Scenario { name, about, plan, deeds, script, restores: false, person: Person::Careful }
}

fn settings(names: &[SiteName], me: usize, asked: &[usize]) -> Settings {
    Settings {
        me: names[me].clone(),
        replicas: names.to_vec(),
        order: asked.iter().map(|&n| names[n].clone()).collect(),
        answer_after_ms: 120,
        within_ms: 60,
        lag_ms: 200,
        total_ms: TOTAL_MS,
        longest_request_ms: LONGEST_MS,
        hold_ms: HOLD_MS,
        idempotent: false,
        has_probe: false,
        creates: false,
        clients: Default::default(),
        unexecuted: Vec::new(),
        when_down: WhenDown::Refuse,
        replicate_all: false,
        compare_body: false,
        on_concurrent: OnConcurrent::Apply,
        on_divergence: OnDivergence::Quarantine,
        alone_ms: 6_000,
        on_unreachable: OnUnreachable::Accept,
        ack_peers: 0,
        key_ttl_ms: 86_400_000,
        retain_ms: 7 * 86_400_000,
        answer_max: 65_536,
        limits: Limits {
            open_writes: 32,
            open_bytes: 1 << 20,
            waiters_per_key: 4,
            ring: 16,
            page_items: 16,
            page_bytes: 1 << 20,
            window_items: 8,
            shadows: 2,
            shadows_beside_writes: 1,
            lanes: 64,
            keys: 100_000,
        },
        bug: None,
    }
}

impl Scenario {
    pub fn set(mut self, change: impl Fn(&mut Settings)) -> Self {
        self.plan.settings.iter_mut().for_each(change);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Scenario)) -> Self {
        change(&mut self);
        self
    }

    /// By this client, so long after the begin; in lane 1, and under a key of its own.
    pub fn write(self, client: usize, at_ms: u64, site: usize, method: Method) -> Self {
        self.write_as(client, at_ms, site, method, |_| ())
    }

    pub fn write_as(
        mut self,
        client: usize,
        at_ms: u64,
        site: usize,
        method: Method,
        change: impl FnOnce(&mut Deed),
    ) -> Self {
        while self.plan.clients.len() <= client {
            self.plan.clients.push(patient());
        }
        let name = (10 * (1 + self.deeds.len()) + client) as Name;
        let mut deed = Deed {
            client,
            name,
            at_ms: BEGIN_MS + at_ms,
            site,
            lane: 1,
            key: Some(name),
            borrows: None,
            method,
            refused: false,
            differs: None,
            mood: None,
            slow: false,
            large_ms: 0,
            retry: Vec::new(),
            insists: false,
            reads: None,
            alone: false,
        };
        change(&mut deed);
        self.deeds.push(deed);
        self
    }

    pub fn script(mut self, at_ms: u64, act: Act) -> Self {
        self.script.push((BEGIN_MS + at_ms, act));
        self
    }

    /// Nothing gets from either of the two to the other.
    pub fn cut(self, at_ms: u64, a: usize, b: usize, ms: u64) -> Self {
        self.script(at_ms, Act::Cut { from: a, to: b, both: true, ms })
    }

    pub fn person(mut self, person: Person, at_ms: &[u64]) -> Self {
        (self.plan.operator, self.person) = (true, person);
        at_ms.iter().fold(self, |scenario, &at_ms| scenario.script(at_ms, Act::Person))
    }

    /// Faults are possible for so long.
    pub fn lasts(mut self, ms: u64) -> Self {
        self.plan.keep.end_ms = Some(BEGIN_MS + ms);
        self
    }

    /// Clients bring what they have seen, and rather have no answer than one without it.
    pub fn seen(mut self) -> Self {
        self.plan.clients.iter_mut().for_each(|client| (client.carries_seen, client.refuse_stale) = (true, true));
        self
    }

    pub fn never_linked(mut self, a: usize, b: usize) -> Self {
        self.plan.never_linked = Some((a, b));
        self
    }

    /// One page holds one item, and hardly anything is worked on at once.
    pub fn narrow(self) -> Self {
        self.set(|s| (s.limits.page_items, s.limits.window_items, s.limits.shadows) = (1, 2, 1))
    }

    /// Keys live for half a second.
    pub fn short_ttl(mut self) -> Self {
        self.plan.short_ttl = true;
        self.set(|s| s.key_ttl_ms = 500)
    }

    /// After everything else a long cut, in which clients write at all sites.
    pub fn then_alone(mut self, site: usize) -> Self {
        self.plan.long_cut = Some(LongCut { site, rest_ms: 2_500, serve_ms: 3_500 });
        for at in 0..self.plan.sites() {
            let client = self.plan.clients.len();
            for n in 0..2 {
                self = self.write_as(client, 0, at, Method::Post, |deed| {
                    (deed.at_ms, deed.alone) = (50 + n * 500, true);
                });
            }
        }
        self
    }
}

/// A client that waits for longer than an answer may take, and asks three times.
fn patient() -> ClientPlan {
    ClientPlan {
        home: 0,
        lane: 1,
        carries_seen: false,
        refuse_stale: false,
        invents_seen: false,
        roams: 0,
        patience_ms: TOTAL_MS + 200,
        tries: 3,
        think_ms: 1,
        keyless: 0,
        idempotent_methods: 0,
        reuses_key: 0,
        borrows_key: 0,
        reads: 0,
    }
}
