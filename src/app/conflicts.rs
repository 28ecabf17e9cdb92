//! What two sites did with one lane, one key or one write while they were cut off from each other, the last of it by
//! name: counts tell that a person must look, this tells at what. Of this life of the process.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::numbers::wall_ms;
use crate::admin::Conflict;
use crate::model::{Group, WriteId};

/// Who has more to look at begins with the last.
const KEPT: usize = 1_000;

#[derive(Default)]
pub(super) struct Conflicts {
    kept: Mutex<VecDeque<Conflict>>,
}

impl Conflicts {
    pub fn met(&self, group: &Group, what: &'static str, write: WriteId, with: WriteId) {
        let Group { service, store } = group.clone();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(Conflict { at_ms: wall_ms(), service, store, what, write, with });
        kept.truncate(KEPT);
    }

    /// The last one first.
    pub fn all(&self) -> Vec<Conflict> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn the_last_ones_are_kept() {
        let conflicts = Conflicts::default();
        let id = |n| WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n };
        let group = Group { service: "tx".to_owned(), store: "store".to_owned() };
        (0..KEPT as u64 + 5).for_each(|n| conflicts.met(&group, "one lane", id(n), id(0)));
        let all = conflicts.all();
        assert_eq!((all.len(), all[0].write, all[KEPT - 1].write), (KEPT, id(KEPT as u64 + 4), id(5)));
        assert_eq!((all[0].service.as_str(), all[0].what, all[0].with), ("tx", "one lane", id(0)));
    }
}
