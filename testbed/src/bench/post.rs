//! What a POST through an appliance costs more than the direct call, and what the disk takes of it.
//!
//! One connection each. Direct calls, calls through the appliance and syncs of the same disk take turns in small
//! blocks, so that a slow spell of the disk meets all three.
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::Value;

use super::appliance::{Appliance, Durability, Role, Service, Setup};
use super::disk::Disk;
use super::{Error, Options, Verdict, rivals, traffic, word};
use crate::load::{Histogram, Report, Upstream, UpstreamOptions, run};

/// Beside two fsyncs.
const BAR_MS: f64 = 1.0;

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Calls of each kind
    #[arg(long, default_value_t = 2_000)]
    requests: u64,
    /// Calls of one kind in a row
    #[arg(long, default_value_t = 50)]
    block: u64,
    /// The upstream puts each body on the disk before it answers
    #[arg(long)]
    upstream_syncs: bool,
    /// Measure with a second site connected
    #[arg(long)]
    mirrored: bool,
    /// The bare proxy in place of the appliance: tests the method
    #[arg(long)]
    stand_in: bool,
}

pub fn measure(arguments: &Arguments) -> Result<Verdict, Error> {
    let scratch = arguments.options.scratch()?;
    let folder = scratch.folder("edge")?;
    let sync_to = arguments.upstream_syncs.then(|| scratch.path().join("upstream-bodies"));
    let upstream = Upstream::start(UpstreamOptions { sync_to, ..UpstreamOptions::named("first") })?;
    let other = Upstream::start(UpstreamOptions::named("second"))?;

    let mut appliances = Vec::new();
    let (through, _bare) = if arguments.stand_in {
        let (process, address) = rivals::start_bare_proxy(&super::own_program()?, &folder, upstream.address())?;
        (address, Some(process))
    } else {
        let service = if arguments.mirrored { Service::Mirrored } else { Service::Journalled };
        let setup = Setup { service, durability: Durability::PowerLoss, threads: 1, control: arguments.mirrored };
        let mut role = Role::Alone;
        if arguments.mirrored {
            let hub = Appliance::start(&arguments.options, &scratch, "hub", setup, Role::Hub, other.address())?;
            role = Role::Edge { link: hub.at.link, control: hub.at.control };
            appliances.push(hub);
        }
        let edge = Appliance::start(&arguments.options, &scratch, "edge", setup, role, upstream.address())?;
        let gateway = edge.at.gateway;
        appliances.push(edge);
        (gateway, None)
    };

    let mut checks_ms = Vec::new();
    if let Some(edge) = appliances.last() {
        checks_ms.extend(own_check_ms(&arguments.options, edge)?);
    }
    let mut disk = Disk::in_folder(&folder)?;
    let mut direct = Tally::default();
    let mut via = Tally::default();
    let call =
        |target, requests| run(&traffic::closed(target, 1, requests, traffic::orders(traffic::run_name("post"), 1)));
    call(upstream.address(), arguments.block)?;
    call(through, arguments.block)?;
    for _ in 0..arguments.requests.div_ceil(arguments.block) {
        direct.add(call(upstream.address(), arguments.block)?);
        via.add(call(through, arguments.block)?);
        disk.probe(arguments.block.min(20) as u32)?;
    }
    println!("direct        {}{}", direct.latency.summary(), direct.complaints);
    println!("through       {}{}", via.latency.summary(), via.complaints);
    println!("4 KiB + fdatasync  {}", disk.fdatasync.summary());
    println!("4 KiB + fsync      {}", disk.fsync.summary());
    if let Some(edge) = appliances.last() {
        checks_ms.extend(own_check_ms(&arguments.options, edge)?);
        println!("holdfast check     p50 before and after: {checks_ms:.3?} ms");
    }
    let p50_ms = |latency: &Histogram| latency.quantile(0.5).as_secs_f64() * 1_000.0;
    let added_ms = p50_ms(&via.latency) - p50_ms(&direct.latency);
    // The cheapest that anybody measured: the hardest bar.
    let fsync_ms = checks_ms.into_iter().fold(disk.p50_ms(), f64::min);
    let allowed_ms = BAR_MS + 2.0 * fsync_ms;
    let reached = added_ms < allowed_ms && via.complaints.is_empty();
    println!(
        "\nadded at p50: {added_ms:.3} ms; bar {BAR_MS} ms + 2 x {fsync_ms:.3} ms (the cheapest fsync) = \
         {allowed_ms:.3} ms: {}",
        word(reached)
    );
    Ok((!arguments.stand_in).then_some(reached))
}

/// What the appliance's own `check` measures on the same disk, p50 in ms. `None` when it does not say.
fn own_check_ms(options: &Options, edge: &Appliance) -> Result<Option<f64>, Error> {
    let program = options.holdfast()?;
    let output = Command::new(&program)
        .args(["check", "-o", "json", "--config"])
        .arg(&edge.config)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|source| Error::Spawn { program, hint: "", source })?;
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let measured = told["measured"].as_array().into_iter().flatten();
    let fsync = measured.filter(|one| one["what"] == "disk fsync").find_map(|one| one["p50_us"].as_f64());
    Ok(fsync.map(|p50_us| p50_us / 1_000.0))
}

#[derive(Default)]
struct Tally {
    latency: Histogram,
    complaints: String,
}

impl Tally {
    fn add(&mut self, report: Report) {
        self.latency.merge(&report.latency);
        if let Some(complaints) = report.complaints() {
            self.complaints = format!("  !! {complaints}");
        }
    }
}
