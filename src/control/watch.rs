//! Is anybody there, and do they hear us? A zenoh session can stay open for ever and carry nothing one way.
use super::tuning::Tuning;

/// Watches one node's session. Pure: fed with what happened, asked now and then.
#[derive(Debug)]
pub struct Watch {
    /// A node that hubs ought to answer.
    expects_echo: bool,
    /// An edge loses nothing by dialling again; a hub would throw out every edge.
    reopens_when_alone: bool,
    generation: u64,
    open: bool,
    /// Connections to hubs.
    hubs: usize,
    /// Since when it is as it is.
    since_ms: u64,
    echo_ms: u64,
    patience_ms: u64,
}

/// Why a session has to be opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reopen {
    /// Connected, but no hub echoes this node's beats.
    Deaf,
    /// Not connected for long: the session's own redialling may be stuck.
    Alone,
}

impl Watch {
    pub fn new(expects_echo: bool, reopens_when_alone: bool, tuning: &Tuning) -> Self {
        let (open, hubs, generation) = (false, 0, 0);
        let patience_ms = tuning.deaf_ms;
        Self { expects_echo, reopens_when_alone, generation, open, hubs, since_ms: 0, echo_ms: 0, patience_ms }
    }

    /// A session was opened or closed; whatever is heard of older ones does not count any more.
    pub fn session(&mut self, now_ms: u64, generation: u64, open: bool) {
        if generation < self.generation {
            return;
        }
        (self.generation, self.open, self.hubs, self.since_ms) = (generation, open, 0, now_ms);
    }

    /// A connection to a hub came or went. True when the first came.
    pub fn hub(&mut self, now_ms: u64, generation: u64, up: bool) -> bool {
        if generation != self.generation || !self.open {
            return false;
        }
        let before = self.hubs;
        self.hubs = if up { before + 1 } else { before.saturating_sub(1) };
        if (before == 0) != (self.hubs == 0) {
            self.since_ms = now_ms;
        }
        before == 0 && self.hubs == 1
    }

    pub fn echo(&mut self, now_ms: u64, tuning: &Tuning) {
        self.echo_ms = now_ms;
        self.patience_ms = tuning.deaf_ms;
    }

    pub fn connected(&self) -> bool {
        self.open && self.hubs > 0
    }

    pub fn is_current(&self, generation: u64) -> bool {
        self.open && generation == self.generation
    }

    /// Patience doubles with each reopening until an echo comes, so that hubs that never echo cost little.
    pub fn check(&mut self, now_ms: u64, tuning: &Tuning) -> Option<Reopen> {
        if !self.open || !self.expects_echo {
            return None;
        }
        let silent_ms = now_ms.saturating_sub(self.since_ms.max(self.echo_ms));
        let reopen = if self.hubs > 0 && silent_ms > self.patience_ms {
            Reopen::Deaf
        } else if self.hubs == 0 && self.reopens_when_alone && now_ms.saturating_sub(self.since_ms) > tuning.alone_ms {
            Reopen::Alone
        } else {
            return None;
        };
        if reopen == Reopen::Deaf {
            self.patience_ms = (self.patience_ms * 2).min(tuning.patience_max_ms);
        }
        self.open = false;
        Some(reopen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deaf_session_is_reopened_with_growing_patience() {
        let tuning = Tuning::default();
        let deaf = tuning.deaf_ms;
        let mut watch = Watch::new(true, true, &tuning);
        watch.session(0, 1, true);
        assert!(watch.hub(0, 1, true) && watch.connected());
        assert_eq!(watch.check(deaf, &tuning), None);
        watch.echo(deaf, &tuning);
        assert_eq!(watch.check(2 * deaf, &tuning), None);
        assert_eq!(watch.check(2 * deaf + 1, &tuning), Some(Reopen::Deaf));
        assert_eq!(watch.check(9 * deaf, &tuning), None, "asked once per session");

        watch.session(3 * deaf, 2, true);
        watch.hub(3 * deaf, 2, true);
        assert!(!watch.hub(3 * deaf, 1, false), "an older session's farewell");
        assert!(watch.connected());
        assert_eq!(watch.check(5 * deaf, &tuning), None);
        assert_eq!(watch.check(5 * deaf + 1, &tuning), Some(Reopen::Deaf));
    }

    #[test]
    fn an_edge_that_is_alone_dials_anew_and_a_hub_does_not() {
        let tuning = Tuning::default();
        for (edge, verdict) in [(true, Some(Reopen::Alone)), (false, None)] {
            let mut watch = Watch::new(true, edge, &tuning);
            watch.session(0, 1, true);
            watch.hub(5, 1, true);
            watch.hub(10, 1, false);
            assert_eq!(watch.check(10 + tuning.alone_ms, &tuning), None);
            assert_eq!(watch.check(11 + tuning.alone_ms, &tuning), verdict);
        }
    }
}
