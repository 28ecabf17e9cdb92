//! Services: who answers for them, what is stopped, what waits, what a person has to decide.
use std::collections::BTreeSet;
use std::time::Duration;

use super::{Known, List, count, word};
use crate::admin::Grade;
use crate::admin::words::span;
use crate::app::numbers::ServiceNumbers;
use crate::journal::{QuarantineReason, StopKind};
use crate::model::{Group, SiteName};
use crate::service::View;
use crate::telemetry::Label;

/// Fewer may be an accident.
const UNANSWERED: u64 = 3;
/// After this nobody knows any more whether the next would be answered.
const UNANSWERED_FRESH: Duration = Duration::from_secs(600);

/// A renamed service, or other replicas: what it had left goes nowhere, and only the configuration can help.
pub(super) fn orphans(known: &Known<'_>, found: &mut List) {
    for orphan in &known.numbers.orphans {
        let parts = [
            (
                orphan.undelivered,
                "write that other sites have not confirmed",
                "writes that other sites have not confirmed",
            ),
            (orphan.undecided, "write not decided here", "writes not decided here"),
            (orphan.quarantined, "write in quarantine", "writes in quarantine"),
        ];
        let left: Vec<String> =
            parts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| count(n, one, many)).collect();
        let what = format!(
            "no service of the configuration has its writes any more, and nothing becomes of them: {}; give the \
             service back its name and replicas, or mark this as seen (holdfast status --seen)",
            left.join(", ")
        );
        found.warning(&orphan.group, what, known.settings.with_file("holdfast check"));
    }
}

pub(super) fn stopped(known: &Known<'_>, found: &mut List) {
    for (group, view) in &known.numbers.groups {
        let Some(why) = &view.stopped else { continue };
        let is_fork = why.contains("knows a later past");
        let command = match view.stop {
            Some(StopKind::Divergences) => known.about("holdfast quarantine ls --service", group),
            // `resume` is refused there.
            _ if is_fork => "holdfast peers".to_owned(),
            _ => known.about("holdfast services resume", group),
        };
        let then = match view.stop {
            Some(StopKind::Divergences) => {
                format!("; when you know why, {}", known.about("holdfast services resume", group))
            }
            Some(StopKind::Doubt) if !is_fork => " (resume only when you know)".to_owned(),
            _ => String::new(),
        };
        found.critical(known.name(group), format!("following stopped: {why}{then}"), command);
    }
}

/// Who can be asked, by service: all its stores share its endpoints.
pub(super) fn endpoints(known: &Known<'_>, found: &mut List) {
    for service in &known.numbers.services {
        let groups: Vec<&(Group, View)> =
            known.numbers.groups.iter().filter(|(group, _)| group.service == service.name).collect();
        let is_down = !service.endpoints.is_empty() && service.endpoints.iter().all(|endpoint| !endpoint.healthy);
        let in_doubt = |view: &View| view.stop == Some(StopKind::Doubt);
        let nobody = groups.iter().filter(|(_, view)| view.decider.is_none() && !in_doubt(view)).count();
        let others = groups.iter().filter_map(|(_, view)| view.decider.as_ref()).filter(|site| *site != known.me);
        let others: BTreeSet<&SiteName> = others.collect();
        if is_down {
            down(service, groups.is_empty(), nobody, &others, found);
            continue;
        }
        some_down(service, found);
        let unanswered = service.unanswered.as_ref();
        if let Some(last) = unanswered.filter(|last| last.count >= UNANSWERED && last.quiet < UNANSWERED_FRESH) {
            let (n, lasting) = (last.count, span(last.lasting.as_millis() as u64));
            let what = format!("its last {n} tries failed, in {lasting}: {}", last.why);
            found.critical(&service.name, what, "holdfast services");
        }
        if nobody > 0 {
            let stores =
                if groups.len() > 1 { format!(" for {nobody} of {} stores", groups.len()) } else { String::new() };
            let what = format!("no replica can be asked{stores}: clients get 503, or 202 where writes are queued");
            found.critical(&service.name, what, "holdfast peers");
        }
    }
}

fn down(service: &ServiceNumbers, is_plain: bool, nobody: usize, others: &BTreeSet<&SiteName>, found: &mut List) {
    let trouble = service.endpoints.iter().filter_map(|endpoint| endpoint.trouble.as_ref());
    let why = trouble.clone().map(|(_, why)| why.as_str()).next().unwrap_or("its endpoints are not healthy");
    let since = trouble.map(|(lasting, _)| lasting.as_millis() as u64).min();
    let since = since.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
    let failed = service.unanswered.as_ref().map_or(0, |last| last.count);
    // Of reads, writes, shadows and probes, those sent again included: no number of clients that were refused.
    let failed = match failed {
        0 => String::new(),
        1 => "; its last try failed".to_owned(),
        n => format!("; its last {n} tries failed"),
    };
    let meanwhile = match others.iter().next() {
        Some(site) if nobody == 0 && !is_plain => format!("; {site} decides meanwhile"),
        _ => "; nobody else can be asked".to_owned(),
    };
    let grade = if nobody == 0 && !is_plain && !others.is_empty() { Grade::Warning } else { Grade::Critical };
    let what = format!("no healthy endpoint at this site{since}: {why}{failed}{meanwhile}");
    found.add(grade, &service.name, what, "holdfast services");
}

fn some_down(service: &ServiceNumbers, found: &mut List) {
    let down: Vec<_> = service.endpoints.iter().filter(|endpoint| !endpoint.healthy).collect();
    let Some(first) = down.first() else { return };
    let (lasting, why) = first.trouble.clone().unwrap_or_default();
    let (n, all, lasting) = (down.len(), service.endpoints.len(), span(lasting.as_millis() as u64));
    let what = format!("{n} of {all} endpoints down: {} for {lasting}: {why}", first.name);
    found.warning(&service.name, what, "holdfast services");
}

/// Broken records, and what of a life before may still be under way because of one.
pub(super) fn damage(known: &Known<'_>, found: &mut List) {
    for (group, view) in &known.numbers.groups {
        if let Some(left_ms) = view.hidden_try_ms {
            let left_s = left_ms.div_ceil(1_000);
            let what = format!(
                "a try of before the start may be under way, its record is broken: nothing is sent to this replica for \
                 {left_s} s"
            );
            found.warning(known.name(group), what, "holdfast status --watch");
        }
        for series in view.series.iter().filter(|series| series.broken.is_some()) {
            let (at, site) = (series.broken.unwrap_or_default(), &series.site);
            let what = format!("record {at} of {site}'s writes is broken here, other sites are asked for it");
            found.warning(
                known.name(group),
                what,
                known.about("holdfast quarantine ls --reason damaged --service", group),
            );
        }
    }
    if known.numbers.damaged > 0 {
        let n = count(known.numbers.damaged, "record was found damaged", "records were found damaged");
        let command = format!("systemctl stop holdfast && {}", known.settings.with_file("holdfast journal verify"));
        found.warning("journal", format!("{n} since the start: look at the disk"), command);
    }
}

pub(super) fn quarantine(known: &Known<'_>, found: &mut List) {
    for (group, view) in known.numbers.groups.iter().filter(|(_, view)| view.quarantine > 0) {
        // Reasons are counted by service: with several stores they would be others' too.
        let counts = known.numbers.quarantine.get(&group.service).filter(|_| known.is_only(group));
        let reasons: Vec<String> = QuarantineReason::ALL
            .into_iter()
            .filter_map(|reason| Some((reason, *counts?.by_reason.get(&reason)?)))
            .filter(|(_, n)| *n > 0)
            .map(|(reason, n)| format!("{n} {}", reason.value()))
            .collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
        let lanes = if view.not_equal == 1 { "lane" } else { "lanes" };
        let what = format!("{} in quarantine{reasons}, not equal: {} {lanes}", view.quarantine, view.not_equal);
        found.warning(known.name(group), what, known.about("holdfast quarantine ls --service", group));
    }
}

/// Beyond `answer.lag` another site decides in this one's place, and what is queued has a receipt and no more: for what
/// the first of them waits.
pub(super) fn waits(known: &Known<'_>, found: &mut List) {
    for (group, view) in &known.numbers.groups {
        let lag = Duration::from_millis(view.lag_ms);
        let is_behind = known.settings.lags.get(&group.service).is_some_and(|limit| lag > *limit);
        let what = match (is_behind, view.queued) {
            (true, 0) => format!("{} s behind", lag.as_secs()),
            (true, queued) => format!("{} s behind, {queued} queued", lag.as_secs()),
            (false, 0) => continue,
            (false, queued) => format!("{queued} queued"),
        };
        let first = view.waits.first();
        let waits = first.map_or_else(String::new, |wait| format!(": {} waits for {}", wait.write, wait.on));
        let command = match first {
            Some(wait) => format!("holdfast writes show {}", wait.write),
            None => format!("holdfast writes ls --open --service {}", word(&group.service)),
        };
        found.warning(known.name(group), format!("{what}{waits}"), command);
    }
}
