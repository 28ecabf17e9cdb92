//! `after`: what a write must come after (G3).
use wincode::{SchemaRead, SchemaWrite};

use super::{LogId, WriteId};

/// For each series the position up to which all was decided, the stretches beyond it that were decided too, and by id
/// the writes that were decided without a known position. What stands between is left out: who waits for it must not
/// hold up others.
///
/// Short sorted vectors: there are as many logs as sites, and a few old incarnations; stretches there are only while a
/// follower is at work on what stands before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct After {
    positions: Vec<(LogId, u64)>,
    beyond: Vec<Stretch>,
    ids: Vec<WriteId>,
}

/// The positions of one series from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, SchemaRead, SchemaWrite)]
pub struct Stretch {
    pub log: LogId,
    pub first: u64,
    pub last: u64,
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
    /// Of one series sorted, apart from each other and from its position.
    pub fn beyond(&self) -> &[Stretch] {
        &self.beyond
    }
    /// The last position of a series that comes before; not all up to it need do so.
    pub fn last(&self, log: LogId) -> u64 {
        self.beyond.iter().rev().find(|stretch| stretch.log == log).map_or(self.position(log), |stretch| stretch.last)
    }
    /// Of each series of which something comes before, the last position that does.
    pub fn lasts(&self) -> impl Iterator<Item = (LogId, u64)> + '_ {
        self.logs().map(|log| (log, self.last(log)))
    }
    pub fn covers(&self, log: LogId, position: u64) -> bool {
        let is_beyond = |s: &Stretch| s.log == log && (s.first..=s.last).contains(&position);
        position <= self.position(log) || self.beyond.iter().any(is_beyond)
    }
    /// Bytes, about.
    pub fn weight(&self) -> usize {
        28 * (self.positions.len() + self.ids.len()) + 36 * self.beyond.len()
    }
    /// All series of which something comes before.
    fn logs(&self) -> impl Iterator<Item = LogId> + '_ {
        let only_beyond = |stretch: &Stretch| self.position(stretch.log) == 0;
        let mut logs: Vec<LogId> = self.beyond.iter().filter(|s| only_beyond(s)).map(|s| s.log).collect();
        logs.dedup();
        self.positions.iter().map(|&(log, _)| log).chain(logs)
    }
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.beyond.is_empty() && self.ids.is_empty()
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
        if !self.beyond.is_empty() {
            self.tidy();
        }
    }
    pub fn add_stretches(&mut self, stretches: impl IntoIterator<Item = Stretch>) {
        let before = self.beyond.len();
        self.beyond.extend(stretches);
        if self.beyond.len() > before {
            self.beyond.sort_unstable();
            self.tidy();
        }
    }
    pub fn add_stretch(&mut self, stretch: Stretch) {
        self.add_stretches([stretch]);
    }
    /// Joins stretches that touch, and those that touch the position of their series.
    fn tidy(&mut self) {
        let mut kept: Vec<Stretch> = Vec::new();
        for stretch in std::mem::take(&mut self.beyond) {
            match kept.last_mut() {
                Some(before) if before.log == stretch.log && stretch.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(stretch.last);
                }
                _ => match self.positions.binary_search_by_key(&stretch.log, |p| p.0) {
                    Ok(i) if stretch.first <= self.positions[i].1.saturating_add(1) => {
                        self.positions[i].1 = self.positions[i].1.max(stretch.last);
                    }
                    _ => kept.push(stretch),
                },
            }
        }
        self.beyond = kept;
    }
    pub fn add_id(&mut self, id: WriteId) {
        if let Err(i) = self.ids.binary_search(&id) {
            self.ids.insert(i, id);
        }
    }
    /// What of it can be known: of each series no more than up to `known`, and the writes that `is_known` says.
    pub fn knowable(&self, known: impl Fn(LogId) -> u64, is_known: impl Fn(WriteId) -> bool) -> After {
        let positions = self.positions.iter().map(|&(log, position)| (log, position.min(known(log))));
        After {
            positions: positions.filter(|&(_, position)| position > 0).collect(),
            beyond: self.beyond.iter().filter(|stretch| stretch.last <= known(stretch.log)).copied().collect(),
            ids: self.ids.iter().filter(|&&id| is_known(id)).copied().collect(),
        }
    }
    /// Without what stands beyond this position of a series.
    pub fn lower(&mut self, log: LogId, position: u64) {
        for (of, known) in &mut self.positions {
            *known = if *of == log { (*known).min(position) } else { *known };
        }
        self.positions.retain(|&(_, position)| position > 0);
        self.beyond.retain(|stretch| stretch.log != log || stretch.last <= position);
    }
    /// The least that comes after both.
    pub fn merge(&mut self, other: &After) {
        for &(log, position) in &other.positions {
            self.raise(log, position);
        }
        self.add_stretches(other.beyond.iter().copied());
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

    #[test]
    fn stretches_join_where_they_touch() {
        let stretch = |n, first, last| Stretch { log: log(n), first, last };
        let mut a = After::new();
        a.raise(log(1), 3);
        for (first, last) in [(9, 9), (5, 6), (12, 14), (7, 7)] {
            a.add_stretch(stretch(1, first, last));
        }
        a.add_stretch(stretch(2, 4, 5));
        assert_eq!(a.beyond(), [stretch(1, 5, 7), stretch(1, 9, 9), stretch(1, 12, 14), stretch(2, 4, 5)]);
        assert_eq!((a.last(log(1)), a.last(log(2)), a.last(log(3))), (14, 5, 0));
        assert_eq!(a.lasts().collect::<Vec<_>>(), [(log(1), 14), (log(2), 5)]);
        let covered: Vec<u64> = (1..=15).filter(|&position| a.covers(log(1), position)).collect();
        assert_eq!(covered, [1, 2, 3, 5, 6, 7, 9, 12, 13, 14]);
        let mut b = a.clone();
        b.raise(log(1), 10);
        assert_eq!((b.position(log(1)), b.beyond().len()), (10, 2));
        a.add_stretch(stretch(1, 8, 8));
        assert_eq!(a.beyond()[0], stretch(1, 5, 9));
        a.add_stretch(stretch(1, 4, 4));
        assert_eq!((a.position(log(1)), a.beyond()), (9, &[stretch(1, 12, 14), stretch(2, 4, 5)][..]));
        b.merge(&a);
        assert_eq!((b.position(log(1)), b.beyond()), (10, a.beyond()));
        b.add_stretch(stretch(1, 11, 20));
        b.add_stretch(stretch(1, 2, 3));
        assert_eq!((b.position(log(1)), b.beyond()), (20, &[stretch(2, 4, 5)][..]));
    }
}
