//! Which own writes other sites were asked to decide, and which of their outcomes wait to be settled.
use std::collections::BTreeSet;

use crate::model::WriteId;

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// With a wish out, or a revocation owed.
    out: BTreeSet<WriteId>,
    /// Their outcomes wait for the entries that they come after.
    pending: BTreeSet<WriteId>,
    /// One of them may be settled now.
    is_due: bool,
}

impl Wishes {
    pub fn goes_out(&mut self, id: WriteId) {
        self.out.insert(id);
    }

    pub fn out(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.out.iter().copied()
    }

    pub fn none_is_out(&self) -> bool {
        self.out.is_empty()
    }

    pub fn outcome_waits(&mut self, id: WriteId) {
        self.pending.insert(id);
    }

    /// Its outcome counts no longer.
    pub fn outcome_is_void(&mut self, id: WriteId) {
        self.pending.remove(&id);
    }

    pub fn pending(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.pending.iter().copied()
    }

    pub fn settled(&mut self, id: WriteId) {
        self.out.remove(&id);
        self.pending.remove(&id);
    }

    /// Something came that an outcome may have waited for.
    pub fn look_soon(&mut self) {
        self.is_due = true;
    }

    pub fn is_due(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }
}
