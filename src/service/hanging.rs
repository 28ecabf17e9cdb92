//! Whether this replica's service answers at all: health checks may be green while it does not.
use std::collections::BTreeMap;

use super::AttemptResult;
use crate::model::WriteId;

/// Tries that end without an answer in a row, until others are preferred.
const IN_A_ROW: u32 = 3;
/// Then it may try again, so that it can show that it is well; each time later.
const AGAIN_MS: u64 = 10_000;
const AGAIN_MAX_MS: u64 = 60_000;

/// What became of the last tries at this site's service, and since when others last.
#[derive(Debug, Default)]
pub(crate) struct Hanging {
    at_it: BTreeMap<(WriteId, u32), u64>,
    in_a_row: u32,
    until_ms: u64,
}

impl Hanging {
    pub fn begins(&mut self, id: WriteId, attempt: u32, now_ms: u64) {
        self.at_it.insert((id, attempt), now_ms);
    }

    pub fn ends(&mut self, id: WriteId, attempt: u32, result: &AttemptResult, now_ms: u64) {
        self.at_it.remove(&(id, attempt));
        match result {
            AttemptResult::Answered(_) => (self.in_a_row, self.until_ms) = (0, 0),
            AttemptResult::Broken { .. } => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                if let Some(times) = self.in_a_row.checked_sub(IN_A_ROW) {
                    self.until_ms = now_ms + (AGAIN_MS << times.min(3)).min(AGAIN_MAX_MS);
                }
            }
            AttemptResult::NeverSent { .. } | AttemptResult::Refused(_) => {}
        }
    }

    /// `within_ms`: a try that lasts longer says so before it has ended.
    pub fn hangs(&self, now_ms: u64, within_ms: u64) -> bool {
        now_ms < self.until_ms || self.at_it.values().any(|since| now_ms > since + within_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{answered, broken, never_sent, own};

    #[test]
    fn tries_without_an_answer_in_a_row_or_one_that_lasts_say_that_it_hangs() {
        let mut hanging = Hanging::default();
        let tries = |hanging: &mut Hanging, n, result: &AttemptResult, now_ms| {
            hanging.begins(own(n), 1, now_ms);
            hanging.ends(own(n), 1, result, now_ms);
            hanging.hangs(now_ms, 2_000)
        };
        let results = [broken(), broken(), never_sent(), answered(201), broken(), broken(), never_sent()];
        for (n, result) in results.iter().enumerate() {
            assert!(!tries(&mut hanging, n as u64, result, 1_000), "{n}");
        }
        assert!(tries(&mut hanging, 8, &broken(), 1_000));
        assert!(hanging.hangs(10_999, 2_000) && !hanging.hangs(11_000, 2_000), "it may show that it is well");
        assert!(tries(&mut hanging, 9, &broken(), 20_000));
        assert!(hanging.hangs(39_999, 2_000), "longer");
        assert!(!tries(&mut hanging, 10, &answered(404), 30_000));
        hanging.begins(own(11), 1, 50_000);
        assert!(!hanging.hangs(52_000, 2_000) && hanging.hangs(52_001, 2_000));
        hanging.ends(own(11), 1, &broken(), 52_002);
        assert!(!hanging.hangs(52_002, 2_000));
    }
}
