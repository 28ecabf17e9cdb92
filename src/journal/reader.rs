//! Look-ups: what state machines ask for, on a connection that never writes. Each question sees one moment.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::apply::read_metas;
use super::names::{self, GroupName, Names};
use super::plausible;
use super::record::{self, Key, Table};
use super::shared::Shared;
use super::standing::Standing;
use super::{
    Age, Damage, Error, Here, LANE_SCAN_FACTOR, QuarantineFilter, Quarantined, RecordName, Recovered, Row, SeriesMeta,
    Stop, StopKind, files, open, schema,
};
use crate::journal::{Find, Found};
use crate::model::{Group, Item, KeyHash, Lane, LogId, NUMBER_MAX, Request, WriteId, decided_by, decision_of};

pub(super) struct Reader {
    connection: Connection,
    names: Names,
    pub(super) shared: Arc<Shared>,
}

/// One question's view of the database.
pub(super) struct Snapshot<'r> {
    pub(super) transaction: Transaction<'r>,
    pub(super) names: &'r Names,
    pub(super) shared: &'r Shared,
}

impl Reader {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self, Error> {
        let connection = schema::open_reader(&shared.database)?;
        Ok(Self { connection, names: Names::default(), shared })
    }

    pub(super) fn snapshot(&mut self) -> Result<Snapshot<'_>, Error> {
        let failed = || Error::sqlite("begin to read");
        // Names are only ever added, numbered from 1.
        let known = (self.names.logs().count(), self.names.groups().count(), self.names.series_count());
        let count = "SELECT (SELECT coalesce(max(ix), 0) FROM log), (SELECT coalesce(max(ix), 0) FROM grp), \
                     (SELECT coalesce(max(ix), 0) FROM series)";
        let (transaction, there) = loop {
            let transaction = self.connection.unchecked_transaction().map_err(failed())?;
            let there = transaction
                .prepare_cached(count)
                .and_then(|mut count| count.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))));
            match there {
                Ok(there) => break (transaction, there),
                // Another program holds even readers off. Not to find what is there would be a wrong answer (G2).
                Err(error) if files::is_held(&error) && !self.shared.queue.has_ended() => drop(transaction),
                Err(error) => return Err(failed()(error)),
            }
        };
        if known != there {
            self.names = Names::load(&transaction).map_err(Error::sqlite("read the names of logs and groups"))?;
        }
        Ok(Snapshot { transaction, names: &self.names, shared: &self.shared })
    }

    /// All that it has ever had.
    pub(super) fn groups(&mut self) -> Result<Vec<Group>, Error> {
        Ok(self.snapshot()?.names.groups().map(|(group, _)| group.clone()).collect())
    }

    pub(super) fn recover(
        &mut self,
        group: &Group,
        lanes_max: usize,
        quarantined_max: usize,
    ) -> Result<Recovered, Error> {
        let snapshot = self.snapshot()?;
        match snapshot.names.group(group) {
            Some(name) => snapshot.recover(group, name, lanes_max, quarantined_max),
            None => Ok(Recovered { place: snapshot.shared.place, ..Recovered::default() }),
        }
    }

    pub(super) fn find(&mut self, group: &Group, find: Find) -> Result<Vec<Found>, Error> {
        let snapshot = self.snapshot()?;
        let Some(name) = snapshot.names.group(group) else { return Ok(Vec::new()) };
        let found = match find {
            Find::Key(key) => snapshot.find_key(name, key),
            Find::Id(id) => snapshot.find_id(name, id).map(|found| found.into_iter().collect()),
            Find::Either(id) => {
                let either = [decided_by(id), decision_of(id)].into_iter();
                either.filter_map(|id| snapshot.find_id(name, id).transpose()).collect()
            }
        };
        match found {
            Err(Error::Damaged(damage)) => Err(snapshot.with_position(name, damage)?),
            found => found,
        }
    }

    pub(super) fn read_series(
        &mut self,
        group: &Group,
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Arc<Item>>, Error> {
        let snapshot = self.snapshot()?;
        let Some(name) = snapshot.names.group(group) else { return Ok(Vec::new()) };
        let read = snapshot.read_series(group, name, log, from, items_max, bytes_max);
        let read = read.map_err(Error::sqlite("read a series"))?;
        read.map_err(|damage| {
            let entry = snapshot.entry_at(name, log, from).map(Box::new);
            Error::Broken { log, position: from, entry, damage: Box::new(damage) }
        })
    }

    pub(super) fn named(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        open::get_named(&self.snapshot()?.transaction, &format!("meta.{name}"))
    }
}

/// `w.id`, `w.body`, `r.body`, `w.pos`, `q.body`.
const FOUND: &str = "SELECT w.id, w.body, r.body, w.pos, q.body FROM write w \
                     LEFT JOIN request r ON r.id = w.id LEFT JOIN quarantine q ON q.id = w.id";

impl Snapshot<'_> {
    pub(super) fn report(&self, damage: &Damage) {
        self.shared.damages.report(damage);
    }

    pub(super) fn row(&self, group: GroupName, row_id: i64, body: &[u8]) -> Result<Row, Damage> {
        let Some(id) = self.names.write_id(row_id) else {
            return Err(Damage {
                record: RecordName::Database,
                why: format!("row {row_id} is of a log without a name"),
            });
        };
        let damage = |why| Damage { record: RecordName::Row(id), why };
        let row: Row = record::decode(Key::write(Table::Row, group.tag, id), body).map_err(damage)?;
        if row.id != id {
            return Err(damage(format!("holds the row of {}", row.id)));
        }
        plausible::check_row(&row).map_err(|why| damage(why.to_string()))?;
        Ok(row)
    }

    pub(super) fn request(&self, group: GroupName, id: WriteId, body: &[u8]) -> Result<Request, Damage> {
        record::decode(Key::write(Table::Request, group.tag, id), body)
            .map_err(|why| Damage { record: RecordName::Request(id), why })
    }

    /// A row of [`FOUND`]. A broken request is reported and missing; a broken row is an error.
    pub(super) fn found(&self, group: GroupName, row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Found, Damage>> {
        let row_id = row.get(0)?;
        let found = match self.row(group, row_id, row.get_ref(1)?.as_blob()?) {
            Ok(found) => found,
            Err(damage) => {
                self.report(&damage);
                return Ok(Err(damage));
            }
        };
        let request = row.get_ref(2)?.as_blob_or_null()?.map(|body| self.request(group, found.id, body));
        let request = request.and_then(|request| request.inspect_err(|damage| self.report(damage)).ok());
        let entry = row.get_ref(4)?.as_blob_or_null()?.map(|body| self.entry(group, found.id, body));
        Ok(Ok(Found { row: found, request: request.map(Arc::new), quarantined: entry }))
    }

    pub(super) fn find_id(&self, group: GroupName, id: WriteId) -> Result<Option<Found>, Error> {
        let Some(row_id) = self.names.row_id(id) else { return Ok(None) };
        let failed = || Error::sqlite("find a write");
        let mut find =
            self.transaction.prepare_cached(&format!("{FOUND} WHERE w.id = ?1 AND w.grp = ?2")).map_err(failed())?;
        let found = find.query_row((row_id, group.ix), |row| self.found(group, row)).optional().map_err(failed())?;
        Ok(found.transpose()?)
    }

    pub(super) fn find_key(&self, group: GroupName, key: KeyHash) -> Result<Vec<Found>, Error> {
        let failed = || Error::sqlite("find a key");
        let mut find =
            self.transaction.prepare_cached(&format!("{FOUND} WHERE w.grp = ?1 AND w.key = ?2")).map_err(failed())?;
        let rows = find.query_map((group.ix, key.short() as i64), |row| self.found(group, row)).map_err(failed())?;
        let mut found = Vec::new();
        for row in rows {
            let row = row.map_err(failed())??;
            if row.row.facts.key == Some(key) {
                found.push(row);
            }
        }
        found.sort_by_key(|found| found.row.id);
        Ok(found)
    }

    /// Other sites may have what is broken here, if it has a position.
    fn with_position(&self, group: GroupName, damage: Damage) -> Result<Error, Error> {
        let RecordName::Row(id) = damage.record else { return Ok(damage.into()) };
        let failed = Error::sqlite("find the position of a broken row");
        let row_id = self.names.row_id(id);
        let mut find = self.transaction.prepare_cached("SELECT pos FROM write WHERE id = ?1").map_err(failed)?;
        let position: Option<u64> = find.query_row([row_id], |row| row.get(0)).optional().ok().flatten().flatten();
        Ok(match position {
            Some(position) => {
                let entry = self.entry_at(group, id.log, position).map(Box::new);
                Error::Broken { log: id.log, position, entry, damage: Box::new(damage) }
            }
            None => damage.into(),
        })
    }

    fn entry_at(&self, group: GroupName, log: LogId, position: u64) -> Option<Quarantined> {
        let at = names::place(self.names.series(group.ix, log)?, position.min(NUMBER_MAX));
        let sql = "SELECT q.id, q.body FROM place p JOIN quarantine q ON q.id = p.id WHERE p.at = ?1";
        let mut find = self.transaction.prepare_cached(sql).ok()?;
        let found = find.query_row([at], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let (row_id, body) = found.optional().ok()??;
        Some(self.entry(group, self.names.write_id(row_id)?, &body))
    }

    fn read_series(
        &self,
        of: &Group,
        group: GroupName,
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
    ) -> rusqlite::Result<Result<Vec<Arc<Item>>, Damage>> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        let Some(series) = self.names.series(group.ix, log) else { return Ok(Ok(items)) };
        if from > NUMBER_MAX || items_max == 0 {
            return Ok(Ok(items));
        }
        let mut read = self.transaction.prepare_cached(
            "SELECT p.at, p.id, w.body, r.body FROM place p LEFT JOIN write w ON w.id = p.id \
             LEFT JOIN request r ON r.id = p.id WHERE p.at BETWEEN ?1 AND ?2 ORDER BY p.at",
        )?;
        let mut rows = read.query(names::places(series, from, from.saturating_add(items_max as u64 - 1)))?;
        let mut expected = from;
        while let Some(row) = rows.next()? {
            if names::position_of(row.get(0)?) != expected {
                break;
            }
            let item = match self.item(group, expected, row)? {
                Ok(item) => item,
                Err(damage) => {
                    self.report(&damage);
                    if items.is_empty() {
                        return Ok(Err(damage));
                    }
                    break;
                }
            };
            bytes += item.weight();
            if bytes > bytes_max && !items.is_empty() {
                break;
            }
            items.push(Arc::new(item));
            expected += 1;
        }
        if items.is_empty() && self.is_missing(group, log, from)? {
            let record = RecordName::Position { group: of.clone(), log, position: from };
            let damage = Damage { record, why: "missing, although it was stored".to_owned() };
            self.report(&damage);
            return Ok(Err(damage));
        }
        Ok(Ok(items))
    }

    /// Neither forgotten nor still to come.
    fn is_missing(&self, group: GroupName, log: LogId, position: u64) -> rusqlite::Result<bool> {
        let metas = read_metas(&self.transaction, group, self.names)?;
        let mut whole = metas.into_iter().filter_map(|(_, meta)| meta.ok());
        Ok(whole.any(|meta| meta.log == log && meta.forgotten < position && position <= meta.received))
    }

    /// The item of a row of place, id, row body and request body.
    fn item(&self, group: GroupName, at: u64, row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Item, Damage>> {
        let row_id = row.get(1)?;
        let missing = |why: &str| {
            let record = self.names.write_id(row_id).map_or(RecordName::Database, RecordName::Row);
            Damage { record, why: why.to_owned() }
        };
        let Some(body) = row.get_ref(2)?.as_blob_or_null()? else {
            return Ok(Err(missing("it is missing although it has a position")));
        };
        let found = match self.row(group, row_id, body) {
            Ok(found) => found,
            Err(damage) => return Ok(Err(damage)),
        };
        let Some(mut item) = found.item(None).filter(|item| item.position == at) else {
            return Ok(Err(missing(&format!("it stands at position {at}, but its record does not say so"))));
        };
        if item.is_followed() {
            let request = row.get_ref(3)?.as_blob_or_null()?.map(|body| self.request(group, item.id, body));
            match request {
                Some(Ok(request)) => item.request = Some(Arc::new(request)),
                Some(Err(damage)) => return Ok(Err(damage)),
                None => {
                    let why = "it is missing although followers need it".to_owned();
                    return Ok(Err(Damage { record: RecordName::Request(item.id), why }));
                }
            }
        }
        Ok(Ok(item))
    }
}

// === recovery ===

impl Snapshot<'_> {
    fn recover(
        &self,
        group: &Group,
        name: GroupName,
        lanes_max: usize,
        quarantined_max: usize,
    ) -> Result<Recovered, Error> {
        let failed = || Error::sqlite("recover a group");
        let mut series = self.series(name)?;
        series.sort_by_key(|(_, meta)| meta.log);
        let mut quarantined = self.first_of_quarantine(name, quarantined_max).map_err(failed())?;
        let mut broken = Vec::new();
        let open = self.open_rows(name, &mut quarantined, &mut broken).map_err(failed())?;
        let mut decided_beyond = Vec::new();
        for (ix, meta) in &series {
            self.check_dense(group, *ix, meta).map_err(failed())?;
            let unclear = self.decided_beyond(name, *ix, meta, &mut decided_beyond).map_err(failed())?;
            for (id, position, why) in unclear {
                self.take_damaged(name, id, why, &mut quarantined).map_err(failed())?;
                broken.push((meta.log, position));
            }
        }
        broken.sort_unstable();
        broken.dedup();
        let (lanes, creating) = self.lanes(name, &series, lanes_max).map_err(failed())?;
        Ok(Recovered {
            open,
            broken,
            decided_beyond,
            keys: self.keys(name).map_err(failed())?,
            lanes,
            creating,
            quarantined: quarantined.into_values().collect(),
            quarantine: self.count_quarantine(name.ix, &QuarantineFilter::default()).map_err(failed())?,
            waiting: self.waiting(name).map_err(failed())?,
            unknown: self.unknown(name).map_err(failed())?,
            stopped: self.stopped(name)?,
            age: self.age(group, name)?,
            place: self.shared.place,
            series: series.into_iter().map(|(_, meta)| meta).collect(),
        })
    }

    /// Without knowing how far a series is, nothing can go on: an error, not a guess.
    pub(super) fn series(&self, group: GroupName) -> Result<Vec<(i64, SeriesMeta)>, Error> {
        let metas = read_metas(&self.transaction, group, self.names).map_err(Error::sqlite("read the series"))?;
        let whole = metas.into_iter().map(|(ix, meta)| Ok((ix, meta.inspect_err(|damage| self.report(damage))?)));
        whole.collect()
    }

    fn open_rows(
        &self,
        group: GroupName,
        quarantined: &mut BTreeMap<WriteId, Quarantined>,
        broken: &mut Vec<(LogId, u64)>,
    ) -> rusqlite::Result<Vec<Found>> {
        let mut find = self.transaction.prepare_cached(&format!("{FOUND} WHERE w.grp = ?1 AND w.standing = 1"))?;
        let mut rows = find.query([group.ix])?;
        let mut open = Vec::new();
        while let Some(row) = rows.next()? {
            match self.found(group, row)? {
                Ok(found) => {
                    quarantined.extend(found.quarantined.clone().map(|entry| (found.row.id, entry)));
                    open.push(found);
                }
                Err(Damage { record: RecordName::Row(id), why }) => {
                    self.take_damaged(group, id, why, quarantined)?;
                    broken.extend(row.get::<_, Option<u64>>(3)?.map(|position| (id.log, position)));
                }
                Err(_) => {}
            }
        }
        open.sort_by_key(|found| found.row.id);
        Ok(open)
    }

    /// SQLite does not notice rows that are missing; positions are dense, so we can.
    fn check_dense(&self, group: &Group, ix: i64, meta: &SeriesMeta) -> rusqlite::Result<()> {
        if meta.received <= meta.forgotten {
            return Ok(());
        }
        let range = names::places(ix, meta.forgotten + 1, meta.received);
        let mut count = self.transaction.prepare_cached("SELECT count(*) FROM place WHERE at BETWEEN ?1 AND ?2")?;
        if count.query_row(range, |row| row.get::<_, u64>(0))? == meta.received - meta.forgotten {
            return Ok(());
        }
        let mut places =
            self.transaction.prepare_cached("SELECT at FROM place WHERE at BETWEEN ?1 AND ?2 ORDER BY at")?;
        let mut missing = meta.forgotten + 1;
        for place in places.query_map(range, |row| row.get(0))? {
            if names::position_of(place?) != missing {
                break;
            }
            missing += 1;
        }
        let record = RecordName::Position { group: group.clone(), log: meta.log, position: missing };
        let why = format!("the first that is missing although all up to {} were stored", meta.received);
        self.report(&Damage { record, why });
        Ok(())
    }

    /// Returns the broken rows of which this replica may have begun something. Those that were only received are met
    /// again when their turn comes; those that were decided hold up nothing. Read from the rows themselves: a wrong bit
    /// in an index must not make a write count as applied, or as not.
    fn decided_beyond(
        &self,
        group: GroupName,
        ix: i64,
        meta: &SeriesMeta,
        decided: &mut Vec<(LogId, u64)>,
    ) -> rusqlite::Result<Vec<(WriteId, u64, String)>> {
        let mut unclear = Vec::new();
        let mut read = self.transaction.prepare_cached(
            "SELECT p.at, p.id, w.body, w.standing FROM place p LEFT JOIN write w ON w.id = p.id \
             WHERE p.at BETWEEN ?1 AND ?2 ORDER BY p.at",
        )?;
        let mut rows = read.query(names::places(ix, meta.decided.saturating_add(1), NUMBER_MAX))?;
        while let Some(row) = rows.next()? {
            let Some(body) = row.get_ref(2)?.as_blob_or_null()? else {
                let position = names::position_of(row.get(0)?);
                let missing = self.names.write_id(row.get(1)?);
                unclear.extend(missing.map(|id| (id, position, "its row is missing".to_owned())));
                continue;
            };
            match self.row(group, row.get(1)?, body) {
                Ok(found) if matches!(found.here, Here::Decided(_)) => {
                    decided.push((meta.log, names::position_of(row.get(0)?)));
                }
                Ok(_) => {}
                Err(damage) => {
                    self.report(&damage);
                    let (position, standing) = (names::position_of(row.get(0)?), row.get::<_, i64>(3)?);
                    if [Standing::Applied as i64, Standing::Final as i64].contains(&standing) {
                        decided.push((meta.log, position));
                    } else if let RecordName::Row(id) = damage.record
                        && standing != Standing::Received as i64
                    {
                        unclear.push((id, position, damage.why));
                    }
                }
            }
        }
        Ok(unclear)
    }

    fn keys(&self, group: GroupName) -> rusqlite::Result<Vec<u64>> {
        let mut find =
            self.transaction.prepare_cached("SELECT DISTINCT key FROM write WHERE grp = ?1 AND key IS NOT NULL")?;
        let keys = find.query_map([group.ix], |row| Ok(row.get::<_, i64>(0)? as u64))?;
        let mut keys = keys.collect::<rusqlite::Result<Vec<u64>>>()?;
        keys.sort_unstable();
        Ok(keys)
    }

    fn lanes(
        &self,
        group: GroupName,
        series: &[(i64, SeriesMeta)],
        lanes_max: usize,
    ) -> rusqlite::Result<super::Lanes> {
        let mut newest = BTreeMap::new();
        let scan_max = i64::try_from(lanes_max.saturating_mul(LANE_SCAN_FACTOR)).unwrap_or(i64::MAX);
        let mut read = self.transaction.prepare_cached(
            "SELECT p.at, w.lane, w.clock, w.standing, w.id, w.body FROM place p JOIN write w ON w.id = p.id \
             WHERE p.at BETWEEN ?1 AND ?2 ORDER BY p.at DESC LIMIT ?3",
        )?;
        for (ix, meta) in series {
            let (first, last) = names::places(*ix, 0, NUMBER_MAX);
            let mut rows = read.query((first, last, scan_max))?;
            while let Some(row) = rows.next()? {
                if row.get::<_, i64>(3)? == Standing::Applied as i64 {
                    let lane = Lane(row.get::<_, i64>(1)? as u64);
                    if let Entry::Vacant(newest) = newest.entry((lane, meta.log)) {
                        // A broken one says nothing of its lane, and is met when it is asked for.
                        let body = row.get_ref(5)?.as_blob_or_null()?.unwrap_or_default();
                        let creates = self.row(group, row.get(4)?, body).is_ok_and(|row| super::creates(&row));
                        let (clock_ms, position) = (row.get::<_, i64>(2)? as u64, names::position_of(row.get(0)?));
                        let id = self.names.write_id(row.get(4)?).unwrap_or(WriteId { log: meta.log, n: 0 });
                        newest.insert(super::Newest { clock_ms, id: decided_by(id), position, creates });
                    }
                }
            }
        }
        Ok(super::newest_lanes(newest, lanes_max))
    }

    fn stopped(&self, group: GroupName) -> Result<Option<Stop>, Error> {
        let body: Option<Vec<u8>> = self
            .transaction
            .query_row("SELECT body FROM stopped WHERE grp = ?1", [group.ix], |row| row.get(0))
            .optional()
            .map_err(Error::sqlite("read whether following is stopped"))?;
        // Stopped for a reason that cannot be read any more is stopped.
        Ok(body.map(|body| {
            record::decode(Key::stopped(group.tag), &body)
                .unwrap_or_else(|why| Stop { kind: StopKind::Doubt, why: format!("the stop record is damaged: {why}") })
        }))
    }

    /// Without knowing what it has said, a store must not say anything: an error, not a guess.
    fn age(&self, group: &Group, name: GroupName) -> Result<Age, Error> {
        let body: Option<Vec<u8>> = self
            .transaction
            .query_row("SELECT body FROM age WHERE grp = ?1", [name.ix], |row| row.get(0))
            .optional()
            .map_err(Error::sqlite("read the age of the store"))?;
        let Some(body) = body else { return Ok(Age::default()) };
        record::decode(Key::age(name.tag), &body).map_err(|why| {
            let damage = Damage { record: RecordName::Age(group.clone()), why };
            self.report(&damage);
            damage.into()
        })
    }
}
