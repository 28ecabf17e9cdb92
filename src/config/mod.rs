//! The configuration: TOML to resolved settings, every problem at once.
//!
//! Owns the one table of keys ([`keys`], [`table`]): from it come the check of a file, the defaults,
//! `docs/configuration.md` and the JSON schema, so none of them can disagree with another.
//!
//! May assume nothing about a file. Promises that a [`Config`] it returns is free of contradictions that can be seen
//! without another site, and that a refused file is refused with *all* of its problems, each with file, line, key, what
//! is wrong and what would be right. What other sites must agree on is compared at the handshake ([`fleet`]).
//!
//! Reads files only in [`Config::load`]; everything below is pure. A crash costs nothing: it writes nothing.
mod check;
mod error;
mod fleet;
mod keys;
mod reference;
mod resolve;
mod resolve_parts;
mod resolve_service;
mod resolved;
mod short;
mod table;
#[cfg(test)]
mod tests;
mod units;

pub use error::{ConfigError, Fault};
pub use fleet::fleet_digest;
pub use reference::{json_schema, markdown};
pub use resolved::{
    Admin, Answer, Config, Control, Dialect, Durability, Endpoint, Gateway, GatewayLimits, HealthCheck, Idempotency,
    Identity, LogFormat, Match, Outcome, Peer, Probe, Realm, Renewals, Replay, Retries, Scheme, Service, Stale,
    StoreRule, StoreSettings, Timeouts, Tls,
};
pub use short::ShortForm;
pub(crate) use units::duration_ms;
