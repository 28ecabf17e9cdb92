//! `quarantine show` and `writes show`: one write, as a person reads it.
use std::fmt::Write as _;

use serde_json::Value;

use super::args::Ask;
use super::output::{Column, Show, now_ms, rows, safe};
use crate::admin::words::ago;
use crate::gateway::rfc3339_ms;

const DEFAULT_ADMIN: &str = "http://127.0.0.1:9797";
const LABEL: usize = 10;

const REPLICAS: &[Column] = &[
    ("REPLICA", "/site", Show::Plain),
    ("RECEIVED", "/received", Show::Plain),
    ("DECIDED", "/decided_words", Show::Plain),
];

/// One entry of the quarantine.
pub(super) fn quarantined(entry: &Value, ask: &Ask) -> String {
    quarantined_at(entry, ask, now_ms())
}

fn quarantined_at(entry: &Value, ask: &Ask, now_ms: u64) -> String {
    let mut page = Page::new(now_ms);
    page.line("WRITE", &page.text(entry, "/id"));
    page.entry(entry);
    page.account(entry);
    page.difference(entry);
    page.exchange(entry, entry.get("answer"));
    page.next(entry, ask);
    page.out
}

pub(super) fn write(write: &Value, ask: &Ask) -> String {
    let mut page = Page::new(now_ms());
    page.line("WRITE", &page.text(write, "/id"));
    page.standing(write);
    let entry = write.get("quarantine").filter(|entry| !entry.is_null());
    if let Some(entry) = entry {
        page.entry(entry);
    }
    page.account(write);
    if let Some(entry) = entry {
        page.difference(entry);
    }
    page.exchange(write, entry.and_then(|entry| entry.get("answer")));
    page.heading("REPLICAS");
    page.out.push_str(&rows(&write["replicas"], REPLICAS));
    if let Some(entry) = entry {
        page.next(entry, ask);
    }
    page.out
}

struct Page {
    out: String,
    now_ms: u64,
}

impl Page {
    fn new(now_ms: u64) -> Self {
        Self { out: String::new(), now_ms }
    }

    /// What it says, safe for a terminal; empty where it says nothing.
    fn text(&self, value: &Value, at: &str) -> String {
        match value.pointer(at) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => safe(text),
            Some(other) => safe(&other.to_string()),
        }
    }

    /// Nothing where there is nothing to say.
    fn line(&mut self, label: &str, text: &str) {
        if !text.is_empty() {
            writeln!(self.out, "{label:LABEL$}{text}").expect("a String takes everything");
        }
    }

    fn heading(&mut self, title: &str) {
        writeln!(self.out, "\n{title}").expect("a String takes everything");
    }

    fn standing(&mut self, write: &Value) {
        let of = |at: &str| self.text(write, at);
        let mut stands = vec![format!("{}; this replica: {}", of("/origin_words"), of("/decided_words"))];
        for (name, at) in [("status", "/status"), ("position", "/position")] {
            let text = of(at);
            if !text.is_empty() {
                stands.push(format!("{name} {text}"));
            }
        }
        let (repeats, decides) = (of("/repeats"), of("/decides"));
        self.line("STANDS", &stands.join(", "));
        self.line("REPEATS", &repeats);
        self.line("DECIDES", &decides);
    }

    fn entry(&mut self, entry: &Value) {
        let of = |at: &str| self.text(entry, at);
        let since = self.moment(entry.pointer("/since_ms"));
        let (reason, detail) = (of("/reason"), of("/detail"));
        let waits: Vec<String> =
            entry["waits_for"].as_array().into_iter().flatten().filter_map(Value::as_str).map(safe).collect();
        let behind = of("/behind");
        let others = entry.pointer("/others_behind").and_then(Value::as_u64).unwrap_or_default();
        self.line("REASON", &reason);
        self.line("DETAIL", &detail);
        self.line("SINCE", &since);
        self.line("WAITS FOR", &waits.join(", "));
        match (behind.is_empty(), others) {
            (false, _) => self.line("BEHIND", &format!("{behind}, the first of its lane")),
            (true, 0) => {}
            (true, 1) => self.line("BEHIND IT", "1 of its lane"),
            (true, others) => self.line("BEHIND IT", &format!("{others} of its lane")),
        }
    }

    fn account(&mut self, of: &Value) {
        let text = |at: &str| self.text(of, at);
        let store = text("/store");
        let service = [text("/service"), if store.is_empty() { store } else { format!("store {store}") }];
        let service: Vec<String> = service.into_iter().filter(|part| !part.is_empty()).collect();
        let asked = match of.get("request").filter(|request| !request.is_null()) {
            Some(_) => format!("{} {}", text("/request/method"), text("/request/target")),
            None => format!("{} {}", text("/method"), text("/target")),
        };
        let origin = text("/origin_site");
        let accepted = self.moment(of.pointer("/accepted_ms"));
        let at = if origin.is_empty() || accepted.is_empty() { accepted } else { format!("{accepted} at {origin}") };
        let (by, mark) = (text("/client/by"), text("/client/mark"));
        let client = match (of.pointer("/client").is_none_or(Value::is_null), mark.is_empty()) {
            (true, _) => String::new(),
            (false, true) => "nobody in particular".to_owned(),
            (false, false) => format!("{mark} (stands for its {by})"),
        };
        let address = text("/client/address");
        let address = if address.is_empty() { address } else { format!(" from {address}") };
        let (rule, value) = (text("/lane_said/rule"), text("/lane_said/value"));
        let said = if value.is_empty() { rule } else { format!("{rule} = {value}") };
        let lane = text("/lane");
        let lane = if lane.is_empty() { lane } else { format!("({lane})") };
        let key = text("/key");
        self.line("SERVICE", &service.join(", "));
        self.line("REQUEST", asked.trim());
        self.line("ACCEPTED", &at);
        self.line("CLIENT", &format!("{client}{address}"));
        self.line("KEY", &key);
        self.line("LANE", format!("{said} {lane}").trim());
        for note in of.get("elsewhere").and_then(Value::as_array).into_iter().flatten() {
            self.line("NOT HERE", &safe(note.as_str().unwrap_or_default()));
        }
    }

    fn difference(&mut self, entry: &Value) {
        let lines: Vec<String> =
            entry["differences"].as_array().into_iter().flatten().filter_map(Value::as_str).map(safe).collect();
        if !lines.is_empty() {
            let compared = self.text(entry, "/compared");
            self.heading("WHAT DIFFERS");
            for line in &lines {
                writeln!(self.out, "  {line}").expect("a String takes everything");
            }
            if !compared.is_empty() {
                writeln!(self.out, "  (compared are {compared})").expect("a String takes everything");
            }
        }
    }

    fn exchange(&mut self, of: &Value, ours: Option<&Value>) {
        let there = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
        if let Some(request) = there(of.get("request")) {
            let host = self.text(&request, "/host");
            self.heading(&format!("REQUEST to {host}"));
            self.message(&request);
        }
        if let Some(answer) = there(of.get("deciders_answer")) {
            let status = self.text(&answer, "/status");
            self.heading(&format!("ANSWER OF ITS DECIDER: {status}"));
            self.message(&answer);
        }
        if let Some(answer) = there(ours) {
            let status = self.text(&answer, "/status");
            self.heading(&format!("ANSWER OF THIS REPLICA: {status}"));
            self.message(&answer);
        }
    }

    fn message(&mut self, message: &Value) {
        for header in message["headers"].as_array().into_iter().flatten() {
            let line = format!("  {}: {}", self.text(header, "/0"), self.text(header, "/1"));
            self.out.push_str(&line);
            self.out.push('\n');
        }
        let bytes = self.text(message, "/body/bytes");
        let (hash, note) = (self.text(message, "/body/hash"), self.text(message, "/body/note"));
        let text = message.pointer("/body/text").and_then(Value::as_str);
        let size = match (bytes.as_str(), note.is_empty()) {
            ("0", true) => "no body".to_owned(),
            ("0", false) => "body".to_owned(),
            (bytes, _) => format!("body of {bytes} bytes"),
        };
        let more = if text.is_none() && note.is_empty() && bytes != "0" { "show it with --body" } else { "" };
        let parts: Vec<&str> =
            [size.as_str(), &hash, &note, more].into_iter().filter(|part| !part.is_empty()).collect();
        writeln!(self.out, "  ({})", parts.join("; ")).expect("a String takes everything");
        // Each line begins with a sign of ours: a body cannot look like what follows it.
        for line in text.into_iter().flat_map(|text| text.split('\n')) {
            writeln!(self.out, "  | {}", safe(line.trim_end_matches('\r'))).expect("a String takes everything");
        }
    }

    fn next(&mut self, entry: &Value, ask: &Ask) {
        let Some(steps) = entry.get("next").and_then(Value::as_array).filter(|steps| !steps.is_empty()) else { return };
        self.heading("NEXT");
        let here = steps.last().map(|step| self.text(step, "/at")).unwrap_or_default();
        for step in steps {
            let (at, command) = (self.text(step, "/at"), self.text(step, "/command"));
            // What asks this appliance asks the one that was asked for this page.
            let asks = at == here && !command.contains("--config") && ask.admin != DEFAULT_ADMIN;
            let admin = if asks { format!(" --admin {}", safe(&ask.admin)) } else { String::new() };
            let place = if at == here { String::new() } else { format!("   # at {at}") };
            let when = self.text(step, "/when");
            writeln!(self.out, "  {command}{admin}{place}\n      {when}").expect("a String takes everything");
        }
    }

    /// `2026-11-30 16:04:34Z, 12 min ago`
    fn moment(&self, ms: Option<&Value>) -> String {
        let Some(ms) = ms.and_then(Value::as_u64).filter(|ms| *ms > 0) else { return String::new() };
        // The last second of the year 9999 is the last one that has such a form.
        if ms >= 253_402_300_800_000 {
            return ms.to_string();
        }
        let text = rfc3339_ms(ms).replace('T', " ");
        let text = format!("{}Z", text.split('.').next().unwrap_or_default());
        format!("{text}, {}", ago(ms, self.now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Output;
    use serde_json::json;

    fn ask(admin: &str) -> Ask {
        Ask { admin: admin.to_owned(), token: None, wide: false, output: Output::Table }
    }

    fn entry() -> Value {
        json!({
            "id": "x:7", "service": "tx", "store": "", "reason": "divergence", "detail": "201 there, 409 here",
            "since_ms": 1, "others_behind": 2, "waits_for": [], "lane": "00ff", "origin_site": "cloud",
            "accepted_ms": 1_795_259_574_123_u64, "key": "k-7",
            "client": { "address": "10.0.0.7", "by": "header:authorization", "mark": "abcdef012345" },
            "lane_said": { "rule": "header:x-session-id", "value": "till-7" },
            "request": {
                "method": "POST", "target": "/tx", "host": "pos",
                "headers": [["X-Odd", "a\u{1b}[2J\u{9b}31m\u{202e}b"]],
                "body": { "bytes": 9, "hash": "sha256:00", "text": "one\u{1b}[0m\nNEXT\n  rm -rf /\r\n", "note": null },
            },
            "answer": { "status": 409, "headers": [], "body": { "bytes": 3, "hash": "sha256:11" } },
            "deciders_answer": null, "elsewhere": ["its decider answered 201"],
            "differences": ["status: 201 at the decider, 409 here"], "compared": "the class of the status",
            "next": [
                { "at": "cloud", "command": "holdfast writes show x:7", "when": "to look" },
                { "at": "store", "command": "holdfast quarantine resend x:7", "when": "it is mended" },
            ],
        })
    }

    #[test]
    fn a_page_says_who_when_what_and_what_to_do() {
        let page = quarantined(&entry(), &ask("http://127.0.0.1:9797"));
        for line in [
            "WRITE     x:7",
            "REASON    divergence",
            "BEHIND IT 2 of its lane",
            "SERVICE   tx",
            "REQUEST   POST /tx",
            "CLIENT    abcdef012345 (stands for its header:authorization) from 10.0.0.7",
            "KEY       k-7",
            "LANE      header:x-session-id = till-7 (00ff)",
            "NOT HERE  its decider answered 201",
            "  status: 201 at the decider, 409 here",
            "  (compared are the class of the status)",
            "ANSWER OF THIS REPLICA: 409",
            "  (body of 3 bytes; sha256:11; show it with --body)",
            "  holdfast writes show x:7   # at cloud",
            "  holdfast quarantine resend x:7",
            "      it is mended",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
        }
        assert!(page.contains("ACCEPTED  2026-11-21 11:12:54Z, ") && page.contains(" at cloud\n"), "{page}");
        let elsewhere = quarantined(&entry(), &ask("http://127.0.0.1:1"));
        assert!(elsewhere.contains("resend x:7 --admin http://127.0.0.1:1\n"), "{elsewhere}");
        assert!(elsewhere.contains("show x:7   # at cloud"), "{elsewhere}");
    }

    /// What the handbook shows is what this prints.
    #[test]
    fn the_example_of_the_handbook_is_true() {
        let id = "8f14e45fceea467fa1d2b3c4d5e6f708.1:4711";
        let body = |bytes: u32, start: &str| json!({ "bytes": bytes, "hash": format!("sha256:{start}…") });
        let entry = json!({
            "id": id, "service": "transactions", "store": "store-042", "reason": "divergence",
            "detail": "the decider's replica answered 201, this one 409", "since_ms": 1_795_259_580_000_u64,
            "others_behind": 2, "waits_for": [], "lane": "91b2c4d5e6f70812", "origin_site": "cloud",
            "accepted_ms": 1_795_259_574_000_u64, "key": "sale-4711",
            "client": { "address": "10.0.0.7", "by": "header:authorization", "mark": "b6eb16d7a5af" },
            "lane_said": { "rule": "header:x-session-id", "value": "till-7" },
            "request": {
                "method": "POST", "target": "/transactions", "host": "pos.example.com",
                "headers": [["Authorization", "Bearer ***"], ["Content-Type", "application/json"]],
                "body": body(48, "2cf24dba"),
            },
            "deciders_answer": { "status": 201, "headers": [["Location", "/tx/1"]], "body": body(11, "6ab1c4d2") },
            "answer": { "status": 409, "headers": [], "body": body(27, "b94d27b9") }, "elsewhere": [],
            "differences": [
                "status: 201 at the decider, 409 here", "location: /tx/1 at the decider, none here",
                "/why: absent at the decider, a text here",
            ],
            "compared": "the class of the status, and Location",
            "next": [
                {
                    "at": "cloud", "command": format!("holdfast writes show {id} --body"),
                    "when": "to see what became of it where it was accepted, and what its client was told",
                },
                {
                    "at": "store-042", "command": format!("holdfast quarantine resend {id}"),
                    "when": "the cause is mended, so that the service here will take it as the decider's did",
                },
            ],
        });
        let page = quarantined_at(&entry, &ask(DEFAULT_ADMIN), 1_795_259_760_000);
        let shown = format!("$ holdfast quarantine show ID\n{}", page.trim_end());
        let handbook = include_str!("../../docs/operating.md");
        assert!(handbook.contains(&shown), "docs/operating.md does not show:\n{shown}");
    }

    #[test]
    fn what_a_client_sent_steers_no_terminal_and_looks_like_nothing_of_ours() {
        let page = quarantined(&entry(), &ask("http://127.0.0.1:9797"));
        assert!(page.chars().all(|sign| sign == '\n' || !sign.is_control()), "{page:?}");
        assert!(!page.contains('\u{202e}') && page.contains("a\\u{1b}[2J\\u{9b}31m\\u{202e}b"), "{page}");
        assert!(page.contains("  | one\\u{1b}[0m\n  | NEXT\n  |   rm -rf /\n"), "{page}");
        assert_eq!(page.lines().filter(|line| *line == "NEXT").count(), 1);
    }

    #[test]
    fn times_and_ages_have_few_words_and_nothing_is_no_end() {
        let page = Page::new(1_795_259_574_123);
        // milliseconds | shown
        for (ms, shown) in [
            (0, ""),
            (1_795_259_574_123, "2026-11-21 11:12:54Z, now"),
            (1_795_259_574_123 - 7_200_000, "2026-11-21 09:12:54Z, 2 h ago"),
            (1_795_259_574_123 - 7_199_000, "2026-11-21 09:12:55Z, 1 h ago"),
            (1_795_259_574_123 + 61_000, "2026-11-21 11:13:55Z, in 61 s"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(page.moment(Some(&json!(ms))), shown);
        }
        for value in [json!({}), json!(null), json!([]), json!({ "request": 7, "next": [1, {}], "quarantine": {} })] {
            quarantined(&value, &ask(""));
            write(&value, &ask(""));
        }
    }
}
