//! What the demo found: one object for machines, one table for people, one exit code.
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::check::{Finding, Kind, Verdict};
use super::history::{Ending, Told};
use super::sabotage::Tampered;

/// Findings that are listed by name; all of them are counted.
const FINDINGS_LISTED: usize = 50;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Replay {
    /// Writes that the other site had to catch up with after the cuts.
    pub writes: usize,
    pub seconds: f64,
    pub per_second: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Failover {
    /// Writes of the edge's tills that the hub's service carried out, by way of the edge's own appliance, because their
    /// own service was dead.
    pub requests: usize,
    pub slowest_ms: u64,
    /// Writes that the death met too, and that their own service carried out when it was back.
    pub held_back: usize,
    pub held_back_slowest_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct PhaseReport {
    pub name: String,
    pub seconds: f64,
}

/// What became of a sabotage.
#[derive(Clone, Debug, Serialize)]
pub struct SabotageReport {
    #[serde(flatten)]
    pub write: Tampered,
    /// Whether a finding names this write.
    pub caught: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct DemoReport {
    /// Writes whose end a till was told: a success or a refusal by the service.
    pub accepted: usize,
    /// Writes whose success a till was told.
    pub acknowledged: usize,
    pub refused: usize,
    /// Writes that a till gave up: they may have happened.
    pub unanswered: usize,
    pub retried: usize,
    /// Lines in each service's own log.
    pub applied: BTreeMap<String, usize>,
    pub lost: usize,
    pub duplicates: usize,
    pub out_of_order: usize,
    pub altered: usize,
    pub one_sided: usize,
    pub equal: bool,
    /// Both appliances said that nothing was pending before the comparison.
    pub drained: bool,
    pub replay: Replay,
    pub failover: Failover,
    pub state_sha256: BTreeMap<String, String>,
    pub findings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sabotage: Option<SabotageReport>,
    pub phases: Vec<PhaseReport>,
    pub seconds: f64,
}

impl DemoReport {
    pub fn new(history: &[Told], mut verdict: Verdict, drained: bool) -> Self {
        let ended = |wanted: fn(&Ending) -> bool| history.iter().filter(|told| wanted(&told.ending)).count();
        let acknowledged = ended(|ending| matches!(ending, Ending::Acknowledged { .. }));
        let refused = ended(|ending| matches!(ending, Ending::Refused { .. }));
        let count = |kind| verdict.count(kind);
        let counts = [Kind::Lost, Kind::Duplicate, Kind::OutOfOrder, Kind::Altered, Kind::OneSided].map(count);
        let [lost, duplicates, out_of_order, altered, one_sided] = counts;
        verdict.findings.truncate(FINDINGS_LISTED);
        Self {
            accepted: acknowledged + refused,
            acknowledged,
            refused,
            unanswered: history.len() - acknowledged - refused,
            retried: history.iter().filter(|told| told.tries > 1).count(),
            applied: verdict.applied,
            lost,
            duplicates,
            out_of_order,
            altered,
            one_sided,
            equal: verdict.equal,
            drained,
            replay: Replay::default(),
            failover: Failover::default(),
            state_sha256: verdict.state_sha256,
            findings: verdict.findings,
            sabotage: None,
            phases: Vec::new(),
            seconds: 0.0,
        }
    }

    pub fn is_good(&self) -> bool {
        let wrong = self.lost + self.duplicates + self.out_of_order + self.altered + self.one_sided;
        wrong == 0 && self.equal && self.drained
    }

    /// 1 when anything is lost, doubled, out of order or unequal.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_good())
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has string keys and finite numbers only")
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |what: &str, value: String| writeln!(f, "  {what:<34} {value}");
        row("accepted", format!("{} ({} refused by the service)", self.accepted, self.refused))?;
        row("acknowledged to tills", self.acknowledged.to_string())?;
        row("never told", self.unanswered.to_string())?;
        row("retried with the same key", self.retried.to_string())?;
        for (site, applied) in &self.applied {
            row(&format!("applied at {site}"), applied.to_string())?;
        }
        row("lost", self.lost.to_string())?;
        row("duplicates", self.duplicates.to_string())?;
        row("out of order", self.out_of_order.to_string())?;
        row("altered", self.altered.to_string())?;
        row("at one site only", self.one_sided.to_string())?;
        let replay = &self.replay;
        row("replayed after the cuts", {
            format!("{} writes in {:.2} s ({:.0}/s)", replay.writes, replay.seconds, replay.per_second)
        })?;
        let failover = &self.failover;
        row(
            "failed over to the other site",
            format!("{} writes, slowest {} ms", failover.requests, failover.slowest_ms),
        )?;
        row("waited for the dead service", {
            format!("{} writes, slowest {} ms", failover.held_back, failover.held_back_slowest_ms)
        })?;
        for (site, sha) in &self.state_sha256 {
            row(&format!("state of {site}"), format!("sha256 {sha}"))?;
        }
        row("states equal", self.equal.to_string())?;
        row("nothing pending at the end", self.drained.to_string())?;
        row("time", format!("{:.1} s", self.seconds))?;
        self.name_findings(f)?;
        writeln!(f, "\n{}", if self.is_good() { "EQUAL: nothing lost, nothing doubled, in order" } else { "NOT GOOD" })
    }
}

impl DemoReport {
    fn name_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for found in &self.findings {
            let Finding { kind, site, key, method, path, detail } = found;
            writeln!(f, "  ! {kind:?} at {site}: {key} {method} {path}: {detail}")?;
        }
        let all = self.lost + self.duplicates + self.out_of_order + self.altered + self.one_sided;
        if all > self.findings.len() {
            writeln!(f, "  ! and {} more", all - self.findings.len())?;
        }
        if let Some(SabotageReport { write: Tampered { kind, site, key, method, path }, caught }) = &self.sabotage {
            let caught = if *caught { "found" } else { "NOT FOUND" };
            writeln!(f, "  sabotage {kind:?} at {site}: {key} {method} {path}: {caught}")?;
        }
        Ok(())
    }
}
