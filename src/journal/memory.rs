//! The store contract in plain maps: deterministic, no threads, no clock. The disk of the simulation, and the model
//! against which the SQLite journal is tested.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::standing::Standing;
use super::{
    Age, Committed, FORGET_ROWS_MAX, Fate, Here, LANE_SCAN_FACTOR, Op, QuarantineCounts, QuarantineReason, Quarantined,
    Recovered, Row, SeriesMeta, Stop, WAITING_MAX,
};
use crate::journal::{Find, Found};
use crate::model::{Group, Item, Lane, LogId, Outcome, Request, UNKNOWN_MAX, WriteId, decided_by, decision_of};

/// What is durable is in the maps; what was handed over and not synced is a list of batches. A simulated crash is
/// [`Memory::crash`]: it loses a suffix of the batches, never a part of one.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    groups: BTreeMap<Group, Shelf>,
    unsynced: std::collections::VecDeque<(Group, Vec<Op>)>,
    place: u64,
}

/// The durable state of one group.
#[derive(Clone, Debug, Default)]
struct Shelf {
    rows: BTreeMap<WriteId, Row>,
    requests: BTreeMap<WriteId, Arc<Request>>,
    places: BTreeMap<(LogId, u64), WriteId>,
    series: BTreeMap<LogId, SeriesMeta>,
    quarantined: BTreeMap<WriteId, Quarantined>,
    /// The lane in which each entry stands, and the first of each lane.
    lane_of: BTreeMap<WriteId, Lane>,
    heads: BTreeMap<Lane, WriteId>,
    stopped: Option<Stop>,
    age: Age,
    /// Rows that cannot be read.
    broken: BTreeSet<WriteId>,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one batch durable at once.
    pub fn apply(&mut self, group: &Group, ops: &[Op]) -> Committed {
        assert!(self.unsynced.is_empty(), "batches become durable in order: sync what was queued first");
        self.shelf(group).apply(ops)
    }

    /// Hands a batch over without syncing it.
    pub fn queue(&mut self, group: &Group, ops: Vec<Op>) {
        self.unsynced.push_back((group.clone(), ops));
    }

    /// Batches that a crash would lose.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Makes the oldest queued batch durable.
    pub fn sync_one(&mut self) -> Option<Committed> {
        let (group, ops) = self.unsynced.pop_front()?;
        Some(self.shelf(&group).apply(&ops))
    }

    /// As if its file had been copied there.
    pub fn move_to(&mut self, place: u64) {
        self.place = place;
    }

    /// As if the record of this position had got a wrong bit.
    pub fn break_at(&mut self, group: &Group, log: LogId, position: u64) {
        let shelf = self.shelf(group);
        shelf.broken.extend(shelf.places.get(&(log, position)));
    }

    /// All that stands at a position, series by series.
    pub fn positions(&self, group: &Group) -> Vec<(LogId, u64, WriteId)> {
        let places = self.groups.get(group).into_iter().flat_map(|shelf| &shelf.places);
        places.map(|(&(log, position), &id)| (log, position, id)).collect()
    }

    /// Whether the record of a write says nothing that only this site knows: a word that it owes, sites that owe it
    /// theirs.
    pub fn is_copied_elsewhere(&self, group: &Group, id: WriteId) -> bool {
        let row = self.groups.get(group).and_then(|shelf| shelf.rows.get(&id));
        let owes_word = |row: &Row| row.wish.as_ref().is_some_and(|wish| wish.owed_word.is_some());
        row.is_some_and(|row| row.owed.is_empty() && !owes_word(row))
    }

    /// Whether the record of this position cannot be read: [`Memory::read_series`] must not be asked to begin there.
    pub fn is_broken(&self, group: &Group, log: LogId, position: u64) -> bool {
        let Some(shelf) = self.groups.get(group) else { return false };
        shelf.places.get(&(log, position)).is_some_and(|id| shelf.broken.contains(id))
    }

    /// The position of a broken record that a look-up would meet.
    pub fn broken_among(&self, group: &Group, find: Find) -> Option<(LogId, u64)> {
        let found = self.find(group, find).into_iter();
        found
            .filter_map(|found| Some((found.row.id.log, found.row.position?.0)))
            .find(|&(log, at)| self.is_broken(group, log, at))
    }

    /// Loses what was not synced.
    pub fn crash(&mut self) {
        self.unsynced.clear();
    }

    /// Everything a group's state machine needs to begin again. `lanes_max` bounds [`Recovered::lanes`],
    /// `quarantined_max` those of [`Recovered::quarantined`] that nothing else asks for.
    pub fn recover(&self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Recovered {
        let recovered =
            self.groups.get(group).map(|shelf| shelf.recover(lanes_max, quarantined_max)).unwrap_or_default();
        Recovered { place: self.place, ..recovered }
    }

    /// All rows that match, in order of their ids, with requests.
    pub fn find(&self, group: &Group, find: Find) -> Vec<Found> {
        let Some(shelf) = self.groups.get(group) else { return Vec::new() };
        match find {
            Find::Id(id) => shelf.rows.get(&id).map(|row| shelf.found(row)).into_iter().collect(),
            Find::Either(id) => {
                let ids = [decided_by(id), decision_of(id)];
                ids.iter().filter_map(|id| shelf.rows.get(id)).map(|row| shelf.found(row)).collect()
            }
            Find::Key(key) => {
                let rows = shelf.rows.values().filter(|row| row.facts.key == Some(key));
                rows.map(|row| shelf.found(row)).collect()
            }
        }
    }

    /// Everything that stands in quarantine, in order of the ids.
    pub fn quarantined(&self, group: &Group) -> Vec<Quarantined> {
        self.groups.get(group).map(|shelf| shelf.quarantined.values().cloned().collect()).unwrap_or_default()
    }

    /// The entry of a record that may be broken.
    pub fn entry_at(&self, group: &Group, log: LogId, position: u64) -> Option<Quarantined> {
        let shelf = self.groups.get(group)?;
        shelf.quarantined.get(shelf.places.get(&(log, position))?).cloned()
    }

    /// Dense from `from` on: the first item's position is `from`, and nothing is returned where that one is missing.
    /// The first item is returned however large it is.
    pub fn read_series(
        &self,
        group: &Group,
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
    ) -> Vec<Arc<Item>> {
        let Some(shelf) = self.groups.get(group) else { return Vec::new() };
        let (mut items, mut bytes) = (Vec::new(), 0);
        for position in (from..=u64::MAX).take(items_max) {
            let Some(item) = shelf.item(log, position) else { break };
            bytes += item.weight();
            if bytes > bytes_max && !items.is_empty() {
                break;
            }
            items.push(Arc::new(item));
        }
        items
    }

    fn shelf(&mut self, group: &Group) -> &mut Shelf {
        self.groups.entry(group.clone()).or_default()
    }
}

impl Shelf {
    fn apply(&mut self, ops: &[Op]) -> Committed {
        let mut committed = Committed::default();
        for op in ops {
            match op {
                Op::Request(id, request) => {
                    self.requests.entry(*id).or_insert_with(|| request.clone());
                }
                Op::Row(row) => {
                    self.put(row);
                    let behind = row.is_refusal_of_decider() && self.heads.contains_key(&row.facts.lane);
                    committed.refused_behind += u64::from(behind);
                }
                Op::Series(meta) => self.put_series(meta),
                Op::Quarantine(entry) => self.put_into_quarantine(entry, &mut committed),
                Op::Release(id) => self.leave_quarantine(*id, &mut committed),
                Op::DropRequest(id) => {
                    self.requests.remove(id);
                }
                Op::Erase(id) => self.erase(*id, &mut committed),
                Op::Forget { log, up_to, older_than_ms } => {
                    self.forget(*log, *up_to, *older_than_ms, &mut committed);
                }
                Op::ForgetCancelled { older_than_ms } => self.forget_cancelled(*older_than_ms, &mut committed),
                Op::Stopped(stop) => self.stopped = stop.clone(),
                Op::Age(age) => self.age = age.clone(),
                Op::Mend { row, request, .. } => self.mend(row, request.as_ref()),
            }
        }
        committed
    }

    fn put(&mut self, row: &Row) {
        let lane = self.rows.get(&row.id).map(|row| row.facts.lane);
        let is_placed = row.position.is_some_and(|(position, _)| !self.places.contains_key(&(row.id.log, position)));
        if let Some((position, _)) = row.position {
            let holder = *self.places.entry((row.id.log, position)).or_insert(row.id);
            assert_eq!(holder, row.id, "position {position} of {} is taken (G3)", row.id.log);
        }
        self.rows.insert(row.id, row.clone());
        self.broken.remove(&row.id);
        if is_placed || lane.is_some_and(|lane| lane != row.facts.lane) {
            self.stands_in_lane(row.id, row.facts.lane);
        }
    }

    fn mend(&mut self, row: &Row, request: Option<&Arc<Request>>) {
        if !self.broken.remove(&row.id) {
            return;
        }
        // Answers are not kept everywhere for the same time.
        let outcome = |row: &Row| row.outcome.clone().map(|outcome| Outcome { answer: None, ..outcome });
        let content = |row: &Row| (row.facts.clone(), outcome(row), row.position, row.decides);
        assert_eq!(content(row), content(&self.rows[&row.id]), "what stood there");
        let here = match (&row.here, Standing::of(&self.rows[&row.id])) {
            (Here::Decided(Fate::Applied | Fate::Skipped), Standing::Applied) => Here::Decided(Fate::Applied),
            (Here::Decided(Fate::Applied | Fate::Skipped), Standing::Final) => Here::Decided(Fate::Skipped),
            (here, _) => here.clone(),
        };
        self.rows.insert(row.id, Row { here, ..row.clone() });
        if let Some(request) = request {
            self.requests.insert(row.id, request.clone());
        }
    }

    fn put_into_quarantine(&mut self, entry: &Quarantined, committed: &mut Committed) {
        let lane = self.rows.get(&entry.id).map(|row| row.facts.lane);
        let was = self.lane_of.remove(&entry.id);
        let head = lane.and_then(|lane| self.heads.get(&lane).copied()).filter(|head| *head != entry.id);
        let entry = Quarantined { behind: head, ..entry.clone() };
        let id = entry.id;
        committed.quarantine += i64::from(self.quarantined.insert(id, entry).is_none());
        self.lane_of.extend(lane.map(|lane| (id, lane)));
        if let Some(was) = was.filter(|was| Some(*was) != lane) {
            self.no_longer_first(id, was);
        }
        if let Some(lane) = lane.filter(|_| head.is_none()) {
            self.heads.insert(lane, id);
        }
    }

    fn leave_quarantine(&mut self, id: WriteId, committed: &mut Committed) {
        if self.quarantined.remove(&id).is_some() {
            committed.quarantine -= 1;
        }
        if let Some(lane) = self.lane_of.remove(&id) {
            self.no_longer_first(id, lane);
        }
    }

    /// The next of the lane is: the oldest, then the one of the lower log.
    fn no_longer_first(&mut self, id: WriteId, lane: Lane) {
        if self.heads.get(&lane) != Some(&id) {
            return;
        }
        self.heads.remove(&lane);
        let others = self.lane_of.iter().filter(|(_, of)| **of == lane).map(|(id, _)| *id);
        if let Some(next) = others.min_by_key(|id| (self.quarantined[id].since_ms, *id)) {
            self.heads.insert(lane, next);
        }
    }

    fn stands_in_lane(&mut self, id: WriteId, lane: Lane) {
        if !self.quarantined.contains_key(&id) || self.lane_of.get(&id) == Some(&lane) {
            return;
        }
        if let Some(was) = self.lane_of.insert(id, lane) {
            self.no_longer_first(id, was);
        }
        self.heads.entry(lane).or_insert(id);
    }

    fn put_series(&mut self, meta: &SeriesMeta) {
        let forgotten = self.series.get(&meta.log).map_or(0, |known| known.forgotten);
        let meta = SeriesMeta { forgotten: meta.forgotten.max(forgotten), ..meta.clone() };
        self.series.insert(meta.log, meta);
    }

    /// Somebody still needs it, however old it is.
    fn is_needed(&self, row: &Row) -> bool {
        !Standing::of(row).may_be_forgotten()
            || [row.id, decided_by(row.id)].iter().any(|id| self.quarantined.contains_key(id))
    }

    /// In order of positions. Rows that somebody still needs are passed over; the first that is only too young ends it,
    /// because the later ones were settled later.
    fn forget(&mut self, log: LogId, up_to: u64, older_than_ms: u64, committed: &mut Committed) {
        let rows = self.places.range((log, 0)..=(log, up_to)).map(|(_, id)| &self.rows[id]);
        let old = rows.filter(|row| !self.is_needed(row)).take_while(|row| row.settled_clock_ms <= older_than_ms);
        let old: Vec<WriteId> = old.take(FORGET_ROWS_MAX + 1).map(|row| row.id).collect();
        let gone = self.delete(old, committed);
        if let (Some((highest, _)), Some(meta)) = (gone.and_then(|row| row.position), self.series.get_mut(&log)) {
            meta.forgotten = meta.forgotten.max(highest);
        }
    }

    fn forget_cancelled(&mut self, older_than_ms: u64, committed: &mut Committed) {
        let cancelled = self.rows.values().filter(|row| Standing::of(row) == Standing::Cancelled);
        let old = cancelled.filter(|row| !self.is_needed(row) && row.settled_clock_ms <= older_than_ms);
        let mut old: Vec<_> = old.map(|row| (row.settled_clock_ms, row.id)).collect();
        old.sort_unstable();
        self.delete(old.into_iter().map(|(_, id)| id).collect(), committed);
    }

    fn erase(&mut self, id: WriteId, committed: &mut Committed) {
        self.leave_quarantine(id, committed);
        self.requests.remove(&id);
        if let Some(row) = self.rows.get(&id) {
            assert_eq!(row.position, None, "{id} cannot be erased: it has a position");
            self.delete(vec![id], committed);
        }
    }

    /// Deletes the first [`FORGET_ROWS_MAX`] of these; returns the last row deleted.
    fn delete(&mut self, mut ids: Vec<WriteId>, committed: &mut Committed) -> Option<Row> {
        committed.more_to_forget |= ids.len() > FORGET_ROWS_MAX;
        ids.truncate(FORGET_ROWS_MAX);
        let mut keys = BTreeSet::new();
        let mut last = None;
        for id in ids {
            let row = self.rows.remove(&id).expect("only rows that exist are chosen");
            self.requests.remove(&id);
            self.broken.remove(&id);
            if let Some((position, _)) = row.position {
                self.places.remove(&(id.log, position));
            }
            keys.extend(row.facts.key.map(|key| key.short()));
            last = Some(row);
        }
        if !keys.is_empty() {
            self.rows.values().filter_map(|row| row.facts.key).for_each(|key| {
                keys.remove(&key.short());
            });
        }
        committed.forgotten_keys.extend(keys);
        last
    }

    fn found(&self, row: &Row) -> Found {
        Found {
            row: row.clone(),
            request: self.requests.get(&row.id).cloned(),
            quarantined: self.quarantined.get(&row.id).cloned(),
        }
    }

    fn item(&self, log: LogId, position: u64) -> Option<Item> {
        let row = self.rows.get(self.places.get(&(log, position))?).filter(|row| !self.broken.contains(&row.id))?;
        let mut item = row.item(None)?;
        if item.is_followed() {
            item.request = Some(self.requests.get(&row.id)?.clone());
        }
        Some(item)
    }

    fn recover(&self, lanes_max: usize, quarantined_max: usize) -> Recovered {
        let is_whole = |row: &&Row| !self.broken.contains(&row.id);
        let open: Vec<&Row> =
            self.rows.values().filter(|row| Standing::of(row) == Standing::Open).filter(is_whole).collect();
        let mut decided_beyond = Vec::new();
        for meta in self.series.values() {
            let beyond = self.places.range((meta.log, meta.decided + 1)..=(meta.log, u64::MAX));
            let decided = beyond.filter(|(_, id)| matches!(self.rows[*id].here, Here::Decided(_)));
            decided_beyond.extend(decided.map(|(&place, _)| place));
        }
        let (unclear, broken) = self.unclear();
        let mut quarantined = unclear;
        let of_open = open.iter().filter_map(|row| self.quarantined.get_key_value(&row.id));
        let of_broken = quarantined.keys().filter_map(|id| self.quarantined.get_key_value(id));
        let others = self.quarantined.iter().take(quarantined_max);
        let entries: Vec<_> = of_open.chain(of_broken).chain(others).map(|(&id, entry)| (id, entry.clone())).collect();
        quarantined.extend(entries);
        let keys: BTreeSet<u64> = self.rows.values().filter_map(|row| row.facts.key).map(|key| key.short()).collect();
        let (lanes, creating) = self.lanes(lanes_max);
        Recovered {
            series: self.series.values().cloned().collect(),
            open: open.into_iter().map(|row| self.found(row)).collect(),
            decided_beyond,
            keys: keys.into_iter().collect(),
            lanes,
            creating,
            quarantined: quarantined.into_values().collect(),
            quarantine: QuarantineCounts::of(self.quarantined.values()),
            waiting: self.waiting(),
            unknown: self.unknown(),
            broken,
            stopped: self.stopped.clone(),
            age: self.age.clone(),
            place: 0,
        }
    }

    fn waiting(&self) -> Vec<(WriteId, Vec<WriteId>)> {
        let mut waiting: Vec<_> = self.quarantined.values().filter(|entry| !entry.unknown.is_empty()).collect();
        waiting.sort_by_key(|entry| (entry.since_ms, entry.id));
        waiting.into_iter().take(WAITING_MAX).map(|entry| (entry.id, entry.unknown.clone())).collect()
    }

    fn unknown(&self) -> Vec<WriteId> {
        let unknown = self.quarantined.values().filter(|entry| entry.reason == QuarantineReason::UnknownOutcome);
        let mut unknown: Vec<_> = unknown.map(|entry| (entry.since_ms, entry.id)).collect();
        unknown.sort_unstable();
        unknown.into_iter().rev().take(UNKNOWN_MAX).map(|(_, id)| id).collect()
    }

    /// Broken rows that something was left to be done with, or may have been, and where those of them stand that have
    /// positions.
    fn unclear(&self) -> (BTreeMap<WriteId, Quarantined>, Vec<(LogId, u64)>) {
        let (mut quarantined, mut places) = (BTreeMap::new(), Vec::new());
        for row in self.broken.iter().map(|id| &self.rows[id]) {
            let place = row.position.map(|(position, _)| (row.id.log, position));
            if Standing::of(row) == Standing::Open {
                let (reason, detail) = (QuarantineReason::Damaged, "its record is broken".to_owned());
                quarantined.insert(row.id, Quarantined::new(row.id, reason, detail, 0));
                places.extend(place);
            }
        }
        (quarantined, places)
    }

    fn lanes(&self, lanes_max: usize) -> super::Lanes {
        let mut newest = BTreeMap::new();
        for &log in self.series.keys() {
            let places = self.places.range((log, 0)..=(log, u64::MAX)).rev();
            for (&(_, position), id) in places.take(lanes_max.saturating_mul(LANE_SCAN_FACTOR)) {
                let row = &self.rows[id];
                if Standing::of(row) == Standing::Applied {
                    newest.entry((row.facts.lane, log)).or_insert_with(|| super::Newest {
                        clock_ms: row.settled_clock_ms,
                        id: decided_by(row.id),
                        position,
                        creates: super::creates(row),
                    });
                }
            }
        }
        super::newest_lanes(newest, lanes_max)
    }
}
