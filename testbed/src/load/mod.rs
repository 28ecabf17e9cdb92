//! What stands around an appliance that is measured: clients, services, the bare proxy to compare with, a line to cut.
//!
//! Each part runs on threads of its own with a runtime of its own, ends with its owner, and speaks to the loopback
//! only. It may assume nothing about what it measures. It promises to cost little (one allocation or two per request
//! beyond hyper's own) and to count everything: an answer that did not come is a figure, not an error.
mod client;
mod histogram;
mod proxy;
mod relay;
#[cfg(test)]
mod tests;
mod thread;
mod upstream;

pub use client::{Connection, Maker, Pace, Plan, Report, Sample, Ticket, run};
pub use histogram::Histogram;
pub use proxy::proxy;
pub use relay::Relay;
pub use upstream::{Upstream, UpstreamOptions};

use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{address} is not on the loopback: measurements never leave this machine")]
    NotLoopback { address: SocketAddr },
    #[error("{what}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("a plan needs at least one connection, one thread and a limit in requests and time")]
    EmptyPlan,
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { what, source }
    }
}

fn require_loopback(address: SocketAddr) -> Result<(), Error> {
    if address.ip().is_loopback() { Ok(()) } else { Err(Error::NotLoopback { address }) }
}
