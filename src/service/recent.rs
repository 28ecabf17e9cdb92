//! Ids of the writes that were decided last and are no longer live.
use std::collections::{BTreeSet, VecDeque};

use crate::model::WriteId;

/// More look-ups than this are never under way.
pub(crate) const RECENT: usize = 4_096;

/// The last [`RECENT`] ids.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    order: VecDeque<WriteId>,
    known: BTreeSet<WriteId>,
}

impl Recent {
    pub fn push(&mut self, id: WriteId) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn contains(&self, id: &WriteId) -> bool {
        self.known.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn the_last_ones_are_known() {
        let id = |n| WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n };
        let mut recent = Recent::default();
        (0..=RECENT as u64).chain([5, 5]).for_each(|n| recent.push(id(n)));
        assert_eq!([0, 1, 5].map(|n| recent.contains(&id(n))), [false, true, true]);
        assert!(recent.contains(&id(RECENT as u64)) && recent.order.len() == RECENT && recent.known.len() == RECENT);
    }
}
