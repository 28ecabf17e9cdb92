//! `status`: what a person must know, and how the site stands.
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::args::{ADMIN, Ask, Output, StatusArguments};
use super::client::{get, get_within, post};
use super::listing::{Done, PEERS, columns_of, with_since};
use super::output::{Column, Show, cell, is_reader_gone, print, result, screen, shown};
use super::table::{table, width, wrapped};
use crate::admin::words::span;

const PATH: &str = "/api/v1/status";
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Monitoring gives a plugin about as long.
const CHECK_WITHIN: Duration = Duration::from_secs(9);

const GROUPS: &[Column] = &[
    ("SERVICE", "/service", Show::Plain),
    ("STORE", "/store", Show::Common),
    ("DECIDES", "/decider", Show::Plain),
    ("HEALTHY", "/healthy", Show::Plain),
    ("STOPPED", "/stop", Show::Rare),
    ("LAG", "/lag_ms", Show::Ms),
    ("OPEN", "/open_writes", Show::Plain),
    ("QUEUED", "/queued", Show::Plain),
    ("QUARANTINE", "/quarantine", Show::Plain),
    ("NOT EQUAL", "/not_equal", Show::Plain),
];

const GROUPS_WIDE: &[Column] = &[
    ("SERVICE", "/service", Show::Plain),
    ("STORE", "/store", Show::Plain),
    ("DECIDES", "/decider", Show::Plain),
    ("HEALTHY", "/healthy", Show::Plain),
    ("LAG", "/lag_ms", Show::Ms),
    ("OPEN", "/open_writes", Show::Plain),
    ("QUEUED", "/queued", Show::Plain),
    ("UNKNOWN", "/unknown", Show::Plain),
    ("QUARANTINE", "/quarantine", Show::Plain),
    ("NOT EQUAL", "/not_equal", Show::Plain),
    ("CONCURRENT", "/concurrent", Show::Plain),
    ("STOPPED", "/stopped", Show::Plain),
];

pub(super) fn status(arguments: &StatusArguments) -> Done {
    let ask = &arguments.ask;
    if arguments.check {
        return check(ask);
    }
    if arguments.seen {
        let said = post(ask, "/api/v1/seen")?;
        print(ask.output, &said, |said| seen(said, width(ask)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let first = get(ask, PATH)?;
    if !arguments.watch {
        print(ask.output, &first, |value| page(value, ask, width(ask)))?;
        return Ok(ExitCode::SUCCESS);
    }
    watch(first, ask)
}

/// Until nobody looks any more. An appliance that is started anew is waited for.
fn watch(first: Value, ask: &Ask) -> Done {
    let clears = std::io::stdout().is_terminal() && ask.output == Output::Table;
    let mut said = Ok(first);
    loop {
        let text = match (&said, ask.output) {
            (Ok(value), Output::Json) => format!("{value}\n"),
            (Ok(value), Output::Table) => page(value, ask, width(ask)),
            (Err(failure), _) => format!("{failure}\n"),
        };
        let is_wanted = if clears { screen(&text) } else { shown(&format!("{text}\n")) }?;
        if !is_wanted || is_reader_gone(WATCH_EVERY) {
            return Ok(ExitCode::SUCCESS);
        }
        said = get(ask, PATH);
    }
}

fn page(status: &Value, ask: &Ask, width: Option<usize>) -> String {
    let part = |name: &str| status.get(name).cloned().unwrap_or_default();
    let looks = looks(status, ask, width);
    let groups = match part("groups") {
        Value::Array(groups) if groups.is_empty() => "no service with replicas\n".to_owned(),
        groups => table(&groups, columns_of(ask, GROUPS, GROUPS_WIDE), width),
    };
    let peers = match part("peers") {
        Value::Array(peers) if peers.is_empty() => String::new(),
        peers => format!("\n{}", table(&with_since(&peers), PEERS, width)),
    };
    format!("{looks}{}\n{groups}{peers}", head(status, width))
}

/// The site, its journal and its disk in words.
fn head(status: &Value, width: Option<usize>) -> String {
    let text = |at: &str| cell(status.pointer(at), Show::Plain);
    let number = |at: &str| status.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    let bytes = |at: &str| cell(status.pointer(at), Show::Bytes);
    let well = if text("/health/grade") == "ok" { ", nothing to look at" } else { "" };
    let site = format!(
        "{} of {}: {}{well}, up for {}, version {}",
        text("/site"),
        text("/realm"),
        text("/health/state"),
        span(number("/uptime_s").saturating_mul(1_000)),
        text("/version"),
    );
    let left = match status.pointer("/store/hours_left").and_then(Value::as_f64) {
        Some(hours) => {
            let over_s = number("/store/hours_left_over_s");
            let over = if over_s < 3_600 { span(over_s.saturating_mul(1_000)) } else { "hour".to_owned() };
            format!(", {} left as it filled in the last {over}", span((hours * 3_600_000.0) as u64))
        }
        None => String::new(),
    };
    let disk = format!(
        "journal {}, disk {} free{left}, reserve {}",
        bytes("/store/journal_bytes"),
        bytes("/store/free_bytes"),
        bytes("/store/reserve_bytes"),
    );
    format!("{}{}", wrapped(&site, "", width), wrapped(&disk, "", width))
}

/// Each with its command below.
fn looks(status: &Value, ask: &Ask, width: Option<usize>) -> String {
    let looks = status.pointer("/health/look_at").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if looks.is_empty() {
        return String::new();
    }
    let mut out = "LOOK AT\n".to_owned();
    for one in looks {
        let text = |name: &str| cell(one.get(name), Show::Plain);
        let grade = if text("grade") == "critical" { "CRITICAL " } else { "" };
        out.push_str(&wrapped(&format!("{grade}{}: {}", text("subject"), text("what")), "  ", width));
        out.push_str(&format!("      {}\n", addressed(&text("command"), ask)));
    }
    out.push('\n');
    out
}

/// What was marked.
fn seen(said: &Value, width: Option<usize>) -> String {
    let said = said.as_array().map(Vec::as_slice).unwrap_or_default();
    if said.is_empty() {
        return "nothing has happened that was not seen\n".to_owned();
    }
    let text = |one: &Value, name: &str| cell(one.get(name), Show::Plain);
    said.iter()
        .map(|one| wrapped(&format!("seen: {}: {}", text(one, "subject"), text(one, "what")), "", width))
        .collect()
}

/// The command, for the appliance that was asked.
fn addressed(command: &str, ask: &Ask) -> String {
    let asks = ["status", "peers", "services", "writes", "quarantine"];
    let mut words = command.split(' ');
    let is_asking = words.next() == Some("holdfast") && words.next().is_some_and(|word| asks.contains(&word));
    if is_asking && ask.admin != ADMIN { format!("{command} --admin {}", ask.admin) } else { command.to_owned() }
}

/// The exit codes are those of monitoring plugins, and no others.
fn check(ask: &Ask) -> Done {
    let (line, code) = match get_within(ask, PATH, CHECK_WITHIN) {
        Ok(status) => verdict(&status, ask),
        Err(failure) => (format!("HOLDFAST UNKNOWN - {}", one_line(&failure)), 3),
    };
    result(&format!("{line}\n"))?;
    Ok(ExitCode::from(code))
}

fn verdict(status: &Value, ask: &Ask) -> (String, u8) {
    let looks = status.pointer("/health/look_at").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (word, code) = match status.pointer("/health/grade").and_then(Value::as_str) {
        Some("ok") => ("OK", 0),
        Some("warning") => ("WARNING", 1),
        Some("critical") => ("CRITICAL", 2),
        _ => ("UNKNOWN", 3),
    };
    let text = |of: &Value, name: &str| cell(of.get(name), Show::Plain);
    let said = match looks.first() {
        Some(first) => {
            let command = addressed(&text(first, "command"), ask);
            let others = if looks.len() > 1 { format!("; and {} more", looks.len() - 1) } else { String::new() };
            format!("{}: {} ({command}){others}", text(first, "subject"), text(first, "what"))
        }
        None => format!("{} is {}", text(status, "site"), cell(status.pointer("/health/state"), Show::Plain)),
    };
    let sum = |list: &str, name: &str| {
        let list = status.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|one| one.get(name)?.as_u64()).sum::<u64>()
    };
    let numbers = format!(
        "look_at={} quarantine={} not_received={} free={}B",
        looks.len(),
        sum("groups", "quarantine"),
        sum("peers", "not_received"),
        status.pointer("/store/free_bytes").and_then(Value::as_u64).unwrap_or_default(),
    );
    (format!("HOLDFAST {word} - {} | {numbers}", one_line(said)), code)
}

/// Behind a bar monitoring expects numbers.
fn one_line(text: impl ToString) -> String {
    let text = text.to_string().replace('|', "/");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::now_ms;
    use serde_json::json;

    fn ask(admin: &str, wide: bool) -> Ask {
        Ask { admin: admin.to_owned(), token: None, output: Output::Table, wide }
    }

    fn status(grade: &str, look_at: Value) -> Value {
        json!({
            "site": "store-042", "realm": "acme", "version": "0.1.0", "uptime_s": 200,
            "health": { "state": "ready", "grade": grade, "reasons": [], "look_at": look_at },
            "store": { "free_bytes": 78_383_153_152_u64, "journal_bytes": 4_200_000, "reserve_bytes": 536_870_912,
                       "hours_left": 40.5, "hours_left_over_s": 660 },
            "groups": [{ "service": "transactions", "store": "store-042", "decider": "store-042", "healthy": false,
                         "stop": "divergences", "stopped": "too many differ", "lag_ms": 12_000_000, "open_writes": 12_345,
                         "queued": 12_345, "quarantine": 500, "not_equal": 250, "unknown": 7, "concurrent": 9 }],
            "peers": [{ "site": "cloud", "linked": false, "since_ms": now_ms() - 190_000, "was_linked": true, "control": false,
                        "not_received": 92, "not_decided": 120, "lag_ms": 180_000, "last_error": "refused" }],
        })
    }

    fn down() -> Value {
        json!([
            { "grade": "critical", "subject": "transactions", "command": "holdfast services",
              "what": "no healthy endpoint at this site for 3 min: connecting to 127.0.0.1:9001: Connection refused \
              | x" },
            { "grade": "warning", "subject": "cloud", "what": "away for 3 min", "command": "holdfast peers --wide" },
        ])
    }

    #[test]
    fn what_must_be_known_stands_first_with_its_command_and_no_line_is_too_long() {
        let page = page(&status("critical", down()), &ask("http://127.0.0.1:9798", false), Some(80));
        assert!(page.starts_with("LOOK AT\n  CRITICAL transactions: no healthy endpoint"), "{page}");
        assert!(page.contains("\n      holdfast services --admin http://127.0.0.1:9798\n"), "{page}");
        for part in [
            "store-042 of acme: ready",
            "up for 3 min",
            "40 h left as it filled in the last 11 min",
            "NOT EQUAL",
            "250",
            "3 min ago",
            "92",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let too_long = page.lines().find(|line| line.chars().count() > 80);
        assert_eq!(too_long, None, "{page}");
    }

    #[test]
    fn a_site_that_is_well_says_so() {
        let page = page(&status("ok", json!([])), &ask(ADMIN, false), Some(80));
        assert!(page.starts_with("store-042 of acme: ready, nothing to look at"), "{page}");
    }

    #[test]
    fn all_columns_are_shown_to_who_asks_for_them() {
        let page = page(&status("ok", json!([])), &ask(ADMIN, true), None);
        assert!(page.contains("CONCURRENT") && page.contains("too many differ"), "{page}");
    }

    /// What the handbook shows is what this prints.
    #[test]
    fn the_example_of_the_handbook_is_true() {
        let mut status = status(
            "critical",
            json!([
                { "grade": "critical", "subject": "transactions", "command": "holdfast services",
                  "what": "no healthy endpoint at this site for 3 min: connecting to 127.0.0.1:9001: Connection \
                  refused \
                           (os error 111); its last 12 tries failed; nobody else can be asked" },
                { "grade": "warning", "subject": "transactions", "what":
                  "2 in quarantine (2 may-have-applied), not equal: 1 lane",
                  "command": "holdfast quarantine ls --service transactions" },
                { "grade": "warning", "subject": "cloud", "command": "holdfast peers --wide",
                  "what": "away for 3 min, 92 writes owed, the oldest of 3 min ago; last: Connection refused (os \
                  error 111)" },
            ]),
        );
        status["store"]["hours_left"] = Value::Null;
        status["groups"] = json!([{
            "service": "transactions", "store": "store-042", "decider": null, "healthy": false, "stop": null,
            "stopped": null, "lag_ms": 0, "open_writes": 0, "queued": 0, "quarantine": 2, "not_equal": 1,
        }]);
        let shown = format!("$ holdfast status\n{}", page(&status, &ask(ADMIN, false), Some(80)));
        let handbook = include_str!("../../docs/operating.md");
        assert!(handbook.contains(&shown), "docs/operating.md does not show:\n{shown}");
    }

    #[test]
    fn monitoring_gets_one_line_and_the_code() {
        // status | begin of the line | code
        for (status, begins, code) in [
            (status("ok", json!([])), "HOLDFAST OK - store-042 is ready | look_at=0 quarantine=500", 0),
            (status("warning", json!([down()[1]])), "HOLDFAST WARNING - cloud: away for 3 min (holdfast peers", 1),
            (status("critical", down()), "HOLDFAST CRITICAL - transactions: no healthy endpoint", 2),
            (json!({}), "HOLDFAST UNKNOWN - ", 3),
        ] {
            let (line, said) = verdict(&status, &ask(ADMIN, false));
            assert_eq!(said, code, "{line}");
            assert!(line.starts_with(begins), "{line}");
            assert_eq!((line.lines().count(), line.matches('|').count()), (1, 1), "{line}");
        }
    }
}
