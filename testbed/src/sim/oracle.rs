//! Judges a history: G1–G5 and honesty, each in time (nearly) linear in the history.
//!
//! It believes no state machine: it compares what clients were told with what services applied. What stands in
//! quarantine is excused only where something happened that can have put it there.
use std::collections::{BTreeMap, BTreeSet};

use holdfast::journal::QuarantineReason;

use super::history::{Application, CutOff, History, Method, Moment, Name, Report, Said, Submission, Write};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub guarantee: &'static str,
    pub writes: Vec<Name>,
    pub what: String,
}

pub fn judge(history: &History) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, what) in &history.broken {
        let writes = if *name == 0 { Vec::new() } else { vec![*name] };
        found.push(Violation { guarantee: "world", writes, what: what.clone() });
    }
    // What one replica applied although its origin settled it otherwise stands in quarantine, and readers go on without
    // it.
    let contrary = |name: Name| {
        history.quarantined_once.keys().any(|report| report.name == name && report.reason == QuarantineReason::Contrary)
    };
    // What a site said when its journal had failed says nothing of where the write stands.
    let is_placed = |name: Name| !history.writes.get(&name).is_some_and(|write| write.told_at_the_end);
    for &(name, site) in history.stale_reads.iter().filter(|(name, _)| !contrary(*name) && is_placed(*name)) {
        let what = format!("site {site} served a reader that had seen write {name} before it had it");
        found.push(Violation { guarantee: "G3", writes: vec![name], what });
    }
    nothing_lost(history, &mut found);
    nothing_twice(history, &mut found);
    order_of_answers(history, &mut found);
    order_of_receipts(history, &mut found);
    order_of_deciders(history, &mut found);
    order_of_lanes(history, &mut found);
    lanes_everywhere(history, &mut found);
    late_decisions(history, &mut found);
    not_over_later(history, &mut found);
    same_answer(history, &mut found);
    whose_answer(history, &mut found);
    converges(history, &mut found);
    honest(history, &mut found);
    serves_when_cut_off(history, &mut found);
    found
}

/// The first write that one replica has and another has not, but for the quarantine; with the site that lacks it.
pub fn first_difference(history: &History, quarantined: &BTreeSet<Report>) -> Option<(Name, usize)> {
    let excused: BTreeSet<Name> = quarantined.iter().map(|report| report.name).collect();
    let sets: Vec<BTreeSet<Name>> = history.applied.iter().map(|log| log.iter().map(|a| a.name).collect()).collect();
    let there = || (0..sets.len()).filter(|&site| !history.is_gone(site));
    let union: BTreeSet<Name> = there().flat_map(|site| &sets[site]).copied().collect();
    let missing = |name: Name| there().find(|&site| !sets[site].contains(&name)).map(|site| (name, site));
    let excused_too = |name: &&Name| history.hindered || history.went_with_the_store(**name);
    union.difference(&excused).filter(|name| !excused_too(name)).find_map(|&name| missing(name))
}

/// G1: an acknowledged success is applied at every replica, or in quarantine.
fn nothing_lost(history: &History, found: &mut Vec<Violation>) {
    let sets: Vec<BTreeSet<Name>> = history.applied.iter().map(|log| log.iter().map(|a| a.name).collect()).collect();
    let quarantined: BTreeSet<Name> = history.quarantined_at_end.iter().map(|report| report.name).collect();
    for (&name, write) in &history.writes {
        let promised = write.told.iter().any(|told| told.said.is_success());
        // A 202 is a receipt: it must be sent in the end, unless the service refuses it or nobody can know what became
        // of it.
        let queued = write.told.iter().any(|told| told.said == Said::Queued);
        let owed = queued
            && !write.turned_away
            && !write.refused_by_rule
            && !write.discarded
            && write.touched.is_empty()
            && reused(history, name).is_none();
        let gone = history.hindered || history.went_with_the_store(name);
        if !(promised || owed) || quarantined.contains(&name) || gone {
            continue;
        }
        for (site, set) in sets.iter().enumerate() {
            if !set.contains(&name) && !history.is_gone(site) {
                let told = if promised { "acknowledged" } else { "queued" };
                let what = format!("write {name} was {told} and is not applied at site {site}, nor in quarantine");
                found.push(Violation { guarantee: "G1", writes: vec![name], what });
            }
        }
    }
}

/// Another write under the same key.
fn reused(history: &History, name: Name) -> Option<Name> {
    let key = history.writes[&name].key?;
    history.writes.iter().find(|(other, write)| **other != name && write.key == Some(key)).map(|(other, _)| *other)
}

/// G2: a replica applies a write at most once; idempotent methods may come again before their outcome is known.
fn nothing_twice(history: &History, found: &mut Vec<Violation>) {
    let renewed = renewals(history);
    let parked = parked(history);
    for (site, log) in history.applied.iter().enumerate() {
        let mut before: BTreeMap<Name, Vec<&Application>> = BTreeMap::new();
        let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
        for application in log {
            let earlier = before.entry(application.name).or_default();
            let count = counts.entry(application.name).or_default();
            *count += 1;
            let renewals = renewed.get(&application.name).map_or(&[][..], Vec::as_slice);
            // Both stood in quarantine here, and a person sent them one after the other.
            let in_time = renewals.iter().filter(|&&at| at <= application.at).count();
            if parked.contains(&(site, application.name)) && *count <= 1 + in_time {
                continue;
            }
            // What was applied before the key was free again was another write.
            earlier.retain(|e| !renewals.iter().any(|&at| e.at < at && at <= application.at));
            if !earlier.is_empty() && !may_repeat(history, site, application, earlier) {
                let what = format!("write {} was applied {} times at site {site}", application.name, earlier.len() + 1);
                found.push(Violation { guarantee: "G2", writes: vec![application.name], what });
            }
            earlier.push(application);
        }
    }
}

/// Writes that stood in quarantine, and where.
fn parked(history: &History) -> BTreeSet<(usize, Name)> {
    history.quarantined_once.keys().map(|report| (report.site, report.name)).collect()
}

/// Moments at which a client's write was applied anew because its key's time was over and every replica had it.
fn renewals(history: &History) -> BTreeMap<Name, Vec<Moment>> {
    let mut all: BTreeMap<Name, Vec<(&Application, usize)>> = BTreeMap::new();
    for (site, log) in history.applied.iter().enumerate() {
        log.iter().for_each(|application| all.entry(application.name).or_default().push((application, site)));
    }
    all.retain(|name, applications| applications.len() > 1 && history.asked_after_expiry(*name));
    let mut renewed: BTreeMap<Name, Vec<Moment>> = BTreeMap::new();
    for (name, mut applications) in all {
        applications.sort_by_key(|(application, _)| application.at);
        let submissions = &history.writes[&name].submissions;
        // What a service that was put back had applied is not known any more: its time began when it was sent, at the
        // earliest.
        let began_ms = |application: &Application| {
            let wanted = history.attempts[application.attempt].wanted;
            let sent = submissions.iter().take_while(|s| s.at < wanted).last().filter(|_| history.gone.is_some());
            sent.map_or(application.at_ms, |sent| sent.at_ms)
        };
        let first_ms = submissions.first().filter(|_| history.gone.is_some()).map(|first| first.at_ms);
        let mut since_ms = first_ms.unwrap_or(applications[0].0.at_ms);
        let mut having = BTreeMap::new();
        for (application, site) in applications {
            let attempt = &history.attempts[application.attempt];
            // Where it stood in quarantine, a person may have kept it from others.
            let parked = history.quarantined_once.keys().any(|report| report.name == name);
            let has = |site: usize| having.get(&site).is_some_and(|&at| at < attempt.wanted);
            let everywhere = parked || (0..history.sites).all(|site| has(site) || history.is_gone(site));
            let is_over = attempt.wanted_ms >= since_ms + history.key_ttl_ms;
            // Else it is the same write once more, by a rule. What was sent first may be looked at last.
            let before = renewed.get(&name).map_or(0, Vec::len);
            if having.contains_key(&site) && is_another_try(history, &history.writes[&name], site, application) {
                having.insert(site, application.at);
                continue;
            }
            let asked = submissions.iter().filter(|s| s.at < attempt.wanted).count() > before + 1;
            if having.contains_key(&site) && everywhere && is_over && asked {
                renewed.entry(name).or_default().push(application.at);
                since_ms = began_ms(application);
                having.clear();
            }
            having.insert(site, application.at);
        }
    }
    renewed
}

/// An idempotent method is tried again here, because no try before it was answered and no probe told of it. A probe
/// tells only of what was first under its key: by a key that is used again it asks for several.
fn is_another_try(history: &History, write: &Write, site: usize, again: &Application) -> bool {
    let wanted = history.attempts[again.attempt].wanted;
    let before = history.applied[site].iter().rev().find(|a| a.name == again.name && a.at < again.at);
    let known = before.and_then(|a| history.attempts[a.attempt].known).is_some_and(|at| at < wanted);
    let probes = history.probed.get(&(site, again.name)).map_or(&[][..], Vec::as_slice);
    let same_key = |a: &&Application| write.key.is_some() && history.writes[&a.name].key == write.key;
    let is_first = |a: &Application| history.applied[site].iter().find(same_key).is_none_or(|first| first.at == a.at);
    let told_by_probe = |a: &Application| is_first(a) && probes.iter().any(|&at| a.at < at && at < wanted);
    write.method.is_idempotent() && !known && !before.is_some_and(told_by_probe)
}

fn may_repeat(history: &History, site: usize, again: &Application, earlier: &[&Application]) -> bool {
    if !history.writes[&again.name].method.is_idempotent() {
        return false;
    }
    let wanted = history.attempts[again.attempt].wanted;
    let forgot = |from: Moment| history.crashes[site].iter().any(|&crash| from < crash && crash < wanted);
    // Known means: the machine got the answer, did not die since, and sent it again nevertheless.
    let known = |a: &&&Application| history.attempts[a.attempt].known.is_some_and(|at| at < wanted && !forgot(at));
    !earlier.iter().any(|a| known(&a))
}

/// Where each write was applied first and last, as indexes into a site's log.
struct Places {
    first: BTreeMap<Name, usize>,
    last: BTreeMap<Name, usize>,
}

fn places(log: &[Application]) -> Places {
    let mut places = Places { first: BTreeMap::new(), last: BTreeMap::new() };
    for (at, application) in log.iter().enumerate() {
        places.first.entry(application.name).or_insert(at);
        places.last.insert(application.name, at);
    }
    places
}

/// Writes whose order is not promised: once undecided where they were decided, quarantined anywhere, or asked for again
/// when their key's time was over.
fn unordered(history: &History) -> BTreeSet<Name> {
    let mut names: BTreeSet<Name> = history.quarantined_once.keys().map(|report| report.name).collect();
    names.extend(history.writes.keys().filter(|name| history.asked_after_expiry(**name)));
    names.extend(history.writes.iter().filter(|(_, write)| write.told_at_the_end).map(|(name, _)| *name));
    for attempt in history.attempts.iter().filter(|attempt| !attempt.shadow) {
        if history.writes[&attempt.name].touched.contains(&attempt.site) {
            names.insert(attempt.name);
        }
    }
    names
}

/// Before and after on one axis: every `cause` below a moment must stand before every `effect` above it.
struct Axis {
    causes: Vec<(Moment, Name)>,
    effects: Vec<(Moment, Name)>,
}

/// G3 on one axis, at every replica, in one sweep: the latest place of all causes so far must lie before each effect.
fn sweep(history: &History, axis: &mut Axis, rule: &str, found: &mut Vec<Violation>) {
    axis.causes.sort_unstable();
    axis.effects.sort_unstable();
    for (site, log) in history.applied.iter().enumerate() {
        let places = places(log);
        let (mut next, mut latest) = (0, None::<(usize, Name)>);
        for &(moment, effect) in &axis.effects {
            while let Some(&(at, cause)) = axis.causes.get(next).filter(|(at, _)| *at < moment) {
                debug_assert!(at < moment);
                let place = places.last.get(&cause).map(|&place| (place, cause));
                latest = latest.max(place);
                next += 1;
            }
            let (Some((place, cause)), Some(&effect_place)) = (latest, places.first.get(&effect)) else { continue };
            if place > effect_place && cause != effect {
                let what = format!("{rule}: write {cause} comes before write {effect}, but not at site {site}");
                found.push(Violation { guarantee: "G3", writes: vec![cause, effect], what });
            }
        }
    }
}

/// G3 as clients see it: answered before the other was sent, at the same site, or by a client that carries what it has
/// seen.
fn order_of_answers(history: &History, found: &mut Vec<Violation>) {
    let unordered = unordered(history);
    let ordered = || history.writes.iter().filter(|(name, _)| !unordered.contains(name));
    for site in 0..history.sites {
        let mut axis = Axis { causes: Vec::new(), effects: Vec::new() };
        for (&name, write) in ordered() {
            let first_hand = |said: &Said| said.is_success() && !matches!(said, Said::Answer { replayed: true, .. });
            if let Some(told) = write.told.iter().find(|told| told.site == site && first_hand(&told.said)) {
                axis.causes.push((told.at, name));
            }
            // A write that was sent to several sites may have been decided where nobody knew of the cause.
            if write.submissions.iter().all(|s| s.site == site) && !write.submissions.is_empty() {
                axis.effects.push((write.submissions[0].at, name));
            }
        }
        sweep(history, &mut axis, "answered at a site before the other was sent there", found);
    }
    let clients: BTreeSet<usize> = history.writes.values().map(|write| write.client).collect();
    for client in clients {
        let mut axis = Axis { causes: Vec::new(), effects: Vec::new() };
        for (&name, write) in ordered().filter(|(_, write)| write.client == client) {
            let read = write.told.iter().filter(|told| told.said.is_success()).filter_map(|told| told.received).min();
            axis.causes.extend(read.map(|at| (at, name)));
            if write.submissions.iter().all(|s| s.bound) && !write.submissions.is_empty() {
                axis.effects.push((write.submissions[0].at, name));
            }
        }
        sweep(history, &mut axis, "read by a client before it sent the other, with what it had seen", found);
    }
}

/// Queued writes go before any newer one of their site.
fn order_of_receipts(history: &History, found: &mut Vec<Violation>) {
    let unordered = unordered(history);
    for site in 0..history.sites {
        let mut axis = Axis { causes: Vec::new(), effects: Vec::new() };
        for (&name, write) in history.writes.iter().filter(|(name, _)| !unordered.contains(name)) {
            if write.submissions.is_empty() || write.submissions.iter().any(|s| s.site != site) {
                continue;
            }
            let receipt = write.told.iter().find(|told| told.said == Said::Queued);
            // Turned away by its service, it has to go to the end of the line.
            if let Some(told) = receipt.filter(|_| !write.turned_away) {
                axis.causes.push((told.at, name));
            }
            axis.effects.push((write.submissions[0].at, name));
        }
        sweep(history, &mut axis, "given a receipt before the other was sent there", found);
    }
}

/// G3 as `after` states it: what a decider's replica had applied when the decider sent a write comes before it
/// everywhere.
fn order_of_deciders(history: &History, found: &mut Vec<Violation>) {
    let unordered = unordered(history);
    // A write that two replicas took as deciders (copies on both sides of a cut) has no one decider.
    let mut deciders: BTreeMap<Name, BTreeSet<usize>> = BTreeMap::new();
    for attempt in history.attempts.iter().filter(|attempt| !attempt.shadow) {
        deciders.entry(attempt.name).or_default().insert(attempt.site);
    }
    for site in 0..history.sites {
        let mut axis = Axis { causes: Vec::new(), effects: Vec::new() };
        for attempt in history.attempts.iter().filter(|a| a.site == site && !unordered.contains(&a.name)) {
            axis.causes.extend(attempt.known.map(|at| (at, attempt.name)));
            if !attempt.shadow && deciders[&attempt.name].len() == 1 {
                axis.effects.push((attempt.wanted, attempt.name));
            }
        }
        sweep(history, &mut axis, &format!("applied at site {site} before it sent the other as decider"), found);
    }
}

/// Writes of one lane that one site decided are never at a replica at the same time: their order is everywhere the
/// same.
fn order_of_lanes(history: &History, found: &mut Vec<Violation>) {
    let unordered = unordered(history);
    for attempts in by_site_and_lane(history).into_values() {
        let mut previous: Option<(Name, Moment)> = None;
        for (wanted, name, known) in attempts {
            let overlaps = |(before, free): &(Name, Moment)| {
                let beside = history.writes[before].creates && history.writes[&name].creates;
                *before != name
                    && !beside
                    && wanted < *free
                    && !unordered.contains(&name)
                    && !unordered.contains(before)
            };
            if let Some((before, free)) = previous.filter(overlaps) {
                let what = format!("writes {before} and {name} of one lane overlapped at their decider until {free}");
                found.push(Violation { guarantee: "lanes", writes: vec![before, name], what });
            }
            previous = known.map(|known| (name, known));
        }
    }
}

/// G3: writes of one lane that one site took keep one order at every replica, whoever decides them.
fn lanes_everywhere(history: &History, found: &mut Vec<Violation>) {
    let unordered = unordered(history);
    let taken_at = |name: Name| {
        let write = &history.writes[&name];
        let site = write.submissions.first()?.site;
        let alone = write.submissions.iter().all(|s| s.site == site) && !unordered.contains(&name);
        alone.then_some((site, write.lane))
    };
    let Some((first, others)) = history.applied.split_first() else { return };
    let mut order: BTreeMap<Name, usize> = BTreeMap::new();
    first.iter().enumerate().for_each(|(place, application)| {
        order.entry(application.name).or_insert(place);
    });
    for (site, log) in others.iter().enumerate() {
        let mut last: BTreeMap<(usize, u64), (usize, Name)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for application in log.iter().filter(|a| seen.insert(a.name)) {
            let name = application.name;
            let (Some(lane), Some(&place)) = (taken_at(name), order.get(&name)) else { continue };
            match last.insert(lane, (place, name)) {
                // Beside one of which nobody knew what became of it.
                Some((_, other)) if history.writes[&other].creates && history.writes[&name].creates => {}
                Some((before, other)) if before > place => {
                    let what = format!(
                        "writes of one lane, taken at one site: write {name} before write {other} at site 0, after it \
                         at site {}",
                        site + 1
                    );
                    found.push(Violation { guarantee: "G3", writes: vec![name, other], what });
                }
                _ => {}
            }
        }
    }
}

/// A write that was passed undecided, and decided later, is not applied over what its site took for the lane after
/// that.
fn late_decisions(history: &History, found: &mut Vec<Violation>) {
    let passed = |name: Name, site: usize| {
        let report = Report { site, name, reason: QuarantineReason::UnknownOutcome };
        let at = *history.quarantined_once.get(&report)?;
        let write = &history.writes[&name];
        write.submissions.iter().all(|s| s.site == site && s.at < at).then_some(at)
    };
    let parked: BTreeSet<(usize, Name)> =
        history.quarantined_once.keys().map(|report| (report.site, report.name)).collect();
    let mut first_tries: BTreeMap<(usize, Name), usize> = BTreeMap::new();
    for (index, attempt) in history.attempts.iter().enumerate() {
        first_tries.entry((attempt.site, attempt.name)).or_insert(index);
    }
    for (replica, log) in history.applied.iter().enumerate().filter(|_| history.remembers_lanes) {
        // By lane and the site that took it: the newest write that this replica has applied.
        let mut newest: BTreeMap<(u64, usize), (Moment, Name)> = BTreeMap::new();
        for application in log {
            let write = &history.writes[&application.name];
            let Some(first) = write.submissions.first() else { continue };
            let key = (write.lane, first.site);
            // A person may order it after it was parked, for whatever reason, or after it was tried here.
            let first_try = first_tries[&(replica, application.name)] == application.attempt;
            let by_rule = first_try && !parked.contains(&(replica, application.name));
            let overwrites = by_rule && write.method != Method::Post && history.attempts[application.attempt].shadow;
            if overwrites
                && let Some(at) = passed(application.name, first.site)
                && let Some(&(_, newer)) = newest.get(&key).filter(|(sent, _)| *sent > at)
            {
                let name = application.name;
                let what = format!("decided late: write {name} was applied over write {newer} at site {replica}");
                found.push(Violation { guarantee: "G3", writes: vec![name, newer], what });
            }
            let newer = newest.get(&key).is_none_or(|(sent, _)| *sent < first.at);
            // What it applied and never heard of, the machine cannot know.
            if newer
                && history.attempts[application.attempt].known.is_some()
                && write.submissions.iter().all(|s| s.site == first.site)
            {
                newest.insert(key, (first.at, application.name));
            }
        }
    }
}

/// What is sent again, by a rule or by order of a person, is not applied over what came after it in its lane.
fn not_over_later(history: &History, found: &mut Vec<Violation>) {
    let parked = parked(history);
    let mut first_tries: BTreeMap<(usize, Name), usize> = BTreeMap::new();
    for (index, attempt) in history.attempts.iter().enumerate() {
        first_tries.entry((attempt.site, attempt.name)).or_insert(index);
    }
    let only_at = |name: Name| {
        let submissions = &history.writes[&name].submissions;
        let first = submissions.first()?;
        submissions.iter().all(|s| s.site == first.site).then_some((first.site, first.at))
    };
    for (replica, log) in history.applied.iter().enumerate().filter(|_| history.remembers_lanes) {
        // By lane and the site that took it: when the newest write that was applied here was sent.
        let mut newest: BTreeMap<(u64, usize), (Moment, Name)> = BTreeMap::new();
        for application in log {
            let name = application.name;
            let write = &history.writes[&name];
            let Some((site, sent)) = only_at(name) else { continue };
            let told = write.told.iter().find(|told| told.site == site && told.said.is_success());
            let is_again = first_tries[&(replica, name)] != application.attempt;
            let by_rule = history.attempts[application.attempt].shadow && parked.contains(&(replica, name));
            if is_again
                && by_rule
                // Its key was free again: the client's last try is another write.
                && !history.asked_after_expiry(name)
                && write.method != Method::Post
                && let Some(told) = told
                && let Some(&(later, over)) = newest.get(&(write.lane, site)).filter(|(later, _)| *later > told.at)
            {
                let what =
                    format!("sent again: write {name} was applied over write {over} at site {replica} ({later})");
                found.push(Violation { guarantee: "G3", writes: vec![name, over], what });
            }
            // What it never heard of, and what a person had to look at, the machine cannot know.
            let is_known = history.attempts[application.attempt].known.is_some() && !parked.contains(&(replica, name));
            let newer = newest.get(&(write.lane, site)).is_none_or(|(before, _)| *before < sent);
            if newer && is_known {
                newest.insert((write.lane, site), (sent, name));
            }
        }
    }
}

type Tries = BTreeMap<(usize, u64), Vec<(Moment, Name, Option<Moment>)>>;

fn by_site_and_lane(history: &History) -> Tries {
    let mut tries: Tries = BTreeMap::new();
    for attempt in history.attempts.iter().filter(|attempt| !attempt.shadow) {
        let lane = history.writes[&attempt.name].lane;
        tries.entry((attempt.site, lane)).or_default().push((attempt.wanted, attempt.name, attempt.known));
    }
    tries
}

/// G4: once a success was told, the same key with the same request gets the same answer where the record can be
/// reached.
fn same_answer(history: &History, found: &mut Vec<Violation>) {
    for (&name, write) in history.writes.iter().filter(|(_, write)| write.key.is_some()) {
        let Some(first) = write.told.iter().find(|told| told.said.is_success()) else { continue };
        for told in write.told.iter().filter(|told| told.at > first.at) {
            let sent = &write.submissions[told.submission];
            // The record is certainly at hand at the site that told it, as long as no other site was asked before.
            let alone = write.submissions.iter().filter(|s| s.at <= told.at).all(|s| s.site == first.site);
            let late = sent.at > first.at;
            if history.asked_after_expiry(name) || write.told_at_the_end {
                continue;
            }
            let differs = match (&told.said, &first.said) {
                (Said::Answer { status, body, .. }, Said::Answer { status: s, body: b, .. }) => {
                    (status, body) != (s, b)
                }
                // Sent before the first was told, it may have been looked at when another write still had the key.
                (
                    Said::Queued
                    | Said::Problem("reply: outcome-unknown" | "reply: key-reused" | "reply: key-of-another"),
                    _,
                ) => late,
                _ => false,
            };
            if alone && told.site == first.site && differs {
                let what = format!("write {name} was answered {:?}, then {:?}", first.said, told.said);
                found.push(Violation { guarantee: "G4", writes: vec![name], what });
            }
        }
        // A site that only passed another one's record on need not have it.
        if !matches!(first.said, Said::Answer { replayed: true, .. }) {
            another_request(history, name, first.site, first.at, found);
        }
    }
}

/// The same key with another request, sent to the same site after the first was answered: an error, never an answer.
fn another_request(history: &History, name: Name, site: usize, answered: Moment, found: &mut Vec<Violation>) {
    let key = history.writes[&name].key;
    for (&other, write) in history.writes.range(name + 1..).filter(|(_, write)| write.key == key) {
        let in_time = |at_ms: u64| !history.may_look_after_expiry(name, at_ms);
        let only_here = write.submissions.iter().all(|s| s.site == site && s.at > answered && in_time(s.at_ms));
        let answered = write.told.iter().any(|told| matches!(told.said, Said::Answer { .. } | Said::Queued));
        if only_here && answered {
            let what = format!("write {other} used the key of write {name} with another request and was answered");
            found.push(Violation { guarantee: "G4", writes: vec![name, other], what });
        }
    }
}

/// G4: what a service answered to one client's write is told to no other client, whatever key and request it brings;
/// and where the first was told its success, the other's is not executed.
fn whose_answer(history: &History, found: &mut Vec<Violation>) {
    for (&name, write) in &history.writes {
        let bodies = write.told.iter().filter_map(|told| match told.said {
            Said::Answer { body, .. } => Some(body),
            Said::Queued | Said::Problem(_) => None,
        });
        let of_another = |owner: Name| history.writes[&owner].client != write.client;
        if let Some(owner) = bodies.filter_map(|body| history.owners.get(&body).copied()).find(|&o| of_another(o)) {
            let what = format!("write {name} was told another client's answer, that of write {owner}");
            found.push(Violation { guarantee: "G4", writes: vec![name, owner], what });
        }
        let Some(first) = write.borrowed.and_then(|other| executed_before(history, name, other)) else { continue };
        let decided = history.attempts.iter().any(|attempt| attempt.name == name && !attempt.shadow);
        let by_order = history.quarantined_once.keys().any(|report| report.name == name);
        if decided && !by_order {
            let what =
                format!("write {name} was executed with another client's key and request, those of write {first}");
            found.push(Violation { guarantee: "G4", writes: vec![name, first], what });
        }
    }
}

/// The other client's write, if its success was told first-hand at the one site to which this one was then sent, in its
/// key's time.
fn executed_before(history: &History, name: Name, other: Name) -> Option<Name> {
    let (write, other_write) = (&history.writes[&name], &history.writes[&other]);
    let first_hand = |said: &Said| said.is_success() && !matches!(said, Said::Answer { replayed: true, .. });
    let told = other_write.told.iter().find(|told| first_hand(&told.said))?;
    let later =
        |s: &Submission| s.site == told.site && s.at > told.at && !history.may_look_after_expiry(other, s.at_ms);
    let all_later = !write.submissions.is_empty() && write.submissions.iter().all(later);
    (all_later && !other_write.told_at_the_end && !history.is_gone(told.site)).then_some(other)
}

/// Another client's write has its key and its request.
fn brings_anothers(history: &History, name: Name) -> bool {
    let (write, request) = (&history.writes[&name], history.request_of(name));
    let shares = |(&other, another): (&Name, &Write)| {
        another.client != write.client && another.key == write.key && history.request_of(other) == request
    };
    write.key.is_some() && history.writes.iter().any(shares)
}

/// G5: all replicas have applied the same set, but for the quarantine.
fn converges(history: &History, found: &mut Vec<Violation>) {
    if let Some((name, site)) = first_difference(history, &history.quarantined_at_end) {
        let what = format!("write {name} is applied elsewhere, not at site {site}, and not in quarantine");
        found.push(Violation { guarantee: "G5", writes: vec![name], what });
    }
}

/// Quarantine must not be a way out: something must have happened that can put a write there.
fn honest(history: &History, found: &mut Vec<Violation>) {
    let mut touched_lanes: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    for (&name, write) in &history.writes {
        let sites = touched_lanes.entry(write.lane).or_default();
        sites.extend(write.submissions.iter().map(|s| s.site));
        let unknown = |report: &&Report| report.name == name && report.reason == QuarantineReason::UnknownOutcome;
        if !write.touched.is_empty() || history.quarantined_once.keys().any(|report| unknown(&report)) {
            // Once unknown and passed: a late decision may meet any later write of the lane.
            sites.extend(0..history.sites);
        }
    }
    // What went with a store, and with what its service held, tells of no cause any more.
    for (report, &since) in history.quarantined_once.iter().filter(|(report, _)| !history.is_gone(report.site)) {
        let write = &history.writes[&report.name];
        let crashed = |site: usize| history.crashes[site].iter().any(|&at| at > write.submissions[0].at);
        // Refused for a moment too long is refused.
        let differs = write.turned_away || history.differed.contains_key(&(report.site, report.name));
        let shared = touched_lanes.get(&write.lane).is_some_and(|sites| sites.len() > 1);
        let cause = match report.reason {
            QuarantineReason::ConcurrentWrites => history.quarantines_concurrent && shared,
            QuarantineReason::LateDecision => shared || differs,
            // A wish that was given up while its target worked on it needs no fault but a slow line. A repeated DELETE
            // that finds nothing counts as applied.
            QuarantineReason::Contrary => {
                let repeated = write.method.is_idempotent() && (crashed(report.site) || !write.touched.is_empty());
                // With `replicate = "all"` a refusal is an outcome like any other.
                let asked = || history.attempts.iter().any(|a| a.site == report.site && a.name == report.name);
                let refused = history.replicates_all && asked();
                // 500 leaves open whether it changed anything.
                let may_have = write.touched.contains(&report.site) && asked();
                repeated || refused || may_have || history.applied[report.site].iter().any(|a| a.name == report.name)
            }
            QuarantineReason::Damaged => history.damaged.contains(&(report.site, report.name)),
            QuarantineReason::KeyOfAnother => brings_anothers(history, report.name),
            QuarantineReason::Hole | QuarantineReason::SetAside => false,
            QuarantineReason::Divergence | QuarantineReason::UnknownOutcome | QuarantineReason::MayHaveApplied => {
                let unheard = history.disturbed.is_some_and(|at| at < since);
                !write.touched.is_empty() || crashed(report.site) || unheard || differs
            }
        };
        if !cause {
            let what = format!(
                "write {} was quarantined at site {} as {:?} without cause",
                report.name, report.site, report.reason
            );
            found.push(Violation { guarantee: "honesty", writes: vec![report.name], what });
        }
        forgotten_promise(history, report, since, found);
    }
}

/// Who told a success has it durably: the replica that gave the answer cannot call its outcome unknown later.
fn forgotten_promise(history: &History, report: &Report, since: Moment, found: &mut Vec<Violation>) {
    let unknown = matches!(report.reason, QuarantineReason::UnknownOutcome | QuarantineReason::MayHaveApplied);
    let write = &history.writes[&report.name];
    let told_by = |site: usize| {
        // A replay is served by whoever has the record.
        let by = |said: &Said| matches!(said, Said::Answer { served_by, replayed: false, .. } if *served_by == site);
        write.told.iter().any(|told| told.at < since && told.said.is_success() && by(&told.said))
    };
    let one_site = write.submissions.iter().all(|s| s.site == write.submissions[0].site);
    if unknown && one_site && !write.told_at_the_end && told_by(report.site) && !history.asked_after_expiry(report.name)
    {
        let what = format!("write {} was acknowledged, and its decider says {:?}", report.name, report.reason);
        found.push(Violation { guarantee: "G1", writes: vec![report.name], what });
    }
}

/// G8: while one site was cut off for long, and all else was well, no lane stood still at any site: of what clients
/// sent there the service answered something, whatever was still open when the cut began.
fn serves_when_cut_off(history: &History, found: &mut Vec<Violation>) {
    let Some(CutOff { from_ms, until_ms }) = history.cut_off else { return };
    // Whether anything was answered, or held up by a client that waits for what it has seen; and what was not.
    type Lane<'h> = (bool, Vec<(Name, Option<&'h Said>)>);
    let mut lanes: BTreeMap<(usize, u64), Lane> = BTreeMap::new();
    for (&name, write) in &history.writes {
        let is_new = write.submissions.first().is_some_and(|first| first.at_ms >= from_ms);
        for (number, sent) in write.submissions.iter().enumerate().filter(|(_, sent)| is_new && sent.at_ms < until_ms) {
            let told = write.told.iter().find(|told| told.submission == number).map(|told| &told.said);
            let (served, refused) = lanes.entry((sent.site, write.lane)).or_default();
            match told {
                Some(Said::Answer { .. } | Said::Problem("reply: stale")) => *served = true,
                Some(Said::Problem(
                    // About the key, or that this fleet keeps few writes open.
                    "reply: key-in-flight"
                    | "reply: key-reused"
                    | "reply: key-of-another"
                    | "reply: replay-unavailable"
                    | "reply: origin-unreachable"
                    | "reply: overloaded",
                )) => {}
                told => refused.push((name, told)),
            }
        }
    }
    // What waits for a broken record waits until another site can be asked for it; who fetches through that site waits
    // too.
    let is_whole = |site: usize| !history.damaged.iter().any(|(damaged, _)| *damaged == site || history.sites > 2);
    for ((site, lane), (served, refused)) in lanes {
        // A single one may have waited for what its client has seen elsewhere.
        if let [(name, told), _, ..] = refused.as_slice()
            && !served
            && is_whole(site)
        {
            let what =
                format!("lane {lane} stood still at site {site} during a long cut: write {name} was told {told:?}");
            found.push(Violation { guarantee: "G8", writes: vec![*name], what });
        }
    }
}

#[cfg(test)]
mod tests;
