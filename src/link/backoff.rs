//! When to dial again.
use std::time::Duration;

/// Exponential with full jitter: anything up to `first * 2^failures`, at most `max`. `random` is in [0, 1).
pub(super) fn redial_delay(first: Duration, max: Duration, failures: u32, random: f64) -> Duration {
    let ceiling = first.saturating_mul(1 << failures.min(20)).min(max);
    // Not zero: a listener that accepts and fails at once must not be dialled in a loop.
    ceiling.mul_f64(random.clamp(0.0, 1.0)).max(first / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_limit_and_is_spread_over_all_of_it() {
        let ms = Duration::from_millis;
        // failures | random | delay
        for (failures, random, expected) in
            [(0, 1.0, 100), (1, 1.0, 200), (3, 0.5, 400), (10, 1.0, 5_000), (u32::MAX, 0.5, 2_500), (9, 0.0, 10)]
        {
            assert_eq!(redial_delay(ms(100), ms(5_000), failures, random), ms(expected), "{failures} {random}");
        }
    }
}
