//! The words of the glossary as types. Plain data, no behaviour that decides anything.
//!
//! Everything here is serialised with bincode's layout (through `wincode`), in the journal and on links, so a change of
//! a field is a change of format: raise [`crate::wire::FORMAT`] and keep the old reader.
mod after;
mod answer;
mod client;
mod decision;
mod ids;
mod item;
pub(crate) mod plausible;
mod request;

pub use after::{After, Stretch};
pub use answer::{Answer, Problem, Retry};
pub use client::{ClientMark, ClientRule, ClientRules, HeldState, Who};
pub(crate) use decision::{DECISION, decided_by, decision_of, is_decision};
pub use ids::{Chain, Digest, Group, KeyHash, Lane, LogId, NUMBER_MAX, ParseWriteIdError, SiteName, WriteId};
pub use item::{Facts, Item, Outcome, UNKNOWN_MAX, Verdict};
pub use plausible::Implausible;
pub use request::{Header, Request};
