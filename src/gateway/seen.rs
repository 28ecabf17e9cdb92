//! `Holdfast-Seen`: what an answer rests on, as a token that a client may carry to another site (§5).
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::{After, LogId, WriteId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeenError {
    #[error("Holdfast-Seen is not base64url; send back a token as it was received, or leave it out")]
    Encoding,
    #[error("Holdfast-Seen is not a token of this version; send back a token as it was received, or leave it out")]
    Format,
}

const VERSION: u8 = 1;
const LOG_BYTES: usize = 20;
/// More series than any fleet shows one client; beyond it the token is not ours.
const ENTRIES_MAX: usize = 512;

/// Version, count of positions, positions (log, position), then ids (log, n). Little-endian, fixed width: nothing to trust.
pub fn encode(after: &After) -> String {
    let positions = &after.positions()[..after.positions().len().min(ENTRIES_MAX)];
    let mut bytes = Vec::with_capacity(3 + (positions.len() + after.ids().len()) * (LOG_BYTES + 8));
    bytes.push(VERSION);
    bytes.extend_from_slice(&(positions.len() as u16).to_le_bytes());
    for &(log, position) in positions {
        push(&mut bytes, log, position);
    }
    for id in after.ids().iter().take(ENTRIES_MAX - positions.len()) {
        push(&mut bytes, id.log, id.n);
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn push(bytes: &mut Vec<u8>, log: LogId, number: u64) {
    bytes.extend_from_slice(&log.store);
    bytes.extend_from_slice(&log.incarnation.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
}

/// Reads what a client sent; anything that [`encode`] would not have written is refused.
pub fn decode(token: &[u8]) -> Result<After, SeenError> {
    if token.len() > (3 + ENTRIES_MAX * (LOG_BYTES + 8)).div_ceil(3) * 4 {
        return Err(SeenError::Format);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| SeenError::Encoding)?;
    let [VERSION, low, high, entries @ ..] = bytes.as_slice() else { return Err(SeenError::Format) };
    let positions = usize::from(u16::from_le_bytes([*low, *high]));
    if entries.len() % (LOG_BYTES + 8) != 0 || positions > entries.len() / (LOG_BYTES + 8) {
        return Err(SeenError::Format);
    }
    let mut after = After::new();
    for (i, entry) in entries.chunks_exact(LOG_BYTES + 8).enumerate() {
        let store = entry[..16].try_into().expect("16 bytes");
        let incarnation = u32::from_le_bytes(entry[16..20].try_into().expect("4 bytes"));
        let number = u64::from_le_bytes(entry[20..].try_into().expect("8 bytes"));
        let log = LogId { store, incarnation };
        if i < positions {
            after.raise(log, number);
        } else {
            after.add_id(WriteId { log, n: number });
        }
    }
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_anything_else_is_refused() {
        let log = |n| LogId { store: [n; 16], incarnation: 2 };
        let mut after = After::new();
        assert_eq!(decode(encode(&after).as_bytes()), Ok(after.clone()));
        after.raise(log(3), 9);
        after.raise(log(1), u64::MAX);
        after.add_id(WriteId { log: log(2), n: 5 });
        let token = encode(&after);
        assert_eq!(decode(token.as_bytes()), Ok(after));
        for (bad, error) in [
            ("", SeenError::Format),
            ("?", SeenError::Encoding),
            ("AgAA", SeenError::Format),
            ("AQEA", SeenError::Format),
            ("AQAAAA", SeenError::Format),
            (&token[..token.len() - 4], SeenError::Format),
            (&"A".repeat(100_000), SeenError::Format),
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(error), "{bad:.20}");
        }
    }
}
