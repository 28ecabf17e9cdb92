//! What links must know, resolved from the configuration.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::join::Joins;
use crate::identity::{Credentials, Renewals};
use crate::model::SiteName;

/// A peer that this side dials.
#[derive(Clone, Debug)]
pub struct Dial {
    pub site: SiteName,
    /// `https://host:port`, or `http://host:port` for plain TCP.
    pub url: String,
}

/// A service that is exchanged, and what both sides must agree on for it.
#[derive(Clone, Debug)]
pub struct SharedService {
    pub name: String,
    /// The other sites that have to do with it.
    pub sites: Vec<SiteName>,
    /// The keys of its definition with their values, as text that is equal where the meaning is. Only hashes leave this
    /// site.
    pub keys: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
pub struct LinkSettings {
    pub me: SiteName,
    pub realm: String,
    /// Another one after each start of the process.
    pub boot: [u8; 16],
    /// The store that this site writes to.
    pub store: [u8; 16],
    /// All sites of the realm.
    pub sites: Vec<SiteName>,
    pub dial: Vec<Dial>,
    pub listen: Option<SocketAddr>,
    /// The listener speaks TLS exactly when this is set; each dial as its URL says.
    pub tls: Option<Arc<Credentials>>,
    /// What signs for sites that dial this one, as they come near their certificates' ends.
    pub renewals: Option<Arc<Renewals>>,
    /// Whom this site lets join, where it can sign.
    pub joins: Option<Joins>,
    pub services: Vec<SharedService>,
    pub limits: Limits,
}

/// Periods and sizes of links (G6).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// TCP, TLS and HTTP/2 together; and once more for the handshake of links.
    pub connect: Duration,
    pub redial_first: Duration,
    pub redial_max: Duration,
    /// After a refusal, which only a person can change.
    pub redial_refused: Duration,
    /// While something is outstanding the other side is asked so often whether it lives.
    pub beat: Duration,
    /// Asked, and nothing was read for so long: the peer is dead. At least two beats.
    pub dead_after: Duration,
    /// The side that dialled asks so often where nothing is (`link.keepalive`).
    pub keepalive: Duration,
    /// How long a group may take to accept a message.
    pub inbound_wait: Duration,
    /// How long a request is parked. It costs nothing meanwhile: whether the line lives is found out without it.
    pub park: Duration,
    /// A page that takes longer is given up; the cursor repairs it.
    pub page_wait: Duration,
    /// A stream of which nothing was taken for so long gives its place back. Silence counts, not length.
    pub stalled: Duration,
    /// The same for the answer to a read, whose reader is a client somewhere. A reader that waits for more is not
    /// silent.
    pub read_pause: Duration,
    /// Messages that wait for one peer.
    pub queue_messages: usize,
    pub queue_bytes: usize,
    /// Of those that are longer than a window; they have streams of their own, so many at once.
    pub queue_large_bytes: usize,
    pub large_at_once: usize,
    /// Pages that wait for one peer and series, and their bytes per peer.
    pub queue_pages: usize,
    pub queue_page_bytes: usize,
    /// Largest message (a wish carries a request) and largest page, decompressed.
    pub message_bytes: usize,
    pub page_bytes: usize,
    /// Window of each stream: how much of a page can be on the line before anything else. It bounds a page's throughput
    /// to one window per round trip, and what a wish may have to wait for: 64 KiB are 0.25 s at 2 Mbit/s, and 1.3 MB/s
    /// at 50 ms.
    pub stream_window_bytes: u32,
    /// Series fetched from one peer.
    pub series: usize,
    /// Reads that are under way from one peer, and as many to it; and from all peers together.
    pub reads: usize,
    pub reads_of_all: usize,
    /// Requests that the dialling side keeps parked, for reads that come from the other side.
    pub parked_reads: usize,
    /// Connections to the listener.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            redial_first: Duration::from_millis(250),
            redial_max: Duration::from_secs(5),
            redial_refused: Duration::from_secs(30),
            beat: Duration::from_secs(1),
            dead_after: Duration::from_secs(3),
            keepalive: Duration::from_secs(25),
            inbound_wait: Duration::from_secs(2),
            park: Duration::from_secs(3_600),
            page_wait: Duration::from_secs(120),
            stalled: Duration::from_secs(30),
            read_pause: Duration::from_secs(15),
            queue_messages: 8_192,
            queue_bytes: 64 << 20,
            queue_large_bytes: 64 << 20,
            large_at_once: 4,
            queue_pages: 4,
            queue_page_bytes: 32 << 20,
            message_bytes: 64 << 20,
            page_bytes: 64 << 20,
            stream_window_bytes: 64 << 10,
            series: 256,
            reads: 64,
            reads_of_all: 1_024,
            parked_reads: 4,
            connections: 1_024,
        }
    }
}

impl Limits {
    pub(super) fn streams(&self) -> u32 {
        u32::try_from(self.series + 2 * self.reads + self.parked_reads + 2 * self.large_at_once + 8).unwrap_or(u32::MAX)
    }
    /// As much as all streams together may have under way: slow readers of some streams never stop the message stream.
    pub(super) fn connection_window_bytes(&self) -> u32 {
        self.stream_window_bytes.saturating_mul(self.streams()).min((1 << 31) - 1)
    }
}
