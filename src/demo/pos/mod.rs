//! The point-of-sale service of the demo: an ordinary HTTP service over its own SQLite file that has never heard of
//! Holdfast.
//!
//! Owns one database. Assumes that clients name their transactions and send an `Idempotency-Key`, which it writes into
//! its own log and otherwise ignores: a write that arrives twice is applied twice, so that whoever stands in front of
//! it is tested and not helped. Promises that a success it answered is durable, and that its log has the order in which
//! writes changed the state. After `kill -9` it begins again from the file; a write in flight was applied and logged,
//! or neither.
//!
//! One thread owns the writing connection and commits everything that has queued up in one transaction (one fsync),
//! another one reads; requests only parse and wait.
mod apply;
mod database;
mod operation;
mod read;
mod routes;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::http::Server;
pub(crate) use apply::hex;
use database::Database;
pub use routes::BODY_MAX;

/// What `holdfast demo-pos` prints before its address.
pub const READY_PREFIX: &str = "listening on ";

#[derive(Clone, Debug)]
pub struct PosOptions {
    pub listen: SocketAddr,
    pub db: PathBuf,
    /// `false`: `synchronous=OFF`, for measurements that want no disk.
    pub fsync: bool,
    /// End when standard input ends, that is, with the process that started this one.
    pub exit_with_stdin: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {listen}")]
    Listen { listen: SocketAddr, source: std::io::Error },
    #[error("cannot open the database {}", db.display())]
    Open { db: PathBuf, source: rusqlite::Error },
    #[error("cannot start a database thread")]
    Thread { source: std::io::Error },
    #[error("cannot print the address on standard output")]
    Print { source: std::io::Error },
}

/// Runs the service until standard input ends (where asked) or the process is killed; prints its address first.
pub async fn run(options: PosOptions) -> Result<(), Error> {
    let (address, server) = start(&options).await?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{READY_PREFIX}{address}")
            .and_then(|()| out.flush())
            .map_err(|source| Error::Print { source })?;
    }
    if options.exit_with_stdin {
        let end = stdin_ends()?;
        tokio::select! {
            () = server.join() => {}
            _ = end => {}
        }
    } else {
        server.join().await;
    }
    Ok(())
}

/// Opens the database and serves it; the service ends when the returned server is dropped.
pub async fn start(options: &PosOptions) -> Result<(SocketAddr, Server), Error> {
    let database = Database::open(&options.db, options.fsync)?;
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen, source })?;
    let address = listener.local_addr().map_err(|source| Error::Listen { listen, source })?;
    let server = Server::start(listener, move |request| {
        let database = database.clone();
        async move { routes::serve(&database, request).await }
    });
    Ok((address, server))
}

/// A thread of its own, because a read of standard input cannot be cancelled and must not hold up the runtime's end.
fn stdin_ends() -> Result<oneshot::Receiver<()>, Error> {
    let (ended, end) = oneshot::channel();
    let watch = move || {
        // An error ends it as the end of input does.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    };
    let started = std::thread::Builder::new().name("pos-stdin".to_owned()).spawn(watch);
    started.map(|_| end).map_err(|source| Error::Thread { source })
}

#[cfg(test)]
mod tests;
