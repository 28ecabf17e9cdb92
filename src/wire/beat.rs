//! The heartbeat of a link. It shows that the other side lives, and how long a small message takes there and back.
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::envelope::{read_value, seal};
use super::{Error, Kind, open};

/// Times are microseconds on the sender's own monotonic clock: only their owner may compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Beat {
    pub sent_us: u64,
    /// `sent_us` of the last beat that was received, and how long ago that was.
    pub echo: Option<(u64, u64)>,
}

pub fn encode_beat(beat: &Beat) -> Bytes {
    seal(Kind::Beat, "beat", beat).expect("a beat is a few bytes")
}

pub fn decode_beat(envelope: &[u8]) -> Result<Beat, Error> {
    read_value("beat", open(envelope, Kind::Beat, 64)?)
}
