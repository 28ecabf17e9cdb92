//! Attacks on one appliance with its default limits, by a client, a stranger at a port, or slow readers (G6, G9): what
//! it holds in memory and descriptors before, during and after, and what another client notices meanwhile.
//!
//! Bounds in bytes are asserted. Times are shown (`--nocapture`), and compared with something far away only: the
//! machine that runs this may be busy. `docs/testing.md` has figures.
mod http1;
mod http2;
mod link;
mod other;
mod service;
mod victim;

pub use other::Other;
pub use service::Big;
pub use victim::{Victim, at_once};
