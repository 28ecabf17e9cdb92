//! What was heard of other nodes' fingerprints, so that a lost one is noticed and asked for again.
use std::collections::BTreeMap;

use crate::model::SiteName;

/// Beyond this many separate ranges the oldest gap is forgotten: the answers to questions fill gaps in order.
const RANGES_MAX: usize = 256;

/// A set of numbers as sorted, disjoint, non-adjacent half-open ranges; bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub fn contains(&self, number: u64) -> bool {
        let i = self.0.partition_point(|range| range.1 <= number);
        self.0.get(i).is_some_and(|range| range.0 <= number)
    }

    pub fn insert(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < from);
        let last = self.0.partition_point(|range| range.0 <= to);
        let merged = self.0[first..last].iter().fold((from, to), |m, range| (m.0.min(range.0), m.1.max(range.1)));
        self.0.splice(first..last, [merged]);
        if self.0.len() > RANGES_MAX {
            self.0[1].0 = self.0[0].0;
            self.0.remove(0);
        }
    }

    /// What is not in the set, of `[low, end)`.
    pub fn missing(&self, low: u64, end: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = low;
        for &(from, to) in &self.0 {
            if from >= end {
                break;
            }
            if from > at {
                gaps.push((at, from));
            }
            at = at.max(to);
        }
        if at < end {
            gaps.push((at, end));
        }
        gaps
    }

    /// One past the greatest number.
    pub fn newest(&self) -> Option<u64> {
        self.0.last().map(|range| range.1)
    }

    /// Nobody can be asked for numbers below `low` any more.
    pub fn forget_below(&mut self, low: u64) {
        self.0.retain(|range| range.1 > low);
    }
}

/// One boot of a site's node, speaking about one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub site: SiteName,
    pub service: String,
    pub boot: [u8; 16],
}

#[derive(Debug, Default)]
pub struct Stream {
    pub heard: Ranges,
    /// When a question about it may be asked again.
    pub ask_from_ms: u64,
    heard_ms: u64,
}

/// All streams, at most `limit`; the one that was silent longest goes first.
#[derive(Debug)]
pub struct Streams {
    streams: BTreeMap<StreamId, Stream>,
    limit: usize,
}

impl Streams {
    pub fn new(limit: usize) -> Self {
        Self { streams: BTreeMap::new(), limit }
    }

    pub fn stream(&mut self, now_ms: u64, id: StreamId) -> &mut Stream {
        if !self.streams.contains_key(&id) && self.streams.len() >= self.limit {
            let silent = self.streams.iter().min_by_key(|(_, stream)| stream.heard_ms).map(|(id, _)| id.clone());
            silent.map(|id| self.streams.remove(&id));
        }
        let stream = self.streams.entry(id).or_default();
        stream.heard_ms = now_ms;
        stream
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_behave_like_a_set() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), std::collections::BTreeSet::new());
            for _ in 0..30 {
                let from = rng.u64(0..100);
                let to = from + rng.u64(0..8);
                ranges.insert(from, to);
                set.extend(from..to);
            }
            for n in 0..110 {
                assert_eq!(ranges.contains(n), set.contains(&n), "{n} in {ranges:?}");
            }
            let missing: Vec<u64> = ranges.missing(10, 90).into_iter().flat_map(|(a, b)| a..b).collect();
            assert_eq!(missing, (10..90).filter(|n| !set.contains(n)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranges_and_streams_are_bounded() {
        let mut ranges = Ranges::default();
        (0..1_000).for_each(|n| ranges.insert(2 * n, 2 * n + 1));
        assert_eq!(ranges.0.len(), RANGES_MAX);
        assert!(ranges.contains(1_999 - 1) && !ranges.contains(1_997), "the newest gaps are kept");
        ranges.forget_below(1_998);
        assert_eq!(ranges.0, [(1_998, 1_999)]);

        let mut streams = Streams::new(2);
        let id = |n: u8| StreamId { site: SiteName::new("a"), service: "tx".into(), boot: [n; 16] };
        streams.stream(1, id(1)).heard.insert(0, 5);
        streams.stream(2, id(2));
        streams.stream(3, id(1));
        streams.stream(4, id(3));
        assert_eq!(streams.len(), 2);
        assert!(streams.stream(5, id(1)).heard.contains(4), "the stream that was silent longest went");
    }
}
