//! Names of sites, logs, writes, lanes and keys.
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use wincode::{SchemaRead, SchemaWrite};

/// The largest `n` of a write id and the largest position that a store can keep: enough for 500 years at 1,000 a
/// second.
pub const NUMBER_MAX: u64 = (1 << 44) - 1;

/// A failure domain with its own replicas: a store, a box of a store, a cloud region. Listed in `[realm] sites`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite, serde::Serialize)]
pub struct SiteName(pub String);

impl SiteName {
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one state machine owns: a service, and at a hub the store it serves (`""` where the service has no store).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite, serde::Serialize)]
pub struct Group {
    pub service: String,
    pub store: String,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.store.is_empty() { f.write_str(&self.service) } else { write!(f, "{}@{}", self.service, self.store) }
    }
}

/// What one store accepted: the UUID of the store and its incarnation. A store that lost its tail or was restored
/// begins a new incarnation, so a number is never used twice (G2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct LogId {
    pub store: [u8; 16],
    pub incarnation: u32,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", uuid::Uuid::from_bytes(self.store).simple(), self.incarnation)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `LogId:n`, `n` in order of acceptance, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct WriteId {
    pub log: LogId,
    pub n: u64,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.log, self.n)
    }
}

impl fmt::Debug for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for WriteId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl serde::Serialize for LogId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A text that is not a write id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a write id: expected <32 hex digits>.<incarnation>:<number>")]
pub struct ParseWriteIdError(String);

impl FromStr for WriteId {
    type Err = ParseWriteIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (log, n) = text.split_once(':')?;
            let (store, incarnation) = log.split_once('.')?;
            let store = *uuid::Uuid::try_parse(store).ok()?.as_bytes();
            Some(WriteId { log: LogId { store, incarnation: incarnation.parse().ok()? }, n: n.parse().ok()? })
        };
        parse().ok_or_else(|| ParseWriteIdError(text.to_owned()))
    }
}

/// The key within which writes are taken one at a time, as a hash. Two lanes that collide only wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane of `lane = "service"`, and of requests in which no part of a list was found.
    pub const WHOLE_SERVICE: Lane = Lane(0);

    /// `rule` (for example `header:x-session-id`) is hashed too, so that equal values of different rules stay apart.
    pub fn of(rule: &str, value: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(rule).chain_update([0]).chain_update(value).finalize();
        // Zero is taken by WHOLE_SERVICE.
        Lane(u64::from_le_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes")).max(1))
    }
}

/// A client's key hashed with its scope (service, store, `idempotency.scope`). The key itself is never kept or logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct KeyHash(pub [u8; 16]);

impl KeyHash {
    /// `scope`: names and values of what a service adds to the scope of its keys.
    pub fn of(group: &Group, scope: &[(String, Vec<u8>)], key: &str) -> Self {
        let mut hash = Sha256::new();
        let added = scope.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_slice()]);
        let parts = [group.service.as_bytes(), group.store.as_bytes()];
        for part in parts.into_iter().chain(added).chain([key.as_bytes()]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize()[..16].try_into().expect("SHA-256 has 32 bytes"))
    }
    /// What the key index and the ring look for; a hit is always checked against all 16 bytes.
    pub fn short(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("16 bytes"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key#{:08x}", self.short() as u32)
    }
}

/// SHA-256 over method, path and query, content type and body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "digest#{:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// A hash over all positions of a series up to one: two sites that name the same number and chain hold the same series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, SchemaRead, SchemaWrite)]
pub struct Chain(pub [u8; 8]);

impl Chain {
    pub fn next(self, bytes: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(self.0).chain_update(bytes).finalize();
        Self(hash[..8].try_into().expect("SHA-256 has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_id_reads_back_what_it_prints() {
        let id = WriteId { log: LogId { store: [7; 16], incarnation: 3 }, n: 42 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "x", "07:1", "07070707070707070707070707070707:1", "07070707070707070707070707070707.1:-1"] {
            assert!(bad.parse::<WriteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_a_key_scope_do_not_run_into_each_other() {
        let group = |service: &str, store: &str| Group { service: service.into(), store: store.into() };
        assert_ne!(KeyHash::of(&group("ab", "c"), &[], "k"), KeyHash::of(&group("a", "bc"), &[], "k"));
        let part = |name: &str, value: &str| [(name.to_owned(), value.as_bytes().to_vec())];
        assert_ne!(
            KeyHash::of(&group("a", ""), &part("host", "p"), "k"),
            KeyHash::of(&group("a", ""), &part("host", ""), "pk")
        );
    }
}
