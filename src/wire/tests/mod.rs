//! Golden files, bincode's own opinion, properties.
mod layout;
mod properties;
pub(crate) mod samples;

use super::*;
use samples::{SAMPLES, group, hello, join, joined, page, prints, welcome};

/// `BLESS=1 cargo test wire::` writes the golden files anew. A changed file is a changed format: raise [`FORMAT`].
fn golden(name: &str, envelope: &[u8]) {
    let path = format!("{}/src/wire/golden/{FORMAT}/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let hex: Vec<String> =
        envelope.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    let hex = hex.join("\n") + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &hex).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(hex, expected, "{name}: the format has changed");
}

#[test]
fn golden_messages() {
    for (name, message) in SAMPLES.iter().map(|(name, make)| (name, make())) {
        let envelope = encode_message(&group(), &message).unwrap();
        golden(&format!("message-{name}"), &envelope);
        assert_eq!(decode_message(&envelope, 1 << 20).unwrap(), (group(), message), "{name}");
    }
}

#[test]
fn golden_others() {
    let small = encode_page(&group(), &page(1, 8)).unwrap();
    golden("page", &small);
    assert_eq!(decode_page(&small, 1 << 20).unwrap(), (group(), page(1, 8)));
    let hello_envelope = encode_hello(&hello()).unwrap();
    golden("hello", &hello_envelope);
    assert_eq!(decode_hello(&hello_envelope).unwrap(), hello());
    let welcome_envelope = encode_welcome(&welcome()).unwrap();
    golden("welcome", &welcome_envelope);
    assert_eq!(decode_welcome(&welcome_envelope).unwrap(), welcome());
    let join_envelope = encode_join(&join()).unwrap();
    golden("join", &join_envelope);
    assert_eq!(decode_join(&join_envelope).unwrap(), join());
    for (name, joined) in ["given", "refused"].into_iter().zip(joined()) {
        let envelope = encode_joined(&joined).unwrap();
        golden(&format!("joined-{name}"), &envelope);
        assert_eq!(decode_joined(&envelope).unwrap(), joined);
    }
    let batch = encode_fingerprints(&prints(2));
    golden("fingerprints", &batch);
    assert_eq!(decode_fingerprints(&batch).unwrap(), prints(2));
    let beat = Beat { sent_us: 1, echo: Some((2, 3)), asks: true, every_s: 4 };
    golden("beat", &encode_beat(&beat));
    assert_eq!(decode_beat(&encode_beat(&beat)).unwrap(), beat);
}

/// zstd's output may change between its releases, so a compressed page is read from a golden file, not compared with
/// it.
#[test]
fn a_compressed_page_of_today_reads_for_ever() {
    let path = format!("{}/src/wire/golden/{FORMAT}/page-compressed.bin", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, encode_page(&group(), &page(20, 500)).unwrap()).unwrap();
    }
    let envelope = std::fs::read(&path).unwrap();
    assert!(envelope.len() < 20 * 500, "{} bytes", envelope.len());
    assert_eq!(decode_page(&envelope, 1 << 20).unwrap(), (group(), page(20, 500)));
}

/// What was done to an envelope, and what is said of it.
#[test]
fn every_damage_has_its_name() {
    // Short enough not to be compressed.
    let mut short = page(2, 8);
    for item in &mut short.items {
        let item = std::sync::Arc::make_mut(item);
        (item.outcome.answer, item.outcome.after, item.facts.client) = (None, crate::model::After::new(), None);
    }
    let whole = encode_page(&group(), &short).unwrap().to_vec();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        decode_page(&bytes, 1 << 20).unwrap_err().to_string()
    };
    let seal_again = |bytes: &mut Vec<u8>| {
        let end = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
    };
    let cases: [(&str, String); 9] = [
        ("envelope of version 9, this appliance reads version 2: upgrade this site", with(&|b| b[0] = 9)),
        ("envelope of version 1, this appliance reads version 2: upgrade the site that sent it", with(&|b| b[0] = 1)),
        ("unknown kind 77", with(&|b| b[1] = 77)),
        (
            "holds a Message, expected a Page",
            with(&|b| {
                b[1] = 1;
                seal_again(b);
            }),
        ),
        ("cut off", with(&|b| b.truncate(b.len() - 1))),
        ("envelope is cut off: 3 bytes, expected 10", with(&|b| b.truncate(3))),
        ("1 bytes follow the end", with(&|b| b.push(0))),
        ("payload of 16777215 bytes, at most 1048576", with(&|b| b[2..6].copy_from_slice(&[255, 255, 255, 0]))),
        ("CRC32", with(&|b| b[50] ^= 1)),
    ];
    for (expected, got) in cases {
        assert!(got.contains(expected), "{got}, expected {expected}");
    }
    assert!(matches!(decode_page(&[], 1), Err(Error::Truncated { .. })));
    // A record that was damaged before the envelope was sealed, as in a journal.
    let last = with(&|b| {
        let at = b.len() - 10;
        b[at] ^= 1;
        seal_again(b);
    });
    assert!(last.starts_with("record 1 of the page (position 12) has CRC32"), "{last}");
}

#[test]
fn what_strangers_send_is_small_and_cannot_claim_to_be_more() {
    let whole = encode_join(&join()).unwrap();
    let header = |bytes: &[u8]| -> [u8; HEADER_BYTES] { bytes[..HEADER_BYTES].try_into().unwrap() };
    assert_eq!(length_of(header(&whole), Kind::Join, JOIN_BYTES_MAX).unwrap(), whole.len());
    let long = Join { request: vec![0; JOIN_BYTES_MAX], ..join() };
    let long = encode_join(&long).unwrap();
    assert!(matches!(length_of(header(&long), Kind::Join, JOIN_BYTES_MAX), Err(Error::Oversized { .. })));
    assert!(matches!(decode_join(&long), Err(Error::Oversized { .. })));
    assert!(matches!(length_of(header(&whole), Kind::Joined, JOIN_BYTES_MAX), Err(Error::OtherKind { .. })));
    // The request claims more than a machine has.
    for claimed in [u64::MAX, 1 << 40, 1 << 27, 4_000] {
        let mut claims = whole.to_vec();
        let at = HEADER_BYTES + 8 + "store-042".len() + 16;
        claims[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
        let end = claims.len() - 4;
        let crc = crc32fast::hash(&claims[..end]).to_le_bytes();
        claims[end..].copy_from_slice(&crc);
        assert!(matches!(decode_join(&claims), Err(Error::Layout { .. })), "{claimed}");
    }
    let name = |length: usize| Join { site: crate::model::SiteName::new("a".repeat(length)), ..join() }.check().is_ok();
    assert_eq!((name(255), name(256)), (true, false));
}

#[test]
fn a_page_cannot_grow_beyond_what_was_allowed() {
    let bomb = encode_page(&group(), &page(1, 10 << 20)).unwrap();
    assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
    let error = decode_page(&bomb, 1 << 20).unwrap_err().to_string();
    assert!(error.starts_with("page body of ") && error.ends_with("at most 1048576 are accepted"), "{error}");
    assert_eq!(decode_page(&bomb, 11 << 20).unwrap().1, page(1, 10 << 20));
}

#[test]
fn a_batch_of_fingerprints_is_bounded() {
    assert_eq!(decode_fingerprints(&encode_fingerprints(&prints(5_000))).unwrap(), prints(FINGERPRINTS_MAX as u64));
    assert_eq!(decode_fingerprints(&encode_fingerprints(&[])).unwrap(), []);
}
