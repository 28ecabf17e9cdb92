//! Holdfast.
pub mod dedup;
pub mod journal;
pub mod model;
pub mod service;
pub mod wire;
