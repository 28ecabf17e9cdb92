//! The stage of a run: the network, the sites on it, and what faults do to them.
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdfast::demo::history::Told;

use super::Error;
use super::certificates::Authority;
use super::client::Place;
use super::judge::Held;
use super::namespaces::Namespaces;
use super::network::{Cut, Kind, Network};
use super::play::{Mode, Options};
use super::relays::Relays;
use super::scenario::{LineSpec, Scenario, What};
use super::site::{Dial, Fleet, Site, faketime};
use super::timeline::Step;

const LINK_PATIENCE: Duration = Duration::from_secs(20);
const RECOVERY_PATIENCE: Duration = Duration::from_secs(90);
const QUIET_PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// How the name of a run's folder begins; the owner's process follows.
pub const SCRATCH: &str = "holdfast-testbed-";

/// A folder for one run, removed when dropped unless it is to be kept.
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub fn create(keep: bool) -> Result<Self, Error> {
        let name = format!("{SCRATCH}{}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Self { path, keep })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("kept: {}", self.path.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Everything that runs. Fields end in this order: processes, then what they stand on.
pub struct Stage {
    names: Vec<String>,
    pub hub: Option<String>,
    pub sites: Vec<Site>,
    pub network: Network,
    line: LineSpec,
    _scratch: Scratch,
}

impl Stage {
    pub async fn build(scenario: &Scenario, options: &Options) -> Result<Self, Error> {
        let scratch = Scratch::create(options.keep)?;
        let topology = &scenario.topology;
        let names: Vec<String> = topology.sites.keys().cloned().collect();
        let index = |name: &str| names.iter().position(|known| known == name).unwrap_or_default();
        let dials: Vec<(usize, usize)> = topology
            .sites
            .iter()
            .flat_map(|(from, spec)| spec.dials.iter().map(|to| (index(from), index(to))))
            .collect();
        let kind = match options.mode {
            Mode::Namespaces => Kind::Namespaces(Namespaces::up(&names, scenario.seed)?),
            Mode::Loopback => Kind::Relays(Relays::start(names.len(), &dials).await?),
        };
        let mut network = Network::new(kind, names.len());
        for a in 0..names.len() {
            (0..a).for_each(|b| network.set_line(a, b, topology.line));
        }
        let authority = Authority::new()?;
        let is_dialled = |name: &&String| topology.sites.values().any(|site| site.dials.contains(name));
        let dialled = names.iter().filter(is_dialled).cloned().collect();
        let fleet = Fleet { sites: names.clone(), dialled, hub: topology.hub.clone(), first: topology.first.clone() };
        let needs_clock = |site: &str| {
            let is_clock = |what: What| matches!(what, What::Clock { site: at, .. } if at == site);
            scenario.faults.iter().filter_map(|fault| fault.what().ok()).any(is_clock)
        };
        let mut sites = Vec::with_capacity(names.len());
        for (number, (name, spec)) in topology.sites.iter().enumerate() {
            let folder = scratch.path.join(name);
            std::fs::create_dir(&folder).map_err(|source| Error::File { path: folder.clone(), source })?;
            authority.issue(name, &network.addresses(number), &folder)?;
            let mut site = Site::new(
                name,
                network.places(number),
                &options.binary,
                folder,
                network.prefix(number),
                scenario.services,
            );
            if let Some(size) = spec.disk {
                site.give_disk(size.0)?;
            }
            if let Some(library) = faketime().filter(|_| needs_clock(name)) {
                site.give_clock(&library)?;
            }
            let dialled = dials.iter().filter(|(from, _)| *from == number).map(|(from, to)| {
                let (link, control) = network.dial(*from, *to);
                Dial { site: names[*to].clone(), link, control }
            });
            let dialled: Vec<Dial> = dialled.collect();
            site.configure(&fleet, &dialled)?;
            site.start_service()?;
            sites.push(site);
        }
        let line = topology.line;
        Ok(Self { names, hub: topology.hub.clone(), sites, network, line, _scratch: scratch })
    }

    pub async fn start(&mut self) -> Result<(), Error> {
        for site in &self.sites {
            site.service_ready().await?;
        }
        self.sites.iter_mut().try_for_each(Site::start_appliance)?;
        for site in &mut self.sites {
            let ready = site.appliance_ready().await;
            site.ended().map_or(ready, Err)?;
        }
        let began = Instant::now();
        for site in &self.sites {
            while !site.is_linked().await && began.elapsed() < LINK_PATIENCE {
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    pub fn index(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_default()
    }

    pub fn places(&self, scenario: &Scenario) -> Vec<Place> {
        let clients = scenario.clients();
        let pace = Duration::from_secs_f64(f64::from(clients) / scenario.load.rate);
        let stores: Vec<&String> = self.names.iter().filter(|name| self.hub.as_ref() != Some(name)).collect();
        let mut places = Vec::new();
        for (number, (home, spec)) in scenario.topology.sites.iter().enumerate() {
            let at_hub = self.hub.as_ref() == Some(home);
            for n in 0..spec.clients {
                let owner = if at_hub { stores[n as usize % stores.len()].clone() } else { home.clone() };
                let other = |other: &usize| *other != number && self.hub.is_none();
                let others = (0..self.names.len()).filter(other);
                places.push(Place {
                    till: if at_hub { format!("{owner}.office{n}") } else { format!("{owner}.t{n}") },
                    owner,
                    home: home.clone(),
                    home_at: self.network.places(number).gateway,
                    others: others.map(|o| (self.names[o].clone(), self.network.places(o).gateway)).collect(),
                    names_store: at_hub,
                    leads: n == 0,
                    mix: scenario.mix(),
                    pace,
                    give_up: scenario.load.give_up.0,
                });
            }
        }
        places
    }

    pub async fn step(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Begin(what) => self.begin(what).await,
            Step::End(what) => self.end(what).await,
        }
    }

    fn cut_of(&self, what: &What) -> Option<Cut> {
        let What::Cut { between: [a, b], direction, port } = what else { return None };
        Some(Cut { from: self.index(a), to: self.index(b), direction: *direction, port: *port })
    }

    async fn begin(&mut self, what: &What) -> Result<(), Error> {
        if let Some(cut) = self.cut_of(what) {
            return self.network.cut(cut);
        }
        let number = self.index(what.sites().first().copied().unwrap_or_default());
        match what {
            What::Line { between: [a, b], spec } => {
                let (a, b) = (self.index(a), self.index(b));
                self.network.set_line(a, b, *spec);
            }
            What::Reboot(_) => {
                self.sites[number].kill_appliance().await;
                self.look_and_kill_service(number).await;
            }
            What::Kill(_) => self.sites[number].kill_appliance().await,
            What::KillService(_) => self.look_and_kill_service(number).await,
            What::SlowService { delay, .. } => self.sites[number].slow(*delay),
            What::Pause(_) => self.sites[number].pause(),
            What::Clock { jump_s, .. } => self.sites[number].set_clock(*jump_s)?,
            What::FillDisk(_) => self.sites[number].fill_disk().await,
            What::Cut { .. } | What::Flap { .. } => {}
        }
        Ok(())
    }

    /// What it holds is looked at before: afterwards, and until it is up again, it says nothing.
    async fn look_and_kill_service(&mut self, number: usize) {
        self.sites[number].applied().await;
        self.sites[number].kill_service().await;
    }

    async fn end(&mut self, what: &What) -> Result<(), Error> {
        if let Some(cut) = self.cut_of(what) {
            return self.network.end_cut(&cut);
        }
        let number = self.index(what.sites().first().copied().unwrap_or_default());
        match what {
            What::Line { between: [a, b], .. } => {
                let (a, b) = (self.index(a), self.index(b));
                self.network.set_line(a, b, self.line);
            }
            What::Reboot(_) | What::Kill(_) | What::KillService(_) => self.revive(number)?,
            What::SlowService { .. } => self.sites[number].end_slow(),
            What::Pause(_) => self.sites[number].go_on(),
            What::Clock { .. } => self.sites[number].set_clock(0)?,
            What::FillDisk(_) => self.sites[number].free_disk(),
            What::Cut { .. } | What::Flap { .. } => {}
        }
        Ok(())
    }

    fn revive(&mut self, number: usize) -> Result<(), Error> {
        let site = &mut self.sites[number];
        let (service, appliance) = site.runs();
        if !service {
            site.start_service()?;
        }
        if !appliance {
            site.start_appliance()?;
        }
        Ok(())
    }

    /// Everything as it was at the beginning.
    pub async fn heal(&mut self) -> Result<(), Error> {
        self.network.heal()?;
        for a in 0..self.names.len() {
            (0..a).for_each(|b| self.network.set_line(a, b, self.line));
            self.sites[a].end_slow();
            self.sites[a].go_on();
            self.sites[a].free_disk();
            self.revive(a)?;
        }
        Ok(())
    }

    /// Whether this site's service must hold a write.
    fn must_hold(&self, site: usize, told: &Told) -> bool {
        let name = &self.names[site];
        let Some(hub) = &self.hub else { return true };
        name == hub || told.key.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// What was promised by now and is missing at a service: key and site.
    pub async fn missing(&mut self, history: Vec<Told>) -> Vec<(String, usize)> {
        let mut missing = Vec::new();
        for number in 0..self.sites.len() {
            let wanted: Vec<&Told> =
                history.iter().filter(|told| told.is_acknowledged() && self.must_hold(number, told)).collect();
            let applied = self.sites[number].applied().await;
            missing.extend(
                wanted.into_iter().filter(|told| !applied.contains(&told.key)).map(|told| (told.key.clone(), number)),
            );
        }
        missing
    }

    /// From now until all of `missing` is where it belongs.
    pub async fn recover(&mut self, mut missing: Vec<(String, usize)>) -> Option<Duration> {
        let began = Instant::now();
        while !missing.is_empty() {
            if began.elapsed() > RECOVERY_PATIENCE {
                let shown: Vec<_> = missing.iter().take(5).collect();
                eprintln!("  {} writes never arrived, among them {shown:?}", missing.len());
                return None;
            }
            for number in 0..self.sites.len() {
                let applied = self.sites[number].applied().await;
                missing.retain(|(key, at)| *at != number || !applied.contains(key));
            }
            tokio::time::sleep(POLL).await;
        }
        Some(began.elapsed())
    }

    /// Waits until every appliance says twice in a row that nothing is pending. Whether they did, and what is in
    /// quarantine.
    pub async fn quiet(&mut self) -> (bool, u64) {
        let began = Instant::now();
        let (mut quiet, mut said, mut quarantine) = (0, Vec::new(), 0);
        while quiet < 2 && began.elapsed() < QUIET_PATIENCE {
            (said, quarantine) = (Vec::new(), 0);
            for site in &self.sites {
                match site.pending().await {
                    Some((pending, held)) => {
                        said.extend(pending);
                        quarantine += held;
                    }
                    None => said.push(format!("{}: no word", site.name)),
                }
            }
            quiet = if said.is_empty() { quiet + 1 } else { 0 };
            tokio::time::sleep(POLL * 4).await;
        }
        if quiet < 2 {
            eprintln!("  still pending:\n    {}", said.join("\n    "));
        }
        (quiet >= 2, quarantine)
    }

    /// What every service holds.
    pub async fn held(&self) -> Result<Vec<Held>, Error> {
        let mut held = Vec::with_capacity(self.sites.len());
        for site in &self.sites {
            let (export, log) = site.holds().await?;
            held.push(Held { site: site.name.clone(), export, log });
        }
        Ok(held)
    }
}
