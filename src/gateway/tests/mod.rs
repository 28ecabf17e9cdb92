//! The gateway over real sockets, with a small group task behind the real handle and small services behind the real
//! pools.
mod attempts;
pub(in crate::gateway) mod fuzz;
mod http2;
mod panics;
mod pools;
mod requests;
mod smuggling;
mod support;
mod writes;
