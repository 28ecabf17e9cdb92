//! A whole fleet in one thread under a seed: the product's own decision code over a simulated network, store, service
//! and clients, in virtual time.
//!
//! Owns the world around [`holdfast::service::Core`] and nothing of its decisions. Promises that one seed is one run,
//! and that a run which breaks G1–G5 or does not become quiet is reported with the seed. The oracle sees what clients
//! were told, what services applied, and what stands in quarantine at the end; never what a state machine believes.
//!
//! `plan` draws what a seed is about; `world` is the clock and the queue of events; `site` is a process with its disk
//! and `executor` what becomes of its effects; `links`, `network`, `upstream`, `clients`, `nemesis` and `person` are
//! what it meets; `history` is what was seen; `oracle` judges it; `run` runs seeds and shows what failed; `shrink`
//! makes that smaller, and `keep` names the parts of a plan that are left. `enumerate` draws nothing: small scenarios
//! over the same world, and every fault at every step of them.
mod brief;
mod clients;
mod decay;
mod disk;
mod enumerate;
mod executor;
mod history;
mod keep;
mod links;
mod machine;
mod nemesis;
mod network;
mod oracle;
mod person;
mod plan;
mod restore;
mod rng;
mod run;
mod shrink;
mod site;
mod stats;
mod trace;
mod upstream;
mod world;

#[cfg(test)]
mod tests;

pub use enumerate::{Enumerate, enumerate};
pub use keep::Keep;
pub use machine::Machine;
pub use plan::Planted;
pub use run::{Failure, Options, run_seeds, run_with};
pub use stats::Stats;
