//! `peers`, `services`, `writes`.
use std::process::ExitCode;

use serde_json::Value;

use super::account;
use super::args::{Ask, ServicesCommand, WritesCommand};
use super::client::{escape, get, post};
use super::exit::Failure;
use super::output::{Column, Show, cell, print};
use super::table::{table, width, wrapped};
use crate::admin::words::span;

pub(super) const PEERS: &[Column] = &[
    ("SITE", "/site", Show::Plain),
    ("LINKED", "/linked", Show::Plain),
    ("SINCE", "/since_ms", Show::Ago),
    ("CONTROL", "/control", Show::Plain),
    ("NOT RECEIVED", "/not_received", Show::Plain),
    ("NOT DECIDED", "/not_decided", Show::Plain),
    ("LAG", "/lag_ms", Show::Ms),
];

const PEERS_WIDE: &[Column] = &[
    ("SITE", "/site", Show::Plain),
    ("LINKED", "/linked", Show::Plain),
    ("SINCE", "/since_ms", Show::Ago),
    ("CONTROL", "/control", Show::Plain),
    ("ADDRESS", "/address", Show::Plain),
    ("NOT RECEIVED", "/not_received", Show::Plain),
    ("OLDEST", "/not_received_age_ms", Show::Ms),
    ("NOT DECIDED", "/not_decided", Show::Plain),
    ("LAG", "/lag_ms", Show::Ms),
    ("DIFFERS", "/differs", Show::Plain),
    ("LAST ERROR", "/last_error", Show::Plain),
];

/// The way through a write's life, and below it what names it.
const WRITES: &[Column] = &[
    ("WHEN", "/original_ms", Show::Ago),
    ("REQUEST", "/request", Show::Plain),
    ("LANE", "/lane", Show::Plain),
    ("ORIGIN", "/origin_words", Show::Plain),
    ("SERVICE", "/service", Show::Common),
    ("STORE", "/store", Show::Common),
    ("DECIDED", "/decided_words", Show::Plain),
    ("ID", "/id", Show::Plain),
];

const WRITES_WIDE: &[Column] = &[
    ("ID", "/id", Show::Plain),
    ("WHEN", "/original_ms", Show::Ago),
    ("ACCEPTED", "/original_ms", Show::Date),
    ("SERVICE", "/service", Show::Plain),
    ("STORE", "/store", Show::Plain),
    ("METHOD", "/method", Show::Plain),
    ("TARGET", "/target", Show::Plain),
    ("LANE", "/lane", Show::Plain),
    ("ORIGIN", "/origin_words", Show::Plain),
    ("DECIDED", "/decided_words", Show::Plain),
    ("VERDICT", "/verdict", Show::Plain),
    ("STATUS", "/status", Show::Plain),
    ("POSITION", "/position", Show::Plain),
];

const CONFLICTS: &[Column] = &[
    ("WHEN", "/at_ms", Show::Ago),
    ("WHAT", "/what", Show::Plain),
    ("SERVICE", "/service", Show::Common),
    ("STORE", "/store", Show::Common),
    ("WRITE", "/write", Show::Plain),
    ("WITH", "/with", Show::Plain),
];

pub(super) type Done = Result<ExitCode, Failure>;

pub(super) fn show(ask: &Ask, path: &str, table: impl FnOnce(&Value) -> String) -> Done {
    let value = get(ask, path)?;
    print(ask.output, &value, table)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn order(ask: &Ask, path: &str, said: &str) -> Done {
    let value = post(ask, path)?;
    print(ask.output, &value, |_| format!("{said}\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn peers(ask: &Ask) -> Done {
    show(ask, "/api/v1/peers", |value| table(&with_since(value), columns_of(ask, PEERS, PEERS_WIDE), width(ask)))
}

/// Of one that was not linked since the start nobody knows since when: the start is named as what it is.
pub(super) fn with_since(peers: &Value) -> Value {
    let mut peers = peers.clone();
    for peer in peers.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if peer.get("was_linked") == Some(&Value::Bool(false)) {
            let since = cell(peer.get("since_ms"), Show::Ago);
            peer.insert("since_ms".to_owned(), Value::String(format!("start, {since}")));
        }
    }
    peers
}

pub(super) fn columns_of<'c>(ask: &Ask, narrow: &'c [Column], wide: &'c [Column]) -> &'c [Column] {
    if ask.wide { wide } else { narrow }
}

pub(super) fn services(command: Option<ServicesCommand>, ask: &Ask) -> Done {
    let columns: &[Column] = &[
        ("NAME", "/name", Show::Plain),
        ("MATCHES", "/matches", Show::Plain),
        ("REPLICAS", "/replicas", Show::Plain),
        ("ENDPOINTS", "/endpoints", Show::Plain),
    ];
    match command {
        None => show(ask, "/api/v1/services", |value| {
            let width = width(ask);
            format!("{}{}", table(&flat_endpoints(value), columns, width), troubles(value, width))
        }),
        Some(ServicesCommand::Resume { service, store }) => {
            let path = format!("/api/v1/services/{}/resume?store={}", escape(&service), escape(&store));
            order(ask, &path, &format!("{service} follows again"))
        }
    }
}

/// `127.0.0.1:9001 (down)` in place of an object.
fn flat_endpoints(services: &Value) -> Value {
    let mut services = services.clone();
    for service in services.as_array_mut().into_iter().flatten() {
        for endpoint in service.get_mut("endpoints").and_then(Value::as_array_mut).into_iter().flatten() {
            let url = endpoint.get("url").and_then(Value::as_str).unwrap_or("?");
            let down = if endpoint.get("healthy") == Some(&Value::Bool(true)) { "" } else { " (down)" };
            *endpoint = Value::String(format!("{url}{down}"));
        }
    }
    services
}

/// What is the matter with endpoints that are down.
fn troubles(services: &Value, width: Option<usize>) -> String {
    let mut said = String::new();
    for service in services.as_array().into_iter().flatten() {
        for endpoint in service.get("endpoints").and_then(Value::as_array).into_iter().flatten() {
            let (Some(ms), Some(why)) =
                (endpoint.get("down_ms").and_then(Value::as_u64), endpoint.get("why").filter(|why| why.is_string()))
            else {
                continue;
            };
            let (name, url) = (cell(service.get("name"), Show::Plain), cell(endpoint.get("url"), Show::Plain));
            let line = format!("{name}: {url} is down for {}: {}", span(ms), cell(Some(why), Show::Plain));
            said.push_str(&wrapped(&line, "", width));
        }
    }
    if said.is_empty() { said } else { format!("\n{said}") }
}

/// `POST /tx/sale` in one.
fn with_request(writes: &Value) -> Value {
    let mut writes = writes.clone();
    for write in writes.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let text = |name: &str| write.get(name).and_then(Value::as_str).map(str::to_owned);
        let (method, target, said, hash) = (text("method"), text("target"), text("lane_words"), text("lane"));
        if let (Some(method), Some(target)) = (method, target) {
            write.insert("request".to_owned(), Value::String(format!("{method} {target}")));
        }
        // A hash that nobody has said is told apart by its beginning.
        let lane = said.or_else(|| Some(format!("#{}", hash?.get(..8)?)));
        write.insert("lane".to_owned(), lane.map_or(Value::Null, Value::String));
    }
    writes
}

pub(super) fn writes(command: WritesCommand) -> Done {
    match command {
        WritesCommand::Ls { service, open, after, limit, ask } => {
            let mut path = format!("/api/v1/writes?limit={limit}&open={open}");
            for (name, value) in [("service", service), ("after", after)] {
                path.extend(value.map(|value| format!("&{name}={}", escape(&value))));
            }
            show(&ask, &path, |value| {
                let more = value.get("more") == Some(&Value::Bool(true));
                let hint = if more { "there are more: --after with the last id, or --limit\n" } else { "" };
                let list = with_request(&value["writes"]);
                format!("{}{hint}", table(&list, columns_of(&ask, WRITES, WRITES_WIDE), width(&ask)))
            })
        }
        WritesCommand::Conflicts { ask } => show(&ask, "/api/v1/conflicts", |list| {
            let hint = match list.as_array().is_some_and(Vec::is_empty) {
                true => "",
                false => "`holdfast writes show ID` tells of each; `holdfast status --seen` when that was looked at\n",
            };
            format!("{}{hint}", table(list, CONFLICTS, width(&ask)))
        }),
        WritesCommand::Show { asked, body, ask } => {
            let path = format!("/api/v1/writes/{}?body={body}", escape(&asked));
            show(&ask, &path, |write| account::write(write, &ask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::now_ms;
    use serde_json::json;

    #[test]
    fn a_list_of_writes_fits_and_names_each_of_them_whole() {
        let id = "01010101010101010101010101010101.1:4711";
        let list = json!([{
            "id": id, "service": "transactions", "store": "store-042", "method": "POST",
            "target": "/transactions/a/long/way/down/to/the/resource", "original_ms": 0,
            "lane": "0123456789abcdef", "lane_words": null,
            "origin_words": "store-042, waits for cloud", "decided_words": "quarantine: \
            may-have-applied", "status": 500,
        }]);
        let shown = table(&with_request(&list), WRITES, Some(80));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        for part in
            [id, "POST /transactions", "#01234567", "store-042, waits for cloud", "quarantine: may-have-applied"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    /// What the handbook shows is what this prints.
    #[test]
    fn the_example_of_the_handbook_is_true() {
        let write = |n: u64, ms: u64, lane: Option<&str>, origin: &str, decided: &str, status: Option<u64>| {
            json!({
                "id": format!("8f14e45fceea467fa1d2b3c4d5e6f708.1:{n}"), "service": "transactions", "store": "store-042",
                "method": "POST", "target": "/transactions", "original_ms": now_ms() - ms, "lane_words": lane,
                "lane": "91b2c4d5e6f70812", "origin_words": origin, "decided_words": decided, "status": status,
            })
        };
        let list = json!([
            write(4713, 4_000, Some("till-7"), "here, waits for cloud", "not yet", None),
            write(4712, 61_000, Some("till-2"), "here, applied", "applied", Some(201)),
            write(4711, 200_000, None, "here, answered 500", "quarantine: may-have-applied", Some(500)),
        ]);
        let shown = format!("$ holdfast writes ls\n{}", table(&with_request(&list), WRITES, Some(80)));
        let handbook = include_str!("../../docs/operating.md");
        assert!(handbook.contains(&shown), "docs/operating.md does not show:\n{shown}");
    }

    #[test]
    fn a_start_is_not_shown_as_the_begin_of_a_cut() {
        let peer = |was_linked: bool| json!({ "site": "cloud", "linked": false, "since_ms": now_ms() - 190_500, "was_linked": was_linked });
        let shown = table(&with_since(&json!([peer(false), peer(true)])), PEERS, Some(80));
        assert!(shown.contains("start, 3 min ago") && shown.contains("no      3 min ago"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    #[test]
    fn what_is_the_matter_with_an_endpoint_is_said() {
        let services = json!([{ "name": "tx", "endpoints": [
            { "url": "127.0.0.1:1", "healthy": false, "down_ms": 200_000, "why": "connecting to 127.0.0.1:1: refused" },
            { "url": "127.0.0.1:2", "healthy": true, "down_ms": null, "why": null },
        ]}]);
        assert_eq!(
            troubles(&services, Some(80)),
            "\ntx: 127.0.0.1:1 is down for 3 min: connecting to 127.0.0.1:1: refused\n"
        );
        let far = json!([{ "name": "tx", "endpoints": [{
            "url": format!("{}.example.com:443", "a".repeat(70)), "healthy": false, "down_ms": 1,
            "why": format!("GET /{} answered 503", "b".repeat(90)),
        }]}]);
        let shown = troubles(&far, Some(80));
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        assert_eq!(flat_endpoints(&services)[0]["endpoints"], json!(["127.0.0.1:1 (down)", "127.0.0.1:2"]));
    }
}
