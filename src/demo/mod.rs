//! `holdfast demo`: two sites, a cut, a heal, a table that proves both replicas equal.
mod catalogue;
mod http;
pub mod pos;
