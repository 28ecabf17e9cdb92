//! Black box: real binaries, real sockets, real databases. One program, so that it links once.
//!
//! What is checked is what a client, a service or an operator can see; G1 to G8 are cited where a test is about one of them.
mod harness;

mod clock;
mod configuration;
mod control;
mod disk;
mod journal;
mod keys;
#[cfg(feature = "failpoints")]
mod kill;
mod peers;
mod requests;
mod three_sites;
mod two_sites;
mod upstream;
