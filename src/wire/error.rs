//! What can be wrong with bytes from outside.
use super::{FORMAT, Kind};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("envelope of version {got}, this appliance reads version {FORMAT}: upgrade this site")]
    NewerVersion { got: u8 },
    #[error("envelope of version {got}, this appliance reads version {FORMAT}: upgrade the site that sent it")]
    OlderVersion { got: u8 },
    #[error("envelope of unknown kind {got}: expected 1 to {}", Kind::LAST)]
    UnknownKind { got: u8 },
    #[error("envelope holds a {got:?}, expected a {expected:?}")]
    OtherKind { got: Kind, expected: Kind },
    #[error("envelope is cut off: {got} bytes, expected {expected}")]
    Truncated { got: usize, expected: usize },
    #[error("{extra} bytes follow the end of the envelope")]
    TrailingBytes { extra: usize },
    #[error("{what} of {got} bytes, at most {limit} are accepted")]
    Oversized { what: &'static str, got: usize, limit: usize },
    #[error("envelope's CRC32 is {got:08x}, its bytes have {computed:08x}: damaged on the way")]
    Checksum { got: u32, computed: u32 },
    #[error(
        "record {index} of the page (position {position}) has CRC32 {got:08x}, its bytes have {computed:08x}: damaged"
    )]
    RecordChecksum { index: usize, position: u64, got: u32, computed: u32 },
    #[error("record {index} of the page says position {got}, expected {expected}")]
    RecordPosition { index: usize, got: u64, expected: u64 },
    #[error("page claims {expected} records and ends after {got}")]
    RecordMissing { got: usize, expected: usize },
    #[error("page body does not decompress")]
    Compression(#[source] std::io::Error),
    #[error("page body decompresses to {got} bytes, it claims {expected}")]
    DecompressedSize { got: usize, expected: usize },
    #[error("{what} does not read as such")]
    Layout { what: &'static str, source: wincode::ReadError },
    #[error("{what} is too large to be written")]
    Unwritable { what: &'static str, source: wincode::WriteError },
}
