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
/// Which they are.
const CONFLICTS: &str = "holdfast writes conflicts";

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
    let Some(left) = known.numbers.disk.left.filter(|_| known.numbers.journal.space == Space::Ok) else { return };
    let is_hour = left.rests_on_an_hour();
    let grade = match left.s / 3_600.0 {
        ..HOURS_LEFT_CRITICAL if is_hour => Grade::Critical,
        ..HOURS_LEFT_WARNING => Grade::Warning,
        _ => return,
    };
    let over = if is_hour { "hour".to_owned() } else { span(left.over_ms) };
    let left = span((left.s * 1e3) as u64);
    let what = format!("fills: {left} until store.reserve is reached, as it grew in the last {over}");
    found.add(grade, "disk", what, format!("df -h {}", word(&known.settings.data_dir)));
}

pub(super) fn clock(known: &Known<'_>, found: &mut List) {
    if known.numbers.clock.is_unset {
        let what = "was never set: certificates seem not valid yet, and times that are shown are wrong";
        found.warning("clock", what, "timedatectl");
    }
}

pub(super) fn log(known: &Known<'_>, found: &mut List) {
    let Some((lasting, lines)) = known.numbers.log_stands else { return };
    let (lasting, lines) = (span(lasting.as_millis() as u64), count(lines as u64, "line waits", "lines wait"));
    let what = format!("standard error takes nothing for {lasting}, {lines}: soon they are dropped");
    found.warning("log", what, "systemctl status systemd-journald");
}

/// By how much a clock has jumped.
pub(in crate::app) fn by(jump_ms: i64) -> String {
    let (way, ms) = (if jump_ms < 0 { "back" } else { "forwards" }, jump_ms.unsigned_abs());
    if ms < 100_000 { format!("{way} by {:.1} s", ms as f64 / 1e3) } else { format!("{way} by {}", span(ms)) }
}

pub(super) fn mishaps(known: &Known<'_>, found: &mut List) {
    for (of, lately) in &known.numbers.mishaps {
        let fresh_ms = match of {
            Mishap::LogLines => LINES_FRESH_MS,
            // What two sites did otherwise stays so until a person has looked.
            Mishap::Keys | Mishap::Answers | Mishap::Concurrent => u64::MAX,
            _ => FRESH_MS,
        };
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
            Mishap::ClockJumps => {
                let by = by(known.numbers.clock.last_jump_ms);
                ("clock", format!("{}, the last {by}", count(lately.count, "jump", "jumps")), "timedatectl")
            }
            Mishap::Keys => (
                "keys",
                format!(
                    "{} for two different requests, at two sites: all were applied",
                    count(lately.count, "key was used", "keys were used")
                ),
                CONFLICTS,
            ),
            Mishap::Answers => (
                "answers",
                format!(
                    "{} sent at two sites and answered differently",
                    count(lately.count, "write was", "writes were")
                ),
                CONFLICTS,
            ),
            Mishap::Concurrent => (
                "lanes",
                format!(
                    "{} beside one of its lane from another site: applied in another order there, replicas may differ",
                    count(lately.count, "write was taken", "writes were taken")
                ),
                CONFLICTS,
            ),
            Mishap::LogLines => (
                "log",
                format!("{} dropped", count(lately.count, "line was", "lines were")),
                "journalctl -u holdfast -n 50",
            ),
        };
        let since = if lately.is_rest { "it was marked as seen" } else { "the start" };
        found.warning(subject, format!("{what} since {since}, the last {} ago", span(lately.ago_ms)), command);
    }
}
