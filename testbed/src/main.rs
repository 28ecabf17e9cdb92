//! `testbed sim`: the fleet under a seed; `enumerate`: every fault at every step of small scenarios. `run`, `soak`,
//! `net`: the real binary under faults. And the measurements of the appliance, and sample services.
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use testbed::sim::{Enumerate, Keep, Options, Planted, Stats, enumerate, run_seeds};

#[derive(Parser)]
#[command(about = "Everything that tries to break Holdfast")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs whole fleets in one thread, each under its own seed, and judges what clients and services saw.
    Sim {
        /// How many seeds to run.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
        /// Print everything that happens.
        #[arg(long)]
        trace: bool,
        /// Sites instead of a drawn number.
        #[arg(long, value_parser = clap::value_parser!(u8).range(2..=7))]
        sites: Option<u8>,
        /// Plant an error that must be found.
        #[arg(long)]
        bug: Option<Planted>,
        /// Only these parts of the plan, as a failure prints them.
        #[arg(long, default_value = "")]
        keep: Keep,
        /// Do not stop at the first failure; say one line of each.
        #[arg(long)]
        keep_going: bool,
        /// What journals lie on: plain maps, or SQLite on a disk that loses power.
        #[arg(long, value_enum, default_value_t = Disk::Memory)]
        disk: Disk,
    },
    /// Draws nothing: every fault at every step of small scenarios, then pairs of faults.
    Enumerate(Enumerate),
    #[command(flatten)]
    Field(testbed::field::Command),
    #[command(flatten)]
    Bench(testbed::bench::Command),
    #[command(flatten)]
    Reservation(testbed::reservation::Command),
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Disk {
    Memory,
    Sqlite,
}

fn main() -> ExitCode {
    let options = match Arguments::parse().command {
        Command::Sim { seeds, first_seed, trace, sites, bug, keep, keep_going, disk } => Options {
            first_seed,
            seeds,
            sites: sites.map(usize::from),
            planted: bug,
            keep,
            trace,
            keep_going,
            sqlite: disk == Disk::Sqlite,
        },
        Command::Enumerate(options) => return enumerate(&options),
        Command::Field(command) => return testbed::field::run(command),
        Command::Bench(command) => return testbed::bench::run(command),
        Command::Reservation(command) => return testbed::reservation::run(command),
    };
    simulate(&options)
}

fn simulate(options: &Options) -> ExitCode {
    let began = Instant::now();
    let (stats, failure) = run_seeds(options, |stats| {
        if stats.seeds % 1_000 == 0 {
            println!("{} seeds, {:.0} s", stats.seeds, began.elapsed().as_secs_f64());
        }
    });
    summary(&stats, began.elapsed().as_secs_f64());
    // Which faults a shorter run meets is chance.
    let is_complete = options.seeds >= 200 && options.planted.is_none();
    let never = if is_complete { stats.never_met(options.sqlite) } else { Vec::new() };
    if !never.is_empty() {
        println!("\nnever met, so not tested: {}", never.join(", "));
    }
    if let Some(failure) = failure {
        println!("\n{failure}");
        return ExitCode::FAILURE;
    }
    if !never.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn summary(stats: &Stats, seconds: f64) {
    for (what, count) in &stats.met {
        println!("{count:>12}  {what}");
    }
    println!("\nwrites in each state at the site that a fault met:\n{}\n", stats.matrix_table());
    println!(
        "{} seeds, {:.1} simulated hours, {} events, {} writes, {} acknowledged, {} applied, {} messages, {seconds:.1} \
         s",
        stats.seeds,
        stats.simulated_ms as f64 / 3_600_000.0,
        stats.events,
        stats.writes,
        stats.acknowledged,
        stats.applied,
        stats.messages
    );
}
