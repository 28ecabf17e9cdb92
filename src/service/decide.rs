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
        let live = &self.live;
        let creates = |id: WriteId| live.get(&id).is_none_or(|write| write.row.facts.creates);
        if let Some(id) = self.replay.lanes.next_own(lane, creates) {
            // A write that was cancelled meanwhile is no longer live; one that was settled needs no place.
            if let Some(write) = self.live.get_mut(&id).filter(|write| write.row.position.is_none()) {
                self.replay.lanes.hold(lane, id);
                write.holds_lane = true;
                write.placing.needed = true;
                self.agenda.push(Work::Place(id));
            } else {
                self.agenda.push(Work::Lane(lane));
            }
        }
        self.grant(cx, lane);
        self.replay.lanes.forget_if_idle(lane);
    }

    /// The own write is settled, passed or given up: the next of its lane may be decided.
    pub(crate) fn release_lane(&mut self, id: WriteId) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let lane = write.row.facts.lane;
        write.holds_lane = false;
        self.replay.lanes.release(lane, id);
        self.agenda.push(Work::Lane(lane));
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
        let waits = matches!(write.stage, Stage::Idle | Stage::Waiting) && !write.tries.doubtful;
        if !std::mem::take(&mut write.placing.needed) || !waits || write.row.position.is_some() {
            return;
        }
        if told && let Some((site, attempt)) = write.row.owed.first() {
            // What comes after it elsewhere is here already: that site has decided it, and its word will come.
            write.row.origin = Origin::Wished { site: site.clone(), attempt: *attempt, revoked: true };
            write.stage = Stage::Idle;
            let pass_at_ms = *write.tries.pass_at_ms.get_or_insert(give_up_at_ms);
            self.mirror.wishes.goes_out(id);
            self.wake_write_at(pass_at_ms, id);
            return self.persist(cx, id);
        }
        // Clients of this site were told of all that is settled, and have read what is decided here (G3).
        write.must = decided;
        write.must.raise(self.own, settled);
        write.must.merge(&told_here);
        let seen = write.brought.seen.clone();
        write.must.merge(&seen);
        if write.placing.orphan {
            return self.nowhere(cx, id);
        }
        let tried = write.placing.tried.clone();
        match self.chooser.pick(&tried, |site| self.standing(site, cx.ms())) {
            Some(site) if site == self.settings.me => self.place_here(cx, id),
            Some(site) => self.wish(cx, id, site),
            None => self.nowhere(cx, id),
        }
    }

    /// Another site has decided it, and something after it that is known here, or may be. To decide it here all the
    /// same would put it after what comes after it, and followers of both would wait for ever.
    pub(crate) fn is_named_as_decided(&self, id: WriteId) -> bool {
        let Some(write) = self.live.get(&id).filter(|write| write.placing.wish_attempts > 0) else { return false };
        // A wish that this replica has decided since may have been decided by the asked site too, after this one.
        let decided_since = |wish: WriteId| wish.log != self.own && !write.placing.wished_after.contains(&wish);
        write.is_named || self.mirror.words.unpositioned().any(decided_since)
    }

    /// The write holds its lane and has no decider (any more).
    pub(crate) fn want_place(&mut self, id: WriteId) {
        if let Some(write) = self.live.get_mut(&id) {
            write.placing.needed = true;
            self.agenda.push(Work::Place(id));
        }
    }

    fn place_here(&mut self, cx: &Cx, id: WriteId) {
        let give_up_at_ms = cx.ms() + self.settings.give_up_ms();
        let wait = !self.bug(Bug::DeciderDoesNotWait);
        let decided = self.decided_here();
        let at_accept = self.bug(Bug::AfterAtAccept);
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.origin = Origin::Here;
        write.role = Role::Own;
        write.stage = Stage::Waiting;
        let pass_at_ms = (write.placing.wish_attempts > 0).then_some(give_up_at_ms);
        write.tries.pass_at_ms = pass_at_ms;
        if !wait {
            write.must = crate::model::After::new();
        }
        if at_accept {
            write.tries.after = Some(decided);
        }
        if let Some(at_ms) = pass_at_ms {
            self.wake_write_at(at_ms, id);
        }
        self.agenda.push(Work::Look(id));
    }

    pub(crate) fn own_settled(&self) -> u64 {
        self.mirror.series.get(&self.own).map_or(0, |s| s.received)
    }

    /// No replica can be asked. What was shipped as a wish may be given up only when its target has said that it is
    /// void.
    fn nowhere(&mut self, cx: &mut Cx, id: WriteId) {
        let give_up_at_ms = cx.ms() + self.settings.give_up_ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        // A queued one has its answer, and stands at the head of the queue until somebody can take it.
        if !write.row.owed.is_empty() && !write.row.queued {
            // Its time may have passed while it was on its way to this replica: its lane waits no longer, whoever is
            // cut off.
            let pass_at_ms = *write.tries.pass_at_ms.get_or_insert(give_up_at_ms);
            // Its clients wait as long as they may: the word may come yet.
            return self.wake_write_at(pass_at_ms.max(cx.ms()), id);
        }
        write.placing.tried.clear();
        if write.row.queued || (self.settings.when_down == WhenDown::Queue && !write.placing.orphan) {
            return self.enqueue(cx, id);
        }
        self.cancel(cx, id, Problem::NoReplica { retry_after_s: RETRY_AFTER_S });
    }

    /// Keeps it until a replica can be asked; answered 202.
    pub(crate) fn enqueue(&mut self, cx: &mut Cx, id: WriteId) {
        let stale = |w: &super::write::Write| w.brought.refuse_stale && !w.brought.seen.is_empty();
        if self.live.get(&id).is_some_and(|w| stale(w) && !w.row.queued) {
            // What its client has seen is not kept over a restart, and it asked not to go on without.
            return self.cancel(cx, id, Problem::Stale);
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.origin = Origin::Queued;
        write.row.queued = true;
        write.stage = Stage::Idle;
        write.tries.pass_at_ms = None;
        write.brought.seen = crate::model::After::new();
        let (clients, lane) = (write.brought.clients.clone(), write.row.facts.lane);
        self.persist(cx, id);
        self.replay.lanes.leave_line(lane, id);
        self.queue.put(id, cx.ms() + DRAIN_AGAIN_MS);
        self.release_lane(id);
        for req in clients {
            self.answer(cx, req, Reply::Queued { id });
        }
    }

    /// The service did not execute a queued write. Its client has a receipt, so it is offered again; but all that came
    /// later wait behind it, so not for ever (G9): then it stands in quarantine, and a person decides.
    pub(crate) fn offered_in_vain(&mut self, cx: &mut Cx, id: WriteId, status: u16) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.tries.refusals += 1;
        write.tries.refused_with = status;
        let offers = write.tries.refusals;
        if offers >= OFFERS_MAX {
            let detail = format!("queued; the service answered {status}, {offers} times, and others waited behind it");
            return self.settle_undecided(cx, id, QuarantineReason::SetAside, detail);
        }
        self.enqueue(cx, id);
        self.queue.wait_until(cx.ms() + (DRAIN_AGAIN_MS << (offers - 1)).min(DRAIN_AGAIN_MAX_MS));
    }

    /// Queued writes go in order of acceptance, each when the one before is settled, before any newer one.
    pub(crate) fn drain_queue(&mut self, cx: &mut Cx) {
        let is_open = |id| self.live.get(&id).is_some_and(|w| w.row.position.is_none() && !w.has_passed());
        // Before its time it is asked again with the next status at the latest.
        if !self.queue.may_offer(cx.ms()) || self.queue.offered().is_some_and(is_open) {
            return;
        }
        if self.chooser.current().is_none() {
            return self.queue.withdraw_offer();
        }
        if let Some(id) = self.queue.offer() {
            let Some(write) = self.live.get_mut(&id) else { return };
            write.placing.tried.clear();
            let (lane, sender) = (write.row.facts.lane, write.brought.sender);
            self.replay.lanes.join(lane, id, sender);
            self.advance_lane(cx, lane);
        }
    }

    /// Nobody can be asked: who waits for its lane, which another site's silence may hold for long, has its place in
    /// the queue.
    fn queue_those_in_line(&mut self, cx: &mut Cx) {
        if self.settings.when_down != WhenDown::Queue || self.chooser.current().is_some() {
            return;
        }
        for id in self.replay.lanes.in_line() {
            if self.live.get(&id).is_some_and(|write| write.is_unsent() && !write.placing.orphan) {
                self.enqueue(cx, id);
            }
        }
    }

    /// Own writes that wait for this replica, unsent, may be decided elsewhere now.
    fn place_waiting(&mut self) {
        if self.chooser.current() == Some(&self.settings.me) {
            return;
        }
        for id in self.replay.lanes.holders() {
            let waits = |w: &super::write::Write| {
                w.row.origin == Origin::Here && w.stage == Stage::Waiting && !w.tries.doubtful
            };
            if self.live.get(&id).is_some_and(waits) {
                self.want_place(id);
            }
        }
    }

    /// What is known of a site as a decider.
    pub(crate) fn standing(&self, site: &SiteName, now_ms: u64) -> Standing {
        if *site == self.settings.me {
            let (available, last) =
                (self.replica.is_healthy() && !self.is_in_doubt(), self.replay.stopping.is_stopped());
            let hangs = self.hangs(now_ms);
            // What is refused again and again holds up who follows, and is nothing that another site would decide
            // better.
            let lag_ms = self.lag_ms(now_ms).saturating_sub(self.replay.alone.took_ms(now_ms));
            return Standing { available, hangs, lag_ms, last, waits_here: true };
        }
        let Some(peer) = self.mirror.peers.get(site) else {
            return Standing { available: false, hangs: false, lag_ms: 0, last: false, waits_here: false };
        };
        // What it has not got from us counts as what it is behind.
        let ours = self
            .mirror
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
        let received = |log| self.mirror.series.get(log).map_or(0, |series| series.received);
        peer.cursors.iter().any(|(log, cursor)| cursor.received > received(log) + page)
    }

    /// Age of the oldest write that this replica has received and not decided.
    pub(crate) fn lag_ms(&self, now_ms: u64) -> u64 {
        self.mirror.series.values().map(|s| s.lag_ms(s.decided, now_ms)).max().unwrap_or(0)
    }

    /// Why a site that decided does not any more.
    fn why_not(&self, site: &SiteName, standing: Standing) -> FailoverReason {
        let is_linked = || *site == self.settings.me || self.mirror.peers.get(site).is_some_and(|peer| peer.linked);
        match standing {
            Standing { available: false, .. } if !is_linked() => FailoverReason::Link,
            Standing { available: false, .. } if *site == self.settings.me && self.replica.is_healthy() => {
                FailoverReason::Stopped
            }
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
            self.queue.wait_until(0);
            let current = self.chooser.current().cloned();
            let from = before.filter(|before| current.as_ref() != Some(before));
            let why = from.as_ref().map(|from| self.why_not(from, of(from)));
            cx.note(Note::Failover { from, to: current.clone(), why });
            cx.out.push(Effect::Decider(current));
            self.place_again();
            self.place_waiting();
            self.queue_those_in_line(cx);
        }
        if self.queue.has_waiting() {
            self.agenda.push(Work::Drain);
        }
    }

    pub(crate) fn health(&mut self, cx: &mut Cx, healthy: bool) {
        if self.replica.health(healthy, self.replay.mending.hidden_try_left_ms(cx.ms()).is_some()) {
            self.mirror.statuses.say_soon();
            self.agenda.push(Work::Shadows);
        }
        self.choose(cx);
    }

    /// Deadlines of one write: seen, wish, backoff, doubt. Looks at the present state; an outdated timer does nothing.
    pub(crate) fn write_deadline(&mut self, cx: &mut Cx, id: WriteId) {
        let now = cx.ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        if !write.brought.seen.is_empty() && now >= write.brought.seen_until_ms && write.may_be_placed() {
            if write.brought.refuse_stale && write.is_unsent() {
                return self.cancel(cx, id, Problem::Stale);
            }
            if !write.brought.refuse_stale {
                write.brought.seen = crate::model::After::new();
                if write.stage == Stage::Waiting {
                    return self.want_place(id);
                }
            }
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        match &write.stage {
            Stage::Backoff { until_ms } if *until_ms <= now => {
                write.stage = Stage::Waiting;
                self.agenda.push(Work::Look(id));
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
