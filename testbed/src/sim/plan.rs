//! What a seed is about: configuration, topology, clients and the mix of faults, all drawn before the first event.
use holdfast::model::SiteName;
use holdfast::service::{Bug, Limits, OnConcurrent, OnDivergence, OnUnreachable, Settings, WhenDown};

use super::history::Name;
use super::keep::Keep;
use super::nemesis::{PlannedFault, draw_faults};
use super::rng::{Rng, mix};

pub const LANES_MAX: u64 = 6;

/// Deliberate errors that prove the oracle: the first two in the simulator's executor, the others in the product's
/// code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    AnswerBeforeCommit,
    ConfirmBeforeDurable,
    /// A start gives numbers that an earlier life has given.
    NumberReused,
    InCore(Bug),
}

impl Planted {
    pub const ALL: [(&'static str, Planted); 31] = [
        ("answer-before-commit", Planted::AnswerBeforeCommit),
        ("confirm-before-durable", Planted::ConfirmBeforeDurable),
        ("resend-unknown", Planted::InCore(Bug::ResendUnknown)),
        ("ignore-after", Planted::InCore(Bug::IgnoreAfter)),
        ("after-at-accept", Planted::InCore(Bug::AfterAtAccept)),
        ("decider-does-not-wait", Planted::InCore(Bug::DeciderDoesNotWait)),
        ("lagging-replica-decides", Planted::InCore(Bug::LaggingReplicaDecides)),
        ("fingerprint-proves", Planted::InCore(Bug::FingerprintProves)),
        ("queue-overtaken", Planted::InCore(Bug::QueueOvertaken)),
        ("other-sites-ignored", Planted::InCore(Bug::OtherSitesIgnored)),
        ("no-fence", Planted::InCore(Bug::NoFence)),
        ("probe-believed-early", Planted::InCore(Bug::ProbeBelievedEarly)),
        ("refusal-followed", Planted::InCore(Bug::RefusalFollowed)),
        ("revoked-wish-kept", Planted::InCore(Bug::RevokedWishKept)),
        ("copies-despite-digest", Planted::InCore(Bug::CopiesDespiteDigest)),
        ("drop-at-full-window", Planted::InCore(Bug::DropAtFullWindow)),
        ("other-class-ignored", Planted::InCore(Bug::OtherClassIgnored)),
        ("number-reused", Planted::NumberReused),
        ("lane-free-during-wish", Planted::InCore(Bug::LaneFreeDuringWish)),
        ("key-expires-while-owed", Planted::InCore(Bug::KeyExpiresWhileOwed)),
        ("key-expires-while-open", Planted::InCore(Bug::KeyExpiresWhileOpen)),
        ("late-put-applied", Planted::InCore(Bug::LatePutApplied)),
        ("number-reused-after-restore", Planted::InCore(Bug::NumberReusedAfterRestore)),
        ("broken-taken-for-new", Planted::InCore(Bug::BrokenTakenForNew)),
        ("contrary-orders", Planted::InCore(Bug::ContraryOrders)),
        ("gaps-waited-for", Planted::InCore(Bug::GapsWaitedFor)),
        ("late-word-at-once", Planted::InCore(Bug::LateWordAtOnce)),
        ("ahead-not-named", Planted::InCore(Bug::AheadNotNamed)),
        ("divergence-stops", Planted::InCore(Bug::DivergenceStops)),
        ("resend-over-later", Planted::InCore(Bug::ResendOverLater)),
        ("answer-to-a-stranger", Planted::InCore(Bug::AnswerToAStranger)),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, planted)| *planted == self).expect("all are listed").0
    }

    pub fn named(name: &str) -> Option<Planted> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, planted)| *planted)
    }
}

impl std::str::FromStr for Planted {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known: Vec<&str> = Planted::ALL.iter().map(|(name, _)| *name).collect();
        Planted::named(name).ok_or_else(|| format!("no such planted bug; known: {}", known.join(", ")))
    }
}

/// A name is the number of a write among those of its client, times this, and the client's number.
pub const CLIENTS_MAX: Name = 10;

/// Chaos lasts until there were enough writes and faults, and no longer than this.
pub const CHAOS_MAX_MS: u64 = 600_000;

pub fn client_of(name: Name) -> Name {
    name % CLIENTS_MAX
}

#[derive(Clone, Debug)]
pub struct ClientPlan {
    pub home: usize,
    pub lane: u64,
    /// Sends `Holdfast-Seen` back.
    pub carries_seen: bool,
    pub refuse_stale: bool,
    /// Its tokens name a log that is no more, and more of one that is than there will ever be.
    pub invents_seen: bool,
    /// Per mille of writes that start at another site than the one before.
    pub roams: u64,
    pub patience_ms: u64,
    pub tries: u32,
    pub think_ms: u64,
    pub keyless: u64,
    pub idempotent_methods: u64,
    pub reuses_key: u64,
    /// Per mille of writes with which it brings the key and the request of another client.
    pub borrows_key: u64,
    /// Per mille of writes after which it reads with what it has seen.
    pub reads: u64,
}

/// Rates per mille unless named otherwise; zero is off.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub message_loss: u64,
    pub message_repeat: u64,
    pub message_reorder: u64,
    pub hint_loss: u64,
    pub hint_late: u64,
    pub hint_repeat: u64,
    /// Per 100,000 effects.
    pub kill_between_effects: u64,
    pub hang_up_before: u64,
    pub hang_up_after: u64,
    pub answer_500: u64,
    pub answer_50x: u64,
    pub answer_429: u64,
    pub slow_answer: u64,
    pub client_answer_loss: u64,
    pub client_hang_up: u64,
    /// Weights of what the nemesis does.
    pub partition: u64,
    pub one_way: u64,
    pub isolate: u64,
    pub flap: u64,
    pub kill: u64,
    pub service_down: u64,
    pub service_slow: u64,
    pub slow_disk: u64,
    pub full_disk: u64,
    pub fsync_error: u64,
    pub pause: u64,
    pub clock_jump: u64,
    pub control_cut: u64,
    pub broken_record: u64,
    pub service_hangs: u64,
}

/// Writes with a large body, and the longest that the line needs for one.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    pub per_cent: u64,
    pub longest_ms: u64,
}

/// How a store comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// As it was some time ago; the service as it is.
    Older,
    /// Both as they were some time ago.
    OlderWithService,
    /// As it is, in another place.
    Moved,
}

#[derive(Clone, Copy, Debug)]
pub struct Restore {
    pub site: usize,
    pub copied_ms: u64,
    pub back_ms: u64,
    pub back: Back,
}

/// After chaos one site stays cut off from all others while everything else is well: whoever is left to itself must
/// serve (G8).
#[derive(Clone, Copy, Debug)]
pub struct LongCut {
    pub site: usize,
    /// Clients rest so long: every write that was on its way when the cut began has had its time.
    pub rest_ms: u64,
    /// And then write for so long.
    pub serve_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub settings: Vec<Settings>,
    pub clients: Vec<ClientPlan>,
    pub rates: Rates,
    pub planted: Option<Planted>,
    /// Two sites that never see each other; pages reach them through a third.
    pub never_linked: Option<(usize, usize)>,
    pub chaos_ms: u64,
    /// After healing everything must be quiet within this time.
    pub heal_ms: u64,
    pub nemesis_ms: u64,
    pub latency_ms: u64,
    pub commit_ms: u64,
    /// The longest that a question to the journal takes.
    pub read_ms: u64,
    /// The executor's own limit for one try at the service.
    pub try_ms: u64,
    /// Per cent of writes that every replica refuses.
    pub refused: u64,
    /// After healing a person settles the quarantine with what the services hold.
    pub operator: bool,
    /// Per cent of writes that the service of a follower answers otherwise than the decider's.
    pub differs: u64,
    /// And before, while everything goes wrong.
    pub orders_early: bool,
    pub control_off: bool,
    /// The journal is the product's own, in SQLite on a disk that loses power, and not in maps.
    pub sqlite: bool,
    /// Keys live for seconds, and clients ask again after that.
    pub short_ttl: bool,
    /// A site's store is put back to a copy, or moved.
    pub restore: Option<Restore>,
    pub long_cut: Option<LongCut>,
    pub large: Option<Large>,
    /// In order of time.
    pub faults: Vec<PlannedFault>,
    /// Of all this, what a run takes.
    pub keep: Keep,
}

impl Rates {
    /// What is drawn for each message, answer or effect, by name.
    pub fn small(&mut self) -> [(&'static str, &mut u64); 15] {
        [
            ("message_loss", &mut self.message_loss),
            ("message_repeat", &mut self.message_repeat),
            ("message_reorder", &mut self.message_reorder),
            ("hint_loss", &mut self.hint_loss),
            ("hint_late", &mut self.hint_late),
            ("hint_repeat", &mut self.hint_repeat),
            ("kill_between_effects", &mut self.kill_between_effects),
            ("hang_up_before", &mut self.hang_up_before),
            ("hang_up_after", &mut self.hang_up_after),
            ("answer_500", &mut self.answer_500),
            ("answer_50x", &mut self.answer_50x),
            ("answer_429", &mut self.answer_429),
            ("slow_answer", &mut self.slow_answer),
            ("client_answer_loss", &mut self.client_answer_loss),
            ("client_hang_up", &mut self.client_hang_up),
        ]
    }

    /// Every seed has faults.
    fn at_least_some(mut self) -> Self {
        if super::nemesis::weights(&self).iter().all(|(weight, _)| *weight == 0) {
            (self.partition, self.kill) = (2, 2);
        }
        self
    }
}

impl Plan {
    pub fn draw(seed: u64, sites: Option<usize>, planted: Option<Planted>, keep: &Keep) -> Plan {
        let mut rng = Rng::new(seed);
        let sites = sites.unwrap_or_else(|| rng.pick(&[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7]));
        let mut settings = draw_settings(&mut rng, sites, planted);
        // Drawn apart, so that a seed is otherwise what it was.
        let creates = mix(seed ^ 0xc4ea7e5).is_multiple_of(4);
        settings.iter_mut().for_each(|site| site.creates = creates);
        let lanes = rng.range(3, LANES_MAX);
        let clients = (0..rng.range(4, 9)).map(|n| draw_client(&mut rng, n, lanes, sites, &settings[0])).collect();
        let longest = settings[0].longest_request_ms + settings[0].hold_ms;
        let total_ms = settings[0].total_ms;
        let mut extra = Rng::new(seed ^ 0x7E1A_5E1F_0CA1_0CA1);
        let short_ttl = extra.chance(150);
        if short_ttl {
            let key_ttl_ms = extra.range(2_000, 8_000);
            settings.iter_mut().for_each(|s| s.key_ttl_ms = key_ttl_ms);
        }
        if extra.chance(150) {
            settings.iter_mut().for_each(|s| s.alone_ms = 200);
        }
        let mut plan = Plan {
            seed,
            clients,
            rates: draw_rates(&mut rng).at_least_some(),
            planted,
            never_linked: (sites > 2 && rng.chance(300)).then_some((1, 2)),
            chaos_ms: rng.range(15_000, 40_000),
            // Every lane may hold several unknown writes, one behind the other, each with its fence and its hold.
            heal_ms: 60_000 + 20 * longest,
            nemesis_ms: rng.range(500, 5_000),
            latency_ms: rng.pick(&[1, 5, 20, 80]),
            commit_ms: rng.pick(&[1, 2, 5, 20]),
            try_ms: rng.range(300, 1_500).min(settings[0].longest_request_ms),
            refused: rng.pick(&[0, 5, 10, 20]),
            operator: rng.chance(500),
            orders_early: extra.chance(300),
            // A service all of whose outcomes are shadowed is one that answers the same everywhere.
            differs: if extra.chance(250) && !settings[0].replicate_all { extra.range(1, 15) } else { 0 },
            control_off: rng.chance(100),
            // From memory: whoever asks for the same without end does so at one instant.
            read_ms: if extra.chance(250) { 0 } else { 4 },
            sqlite: false,
            short_ttl,
            settings,
            restore: draw_restore(Rng::new(mix(seed ^ 0x0C0B_1ED0)), sites),
            long_cut: draw_long_cut(Rng::new(mix(seed ^ 0x1000_00C0)), sites, longest, total_ms),
            large: draw_large(Rng::new(mix(seed ^ 0x7411_0B0D)), total_ms),
            faults: Vec::new(),
            keep: keep.clone(),
        };
        let mut silence = Rng::new(mix(seed ^ 0x51_1E4C_E000));
        plan.rates.service_hangs = silence.swarm(4);
        plan.clients.iter_mut().for_each(|client| client.invents_seen = silence.chance(80));
        let mut strangers = Rng::new(mix(seed ^ 0x57A9_6E25));
        if strangers.chance(300) {
            plan.clients.iter_mut().for_each(|client| client.borrows_key = strangers.swarm(150));
        }
        // What waits for a store that is gone waits for good.
        plan.long_cut = plan.long_cut.filter(|_| plan.restore.is_none());
        plan.faults = draw_faults(Rng::new(mix(seed ^ 0xFA17)), &plan.rates, plan.nemesis_ms, sites);
        plan.take_only_what_is_kept();
        plan
    }

    fn take_only_what_is_kept(&mut self) {
        for (name, rate) in self.rates.small() {
            if self.keep.without.contains(name) {
                *rate = 0;
            }
        }
        if self.keep.without.contains("restore") {
            self.restore = None;
        }
        if self.keep.without.contains("long_cut") {
            self.long_cut = None;
        }
        let Some(sites) = self.keep.sites.filter(|&kept| kept < self.sites()) else { return };
        self.settings.truncate(sites.max(2));
        let sites = self.sites();
        let names: Vec<SiteName> = self.settings.iter().map(|s| s.me.clone()).collect();
        for settings in &mut self.settings {
            settings.replicas.retain(|site| names.contains(site));
            settings.order.retain(|site| names.contains(site));
            if settings.order.is_empty() {
                settings.order.push(settings.me.clone());
            }
        }
        self.clients.iter_mut().for_each(|client| client.home %= sites);
        self.never_linked = self.never_linked.filter(|&(a, b)| a < sites && b < sites);
        self.restore = self.restore.filter(|restore| restore.site < sites);
        self.long_cut = self.long_cut.filter(|cut| cut.site < sites);
    }

    /// What a client's write is drawn from, whatever happens around it.
    pub fn script(&self, name: Name) -> Rng {
        Rng::new(mix(self.seed ^ 0xC11E) ^ mix(u64::from(name)))
    }

    pub fn sites(&self) -> usize {
        self.settings.len()
    }
}

fn draw_restore(mut rng: Rng, sites: usize) -> Option<Restore> {
    let copied_ms = rng.range(1_000, 8_000);
    let back_ms = copied_ms + rng.range(1_000, 10_000);
    let site = rng.below(sites as u64) as usize;
    let back = rng.pick(&[Back::Older, Back::Older, Back::OlderWithService, Back::Moved]);
    rng.chance(100).then_some(Restore { site, copied_ms, back_ms, back })
}

fn draw_large(mut rng: Rng, total_ms: u64) -> Option<Large> {
    let (per_cent, longest_ms) = (rng.range(2, 20), rng.range(200, 2 * total_ms));
    rng.chance(250).then_some(Large { per_cent, longest_ms })
}

fn draw_long_cut(mut rng: Rng, sites: usize, longest_ms: u64, total_ms: u64) -> Option<LongCut> {
    let site = rng.below(sites as u64) as usize;
    // A lane may hold several writes that nobody can tell about, one behind the other.
    let rest_ms = 10_000 + 10 * longest_ms;
    let serve_ms = 4 * total_ms + 2_000;
    rng.chance(200).then_some(LongCut { site, rest_ms, serve_ms })
}

fn draw_settings(rng: &mut Rng, sites: usize, planted: Option<Planted>) -> Vec<Settings> {
    let names: Vec<SiteName> = (0..sites).map(|n| SiteName::new(format!("site-{n}"))).collect();
    let total_ms = rng.range(1_500, 5_000);
    let idempotent = rng.chance(250);
    let model = Settings {
        me: names[0].clone(),
        replicas: names.clone(),
        order: Vec::new(),
        answer_after_ms: rng.range(200, total_ms * 2 / 3),
        within_ms: 1_000,
        lag_ms: rng.pick(&[200, 1_000, 1_000, 5_000]),
        total_ms,
        longest_request_ms: rng.range(1_500, 6_000),
        hold_ms: rng.range(500, 5_000),
        idempotent,
        has_probe: rng.chance(350),
        creates: false,
        clients: Default::default(),
        unexecuted: if rng.chance(200) { vec![503] } else { Vec::new() },
        when_down: if rng.chance(500) { WhenDown::Queue } else { WhenDown::Refuse },
        replicate_all: rng.chance(150),
        compare_body: rng.chance(200),
        on_concurrent: if rng.chance(250) { OnConcurrent::Quarantine } else { OnConcurrent::Apply },
        on_divergence: if rng.chance(500) {
            OnDivergence::Quarantine
        } else {
            OnDivergence::Stop { differ: 5, of: 10 }
        },
        alone_ms: 6_000,
        on_unreachable: if rng.chance(250) { OnUnreachable::Refuse } else { OnUnreachable::Accept },
        ack_peers: u8::from(rng.chance(200)),
        key_ttl_ms: 86_400_000,
        retain_ms: 7 * 86_400_000,
        answer_max: rng.pick(&[0, 65_536, 65_536]),
        limits: draw_limits(rng),
        bug: match planted {
            Some(Planted::InCore(bug)) => Some(bug),
            _ => None,
        },
    };
    let shape = rng.below(5);
    let order = |me: usize| {
        let hub = 0;
        let next = (me + 1) % sites;
        let mut order: Vec<usize> = match shape {
            0 => vec![me],
            1 | 2 => vec![me, if me == hub { next } else { hub }],
            3 => vec![hub, me],
            // Each asks the other first: wishes cross.
            _ => vec![next, me],
        };
        order.dedup();
        order.into_iter().map(|n| names[n].clone()).collect::<Vec<_>>()
    };
    (0..sites).map(|me| Settings { me: names[me].clone(), order: order(me), ..model.clone() }).collect()
}

fn draw_limits(rng: &mut Rng) -> Limits {
    Limits {
        open_writes: rng.pick(&[8, 32, 1_024]),
        open_bytes: 1 << 20,
        waiters_per_key: rng.pick(&[1, 4]),
        ring: rng.pick(&[4, 16, 1_024]),
        page_items: rng.pick(&[1, 3, 16, 256]),
        page_bytes: rng.pick(&[1_000, 1 << 20]),
        window_items: rng.pick(&[2, 8, 64]),
        shadows: rng.pick(&[1, 2, 16]),
        shadows_beside_writes: rng.pick(&[1, 8]),
        lanes: rng.pick(&[2, 64]),
        keys: 100_000,
    }
}

fn draw_client(rng: &mut Rng, n: u64, lanes: u64, sites: usize, settings: &Settings) -> ClientPlan {
    ClientPlan {
        home: (n as usize) % sites,
        // Some lanes have one client, some have clients at several sites.
        lane: if rng.chance(600) { 1 + n % lanes } else { rng.range(1, lanes) },
        carries_seen: rng.chance(600),
        refuse_stale: rng.chance(400),
        // Drawn apart.
        invents_seen: false,
        roams: rng.swarm(300),
        patience_ms: if rng.chance(200) { rng.range(50, 400) } else { settings.total_ms + rng.range(0, 3_000) },
        tries: rng.range(1, 5) as u32,
        think_ms: rng.pick(&[20, 200, 1_000, 3_000]),
        keyless: rng.swarm(200),
        idempotent_methods: rng.swarm(500),
        reuses_key: rng.swarm(60),
        borrows_key: 0,
        reads: rng.swarm(300),
    }
}

fn draw_rates(rng: &mut Rng) -> Rates {
    Rates {
        message_loss: rng.swarm(100),
        message_repeat: rng.swarm(100),
        message_reorder: rng.swarm(200),
        hint_loss: rng.swarm(400),
        hint_late: rng.swarm(200),
        hint_repeat: rng.swarm(200),
        kill_between_effects: rng.swarm(100),
        hang_up_before: rng.swarm(30),
        hang_up_after: rng.swarm(30),
        answer_500: rng.swarm(20),
        answer_50x: rng.swarm(20),
        answer_429: rng.swarm(40),
        slow_answer: rng.swarm(30),
        client_answer_loss: rng.swarm(60),
        client_hang_up: rng.swarm(60),
        partition: rng.swarm(4),
        one_way: rng.swarm(4),
        isolate: rng.swarm(4),
        flap: rng.swarm(3),
        kill: rng.swarm(4),
        service_down: rng.swarm(4),
        service_slow: rng.swarm(3),
        slow_disk: rng.swarm(3),
        full_disk: rng.swarm(2),
        fsync_error: rng.swarm(2),
        pause: rng.swarm(3),
        clock_jump: rng.swarm(3),
        control_cut: rng.swarm(3),
        broken_record: rng.swarm(2),
        // Drawn apart.
        service_hangs: 0,
    }
}
