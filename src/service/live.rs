//! The table of live writes: those that are not final, and those whose clients still wait; with what they weigh, in all
//! and for each sender (G6, G9).
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::{Index, RangeFrom};
use std::sync::Arc;

use super::write::Write;
use super::{Limits, Sender};
use crate::model::{Request, WriteId};

#[derive(Debug, Default)]
pub(crate) struct Live {
    writes: BTreeMap<WriteId, Write>,
    /// Of the writes, and of what waits beside them ([`Live::hold`]).
    bytes: usize,
    /// Of it, what each sender of this life has: how many, and bytes.
    by_sender: BTreeMap<Sender, (usize, usize)>,
}

impl Live {
    pub fn get(&self, id: &WriteId) -> Option<&Write> {
        self.writes.get(id)
    }

    pub fn get_mut(&mut self, id: &WriteId) -> Option<&mut Write> {
        self.writes.get_mut(id)
    }

    pub fn contains_key(&self, id: &WriteId) -> bool {
        self.writes.contains_key(id)
    }

    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn values(&self) -> impl Iterator<Item = &Write> {
        self.writes.values()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&WriteId, &Write)> {
        self.writes.iter()
    }

    #[cfg(test)]
    pub fn keys(&self) -> impl Iterator<Item = &WriteId> {
        self.writes.keys()
    }

    pub fn range(&self, from: RangeFrom<WriteId>) -> impl Iterator<Item = (&WriteId, &Write)> {
        self.writes.range(from)
    }

    pub fn insert(&mut self, mut write: Write) {
        let weight = write.weight();
        self.bytes += weight;
        if write.brought.sender != Sender::default() {
            write.brought.charged = weight;
            self.charge(write.brought.sender, weight);
        }
        let before = self.writes.insert(write.row.id, write);
        assert!(before.is_none(), "a write becomes live once");
    }

    pub fn remove(&mut self, id: &WriteId) -> Option<Write> {
        let write = self.writes.remove(id)?;
        self.bytes -= write.weight();
        self.discharge(write.brought.sender, write.brought.charged);
        Some(write)
    }

    /// Its request has come after the rest of it.
    pub fn give_request(&mut self, id: &WriteId, request: &Arc<Request>) {
        let Some(write) = self.writes.get_mut(id).filter(|write| write.request.is_none()) else { return };
        let before = write.weight();
        write.request = Some(request.clone());
        self.bytes = self.bytes - before + write.weight();
    }

    /// Something of this sender waits beside the table, and counts like what stands in it.
    pub fn hold(&mut self, sender: Sender, weight: usize) {
        self.bytes += weight;
        self.charge(sender, weight);
    }

    pub fn let_go(&mut self, sender: Sender, weight: usize) {
        self.bytes -= weight;
        self.discharge(sender, weight);
    }

    pub fn is_full(&self, limits: &Limits) -> bool {
        self.len() >= limits.open_writes || self.bytes >= limits.open_bytes
    }

    /// So full that what can wait should.
    pub fn is_half_full(&self, limits: &Limits) -> bool {
        self.len() >= limits.open_writes / 2 || self.bytes >= limits.open_bytes / 2
    }

    /// Why no new write has a place: all together have too many, or one sender has half of what all may.
    pub fn is_full_for(&self, limits: &Limits, sender: Sender, weight: usize) -> Option<&'static str> {
        if self.is_full(limits) {
            return Some("open writes");
        }
        let (count, bytes) = self.by_sender.get(&sender).copied()?;
        let is_full = 2 * (count + 1) > limits.open_writes || 2 * bytes.saturating_add(weight) > limits.open_bytes;
        is_full.then_some("open writes of this client")
    }

    fn charge(&mut self, sender: Sender, weight: usize) {
        if sender == Sender::default() {
            return;
        }
        let (count, bytes) = self.by_sender.entry(sender).or_default();
        (*count, *bytes) = (*count + 1, *bytes + weight);
    }

    /// `weight`: as it was charged; 0 was not.
    fn discharge(&mut self, sender: Sender, weight: usize) {
        let Entry::Occupied(mut held) = self.by_sender.entry(sender) else { return };
        if weight == 0 {
            return;
        }
        let (count, bytes) = held.get_mut();
        (*count, *bytes) = (*count - 1, *bytes - weight);
        if *count == 0 {
            held.remove();
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    #[cfg(test)]
    pub fn has_senders(&self) -> bool {
        !self.by_sender.is_empty()
    }
}

impl Index<&WriteId> for Live {
    type Output = Write;

    fn index(&self, id: &WriteId) -> &Write {
        self.writes.get(id).unwrap_or_else(|| panic!("{id} is live"))
    }
}
