//! The heartbeat of a link. It shows that the other side lives, and how long a small message takes there and back. On a
//! line that is metered it is all that is said at rest, so it is small.
use bytes::Bytes;
use wincode::{SchemaRead, SchemaWrite};

use super::envelope::{read_value, seal};
use super::{Error, Kind, open};

/// Times are microseconds on the sender's own monotonic clock, which begins anew every 71 minutes: only their owner may
/// compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Beat {
    pub sent_us: u32,
    /// In an answer: `sent_us` of the beat that asked, and how long ago that came.
    pub echo: Option<(u32, u32)>,
    /// Wants an answer at once.
    pub asks: bool,
    /// The sender asks at least so often, in seconds; 0: it does not say.
    pub every_s: u16,
}

pub fn encode_beat(beat: &Beat) -> Bytes {
    seal(Kind::Beat, "beat", beat).expect("a beat is a few bytes")
}

pub fn decode_beat(envelope: &[u8]) -> Result<Beat, Error> {
    read_value("beat", open(envelope, Kind::Beat, 64)?)
}
