//! Bytes that leave a process: the version of every format, and the envelope around each message.
//!
//! Owns the layout of what sites say to each other, on links and on the control plane. Assumes nothing about the bytes
//! it reads: they may be cut, damaged, from a newer version, or larger than they claim. Promises that what [`open`] and
//! the `decode_*` functions return is what the other side encoded, and that they never allocate more than the limit
//! that they were given; everything else is an [`Error`] that says what was wrong. Keeps no state, so a crash costs
//! nothing.
//!
//! The payload is in bincode's layout (fixed integers, little endian, 32-bit tags, 64-bit lengths), written by
//! `wincode`; a test compares it with bincode 2.0.1 itself, and the golden files hold one envelope of each kind.
mod beat;
mod envelope;
mod error;
mod fingerprints;
mod hello;
mod join;
mod message;
mod page;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::samples;

pub use beat::{Beat, decode_beat, encode_beat};
pub use envelope::{HEADER_BYTES, Kind, OVERHEAD_BYTES, kind_of, length_of, open};
pub use error::Error;
pub use fingerprints::{FINGERPRINTS_MAX, decode_fingerprints, encode_fingerprints};
pub use hello::{Difference, Hello, Terms, Welcome, decode_hello, decode_welcome, encode_hello, encode_welcome};
pub use join::{
    Given, JOIN_BYTES_MAX, JOINED_BYTES_MAX, Join, Joined, decode_join, decode_joined, encode_join, encode_joined,
};
pub use message::{decode_message, encode_message, encode_message_into};
pub use page::{decode_page, encode_page};

/// Format of messages. Begun anew at 2: nobody ever ran version 1, and nothing reads it. From 2 on readers of older
/// formats stay.
pub const FORMAT: u8 = 2;
