//! `lane` rules (§5): which writes may not overlap.
use std::str::FromStr;

use http::HeaderName;
use http::header::CONTENT_TYPE;

use super::parts::{self, Parts};
use crate::model::Lane;

/// One way to find a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Service,
    Header(HeaderName),
    Cookie(String),
    Claim(String),
    Path,
    Segment(usize),
    Json(String),
    ClientIp,
}

/// One entry of `lane`, with its text: equal values of different rules are different lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    text: String,
    source: Source,
}

/// A service's `lane`: a list, the first hit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    #[error(
        "lane {0:?} is not known; use service, header:NAME, cookie:NAME, jwt:CLAIM, path, path:N, json:/pointer or client-ip"
    )]
    Unknown(String),
    #[error("lane {text:?}: {what}")]
    Invalid { text: String, what: &'static str },
    #[error("lane is an empty list; name at least one rule, or \"service\"")]
    Empty,
    #[error("lane {0:?} stands after a rule that always hits and is never reached")]
    Unreachable(String),
}

impl FromStr for Rule {
    type Err = LaneError;

    fn from_str(text: &str) -> Result<Self, LaneError> {
        let invalid = |what| LaneError::Invalid { text: text.to_owned(), what };
        let source = match text.split_once(':') {
            None => match text {
                "service" => Source::Service,
                "path" => Source::Path,
                "client-ip" => Source::ClientIp,
                _ => return Err(LaneError::Unknown(text.to_owned())),
            },
            Some((_, "")) => return Err(invalid("a name must follow the colon")),
            Some(("header", name)) => Source::Header(name.parse().map_err(|_| invalid("this is not a header name"))?),
            Some(("cookie", name)) => Source::Cookie(name.to_owned()),
            Some(("jwt", name)) => Source::Claim(name.to_owned()),
            Some(("path", n)) => match n.parse() {
                Ok(n @ 1..=64) => Source::Segment(n),
                _ => return Err(invalid("path:N takes a segment from 1 to 64")),
            },
            Some(("json", pointer)) if pointer.starts_with('/') => Source::Json(pointer.to_owned()),
            Some(("json", _)) => return Err(invalid("a JSON pointer begins with a slash")),
            Some(_) => return Err(LaneError::Unknown(text.to_owned())),
        };
        // Header names are the same in any case, so their lanes are too.
        let text = if text.starts_with("header:") { text.to_ascii_lowercase() } else { text.to_owned() };
        Ok(Rule { text, source })
    }
}

impl LaneRules {
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, LaneError> {
        let rules: Vec<Rule> = texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
        let always = rules.iter().position(|r| matches!(r.source, Source::Service | Source::Path | Source::ClientIp));
        match (always, rules.len()) {
            (_, 0) => Err(LaneError::Empty),
            (Some(at), length) if at + 1 < length => Err(LaneError::Unreachable(rules[at + 1].text.clone())),
            _ => Ok(Self(rules)),
        }
    }

    /// What a service has that says nothing.
    pub fn default_rules() -> Self {
        Self::parse(&["header:x-session-id", "jwt:sub", "path"]).expect("the default is a valid list")
    }

    /// The lane of a write; the whole service's when no rule finds anything.
    pub fn lane(&self, parts: &Parts<'_>) -> Lane {
        self.0.iter().find_map(|rule| rule.lane(parts)).unwrap_or(Lane::WHOLE_SERVICE)
    }
}

impl Rule {
    fn lane(&self, parts: &Parts<'_>) -> Option<Lane> {
        let of = |value: &[u8]| (!value.is_empty()).then(|| Lane::of(&self.text, value));
        match &self.source {
            Source::Service => Some(Lane::WHOLE_SERVICE),
            Source::Path => of(parts.path.as_bytes()),
            Source::ClientIp => of(parts.client.to_canonical().to_string().as_bytes()),
            Source::Header(name) => of(parts.headers.get(name)?.as_bytes()),
            Source::Cookie(name) => of(parts::cookie(parts.headers, name)?),
            Source::Claim(name) => of(parts::claim(parts.headers, name)?.as_bytes()),
            Source::Segment(n) => of(parts::segment(parts.path, *n)?.as_bytes()),
            Source::Json(pointer) => of(json_scalar(parts, pointer)?.as_bytes()),
        }
    }
}

/// A body that calls itself something else than JSON has no pointers; one that calls itself nothing may have.
fn json_scalar(parts: &Parts<'_>, pointer: &str) -> Option<String> {
    let is_json = parts.headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        kind.ends_with(b"/json") || kind.ends_with(b"+json")
    });
    if !is_json {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(parts.body).ok()?;
    parts::scalar(value.pointer(pointer)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::parts::test_support::*;
    use http::HeaderMap;

    fn lane(rules: &[&str], lines: &[(&'static str, &str)], path: &str, body: &str) -> Lane {
        let map: HeaderMap = headers(lines);
        let client = "::ffff:10.0.0.1".parse().unwrap();
        LaneRules::parse(rules).unwrap().lane(&Parts { path, host: "h", headers: &map, client, body: body.as_bytes() })
    }

    #[test]
    fn the_first_hit_counts() {
        let token = bearer(r#"{"sub":"till-7"}"#);
        type Case<'a> = (&'a [&'a str], &'a [(&'static str, &'a str)], &'a str, &'a str, Lane);
        let table: &[Case<'_>] = &[
            (&["service"], &[], "/a", "", Lane::WHOLE_SERVICE),
            (&["header:X-Session-Id"], &[("x-session-id", "s")], "/a", "", Lane::of("header:x-session-id", b"s")),
            (&["header:x"], &[], "/a", "", Lane::WHOLE_SERVICE),
            (&["header:x"], &[("x", "")], "/a", "", Lane::WHOLE_SERVICE),
            (&["header:x", "path"], &[], "/a", "", Lane::of("path", b"/a")),
            (&["cookie:sid"], &[("cookie", "sid=1")], "/a", "", Lane::of("cookie:sid", b"1")),
            (&["jwt:sub"], &[("authorization", &token)], "/a", "", Lane::of("jwt:sub", b"till-7")),
            (&["path:2"], &[], "/a/b/c", "", Lane::of("path:2", b"b")),
            (&["path:4"], &[], "/a/b/c", "", Lane::WHOLE_SERVICE),
            (&["json:/till/id"], &[], "/a", r#"{"till":{"id":7}}"#, Lane::of("json:/till/id", b"7")),
            (&["json:/till"], &[], "/a", r#"{"till":{}}"#, Lane::WHOLE_SERVICE),
            (&["json:/till"], &[("content-type", "text/plain")], "/a", r#"{"till":1}"#, Lane::WHOLE_SERVICE),
            (
                &["json:/till"],
                &[("content-type", "Application/JSON; charset=x")],
                "/a",
                r#"{"till":1}"#,
                Lane::of("json:/till", b"1"),
            ),
            (&["client-ip"], &[], "/a", "", Lane::of("client-ip", b"10.0.0.1")),
        ];
        for (rules, lines, path, body, expected) in table {
            assert_eq!(lane(rules, lines, path, body), *expected, "{rules:?}");
        }
        assert_ne!(lane(&["header:x"], &[("x", "1")], "/", ""), lane(&["header:y"], &[("y", "1")], "/", ""));
    }

    #[test]
    fn bad_rules_say_what_would_be_right() {
        for (rules, says) in [
            (&["sevice"][..], "use service, header:NAME"),
            (&["query:x"], "use service, header:NAME"),
            (&["header:"], "a name must follow"),
            (&["header:a b"], "not a header name"),
            (&["path:0"], "1 to 64"),
            (&["path:x"], "1 to 64"),
            (&["json:id"], "begins with a slash"),
            (&[], "empty list"),
            (&["path", "header:x"], "never reached"),
        ] {
            let error = LaneRules::parse(rules).unwrap_err().to_string();
            assert!(error.contains(says), "{rules:?}: {error}");
        }
        LaneRules::default_rules();
    }
}
