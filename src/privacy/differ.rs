//! What differs between the answers of two replicas, in words.
use serde_json::Value;

use super::{MASKED, Privacy, text_of};
use crate::model::{Answer, Header};

/// A person reads so many lines, and of a value so much.
const LINES_MAX: usize = 24;
const VALUE_MAX: usize = 80;
/// Larger ones are compared byte by byte alone.
const COMPARED_MAX: usize = 1 << 20;
/// Of each answer its own, whoever gives it.
const OWN: [&str; 10] = [
    "age",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "traceparent",
    "tracestate",
    "via",
    "x-request-id",
];

/// Line by line: status, headers, members of JSON bodies. `shows_values`: of bodies too, as far as no mask hides them.
pub fn differences(privacy: &Privacy, theirs: &Answer, ours: &Answer, shows_values: bool) -> Vec<String> {
    let mut lines = Lines(Vec::new());
    if theirs.status != ours.status {
        lines.add("status", &theirs.status.to_string(), &ours.status.to_string());
    }
    headers(privacy, &mut lines, theirs, ours);
    bodies(privacy, &mut lines, theirs, ours, shows_values);
    let (mut lines, more) = (lines.0, "and more");
    if lines.len() > LINES_MAX {
        lines.truncate(LINES_MAX);
        lines.push(more.to_owned());
    }
    lines
}

struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, what: &str, theirs: &str, ours: &str) {
        self.0.push(format!("{what}: {} at the decider, {} here", short(theirs), short(ours)));
    }
    fn say(&mut self, what: &str, how: &str) {
        self.0.push(format!("{what}: {how}"));
    }
    fn is_full(&self) -> bool {
        self.0.len() > LINES_MAX
    }
}

fn short(value: &str) -> String {
    match value.char_indices().nth(VALUE_MAX) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}

fn headers(privacy: &Privacy, lines: &mut Lines, theirs: &Answer, ours: &Answer) {
    let mut names: Vec<String> =
        theirs.headers.iter().chain(&ours.headers).map(|header| header.name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.iter().filter(|name| !OWN.contains(&name.as_str())) {
        let values = |headers: &[Header]| -> Vec<Vec<u8>> {
            let of_it = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            of_it.map(|header| header.value.clone()).collect()
        };
        let (theirs, ours) = (values(&theirs.headers), values(&ours.headers));
        if theirs == ours {
            continue;
        }
        let shown = |values: &[Vec<u8>]| match values {
            [] => "none".to_owned(),
            values => values.iter().map(|value| privacy.header(name, value)).collect::<Vec<_>>().join(", "),
        };
        let (theirs, ours) = (shown(&theirs), shown(&ours));
        match theirs == ours {
            true => lines.say(name, "differs (masked)"),
            false => lines.add(name, &theirs, &ours),
        }
        if lines.is_full() {
            return;
        }
    }
}

fn bodies(privacy: &Privacy, lines: &mut Lines, theirs: &Answer, ours: &Answer, shows_values: bool) {
    if theirs.omitted.is_some() || ours.omitted.is_some() {
        return lines.say("body", "one of the two was too large to be kept");
    }
    if theirs.body == ours.body {
        return;
    }
    let is_small = theirs.body.len().max(ours.body.len()) <= COMPARED_MAX;
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).ok().filter(|_| is_small);
    let (Some(known), Some(own)) = (read(&theirs.body), read(&ours.body)) else {
        return lines.add("body", &bytes(theirs.body.len()), &bytes(ours.body.len()));
    };
    let before = lines.0.len();
    let mut walk = Walk { privacy, lines, shows_values, path: Vec::new() };
    walk.compare(&known, &own);
    if lines.0.len() == before {
        lines.say("body", "the same JSON, written otherwise");
    }
}

fn bytes(count: usize) -> String {
    if count == 0 { "none".to_owned() } else { format!("{count} bytes") }
}

struct Walk<'a> {
    privacy: &'a Privacy,
    lines: &'a mut Lines,
    shows_values: bool,
    path: Vec<String>,
}

impl Walk<'_> {
    /// As deep as the parser went, which has a limit.
    fn compare(&mut self, theirs: &Value, ours: &Value) {
        if theirs == ours || self.lines.is_full() {
            return;
        }
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        if self.privacy.hides_json(&path) {
            return self.lines.say(&self.pointer(), "differs (masked)");
        }
        match (theirs, ours) {
            (Value::Object(known), Value::Object(own)) => {
                let only_ours = own.keys().filter(|name| !known.contains_key(*name));
                for name in known.keys().chain(only_ours) {
                    self.part(name, known.get(name), own.get(name));
                }
            }
            (Value::Array(known), Value::Array(own)) => {
                for i in 0..known.len().max(own.len()) {
                    self.part(&i.to_string(), known.get(i), own.get(i));
                }
            }
            _ => self.differ(Some(theirs), Some(ours)),
        }
    }

    fn part(&mut self, name: &str, theirs: Option<&Value>, ours: Option<&Value>) {
        if self.lines.is_full() {
            return;
        }
        self.path.push(name.to_owned());
        match (theirs, ours) {
            (Some(theirs), Some(ours)) => self.compare(theirs, ours),
            (theirs, ours) => self.differ(theirs, ours),
        }
        self.path.pop();
    }

    fn differ(&mut self, theirs: Option<&Value>, ours: Option<&Value>) {
        let (theirs, ours) = (self.shown(theirs), self.shown(ours));
        let pointer = self.pointer();
        match theirs == ours {
            true => self.lines.say(&pointer, "differs"),
            false => self.lines.add(&pointer, &theirs, &ours),
        }
    }

    fn shown(&self, value: Option<&Value>) -> String {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        match value {
            None => "absent".to_owned(),
            Some(_) if self.privacy.hides_json(&path) => MASKED.to_owned(),
            Some(Value::Object(_)) => "an object".to_owned(),
            Some(Value::Array(_)) => "a list".to_owned(),
            Some(Value::String(_)) if !self.shows_values => "a text".to_owned(),
            Some(Value::Number(_)) if !self.shows_values => "a number".to_owned(),
            Some(Value::Bool(_)) if !self.shows_values => "a truth value".to_owned(),
            Some(scalar) => scalar.to_string(),
        }
    }

    fn pointer(&self) -> String {
        if self.path.is_empty() {
            return "body".to_owned();
        }
        let token = |name: &String| format!("/{}", text_of(name.as_bytes()).replace('~', "~0").replace('/', "~1"));
        short(&self.path.iter().map(token).collect::<String>())
    }
}
