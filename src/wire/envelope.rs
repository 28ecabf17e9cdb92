//! version (1) | kind (1) | payload length (4, little endian) | payload | CRC32 of all before (4, little endian)
use bytes::Bytes;
use wincode::config::{Configuration, DEFAULT_DESERIALIZATION_SIZE_LIMIT};
use wincode::int_encoding::{FixInt, LittleEndian};
use wincode::len::BincodeLen;
use wincode::{SchemaReadOwned, SchemaWrite};

use super::{Error, FORMAT};

/// So much of an envelope says how long it is.
pub const HEADER_BYTES: usize = 6;
const CRC_BYTES: usize = 4;

/// What an envelope adds to its payload.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + CRC_BYTES;

/// The largest sequence that is read or written; `wincode`'s own default of 4 MiB is less than a request body may have.
/// What a reader really accepts is bounded by the limit that it passes to [`open`].
pub(super) const SEQUENCE_BYTES_MAX: usize = 128 << 20;

type Layout =
    Configuration<true, SEQUENCE_BYTES_MAX, BincodeLen, LittleEndian, FixInt, u32, DEFAULT_DESERIALIZATION_SIZE_LIMIT>;
const LAYOUT: Layout = Configuration::default().with_preallocation_size_limit::<SEQUENCE_BYTES_MAX>();

/// For what strangers send: nothing in it may claim more.
const SMALL_BYTES_MAX: usize = 64 << 10;
type Small =
    Configuration<true, SMALL_BYTES_MAX, BincodeLen, LittleEndian, FixInt, u32, DEFAULT_DESERIALIZATION_SIZE_LIMIT>;
const SMALL: Small = Configuration::default().with_preallocation_size_limit::<SMALL_BYTES_MAX>();

/// What an envelope holds. Numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Message = 1,
    Page = 2,
    Hello = 3,
    Welcome = 4,
    Fingerprints = 5,
    Beat = 6,
    Join = 7,
    Joined = 8,
}

impl Kind {
    pub const LAST: u8 = Kind::Joined as u8;

    fn from_byte(byte: u8) -> Result<Self, Error> {
        Ok(match byte {
            1 => Self::Message,
            2 => Self::Page,
            3 => Self::Hello,
            4 => Self::Welcome,
            5 => Self::Fingerprints,
            6 => Self::Beat,
            7 => Self::Join,
            8 => Self::Joined,
            got => return Err(Error::UnknownKind { got }),
        })
    }
}

/// Appends an envelope to `out`; `write` appends the payload. On an error `out` is as it was.
pub(super) fn seal_into(
    out: &mut Vec<u8>,
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[FORMAT, kind as u8, 0, 0, 0, 0]);
    let written = write(out).and_then(|()| {
        let payload = out.len() - start - HEADER_BYTES;
        u32::try_from(payload).map_err(|_| Error::Oversized { what: "payload", got: payload, limit: u32::MAX as usize })
    });
    let payload = match written {
        Ok(payload) => payload,
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    };
    out[start + 2..start + HEADER_BYTES].copy_from_slice(&payload.to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(())
}

pub(super) fn seal<T>(kind: Kind, what: &'static str, value: &T) -> Result<Bytes, Error>
where
    T: SchemaWrite<Layout, Src = T>,
{
    let mut out = Vec::with_capacity(256);
    seal_into(&mut out, kind, |out| write_value(out, what, value))?;
    Ok(out.into())
}

pub(super) fn write_value<T>(out: &mut Vec<u8>, what: &'static str, value: &T) -> Result<(), Error>
where
    T: SchemaWrite<Layout, Src = T>,
{
    wincode::config::serialize_into(out, value, LAYOUT).map_err(|source| Error::Unwritable { what, source })
}

pub(super) fn read_value<T>(what: &'static str, bytes: &[u8]) -> Result<T, Error>
where
    T: SchemaReadOwned<Layout, Dst = T>,
{
    wincode::config::deserialize_exact(bytes, LAYOUT).map_err(|source| Error::Layout { what, source })
}

/// The same for what comes from strangers.
pub(super) fn read_small<T>(what: &'static str, bytes: &[u8]) -> Result<T, Error>
where
    T: SchemaReadOwned<Small, Dst = T>,
{
    wincode::config::deserialize_exact(bytes, SMALL).map_err(|source| Error::Layout { what, source })
}

/// What the envelope says it holds; nothing has been checked but version and kind.
pub fn kind_of(envelope: &[u8]) -> Result<Kind, Error> {
    match envelope {
        [FORMAT, kind, ..] => Kind::from_byte(*kind),
        [got, ..] if *got > FORMAT => Err(Error::NewerVersion { got: *got }),
        [got, ..] if *got < FORMAT => Err(Error::OlderVersion { got: *got }),
        _ => Err(Error::Truncated { got: envelope.len(), expected: OVERHEAD_BYTES }),
    }
}

/// How many bytes the whole envelope has that begins so, where that is expected and no more than `limit` and overhead.
pub fn length_of(header: [u8; HEADER_BYTES], expected: Kind, limit: usize) -> Result<usize, Error> {
    let got = kind_of(&header)?;
    if got != expected {
        return Err(Error::OtherKind { got, expected });
    }
    let length = u32::from_le_bytes(header[2..].try_into().expect("4 bytes")) as usize;
    match length > limit {
        true => Err(Error::Oversized { what: "payload", got: length, limit }),
        false => Ok(OVERHEAD_BYTES + length),
    }
}

/// Checks one whole envelope and returns its payload. `limit` bounds the payload's bytes.
pub fn open(envelope: &[u8], expected: Kind, limit: usize) -> Result<&[u8], Error> {
    let got = kind_of(envelope)?;
    if envelope.len() < OVERHEAD_BYTES {
        return Err(Error::Truncated { got: envelope.len(), expected: OVERHEAD_BYTES });
    }
    let length = u32::from_le_bytes(envelope[2..HEADER_BYTES].try_into().expect("4 bytes")) as usize;
    if length > limit {
        return Err(Error::Oversized { what: "payload", got: length, limit });
    }
    let whole = OVERHEAD_BYTES + length;
    if envelope.len() < whole {
        return Err(Error::Truncated { got: envelope.len(), expected: whole });
    }
    if envelope.len() > whole {
        return Err(Error::TrailingBytes { extra: envelope.len() - whole });
    }
    let (checked, crc) = envelope.split_at(whole - CRC_BYTES);
    let crc = u32::from_le_bytes(crc.try_into().expect("4 bytes"));
    let computed = crc32fast::hash(checked);
    if crc != computed {
        return Err(Error::Checksum { got: crc, computed });
    }
    if got != expected {
        return Err(Error::OtherKind { got, expected });
    }
    Ok(&checked[HEADER_BYTES..])
}
