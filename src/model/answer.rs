//! What a replica answered, and what the appliance itself answers.
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::{Digest, Header, HeldState};

/// A complete answer of a service.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Answer {
    pub status: u16,
    /// As first sent, in order, without hop-by-hop headers.
    pub headers: Vec<Header>,
    pub body: Bytes,
    /// Set when the body was larger than may be kept: `body` is then empty, a retry gets 409 `replay-unavailable`.
    pub omitted: Option<Digest>,
}

impl Answer {
    pub fn weight(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.len() + 16).sum();
        64 + headers + self.body.len()
    }
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.as_slice())
    }
}

/// What the client may do next; the `retry` member of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retry {
    /// Nothing was done: send it again, with or without the key.
    Safe,
    /// Send it again with the same key only.
    SameKey,
    /// Nobody knows whether it was done: ask the status address.
    Unknown,
    /// The same request will fail again.
    Never,
}

/// Answers of the appliance itself to a write. One place (`problem/`) turns them into problem+json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// 422: the key was used with another request (409 in the envoy dialect).
    KeyReused,
    /// 409: the key stands for the same request of another client, whose answer is not told.
    KeyOfAnother { state: HeldState },
    /// 409: the first copy is still in flight.
    KeyInFlight { retry_after_s: u32 },
    /// 409: the first answer was too large to keep.
    ReplayUnavailable,
    /// 409: a peer holds the record and cannot be reached, `on_unreachable = "refuse"`.
    OriginUnreachable { site: String },
    /// 503: other writes of the lane took all of `timeout.total`; nothing was sent.
    LaneBusy { retry_after_s: u32 },
    /// 503: no replica can be asked and none was.
    NoReplica { retry_after_s: u32 },
    /// 503: a queue or table is full.
    Overloaded { what: &'static str },
    /// 503: the replica has not yet decided what the client has seen (`stale = "refuse"`).
    Stale,
    /// 504: sent, and nobody knows what became of it.
    OutcomeUnknown,
    /// 504: another site may still decide it.
    OutcomePending,
    /// 507: disk below its reserve.
    DiskReserve,
    /// 503: the journal takes no writes.
    StoreDown,
    /// 503: another program holds the lock of the journal's database; what was accepted waits.
    JournalHeld,
    /// 503: the appliance is draining.
    Draining,
}
