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
    output::print(arguments.output, &report, |report| table(report, &measured, &config.warnings))?;
    Ok(exit(&measured))
}

/// As a start would end: what only a change mends decides, and then the disk. A warning is no failure: alone is fine
/// (G8).
fn exit(measured: &[Measured]) -> ExitCode {
    let exits: Vec<Exit> = measured.iter().filter(|m| m.grade == Grade::Bad).map(|m| m.exit).collect();
    let first = [Exit::Config, Exit::Disk].into_iter().find(|exit| exits.contains(exit));
    first.or(exits.first().copied()).map_or(ExitCode::SUCCESS, Exit::into)
}

/// What comes first is read first, and often alone.
fn verdict(measured: &[Measured], warnings: usize) -> String {
    let of = |grade| measured.iter().filter(|m| m.grade == grade).count();
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let (bad, warned) = (of(Grade::Bad), of(Grade::Warn) + warnings);
    let warned = if warned > 0 { format!(", {}", count(warned, "warning")) } else { String::new() };
    match bad {
        0 => format!("the configuration has no problems{warned}"),
        _ => format!("the file has no faults, and what it rests on has {}{warned}", count(bad, "problem")),
    }
}

fn refuse(output: Output, error: &ConfigError) -> Result<ExitCode, Failure> {
    let report = json!({ "problems": error.faults, "warnings": [], "measured": [] });
    output::print(output, &report, |_| format!("{error}\n"))?;
    Ok(Exit::Config.into())
}

fn table(report: &Value, measured: &[Measured], warnings: &[Fault]) -> String {
    let columns: &[Column] =
        &[("WHAT", "/what", Show::Plain), ("", "/grade", Show::Plain), ("FOUND", "/found", Show::Plain)];
    let verdict = verdict(measured, warnings.len());
    let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    format!("{verdict}\n{warnings}\n{}", output::rows(&report["measured"], columns))
}
