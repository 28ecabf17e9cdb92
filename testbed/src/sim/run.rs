//! Runs seeds, judges them, and says how to see a failure again.
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use holdfast::service::Core;

use super::history::Name;
use super::keep::Keep;
use super::machine::Machine;
use super::oracle::{Violation, judge};
use super::plan::{CLIENTS_MAX, Plan, Planted};
use super::shrink::{Parts, kind, shrink};
use super::stats::Stats;
use super::trace::{Lines, Trace};
use super::world::World;

/// Lines of the trace that a failure shows.
const SHOWN_LINES: usize = 120;
const SHOWN_LENGTH: usize = 400;

#[derive(Clone, Debug)]
pub struct Options {
    pub first_seed: u64,
    pub seeds: u64,
    pub sites: Option<usize>,
    pub planted: Option<Planted>,
    /// Of each plan only this.
    pub keep: Keep,
    /// Prints everything, not only what concerns the writes of a violation.
    pub trace: bool,
    /// Goes on after a failure; the first one is shown in full, of the others one line each.
    pub keep_going: bool,
    /// Over SQLite on a disk that loses power.
    pub sqlite: bool,
}

/// A seed that broke a guarantee, with what a person needs to understand it.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub violations: Vec<String>,
    pub plan: String,
    pub lines: Vec<String>,
    /// What of the plan is needed to fail in this way, as far as it was found, and the faults that are left.
    pub keep: Keep,
    pub faults: Vec<String>,
    /// Writes of clients in the run that is shown.
    pub writes: usize,
    again: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "configuration: {}", self.plan)?;
        writeln!(f, "{} writes, and these faults:", self.writes)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))?;
        writeln!(f, "what became of the writes concerned:")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "again, as shown: {}", self.again)?;
        if self.keep != Keep::default() {
            write!(f, " --keep {}", self.keep)?;
        }
        write!(f, "\nthe whole seed, with everything: {} --trace", self.again)
    }
}

/// Runs the product's own state machine until a seed fails.
pub fn run_seeds(options: &Options, progress: impl FnMut(&Stats)) -> (Stats, Option<Box<Failure>>) {
    run_with::<Core>(options, progress)
}

/// The same with any machine.
pub fn run_with<M: Machine>(options: &Options, mut progress: impl FnMut(&Stats)) -> (Stats, Option<Box<Failure>>) {
    let mut stats = Stats::default();
    let mut first = None;
    for seed in options.first_seed..options.first_seed + options.seeds {
        let plan = drawn(options, seed, &options.keep);
        let lines = options.trace.then(Lines::default);
        let run = run_one::<M>(&plan, lines.clone());
        stats.add(&run.stats);
        if let Some(violation) = run.violations.first() {
            if options.keep_going {
                println!("seed {seed}: {}: {}", violation.guarantee, violation.what);
            }
            if first.is_none() {
                first = Some(Box::new(explain::<M>(plan, options, run, lines)));
            }
            if !options.keep_going {
                break;
            }
            continue;
        }
        if let Some(lines) = lines {
            lines.take().iter().for_each(|line| println!("{}", shorten(line, plan.sites())));
        }
        progress(&stats);
    }
    (stats, first)
}

fn drawn(options: &Options, seed: u64, keep: &Keep) -> Plan {
    Plan { sqlite: options.sqlite, ..Plan::draw(seed, options.sites, options.planted, keep) }
}

/// Makes a failure as small as it gets, unless it is asked for as it is, and says what a person needs.
fn explain<M: Machine>(mut plan: Plan, options: &Options, mut run: Run, lines: Option<Lines>) -> Failure {
    if !options.trace && options.keep == Keep::default() {
        let way = run.ways().swap_remove(0);
        let small_faults = plan.rates.small().into_iter().filter(|(_, rate)| **rate > 0);
        let small_faults = small_faults.map(|(name, _)| name.to_owned());
        let small_faults = small_faults.chain(plan.restore.map(|_| "restore".to_owned()));
        let small_faults = small_faults.chain(plan.long_cut.map(|_| "long_cut".to_owned())).collect();
        let parts = Parts {
            sites: plan.sites(),
            end_ms: run.end_ms,
            small_faults,
            faults: run.met.iter().map(|&number| number as u64).collect(),
            writes: run.names.clone(),
        };
        let draw = |keep: &Keep| drawn(options, plan.seed, keep);
        let (keep, _) = shrink(parts, &mut |keep| run_one::<M>(&draw(keep), None).ways().contains(&way));
        let smaller = draw(&keep);
        let again = run_one::<M>(&smaller, None);
        if again.ways().contains(&way) {
            (plan, run) = (smaller, again);
        }
    }
    let lines = lines.unwrap_or_else(|| {
        // Once more with a trace: the same plan is the same run.
        let lines = Lines::default();
        run_one::<M>(&plan, Some(lines.clone()));
        lines
    });
    failure(&plan, options, run, lines)
}

/// The hash over everything that happened in a seed.
#[cfg(test)]
pub(super) fn hash_of<M: Machine>(seed: u64, sqlite: bool) -> u64 {
    run_one::<M>(&Plan { sqlite, ..Plan::draw(seed, None, None, &Keep::default()) }, None).hash
}

/// The first seed that breaks one of these guarantees with the planted error, and nothing without it.
#[cfg(test)]
pub(super) fn first_to_find(
    planted: Planted,
    seeds: std::ops::RangeInclusive<u64>,
    expected: &[&str],
) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| {
        let violations = |planted| run_one::<Core>(&Plan::draw(seed, None, planted, &Keep::default()), None).violations;
        let says = |v: &Violation| expected.iter().any(|e| format!("{}: {}", v.guarantee, v.what).contains(e));
        let violation = violations(Some(planted)).into_iter().find(says)?;
        violations(None).is_empty().then(|| (seed, format!("{}: {}", violation.guarantee, violation.what)))
    })
}

struct Run {
    stats: Stats,
    violations: Vec<Violation>,
    /// All ids of the writes that a violation concerns, as the trace shows them.
    words: Vec<String>,
    /// Planned faults that it met, and clients' writes.
    met: Vec<usize>,
    names: Vec<Name>,
    /// When chaos ended, or the run did.
    end_ms: u64,
    #[cfg_attr(not(test), allow(dead_code))]
    hash: u64,
}

impl Run {
    fn ways(&self) -> Vec<String> {
        self.violations.iter().map(|v| kind(v.guarantee, &v.what)).collect()
    }
}

fn run_one<M: Machine>(plan: &Plan, lines: Option<Lines>) -> Run {
    let reached_ms = Rc::new(Cell::new(0));
    let trace = Trace::new(lines, reached_ms.clone());
    let result = caught(|| {
        let mut world = World::<M>::new(plan.clone(), trace);
        world.run();
        let violations = judge(&world.history);
        let concerned: Vec<Name> = violations.iter().flat_map(|v| v.writes.iter().copied()).take(6).collect();
        let ids = world.ids.iter().filter(|(_, name)| concerned.contains(name)).map(|(id, _)| id.to_string());
        let words = ids.chain(concerned.iter().map(|name| format!("w{name} "))).collect();
        let names = world.history.writes.keys().copied().collect();
        let end_ms = world.chaos_end_ms.unwrap_or(world.now_ms);
        let hash = world.trace.hash();
        Run { stats: world.stats.clone(), violations, words, met: world.met.clone(), names, end_ms, hash }
    });
    result.unwrap_or_else(|what| {
        let violation = Violation { guarantee: "panic", writes: Vec::new(), what };
        let stats = Stats { seeds: 1, ..Stats::default() };
        let end_ms = reached_ms.get() + 1;
        let faults = plan.faults.iter().take_while(|fault| fault.at_ms <= end_ms).count();
        let met = (0..faults).filter(|&number| plan.keep.has_fault(number)).collect();
        // Which writes there were, nobody is left to say.
        let names = (CLIENTS_MAX..10_000 * CLIENTS_MAX).filter(|&name| plan.keep.has_write(name)).collect();
        Run { stats, violations: vec![violation], words: Vec::new(), met, names, end_ms, hash: 0 }
    })
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IN_RUN: RefCell<bool> = const { RefCell::new(false) };
}

/// A panic inside a machine is a finding like any other: keep its text, print nothing.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string().replace('\n', " ")));
            if !IN_RUN.with(|flag| *flag.borrow()) {
                previous(info);
            }
        }));
    });
    IN_RUN.with(|flag| *flag.borrow_mut() = true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IN_RUN.with(|flag| *flag.borrow_mut() = false);
    result.map_err(|_| LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "panicked".into()))
}

fn failure(plan: &Plan, options: &Options, run: Run, lines: Lines) -> Failure {
    let lines = lines.take();
    let concerns = |line: &&String| run.words.is_empty() || run.words.iter().any(|word| mentions(line, word));
    let mut shown: Vec<String> = if options.trace {
        lines.iter().map(|line| shorten(line, plan.sites())).collect()
    } else {
        let always = ["dies", "starts life", "left alone"];
        let chosen = lines.iter().filter(|line| concerns(line) || always.iter().any(|word| line.contains(word)));
        chosen.map(|line| shorten(line, plan.sites())).collect()
    };
    if !options.trace && shown.len() > SHOWN_LINES {
        shown.drain(..shown.len() - SHOWN_LINES);
    }
    let violations = run.violations.iter().map(|v| format!("{}: {}", v.guarantee, v.what)).collect();
    let mut again = format!("cargo run --release -p testbed -- sim --seeds 1 --first-seed {}", plan.seed);
    again.extend(options.sites.map(|n| format!(" --sites {n}")));
    again.extend(options.planted.map(|planted| format!(" --bug {}", planted.name())));
    if plan.sqlite {
        again.push_str(" --disk sqlite");
    }
    Failure {
        seed: plan.seed,
        violations,
        plan: describe(plan),
        lines: shown,
        keep: plan.keep.clone(),
        faults: run.met.iter().map(|&number| plan.faults[number].describe()).collect(),
        writes: run.names.len(),
        again,
    }
}

/// `word` in `line`, not as the beginning of a longer number.
fn mentions(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[at + word.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

fn describe(plan: &Plan) -> String {
    let s = &plan.settings[0];
    let orders: Vec<String> = plan
        .settings
        .iter()
        .map(|s| s.order.iter().map(|site| site.to_string()).collect::<Vec<_>>().join(">"))
        .collect();
    format!(
        "{} sites, order {}, never linked {:?}\n  {:?}\n  {:?}",
        plan.sites(),
        orders.join(" | "),
        plan.never_linked,
        (s.when_down, s.idempotent, s.has_probe, s.on_concurrent, s.on_divergence, s.on_unreachable, s.limits),
        plan.rates
    )
}

/// Logs as `s0`, and no more of a line than a person reads.
pub(super) fn shorten(line: &str, sites: usize) -> String {
    let mut line = line.to_owned();
    for site in 0..sites {
        let log = format!("{}.1", format!("{:02x}", site + 1).repeat(16));
        line = line.replace(&log, &format!("s{site}"));
    }
    if line.len() > SHOWN_LENGTH {
        let end = (0..=SHOWN_LENGTH).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}
