//! What was found, said so that one line replays it.
use std::collections::BTreeMap;

use super::run::Violation;
use super::scenario::Scenario;
use super::step::Faults;
use crate::sim::rng::Pace;

/// Ways in which promises were broken: how often each, and with which faults first.
#[derive(Default)]
pub struct Ways(BTreeMap<String, Way>);

struct Way {
    times: u64,
    /// Where the run stands among all: the earliest is shown, whatever thread came first.
    number: usize,
    faults: Faults,
    what: String,
}

impl Ways {
    pub fn note(&mut self, number: usize, faults: &Faults, violations: &[Violation]) {
        for Violation { way, what } in violations {
            let new = || Way { times: 0, number, faults: faults.clone(), what: what.clone() };
            let known = self.0.entry(way.clone()).or_insert_with(new);
            if number < known.number {
                *known = Way { times: known.times, ..new() };
            }
            known.times += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn print(&self, scenario: &Scenario, pace: Pace) {
        for way in self.0.values() {
            println!("{} {}, {} times: {}", scenario.name, word(pace), way.times, way.what);
            println!("    again: {}", again(scenario, pace, &way.faults));
        }
    }
}

pub fn word(pace: Pace) -> &'static str {
    match pace {
        Pace::Low => "low",
        Pace::High => "high",
    }
}

/// The command that does the same once more.
pub fn again(scenario: &Scenario, pace: Pace, faults: &Faults) -> String {
    let bug = scenario.plan.planted.map(|planted| format!(" --bug {}", planted.name())).unwrap_or_default();
    let (name, pace) = (scenario.name, word(pace));
    format!(
        "cargo run --release -p testbed -- enumerate --scenario {name} --pace {pace}{bug} --faults '{faults}' --trace"
    )
}

#[derive(Default)]
pub struct Totals {
    pub scenarios: u64,
    pub steps: u64,
    pub singles: u64,
    pub pairs: u64,
    pub pairs_in_all: u64,
    pub events: u64,
    pub violating: u64,
}

impl Totals {
    pub fn print(&self, seconds: f64) {
        let Totals { scenarios, steps, singles, pairs, pairs_in_all, events, violating } = self;
        println!(
            "{scenarios} scenarios (each pace is one), {steps} steps, {singles} of {singles} runs with one fault, \
             {pairs} of {pairs_in_all} with two, {events} events, {violating} runs broke a promise, {seconds:.1} s"
        );
    }
}
