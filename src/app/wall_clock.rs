//! Whether the wall clock jumps against the monotonic one. Order never depends on it; times that people read do. Pure.

/// More than a clock is ever slewed between two looks.
const JUMP_MS: i64 = 1_000;
/// Before this nothing of ours ran: a clock that says so was never set. 2024-01-01.
const UNSET_BELOW_MS: u64 = 1_704_067_200_000;

#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Wall less monotonic, at the last look.
    offset_ms: Option<i64>,
    jumps: u64,
}

impl WallClock {
    /// By how much it has jumped since the last look, if it has; less than nothing: back.
    pub fn look(&mut self, mono_ms: u64, wall_ms: u64) -> Option<i64> {
        let offset_ms = signed(wall_ms).saturating_sub(signed(mono_ms));
        let before = self.offset_ms.replace(offset_ms)?;
        let jump_ms = offset_ms.saturating_sub(before);
        let is_jump = jump_ms.unsigned_abs() >= JUMP_MS.unsigned_abs();
        self.jumps += u64::from(is_jump);
        is_jump.then_some(jump_ms)
    }

    pub fn jumps(&self) -> u64 {
        self.jumps
    }
}

pub(super) fn is_unset(wall_ms: u64) -> bool {
    wall_ms < UNSET_BELOW_MS
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_told_from_time_that_goes_by() {
        let mut clock = WallClock::default();
        // monotonic | wall | jump
        for (mono, wall, jump) in [
            (0, 1_000_000, None),
            (15_000, 1_015_000, None),
            // Slewed.
            (30_000, 1_030_900, None),
            (45_000, 4_645_900, Some(3_600_000)),
            (60_000, 4_660_900, None),
            (75_000, 15_900, Some(-4_660_000)),
            (75_000, u64::MAX, Some(i64::MAX - 75_000 - (15_900 - 75_000))),
        ] {
            assert_eq!(clock.look(mono, wall), jump, "{mono} {wall}");
        }
        assert_eq!(clock.jumps(), 3);
        assert!(is_unset(0) && !is_unset(1_800_000_000_000));
    }
}
