//! The process, its disk, its journal, its clock.
use super::{Known, List, count, word};
use crate::admin::words::span;
use crate::admin::{Grade, HealthState};
use crate::app::vitals::Mishap;
use crate::journal::Space;

/// With less than this until the reserve is reached somebody must come today, or before the week is over.
const HOURS_LEFT_CRITICAL: f64 = 12.0;
const HOURS_LEFT_WARNING: f64 = 72.0;
/// How long something that happened once is shown.
const FRESH_MS: u64 = 24 * 3_600_000;
const LINES_FRESH_MS: u64 = 3_600_000;

pub(super) fn state(known: &Known<'_>, found: &mut List) {
    match known.state {
        HealthState::Failed => found.critical(
            "journal",
            "has failed: nothing more is taken, the process ends",
            "journalctl -u holdfast -n 50",
        ),
        HealthState::Draining => {
            found.warning("site", "stops: requests in flight are let finish", "journalctl -u holdfast -n 50")
        }
        HealthState::Recovering | HealthState::Ready => {}
    }
}

pub(super) fn journal(known: &Known<'_>, found: &mut List) {
    let (journal, settings) = (&known.numbers.journal, known.settings);
    let look = format!("df -h {}", word(&settings.data_dir));
    match journal.space {
        Space::Ok => {}
        Space::Full => found.critical("disk", "full: new writes get 507", look),
        Space::Reserve => {
            found.critical("disk", "less than store.reserve is free, new writes get 507", look);
        }
    }
    let who = format!("fuser -v {}", word(&format!("{}/holdfast.db", settings.data_dir)));
    if let Some((by, for_ms)) = &journal.held {
        let what = format!("{by} has held the lock of its database for {}, new writes get 503", span(*for_ms));
        found.critical("journal", what, who.clone());
    }
    if let Some((by, bytes)) = &journal.read_by {
        let what = format!("{by} reads its database, the write-ahead log (WAL) has grown to {} MiB", bytes >> 20);
        found.warning("journal", what, who);
    }
}

pub(super) fn disk(known: &Known<'_>, found: &mut List) {
    let Some(left_s) = known.numbers.disk.left_s.filter(|_| known.numbers.journal.space == Space::Ok) else { return };
    let hours = left_s / 3_600.0;
    let grade = match hours {
        ..HOURS_LEFT_CRITICAL => Grade::Critical,
        ..HOURS_LEFT_WARNING => Grade::Warning,
        _ => return,
    };
    let left = span((left_s * 1e3) as u64);
    let what = format!("fills: {left} until store.reserve is reached, as it grew in the last hour");
    found.add(grade, "disk", what, format!("df -h {}", word(&known.settings.data_dir)));
}

pub(super) fn clock(known: &Known<'_>, found: &mut List) {
    if known.numbers.clock.is_unset {
        let what = "was never set: certificates seem not valid yet, and times that are shown are wrong";
        found.warning("clock", what, "timedatectl");
    }
}

pub(super) fn mishaps(known: &Known<'_>, found: &mut List) {
    for (of, lately) in &known.numbers.mishaps {
        let fresh_ms = if *of == Mishap::LogLines { LINES_FRESH_MS } else { FRESH_MS };
        if lately.ago_ms > fresh_ms {
            continue;
        }
        let (subject, what, command) = match of {
            Mishap::Panics => (
                "process",
                count(lately.count, "panic was contained", "panics were contained"),
                "journalctl -u holdfast -g panic",
            ),
            Mishap::Connections => (
                "process",
                format!(
                    "{} closed at once, the last descriptors are kept for work",
                    count(lately.count, "connection was", "connections were")
                ),
                "systemctl show holdfast -p LimitNOFILE",
            ),
            Mishap::ClockJumps => ("clock", count(lately.count, "jump", "jumps"), "timedatectl"),
            Mishap::Keys => (
                "keys",
                format!(
                    "{} for two different requests, at two sites: all were applied",
                    count(lately.count, "key was used", "keys were used")
                ),
                "journalctl -u holdfast -g 'one key for two requests'",
            ),
            Mishap::Answers => (
                "answers",
                format!(
                    "{} sent at two sites and answered differently",
                    count(lately.count, "write was", "writes were")
                ),
                "journalctl -u holdfast -g 'answered differently'",
            ),
            Mishap::LogLines => (
                "log",
                format!("{} dropped", count(lately.count, "line was", "lines were")),
                "journalctl -u holdfast -n 50",
            ),
        };
        found.warning(subject, format!("{what} since the start, last seen {} ago", span(lately.ago_ms)), command);
    }
}
