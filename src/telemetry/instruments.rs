//! Counters, gauges and histograms: atomics, nothing else. A crate would bring hash maps and locks to the data path.
use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Something that prints itself as Prometheus text.
pub trait Instrument {
    const TYPE: &'static str;
    /// `labels` is empty or `a="b",c="d"`. Prints nothing where there is no value.
    fn print(&self, out: &mut String, name: &str, labels: &str);
    /// Its own labels, with all values that each may have.
    fn labels() -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
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

/// What is now, in base units; written when somebody asks. Not a number, as at first: it is not known, and is not
/// printed.
#[derive(Debug)]
pub struct Gauge(AtomicU64);

impl Default for Gauge {
    fn default() -> Self {
        Self(f64::NAN.to_bits().into())
    }
}

impl Gauge {
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }
    pub fn set_count(&self, value: u64) {
        self.set(value as f64);
    }
    pub fn set_ms(&self, value: u64) {
        self.set(value as f64 / 1e3);
    }
    pub fn set_bit(&self, value: bool) {
        self.set(f64::from(u8::from(value)));
    }
    pub fn set_known(&self, value: Option<f64>) {
        self.set(value.unwrap_or(f64::NAN));
    }
}

impl Instrument for Gauge {
    const TYPE: &'static str = "gauge";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        let value = f64::from_bits(self.0.load(Relaxed));
        if !value.is_nan() {
            line(out, name, "", labels, value);
        }
    }
}

/// How many there are now of what comes and goes.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    pub fn enter(&self) {
        self.0.fetch_add(1, Relaxed);
    }
    pub fn leave(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Instrument for Level {
    const TYPE: &'static str = "gauge";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        line(out, name, "", labels, self.0.load(Relaxed));
    }
}

/// Seconds that were spent, where somebody else counts them.
#[derive(Debug, Default)]
pub struct Seconds(AtomicU64);

impl Seconds {
    pub fn reach(&self, spent: Duration) {
        self.0.fetch_max(u64::try_from(spent.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Instrument for Seconds {
    const TYPE: &'static str = "counter";
    fn print(&self, out: &mut String, name: &str, labels: &str) {
        line(out, name, "", labels, self.0.load(Relaxed) as f64 / 1e6);
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
    fn labels() -> Vec<(&'static str, Vec<&'static str>)> {
        let values = L::ALL.iter().map(|label| label.value()).collect();
        [vec![(L::NAME, values)], I::labels()].concat()
    }
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    writeln!(out, "{name}{suffix}{labels} {value}").expect("a String takes everything");
}

/// An enum whose values are those of a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $label:literal { $($(#[$of:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])* $variant,)* }

        impl $crate::telemetry::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$($name::$variant,)*];
            fn index(self) -> usize {
                self as usize
            }
            fn value(self) -> &'static str {
                match self { $($name::$variant => $value,)* }
            }
        }
    };
}
pub(super) use label;

/// One metric, for the page of documentation.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct Described {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub labels: Vec<(&'static str, Vec<&'static str>)>,
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
                    let start = out.len();
                    out.push_str(concat!("# HELP ", $name, " ", $help, "\n# TYPE ", $name, " "));
                    out.push_str(<$kind as $crate::telemetry::Instrument>::TYPE);
                    out.push('\n');
                    let lines = out.len();
                    for (labels, set) in sets {
                        $crate::telemetry::Instrument::print(&set.$field, out, $name, labels);
                    }
                    if out.len() == lines {
                        out.truncate(start);
                    }
                )*
            }
            #[cfg(test)]
            pub(super) fn describe() -> Vec<$crate::telemetry::instruments::Described> {
                vec![$($crate::telemetry::instruments::Described {
                    name: $name,
                    kind: <$kind as $crate::telemetry::Instrument>::TYPE,
                    help: $help,
                    labels: <$kind as $crate::telemetry::Instrument>::labels(),
                },)*]
            }
        }
    };
}
pub(super) use instruments;
