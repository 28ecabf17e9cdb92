//! The judge: compares what the services hold and log with what the tills were told. Knows nothing of Holdfast. Pure.
//!
//! - *lost* (G1): a success that a till saw, missing in a replica's log.
//! - *duplicate* (G2): a key that a replica applied more than once. An idempotent method (PUT, DELETE) may be repeated
//!   at once, while its outcome is not known.
//! - *out of order* (G3): a write that was sent after another one of its service and site had been answered stands
//!   before that one in a replica's log; or two writes of a lane stand in different orders in two replicas.
//! - *altered*: applied with another method, path or body than its till sent, or sent by no till.
//! - *one-sided* (G5): in the log of one replica only, although no till saw its success.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::history::Told;

/// A line of a service's own log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    pub seq: i64,
    pub key: String,
    pub method: String,
    pub path: String,
    pub body_sha256: String,
}

/// What one site's service holds.
#[derive(Clone, Debug)]
pub struct Replica {
    pub site: String,
    /// The canonical dump as the service printed it.
    pub export: String,
    /// In order of application.
    pub log: Vec<LogLine>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Lost,
    Duplicate,
    OutOfOrder,
    Altered,
    OneSided,
}

/// One thing that is wrong, with the name of the write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    pub site: String,
    pub key: String,
    pub method: String,
    pub path: String,
    pub detail: String,
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    pub equal: bool,
    pub applied: BTreeMap<String, usize>,
    pub state_sha256: BTreeMap<String, String>,
}

impl Verdict {
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }

    pub fn is_good(&self) -> bool {
        self.equal && self.findings.is_empty()
    }
}

/// Judges all replicas of one realm; linear in the history and the logs.
pub fn check(history: &[Told], replicas: &[Replica]) -> Verdict {
    let told: HashMap<&str, &Told> = history.iter().map(|told| (told.key.as_str(), told)).collect();
    let mut verdict = Verdict::default();
    for replica in replicas {
        verdict.applied.insert(replica.site.clone(), replica.log.len());
        verdict.state_sha256.insert(replica.site.clone(), state_sha256(&replica.export));
        lost(history, replica, &mut verdict.findings);
        duplicates(&told, replica, &mut verdict.findings);
        altered(&told, replica, &mut verdict.findings);
        overtaken(&told, replica, &mut verdict.findings);
    }
    for pair in replicas.windows(2) {
        one_sided(&told, &pair[0], &pair[1], &mut verdict.findings);
        one_sided(&told, &pair[1], &pair[0], &mut verdict.findings);
        lanes_crossed(&told, &pair[0], &pair[1], &mut verdict.findings);
    }
    let mut states = verdict.state_sha256.values();
    let first = states.next();
    verdict.equal = states.all(|state| Some(state) == first);
    verdict
}

/// The hash of a state in one canonical form: objects sorted by name, no white space.
pub fn state_sha256(export: &str) -> String {
    let canonical = match serde_json::from_str::<serde_json::Value>(export) {
        Ok(value) => value.to_string(),
        Err(_) => export.to_owned(),
    };
    super::pos::hex(&Sha256::digest(canonical))
}

fn lost(history: &[Told], replica: &Replica, findings: &mut Vec<Finding>) {
    let held: HashSet<&str> = replica.log.iter().map(|line| line.key.as_str()).collect();
    for told in history.iter().filter(|told| told.is_acknowledged() && !held.contains(told.key.as_str())) {
        findings.push(Finding {
            kind: Kind::Lost,
            site: replica.site.clone(),
            key: told.key.clone(),
            method: told.method.clone(),
            path: told.path.clone(),
            detail: format!("{} was told of its success, the replica has not applied it", told.till),
        });
    }
}

fn finding(kind: Kind, replica: &Replica, line: &LogLine, detail: String) -> Finding {
    Finding {
        kind,
        site: replica.site.clone(),
        key: line.key.clone(),
        method: line.method.clone(),
        path: line.path.clone(),
        detail,
    }
}

/// An idempotent method may be seen again while nothing else of its lane was: later it would undo what came between.
fn duplicates(told: &HashMap<&str, &Told>, replica: &Replica, findings: &mut Vec<Finding>) {
    let mut first: HashMap<&str, i64> = HashMap::with_capacity(replica.log.len());
    let mut last_of_lane: HashMap<(&str, &str), &str> = HashMap::new();
    for line in &replica.log {
        let told = told.get(line.key.as_str());
        let lane = told.and_then(|told| Some((told.service(), told.lane.as_deref()?)));
        let before = lane.and_then(|lane| last_of_lane.insert(lane, &line.key));
        let may_repeat = matches!(line.method.as_str(), "PUT" | "DELETE") && before == Some(line.key.as_str());
        match first.get(line.key.as_str()) {
            Some(before) if !may_repeat => {
                let detail = format!("applied as number {before} and again as number {}", line.seq);
                findings.push(finding(Kind::Duplicate, replica, line, detail));
            }
            Some(_) => {}
            None => {
                first.insert(&line.key, line.seq);
            }
        }
    }
}

fn altered(told: &HashMap<&str, &Told>, replica: &Replica, findings: &mut Vec<Finding>) {
    for line in &replica.log {
        let detail = match told.get(line.key.as_str()) {
            None => "no till sent it".to_owned(),
            Some(told) if told.method != line.method || told.path != line.path => {
                format!("{} sent {} {}", told.till, told.method, told.path)
            }
            Some(told) if told.body_sha256 != line.body_sha256 => {
                format!("{} sent a body with another hash: {}", told.till, told.body_sha256)
            }
            Some(_) => continue,
        };
        findings.push(finding(Kind::Altered, replica, line, detail));
    }
}

/// Real time (G3), per service and home site: walks a log from its end and remembers the earliest answer seen so far. A
/// write that was sent after that answer, yet stands before it, was applied too early.
fn overtaken(told: &HashMap<&str, &Told>, replica: &Replica, findings: &mut Vec<Finding>) {
    let mut earliest: HashMap<(&str, &str), (Duration, &Told)> = HashMap::new();
    for line in first_applications(replica).into_iter().rev() {
        let Some(later) = told.get(line.key.as_str()).filter(|told| told.stayed_home()) else { continue };
        let group = (later.service(), later.home.as_str());
        if let Some((answered, earlier)) = earliest.get(&group)
            && *answered < later.sent
        {
            let detail = format!(
                "sent {} ms after {} {} {} had been answered, applied before it",
                (later.sent - *answered).as_millis(),
                earlier.key,
                earlier.method,
                earlier.path
            );
            findings.push(finding(Kind::OutOfOrder, replica, line, detail));
        }
        if let (true, Some(answered)) = (later.is_acknowledged(), later.answered)
            && earliest.get(&group).is_none_or(|(before, _)| answered < *before)
        {
            earliest.insert(group, (answered, later));
        }
    }
}

fn first_applications(replica: &Replica) -> Vec<&LogLine> {
    let mut seen = HashSet::with_capacity(replica.log.len());
    replica.log.iter().filter(|line| seen.insert(line.key.as_str())).collect()
}

/// Writes of one lane have one order, also those that overlapped.
fn lanes_crossed(told: &HashMap<&str, &Told>, left: &Replica, right: &Replica, findings: &mut Vec<Finding>) {
    let places: HashMap<&str, usize> =
        first_applications(left).into_iter().enumerate().map(|(place, line)| (line.key.as_str(), place)).collect();
    let mut highest: HashMap<(&str, &str), (usize, &LogLine)> = HashMap::new();
    let named: HashSet<String> =
        findings.iter().filter(|found| found.kind == Kind::OutOfOrder).map(|found| found.key.clone()).collect();
    for line in first_applications(right) {
        let Some(told) = told.get(line.key.as_str()) else { continue };
        let (Some(lane), Some(place)) = (told.lane.as_deref(), places.get(line.key.as_str())) else { continue };
        match highest.get(&(told.service(), lane)) {
            Some((before, other)) if place < before => {
                if named.contains(&line.key) || named.contains(&other.key) {
                    continue;
                }
                let detail = format!(
                    "after {} {} {} of its lane, at {} before it",
                    other.key, other.method, other.path, left.site
                );
                findings.push(finding(Kind::OutOfOrder, right, line, detail));
            }
            _ => {
                highest.insert((told.service(), lane), (*place, line));
            }
        }
    }
}

fn one_sided(told: &HashMap<&str, &Told>, has: &Replica, lacks: &Replica, findings: &mut Vec<Finding>) {
    let held: HashSet<&str> = lacks.log.iter().map(|line| line.key.as_str()).collect();
    for line in first_applications(has) {
        let acknowledged = told.get(line.key.as_str()).is_some_and(|told| told.is_acknowledged());
        if !acknowledged && !held.contains(line.key.as_str()) {
            let detail = format!("applied at {} only", has.site);
            findings.push(finding(Kind::OneSided, lacks, line, detail));
        }
    }
}

#[cfg(test)]
mod tests;
