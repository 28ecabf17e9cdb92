//! One service's SQLite file. A job is one transaction, durable when it returns; jobs go one after the other.
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Params, Transaction, TransactionBehavior};
use serde_json::{Map, Value};

use super::exchange::Asked;
use super::problem::{Kind, Problem};

/// In which order writes changed the state, and what each was told. A write that arrives twice stands here twice.
const LOG: &str = "
create table if not exists log (
    seq integer primary key, key text not null, method text not null, path text not null, body_sha256 text not null,
    status integer not null, answer text not null
);
create index if not exists log_key on log (key);
";

#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

/// What the log says of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    pub status: u16,
    pub answer: Value,
}

impl Store {
    pub fn open(path: &Path, schema: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(LOG)?;
        connection.execute_batch(schema)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Commits what `job` did, also when it comes to nothing: a job that refuses has changed nothing. Goes on when
    /// nobody waits any more.
    pub async fn run<T, J>(&self, job: J) -> Result<T, Problem>
    where
        T: Send + 'static,
        J: FnOnce(&Transaction) -> rusqlite::Result<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = job(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        match done.await {
            Ok(result) => result.map_err(|error: rusqlite::Error| Problem::new(Kind::Database, error.to_string())),
            Err(error) => Err(Problem::new(Kind::Database, error.to_string())),
        }
    }
}

pub fn log(db: &Connection, asked: &Asked, status: u16, answer: &Value) -> rusqlite::Result<()> {
    let select = "insert into log (key, method, path, body_sha256, status, answer) values (?1, ?2, ?3, ?4, ?5, ?6)";
    let written = (&asked.key, asked.method.as_str(), &asked.path, asked.body_sha256(), status, answer.to_string());
    db.prepare_cached(select)?.execute(written)?;
    Ok(())
}

/// The last write of this key to paths of this collection.
pub fn by_key(db: &Connection, collection: &str, key: &str) -> rusqlite::Result<Option<Logged>> {
    let select = "select status, answer from log where key = ?1 and path || '/' like ?2 order by seq desc limit 1";
    let mut statement = db.prepare_cached(select)?;
    let mut found = statement.query((key, format!("/{collection}/%")))?;
    let Some(row) = found.next()? else { return Ok(None) };
    let answer: String = row.get(1)?;
    Ok(Some(Logged { status: row.get(0)?, answer: serde_json::from_str(&answer).unwrap_or_default() }))
}

/// Rows as objects, columns by name.
pub fn rows(db: &Connection, select: &str, parameters: impl Params) -> rusqlite::Result<Vec<Value>> {
    let mut statement = db.prepare_cached(select)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query(parameters)?;
    let mut values = Vec::new();
    while let Some(row) = found.next()? {
        let mut object = Map::new();
        for (index, column) in columns.iter().enumerate() {
            object.insert(column.clone(), cell(row.get_ref(index)?));
        }
        values.push(Value::Object(object));
    }
    Ok(values)
}

fn cell(cell: rusqlite::types::ValueRef<'_>) -> Value {
    use rusqlite::types::ValueRef;
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned().into(),
    }
}

/// Named queries as one object of tables: one consistent picture.
pub fn dump(db: &Connection, tables: &[(&str, &str)]) -> rusqlite::Result<Value> {
    let table = |(name, select): &(&str, &str)| Ok(((*name).to_owned(), rows(db, select, [])?.into()));
    tables.iter().map(table).collect::<rusqlite::Result<Map<_, _>>>().map(Value::Object)
}
