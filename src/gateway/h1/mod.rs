//! HTTP/1.1 as a service's client: writes a request as it came, reads an answer as the clients of the field read it.
//!
//! Our own, because three things must be exact that a general client leaves open: whether a byte of a request has left
//! ([`Failure::NotTaken`]), what an ugly answer still says ([`Failure::Unusable`]), and whether an exchange ended so
//! that the connection may serve another one ([`Reply::take_conn`]). There is no task beside a connection: who sends
//! and who reads an answer drives it. Knows nothing of pools, services or writes.
mod conn;
mod decode;
mod encode;
#[cfg(test)]
mod fuzz;
mod head;
#[cfg(test)]
mod tests;

pub use conn::{BodyError, Conn, Failure, Reply};
pub use head::{Head, Spelling};
