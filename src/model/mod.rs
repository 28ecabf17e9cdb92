//! The words of the glossary as types. Plain data, no behaviour that decides anything.
//!
//! Everything here is serialised with bincode's layout (through `wincode`), in the journal and on links, so a change of
//! a field is a change of format: raise [`crate::wire::FORMAT`] and keep the old reader.
mod after;
mod answer;
mod client;
mod ids;
mod item;
mod request;

pub use after::{After, Stretch};
pub use answer::{Answer, Problem, Retry};
pub use client::{ClientMark, ClientRule, ClientRules, HeldState, Who};
pub use ids::{Chain, Digest, Group, KeyHash, Lane, LogId, ParseWriteIdError, SiteName, WriteId};
pub use item::{Facts, Item, Outcome, Verdict};
pub use request::{Header, Request};
