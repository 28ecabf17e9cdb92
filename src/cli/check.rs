//! `holdfast check`: everything that can be known before a start.
use std::process::ExitCode;

use serde_json::{Value, json};

use super::args::{CheckArguments, Output};
use super::exit::{Exit, Failure};
use super::measure::{self, Grade, Measured};
use super::output::{self, Column, Show};
use crate::config::{Config, ConfigError, Fault, json_schema};

pub(super) fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    if arguments.schema {
        output::print(Output::Json, &json_schema(), output::fields)?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => return refuse(arguments.output, &error),
    };
    let measured = measure::all(&config).map_err(Failure::internal)?;
    let report = json!({ "problems": [], "warnings": config.warnings, "measured": measured });
    output::print(arguments.output, &report, |report| table(report, &config.warnings))?;
    Ok(exit(&measured))
}

/// The worst finding decides. A warning is no failure: alone is fine (G8).
fn exit(measured: &[Measured]) -> ExitCode {
    let failed = measured.iter().filter(|m| m.grade == Grade::Bad);
    let exits: Vec<Exit> = failed.map(|m| if m.is_disk { Exit::Disk } else { Exit::Config }).collect();
    match exits.contains(&Exit::Config) {
        _ if exits.is_empty() => ExitCode::SUCCESS,
        true => Exit::Config.into(),
        false => Exit::Disk.into(),
    }
}

fn refuse(output: Output, error: &ConfigError) -> Result<ExitCode, Failure> {
    let report = json!({ "problems": error.faults, "warnings": [], "measured": [] });
    output::print(output, &report, |_| format!("{error}\n"))?;
    Ok(Exit::Config.into())
}

fn table(report: &Value, warnings: &[Fault]) -> String {
    let columns: &[Column] =
        &[("WHAT", "/what", Show::Plain), ("", "/grade", Show::Plain), ("FOUND", "/found", Show::Plain)];
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    format!("the configuration has no problems\n{warnings}\n{}", output::rows(&report["measured"], columns))
}
