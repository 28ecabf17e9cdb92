//! Records for machines among the lines of log: who asked for what (access), and who ordered what (audit). One JSON
//! object a line, with `log` first, on the same way out.
use std::net::IpAddr;

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::form::{self, Priority};
use super::lines::Lines;

/// Which requests of clients are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Off,
    /// One of a hundred, and every answer of 500 and above.
    Sampled,
    All,
}

/// One request of a client.
#[derive(Debug, Serialize)]
pub struct Access<'a> {
    pub request_id: &'a str,
    pub client: IpAddr,
    pub method: &'a str,
    /// Without the query, which may hold what nobody else is to read.
    pub path: &'a str,
    pub service: Option<&'a str>,
    /// Absent: the client went before it was answered.
    pub status: Option<u16>,
    /// The site whose replica answered.
    pub served_by: Option<&'a str>,
    /// It was a recorded answer.
    pub replayed: bool,
    /// Until the head of the answer was ready.
    pub ms: f64,
}

/// One order of a person, whatever came of it.
#[derive(Debug, Serialize)]
pub struct Audit<'a> {
    pub request_id: &'a str,
    pub client: Option<IpAddr>,
    /// How it was shown that it may be given.
    pub by: &'static str,
    /// As in the API.
    pub order: &'a str,
    /// Which: the choice of an order about many.
    pub choice: &'a str,
    pub status: u16,
    /// What was answered.
    pub result: serde_json::Value,
}

#[derive(Serialize)]
struct Record<'a, T> {
    log: &'static str,
    timestamp: String,
    #[serde(flatten)]
    record: &'a T,
}

/// Of these many are lost before one line of log is.
pub fn access(record: &Access<'_>) {
    Lines::standard().push_light(line("access", record));
}

/// Older lines make room for it.
pub fn audit(record: &Audit<'_>) {
    Lines::standard().push_last(line("audit", record));
}

fn line(log: &'static str, record: &impl Serialize) -> Vec<u8> {
    let mut timestamp = String::new();
    // As in the lines around it; without the clock it stays empty.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let record = Record { log, timestamp, record };
    let text = serde_json::to_string(&record).expect("texts and numbers always serialise");
    form::lines(&text, Priority::Info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json_that_says_which_log_it_is_of() {
        let record = Access {
            request_id: "r\n1",
            client: [127, 0, 0, 1].into(),
            method: "POST",
            path: "/tx/\"1\"",
            service: None,
            status: Some(201),
            served_by: Some("store"),
            replayed: false,
            ms: 1.5,
        };
        let line = String::from_utf8(line("access", &record)).unwrap();
        assert!(line.starts_with("{\"log\":\"access\",\"timestamp\":\"20") && line.ends_with("}\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["path"], &value["status"]), (&"/tx/\"1\"".into(), &201.into()));
    }
}
