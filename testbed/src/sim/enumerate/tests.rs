//! The table of scenarios holds without a fault, and planted errors are found where they are known to be.
use std::collections::BTreeSet;

use super::run::{Outcome, planted, run};
use super::scenario::Scenario;
use super::scenarios;
use super::step::Faults;
use crate::sim::plan::Planted;
use crate::sim::rng::Pace;

const PACES: [Pace; 2] = [Pace::Low, Pace::High];

#[test]
fn there_are_many_and_each_has_its_name() {
    let all = scenarios::all();
    let names: BTreeSet<&str> = all.iter().map(|scenario| scenario.name).collect();
    assert!(all.len() >= 75 && names.len() == all.len(), "{} scenarios, {} names", all.len(), names.len());
}

#[test]
fn nothing_breaks_without_a_fault_and_one_scenario_is_one_run() {
    let mut hashes = BTreeSet::new();
    for scenario in scenarios::all() {
        let scenario = planted(scenario, None);
        for pace in PACES {
            let once = || run(&scenario, pace, &Faults::default(), Some(0), None);
            let (first, again) = (once(), once());
            assert!(first.violations.is_empty(), "{} {pace:?}: {:?}", scenario.name, first.violations);
            assert!(first.count > 20, "{} {pace:?}: hardly anything happens: {}", scenario.name, first.count);
            assert_eq!((first.hash, first.count), (again.hash, again.count), "{} {pace:?}", scenario.name);
            hashes.insert(first.hash);
        }
    }
    assert_eq!(hashes.len(), 2 * scenarios::all().len(), "two are the same");
}
