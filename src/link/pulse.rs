//! When a side of a link shows that it lives, asks whether the other one does, and takes it for dead. Pure.
//!
//! A site's line may be metered, so a link over which nothing is said is silent, but for the side that dialled: it asks
//! every `link.keepalive`, so that what forgets idle connections on the way does not, and wants an answer, for only who
//! dials can mend one that was forgotten. Whoever has something outstanding asks every beat.
use std::time::Duration;

use super::Limits;

/// All times since the session's own clock began.
#[derive(Debug)]
pub(super) struct Pulse {
    beat: Duration,
    dead_after: Duration,
    /// At the side that dialled.
    keepalive: Option<Duration>,
    /// Said or asked for something last.
    stirred: Duration,
    asked: Option<Duration>,
    /// Of those that were asked since anything was heard, the first.
    unanswered: Option<Duration>,
    /// A site that stood still, or has just begun, has heard nothing, whoever spoke.
    awake: Duration,
}

/// What is known when it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub now: Duration,
    /// When anything was read last.
    pub heard: Duration,
    /// Something was said, or is asked for.
    pub stirs: bool,
    /// The other side said that it asks at least so often.
    pub promised: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub asks: bool,
    /// To be looked at again by then; by `None` at nothing but a stir.
    pub wake: Option<Duration>,
    /// Nothing is outstanding: a stir is to be told at once.
    pub rests: bool,
}

impl Pulse {
    pub fn new(limits: &Limits, dials: bool, now: Duration) -> Self {
        Self {
            beat: limits.beat,
            dead_after: limits.dead_after,
            keepalive: dials.then_some(limits.keepalive),
            stirred: now,
            asked: None,
            unanswered: None,
            awake: now,
        }
    }

    /// This process stood still: what the peer said meanwhile waits to be read.
    pub fn woke_late(&mut self, now: Duration) {
        self.awake = now;
    }

    /// `Err`: the other side is dead, for so long nothing was heard of it.
    pub fn turn(&mut self, signs: Signs) -> Result<Next, Duration> {
        let Signs { now, heard, stirs, promised } = signs;
        if stirs {
            self.stirred = now;
        }
        if self.unanswered.is_some_and(|since| heard > since) {
            self.unanswered = None;
        }
        let rests = now >= self.stirred + self.dead_after;
        // A beat's worth of silence came before the question that found it.
        let patience = self.dead_after.saturating_sub(self.beat);
        let heard = heard.max(self.awake);
        let dead_at = [
            self.unanswered.map(|since| (since.max(self.awake) + patience).max(heard + self.dead_after)),
            promised.map(|promised| heard + promised + self.dead_after),
        ];
        let dead_at = dead_at.into_iter().flatten().min();
        if dead_at.is_some_and(|dead_at| now >= dead_at) {
            return Err(now.saturating_sub(signs.heard));
        }
        let every = if rests { self.keepalive } else { Some(self.beat) };
        let due = |asked: Option<Duration>| every.map(|every| asked.map_or(now, |asked| asked + every));
        let asks = due(self.asked).is_some_and(|due| now >= due);
        if asks {
            self.asked = Some(now);
            self.unanswered.get_or_insert(now);
        }
        let dead_at = if asks { Some(now + patience) } else { dead_at };
        let rests_at = (!rests).then_some(self.stirred + self.dead_after);
        let wake = [due(self.asked), dead_at, rests_at].into_iter().flatten().min();
        Ok(Next { asks, wake, rests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn limits() -> Limits {
        let (beat, dead_after, keepalive) = (S(1), S(3), S(25));
        Limits { beat, dead_after, keepalive, ..Limits::default() }
    }

    /// Goes on to `until` as the session does: it hears an answer to each question, if there is one.
    struct Line {
        pulse: Pulse,
        now: Duration,
        heard: Duration,
        promised: Option<Duration>,
        answers: bool,
        asked: Vec<u64>,
    }

    impl Line {
        fn new(dials: bool) -> Self {
            let pulse = Pulse::new(&limits(), dials, S(0));
            let (promised, answers) = ((!dials).then_some(S(25)), true);
            Self { pulse, now: S(0), heard: S(0), promised, answers, asked: Vec::new() }
        }

        fn turn(&mut self, stirs: bool) -> Result<Next, Duration> {
            let Self { now, heard, promised, .. } = *self;
            let next = self.pulse.turn(Signs { now, heard, stirs, promised })?;
            if next.asks {
                self.asked.push(now.as_secs());
                if self.answers {
                    self.heard = now + Duration::from_millis(50);
                }
            }
            Ok(next)
        }

        /// When it was taken for dead.
        fn run(&mut self, until: u64, stirs: bool) -> Option<Duration> {
            let mut stirs = stirs;
            loop {
                match self.turn(std::mem::take(&mut stirs)) {
                    Err(_) => return Some(self.now),
                    Ok(Next { wake: Some(wake), .. }) if wake < S(until) => {
                        self.now = wake.max(self.now + Duration::from_millis(1));
                    }
                    Ok(_) => {
                        self.now = S(until);
                        return None;
                    }
                }
            }
        }
    }

    #[test]
    fn at_rest_only_the_side_that_dialled_speaks() {
        for (dials, asked) in [(true, vec![0, 1, 2, 27, 52, 77]), (false, vec![0, 1, 2])] {
            let mut line = Line::new(dials);
            // The other side asks as it promised.
            for _ in 0..10 {
                let until = line.now.as_secs() + 10;
                assert_eq!(line.run(until, false), None);
                line.heard = line.now;
            }
            assert_eq!(line.asked, asked, "{dials}");
        }
    }

    #[test]
    fn who_has_something_outstanding_asks_every_beat_and_at_once() {
        for dials in [true, false] {
            let mut line = Line::new(dials);
            line.promised = None;
            line.run(40, false);
            line.asked.clear();
            assert_eq!(line.run(47, true), None);
            assert_eq!(line.asked, [40, 41, 42], "{dials}");
        }
    }

    #[test]
    fn a_dead_line_is_known_in_time_to_who_has_something_outstanding() {
        // dials | dead since | stirred at | taken for dead by
        for (dials, dead, stirs, noticed) in
            [(true, 1, 1, 4), (false, 1, 1, 4), (true, 40, 45, 47), (false, 40, 45, 47)]
        {
            let mut line = Line::new(dials);
            line.promised = None;
            line.run(dead, false);
            line.answers = false;
            line.run(stirs, false);
            let at = line.run(60, true).expect("nobody answers");
            assert!(at <= S(noticed), "{dials} {dead}: {at:?}");
        }
    }

    #[test]
    fn at_rest_the_dialler_finds_it_with_its_next_question_and_the_other_side_when_none_comes() {
        let mut line = Line::new(true);
        line.run(40, false);
        line.answers = false;
        assert_eq!(line.run(100, false), Some(S(54)), "asked at 52 s");
        let mut line = Line::new(false);
        line.run(10, false);
        let at = line.run(100, false).expect("it did not ask as it promised");
        assert!(at > S(29) && at < S(31), "heard at 2 s: {at:?}");
    }

    #[test]
    fn a_site_that_slept_asks_before_it_takes_its_peers_for_dead() {
        let mut line = Line::new(true);
        line.run(40, false);
        line.answers = false;
        line.now = S(400);
        assert_eq!(line.turn(false).map(|next| next.asks), Ok(true));
        line.now = S(800);
        line.pulse.woke_late(line.now);
        assert!(line.turn(false).is_ok(), "what was said meanwhile waits to be read");
        assert_eq!(line.run(900, false), Some(S(803)));
        let mut line = Line::new(false);
        line.now = S(800);
        line.pulse.woke_late(line.now);
        assert!(line.turn(false).is_ok());
    }
}
