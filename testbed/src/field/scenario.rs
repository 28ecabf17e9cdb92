//! A scenario as its file says it: who is there, what they do, what goes wrong when, and what must be true at the end.
//!
//! An unknown key, a site that is not there, a fault of two kinds: an error that names it. Nothing is guessed.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::success::Success;
use super::units::{Jump, Rate, Share, Size, Span};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's name without its ending.
    #[serde(skip)]
    pub name: String,
    pub about: String,
    #[serde(default = "one")]
    pub seed: u64,
    /// Left out by `testbed/scenarios.sh` unless asked for.
    #[serde(default)]
    pub long: bool,
    /// What stands behind each appliance.
    #[serde(default)]
    pub services: Services,
    pub topology: Topology,
    pub load: Load,
    #[serde(default)]
    pub faults: Vec<Fault>,
    #[serde(default)]
    pub success: Success,
}

fn one() -> u64 {
    1
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Sites that all hold the same data.
    #[serde(default)]
    pub sites: BTreeMap<String, SiteSpec>,
    /// A hub of this name, and that many stores (`store-01` …) that dial it; each store's data is at the store and the
    /// hub.
    #[serde(default)]
    pub hub: Option<String>,
    #[serde(default)]
    pub stores: u32,
    #[serde(default)]
    pub clients_per_store: u32,
    /// Clients at the hub, each of them for one of the stores.
    #[serde(default)]
    pub clients_at_hub: u32,
    /// The site whose service every site asks first. Absent: each its own.
    #[serde(default)]
    pub first: Option<String>,
    /// How each line between two sites is from the start.
    #[serde(default)]
    pub line: LineSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteSpec {
    #[serde(default)]
    pub dials: Vec<String>,
    #[serde(default)]
    pub clients: u32,
    /// A disk of this size of its own.
    #[serde(default)]
    pub disk: Option<Size>,
}

/// One direction of a line. Nothing: as it comes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LineSpec {
    #[serde(default)]
    pub delay: Span,
    #[serde(default)]
    pub jitter: Span,
    #[serde(default)]
    pub loss: Share,
    #[serde(default)]
    pub rate: Option<Rate>,
}

/// The sample services of a site.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Services {
    /// Transactions, inventory, promotions and a ledger (the Toshiba paper's shop).
    #[default]
    Retail,
    /// Gateway, booking, payments and restaurant (the Essex paper's application).
    Reservation,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mix {
    /// Sales, counts, deliveries, promotions, as tills make them.
    Tills,
    /// Deliveries alone: single requests that commute, so that a client may ask any site.
    Stock,
    /// Reservations, cancellations, restaurants that are set up anew, cards that are declined. What is refused leaves
    /// nothing behind.
    Guests,
    /// The same, and restaurants that say only after the payment that no table is left: problems that leave a charge
    /// behind.
    PayFirst,
}

impl Mix {
    fn is_for(self, services: Services) -> bool {
        match self {
            Mix::Tills | Mix::Stock => services == Services::Retail,
            Mix::Guests | Mix::PayFirst => services == Services::Reservation,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Writes a second, all clients together.
    pub rate: f64,
    pub seconds: u64,
    /// Absent: all that clients of these services do, but for what leaves problems behind.
    #[serde(default)]
    pub mix: Option<Mix>,
    /// After this a client stops asking.
    #[serde(default = "minute")]
    pub give_up: Span,
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    #[default]
    Both,
    /// From the first site to the second nothing passes.
    OneWay,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Plane {
    Link,
    Control,
}

/// One fault: when, how long, and exactly one of what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default)]
    pub at: Span,
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
    /// Two sites between which nothing passes; `direction` and `port` narrow it.
    #[serde(default)]
    pub cut: Option<[String; 2]>,
    #[serde(default)]
    pub direction: Direction,
    #[serde(default)]
    pub port: Option<Plane>,
    /// Two sites between which the line comes and goes; `down` and `up` say how long each.
    #[serde(default)]
    pub flap: Option<[String; 2]>,
    #[serde(default)]
    pub down: Option<Span>,
    #[serde(default)]
    pub up: Option<Span>,
    /// Two sites between which the line becomes another, in both directions.
    #[serde(default)]
    pub line: Option<[String; 2]>,
    #[serde(default)]
    pub delay: Option<Span>,
    #[serde(default)]
    pub jitter: Option<Span>,
    #[serde(default)]
    pub loss: Option<Share>,
    #[serde(default)]
    pub rate: Option<Rate>,
    /// SIGKILL of appliance and service, then a fresh start on the same disk.
    #[serde(default)]
    pub reboot: Option<String>,
    /// SIGKILL of the appliance alone, then a fresh start.
    #[serde(default)]
    pub kill: Option<String>,
    #[serde(default)]
    pub kill_service: Option<String>,
    /// The service stands still for `delay`, runs for a moment, and so on.
    #[serde(default)]
    pub slow_service: Option<String>,
    /// The appliance stands still.
    #[serde(default)]
    pub pause: Option<String>,
    #[serde(default)]
    pub clock: Option<String>,
    #[serde(default)]
    pub jump: Option<Jump>,
    /// Somebody else takes the room on the site's own disk.
    #[serde(default)]
    pub fill_disk: Option<String>,
}

/// What a fault is, without its time.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Cut { between: [String; 2], direction: Direction, port: Option<Plane> },
    Flap { between: [String; 2], down: Duration, up: Duration },
    Line { between: [String; 2], spec: LineSpec },
    Reboot(String),
    Kill(String),
    KillService(String),
    SlowService { site: String, delay: Duration },
    Pause(String),
    Clock { site: String, jump_s: i64 },
    FillDisk(String),
}

impl What {
    pub fn kind(&self) -> &'static str {
        match self {
            What::Cut { port: Some(Plane::Control), .. } => "control cut",
            What::Cut { port: Some(Plane::Link), .. } => "link cut",
            What::Cut { direction: Direction::OneWay, .. } => "one-way cut",
            What::Cut { .. } => "cut",
            What::Flap { .. } => "flapping",
            What::Line { spec, .. } if spec.loss.0 > 0.0 => "lossy line",
            What::Line { .. } => "thin line",
            What::Reboot(_) => "reboot",
            What::Kill(_) => "appliance killed",
            What::KillService(_) => "service killed",
            What::SlowService { .. } => "service slow",
            What::Pause(_) => "pause",
            What::Clock { .. } => "clock jump",
            What::FillDisk(_) => "disk full",
        }
    }

    pub fn sites(&self) -> Vec<&str> {
        match self {
            What::Cut { between, .. } | What::Flap { between, .. } | What::Line { between, .. } => {
                between.iter().map(String::as_str).collect()
            }
            What::SlowService { site, .. } | What::Clock { site, .. } => vec![site],
            What::Reboot(site)
            | What::Kill(site)
            | What::KillService(site)
            | What::Pause(site)
            | What::FillDisk(site) => vec![site],
        }
    }
}

impl Fault {
    /// Exactly one kind, with what belongs to it and nothing else.
    pub fn what(&self) -> Result<What, String> {
        let mut kinds = Vec::new();
        let mut add = |name: &str, what: Option<What>| kinds.extend(what.map(|what| (name.to_owned(), what)));
        let (direction, port) = (self.direction, self.port);
        add("cut", self.cut.clone().map(|between| What::Cut { between, direction, port }));
        let beat = |given: Option<Span>| given.map_or(Duration::from_millis(800), |span| span.0);
        let (down, up) = (beat(self.down), beat(self.up));
        add("flap", self.flap.clone().map(|between| What::Flap { between, down, up }));
        add("line", self.line.clone().map(|between| What::Line { between, spec: self.line_spec() }));
        add("reboot", self.reboot.clone().map(What::Reboot));
        add("kill", self.kill.clone().map(What::Kill));
        add("kill_service", self.kill_service.clone().map(What::KillService));
        let delay = self.delay.map_or(Duration::from_millis(300), |span| span.0);
        add("slow_service", self.slow_service.clone().map(|site| What::SlowService { site, delay }));
        add("pause", self.pause.clone().map(What::Pause));
        let jump_s = self.jump.map_or(3_600, |jump| jump.0);
        add("clock", self.clock.clone().map(|site| What::Clock { site, jump_s }));
        add("fill_disk", self.fill_disk.clone().map(What::FillDisk));
        let names: Vec<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
        if kinds.len() != 1 {
            let all = "cut, flap, line, reboot, kill, kill_service, slow_service, pause, clock, fill_disk";
            return Err(format!("a fault is exactly one of {all}; this one is {names:?}"));
        }
        self.belongs(&kinds[0].0)?;
        kinds.pop().map(|(_, what)| what).ok_or_else(String::new)
    }

    fn line_spec(&self) -> LineSpec {
        LineSpec {
            delay: self.delay.unwrap_or_default(),
            jitter: self.jitter.unwrap_or_default(),
            loss: self.loss.unwrap_or_default(),
            rate: self.rate,
        }
    }

    fn belongs(&self, kind: &str) -> Result<(), String> {
        let set = [
            ("direction", self.direction != Direction::Both, &["cut"][..]),
            ("port", self.port.is_some(), &["cut"]),
            ("down", self.down.is_some(), &["flap"]),
            ("up", self.up.is_some(), &["flap"]),
            ("delay", self.delay.is_some(), &["line", "slow_service"]),
            ("jitter", self.jitter.is_some(), &["line"]),
            ("loss", self.loss.is_some(), &["line"]),
            ("rate", self.rate.is_some(), &["line"]),
            ("jump", self.jump.is_some(), &["clock"]),
        ];
        match set.iter().find(|(_, is_set, kinds)| *is_set && !kinds.contains(&kind)) {
            Some((name, _, kinds)) => Err(format!("{name} belongs to {}, not to {kind}", kinds.join(", "))),
            None if self.lasts.is_none() && kind != "clock" => Err(format!("{kind} needs `for: 10s`")),
            None => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}: {detail}")]
    Wrong { path: String, detail: String },
}

impl Scenario {
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: shown.clone(), source })?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &text).map_err(|detail| Error::Wrong { path: shown, detail })
    }

    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut scenario: Scenario = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        scenario.name = name.to_owned();
        scenario.finish()?;
        Ok(scenario)
    }

    /// Spreads the short form of a hub, then checks everything that the form alone does not say.
    pub fn finish(&mut self) -> Result<(), String> {
        self.spread_hub()?;
        self.check()
    }

    fn spread_hub(&mut self) -> Result<(), String> {
        let topology = &mut self.topology;
        let Some(hub) = topology.hub.clone() else {
            if topology.stores > 0 || topology.clients_per_store > 0 || topology.clients_at_hub > 0 {
                return Err("topology: stores, clients_per_store and clients_at_hub need `hub: NAME`".into());
            }
            return Ok(());
        };
        if !topology.sites.is_empty() || !(1..=40).contains(&topology.stores) {
            return Err("topology: with hub, write `stores: N` (1 to 40) and no sites".into());
        }
        let clients = topology.clients_at_hub;
        topology.sites.insert(hub.clone(), SiteSpec { clients, ..SiteSpec::default() });
        for n in 1..=topology.stores {
            let spec = SiteSpec { dials: vec![hub.clone()], clients: topology.clients_per_store, disk: None };
            topology.sites.insert(format!("store-{n:02}"), spec);
        }
        Ok(())
    }

    pub fn mix(&self) -> Mix {
        self.load.mix.unwrap_or(match self.services {
            Services::Retail => Mix::Tills,
            Services::Reservation => Mix::Guests,
        })
    }

    fn check_services(&self) -> Result<(), String> {
        if self.services == Services::Reservation && self.topology.hub.is_some() {
            return Err("services: the reservation set has no stores; write sites, not a hub".into());
        }
        match self.mix().is_for(self.services) {
            true => Ok(()),
            false => Err("load: mix: tills and stock are for `services: retail`, guests and pay-first for `services: \
                reservation`"
                .into()),
        }
    }

    fn check(&self) -> Result<(), String> {
        self.check_services()?;
        let sites = &self.topology.sites;
        let known = |name: &str| match sites.contains_key(name) {
            true => Ok(()),
            false => Err(format!("no site {name:?}; there are {:?}", sites.keys().collect::<Vec<_>>())),
        };
        if !(2..=41).contains(&sites.len()) {
            return Err("topology: 2 to 41 sites".into());
        }
        if let Some(first) = &self.topology.first {
            known(first).map_err(|detail| format!("topology: first: {detail}"))?;
        }
        for (name, site) in sites {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 12 || !name.chars().all(plain) {
                return Err(format!("site {name:?}: 1 to 12 lower-case letters, digits, '-'"));
            }
            site.dials.iter().try_for_each(|dialled| known(dialled).map_err(|e| format!("site {name}: dials: {e}")))?;
        }
        if sites.values().all(|site| site.clients == 0) {
            return Err("topology: no site has clients".into());
        }
        if !(0.1..=2_000.0).contains(&self.load.rate) || self.load.seconds == 0 {
            return Err("load: rate from 0.1 to 2000 writes a second, seconds from 1".into());
        }
        for (n, fault) in self.faults.iter().enumerate() {
            let of = |detail: String| format!("faults[{n}]: {detail}");
            let what = fault.what().map_err(of)?;
            what.sites().into_iter().try_for_each(&known).map_err(of)?;
            if let What::FillDisk(site) = &what
                && sites[site].disk.is_none()
                && self.topology.hub.is_none()
            {
                return Err(of(format!("fill_disk needs a disk of its own: `disk: 24MiB` at site {site}")));
            }
            let ends = fault.at.0 + fault.lasts.unwrap_or_default().0;
            if ends > Duration::from_secs(self.load.seconds) {
                return Err(of(format!("ends after the load ({} s)", self.load.seconds)));
            }
        }
        Ok(())
    }

    pub fn clients(&self) -> u32 {
        self.topology.sites.values().map(|site| site.clients).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "about: x\ntopology:\n  sites:\n    store: { dials: [cloud], clients: 2 }\n    cloud: {}\n\
        load: { rate: 13, seconds: 60 }\nfaults:\n  - { at: 20s, for: 10s, cut: [store, cloud] }\nsuccess:\n  lost: \
        0\n  p99: \"< 2s\"\n";

    #[test]
    fn what_is_wrong_is_named() {
        let good = Scenario::parse("good", GOOD).unwrap();
        assert_eq!(good.faults[0].what().unwrap().kind(), "cut");
        let cases = [
            ("seconds: 60", "seconds: 60, rats: 3", "rats"),
            ("cut: [store, cloud]", "cut: [store, clowd]", "clowd"),
            ("cut: [store, cloud]", "cut: [store, cloud], kill: store", "exactly one"),
            ("cut: [store, cloud]", "reboot: store, loss: 2%", "loss belongs to line"),
            ("cut: [store, cloud]", "fill_disk: store", "disk: 24MiB"),
            ("at: 20s", "at: 55s", "after the load"),
            ("for: 10s, ", "", "needs `for"),
            ("at: 20s", "at: soon", "such as 250ms"),
            ("lost: 0", "lots: 0", "lots"),
            ("seconds: 60", "seconds: 60, mix: guests", "services: reservation"),
            ("about: x\n", "about: x\nservices: reservations\n", "reservations"),
            ("\"< 2s\"", "fast", "p99"),
            ("clients: 2", "clients: 0", "no site has clients"),
            ("dials: [cloud]", "dials: [cloud], hub: 3", "hub"),
            ("about: x\ntopology:\n", "about: x\ntopology:\n  first: moon\n", "moon"),
        ];
        for (from, to, expected) in cases {
            let told = Scenario::parse("bad", &GOOD.replace(from, to)).unwrap_err();
            assert!(told.contains(expected), "{to}: {told}");
        }
    }

    #[test]
    fn a_hub_has_its_stores() {
        let text =
            "about: x\ntopology: { hub: cloud, stores: 3, clients_per_store: 2 }\nload: { rate: 5, seconds: 5 }\n";
        let hub = Scenario::parse("hub", text).unwrap();
        assert_eq!(
            hub.topology.sites.keys().map(String::as_str).collect::<Vec<_>>(),
            ["cloud", "store-01", "store-02", "store-03"]
        );
        assert_eq!((hub.clients(), hub.topology.sites["store-02"].dials.len()), (6, 1));
        let told = Scenario::parse("hub", &text.replace("stores: 3", "stores: 99")).unwrap_err();
        assert!(told.contains("1 to 40"), "{told}");
    }

    #[test]
    fn clients_do_what_the_services_are_for() {
        let with = |services: &str, load: &str| {
            let load = format!("seconds: 60{load}");
            let text = GOOD.replace("about: x\n", &format!("about: x\n{services}")).replace("seconds: 60", &load);
            Scenario::parse("good", &text)
        };
        assert_eq!(with("", "").unwrap().mix(), Mix::Tills);
        assert_eq!(with("services: reservation\n", "").unwrap().mix(), Mix::Guests);
        assert_eq!(with("services: reservation\n", ", mix: pay-first").unwrap().mix(), Mix::PayFirst);
        assert!(with("services: reservation\n", ", mix: tills").is_err());
        let hub =
            "about: x\nservices: reservation\ntopology: { hub: cloud, stores: 2 }\nload: { rate: 5, seconds: 5 }\n";
        assert!(Scenario::parse("hub", hub).unwrap_err().contains("no stores"));
    }

    #[test]
    fn every_scenario_of_the_repository_is_well_formed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let all: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
        assert!(all.len() >= 12, "{} scenarios", all.len());
        for path in all {
            Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
