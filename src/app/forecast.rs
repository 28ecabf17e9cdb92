//! When the disk will be full, by how it filled in the last hour, or in what was seen of one. Pure: what is measured
//! and when are arguments.
use std::collections::VecDeque;

/// As far back as is looked.
const WINDOW_MS: u64 = 3_600_000;
/// With less to look back on nothing is said: a journal that has just begun grows like no other time.
const YOUNG_MS: u64 = 300_000;
/// Measurements are this far apart.
const APART_MS: u64 = 15_000;
/// Later than this nobody asks for; growth so slow is none.
const LATEST_S: f64 = 10.0 * 365.0 * 86_400.0;

/// What is left of the disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Left {
    /// Seconds until the reserve is reached.
    pub s: f64,
    /// For so long it was looked at: an hour, or less after a start.
    pub over_ms: u64,
}

impl Left {
    /// A few minutes after a start are like no other time.
    pub fn rests_on_an_hour(self) -> bool {
        self.over_ms >= WINDOW_MS
    }
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    at_ms: u64,
    free_bytes: u64,
    journal_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Forecast {
    /// The oldest first.
    measured: VecDeque<Measured>,
}

impl Forecast {
    /// `at_ms` is monotonic.
    pub fn measure(&mut self, at_ms: u64, free_bytes: u64, journal_bytes: u64) {
        if self.measured.back().is_some_and(|last| at_ms < last.at_ms.saturating_add(APART_MS)) {
            return;
        }
        self.measured.push_back(Measured { at_ms, free_bytes, journal_bytes });
        // One that is older than the hour stays: from there the hour is whole.
        while self.measured.get(1).is_some_and(|second| at_ms.saturating_sub(second.at_ms) >= WINDOW_MS) {
            self.measured.pop_front();
        }
    }

    /// Until no more than `reserve_bytes` are free. `None`: nothing grows, or too little is known.
    ///
    /// What fills the disk need not be the journal; and where others gave room back meanwhile, the journal may grow all
    /// the same: the faster of the two counts.
    pub fn left(&self, reserve_bytes: u64) -> Option<Left> {
        let (first, last) = (self.measured.front()?, self.measured.back()?);
        let over_ms = last.at_ms.checked_sub(first.at_ms).filter(|&over| over >= YOUNG_MS)?;
        let taken = first.free_bytes.saturating_sub(last.free_bytes);
        let grown = last.journal_bytes.saturating_sub(first.journal_bytes);
        let bytes = taken.max(grown);
        let left = last.free_bytes.saturating_sub(reserve_bytes);
        let s = left as f64 / bytes as f64 * (over_ms as f64 / 1e3);
        // Not a number, or without end, where nothing grows.
        (bytes > 0 && s <= LATEST_S).then_some(Left { s, over_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const GIB: u64 = 1 << 30;

    /// So many minutes, each of which takes so much.
    fn filling(forecast: &mut Forecast, from: u64, minutes: u64, mut free: u64, taken: u64, grown: u64) -> u64 {
        for minute in 0..=minutes {
            forecast.measure((from + minute) * MINUTE, free, 1_000_000 + minute * grown);
            free -= taken;
        }
        free + taken
    }

    #[test]
    fn nothing_is_said_before_there_is_something_to_look_back_on() {
        let mut forecast = Forecast::default();
        assert_eq!(forecast.left(0), None);
        filling(&mut forecast, 0, 4, 100 * GIB, GIB, 0);
        assert_eq!(forecast.left(0), None);
        forecast.measure(5 * MINUTE, 95 * GIB, 0);
        assert!(forecast.left(0).is_some());
    }

    #[test]
    fn a_steady_growth_is_gone_on_with_down_to_the_reserve() {
        let mut forecast = Forecast::default();
        let free = filling(&mut forecast, 0, 30, 100 * GIB, GIB, 1 << 20);
        assert_eq!(free, 70 * GIB);
        let minutes = |reserve| forecast.left(reserve).map(|left| (left.s / 60.0).round());
        assert_eq!(
            (minutes(0), minutes(10 * GIB), minutes(70 * GIB), minutes(90 * GIB)),
            (Some(70.0), Some(60.0), Some(0.0), Some(0.0))
        );
    }

    #[test]
    fn what_was_before_the_last_hour_counts_no_more() {
        let mut forecast = Forecast::default();
        let free = filling(&mut forecast, 0, 120, 1_000 * GIB, 4 * GIB, 0);
        filling(&mut forecast, 121, 90, free, GIB / 4, 0);
        let hours = forecast.left(0).unwrap().s / 3_600.0;
        let expected = (free as f64 / GIB as f64 - 22.5) / 15.0;
        assert!((hours / expected - 1.0).abs() < 0.02, "{hours} and not {expected}");
        assert!(forecast.measured.len() <= 62, "{} are kept", forecast.measured.len());
    }

    #[test]
    fn where_nothing_grows_there_is_no_end() {
        let mut forecast = Forecast::default();
        filling(&mut forecast, 0, 90, 100 * GIB, 0, 0);
        assert_eq!(forecast.left(0), None);
        // So slowly that it is the same.
        let mut forecast = Forecast::default();
        filling(&mut forecast, 0, 60, 1_000 * GIB, 1, 0);
        assert_eq!(forecast.left(0), None);
    }

    #[test]
    fn room_that_others_gave_back_does_not_hide_that_the_journal_grows() {
        let mut forecast = Forecast::default();
        forecast.measure(0, 10 * GIB, 0);
        forecast.measure(10 * MINUTE, 60 * GIB, GIB);
        assert_eq!(forecast.left(0).map(|left| (left.s / 60.0).round()), Some(600.0));
    }

    #[test]
    fn measurements_may_come_as_often_as_they_like_and_a_clock_that_stands_harms_nothing() {
        let mut forecast = Forecast::default();
        for at_ms in (0..2 * WINDOW_MS).step_by(500) {
            forecast.measure(at_ms, 10 * GIB, 0);
        }
        assert!(forecast.measured.len() as u64 <= WINDOW_MS / APART_MS + 2, "{} are kept", forecast.measured.len());
        let mut still = Forecast::default();
        (0..10).for_each(|n| still.measure(u64::MAX - 5, n, 0));
        assert_eq!((still.measured.len(), still.left(0)), (1, None));
    }

    #[test]
    fn it_says_on_how_much_it_rests() {
        // minutes | looked back on | an hour
        for (minutes, over, is_hour) in [(5, 5, false), (59, 59, false), (60, 60, true), (90, 60, true)] {
            let mut forecast = Forecast::default();
            filling(&mut forecast, 0, minutes, 1_000 * GIB, GIB, 0);
            let left = forecast.left(0).unwrap();
            assert_eq!((left.over_ms / MINUTE, left.rests_on_an_hour()), (over, is_hour), "{minutes}");
        }
    }
}
