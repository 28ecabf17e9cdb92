//! The subcommands `run`, `soak` and `net`.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::play::{Mode, Options, play, unsupported, why_no_namespaces};
use super::report::{self, Ending, Line};
use super::scenario::Scenario;
use super::soak::Soak;
use super::{Error, hand, sys};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Plays scenarios on the real binary and judges them.
    Run {
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        #[command(flatten)]
        how: How,
        /// Also those that are marked as long.
        #[arg(long)]
        long: bool,
    },
    /// A hub and its stores under load with random faults, one line a minute; ends with the verdict.
    Soak {
        #[arg(long, default_value_t = 30)]
        minutes: u64,
        /// Stores around the hub.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=40))]
        stores: u32,
        /// Writes a second, all sites together.
        #[arg(long, default_value_t = 60.0)]
        rate: f64,
        /// Seconds from one fault to the next.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(6..))]
        every: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// So many faults beside each other.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
        at_once: u32,
        /// Stores ask the hub's service first, and their own when it does not answer.
        #[arg(long)]
        hub_first: bool,
        #[command(flatten)]
        how: How,
    },
    /// The same network for use by hand: up, partition, heal, reboot, down.
    Net {
        #[command(subcommand)]
        command: hand::Command,
    },
}

#[derive(clap::Args)]
pub struct How {
    /// The appliance's binary. Absent: the environment's HOLDFAST, else target/release/holdfast.
    #[arg(long)]
    holdfast: Option<PathBuf>,
    /// Network namespaces where they can be made, else the loopback.
    #[arg(long, value_enum, default_value_t = Where::Auto)]
    mode: Where,
    /// Leave databases, configurations and logs where they are.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    Auto,
    Namespaces,
    Loopback,
}

impl How {
    /// Before any thread: it may leave the machine's network.
    pub fn options(&self, every: Option<Duration>) -> Result<Options, Error> {
        let named = self.holdfast.clone().or_else(|| std::env::var_os("HOLDFAST").map(PathBuf::from));
        let path = named.unwrap_or_else(|| "target/release/holdfast".into());
        let binary = std::fs::canonicalize(&path).map_err(|_| Error::NoBinary { path })?;
        Ok(Options { binary, mode: self.mode()?, keep: self.keep, every })
    }

    fn mode(&self) -> Result<Mode, Error> {
        if self.mode == Where::Loopback {
            return Ok(Mode::Loopback);
        }
        let why = match why_no_namespaces() {
            Some(why) => Some(why.to_owned()),
            None => sys::leave_network().err().map(|error| error.to_string()),
        };
        match (why, self.mode) {
            (None, _) => Ok(Mode::Namespaces),
            (Some(why), Where::Namespaces) => Err(Error::NoNamespaces { why }),
            (Some(why), _) => {
                eprintln!("!! mode: loopback, because {why}: what needs namespaces is SKIPPED !!");
                Ok(Mode::Loopback)
            }
        }
    }
}

/// Ends when the user asks for the end.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

pub fn run(command: Command) -> ExitCode {
    let result = match command {
        Command::Run { scenarios, how, long } => run_all(&scenarios, &how, long),
        Command::Soak { minutes, stores, rate, every, seed, at_once, hub_first, how } => {
            let every = Duration::from_secs(every);
            soak(Soak { minutes, stores, rate, every, seed, at_once, hub_first, with_root: false }, &how)
        }
        Command::Net { command } => hand::run(command).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

pub fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|source| Error::Program { what: "starting threads".into(), source })
}

fn run_all(paths: &[PathBuf], how: &How, long: bool) -> Result<bool, Error> {
    let scenarios: Vec<Scenario> = paths.iter().map(|path| Scenario::load(path)).collect::<Result<_, _>>()?;
    let options = how.options(None)?;
    let runtime = runtime()?;
    let mut lines = Vec::new();
    for scenario in &scenarios {
        let name = scenario.name.clone();
        if scenario.long && !long {
            lines.push(Line { name, ending: Ending::Skipped("long; --long plays it too".into()) });
            continue;
        }
        if let Some(why) = unsupported(scenario, options.mode) {
            eprintln!("!! SKIPPED {name}: {why} !!");
            lines.push(Line { name, ending: Ending::Skipped(why) });
            continue;
        }
        eprintln!("\n{name}: {}", scenario.about);
        let ending = match runtime.block_on(play(scenario, &options)) {
            Ok(outcome) => {
                report::verdict(&name, &outcome);
                Ending::Played(Box::new(outcome))
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                eprintln!("  {}", whole(&error));
                Ending::Failed(whole(&error))
            }
        };
        lines.push(Line { name, ending });
    }
    report::table(&lines);
    Ok(lines.iter().all(Line::is_good))
}

fn soak(soak: Soak, how: &How) -> Result<bool, Error> {
    let options = how.options(Some(Duration::from_secs(60)))?;
    let soak = Soak { with_root: options.mode == Mode::Namespaces, ..soak };
    let scenario = soak.scenario().map_err(Error::Hand)?;
    let Soak { minutes, stores, rate, seed, .. } = soak;
    let faults = scenario.faults.len();
    println!("soak: hub and {stores} stores, {rate} writes/s, {faults} faults in {minutes} minutes, seed {seed}");
    let outcome = runtime()?.block_on(play(&scenario, &options))?;
    report::verdict("soak", &outcome);
    Ok(outcome.broken.is_empty())
}
