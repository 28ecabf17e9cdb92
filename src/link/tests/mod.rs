//! Two sites and a line between them that can be cut, silenced and narrowed.
mod doors;
mod exchange;
mod joins;
mod kit;
mod large;
mod refusals;
mod trouble;
mod wrong_bytes;
