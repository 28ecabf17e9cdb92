//! Hints between nodes: zenoh behind a small trait, and an in-memory twin.
//!
//! **Owns** the zenoh session of a node, the control thread, and what is said and heard there: fingerprints, heads,
//! cursors, health, liveliness. **Assumes** that its events never block and that whoever hears a hint looks before
//! acting (G7). **Promises** that nothing here ever holds up a write: handles only fill a bounded queue (G6), a node
//! starts and serves with every hub unreachable (G8), and a fingerprint leaves within a millisecond when a hub is
//! there. What is lost is counted; lost fingerprints are found by their numbers (a digest every few seconds) and asked
//! for again. A site is believed only under its own name. **On a crash** everything here is gone and nothing is missed:
//! a new life speaks under a new boot id, and the durable key table stands behind the hints.
//!
//! The way of a fingerprint: [`Control`] → `inbox` → control thread (`worker`) → `core` numbers and packs it →
//! `session` (zenoh) → the other node's `inbox` → its control thread → `core` → [`ControlEvents`]. Decisions are in
//! `core`, `heard` and `watch`, which know no clock and no network; [`Memory`] drives the same ones for tests and
//! simulation.
mod codec;
mod core;
mod doors;
mod event;
mod handle;
mod heard;
mod inbox;
mod inner;
mod memory;
mod names;
mod session;
mod settings;
mod status;
mod threads;
mod tuning;
mod watch;
mod worker;
mod zenoh_config;

#[cfg(test)]
mod tests;

pub use handle::{Control, ControlEvents};
pub use memory::{Memory, Way};
pub use settings::{ControlError, ControlSettings, Endpoint, Hear, HubAddress, ParseEndpointError, Role};
pub use status::ControlStatus;
pub use threads::{is_of_zenoh, read_and_write_on_one_thread};
