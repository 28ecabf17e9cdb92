//! What happens when: the faults of a scenario as single steps in time. Pure.
use std::time::Duration;

use super::scenario::{Fault, What};

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Begin(What),
    End(What),
}

/// Steps in order of time; a flapping line is many cuts.
pub fn steps(faults: &[Fault]) -> Result<Vec<(Duration, Step)>, String> {
    let mut steps = Vec::new();
    for fault in faults {
        let what = fault.what()?;
        let (begins, lasts) = (fault.at.0, fault.lasts.map(|span| span.0));
        let ends = begins + lasts.unwrap_or_default();
        if let What::Flap { between, down, up } = &what {
            let cut = What::Cut { between: between.clone(), direction: Default::default(), port: None };
            let mut at = begins;
            while at < ends {
                steps.push((at, Step::Begin(cut.clone())));
                steps.push(((at + *down).min(ends), Step::End(cut.clone())));
                at += *down + *up + Duration::from_millis(1);
            }
        } else {
            steps.push((begins, Step::Begin(what.clone())));
            // A clock that jumps stays where it is unless it is said for how long.
            if lasts.is_some() {
                steps.push((ends, Step::End(what)));
            }
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::scenario::Scenario;

    #[test]
    fn faults_begin_and_end_in_order_and_a_flapping_line_ends_whole() {
        let text = "about: x\ntopology:\n  sites: { a: { dials: [b], clients: 1 }, b: {} }\nload: { rate: 1, \
            seconds: 60 }\nfaults:\n\
            \x20 - { at: 10s, for: 2s, flap: [a, b], down: 300ms, up: 500ms }\n  - { at: 5s, for: 6s, kill: a }\n  - \
            { at: 11s, clock: a, jump: -1h }\n";
        let scenario = Scenario::parse("x", text).unwrap();
        let steps = steps(&scenario.faults).unwrap();
        assert!(steps.is_sorted_by_key(|(at, _)| *at));
        let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|(_, step)| wanted(step)).count();
        assert_eq!(count(|step| matches!(step, Step::Begin(What::Cut { .. }))), 3);
        assert_eq!(count(|step| matches!(step, Step::End(What::Cut { .. }))), 3);
        assert_eq!(count(|step| matches!(step, Step::End(What::Clock { .. }))), 0);
        assert!(steps.last().is_some_and(|(at, _)| *at <= Duration::from_secs(12)));
    }
}
