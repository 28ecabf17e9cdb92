//! The gateway over real sockets, with a small group task behind the real handle and small services behind the real pools.
mod attempts;
mod http2;
mod pools;
mod requests;
mod smuggling;
mod support;
mod writes;
