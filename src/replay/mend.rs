//! Fetching a broken record again from a site that has it.
//!
//! The journal names the position whose record it cannot read. All who have stored it are asked with a status, and send
//! the page from there on once more; the journal takes from it what its own chain proves to be the one ([`Op::Mend`]).
//! Whoever needed the record waits so long: it is neither taken for decided nor for new (G2, G3).
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::journal::{Fate, Here, Op, Origin, Quarantined, Row};
use crate::model::{Chain, Item, LogId, SiteName, Verdict};
use crate::service::core::{Core, Cx, Timer, Work};
use crate::service::{Asked, Bug, Effect, Find, Looking, Message, Note, Page, Reply};

/// Broken records that are remembered at once; the others are met again when somebody needs them.
const BROKEN_MAX: usize = 1_024;
const ASK_EVERY_MS: u64 = 1_500;

/// Positions whose records are broken here, with the look-ups that met them.
#[derive(Default)]
pub(crate) struct Mending {
    broken: BTreeMap<(LogId, u64), Vec<(u64, Find)>>,
    ask_at_ms: u64,
    /// Written anew last: where its neighbour behind it is broken too, that is asked for at once.
    last: Option<(LogId, u64)>,
    /// Until then a try of the life before may be under way that nobody can read of.
    hidden_try_until_ms: Option<u64>,
}

impl Mending {
    pub(crate) fn is_broken(&self, log: LogId, position: u64) -> bool {
        self.broken.contains_key(&(log, position))
    }

    /// The first broken position of a series.
    pub(crate) fn first_of(&self, log: LogId) -> Option<u64> {
        self.broken.range((log, 0)..=(log, u64::MAX)).next().map(|(&(_, position), _)| position)
    }

    pub(crate) fn hidden_try_left_ms(&self, now_ms: u64) -> Option<u64> {
        self.hidden_try_until_ms.map(|until_ms| until_ms.saturating_sub(now_ms)).filter(|left_ms| *left_ms > 0)
    }

    /// Whether it is time to ask (again).
    pub(crate) fn is_due(&mut self, now_ms: u64) -> bool {
        let due = !self.broken.is_empty() && now_ms >= self.ask_at_ms;
        if due {
            self.ask_at_ms = now_ms + ASK_EVERY_MS;
        }
        due
    }
}

impl Core {
    /// Of a broken record nobody knows whether it was on its way to the service, and in which lane: until any such try
    /// is over this replica takes nothing, or the service would do the old one after a later one of its lane (G5).
    pub(crate) fn hide_a_try(&mut self, now_ms: u64) {
        let until_ms = now_ms.saturating_add(self.settings.longest_request_ms);
        self.replay.mending.hidden_try_until_ms = Some(until_ms);
        self.at(until_ms, Timer::HiddenTry);
    }

    /// The next start need not wait: the entries are written, and say the same.
    pub(crate) fn hidden_try_is_over(&mut self, cx: &mut Cx) {
        let since_ms = cx.now.wall_ms.max(1);
        for entry in self.completer.quarantine.write_unreadable(since_ms) {
            let id = entry.id;
            cx.persist(Op::Quarantine(entry));
            self.entry_changed(id);
        }
        self.health(cx, self.replica.has_healthy_endpoints());
    }

    /// The journal met a broken record when it was asked for something.
    pub(crate) fn met_broken(
        &mut self,
        cx: &mut Cx,
        log: LogId,
        position: u64,
        entry: Option<Box<Quarantined>>,
        asked: Asked,
    ) {
        match &asked {
            Asked::ForFollower => {
                if let Some(series) = self.mirror.series.get_mut(&log) {
                    series.reading = None;
                    series.loaded_alone.remove(&position);
                }
            }
            Asked::ForPeer(peer) => {
                if let Some(cursor) = self.mirror.peers.get_mut(peer).and_then(|peer| peer.cursors.get_mut(&log)) {
                    (cursor.reading, cursor.again) = (false, 0);
                }
            }
            Asked::LookUp { .. } => {}
        }
        self.is_to_be_mended(cx, log, position);
        if let Some(entry) =
            entry.filter(|entry| !self.live.contains_key(&entry.id) && self.replay.mending.is_broken(log, position))
        {
            // Until it is mended: what this replica had done with it says its entry alone.
            self.completer.quarantine.keep_unreadable(*entry);
        }
        if let Asked::LookUp { token, .. } = asked
            && let Some(Looking::Order { orders, id }) = self.lookups.get(token)
        {
            let (orders, id) = (*orders, *id);
            self.lookups.end(token);
            return self.order_found(cx, orders, id, Vec::new());
        }
        if let Asked::LookUp { token, .. } = asked
            && let Some((req, id)) = self.lookups.get(token).and_then(Looking::order)
        {
            self.completer.orders.has_come(id);
            let why = "its record in the journal is broken; other sites are asked for it. Once more when it is there"
                .to_owned();
            cx.reply_to_order(req, Reply::Rejected { why });
            self.lookups.end(token);
            return;
        }
        if let (Asked::LookUp { token, find }, Some(look_ups)) =
            (asked, self.replay.mending.broken.get_mut(&(log, position)))
        {
            look_ups.push((token, find));
        }
    }

    pub(crate) fn is_to_be_mended(&mut self, cx: &mut Cx, log: LogId, position: u64) {
        if self.replay.mending.broken.len() < BROKEN_MAX && !self.replay.mending.is_broken(log, position) {
            self.replay.mending.broken.insert((log, position), Vec::new());
            cx.note(Note::Broken { log, position });
            self.mirror.statuses.say_soon();
            if self.replay.mending.last.is_some_and(|(last, before)| last == log && before < position) {
                self.replay.mending.ask_at_ms = cx.ms();
            }
        }
    }

    /// A peer has lost what it had stored of a series from this position on.
    pub(crate) fn send_again(&mut self, cx: &mut Cx, to: &SiteName, log: LogId, position: u64) {
        let Some(series) = self.mirror.series.get(&log).filter(|series| position <= series.received) else { return };
        let (items_max, bytes_max) = (self.settings.limits.page_items, self.settings.limits.page_bytes);
        let items = series.tail_after(position - 1, items_max, bytes_max);
        if !items.is_empty() {
            let page = Page { log, site: series.site.clone(), from: position - 1, items };
            return cx.out.push(Effect::Send { to: to.clone(), message: Message::Again(page) });
        }
        let Some(cursor) = self.mirror.peers.get_mut(to).and_then(|peer| peer.cursors.get_mut(&log)) else { return };
        cursor.again = position;
        cx.out.push(Effect::ReadSeries { log, from: position, items_max, bytes_max, for_peer: Some(to.clone()) });
    }

    /// Takes what is stored here already and broken.
    pub(crate) fn mend_from(&mut self, cx: &mut Cx, from: &SiteName, page: &Page) {
        let Some(series) = self.mirror.series.get(&page.log) else { return };
        let stored = page.items.iter().take_while(|item| item.position <= series.received);
        let stored: Vec<Arc<Item>> = stored.cloned().collect();
        let follows = |pair: &[Arc<Item>]| {
            let (before, item) = (&pair[0], &pair[1]);
            let chain = Item::chain_over(before.chain, item.position, item.id, &item.facts, &item.outcome);
            item.position == before.position + 1 && item.chain == chain
        };
        let is_of_log = |item: &Arc<Item>| item.id.log == page.log;
        if !stored.windows(2).all(follows) || !stored.iter().all(is_of_log) {
            return cx.note(Note::Fork { peer: from.clone(), log: page.log });
        }
        for (at, item) in stored.iter().enumerate() {
            if let Some(look_ups) = self.replay.mending.broken.remove(&(page.log, item.position)) {
                let witnesses = stored[at..].iter().map(|item| (item.position, item.chain)).collect();
                self.mend(cx, item, witnesses);
                let still_asked = look_ups.into_iter().filter(|(token, _)| self.lookups.get(*token).is_some());
                cx.out.extend(still_asked.map(|(token, find)| Effect::Find { token, find }));
            }
        }
    }

    fn mend(&mut self, cx: &mut Cx, item: &Arc<Item>, witnesses: Vec<(u64, Chain)>) {
        let (id, log, position) = (item.id, item.id.log, item.position);
        let request = item.request.clone();
        let is_decided = self.mirror.series.get(&log).is_some_and(|series| series.is_decided(position));
        let forgets = self.bug(Bug::BrokenTakenForNew);
        // With what this site itself settled as changing nothing, nothing is left to be done here.
        let changed_nothing = log == self.own
            && !matches!(item.outcome.verdict, Verdict::Applied | Verdict::Undecided | Verdict::MayHaveApplied);
        if changed_nothing && !is_decided {
            self.release_quarantine(cx, id);
        }
        let is_decided = is_decided || changed_nothing;
        let quarantined = self.completer.quarantine.get(&id).filter(|_| !forgets).cloned();
        if let Some(request) = &request {
            self.live.give_request(&id, request);
        }
        let row = match self.live.get(&id) {
            Some(write) => write.record(),
            None => Row {
                id,
                facts: item.facts.clone(),
                origin: if log == self.own { Origin::Settled } else { Origin::Foreign },
                queued: false,
                owed: Default::default(),
                wish: None,
                here: match &quarantined {
                    Some(entry) => Here::Decided(Fate::Quarantined(entry.reason)),
                    None if is_decided && item.is_followed() => Here::Decided(Fate::Applied),
                    None if is_decided => Here::Decided(Fate::Skipped),
                    None => Here::Untouched,
                },
                outcome: Some(item.outcome.clone()),
                ours: None,
                position: Some((position, item.chain)),
                decides: item.decides,
                settled_clock_ms: cx.now.clock_ms,
            },
        };
        cx.persist(Op::Mend { row: Box::new(row), request, witnesses });
        self.row_changed(id);
        cx.note(Note::Mended { id });
        self.replay.mending.last = Some((log, position));
        if self.live.contains_key(&id) {
            return;
        }
        if let Some(entry) = quarantined {
            // Also where its position was decided long since: until now the broken record itself kept it there (G1).
            self.stays_in_quarantine(cx, entry, position);
        } else if changed_nothing {
            self.position_decided(cx, log, position);
            self.decided_id(id);
        } else if self.replay.blocked.is_awaited(id) {
            self.find(cx, Find::Id(id), Looking::Dependency(id));
        }
        self.agenda.push(Work::Load(log));
    }

    /// What this replica had done with it nobody knows any more: a person decides, with its request at hand.
    pub(crate) fn stays_in_quarantine(&mut self, cx: &mut Cx, entry: Quarantined, position: u64) {
        let id = entry.id;
        let since_ms = if entry.is_written() { entry.since_ms } else { cx.now.wall_ms.max(1) };
        let entry = Quarantined { since_ms, ..entry };
        cx.note(Note::Quarantined { id, reason: entry.reason });
        self.keep_entry(cx, entry);
        self.position_decided(cx, id.log, position);
        self.decided_id(id);
    }
}
