//! Who brought a key: what names a client, and what is kept of it.
use std::fmt;

use sha2::{Digest as _, Sha256};
use wincode::{SchemaRead, SchemaWrite};

use super::Request;

/// What names a client, hashed: in memory, and in a question to the site that may hold the key.
#[derive(Clone, Copy, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Who(pub [u8; 32]);

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("who#")
    }
}

/// What is kept of it with a write: a hash over a random salt of the write. Two writes of one client do not look alike.
#[derive(Clone, Copy, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct ClientMark {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl fmt::Debug for ClientMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client#")
    }
}

impl ClientMark {
    pub fn of(salt: [u8; 16], who: &Who) -> Self {
        Self { salt, hash: Sha256::new().chain_update(salt).chain_update(who.0).finalize().into() }
    }
    pub fn is(&self, who: &Who) -> bool {
        *self == Self::of(self.salt, who)
    }
}

/// One place of a request that names its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRule {
    Header(String),
    Cookie(String),
}

/// `idempotency.client`: the first that a request has counts. A request that has none is of *nobody in particular*, as
/// all such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRules(Vec<ClientRule>);

impl Default for ClientRules {
    fn default() -> Self {
        Self(vec![ClientRule::Header("authorization".into())])
    }
}

impl ClientRules {
    pub fn new(rules: Vec<ClientRule>) -> Self {
        Self(rules)
    }

    /// From the request as it is kept: a follower finds the same as the site that accepted it.
    pub fn who(&self, request: &Request) -> Who {
        let found = self.0.iter().map(|rule| (rule, rule.values(request))).find(|(_, values)| !values.is_empty());
        let mut hash = Sha256::new();
        let mut part = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        if let Some((rule, values)) = found {
            part(rule.to_string().as_bytes());
            values.into_iter().for_each(part);
        }
        Who(hash.finalize().into())
    }

    /// The rule that names its client.
    pub fn named_by(&self, request: &Request) -> Option<&ClientRule> {
        self.0.iter().find(|rule| !rule.values(request).is_empty())
    }

    /// Whether a rule looks at this header: it is end-to-end, whatever `Connection` says.
    pub fn reads_header(&self, name: &str) -> bool {
        self.0.iter().any(|rule| match rule {
            ClientRule::Header(header) => header == name,
            ClientRule::Cookie(_) => name == "cookie",
        })
    }
}

impl ClientRule {
    /// All lines of the header, the first cookie of the name; what is empty names nobody.
    fn values<'r>(&self, request: &'r Request) -> Vec<&'r [u8]> {
        let lines = |name: &'r str| {
            request.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_slice())
        };
        let values: Vec<&[u8]> = match self {
            ClientRule::Header(name) => request
                .headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case(name))
                .map(|h| h.value.as_slice())
                .collect(),
            ClientRule::Cookie(name) => {
                let value = |pair: &'r [u8]| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=");
                let found = lines("cookie").find_map(|line| line.split(|&b| b == b';').find_map(value));
                found.map(<[u8]>::trim_ascii).into_iter().collect()
            }
        };
        if values.iter().all(|value| value.is_empty()) { Vec::new() } else { values }
    }
}

impl fmt::Display for ClientRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientRule::Header(name) => write!(f, "header:{name}"),
            ClientRule::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// How far the write of another client's key has come: all that is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldState {
    Done,
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Header;

    fn request(lines: &[(&str, &str)]) -> Request {
        let header = |(name, value): &(&str, &str)| Header { name: (*name).into(), value: value.as_bytes().to_vec() };
        Request {
            method: "POST".into(),
            target: "/".into(),
            authority: "pos".into(),
            headers: lines.iter().map(header).collect(),
            body: Default::default(),
        }
    }

    #[test]
    fn the_first_place_that_a_request_has_names_its_client() {
        let rules =
            ClientRules::new(vec![ClientRule::Header("authorization".into()), ClientRule::Cookie("sid".into())]);
        let who = |lines: &[(&str, &str)]| rules.who(&request(lines));
        let (one, two) = (who(&[("Authorization", "Bearer 1")]), who(&[("authorization", "Bearer 2")]));
        assert_ne!(one, two);
        assert_eq!(one, who(&[("authorization", "Bearer 1"), ("cookie", "sid=9; csrf=1")]), "cookies rotate");
        let (sid, other) = (who(&[("Cookie", "csrf=1; sid=7")]), who(&[("cookie", "csrf=2; sid=8")]));
        assert_eq!(sid, who(&[("cookie", "csrf=3"), ("cookie", "sid=7; x")]));
        assert!(sid != other && sid != who(&[]) && one != who(&[]));
        assert_eq!(who(&[]), who(&[("cookie", "csrf=1")]));
        assert_ne!(who(&[("authorization", "7")]), who(&[("cookie", "sid=7")]), "places stay apart");
    }

    #[test]
    fn marks_of_one_client_do_not_look_alike_and_know_it() {
        let who = |value| ClientRules::default().who(&request(&[("authorization", value)]));
        let (mark, other) = (ClientMark::of([1; 16], &who("a")), ClientMark::of([2; 16], &who("a")));
        assert_ne!(mark.hash, other.hash);
        assert!(mark.is(&who("a")) && other.is(&who("a")) && !mark.is(&who("b")));
    }
}
