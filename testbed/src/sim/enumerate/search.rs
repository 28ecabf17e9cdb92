//! All scenarios without a fault, then with each single fault at each step, then with pairs.
//!
//! First faults whose runs are alike to the last event are one: what follows them follows one of them. The steps at
//! which a second fault may come are those of the run with the first.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::act::Act;
use super::options::Enumerate;
use super::report::{Totals, Ways, word};
use super::run::run;
use super::scenario::Scenario;
use super::step::{At, Faults, Step, faults_at};
use crate::sim::rng::{Pace, mix};

/// A scenario at one pace, and what single faults showed of it.
pub struct Subject {
    pub scenario: Arc<Scenario>,
    pub pace: Pace,
    firsts: Vec<First>,
    /// Of one run, in a thread.
    run_seconds: f64,
}

/// A fault, and how many there are to come after it.
struct First {
    fault: (At, Act),
    more: usize,
}

/// `None`: a promise is broken without any fault, and nothing more can be learned from it.
pub fn singles(
    scenario: &Arc<Scenario>,
    pace: Pace,
    options: &Enumerate,
    totals: &mut Totals,
) -> Result<Subject, Ways> {
    let began = Instant::now();
    let base = run(scenario, pace, &Faults::default(), Some(0), None);
    totals.scenarios += 1;
    totals.steps += u64::from(base.count);
    let mut ways = Ways::default();
    if !base.violations.is_empty() {
        totals.violating += 1;
        ways.note(0, &Faults::default(), &base.violations);
        return Err(ways);
    }
    let all: Vec<(At, Act)> = faults_of(&base.steps, scenario, true).collect();
    let shared = Mutex::new(Shared::default());
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&fault) = all.get(number) else { return };
            let faults = Faults(vec![fault]);
            let outcome = run(scenario, pace, &faults, (options.pairs > 0).then_some(1), None);
            let more = faults_of(&outcome.steps, scenario, false).count();
            let mut shared = shared.lock().expect("nobody panics");
            shared.runs += 1;
            shared.events += outcome.events;
            if outcome.violations.is_empty() {
                // A copy of a store changes nothing until it is put back.
                let distinct = if matches!(fault.1, Act::Copy { .. }) { mix(number as u64 + 1) } else { 0 };
                let known = shared.kept.entry(outcome.hash ^ distinct).or_insert((number, more));
                known.0 = known.0.min(number);
            } else {
                shared.violating += 1;
                shared.ways.note(number, &faults, &outcome.violations);
                if options.first {
                    next.store(all.len(), Ordering::Relaxed);
                }
            }
        }
    };
    side_by_side(options.threads, work);
    let Shared { ways, mut kept, events, violating, runs } = shared.into_inner().expect("nobody panics");
    kept.remove(&base.hash);
    totals.singles += runs;
    totals.events += events + base.events;
    totals.violating += violating;
    let seconds = began.elapsed().as_secs_f64();
    let run_seconds = seconds * options.threads as f64 / runs.max(1) as f64;
    if options.verbose {
        let (name, pace, steps, distinct) = (scenario.name, word(pace), base.count, kept.len());
        let micros = run_seconds * 1e6;
        println!(
            "{name} {pace}: {steps} steps, {runs} faults, {distinct} distinct, {seconds:.2} s, {micros:.0} µs each"
        );
    }
    if !ways.is_empty() {
        return Err(ways);
    }
    let first = |(number, more): (usize, usize)| First { fault: all[number], more };
    Ok(Subject { scenario: scenario.clone(), pace, firsts: kept.into_values().map(first).collect(), run_seconds })
}

fn faults_of(steps: &[Step], scenario: &Scenario, wide: bool) -> impl Iterator<Item = (At, Act)> {
    steps.iter().flat_map(move |step| faults_at(step, scenario, wide).into_iter().map(move |act| (step.at, act)))
}

#[derive(Default)]
struct Shared {
    ways: Ways,
    /// By the hash of the run.
    kept: BTreeMap<u64, (usize, usize)>,
    events: u64,
    violating: u64,
    runs: u64,
}

fn side_by_side(threads: u64, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(&work);
        }
    });
}

/// Each first with every second that comes after it; every so-manieth where there is not the time for all. What was
/// found stands by the number of its subject.
pub fn pairs(subjects: &[Subject], options: &Enumerate, totals: &mut Totals) -> BTreeMap<usize, Ways> {
    let mut firsts: Vec<(usize, &First)> = subjects
        .iter()
        .enumerate()
        .flat_map(|(n, subject)| subject.firsts.iter().map(move |first| (n, first)))
        .collect();
    // So that a search that is broken off has been everywhere.
    let mut place = 0u64;
    firsts.sort_by_cached_key(|_| {
        place += 1;
        mix(place)
    });
    let starts: Vec<usize> = firsts
        .iter()
        .scan(0, |sum, (_, first)| {
            *sum += first.more;
            Some(*sum - first.more)
        })
        .collect();
    let all: usize = firsts.iter().map(|(_, first)| first.more).sum();
    let seconds: f64 = firsts.iter().map(|(n, first)| first.more as f64 * subjects[*n].run_seconds).sum();
    let stride = (seconds / options.threads as f64 / options.pairs as f64).ceil().max(1.0) as usize;
    let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let offset = options.offset.unwrap_or_else(clock) as usize % stride;
    println!("pairs: every {stride}th, from {offset} on (--offset)");
    let until = Instant::now() + Duration::from_secs(options.pairs * 3 / 2 + 1);
    let (next, done, events, violating) =
        (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let found = Mutex::new(BTreeMap::<usize, Ways>::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(of, First { fault, more })) = firsts.get(n) else { return };
            let is_drawn = |number: usize| (starts[n] + number) % stride == offset;
            if !(0..*more).any(is_drawn) {
                continue;
            }
            let Subject { scenario, pace, .. } = &subjects[of];
            let alone = run(scenario, *pace, &Faults(vec![*fault]), Some(1), None);
            let seconds = faults_of(&alone.steps, scenario, false).enumerate();
            for (number, second) in seconds.filter(|(number, _)| is_drawn(*number)) {
                if Instant::now() > until {
                    return;
                }
                let faults = Faults(vec![*fault, second]);
                let outcome = run(scenario, *pace, &faults, None, None);
                done.fetch_add(1, Ordering::Relaxed);
                events.fetch_add(outcome.events, Ordering::Relaxed);
                if !outcome.violations.is_empty() {
                    violating.fetch_add(1, Ordering::Relaxed);
                    let mut found = found.lock().expect("nobody panics");
                    found.entry(of).or_default().note(starts[n] + number, &faults, &outcome.violations);
                    if options.first {
                        next.store(firsts.len(), Ordering::Relaxed);
                        return;
                    }
                }
            }
        }
    };
    side_by_side(options.threads, work);
    totals.pairs += done.into_inner();
    totals.pairs_in_all += all as u64;
    totals.events += events.into_inner();
    totals.violating += violating.into_inner();
    found.into_inner().expect("nobody panics")
}
