//! What each operation does to the state. Runs inside a savepoint: a refusal leaves nothing behind.
//!
//! Everything here depends on the state that the write itself names and on nothing else: no clock, no random number, no
//! price that another write could change. Ledger entries do not commute (each is sealed with all before it), stock
//! moves do.
use http::StatusCode;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::database::{Applied, Write};
use super::operation::{
    Count, LedgerEntry, NewLine, NewPayment, NewTransaction, Operation, Promotion, Refusal, TransactionChange,
};
use crate::demo::catalogue;

/// Ledger quantities stay below this, however often they are multiplied.
const QUANTITY_MODULUS: i64 = 1_000_003;

type Done = rusqlite::Result<Result<Applied, Refusal>>;

pub fn apply(db: &Connection, write: &Write) -> Done {
    match &write.operation {
        Operation::Open(new) => open(db, new),
        Operation::AddLine { id, line } => add_line(db, id, line),
        Operation::Pay { id, payment } => pay(db, id, payment),
        Operation::Change { id, change } => change_transaction(db, id, change),
        Operation::RemoveLine { id, n } => remove_line(db, id, *n),
        Operation::Count { site, sku, entry } => count(db, site, sku, entry, &write.body_sha256),
        Operation::Promote { id, promotion } => promote(db, id, promotion),
        Operation::Move { sku, by } => move_stock(db, sku, by.add),
    }
}

fn refuse(status: StatusCode, error: String) -> Done {
    Ok(Err(Refusal::new(status, error)))
}

fn applied(status: u16, location: Option<String>, body: &serde_json::Value) -> Done {
    Ok(Ok(Applied { status, location, body: body.to_string() }))
}

/// Opening a transaction again takes another receipt and counts: a doubled write must show.
fn open(db: &Connection, new: &NewTransaction) -> Done {
    let receipt: i64 = db
        .prepare_cached(
            "insert into receipts (till, last) values (?1, 1)
             on conflict (till) do update set last = last + 1 returning last",
        )?
        .query_row([&new.till], |row| row.get(0))?;
    db.prepare_cached(
        "insert into transactions
         (id, till, receipt, opened, customer, note, discount_percent, lines, total_cents, paid_cents)
         values (?1, ?2, ?3, 1, ?4, ?5, 0, 0, 0, 0)
         on conflict (id) do update set receipt = excluded.receipt, opened = opened + 1",
    )?
    .execute((&new.id, &new.till, receipt, &new.customer, &new.note))?;
    applied(201, Some(format!("/transactions/{}", new.id)), &json!({ "id": new.id, "receipt": receipt }))
}

struct Sums {
    discount_percent: i64,
    lines: i64,
    total_cents: i64,
    paid_cents: i64,
}

impl Sums {
    fn due_cents(&self) -> i64 {
        self.total_cents * (100 - self.discount_percent) / 100
    }

    fn is_paid(&self) -> bool {
        self.paid_cents > 0 && self.paid_cents >= self.due_cents()
    }

    fn open_cents(&self) -> i64 {
        self.due_cents() - self.paid_cents
    }
}

fn sums(db: &Connection, id: &str) -> rusqlite::Result<Option<Sums>> {
    db.prepare_cached("select discount_percent, lines, total_cents, paid_cents from transactions where id = ?1")?
        .query_row([id], |row| {
            Ok(Sums {
                discount_percent: row.get(0)?,
                lines: row.get(1)?,
                total_cents: row.get(2)?,
                paid_cents: row.get(3)?,
            })
        })
        .optional()
}

/// The transaction, if it is there and still open.
fn open_sums(db: &Connection, id: &str) -> rusqlite::Result<Result<Sums, Refusal>> {
    Ok(match sums(db, id)? {
        None => Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no transaction {id}"))),
        Some(found) if found.is_paid() => {
            Err(Refusal::new(StatusCode::CONFLICT, format!("transaction {id} is paid already")))
        }
        Some(found) => Ok(found),
    })
}

fn store_sums(db: &Connection, id: &str, sums: &Sums) -> rusqlite::Result<()> {
    db.prepare_cached(
        "update transactions set discount_percent = ?2, lines = ?3, total_cents = ?4, paid_cents = ?5 where id = ?1",
    )?
    .execute((id, sums.discount_percent, sums.lines, sums.total_cents, sums.paid_cents))?;
    Ok(())
}

fn add_line(db: &Connection, id: &str, line: &NewLine) -> Done {
    let Some(product) = catalogue::find(&line.sku) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no article {}", line.sku));
    };
    let mut sums = match open_sums(db, id)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Err(refusal)),
    };
    sums.lines += 1;
    sums.total_cents += product.price_cents * line.quantity;
    db.prepare_cached("insert into lines (tx, n, sku, quantity, price_cents, removed) values (?1, ?2, ?3, ?4, ?5, 0)")?
        .execute((id, sums.lines, &line.sku, line.quantity, product.price_cents))?;
    store_sums(db, id, &sums)?;
    add_stock(db, &line.sku, -line.quantity)?;
    let body = json!({ "n": sums.lines, "open_cents": sums.open_cents() });
    applied(201, Some(format!("/transactions/{id}/lines/{}", sums.lines)), &body)
}

fn remove_line(db: &Connection, id: &str, n: i64) -> Done {
    let mut sums = match open_sums(db, id)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let line: Option<(String, i64, i64)> = db
        .prepare_cached(
            "update lines set removed = 1 where tx = ?1 and n = ?2 and removed = 0
             returning sku, quantity, price_cents",
        )?
        .query_row((id, n), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((sku, quantity, price_cents)) = line else {
        return refuse(StatusCode::NOT_FOUND, format!("transaction {id} has no line {n}"));
    };
    sums.total_cents -= price_cents * quantity;
    if sums.open_cents() < 0 {
        return refuse(StatusCode::CONFLICT, format!("line {n} of transaction {id} is paid for already"));
    }
    store_sums(db, id, &sums)?;
    add_stock(db, &sku, quantity)?;
    applied(200, None, &json!({ "n": n, "open_cents": sums.open_cents() }))
}

fn pay(db: &Connection, id: &str, payment: &NewPayment) -> Done {
    let mut sums = match open_sums(db, id)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let open_cents = sums.open_cents();
    if payment.cents > open_cents {
        let error = format!("{} cents are more than the {open_cents} that are open", payment.cents);
        return refuse(StatusCode::CONFLICT, error);
    }
    sums.paid_cents += payment.cents;
    let n: i64 = db
        .prepare_cached(
            "insert into payments (tx, n, method, cents)
             select ?1, count(*) + 1, ?2, ?3 from payments where tx = ?1 returning n",
        )?
        .query_row((id, &payment.method, payment.cents), |row| row.get(0))?;
    store_sums(db, id, &sums)?;
    let body = json!({ "n": n, "open_cents": sums.open_cents(), "paid": sums.is_paid() });
    applied(201, Some(format!("/transactions/{id}/payments/{n}")), &body)
}

/// Idempotent, as PUT promises.
fn change_transaction(db: &Connection, id: &str, change: &TransactionChange) -> Done {
    let mut sums = match open_sums(db, id)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Err(refusal)),
    };
    sums.discount_percent = change.discount_percent;
    if sums.open_cents() < 0 {
        return refuse(StatusCode::CONFLICT, format!("more than the discounted sum of {id} is paid already"));
    }
    store_sums(db, id, &sums)?;
    db.prepare_cached("update transactions set customer = ?2 where id = ?1")?.execute((id, &change.customer))?;
    applied(200, None, &json!({ "id": id, "open_cents": sums.open_cents() }))
}

/// The seal chains each entry of a site to all before it, as fiscal journals do: no swap and no copy leaves it as it
/// was.
fn count(db: &Connection, site: &str, sku: &str, entry: &LedgerEntry, body_sha256: &str) -> Done {
    if catalogue::find(sku).is_none() {
        return refuse(StatusCode::NOT_FOUND, format!("there is no article {sku}"));
    }
    let before: Option<i64> = db
        .prepare_cached("select quantity from ledger where site = ?1 and sku = ?2")?
        .query_row((site, sku), |row| row.get(0))
        .optional()?;
    let before = before.unwrap_or_default();
    let quantity = match entry.op {
        Count::Add => before + entry.n,
        Count::Set => entry.n,
        Count::Multiply => before * entry.n,
    } % QUANTITY_MODULUS;
    let entries: i64 = db
        .prepare_cached(
            "insert into ledger (site, sku, quantity, entries) values (?1, ?2, ?3, 1)
             on conflict (site, sku) do update set quantity = ?3, entries = entries + 1 returning entries",
        )?
        .query_row((site, sku, quantity), |row| row.get(0))?;
    seal(db, site, sku, body_sha256)?;
    applied(200, None, &json!({ "site": site, "sku": sku, "quantity": quantity, "entries": entries }))
}

fn seal(db: &Connection, site: &str, sku: &str, body_sha256: &str) -> rusqlite::Result<()> {
    let before: Option<String> =
        db.prepare_cached("select seal from seals where site = ?1")?.query_row([site], |row| row.get(0)).optional()?;
    let chained = Sha256::new().chain_update(before.unwrap_or_default()).chain_update(sku).chain_update(body_sha256);
    db.prepare_cached("insert into seals (site, seal) values (?1, ?2) on conflict (site) do update set seal = ?2")?
        .execute((site, hex(&chained.finalize())))?;
    Ok(())
}

/// Idempotent, as PUT promises: the same content again is no new revision.
fn promote(db: &Connection, id: &str, promotion: &Promotion) -> Done {
    let last: Option<(i64, String, i64)> = db
        .prepare_cached("select revision, name, percent from promotions where id = ?1 order by revision desc limit 1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let revision = match last {
        Some((revision, name, percent)) if name == promotion.name && percent == promotion.percent => revision,
        before => {
            let revision = before.map_or(1, |(revision, ..)| revision + 1);
            db.prepare_cached("insert into promotions (id, revision, name, percent) values (?1, ?2, ?3, ?4)")?
                .execute((id, revision, &promotion.name, promotion.percent))?;
            revision
        }
    };
    applied(200, None, &json!({ "id": id, "revision": revision }))
}

fn move_stock(db: &Connection, sku: &str, add: i64) -> Done {
    if catalogue::find(sku).is_none() {
        return refuse(StatusCode::NOT_FOUND, format!("there is no article {sku}"));
    }
    let on_hand = add_stock(db, sku, add)?;
    applied(200, None, &json!({ "sku": sku, "on_hand": on_hand }))
}

fn add_stock(db: &Connection, sku: &str, add: i64) -> rusqlite::Result<i64> {
    db.prepare_cached("update inventory set on_hand = on_hand + ?2 where sku = ?1 returning on_hand")?
        .query_row((sku, add), |row| row.get(0))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
