//! A backlog journalled during a cut, replayed after it while live writes go on: how fast, and what the live ones feel.
//!
//! Two appliances before two copies of the demo's service, a relay between them. Progress is read from the log of the
//! service at the other side, and in the end both services must hold the same.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::appliance::{Appliance, Durability, Role, Service, Setup, point_of_sale};
use super::traffic::{self, get};
use super::{Error, Options, Verdict, word};
use crate::load::{self, Histogram, Pace, Plan, Relay, Report, run};

const RATE_BAR: f64 = 500.0;
const P99_BAR: f64 = 2.0;
const POLL: Duration = Duration::from_millis(200);
const ASK: Duration = Duration::from_secs(20);
const BACKLOG: &str = "backlog";
/// Connections that journal the backlog during the cut.
const BACKLOG_CONNECTIONS: usize = 50;
const SLOWEST_SHOWN: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Live {
    /// At the site that ships its backlog.
    Edge,
    /// At the site that replays it.
    Hub,
    /// Half of them at each.
    Both,
}

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Writes of the backlog
    #[arg(long, default_value_t = 10_000)]
    backlog: u64,
    /// Live writes per second
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Lanes of live writes
    #[arg(long, default_value_t = 50)]
    lanes: usize,
    /// Where live writes are taken
    #[arg(long, value_enum, default_value_t = Live::Both)]
    live: Live,
    /// Length of the phases before and during
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Longest wait for the backlog, and for both services to hold the same
    #[arg(long, default_value_t = 180)]
    patience_s: u64,
}

/// What the other side's service has of the backlog.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    applied: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

pub fn measure(arguments: &Arguments) -> Result<Verdict, Error> {
    let scratch = arguments.options.scratch()?;
    let (edge_folder, hub_folder) = (scratch.folder("edge")?, scratch.folder("hub")?);
    let (_edge_pos, edge_service) = point_of_sale(&arguments.options, &edge_folder)?;
    let (_hub_pos, hub_service) = point_of_sale(&arguments.options, &hub_folder)?;
    let setup = Setup { service: Service::PointOfSale, durability: Durability::PowerLoss, threads: 0, control: true };
    let hub = Appliance::start(&arguments.options, &scratch, "hub", setup, Role::Hub, hub_service)?;
    let (link, control) = (Relay::start(hub.at.link)?, Relay::start(hub.at.control)?);
    let role = Role::Edge { link: link.address(), control: control.address() };
    let edge = Appliance::start(&arguments.options, &scratch, "edge", setup, role, edge_service)?;
    let sites = [edge.at.gateway, hub.at.gateway];
    let services = [edge_service, hub_service];
    let patience = Duration::from_secs(arguments.patience_s);

    let before = live(arguments, sites, "before")?;
    print_phase("before", &before);
    wait_until_equal(services, patience)?;

    link.cut();
    control.cut();
    let journalled = backlog(arguments, sites[0])?;
    println!("cut: {} writes of 1 KiB journalled at {:.0}/s", journalled.successes(), journalled.per_second());
    if let Some(complaints) = journalled.complaints() {
        println!("  !! {complaints}");
    }
    let seen = log_end(hub_service)?;

    let healed = Instant::now();
    link.heal();
    control.heal();
    let (during, progress) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(hub_service, seen, journalled.successes(), patience));
        let during = live(arguments, sites, "during");
        (during, watch.join().expect("the watching thread does not panic"))
    });
    let (during, progress) = (during?, progress?);
    print_phase("during", &during);
    let expected = journalled.successes();
    let (Some(first), Some(last)) = (progress.first, progress.last.filter(|_| progress.applied >= expected)) else {
        let what = "the backlog at the other side".to_owned();
        return Err(Error::Missing { what, count: progress.applied, expected, seconds: arguments.patience_s });
    };
    let replaying: Vec<Report> = during.iter().map(|report| answered_until(report, last)).collect();
    print_phase("while it replayed", &replaying);
    print_slowest(&during, healed);
    let equal = wait_until_equal(services, patience).is_ok() && exports_equal(services)?;
    Ok(Some(judge(&before, &during, &replaying, (expected, last - healed, last.duration_since(first)), equal)))
}

fn judge(
    before: &[Report],
    during: &[Report],
    replaying: &[Report],
    (writes, since_heal, since_first): (u64, Duration, Duration),
    equal: bool,
) -> bool {
    let rate = writes as f64 / since_heal.as_secs_f64();
    println!(
        "\nreplayed {writes} writes in {:.2} s from healing: {rate:.0}/s, bar {RATE_BAR:.0}: {} ({:.0}/s from the \
         first one seen)",
        since_heal.as_secs_f64(),
        word(rate >= RATE_BAR),
        writes as f64 / since_first.as_secs_f64().max(1e-3)
    );
    let p99_ms = |reports: &[Report]| together(reports).quantile(0.99).as_secs_f64() * 1_000.0;
    let ratio = p99_ms(during) / p99_ms(before);
    let clean = before.iter().chain(during).all(|report| report.complaints().is_none());
    // A phase full of refusals, or a slow one before, would make the ratio easy.
    let felt = ratio <= P99_BAR && clean;
    println!(
        "p99 before {:.2} ms, during {:.2} ms: {ratio:.2} x, bar {P99_BAR}: {}",
        p99_ms(before),
        p99_ms(during),
        word(felt)
    );
    // No bar, but not hidden: the phase goes on after the last write was replayed.
    println!("  of these, while it replayed: {:.2} ms, {:.2} x", p99_ms(replaying), p99_ms(replaying) / p99_ms(before));
    if !clean {
        println!("  !! not every live write was a success: the p99 of such a run proves nothing");
    }
    println!("both services hold the same: {equal}");
    rate >= RATE_BAR && felt && equal
}

/// One report for each site that takes live writes.
fn live(arguments: &Arguments, [edge, hub]: [SocketAddr; 2], phase: &str) -> Result<Vec<Report>, Error> {
    let shares: &[(SocketAddr, &str, usize)] = match arguments.live {
        Live::Edge => &[(edge, "edge", 1)],
        Live::Hub => &[(hub, "hub", 1)],
        Live::Both => &[(edge, "edge", 2), (hub, "hub", 2)],
    };
    let plan = |(target, site, parts): (SocketAddr, &str, usize)| {
        let lanes = arguments.lanes.div_ceil(parts);
        let rate = arguments.rate / parts as f64;
        Plan {
            target,
            // One for each lane: a lane's writes come one after the other, as a till's do.
            connections: lanes,
            threads: 1,
            pace: Pace::PerSecond(rate),
            requests_max: (rate * arguments.seconds as f64).ceil() as u64,
            duration_max: Duration::from_secs(arguments.seconds),
            timeout: traffic::TIMEOUT,
            make: traffic::transactions(traffic::run_name(phase), site, lanes),
            keep_samples: true,
        }
    };
    let results: Vec<Result<Report, load::Error>> = std::thread::scope(|scope| {
        let running: Vec<_> = shares.iter().map(|share| scope.spawn(|| run(&plan(*share)))).collect();
        running.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect()
    });
    Ok(results.into_iter().collect::<Result<_, _>>()?)
}

fn backlog(arguments: &Arguments, edge: SocketAddr) -> Result<Report, Error> {
    let make = traffic::transactions(traffic::run_name(BACKLOG), "cut", BACKLOG_CONNECTIONS);
    Ok(run(&traffic::closed(edge, BACKLOG_CONNECTIONS, arguments.backlog, make))?)
}

fn answered_until(report: &Report, end: Instant) -> Report {
    let mut part = Report::default();
    for sample in report.samples.iter().filter(|sample| sample.answered <= end) {
        *part.statuses.entry(sample.status).or_default() += 1;
        part.latency.record(sample.latency);
    }
    part
}

fn together(reports: &[Report]) -> Histogram {
    let mut all = Histogram::default();
    reports.iter().for_each(|report| all.merge(&report.latency));
    all
}

fn print_phase(name: &str, reports: &[Report]) {
    println!("{name}: {}", together(reports).summary());
    for report in reports {
        let complaints = report.complaints().map(|text| format!("  !! {text}")).unwrap_or_default();
        println!("  one site: {}{complaints}", report.latency.summary());
    }
}

/// When the slowest were answered says what made them slow: the turn to another site, the return, or all the time
/// between.
fn print_slowest(reports: &[Report], healed: Instant) {
    for report in reports {
        let mut samples: Vec<_> = report.samples.iter().collect();
        samples.sort_by_key(|sample| std::cmp::Reverse(sample.latency));
        let told = samples.iter().take(SLOWEST_SHOWN).map(|sample| {
            let at = sample.answered.saturating_duration_since(healed).as_secs_f64();
            format!("{:.0} ms at {at:.2} s", sample.latency.as_secs_f64() * 1_000.0)
        });
        println!("  slowest of a site, since healing: {}", told.collect::<Vec<_>>().join(", "));
    }
}

fn log_after(service: SocketAddr, seq: i64) -> Result<Vec<Value>, Error> {
    let (_, body) = get(service, &format!("/log?after={seq}"), ASK)?;
    let what = || Error::NoAnswer { what: format!("the log of the service at {service}") };
    match serde_json::from_slice(&body) {
        Ok(Value::Array(lines)) => Ok(lines),
        _ => Err(what()),
    }
}

fn last_seq(lines: &[Value], otherwise: i64) -> i64 {
    lines.last().and_then(|line| line["seq"].as_i64()).unwrap_or(otherwise)
}

fn log_end(service: SocketAddr) -> Result<i64, Error> {
    Ok(last_seq(&log_after(service, 0)?, 0))
}

/// Follows the service's log until the backlog is in it.
fn watch(service: SocketAddr, mut seen: i64, expected: u64, patience: Duration) -> Result<Progress, Error> {
    let deadline = Instant::now() + patience;
    let mut progress = Progress::default();
    while progress.applied < expected && Instant::now() < deadline {
        let lines = log_after(service, seen)?;
        seen = last_seq(&lines, seen);
        let is_backlog = |line: &&Value| line["key"].as_str().is_some_and(|key| key.starts_with(BACKLOG));
        let new = lines.iter().filter(is_backlog).count() as u64;
        if new > 0 {
            let now = Instant::now();
            progress.applied += new;
            progress.first.get_or_insert(now);
            progress.last = Some(now);
        }
        std::thread::sleep(POLL);
    }
    Ok(progress)
}

/// As many writes in both logs.
fn wait_until_equal(services: [SocketAddr; 2], patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    loop {
        let [edge, hub] = services.map(log_end);
        let (edge, hub) = (edge?, hub?);
        if edge == hub {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = "writes at both services".to_owned();
            let (count, expected) = (edge.min(hub) as u64, edge.max(hub) as u64);
            return Err(Error::Missing { what, count, expected, seconds: patience.as_secs() });
        }
        std::thread::sleep(POLL);
    }
}

fn exports_equal(services: [SocketAddr; 2]) -> Result<bool, Error> {
    let [edge, hub] = services.map(|service| get(service, "/export", ASK));
    Ok(edge?.1 == hub?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    #[test]
    fn only_what_was_answered_while_it_replayed_counts() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let sample = |at| Sample { answered: now + ms(at), latency: ms(at), status: 201 };
        let report = Report { samples: vec![sample(1), sample(20), sample(300)], ..Report::default() };
        let part = answered_until(&report, now + ms(20));
        assert_eq!((part.answered(), part.latency.max()), (2, ms(20)));
    }
}
