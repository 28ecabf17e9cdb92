//! Accepting a client's write: its key first, then a hint if there is one, then a place among the open writes.
use super::asking::Asking;
use super::core::{Core, Cx, Timer, Work};
use super::whose::KeyState;
use super::write::{Role, Stage, Write};
use super::{Bug, Effect, Find, Found, Looking, NewWrite, Note, Reply, ReqId, WhenDown};
use crate::dedup::Fingerprint;
use crate::journal::{Fate, Op, Origin, Row};
use crate::model::{After, Lane, Outcome, Problem, Verdict, WriteId};

pub(super) const RETRY_AFTER_S: u32 = 1;

impl Core {
    /// `asked`: the origin named by the ring was asked and knows of nothing, or could not be asked.
    pub(super) fn consider(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, write: NewWrite, asked: bool) {
        let Some(key) = write.facts.key else { return self.accept(cx, req, id, write) };
        if self.idempotency.keys.may_be_stored(&key) {
            return self.find(cx, Find::Key(key), Looking::Submit { req, id, write, asked });
        }
        if !self.idempotency.keys.live(&key).is_empty() {
            return self.judge(cx, req, id, write, Vec::new(), asked);
        }
        match self.ring.get(&key) {
            Some(print) if !asked && print.origin != self.settings.me => {
                let site = print.origin.clone();
                self.ask(cx, Asking { req, id, write, site, pausing: false });
            }
            _ => self.accept(cx, req, id, write),
        }
    }

    pub(super) fn judge(
        &mut self,
        cx: &mut Cx,
        req: ReqId,
        id: WriteId,
        write: NewWrite,
        rows: Vec<Found>,
        asked: bool,
    ) {
        let key = write.facts.key.expect("only writes with a key are judged by it");
        let reply = match self.key_state(cx, key, self.asker(&write), &rows) {
            KeyState::New => {
                let expired =
                    |f: &&Found| f.row.facts.key == Some(key) && self.has_expired(cx, &f.row, f.quarantined.is_some());
                let mut write = write;
                write.facts.renews = rows.iter().filter(expired).map(|f| f.row.id).collect();
                // The journal was asked because of a neighbour in the filter, or of an expired row: the ring comes
                // next.
                return match self.ring.get(&key) {
                    Some(p) if !asked && p.origin != self.settings.me && !self.is_known(p.id, &rows) => {
                        let site = p.origin.clone();
                        self.ask(cx, Asking { req, id, write, site, pausing: false })
                    }
                    _ => self.accept(cx, req, id, write),
                };
            }
            KeyState::InFlight(first) => return self.wait_for_copy(cx, req, id, write, first),
            KeyState::OfAnother(state) => Reply::Problem { id: None, problem: Problem::KeyOfAnother { state } },
            KeyState::OtherRequest => Reply::Problem { id: None, problem: Problem::KeyReused },
            KeyState::Recorded(first, outcome, position) => {
                if self.bind_to(cx, first, Self::binding(&outcome), &outcome.after, position) {
                    cx.note(Note::Replayed);
                    self.recorded_reply(first, outcome, position)
                } else {
                    Reply::Problem { id: None, problem: Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S } }
                }
            }
            KeyState::Unknown(first) => Reply::Problem { id: Some(first), problem: Problem::OutcomeUnknown },
        };
        self.answer(cx, req, reply);
    }

    fn is_known(&self, id: WriteId, rows: &[Found]) -> bool {
        self.live.contains_key(&id) || rows.iter().any(|f| f.row.id == id)
    }

    pub(crate) fn recorded_reply(&self, first: WriteId, outcome: Outcome, position: Option<u64>) -> Reply {
        let seen = self.seen_with(first, &outcome, position);
        match outcome.answer {
            Some(answer) if answer.omitted.is_none() => {
                Reply::Answer { id: first, answer, replayed: true, served_by: self.settings.me.clone(), seen }
            }
            _ => Reply::Problem { id: Some(first), problem: Problem::ReplayUnavailable },
        }
    }

    /// What a recorded answer rests on: what this replica has decided, what its clients were told, and the write
    /// itself, which another site may have decided and this replica not yet (G3). Only what was applied is waited for:
    /// of anything else no site owes its word.
    fn seen_with(&self, first: WriteId, outcome: &Outcome, position: Option<u64>) -> After {
        let mut seen = self.decided_here();
        seen.raise(self.own, self.own_settled());
        self.with_itself(seen, first, outcome, position)
    }

    pub(super) fn with_itself(
        &self,
        mut seen: After,
        first: WriteId,
        outcome: &Outcome,
        position: Option<u64>,
    ) -> After {
        match (position, outcome.verdict, outcome.repeats) {
            (Some(position), ..) => seen.raise(first.log, position),
            (None, Verdict::Applied, _) if first.log != self.own => seen.add_id(first),
            (None, Verdict::Duplicate, Some(repeated)) if repeated.log != self.own => seen.add_id(repeated),
            _ => {}
        }
        seen
    }

    /// `is_open`: it stands in quarantine.
    pub(super) fn has_expired(&self, cx: &Cx, row: &Row, is_open: bool) -> bool {
        let old = row.settled_clock_ms.saturating_add(self.settings.key_ttl_ms) < cx.now.clock_ms;
        let owed_ignored = self.bug(Bug::KeyExpiresWhileOwed);
        // With an open problem it is kept, however old: a person may still say that it was applied.
        let is_open = is_open && !self.bug(Bug::KeyExpiresWhileOpen);
        old && row.is_final()
            && !is_open
            && row.position.is_some_and(|(p, _)| p <= self.decided_by_all(row.id.log) || owed_ignored)
    }

    fn accept(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, mut new: NewWrite) {
        if self.age.is_forked() {
            return self.answer(cx, req, Reply::Problem { id: None, problem: Problem::StoreDown });
        }
        if let Some(what) = self.live.is_full_for(&self.settings.limits, new.sender, new.request.weight()) {
            return self.answer(cx, req, Reply::Problem { id: None, problem: Problem::Overloaded { what } });
        }
        if let Some(key) = new.facts.key {
            let print = Fingerprint { key, origin: self.settings.me.clone(), id };
            self.ring.insert(print.clone());
            cx.out.push(Effect::Publish(print));
        }
        self.replica.is_written(cx.ms());
        let may_create = new.facts.creates;
        new.facts.creates = may_create && (self.settings.creates || self.replay.creating.contains(new.facts.lane));
        let mut write = Write::new(id, new.facts, Some(new.request), Role::Own, cx.ms());
        write.brought.sender = new.sender;
        write.brought.may_create = may_create;
        write.brought.clients.push(req);
        write.brought.first_client = Some(req);
        write.brought.refuse_stale = new.refuse_stale;
        if !self.has_decided(&new.seen) {
            write.brought.seen = new.seen;
            write.brought.seen_until_ms = cx.ms() + self.settings.total_ms / 2;
            self.at(write.brought.seen_until_ms, Timer::Write(id));
        }
        self.clients.wait_for(req, id);
        let (lane, sender) = (write.row.facts.lane, write.brought.sender);
        self.insert(write);
        let in_turn = !self.bug(Bug::QueueOvertaken);
        let nobody_decides = self.chooser.current().is_none();
        let others_first = in_turn && !self.queue.is_empty();
        // Where nobody can be asked its lane may be held for as long: it has its receipt at once.
        if self.settings.when_down == WhenDown::Queue && (others_first || nobody_decides) {
            return self.enqueue(cx, id);
        }
        self.replay.lanes.join(lane, id, sender);
        self.agenda.push(Work::Lane(lane));
    }

    /// The one place where a client is answered; once.
    pub(crate) fn answer(&mut self, cx: &mut Cx, req: ReqId, reply: Reply) {
        if let Some((awaited, deadline_ms)) = self.clients.leave(req) {
            self.hands_out(&reply);
            if let Some(write) = awaited.and_then(|id| self.live.get_mut(&id)) {
                write.brought.clients.retain(|other| *other != req);
            }
            self.agenda.withdraw(deadline_ms, Timer::Client(req));
            cx.reply(req, reply);
        }
    }

    /// Whoever gets this reply has an address of the write that it names.
    pub(crate) fn hands_out(&mut self, reply: &Reply) {
        let named = match reply {
            Reply::Answer { id, .. } | Reply::Queued { id } | Reply::Problem { id: Some(id), .. } => Some(*id),
            Reply::Problem { id: None, .. } | Reply::Go { .. } | Reply::Done => None,
            Reply::Orders(_) | Reply::Rejected { .. } => None,
        };
        if let Some(write) = named.and_then(|id| self.live.get_mut(&id)) {
            write.brought.is_told_of = true;
        }
    }

    /// A copy, or a read, gives its place to others. The write goes on, and so does who brought it: it may have been
    /// the only one.
    pub(crate) fn left(&mut self, cx: &mut Cx, req: ReqId) {
        if let Some(reader) = self.readers.take(req) {
            self.agenda.withdraw(reader.due_ms(), Timer::Client(req));
            return cx.reply(req, Reply::Go { fresh: false, seen: reader.seen });
        }
        let first = self.clients.write_of(req);
        let is_copy = |write: &&Write| write.brought.first_client != Some(req);
        if let Some(id) = first.filter(|id| self.live.get(id).as_ref().is_some_and(is_copy)) {
            let problem = Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S };
            self.answer(cx, req, Reply::Problem { id: Some(id), problem });
            return self.evict_if_final(id);
        }
        if self.idempotency.questions.is_pausing(req) == Some(true) || self.take_stranger(req) {
            self.idempotency.questions.forget(req);
            let problem = Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S };
            self.answer(cx, req, Reply::Problem { id: None, problem });
        }
    }

    /// The try at the service that a client waits for.
    pub(crate) fn awaited_try(&self, req: ReqId) -> Option<(WriteId, u32)> {
        let write = self.clients.write_of(req).and_then(|id| self.live.get(&id))?;
        matches!(write.stage, Stage::Sending).then_some((write.row.id, write.tries.attempts))
    }

    /// What a client is told when the journal has failed, and nothing said what became of its write.
    pub(crate) fn last_words(&self, req: ReqId) -> Reply {
        let write = self.clients.write_of(req).and_then(|id| self.live.get(&id));
        match write {
            // It may have been applied, here or where it was wished: the same as after the restart. A first try that
            // had not begun never will.
            Some(write) if !write.is_unsent() && !write.row.queued && !write.is_at_first_try() => {
                Reply::Problem { id: Some(write.row.id), problem: Problem::OutcomeUnknown }
            }
            _ => Reply::Problem { id: None, problem: Problem::StoreDown },
        }
    }

    /// `timeout.total` bounds every wait of a client.
    pub(crate) fn client_deadline(&mut self, cx: &mut Cx, req: ReqId) {
        if self.reader_deadline(cx, req) {
            return;
        }
        if let Some(reply) = self.clients.take_receipt(req) {
            return self.answer(cx, req, reply);
        }
        if !self.clients.contains(req) {
            return;
        }
        let Some(id) = self.clients.write_of(req) else {
            let problem = match self.idempotency.questions.is_pausing(req) {
                None if self.take_stranger(req) => Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S },
                Some(_) => Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S },
                None => Problem::Overloaded { what: "journal look-ups" },
            };
            return self.answer(cx, req, Reply::Problem { id: None, problem });
        };
        let Some(write) = self.live.get(&id) else { return };
        let alone = write.brought.clients.len() == 1;
        let problem = match (write.is_unsent(), alone, &write.row.origin) {
            (true, true, _) => {
                let retry_after_s = self.lane_free_in_s(cx, write.row.facts.lane);
                self.cancel(cx, id, Problem::LaneBusy { retry_after_s });
                return;
            }
            (true, false, _) => Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S },
            (false, _, Origin::Wished { .. }) => Problem::OutcomePending,
            (false, _, _) => Problem::OutcomeUnknown,
        };
        self.answer(cx, req, Reply::Problem { id: Some(id), problem });
        self.evict_if_final(id);
    }

    /// Gives up an own write that was sent nowhere; its clients are told why. Durable where the journal knows of it.
    pub(crate) fn cancel(&mut self, cx: &mut Cx, id: WriteId, problem: Problem) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.origin = Origin::Cancelled;
        let (is_stored, leaves_nothing) = (write.stored, write.leaves_nothing());
        let clients = write.brought.clients.clone();
        self.has_fate(cx, id, Fate::Void);
        if is_stored && id.log == self.own {
            cx.note(Note::Cancelled);
        }
        if is_stored && leaves_nothing {
            cx.persist(Op::Erase(id));
            self.age.changes();
        } else if is_stored {
            self.persist(cx, id);
            cx.persist(Op::DropRequest(id));
        }
        // Of what the journal does not know nobody could be told later what became of it; of another's key nothing is
        // told.
        let has_address = is_stored && !leaves_nothing && !matches!(problem, Problem::KeyOfAnother { .. });
        let address = has_address.then_some(id);
        for req in clients {
            self.answer(cx, req, Reply::Problem { id: address, problem: problem.clone() });
        }
        self.ended(cx, id);
    }

    /// When the lane goes on at the latest, as far as is known: with what it waits for, or soon.
    fn lane_free_in_s(&self, cx: &Cx, lane: Lane) -> u32 {
        let until_ms = |id: &WriteId| {
            let write = self.live.get(id)?;
            let doubt = match &write.stage {
                Stage::Unknown(doubt) => Some(doubt.pass_at_ms.max(doubt.worked_until_ms)),
                _ => None,
            };
            doubt.or(write.tries.pass_at_ms)
        };
        let left_ms = self.replay.lanes.waits_for(lane).filter_map(until_ms).max().unwrap_or(0).saturating_sub(cx.ms());
        u32::try_from(left_ms.div_ceil(1_000)).unwrap_or(u32::MAX).max(RETRY_AFTER_S)
    }

    /// Something more was decided: readers may be served.
    pub(crate) fn wake_readers(&mut self, cx: &mut Cx) {
        self.wake_arrivals(cx);
        for req in self.readers.ready(|seen| self.has_decided(seen)) {
            if let Some(reader) = self.readers.take(req) {
                self.agenda.withdraw(reader.due_ms(), Timer::Client(req));
                cx.reply(req, Reply::Go { fresh: reader.is_fresh, seen: reader.seen });
            }
        }
    }

    pub(crate) fn hinted(&mut self, fingerprint: Fingerprint) {
        if fingerprint.origin != self.settings.me {
            self.ring.insert(fingerprint);
        }
    }

    /// Deletes what is decided everywhere and old enough.
    pub(crate) fn clean(&mut self, cx: &mut Cx) {
        const CLEAN_EVERY_MS: u64 = 60_000;
        self.at(cx.ms() + CLEAN_EVERY_MS, Timer::Clean);
        if self.is_held() {
            return;
        }
        let keep_ms = self.settings.retain_ms.max(self.settings.key_ttl_ms);
        if let Some(older_than_ms) = cx.now.clock_ms.checked_sub(keep_ms) {
            let logs: Vec<_> = self.mirror.series.keys().copied().collect();
            for log in logs {
                let up_to = self.decided_by_all(log).min(self.mirror.series.get(&log).map_or(0, |s| s.decided));
                if up_to > 0 {
                    cx.persist(Op::Forget { log, up_to, older_than_ms });
                }
            }
            cx.persist(Op::ForgetCancelled { older_than_ms });
        }
    }
}
