//! The play: which phase follows which, what is cut and killed in it, and what is measured on the way.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::check::{self, Verdict};
use super::history::{History, Told};
use super::ports::Addresses;
use super::process::{self, Launcher, Scratch};
use super::progress::{Counters, Phase};
use super::relay::Relay;
use super::report::{DemoReport, Failover, PhaseReport, Replay, SabotageReport};
use super::sabotage::{Saboteur, Tampered};
use super::site::{Dial, EDGE, HUB, Site};
use super::till::Place;
use super::tills::{Shared, Tills};
use super::{DemoOptions, Error};
use crate::telemetry::say;

/// Log lines of each appliance that are shown when something went wrong.
const LAST_LINES: usize = 25;
/// How long a phase may go on beyond its time on a machine so busy that next to nothing was sold in it.
const SLOW_PHASE_MAX: Duration = Duration::from_secs(20);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(20);
const DRAIN_PATIENCE: Duration = Duration::from_secs(30);
const GIVE_UP: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(20);
/// How often what stays up is looked after.
const LOOKED_AFTER: Duration = Duration::from_millis(500);
/// How long a dead appliance stays dead.
const DOWN: Duration = Duration::from_millis(300);

/// `told` hears the report as soon as it stands.
pub async fn run(
    options: &DemoOptions,
    launcher: &Launcher,
    told: impl FnOnce(&DemoReport),
) -> Result<DemoReport, Error> {
    let scratch = Scratch::create(options.keep)?;
    let mut stage = Stage::build(options, launcher, &scratch).await?;
    let result = tokio::select! {
        result = stage.play(options) => result,
        _ = process::interrupted() => Err(Error::Interrupted),
    };
    if let Ok(report) = &result {
        told(report);
        if options.stay {
            say(&stage.to_try(&launcher.program(), scratch.path()));
            stage.stay(process::interrupted()).await?;
        }
    }
    let went_well = match &result {
        Ok(report) => report.is_good() || report.sabotage.is_some(),
        Err(error) => matches!(error, Error::Interrupted),
    };
    if !went_well {
        stage.print_last_lines();
    }
    if options.keep {
        say(&format!("  everything is kept in {}", scratch.path().display()));
    }
    result
}

/// Everything that runs. Fields end in this order: first who asks, then who is asked.
struct Stage {
    shared: Arc<Shared>,
    phases: Vec<PhaseReport>,
    replay: Replay,
    links: Relay,
    control: Relay,
    saboteur: Option<Saboteur>,
    edge: Site,
    hub: Site,
    /// How many there are at both sites.
    tills: u64,
}

impl Stage {
    /// Starts both services and what stands between the parts; the appliances come with the first phase.
    async fn build(options: &DemoOptions, launcher: &Launcher, scratch: &Scratch) -> Result<Self, Error> {
        let port = |source| Error::Port { source };
        let edge = Site::start(EDGE, launcher, scratch).await?;
        let hub = Site::start(HUB, launcher, scratch).await?;
        let links = Relay::start(hub.at.link).await.map_err(port)?;
        let control = Relay::start(hub.at.control).await.map_err(port)?;
        let saboteur = match options.sabotage {
            Some(kind) => Some(Saboteur::start(kind, HUB, hub.service).await.map_err(port)?),
            None => None,
        };
        let shared = Shared {
            history: History::default(),
            progress: Counters::default(),
            think: options.think,
            give_up: GIVE_UP,
        };
        let (phases, replay) = (Vec::new(), Replay::default());
        let tills = 2 * options.tills_per_site as u64;
        Ok(Self { shared: Arc::new(shared), phases, replay, links, control, saboteur, edge, hub, tills })
    }

    async fn play(&mut self, options: &DemoOptions) -> Result<DemoReport, Error> {
        let began = Instant::now();
        self.open_shops().await?;
        let tills = Tills::start(self.places(options.tills_per_site), options.seed, &self.shared);
        self.traffic("together: both sites sell", options.phase).await?;
        let cut = self.cut().await;
        self.traffic("the link is cut: both go on selling", options.phase).await?;
        self.heal_and_catch_up("the link is back: each catches up with the other", cut).await?;
        let failover = self.lose_service(options.phase).await?;
        let cut = self.cut().await;
        self.lose_appliance(options.phase).await?;
        self.heal_and_catch_up("heal: each catches up with the other", cut).await?;
        let phase = Phase::begin("the tills finish their sales", &self.shared);
        if let Some(saboteur) = &self.saboteur {
            // It waits for a write that suits it, and these are the last ones.
            until(|| saboteur.tampered().is_some()).await;
        }
        tills.finish().await;
        self.finish(phase)?;
        let drained = self.drain().await?;
        let verdict = self.judge().await?;
        let tampered = self.tampered()?;
        let shared = Arc::clone(&self.shared);
        let mut report = shared.history.with(|history| {
            let caught = tampered.map(|write| SabotageReport { caught: names(&verdict, &write), write });
            let mut report = DemoReport::new(history, verdict, drained);
            report.failover = failover.measure(history);
            report.sabotage = caught;
            report
        });
        report.replay = self.replay.clone();
        report.phases = std::mem::take(&mut self.phases);
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    async fn open_shops(&mut self) -> Result<(), Error> {
        let phase = Phase::begin("two appliances start", &self.shared);
        let endpoint = self.saboteur.as_ref().map_or(self.hub.service, Saboteur::address);
        self.hub.start_appliance(endpoint, None)?;
        let dial = Dial { link: self.links.address(), control: self.control.address() };
        self.edge.start_appliance(self.edge.service, Some(dial))?;
        self.hub.ready().await?;
        self.edge.ready().await?;
        self.finish(phase)
    }

    fn places(&self, per_site: usize) -> Vec<Place> {
        let pairs = [(&self.edge, &self.hub), (&self.hub, &self.edge)];
        let at = |(home, other): (&Site, &Site), number: usize| Place {
            till: format!("{}-till-{number:02}", home.name),
            home: home.name.to_owned(),
            home_address: home.at.gateway,
            other: other.name.to_owned(),
            other_address: other.at.gateway,
            leads: number == 1,
        };
        pairs.into_iter().flat_map(|pair| (1..=per_site).map(move |number| at(pair, number))).collect()
    }

    /// A phase that lets time pass, until at least as much was sold as there are tills.
    async fn traffic(&mut self, name: &str, duration: Duration) -> Result<(), Error> {
        let phase = Phase::begin(name, &self.shared);
        let sold = || self.shared.progress.acknowledged.load(Relaxed);
        let wanted = sold() + self.tills;
        tokio::time::sleep(duration).await;
        until(|| sold() >= wanted).await;
        self.finish(phase)
    }

    fn finish(&mut self, phase: Phase) -> Result<(), Error> {
        let name = phase.name().to_owned();
        let seconds = phase.done().as_secs_f64();
        self.phases.push(PhaseReport { name, seconds });
        self.edge.still_runs()?;
        self.hub.still_runs()
    }

    /// Returns when the cut was complete.
    async fn cut(&mut self) -> Duration {
        self.links.cut().await;
        self.control.cut().await;
        if let Some(saboteur) = &self.saboteur {
            saboteur.arm();
        }
        self.shared.history.now()
    }

    async fn heal_and_catch_up(&mut self, name: &str, cut: Duration) -> Result<(), Error> {
        let phase = Phase::begin(name, &self.shared);
        let healed = self.shared.history.now();
        let began = Instant::now();
        self.links.heal().await;
        self.control.heal().await;
        let (writes, last) = self.shared.history.with(|history| to_catch_up(history, cut, healed));
        for (home, key) in last {
            let other = if home == EDGE { &self.hub } else { &self.edge };
            while !other.has_applied(&key).await && began.elapsed() < CATCH_UP_PATIENCE {
                tokio::time::sleep(POLL).await;
            }
        }
        self.replay.writes += writes;
        self.replay.seconds += began.elapsed().as_secs_f64();
        self.replay.per_second = self.replay.writes as f64 / self.replay.seconds.max(0.001);
        self.finish(phase)
    }

    /// The edge's service dies while the sites are connected, and comes back.
    async fn lose_service(&mut self, duration: Duration) -> Result<Outage, Error> {
        let phase = Phase::begin("the edge's service is killed: sales fail over", &self.shared);
        let from = self.shared.history.now();
        self.edge.kill_service().await?;
        tokio::time::sleep(duration).await;
        let outage = || Outage { from, to: self.shared.history.now() };
        until(|| self.shared.history.with(|history| outage().measure(history).requests > 0)).await;
        let outage = outage();
        self.finish(phase)?;
        self.edge.restart_service().await?;
        self.traffic("the edge's service is back", duration.mul_f64(0.8)).await?;
        Ok(outage)
    }

    async fn lose_appliance(&mut self, duration: Duration) -> Result<(), Error> {
        let phase = Phase::begin("cut again: kill -9 of the edge appliance in traffic", &self.shared);
        tokio::time::sleep(duration / 3).await;
        self.edge.kill_appliance().await?;
        tokio::time::sleep(DOWN).await;
        self.edge.restart_appliance()?;
        self.edge.ready().await?;
        tokio::time::sleep(duration / 2).await;
        self.finish(phase)
    }

    /// Waits until both appliances say twice in a row that nothing is pending.
    async fn drain(&mut self) -> Result<bool, Error> {
        let phase = Phase::begin("drain", &self.shared);
        let began = Instant::now();
        let (mut quiet, mut pending) = (0, [None, None]);
        while quiet < 2 && began.elapsed() < DRAIN_PATIENCE {
            pending = [self.edge.pending().await, self.hub.pending().await];
            let nothing = |pending: &Option<Vec<String>>| pending.as_ref().is_some_and(Vec::is_empty);
            quiet = if pending.iter().all(nothing) { quiet + 1 } else { 0 };
            tokio::time::sleep(POLL * 5).await;
        }
        self.finish(phase)?;
        if quiet < 2 {
            let said = pending.map(|said| said.map_or("no word".to_owned(), |said| said.join("\n    ")));
            say(&format!("  still pending:\n    {}", said.join("\n    ")));
        }
        Ok(quiet >= 2)
    }

    /// Both sites go on until `end`, as long as all of it runs.
    async fn stay(&mut self, end: impl Future) -> Result<(), Error> {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                _ = end.as_mut() => return Ok(()),
                () = tokio::time::sleep(LOOKED_AFTER) => {}
            }
            self.edge.still_runs()?;
            self.hub.still_runs()?;
        }
    }

    /// What a person may do with two sites that stand.
    fn to_try(&self, program: &str, folder: &std::path::Path) -> String {
        let (edge, hub, folder) = (&self.edge, &self.hub, folder.display());
        let Addresses { gateway, admin, .. } = edge.at;
        format!(
            "\n  Both sites stay up until Ctrl-C. To try, in another terminal:\n\n\
             \x20   {program} status --admin http://{admin}    # {}\n\
             \x20   {program} status --admin http://{}    # {}\n\
             \x20   curl -i http://{gateway}/transactions -H 'Content-Type: application/json' \\\n\
             \x20       -H 'Idempotency-Key: mine' -d '{{\"id\": \"mine\", \"till\": \"me\"}}'\n\
             \x20   curl http://{}/transactions/mine    # the same sale at the service of {}\n\
             \x20   {program} writes show mine --admin http://{admin}\n\n\
             \x20 Send the first curl twice: it is sold once. Configurations, journals and logs: {folder}",
            edge.name, hub.at.admin, hub.name, hub.service, hub.name
        )
    }

    async fn judge(&mut self) -> Result<Verdict, Error> {
        let replicas = [self.edge.replica().await?, self.hub.replica().await?];
        Ok(self.shared.history.with(|history| check::check(history, &replicas)))
    }

    fn tampered(&self) -> Result<Option<Tampered>, Error> {
        match &self.saboteur {
            Some(saboteur) => saboteur.tampered().map(Some).ok_or(Error::NotTampered),
            None => Ok(None),
        }
    }

    fn print_last_lines(&self) {
        for site in [&self.edge, &self.hub] {
            say(&format!("\n  the last lines of the appliance of {}:\n{}", site.name, site.last_lines(LAST_LINES)));
        }
    }
}

/// Waits for what the tills will bring about, within limits: the report tells what there was.
async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(POLL).await;
        }
    };
    let _ = tokio::time::timeout(SLOW_PHASE_MAX, waited).await;
}

/// Whether a finding names this write, as the one that is wrong or as the one it clashes with.
fn names(verdict: &Verdict, write: &Tampered) -> bool {
    verdict.findings.iter().any(|found| found.key == write.key || found.detail.contains(&write.key))
}

/// How many writes were acknowledged during a cut, and the last one of each till and service: when those have arrived,
/// all have.
fn to_catch_up(history: &[Told], cut: Duration, healed: Duration) -> (usize, Vec<(String, String)>) {
    let during = |told: &&Told| told.is_acknowledged() && told.answered.is_some_and(|at| at >= cut && at < healed);
    let mut last: HashMap<(&str, &str), &Told> = HashMap::new();
    let mut writes = 0;
    for told in history.iter().filter(during) {
        writes += 1;
        let newest = last.entry((&told.till, told.service())).or_insert(told);
        if told.answered > newest.answered {
            *newest = told;
        }
    }
    (writes, last.into_values().map(|told| (told.home.clone(), told.key.clone())).collect())
}

/// When the edge's service was dead.
struct Outage {
    from: Duration,
    to: Duration,
}

impl Outage {
    fn measure(&self, history: &[Told]) -> Failover {
        let mut failover = Failover::default();
        for told in history.iter().filter(|told| told.home == EDGE && told.is_acknowledged()) {
            let Some(answered) = told.answered else { continue };
            if told.sent >= self.to || answered <= self.from {
                continue;
            }
            let took_ms = (answered - told.sent).as_millis() as u64;
            if told.stayed_home() && told.served_by.as_deref() == Some(HUB) {
                failover.requests += 1;
                failover.slowest_ms = failover.slowest_ms.max(took_ms);
            } else if told.stayed_home() && answered > self.to {
                failover.held_back += 1;
                failover.held_back_slowest_ms = failover.held_back_slowest_ms.max(took_ms);
            }
        }
        failover
    }
}

#[cfg(test)]
mod tests;
