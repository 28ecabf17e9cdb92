//! `holdfast demo`: two sites, a cut, a heal, a table that proves both replicas equal.
//!
//! Owns the child processes (two appliances, two point-of-sale services), the relay between the sites, the tills and a
//! folder for all their files; everything ends with [`run`], also when it fails, panics or is interrupted. Assumes that
//! this program has the subcommands `run --config FILE` and `demo-pos`. Promises that its verdict rests on what the
//! services hold and what the tills were told, and on nothing that an appliance says about itself (it only asks them
//! whether they are done).
//!
//! The way through: [`harness`] plays the phases on two [`site`]s, [`till`]s sell and write the [`history`], [`check`]
//! judges, [`report`] tells. [`sabotage`] proves that the judge can find what is wrong.
mod catalogue;
pub mod check;
mod harness;
pub mod history;
pub mod http;
mod ports;
pub mod pos;
mod process;
mod progress;
mod relay;
mod report;
pub mod sabotage;
mod site;
#[cfg(test)]
mod standin;
mod till;
mod tills;

use std::path::PathBuf;
use std::time::Duration;

pub use ports::{Addresses, free_address};
pub use process::Launcher;
pub use report::{DemoReport, Failover, Replay};
pub use sabotage::Sabotage;

#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Tamper with one write between the hub's appliance and its service.
    pub sabotage: Option<Sabotage>,
    pub seed: u64,
    pub tills_per_site: usize,
    /// How long each phase with traffic lasts.
    pub phase: Duration,
    /// Mean pause of a till before each write.
    pub think: Duration,
    /// Leave databases, configurations and logs where they are.
    pub keep: bool,
    /// After the report leave both sites up, until the process is told to end.
    pub stay: bool,
    /// `None`: this program.
    pub launcher: Option<Launcher>,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            sabotage: None,
            seed: 42,
            tills_per_site: 10,
            phase: Duration::from_secs(5),
            think: Duration::from_millis(80),
            keep: false,
            stay: false,
            launcher: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot find this program's own file to start it again")]
    OwnProgram { source: std::io::Error },
    #[error("cannot start a process")]
    Spawn { source: std::io::Error },
    #[error("cannot kill a process")]
    Kill { source: std::io::Error },
    #[error("cannot listen on the loopback")]
    Port { source: std::io::Error },
    #[error("the point-of-sale service did not start; its last lines:\n{last_lines}")]
    ServiceDidNotStart { last_lines: String },
    #[error("the appliance of {site} is not ready after {seconds} s")]
    NotReady { site: &'static str, seconds: u64 },
    #[error("the {what} of {site} ended by itself")]
    Ended { site: &'static str, what: &'static str },
    #[error("the service of {site} cannot be read")]
    Service { site: &'static str, source: http::CallError },
    #[error("the log of the service of {site} is not what it should be")]
    Log { site: &'static str, source: serde_json::Error },
    #[error("nothing was tampered with: no write suited the sabotage")]
    NotTampered,
    #[error("interrupted")]
    Interrupted,
}

/// Plays the demo. Prints progress, and when something goes wrong the appliances' last log lines, on standard error;
/// the report is the caller's to print, in `told`.
pub async fn run(options: DemoOptions, told: impl FnOnce(&DemoReport)) -> Result<DemoReport, Error> {
    let launcher = match &options.launcher {
        Some(launcher) => launcher.clone(),
        None => Launcher::current()?,
    };
    harness::run(&options, &launcher, told).await
}
