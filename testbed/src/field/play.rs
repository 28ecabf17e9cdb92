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

use super::client::{Client, Place, Shared};
use super::judge;
use super::scenario::{LineSpec, Scenario, Services, What};
use super::site::faketime;
use super::stage::Stage;
use super::success::Measured;
use super::timeline::{self, Step};
use super::{Error, sys};
use crate::reservation::audit::audit;

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
    /// Lost answers that were asked for again at the same site.
    pub asked_again: u64,
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
    let held = stage.held().await?;
    let history = crowd.history();
    let mut verdict = judge::judge(&history, &held, stage.hub.as_deref());
    if scenario.services == Services::Reservation {
        verdict.findings.extend(held.iter().flat_map(|held| audit(&held.site, &held.export)));
    }
    let other_answers = crowd.shared.other_answers.load(Relaxed) as usize;
    let measured =
        Measured { recovered, backlog, quiet, quarantine, other_answers, ..judge::measure(&history, &verdict) };
    Ok(Outcome {
        broken: scenario.success.broken(&measured),
        measured,
        findings: verdict.findings,
        faults: begun(scenario, began.elapsed()),
        means: stage.network.means(),
        packets: stage.network.packets(),
        took: began.elapsed(),
        tries: crowd.shared.tries.load(Relaxed),
        asked_again: crowd.shared.asked_again.load(Relaxed),
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
            "{:>4.0} s  writes {:>7}, {:>5.1}/s, slowest {:>6.2} s, never told {unanswered}, not yet everywhere \
             {missing}, faults {}",
            self.began.elapsed().as_secs_f64(),
            crowd.shared.begun.load(Relaxed),
            recent.len() as f64 / every.as_secs_f64(),
            recent.iter().max().copied().unwrap_or_default().as_secs_f64(),
            faults.values().sum::<usize>(),
        );
    }
}
