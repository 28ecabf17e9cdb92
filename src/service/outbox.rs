//! The one rule of execution: nothing becomes visible outside before everything persisted before it is durable.
use std::collections::VecDeque;

use super::{Effect, Reply, ReqId};
use crate::journal::Op;
use crate::model::{After, Problem};

/// Sits between a [`super::Core`] and its executor. Batches are numbered from 1; each is one transaction.
///
/// Group commit needs no timer: what piles up while one batch is being written is the next one.
#[derive(Default)]
pub struct Outbox {
    /// Ops that no batch holds yet.
    gathering: Vec<Op>,
    /// The number that the gathering batch will have is `handed_over + 1`.
    handed_over: u64,
    durable: u64,
    /// Effects with the batch they wait for, in order of emission.
    waiting: VecDeque<(u64, Effect)>,
}

impl Outbox {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what one event led to; puts into `ready` what may be executed at once.
    pub fn absorb(&mut self, effects: impl IntoIterator<Item = Effect>, ready: &mut Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(op) => self.gathering.push(op),
                effect if effect.waits_for_disk() => {
                    let batch = self.last_batch();
                    // Keep the order among visible effects: nothing overtakes one that still waits.
                    if batch <= self.durable && self.waiting.is_empty() {
                        ready.push(effect);
                    } else {
                        self.waiting.push_back((batch, effect));
                    }
                }
                effect => ready.push(effect),
            }
        }
    }

    /// The next transaction, if there is anything to write. Several may be under way; they become durable in order.
    pub fn next_batch(&mut self) -> Option<(u64, Vec<Op>)> {
        if self.gathering.is_empty() {
            return None;
        }
        self.handed_over += 1;
        Some((self.handed_over, std::mem::take(&mut self.gathering)))
    }

    /// Batch `number` and all before it are durable: what waited for them may be executed.
    pub fn durable(&mut self, number: u64, ready: &mut Vec<Effect>) {
        assert!(number <= self.handed_over, "batch {number} was never handed over");
        self.durable = self.durable.max(number);
        while self.waiting.front().is_some_and(|(batch, _)| *batch <= self.durable) {
            ready.extend(self.waiting.pop_front().map(|(_, effect)| effect));
        }
    }

    /// The journal has failed: nothing that waits will be durable, as far as anybody can know. What may be said of it
    /// all the same are a service's own answers: their writes were durably on their way, and a start finds them
    /// unknown. That nobody knows is true as well. All else is dropped.
    pub fn abandon(&mut self) -> Vec<(ReqId, Reply)> {
        self.gathering.clear();
        let said = self.waiting.drain(..).filter_map(|(_, effect)| match effect {
            // Where it stands in the log is as little durable as the rest: another write will stand there after the
            // restart.
            Effect::Reply { req, reply: Reply::Answer { id, answer, replayed, served_by, seen: _ } } => {
                Some((req, Reply::Answer { id, answer, replayed, served_by, seen: After::new() }))
            }
            Effect::Reply { req, reply } => Some((req, reply)),
            _ => None,
        });
        let may_be_said = |reply: &Reply| match reply {
            Reply::Answer { .. } => true,
            Reply::Problem { problem, .. } => matches!(problem, Problem::OutcomeUnknown | Problem::OutcomePending),
            _ => false,
        };
        said.filter(|(_, reply)| may_be_said(reply)).collect()
    }

    /// The last batch that is durable.
    pub fn durable_up_to(&self) -> u64 {
        self.durable
    }

    /// The batch that has, or will have, the last of what was absorbed.
    pub fn last_batch(&self) -> u64 {
        self.handed_over + u64::from(!self.gathering.is_empty())
    }

    /// Batches handed over and not yet durable.
    pub fn under_way(&self) -> u64 {
        self.handed_over - self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogId, SiteName, WriteId};
    use crate::service::{Message, Note};

    fn op() -> Effect {
        Effect::Persist(Op::Stopped(None))
    }
    fn send(n: u64) -> Effect {
        let id = WriteId { log: LogId { store: [0; 16], incarnation: 1 }, n };
        Effect::Send { to: SiteName::new("b"), message: Message::Revoke { id, attempt: 1 } }
    }

    #[test]
    fn visible_effects_wait_for_what_was_persisted_before_them_and_for_nothing_else() {
        let (mut outbox, mut ready) = (Outbox::new(), Vec::new());
        outbox.absorb([send(0), op(), send(1), Effect::Note(Note::Accepted)], &mut ready);
        assert_eq!(ready, [send(0), Effect::Note(Note::Accepted)]);
        ready.clear();
        let (first, ops) = outbox.next_batch().unwrap();
        assert_eq!((first, ops.len(), outbox.next_batch()), (1, 1, None));
        outbox.absorb([op(), send(2)], &mut ready);
        assert_eq!((outbox.last_batch(), outbox.under_way(), outbox.durable_up_to()), (2, 1, 0));
        outbox.durable(first, &mut ready);
        assert_eq!((outbox.last_batch(), outbox.under_way(), outbox.durable_up_to()), (2, 0, 1));
        assert_eq!(ready, [send(1)]);
        ready.clear();
        let (second, _) = outbox.next_batch().unwrap();
        outbox.absorb([send(3)], &mut ready);
        assert_eq!(ready, []);
        outbox.durable(second, &mut ready);
        assert_eq!(ready, [send(2), send(3)]);
        assert_eq!(outbox.under_way(), 0);
    }

    #[test]
    fn when_the_journal_fails_the_answers_of_a_service_are_said_and_nothing_else() {
        let (mut outbox, mut ready) = (Outbox::new(), Vec::new());
        let id = WriteId { log: LogId { store: [0; 16], incarnation: 1 }, n: 1 };
        let answer_with = |seen| Reply::Answer {
            id,
            answer: crate::service::testing::answer(201),
            replayed: false,
            served_by: SiteName::new("a"),
            seen,
        };
        let (mut seen, answer) = (After::new(), answer_with(After::new()));
        seen.raise(id.log, 1);
        let problem = |problem| Reply::Problem { id: Some(id), problem };
        let reply = |n, reply| Effect::Reply { req: ReqId(n), reply };
        outbox.absorb([op(), reply(1, answer_with(seen)), reply(2, Reply::Queued { id }), send(1)], &mut ready);
        outbox.next_batch();
        let unknown = problem(Problem::OutcomeUnknown);
        outbox.absorb([op(), reply(3, unknown.clone()), reply(4, problem(Problem::Stale))], &mut ready);
        assert_eq!(outbox.abandon(), [(ReqId(1), answer), (ReqId(3), unknown)]);
        assert_eq!((outbox.abandon(), outbox.next_batch(), ready), (Vec::new(), None, Vec::new()));
    }
}
