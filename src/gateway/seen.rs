//! `Holdfast-Seen`: what an answer rests on, as a token that a client may carry to another site.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::{After, LogId, NUMBER_MAX, Stretch, WriteId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeenError {
    #[error("Holdfast-Seen is not base64url; send back a token as it was received, or leave it out")]
    Encoding,
    #[error("Holdfast-Seen is not a token of this version; send back a token as it was received, or leave it out")]
    Format,
}

const VERSION: u8 = 2;
const LOG_BYTES: usize = 20;
/// More series than any fleet shows one client; beyond it the token is not ours.
const ENTRIES_MAX: usize = 512;

const ENTRY_BYTES: usize = LOG_BYTES + 8;
const HEAD_BYTES: usize = 5;

/// Version, counts of positions and of stretches, positions (log, position), stretches (two entries: log, first; log,
/// last), then ids (log, n). Little-endian, fixed width: nothing to trust.
pub fn encode(after: &After) -> String {
    let positions = &after.positions()[..after.positions().len().min(ENTRIES_MAX)];
    let room = ENTRIES_MAX - positions.len();
    let stretches = &after.beyond()[..after.beyond().len().min(room / 2)];
    let ids = &after.ids()[..after.ids().len().min(room - 2 * stretches.len())];
    let entries = positions.len() + 2 * stretches.len() + ids.len();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + entries * ENTRY_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&(positions.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&(stretches.len() as u16).to_le_bytes());
    for &(log, position) in positions {
        push(&mut bytes, log, position);
    }
    for stretch in stretches {
        push(&mut bytes, stretch.log, stretch.first);
        push(&mut bytes, stretch.log, stretch.last);
    }
    for id in ids {
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
    if token.len() > (HEAD_BYTES + ENTRIES_MAX * ENTRY_BYTES).div_ceil(3) * 4 {
        return Err(SeenError::Format);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| SeenError::Encoding)?;
    let [VERSION, p0, p1, s0, s1, entries @ ..] = bytes.as_slice() else { return Err(SeenError::Format) };
    let count = |low: u8, high: u8| usize::from(u16::from_le_bytes([low, high]));
    let (positions, stretches) = (count(*p0, *p1), count(*s0, *s1));
    let numbered = |count: usize| count * ENTRY_BYTES;
    if entries.len() % ENTRY_BYTES != 0 || entries.len() < numbered(positions) + numbered(2 * stretches) {
        return Err(SeenError::Format);
    }
    let (positions, entries) = entries.split_at(numbered(positions));
    let (stretches, ids) = entries.split_at(numbered(2 * stretches));
    let mut after = After::new();
    // No store gives such a number: who names one has it not from us, and nobody need wait for it.
    let is_given = |entry: &[u8]| (1..=NUMBER_MAX).contains(&read(entry).1);
    if !positions.chunks_exact(ENTRY_BYTES).chain(ids.chunks_exact(ENTRY_BYTES)).all(is_given) {
        return Err(SeenError::Format);
    }
    for (log, position) in positions.chunks_exact(ENTRY_BYTES).map(read) {
        after.raise(log, position);
    }
    for pair in stretches.chunks_exact(2 * ENTRY_BYTES) {
        let ((log, first), (other, last)) = (read(&pair[..ENTRY_BYTES]), read(&pair[ENTRY_BYTES..]));
        if log != other || first == 0 || first > last || last > NUMBER_MAX {
            return Err(SeenError::Format);
        }
        after.add_stretch(Stretch { log, first, last });
    }
    for (log, n) in ids.chunks_exact(ENTRY_BYTES).map(read) {
        after.add_id(WriteId { log, n });
    }
    Ok(after)
}

fn read(entry: &[u8]) -> (LogId, u64) {
    let store = entry[..16].try_into().expect("16 bytes");
    let incarnation = u32::from_le_bytes(entry[16..20].try_into().expect("4 bytes"));
    (LogId { store, incarnation }, u64::from_le_bytes(entry[20..].try_into().expect("8 bytes")))
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
        after.raise(log(1), NUMBER_MAX);
        after.add_stretch(Stretch { log: log(2), first: 4, last: 6 });
        after.add_id(WriteId { log: log(2), n: 5 });
        let token = encode(&after);
        let beyond = |add: &dyn Fn(&mut After)| {
            let mut after = After::new();
            add(&mut after);
            decode(encode(&after).as_bytes())
        };
        assert_eq!(beyond(&|after| after.raise(log(1), NUMBER_MAX + 1)), Err(SeenError::Format));
        assert_eq!(beyond(&|after| after.add_id(WriteId { log: log(1), n: u64::MAX })), Err(SeenError::Format));
        assert_eq!(decode(token.as_bytes()), Ok(after));
        for (bad, error) in [
            ("", SeenError::Format),
            ("?", SeenError::Encoding),
            ("AQAAAAA", SeenError::Format),
            ("AgEAAAA", SeenError::Format),
            ("AgAAAQA", SeenError::Format),
            ("AgAAAAAA", SeenError::Format),
            (&token[..token.len() - 4], SeenError::Format),
            (&"A".repeat(100_000), SeenError::Format),
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(error), "{bad:.20}");
        }
    }
}
