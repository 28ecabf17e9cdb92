//! The quarantine as people see it: pages, counts, and the order in which orders about many go. No list here is as long
//! as the quarantine is.
use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, named_params};

use super::names::{self, GroupName};
use super::reader::{Reader, Snapshot};
use super::record::{self, Key, Table};
use super::{Damage, Error, QuarantineReason, Quarantined, RecordName, WAITING_MAX};
use crate::model::{Group, Lane, UNKNOWN_MAX, WriteId};

/// Of a request, read for its method and target: bodies may be as large as a page of entries must never be.
const REQUEST_HEAD_BYTES: usize = 4 << 10;

/// Which entries; all by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    pub service: Option<String>,
    pub store: Option<String>,
    pub reason: Option<QuarantineReason>,
    /// Of this moment (wall clock, milliseconds since 1970) or later.
    pub since_ms: Option<u64>,
    pub lane: Option<Lane>,
    /// Of each lane the first alone. Counts, and the order of orders, are of all.
    pub firsts: bool,
}

impl QuarantineFilter {
    fn takes(&self, group: &Group) -> bool {
        self.service.as_ref().is_none_or(|service| *service == group.service)
            && self.store.as_ref().is_none_or(|store| *store == group.store)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QuarantineCounts {
    pub total: u64,
    /// Those of which there are any.
    pub by_reason: BTreeMap<QuarantineReason, u64>,
}

impl QuarantineCounts {
    pub(super) fn of<'q>(entries: impl Iterator<Item = &'q Quarantined>) -> Self {
        let mut counts = Self::default();
        entries.for_each(|entry| counts.add(entry.reason, 1));
        counts
    }
    fn add(&mut self, reason: QuarantineReason, count: u64) {
        self.total += count;
        *self.by_reason.entry(reason).or_default() += count;
    }
}

#[derive(Clone, Debug)]
pub struct QuarantineListed {
    pub group: Group,
    pub entry: Quarantined,
    /// Missing where nothing of the write can be read.
    pub lane: Option<Lane>,
    pub position: Option<u64>,
    /// Method and target of the request, where it is kept.
    pub request: Option<(String, String)>,
    /// The first of its lane now, where that is another one.
    pub behind: Option<WriteId>,
    /// Where it is the first of its lane: so many stand behind it.
    pub others: u64,
}

#[derive(Clone, Debug, Default)]
pub struct QuarantinePage {
    pub entries: Vec<QuarantineListed>,
    /// Where the next page goes on; `None` on the last one.
    pub next: Option<(u64, WriteId)>,
    /// How many there are on all pages.
    pub counts: QuarantineCounts,
    /// So many are the first of their lanes, whatever the filter says of reasons and times.
    pub firsts: u64,
}

/// One entry in the order of [`super::Journal::quarantine_in_order`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InOrder {
    pub group: Group,
    pub id: WriteId,
    /// Where it stands; `None` while it has no position.
    pub position: Option<u64>,
}

/// What of `since_ms` a column can hold.
pub(super) fn since_column(since_ms: u64) -> i64 {
    i64::try_from(since_ms).unwrap_or(i64::MAX)
}

fn damaged(id: WriteId, why: String) -> Quarantined {
    Quarantined::new(id, QuarantineReason::Damaged, why, 0)
}

impl Reader {
    pub(super) fn quarantine_page(
        &mut self,
        filter: &QuarantineFilter,
        after: Option<(u64, WriteId)>,
        limit: usize,
    ) -> Result<QuarantinePage, Error> {
        let failed = || Error::sqlite("read the quarantine");
        let snapshot = self.snapshot()?;
        // A log that is not known here has no entries: the moment alone tells where to go on.
        let after = after.map(|(since_ms, id)| (since_column(since_ms), snapshot.names.row_id(id).unwrap_or(i64::MAX)));
        let mut found = Vec::new();
        let mut counts = QuarantineCounts::default();
        let mut firsts = 0;
        for (group, name) in snapshot.groups_of(filter) {
            snapshot.page_of_group(group, name, filter, after, limit + 1, &mut found).map_err(failed())?;
            let of_group = snapshot.count_quarantine(name.ix, filter).map_err(failed())?;
            of_group.by_reason.into_iter().for_each(|(reason, count)| counts.add(reason, count));
            firsts += snapshot.count_firsts(name.ix).map_err(failed())?;
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let entries: Vec<QuarantineListed> = found.into_iter().map(|(_, listed)| listed).collect();
        let next = entries.last().filter(|_| has_more).map(|last| (last.entry.since_ms, last.entry.id));
        Ok(QuarantinePage { entries, next, counts, firsts })
    }

    /// How many lanes of a group have an entry.
    pub(super) fn quarantine_firsts(&mut self, group: &Group) -> Result<u64, Error> {
        let snapshot = self.snapshot()?;
        let Some(name) = snapshot.names.group(group) else { return Ok(0) };
        snapshot.count_firsts(name.ix).map_err(Error::sqlite("count the lanes in quarantine"))
    }

    pub(super) fn quarantine_counts(&mut self, filter: &QuarantineFilter) -> Result<QuarantineCounts, Error> {
        let snapshot = self.snapshot()?;
        let mut counts = QuarantineCounts::default();
        for (_, name) in snapshot.groups_of(filter) {
            let of_group = snapshot.count_quarantine(name.ix, filter).map_err(Error::sqlite("count the quarantine"))?;
            of_group.by_reason.into_iter().for_each(|(reason, count)| counts.add(reason, count));
        }
        Ok(counts)
    }

    /// Also where the row of its write cannot be read.
    pub(super) fn quarantine_entry(&mut self, id: WriteId) -> Result<Option<(Group, Quarantined)>, Error> {
        let snapshot = self.snapshot()?;
        let sql = "SELECT grp, body FROM quarantine WHERE id = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?));
        let found = snapshot.transaction.query_row(sql, [snapshot.names.row_id(id)], read).optional();
        let Some((ix, body)) = found.map_err(Error::sqlite("read an entry of the quarantine"))? else {
            return Ok(None);
        };
        let group = snapshot.names.groups().find(|(_, name)| name.ix == ix);
        Ok(group.map(|(group, name)| (group.clone(), snapshot.entry(name, id, &body))))
    }

    /// A row that cannot be read is in one's hands too: its entry, or the columns beside it, say whose it is.
    pub(super) fn quarantine_group(&mut self, id: WriteId) -> Result<Option<Group>, Error> {
        let snapshot = self.snapshot()?;
        let sql = "SELECT grp FROM quarantine WHERE id = ?1 UNION ALL SELECT grp FROM write WHERE id = ?1 LIMIT 1";
        let found = snapshot.transaction.query_row(sql, [snapshot.names.row_id(id)], |row| row.get(0)).optional();
        let group: Option<i64> = found.map_err(Error::sqlite("find the group of a write"))?;
        Ok(snapshot.names.groups().find(|(_, name)| Some(name.ix) == group).map(|(group, _)| group.clone()))
    }

    pub(super) fn quarantine_in_order(
        &mut self,
        filter: &QuarantineFilter,
        after: Option<&InOrder>,
        limit: usize,
    ) -> Result<Vec<InOrder>, Error> {
        let snapshot = self.snapshot()?;
        let mut entries = Vec::new();
        let groups = snapshot.groups_of(filter).into_iter();
        for (group, name) in groups.skip_while(|(group, _)| after.is_some_and(|after| after.group != **group)) {
            let after = after.filter(|after| after.group == *group);
            snapshot
                .in_order_of_group(group, name, filter, after, limit, &mut entries)
                .map_err(Error::sqlite("read the quarantine in order"))?;
        }
        Ok(entries)
    }
}

impl Snapshot<'_> {
    /// In a fixed order.
    fn groups_of(&self, filter: &QuarantineFilter) -> Vec<(&Group, GroupName)> {
        let mut groups: Vec<_> = self.names.groups().filter(|(group, _)| filter.takes(group)).collect();
        groups.sort_unstable_by_key(|(_, name)| name.ix);
        groups
    }

    /// An entry that cannot be read is one all the same.
    pub(super) fn entry(&self, group: GroupName, id: WriteId, body: &[u8]) -> Quarantined {
        record::decode(Key::write(Table::Quarantine, group.tag, id), body).unwrap_or_else(|why| {
            self.report(&Damage { record: RecordName::Quarantined(id), why: why.clone() });
            damaged(id, format!("the record that says why it is in quarantine: {why}"))
        })
    }

    /// What stands in quarantine with a row that cannot be read: its entry, if there is one.
    pub(super) fn take_damaged(
        &self,
        group: GroupName,
        id: WriteId,
        why: String,
        quarantined: &mut BTreeMap<WriteId, Quarantined>,
    ) -> rusqlite::Result<()> {
        let mut find = self.transaction.prepare_cached("SELECT body FROM quarantine WHERE id = ?1")?;
        let body: Option<Vec<u8>> = find.query_row([self.names.row_id(id)], |row| row.get(0)).optional()?;
        let entry = body.map(|body| self.entry(group, id, &body)).unwrap_or_else(|| damaged(id, why));
        quarantined.entry(id).or_insert(entry);
        Ok(())
    }

    /// By order of their ids.
    pub(super) fn first_of_quarantine(
        &self,
        group: GroupName,
        limit: usize,
    ) -> rusqlite::Result<BTreeMap<WriteId, Quarantined>> {
        let mut first = BTreeMap::new();
        let mut logs: Vec<i64> = self.names.logs().collect();
        logs.sort_unstable_by_key(|ix| self.names.write_id(names::rows_of_log(*ix).0));
        let mut read = self.transaction.prepare_cached(
            "SELECT id, body FROM quarantine WHERE id BETWEEN ?1 AND ?2 AND grp = ?3 ORDER BY id LIMIT ?4",
        )?;
        for log in logs {
            let left = i64::try_from(limit - first.len()).unwrap_or(i64::MAX);
            if left == 0 {
                break;
            }
            let (from, to) = names::rows_of_log(log);
            let mut rows = read.query((from, to, group.ix, left))?;
            while let Some(row) = rows.next()? {
                let Some(id) = self.names.write_id(row.get(0)?) else { continue };
                first.insert(id, self.entry(group, id, row.get_ref(1)?.as_blob()?));
            }
        }
        Ok(first)
    }

    /// Of an index alone, but for those of a lane: the entries themselves are not read.
    pub(super) fn count_quarantine(&self, group: i64, filter: &QuarantineFilter) -> rusqlite::Result<QuarantineCounts> {
        if let Some(lane) = filter.lane {
            return self.count_lane(group, lane, filter);
        }
        let mut count = self.transaction.prepare_cached(
            "SELECT count(*) FROM quarantine INDEXED BY quarantine_reason \
             WHERE grp = ?1 AND reason = ?2 AND since >= ?3",
        )?;
        let mut counts = QuarantineCounts::default();
        for reason in QuarantineReason::ALL {
            if filter.reason.is_some_and(|wanted| wanted != reason) {
                continue;
            }
            let since = since_column(filter.since_ms.unwrap_or(0));
            let of_reason: u64 = count.query_row((group, reason.number(), since), |row| row.get(0))?;
            if of_reason > 0 {
                counts.add(reason, of_reason);
            }
        }
        Ok(counts)
    }

    pub(super) fn waiting(&self, group: GroupName) -> rusqlite::Result<Vec<(WriteId, Vec<WriteId>)>> {
        let mut read = self.transaction.prepare_cached(&format!(
            "SELECT q.id, q.body FROM quarantine q INDEXED BY quarantine_waits JOIN log l ON l.ix = q.id >> 44 \
             WHERE q.grp = ?1 AND q.waits = 1 ORDER BY q.since, l.store, l.incarnation, q.id LIMIT {WAITING_MAX}"
        ))?;
        let mut rows = read.query([group.ix])?;
        let mut waiting = Vec::new();
        while let Some(row) = rows.next()? {
            let Some(id) = self.names.write_id(row.get(0)?) else { continue };
            waiting.push((id, self.entry(group, id, row.get_ref(1)?.as_blob()?).unknown));
        }
        Ok(waiting)
    }

    pub(super) fn unknown(&self, group: GroupName) -> rusqlite::Result<Vec<WriteId>> {
        let mut read = self.transaction.prepare_cached(&format!(
            "SELECT q.id FROM quarantine q INDEXED BY quarantine_reason JOIN log l ON l.ix = q.id >> 44 \
             WHERE q.grp = ?1 AND q.reason = ?2 ORDER BY q.since DESC, l.store DESC, l.incarnation DESC, q.id DESC \
             LIMIT {UNKNOWN_MAX}"
        ))?;
        let ids = read.query_map((group.ix, QuarantineReason::UnknownOutcome.number()), |row| row.get(0))?;
        let ids = ids.collect::<rusqlite::Result<Vec<i64>>>()?;
        Ok(ids.into_iter().filter_map(|id| self.names.write_id(id)).collect())
    }

    /// So many lanes have an entry, and so many entries have no lane.
    pub(super) fn count_firsts(&self, group: i64) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM quarantine INDEXED BY quarantine_first WHERE grp = ?1 AND first = 1";
        self.transaction.prepare_cached(sql)?.query_row([group], |row| row.get(0))
    }

    fn count_lane(&self, group: i64, lane: Lane, filter: &QuarantineFilter) -> rusqlite::Result<QuarantineCounts> {
        let sql = "SELECT reason, count(*) FROM quarantine INDEXED BY quarantine_lane \
                   WHERE grp = ?1 AND lane = ?2 AND since >= ?3 GROUP BY reason";
        let mut count = self.transaction.prepare_cached(sql)?;
        let mut rows = count.query((group, lane.0 as i64, since_column(filter.since_ms.unwrap_or(0))))?;
        let mut counts = QuarantineCounts::default();
        while let Some(row) = rows.next()? {
            let (number, of_reason): (i64, u64) = (row.get(0)?, row.get(1)?);
            let reason = QuarantineReason::ALL.into_iter().find(|reason| reason.number() == number);
            if let Some(reason) = reason.filter(|reason| filter.reason.is_none_or(|wanted| wanted == *reason)) {
                counts.add(reason, of_reason);
            }
        }
        Ok(counts)
    }

    fn page_of_group(
        &self,
        group: &Group,
        name: GroupName,
        filter: &QuarantineFilter,
        after: Option<(i64, i64)>,
        limit: usize,
        found: &mut Vec<((i64, i64), QuarantineListed)>,
    ) -> rusqlite::Result<()> {
        let index = match filter {
            QuarantineFilter { lane: Some(_), .. } => "quarantine_lane",
            QuarantineFilter { firsts: true, .. } => "quarantine_first",
            QuarantineFilter { reason: Some(_), .. } => "quarantine_reason",
            _ => "quarantine_since",
        };
        let reason = if filter.reason.is_some() { "q.reason = :reason" } else { ":reason IS NULL" };
        let lane = if filter.lane.is_some() { "q.lane = :lane" } else { ":lane IS NULL" };
        let first = if filter.firsts { "q.first = 1" } else { "1" };
        let mut read = self.transaction.prepare_cached(&format!(
            "SELECT q.since, q.id, q.body, q.lane, q.at, substr(r.body, 1, {REQUEST_HEAD_BYTES}), \
             iif(q.first, NULL, (SELECT h.id FROM quarantine h INDEXED BY quarantine_head \
             WHERE h.grp = q.grp AND h.lane = q.lane AND h.first = 1)), \
             iif(q.first AND q.lane IS NOT NULL, (SELECT count(*) - 1 FROM quarantine o INDEXED BY quarantine_lane \
             WHERE o.grp = q.grp AND o.lane = q.lane), 0) \
             FROM quarantine q INDEXED BY {index} LEFT JOIN request r ON r.id = q.id \
             WHERE q.grp = :grp AND {reason} AND {lane} AND {first} AND q.since >= :since \
             AND (q.since, q.id) > (:at, :id) ORDER BY q.since, q.id LIMIT :limit"
        ))?;
        let (at, id) = after.unwrap_or((-1, -1));
        let mut rows = read.query(named_params! {
            ":grp": name.ix,
            ":reason": filter.reason.map(QuarantineReason::number),
            ":lane": filter.lane.map(|lane| lane.0 as i64),
            // One bound for the index: the later of both.
            ":since": since_column(filter.since_ms.unwrap_or(0)).max(at),
            ":at": at,
            ":id": id,
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        })?;
        while let Some(row) = rows.next()? {
            let place: (i64, i64) = (row.get(0)?, row.get(1)?);
            let Some(id) = self.names.write_id(place.1) else { continue };
            let request = row.get_ref(5)?.as_blob_or_null()?.and_then(record::peek::<(String, String)>);
            found.push((
                place,
                QuarantineListed {
                    group: group.clone(),
                    entry: self.entry(name, id, row.get_ref(2)?.as_blob()?),
                    lane: row.get::<_, Option<i64>>(3)?.map(|lane| Lane(lane as u64)),
                    position: row.get::<_, Option<i64>>(4)?.map(names::position_of),
                    request,
                    behind: row.get::<_, Option<i64>>(6)?.and_then(|id| self.names.write_id(id)),
                    others: row.get(7)?,
                },
            ));
        }
        Ok(())
    }

    fn in_order_of_group(
        &self,
        group: &Group,
        name: GroupName,
        filter: &QuarantineFilter,
        after: Option<&InOrder>,
        limit: usize,
        entries: &mut Vec<InOrder>,
    ) -> rusqlite::Result<()> {
        let chosen = "grp = ?1 AND since >= ?2 AND reason IN (SELECT value FROM json_each(?3)) \
                      AND (?6 IS NULL OR lane = ?6)";
        let lane = filter.lane.map(|lane| lane.0 as i64);
        let since = since_column(filter.since_ms.unwrap_or(0));
        let reasons =
            QuarantineReason::ALL.into_iter().filter(|reason| filter.reason.is_none_or(|wanted| wanted == *reason));
        let reasons = format!("{:?}", reasons.map(QuarantineReason::number).collect::<Vec<_>>());
        let place =
            |at: &InOrder| at.position.zip(self.names.series(name.ix, at.id.log)).map(|(p, s)| names::place(s, p));
        let after_place = after.map_or(Some(-1), place);
        if let Some(place) = after_place {
            let sql = format!(
                "SELECT at, id FROM quarantine INDEXED BY quarantine_place WHERE {chosen} AND at > ?4 \
                 ORDER BY at LIMIT ?5"
            );
            let mut read = self.transaction.prepare_cached(&sql)?;
            let mut rows = read.query((name.ix, since, &reasons, place, left(limit, entries), lane))?;
            while let Some(row) = rows.next()? {
                let Some(id) = self.names.write_id(row.get(1)?) else { continue };
                entries.push(InOrder { group: group.clone(), id, position: Some(names::position_of(row.get(0)?)) });
            }
        }
        let after_id = match (after, after_place) {
            (Some(after), None) => self.names.row_id(after.id).unwrap_or(-1),
            _ => -1,
        };
        let sql = format!(
            "SELECT id FROM quarantine INDEXED BY quarantine_place WHERE {chosen} AND at IS NULL AND id > ?4 \
             ORDER BY id LIMIT ?5"
        );
        let mut read = self.transaction.prepare_cached(&sql)?;
        let mut rows = read.query((name.ix, since, &reasons, after_id, left(limit, entries), lane))?;
        while let Some(row) = rows.next()? {
            let Some(id) = self.names.write_id(row.get(0)?) else { continue };
            entries.push(InOrder { group: group.clone(), id, position: None });
        }
        Ok(())
    }
}

fn left(limit: usize, entries: &[InOrder]) -> i64 {
    i64::try_from(limit.saturating_sub(entries.len())).unwrap_or(i64::MAX)
}
