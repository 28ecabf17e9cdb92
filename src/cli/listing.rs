//! `status`, `peers`, `services`, `writes`.
use std::process::ExitCode;

use serde_json::Value;

use super::args::{Ask, ServicesCommand, WritesCommand};
use super::client::{escape, get, post};
use super::exit::Failure;
use super::output::{Column, Show, fields, print, rows};

const GROUPS: &[Column] = &[
    ("SERVICE", "/service", Show::Plain),
    ("STORE", "/store", Show::Plain),
    ("DECIDES", "/decider", Show::Plain),
    ("HEALTHY", "/healthy", Show::Plain),
    ("STOPPED", "/stopped", Show::Plain),
    ("LAG", "/lag_ms", Show::Ms),
    ("OPEN", "/open_writes", Show::Plain),
    ("QUEUED", "/queued", Show::Plain),
    ("UNKNOWN", "/unknown", Show::Plain),
    ("QUARANTINE", "/quarantine", Show::Plain),
    ("NOT EQUAL", "/not_equal", Show::Plain),
    ("CONCURRENT", "/concurrent", Show::Plain),
];

const PEERS: &[Column] = &[
    ("SITE", "/site", Show::Plain),
    ("LINKED", "/linked", Show::Plain),
    ("SINCE", "/since_ms", Show::Date),
    ("CONTROL", "/control", Show::Plain),
    ("ADDRESS", "/address", Show::Plain),
    ("NOT RECEIVED", "/not_received", Show::Plain),
    ("NOT DECIDED", "/not_decided", Show::Plain),
    ("LAG", "/lag_ms", Show::Ms),
    ("LAST ERROR", "/last_error", Show::Plain),
];

const WRITES: &[Column] = &[
    ("ID", "/id", Show::Plain),
    ("SERVICE", "/service", Show::Plain),
    ("STORE", "/store", Show::Plain),
    ("METHOD", "/method", Show::Plain),
    ("TARGET", "/target", Show::Plain),
    ("ORIGIN", "/origin", Show::Plain),
    ("HERE", "/here", Show::Plain),
    ("VERDICT", "/verdict", Show::Plain),
    ("STATUS", "/status", Show::Plain),
    ("POSITION", "/position", Show::Plain),
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

pub(super) fn status(ask: &Ask) -> Done {
    show(ask, "/api/v1/status", status_table)
}

fn status_table(status: &Value) -> String {
    let text =
        |at: &str| status.pointer(at).map_or("-".to_owned(), |v| v.as_str().map_or(v.to_string(), str::to_owned));
    let head = serde_json::json!([{
        "site": text("/site"), "realm": text("/realm"), "version": text("/version"), "state": text("/health/state"),
        "uptime": status.pointer("/uptime_s").and_then(Value::as_u64).map(|s| s * 1000),
        "free": status.pointer("/store/free_bytes"), "journal": status.pointer("/store/journal_bytes"),
        "hours": status.pointer("/store/hours_left"), "reasons": status.pointer("/health/reasons"),
    }]);
    let columns: &[Column] = &[
        ("SITE", "/site", Show::Plain),
        ("REALM", "/realm", Show::Plain),
        ("VERSION", "/version", Show::Plain),
        ("STATE", "/state", Show::Plain),
        ("UP", "/uptime", Show::Ms),
        ("DISK FREE", "/free", Show::Bytes),
        ("JOURNAL", "/journal", Show::Bytes),
        ("HOURS LEFT", "/hours", Show::Plain),
        ("LOOK AT", "/reasons", Show::Plain),
    ];
    let part = |name: &str| status.get(name).cloned().unwrap_or_default();
    format!("{}\n{}\n{}", rows(&head, columns), rows(&part("groups"), GROUPS), rows(&part("peers"), PEERS))
}

pub(super) fn peers(ask: &Ask) -> Done {
    show(ask, "/api/v1/peers", |value| rows(value, PEERS))
}

pub(super) fn services(command: Option<ServicesCommand>, ask: &Ask) -> Done {
    let columns: &[Column] = &[
        ("NAME", "/name", Show::Plain),
        ("MATCHES", "/matches", Show::Plain),
        ("REPLICAS", "/replicas", Show::Plain),
        ("ENDPOINTS", "/endpoints", Show::Plain),
    ];
    match command {
        None => show(ask, "/api/v1/services", |value| rows(&flat_endpoints(value), columns)),
        Some(ServicesCommand::Resume { service, store }) => {
            let path = format!("/api/v1/services/{}/resume?store={}", escape(&service), escape(&store));
            order(ask, &path, &format!("{service} follows again"))
        }
    }
}

/// `http://127.0.0.1:9001 (down)` in place of an object.
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
                format!("{}{hint}", rows(&value["writes"], WRITES))
            })
        }
        WritesCommand::Show { asked, ask } => show(&ask, &format!("/api/v1/writes/{}", escape(&asked)), |value| {
            let replicas: &[Column] = &[
                ("REPLICA", "/site", Show::Plain),
                ("RECEIVED", "/received", Show::Plain),
                ("DECIDED", "/decided", Show::Plain),
            ];
            let mut rest = value.clone();
            let sites = rest.as_object_mut().and_then(|object| object.remove("replicas")).unwrap_or_default();
            format!("{}\n{}", fields(&rest), rows(&sites, replicas))
        }),
    }
}
