//! The commands a person types.
//!
//! Owns the arguments, the exit codes and the form of what is printed: results on standard output, everything else on
//! standard error. Decides nothing about writes: `status`, `peers`, `services`, `writes` and `quarantine` ask a running
//! appliance over its admin listener; `run`, `demo` and `journal` hand over to [`crate::app`].
mod account;
mod args;
mod check;
mod client;
mod demonstrate;
mod exit;
mod explain;
mod identity;
mod join;
mod journal;
mod listing;
mod measure;
mod output;
mod quarantine;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod typed;

pub use args::{DemoOptions, JournalOrder, Sabotage};
pub(crate) use exit::with_causes;
pub use exit::{Exit, Failure};

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::app;
use crate::config::Config;
use crate::telemetry;
use args::{Arguments, Command, JournalCommand};

/// The whole program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; a closed pipe is none either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    let exit = execute(arguments.command).unwrap_or_else(|failure| {
        telemetry::say_error(&format!("holdfast: {failure}"));
        failure.exit.into()
    });
    telemetry::last_words();
    exit
}

fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(source) => app::run(load(source.config()?)?).map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Command::Check(check) => check::check(&check),
        Command::Demo(options) => demonstrate::demo(&options),
        Command::DemoPos(options) => demonstrate::pos(options),
        Command::Status(arguments) => status::status(&arguments),
        Command::Peers(ask) => listing::peers(&ask),
        Command::Services { command, ask } => listing::services(command, &ask),
        Command::Writes { command } => listing::writes(command),
        Command::Quarantine { command } => quarantine::run(command),
        Command::Explain { code } => explain::explain(code.as_deref()),
        Command::Completions { shell } => explain::completions(shell),
        Command::Identity { command } => identity::run(command),
        Command::Join(arguments) => join::join(&arguments),
        Command::Journal { command } => {
            let (order, source) = match command {
                JournalCommand::Verify(source) => (JournalOrder::Verify, source),
                JournalCommand::Stats(source) => (JournalOrder::Stats, source),
            };
            let config = load(Config::load(&source.config).map_err(Failure::config)?)?;
            let result = journal::read(&config, order)?;
            output::print(source.output, &result, output::fields)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether these words are a command of this program.
#[cfg(test)]
pub(crate) fn parses(command: &str) -> Result<(), String> {
    Arguments::try_parse_from(command.split(' ')).map(drop).map_err(|error| error.to_string())
}

/// Says on standard error what is allowed and still worth a thought.
fn load(config: Config) -> Result<Config, Failure> {
    for warning in &config.warnings {
        telemetry::say_warning(&format!("holdfast: warning: {warning}"));
    }
    Ok(config)
}
