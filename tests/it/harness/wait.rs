//! Waiting for a state, never for a time.
use std::time::{Duration, Instant};

/// Long enough for a loaded machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Panics with `what` when the condition does not come true in time.
#[track_caller]
pub fn wait_for(what: &str, within: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// For what must *not* happen, where there is no event to wait for: checks it again and again for a while.
#[track_caller]
pub fn holds_for(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(condition(), "no longer: {what}");
        std::thread::sleep(POLL);
    }
}
