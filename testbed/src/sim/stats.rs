//! What a run counted: how much was simulated, which faults were met.
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub seeds: u64,
    pub simulated_ms: u64,
    pub events: u64,
    pub writes: u64,
    pub acknowledged: u64,
    pub applied: u64,
    pub messages: u64,
    /// Faults and rare branches by name: each must be met at least once in a long run.
    pub met: BTreeMap<&'static str, u64>,
    /// How many writes stood in a state at a site when a fault met it.
    pub matrix: BTreeMap<(&'static str, &'static str), u64>,
}

impl Stats {
    pub fn hit(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// A fault meets a site at which writes stand so.
    pub fn meets<'a>(&mut self, fault: &'static str, states: impl IntoIterator<Item = (&'a &'static str, &'a usize)>) {
        for (&state, &count) in states {
            *self.matrix.entry((fault, state)).or_default() += count as u64;
        }
    }

    pub fn add(&mut self, other: &Stats) {
        self.seeds += other.seeds;
        self.simulated_ms += other.simulated_ms;
        self.events += other.events;
        self.writes += other.writes;
        self.acknowledged += other.acknowledged;
        self.applied += other.applied;
        self.messages += other.messages;
        for (&what, count) in &other.met {
            *self.met.entry(what).or_default() += count;
        }
        for (&cell, count) in &other.matrix {
            *self.matrix.entry(cell).or_default() += count;
        }
    }

    /// Cells of the matrix that no seed has filled.
    pub fn empty_cells(&self) -> Vec<(&'static str, &'static str)> {
        let cells = FAULTS.iter().flat_map(|&fault| STATES.iter().map(move |&state| (fault, state)));
        cells.filter(|cell| !self.matrix.contains_key(cell)).collect()
    }

    /// Fault × state of a write, as a table.
    pub fn matrix_table(&self) -> String {
        let mut text = format!("{:>22}", "");
        STATES.iter().for_each(|state| text.push_str(&format!(" {:>14}", state)));
        for fault in FAULTS {
            text.push_str(&format!("\n{:>22}", fault.trim_start_matches("fault: ")));
            for state in STATES {
                text.push_str(&format!(" {:>14}", self.matrix.get(&(*fault, *state)).copied().unwrap_or(0)));
            }
        }
        text
    }

    /// What [`SOMETIMES`] names, and [`SOMETIMES_ON_DISK`] over SQLite, and this run never met.
    pub fn never_met(&self, sqlite: bool) -> Vec<&'static str> {
        let on_disk = if sqlite { SOMETIMES_ON_DISK } else { &[] };
        SOMETIMES.iter().chain(on_disk).copied().filter(|what| !self.met.contains_key(what)).collect()
    }
}

/// The rows of the matrix: faults that meet a site at a moment.
pub const FAULTS: &[&str] = &[
    "fault: partition",
    "fault: one-way cut",
    "fault: isolated site",
    "fault: flapping",
    "fault: kill",
    "fault: kill between two effects",
    "fault: fsync error",
    "fault: service down",
    "fault: service slow",
    "fault: service hangs",
    "fault: slow disk",
    "fault: full disk",
    "fault: pause",
    "fault: clock jump",
    "fault: control cut",
    "fault: broken record",
];

/// The columns of the matrix: where a write can stand at a site, as the product names it, and what is not in its
/// memory.
pub const STATES: &[&str] = &[
    "accepted",
    "queued",
    "sending",
    "judging",
    "unknown",
    "wished",
    "wish-revoked",
    "wish-held",
    "wish-sending",
    "wish-unknown",
    "wish-decided",
    "shadow-waiting",
    "shadow-sending",
    "shadow-unknown",
    "shadow-backoff",
    "unconfirmed",
    "quarantined",
];

/// The same for runs over SQLite.
pub const SOMETIMES_ON_DISK: &[&str] = &[
    "disk: power cut",
    "disk: process died",
    "disk: died while starting",
    "disk: sector lost",
    "disk: sector kept",
    "disk: sector of an earlier moment",
    "disk: sector torn",
    "disk: file shorter",
];

/// A run of 200 seeds and more in which one of these never happened has not tested what it claims to test.
pub const SOMETIMES: &[&str] = &[
    "fault: partition",
    "fault: one-way cut",
    "fault: isolated site",
    "fault: flapping",
    "fault: kill",
    "fault: kill between two effects",
    "fault: batch lost",
    "fault: batch survived unreported",
    "fault: service down",
    "fault: service slow",
    "fault: service hangs",
    "fault: slow disk",
    "fault: full disk",
    "fault: fsync error",
    "fault: pause",
    "fault: clock jump",
    "fault: control cut",
    "fault: broken record",
    "fault: long cut",
    "operator: contrary order at once",
    "note: broken record mended",
    "fault: hint lost",
    "fault: hint late",
    "fault: hint repeated",
    "fault: message lost",
    "fault: message repeated",
    "fault: message reordered",
    "fault: message cut in flight",
    "fault: hung up before applying",
    "fault: hung up after applying",
    "fault: answered 500",
    "fault: answered 502-504",
    "fault: answered 429",
    "fault: still working after a timeout",
    "fault: taken and not answered",
    "fault: large body on a thin line",
    "client: has seen what nobody has",
    "fault: applied after the appliance died",
    "service: refused",
    "service: no connection",
    "client: retried at the same site",
    "client: retried elsewhere",
    "client: retried when its key's time was over",
    "client: hung up",
    "client: roamed",
    "client: reused a key",
    "client: brought another's key",
    "client: answer lost",
    "client: read with what it had seen",
    "reply: answer",
    "reply: replayed",
    "reply: queued",
    "reply: when the journal had failed",
    "reply: key-reused",
    "reply: key-of-another",
    "reply: no-replica",
    "reply: outcome-unknown",
    "reply: outcome-pending",
    "message: status",
    "message: page",
    "message: wish",
    "message: revoke",
    "message: word",
    "message: ask",
    "message: question",
    "message: reply",
    "message: ahead",
    "note: settled",
    "note: settled undecided",
    "note: shadow applied",
    "note: duplicate",
    "note: replayed",
    "note: concurrent",
    "note: unknown",
    "note: quarantined",
    "note: failover",
    "note: asked origin",
];
