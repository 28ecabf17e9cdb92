//! Pages for peers, and the cursors that ask for them.
use std::sync::Arc;

use crate::journal::StopKind;
use crate::mirror::Series;
use crate::model::{After, Item, LogId, SiteName, WriteId};
use crate::service::core::{Core, Cx, Timer, Work};
use crate::service::peer::PeerCursor;
use crate::service::{Cursor, Effect, Message, Note, Page, Status};

/// Pages under way to one peer for one series.
const PAGES_UNDER_WAY: u64 = 4;
/// A page that was not confirmed for so long was lost; so was a word, and what was asked for.
pub(crate) const RESEND_MS: u64 = 1_500;
/// Logs of one group: as many stores as its sites may have had. No peer makes more of them here.
pub(crate) const SERIES_MAX: usize = 1_024;

impl Core {
    /// Sends what is new of a series to every peer that wants it.
    pub(crate) fn ship(&mut self, cx: &mut Cx, log: LogId) {
        let peers: Vec<SiteName> = self.mirror.peers.iter().filter(|(_, p)| p.linked).map(|(s, _)| s.clone()).collect();
        for peer in peers {
            self.ship_to(cx, &peer, log);
        }
    }

    fn ship_to(&mut self, cx: &mut Cx, to: &SiteName, log: LogId) {
        let (items_max, bytes_max) = (self.settings.limits.page_items, self.settings.limits.page_bytes);
        loop {
            let Some(series) = self.mirror.series.get(&log) else { return };
            let Some(cursor) = self.mirror.peers.get_mut(to).and_then(|p| p.cursors.get_mut(&log)) else { return };
            let under_way = cursor.sent.saturating_sub(cursor.received);
            let room = under_way < PAGES_UNDER_WAY * items_max as u64;
            if !cursor.want || cursor.reading || cursor.sent >= series.received || !room {
                return;
            }
            let items = series.tail_after(cursor.sent, items_max, bytes_max);
            if items.is_empty() {
                cursor.reading = true;
                let (from, for_peer) = (cursor.sent + 1, Some(to.clone()));
                return cx.out.push(Effect::ReadSeries { log, from, items_max, bytes_max, for_peer });
            }
            let from = cursor.sent;
            cursor.send(items.len(), cx.ms());
            let page = Page { log, site: series.site.clone(), from, items };
            cx.out.push(Effect::Send { to: to.clone(), message: Message::Page(page) });
        }
    }

    /// The journal read the next stretch for a peer.
    pub(crate) fn page_read(&mut self, cx: &mut Cx, to: &SiteName, log: LogId, from: u64, items: Vec<Arc<Item>>) {
        let Some(series) = self.mirror.series.get(&log) else { return };
        // Whoever is not there any more says anew what it wants. Read for it on, this would be read without end.
        let Some(peer) = self.mirror.peers.get_mut(to).filter(|peer| peer.linked) else { return };
        let Some(cursor) = peer.cursors.get_mut(&log) else { return };
        if cursor.again == from {
            cursor.again = 0;
            if !items.is_empty() {
                let page = Page { log, site: series.site.clone(), from: from - 1, items };
                cx.out.push(Effect::Send { to: to.clone(), message: Message::Again(page) });
            }
            return;
        }
        if !std::mem::take(&mut cursor.reading) {
            // For a connection before this one.
            return;
        }
        if from == cursor.sent + 1 && !items.is_empty() {
            cursor.send(items.len(), cx.ms());
            let page = Page { log, site: series.site.clone(), from: from - 1, items };
            cx.out.push(Effect::Send { to: to.clone(), message: Message::Page(page) });
        } else if items.is_empty() {
            // Damaged or forgotten here: another site may have it. Asked for again with the next status.
            return;
        }
        self.ship_to(cx, to, log);
    }

    /// What `after` names and a site has not confirmed, as far as one page holds it. `None` when it is more than that.
    pub(crate) fn pages_for(&self, to: &SiteName, after: &After) -> Option<Vec<Page>> {
        let cursors = self.mirror.peers.get(to).map(|p| &p.cursors);
        let (mut items_left, mut bytes_left) = (self.settings.limits.page_items, self.settings.limits.page_bytes);
        let mut pages = Vec::new();
        for (log, position) in after.lasts() {
            let Some(series) = self.mirror.series.get(&log).filter(|s| s.site != *to) else { continue };
            let from = cursors.and_then(|c| c.get(&log)).map_or(0, |c| c.sent.max(c.received));
            if from >= position {
                continue;
            }
            let mut items = series.tail_after(from, items_left, bytes_left);
            items.retain(|item| item.position <= position);
            if items.last().is_none_or(|last| last.position < position) {
                return None;
            }
            items_left -= items.len();
            bytes_left = bytes_left.saturating_sub(items.iter().map(|i| i.weight()).sum());
            pages.push(Page { log, site: series.site.clone(), from, items });
        }
        Some(pages)
    }

    /// A peer said how far it is.
    pub(crate) fn peer_status(&mut self, cx: &mut Cx, from: SiteName, status: Status) {
        if !self.settings.replicas.contains(&from) {
            return;
        }
        let peer = self.mirror.peers.entry(from.clone()).or_default();
        if status.count <= peer.status_count {
            return;
        }
        (peer.status_count, peer.log) = (status.count, Some(status.log));
        self.compare_ages(cx, &from, &status);
        let is_remembered = self.is_remembered(&status);
        let Some(peer) = self.mirror.peers.get_mut(&from) else { return };
        (peer.healthy, peer.last, peer.hangs) = (status.healthy, status.last, status.hangs);
        (peer.lag_ms, peer.retried_ms) = (status.lag_ms, status.retried_ms);
        let mut logs = Vec::new();
        for line in status.cursors {
            if self.settings.replicas.contains(&line.site) {
                logs.push(line.log);
                self.peer_cursor(cx, &from, line);
            }
        }
        let owes = !self.mirror.words.none_is_owed() || !self.mirror.wishes.none_is_out();
        if let Some(peer) = self.mirror.peers.get_mut(&from)
            && owes
            && cx.ms() >= peer.words_said_ms + RESEND_MS
        {
            peer.words_said_ms = cx.ms();
            self.say_owed_words(cx, &from);
            self.say_revocations_again(cx, &from);
        }
        self.release_receipts(cx);
        self.wake_arrivals(cx);
        self.choose(cx);
        for log in logs {
            self.ship_to(cx, &from, log);
        }
        self.tell_ahead(cx, &from, &status.missing);
        if is_remembered {
            self.has_spoken(cx, &from);
        }
    }

    fn peer_cursor(&mut self, cx: &mut Cx, from: &SiteName, line: Cursor) {
        let now = cx.ms();
        self.claim_series(from, &line);
        if line.log != self.own && !self.mirror.series.contains_key(&line.log) {
            if line.site == self.settings.me {
                return self.stop_for_past(cx, from, line.log);
            }
            if self.mirror.series.len() >= SERIES_MAX {
                return;
            }
            self.mirror.series.insert(line.log, Series::new(line.log, line.site.clone()));
            self.mirror.statuses.say_soon();
        }
        let Some(series) = self.mirror.series.get(&line.log) else { return };
        // Ahead of the store that makes the series, or with another past: one of the two was restored from a copy.
        let other_past = series.tail_item(line.received).is_some_and(|item| item.chain != line.chain);
        if other_past || (line.log == self.own && line.received > series.received) {
            cx.note(Note::Fork { peer: from.clone(), log: line.log });
            if line.log == self.own {
                self.stop_for_fork(cx, from);
            }
            return;
        }
        if let Some(series) = self.mirror.series.get_mut(&line.log) {
            series.confirm(from, line.received, line.decided);
        }
        let Some(peer) = self.mirror.peers.get_mut(from) else { return };
        let cursor = peer.cursors.entry(line.log).or_default();
        let stalled = cursor.sent > line.received && now >= cursor.progress_ms + RESEND_MS;
        if line.received > cursor.received {
            cursor.progress_ms = now;
        } else if line.received < cursor.received || stalled {
            // Pages were lost, or the peer was set back: from its cursor again.
            cursor.sent = line.received;
            cursor.progress_ms = now;
        }
        *cursor = PeerCursor {
            received: line.received,
            chain: line.chain,
            decided: line.decided,
            want: line.want,
            sent: cursor.sent.max(line.received),
            ..*cursor
        };
        if line.again > 0 {
            self.send_again(cx, from, line.log, line.again);
        }
    }

    /// Who brings a log first may be mistaken about its site: as long as nothing of it is stored, the site itself knows
    /// better.
    fn claim_series(&mut self, from: &SiteName, line: &Cursor) {
        if let Some(series) = self.mirror.series.get_mut(&line.log)
            && series.received == 0
            && line.log != self.own
            && line.site == *from
        {
            series.site = line.site.clone();
        }
    }

    /// This store is new, and a peer has writes of this site's earlier one: what the service here holds of them nobody
    /// knows. To follow from the start would apply them again (G2), so a person decides.
    pub(crate) fn stop_for_past(&mut self, cx: &mut Cx, peer: &SiteName, log: LogId) {
        if self.age.has_past(log, SERIES_MAX) {
            let why = format!(
                "data_dir is new, and {peer} knows what this site did with an earlier one ({log}). If the \
                 service here is as empty as data_dir, resume: everything is applied to it from the start. If it holds \
                 data, do not: give it the state of another site first"
            );
            self.stop(cx, StopKind::Doubt, why);
        }
    }

    /// A person says that this replica is as empty as its store: what this site made before is followed like any
    /// series.
    pub(crate) fn take_up_past(&mut self, cx: &mut Cx) {
        for log in self.age.take_past() {
            self.mirror.series.insert(log, Series::new(log, self.settings.me.clone()));
            self.persist_series(cx, log);
        }
    }

    /// Tells every connected peer how far this site is.
    pub(crate) fn say_status(&mut self, cx: &mut Cx) {
        let next_ms = self.mirror.statuses.say(cx.ms());
        self.at(next_ms, Timer::Status);
        // Also where no peer and no answer wakes those in line: while the line is cut.
        self.agenda.push(Work::Shadows);
        self.choose(cx);
        let peers: Vec<SiteName> = self.mirror.peers.iter().filter(|(_, p)| p.linked).map(|(s, _)| s.clone()).collect();
        let asks_again = !self.is_held() && self.replay.mending.is_due(cx.ms());
        let missing = self.ask_ahead(cx);
        for peer in peers {
            self.say_status_with(cx, peer, asks_again, missing.clone());
        }
        if self.mirror.statuses.is_confirmation_due(cx.ms()) {
            self.save_confirmed(cx);
        }
    }

    /// Writes down what peers have confirmed, where the journal does not know it.
    pub(crate) fn save_confirmed(&mut self, cx: &mut Cx) {
        if self.is_held() {
            return;
        }
        self.mirror.statuses.confirmation_is_written(cx.ms());
        let anew = self.mirror.series.values().filter(|series| series.is_confirmed_anew()).map(|series| series.log);
        for log in anew.collect::<Vec<_>>() {
            self.persist_series(cx, log);
        }
    }

    pub(crate) fn say_status_to(&mut self, cx: &mut Cx, to: SiteName) {
        self.say_status_with(cx, to, false, Vec::new());
    }

    fn say_status_with(&mut self, cx: &mut Cx, to: SiteName, asks_again: bool, missing: Vec<WriteId>) {
        let count = self.mirror.statuses.count();
        let state = self.state_to_say(cx);
        let held = self.is_held();
        let cursors = self.mirror.series.values().map(|s| Cursor {
            log: s.log,
            site: s.site.clone(),
            received: s.received,
            chain: s.chain,
            decided: s.decided,
            want: !held && s.log != self.own && self.source_of(s).is_some_and(|source| *source == to),
            again: if asks_again { self.to_ask_again(&to, s.log) } else { 0 },
        });
        let status = Status {
            count,
            log: self.own,
            state,
            heard: self.heard_of(&to),
            healthy: self.replica.is_healthy() && !self.is_in_doubt(),
            last: self.replay.stopping.is_stopped(),
            hangs: self.hangs(cx.ms()),
            lag_ms: self.lag_ms(cx.ms()),
            retried_ms: self.replay.alone.took_ms(cx.ms()),
            cursors: cursors.collect(),
            missing,
        };
        cx.out.push(Effect::Send { to, message: Message::Status(status) });
    }

    /// The first position of a series whose record is broken here and which a peer has; 0 where there is none.
    fn to_ask_again(&self, peer: &SiteName, log: LogId) -> u64 {
        let stored =
            self.mirror.peers.get(peer).and_then(|peer| peer.cursors.get(&log)).map_or(0, |cursor| cursor.received);
        self.replay.mending.first_of(log).filter(|&position| position <= stored).unwrap_or(0)
    }

    /// Where a series is fetched: from the connected peer that has most of it; from its origin, unless that was put
    /// back to an older copy.
    fn source_of(&self, series: &Series) -> Option<&SiteName> {
        let rank = |site: &SiteName, peer: &crate::service::peer::Peer| {
            (peer.cursors.get(&series.log).map_or(0, |c| c.received), *site == series.site)
        };
        let linked = self.mirror.peers.iter().filter(|(_, p)| p.linked);
        linked.max_by(|(a, p), (b, q)| rank(a, p).cmp(&rank(b, q)).then(b.cmp(a))).map(|(site, _)| site)
    }

    /// All other replicas have decided so much of a series.
    pub(crate) fn decided_by_all(&self, log: LogId) -> u64 {
        let others = self.settings.replicas.iter().filter(|site| **site != self.settings.me);
        let decided = |site: &SiteName| {
            let cursor = self.mirror.peers.get(site).and_then(|p| p.cursors.get(&log));
            cursor.map_or(0, |c| c.decided)
        };
        others.map(decided).min().unwrap_or(u64::MAX)
    }
}
