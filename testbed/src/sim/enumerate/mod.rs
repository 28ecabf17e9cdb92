//! Enumerated, not sampled: small fleets with a few writes each, in which every fault is tried at every step, and pairs
//! of faults as time allows.
//!
//! The same world as that of `sim`, in which nothing is drawn: a calm source of random numbers gives each delay its
//! shortest or its longest, `script` lets clients write what `scenarios` say, and `stage` makes the faults. A fault at
//! a step is what a seed meets by luck, so this finds in a minute what is rare, and finds it again.
//!
//! It does not try two faults at one step, delays that differ from line to line, or journals in SQLite.
mod act;
mod options;
mod report;
mod run;
mod scenario;
mod scenarios;
mod script;
mod search;
mod stage;
mod step;

#[cfg(test)]
pub(super) mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

pub(super) use act::Act;
pub use options::Enumerate;
pub(super) use scenario::Person;
pub(super) use stage::{Stage, Survives};

use self::report::{Totals, again, word};
use self::run::{planted, run};
use self::scenario::Scenario;
use self::step::Faults;
use super::rng::Pace;
use super::run::shorten;
use super::trace::Lines;

/// Fails where a promise was broken.
pub fn enumerate(options: &Enumerate) -> ExitCode {
    let is_asked =
        |scenario: &Scenario| options.scenario.is_empty() || options.scenario.iter().any(|name| name == scenario.name);
    let scenarios: Vec<Arc<Scenario>> =
        scenarios::all().into_iter().filter(is_asked).map(|scenario| planted(scenario, options.bug)).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{:28} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    match &options.faults {
        Some(faults) => replay_all(&scenarios, faults, options),
        None if options.trace => replay_all(&scenarios, &Faults::default(), options),
        None => search_all(&scenarios, options),
    }
}

fn search_all(scenarios: &[Arc<Scenario>], options: &Enumerate) -> ExitCode {
    let began = Instant::now();
    let (mut totals, mut subjects) = (Totals::default(), Vec::new());
    for scenario in scenarios {
        for pace in options.paces() {
            match search::singles(scenario, pace, options, &mut totals) {
                Ok(subject) => subjects.push(subject),
                Err(ways) => ways.print(scenario, pace),
            }
        }
    }
    if options.pairs > 0 {
        totals.print(began.elapsed().as_secs_f64());
        for (number, ways) in search::pairs(&subjects, options, &mut totals) {
            ways.print(&subjects[number].scenario, subjects[number].pace);
        }
    }
    totals.print(began.elapsed().as_secs_f64());
    if totals.violating > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn replay_all(scenarios: &[Arc<Scenario>], faults: &Faults, options: &Enumerate) -> ExitCode {
    let mut is_kept = true;
    for scenario in scenarios {
        let fits = faults.0.iter().all(|(at, act)| at.site < scenario.plan.sites() && act.fits(scenario));
        if !fits {
            eprintln!("{}: not all of these sites and clients exist there: {faults}", scenario.name);
            return ExitCode::from(2);
        }
        for pace in options.paces() {
            is_kept &= replay(scenario, pace, faults, options.trace);
        }
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns whether all promises were kept.
fn replay(scenario: &Arc<Scenario>, pace: Pace, faults: &Faults, trace: bool) -> bool {
    let lines = Lines::default();
    let outcome = run(scenario, pace, faults, None, trace.then(|| lines.clone()));
    lines.take().iter().for_each(|line| println!("{}", shorten(line, scenario.plan.sites())));
    println!("{} {}: {} steps, {} events", scenario.name, word(pace), outcome.count, outcome.events);
    if !outcome.met_all {
        println!("not all of the steps were met: {faults}");
    }
    outcome.violations.iter().for_each(|violation| println!("broken: {}", violation.what));
    if !outcome.violations.is_empty() && !trace {
        println!("    again: {}", again(scenario, pace, faults));
    }
    outcome.violations.is_empty()
}
