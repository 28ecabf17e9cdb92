//! What an entry of the quarantine stands behind: of each lane one is the first, and the others name it. Kept in the
//! transaction that puts an entry in or takes it out, so nobody has to remember which lanes have one.
use rusqlite::{OptionalExtension, Params};

use super::apply::{Applier, WriteError};
use super::names::{self, GroupName};
use super::quarantine::since_column;
use super::record::{self, Key, Table};
use super::{Committed, Quarantined};
use crate::model::{Lane, WriteId};

/// Within a lane the oldest comes first, then the one of the lower log.
const NEXT: &str = "SELECT q.id FROM quarantine q INDEXED BY quarantine_lane JOIN log l ON l.ix = q.id >> 44 \
                    WHERE q.grp = ?1 AND q.lane = ?2 ORDER BY q.since, l.store, l.incarnation, q.id LIMIT 1";
const HEAD: &str = "SELECT id FROM quarantine INDEXED BY quarantine_head WHERE grp = ?1 AND lane = ?2 AND first = 1";

impl Applier<'_> {
    pub(super) fn quarantine(
        &mut self,
        group: GroupName,
        entry: &Quarantined,
        committed: &mut Committed,
    ) -> Result<(), WriteError> {
        let row_id = self.row_id(entry.id)?;
        let was = self.entry_of(row_id)?;
        let row = "SELECT pos, lane FROM write WHERE id = ?1";
        let row = self.first(row, [row_id], |row| Ok((row.get::<_, Option<u64>>(0)?, row.get::<_, i64>(1)?)))?;
        let (position, lane) = (row.and_then(|(position, _)| position), row.map(|(_, lane)| lane));
        let head = self.head(group.ix, lane)?.filter(|head| *head != row_id);
        let behind = head.and_then(|head| self.names().write_id(head));
        let mut record = Vec::new();
        let entry = Quarantined { behind, ..entry.clone() };
        record::encode(&mut record, Key::write(Table::Quarantine, group.tag, entry.id), &entry);
        let at = self.names().series(group.ix, entry.id.log).zip(position);
        let at = at.map(|(series, position)| names::place(series, position));
        let sql = "INSERT INTO quarantine (id, grp, reason, since, at, lane, first, waits, body) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
                   ON CONFLICT (id) DO UPDATE SET grp = excluded.grp, reason = excluded.reason, \
                   since = excluded.since, at = excluded.at, lane = excluded.lane, first = excluded.first, \
                   waits = excluded.waits, body = excluded.body";
        let (reason, since) = (entry.reason.number(), since_column(entry.since_ms));
        let waits = !entry.unknown.is_empty();
        self.execute(sql, (row_id, group.ix, reason, since, at, lane, head.is_none(), waits, record))?;
        match was {
            Some((old, true)) if old != lane => self.head_again(group.ix, old)?,
            Some(_) => {}
            None => committed.quarantine += 1,
        }
        Ok(())
    }

    pub(super) fn release(&mut self, id: WriteId, committed: &mut Committed) -> Result<(), WriteError> {
        match self.names().row_id(id) {
            Some(row_id) => self.leave_quarantine(row_id, committed),
            None => Ok(()),
        }
    }

    pub(super) fn leave_quarantine(&mut self, row_id: i64, committed: &mut Committed) -> Result<(), WriteError> {
        let group = self.first("SELECT grp FROM quarantine WHERE id = ?1", [row_id], |row| row.get::<_, i64>(0))?;
        let (Some(group), Some((lane, is_first))) = (group, self.entry_of(row_id)?) else { return Ok(()) };
        self.execute("DELETE FROM quarantine WHERE id = ?1", [row_id])?;
        committed.quarantine -= 1;
        if is_first { self.head_again(group, lane) } else { Ok(()) }
    }

    /// The facts of its write are known now, or other ones.
    pub(super) fn stands_in_lane(&mut self, group: GroupName, row_id: i64, lane: i64) -> Result<(), WriteError> {
        match self.entry_of(row_id)? {
            Some((old, is_first)) if old != Some(lane) => {
                let head = self.head(group.ix, Some(lane))?;
                let sql = "UPDATE quarantine SET lane = ?2, first = ?3 WHERE id = ?1";
                self.execute(sql, (row_id, lane, head.is_none()))?;
                if is_first { self.head_again(group.ix, old) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn has_open_entry(&self, group: GroupName, lane: Lane) -> Result<bool, WriteError> {
        Ok(self.head(group.ix, Some(lane.0 as i64))?.is_some())
    }

    /// The first of its lane has left: the next one takes its place.
    fn head_again(&self, group: i64, lane: Option<i64>) -> Result<(), WriteError> {
        match self.first(NEXT, (group, lane), |row| row.get::<_, i64>(0))? {
            Some(next) => self.execute("UPDATE quarantine SET first = 1 WHERE id = ?1", [next]),
            None => Ok(()),
        }
    }

    fn head(&self, group: i64, lane: Option<i64>) -> Result<Option<i64>, WriteError> {
        match lane {
            Some(lane) => self.first(HEAD, (group, lane), |row| row.get(0)),
            None => Ok(None),
        }
    }

    fn entry_of(&self, row_id: i64) -> Result<Option<(Option<i64>, bool)>, WriteError> {
        self.first("SELECT lane, first FROM quarantine WHERE id = ?1", [row_id], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn first<T>(
        &self,
        sql: &'static str,
        parameters: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, WriteError> {
        let failed = WriteError::sqlite("look into the quarantine");
        let mut find = self.connection().prepare_cached(sql).map_err(&failed)?;
        find.query_row(parameters, read).optional().map_err(&failed)
    }
}
