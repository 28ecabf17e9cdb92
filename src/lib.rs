//! Holdfast: an appliance in front of unmodified HTTP services at several sites. It journals each write, answers, ships
//! it to the other sites and applies it there once and in order. The promises G1 to G9 are in `docs/guarantees.md`, how
//! the rooms work together in `docs/architecture.md`, the words in `docs/glossary.md`.
//!
//! # The map
//!
//! Each folder is a room with one purpose; its `mod.rs` says what it owns, assumes and promises. [`service`],
//! [`mirror`] and [`replay`] are one state machine in three rooms.
//!
//! | room | purpose |
//! |---|---|
//! | [`cli`] | the commands, exit codes, tables for people |
//! | [`app`] | wires all others together, starts and stops; the only one that does |
//! | [`demo`] | two sites with tills, a cut and a judge; uses the appliance as a process |
//! | [`admin`] | health, metrics and the API for operators |
//! | [`gateway`] | HTTP in and out: listen, route, describe a write, forward, answer |
//! | [`link`] | the HTTP/2 connection between two sites: what counts |
//! | [`control`] | zenoh behind a trait, with an in-memory twin: hints, which may be lost |
//! | [`service`] | [`service::Core`], the pure state machine of one service (and store), and the task that runs it |
//! | [`mirror`] | its source side: settling, series, pages, wishes |
//! | [`replay`] | its follower side: receive, order by `after`, send, compare, doubt |
//! | `completer` | what waits for more than an answer: the quarantine, orders of people, late decisions |
//! | [`journal`] | the store contract: what is durable; SQLite, and the same in memory |
//! | [`identity`] | who a site is: certificates, the rule for both planes, when they end, who may join |
//! | [`idempotency`] | keys, digests, the table of keys |
//! | [`dedup`] | fingerprints and the circular buffer |
//! | [`wire`] | versioned envelopes |
//! | [`privacy`] | what people are shown of requests and answers, and what not |
//! | [`problem`] | every refusal as problem+json |
//! | [`config`] | TOML to checked settings, all problems at once |
//! | [`descriptors`] | file descriptors of the process, and for what the last ones are kept |
//! | `places` | who makes room where all places for connections are taken |
//! | [`contain`] | where a panic ends less than the process |
//! | [`telemetry`] | logs, names of metrics, the service manager |
//! | [`model`] | the words as types |
//!
//! # The way of a write
//!
//! 1. [`gateway`] reads the request, finds service, store, lane, key and digest, and submits a [`service::NewWrite`].
//! 2. `service::accept`: a key that is known gets its recorded answer, or waits for it, or is refused; a hint in the
//!    [`dedup`] ring makes the group ask the origin first. A new write takes its place in its lane; its fingerprint
//!    goes out over [`control`].
//! 3. `service::decide`: the lane's next write is placed: at this replica, as a wish at another site (`mirror::wish`),
//!    in the queue (202), or nowhere (503).
//! 4. `replay::apply`: when all that it must come after is decided here and its lane is free, and no copy of it was
//!    applied (`replay::copies`), `replay::send` makes `sending` durable in the [`journal`], with the `after` fixed
//!    now; then the first byte may leave through [`gateway::Upstream`].
//! 5. `service::outcome`: what the attempt proves. `replay::finish` goes on with an answer, `replay::doubt` with an
//!    unknown outcome.
//! 6. `mirror::settle`: outcome and position in one transaction; then the client is answered. Whatever ends at this
//!    replica ends in `service::close`.
//! 7. `mirror::ship`: pages go over [`link`]; `replay::receive` at the other site stores them and confirms by its
//!    cursor.
//! 8. There the write is a *shadow* and goes the way of step 4, with the decider's `after`; `replay::finish` compares.
//!
//! Nothing is visible outside before what it rests on is durable: [`service::Outbox`] is the one place that sees to it,
//! for the task here and for the simulator in `testbed/src/sim`. After a crash `service::recover` begins again from the
//! journal; that is the normal start.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))] // They panic where nobody listens any more.
pub mod admin;
pub mod app;
pub mod cli;
pub(crate) mod completer;
pub mod config;
pub mod contain;
pub mod control;
pub mod dedup;
pub mod demo;
pub mod descriptors;
pub(crate) mod failpoint;
pub mod gateway;
pub mod idempotency;
pub mod identity;
pub mod journal;
pub mod link;
pub mod mirror;
pub mod model;
pub(crate) mod places;
pub mod privacy;
pub mod problem;
pub mod replay;
pub mod service;
pub mod telemetry;
pub mod wire;
