//! Payments: charges guests for restaurants, and refunds. A charge that arrives twice is made twice.
use std::time::Duration;

use http::{Method, StatusCode};
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::exchange::{Asked, Reply, common, created, named, told};
use super::problem::{Kind, Problem};
use super::store::{self, Store};

pub const SCHEMA: &str = "
create table if not exists charges (
    restaurant text not null, n integer not null, booking text not null, cents integer not null, card text not null,
    refunded integer not null, primary key (restaurant, n)
) without rowid;
create index if not exists charges_booking on charges (restaurant, booking);
create table if not exists accounts (
    restaurant text primary key, balance_cents integer not null, charges integer not null, seal text not null
) without rowid;
";
const TABLES: &[(&str, &str)] = &[
    ("charges", "select * from charges order by restaurant, n"),
    ("accounts", "select * from accounts order by restaurant"),
];
/// A card that begins so is declined: every payment service has such a number for tests.
pub const DECLINED: &str = "0000";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Charge {
    booking: String,
    restaurant: String,
    cents: i64,
    card: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    booking: String,
    restaurant: String,
}

#[derive(Clone)]
pub struct Payments {
    pub store: Store,
    /// How long the bank takes to say yes to what is charged already.
    pub bank: Duration,
}

impl Payments {
    pub async fn serve(&self, asked: Asked) -> Result<Reply, Problem> {
        match (&asked.method, asked.segments().as_slice()) {
            (&Method::POST, ["charges"]) => self.charge(asked).await,
            (&Method::POST, ["refunds"]) => self.refund(asked).await,
            (&Method::GET, ["charges", restaurant, booking]) if *restaurant != "by-key" => {
                let of = ((*restaurant).to_owned(), (*booking).to_owned());
                let select = "select n, cents, card, refunded from charges where restaurant = ?1 and booking = ?2";
                let found = self.store.run(move |db| store::rows(db, select, of)).await?;
                Ok(told(StatusCode::OK, &found.into()))
            }
            _ => common(&self.store, TABLES, &asked).await,
        }
    }

    async fn charge(&self, asked: Asked) -> Result<Reply, Problem> {
        let charge: Charge = asked.json()?;
        named("restaurant", &charge.restaurant)?;
        named("booking", &charge.booking)?;
        if !(1..=1_000_000).contains(&charge.cents) {
            return Err(Problem::new(Kind::BadRequest, "cents must be 1 to 1000000"));
        }
        if charge.card.starts_with(DECLINED) {
            return Err(Problem::new(Kind::PaymentDeclined, format!("the card of {} was declined", charge.booking)));
        }
        let (location, body) = self
            .store
            .run(move |db| {
                let n = account(db, &charge.restaurant, charge.cents, 1, &format!("charge {}", charge.booking))?;
                let end: String = charge.card.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
                db.prepare_cached("insert into charges values (?1, ?2, ?3, ?4, ?5, 0)")?.execute((
                    &charge.restaurant,
                    n,
                    &charge.booking,
                    charge.cents,
                    end,
                ))?;
                let body = json!({ "charge": n, "cents": charge.cents });
                store::log(db, &asked, 201, &body)?;
                Ok((format!("/charges/{}/{}", charge.restaurant, charge.booking), body))
            })
            .await?;
        tokio::time::sleep(self.bank).await;
        Ok(created(&location, &body))
    }

    /// One charge of the booking, the last that stands.
    async fn refund(&self, asked: Asked) -> Result<Reply, Problem> {
        let refund: Refund = asked.json()?;
        let missing = Problem::new(Kind::NoCharge, format!("{} has no charge that stands", refund.booking));
        let body: Option<Value> = self
            .store
            .run(move |db| {
                let select = "select n, cents from charges where restaurant = ?1 and booking = ?2 and refunded = 0
                              order by n desc limit 1";
                let found = db
                    .prepare_cached(select)?
                    .query_row((&refund.restaurant, &refund.booking), |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((n, cents)): Option<(i64, i64)> = found else { return Ok(None) };
                db.prepare_cached("update charges set refunded = 1 where restaurant = ?1 and n = ?2")?
                    .execute((&refund.restaurant, n))?;
                account(db, &refund.restaurant, -cents, 0, &format!("refund {}", refund.booking))?;
                let body = json!({ "charge": n, "cents": cents });
                store::log(db, &asked, 200, &body)?;
                Ok(Some(body))
            })
            .await?;
        body.map(|body| told(StatusCode::OK, &body)).ok_or(missing)
    }
}

/// Moves a restaurant's money; the seal chains each move to all before it. The number of charges so far.
fn account(db: &Connection, restaurant: &str, cents: i64, charges: i64, what: &str) -> rusqlite::Result<i64> {
    let before: Option<String> = db
        .prepare_cached("select seal from accounts where restaurant = ?1")?
        .query_row([restaurant], |row| row.get(0))
        .optional()?;
    let seal = chained(&before.unwrap_or_default(), &format!("{what} {cents}"));
    let statement = "insert into accounts values (?1, ?2, ?3, ?4) on conflict (restaurant) do update set
                     balance_cents = balance_cents + ?2, charges = charges + ?3, seal = ?4 returning charges";
    db.prepare_cached(statement)?.query_row((restaurant, cents, charges, seal), |row| row.get(0))
}

pub fn chained(before: &str, what: &str) -> String {
    format!("{:x}", Sha256::new().chain_update(before).chain_update(what).finalize())
}
