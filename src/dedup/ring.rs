//! The circular buffer of fingerprints: fixed memory, oldest out first, look-up by key in O(1).
use std::collections::HashMap;

use wincode::{SchemaRead, SchemaWrite};

use crate::model::{KeyHash, SiteName, WriteId};

/// What nodes tell each other about a write at once.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Fingerprint {
    pub key: KeyHash,
    pub origin: SiteName,
    pub id: WriteId,
}

/// The paper's circular buffer (Toshiba, par. 2.4), for one service on one node.
pub struct Ring {
    slots: Vec<Fingerprint>,
    /// Where the next one goes once the ring is full.
    next: usize,
    capacity: usize,
    /// Only looked up, never iterated, so its order cannot leak into decisions.
    by_key: HashMap<KeyHash, usize>,
}

impl Ring {
    pub fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), next: 0, capacity: capacity.max(1), by_key: HashMap::new() }
    }

    /// Takes a fingerprint; of several with one key the first that is still in the ring stays the one that is found.
    pub fn insert(&mut self, fingerprint: Fingerprint) {
        if self.by_key.contains_key(&fingerprint.key) {
            return;
        }
        let slot = if self.slots.len() < self.capacity {
            self.slots.push(fingerprint.clone());
            self.slots.len() - 1
        } else {
            let slot = self.next;
            self.next = (slot + 1) % self.capacity;
            self.by_key.remove(&self.slots[slot].key);
            self.slots[slot] = fingerprint.clone();
            slot
        };
        self.by_key.insert(fingerprint.key, slot);
    }

    pub fn get(&self, key: &KeyHash) -> Option<&Fingerprint> {
        self.by_key.get(key).map(|&slot| &self.slots[slot])
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    fn print(key: u8, n: u64) -> Fingerprint {
        Fingerprint {
            key: KeyHash([key; 16]),
            origin: SiteName::new("a"),
            id: WriteId { log: LogId { store: [0; 16], incarnation: 1 }, n },
        }
    }

    #[test]
    fn the_oldest_goes_first_and_memory_is_fixed() {
        let mut ring = Ring::new(4);
        for n in 0..10 {
            ring.insert(print(n, n as u64));
            ring.insert(print(n, 99));
        }
        assert_eq!(ring.len(), 4);
        for n in 0..10 {
            assert_eq!(ring.get(&KeyHash([n; 16])).map(|f| f.id.n), (n >= 6).then_some(n as u64), "{n}");
        }
    }

    #[test]
    fn a_ring_holds_one_at_least() {
        let mut ring = Ring::new(0);
        assert!(ring.is_empty() && ring.get(&KeyHash([1; 16])).is_none());
        ring.insert(print(1, 1));
        assert!(!ring.is_empty() && ring.len() == 1);
        ring.insert(print(2, 2));
        assert_eq!([1, 2].map(|n| ring.get(&KeyHash([n; 16])).is_some()), [false, true]);
    }
}
