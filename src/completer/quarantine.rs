//! Entries of the quarantine that are in memory, and entries that are on their way out.
use std::collections::{BTreeMap, BTreeSet};

use crate::journal::Quarantined;
use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    /// Of live writes, and of records that cannot be read. All others the journal alone has: they come with their rows
    /// when somebody asks.
    entries: BTreeMap<WriteId, Quarantined>,
    /// Out by order and not done with: until then the journal holds the entry, and a crash brings it back (G1).
    releasing: BTreeSet<WriteId>,
}

impl Quarantine {
    pub fn recover(entries: impl IntoIterator<Item = Quarantined>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.id, entry)).collect(), releasing: BTreeSet::new() }
    }

    pub fn get(&self, id: &WriteId) -> Option<&Quarantined> {
        self.entries.get(id)
    }

    pub fn contains(&self, id: &WriteId) -> bool {
        self.entries.contains_key(id)
    }

    /// The journal has it, or is about to; in memory it is only as long as somebody looks at its write.
    pub fn keep(&mut self, entry: Quarantined, in_memory: bool) {
        if in_memory {
            self.entries.insert(entry.id, entry);
        } else {
            self.entries.remove(&entry.id);
        }
    }

    /// Its record cannot be read: what this replica did with it says its entry alone.
    pub fn keep_unreadable(&mut self, entry: Quarantined) {
        self.entries.entry(entry.id).or_insert(entry);
    }

    /// The journal goes on holding it.
    pub fn leave_memory(&mut self, id: WriteId) {
        self.entries.remove(&id);
    }

    /// It is out for good. Whether it was in memory.
    pub fn take_out(&mut self, id: WriteId) -> bool {
        self.entries.remove(&id).is_some()
    }

    /// An order about it is being carried out.
    pub fn hold(&mut self, id: WriteId) {
        if self.take_out(id) {
            self.releasing.insert(id);
        }
    }

    /// The journal has an entry of it again while it is on its way.
    pub fn is_held_again(&mut self, id: WriteId) {
        self.releasing.insert(id);
    }

    /// It was held no longer: it stands in quarantine again, or is done with. Whether it was held.
    pub fn hold_no_more(&mut self, id: WriteId) -> bool {
        self.releasing.remove(&id)
    }

    pub fn is_held(&self, id: &WriteId) -> bool {
        self.releasing.contains(id)
    }

    /// In quarantine because their records are broken: no entry in the journal says so.
    pub fn unreadable(&self) -> impl Iterator<Item = &Quarantined> {
        self.entries.values().filter(|entry| !entry.is_written())
    }

    /// Entries of the unreadable, to be written down.
    pub fn write_unreadable(&mut self, since_ms: u64) -> Vec<Quarantined> {
        let unreadable = self.entries.values_mut().filter(|entry| !entry.is_written());
        let write = |entry: &mut Quarantined| {
            entry.since_ms = since_ms;
            entry.clone()
        };
        unreadable.map(write).collect()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
