//! Booking: a reservation is a charge at the payments and a table at the restaurant, or a problem that says what
//! stands.
//!
//! Before it asks anybody to change anything, it writes down what it is about to do. What it was doing when it died, or
//! when one that it asked gave no word, it finds out later by the key, and carries on or drops. Until then that key has
//! no clear answer.
use std::time::Duration;

use http::{Method, StatusCode};
use rusqlite::{Connection, OptionalExtension as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::exchange::{Asked, Peer, Reply, Silence, common, created, named, passed_on, told};
use super::problem::{Kind, Problem};
use super::store::{self, Store, rows};

pub const SCHEMA: &str = "
create table if not exists bookings (
    id text primary key, key text not null, restaurant text not null, slot text not null, party integer not null,
    guest text not null, state text not null, cents integer not null, charge integer not null, table_no integer,
    opened integer not null
) without rowid;
create table if not exists work (
    n integer primary key, key text not null, method text not null, path text not null, body text not null,
    cents integer not null, charge integer
);
";
const TABLES: &[(&str, &str)] =
    &[("bookings", "select * from bookings order by id"), ("work", "select key, method, path from work order by key")];
/// So long after the last word a request may still be at work further down.
const FENCE: Duration = Duration::from_millis(1_000);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reservation {
    id: String,
    restaurant: String,
    slot: String,
    party: i64,
    guest: String,
    card: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancellation {
    restaurant: String,
}

#[derive(Clone, Debug)]
enum Operation {
    Reserve(Reservation),
    Cancel { id: String, restaurant: String },
}

impl Operation {
    fn parse(asked: &Asked) -> Result<Self, Problem> {
        match (&asked.method, asked.segments().as_slice()) {
            (&Method::POST, ["reservations"]) => {
                let new: Reservation = asked.json()?;
                let names = [("id", &new.id), ("restaurant", &new.restaurant), ("slot", &new.slot)];
                names.into_iter().try_for_each(|(what, name)| named(what, name))?;
                match (1..=50).contains(&new.party) {
                    true => Ok(Operation::Reserve(new)),
                    false => Err(Problem::new(Kind::BadRequest, "party must be 1 to 50")),
                }
            }
            (&Method::POST, ["reservations", id, "cancellation"]) => {
                let Cancellation { restaurant } = asked.json()?;
                Ok(Operation::Cancel { id: (*id).to_owned(), restaurant })
            }
            (_, ["reservations"] | ["reservations", _] | ["reservations", _, "cancellation"]) => {
                Err(Problem::new(Kind::NotAllowed, format!("{} is not possible on {}", asked.method, asked.path)))
            }
            _ => Err(asked.unknown()),
        }
    }
}

/// What has been begun and not ended.
#[derive(Clone, Debug)]
struct Work {
    n: i64,
    asked: Asked,
    operation: Operation,
    cents: i64,
    /// Charged by an earlier request for this reservation.
    charge: Option<i64>,
}

/// Why a step does not lead to the next.
enum Stop {
    /// Nothing was changed anywhere.
    Nothing(Reply),
    /// Nobody knows; to be found out.
    Open(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Open(problem)
    }
}

enum Seat {
    Table(i64),
    None(Problem),
}

#[derive(Clone)]
pub struct Booking {
    pub store: Store,
    pub payments: Peer,
    pub restaurant: Peer,
}

impl Booking {
    pub async fn serve(&self, asked: Asked) -> Result<Reply, Problem> {
        match (&asked.method, asked.segments().as_slice()) {
            (&Method::GET, ["reservations", id]) => {
                let missing = no_reservation(id);
                let id = (*id).to_owned();
                let select = "select * from bookings where id = ?1";
                let found = self.store.run(move |db| Ok(rows(db, select, [id])?.pop())).await?;
                found.map(|found| told(StatusCode::OK, &found)).ok_or(missing)
            }
            (&Method::GET, ["reservations", "by-key", key]) => {
                let key = (*key).to_owned();
                let open = self.store.run(move |db| rows(db, "select n from work where key = ?1", [key])).await?;
                match open.is_empty() {
                    true => common(&self.store, TABLES, &asked).await,
                    false => Ok(told(StatusCode::CONFLICT, &json!({ "status": "open" }))),
                }
            }
            (&Method::GET, _) => common(&self.store, TABLES, &asked).await,
            _ => {
                // In a task of its own: a client that goes away does not leave half a reservation.
                let own = self.clone();
                let write = tokio::spawn(async move { own.write(asked).await });
                write.await.unwrap_or_else(|error| Err(Problem::new(Kind::Database, error.to_string())))
            }
        }
    }

    async fn write(&self, asked: Asked) -> Result<Reply, Problem> {
        let operation = Operation::parse(&asked)?;
        let cents = match &operation {
            Operation::Reserve(new) => match self.terms(new, &asked).await? {
                Ok(cents) => cents,
                Err(refusal) => return Ok(refusal),
            },
            Operation::Cancel { .. } => 0,
        };
        let work = self.store.run(move |db| begin(db, asked, operation, cents)).await??;
        match self.carry_out(&work, None, None).await {
            Ok(reply) => Ok(reply),
            Err(Stop::Nothing(reply)) => self.drop_work(work.n).await.map(|()| reply),
            Err(Stop::Open(problem)) => {
                let own = self.clone();
                tokio::spawn(async move { own.settle(work.n).await });
                Err(problem)
            }
        }
    }

    /// What the restaurant asks for it. Its refusal, or ours where it says that no table is free, leaves nothing
    /// behind.
    async fn terms(&self, new: &Reservation, asked: &Asked) -> Result<Result<i64, Reply>, Problem> {
        let path = format!("/tables/{}/{}/{}", new.restaurant, new.slot, new.party);
        let sent = self.restaurant.call(Method::GET, &path, asked, bytes::Bytes::new()).await;
        // A read: whatever went wrong, nothing was changed.
        let answer = sent.map_err(|_| self.restaurant.silent(Silence::NeverSent))?;
        let terms = answer.json().unwrap_or_default();
        Ok(match (answer.status.is_success(), terms["cents"].as_i64()) {
            (true, Some(_)) if terms["free"] == false => {
                let detail = format!("{} has no table for {} left at {}", new.restaurant, new.party, new.slot);
                Err(Problem::new(Kind::NoTable, detail).reply())
            }
            (true, Some(cents)) => Ok(cents),
            _ => Err(passed_on(answer)),
        })
    }

    /// Both steps and the end. `paid` and `seated`: what is known to have been done already.
    async fn carry_out(&self, work: &Work, paid: Option<Value>, seated: Option<Value>) -> Result<Reply, Stop> {
        let charge = match (work.charge, paid) {
            (Some(charge), _) => charge,
            (None, Some(paid)) => paid["charge"].as_i64().unwrap_or_default(),
            (None, None) => self.pay(work).await?,
        };
        match &work.operation {
            Operation::Reserve(new) => {
                let seat = match seated.and_then(|seated| seated["table"].as_i64()) {
                    Some(table) => Seat::Table(table),
                    None => self.seat(work, new, charge).await?,
                };
                Ok(self.reserved(work.clone(), new.clone(), charge, seat).await?)
            }
            Operation::Cancel { id, restaurant } => {
                if seated.is_none() {
                    self.free(work, restaurant, id).await?;
                }
                Ok(self.cancelled(work.clone(), id.clone()).await?)
            }
        }
    }

    async fn pay(&self, work: &Work) -> Result<i64, Stop> {
        let (path, body) = match &work.operation {
            Operation::Reserve(new) => {
                let body =
                    json!({ "booking": new.id, "restaurant": new.restaurant, "cents": work.cents, "card": new.card });
                ("/charges", body)
            }
            Operation::Cancel { id, restaurant } => ("/refunds", json!({ "booking": id, "restaurant": restaurant })),
        };
        match self.payments.post(path, &work.asked, &body).await {
            Ok(answer) if answer.status.is_success() => {
                Ok(answer.json().and_then(|body| body["charge"].as_i64()).unwrap_or_default())
            }
            Ok(answer) => Err(Stop::Nothing(passed_on(answer))),
            Err(Silence::NeverSent) => Err(Stop::Nothing(self.payments.silent(Silence::NeverSent).reply())),
            Err(Silence::NoWord) => Err(Stop::Open(self.payments.silent(Silence::NoWord))),
        }
    }

    /// After the charge: whatever is refused now leaves a guest who has paid.
    async fn seat(&self, work: &Work, new: &Reservation, charge: i64) -> Result<Seat, Stop> {
        let body = json!({ "restaurant": new.restaurant, "slot": new.slot, "party": new.party, "booking": new.id });
        let paid = |kind: Kind, detail: String| {
            let problem = Problem::new(kind, detail).with("Booking", &new.id).with("Restaurant", &new.restaurant);
            Seat::None(problem.with("Charge", charge).with("Cents", work.cents))
        };
        match self.restaurant.post("/seats", &work.asked, &body).await {
            Ok(answer) if answer.status.is_success() => {
                Ok(Seat::Table(answer.json().and_then(|body| body["table"].as_i64()).unwrap_or_default()))
            }
            Ok(answer) => {
                let said = answer.json().and_then(|body| body["detail"].as_str().map(str::to_owned));
                Ok(paid(Kind::TableGone, said.unwrap_or_default()))
            }
            Err(Silence::NeverSent) => Ok(paid(Kind::SeatNotAsked, "the restaurant is out of reach".to_owned())),
            Err(Silence::NoWord) => Err(Stop::Open(self.restaurant.silent(Silence::NoWord))),
        }
    }

    /// After the refund there is no way back: until the restaurant answers, it stays open. That there was no table is
    /// fine.
    async fn free(&self, work: &Work, restaurant: &str, id: &str) -> Result<(), Stop> {
        let path = format!("/seats/{restaurant}/{id}");
        let sent = self.restaurant.call(Method::DELETE, &path, &work.asked, bytes::Bytes::new()).await;
        sent.map(|_| ()).map_err(|silence| Stop::Open(self.restaurant.silent(silence)))
    }

    async fn reserved(&self, work: Work, new: Reservation, charge: i64, seat: Seat) -> Result<Reply, Problem> {
        let (state, table) = match &seat {
            Seat::Table(table) => ("confirmed", Some(*table)),
            Seat::None(_) => ("unseated", None),
        };
        let body = json!({ "id": new.id, "state": state, "cents": work.cents, "charge": charge, "table": table });
        let status = match &seat {
            Seat::Table(_) => 201,
            Seat::None(problem) => problem.status().as_u16(),
        };
        let (location, answer) = (format!("/reservations/{}", new.id), body.clone());
        self.store
            .run(move |db| {
                let statement = "insert into bookings values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1)
                                 on conflict (id) do update set opened = opened + (state <> 'unseated'), key = ?2,
                                 state = ?7, cents = ?8, charge = ?9, table_no = ?10";
                let Reservation { id, restaurant, slot, party, guest, .. } = &new;
                let key = &work.asked.key;
                db.prepare_cached(statement)?
                    .execute((id, key, restaurant, slot, party, guest, state, work.cents, charge, table))?;
                store::log(db, &work.asked, status, &answer)?;
                end(db, work.n)
            })
            .await?;
        Ok(match seat {
            Seat::Table(_) => created(&location, &body),
            Seat::None(problem) => problem.reply(),
        })
    }

    async fn cancelled(&self, work: Work, id: String) -> Result<Reply, Problem> {
        let body = json!({ "id": id, "state": "cancelled" });
        let answer = body.clone();
        self.store
            .run(move |db| {
                db.prepare_cached("update bookings set state = 'cancelled', table_no = null where id = ?1")?
                    .execute([&id])?;
                store::log(db, &work.asked, 200, &answer)?;
                end(db, work.n)
            })
            .await?;
        Ok(told(StatusCode::OK, &body))
    }

    async fn drop_work(&self, n: i64) -> Result<(), Problem> {
        self.store.run(move |db| end(db, n)).await
    }

    /// Finds out what a process that died had begun, and ends it. Before the first request.
    pub async fn recover(&self) -> Result<(), Problem> {
        let open: Vec<i64> = self
            .store
            .run(|db| db.prepare("select n from work order by n")?.query_map([], |row| row.get(0))?.collect())
            .await?;
        if open.is_empty() {
            return Ok(());
        }
        eprintln!("found {} begun and not ended", open.len());
        tokio::time::sleep(FENCE).await;
        for n in open {
            if self.try_settle(n).await.is_err() {
                self.settle(n).await;
            }
        }
        Ok(())
    }

    /// Asks for what stands, once nothing of it can be under way any more, until everybody has answered.
    async fn settle(&self, n: i64) {
        loop {
            tokio::time::sleep(FENCE).await;
            match self.try_settle(n).await {
                Ok(()) => return,
                Err(problem) => eprintln!("work {n} stays open: {}", problem.detail),
            }
        }
    }

    async fn try_settle(&self, n: i64) -> Result<(), Problem> {
        let Some(work) = self.store.run(move |db| read_work(db, n)).await? else { return Ok(()) };
        let paid = match work.operation {
            Operation::Reserve(_) => self.payments.by_key("charges", &work.asked).await,
            Operation::Cancel { .. } => self.payments.by_key("refunds", &work.asked).await,
        };
        let paid = paid.map_err(|silence| self.payments.silent(silence))?;
        if paid.is_none() && work.charge.is_none() {
            return self.drop_work(n).await;
        }
        let seated = self.restaurant.by_key("seats", &work.asked).await;
        let seated = seated.map_err(|silence| self.restaurant.silent(silence))?;
        match self.carry_out(&work, paid, seated).await {
            Ok(_) => Ok(()),
            Err(Stop::Nothing(_)) => self.drop_work(n).await,
            Err(Stop::Open(problem)) => Err(problem),
        }
    }
}

fn no_reservation(id: &str) -> Problem {
    Problem::new(Kind::NoReservation, format!("there is no reservation {id}"))
}

fn begin(db: &Connection, asked: Asked, operation: Operation, cents: i64) -> rusqlite::Result<Result<Work, Problem>> {
    let (id, restaurant) = match &operation {
        Operation::Reserve(new) => (&new.id, &new.restaurant),
        Operation::Cancel { id, restaurant } => (id, restaurant),
    };
    let before: Option<(String, i64, i64)> = db
        .prepare_cached("select state, charge, cents from bookings where id = ?1 and restaurant = ?2")?
        .query_row((id, restaurant), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (mut charge, mut cents) = (None, cents);
    match (&operation, before) {
        (Operation::Cancel { .. }, None) => return Ok(Err(no_reservation(id))),
        (Operation::Cancel { .. }, Some((state, ..))) if state == "cancelled" => {
            return Ok(Err(Problem::new(Kind::Cancelled, format!("{id} is cancelled already"))));
        }
        // Paid for and without a table: whoever asks again wants the table, and has paid.
        (Operation::Reserve(_), Some((state, paid, paid_cents))) if state == "unseated" => {
            (charge, cents) = (Some(paid), paid_cents);
        }
        _ => {}
    }
    let body = String::from_utf8_lossy(&asked.body);
    let statement = "insert into work (key, method, path, body, cents, charge) values (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(statement)?.execute((&asked.key, asked.method.as_str(), &asked.path, body, cents, charge))?;
    Ok(Ok(Work { n: db.last_insert_rowid(), asked, operation, cents, charge }))
}

fn end(db: &Connection, n: i64) -> rusqlite::Result<()> {
    db.prepare_cached("delete from work where n = ?1")?.execute([n])?;
    Ok(())
}

fn read_work(db: &Connection, n: i64) -> rusqlite::Result<Option<Work>> {
    let select = "select key, method, path, body, cents, charge from work where n = ?1";
    let found = db.prepare_cached(select)?.query_row([n], |row| {
        let method: String = row.get(1)?;
        let method = method.parse().unwrap_or(Method::POST);
        Ok((Asked::again(method, row.get(2)?, row.get(0)?, row.get(3)?), row.get(4)?, row.get(5)?))
    });
    let Some((asked, cents, charge)) = found.optional()? else { return Ok(None) };
    // It was understood before it was written down.
    Ok(Operation::parse(&asked).ok().map(|operation| Work { n, asked, operation, cents, charge }))
}
