//! The reservation set of the Essex paper: an API gateway, booking, payments and restaurants, ordinary HTTP services
//! that have never heard of Holdfast. Booking asks the restaurant for its terms, charges the guest at the payments and
//! then takes a table.
//!
//! Owns a SQLite file per service. Assumes that clients name their reservations and send an `Idempotency-Key`, which
//! goes into the logs, is passed on to the services further down, and otherwise ignored: a write that arrives twice is
//! made twice, so that whoever stands in front of it is tested and not helped. Promises that a success it answered is
//! durable at all that had a part in it, and that the gateway's log has the order in which reservations ended. After
//! `kill -9` booking finds out by the key what it had begun.
//!
//! What goes wrong is a [`problem`] (RFC 9457); where the guest has paid and sits nowhere,
//! `completer-downstream-resource` says for what. [`audit`] judges a set by itself.
pub mod audit;
mod booking;
mod exchange;
mod gateway;
mod payments;
mod problem;
mod restaurant;
mod store;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use holdfast::demo::http::Server;
use tokio::net::TcpListener;

use booking::Booking;
use exchange::{Asked, Peer, Reply};
use gateway::Gateway;
use payments::Payments;
use problem::Problem;
use restaurant::Restaurant;
use store::Store;

/// A service waits so long for another one; the gateway for booking, which asks three times, longer.
const PATIENCE: Duration = Duration::from_millis(600);
const GATEWAY_PATIENCE: Duration = Duration::from_millis(2_500);

#[derive(clap::Subcommand)]
pub enum Command {
    /// The reservation set of the Essex paper as sample services: gateway, booking, payments, restaurants.
    Reservation {
        #[command(subcommand)]
        part: Part,
        /// End when standard input ends.
        #[arg(long, global = true)]
        exit_with_stdin: bool,
    },
}

#[derive(clap::Subcommand)]
pub enum Part {
    /// All four as one process; only the gateway has an address that is known.
    All {
        #[arg(long)]
        listen: SocketAddr,
        /// Where their databases are.
        #[arg(long)]
        dir: PathBuf,
        #[command(flatten)]
        bank: Bank,
    },
    Gateway {
        #[command(flatten)]
        own: Own,
        #[arg(long)]
        booking: SocketAddr,
        #[arg(long)]
        payments: SocketAddr,
        #[arg(long)]
        restaurant: SocketAddr,
    },
    Booking {
        #[command(flatten)]
        own: Own,
        #[arg(long)]
        payments: SocketAddr,
        #[arg(long)]
        restaurant: SocketAddr,
    },
    Payments {
        #[command(flatten)]
        own: Own,
        #[command(flatten)]
        bank: Bank,
    },
    Restaurant {
        #[command(flatten)]
        own: Own,
    },
}

#[derive(clap::Args)]
pub struct Own {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    db: PathBuf,
}

#[derive(clap::Args)]
pub struct Bank {
    /// So long a payment takes after the money has moved: time to die in.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..500))]
    bank_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {listen}")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("cannot open the database {}", db.display())]
    Open { db: PathBuf, source: rusqlite::Error },
    #[error("cannot find out what was begun before: {0}")]
    Recover(String),
    #[error("cannot start, or print the address")]
    Process(#[from] std::io::Error),
}

/// Servers that run, and the address of the last one; dropping them ends them.
pub struct Running {
    pub at: SocketAddr,
    servers: Vec<Server>,
}

pub fn run(command: Command) -> ExitCode {
    let Command::Reservation { part, exit_with_stdin } = command;
    let result = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = result.map_err(Error::from).and_then(|runtime| runtime.block_on(serve(part, exit_with_stdin)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
            eprintln!("{error}{source}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(part: Part, exit_with_stdin: bool) -> Result<(), Error> {
    let running = match part {
        Part::All { listen, dir, bank } => all(listen, &dir, Duration::from_millis(bank.bank_ms)).await?,
        Part::Gateway { own, booking, payments, restaurant } => {
            gateway(own.listen, &own.db, [booking, payments, restaurant]).await?
        }
        Part::Booking { own, payments, restaurant } => booking(own.listen, &own.db, [payments, restaurant]).await?,
        Part::Payments { own, bank } => payments(own.listen, &own.db, Duration::from_millis(bank.bank_ms)).await?,
        Part::Restaurant { own } => restaurant(own.listen, &own.db).await?,
    };
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", running.at)?;
    out.flush()?;
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    if exit_with_stdin {
        // A thread of its own: a read of standard input cannot be cancelled.
        std::thread::Builder::new().name("stdin".into()).spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ended.send(());
        })?;
        let _ = end.await;
    } else {
        for server in running.servers {
            server.join().await;
        }
    }
    Ok(())
}

/// The whole set: three at ports of their own on the loopback, the gateway at `listen`.
pub async fn all(listen: SocketAddr, dir: &Path, bank: Duration) -> Result<Running, Error> {
    let inside = SocketAddr::from(([127, 0, 0, 1], 0));
    let payments = payments(inside, &dir.join("payments.db"), bank).await?;
    let restaurant = restaurant(inside, &dir.join("restaurant.db")).await?;
    let booking = booking(inside, &dir.join("booking.db"), [payments.at, restaurant.at]).await?;
    let asked = [booking.at, payments.at, restaurant.at];
    let mut running = gateway(listen, &dir.join("gateway.db"), asked).await?;
    running.servers.extend([payments, restaurant, booking].into_iter().flat_map(|running| running.servers));
    Ok(running)
}

async fn payments(listen: SocketAddr, db: &Path, bank: Duration) -> Result<Running, Error> {
    let service = Payments { store: open(db, payments::SCHEMA)?, bank };
    host(listen, service, |own, asked| async move { own.serve(asked).await }).await
}

async fn restaurant(listen: SocketAddr, db: &Path) -> Result<Running, Error> {
    let service = Restaurant { store: open(db, restaurant::SCHEMA)? };
    host(listen, service, |own, asked| async move { own.serve(asked).await }).await
}

async fn booking(listen: SocketAddr, db: &Path, [payments, restaurant]: [SocketAddr; 2]) -> Result<Running, Error> {
    let service = Booking {
        store: open(db, booking::SCHEMA)?,
        payments: Peer { name: "payments", at: payments, patience: PATIENCE },
        restaurant: Peer { name: "restaurant", at: restaurant, patience: PATIENCE },
    };
    service.recover().await.map_err(|problem| Error::Recover(problem.detail))?;
    host(listen, service, |own, asked| async move { own.serve(asked).await }).await
}

async fn gateway(listen: SocketAddr, db: &Path, asked: [SocketAddr; 3]) -> Result<Running, Error> {
    let [booking, payments, restaurant] = asked;
    let service = Gateway {
        store: open(db, gateway::SCHEMA)?,
        booking: Peer { name: "booking", at: booking, patience: GATEWAY_PATIENCE },
        payments: Peer { name: "payments", at: payments, patience: GATEWAY_PATIENCE },
        restaurant: Peer { name: "restaurant", at: restaurant, patience: GATEWAY_PATIENCE },
    };
    host(listen, service, |own, asked| async move { own.serve(asked).await }).await
}

fn open(db: &Path, schema: &str) -> Result<Store, Error> {
    Store::open(db, schema).map_err(|source| Error::Open { db: db.to_owned(), source })
}

async fn host<S, F, R>(listen: SocketAddr, service: S, serve: F) -> Result<Running, Error>
where
    S: Clone + Send + 'static,
    F: Fn(S, Asked) -> R + Copy + Send + 'static,
    R: Future<Output = Result<Reply, Problem>> + Send + 'static,
{
    let failed = |source| Error::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?;
    let server = Server::start(listener, move |request| {
        let service = service.clone();
        async move {
            let served = match Asked::read(request).await {
                Ok(asked) => serve(service, asked).await,
                Err(problem) => Err(problem),
            };
            served.unwrap_or_else(|problem| problem.reply())
        }
    });
    Ok(Running { at, servers: vec![server] })
}
