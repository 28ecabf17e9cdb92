//! Fingerprints and the circular buffer. A hint decides nothing (G7): a hit makes a node look before it acts.
mod ring;

pub use ring::{Fingerprint, Ring};
