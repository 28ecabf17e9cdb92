//! The testbed for use by hand: one process holds the sites, others tell it what to do over a socket.
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use super::command::{How, interrupted, runtime};
use super::scenario::{Direction, Scenario, What};
use super::stage::Stage;
use super::timeline::Step;
use super::{Error, network::Cut};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Starts the sites of a scenario, without its load and its faults, and holds them until `down`.
    Up {
        scenario: PathBuf,
        #[command(flatten)]
        how: How,
    },
    /// Cuts two sites off from each other, or only what the first sends to the second.
    Partition {
        a: String,
        b: String,
        #[arg(long)]
        one_way: bool,
    },
    /// Ends all partitions.
    Heal,
    /// SIGKILL of a site's appliance and service, then a fresh start on the same disk.
    Reboot {
        site: String,
    },
    Down,
}

fn socket() -> PathBuf {
    std::env::temp_dir().join("holdfast-testbed.sock")
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Program { what: what.to_owned(), source }
}

pub fn run(command: Command) -> Result<(), Error> {
    let line = match command {
        Command::Up { scenario, how } => return up(&Scenario::load(&scenario)?, &how),
        Command::Partition { a, b, one_way } => {
            format!("partition {a} {b} {}", if one_way { "one-way" } else { "both" })
        }
        Command::Heal => "heal".to_owned(),
        Command::Reboot { site } => format!("reboot {site}"),
        Command::Down => "down".to_owned(),
    };
    let mut stream = UnixStream::connect(socket()).map_err(failed("talking to `net up` (is it running?)"))?;
    writeln!(stream, "{line}").map_err(failed("talking to `net up`"))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(failed("talking to `net up`"))?;
    match answer.trim() {
        "done" => Ok(()),
        told => Err(Error::Hand(told.to_owned())),
    }
}

fn up(scenario: &Scenario, how: &How) -> Result<(), Error> {
    let options = how.options(None)?;
    if UnixStream::connect(socket()).is_ok() {
        return Err(Error::Hand("a testbed is up already; `down` ends it".into()));
    }
    let _ = std::fs::remove_file(socket());
    let listener = UnixListener::bind(socket()).map_err(failed("listening for orders"))?;
    let (orders, mut ordered) = tokio::sync::mpsc::channel::<(String, UnixStream)>(1);
    let listens = move || {
        for stream in listener.incoming().flatten() {
            let mut line = String::new();
            let Ok(copy) = stream.try_clone() else { continue };
            if BufReader::new(copy).read_line(&mut line).is_ok() && orders.blocking_send((line, stream)).is_err() {
                return;
            }
        }
    };
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let mut stage = Stage::build(scenario, &options).await?;
        stage.start().await?;
        std::thread::Builder::new().name("orders".into()).spawn(listens).map_err(failed("starting a thread"))?;
        for (number, site) in stage.sites.iter().enumerate() {
            let at = stage.network.prefix(number).join(" ");
            println!(
                "{}: gateway http://{} (from inside: {at} curl …), files {}",
                site.name,
                site.at.gateway,
                site.folder().display()
            );
        }
        println!("up: {}", stage.network.means());
        loop {
            let (line, mut stream) = tokio::select! {
                order = ordered.recv() => match order { Some(order) => order, None => return Ok(()) },
                () = interrupted() => return Ok(()),
            };
            let is_down = line.trim() == "down";
            let told = if is_down { Ok(()) } else { obey(&mut stage, scenario, line.trim()).await };
            let answer = told.map_or_else(|error| error.to_string().replace('\n', " "), |()| "done".to_owned());
            let _ = writeln!(stream, "{answer}");
            if is_down {
                return Ok(());
            }
        }
    });
    let _ = std::fs::remove_file(socket());
    result
}

async fn obey(stage: &mut Stage, scenario: &Scenario, line: &str) -> Result<(), Error> {
    let words: Vec<&str> = line.split(' ').collect();
    let known = |name: &str| match scenario.topology.sites.contains_key(name) {
        true => Ok(()),
        false => Err(Error::Hand(format!(
            "no site {name:?}; there are {:?}",
            scenario.topology.sites.keys().collect::<Vec<_>>()
        ))),
    };
    match words.as_slice() {
        ["partition", a, b, direction] => {
            known(a)?;
            known(b)?;
            let direction = if *direction == "one-way" { Direction::OneWay } else { Direction::Both };
            stage.network.cut(Cut { from: stage.index(a), to: stage.index(b), direction, port: None })
        }
        ["heal"] => stage.network.heal(),
        ["reboot", site] => {
            known(site)?;
            let what = What::Reboot((*site).to_owned());
            stage.step(&Step::Begin(what.clone())).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            stage.step(&Step::End(what)).await?;
            stage.sites[stage.index(site)].appliance_ready().await
        }
        _ => Err(Error::Hand(format!("no such order: {line:?}"))),
    }
}
