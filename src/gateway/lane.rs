//! Which writes may not overlap: the lane that a service's rules find in a request.
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use http::header::{CONTENT_TYPE, HeaderMap};

use super::parts::{self, Parts};
use super::rules::LaneRule;
use super::{headers, path, pointer};
use crate::model::{Lane, Request};

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

    /// Headers by which lanes are told.
    pub fn headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        self.0.iter().filter_map(|rule| match &rule.source {
            LaneRule::Header(name) => Some(name),
            _ => None,
        })
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

    /// What a kept request says of its lane: the rule, and what it finds. `None` where that does not lead to `lane`:
    /// the rules were others then, or looked at what is not kept.
    pub fn said(&self, request: &Request, lane: Lane) -> Option<(&LaneRule, Vec<u8>)> {
        let mut map = HeaderMap::new();
        headers::restore(&request.headers, &mut map);
        let host = parts::host_of(&request.authority);
        let path = path::canonical(request.target.split('?').next().unwrap_or_default());
        let client = headers::client_of(&map).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let parts = Parts { path: &path, host, headers: &map, client, body: &request.body };
        let found = self.0.iter().find_map(|rule| Some((rule, rule.value(&parts)?)));
        let (rule, value) = match found {
            Some((rule, value)) => (&rule.source, value.into_owned()),
            None => (&LaneRule::Service, Vec::new()),
        };
        let said = match rule {
            LaneRule::Service => Lane::WHOLE_SERVICE,
            rule => Lane::of(&rule.to_string(), &value),
        };
        (said == lane).then_some((rule, value))
    }
}

impl Rule {
    fn lane(&self, parts: &Parts<'_>) -> Option<Lane> {
        let value = self.value(parts)?;
        Some(if self.source == LaneRule::Service { Lane::WHOLE_SERVICE } else { Lane::of(&self.text, &value) })
    }

    /// What it finds; nothing of `service`, which takes all.
    fn value<'p>(&self, parts: &Parts<'p>) -> Option<Cow<'p, [u8]>> {
        let text = |text: String| Cow::Owned(text.into_bytes());
        let found = match &self.source {
            LaneRule::Service => return Some(Cow::Borrowed(&[])),
            LaneRule::Path => Cow::Borrowed(parts.path.as_bytes()),
            LaneRule::ClientIp => text(parts.client.to_canonical().to_string()),
            LaneRule::Header(name) => Cow::Borrowed(parts.headers.get(name)?.as_bytes()),
            LaneRule::Cookie(name) => Cow::Borrowed(parts::cookie(parts.headers, name)?),
            LaneRule::JwtClaim(name) => text(parts::claim(parts.headers, name)?),
            LaneRule::PathSegment(n) => Cow::Borrowed(parts::segment(parts.path, *n)?.as_bytes()),
            LaneRule::JsonPointer(pointer) => text(json_scalar(parts, pointer)?),
        };
        (!found.is_empty()).then_some(found)
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

    #[test]
    fn a_kept_request_tells_its_lane_again() {
        let kept = |lines: &[(&str, &str)], target: &str, body: &'static str| {
            let header =
                |(name, value): &(&str, &str)| crate::model::Header { name: (*name).into(), value: (*value).into() };
            let headers = lines.iter().map(header).collect();
            Request { method: "POST".into(), target: target.into(), authority: "h".into(), headers, body: body.into() }
        };
        // rules | headers | target | body | the lane it has | rule and value that it says
        type Case<'a> =
            (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, &'static str, Lane, Option<(&'a str, &'a str)>);
        let forwarded = [("x-forwarded-for", "6.6.6.6, 7.7.7.7"), ("X-Forwarded-For", "10.0.0.1")];
        let table: &[Case<'_>] = &[
            (&["header:x"], &[("X", "s")], "/a", "", Lane::of("header:x", b"s"), Some(("header:x", "s"))),
            (&["header:x"], &[], "/a", "", Lane::WHOLE_SERVICE, Some(("service", ""))),
            (&["service"], &[], "/a", "", Lane::WHOLE_SERVICE, Some(("service", ""))),
            (&["path"], &[], "/a/%7Eb?q=1", "", Lane::of("path", b"/a/~b"), Some(("path", "/a/~b"))),
            (&["path:2"], &[], "/a/b?q", "", Lane::of("path:2", b"b"), Some(("path:2", "b"))),
            (&["json:/t"], &[], "/a", "{\"t\":7}", Lane::of("json:/t", b"7"), Some(("json:/t", "7"))),
            (&["client-ip"], &forwarded, "/a", "", Lane::of("client-ip", b"10.0.0.1"), Some(("client-ip", "10.0.0.1"))),
            // The rules were others when it was accepted.
            (&["header:x"], &[("x", "s")], "/a", "", Lane::of("header:y", b"s"), None),
        ];
        for (rules, lines, target, body, lane, said) in table {
            let rules: Vec<LaneRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
            let rules = LaneRules::new(&rules);
            let found = rules.said(&kept(lines, target, body), *lane);
            let found = found.map(|(rule, value)| (rule.to_string(), String::from_utf8(value).unwrap()));
            assert_eq!(found, said.map(|(rule, value)| (rule.to_owned(), value.to_owned())), "{target}");
        }
    }
}
