//! The parts by hand: load, a counting service, the bare proxy, a relay.
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;

use super::process::Process;
use super::{Error, Verdict, loopback, traffic};
use crate::load::{Pace, Plan, Relay, Upstream, UpstreamOptions, proxy, run};

#[derive(Clone, Debug, Args)]
pub struct LoadArguments {
    /// On the loopback
    target: SocketAddr,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Requests per second; absent: as fast as answers come
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 10_000)]
    requests: u64,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Different `x-session-id`s
    #[arg(long, default_value_t = 50)]
    lanes: usize,
    /// Open transactions of the demo's service instead of POSTs to /orders
    #[arg(long)]
    transactions: bool,
}

pub fn load(arguments: &LoadArguments) -> Result<Verdict, Error> {
    let name = traffic::run_name("load");
    let make = match arguments.transactions {
        true => traffic::transactions(name, "till", arguments.lanes),
        false => traffic::orders(name, arguments.lanes),
    };
    let plan = Plan {
        target: arguments.target,
        connections: arguments.connections,
        threads: arguments.threads,
        pace: arguments.rate.map_or(Pace::Closed, Pace::PerSecond),
        requests_max: arguments.requests,
        duration_max: Duration::from_secs(arguments.seconds),
        timeout: traffic::TIMEOUT,
        make,
        keep_samples: false,
    };
    let report = run(&plan)?;
    println!("{:.0} answers/s  {}", report.per_second(), report.latency.summary());
    for (status, count) in &report.statuses {
        println!("{count:>9} x {status}");
    }
    println!("{:>9} broken\n{:>9} timed out", report.broken, report.timeouts);
    Ok(None)
}

#[derive(Clone, Debug, Args)]
pub struct UpstreamArguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Append each body to this file and sync it before the answer
    #[arg(long, value_name = "FILE")]
    sync_to: Option<PathBuf>,
}

pub fn upstream(arguments: &UpstreamArguments) -> Result<Verdict, Error> {
    let options = UpstreamOptions {
        listen: arguments.listen,
        sync_to: arguments.sync_to.clone(),
        ..UpstreamOptions::named("upstream")
    };
    let upstream = Upstream::start(options)?;
    say_listening(upstream.address());
    wait_for_end_of_input(|_| ());
    println!("{} requests", upstream.requests());
    Ok(None)
}

#[derive(Clone, Debug, Args)]
pub struct BareProxyArguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long)]
    to: SocketAddr,
}

pub fn bare_proxy(arguments: &BareProxyArguments) -> Result<Verdict, Error> {
    let ends = std::thread::Builder::new().name("stdin".to_owned());
    #[expect(clippy::disallowed_methods, reason = "a stand-in that keeps nothing has nothing to close")]
    let watch = || {
        wait_for_end_of_input(|_| ());
        std::process::exit(0);
    };
    ends.spawn(watch).map_err(Error::file("watch", "standard input"))?;
    proxy(arguments.listen, arguments.to, say_listening)?;
    Ok(None)
}

pub fn start_bare_proxy(program: &Path, folder: &Path, to: SocketAddr) -> Result<(Process, SocketAddr), Error> {
    let mut command = Command::new(program);
    command.args(["bare-proxy", "--listen", &loopback().to_string(), "--to", &to.to_string()]);
    Process::start_listening("bare-plain", folder, "it is this program", command)
}

#[derive(Clone, Debug, Args)]
pub struct RelayArguments {
    #[arg(long)]
    to: SocketAddr,
}

pub fn relay(arguments: &RelayArguments) -> Result<Verdict, Error> {
    let relay = Relay::start(arguments.to)?;
    say_listening(relay.address());
    wait_for_end_of_input(|line| match line.trim() {
        "cut" => relay.cut(),
        "heal" => relay.heal(),
        other => eprintln!("{other:?} is neither cut nor heal"),
    });
    Ok(None)
}

fn say_listening(address: SocketAddr) {
    let mut out = std::io::stdout().lock();
    // Whoever closed our output does not want to know.
    let _ = writeln!(out, "listening on {address}").and_then(|()| out.flush());
}

fn wait_for_end_of_input(line: impl FnMut(String)) {
    std::io::stdin().lock().lines().map_while(Result::ok).for_each(line);
}
