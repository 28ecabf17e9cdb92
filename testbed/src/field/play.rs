//! One run: builds the stage, lets clients write and faults happen, heals, waits until all is quiet, judges.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use holdfast::demo::check::Finding;
use holdfast::demo::history::Told;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::certificates::Authority;
use super::client::{Client, Place, Shared};
use super::judge::{self, Held};
use super::namespaces::Namespaces;
use super::network::{Cut, Kind, Network};
use super::relays::Relays;
use super::scenario::{LineSpec, Scenario, What};
use super::site::{Dial, Fleet, Site, faketime};
use super::success::Measured;
use super::timeline::{self, Step};
use super::{Error, sys};

const LINK_PATIENCE: Duration = Duration::from_secs(20);
const RECOVERY_PATIENCE: Duration = Duration::from_secs(90);
const QUIET_PATIENCE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Namespaces,
    Loopback,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub binary: PathBuf,
    pub mode: Mode,
    pub keep: bool,
    /// A line of progress every so often, instead of one for each fault.
    pub every: Option<Duration>,
}

pub struct Outcome {
    pub measured: Measured,
    pub findings: Vec<Finding>,
    /// What does not hold.
    pub broken: Vec<String>,
    pub faults: BTreeMap<&'static str, usize>,
    pub means: &'static str,
    /// Carried and dropped between sites, where a switch counts them.
    pub packets: Option<(u64, u64)>,
    pub took: Duration,
    pub tries: u64,
}

/// Why a scenario cannot be played here, if it cannot.
pub fn unsupported(scenario: &Scenario, mode: Mode) -> Option<String> {
    let whats: Vec<What> = scenario.faults.iter().filter_map(|fault| fault.what().ok()).collect();
    let loses = |spec: &LineSpec| spec.loss.0 > 0.0;
    let line_loses = whats.iter().any(|what| matches!(what, What::Line { spec, .. } if loses(spec)));
    if mode == Mode::Loopback && (line_loses || loses(&scenario.topology.line)) {
        return Some("relays cannot lose single packets; needs root and network namespaces".into());
    }
    if scenario.topology.sites.values().any(|site| site.disk.is_some()) && !sys::is_root() {
        return Some("a small disk is a tmpfs; needs root".into());
    }
    if whats.iter().any(|what| matches!(what, What::Clock { .. })) && faketime().is_none() {
        return Some("libfaketime is not installed".into());
    }
    None
}

/// Whether namespaces can be made here: root, TUN, and `ip`.
pub fn why_no_namespaces() -> Option<&'static str> {
    let has_ip = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"].iter().any(|path| Path::new(path).exists());
    match (sys::is_root(), has_ip, Path::new("/dev/net/tun").exists()) {
        (false, ..) => Some("this is not root"),
        (_, false, _) => Some("there is no `ip` (iproute2)"),
        (.., false) => Some("there is no /dev/net/tun"),
        _ => None,
    }
}

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
    hub: Option<String>,
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
            let mut site = Site::new(name, network.places(number), &options.binary, folder, network.prefix(number));
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

    fn places(&self, scenario: &Scenario) -> Vec<Place> {
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
                    mix: scenario.load.mix,
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
    async fn heal(&mut self) -> Result<(), Error> {
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
    async fn missing(&mut self, history: Vec<Told>) -> Vec<(String, usize)> {
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
    async fn recover(&mut self, mut missing: Vec<(String, usize)>) -> Option<Duration> {
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

    /// Waits until every appliance says twice in a row that nothing is pending. Whether they did, and what is in quarantine.
    async fn quiet(&mut self) -> (bool, u64) {
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
}

pub async fn play(scenario: &Scenario, options: &Options) -> Result<Outcome, Error> {
    let mut stage = Stage::build(scenario, options).await?;
    let result = tokio::select! {
        result = act(&mut stage, scenario, options) => result,
        () = super::command::interrupted() => Err(Error::Interrupted),
    };
    let went_well = result.as_ref().is_ok_and(|outcome| outcome.broken.is_empty());
    if !went_well && !matches!(result, Err(Error::Interrupted)) {
        for site in &stage.sites {
            eprintln!("\n  the last lines of the appliance of {}:\n{}", site.name, site.last_lines(12));
        }
    }
    result
}

struct Crowd {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

impl Crowd {
    fn start(places: Vec<Place>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for (number, place) in places.into_iter().enumerate() {
            let seed = seed.wrapping_mul(1_000).wrapping_add(number as u64);
            running.spawn(Client::new(place, seed, Arc::clone(&shared), stopped.clone()).run());
        }
        Self { shared, stop, running }
    }

    /// Lets every client hear how its last write ended.
    async fn finish(&mut self) {
        self.stop.send_replace(true);
        while self.running.join_next().await.is_some() {}
    }

    fn history(&self) -> Vec<Told> {
        self.shared.history.with(<[Told]>::to_vec)
    }
}

async fn act(stage: &mut Stage, scenario: &Scenario, options: &Options) -> Result<Outcome, Error> {
    stage.start().await?;
    let began = Instant::now();
    let mut crowd = Crowd::start(stage.places(scenario), scenario.seed);
    let lasts = Duration::from_secs(scenario.load.seconds);
    let mut progress = Progress { began, next: options.every, every: options.every };
    for (at, step) in timeline::steps(&scenario.faults).map_err(Error::Hand)? {
        while began.elapsed() < at {
            let rest = (at - began.elapsed()).min(Duration::from_millis(500));
            tokio::time::sleep(rest).await;
            progress.tell(stage, &crowd, &begun(scenario, began.elapsed())).await;
        }
        if options.every.is_none() {
            eprintln!("  {:6.1} s  {}", began.elapsed().as_secs_f64(), told(&step));
        }
        stage.step(&step).await?;
    }
    stage.heal().await?;
    let missing = stage.missing(crowd.history()).await;
    let backlog = missing.len();
    let recovered = stage.recover(missing).await;
    while began.elapsed() < lasts {
        tokio::time::sleep((lasts - began.elapsed()).min(Duration::from_millis(500))).await;
        progress.tell(stage, &crowd, &begun(scenario, began.elapsed())).await;
    }
    crowd.finish().await;
    let missing = stage.missing(crowd.history()).await;
    let _ = stage.recover(missing).await;
    let (quiet, quarantine) = stage.quiet().await;
    for site in &mut stage.sites {
        site.ended().map_or(Ok(()), Err)?;
    }
    let mut held = Vec::with_capacity(stage.sites.len());
    for site in &stage.sites {
        let (export, log) = site.holds().await?;
        held.push(Held { site: site.name.clone(), export, log });
    }
    let history = crowd.history();
    let verdict = judge::judge(&history, &held, stage.hub.as_deref());
    let measured = Measured { recovered, backlog, quiet, quarantine, ..judge::measure(&history, &verdict) };
    Ok(Outcome {
        broken: scenario.success.broken(&measured),
        measured,
        findings: verdict.findings,
        faults: begun(scenario, began.elapsed()),
        means: stage.network.means(),
        packets: stage.network.packets(),
        took: began.elapsed(),
        tries: crowd.shared.tries.load(Relaxed),
    })
}

/// Faults that have begun, by kind.
fn begun(scenario: &Scenario, now: Duration) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for what in scenario.faults.iter().filter(|fault| fault.at.0 <= now).filter_map(|fault| fault.what().ok()) {
        *kinds.entry(what.kind()).or_default() += 1;
    }
    kinds
}

fn told(step: &Step) -> String {
    let (verb, what) = match step {
        Step::Begin(what) => ("begins", what),
        Step::End(what) => ("ends", what),
    };
    format!("{} {verb} ({})", what.kind(), what.sites().join(", "))
}

/// A line every so often.
struct Progress {
    began: Instant,
    next: Option<Duration>,
    every: Option<Duration>,
}

impl Progress {
    async fn tell(&mut self, stage: &mut Stage, crowd: &Crowd, faults: &BTreeMap<&'static str, usize>) {
        let (Some(next), Some(every)) = (self.next, self.every) else { return };
        if self.began.elapsed() < next {
            return;
        }
        self.next = Some(next + every);
        let history = crowd.history();
        let since =
            history.iter().filter(|told| told.answered.is_some_and(|at| at + every >= crowd.shared.history.now()));
        let recent: Vec<Duration> = since.filter_map(|told| Some(told.answered? - told.sent)).collect();
        let unanswered = history.iter().filter(|told| told.answered.is_none()).count();
        let missing = stage.missing(history.clone()).await.len();
        println!(
            "{:>4.0} s  writes {:>7}, {:>5.1}/s, slowest {:>6.2} s, never told {unanswered}, not yet everywhere {missing}, faults {}",
            self.began.elapsed().as_secs_f64(),
            crowd.shared.begun.load(Relaxed),
            recent.len() as f64 / every.as_secs_f64(),
            recent.iter().max().copied().unwrap_or_default().as_secs_f64(),
            faults.values().sum::<usize>(),
        );
    }
}
