//! Changes of a group as rows of tables, within one transaction.
use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, Statement};

use super::names::{self, GroupName, Names};

use super::record::{self, Key, Table};
use super::standing::Standing;
use super::{Age, Committed, FORGET_ROWS_MAX, Fatal, Op, Row, SeriesMeta, Stop, files, open};
use crate::model::{DECISION, Group, LogId, NUMBER_MAX, Request, WriteId};

/// Why a transaction was not written. It was rolled back in both cases, as far as anyone can know.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The disk has no room: the same again when it has.
    Full,
    /// Another program holds the lock: the same again when it has let it go.
    Held,
    Fatal(Fatal),
}

impl WriteError {
    pub(super) fn sqlite(action: &'static str) -> impl Fn(rusqlite::Error) -> WriteError {
        move |error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => WriteError::Full,
            _ if files::is_held(&error) => WriteError::Held,
            _ => WriteError::Fatal(Fatal { action, why: error.to_string() }),
        }
    }
    /// Somebody above broke the contract; going on would make it durable.
    fn contract(why: String) -> Self {
        WriteError::Fatal(Fatal { action: "keep what breaks the store's contract", why })
    }
}

/// What is remembered of the tables from one transaction to the next; thrown away with one that was rolled back.
#[derive(Default)]
pub(super) struct Remembered {
    names: Names,
    /// How far each series is, by its number.
    metas: HashMap<i64, (GroupName, SeriesMeta)>,
}

/// Owns the writing statements.
pub(super) struct Applier<'c> {
    connection: &'c Connection,
    names: Names,
    metas: HashMap<i64, (GroupName, SeriesMeta)>,
    /// Series that the running transaction changed, so that each is written once per transaction.
    dirty: BTreeSet<i64>,
    record: Vec<u8>,
    put_request: Statement<'c>,
    put_row: Statement<'c>,
    put_facts: Statement<'c>,
    put_place: Statement<'c>,
    put_series: Statement<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
}

impl<'c> Applier<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, WriteError> {
        let mut applier = Self::with(connection, Remembered::default())?;
        applier.reload()?;
        Ok(applier)
    }

    /// For one whose statements cannot outlive a transaction.
    pub(super) fn into_remembered(self) -> Remembered {
        Remembered { names: self.names, metas: self.metas }
    }

    pub(super) fn with(connection: &'c Connection, remembered: Remembered) -> Result<Self, WriteError> {
        let prepare = |sql| connection.prepare(sql).map_err(WriteError::sqlite("prepare a statement"));
        Ok(Self {
            connection,
            names: remembered.names,
            metas: remembered.metas,
            dirty: BTreeSet::new(),
            record: Vec::new(),
            put_request: prepare("INSERT INTO request (id, body) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING")?,
            // Group, key and lane are facts of a write and hardly ever change: their index is not touched again.
            put_row: prepare(
                "INSERT INTO write (id, grp, key, standing, clock, lane, pos, body) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
                 ON CONFLICT (id) DO UPDATE SET standing = excluded.standing, clock = excluded.clock, \
                 pos = excluded.pos, body = excluded.body \
                 WHERE grp = excluded.grp AND key IS excluded.key AND lane = excluded.lane",
            )?,
            // A row may have been made before its facts were known here, by a word about a write that had not come.
            put_facts: prepare(
                "UPDATE write SET grp = ?2, key = ?3, standing = ?4, clock = ?5, lane = ?6, pos = ?7, body = ?8 \
                 WHERE id = ?1",
            )?,
            put_place: prepare("INSERT INTO place (at, id) VALUES (?1, ?2) ON CONFLICT (at) DO NOTHING")?,
            put_series: prepare("UPDATE series SET body = ?2 WHERE ix = ?1")?,
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
        })
    }

    fn reload(&mut self) -> Result<(), WriteError> {
        let failed = WriteError::sqlite("read the names of logs and groups");
        self.names = Names::load(self.connection).map_err(failed)?;
        self.metas.clear();
        self.dirty.clear();
        let groups: Vec<(Group, GroupName)> = self.names.groups().map(|(g, name)| (g.clone(), name)).collect();
        for (_, name) in groups {
            let metas =
                read_metas(self.connection, name, &self.names).map_err(WriteError::sqlite("read the series"))?;
            // A broken one is written anew when its group says how far it is; recovery has refused to go on without.
            self.metas.extend(metas.into_iter().filter_map(|(ix, meta)| Some((ix, (name, meta.ok()?)))));
        }
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<(), WriteError> {
        self.begin.execute([]).map(drop).map_err(WriteError::sqlite("begin a transaction"))
    }

    pub(super) fn commit(&mut self) -> Result<(), WriteError> {
        for ix in std::mem::take(&mut self.dirty) {
            let (group, meta) = self.metas.get(&ix).expect("what is dirty is remembered");
            record::encode(&mut self.record, Key::series(group.tag, meta.log), meta);
            self.put_series.execute((ix, &self.record)).map_err(WriteError::sqlite("write how far a series is"))?;
        }
        self.commit.execute([]).map(drop).map_err(WriteError::sqlite("commit"))
    }

    pub(super) fn roll_back(&mut self) -> Result<(), WriteError> {
        // Some errors have rolled back already.
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").map_err(WriteError::sqlite("roll back"))?;
        }
        self.reload()
    }

    pub(super) fn put_named(&mut self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        record::encode(&mut self.record, Key::named(name), value);
        let mut put =
            self.connection.prepare_cached(open::PUT_NAMED).map_err(WriteError::sqlite("prepare a statement"))?;
        put.execute((name, &self.record)).map(drop).map_err(WriteError::sqlite("write a named value"))
    }

    pub(super) fn put_number(&mut self, name: &str, value: u64) -> Result<(), WriteError> {
        record::encode(&mut self.record, Key::named(name), &value);
        let mut put =
            self.connection.prepare_cached(open::PUT_NAMED).map_err(WriteError::sqlite("prepare a statement"))?;
        put.execute((name, &self.record)).map(drop).map_err(WriteError::sqlite("write a named value"))
    }

    pub(super) fn apply(&mut self, group: &Group, ops: &[Op]) -> Result<Committed, WriteError> {
        let interned = self.names.intern_group(self.connection, group);
        let group = interned.map_err(WriteError::sqlite("name a group"))?;
        let mut committed = Committed::default();
        for op in ops {
            match op {
                Op::Request(id, request) => self.request(group, *id, request)?,
                Op::Row(row) => {
                    self.row(group, row)?;
                    if row.is_refusal_of_decider() {
                        committed.refused_behind += u64::from(self.has_open_entry(group, row.facts.lane)?);
                    }
                }
                Op::Series(meta) => self.series(group, meta)?,
                Op::Quarantine(quarantined) => self.quarantine(group, quarantined, &mut committed)?,
                Op::Release(id) => self.release(*id, &mut committed)?,
                Op::DropRequest(id) => self.drop_request(*id)?,
                Op::Erase(id) => self.erase(group, *id, &mut committed)?,
                Op::Forget { log, up_to, older_than_ms } => {
                    self.forget(group, *log, *up_to, *older_than_ms, &mut committed)?;
                }
                Op::ForgetCancelled { older_than_ms } => {
                    self.forget_cancelled(group, *older_than_ms, &mut committed)?
                }
                Op::Stopped(stop) => self.stopped(group, stop.as_ref())?,
                Op::Age(age) => self.age(group, age)?,
                Op::Mend { row, request, witnesses } => self.mend(group, row, request.as_deref(), witnesses)?,
            }
        }
        Ok(committed)
    }

    pub(super) fn row_id(&mut self, id: WriteId) -> Result<i64, WriteError> {
        if id.n > NUMBER_MAX {
            return Err(WriteError::contract(format!("write {id}: numbers above {NUMBER_MAX} cannot be kept")));
        }
        let log = self.names.intern_log(self.connection, id.log).map_err(WriteError::sqlite("name a log"))?;
        Ok(names::place(log, id.n))
    }

    fn request(&mut self, group: GroupName, id: WriteId, request: &Request) -> Result<(), WriteError> {
        let row_id = self.row_id(id)?;
        record::encode(&mut self.record, Key::write(Table::Request, group.tag, id), request);
        self.put_request.execute((row_id, &self.record)).map(drop).map_err(WriteError::sqlite("write a request"))
    }

    pub(super) fn row(&mut self, group: GroupName, row: &Row) -> Result<(), WriteError> {
        let row_id = self.row_id(row.id)?;
        record::encode(&mut self.record, Key::write(Table::Row, group.tag, row.id), row);
        let columns = (
            row_id,
            group.ix,
            row.facts.key.map(|key| key.short() as i64),
            Standing::of(row) as i64,
            row.settled_clock_ms as i64,
            row.facts.lane.0 as i64,
            row.position.map(|(position, _)| position as i64),
            &self.record,
        );
        if self.put_row.execute(columns).map_err(WriteError::sqlite("write a row"))? == 0 {
            self.put_facts.execute(columns).map_err(WriteError::sqlite("write a row with other facts"))?;
            self.stands_in_lane(group, row_id, row.facts.lane.0 as i64)?;
        }
        match row.position {
            Some((position, _)) => self.place(group, row, row_id, position),
            None => Ok(()),
        }
    }

    pub(super) fn replace_request(
        &mut self,
        group: GroupName,
        id: WriteId,
        request: &Request,
    ) -> Result<(), WriteError> {
        let row_id = self.row_id(id)?;
        record::encode(&mut self.record, Key::write(Table::Request, group.tag, id), request);
        let sql = "INSERT INTO request (id, body) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET body = excluded.body";
        self.execute(sql, (row_id, &self.record))
    }

    pub(super) fn series_meta(&self, group: GroupName, log: LogId) -> Option<&SeriesMeta> {
        let series = self.names.series(group.ix, log)?;
        self.metas.get(&series).map(|(_, meta)| meta)
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    fn place(&mut self, group: GroupName, row: &Row, row_id: i64, position: u64) -> Result<(), WriteError> {
        let id = row.id;
        if position > NUMBER_MAX {
            return Err(WriteError::contract(format!("position {position} of {id}: cannot be above {NUMBER_MAX}")));
        }
        let series = self.names.intern_series(self.connection, group.ix, id.log);
        let place = names::place(series.map_err(WriteError::sqlite("name a series"))?, position);
        if self.put_place.execute((place, row_id)).map_err(WriteError::sqlite("write a position"))? == 1 {
            self.execute("UPDATE quarantine SET at = ?2 WHERE id = ?1", (row_id, place))?;
            return self.stands_in_lane(group, row_id, row.facts.lane.0 as i64);
        }
        let mut holder = self
            .connection
            .prepare_cached("SELECT id FROM place WHERE at = ?1")
            .map_err(WriteError::sqlite("prepare a statement"))?;
        let holder: i64 = holder.query_row([place], |row| row.get(0)).map_err(WriteError::sqlite("read a position"))?;
        if holder != row_id {
            let holder = self.names.write_id(holder);
            return Err(WriteError::contract(format!("position {position} of {id} belongs to {holder:?} (G3)")));
        }
        Ok(())
    }

    fn series(&mut self, group: GroupName, meta: &SeriesMeta) -> Result<(), WriteError> {
        let ix = self.names.intern_series(self.connection, group.ix, meta.log);
        let ix = ix.map_err(WriteError::sqlite("name a series"))?;
        let forgotten = self.metas.get(&ix).map_or(0, |(_, known)| known.forgotten);
        let meta = SeriesMeta { forgotten: meta.forgotten.max(forgotten), ..meta.clone() };
        self.metas.insert(ix, (group, meta));
        self.dirty.insert(ix);
        Ok(())
    }

    fn drop_request(&mut self, id: WriteId) -> Result<(), WriteError> {
        match self.names.row_id(id) {
            Some(row_id) => self.execute("DELETE FROM request WHERE id = ?1", [row_id]),
            None => Ok(()),
        }
    }

    /// A series without one of its positions could not be followed any more.
    fn erase(&mut self, group: GroupName, id: WriteId, committed: &mut Committed) -> Result<(), WriteError> {
        let Some(row_id) = self.names.row_id(id) else { return Ok(()) };
        let failed = WriteError::sqlite("find a row to erase");
        let mut find = self.connection.prepare_cached("SELECT key, pos FROM write WHERE id = ?1").map_err(&failed)?;
        let found = find.query_row([row_id], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)));
        let key = match found.optional().map_err(&failed)? {
            Some((_, Some(position))) => {
                return Err(WriteError::contract(format!("{id} cannot be erased: it has position {position}")));
            }
            Some((key, None)) => key,
            None => None,
        };
        self.leave_quarantine(row_id, committed)?;
        self.delete(group, &[(0, row_id, key)], committed)
    }

    fn stopped(&mut self, group: GroupName, stop: Option<&Stop>) -> Result<(), WriteError> {
        let Some(stop) = stop else { return self.execute("DELETE FROM stopped WHERE grp = ?1", [group.ix]) };
        record::encode(&mut self.record, Key::stopped(group.tag), stop);
        let sql =
            "INSERT INTO stopped (grp, body) VALUES (?1, ?2) ON CONFLICT (grp) DO UPDATE SET body = excluded.body";
        self.execute(sql, (group.ix, &self.record))
    }

    fn age(&mut self, group: GroupName, age: &Age) -> Result<(), WriteError> {
        record::encode(&mut self.record, Key::age(group.tag), age);
        let sql = "INSERT INTO age (grp, body) VALUES (?1, ?2) ON CONFLICT (grp) DO UPDATE SET body = excluded.body";
        self.execute(sql, (group.ix, &self.record))
    }

    pub(super) fn execute(&self, sql: &'static str, parameters: impl rusqlite::Params) -> Result<(), WriteError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(WriteError::sqlite("prepare a statement"))?;
        statement.execute(parameters).map(drop).map_err(WriteError::sqlite("change a table"))
    }
}

// === forgetting ===

/// A row that may go: its place (0 without), its id and its key.
type Old = (i64, i64, Option<i64>);

impl Applier<'_> {
    /// In order of positions. Rows that somebody still needs are passed over; the first that is only too young ends it,
    /// because the later ones were settled later.
    fn forget(
        &mut self,
        group: GroupName,
        log: LogId,
        up_to: u64,
        older_than_ms: u64,
        committed: &mut Committed,
    ) -> Result<(), WriteError> {
        let Some(series) = self.names.series(group.ix, log) else { return Ok(()) };
        let failed = WriteError::sqlite("find old rows");
        let mut old: Vec<Old> = Vec::new();
        let mut rows = self
            .connection
            .prepare_cached(
                "SELECT p.at, p.id, w.key, w.clock, w.standing, q.id FROM place p JOIN write w ON w.id = p.id \
                 LEFT JOIN quarantine q ON q.id IN (p.id, p.id & ?3) WHERE p.at BETWEEN ?1 AND ?2 ORDER BY p.at",
            )
            .map_err(&failed)?;
        let (first, last) = names::places(series, 0, up_to);
        let mut rows = rows.query([first, last, !(DECISION as i64)]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let read = || {
                Ok((row.get(3)?, row.get(4)?, row.get::<_, Option<i64>>(5)?, (row.get(0)?, row.get(1)?, row.get(2)?)))
            };
            let (clock, standing, quarantined, found): (i64, i64, _, Old) = read().map_err(&failed)?;
            if [Standing::Open as i64, Standing::Received as i64].contains(&standing) || quarantined.is_some() {
                continue;
            }
            if clock as u64 > older_than_ms {
                break;
            }
            if old.len() == FORGET_ROWS_MAX {
                committed.more_to_forget = true;
                break;
            }
            old.push(found);
        }
        drop(rows);
        if let (Some(&(highest, ..)), Some((_, meta))) = (old.last(), self.metas.get_mut(&series)) {
            meta.forgotten = meta.forgotten.max(names::position_of(highest));
            self.dirty.insert(series);
        }
        self.delete(group, &old, committed)
    }

    fn forget_cancelled(
        &mut self,
        group: GroupName,
        older_than_ms: u64,
        committed: &mut Committed,
    ) -> Result<(), WriteError> {
        let failed = WriteError::sqlite("find old cancelled rows");
        let mut rows = self
            .connection
            .prepare_cached(
                "SELECT 0, id, key FROM write WHERE grp = ?1 AND standing = 3 AND clock <= ?2 \
                 AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.id = write.id) ORDER BY clock, id LIMIT ?3",
            )
            .map_err(&failed)?;
        let limits = (group.ix, i64::try_from(older_than_ms).unwrap_or(i64::MAX), FORGET_ROWS_MAX as i64 + 1);
        let old = rows.query_map(limits, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&failed)?;
        let mut old: Vec<Old> = old.collect::<Result<_, _>>().map_err(&failed)?;
        committed.more_to_forget |= old.len() > FORGET_ROWS_MAX;
        old.truncate(FORGET_ROWS_MAX);
        self.delete(group, &old, committed)
    }

    fn delete(&mut self, group: GroupName, old: &[Old], committed: &mut Committed) -> Result<(), WriteError> {
        let mut keys = BTreeSet::new();
        for &(place, row_id, key) in old {
            self.execute("DELETE FROM write WHERE id = ?1", [row_id])?;
            self.execute("DELETE FROM request WHERE id = ?1", [row_id])?;
            if place != 0 {
                self.execute("DELETE FROM place WHERE at = ?1", [place])?;
            }
            keys.extend(key.map(|key| key as u64));
        }
        let failed = WriteError::sqlite("look for a key");
        let mut other = self
            .connection
            .prepare_cached("SELECT 1 FROM write WHERE grp = ?1 AND key = ?2 LIMIT 1")
            .map_err(&failed)?;
        for key in keys {
            let kept = other.query_row((group.ix, key as i64), |_| Ok(())).optional().map_err(&failed)?;
            if kept.is_none() {
                committed.forgotten_keys.push(key);
            }
        }
        Ok(())
    }
}

/// How far each series of a group is; a broken record with what is wrong.
pub(super) type Metas = Vec<(i64, Result<SeriesMeta, super::Damage>)>;

pub(super) fn read_metas(connection: &Connection, group: GroupName, names: &Names) -> rusqlite::Result<Metas> {
    let mut series = connection.prepare_cached(
        "SELECT s.ix, l.store, l.incarnation, s.body FROM series s JOIN log l ON l.ix = s.log \
         WHERE s.grp = ?1 AND s.body IS NOT NULL",
    )?;
    let name_of = |log| {
        let (group, _) = names.groups().find(|(_, name)| name.ix == group.ix).expect("its number came from there");
        super::RecordName::Series { group: group.clone(), log }
    };
    let metas = series.query_map([group.ix], |row| {
        let log = LogId { store: row.get(1)?, incarnation: row.get(2)? };
        let body = row.get_ref(3)?.as_blob()?;
        let meta = record::decode::<SeriesMeta>(Key::series(group.tag, log), body).and_then(|meta| {
            super::plausible::check_meta(&meta).map_err(|why| why.to_string())?;
            Ok(meta)
        });
        Ok((row.get(0)?, meta.map_err(|why| super::Damage { record: name_of(log), why })))
    })?;
    metas.collect()
}
