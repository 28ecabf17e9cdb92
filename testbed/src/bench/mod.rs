//! What Holdfast costs and how fast it catches up, each as one command that prints its figures and ends by itself.
//!
//! Owns the processes it measures: appliances, Envoy, the demo's service; all on free ports of the loopback, in a
//! folder of their own, killed by their id when it ends. It may assume a release build of `holdfast` beside this
//! program. It promises that a figure below its bar is an exit code of 1 and that what could not be measured is an exit
//! code of 2.
mod appliance;
mod disk;
mod error;
mod idle;
mod post;
mod process;
mod proxies;
mod replay;
mod retries;
mod rivals;
mod threads;
mod traffic;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use error::Error;

/// Whether every bar was reached; `None`: there was none to reach.
type Verdict = Option<bool>;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Requests per CPU-second next to Envoy: plain, and with a mirror
    Proxies(proxies::Arguments),
    /// What a POST costs more than the direct call, next to fsync
    Post(post::Arguments),
    /// A backlog after a cut, replayed while live writes go on
    Replay(replay::Arguments),
    /// Retries with the same key at the other site, soon after the first
    Retries(retries::Arguments),
    /// What silence costs: bytes of a line, CPU of a hub
    Idle(idle::Arguments),
    /// Load against a target of the loopback
    Load(rivals::LoadArguments),
    /// A counting service that answers 201
    Upstream(rivals::UpstreamArguments),
    /// The least that a proxy on hyper can be
    BareProxy(rivals::BareProxyArguments),
    /// A TCP relay; `cut` and `heal` on standard input
    Relay(rivals::RelayArguments),
}

/// What all measurements share.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The appliance's binary [default: `holdfast` beside this program]
    #[arg(long, value_name = "PATH")]
    holdfast: Option<PathBuf>,
    /// Where data directories are made: on the disk that is meant [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Keep configurations, logs and databases
    #[arg(long)]
    keep: bool,
}

impl Options {
    fn holdfast(&self) -> Result<PathBuf, Error> {
        match &self.holdfast {
            Some(path) => Ok(path.clone()),
            None => Ok(own_program()?.with_file_name("holdfast")),
        }
    }

    fn scratch(&self) -> Result<process::Scratch, Error> {
        process::Scratch::create(self.dir.as_deref(), self.keep)
    }
}

fn own_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(Error::file("find", "this program"))
}

pub fn run(command: Command) -> ExitCode {
    let verdict = match command {
        Command::Proxies(arguments) => proxies::measure(&arguments),
        Command::Post(arguments) => post::measure(&arguments),
        Command::Replay(arguments) => replay::measure(&arguments),
        Command::Retries(arguments) => retries::measure(&arguments),
        Command::Idle(arguments) => idle::measure(&arguments),
        Command::Load(arguments) => rivals::load(&arguments),
        Command::Upstream(arguments) => rivals::upstream(&arguments),
        Command::BareProxy(arguments) => rivals::bare_proxy(&arguments),
        Command::Relay(arguments) => rivals::relay(&arguments),
    };
    match verdict {
        Ok(None | Some(true)) => ExitCode::SUCCESS,
        Ok(Some(false)) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("not measured: {error}");
            ExitCode::from(2)
        }
    }
}

/// `reached` or `MISSED`, as it is printed.
fn word(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

/// Middle, least and greatest of some figures.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        [.., last] => {
            let middle = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0;
            (middle, sorted[0], *last)
        }
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn spread_is_middle_least_greatest() {
        for (figures, expected) in
            [(vec![2.0], (2.0, 2.0, 2.0)), (vec![3.0, 1.0], (2.0, 1.0, 3.0)), (vec![5.0, 1.0, 2.0], (2.0, 1.0, 5.0))]
        {
            assert_eq!(spread(&figures), expected);
        }
        assert!(spread(&[]).0.is_nan());
    }
}
