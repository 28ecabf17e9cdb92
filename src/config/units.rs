//! Durations and sizes as people write them: `"800ms"`, `"7d"`, `"8MiB"`.

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Milliseconds. `None` for anything that is not a number with one of the units ms, s, m, h, d.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    scaled(text, &DURATIONS)
}

/// Bytes. `None` for anything that is not a number with a unit.
pub(super) fn size_bytes(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// The largest unit that leaves a whole number.
pub(super) fn show_ms(ms: u64) -> String {
    shown(ms, &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)])
}

pub(super) fn show_bytes(bytes: u64) -> String {
    shown(bytes, &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)])
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn shown(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) =
        units.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor)).unwrap_or(&units[units.len() - 1]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_numbers_with_units() {
        // given | milliseconds
        for (text, ms) in [
            ("800ms", Some(800)),
            ("5s", Some(5_000)),
            ("7d", Some(604_800_000)),
            ("2 m", Some(120_000)),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 parsecs", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
        for (text, bytes) in [("8MiB", Some(8 << 20)), ("1KB", Some(1000)), ("12B", Some(12)), ("8M", None), ("", None)]
        {
            assert_eq!(size_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 800, 1_000, 90_000, 86_400_000] {
            assert_eq!(duration_ms(&show_ms(ms)), Some(ms));
        }
        for bytes in [0, 1, 1024, 1536, 8 << 20] {
            assert_eq!(size_bytes(&show_bytes(bytes)), Some(bytes));
        }
    }
}
