//! Conditions of success, and what was measured against them. Pure.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::units::Span;

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub lost: usize,
    pub duplicates: usize,
    pub out_of_order: usize,
    pub altered: usize,
    pub one_sided: usize,
    /// Second answers to a lost one that were not the same.
    pub other_answers: usize,
    pub quarantine: u64,
    pub equal: bool,
    pub requests: usize,
    /// Writes by the status that ended them; 0: never told.
    pub by_status: BTreeMap<u16, usize>,
    /// From the first try to the answer that ended a write, ascending.
    pub times: Vec<Duration>,
    /// From the last healing until every replica had what had been promised by then; `None`: never.
    pub recovered: Option<Duration>,
    /// Writes (times replicas) that were missing when the last fault ended.
    pub backlog: usize,
    /// Nothing was pending at the end, by the appliances' own word.
    pub quiet: bool,
}

impl Measured {
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.times.len().saturating_sub(1);
        self.times.get((last as f64 * share).ceil() as usize).copied().unwrap_or_default()
    }

    pub fn answered(&self) -> usize {
        self.by_status.iter().filter(|(status, _)| **status != 0).map(|(_, count)| count).sum()
    }

    pub fn recovery_per_request(&self) -> Option<Duration> {
        self.recovered.filter(|_| self.backlog > 0).map(|took| took / self.backlog as u32)
    }

    fn with_status(&self, status: &str) -> usize {
        let fits = |found: u16| match status.strip_suffix("xx") {
            Some(class) => (found / 100).to_string() == class,
            None => found.to_string() == status,
        };
        self.by_status.iter().filter(|(found, _)| fits(**found)).map(|(_, count)| count).sum()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::Below(bound) => value < bound,
            Bound::AtMost(bound) => value <= bound,
            Bound::AtLeast(bound) => value >= bound,
            Bound::Exactly(bound) => (value - bound).abs() < 1e-9,
        }
    }

    fn parse(text: &str, plain: fn(f64) -> Bound, number: impl Fn(&str) -> Option<f64>) -> Option<Bound> {
        let text = text.trim();
        let of = |rest: &str, make: fn(f64) -> Bound| number(rest.trim()).map(make);
        if let Some(rest) = text.strip_prefix("<=") {
            of(rest, Bound::AtMost)
        } else if let Some(rest) = text.strip_prefix(">=") {
            of(rest, Bound::AtLeast)
        } else if let Some(rest) = text.strip_prefix('<') {
            of(rest, Bound::Below)
        } else {
            of(text, plain)
        }
    }
}

/// One line of `success`, as written and as meant.
#[derive(Clone, Debug)]
pub struct Condition {
    pub name: String,
    pub wanted: String,
    bound: Bound,
}

#[derive(Clone, Debug)]
pub struct Success(Vec<Condition>);

const COUNTS: [&str; 8] =
    ["lost", "duplicates", "out_of_order", "altered", "one_sided", "other_answers", "quarantine", "unanswered"];
const TIMES: [&str; 5] = ["p50", "p95", "p99", "slowest", "recovered_within"];
/// Demanded of every run, whether its file says so or not.
const ALWAYS: [(&str, &str); 8] = [
    ("lost", "0"),
    ("duplicates", "0"),
    ("out_of_order", "0"),
    ("altered", "0"),
    ("one_sided", "0"),
    ("other_answers", "0"),
    ("equal", "true"),
    ("quiet", "true"),
];

impl Default for Success {
    fn default() -> Self {
        Self::of(BTreeMap::new()).unwrap_or_else(|_| Self(Vec::new()))
    }
}

impl<'de> Deserialize<'de> for Success {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Scalar {
            Truth(bool),
            Number(f64),
            Text(String),
        }
        let written = BTreeMap::<String, Scalar>::deserialize(source)?;
        let texts = written.into_iter().map(|(name, value)| {
            let text = match value {
                Scalar::Truth(truth) => truth.to_string(),
                Scalar::Number(number) => number.to_string(),
                Scalar::Text(text) => text,
            };
            (name, text)
        });
        Self::of(texts.collect()).map_err(de::Error::custom)
    }
}

impl Success {
    pub fn of(mut texts: BTreeMap<String, String>) -> Result<Self, String> {
        for (name, wanted) in ALWAYS {
            texts.entry(name.to_owned()).or_insert_with(|| wanted.to_owned());
        }
        let conditions = texts.into_iter().map(|(name, wanted)| {
            let bound = bound(&name, &wanted)?;
            Ok(Condition { name, wanted, bound })
        });
        conditions.collect::<Result<_, String>>().map(Self)
    }

    /// What does not hold, each as a sentence.
    pub fn broken(&self, measured: &Measured) -> Vec<String> {
        let broken = |condition: &Condition| {
            let (value, shown) = value(&condition.name, measured);
            let holds = value.is_some_and(|value| condition.bound.holds(value));
            (!holds).then(|| format!("{} is {shown}, wanted {}", condition.name, condition.wanted))
        };
        self.0.iter().filter_map(broken).collect()
    }
}

fn status_of(name: &str) -> Option<&str> {
    let status = name.strip_prefix("request_count[status=")?.strip_suffix(']')?;
    let right = |c: char| c.is_ascii_digit() || c == 'x';
    (status.len() == 3 && status.chars().all(right)).then_some(status)
}

fn bound(name: &str, wanted: &str) -> Result<Bound, String> {
    let found = if COUNTS.contains(&name) {
        Bound::parse(wanted, Bound::Exactly, |text| text.parse().ok())
    } else if TIMES.contains(&name) {
        Bound::parse(wanted, Bound::AtMost, |text| text.parse::<Span>().ok().map(|span| span.0.as_secs_f64()))
    } else if name == "equal" || name == "quiet" {
        wanted.parse::<bool>().ok().map(|truth| Bound::Exactly(f64::from(u8::from(truth))))
    } else if name == "requests" {
        Bound::parse(wanted, Bound::AtLeast, |text| text.parse().ok())
    } else if status_of(name).is_some() {
        Bound::parse(wanted, Bound::Exactly, |text| text.strip_suffix('%')?.trim().parse().ok())
    } else {
        let known = [&COUNTS[..], &TIMES[..]].concat().join(", ");
        return Err(format!(
            "success: {name:?} is no condition; known: {known}, equal, quiet, requests, request_count[status=200]"
        ));
    };
    found.ok_or_else(|| {
        format!("success: {name}: {wanted:?} is no bound; write for example 0, true, \"< 2s\", \">= 95%\"")
    })
}

fn value(name: &str, measured: &Measured) -> (Option<f64>, String) {
    let count = |count: usize| (Some(count as f64), count.to_string());
    let time = |time: Duration| (Some(time.as_secs_f64()), format!("{:.3} s", time.as_secs_f64()));
    let truth = |truth: bool| (Some(f64::from(u8::from(truth))), truth.to_string());
    match name {
        "lost" => count(measured.lost),
        "duplicates" => count(measured.duplicates),
        "out_of_order" => count(measured.out_of_order),
        "altered" => count(measured.altered),
        "one_sided" => count(measured.one_sided),
        "other_answers" => count(measured.other_answers),
        "quarantine" => count(measured.quarantine as usize),
        "unanswered" => count(measured.requests - measured.answered()),
        "requests" => count(measured.requests),
        "equal" => truth(measured.equal),
        "quiet" => truth(measured.quiet),
        "p50" => time(measured.quantile(0.5)),
        "p95" => time(measured.quantile(0.95)),
        "p99" => time(measured.quantile(0.99)),
        "slowest" => time(measured.quantile(1.0)),
        "recovered_within" => measured.recovered.map_or((None, "never".to_owned()), time),
        _ => {
            let share = measured.with_status(status_of(name).unwrap_or_default()) as f64 * 100.0
                / measured.requests.max(1) as f64;
            (Some(share), format!("{share:.1}%"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        Measured {
            equal: true,
            quiet: true,
            requests: 200,
            by_status: BTreeMap::from([(0, 4), (200, 96), (201, 100)]),
            times: (1..=200).map(|n| Duration::from_millis(n * 10)).collect(),
            recovered: Some(Duration::from_secs(3)),
            backlog: 30,
            ..Measured::default()
        }
    }

    #[test]
    fn conditions_hold_or_say_by_how_much_they_do_not() {
        let cases = [
            ("p99", "< 2s", true),
            ("p99", "< 1s", false),
            ("slowest", "2s", true),
            ("recovered_within", "2s", false),
            ("request_count[status=2xx]", ">= 98%", true),
            ("request_count[status=200]", "100%", false),
            ("unanswered", "4", true),
            ("requests", "201", false),
            ("lost", "<= 3", true),
        ];
        for (name, wanted, holds) in cases {
            let success = Success::of(BTreeMap::from([(name.to_owned(), wanted.to_owned())])).unwrap();
            let broken = success.broken(&measured());
            assert_eq!(broken.is_empty(), holds, "{name}: {wanted}: {broken:?}");
        }
        assert_eq!(measured().recovery_per_request(), Some(Duration::from_millis(100)));
    }

    #[test]
    fn what_is_always_demanded_needs_no_line() {
        for spoil in [
            |m: &mut Measured| m.lost = 1,
            |m: &mut Measured| m.duplicates = 1,
            |m: &mut Measured| m.out_of_order = 1,
            |m: &mut Measured| m.one_sided = 1,
            |m: &mut Measured| m.other_answers = 1,
            |m: &mut Measured| m.equal = false,
            |m: &mut Measured| m.quiet = false,
        ] {
            let mut spoilt = measured();
            spoil(&mut spoilt);
            assert_eq!(Success::default().broken(&spoilt).len(), 1);
        }
        let mut never = measured();
        never.recovered = None;
        let success = Success::of(BTreeMap::from([("recovered_within".to_owned(), "1m".to_owned())])).unwrap();
        assert_eq!(success.broken(&never), ["recovered_within is never, wanted 1m"]);
    }
}
