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
    /// Something was said, and no echo of a beat after it has come.
    is_owed: bool,
    /// The first beat that was not echoed, and whether it came after all that was said.
    asked: Option<(u64, bool)>,
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
        let (is_owed, asked) = (false, None);
        Self { expects_echo, reopens_when_alone, generation, open, hubs, since_ms: 0, is_owed, asked, patience_ms }
    }

    /// A session was opened or closed; whatever is heard of older ones does not count any more.
    pub fn session(&mut self, now_ms: u64, generation: u64, open: bool) {
        if generation < self.generation {
            return;
        }
        (self.generation, self.open, self.hubs, self.since_ms) = (generation, open, 0, now_ms);
        self.asked = None;
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

    /// Something that a hub should hear.
    pub fn says(&mut self) {
        self.is_owed = true;
        self.asked = self.asked.map(|(since_ms, _)| (since_ms, false));
    }

    /// A beat.
    pub fn asks(&mut self, now_ms: u64) {
        self.asked = Some((self.asked.map_or(now_ms, |(since_ms, _)| since_ms), true));
    }

    pub fn echo(&mut self, tuning: &Tuning) {
        if self.asked.take().is_some_and(|(_, is_after)| is_after) {
            self.is_owed = false;
        }
        self.patience_ms = tuning.deaf_ms;
    }

    /// All that was said was heard, as far as anybody can tell.
    pub fn rests(&self) -> bool {
        !self.expects_echo || (self.connected() && !self.is_owed && self.asked.is_none())
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
        let is_silent = |(since_ms, _)| now_ms.saturating_sub(self.since_ms.max(since_ms)) > self.patience_ms;
        let reopen = if self.hubs > 0 && self.asked.is_some_and(is_silent) {
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
        assert!(watch.hub(0, 1, true) && watch.connected() && watch.rests());
        assert_eq!(watch.check(9 * deaf, &tuning), None, "nothing was said");
        watch.asks(9 * deaf);
        watch.says();
        watch.echo(&tuning);
        assert!(!watch.rests(), "of a beat before it");
        watch.asks(10 * deaf);
        watch.echo(&tuning);
        assert!(watch.rests());
        watch.asks(11 * deaf);
        watch.asks(11 * deaf + 5);
        assert_eq!(watch.check(12 * deaf, &tuning), None);
        assert_eq!(watch.check(12 * deaf + 1, &tuning), Some(Reopen::Deaf));
        assert_eq!(watch.check(19 * deaf, &tuning), None, "asked once per session");

        watch.session(13 * deaf, 2, true);
        watch.hub(13 * deaf, 2, true);
        assert!(!watch.hub(13 * deaf, 1, false), "an older session's farewell");
        assert!(watch.connected());
        watch.asks(13 * deaf);
        assert_eq!(watch.check(15 * deaf, &tuning), None);
        assert_eq!(watch.check(15 * deaf + 1, &tuning), Some(Reopen::Deaf));
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
