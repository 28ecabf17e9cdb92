//! Holdfast.
pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod dedup;
pub mod demo;
pub mod gateway;
pub mod idempotency;
pub mod journal;
pub mod link;
pub mod mirror;
pub mod model;
pub mod problem;
pub mod replay;
pub mod service;
pub mod telemetry;
pub mod wire;
