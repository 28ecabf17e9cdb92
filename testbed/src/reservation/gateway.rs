//! The API gateway: the one address of the set. Passes each request on to the service that it is for, and tells what
//! all four hold.
//!
//! Its log gathers those of booking and restaurant in one order, each line once.
use http::{Method, StatusCode};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::exchange::{Asked, Peer, Reply, after, common, passed_on, told};
use super::problem::{Kind, Problem};
use super::store::{Store, rows};

pub const SCHEMA: &str =
    "create table if not exists gathered (source text primary key, seq integer not null) without rowid;";

#[derive(Clone)]
pub struct Gateway {
    pub store: Store,
    pub booking: Peer,
    pub payments: Peer,
    pub restaurant: Peer,
}

/// A line of another service's log.
#[derive(Clone, Debug, Deserialize)]
struct Line {
    seq: i64,
    key: String,
    method: String,
    path: String,
    body_sha256: String,
}

impl Gateway {
    pub async fn serve(&self, asked: Asked) -> Result<Reply, Problem> {
        let is_get = asked.method == Method::GET;
        match asked.segments().as_slice() {
            ["reservations", ..] => self.pass_on(&self.booking, &asked).await,
            ["restaurants", ..] => self.pass_on(&self.restaurant, &asked).await,
            ["charges", ..] if is_get => self.pass_on(&self.payments, &asked).await,
            ["by-key", key] if is_get => self.by_key(key, &asked).await,
            ["export"] if is_get => self.export(&asked).await,
            ["log"] if is_get => self.log(&asked).await,
            _ => common(&self.store, &[], &asked).await,
        }
    }

    async fn pass_on(&self, to: &Peer, asked: &Asked) -> Result<Reply, Problem> {
        match to.ask(asked.method.clone(), &asked.path, asked, asked.body.clone()).await {
            Ok(answer) => Ok(passed_on(answer)),
            Err(silence) => Err(to.silent(silence)),
        }
    }

    /// Reservations are the booking's, restaurants the restaurant's; what one does for the other is not asked for here.
    async fn by_key(&self, key: &str, asked: &Asked) -> Result<Reply, Problem> {
        for (peer, collection) in [(&self.booking, "reservations"), (&self.restaurant, "restaurants")] {
            let path = format!("/{collection}/by-key/{key}");
            let answer = peer.call(Method::GET, &path, asked, bytes::Bytes::new()).await;
            let answer = answer.map_err(|silence| peer.silent(silence))?;
            if answer.status != StatusCode::NOT_FOUND {
                return Ok(passed_on(answer));
            }
        }
        Err(asked.unknown())
    }

    async fn read(&self, peer: &Peer, path: &str, asked: &Asked) -> Result<Value, Problem> {
        let answer = peer.call(Method::GET, path, asked, bytes::Bytes::new()).await;
        let answer = answer.map_err(|silence| peer.silent(silence))?;
        let read = answer.json().filter(|_| answer.status.is_success());
        read.ok_or_else(|| Problem::new(Kind::NoWord, format!("{} does not tell its {path}", peer.name)))
    }

    async fn export(&self, asked: &Asked) -> Result<Reply, Problem> {
        let mut all = Map::new();
        for peer in [&self.booking, &self.payments, &self.restaurant] {
            all.insert(peer.name.to_owned(), self.read(peer, "/export", asked).await?);
        }
        Ok(told(StatusCode::OK, &Value::Object(all)))
    }

    async fn log(&self, asked: &Asked) -> Result<Reply, Problem> {
        let after = after(asked)?;
        for (peer, collection) in [(&self.booking, "/reservations"), (&self.restaurant, "/restaurants")] {
            let source = peer.name;
            let known = self.store.run(move |db| gathered(db, source)).await?;
            let lines = self.read(peer, &format!("/log?after={known}"), asked).await?;
            let lines: Vec<Line> = serde_json::from_value(lines)
                .map_err(|error| Problem::new(Kind::NoWord, format!("the log of {source}: {error}")))?;
            if !lines.is_empty() {
                self.store.run(move |db| gather(db, source, collection, &lines)).await?;
            }
        }
        let select = "select seq, key, method, path, body_sha256 from log where seq > ?1 order by seq";
        let lines = self.store.run(move |db| rows(db, select, [after])).await?;
        Ok(told(StatusCode::OK, &json!(lines)))
    }
}

fn gathered(db: &Connection, source: &str) -> rusqlite::Result<i64> {
    let mut statement = db.prepare_cached("select coalesce(max(seq), 0) from gathered where source = ?1")?;
    statement.query_row([source], |row| row.get(0))
}

/// Two readers may gather at once: a line that is there already is not taken again.
fn gather(db: &Connection, source: &str, collection: &str, lines: &[Line]) -> rusqlite::Result<()> {
    let known = gathered(db, source)?;
    for line in lines.iter().filter(|line| line.seq > known && line.path.starts_with(collection)) {
        let statement =
            "insert into log (key, method, path, body_sha256, status, answer) values (?1, ?2, ?3, ?4, 0, 'null')";
        db.prepare_cached(statement)?.execute((&line.key, &line.method, &line.path, &line.body_sha256))?;
    }
    let last = lines.iter().map(|line| line.seq).max().unwrap_or(known).max(known);
    db.prepare_cached("insert into gathered values (?1, ?2) on conflict (source) do update set seq = ?2")?
        .execute((source, last))?;
    Ok(())
}
