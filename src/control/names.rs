//! Keys of the control plane. A name never breaks out of its segment: everything but letters, digits, `.`, `-` and `_`
//! is escaped.
use std::fmt::Write as _;

use uuid::Uuid;

use crate::model::{LogId, SiteName};

/// Longest realm, site, node or service name. A key of two names then stays far below what zenoh takes.
pub const NAME_BYTES_MAX: usize = 255;

/// `~` and two hex digits for each byte outside `[A-Za-z0-9._-]`; a lone `~` for the empty name. So no name contains
/// `/`, a wildcard (`*`, `$*`) or a leading `@`, and no two names share a segment.
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "~".to_owned();
    }
    let mut segment = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') {
            segment.push(byte as char);
        } else {
            write!(segment, "~{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    segment
}

/// The inverse of [`escape`]; `None` for a segment that it never makes.
pub fn unescape(segment: &str) -> Option<String> {
    if segment == "~" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'~' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (escape(&name) == segment).then_some(name)
}

/// What is said under a key; its third segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    Fingerprints,
    Head,
    Cursor,
    Health,
    Digest,
    Alive,
    /// A node's heartbeat; hubs answer it under `echo`, so that a node notices when nobody hears it.
    Beat,
    Echo,
}

impl Topic {
    pub const fn segment(self) -> &'static str {
        match self {
            Topic::Fingerprints => "fp",
            Topic::Head => "head",
            Topic::Cursor => "cursor",
            Topic::Health => "health",
            Topic::Digest => "digest",
            Topic::Alive => "alive",
            Topic::Beat => "beat",
            Topic::Echo => "echo",
        }
    }
}

/// Builds and reads the keys of one realm. Every key names in its fourth segment the site that speaks.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(realm: &str) -> Self {
        Self { prefix: format!("holdfast/{}", escape(realm)) }
    }
    pub fn service(&self, topic: Topic, site: &SiteName, service: &str) -> String {
        self.two(topic, site, &escape(service))
    }
    pub fn log(&self, topic: Topic, site: &SiteName, log: LogId) -> String {
        self.two(topic, site, &log.to_string())
    }
    pub fn alive(&self, site: &SiteName, node: &str, boot: Uuid) -> String {
        format!("{}/{}", self.two(Topic::Alive, site, &escape(node)), boot.simple())
    }
    pub fn beat(&self, site: &SiteName, node: &str) -> String {
        self.two(Topic::Beat, site, &escape(node))
    }
    /// What `hub` says to a node whose beat it heard; `*` for any hub.
    pub fn echo(&self, hub: Option<&SiteName>, site: &SiteName, node: &str) -> String {
        let hub = hub.map_or_else(|| "*".to_owned(), |hub| escape(hub.as_str()));
        format!("{}/{}/{hub}/{}/{}", self.prefix, Topic::Echo.segment(), escape(site.as_str()), escape(node))
    }
    /// Everything that one site, or any site, says on a topic.
    pub fn all(&self, topic: Topic, site: Option<&SiteName>) -> String {
        let site = site.map_or_else(|| "*".to_owned(), |site| escape(site.as_str()));
        let tail = if topic == Topic::Alive { "*/*" } else { "*" };
        format!("{}/{}/{site}/{tail}", self.prefix, topic.segment())
    }
    /// Everything that one site may say, and everything at all: for access control.
    pub fn spoken_by(&self, site: &SiteName) -> String {
        format!("{}/*/{}/**", self.prefix, escape(site.as_str()))
    }
    pub fn everything(&self) -> String {
        format!("{}/**", self.prefix)
    }
    /// Reads a liveliness key, which has no payload beside it.
    pub fn parse_alive(&self, key: &str) -> Option<(SiteName, String, Uuid)> {
        let rest = key.strip_prefix(&self.prefix)?.strip_prefix('/')?.strip_prefix(Topic::Alive.segment())?;
        let mut segments = rest.strip_prefix('/')?.split('/');
        let (site, node, boot) = (segments.next()?, segments.next()?, segments.next()?);
        if segments.next().is_some() {
            return None;
        }
        Some((SiteName::new(unescape(site)?), unescape(node)?, Uuid::try_parse(boot).ok()?))
    }

    fn two(&self, topic: Topic, site: &SiteName, last: &str) -> String {
        format!("{}/{}/{}/{last}", self.prefix, topic.segment(), escape(site.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_never_leave_their_segment() {
        for name in ["", "store-042", "a/b", "**", "$*", "@admin", "a?b#c", "~", "~2f", "caf\u{e9}", " ", "A_z.9"] {
            let segment = escape(name);
            assert!(!segment.contains(['/', '*', '$', '@', '#', '?', ' ']), "{segment}");
            assert!(!segment.is_empty());
            assert_eq!(unescape(&segment).as_deref(), Some(name));
        }
        for bad in ["", "a b", "~2F", "~41", "~4", "~zz", "a/b", "*", "~ff"] {
            // The empty segment is not made either, but zenoh has none.
            assert!(unescape(bad).is_none() || bad.is_empty(), "{bad}");
        }
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let keys = Keys::new("acme");
        let (site, boot) = (SiteName::new("store/1"), Uuid::from_bytes([7; 16]));
        assert_eq!(keys.service(Topic::Fingerprints, &site, "tx"), "holdfast/acme/fp/store~2f1/tx");
        let log = LogId { store: [1; 16], incarnation: 2 };
        assert_eq!(
            keys.log(Topic::Head, &site, log),
            "holdfast/acme/head/store~2f1/01010101010101010101010101010101.2"
        );
        let alive = keys.alive(&site, "n*", boot);
        assert_eq!(alive, "holdfast/acme/alive/store~2f1/n~2a/07070707070707070707070707070707");
        assert_eq!(keys.parse_alive(&alive), Some((site.clone(), "n*".to_owned(), boot)));
        assert_eq!(keys.all(Topic::Digest, Some(&site)), "holdfast/acme/digest/store~2f1/*");
        assert_eq!(keys.all(Topic::Alive, None), "holdfast/acme/alive/*/*/*");
        for bad in
            ["holdfast/other/alive/a/b/c", "holdfast/acme/alive/a/b", &format!("{alive}/x"), "holdfast/acme/fp/a/b"]
        {
            assert_eq!(keys.parse_alive(bad), None, "{bad}");
        }
    }
}
