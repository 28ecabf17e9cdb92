//! Whether the wall clock jumps against the monotonic one. Order never depends on it; times that people read do. Pure.

/// More than a clock is ever slewed between two looks: a tenth of a second in each.
const JUMP_MS: i64 = 500;
/// Before this nothing of ours ran: a clock that says so was never set. 2024-01-01.
const UNSET_BELOW_MS: u64 = 1_704_067_200_000;

#[derive(Debug, Default)]
pub(super) struct WallClock {
    /// Wall less monotonic, at the last look.
    offset_ms: Option<i64>,
    jumps: u64,
    last_jump_ms: i64,
}

impl WallClock {
    /// By how much it has jumped since the last look, if it has; less than nothing: back.
    pub fn look(&mut self, mono_ms: u64, wall_ms: u64) -> Option<i64> {
        let offset_ms = signed(wall_ms).saturating_sub(signed(mono_ms));
        let before = self.offset_ms.replace(offset_ms)?;
        let jump_ms = offset_ms.saturating_sub(before);
        let is_jump = jump_ms.unsigned_abs() >= JUMP_MS.unsigned_abs();
        if is_jump {
            (self.jumps, self.last_jump_ms) = (self.jumps + 1, jump_ms);
        }
        is_jump.then_some(jump_ms)
    }

    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// By how much at the last of them.
    pub fn last_jump_ms(&self) -> i64 {
        self.last_jump_ms
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
            (1_000, 1_001_000, None),
            // Slewed.
            (2_000, 1_002_100, None),
            (3_000, 1_003_700, Some(600)),
            (45_000, 4_645_700, Some(3_600_000)),
            (60_000, 4_660_700, None),
            (75_000, 15_700, Some(-4_660_000)),
            (75_000, u64::MAX, Some(i64::MAX - 75_000 - (15_700 - 75_000))),
        ] {
            assert_eq!(clock.look(mono, wall), jump, "{mono} {wall}");
            assert_eq!(clock.last_jump_ms(), jump.unwrap_or(clock.last_jump_ms()));
        }
        assert_eq!(clock.jumps(), 4);
        assert!(is_unset(0) && !is_unset(1_800_000_000_000));
    }
}
