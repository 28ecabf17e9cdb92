//! `testbed`: measurements of the appliance.
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Everything that tries to break Holdfast")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Bench(testbed::bench::Command),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Bench(command) => testbed::bench::run(command),
    }
}
