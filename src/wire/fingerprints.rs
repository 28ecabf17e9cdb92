//! Batches of fingerprints for the control plane.
use bytes::Bytes;

use super::envelope::{read_value, seal_into, write_value};
use super::{Error, Kind, open};
use crate::dedup::Fingerprint;

/// A batch is a hint that must stay small: the sender splits what is more.
pub const FINGERPRINTS_MAX: usize = 1_024;

/// A fingerprint has 44 bytes and the name of its origin.
const BYTES_MAX: usize = 512 << 10;

/// Encodes at most [`FINGERPRINTS_MAX`] fingerprints; what is beyond is left out (a hint may be lost, G7).
pub fn encode_fingerprints(fingerprints: &[Fingerprint]) -> Bytes {
    let batch = &fingerprints[..fingerprints.len().min(FINGERPRINTS_MAX)];
    let mut out = Vec::with_capacity(64 + 64 * batch.len());
    // A sequence is its length and its elements; written by hand because the batch is borrowed.
    let written = seal_into(&mut out, Kind::Fingerprints, |out| {
        out.extend_from_slice(&(batch.len() as u64).to_le_bytes());
        batch.iter().try_for_each(|fingerprint| write_value(out, "fingerprint", fingerprint))
    });
    written.expect("names of sites are short");
    out.into()
}

pub fn decode_fingerprints(envelope: &[u8]) -> Result<Vec<Fingerprint>, Error> {
    let batch: Vec<Fingerprint> = read_value("batch of fingerprints", open(envelope, Kind::Fingerprints, BYTES_MAX)?)?;
    if batch.len() > FINGERPRINTS_MAX {
        return Err(Error::Oversized { what: "batch of fingerprints", got: batch.len(), limit: FINGERPRINTS_MAX });
    }
    Ok(batch)
}
