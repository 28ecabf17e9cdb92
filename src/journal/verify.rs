//! `holdfast journal verify`: reads every record and names each broken one.
use super::names::{self, GroupName};
use super::quarantine::since_column;
use super::reader::{Reader, Snapshot};
use super::record::{self, Key, Table};
use super::standing::Standing;
use super::{Age, Damage, Error, Quarantined, RecordName, Row, SeriesMeta};
use crate::model::{Chain, Group, Item, NUMBER_MAX};

/// Broken records that a report names; all are counted.
const NAMED_MAX: usize = 1_000;

#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    pub rows: u64,
    pub requests: u64,
    pub positions: u64,
    pub quarantined: u64,
    pub broken: u64,
    /// The first 1,000 of them.
    pub damages: Vec<Damage>,
}

impl Report {
    pub fn is_whole(&self) -> bool {
        self.broken == 0
    }
    fn add(&mut self, damage: Damage) {
        self.broken += 1;
        if self.damages.len() < NAMED_MAX {
            self.damages.push(damage);
        }
    }
    fn step(&mut self, what: &str, result: rusqlite::Result<()>) {
        if let Err(error) = result {
            self.add(Damage { record: RecordName::Database, why: format!("its {what} cannot be read: {error}") });
        }
    }
    fn check<T>(&mut self, checked: Result<T, Damage>) -> Option<T> {
        checked.map_err(|damage| self.add(damage)).ok()
    }
}

impl Reader {
    pub(super) fn verify(&mut self) -> Result<Report, Error> {
        let snapshot = self.snapshot()?;
        let mut report = Report::default();
        // A step that SQLite cannot carry out is a damage like any other: the next one may find more.
        let pages = snapshot.pages(&mut report);
        report.step("pages", pages);
        let names = snapshot.names_of_series(&mut report);
        report.step("names", names);
        let mut groups: Vec<_> = snapshot.names.groups().collect();
        groups.sort_by_key(|(_, name)| name.ix);
        for (group, name) in groups {
            let rows = snapshot.rows(name, &mut report);
            report.step("rows", rows);
            let quarantine = snapshot.quarantine(name, &mut report);
            report.step("quarantine", quarantine);
            let series = snapshot.series_of(group, name, &mut report);
            report.step("series", series);
        }
        let requests = snapshot.requests(&mut report);
        report.step("requests", requests);
        let small = snapshot.small_records(&mut report);
        report.step("small records", small);
        Ok(report)
    }
}

fn damage(record: RecordName, why: impl Into<String>) -> Result<(), Damage> {
    Err(Damage { record, why: why.into() })
}

impl Snapshot<'_> {
    fn series_of(&self, group: &Group, name: GroupName, report: &mut Report) -> rusqlite::Result<()> {
        for (ix, meta) in super::apply::read_metas(&self.transaction, name, self.names)? {
            if let Some(meta) = report.check(meta) {
                self.positions(group, name, ix, &meta, report)?;
            }
        }
        Ok(())
    }

    /// What SQLite itself can find: damaged pages and indexes that do not fit their tables.
    fn pages(&self, report: &mut Report) -> rusqlite::Result<()> {
        let mut check = self.transaction.prepare("PRAGMA integrity_check(100)")?;
        for line in check.query_map([], |row| row.get::<_, String>(0))? {
            let line = line?;
            if line != "ok" {
                report.check(damage(RecordName::Database, line));
            }
        }
        Ok(())
    }

    fn names_of_series(&self, report: &mut Report) -> rusqlite::Result<()> {
        for (what, nameless) in [
            ("rows", "write WHERE grp NOT IN (SELECT ix FROM grp) OR (id >> 44) NOT IN (SELECT ix FROM log)"),
            ("quarantined writes", "quarantine WHERE grp NOT IN (SELECT ix FROM grp)"),
            ("stop records", "stopped WHERE grp NOT IN (SELECT ix FROM grp)"),
            ("age records", "age WHERE grp NOT IN (SELECT ix FROM grp)"),
            ("series", "series WHERE grp NOT IN (SELECT ix FROM grp) OR log NOT IN (SELECT ix FROM log)"),
            ("positions", "place WHERE (at >> 44) NOT IN (SELECT ix FROM series)"),
        ] {
            let count = format!("SELECT count(*) FROM {nameless}");
            let nameless: u64 = self.transaction.query_row(&count, [], |row| row.get(0))?;
            if nameless > 0 {
                let why = format!("{nameless} {what} are of a log or group without a name");
                report.check(damage(RecordName::Database, why));
            }
        }
        Ok(())
    }

    fn rows(&self, group: GroupName, report: &mut Report) -> rusqlite::Result<()> {
        let mut read = self.transaction.prepare(
            "SELECT w.id, w.body, w.key, w.standing, w.clock, w.lane, w.pos, \
             EXISTS (SELECT 1 FROM request r WHERE r.id = w.id) FROM write w WHERE w.grp = ?1",
        )?;
        let mut rows = read.query([group.ix])?;
        while let Some(found) = rows.next()? {
            report.rows += 1;
            let Some(row) = report.check(self.row(group, found.get(0)?, found.get_ref(1)?.as_blob()?)) else {
                continue;
            };
            let columns: (Option<i64>, i64, i64, i64, Option<i64>) =
                (found.get(2)?, found.get(3)?, found.get(4)?, found.get(5)?, found.get(6)?);
            report.check(check_columns(&row, columns));
            report.check(check_request(&row, found.get(7)?));
            if let Some((position, _)) = row.position {
                report.check(self.check_place(group, &row, found.get(0)?, position)?);
            }
        }
        Ok(())
    }

    fn check_place(
        &self,
        group: GroupName,
        row: &Row,
        row_id: i64,
        position: u64,
    ) -> rusqlite::Result<Result<(), Damage>> {
        let mut find = self.transaction.prepare_cached("SELECT 1 FROM place WHERE at = ?1 AND id = ?2")?;
        let series = self.names.series(group.ix, row.id.log);
        let there = match series {
            Some(series) if position <= NUMBER_MAX => find.exists((names::place(series, position), row_id))?,
            _ => false,
        };
        let record = RecordName::Row(row.id);
        Ok(if there {
            Ok(())
        } else {
            damage(record, format!("its position {position} is not in the list of positions"))
        })
    }

    fn requests(&self, report: &mut Report) -> rusqlite::Result<()> {
        let mut read = self
            .transaction
            .prepare("SELECT r.id, r.body, w.grp FROM request r LEFT JOIN write w ON w.id = r.id ORDER BY r.id")?;
        let mut rows = read.query([])?;
        while let Some(found) = rows.next()? {
            report.requests += 1;
            let Some(id) = self.names.write_id(found.get(0)?) else {
                report.check(damage(RecordName::Database, "a request is of a log without a name"));
                continue;
            };
            let group: Option<i64> = found.get(2)?;
            match group.and_then(|ix| self.names.groups().find(|(_, name)| name.ix == ix)) {
                Some((_, name)) => {
                    report.check(self.request(name, id, found.get_ref(1)?.as_blob()?));
                }
                None => {
                    report.check(damage(RecordName::Request(id), "the row of its write is missing"));
                }
            }
        }
        Ok(())
    }

    fn quarantine(&self, group: GroupName, report: &mut Report) -> rusqlite::Result<()> {
        let lanes = "SELECT count(*) FROM (SELECT 1 FROM quarantine WHERE grp = ?1 AND lane IS NOT NULL \
                     GROUP BY lane HAVING sum(first) <> 1)";
        if self.transaction.query_row(lanes, [group.ix], |row| row.get::<_, i64>(0))? > 0 {
            report.check(damage(RecordName::Database, "a lane in quarantine has no first entry, or several"));
        }
        let mut read = self.transaction.prepare(
            "SELECT q.id, q.body, q.reason, q.since, q.at, q.lane, w.pos, w.lane, w.id FROM quarantine q \
             LEFT JOIN write w ON w.id = q.id WHERE q.grp = ?1",
        )?;
        let mut rows = read.query([group.ix])?;
        while let Some(row) = rows.next()? {
            report.quarantined += 1;
            let Some(id) = self.names.write_id(row.get(0)?) else {
                report.check(damage(RecordName::Database, "a quarantined write is of a log without a name"));
                continue;
            };
            let key = Key::write(Table::Quarantine, group.tag, id);
            let read = record::decode::<Quarantined>(key, row.get_ref(1)?.as_blob()?);
            let Some(entry) = report.check(read.map_err(|why| Damage { record: RecordName::Quarantined(id), why }))
            else {
                continue;
            };
            let columns: (i64, i64, Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
            let series = self.names.series(group.ix, id.log);
            let at = series.zip(row.get::<_, Option<u64>>(6)?).map(|(series, position)| names::place(series, position));
            let right = (entry.reason.number(), since_column(entry.since_ms), at, row.get::<_, Option<i64>>(7)?);
            // Where the row is missing, that is said of the row.
            let fits = columns.0 == right.0
                && columns.1 == right.1
                && (row.get::<_, Option<i64>>(8)?.is_none() || columns.2 == right.2)
                && (columns.3.is_none() || right.3.is_none() || columns.3 == right.3);
            if !fits {
                let why = format!("found by (reason, since, place, lane) {columns:?}, right is {right:?}");
                report.check(damage(RecordName::Quarantined(id), why));
            }
        }
        Ok(())
    }

    /// Dense, each where it says it is, and chained.
    fn positions(
        &self,
        group: &Group,
        name: GroupName,
        ix: i64,
        meta: &SeriesMeta,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        let at = |position| RecordName::Position { group: group.clone(), log: meta.log, position };
        let mut read = self.transaction.prepare(
            "SELECT p.at, p.id, w.body FROM place p LEFT JOIN write w ON w.id = p.id WHERE p.at BETWEEN ?1 AND ?2 \
             ORDER BY p.at",
        )?;
        let mut rows = read.query(names::places(ix, meta.forgotten + 1, NUMBER_MAX))?;
        let mut expected = meta.forgotten + 1;
        // Unknown behind what was forgotten, and behind a broken row.
        let mut chain = (meta.forgotten == 0).then(Chain::default);
        let missing = |expected, found| format!("missing, and all up to {} (before {found})", expected);
        while let Some(row) = rows.next()? {
            report.positions += 1;
            let position = names::position_of(row.get(0)?);
            if position > expected && expected <= meta.received {
                report.check(damage(at(expected), missing((position - 1).min(meta.received), position)));
                chain = None;
            }
            expected = position + 1;
            let found = match row.get_ref(2)?.as_blob_or_null()? {
                // Its own damage was reported with the rows.
                Some(body) => self.row(name, row.get(1)?, body).ok(),
                None => {
                    report.check(damage(at(position), "its row is missing"));
                    None
                }
            };
            let item = found.and_then(|found| found.item(None)).filter(|item| item.position == position);
            chain = item.and_then(|item| {
                let right = chain.map(|chain| Item::chain_over(chain, position, item.id, &item.facts, &item.outcome));
                let fits = right.is_none_or(|right| right == item.chain);
                report.check(if fits {
                    Ok(())
                } else {
                    damage(at(position), "its chain does not follow from the one before")
                })?;
                Some(item.chain)
            });
            if position == meta.received && chain.is_some_and(|chain| chain != meta.chain) {
                let record = RecordName::Series { group: group.clone(), log: meta.log };
                report.check(damage(record, format!("its chain is not the one of position {position}")));
            }
        }
        if expected <= meta.received {
            report.check(damage(at(expected), missing(meta.received, meta.received + 1)));
        }
        Ok(())
    }

    fn small_records(&self, report: &mut Report) -> rusqlite::Result<()> {
        let mut read = self.transaction.prepare("SELECT grp, body FROM stopped")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let ix: i64 = row.get(0)?;
            if let Some((group, name)) = self.names.groups().find(|(_, name)| name.ix == ix) {
                let read = record::decode::<super::Stop>(Key::stopped(name.tag), row.get_ref(1)?.as_blob()?);
                report.check(read.map_err(|why| Damage { record: RecordName::Stopped(group.clone()), why }));
            }
        }
        let mut read = self.transaction.prepare("SELECT grp, body FROM age")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let ix: i64 = row.get(0)?;
            if let Some((group, name)) = self.names.groups().find(|(_, name)| name.ix == ix) {
                let read = record::decode::<Age>(Key::age(name.tag), row.get_ref(1)?.as_blob()?);
                report.check(read.map_err(|why| Damage { record: RecordName::Age(group.clone()), why }));
            }
        }
        let mut read = self.transaction.prepare("SELECT name, body FROM named")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let checked = record::check(Key::named(&name), row.get_ref(1)?.as_blob()?);
            report.check(checked.map_err(|why| Damage { record: RecordName::Named(name), why }));
        }
        Ok(())
    }
}

/// The columns that a row is found by say the same as the row.
fn check_columns(row: &Row, columns: (Option<i64>, i64, i64, i64, Option<i64>)) -> Result<(), Damage> {
    let right = (
        row.facts.key.map(|key| key.short() as i64),
        Standing::of(row) as i64,
        row.settled_clock_ms as i64,
        row.facts.lane.0 as i64,
        row.position.map(|(position, _)| position as i64),
    );
    if columns == right {
        return Ok(());
    }
    let why = format!("found by (key, standing, clock, lane, position) {columns:?}, its record says {right:?}");
    damage(RecordName::Row(row.id), why)
}

/// A request is needed where followers need it, and while something is left to be done.
fn check_request(row: &Row, there: bool) -> Result<(), Damage> {
    let needed = match row.item(None) {
        Some(item) => item.is_followed(),
        None => Standing::of(row) == Standing::Open,
    };
    if needed && !there { damage(RecordName::Request(row.id), "it is missing although it is needed") } else { Ok(()) }
}
