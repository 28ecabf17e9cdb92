//! What the service tells about its state: single records, its log, and the full canonical dump.
use http::StatusCode;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    ByKey(String),
    Transaction(String),
    Ledger {
        site: String,
        sku: String,
    },
    Promotion(String),
    Inventory(String),
    Products,
    /// Everything but wall times (there are none), sorted.
    Export,
    /// The order in which writes were applied, after this number.
    Log {
        after: i64,
    },
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
}

pub fn answer(db: &Connection, query: &Query) -> rusqlite::Result<Answer> {
    let found = match query {
        Query::ByKey(key) => by_key(db, key)?,
        Query::Transaction(id) => one_transaction(db, id)?,
        Query::Ledger { site, sku } => rows(db, LEDGER_ONE, (site, sku))?.pop(),
        Query::Promotion(id) => rows(db, PROMOTION_ONE, [id])?.pop(),
        Query::Inventory(sku) => rows(db, "select sku, on_hand from inventory where sku = ?1", [sku])?.pop(),
        Query::Products => Some(products()),
        Query::Export => Some(export(db)?),
        Query::Log { after } => Some(Value::Array(rows(db, LOG, [after])?)),
    };
    Ok(match found {
        Some(value) => Answer { status: StatusCode::OK, body: value.to_string() },
        None => Answer { status: StatusCode::NOT_FOUND, body: json!({ "error": "not found" }).to_string() },
    })
}

const LEDGER_ONE: &str = "select site, sku, quantity, entries from ledger where site = ?1 and sku = ?2";
const PROMOTION_ONE: &str =
    "select id, revision, name, percent from promotions where id = ?1 order by revision desc limit 1";
const LOG: &str = "select seq, key, method, path, body_sha256 from log where seq > ?1 order by seq";

fn by_key(db: &Connection, key: &str) -> rusqlite::Result<Option<Value>> {
    let applications: i64 =
        db.prepare_cached("select count(*) from log where key = ?1")?.query_row([key], |row| row.get(0))?;
    Ok((applications > 0).then(|| json!({ "key": key, "applications": applications })))
}

fn products() -> Value {
    let one = |product: &crate::demo::catalogue::Product| {
        let (price_cents, vat_bp) = (product.price_cents, product.vat_bp);
        json!({ "sku": product.sku, "name": product.name, "price_cents": price_cents, "vat_bp": vat_bp })
    };
    crate::demo::catalogue::PRODUCTS.iter().map(one).collect()
}

fn one_transaction(db: &Connection, id: &str) -> rusqlite::Result<Option<Value>> {
    let head = rows(db, "select * from transactions where id = ?1", [id])?.pop();
    let Some(Value::Object(mut head)) = head else { return Ok(None) };
    let lines = rows(db, "select n, sku, quantity, price_cents, removed from lines where tx = ?1 order by n", [id])?;
    head.insert("line_items".to_owned(), lines.into());
    let payments = rows(db, "select n, method, cents from payments where tx = ?1 order by n", [id])?;
    head.insert("payments".to_owned(), payments.into());
    Ok(Some(Value::Object(head)))
}

/// One consistent picture: all reads in one transaction.
fn export(db: &Connection) -> rusqlite::Result<Value> {
    let snapshot = db.unchecked_transaction()?;
    let tables = [
        ("transactions", "select * from transactions order by id"),
        ("lines", "select * from lines order by tx, n"),
        ("payments", "select * from payments order by tx, n"),
        ("receipts", "select * from receipts order by till"),
        ("inventory", "select * from inventory order by sku"),
        ("ledger", "select * from ledger order by site, sku"),
        ("seals", "select * from seals order by site"),
        ("promotions", "select * from promotions order by id, revision"),
    ];
    let mut dump = Map::new();
    for (table, select) in tables {
        dump.insert(table.to_owned(), rows(&snapshot, select, [])?.into());
    }
    snapshot.finish()?;
    Ok(Value::Object(dump))
}

/// Rows as objects, columns by name.
fn rows(db: &Connection, select: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<Vec<Value>> {
    let mut statement = db.prepare_cached(select)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query(parameters)?;
    let mut values = Vec::new();
    while let Some(row) = found.next()? {
        let mut object = Map::new();
        for (index, column) in columns.iter().enumerate() {
            object.insert(column.clone(), value(row.get_ref(index)?));
        }
        values.push(Value::Object(object));
    }
    Ok(values)
}

fn value(cell: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned().into(),
    }
}

/// `GET` paths. `None` for one that the service does not have.
pub fn parse(path: &str, query: Option<&str>) -> Option<Query> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match segments.as_slice() {
        ["by-key", key] | [_, "by-key", key] => Query::ByKey((*key).to_owned()),
        ["transactions", id] => Query::Transaction((*id).to_owned()),
        ["ledger", site, sku] => Query::Ledger { site: (*site).to_owned(), sku: (*sku).to_owned() },
        ["promotions", id] => Query::Promotion((*id).to_owned()),
        ["inventory", sku] => Query::Inventory((*sku).to_owned()),
        ["products"] => Query::Products,
        ["export"] => Query::Export,
        ["log"] => {
            let after = query.and_then(|query| query.strip_prefix("after=")).unwrap_or("0");
            Query::Log { after: after.parse().ok()? }
        }
        _ => return None,
    })
}
