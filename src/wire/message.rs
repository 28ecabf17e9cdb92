//! A message of one group. Pages have an envelope of their own, but those that a wish or an outcome brings along are
//! inside.
use bytes::Bytes;

use super::envelope::{read_value, seal_into, write_value};
use super::{Error, Kind, open};
use crate::model::Group;
use crate::service::Message;

pub fn encode_message(group: &Group, message: &Message) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(256);
    encode_message_into(&mut out, group, message)?;
    Ok(out.into())
}

/// Appends the envelope to `out`; on an error `out` is as it was.
pub fn encode_message_into(out: &mut Vec<u8>, group: &Group, message: &Message) -> Result<(), Error> {
    seal_into(out, Kind::Message, |out| {
        write_value(out, "group", group)?;
        write_value(out, "message", message)
    })
}

/// `limit` bounds the payload's bytes.
pub fn decode_message(envelope: &[u8], limit: usize) -> Result<(Group, Message), Error> {
    read_value("message", open(envelope, Kind::Message, limit)?)
}
