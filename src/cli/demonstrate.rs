//! `holdfast demo`, and the point-of-sale service that it starts as a process of its own.
use std::process::ExitCode;

use super::Failure;
use super::args::{DemoOptions, DemoPosOptions, Output, Sabotage};
use super::exit::with_causes;
use super::output;
use crate::demo;

pub(super) fn demo(options: &DemoOptions) -> Result<ExitCode, Failure> {
    let sabotage = options.sabotage.map(|sabotage| match sabotage {
        Sabotage::Lose => demo::Sabotage::Lose,
        Sabotage::Double => demo::Sabotage::Double,
        Sabotage::Swap => demo::Sabotage::Swap,
        Sabotage::Stale => demo::Sabotage::Stale,
    });
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
    let played = demo::DemoOptions { sabotage, keep: options.keep, stay: options.stay, ..Default::default() };
    let mut printed = Ok(());
    let print = |report: &demo::DemoReport| {
        printed = match options.output {
            Output::Json => output::result(&format!("{}\n", report.to_json())),
            Output::Table => output::result(&format!("{report}\n")),
        };
    };
    let report = runtime.block_on(demo::run(played, print)).map_err(|error| Failure::internal(with_causes(&error)))?;
    printed?;
    Ok(ExitCode::from(report.exit_code()))
}

pub(super) fn pos(options: DemoPosOptions) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::internal)?;
    let options = demo::pos::PosOptions {
        listen: options.listen,
        db: options.db,
        fsync: !options.no_fsync,
        exit_with_stdin: options.exit_with_stdin,
    };
    runtime.block_on(demo::pos::run(options)).map_err(|error| Failure::internal(with_causes(&error)))?;
    Ok(ExitCode::SUCCESS)
}
