//! What a client's key means: how it is read, what counts as the same request, and which writes a key may name.
//!
//! Owns the reading of keys, the digest of requests, and the table of keys in memory; all pure. The record of a key
//! lives with its write in the journal, and the decision what a second copy gets is the group's ([`crate::service`]),
//! so nothing here survives a crash or has to.
mod digest;
mod key;
mod table;

pub use digest::{display, of_body, of_request};
pub use key::{Dialect, KeyError, KeyRules, read, text_of};
pub use table::KeyTable;
