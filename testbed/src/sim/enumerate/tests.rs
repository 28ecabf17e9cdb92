//! The table of scenarios holds without a fault, and planted errors are found where they are known to be.
use std::collections::BTreeSet;

use super::run::{Outcome, planted, run};
use super::scenario::Scenario;
use super::scenarios;
use super::step::Faults;
use crate::sim::plan::Planted;
use crate::sim::rng::Pace::{self, High, Low};

const PACES: [Pace; 2] = [Low, High];

#[test]
fn there_are_many_and_each_has_its_name() {
    let all = scenarios::all();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
    assert!(all.len() >= 75 && names.len() == all.len(), "{} scenarios, {} names", all.len(), names.len());
}

#[test]
fn nothing_breaks_without_a_fault_and_one_scenario_is_one_run() {
    for scenario in scenarios::all() {
        let scenario = planted(scenario, None);
        for pace in PACES {
            let once = || run(&scenario, pace, &Faults::default(), Some(0), None);
            let (first, again) = (once(), once());
            assert!(first.violations.is_empty(), "{} {pace:?}: {:?}", scenario.name, first.violations);
            assert!(first.count > 20, "{} {pace:?}: hardly anything happens: {}", scenario.name, first.count);
            assert_eq!((first.hash, first.count), (again.hash, again.count), "{} {pace:?}", scenario.name);
        }
    }
}

/// A planted error, what shows it, and what it breaks there.
type Found = (&'static str, &'static str, Pace, &'static str, &'static str);

/// Each is found by a scenario alone, or with one fault or two in it, and nothing is found without the error.
const FOUND: &[Found] = &[
    ("resend-unknown", "creates", Low, "", "G2"),
    ("ignore-after", "ahead", Low, "", "G3"),
    ("after-at-accept", "alone-gap", High, "", "G3"),
    ("lagging-replica-decides", "failover-back", High, "", "G3"),
    ("fingerprint-proves", "another-digest", Low, "", "G1"),
    ("queue-overtaken", "queue", High, "", "G3"),
    ("other-sites-ignored", "alone-gap", Low, "", "G3"),
    ("copies-despite-digest", "another-digest", Low, "", "honesty"),
    ("drop-at-full-window", "small-window", Low, "", "G1"),
    ("number-reused", "backlog-read", Low, "", "G1"),
    ("key-expires-while-owed", "short-ttl-cut", High, "", "G2"),
    ("key-expires-while-open", "short-ttl-open", Low, "", "G2"),
    ("late-put-applied", "late-patch", Low, "", "decided late"),
    ("divergence-stops", "differs", Low, "", "differences"),
    ("resend-over-later", "differs-put", Low, "", "sent again"),
    ("answer-to-a-stranger", "another-client", Low, "", "another client's"),
    ("answer-before-commit", "plain", Low, "serve@1.1=crash:1:lost:20", "G2"),
    ("confirm-before-durable", "plain", Low, "synced@1.2=crash:1:lost:20", "fork"),
    ("probe-believed-early", "unknown-late", Low, "synced@1.2=pause:1:350", "G2"),
    ("refusal-followed", "refusal", Low, "synced@1.2=crash:1:kept:20", "honesty"),
    ("other-class-ignored", "plain", Low, "attempt@0.1=fails:500:not", "G1"),
    ("lane-free-during-wish", "elsewhere-two-clients", Low, "deliver-wish@0.2=rest:0", "one lane"),
    ("broken-taken-for-new", "mend-in-cut", Low, "synced@0.2=pause:0:350", "G2"),
    ("ahead-not-named", "ahead-third-first", Low, "attempt@2.2=slow", "G3"),
    ("number-reused-after-restore", "restore-long", Low, "synced@1.4=copy:1,synced@1.50=putback:1:older", "G2"),
    ("late-word-at-once", "alone-word-of-backlog", Low, "deliver-page@1.1=drop", "G8"),
    ("decider-does-not-wait", "seen-roams", Low, "deliver-page@1.1=drop", "G3"),
];

/// Those that are left to be looked for among seeds.
pub(crate) fn is_enumerated(planted: Planted) -> bool {
    FOUND.iter().any(|(name, ..)| *name == planted.name())
}

fn at(name: &str, bug: Option<Planted>, pace: Pace, faults: &str) -> Outcome {
    let is_it = |scenario: &Scenario| scenario.name == name;
    let scenario = scenarios::all().into_iter().find(is_it).unwrap_or_else(|| panic!("there is no scenario {name}"));
    let faults: Faults = faults.parse().unwrap_or_else(|why| panic!("{name}: {why}"));
    run(&planted(scenario, bug), pace, &faults, None, None)
}

#[test]
fn planted_errors_are_found_where_they_show() {
    let mut not_found = Vec::new();
    for &(error, scenario, pace, faults, says) in FOUND {
        let bug: Planted = error.parse().expect("it is one");
        let found = at(scenario, Some(bug), pace, faults);
        if !found.violations.iter().any(|violation| violation.what.contains(says)) {
            let look = format!("enumerate --bug {error} --scenario {scenario} --first --pairs 30");
            not_found.push(format!("{error} ({:?}): cargo run --release -p testbed -- {look}", found.violations));
        }
        let without = at(scenario, None, pace, faults);
        assert!(without.violations.is_empty(), "{scenario} {faults}, without {error}: {:?}", without.violations);
    }
    assert!(not_found.is_empty(), "not found where they were; where now?\n{}", not_found.join("\n"));
}
