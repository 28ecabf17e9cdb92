//! Black box: real binaries, real sockets, real databases. One program, so that it links once.
//!
//! `cargo test --test it`; with `--features failpoints` also what dies at each step of a write's life. The tests wait
//! more than they work: `-- --test-threads 6` is about twice as quick on two cores.
//!
//! What is checked is what a client, a service or an operator can see; G1 to G9 are cited where a test is about one of
//! them.
mod harness;

mod admin;
mod attacks;
mod certificates;
mod clock;
mod commands;
mod configuration;
mod control;
mod disk;
mod documents;
mod journal;
mod judged;
mod keys;
#[cfg(feature = "failpoints")]
mod kill;
mod logs;
mod metrics;
mod nights;
#[cfg(feature = "failpoints")]
mod panics;
mod peers;
mod quarantine;
mod requests;
mod second_process;
mod silence;
mod starting;
mod status;
mod storage;
mod three_sites;
mod tokens;
mod two_sites;
mod upstream;
mod whose;
