//! Real binaries under faults: scenarios of `scenarios/*.yaml`, a soak of random ones, and the same network for use by
//! hand.
//!
//! Owns every process, namespace, file system and folder that a run makes; all of them end with the run, also when it
//! fails or is interrupted. Assumes a `holdfast` binary of release kind (`HOLDFAST`). Promises a verdict that rests on
//! what clients were told and what the services hold; of the appliances it only asks whether they are ready and done.
//!
//! The way through: [`scenario`] is the file, [`stage`] builds the [`network`] ([`namespaces`] with a [`switch`], or
//! [`relays`]) and its [`site`]s, [`play`] lets [`client`]s write and faults happen, [`judge`] compares, [`success`]
//! and [`report`] tell.
pub(crate) mod certificates;
mod client;
mod command;
#[cfg(test)]
mod documentation;
mod fronted;
mod guest;
mod hand;
mod http;
mod judge;
mod namespaces;
mod network;
mod play;
mod process;
mod relays;
mod report;
mod scenario;
mod site;
mod soak;
mod stage;
mod success;
mod switch;
pub(crate) mod sys;
mod timeline;
mod units;

use std::path::PathBuf;

pub use command::{Command, run};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Scenario(#[from] scenario::Error),
    #[error("{what} failed")]
    Program { what: String, source: std::io::Error },
    #[error("{what} failed: {said}")]
    ProgramSaid { what: String, said: String },
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot make a certificate")]
    Certificate { source: rcgen::Error },
    #[error("there is no holdfast binary at {}: build one with `cargo build --release`, or name one with \
             HOLDFAST", path.display())]
    NoBinary { path: PathBuf },
    #[error("the {what} of {site} is not ready after {seconds} s; its last lines:\n{last_lines}")]
    NotReady { site: String, what: &'static str, seconds: u64, last_lines: String },
    #[error("the appliance of {site} ended by itself; its last lines:\n{last_lines}")]
    Ended { site: String, last_lines: String },
    #[error("the service of {site} cannot be read: {detail}")]
    Service { site: String, detail: String },
    #[error("no namespaces here: {why}")]
    NoNamespaces { why: String },
    #[error("{0}")]
    Hand(String),
    #[error("interrupted")]
    Interrupted,
}
