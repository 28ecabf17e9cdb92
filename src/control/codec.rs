//! What nodes say to each other over the control plane, and the envelope around it: version, CRC32, bincode's layout.
//!
//! Kept apart from the rest so that it can move to `wire/` as it is.
use wincode::{SchemaRead, SchemaWrite};

use super::names::NAME_BYTES_MAX;
use crate::model::{Group, KeyHash, LogId, NUMBER_MAX, SiteName, WriteId};

/// Version of this envelope and of every message in it.
pub const VERSION: u8 = 1;
/// A version byte, and the CRC32 of all that follows it.
const HEAD_BYTES: usize = 5;
/// Larger messages are refused before they are looked at (G6).
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// One fingerprint within a [`Batch`]; service and origin are the batch's.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Print {
    pub store: String,
    pub key: KeyHash,
    pub id: WriteId,
}

/// Numbers `first..first + prints.len()` of what one boot of a site's node said about one service.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Batch {
    pub site: SiteName,
    pub boot: [u8; 16],
    pub service: String,
    pub first: u64,
    pub prints: Vec<Print>,
}

/// Numbers `[low, end)` can still be asked for.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Digest {
    pub site: SiteName,
    pub boot: [u8; 16],
    pub service: String,
    pub low: u64,
    pub end: u64,
}

/// "Say these numbers again."
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Question {
    pub boot: [u8; 16],
    pub service: String,
    /// Half open.
    pub ranges: Vec<(u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Message {
    Fingerprints(Batch),
    Head { site: SiteName, group: Group, log: LogId, position: u64 },
    Cursor { site: SiteName, group: Group, log: LogId, received: u64, decided: u64 },
    Health { site: SiteName, group: Group, healthy: bool, lag_ms: u64 },
    Digest(Digest),
    Question(Question),
    Beat { site: SiteName, node: String, boot: [u8; 16] },
    Echo { site: SiteName, node: String, boot: [u8; 16] },
}

/// Bytes that are not a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("message of {0} bytes: expected {HEAD_BYTES} to {MESSAGE_BYTES_MAX}")]
    Size(usize),
    #[error("message has envelope version {0}, this node speaks {VERSION}: upgrade the older node")]
    Version(u8),
    #[error("message is damaged: its CRC32 is {found:08x}, its bytes have {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    #[error("message of version {VERSION} cannot be read: {0}")]
    Layout(String),
    #[error("message says what cannot be: {0}")]
    Implausible(&'static str),
    #[error("a bug was met while a message was read")]
    Bug,
}

pub fn encode(message: &Message) -> Vec<u8> {
    let body = wincode::serialize(message).expect("plain data always serialises");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

pub fn decode(bytes: &[u8]) -> Result<Message, CodecError> {
    if bytes.len() < HEAD_BYTES || bytes.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::Size(bytes.len()));
    }
    if bytes[0] != VERSION {
        return Err(CodecError::Version(bytes[0]));
    }
    let (head, body) = bytes.split_at(HEAD_BYTES);
    let found = u32::from_le_bytes(head[1..].try_into().expect("four bytes follow the version"));
    let computed = crc32fast::hash(body);
    if found != computed {
        return Err(CodecError::Checksum { found, computed });
    }
    let message: Message = wincode::deserialize_exact(body).map_err(|error| CodecError::Layout(error.to_string()))?;
    check(&message).map_err(CodecError::Implausible)?;
    Ok(message)
}

/// Fingerprints in one message, and ranges in one question; nodes send far fewer.
const PRINTS_MAX: usize = 1 << 14;
const RANGES_MAX: usize = 1 << 12;
/// Numbers that one boot may have given, and how many of them can be asked for at once.
const COUNT_MAX: u64 = 1 << 48;
const WINDOW_MAX: u64 = 1 << 20;

/// Numbers from outside, before anything is reckoned with them (G9).
fn check(message: &Message) -> Result<(), &'static str> {
    let must = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
    let name = |text: &str| must(text.len() <= NAME_BYTES_MAX, "a name of more than 255 bytes");
    let position = |position: u64| must(position <= NUMBER_MAX, "a position that no store gives");
    let of_group = |group: &Group| name(&group.service).and(name(&group.store));
    match message {
        Message::Fingerprints(Batch { site, service, first, prints, .. }) => {
            name(site.as_str()).and(name(service))?;
            must(prints.len() <= PRINTS_MAX, "more fingerprints than a message has")?;
            must(*first <= COUNT_MAX, "a fingerprint's number beyond all counting")?;
            let sound = |print: &Print| print.id.n <= NUMBER_MAX && print.store.len() <= NAME_BYTES_MAX;
            must(prints.iter().all(sound), "a fingerprint of a write that no store has")
        }
        Message::Head { site, group, position: at, .. } => name(site.as_str()).and(of_group(group)).and(position(*at)),
        Message::Cursor { site, group, received, decided, .. } => {
            name(site.as_str()).and(of_group(group)).and(position(*received))?;
            must(decided <= received, "more of a series is decided than was received")
        }
        Message::Health { site, group, .. } => name(site.as_str()).and(of_group(group)),
        Message::Digest(Digest { site, service, low, end, .. }) => {
            name(site.as_str()).and(name(service))?;
            must(low <= end && *end <= COUNT_MAX, "a digest that ends before it begins, or beyond all counting")?;
            must(end - low <= WINDOW_MAX, "a digest over more than a node keeps")
        }
        Message::Question(Question { service, ranges, .. }) => {
            name(service)?;
            // What of them there is, is looked for where they are answered.
            must(ranges.len() <= RANGES_MAX, "more ranges than a question has")
        }
        Message::Beat { site, node, .. } | Message::Echo { site, node, .. } => name(site.as_str()).and(name(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Message {
        let id = WriteId { log: LogId { store: [1; 16], incarnation: 2 }, n: 3 };
        let print = Print { store: "s".into(), key: KeyHash([9; 16]), id };
        let prints = vec![print];
        Message::Fingerprints(Batch { site: SiteName::new("a"), boot: [4; 16], service: "tx".into(), first: 5, prints })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_layout_of_version_1_is_golden() {
        // version, CRC32, variant, site, boot, service, first, count, store, key, log, incarnation, n
        let golden = [
            "01",
            "e2fe0ed5",
            "00000000",
            "010000000000000061",
            "04040404040404040404040404040404",
            "02000000000000007478",
            "0500000000000000",
            "0100000000000000",
            "010000000000000073",
            "09090909090909090909090909090909",
            "01010101010101010101010101010101",
            "02000000",
            "0300000000000000",
        ];
        assert_eq!(hex(&encode(&batch())), golden.concat());
        let echo = Message::Echo { site: SiteName::new("a"), node: "n".into(), boot: [4; 16] };
        let golden = ["01", "71fc8504", "07000000", "010000000000000061", "01000000000000006e", &"04".repeat(16)];
        assert_eq!(hex(&encode(&echo)), golden.concat());
    }

    #[test]
    fn every_message_reads_back() {
        let (site, group) = (SiteName::new("a"), Group { service: "tx".into(), store: String::new() });
        let log = LogId { store: [1; 16], incarnation: 2 };
        let messages = [
            batch(),
            Message::Head { site: site.clone(), group: group.clone(), log, position: 7 },
            Message::Cursor { site: site.clone(), group: group.clone(), log, received: 7, decided: 6 },
            Message::Health { site: site.clone(), group, healthy: true, lag_ms: 5 },
            Message::Digest(Digest { site: site.clone(), boot: [4; 16], service: "tx".into(), low: 1, end: 9 }),
            Message::Question(Question { boot: [4; 16], service: "tx".into(), ranges: vec![(1, 2), (5, 9)] }),
            Message::Beat { site, node: "n".into(), boot: [4; 16] },
        ];
        for message in messages {
            assert_eq!(decode(&encode(&message)), Ok(message));
        }
    }

    #[test]
    fn damage_and_other_versions_are_refused_and_named() {
        let good = encode(&batch());
        for at in 1..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(matches!(decode(&bad), Err(CodecError::Checksum { .. })), "byte {at}");
        }
        let mut newer = good.clone();
        newer[0] = 2;
        assert_eq!(decode(&newer), Err(CodecError::Version(2)));
        assert_eq!(decode(&[]), Err(CodecError::Size(0)));
        assert_eq!(decode(&vec![1; MESSAGE_BYTES_MAX + 1]), Err(CodecError::Size(MESSAGE_BYTES_MAX + 1)));
        // Intact bytes of no message: an unknown variant, and a length that the bytes do not have.
        for body in
            [vec![99, 0, 0, 0], [vec![0, 0, 0, 0], vec![0xff; 8]].concat(), [good[5..].to_vec(), vec![0]].concat()]
        {
            let bytes = [vec![VERSION], crc32fast::hash(&body).to_le_bytes().to_vec(), body].concat();
            assert!(matches!(decode(&bytes), Err(CodecError::Layout(_))));
        }
    }
}
