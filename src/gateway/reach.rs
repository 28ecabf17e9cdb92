//! What of a service people must know: which of its endpoints cannot be reached, since when and why, and whether all of
//! its last requests went without an answer. Learnt from what is asked anyway; nothing is decided by it.
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One endpoint, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    pub name: String,
    pub healthy: bool,
    /// For how long it has not been healthy, and what was met last.
    pub trouble: Option<(Duration, String)>,
}

/// The last tries at a service, none of which was answered as a service answers that is well. Of one request there may
/// be several, and those of nobody's request count: shadows, probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub count: u64,
    /// Since the first of them.
    pub lasting: Duration,
    /// Since the last.
    pub quiet: Duration,
    /// What the last of them met.
    pub why: String,
}

struct Failing {
    count: u64,
    first: Instant,
    last: Instant,
    why: String,
}

#[derive(Default)]
pub(super) struct Reach {
    /// So that an answer costs no more than a look.
    is_failing: AtomicBool,
    failing: Mutex<Option<Failing>>,
}

impl Reach {
    pub fn answered(&self) {
        if self.is_failing.swap(false, Relaxed) {
            *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// `why`: `None` where nobody was asked, because nobody could be: what was met before says more.
    pub fn failed(&self, why: Option<&str>) {
        let now = Instant::now();
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = failing.get_or_insert_with(|| Failing { count: 0, first: now, last: now, why: String::new() });
        (failing.count, failing.last) = (failing.count.saturating_add(1), now);
        if let Some(why) = why {
            why.clone_into(&mut failing.why);
        }
        self.is_failing.store(true, Relaxed);
    }

    pub fn unanswered(&self) -> Option<Unanswered> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_ref().map(|failing| Unanswered {
            count: failing.count,
            lasting: failing.first.elapsed(),
            quiet: failing.last.elapsed(),
            why: failing.why.clone(),
        })
    }
}

/// Since when an endpoint is in trouble, and what it met last.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<(Instant, String)>>);

impl Trouble {
    pub fn met(&self, why: &str) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, last) = met.get_or_insert_with(|| (Instant::now(), String::new()));
        if last != why {
            why.clone_into(last);
        }
    }
    pub fn over(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
    pub fn now(&self) -> Option<(Duration, String)> {
        let met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.as_ref().map(|(since, why)| (since.elapsed(), why.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_there_is_an_answer() {
        let reach = Reach::default();
        let said = || reach.unanswered().map(|unanswered| (unanswered.count, unanswered.why));
        assert_eq!(said(), None);
        reach.failed(Some("refused"));
        reach.failed(None);
        assert_eq!(said(), Some((2, "refused".to_owned())));
        reach.failed(Some("no answer"));
        assert_eq!(said(), Some((3, "no answer".to_owned())));
        reach.answered();
        assert_eq!(said(), None);
    }

    #[test]
    fn trouble_lasts_from_the_first_that_was_met_and_says_the_last() {
        let trouble = Trouble::default();
        trouble.met("refused");
        let began = trouble.0.lock().unwrap().as_ref().map(|(since, _)| *since);
        trouble.met("it answered 503");
        assert_eq!(trouble.0.lock().unwrap().as_ref().map(|(since, _)| *since), began);
        assert_eq!(trouble.now().map(|(_, why)| why).as_deref(), Some("it answered 503"));
        trouble.over();
        assert_eq!(trouble.now(), None);
    }
}
