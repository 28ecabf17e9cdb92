//! The restaurants: how each is set up, and which table of it is whose. A seat that is asked for twice takes two
//! tables.
use http::{Method, StatusCode};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::exchange::{Asked, Reply, common, created, named, told};
use super::payments::chained;
use super::problem::{Kind, Problem};
use super::store::{self, Store};

pub const SCHEMA: &str = "
create table if not exists restaurants (
    id text primary key, revision integer not null, setup text not null, seats integer not null, seal text not null
) without rowid;
create table if not exists seats (
    restaurant text not null, slot text not null, table_no integer not null, booking text not null, party integer not null,
    primary key (restaurant, slot, table_no)
) without rowid;
create index if not exists seats_booking on seats (restaurant, booking);
";
const TABLES: &[(&str, &str)] = &[
    ("restaurants", "select * from restaurants order by id"),
    ("seats", "select * from seats order by restaurant, slot, table_no"),
];

/// What other services decide by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The id once more: all writes of a restaurant name it in their bodies.
    pub restaurant: String,
    pub deposit_cents: i64,
    /// How many each table seats.
    pub tables: Vec<i64>,
    /// Whether it says before one pays if a table is free.
    #[serde(default = "yes")]
    pub lists_tables: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seat {
    restaurant: String,
    slot: String,
    party: i64,
    booking: String,
}

#[derive(Clone)]
pub struct Restaurant {
    pub store: Store,
}

impl Restaurant {
    pub async fn serve(&self, asked: Asked) -> Result<Reply, Problem> {
        match (&asked.method, asked.segments().as_slice()) {
            (&Method::PUT, ["restaurants", id]) => self.set_up(id, asked.clone()).await,
            (&Method::GET, ["restaurants", id]) => {
                let (id, missing) = ((*id).to_owned(), no_restaurant(id));
                let found = self.store.run(move |db| setup(db, &id)).await?.ok_or(missing)?;
                Ok(told(StatusCode::OK, &json!(found)))
            }
            (&Method::GET, ["tables", restaurant, slot, party]) => self.terms(restaurant, slot, party).await,
            (&Method::POST, ["seats"]) => self.seat(asked).await,
            (&Method::DELETE, ["seats", restaurant, booking]) => {
                let (restaurant, booking) = ((*restaurant).to_owned(), (*booking).to_owned());
                self.free(restaurant, booking, asked).await
            }
            _ => common(&self.store, TABLES, &asked).await,
        }
    }

    /// Idempotent, as PUT promises: the same again is no new revision.
    async fn set_up(&self, id: &str, asked: Asked) -> Result<Reply, Problem> {
        let new: Setup = asked.json()?;
        named("restaurant", id)?;
        if new.restaurant != id {
            return Err(Problem::new(Kind::BadRequest, format!("restaurant is {:?}, not {id:?}", new.restaurant)));
        }
        let fine = (1..=100).contains(&new.tables.len()) && new.tables.iter().all(|seats| (1..=50).contains(seats));
        if !fine || !(1..=100_000).contains(&new.deposit_cents) {
            let detail = "1 to 100 tables of 1 to 50 seats, deposit_cents 1 to 100000";
            return Err(Problem::new(Kind::BadRequest, detail));
        }
        let body = self
            .store
            .run(move |db| {
                let statement = "insert into restaurants values (?1, 1, ?2, 0, '') on conflict (id) do update set
                                 revision = revision + (setup <> ?2), setup = ?2 returning revision";
                let revision: i64 = db
                    .prepare_cached(statement)?
                    .query_row((&new.restaurant, json!(new).to_string()), |row| row.get(0))?;
                let body = json!({ "restaurant": new.restaurant, "revision": revision });
                store::log(db, &asked, 200, &body)?;
                Ok(body)
            })
            .await?;
        Ok(told(StatusCode::OK, &body))
    }

    /// What a table for so many would cost, and whether there is one, where the restaurant says so.
    async fn terms(&self, restaurant: &str, slot: &str, party: &str) -> Result<Reply, Problem> {
        let party: i64 = party.parse().map_err(|_| Problem::new(Kind::BadRequest, "party is no number"))?;
        let (id, slot, missing) = (restaurant.to_owned(), slot.to_owned(), no_restaurant(restaurant));
        let found: Option<Value> = self
            .store
            .run(move |db| {
                let Some(setup) = setup(db, &id)? else { return Ok(None) };
                let free = match setup.lists_tables {
                    true => Some(free_table(db, &setup, &slot, party)?.is_some()),
                    false => None,
                };
                Ok(Some(json!({ "cents": setup.deposit_cents * party, "free": free })))
            })
            .await?;
        found.map(|found| told(StatusCode::OK, &found)).ok_or(missing)
    }

    async fn seat(&self, asked: Asked) -> Result<Reply, Problem> {
        let seat: Seat = asked.json()?;
        let (id, slot, party) = (seat.restaurant.clone(), seat.slot.clone(), seat.party);
        let body: Result<Value, Problem> = self
            .store
            .run(move |db| {
                let Some(setup) = setup(db, &seat.restaurant)? else { return Ok(Err(no_restaurant(&seat.restaurant))) };
                let Some(table) = free_table(db, &setup, &seat.slot, seat.party)? else {
                    let detail = format!("{id} has no table for {party} left at {slot}");
                    return Ok(Err(Problem::new(Kind::NoTable, detail)));
                };
                db.prepare_cached("insert into seats values (?1, ?2, ?3, ?4, ?5)")?.execute((
                    &seat.restaurant,
                    &seat.slot,
                    table,
                    &seat.booking,
                    seat.party,
                ))?;
                seal(db, &seat.restaurant, 1, &format!("seat {} {} {table}", seat.booking, seat.slot))?;
                let body = json!({ "table": table });
                store::log(db, &asked, 201, &body)?;
                Ok(Ok(body))
            })
            .await?;
        body.map(|body| created("/seats", &body))
    }

    /// One table of the booking.
    async fn free(&self, restaurant: String, booking: String, asked: Asked) -> Result<Reply, Problem> {
        let missing = Problem::new(Kind::NotFound, format!("{booking} has no table"));
        let body: Option<Value> = self
            .store
            .run(move |db| {
                let select = "select slot, table_no from seats where restaurant = ?1 and booking = ?2
                              order by slot, table_no limit 1";
                let found = db
                    .prepare_cached(select)?
                    .query_row((&restaurant, &booking), |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((slot, table)): Option<(String, i64)> = found else { return Ok(None) };
                db.prepare_cached("delete from seats where restaurant = ?1 and slot = ?2 and table_no = ?3")?
                    .execute((&restaurant, &slot, table))?;
                seal(db, &restaurant, -1, &format!("free {booking} {slot} {table}"))?;
                let body = json!({ "table": table });
                store::log(db, &asked, 200, &body)?;
                Ok(Some(body))
            })
            .await?;
        body.map(|body| told(StatusCode::OK, &body)).ok_or(missing)
    }
}

fn no_restaurant(id: &str) -> Problem {
    Problem::new(Kind::NoRestaurant, format!("there is no restaurant {id}"))
}

fn setup(db: &Connection, id: &str) -> rusqlite::Result<Option<Setup>> {
    let found: Option<String> = db
        .prepare_cached("select setup from restaurants where id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(found.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The smallest that is free and seats the party; the first of several. So it depends on the order in which tables were
/// taken.
fn free_table(db: &Connection, setup: &Setup, slot: &str, party: i64) -> rusqlite::Result<Option<i64>> {
    let taken: Vec<i64> = db
        .prepare_cached("select table_no from seats where restaurant = ?1 and slot = ?2")?
        .query_map((&setup.restaurant, slot), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let free = (1_i64..).zip(&setup.tables).filter(|(n, seats)| **seats >= party && !taken.contains(n));
    Ok(free.min_by_key(|(n, seats)| (**seats, *n)).map(|(n, _)| n))
}

/// The seal chains whatever happens to a restaurant's tables.
fn seal(db: &Connection, restaurant: &str, seats: i64, what: &str) -> rusqlite::Result<()> {
    let before: String =
        db.prepare_cached("select seal from restaurants where id = ?1")?.query_row([restaurant], |row| row.get(0))?;
    db.prepare_cached("update restaurants set seats = seats + ?2, seal = ?3 where id = ?1")?.execute((
        restaurant,
        seats,
        chained(&before, what),
    ))?;
    Ok(())
}
