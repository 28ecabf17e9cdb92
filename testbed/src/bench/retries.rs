//! Retries with the same key at the other site, 0 to 50 ms after the first was sent: how many are answered from the
//! first outcome, with hints and without, and whether any replica applied a key twice.
//!
//! Half of the first tries are at the edge, half at the hub. The upstreams judge the applications, not the appliances.
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::task::LocalSet;

use super::appliance::{Appliance, Durability, Role, Service, Setup};
use super::{Error, Options, Verdict, traffic, word};
use crate::load::{Connection, Upstream, UpstreamOptions};

const BUCKET_MS: u64 = 5;
/// With hints, of the retries later than [`LATE_MS`].
const BAR: f64 = 0.99;
const LATE_MS: f64 = 20.0;
const DRAIN_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Since {
    /// The first try was sent: a client that does not wait.
    Sent,
    /// The first try was answered: a client that lost the answer.
    FirstAnswer,
}

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    #[arg(long, default_value_t = 1_000)]
    retries: u64,
    /// Longest delay
    #[arg(long, default_value_t = 50)]
    delay_ms: u64,
    /// Pairs under way at the same time
    #[arg(long, default_value_t = 4)]
    parallel: u64,
    /// From when the delay counts
    #[arg(long, value_enum, default_value_t = Since::Sent)]
    since: Since,
    #[arg(long, value_enum, default_value_t = Journal::PowerLoss)]
    durability: Journal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Journal {
    PowerLoss,
    ProcessCrash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    /// `Idempotent-Replayed: true` and the first answer's body.
    FromFirst,
    /// `Idempotent-Replayed: true`, another body.
    FromElsewhere,
    /// A success of its own: a copy that becomes one later.
    Own,
    /// 409: the first is still in flight.
    Conflict,
    Other,
}

struct Pair {
    delay: Duration,
    verdict: Answered,
}

pub fn measure(arguments: &Arguments) -> Result<Verdict, Error> {
    let mut reached = true;
    for control in [true, false] {
        reached &= measure_with(arguments, control)?;
    }
    Ok(Some(reached))
}

fn measure_with(arguments: &Arguments, control: bool) -> Result<bool, Error> {
    let scratch = arguments.options.scratch()?;
    let counting = |name| Upstream::start(UpstreamOptions { count_keys: true, ..UpstreamOptions::named(name) });
    let (first, second) = (counting("edge")?, counting("hub")?);
    let durability = match arguments.durability {
        Journal::PowerLoss => Durability::PowerLoss,
        Journal::ProcessCrash => Durability::ProcessCrash,
    };
    let setup = Setup { service: Service::Mirrored, durability, threads: 1, control };
    let options = &arguments.options;
    let hub = Appliance::start(options, &scratch, "hub", setup, Role::Hub, second.address())?;
    let role = Role::Edge { link: hub.at.link, control: hub.at.control };
    let edge = Appliance::start(options, &scratch, "edge", setup, role, first.address())?;
    let sites = [edge.at.gateway, hub.at.gateway];
    wait_until_linked(sites, [&first, &second])?;

    let pairs = ask_all(arguments, sites)?;
    let expected = first.requests().max(second.requests()).max(arguments.retries + LINKED_PROBES);
    let drained = first.wait_for(expected, DRAIN_PATIENCE) && second.wait_for(expected, DRAIN_PATIENCE);
    // What is applied twice is applied late: give it time to show.
    std::thread::sleep(Duration::from_secs(2));

    println!("control {}: {} of {} pairs complete", if control { "on" } else { "off" }, pairs.len(), arguments.retries);
    print_buckets(&pairs);
    let late: Vec<&Pair> = pairs.iter().filter(|pair| pair.delay.as_secs_f64() * 1_000.0 > LATE_MS).collect();
    let share = share(late.iter().copied());
    let mut reached = drained && pairs.len() as u64 == arguments.retries;
    let bar = if control {
        reached &= share >= BAR;
        format!(", bar {:.0} %", BAR * 100.0)
    } else {
        String::new()
    };
    println!("  later than {LATE_MS:.0} ms: {:.2} % of {} from the first outcome{bar}", share * 100.0, late.len());
    for upstream in [&first, &second] {
        let (once, more) = upstream.key_counts();
        println!("  {} applied: {once} keys once, {more} more than once", upstream.name());
        reached &= more == 0;
    }
    println!("  drained: {drained}; {}\n", word(reached));
    Ok(reached)
}

const LINKED_PROBES: u64 = 2;

/// One write at each site; both are linked when each has come to the other side.
fn wait_until_linked(sites: [SocketAddr; 2], upstreams: [&Upstream; 2]) -> Result<(), Error> {
    for site in sites {
        let request = request(&traffic::run_name("probe"), "probe");
        let answer = traffic::ask(site, request, traffic::TIMEOUT);
        if !answer.is_some_and(|(status, ..)| status.is_success()) {
            return Err(Error::NoAnswer { what: format!("the appliance at {site}") });
        }
    }
    for upstream in upstreams {
        if !upstream.wait_for(LINKED_PROBES, DRAIN_PATIENCE) {
            let (count, seconds) = (upstream.requests(), DRAIN_PATIENCE.as_secs());
            let what = "writes of both sites at one replica".to_owned();
            return Err(Error::Missing { what, count, expected: LINKED_PROBES, seconds });
        }
    }
    Ok(())
}

fn request(key: &str, lane: &str) -> http::Request<http_body_util::Full<Bytes>> {
    let lane = HeaderValue::from_str(lane).expect("lanes are named by letters and digits");
    traffic::post(Uri::from_static(traffic::ORDERS), key, lane, Bytes::from(vec![b'x'; traffic::BODY_BYTES]))
}

fn ask_all(arguments: &Arguments, sites: [SocketAddr; 2]) -> Result<Vec<Pair>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::file("start", "a runtime"))?;
    let tasks = LocalSet::new();
    let next = Rc::new(Cell::new(0));
    let run = traffic::run_name("retry");
    let (since, delay_ms, retries) = (arguments.since, arguments.delay_ms, arguments.retries);
    let workers: Vec<_> = (0..arguments.parallel.max(1))
        .map(|_| {
            let (next, run) = (next.clone(), run.clone());
            tasks.spawn_local(async move {
                let mut pairs = Vec::new();
                let mut connections = sites.map(Connection::new);
                while next.get() < retries {
                    let n = next.replace(next.get() + 1);
                    let key = format!("{run}-{n}");
                    let delay = Duration::from_micros(fastrand::u64(0..=delay_ms * 1_000));
                    if n % 2 == 1 {
                        connections.reverse();
                    }
                    pairs.extend(one_pair(&mut connections, &key, delay, since).await);
                    if n % 2 == 1 {
                        connections.reverse();
                    }
                }
                pairs
            })
        })
        .collect();
    let mut pairs = Vec::new();
    tasks.block_on(&runtime, async {
        for worker in workers {
            pairs.extend(worker.await.expect("a worker does not panic"));
        }
    });
    Ok(pairs)
}

/// `None`: one of the two got no answer at all.
async fn one_pair([here, there]: &mut [Connection; 2], key: &str, delay: Duration, since: Since) -> Option<Pair> {
    let began = Instant::now();
    let answered = Cell::new(None);
    let retried = Cell::new(None);
    let first = async {
        let answer = here.ask(request(key, key)).await;
        answered.set(Some(Instant::now()));
        answer
    };
    let both = async {
        match since {
            Since::Sent => {
                let second = async {
                    tokio::time::sleep_until((began + delay).into()).await;
                    retried.set(Some(Instant::now()));
                    there.ask(request(key, key)).await
                };
                tokio::join!(first, second)
            }
            Since::FirstAnswer => {
                let first = first.await;
                tokio::time::sleep(delay).await;
                retried.set(Some(Instant::now()));
                (first, there.ask(request(key, key)).await)
            }
        }
    };
    let (first, second) = tokio::time::timeout(traffic::TIMEOUT, both).await.ok()?;
    let from = match since {
        Since::Sent => began,
        Since::FirstAnswer => answered.get()?,
    };
    let delay = retried.get()?.saturating_duration_since(from);
    Some(Pair { delay, verdict: judge(&first?, &second?) })
}

type Answer = (StatusCode, HeaderMap, Vec<u8>);

/// Either try may have been decided first; the retry counts as answered from the first outcome when both tell the same.
fn judge((_, first_headers, first_body): &Answer, (status, headers, body): &Answer) -> Answered {
    let replayed = |headers: &HeaderMap| headers.get("idempotent-replayed").is_some_and(|value| value == "true");
    match (replayed(headers), first_body == body) {
        (true, true) => Answered::FromFirst,
        (true, false) => Answered::FromElsewhere,
        // The retry overtook the first, which was then answered from the retry's outcome.
        (false, true) if replayed(first_headers) => Answered::FromFirst,
        _ if status.is_success() => Answered::Own,
        _ if *status == StatusCode::CONFLICT => Answered::Conflict,
        _ => Answered::Other,
    }
}

fn share<'a>(pairs: impl Iterator<Item = &'a Pair>) -> f64 {
    let (mut count, mut good) = (0u64, 0u64);
    for pair in pairs {
        count += 1;
        good += u64::from(pair.verdict == Answered::FromFirst);
    }
    if count == 0 { 0.0 } else { good as f64 / count as f64 }
}

fn print_buckets(pairs: &[Pair]) {
    println!("  delay ms    retries  from first  other replay   own  409  other");
    let bucket = |pair: &Pair| pair.delay.as_millis() as u64 / BUCKET_MS;
    for at in 0..=pairs.iter().map(bucket).max().unwrap_or(0) {
        let inside: Vec<&Pair> = pairs.iter().filter(|pair| bucket(pair) == at).collect();
        if inside.is_empty() {
            continue;
        }
        let count = |verdict| inside.iter().filter(|pair| pair.verdict == verdict).count();
        println!(
            "  {:>3} to {:>3}  {:>7}  {:>9.1}%  {:>12}  {:>4}  {:>3}  {:>5}",
            at * BUCKET_MS,
            (at + 1) * BUCKET_MS,
            inside.len(),
            share(inside.iter().copied()) * 100.0,
            count(Answered::FromElsewhere),
            count(Answered::Own),
            count(Answered::Conflict),
            count(Answered::Other)
        );
    }
}
