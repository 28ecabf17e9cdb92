//! The HTTP/2 connection between two sites: dial, serve, handshake.
//!
//! Owns one connection per pair of sites, what waits to be sent over it, and what people are told about it. Assumes
//! that every message may be lost: whoever sends it can say it again from the journal, and does so after *up*. Promises
//! that `send` never waits, that every queue is bounded in count and bytes (G6), that every wait ends, that pages never
//! stand in the way of other messages for longer than one stream window takes on the line, and that nobody speaks here
//! who is not listed, of this realm, and (over TLS) named by its certificate. A hint decides nothing (G7), so neither
//! does anything here. A crash loses what was queued and under way, never more; a site starts and serves with all its
//! links down (G8).
//!
//! One side dials, both speak: everything but pages and what is longer than a window flows over one duplex stream
//! (`messages.rs`); the dialling side posts its pages and long messages, and fetches the other side's (`pages.rs`,
//! `large.rs`). Life is shown by beats on the message stream and by any byte that is read: an HTTP/2 PING would take a
//! slow line full of a page for a dead one. Whoever said something, or waits for a read, asks every beat; where nothing
//! is outstanding the line is silent, but for one question of the dialling side every `link.keepalive` (`pulse.rs`).
//!
//! A box that has no certificate yet comes to the same port, asks one thing (`join.rs`) and comes no further.
mod backoff;
mod body;
mod dial;
mod hello;
mod hub;
mod join;
mod joining;
mod large;
mod messages;
mod meter;
mod outage;
mod outgoing;
mod pages;
mod parked;
mod progress;
mod proxy;
mod pulse;
mod refusal;
mod renewal;
mod serve;
mod session;
mod settings;
mod watched;

use std::pin::Pin;

use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;

pub use body::LinkBody;
pub use hub::{LinkState, Links, StartError};
pub use join::Joins;
pub use joining::JoinError;
pub(crate) use joining::ask_to_join;
pub use outgoing::Sent;
pub use proxy::{BAD_READ, ReadError};
pub use settings::{Dial, Limits, LinkSettings, SharedService};

use crate::model::{Group, SiteName, WriteId};
use crate::service::Message;
use crate::wire::Difference;

pub type Waiting<T = ()> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why a site is not asked for what it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// The asker has no part in the group, or there is none.
    Group,
    /// It may change something: that goes by the journal.
    Method,
}

/// What links bring in. Called on links' own tasks: must not block. Where it returns a future, links wait for it,
/// messages for at most [`Limits::inbound_wait`] (then the message is lost and counted), and read nothing further from
/// that peer meanwhile.
pub trait Inbound: Send + Sync + 'static {
    /// After `up`. One that arrived just before `down` may still come after it.
    /// `None`: the sender has no part in the group, or there is none.
    fn message(&self, from: &SiteName, group: Group, message: Message) -> Option<Waiting>;
    /// The exchange of all services but those in `differs` may begin. Between two `up`s of a peer there is always a
    /// `down`.
    fn up(&self, peer: &SiteName, differs: &[Difference]) -> Option<Waiting>;
    fn down(&self, peer: &SiteName) -> Option<Waiting>;
    /// A wish has left (but for what the line itself holds, at most a window), or was given up before all of it had:
    /// then it may have come all the same. Must not block, and is not lost. What a lost connection takes with it,
    /// `down` tells.
    fn left(&self, to: &SiteName, group: &Group, wish: WriteId, attempt: u32, whole: bool);
    /// Whether a site may ask this one for a read of this group, with this method, and headers that may name another.
    fn may_read(&self, from: &SiteName, group: &Group, method: &Method, headers: &HeaderMap) -> Result<(), NotRead>;
    /// A read that this site decides, and that it may be asked for. The request is the client's own, without hop-by-hop
    /// headers.
    fn read(&self, from: &SiteName, group: Group, request: Request<Incoming>) -> Waiting<Response<LinkBody>>;
}

#[cfg(test)]
mod tests;
