//! Where an own write is decided: the lane's next write is placed here, wished elsewhere, queued or refused.
use super::chooser::Standing;
use super::core::{Core, Cx, Timer, Work};
use super::write::{Role, Stage};
use super::{Bug, Effect, FailoverReason, Note, Reply, WhenDown};
use crate::journal::{Origin, QuarantineReason};
use crate::model::{Lane, Problem, SiteName, WriteId};

const RETRY_AFTER_S: u32 = 2;
/// A queued write that nobody took is not offered again before.
const DRAIN_AGAIN_MS: u64 = 200;
/// Nor, where the service has refused it again and again, before this.
const DRAIN_AGAIN_MAX_MS: u64 = 5_000;
/// Offers that the service may refuse before others go on without it: the last one some half minute after the first.
const OFFERS_MAX: u32 = 10;

impl Core {
    /// Gives the lane to its next own write, and its place at this replica to the next that is ready.
    pub(crate) fn advance_lane(&mut self, cx: &mut Cx, lane: Lane) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let live = &self.live;
        let creates = |id: WriteId| live.get(&id).is_none_or(|write| write.facts.creates);
        if let Some(id) = state.next_own(creates) {
            // A write that was cancelled meanwhile is no longer live; one that was settled needs no place.
            if let Some(write) = self.live.get_mut(&id).filter(|write| write.position.is_none()) {
                state.holder = Some(id);
                write.holds_lane = true;
                write.needs_place = true;
                self.work.push_back(Work::Place(id));
            } else {
                self.work.push_back(Work::Lane(lane));
            }
        }
        self.grant(cx, lane);
        if self.lanes.get(&lane).is_some_and(|l| l.is_idle()) {
            self.lanes.remove(&lane);
        }
    }

    /// The own write is settled, passed or given up: the next of its lane may be decided.
    pub(crate) fn release_lane(&mut self, id: WriteId) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let lane = write.facts.lane;
        write.holds_lane = false;
        if let Some(state) = self.lanes.get_mut(&lane) {
            if state.holder == Some(id) {
                state.holder = None;
            }
            state.leave(id);
        }
        self.work.push_back(Work::Lane(lane));
    }

    /// Finds a decider for an own write that holds its lane and was sent nowhere, or could not be taken where it was
    /// sent.
    pub(crate) fn place(&mut self, cx: &mut Cx, id: WriteId) {
        let settled = self.own_settled();
        let decided = self.decided_here();
        let told_here = self.told_here();
        let told = self.is_named_as_decided(id);
        let give_up_at_ms = cx.ms() + self.settings.give_up_ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        let waits = matches!(write.stage, Stage::Idle | Stage::Waiting) && !write.doubtful;
        if !std::mem::take(&mut write.needs_place) || !waits || write.position.is_some() {
            return;
        }
        if told && let Some((site, attempt)) = write.owed.first_key_value() {
            // What comes after it elsewhere is here already: that site has decided it, and its word will come.
            write.origin = Origin::Wished { site: site.clone(), attempt: *attempt, revoked: true };
            write.stage = Stage::Idle;
            let pass_at_ms = *write.pass_at_ms.get_or_insert(give_up_at_ms);
            self.wishes_out.insert(id);
            self.wake_write_at(pass_at_ms, id);
            return self.persist(cx, id);
        }
        // Clients of this site were told of all that is settled, and have read what is decided here (G3).
        write.must = decided;
        write.must.raise(self.own, settled);
        write.must.merge(&told_here);
        let seen = write.seen.clone();
        write.must.merge(&seen);
        if write.orphan {
            return self.nowhere(cx, id);
        }
        let tried = write.tried.clone();
        match self.chooser.pick(&tried, |site| self.standing(site, cx.ms())) {
            Some(site) if site == self.settings.me => self.place_here(cx, id),
            Some(site) => self.wish(cx, id, site),
            None => self.nowhere(cx, id),
        }
    }

    /// Another site has decided it, and something after it that is known here, or may be. To decide it here all the
    /// same would put it after what comes after it, and followers of both would wait for ever.
    pub(crate) fn is_named_as_decided(&self, id: WriteId) -> bool {
        let Some(write) = self.live.get(&id).filter(|write| write.wish_attempts > 0) else { return false };
        // A wish that this replica has decided since may have been decided by the asked site too, after this one.
        let decided_since = |wish: &&WriteId| wish.log != self.own && !write.wished_after.contains(wish);
        write.is_named || self.unpositioned.iter().any(|wish| decided_since(&wish))
    }

    /// The write holds its lane and has no decider (any more).
    pub(crate) fn want_place(&mut self, id: WriteId) {
        if let Some(write) = self.live.get_mut(&id) {
            write.needs_place = true;
            self.work.push_back(Work::Place(id));
        }
    }

    fn place_here(&mut self, cx: &Cx, id: WriteId) {
        let give_up_at_ms = cx.ms() + self.settings.give_up_ms();
        let wait = !self.bug(Bug::DeciderDoesNotWait);
        let decided = self.decided_here();
        let at_accept = self.bug(Bug::AfterAtAccept);
        let Some(write) = self.live.get_mut(&id) else { return };
        write.origin = Origin::Here;
        write.role = Role::Own;
        write.stage = Stage::Waiting;
        let pass_at_ms = (write.wish_attempts > 0).then_some(give_up_at_ms);
        write.pass_at_ms = pass_at_ms;
        if !wait {
            write.must = crate::model::After::new();
        }
        if at_accept {
            write.after = Some(decided);
        }
        if let Some(at_ms) = pass_at_ms {
            self.wake_write_at(at_ms, id);
        }
        self.work.push_back(Work::Look(id));
    }

    pub(crate) fn own_settled(&self) -> u64 {
        self.series.get(&self.own).map_or(0, |s| s.received)
    }

    /// No replica can be asked. What was shipped as a wish may be given up only when its target has said that it is
    /// void.
    fn nowhere(&mut self, cx: &mut Cx, id: WriteId) {
        let give_up_at_ms = cx.ms() + self.settings.give_up_ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        // A queued one has its answer, and stands at the head of the queue until somebody can take it.
        if !write.owed.is_empty() && !write.queued {
            // Its time may have passed while it was on its way to this replica: its lane waits no longer, whoever is
            // cut off.
            let pass_at_ms = *write.pass_at_ms.get_or_insert(give_up_at_ms);
            // Its clients wait as long as they may: the word may come yet.
            return self.wake_write_at(pass_at_ms.max(cx.ms()), id);
        }
        write.tried.clear();
        if write.queued || (self.settings.when_down == WhenDown::Queue && !write.orphan) {
            return self.enqueue(cx, id);
        }
        self.cancel(cx, id, Problem::NoReplica { retry_after_s: RETRY_AFTER_S });
    }

    /// Keeps it until a replica can be asked; answered 202.
    pub(crate) fn enqueue(&mut self, cx: &mut Cx, id: WriteId) {
        let stale = |w: &super::write::Write| w.refuse_stale && !w.seen.is_empty();
        if self.live.get(&id).is_some_and(|w| stale(w) && !w.queued) {
            // What its client has seen is not kept over a restart, and it asked not to go on without.
            return self.cancel(cx, id, Problem::Stale);
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        write.origin = Origin::Queued;
        write.queued = true;
        write.stage = Stage::Idle;
        write.pass_at_ms = None;
        write.seen = crate::model::After::new();
        let (clients, lane) = (write.clients.clone(), write.facts.lane);
        self.persist(cx, id);
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.line.remove(id);
        }
        if self.draining == Some(id) {
            self.draining = None;
            self.drain_at_ms = cx.ms() + DRAIN_AGAIN_MS;
            self.queue.push_front(id);
        } else {
            let place = self.queue.partition_point(|other| *other < id);
            self.queue.insert(place, id);
        }
        self.release_lane(id);
        for req in clients {
            self.answer(cx, req, Reply::Queued { id });
        }
    }

    /// The service did not execute a queued write. Its client has a receipt, so it is offered again; but all that came
    /// later wait behind it, so not for ever (G9): then it stands in quarantine, and a person decides.
    pub(crate) fn offered_in_vain(&mut self, cx: &mut Cx, id: WriteId, status: u16) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.refusals += 1;
        write.refused_with = status;
        let offers = write.refusals;
        if offers >= OFFERS_MAX {
            let detail = format!("queued; the service answered {status}, {offers} times, and others waited behind it");
            return self.settle_undecided(cx, id, QuarantineReason::SetAside, detail);
        }
        self.enqueue(cx, id);
        self.drain_at_ms = cx.ms() + (DRAIN_AGAIN_MS << (offers - 1)).min(DRAIN_AGAIN_MAX_MS);
    }

    /// Queued writes go in order of acceptance, each when the one before is settled, before any newer one.
    pub(crate) fn drain_queue(&mut self, cx: &mut Cx) {
        if cx.ms() < self.drain_at_ms {
            // Asked again with the next status at the latest.
            return;
        }
        if self.draining.is_some_and(|id| self.live.get(&id).is_some_and(|w| w.position.is_none() && !w.has_passed())) {
            return;
        }
        self.draining = None;
        if self.chooser.current().is_none() {
            return;
        }
        if let Some(id) = self.queue.pop_front() {
            self.draining = Some(id);
            let Some(write) = self.live.get_mut(&id) else { return };
            write.tried.clear();
            let (lane, sender) = (write.facts.lane, write.sender);
            self.lanes.entry(lane).or_default().line.push(id, sender);
            self.advance_lane(cx, lane);
        }
    }

    /// Nobody can be asked: who waits for its lane, which another site's silence may hold for long, has its place in
    /// the queue.
    fn queue_those_in_line(&mut self, cx: &mut Cx) {
        if self.settings.when_down != WhenDown::Queue || self.chooser.current().is_some() {
            return;
        }
        let mut in_line: Vec<WriteId> = self.lanes.values().flat_map(|lane| lane.line.ids()).collect();
        // In order of acceptance.
        in_line.sort_unstable();
        for id in in_line {
            if self.live.get(&id).is_some_and(|write| write.is_unsent() && !write.orphan) {
                self.enqueue(cx, id);
            }
        }
    }

    /// Own writes that wait for this replica, unsent, may be decided elsewhere now.
    fn place_waiting(&mut self) {
        if self.chooser.current() == Some(&self.settings.me) {
            return;
        }
        let holders: Vec<WriteId> = self.lanes.values().filter_map(|lane| lane.holder).collect();
        for id in holders {
            let waits = |w: &super::write::Write| w.origin == Origin::Here && w.stage == Stage::Waiting && !w.doubtful;
            if self.live.get(&id).is_some_and(waits) {
                self.want_place(id);
            }
        }
    }

    /// What is known of a site as a decider.
    pub(crate) fn standing(&self, site: &SiteName, now_ms: u64) -> Standing {
        if *site == self.settings.me {
            let (available, last) = (self.healthy && !self.is_in_doubt(), self.stopped.is_some());
            let hangs = self.hangs(now_ms);
            // What is refused again and again holds up who follows, and is nothing that another site would decide
            // better.
            let lag_ms = self.lag_ms(now_ms).saturating_sub(self.alone.took_ms(now_ms));
            return Standing { available, hangs, lag_ms, last, waits_here: true };
        }
        let Some(peer) = self.peers.get(site) else {
            return Standing { available: false, hangs: false, lag_ms: 0, last: false, waits_here: false };
        };
        // What it has not got from us counts as what it is behind.
        let ours = self
            .series
            .get(&self.own)
            .map_or(0, |own| own.lag_ms(peer.cursors.get(&self.own).map_or(0, |c| c.decided), now_ms));
        let mut lag_ms = peer.lag_ms.max(ours).saturating_sub(peer.retried_ms);
        if self.misses_more_than_a_page_of(peer) {
            // Its outcomes would wait here for all that they come after: it is no better placed than this site.
            lag_ms = lag_ms.max(self.settings.lag_ms + 1);
        }
        Standing {
            available: peer.linked && peer.healthy,
            hangs: peer.hangs,
            lag_ms,
            last: peer.last,
            waits_here: false,
        }
    }

    fn misses_more_than_a_page_of(&self, peer: &super::peer::Peer) -> bool {
        let page = self.settings.limits.page_items as u64;
        let received = |log| self.series.get(log).map_or(0, |series| series.received);
        peer.cursors.iter().any(|(log, cursor)| cursor.received > received(log) + page)
    }

    /// Age of the oldest write that this replica has received and not decided.
    pub(crate) fn lag_ms(&self, now_ms: u64) -> u64 {
        self.series.values().map(|s| s.lag_ms(s.decided, now_ms)).max().unwrap_or(0)
    }

    /// Why a site that decided does not any more.
    fn why_not(&self, site: &SiteName, standing: Standing) -> FailoverReason {
        let is_linked = || *site == self.settings.me || self.peers.get(site).is_some_and(|peer| peer.linked);
        match standing {
            Standing { available: false, .. } if !is_linked() => FailoverReason::Link,
            Standing { available: false, .. } if *site == self.settings.me && self.healthy => FailoverReason::Stopped,
            Standing { available: false, .. } => FailoverReason::Service,
            Standing { hangs: true, .. } => FailoverReason::Hangs,
            Standing { last: true, .. } => FailoverReason::Stopped,
            Standing { lag_ms, .. } if lag_ms > self.settings.lag_ms => FailoverReason::Behind,
            _ => FailoverReason::Order,
        }
    }

    /// Health, links or lags changed: who decides may have changed.
    pub(crate) fn choose(&mut self, cx: &mut Cx) {
        let standings: Vec<(SiteName, Standing)> =
            self.settings.order.iter().map(|s| (s.clone(), self.standing(s, cx.ms()))).collect();
        let of = |site: &SiteName| standings.iter().find(|(s, _)| s == site).expect("all of the order").1;
        let before = self.chooser.last().cloned();
        if self.chooser.update(of) {
            self.drain_at_ms = 0;
            let current = self.chooser.current().cloned();
            let from = before.filter(|before| current.as_ref() != Some(before));
            let why = from.as_ref().map(|from| self.why_not(from, of(from)));
            cx.note(Note::Failover { from, to: current.clone(), why });
            cx.out.push(Effect::Decider(current));
            self.place_again();
            self.place_waiting();
            self.queue_those_in_line(cx);
        }
        if !self.queue.is_empty() {
            self.work.push_back(Work::Drain);
        }
    }

    pub(crate) fn health(&mut self, cx: &mut Cx, healthy: bool) {
        self.endpoints_healthy = healthy;
        let healthy = healthy && self.mending.hidden_try_left_ms(cx.ms()).is_none();
        if self.healthy != healthy {
            self.healthy = healthy;
            self.status_due = true;
            self.work.push_back(Work::Shadows);
        }
        self.choose(cx);
    }

    /// Deadlines of one write: seen, wish, backoff, doubt. Looks at the present state; an outdated timer does nothing.
    pub(crate) fn write_deadline(&mut self, cx: &mut Cx, id: WriteId) {
        let now = cx.ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        if !write.seen.is_empty() && now >= write.seen_until_ms && write.may_be_placed() {
            if write.refuse_stale && write.is_unsent() {
                return self.cancel(cx, id, Problem::Stale);
            }
            if !write.refuse_stale {
                write.seen = crate::model::After::new();
                if write.stage == Stage::Waiting {
                    return self.want_place(id);
                }
            }
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        match &write.stage {
            Stage::Backoff { until_ms } if *until_ms <= now => {
                write.stage = Stage::Waiting;
                self.work.push_back(Work::Look(id));
            }
            Stage::Unknown(_) => self.doubt_deadline(cx, id),
            _ => {}
        }
        self.wish_deadline(cx, id);
        self.held_wish_deadline(cx, id);
    }

    pub(crate) fn wake_write_at(&mut self, at_ms: u64, id: WriteId) {
        self.at(at_ms, Timer::Write(id));
    }
}
