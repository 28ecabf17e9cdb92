//! One run of a scenario, with these faults and no others.
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use holdfast::service::Core;

use super::scenario::Scenario;
use super::stage::Stage;
use super::step::{Faults, Step};
use crate::sim::oracle::judge;
use crate::sim::plan::Planted;
use crate::sim::rng::Pace;
use crate::sim::run::caught;
use crate::sim::shrink::kind;
use crate::sim::trace::{Lines, Trace};
use crate::sim::world::World;

/// How a promise was broken: the way, in which numbers do not count, and this time's words.
#[derive(Clone, Debug)]
pub struct Violation {
    pub way: String,
    pub what: String,
}

pub struct Outcome {
    pub violations: Vec<Violation>,
    /// What was asked for.
    pub steps: Vec<Step>,
    pub count: u32,
    pub met_all: bool,
    /// Of everything that happened.
    pub hash: u64,
    pub events: u64,
}

/// `keeps_after`: of the steps those after so many met faults.
pub fn run(
    scenario: &Arc<Scenario>,
    pace: Pace,
    faults: &Faults,
    keeps_after: Option<usize>,
    lines: Option<Lines>,
) -> Outcome {
    let trace = Trace::new(lines, Rc::new(Cell::new(0)));
    let outcome = caught(|| {
        let stage = Stage::new(scenario.clone(), pace, faults.clone(), keeps_after);
        let mut world = World::<Core>::with_stage(scenario.plan.clone(), trace, Some(stage));
        world.run();
        let violations = judge(&world.history).into_iter().map(|violation| Violation {
            way: kind(violation.guarantee, &violation.what),
            what: format!("{}: {}", violation.guarantee, violation.what),
        });
        let (hash, events) = (world.trace.hash(), world.stats.events);
        let stage = world.stage.as_mut().expect("it was given");
        let steps = std::mem::take(&mut stage.steps);
        Outcome {
            violations: violations.collect(),
            steps,
            count: stage.count(),
            met_all: stage.met_all(),
            hash,
            events,
        }
    });
    outcome.unwrap_or_else(|what| {
        let violation = Violation { way: kind("panic", &what), what: format!("panic: {what}") };
        Outcome { violations: vec![violation], steps: Vec::new(), count: 0, met_all: true, hash: 0, events: 0 }
    })
}

pub fn planted(mut scenario: Scenario, planted: Option<Planted>) -> Arc<Scenario> {
    scenario.plan.planted = planted;
    if let Some(Planted::InCore(bug)) = planted {
        scenario.plan.settings.iter_mut().for_each(|settings| settings.bug = Some(bug));
    }
    Arc::new(scenario)
}
