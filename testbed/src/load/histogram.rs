//! Latencies in fixed memory: 128 steps per power of two, so a percentile is wrong by less than 0.8 %.
use std::time::Duration;

const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;
/// Up to 2^40 ns, 18 minutes; longer ones count as that.
const VALUE_MAX_NS: u64 = (1 << 40) - 1;
const BUCKETS: usize = STEPS * (40 - STEP_BITS as usize + 1);

#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns.min(VALUE_MAX_NS))] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// The latency that `share` (0.5, 0.99) of all requests did not exceed. Zero when nothing was recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_edge(index).min(self.max_ns));
            }
        }
        Duration::ZERO
    }

    /// `p50 0.21 p90 0.30 p99 0.52 max 3.10 ms (n = 6000)`
    pub fn summary(&self) -> String {
        let ms = |latency: Duration| latency.as_secs_f64() * 1_000.0;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| ms(self.quantile(share)));
        format!("p50 {p50:.2} p90 {p90:.2} p99 {p99:.2} max {:.2} ms (n = {})", ms(self.max()), self.total)
    }
}

impl FromIterator<Duration> for Histogram {
    fn from_iter<I: IntoIterator<Item = Duration>>(latencies: I) -> Self {
        let mut histogram = Self::default();
        latencies.into_iter().for_each(|latency| histogram.record(latency));
        histogram
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns as usize;
    if ns < STEPS {
        return ns;
    }
    let shift = ns.ilog2() - STEP_BITS;
    ((shift as usize + 1) << STEP_BITS) + ((ns >> shift) - STEPS)
}

fn upper_edge(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = (index >> STEP_BITS) - 1;
    ((((index & (STEPS - 1)) + STEPS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut values: Vec<u64> = (0..2_000).collect();
        values.extend((11..40).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 12_345 % (1 << bits)]));
        for ns in values {
            let index = bucket(ns);
            assert!(ns <= upper_edge(index), "{ns}");
            assert!(index == 0 || ns > upper_edge(index - 1), "{ns}");
            assert!(upper_edge(index) as f64 <= ns as f64 * 1.008, "{ns}");
        }
        assert!(bucket(VALUE_MAX_NS) < BUCKETS);
    }

    #[test]
    fn quantiles_and_merging() {
        let ms = Duration::from_millis;
        let mut left: Histogram = (1..=50).map(ms).collect();
        let right: Histogram = (51..=100).map(ms).collect();
        left.merge(&right);
        assert_eq!(left.count(), 100);
        // share | expected ms
        for (share, expected) in [(0.01, 1.0), (0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)] {
            let got = left.quantile(share).as_secs_f64() * 1_000.0;
            assert!((got / expected - 1.0).abs() < 0.01, "{share}: {got}");
        }
        assert_eq!(left.max(), ms(100));
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
        let long: Histogram = [Duration::from_secs(86_400)].into_iter().collect();
        assert_eq!(long.count(), 1);
    }
}
