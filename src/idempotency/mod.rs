//! Keys, digests, replayed answers (§9).
mod table;

pub use table::KeyTable;
