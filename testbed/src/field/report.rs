//! What a run is told as: a verdict with reasons, and a table of all runs beside the paper's figures.
use super::play::Outcome;
use super::success::Measured;

/// Findings that are shown; all are counted.
const SHOWN: usize = 10;

pub enum Ending {
    Played(Box<Outcome>),
    Skipped(String),
    Failed(String),
}

pub struct Line {
    pub name: String,
    pub ending: Ending,
}

impl Line {
    pub fn is_good(&self) -> bool {
        match &self.ending {
            Ending::Played(outcome) => outcome.broken.is_empty(),
            Ending::Skipped(_) => true,
            Ending::Failed(_) => false,
        }
    }
}

pub fn verdict(name: &str, outcome: &Outcome) {
    let m = &outcome.measured;
    println!("\n{name}: {}", if outcome.broken.is_empty() { "passed" } else { "FAILED" });
    let packets = outcome.packets.map_or(String::new(), |(carried, dropped)| {
        format!(", {carried} packets between sites, {dropped} of them lost on the line")
    });
    println!("  {} ({:.0} s){packets}", outcome.means, outcome.took.as_secs_f64());
    let statuses: Vec<String> = m
        .by_status
        .iter()
        .map(|(status, count)| if *status == 0 { format!("never told {count}") } else { format!("{status} {count}") })
        .collect();
    println!("  writes {}, tries {}: {}", m.requests, outcome.tries, statuses.join(", "));
    println!(
        "  p50 {:.1} ms, p99 {:.1} ms, slowest {:.3} s",
        m.quantile(0.5).as_secs_f64() * 1e3,
        m.quantile(0.99).as_secs_f64() * 1e3,
        m.quantile(1.0).as_secs_f64()
    );
    println!("  at the last healing {} were missing somewhere; all there after {}", m.backlog, recovered(m));
    println!(
        "  lost {}, duplicates {}, out of order {}, altered {}, one-sided {}, in quarantine {}, replicas {}, {}",
        m.lost,
        m.duplicates,
        m.out_of_order,
        m.altered,
        m.one_sided,
        m.quarantine,
        if m.equal { "equal" } else { "DIFFERENT" },
        if m.quiet { "quiet" } else { "NOT QUIET" }
    );
    println!("  lost answers asked for again {}, another answer {}", outcome.asked_again, m.other_answers);
    let faults: Vec<String> = outcome.faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    println!("  faults: {}", faults.join(", "));
    for found in outcome.findings.iter().take(SHOWN) {
        println!(
            "  {:?} at {}: {} {} {}: {}",
            found.kind, found.site, found.key, found.method, found.path, found.detail
        );
    }
    outcome.broken.iter().for_each(|broken| println!("  NOT HELD: {broken}"));
}

fn recovered(m: &Measured) -> String {
    m.recovered.map_or("never".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()))
}

/// Toshiba, par. 3.4.3: recovery per request and slowest request at 13.1 requests a second over one minute.
const PAPER: [(&str, &str, &str); 2] =
    [("toshiba-link-cut", "95 ms", "1.7 s"), ("toshiba-node-reboot", "235 ms", "1.7 s")];

pub fn table(lines: &[Line]) {
    println!(
        "\n{:<26} {:>7} {:>8} {:>9} {:>9} {:>10} {:>11} {:>5} {:>4} {:>6}  verdict",
        "scenario", "writes", "answered", "p99", "slowest", "recovery", "per request", "lost", "dup", "order"
    );
    for line in lines {
        match &line.ending {
            Ending::Skipped(why) => println!("{:<26} SKIPPED: {why}", line.name),
            Ending::Failed(why) => println!("{:<26} FAILED: {}", line.name, why.lines().next().unwrap_or_default()),
            Ending::Played(outcome) => {
                let m = &outcome.measured;
                let per =
                    m.recovery_per_request().map_or("-".to_owned(), |per| format!("{:.1} ms", per.as_secs_f64() * 1e3));
                println!(
                    "{:<26} {:>7} {:>8} {:>6.0} ms {:>7.2} s {:>10} {:>11} {:>5} {:>4} {:>6}  {}",
                    line.name,
                    m.requests,
                    m.answered(),
                    m.quantile(0.99).as_secs_f64() * 1e3,
                    m.quantile(1.0).as_secs_f64(),
                    recovered(m),
                    per,
                    m.lost,
                    m.duplicates,
                    m.out_of_order,
                    if outcome.broken.is_empty() {
                        "passed".to_owned()
                    } else {
                        format!("FAILED: {}", outcome.broken.join("; "))
                    }
                );
            }
        }
    }
    let shown = PAPER.iter().filter(|(name, ..)| lines.iter().any(|line| line.name == *name));
    for (name, per, slowest) in shown {
        println!("{:<26} the paper's own: recovery per request {per}, slowest {slowest}", format!("  {name}"));
    }
    let skipped = lines.iter().filter(|line| matches!(line.ending, Ending::Skipped(_))).count();
    let failed = lines.iter().filter(|line| !line.is_good()).count();
    println!(
        "\n{} scenarios, {} passed, {failed} failed, {skipped} skipped",
        lines.len(),
        lines.len() - failed - skipped
    );
    if skipped > 0 {
        println!("!! SKIPPED SCENARIOS PROVE NOTHING: run them as root on a machine with network namespaces !!");
    }
}
