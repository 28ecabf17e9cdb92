//! Items that wait until the write that they are about is decided at this replica: late decisions about it, and
//! positions of its copies.
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Item, WriteId};

#[derive(Debug, Default)]
pub(crate) struct Postponed {
    decisions: BTreeMap<WriteId, Arc<Item>>,
    copies: BTreeMap<WriteId, Vec<Arc<Item>>>,
}

impl Postponed {
    pub fn decision(&mut self, old: WriteId, item: Arc<Item>) {
        self.decisions.insert(old, item);
    }

    pub fn copy(&mut self, first: WriteId, item: Arc<Item>) {
        let copies = self.copies.entry(first).or_default();
        if copies.iter().all(|copy| copy.id != item.id) {
            copies.push(item);
        }
    }

    pub fn has_any_about(&self, id: &WriteId) -> bool {
        self.decisions.contains_key(id) || self.copies.contains_key(id)
    }

    pub fn has_copies_of(&self, first: &WriteId) -> bool {
        self.copies.contains_key(first)
    }

    /// It is decided: what was about it.
    pub fn take(&mut self, id: WriteId) -> (Option<Arc<Item>>, Vec<Arc<Item>>) {
        (self.decisions.remove(&id), self.copies.remove(&id).unwrap_or_default())
    }

    /// Writes whose copies wait.
    pub fn firsts(&self) -> impl Iterator<Item = &WriteId> {
        self.copies.keys()
    }

    /// With the write that each repeats.
    pub fn copies(&self) -> impl Iterator<Item = (WriteId, &Arc<Item>)> {
        self.copies.iter().flat_map(|(first, copies)| copies.iter().map(|copy| (*first, copy)))
    }

    pub fn is_copy(&self, id: WriteId) -> bool {
        self.copies().any(|(_, copy)| copy.id == id)
    }

    /// A copy waits no more.
    pub fn take_copy(&mut self, id: WriteId) -> Option<(WriteId, Arc<Item>)> {
        let (first, copy) = self.copies().find(|(_, copy)| copy.id == id).map(|(first, copy)| (first, copy.clone()))?;
        self.copies.get_mut(&first)?.retain(|other| other.id != id);
        Some((first, copy))
    }
}
