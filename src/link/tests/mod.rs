//! Two sites and a line between them that can be cut, silenced and narrowed.
mod exchange;
mod kit;
mod large;
mod refusals;
mod trouble;
