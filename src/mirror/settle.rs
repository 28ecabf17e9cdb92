//! Settling: the outcome gets a position, durably, and then the client is told.
use std::sync::Arc;

use crate::journal::{Fate, Op, Origin, QuarantineReason};
use crate::model::{After, Answer, Chain, DECISION, Item, LogId, Outcome, Problem, Verdict, WriteId};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Note, Reply, ReqId};

impl Core {
    /// `fate`: what this replica decided, if it did; otherwise another site's did, and this one follows.
    pub(crate) fn settle(&mut self, cx: &mut Cx, id: WriteId, outcome: Outcome, fate: Option<Fate>) {
        let Some(write) = self.live.get(&id) else { return };
        assert!(write.row.position.is_none(), "{id} is settled once (G1)");
        // A late word is settled wherever the write was placed meanwhile: the answer is still of the site that gave it.
        let served_by = match &write.placing.pending {
            Some((site, _)) if fate.is_none() => site.clone(),
            _ => self.settings.me.clone(),
        };
        let (position, chain) = self.next_position(id, &outcome);
        let decided_here = fate.is_some();
        if !decided_here && outcome.verdict == Verdict::MayHaveApplied {
            let detail = format!("the service answered {} at {served_by}", outcome.status);
            self.quarantine(cx, id, QuarantineReason::MayHaveApplied, detail, outcome.status);
        }
        let followed = outcome.verdict == Verdict::Applied;
        let waits_for_first = self.first_of_copy(&outcome).is_some();
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.position = Some((position, chain));
        write.row.outcome = Some(outcome);
        write.row.origin = Origin::Settled;
        write.row.settled_clock_ms = cx.now.clock_ms;
        write.tries.doubtful = write.tries.doubtful && !decided_here;
        write.row.owed.clear();
        write.placing.pending = None;
        write.stage = match fate {
            Some(fate) => Stage::Decided(fate),
            None if followed => Stage::Waiting,
            // Over a restart too.
            None if waits_for_first => Stage::Idle,
            None => Stage::Decided(Fate::Skipped),
        };
        if !decided_here {
            write.role = Role::Shadow;
        }
        self.mirror.wishes.settled(id);
        self.append_own(cx, id);
        self.drop_request_of_refusal(cx, id);
        self.after_settling(cx, id);
        self.tell_clients(cx, id, served_by);
        self.evict_if_final(id);
    }

    fn next_position(&mut self, id: WriteId, outcome: &Outcome) -> (u64, Chain) {
        let facts = &self.live[&id].row.facts;
        let own = self.mirror.series.get(&self.own).expect("the own series exists from the start");
        let position = own.received + 1;
        (position, Item::chain_over(own.chain, position, id, facts, outcome))
    }

    fn append_own(&mut self, cx: &mut Cx, id: WriteId) {
        let item = Arc::new(self.item_of(&self.live[&id]));
        let own = self.mirror.series.get_mut(&self.own).expect("the own series exists from the start");
        own.append(item, cx.ms());
        self.persist(cx, id);
        self.persist_series(cx, self.own);
    }

    /// What others get: the request where they must apply it, the answer where it is not too large.
    pub(crate) fn item_of(&self, write: &Write) -> Item {
        let mut item = write.record().item(None).expect("the write has a position");
        if item.is_followed() || self.bug(Bug::RefusalFollowed) {
            item.request = write.request.clone();
        }
        if item.outcome.answer.as_ref().is_some_and(|a| a.weight() > self.settings.answer_max) {
            item.outcome.answer = None;
        }
        item
    }

    /// Nobody applies a refusal, and no person can order one to be sent: its answer is kept, and not what was asked.
    pub(crate) fn drop_request_of_refusal(&self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let is_refusal =
            |outcome: &Outcome| matches!(outcome.verdict, Verdict::Refused | Verdict::NotExecuted | Verdict::Void);
        let is_done = matches!(write.stage, Stage::Decided(Fate::Refused | Fate::Skipped | Fate::Void));
        if is_done && write.row.outcome.as_ref().is_some_and(is_refusal) && !self.bug(Bug::RefusalFollowed) {
            cx.persist(Op::DropRequest(id));
        }
    }

    fn after_settling(&mut self, cx: &mut Cx, id: WriteId) {
        let write = &self.live[&id];
        let position = write.row.position.map(|(p, _)| p).expect("just settled");
        let verdict = write.row.outcome.as_ref().expect("just settled").verdict;
        let stage = write.stage.clone();
        if write.row.decides.is_none() {
            cx.note(Note::Settled { verdict });
        }
        self.learn_creating(id);
        match stage {
            Stage::Decided(fate) => {
                if fate == Fate::Applied {
                    self.note_applied(id);
                }
                match self.mirror.series[&self.own].tail_item(position) {
                    Some(item) if fate == Fate::Skipped => self.decide_skipped(cx, item),
                    _ => {
                        self.position_decided(cx, self.own, position);
                        self.decided_id(id);
                    }
                }
            }
            Stage::Idle => self.skip_settled(cx, id),
            _ => self.agenda.push(Work::Look(id)),
        }
        self.release_lane(id);
        // A late word may have settled it while it waited for its turn.
        if self.queue.settled(id) {
            self.agenda.push(Work::Drain);
        }
        self.mirror.wishes.look_soon();
        self.ship(cx, self.own);
    }

    fn tell_clients(&mut self, cx: &mut Cx, id: WriteId, served_by: crate::model::SiteName) {
        self.call_strangers(id);
        let write = &self.live[&id];
        if write.brought.clients.is_empty() {
            return;
        }
        let (clients, first) = (write.brought.clients.clone(), write.brought.first_client);
        let outcome = write.row.outcome.clone().expect("just settled");
        let position = write.row.position.map_or(0, |(p, _)| p);
        let mut seen = self.decided_here();
        seen.raise(self.own, position);
        for req in clients {
            let replayed = outcome.verdict == Verdict::Duplicate || first != Some(req);
            let reply = match (&outcome.verdict, &outcome.answer) {
                (Verdict::Undecided, _) => Reply::Problem { id: Some(id), problem: Problem::OutcomeUnknown },
                (Verdict::Void, _) => Reply::Problem { id: Some(id), problem: Problem::NoReplica { retry_after_s: 1 } },
                (_, Some(answer)) if answer.omitted.is_none() || !replayed => {
                    let (answer, seen) = (answer.clone(), seen.clone());
                    Reply::Answer { id, answer, replayed, served_by: served_by.clone(), seen }
                }
                (_, _) => Reply::Problem { id: Some(id), problem: Problem::ReplayUnavailable },
            };
            self.answer_when_received(cx, req, position, outcome.verdict, reply);
        }
    }

    /// `ack = { peers = n }`: the answer waits for receipts while a peer is connected.
    fn answer_when_received(&mut self, cx: &mut Cx, req: ReqId, position: u64, verdict: Verdict, reply: Reply) {
        let waits =
            self.settings.ack_peers > 0 && verdict == Verdict::Applied && self.mirror.peers.values().any(|p| p.linked);
        if !waits {
            return self.answer(cx, req, reply);
        }
        let awaited = self.clients.await_receipt(position, req, reply);
        if let Some(write) = awaited.and_then(|id| self.live.get_mut(&id)) {
            write.brought.clients.retain(|other| *other != req);
        }
    }

    /// Answers those whose positions enough peers have stored; all of them when no peer is connected.
    pub(crate) fn release_receipts(&mut self, cx: &mut Cx) {
        if !self.clients.await_receipts() {
            return;
        }
        let own: LogId = self.own;
        let mut received: Vec<u64> =
            self.mirror.peers.values().map(|p| p.cursors.get(&own).map_or(0, |c| c.received)).collect();
        received.sort_unstable_by(|a, b| b.cmp(a));
        let enough = received.get(usize::from(self.settings.ack_peers).saturating_sub(1)).copied().unwrap_or(0);
        let up_to = if self.mirror.peers.values().any(|p| p.linked) { enough } else { u64::MAX };
        for (req, reply) in self.clients.received(up_to) {
            self.answer(cx, req, reply);
        }
    }

    /// An own write that was settled without being decided is decided now: an item of its own, at the end of the
    /// series.
    pub(crate) fn decide_late(
        &mut self,
        cx: &mut Cx,
        old: Write,
        verdict: Verdict,
        answer: Option<Arc<Answer>>,
        after: Option<After>,
    ) {
        let Some((old_position, _)) = old.row.position else { return };
        let id = WriteId { log: old.row.id.log, n: old.row.id.n | DECISION };
        if old.row.id.n & DECISION != 0 || self.live.contains_key(&id) {
            return;
        }
        let applied = verdict == Verdict::Applied;
        let outcome = Outcome {
            status: answer.as_ref().map_or(0, |a| a.status),
            answer,
            // It may be: then there is nothing to compare with.
            told_by_probe: true,
            ..Outcome::new(
                verdict,
                after.or_else(|| old.row.outcome.as_ref().map(|o| o.after.clone())).unwrap_or_default(),
            )
        };
        let here = match &old.stage {
            Stage::Decided(Fate::Skipped | Fate::Void) => !applied,
            _ => true,
        };
        // What was decided void is no copy that this replica has applied.
        let fate = match &old.stage {
            Stage::Decided(fate @ (Fate::Applied | Fate::Duplicate(_))) if applied => fate.clone(),
            _ => Fate::Skipped,
        };
        let mut write = Write::new(id, old.row.facts, if applied { old.request } else { None }, Role::Shadow, cx.ms());
        write.row.decides = Some((old.row.id, old_position));
        self.insert(write);
        let (position, chain) = self.next_position(id, &outcome);
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.position = Some((position, chain));
        write.row.outcome = Some(outcome);
        write.row.origin = Origin::Settled;
        write.row.settled_clock_ms = cx.now.clock_ms;
        write.stage = if here { Stage::Decided(fate) } else { Stage::Waiting };
        self.append_own(cx, id);
        self.after_settling(cx, id);
        self.evict_if_final(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{Bench, answer, answered, item, log, new_write, own, settings};
    use crate::service::{AttemptResult, Settings};

    #[test]
    fn answers_too_large_for_a_page_are_not_shipped() {
        let large = Arc::new(Answer { body: vec![b'x'; 100].into(), ..Answer::clone(&answer(201)) });
        let exact = large.weight();
        for (answer_max, shipped) in [(exact - 1, false), (exact, true), (exact + 1, true)] {
            let mut bench = Bench::new(Settings { answer_max, ..settings("a", &["a", "b"]) });
            bench.submit(new_write("POST", 1, 0));
            bench.attempted(own(1), 1, AttemptResult::Answered(large.clone()));
            let item = bench.core.mirror.series[&log(1)].tail_item(1).expect("it is settled");
            assert_eq!(item.outcome.answer.is_some(), shipped, "{answer_max}");
            assert_eq!(item.outcome.status, 201);
        }
    }

    #[test]
    fn only_what_is_followed_is_shipped_with_its_request() {
        for (status, followed) in [(201, true), (404, false)] {
            let mut bench = Bench::new(settings("a", &["a", "b"]));
            bench.submit(new_write("POST", 1, 0));
            bench.attempted(own(1), 1, answered(status));
            let shipped = bench.core.mirror.series[&log(1)].tail_item(1).expect("it is settled");
            assert_eq!(shipped.request.is_some(), followed);
            assert_eq!(shipped.is_followed(), item(log(1), 1, 0).is_followed() && followed);
        }
    }
}
