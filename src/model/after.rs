//! `after`: what a write must come after (§3.2).
use wincode::{SchemaRead, SchemaWrite};

use super::{LogId, WriteId};

/// For each series the highest position that was decided, and by id the writes that were decided without a known position.
///
/// A short sorted vector: there are as many logs as sites, and a few old incarnations.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct After {
    positions: Vec<(LogId, u64)>,
    ids: Vec<WriteId>,
}

impl After {
    pub fn new() -> Self {
        Self::default()
    }
    /// The position in `log`'s series up to which everything comes before; 0 when nothing does.
    pub fn position(&self, log: LogId) -> u64 {
        self.positions.binary_search_by_key(&log, |p| p.0).map_or(0, |i| self.positions[i].1)
    }
    pub fn positions(&self) -> &[(LogId, u64)] {
        &self.positions
    }
    pub fn ids(&self) -> &[WriteId] {
        &self.ids
    }
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.ids.is_empty()
    }
    /// Raises the position of one series; never lowers it.
    pub fn raise(&mut self, log: LogId, position: u64) {
        if position == 0 {
            return;
        }
        match self.positions.binary_search_by_key(&log, |p| p.0) {
            Ok(i) => self.positions[i].1 = self.positions[i].1.max(position),
            Err(i) => self.positions.insert(i, (log, position)),
        }
    }
    pub fn add_id(&mut self, id: WriteId) {
        if let Err(i) = self.ids.binary_search(&id) {
            self.ids.insert(i, id);
        }
    }
    /// The least that comes after both.
    pub fn merge(&mut self, other: &After) {
        for &(log, position) in &other.positions {
            self.raise(log, position);
        }
        for &id in &other.ids {
            self.add_id(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u8) -> LogId {
        LogId { store: [n; 16], incarnation: 1 }
    }

    #[test]
    fn merging_takes_the_higher_position_and_all_ids() {
        let mut a = After::new();
        a.raise(log(2), 5);
        a.raise(log(1), 3);
        a.raise(log(2), 4);
        let mut b = After::new();
        b.raise(log(2), 9);
        b.raise(log(3), 0);
        b.add_id(WriteId { log: log(3), n: 1 });
        a.merge(&b);
        a.merge(&b);
        assert_eq!(a.positions(), [(log(1), 3), (log(2), 9)]);
        assert_eq!(a.ids(), [WriteId { log: log(3), n: 1 }]);
        assert_eq!(a.position(log(3)), 0);
    }
}
