//! Whose turn it is to be sent here as a shadow: there are so many places, and who finds none stands in line.
use std::collections::{BTreeSet, VecDeque};

use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Shadows that are at the service now.
    here: BTreeSet<WriteId>,
    /// Those that had their turn and found no place, or no healthy replica.
    waiting: VecDeque<WriteId>,
}

impl Turns {
    pub fn comes(&mut self, id: WriteId) {
        self.here.insert(id);
    }

    /// Whether it was at the service.
    pub fn leaves(&mut self, id: WriteId) -> bool {
        self.here.remove(&id)
    }

    pub fn here(&self) -> usize {
        self.here.len()
    }

    pub fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn waits(&self, id: &WriteId) -> bool {
        self.waiting.contains(id)
    }

    /// At the end of the line.
    pub fn wait(&mut self, id: WriteId) {
        self.waiting.push_back(id);
    }

    /// It had its turn, and has the first place again: behind those alone that go before it.
    pub fn wait_again(&mut self, id: WriteId, goes_before: impl Fn(&WriteId) -> bool) {
        let at = self.waiting.iter().rposition(goes_before).map_or(0, |at| at + 1);
        self.waiting.insert(at, id);
    }

    pub fn next(&mut self) -> Option<WriteId> {
        self.waiting.pop_front()
    }

    /// In front of all others.
    pub fn put_back(&mut self, mut passed_over: VecDeque<WriteId>) {
        passed_over.append(&mut self.waiting);
        self.waiting = passed_over;
    }

    /// Out of the line, if it stands there.
    pub fn take(&mut self, id: WriteId) -> Option<WriteId> {
        let at = self.waiting.iter().position(|other| *other == id)?;
        self.waiting.remove(at)
    }
}
