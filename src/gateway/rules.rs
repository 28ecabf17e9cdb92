//! The small languages of `lane` and `store_from`, as the configuration has them.
use std::fmt;
use std::str::FromStr;

use http::HeaderName;

use super::parts::Parts;
use crate::model::ClientRule;

/// One element of `lane`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneRule {
    Service,
    Header(HeaderName),
    Cookie(String),
    JwtClaim(String),
    Path,
    /// A segment of the path, counted from 1.
    PathSegment(usize),
    /// RFC 6901.
    JsonPointer(String),
    ClientIp,
}

/// Where a hub finds the store in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFrom {
    Header(HeaderName),
    /// The first label of the host.
    Host,
    /// A segment of the path, counted from 1.
    PathSegment(usize),
}

/// One element of `idempotency.scope`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeRule {
    Host,
    Header(HeaderName),
}

impl ScopeRule {
    pub(super) fn value(&self, parts: &Parts<'_>) -> Option<Vec<u8>> {
        match self {
            ScopeRule::Host => Some(parts.host.to_ascii_lowercase().into_bytes()),
            ScopeRule::Header(name) => parts.headers.get(name).map(|value| value.as_bytes().to_vec()),
        }
    }
}

impl FromStr for ScopeRule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.split_once(':') {
            None if text == "host" => Ok(ScopeRule::Host),
            Some(("header", name)) => header_name(name).map(ScopeRule::Header),
            _ => Err(RuleError::Scope(text.to_owned())),
        }
    }
}

impl fmt::Display for ScopeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScopeRule::Host => f.write_str("host"),
            ScopeRule::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// One element of `idempotency.client`. A claim of a token that nobody has verified names nobody.
pub fn client_rule(text: &str) -> Result<ClientRule, RuleError> {
    match text.split_once(':') {
        Some(("header", name)) => header_name(name).map(|name| ClientRule::Header(name.as_str().to_owned())),
        Some(("cookie", name)) if !name.is_empty() => Ok(ClientRule::Cookie(name.to_owned())),
        _ => Err(RuleError::Client(text.to_owned())),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("{0:?} is no part of a key's scope")]
    Scope(String),
    #[error("{0:?} does not name a client")]
    Client(String),
    #[error("{0:?} is not a lane")]
    Lane(String),
    #[error("{0:?} does not say where the store stands")]
    Store(String),
    #[error("{0:?} is not supported in this version")]
    Later(String),
    #[error("{0:?} is not a header name")]
    HeaderName(String),
}

impl RuleError {
    pub fn right(&self) -> &'static str {
        match self {
            RuleError::Lane(_) => {
                "write service, header:NAME, cookie:NAME, jwt:CLAIM, path, path:N (from 1), json:/pointer or client-ip"
            }
            RuleError::Scope(_) => "write host or header:NAME",
            RuleError::Client(_) => "write header:NAME or cookie:NAME; nothing verifies a token's claims yet",
            RuleError::Store(_) | RuleError::Later(_) => "write header:NAME, host or path:N (from 1)",
            RuleError::HeaderName(_) => "write header:NAME with a name that HTTP allows",
        }
    }
}

impl LaneRule {
    /// What a service has that says nothing.
    pub fn defaults() -> Vec<LaneRule> {
        let session = LaneRule::Header(HeaderName::from_static("x-session-id"));
        vec![session, LaneRule::JwtClaim("sub".to_owned()), LaneRule::Path]
    }

    /// Finds something in every request: what stands behind it in a list is never looked at.
    pub fn always_hits(&self) -> bool {
        matches!(self, LaneRule::Service | LaneRule::Path | LaneRule::ClientIp)
    }
}

impl FromStr for LaneRule {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = || RuleError::Lane(text.to_owned());
        match text.split_once(':') {
            None => match text {
                "service" => Ok(LaneRule::Service),
                "path" => Ok(LaneRule::Path),
                "client-ip" => Ok(LaneRule::ClientIp),
                _ => Err(wrong()),
            },
            Some(("header", name)) => header_name(name).map(LaneRule::Header),
            Some(("cookie", name)) if !name.is_empty() => Ok(LaneRule::Cookie(name.to_owned())),
            Some(("jwt", claim)) if !claim.is_empty() => Ok(LaneRule::JwtClaim(claim.to_owned())),
            Some(("path", n)) => segment(n).map(LaneRule::PathSegment).ok_or_else(wrong),
            Some(("json", pointer)) if pointer.starts_with('/') => Ok(LaneRule::JsonPointer(pointer.to_owned())),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for StoreFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreFrom::Header(name) => write!(f, "header:{name}"),
            StoreFrom::Host => f.write_str("host"),
            StoreFrom::PathSegment(n) => write!(f, "path:{n}"),
        }
    }
}

impl fmt::Display for LaneRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaneRule::Service => f.write_str("service"),
            LaneRule::Header(name) => write!(f, "header:{name}"),
            LaneRule::Cookie(name) => write!(f, "cookie:{name}"),
            LaneRule::JwtClaim(claim) => write!(f, "jwt:{claim}"),
            LaneRule::Path => f.write_str("path"),
            LaneRule::PathSegment(n) => write!(f, "path:{n}"),
            LaneRule::JsonPointer(pointer) => write!(f, "json:{pointer}"),
            LaneRule::ClientIp => f.write_str("client-ip"),
        }
    }
}

impl FromStr for StoreFrom {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        match text.split_once(':') {
            None if text == "host" => Ok(StoreFrom::Host),
            Some(("header", name)) => header_name(name).map(StoreFrom::Header),
            Some(("path", n)) => segment(n).map(StoreFrom::PathSegment).ok_or(RuleError::Store(text.to_owned())),
            // A claim that nobody has verified must not choose whose data is changed.
            Some(("jwt", _)) => Err(RuleError::Later(text.to_owned())),
            _ => Err(RuleError::Store(text.to_owned())),
        }
    }
}

fn segment(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| (1..=64).contains(n))
}

fn header_name(name: &str) -> Result<HeaderName, RuleError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| RuleError::HeaderName(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_read_back_what_they_print() {
        assert_eq!("header:X-A".parse::<LaneRule>().map(|rule| rule.to_string()), Ok("header:x-a".to_owned()));
        for text in
            ["service", "header:x-session-id", "cookie:SID", "jwt:sub", "path", "path:2", "json:/a/b", "client-ip"]
        {
            assert_eq!(text.parse::<LaneRule>().map(|rule| rule.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "services", "path:0", "path:x", "json:a", "cookie:", "header:", "header:a b", "ip", "query:x"] {
            assert!(bad.parse::<LaneRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_store_is_never_taken_from_an_unverified_claim() {
        assert_eq!("header:X-Store".parse(), Ok(StoreFrom::Header(HeaderName::from_static("x-store"))));
        assert_eq!("path:1".parse(), Ok(StoreFrom::PathSegment(1)));
        assert_eq!("host".parse(), Ok(StoreFrom::Host));
        assert!(matches!("jwt:store".parse::<StoreFrom>(), Err(RuleError::Later(_))));
        assert!(matches!("path:0".parse::<StoreFrom>(), Err(RuleError::Store(_))));
    }

    #[test]
    fn scopes_and_clients_are_read_and_nothing_unverified_names_a_client() {
        for text in ["host", "header:x-shop"] {
            assert_eq!(text.parse::<ScopeRule>().map(|rule| rule.to_string()), Ok(text.to_owned()));
        }
        assert!(["", "path", "header:", "jwt:sub"].iter().all(|bad| bad.parse::<ScopeRule>().is_err()));
        for text in ["header:authorization", "cookie:sid"] {
            assert_eq!(client_rule(text).map(|rule| rule.to_string()), Ok(text.to_owned()));
        }
        assert!(["", "jwt:sub", "client-ip", "cookie:", "header:a b"].iter().all(|bad| client_rule(bad).is_err()));
    }
}
