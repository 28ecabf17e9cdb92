//! Which writes may not overlap: the lane that a service's rules find in a request.
use http::header::CONTENT_TYPE;

use super::parts::{self, Parts};
use super::pointer;
use super::rules::LaneRule;
use crate::model::Lane;

/// One entry of `lane`, with its text: equal values of different rules are different lanes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    text: String,
    source: LaneRule,
}

/// A service's `lane`: a list, the first hit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRules(Vec<Rule>);

impl LaneRules {
    pub fn new(rules: &[LaneRule]) -> Self {
        Self(rules.iter().map(|rule| Rule { text: rule.to_string(), source: rule.clone() }).collect())
    }

    /// Whether a rule looks at this header: it is end-to-end, whatever `Connection` says.
    pub fn reads_header(&self, name: &http::HeaderName) -> bool {
        self.0.iter().any(|rule| matches!(&rule.source, LaneRule::Header(header) if header == name))
    }

    /// The lane of a write; the whole service's when no rule finds anything.
    pub fn lane(&self, parts: &Parts<'_>) -> Lane {
        self.find(parts).0
    }

    /// The lane, and whether nothing but its path names it.
    pub fn find(&self, parts: &Parts<'_>) -> (Lane, bool) {
        let found = self.0.iter().find_map(|rule| Some((rule.lane(parts)?, rule.source == LaneRule::Path)));
        found.unwrap_or((Lane::WHOLE_SERVICE, false))
    }
}

impl Rule {
    fn lane(&self, parts: &Parts<'_>) -> Option<Lane> {
        let of = |value: &[u8]| (!value.is_empty()).then(|| Lane::of(&self.text, value));
        match &self.source {
            LaneRule::Service => Some(Lane::WHOLE_SERVICE),
            LaneRule::Path => of(parts.path.as_bytes()),
            LaneRule::ClientIp => of(parts.client.to_canonical().to_string().as_bytes()),
            LaneRule::Header(name) => of(parts.headers.get(name)?.as_bytes()),
            LaneRule::Cookie(name) => of(parts::cookie(parts.headers, name)?),
            LaneRule::JwtClaim(name) => of(parts::claim(parts.headers, name)?.as_bytes()),
            LaneRule::PathSegment(n) => of(parts::segment(parts.path, *n)?.as_bytes()),
            LaneRule::JsonPointer(pointer) => of(json_scalar(parts, pointer)?.as_bytes()),
        }
    }
}

/// A body that calls itself something else than JSON has no pointers; one that calls itself nothing may have.
fn json_scalar(parts: &Parts<'_>, at: &str) -> Option<String> {
    let is_json = parts.headers.get(CONTENT_TYPE).is_none_or(|kind| {
        let kind = kind.as_bytes().split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        kind.ends_with(b"/json") || kind.ends_with(b"+json")
    });
    if !is_json {
        return None;
    }
    pointer::scalar(parts.body, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::parts::test_support::*;
    use http::HeaderMap;

    fn lane(rules: &[&str], lines: &[(&'static str, &str)], path: &str, body: &str) -> Lane {
        let rules: Vec<LaneRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        let map: HeaderMap = headers(lines);
        let client = "::ffff:10.0.0.1".parse().unwrap();
        LaneRules::new(&rules).lane(&Parts { path, host: "h", headers: &map, client, body: body.as_bytes() })
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
}
