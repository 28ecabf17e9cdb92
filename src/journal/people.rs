//! What people look at: lists of writes, one write, the quarantine, numbers.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::OptionalExtension;

use super::names::{self, GroupName};
use super::reader::{Reader, Snapshot};
use super::shared::Shared;
use super::standing::Standing;
use super::{Error, Quarantined, Row, Space};
use crate::journal::Found;
use crate::model::{Group, KeyHash, Lane, LogId, Request, WriteId};

/// Rows of one log that a listing looks at, at most: a rare state must not make it read everything.
const LIST_SCAN_MAX: usize = 200_000;
/// A lane may be named in a body; longer ones are left out of lists.
const LISTED_BODY_MAX: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListState {
    /// Something is left to be done with it here.
    Open,
    /// Received from another site, not touched yet.
    Received,
    /// Never sent; its client was told so.
    Cancelled,
    /// Settled, and applied at this replica.
    Applied,
    /// Settled, and nothing to apply at this replica.
    Settled,
}

impl ListState {
    fn of(row: &Row) -> Self {
        match Standing::of(row) {
            Standing::Open => ListState::Open,
            Standing::Received => ListState::Received,
            Standing::Cancelled => ListState::Cancelled,
            Standing::Applied => ListState::Applied,
            Standing::Final => ListState::Settled,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub group: Option<Group>,
    pub lane: Option<Lane>,
    pub state: Option<ListState>,
    /// Continue behind this one.
    pub after: Option<WriteId>,
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub group: Group,
    pub state: ListState,
    pub row: Row,
    /// Without its body, where that is long.
    pub request: Option<Arc<Request>>,
}

#[derive(Clone, Debug)]
pub struct Shown {
    pub group: Group,
    pub state: ListState,
    pub row: Row,
    pub request: Option<Arc<Request>>,
    pub quarantined: Option<Quarantined>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Stats {
    /// Rows that have a position.
    pub settled: u64,
    /// Rows that something is left to be done with.
    pub open: u64,
    pub quarantined: u64,
    /// Wall clock of the origin at acceptance, of the oldest row kept; milliseconds since 1970.
    pub oldest_original_ms: Option<u64>,
    pub page_bytes: u64,
    pub pages: u64,
    /// Pages that new rows will use again.
    pub free_pages: u64,
    pub wal_bytes: u64,
    pub disk_free_bytes: u64,
    pub space: Space,
    /// Since this process began.
    pub transactions: u64,
    pub batches: u64,
    pub damaged: usize,
}

/// When the write at a position was accepted, and when it was settled or decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Wall clock of its origin, milliseconds since 1970.
    pub original_ms: u64,
    /// The retention clock ([`super::Journal::clock_ms`]); 0 where it is not decided.
    pub clock_ms: u64,
}

/// How much of the disk is taken, and left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the database and its write-ahead log.
    pub journal_bytes: u64,
    pub disk_free_bytes: u64,
}

impl Reader {
    /// Of each series the first write from a position on that is still kept; `None` where there is none, or it cannot
    /// be read.
    pub(super) fn ages(&mut self, asked: &[(Group, LogId, u64)]) -> Result<Vec<Option<Aged>>, Error> {
        let failed = || Error::sqlite("read when writes were accepted");
        let snapshot = self.snapshot()?;
        let mut find = snapshot
            .transaction
            .prepare_cached(
                "SELECT w.id, w.body FROM place p JOIN write w ON w.id = p.id \
                 WHERE p.at BETWEEN ?1 AND ?2 ORDER BY p.at LIMIT 1",
            )
            .map_err(failed())?;
        let mut ages = Vec::with_capacity(asked.len());
        for (group, log, from) in asked {
            let place =
                snapshot.names.group(group).and_then(|name| Some((name, snapshot.names.series(name.ix, *log)?)));
            let Some((name, series)) = place else {
                ages.push(None);
                continue;
            };
            let row = |row: &rusqlite::Row<'_>| Ok(snapshot.row(name, row.get(0)?, row.get_ref(1)?.as_blob()?).ok());
            let row = find.query_row(names::places(series, *from, crate::model::NUMBER_MAX), row).optional();
            let aged = |row: Row| Aged { original_ms: row.facts.original_ms, clock_ms: row.settled_clock_ms };
            ages.push(row.map_err(failed())?.flatten().map(aged));
        }
        Ok(ages)
    }

    pub(super) fn usage(&mut self) -> Result<Usage, Error> {
        let shared = self.shared.clone();
        let snapshot = self.snapshot()?;
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: i64 =
            snapshot.transaction.query_row(sql, [], |row| row.get(0)).map_err(Error::sqlite("read the size"))?;
        Ok(Usage {
            journal_bytes: bytes.unsigned_abs() + shared.log_bytes(),
            disk_free_bytes: shared.free_bytes.load(Ordering::Relaxed),
        })
    }

    pub(super) fn list(&mut self, filter: &Filter) -> Result<Vec<Listed>, Error> {
        let snapshot = self.snapshot()?;
        let mut listed = Vec::new();
        let before = match filter.after {
            // What stood behind a write that is forgotten is older still.
            Some(id) => match snapshot.accepted_at(id)? {
                Some(original_ms) => Some((original_ms, id)),
                None => return Ok(listed),
            },
            None => None,
        };
        for log in snapshot.names.logs() {
            snapshot.list_log(log, filter, before, &mut listed).map_err(Error::sqlite("list writes"))?;
        }
        listed.sort_by_key(|listed| std::cmp::Reverse((listed.row.facts.original_ms, listed.row.id)));
        listed.truncate(filter.limit);
        Ok(listed)
    }

    pub(super) fn show(&mut self, id: WriteId) -> Result<Option<Shown>, Error> {
        let snapshot = self.snapshot()?;
        let groups: Vec<_> = snapshot.names.groups().collect();
        for (group, name) in groups {
            if let Some(found) = snapshot.find_id(name, id)? {
                return Ok(Some(shown(group, found)));
            }
        }
        Ok(None)
    }

    pub(super) fn show_key(&mut self, key: KeyHash) -> Result<Vec<Shown>, Error> {
        let snapshot = self.snapshot()?;
        let mut all = Vec::new();
        for (group, name) in snapshot.names.groups() {
            for found in snapshot.find_key(name, key)? {
                all.push(shown(group, found));
            }
        }
        all.sort_by_key(|shown: &Shown| shown.row.id);
        Ok(all)
    }

    pub(super) fn stats(&mut self, shared: &Shared) -> Result<Stats, Error> {
        let wal = shared.database.with_extension("db-wal");
        let snapshot = self.snapshot()?;
        let number = |sql: &str| {
            snapshot.transaction.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(Error::sqlite("count"))
        };
        let listed = snapshot.oldest().map_err(Error::sqlite("find the oldest write"))?;
        Ok(Stats {
            // Over small tables and indexes only: counting rows themselves would read everything.
            settled: number("SELECT count(*) FROM place")?,
            open: number("SELECT count(*) FROM write WHERE standing = 1")?,
            quarantined: number("SELECT count(*) FROM quarantine")?,
            oldest_original_ms: listed,
            page_bytes: number("PRAGMA page_size")?,
            pages: number("PRAGMA page_count")?,
            free_pages: number("PRAGMA freelist_count")?,
            // Without a file there is nothing in it.
            wal_bytes: std::fs::metadata(wal).map_or(0, |wal| wal.len()),
            disk_free_bytes: shared.free_bytes.load(Ordering::Relaxed),
            space: Space::from_u8(shared.space.load(Ordering::Relaxed)),
            transactions: shared.metrics.commits.get(),
            batches: shared.metrics.batches.get(),
            damaged: shared.damages.list().len(),
        })
    }
}

impl Snapshot<'_> {
    fn group_of(&self, ix: i64) -> Option<(&Group, GroupName)> {
        self.names.groups().find(|(_, name)| name.ix == ix)
    }

    fn accepted_at(&self, id: WriteId) -> Result<Option<u64>, Error> {
        for (_, name) in self.names.groups() {
            if let Some(found) = self.find_id(name, id)? {
                return Ok(Some(found.row.facts.original_ms));
            }
        }
        Ok(None)
    }

    /// `before`: only what a listing shows behind this one.
    fn list_log(
        &self,
        log: i64,
        filter: &Filter,
        before: Option<(u64, WriteId)>,
        listed: &mut Vec<Listed>,
    ) -> rusqlite::Result<()> {
        let (first, last) = names::rows_of_log(log);
        let mut read = self.transaction.prepare_cached(
            "SELECT w.id, w.body, r.body, w.grp, NULL FROM write w LEFT JOIN request r ON r.id = w.id \
             WHERE w.id BETWEEN ?1 AND ?2 ORDER BY w.id DESC LIMIT ?3",
        )?;
        let mut rows = read.query((first, last, LIST_SCAN_MAX as i64))?;
        let mut taken = 0;
        while taken < filter.limit
            && let Some(row) = rows.next()?
        {
            let Some((group, name)) = self.group_of(row.get(3)?) else { continue };
            if filter.group.as_ref().is_some_and(|wanted| wanted != group) {
                continue;
            }
            // Broken ones are reported, and listed by `verify`.
            let Ok(found) = self.found(name, row)? else { continue };
            let state = ListState::of(&found.row);
            let place = (found.row.facts.original_ms, found.row.id);
            let wanted = before.is_none_or(|before| place < before)
                && filter.lane.is_none_or(|lane| lane == found.row.facts.lane)
                && filter.state.is_none_or(|wanted| wanted == state);
            if wanted {
                taken += 1;
                let request = found.request.map(without_long_body);
                listed.push(Listed { group: group.clone(), state, row: found.row, request });
            }
        }
        Ok(())
    }

    fn oldest(&self) -> rusqlite::Result<Option<u64>> {
        let mut oldest: Option<u64> = None;
        let mut read = self
            .transaction
            .prepare_cached("SELECT id, body, grp FROM write WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1")?;
        for log in self.names.logs() {
            let mut rows = read.query(names::rows_of_log(log))?;
            while let Some(row) = rows.next()? {
                let Some((_, name)) = self.group_of(row.get(2)?) else { continue };
                if let Ok(found) = self.row(name, row.get(0)?, row.get_ref(1)?.as_blob()?) {
                    oldest = Some(oldest.map_or(found.facts.original_ms, |known| known.min(found.facts.original_ms)));
                }
            }
        }
        Ok(oldest)
    }
}

/// Many may be listed at once.
fn without_long_body(request: Arc<Request>) -> Arc<Request> {
    if request.body.len() <= LISTED_BODY_MAX {
        return request;
    }
    Arc::new(Request { body: bytes::Bytes::new(), ..(*request).clone() })
}

fn shown(group: &Group, found: Found) -> Shown {
    Shown {
        group: group.clone(),
        state: ListState::of(&found.row),
        quarantined: found.quarantined,
        row: found.row,
        request: found.request,
    }
}
