//! What is met again and again while it lasts, and said when it begins.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Not met for so long it is over.
const OVER_AFTER: Duration = Duration::from_secs(60);
/// Names come from outside.
const KEPT: usize = 4_096;

pub(super) struct Lasting<K>(Mutex<BTreeMap<K, Instant>>);

impl<K> Default for Lasting<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Lasting<K> {
    pub fn begins(&self, key: K) -> bool {
        self.begins_at(key, Instant::now())
    }

    fn begins_at(&self, key: K, now: Instant) -> bool {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.retain(|_, last| now.saturating_duration_since(*last) < OVER_AFTER);
        let has_room = met.len() < KEPT;
        match met.get_mut(&key) {
            Some(last) => {
                *last = now;
                false
            }
            None => has_room && met.insert(key, now).is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_said_once_for_as_long_as_it_lasts() {
        let (lasting, began) = (Lasting::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        let hours = (0..7_200).filter(|n| lasting.begins_at("cloud", at(n * 500))).count();
        assert_eq!(hours, 1, "twice a second for an hour");
        assert!(lasting.begins_at("another", at(3_600_000)));
        assert!(lasting.begins_at("cloud", at(3_600_000 + 61_000)), "it was over");
        assert_eq!(lasting.0.lock().unwrap().len(), 1);
    }
}
