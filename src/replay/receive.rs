//! Receiving pages, and taking up their items in order.
use std::sync::Arc;

use crate::journal::{Fate, Here, Op, Origin, QuarantineReason, Row, StopKind};
use crate::mirror::{SERIES_MAX, Series};
use crate::model::{Item, LogId, Outcome, SiteName, Verdict, WriteId, decided_by};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Effect, Find, Found, Looking, Note, Page};

impl Core {
    /// Stores what is new in a page. The confirmation is the cursor that goes out once it is durable.
    pub(crate) fn receive_page(&mut self, cx: &mut Cx, from: &SiteName, page: Page) {
        if page.log == self.own {
            return cx.note(Note::Fork { peer: from.clone(), log: page.log });
        }
        if page.site == self.settings.me && !self.mirror.series.contains_key(&page.log) {
            // Of an earlier store of this site: a person decides first.
            return;
        }
        if !self.settings.replicas.contains(&page.site) {
            let why = format!("a page of {}, which is not in replicas", page.site);
            return cx.note(Note::Invalid { peer: from.clone(), why });
        }
        if !self.mirror.series.contains_key(&page.log) && self.mirror.series.len() >= SERIES_MAX {
            return;
        }
        let series = self.mirror.series.entry(page.log).or_insert_with(|| Series::new(page.log, page.site.clone()));
        let before = series.received;
        for item in page.items {
            let series = self.mirror.series.get_mut(&page.log).expect("inserted above");
            if item.position <= series.received {
                continue;
            }
            let chain = Item::chain_over(series.chain, item.position, item.id, &item.facts, &item.outcome);
            if item.position != series.received + 1 {
                // A page was lost on the way: the cursor says where to go on.
                break;
            }
            if chain != item.chain || item.id.log != page.log {
                cx.note(Note::Fork { peer: from.clone(), log: page.log });
                break;
            }
            series.append(item.clone(), cx.ms());
            self.store_item(cx, &item);
            if self.is_awaited(item.id) || self.is_awaited(decided_by(item.id)) {
                // However far beyond the window: what is in the window may wait for it.
                self.take_up(cx, item);
            }
        }
        let received = self.mirror.series.get(&page.log).map_or(0, |s| s.received);
        if received > before {
            self.persist_series(cx, page.log);
            self.agenda.push(Work::Load(page.log));
            self.mirror.wishes.look_soon();
            self.ship(cx, page.log);
        }
        self.say_status_to(cx, from.clone());
    }

    fn is_awaited(&self, id: WriteId) -> bool {
        self.replay.blocked.is_awaited(id) || self.replay.postponed.has_copies_of(&id)
    }

    fn store_item(&mut self, cx: &mut Cx, item: &Arc<Item>) {
        for named in item.outcome.after.ids() {
            if let Some(write) = self.live.get_mut(named) {
                write.is_named = true;
            }
        }
        if self.live.contains_key(&item.id) {
            return self.attach(cx, item);
        }
        // Its origin has settled it: what a wish or a revocation would have found is out of date.
        self.lookups.forget_word_of_origin(&item.id);
        if let Some(request) = &item.request {
            cx.persist(Op::Request(item.id, request.clone()));
        }
        if let Some(key) = item.facts.key {
            self.idempotency.keys.stored(key);
        }
        // Of its record here, which had no position yet, nothing but the name could be read (G2): that is in memory.
        let unclear = self.completer.quarantine.get(&item.id).cloned();
        let here = unclear.as_ref().map_or(Here::Untouched, |entry| Here::Decided(Fate::Quarantined(entry.reason)));
        cx.persist(Op::Row(Box::new(Row {
            id: item.id,
            facts: item.facts.clone(),
            origin: Origin::Foreign,
            queued: false,
            owed: Default::default(),
            wish: None,
            here,
            outcome: Some(item.outcome.clone()),
            ours: None,
            position: Some((item.position, item.chain)),
            decides: item.decides,
            settled_clock_ms: cx.now.clock_ms,
        })));
        self.row_changed(item.id);
        if let Some(entry) = unclear {
            self.stays_in_quarantine(cx, entry, item.position);
        }
    }

    pub(crate) fn load(&mut self, cx: &mut Cx, log: LogId) {
        if log != self.own {
            self.load_window(cx, log);
            self.load_alone(cx, log);
        }
    }

    /// What is named alone, beyond a gap, is taken up whatever the window holds: that may come after the one that waits
    /// for it (G5).
    fn load_alone(&mut self, cx: &mut Cx, log: LogId) {
        let Some(series) = self.mirror.series.get_mut(&log) else { return };
        series.loaded_alone = series.loaded_alone.split_off(&(series.loaded + 1));
        let stored = series.loaded + 1..=series.received;
        let is_due = |position: &u64| stored.contains(position) && !series.is_decided(*position);
        let awaited: Vec<u64> = self.replay.blocked.alone(log).filter(is_due).collect();
        for position in awaited {
            let Some(series) = self.mirror.series.get_mut(&log) else { return };
            if self.replay.mending.is_broken(log, position) || !series.loaded_alone.insert(position) {
                continue;
            }
            match series.tail_item(position) {
                Some(item) => self.take_up(cx, item),
                None => {
                    let bytes_max = self.settings.limits.page_bytes;
                    cx.out.push(Effect::ReadSeries { log, from: position, items_max: 1, bytes_max, for_peer: None });
                }
            }
        }
    }

    /// Takes up stored items while the window has room; what memory does not hold is read from the journal.
    fn load_window(&mut self, cx: &mut Cx, log: LogId) {
        let window = self.settings.limits.window_items as u64;
        let drops = self.bug(Bug::DropAtFullWindow);
        while let Some(series) = self.mirror.series.get_mut(&log) {
            let full = series.loaded >= series.decided + window;
            if series.loaded >= series.received || full || series.reading.is_some() {
                if full && series.loaded < series.received && drops {
                    series.loaded += 1;
                    let position = series.loaded;
                    self.position_decided(cx, log, position);
                }
                return;
            }
            let next = series.loaded + 1;
            if self.replay.mending.is_broken(log, next) {
                if !series.is_decided(next) {
                    return;
                }
                // Whatever it says, nothing is left to be done with it.
                series.loaded = next;
                continue;
            }
            let Some(item) = series.tail_item(next) else {
                series.reading = Some(next);
                let limits = &self.settings.limits;
                let (items_max, bytes_max) = (limits.page_items, limits.page_bytes);
                return cx.out.push(Effect::ReadSeries { log, from: next, items_max, bytes_max, for_peer: None });
            };
            series.loaded = next;
            self.take_up(cx, item);
        }
    }

    /// The journal read a stretch of a series, for the follower.
    pub(crate) fn series_loaded(&mut self, cx: &mut Cx, log: LogId, from: u64, items: Vec<Arc<Item>>) {
        let Some(series) = self.mirror.series.get_mut(&log) else { return };
        series.reading = series.reading.filter(|window| *window != from);
        let is_awaited = from == series.loaded + 1 || series.loaded_alone.contains(&from);
        if items.is_empty() && is_awaited && from <= series.received {
            return self.stop(cx, StopKind::Doubt, format!("the journal cannot read position {from} of series {log}"));
        }
        for item in items {
            let Some(series) = self.mirror.series.get_mut(&log) else { return };
            let is_next = item.position == series.loaded + 1;
            let is_alone = item.position > series.loaded && series.loaded_alone.contains(&item.position);
            series.loaded += u64::from(is_next);
            if is_next || is_alone {
                self.take_up(cx, item);
            }
        }
        self.agenda.push(Work::Load(log));
    }

    pub(crate) fn take_up(&mut self, cx: &mut Cx, item: Arc<Item>) {
        let (id, position) = (item.id, item.position);
        let decided = self.mirror.series.get(&id.log).is_some_and(|s| s.is_decided(position));
        if decided || self.live.contains_key(&id) {
            return;
        }
        if item.decides.is_some() {
            return self.consider_decision(cx, item);
        }
        if item.is_followed() || self.follows_refusal(&item) {
            self.follow(&item);
        } else {
            self.decide_skipped(cx, item);
        }
    }

    /// A position that is not followed. A copy counts as decided when the write that it repeats is: copies are one
    /// write, and what comes after the one comes after the other (G3).
    pub(crate) fn decide_skipped(&mut self, cx: &mut Cx, item: Arc<Item>) {
        if let Some(first) = self.first_of_copy(&item.outcome) {
            self.replay.postponed.copy(first, item);
            if !self.live.contains_key(&first) {
                self.find(cx, Find::Id(first), Looking::Dependency(first));
            }
            return;
        }
        if self.live.get(&item.id).is_some_and(|write| write.stage == Stage::Idle) {
            return self.decide_shadow(cx, item.id, Fate::Skipped);
        }
        self.note_shadow(cx, item.id.log, Some(item.position), &Fate::Skipped);
        self.position_decided(cx, item.id.log, item.position);
        self.decided_id(item.id);
    }

    /// What a copy repeats, as long as that is not decided here.
    pub(crate) fn first_of_copy(&self, outcome: &Outcome) -> Option<WriteId> {
        let repeats = outcome.repeats.filter(|_| outcome.verdict == Verdict::Duplicate);
        repeats.filter(|first| !self.is_decided(*first))
    }

    /// A live write that has its position is not to be followed, and is not at this replica (any more).
    pub(crate) fn skip_settled(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.role = Role::Shadow;
        write.stage = Stage::Idle;
        write.tries.doubtful = false;
        let lane = write.row.facts.lane;
        let item = Arc::new(self.item_of(&self.live[&id]));
        if self.first_of_copy(&item.outcome).is_some() {
            self.persist(cx, id);
            self.free_place(lane, id);
        }
        self.decide_skipped(cx, item);
    }

    fn follows_refusal(&self, item: &Item) -> bool {
        self.bug(Bug::RefusalFollowed) && item.outcome.verdict == Verdict::Refused
    }

    fn follow(&mut self, item: &Item) {
        let mut write = Write::new(item.id, item.facts.clone(), item.request.clone(), Role::Shadow, 0);
        write.row.outcome = Some(item.outcome.clone());
        write.row.position = Some((item.position, item.chain));
        write.row.decides = item.decides;
        write.stage = Stage::Waiting;
        write.stored = true;
        let id = write.row.id;
        self.insert(write);
        self.agenda.push(Work::Look(id));
    }

    fn consider_decision(&mut self, cx: &mut Cx, item: Arc<Item>) {
        let Some((old, _)) = item.decides else { return };
        if self.live.contains_key(&old) {
            self.take_decision(cx, item, None);
        } else {
            self.find(cx, Find::Id(old), Looking::Decision(item));
        }
    }

    pub(crate) fn take_waiting_decision(&mut self, cx: &mut Cx, old: WriteId) {
        let (decision, copies) = self.replay.postponed.take(old);
        if let Some(item) = decision {
            self.consider_decision(cx, item);
        }
        copies.into_iter().for_each(|item| self.decide_skipped(cx, item));
    }

    /// A late decision about an earlier position. `row` is the old write's, where it is not live.
    pub(crate) fn take_decision(&mut self, cx: &mut Cx, item: Arc<Item>, row: Option<Found>) {
        let Some((old, _)) = item.decides else { return };
        let decided = self.mirror.series.get(&item.id.log).is_some_and(|s| s.is_decided(item.position));
        if decided || self.live.contains_key(&item.id) {
            // Taken up meanwhile: it was asked for twice.
            return;
        }
        let stage = self.live.get(&old).map(|w| w.stage.clone());
        if stage.as_ref().is_some_and(|stage| !matches!(stage, Stage::Decided(_))) {
            // It is at this replica as a wish: what becomes of it there comes first (G2).
            self.replay.postponed.decision(old, item);
            return;
        }
        let fate = match (&stage, &row) {
            (Some(Stage::Decided(fate)), _) => Some(fate.clone()),
            (None, Some(Found { row: Row { here: Here::Decided(fate), .. }, .. })) => Some(fate.clone()),
            _ => None,
        };
        self.word_was_heard(cx, old);
        let applied = item.outcome.verdict == Verdict::Applied;
        match (applied, fate) {
            (true, Some(Fate::Applied | Fate::Duplicate(_))) => self.decision_done(cx, &item),
            // Whether it was applied here nobody knows yet; what others decided says nothing about this replica.
            (_, Some(Fate::Quarantined(_))) => self.decision_done(cx, &item),
            (true, _) => {
                self.follow(&item);
            }
            (false, Some(Fate::Applied)) => {
                let detail = "applied at this replica, decided void by its origin".to_owned();
                self.quarantine(cx, old, QuarantineReason::Contrary, detail, 0);
                self.decision_done(cx, &item);
            }
            (false, _) => self.decision_done(cx, &item),
        }
    }

    fn decision_done(&mut self, cx: &mut Cx, item: &Item) {
        self.position_decided(cx, item.id.log, item.position);
        self.decided_id(item.id);
    }

    /// A person, or the origin, knows better than this replica what became of a write that it had given up on.
    pub(crate) fn rewrite_fate(&mut self, cx: &mut Cx, id: WriteId, row: Option<Found>, fate: Fate) {
        self.release_quarantine(cx, id);
        if self.live.contains_key(&id) {
            self.close(cx, id, fate);
        } else if let Some(found) = row {
            cx.persist(Op::Row(Box::new(Row { here: Here::Decided(fate), ..found.row })));
            self.entry_changed(id);
        }
    }

    pub(crate) fn series_read(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        from: u64,
        items: Vec<Arc<Item>>,
        for_peer: Option<SiteName>,
    ) {
        match for_peer {
            Some(peer) => self.page_read(cx, &peer, log, from, items),
            None => self.series_loaded(cx, log, from, items),
        }
    }
}
