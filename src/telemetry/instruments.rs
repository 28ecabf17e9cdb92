//! Counters, gauges and histograms: atomics, nothing else. A crate would bring hash maps and locks to the data path.
use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Something that prints itself as Prometheus text.
pub trait Instrument {
    const TYPE: &'static str;
    /// `labels` is empty or `a="b",c="d"`.
    fn print(&self, out: &mut String, name: &str, labels: &str);
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    /// Where the counting is done elsewhere.
    pub fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Relaxed);
    }
    pub fn one(&self) {
        self.add(1);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
    /// For what is counted elsewhere, and never goes down.
    pub fn reach(&self, count: u64) {
        self.0.fetch_max(count, Relaxed);
    }
}

impl Instrument for Counter {
    const TYPE: &'static str = "counter";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        line(out, name, "", labels, self.get());
    }
}

#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Instrument for Gauge {
    const TYPE: &'static str = "gauge";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        line(out, name, "", labels, self.get());
    }
}

/// Upper bounds in microseconds: a quarter of a millisecond resolves an fsync, ten seconds is more than any client
/// waits.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Durations, printed in seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than bounds: the last is for what is longer.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub fn observe(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[BOUNDS_US.partition_point(|&bound| bound < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

impl Instrument for Histogram {
    const TYPE: &'static str = "histogram";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut sum = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            sum += bucket.load(Relaxed);
            let bound = BOUNDS_US.get(i).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            line(out, name, "_bucket", &format!("{labels}{comma}le=\"{bound}\""), sum);
        }
        line(out, name, "_sum", labels, self.sum_us.load(Relaxed) as f64 / 1e6);
        line(out, name, "_count", labels, sum);
    }
}

/// The values of a label: an enum, so that nobody can put a path or a key there.
pub trait Label: Copy + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];
    fn index(self) -> usize;
    fn value(self) -> &'static str;
}

/// One instrument for each value of a label.
#[derive(Debug)]
pub struct By<L, I> {
    each: Box<[I]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, I: Default> Default for By<L, I> {
    fn default() -> Self {
        Self { each: L::ALL.iter().map(|_| I::default()).collect(), label: PhantomData }
    }
}

impl<L: Label, I> By<L, I> {
    pub fn of(&self, label: L) -> &I {
        &self.each[label.index()]
    }
}

impl<L: Label, I: Instrument> Instrument for By<L, I> {
    const TYPE: &'static str = I::TYPE;
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for label in L::ALL {
            let labels = format!("{labels}{comma}{}=\"{}\"", L::NAME, label.value());
            self.of(*label).print(out, name, &labels);
        }
    }
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    writeln!(out, "{name}{suffix}{labels} {value}").expect("a String takes everything");
}

/// A set of instruments with names and help.
macro_rules! instruments {
    ($(#[$doc:meta])* $set:ident { $($field:ident: $kind:ty, $name:literal, $help:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $set { $(#[doc = $help] pub $field: $kind,)* }

        impl $set {
            /// All sets of one kind together, because a name's HELP and TYPE may stand there once only.
            pub(super) fn print_all(sets: &[(String, &$set)], out: &mut String) {
                $(
                    out.push_str(concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, " "));
                    out.push_str(<$kind as $crate::telemetry::Instrument>::TYPE);
                    out.push('\n');
                    for (labels, set) in sets {
                        $crate::telemetry::Instrument::print(&set.$field, out, $name, labels);
                    }
                )*
            }
            #[cfg(test)]
            pub(super) const NAMES: &'static [&'static str] = &[$($name,)*];
        }
    };
}
pub(super) use instruments;
