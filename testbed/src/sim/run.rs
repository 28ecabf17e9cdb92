//! Runs seeds, judges them, and says how to see a failure again.
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use holdfast::service::Core;

use super::history::Name;
use super::machine::Machine;
use super::oracle::{Violation, judge};
use super::plan::{Plan, Planted};
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
    pub sites: Option<usize>,
    pub sqlite: bool,
    pub violations: Vec<String>,
    pub plan: String,
    pub lines: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} failed", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        writeln!(f, "configuration: {}", self.plan)?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let sites = self.sites.map(|n| format!(" --sites {n}")).unwrap_or_default();
        let disk = if self.sqlite { " --disk sqlite" } else { "" };
        write!(
            f,
            "again: cargo run --release -p testbed -- sim --seeds 1 --first-seed {}{sites}{disk} --trace",
            self.seed
        )
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
        let plan = Plan { sqlite: options.sqlite, ..Plan::draw(seed, options.sites, options.planted) };
        let lines = options.trace.then(Lines::default);
        let run = run_one::<M>(&plan, lines.clone());
        stats.add(&run.stats);
        if !run.violations.is_empty() || options.trace {
            let lines = lines.unwrap_or_else(|| {
                // Once more with a trace: the same seed is the same run.
                let lines = Lines::default();
                run_one::<M>(&plan, Some(lines.clone()));
                lines
            });
            if let Some(violation) = run.violations.first() {
                if options.keep_going {
                    println!("seed {seed}: {}: {}", violation.guarantee, violation.what);
                }
                let failure = failure(&plan, options, run, lines);
                first.get_or_insert(Box::new(failure));
                if !options.keep_going {
                    break;
                }
                continue;
            }
            lines.take().iter().for_each(|line| println!("{}", shorten(line, plan.sites())));
        }
        progress(&stats);
    }
    (stats, first)
}

/// The hash over everything that happened in a seed.
#[cfg(test)]
pub(super) fn hash_of<M: Machine>(seed: u64, sqlite: bool) -> u64 {
    run_one::<M>(&Plan { sqlite, ..Plan::draw(seed, None, None) }, None).hash
}

/// The first seed that breaks one of these guarantees with the planted error, and nothing without it.
#[cfg(test)]
pub(super) fn first_to_find(planted: Planted, seeds: u64, expected: &[&str]) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let violations = |planted| run_one::<Core>(&Plan::draw(seed, None, planted), None).violations;
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
    #[cfg_attr(not(test), allow(dead_code))]
    hash: u64,
}

fn run_one<M: Machine>(plan: &Plan, lines: Option<Lines>) -> Run {
    quiet_panics();
    let trace = Trace::new(lines);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::<M>::new(plan.clone(), trace);
        world.run();
        let violations = judge(&world.history);
        let concerned: Vec<Name> = violations.iter().flat_map(|v| v.writes.iter().copied()).take(6).collect();
        let ids = world.ids.iter().filter(|(_, name)| concerned.contains(name)).map(|(id, _)| id.to_string());
        let words = ids.chain(concerned.iter().map(|name| format!("w{name} "))).collect();
        Run { stats: world.stats.clone(), violations, words, hash: world.trace.hash() }
    }));
    result.unwrap_or_else(|_| {
        let what = LAST_PANIC.with(|last| last.borrow_mut().take()).unwrap_or_else(|| "panicked".into());
        let violation = Violation { guarantee: "panic", writes: Vec::new(), what };
        let stats = Stats { seeds: 1, ..Stats::default() };
        Run { stats, violations: vec![violation], words: Vec::new(), hash: 0 }
    })
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IN_RUN: RefCell<bool> = const { RefCell::new(false) };
}

/// A panic inside a machine is a finding like any other: keep its text, print nothing.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    IN_RUN.with(|flag| *flag.borrow_mut() = true);
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string().replace('\n', " ")));
            if !IN_RUN.with(|flag| *flag.borrow()) {
                previous(info);
            }
        }));
    });
}

fn failure(plan: &Plan, options: &Options, run: Run, lines: Lines) -> Failure {
    let lines = lines.take();
    let concerns = |line: &&String| run.words.is_empty() || run.words.iter().any(|word| mentions(line, word));
    let mut shown: Vec<String> = if options.trace {
        lines.iter().map(|line| shorten(line, plan.sites())).collect()
    } else {
        let chosen = lines.iter().filter(|l| concerns(l) || l.contains("dies") || l.contains("starts life"));
        chosen.map(|line| shorten(line, plan.sites())).collect()
    };
    if !options.trace && shown.len() > SHOWN_LINES {
        shown.drain(..shown.len() - SHOWN_LINES);
    }
    let violations = run.violations.iter().map(|v| format!("{}: {}", v.guarantee, v.what)).collect();
    Failure {
        seed: plan.seed,
        sites: options.sites,
        sqlite: plan.sqlite,
        violations,
        plan: describe(plan),
        lines: shown,
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
fn shorten(line: &str, sites: usize) -> String {
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
