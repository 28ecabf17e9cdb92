//! The two threads that own the service's connections, and the group commit.
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::apply;
use super::operation::{Operation, Refusal};
use super::read::{self, Answer, Query};
use crate::demo::catalogue;

/// Requests that wait for a thread; further ones wait outside, on their connections (G6).
const QUEUE_MAX: usize = 1_024;
/// Writes that share one transaction and so one fsync.
const COMMIT_MAX: usize = 256;

const SCHEMA: &str = "
create table if not exists transactions (
    id text primary key, till text not null, receipt integer not null, opened integer not null, customer text, note text,
    discount_percent integer not null, lines integer not null, total_cents integer not null, paid_cents integer not null
) without rowid;
create table if not exists lines (
    tx text not null, n integer not null, sku text not null, quantity integer not null, price_cents integer not null,
    removed integer not null, primary key (tx, n)
) without rowid;
create table if not exists payments (
    tx text not null, n integer not null, method text not null, cents integer not null, primary key (tx, n)
) without rowid;
create table if not exists receipts (till text primary key, last integer not null) without rowid;
create table if not exists inventory (sku text primary key, on_hand integer not null) without rowid;
create table if not exists ledger (
    site text not null, sku text not null, quantity integer not null, entries integer not null, primary key (site, sku)
) without rowid;
create table if not exists seals (site text primary key, seal text not null) without rowid;
create table if not exists promotions (
    id text not null, revision integer not null, name text not null, percent integer not null, primary key (id, revision)
) without rowid;
create table if not exists log (
    seq integer primary key, key text not null, method text not null, path text not null, body_sha256 text not null
);
create index if not exists log_key on log (key);
";

/// A write with what the log says about it.
#[derive(Debug)]
pub struct Write {
    pub key: String,
    pub method: String,
    pub path: String,
    pub body_sha256: String,
    pub operation: Operation,
}

/// What the client is told of a write that changed something.
#[derive(Debug)]
pub struct Applied {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

/// The service could not do it; whether it did is not known.
#[derive(Clone, Debug, thiserror::Error)]
#[error("database: {detail}")]
pub struct Broken {
    pub detail: String,
}

pub type Written = Result<Result<Applied, Refusal>, Broken>;
type WriteJob = (Write, oneshot::Sender<Written>);
type ReadJob = (Query, oneshot::Sender<Result<Answer, Broken>>);

/// The handle that requests share.
#[derive(Clone)]
pub struct Database {
    writes: mpsc::Sender<WriteJob>,
    reads: mpsc::Sender<ReadJob>,
}

impl Database {
    pub fn open(path: &Path, fsync: bool) -> Result<Self, Error> {
        let failed = |source| Error::Open { db: path.to_owned(), source };
        let writer = open_writer(path, fsync).map_err(failed)?;
        let reader = connect(path, fsync).map_err(failed)?;
        let (writes, write_jobs) = mpsc::channel(QUEUE_MAX);
        let (reads, read_jobs) = mpsc::channel(QUEUE_MAX);
        spawn("pos-writer", move || write_loop(writer, write_jobs))?;
        spawn("pos-reader", move || read_loop(reader, read_jobs))?;
        Ok(Self { writes, reads })
    }

    /// Applies a write; the answer comes when it is durable.
    pub async fn write(&self, write: Write) -> Written {
        let (reply, answer) = oneshot::channel();
        self.writes.send((write, reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Reads what is committed.
    pub async fn read(&self, query: Query) -> Result<Answer, Broken> {
        let (reply, answer) = oneshot::channel();
        self.reads.send((query, reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> Broken {
    Broken { detail: "the database thread has stopped".to_owned() }
}

fn broken(error: &rusqlite::Error) -> Broken {
    Broken { detail: error.to_string() }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    started.map(|_| ()).map_err(|source| Error::Thread { source })
}

fn connect(path: &Path, fsync: bool) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", if fsync { "FULL" } else { "OFF" })?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn open_writer(path: &Path, fsync: bool) -> rusqlite::Result<Connection> {
    let mut connection = connect(path, fsync)?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare("insert or ignore into inventory (sku, on_hand) values (?1, ?2)")?;
        for product in catalogue::PRODUCTS {
            insert.execute((product.sku, catalogue::OPENING_STOCK))?;
        }
    }
    transaction.commit()?;
    Ok(connection)
}

fn read_loop(connection: Connection, mut jobs: mpsc::Receiver<ReadJob>) {
    while let Some((query, reply)) = jobs.blocking_recv() {
        // A client that stopped waiting needs no answer.
        let _ = reply.send(read::answer(&connection, &query).map_err(|error| broken(&error)));
    }
}

fn write_loop(mut connection: Connection, mut jobs: mpsc::Receiver<WriteJob>) {
    let mut batch: Vec<WriteJob> = Vec::with_capacity(COMMIT_MAX);
    while jobs.blocking_recv_many(&mut batch, COMMIT_MAX) > 0 {
        let (writes, replies): (Vec<Write>, Vec<_>) = batch.drain(..).unzip();
        match commit(&mut connection, &writes) {
            Ok(results) => replies.into_iter().zip(results).for_each(|(reply, result)| {
                let _ = reply.send(Ok(result));
            }),
            Err(error) => {
                let error = Arc::new(broken(&error));
                replies.into_iter().for_each(|reply| {
                    let _ = reply.send(Err(Broken::clone(&error)));
                });
            }
        }
    }
}

/// One transaction for all of them: durable when it returns.
fn commit(connection: &mut Connection, writes: &[Write]) -> rusqlite::Result<Vec<Result<Applied, Refusal>>> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(writes.len());
    for write in writes {
        let savepoint = transaction.savepoint()?;
        let result = apply::apply(&savepoint, write)?;
        if result.is_ok() {
            log(&savepoint, write)?;
            savepoint.commit()?;
        } else {
            savepoint.finish()?;
        }
        results.push(result);
    }
    transaction.commit()?;
    Ok(results)
}

fn log(connection: &Connection, write: &Write) -> rusqlite::Result<()> {
    connection
        .prepare_cached("insert into log (key, method, path, body_sha256) values (?1, ?2, ?3, ?4)")?
        .execute((&write.key, &write.method, &write.path, &write.body_sha256))?;
    Ok(())
}
