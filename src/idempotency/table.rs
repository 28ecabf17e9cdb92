//! Which writes a key may name: those in memory, and whether the journal has to be asked.
use std::collections::{BTreeMap, HashSet};

use crate::model::{KeyHash, WriteId};

/// The durable key table is the journal's index; this is what saves asking it for keys that it cannot know.
#[derive(Default)]
pub struct KeyTable {
    live: BTreeMap<KeyHash, Vec<WriteId>>,
    /// [`KeyHash::short`] of stored keys. Only looked up, never iterated.
    stored: HashSet<u64>,
    /// Beyond this many the filter is given up and the journal is always asked.
    limit: usize,
    overflowed: bool,
}

impl KeyTable {
    pub fn recover(stored: impl IntoIterator<Item = u64>, limit: usize) -> Self {
        let mut table = Self { limit, ..Self::default() };
        stored.into_iter().for_each(|short| table.store(short));
        table
    }

    fn store(&mut self, short: u64) {
        if self.stored.len() >= self.limit {
            // Correct without the filter, only slower: every key asks the journal.
            self.overflowed = true;
            self.stored = HashSet::new();
        }
        if !self.overflowed {
            self.stored.insert(short);
        }
    }

    pub fn insert(&mut self, key: KeyHash, id: WriteId) {
        let ids = self.live.entry(key).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    /// The write is no longer in memory; `stored` when the journal has its row.
    pub fn leave_memory(&mut self, key: KeyHash, id: WriteId, stored: bool) {
        if let Some(ids) = self.live.get_mut(&key) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.live.remove(&key);
            }
        }
        if stored {
            self.store(key.short());
        }
    }

    /// A row was stored that never was in memory.
    pub fn stored(&mut self, key: KeyHash) {
        self.store(key.short());
    }

    pub fn live(&self, key: &KeyHash) -> &[WriteId] {
        self.live.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the journal may have rows of this key that are not in memory.
    pub fn may_be_stored(&self, key: &KeyHash) -> bool {
        self.overflowed || self.stored.contains(&key.short())
    }

    /// The journal has no row with these keys any more.
    pub fn forgotten(&mut self, shorts: &[u64]) {
        for short in shorts {
            self.stored.remove(short);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn a_key_is_asked_for_only_where_it_can_be() {
        let id = |n| WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n };
        let (key, other) = (KeyHash([1; 16]), KeyHash([2; 16]));
        let mut table = KeyTable::recover([other.short()], 3);
        assert!(table.may_be_stored(&other) && !table.may_be_stored(&key));
        table.insert(key, id(1));
        table.insert(key, id(2));
        assert_eq!(table.live(&key), [id(1), id(2)]);
        table.leave_memory(key, id(1), false);
        assert!(!table.may_be_stored(&key));
        table.leave_memory(key, id(2), true);
        assert!(table.may_be_stored(&key) && table.live(&key).is_empty());
        table.forgotten(&[key.short()]);
        assert!(!table.may_be_stored(&key));
        (3..9).for_each(|n| table.stored(KeyHash([n; 16])));
        assert!(table.may_be_stored(&key), "beyond its limit the filter knows nothing");
    }

    #[test]
    fn the_filter_holds_as_many_keys_as_its_limit_and_then_none() {
        let key = |n| KeyHash([n; 16]);
        let mut table = KeyTable::recover([key(1).short(), key(2).short()], 2);
        assert!(!table.may_be_stored(&key(9)));
        table.stored(key(3));
        assert!(table.may_be_stored(&key(9)));
        table.forgotten(&[key(1).short(), key(2).short(), key(3).short()]);
        assert!(table.may_be_stored(&key(9)), "what it gave up it does not know again");
    }

    #[test]
    fn a_write_stands_once_under_its_key() {
        let (key, id) = (KeyHash([1; 16]), WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n: 1 });
        let mut table = KeyTable::recover([], 3);
        table.insert(key, id);
        table.insert(key, id);
        assert_eq!(table.live(&key), [id]);
        table.leave_memory(KeyHash([2; 16]), id, false);
        assert_eq!(table.live(&key), [id], "another key's write has left");
    }
}
