//! What a client's key means (§9): how it is read, and what counts as the same request.
//!
//! Owns the reading of keys and the digest of requests; both are pure. The record of a key lives with its write in the
//! journal, and the decision what a second copy gets is the group's ([`crate::service`]), so nothing here survives a crash
//! or has to.
mod digest;
mod key;

pub use digest::{display, of_body, of_request};
pub use key::{Dialect, KeyError, KeyRules, read};
