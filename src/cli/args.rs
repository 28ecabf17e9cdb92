//! The arguments.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::exit::Failure;
use super::identity::IdentityCommand;
use super::join::JoinArguments;
use crate::config::{Config, ShortForm};
use crate::journal::QuarantineReason;
use crate::telemetry::Label;

/// Keeps the replicas of unmodified HTTP services in step through partitions, reboots and faults.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve a site
    Run(Box<RunSource>),
    /// Show all problems of a configuration at once, and measure what it rests on
    Check(CheckArguments),
    /// Two sites, a cut, a heal, and a table that proves both replicas equal
    Demo(DemoOptions),
    /// The demo's point-of-sale service
    #[command(hide = true)]
    DemoPos(DemoPosOptions),
    /// What a person must know, most dangerous first; then what is healthy, pending, stopped
    Status(StatusArguments),
    /// Other sites: connected, offline since when, what they have not confirmed
    Peers(Ask),
    /// Services with their endpoints; `resume` follows again after a stop
    Services {
        #[command(subcommand)]
        command: Option<ServicesCommand>,
        #[command(flatten)]
        ask: Ask,
    },
    /// Where writes stand
    Writes {
        #[command(subcommand)]
        command: WritesCommand,
    },
    /// Writes that wait for a person
    Quarantine {
        #[command(subcommand)]
        command: QuarantineCommand,
    },
    /// Certificates of links and control: make, renew, look at them
    Identity {
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// A new or empty box becomes a site: its key is made here, a hub signs it for a code
    Join(JoinArguments),
    /// The journal on disk
    Journal {
        #[command(subcommand)]
        command: JournalCommand,
    },
    /// What an error means, what was done and what to do: the page of its code, without a network
    Explain {
        /// As in `code` of an answer; the address in its `type` will do. Without: all codes
        code: Option<String>,
    },
    /// Print what makes a shell complete these commands, for example into /etc/bash_completion.d/holdfast
    Completions {
        /// Whose
        shell: clap_complete::Shell,
    },
}

/// Either a file, or a start without one.
#[derive(Debug, Args)]
pub(super) struct RunSource {
    /// The configuration [default: holdfast.toml]
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["site", "upstream", "listen", "peer", "link", "control", "data_dir", "admin_listen"]
    )]
    config: Option<PathBuf>,
    /// Name of this site; starts without a file
    #[arg(long, requires = "upstream", requires = "listen")]
    site: Option<String>,
    /// The service, http://host:port
    #[arg(long, value_name = "URL", requires = "site")]
    upstream: Option<String>,
    /// Where clients come in
    #[arg(long, value_name = "ADDRESS", requires = "site")]
    listen: Vec<SocketAddr>,
    /// SITE=URL for a site to dial, SITE for one that dials this one
    #[arg(long, value_name = "SITE[=URL]", requires = "site")]
    peer: Vec<String>,
    /// Where other sites dial in
    #[arg(long, value_name = "ADDRESS", requires = "site")]
    link: Option<SocketAddr>,
    /// Where their control planes dial in [default: the address of --link, port 7447]
    #[arg(long, value_name = "ADDRESS", requires = "link")]
    control: Option<SocketAddr>,
    /// Folder of the journal [default: holdfast-SITE]
    #[arg(long, value_name = "FOLDER", requires = "site")]
    data_dir: Option<String>,
    /// Address of the admin listener [default: 127.0.0.1:9797]
    #[arg(long, value_name = "ADDRESS", requires = "site")]
    admin_listen: Option<SocketAddr>,
}

impl RunSource {
    pub fn config(self: Box<Self>) -> Result<Config, Failure> {
        let Some(site) = self.site else {
            let file = self.config.unwrap_or_else(|| PathBuf::from("holdfast.toml"));
            return Config::load(&file).map_err(Failure::config);
        };
        let short = ShortForm {
            site,
            upstream: self.upstream.unwrap_or_default(),
            listen: self.listen,
            peers: self.peer,
            link: self.link,
            control: self.control,
            data_dir: self.data_dir,
            admin: self.admin_listen,
        };
        Config::from_short_form(&short).map_err(Failure::config)
    }
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "holdfast.toml")]
    pub config: PathBuf,
    /// Print the JSON schema of a configuration and stop
    #[arg(long)]
    pub schema: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Clone, Debug, Args)]
pub struct DemoOptions {
    /// Tamper with one write between appliance and service: the demo must notice and exit 1
    #[arg(long, value_enum)]
    pub sabotage: Option<Sabotage>,
    /// Leave databases, configurations and logs where they are
    #[arg(long)]
    pub keep: bool,
    /// After the report leave both sites up to be tried, until Ctrl-C
    #[arg(long)]
    pub stay: bool,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct DemoPosOptions {
    #[arg(long)]
    pub listen: std::net::SocketAddr,
    #[arg(long)]
    pub db: PathBuf,
    /// Do not wait for the disk
    #[arg(long)]
    pub no_fsync: bool,
    /// End when standard input does: the demo cannot leave this process behind
    #[arg(long)]
    pub exit_with_stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// It never reaches the service
    Lose,
    /// It reaches the service twice
    Double,
    /// It reaches the service before one that came before it
    Swap,
    /// It reaches the service late, behind what came after it
    Stale,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Debug, Args)]
pub(super) struct StatusArguments {
    /// One line for monitoring, and its exit code: 0 all is well, 1 a warning, 2 critical, 3 it cannot be asked
    #[arg(long, conflicts_with = "watch")]
    pub check: bool,
    /// Again every two seconds, until Ctrl-C, or until nobody reads it
    #[arg(long)]
    pub watch: bool,
    /// What has happened once (conflicts, jumps of the clock, dropped lines, …) was seen: it is said, and stands no
    /// more under LOOK AT
    #[arg(long, conflicts_with_all = ["check", "watch"])]
    pub seen: bool,
    #[command(flatten)]
    pub ask: Ask,
}

pub(super) const ADMIN: &str = "http://127.0.0.1:9797";

/// Which appliance to ask.
#[derive(Clone, Debug, Args)]
pub(super) struct Ask {
    /// Address of its admin listener
    #[arg(long, value_name = "URL", default_value = ADMIN, global = true)]
    pub admin: String,
    /// Its token; else the environment's HOLDFAST_TOKEN
    #[arg(long, global = true)]
    pub token: Option<String>,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub output: Output,
    /// All columns, however wide; else tables fit the terminal, or 80 columns
    #[arg(long, global = true)]
    pub wide: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ServicesCommand {
    /// Follow again after a stop
    Resume {
        /// As `holdfast services` names it
        service: String,
        /// At a hub: the store; where there is one only, it is meant
        #[arg(long, default_value = "", hide_default_value = true)]
        store: String,
    },
}

fn reasons() -> clap::builder::PossibleValuesParser {
    QuarantineReason::ALL.map(QuarantineReason::value).into()
}

fn at_most(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..=1_000) => Ok(limit),
        Ok(0) => Err("0 asks for nothing: say 1 or more".to_owned()),
        _ => Err("a whole number from 1 to 1000 is expected; for more, go on with --after".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum WritesCommand {
    /// Latest first
    Ls {
        /// Only of this service
        #[arg(long)]
        service: Option<String>,
        /// Only those that are not settled and decided here
        #[arg(long)]
        open: bool,
        /// Continue behind this id
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// At most so many: 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = at_most)]
        limit: usize,
        #[command(flatten)]
        ask: Ask,
    },
    /// What was found since the start, latest first: writes of one lane taken on both sides of a cut, one key for two
    /// requests, one write answered differently
    Conflicts {
        #[command(flatten)]
        ask: Ask,
    },
    /// One write: who, when, what was asked and answered, and where it stands at each replica
    Show {
        /// Id, status token, or the client's key
        #[arg(value_name = "ID|KEY")]
        asked: String,
        /// Bodies too, as far as they are text and not masked
        #[arg(long)]
        body: bool,
        #[command(flatten)]
        ask: Ask,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Oldest first: of each lane the first, with how many stand behind it
    Ls {
        #[command(flatten)]
        chosen: Chosen,
        /// Also those behind the first of their lane
        #[arg(long)]
        all: bool,
        /// Go on there: what the page before said
        #[arg(long)]
        after: Option<String>,
        /// At most so many: 1 to 1000
        #[arg(long, default_value_t = 100, value_parser = at_most)]
        limit: usize,
        #[command(flatten)]
        ask: Ask,
    },
    /// One entry: who, when, what was asked and answered, what differs, and what may be done
    Show {
        /// As `holdfast quarantine ls` says it
        id: String,
        /// Bodies too, as far as they are text and not masked
        #[arg(long)]
        body: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// It was applied: record it so
    Applied {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        ask: Ask,
    },
    /// It was not applied: send it now
    Resend {
        #[command(flatten)]
        which: Which,
        /// Also where it overwrites what was applied after it in its lane
        #[arg(long)]
        over_later: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// It was not applied and shall not be
    Discard {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        ask: Ask,
    },
}

/// Entries of the quarantine by what they have in common.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Chosen {
    /// Only of this service
    #[arg(long)]
    pub service: Option<String>,
    /// At a hub: the store
    #[arg(long)]
    pub store: Option<String>,
    /// As `quarantine ls` says it, for example may-have-applied
    #[arg(long, value_parser = reasons())]
    pub reason: Option<String>,
    /// Not older than that: for example 2h, or milliseconds since 1970
    #[arg(long, value_name = "AGE|MS")]
    pub since: Option<String>,
    /// As `quarantine show` says it
    #[arg(long)]
    pub lane: Option<String>,
}

/// One write, or many: those are shown first.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Which {
    /// As `holdfast quarantine ls` says it; or choose many by what they have in common
    #[arg(conflicts_with_all = ["service", "store", "reason", "since", "lane", "yes", "keep_going"])]
    pub id: Option<String>,
    #[command(flatten)]
    pub chosen: Chosen,
    /// Do it; without, many are only shown and counted
    #[arg(long)]
    pub yes: bool,
    /// Not only up to the first order that is rejected
    #[arg(long)]
    pub keep_going: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum JournalCommand {
    /// Check every record
    Verify(JournalSource),
    /// Rows, bytes, series
    Stats(JournalSource),
}

#[derive(Debug, Args)]
pub(super) struct JournalSource {
    /// The configuration of the site
    #[arg(long, value_name = "FILE", default_value = "holdfast.toml")]
    pub config: PathBuf,
    /// Form of the result
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOrder {
    Verify,
    Stats,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    /// All commands a person may type, with those below them.
    fn commands(of: &clap::Command) -> Vec<&clap::Command> {
        let below = of.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        std::iter::once(of).chain(below.flat_map(commands)).collect()
    }

    #[test]
    fn every_command_and_argument_describes_itself() {
        let mut all = Arguments::command();
        all.build();
        for command in commands(&all) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} says nothing of itself");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{name}: {} says nothing of itself", argument.get_id());
            }
        }
    }

    #[test]
    fn a_limit_of_nothing_is_refused_in_words() {
        // limit | what is said
        for (limit, said) in [("0", "0 asks for nothing"), ("1001", "from 1 to 1000"), ("many", "from 1 to 1000")] {
            for list in ["writes", "quarantine"] {
                let words = ["holdfast", list, "ls", "--limit", limit];
                let error = Arguments::try_parse_from(words).unwrap_err().to_string();
                assert!(error.contains(said), "{list} {limit}: {error}");
            }
        }
        assert!(Arguments::try_parse_from(["holdfast", "writes", "ls", "--limit", "1000"]).is_ok());
    }

    #[test]
    fn a_start_without_a_file_needs_site_upstream_and_listen() {
        // words | accepted
        for (words, accepted) in [
            ("run", true),
            ("run --config a.toml", true),
            ("run --site a --upstream http://127.0.0.1:1 --listen 127.0.0.1:0", true),
            ("run --site a --upstream http://127.0.0.1:1 --listen 127.0.0.1:0 --peer b=http://127.0.0.1:7443", true),
            ("run --site a", false),
            ("run --config a.toml --site a --upstream x --listen 127.0.0.1:0", false),
            ("run --listen 127.0.0.1:0", false),
            ("demo --sabotage swap -o json", true),
            ("demo --sabotage nothing", false),
            ("demo --stay --keep", true),
            ("quarantine resend 1 --over-later", true),
            ("quarantine resend 1 --admin http://127.0.0.1:1 -o json", true),
            ("quarantine", false),
            ("quarantine show 1 --body", true),
            ("writes show 4711 --body -o json", true),
            ("quarantine ls --service tx --reason divergence --since 2h --all", true),
            ("quarantine discard --service tx --yes --keep-going", true),
            ("quarantine discard 1 --service tx", false),
            ("quarantine discard 1 --yes", false),
            ("quarantine ls --reason divergense", false),
            ("services", true),
            ("services resume tx --token t", true),
            ("writes ls --open", true),
            ("writes ls --wide", true),
            ("status --check", true),
            ("status --watch --wide --admin http://127.0.0.1:1", true),
            ("status --watch --check", false),
            ("journal verify --config x", true),
            ("explain", true),
            ("explain no-replica", true),
            ("completions fish", true),
            ("completions", false),
            ("identity issue store-042 --days 90", true),
            ("identity issue store.042", false),
            ("identity renew store-042 --days 0", false),
            ("identity show a.pem --config b", false),
            ("identity invite store-042 --hours 8 --admin http://127.0.0.1:1", true),
            ("identity invite store-042 --hours 0", false),
            ("identity invite store-042 --hours 721", false),
            ("identity invite", false),
            ("join store.X --hub cloud:7443 --folder x", true),
            ("join store.X", false),
            ("join --hub cloud:7443", true),
            ("join - --hub cloud:7443", true),
            ("join", false),
            ("join store.X --hub cloud:x", false),
            ("fleet", false),
        ] {
            let parsed = Arguments::try_parse_from(std::iter::once("holdfast").chain(words.split(' ')));
            assert_eq!(parsed.is_ok(), accepted, "{words}: {parsed:?}");
        }
    }
}
