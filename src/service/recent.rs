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

/// Entries of the quarantine that changed lately, each with the last token given before: what a look-up asked earlier
/// is out of date.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    latest: VecDeque<(u64, WriteId)>,
    forgotten: u64,
}

impl Changes {
    pub fn push(&mut self, token: u64, id: WriteId) {
        self.latest.push_back((token, id));
        if self.latest.len() > RECENT
            && let Some((token, _)) = self.latest.pop_front()
        {
            self.forgotten = token;
        }
    }

    /// Since the look-up with this token. Whether something is forgotten of that time it cannot tell, and says yes.
    pub fn since(&self, token: u64, id: WriteId) -> bool {
        let mut later = self.latest.iter().rev().take_while(|(given, _)| *given >= token);
        token <= self.forgotten || later.any(|(_, of)| *of == id)
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
        let mut changes = Changes::default();
        changes.push(7, id(1));
        assert_eq!([(7, 1), (8, 1), (7, 2)].map(|(token, n)| changes.since(token, id(n))), [true, false, false]);
        (0..RECENT as u64).for_each(|n| changes.push(10, id(n)));
        assert_eq!(
            [(7, 9_999), (8, 9_999), (11, 1)].map(|(token, n)| changes.since(token, id(n))),
            [true, false, false]
        );
        assert_eq!([0, 1, 5].map(|n| recent.contains(&id(n))), [false, true, true]);
        assert!(recent.contains(&id(RECENT as u64)) && recent.order.len() == RECENT && recent.known.len() == RECENT);
    }
}
