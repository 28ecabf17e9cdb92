//! Bytes that leave a process: the version of every format, and the envelope around each message.
/// Format of records and messages. Readers of older formats stay.
pub const FORMAT: u8 = 1;
