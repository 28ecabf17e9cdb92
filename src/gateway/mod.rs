//! HTTP in and out: listen, route, accept writes, stream reads, forward, answer.
//!
//! Owns client connections, connections to a service's endpoints, and the translation between HTTP and a group's
//! events. Decides nothing about a write: it describes it (lane, key, digest), hands it to its group
//! ([`crate::service::Handle`]) and says what the group says. [`Upstream`] is the group's hand: one attempt, and
//! exactly one of *never sent*, *answered*, *broken*. It may assume that settings were checked. It promises that
//! nothing a parser could read in two ways is passed on ([`strict`]), that a body over the limit leaves no trace, and
//! that a client that hangs up cancels no write. In a crash it loses connections only: what counts is in the journal
//! before a byte leaves.
//!
//! The way of a request: `listen` → `conn` (strict) → hyper → `app` (route, store) → `write` → group → `answer`,
//! or → `read` → `upstream` or a peer. A group's attempt: `upstream` → `pool` → `h1` or `h2`.
mod access;
mod answer;
mod app;
mod arriving;
mod body;
mod conn;
mod counted;
mod endpoint;
mod h1;
mod h2;
mod headers;
mod health;
mod http2;
mod lane;
mod large;
mod listen;
mod parts;
mod path;
mod pointer;
mod pool;
mod reach;
mod read;
mod refusal;
mod rest;
mod room;
mod route;
mod rules;
mod seen;
mod served;
mod settings;
mod spelling;
mod strict;
#[cfg(test)]
mod tests;
mod time;
mod upstream;
mod write;

pub use app::STATUS_PATH;
pub use body::{Body, BoxError};
pub use endpoint::{EndpointError, EndpointSettings};
pub use headers::method_stays;
pub use lane::LaneRules;
pub use listen::{Gateway, GatewayError};
pub use pool::{PoolSettings, Ready, SendError};
pub use reach::{EndpointState, Unanswered};
pub use read::{Waits, read_for_peer};
pub use route::{Match, RouteError, WriteMethods, is_read};
pub use rules::{LaneRule, RuleError, ScopeRule, StoreFrom, client_rule};
pub use settings::{
    BoxFuture, GatewaySettings, Groups, ListenSettings, Neighbours, PeerError, PeerProxy, ServiceEntry,
    ServiceSettings, StatusPages, Target, Tokens,
};
pub use time::rfc3339_ms;
pub use upstream::{HealthSettings, ProbeTemplate, ProbeTemplateError, Upstream, UpstreamSettings};
