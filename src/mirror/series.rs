//! How far one series has come at this site, and its newest items.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::journal::{Confirmed, SeriesMeta};
use crate::model::{Chain, Item, LogId, SiteName, Stretch};

/// Newest items kept in memory for peers and for the follower, in bytes; older ones are read from the journal.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// Marks of time are this far apart.
const MARK_EVERY_MS: u64 = 50;
/// More than three minutes of marks; a lag beyond it is far over every limit anyway.
const MARKS_MAX: usize = 4_096;

/// One series at this site: what is stored, and what this replica has decided of it.
pub struct Series {
    pub log: LogId,
    pub site: SiteName,
    /// All positions up to here are stored (own series: settled).
    pub received: u64,
    pub chain: Chain,
    /// All positions up to here are decided at this replica.
    pub decided: u64,
    decided_beyond: BTreeSet<u64>,
    pub forgotten: u64,
    /// Positions up to here were taken up by the follower (foreign series).
    pub loaded: u64,
    /// What the follower took up alone, or reads; where that is beyond `loaded`.
    pub loaded_alone: BTreeSet<u64>,
    /// From where a read for the follower's window is under way.
    pub reading: Option<u64>,
    /// As [`SeriesMeta::told`], without what is known to be decided.
    pub told: BTreeMap<u64, u64>,
    tail: BTreeMap<u64, Arc<Item>>,
    tail_bytes: usize,
    /// (position, when it was received): the age of what is not decided yet.
    marks: VecDeque<(u64, u64)>,
    /// What was received before this life of the process.
    pub received_before: u64,
    /// As [`SeriesMeta::confirmed`]: (received, decided).
    confirmed: BTreeMap<SiteName, (u64, u64)>,
    /// Some of it is not in the journal.
    is_confirmed_anew: bool,
}

impl Series {
    pub fn new(log: LogId, site: SiteName) -> Self {
        Self::recover(
            SeriesMeta {
                log,
                site,
                received: 0,
                chain: Chain::default(),
                decided: 0,
                forgotten: 0,
                told: Vec::new(),
                confirmed: Vec::new(),
            },
            0,
        )
    }

    /// Ages of what was not decided before the restart count from now.
    pub fn recover(mut meta: SeriesMeta, now_ms: u64) -> Self {
        // What a file says beyond it was never decided.
        meta.decided = meta.decided.min(meta.received);
        let marks =
            if meta.decided < meta.received { VecDeque::from([(meta.received, now_ms)]) } else { VecDeque::new() };
        Self {
            log: meta.log,
            site: meta.site,
            received: meta.received,
            chain: meta.chain,
            decided: meta.decided,
            decided_beyond: BTreeSet::new(),
            forgotten: meta.forgotten,
            loaded: meta.decided,
            loaded_alone: BTreeSet::new(),
            reading: None,
            told: meta.told.into_iter().collect(),
            tail: BTreeMap::new(),
            tail_bytes: 0,
            marks,
            received_before: meta.received,
            confirmed: meta.confirmed.into_iter().map(|of| (of.site, (of.received, of.decided))).collect(),
            is_confirmed_anew: false,
        }
    }

    pub fn meta(&self) -> SeriesMeta {
        SeriesMeta {
            log: self.log,
            site: self.site.clone(),
            received: self.received,
            chain: self.chain,
            decided: self.decided,
            forgotten: self.forgotten,
            told: self.told.iter().map(|(&n, &position)| (n, position)).collect(),
            confirmed: self
                .confirmed
                .iter()
                .map(|(site, &(received, decided))| Confirmed { site: site.clone(), received, decided })
                .collect(),
        }
    }

    /// A peer said how far it is: also less than it said before, where it was put back.
    pub fn confirm(&mut self, site: &SiteName, received: u64, decided: u64) {
        if self.confirmed_by(site) != (received, decided) {
            self.confirmed.insert(site.clone(), (received, decided));
            self.is_confirmed_anew = true;
        }
    }

    /// So much a peer has confirmed as stored, and as decided there; in lives before this one too.
    pub fn confirmed_by(&self, site: &SiteName) -> (u64, u64) {
        self.confirmed.get(site).copied().unwrap_or_default()
    }

    pub fn is_confirmed_anew(&self) -> bool {
        self.is_confirmed_anew
    }

    /// [`Series::meta`] goes into the journal.
    pub fn is_saved(&mut self) {
        self.is_confirmed_anew = false;
    }

    /// Takes the next position.
    pub fn append(&mut self, item: Arc<Item>, now_ms: u64) {
        assert_eq!(item.position, self.received.saturating_add(1), "positions are dense (G5)");
        self.received = item.position;
        self.chain = item.chain;
        match self.marks.back() {
            Some(&(_, at)) if now_ms < at + MARK_EVERY_MS => {}
            _ => self.marks.push_back((item.position, now_ms)),
        }
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
        self.tail_bytes += item.weight();
        self.tail.insert(item.position, item);
        while self.tail_bytes > TAIL_BYTES_MAX {
            let Some((_, dropped)) = self.tail.pop_first() else { break };
            self.tail_bytes -= dropped.weight();
        }
    }

    pub fn is_decided(&self, position: u64) -> bool {
        position <= self.decided || self.decided_beyond.contains(&position)
    }

    /// What is decided here beyond [`Series::decided`], as stretches from first to last.
    pub fn beyond(&self) -> impl Iterator<Item = Stretch> + '_ {
        let mut positions = self.decided_beyond.iter().copied().peekable();
        std::iter::from_fn(move || {
            let first = positions.next()?;
            let mut last = first;
            while let Some(next) = positions.next_if_eq(&(last + 1)) {
                last = next;
            }
            Some(Stretch { log: self.log, first, last })
        })
    }

    pub fn is_taken_up(&self, position: u64) -> bool {
        position <= self.loaded || self.loaded_alone.contains(&position)
    }

    /// The first position of a stretch that is not decided here.
    pub fn first_undecided(&self, first: u64, last: u64) -> Option<u64> {
        (first.max(self.decided + 1)..=last).find(|position| !self.decided_beyond.contains(position))
    }

    /// Returns whether [`Series::decided`] advanced.
    pub fn mark_decided(&mut self, position: u64) -> bool {
        assert!(position <= self.received, "position {position} of {} is decided before it is stored", self.log);
        if position <= self.decided || !self.decided_beyond.insert(position) {
            return false;
        }
        let before = self.decided;
        while self.decided_beyond.remove(&(self.decided + 1)) {
            self.decided += 1;
        }
        self.decided > before
    }

    /// Items from `from + 1` on, as far as memory holds them without a gap.
    pub fn tail_after(&self, from: u64, items_max: usize, bytes_max: usize) -> Vec<Arc<Item>> {
        let mut bytes = 0;
        let mut items = Vec::new();
        let first = from.saturating_add(1);
        for (&position, item) in self.tail.range(first..) {
            bytes += item.weight();
            let full = !items.is_empty() && bytes > bytes_max;
            if position != first + items.len() as u64 || items.len() >= items_max || full {
                break;
            }
            items.push(item.clone());
        }
        items
    }

    pub fn tail_item(&self, position: u64) -> Option<Arc<Item>> {
        self.tail.get(&position).cloned()
    }

    /// How long the oldest position that `decided` leaves open has been stored, milliseconds. A mark stands for the
    /// positions after it too, so this is never less than the truth by more than the distance of two marks.
    pub fn lag_ms(&self, decided: u64, now_ms: u64) -> u64 {
        if decided >= self.received {
            return 0;
        }
        let at = self
            .marks
            .iter()
            .rev()
            .find(|&&(p, _)| p <= decided.saturating_add(1))
            .or(self.marks.front())
            .map(|&(_, at)| at);
        at.map_or(0, |at| now_ms.saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{After, Digest, Facts, Lane, Outcome, Verdict, WriteId};

    fn series() -> Series {
        Series::new(LogId { store: [1; 16], incarnation: 1 }, SiteName::new("a"))
    }

    fn item(position: u64) -> Arc<Item> {
        let id = WriteId { log: series().log, n: position };
        let facts = Facts {
            lane: Lane(1),
            key: None,
            digest: Digest([0; 32]),
            original_ms: 0,
            traceparent: None,
            client: None,
            renews: Vec::new(),
            creates: false,
        };
        let outcome = Outcome {
            verdict: Verdict::Applied,
            after: After::new(),
            repeats: None,
            status: 200,
            answer: None,
            told_by_probe: false,
            unknown: Vec::new(),
        };
        Arc::new(Item { position, chain: Chain::default(), id, facts, outcome, decides: None, request: None })
    }

    #[test]
    fn decided_advances_only_without_a_gap_and_the_stretches_beyond_are_known() {
        let mut s = series();
        (1..=7).for_each(|p| s.append(item(p), 0));
        [3, 6, 7].into_iter().for_each(|position| assert!(!s.mark_decided(position)));
        let stretch = |first, last| Stretch { log: s.log, first, last };
        assert_eq!((s.decided, s.is_decided(3), s.is_decided(2)), (0, true, false));
        assert_eq!(s.beyond().collect::<Vec<_>>(), [stretch(3, 3), stretch(6, 7)]);
        let first = |first, last| s.first_undecided(first, last);
        assert_eq!([first(1, 3), first(3, 3), first(3, 7), first(6, 7)], [Some(1), None, Some(4), None]);
        assert!(s.mark_decided(1));
        assert!(s.mark_decided(2));
        assert!(!s.mark_decided(2));
        assert_eq!((s.decided, s.beyond().count(), s.first_undecided(1, 3)), (3, 1, None));
    }

    #[test]
    fn the_tail_is_dense_and_limited() {
        let mut s = series();
        (1..=9).for_each(|p| s.append(item(p), 0));
        let positions = |items: Vec<Arc<Item>>| items.iter().map(|i| i.position).collect::<Vec<_>>();
        assert_eq!(positions(s.tail_after(4, 3, usize::MAX)), [5, 6, 7]);
        assert_eq!(positions(s.tail_after(4, 9, 1)), [5]);
        assert_eq!(positions(s.tail_after(9, 9, 1)), [0; 0]);
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_undecided() {
        let mut s = series();
        s.append(item(1), 100);
        s.append(item(2), 1_000);
        assert_eq!(s.lag_ms(0, 2_000), 1_900);
        assert_eq!(s.lag_ms(1, 2_000), 1_000);
        assert_eq!(s.lag_ms(2, 2_000), 0);
    }

    /// Marks are so far apart, and so many: what is between two has the age of the earlier one.
    #[test]
    fn lag_is_exact_to_the_distance_of_two_marks() {
        let mut s = series();
        for (position, at) in [(1, 100), (2, 149), (3, 150), (4, 199), (5, 200)] {
            s.append(item(position), at);
        }
        let lags: Vec<u64> = (0..=5).map(|decided| s.lag_ms(decided, 1_000)).collect();
        assert_eq!(lags, [900, 900, 850, 850, 800, 0]);
        assert_eq!(s.lag_ms(0, 50), 0, "a clock behind the mark");
    }

    #[test]
    fn more_marks_than_the_limit_are_not_kept() {
        let mut s = series();
        let count = MARKS_MAX as u64 + 10;
        (1..=count).for_each(|p| s.append(item(p), p * MARK_EVERY_MS));
        assert_eq!(s.marks.len(), MARKS_MAX);
        let oldest = (count - MARKS_MAX as u64 + 1) * MARK_EVERY_MS;
        assert_eq!(
            s.lag_ms(0, count * MARK_EVERY_MS),
            count * MARK_EVERY_MS - oldest,
            "as old as the oldest that is known"
        );
    }

    #[test]
    fn after_a_restart_what_is_undecided_ages_from_now() {
        let meta = SeriesMeta { received: 5, decided: 3, ..series().meta() };
        let s = Series::recover(meta.clone(), 1_000);
        assert_eq!((s.lag_ms(s.decided, 1_700), s.lag_ms(5, 1_700)), (700, 0));
        assert_eq!((s.loaded, s.meta()), (3, meta));
    }

    #[test]
    fn the_tail_keeps_so_many_bytes_of_the_newest() {
        let mut s = series();
        let count = 2 * (TAIL_BYTES_MAX / item(1).weight()) as u64;
        (1..=count).for_each(|p| s.append(item(p), 0));
        assert_eq!(s.tail_bytes, s.tail.values().map(|item| item.weight()).sum::<usize>());
        assert!(s.tail_bytes <= TAIL_BYTES_MAX && s.tail_bytes + item(1).weight() > TAIL_BYTES_MAX);
        assert!(s.tail_item(count).is_some() && s.tail_item(1).is_none());
        let first = count + 1 - s.tail.len() as u64;
        assert!(s.tail_after(first - 2, 9, usize::MAX).is_empty(), "there is a gap");
        assert_eq!(s.tail_after(first - 1, 9, usize::MAX).len(), 9);
        assert_eq!(s.tail_after(first - 1, 9, 2 * item(1).weight()).len(), 2);
    }
}
