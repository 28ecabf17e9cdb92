//! Own writes that were answered 202 and have no decider: offered one at a time, in order of acceptance.
use std::collections::VecDeque;

use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<WriteId>,
    /// The one that is being decided.
    offered: Option<WriteId>,
    /// Nothing is offered before.
    not_before_ms: u64,
}

impl Queue {
    /// A new one has its place by its number; one that was offered in vain goes back to the head.
    pub fn put(&mut self, id: WriteId, again_ms: u64) {
        if self.offered == Some(id) {
            self.offered = None;
            self.not_before_ms = again_ms;
            self.waiting.push_front(id);
        } else {
            let place = self.waiting.partition_point(|other| *other < id);
            self.waiting.insert(place, id);
        }
    }

    /// It was having its turn when the process ended.
    pub fn is_offered_again(&mut self, id: WriteId) {
        self.offered = Some(id);
    }

    pub fn offered(&self) -> Option<WriteId> {
        self.offered
    }

    /// The next one has its turn.
    pub fn offer(&mut self) -> Option<WriteId> {
        self.offered = self.waiting.pop_front();
        self.offered
    }

    /// It was decided or passed, and nobody could take the next.
    pub fn withdraw_offer(&mut self) {
        self.offered = None;
    }

    /// It is settled. Whether it was having its turn.
    pub fn settled(&mut self, id: WriteId) -> bool {
        self.waiting.retain(|other| *other != id);
        self.offered.take_if(|offered| *offered == id).is_some()
    }

    pub fn wait_until(&mut self, ms: u64) {
        self.not_before_ms = ms;
    }

    pub fn may_offer(&self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.offered.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::own;

    #[test]
    fn the_queue_keeps_the_order_of_acceptance_and_offers_one_at_a_time() {
        let mut queue = Queue::default();
        for n in [3, 1, 2] {
            queue.put(own(n), 0);
        }
        assert_eq!((queue.offer(), queue.offered(), queue.len()), (Some(own(1)), Some(own(1)), 3));
        queue.put(own(1), 70);
        assert_eq!((queue.offered(), queue.may_offer(69), queue.may_offer(70)), (None, false, true));
        assert_eq!(queue.offer(), Some(own(1)));
        assert_eq!([2, 1, 1].map(|n| queue.settled(own(n))), [false, true, false]);
        assert_eq!([queue.offer(), queue.offer()], [Some(own(3)), None]);
        assert!(queue.is_empty());
    }
}
