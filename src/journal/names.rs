//! Logs, groups and series have small numbers in the tables: a write's row id is its log's number and its own `n`.
use std::collections::HashMap;

use rusqlite::Connection;

use super::record::Tag;
use crate::model::{Group, LogId, NUMBER_MAX, WriteId};

/// Bits of a row id for the number within a log (or a series); the rest is for the log (or the series).
const NUMBER_BITS: u32 = NUMBER_MAX.count_ones();

#[derive(Clone, Copy, Debug)]
pub(super) struct GroupName {
    pub(super) ix: i64,
    pub(super) tag: Tag,
}

/// Only looked up, never iterated where order counts.
#[derive(Default)]
pub(super) struct Names {
    logs: HashMap<LogId, i64>,
    log_by_ix: HashMap<i64, LogId>,
    groups: HashMap<Group, GroupName>,
    series: HashMap<(i64, LogId), i64>,
}

/// First and last place of a series.
pub(super) fn places(series: i64, from: u64, to: u64) -> (i64, i64) {
    (place(series, from.min(NUMBER_MAX)), place(series, to.min(NUMBER_MAX)))
}

/// Where a position is kept in the table of places.
pub(super) fn place(series: i64, position: u64) -> i64 {
    assert!(position <= NUMBER_MAX, "positions are checked before they come here");
    (series << NUMBER_BITS) | position as i64
}

pub(super) fn position_of(place: i64) -> u64 {
    place as u64 & NUMBER_MAX
}

/// All row ids of one log.
pub(super) fn rows_of_log(ix: i64) -> (i64, i64) {
    places(ix, 0, NUMBER_MAX)
}

impl Names {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut names = Names::default();
        let mut logs = connection.prepare_cached("SELECT ix, store, incarnation FROM log")?;
        for log in logs.query_map([], |r| Ok((r.get(0)?, LogId { store: r.get(1)?, incarnation: r.get(2)? })))? {
            let (ix, log) = log?;
            names.logs.insert(log, ix);
            names.log_by_ix.insert(ix, log);
        }
        let mut groups = connection.prepare_cached("SELECT ix, service, store FROM grp")?;
        for group in groups.query_map([], |r| Ok((r.get(0)?, Group { service: r.get(1)?, store: r.get(2)? })))? {
            let (ix, group) = group?;
            let tag = Tag::of_group(&group);
            names.groups.insert(group, GroupName { ix, tag });
        }
        let mut series = connection.prepare_cached("SELECT ix, grp, log FROM series")?;
        for series in series.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))? {
            let (ix, group, log): (i64, i64, i64) = series?;
            if let Some(&log) = names.log_by_ix.get(&log) {
                names.series.insert((group, log), ix);
            }
        }
        Ok(names)
    }

    pub(super) fn group(&self, group: &Group) -> Option<GroupName> {
        self.groups.get(group).copied()
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (&Group, GroupName)> {
        self.groups.iter().map(|(group, name)| (group, *name))
    }

    pub(super) fn logs(&self) -> impl Iterator<Item = i64> {
        self.log_by_ix.keys().copied()
    }

    pub(super) fn series_count(&self) -> usize {
        self.series.len()
    }

    pub(super) fn series(&self, group: i64, log: LogId) -> Option<i64> {
        self.series.get(&(group, log)).copied()
    }

    pub(super) fn row_id(&self, id: WriteId) -> Option<i64> {
        let log = *self.logs.get(&id.log)?;
        (id.n <= NUMBER_MAX).then(|| place(log, id.n))
    }

    pub(super) fn write_id(&self, row_id: i64) -> Option<WriteId> {
        let log = *self.log_by_ix.get(&(row_id >> NUMBER_BITS))?;
        Some(WriteId { log, n: position_of(row_id) })
    }

    pub(super) fn intern_log(&mut self, connection: &Connection, log: LogId) -> rusqlite::Result<i64> {
        if let Some(&ix) = self.logs.get(&log) {
            return Ok(ix);
        }
        let mut insert = connection.prepare_cached("INSERT INTO log (store, incarnation) VALUES (?1, ?2)")?;
        let ix = insert.insert((log.store, log.incarnation))?;
        self.logs.insert(log, ix);
        self.log_by_ix.insert(ix, log);
        Ok(ix)
    }

    pub(super) fn intern_group(&mut self, connection: &Connection, group: &Group) -> rusqlite::Result<GroupName> {
        if let Some(&name) = self.groups.get(group) {
            return Ok(name);
        }
        let mut insert = connection.prepare_cached("INSERT INTO grp (service, store) VALUES (?1, ?2)")?;
        let ix = insert.insert((&group.service, &group.store))?;
        let name = GroupName { ix, tag: Tag::of_group(group) };
        self.groups.insert(group.clone(), name);
        Ok(name)
    }

    pub(super) fn intern_series(&mut self, connection: &Connection, group: i64, log: LogId) -> rusqlite::Result<i64> {
        if let Some(&ix) = self.series.get(&(group, log)) {
            return Ok(ix);
        }
        let log_ix = self.intern_log(connection, log)?;
        let mut insert = connection.prepare_cached("INSERT INTO series (grp, log) VALUES (?1, ?2)")?;
        let ix = insert.insert((group, log_ix))?;
        self.series.insert((group, log), ix);
        Ok(ix)
    }
}
