//! Values of a scenario as people write them: `10s`, `2%`, `256kbit`, `24MiB`.
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A time: `250ms`, `10s`, `2m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Span(pub Duration);

/// A share of packets: `2%`, `0.5%`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share(pub f64);

/// Bits per second: `256kbit`, `2Mbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u64);

/// A jump of a clock: `+1h`, `-90m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump(pub i64);

/// Bytes: `24MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    digits.trim().parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

const TIMES: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

macro_rules! from_text {
    ($kind:ident, $right:literal, $parse:expr) => {
        impl std::str::FromStr for $kind {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let parse: fn(&str) -> Option<$kind> = $parse;
                parse(text).ok_or_else(|| format!("{text:?} is not {}", $right))
            }
        }
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
                String::deserialize(source)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

from_text!(Span, "a time such as 250ms, 10s, 2m", |text| {
    number(text, &TIMES).filter(|s| (0.0..1e7).contains(s)).map(|s| Span(Duration::from_secs_f64(s)))
});
from_text!(Share, "a share such as 2%", |text| {
    number(text, &[("%", 0.01)]).filter(|share| (0.0..=1.0).contains(share)).map(Share)
});
from_text!(Rate, "a rate such as 256kbit or 2Mbit", |text| {
    number(text, &[("bit", 1.0), ("kbit", 1e3), ("Mbit", 1e6)]).filter(|rate| *rate >= 8_000.0).map(|r| Rate(r as u64))
});
from_text!(Jump, "a jump such as +1h or -90m", |text| {
    let sign = match text.chars().next()? {
        '+' => 1.0,
        '-' => -1.0,
        _ => return None,
    };
    number(&text[1..], &TIMES).filter(|s| (0.0..1e9).contains(s)).map(|s| Jump((s * sign) as i64))
});
from_text!(Size, "a size such as 24MiB", |text| {
    number(text, &[("KiB", 1024.0), ("MiB", 1_048_576.0)]).filter(|size| *size >= 1.0).map(|size| Size(size as u64))
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_written_and_others_say_what_would_be_right() {
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert_eq!("1.5s".parse(), Ok(Span(Duration::from_millis(1_500))));
        assert_eq!("2%".parse(), Ok(Share(0.02)));
        assert_eq!("256kbit".parse(), Ok(Rate(256_000)));
        assert_eq!("-90m".parse(), Ok(Jump(-5_400)));
        assert_eq!("24MiB".parse(), Ok(Size(24 << 20)));
        for wrong in ["10", "ten s", "s", "", "-1s", "10 parsecs"] {
            let told = wrong.parse::<Span>().unwrap_err();
            assert!(told.contains("such as 250ms"), "{told}");
        }
        assert!("120%".parse::<Share>().is_err() && "1h".parse::<Jump>().is_err() && "1bit".parse::<Rate>().is_err());
    }
}
