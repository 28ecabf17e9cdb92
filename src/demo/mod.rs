//! `holdfast demo`: two sites, a cut, a heal, a table that proves both replicas equal.
mod catalogue;
pub mod check;
pub mod history;
mod http;
pub mod pos;
mod progress;
mod relay;
pub mod sabotage;
mod till;
mod tills;
