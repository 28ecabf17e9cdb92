//! Wishes decided here that have no position yet, and those whose origins are owed our word.
use std::collections::BTreeSet;

use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Decided here, of positions that are not known: `after` names them by id.
    unpositioned: BTreeSet<WriteId>,
    /// Settled as undecided by their origins, which have not heard our word.
    owed: BTreeSet<WriteId>,
}

impl Words {
    pub fn decided_without_position(&mut self, id: WriteId) {
        self.unpositioned.insert(id);
    }

    pub fn positioned(&mut self, id: WriteId) {
        self.unpositioned.remove(&id);
    }

    pub fn unpositioned(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.unpositioned.iter().copied()
    }

    pub fn is_unpositioned(&self, id: &WriteId) -> bool {
        self.unpositioned.contains(id)
    }

    /// Its place is that of the decision which our word will make.
    pub fn owe(&mut self, id: WriteId) {
        self.owed.insert(id);
        self.unpositioned.insert(id);
    }

    /// Whether it was owed.
    pub fn heard(&mut self, id: WriteId) -> bool {
        let was_owed = self.owed.remove(&id);
        if was_owed {
            self.unpositioned.remove(&id);
        }
        was_owed
    }

    pub fn is_owed(&self, id: &WriteId) -> bool {
        self.owed.contains(id)
    }

    pub fn owed(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.owed.iter().copied()
    }

    pub fn none_is_owed(&self) -> bool {
        self.owed.is_empty()
    }
}
