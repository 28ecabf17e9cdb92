//! Whatever is encoded is decoded; whatever was changed on the way is refused, and never panics.
use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{SAMPLES, group, id, join, joined, page, wish};
use crate::dedup::Fingerprint;
use crate::model::{Digest, Group, KeyHash, SiteName};
use crate::service::Message;
use crate::wire::*;

const LIMIT: usize = 1 << 20;

fn message() -> impl Strategy<Value = Message> {
    let sizes = 0..3_000usize;
    prop_oneof![
        (0..SAMPLES.len()).prop_map(|i| SAMPLES[i].1()),
        sizes.clone().prop_map(wish),
        (0..20u64, sizes).prop_map(|(records, body)| Message::Page(page(records, body))),
        (any::<u64>(), any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(token, key, of)| Message::Question {
            token,
            key: KeyHash(key),
            digest: Digest(of),
            who: None,
        }),
    ]
}

fn groups() -> impl Strategy<Value = Group> {
    ("\\PC{0,20}", "\\PC{0,20}").prop_map(|(service, store)| Group { service, store })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_back(group in groups(), message in message()) {
        let envelope = encode_message(&group, &message).unwrap();
        prop_assert_eq!(decode_message(&envelope, LIMIT).unwrap(), (group, message));
    }

    #[test]
    fn pages_come_back(group in groups(), records in 0..20u64, body in 0..3_000usize) {
        let page = page(records, body);
        prop_assert_eq!(decode_page(&encode_page(&group, &page).unwrap(), LIMIT).unwrap(), (group, page));
    }

    #[test]
    fn fingerprints_come_back(keys in vec((any::<[u8; 16]>(), "\\PC{0,20}", any::<u64>()), 0..100)) {
        let print = |(key, origin, n)| Fingerprint { key: KeyHash(key), origin: SiteName::new(origin), id: id(n) };
        let prints: Vec<Fingerprint> = keys.into_iter().map(print).collect();
        prop_assert_eq!(decode_fingerprints(&encode_fingerprints(&prints)).unwrap(), prints);
    }

    #[test]
    fn a_changed_envelope_is_refused(
        message in message(),
        paged in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let envelope = match paged {
            true => encode_page(&group(), &page(3, 300)).unwrap(),
            false => encode_message(&group(), &message).unwrap(),
        };
        let mut changed = envelope.to_vec();
        for (at, change) in changes {
            let at = at.index(changed.len());
            changed[at] ^= change;
        }
        if let Some(cut) = cut {
            changed.truncate(cut.index(envelope.len()));
        }
        prop_assume!(changed != envelope);
        prop_assert!(decode_message(&changed, LIMIT).is_err());
        prop_assert!(decode_page(&changed, LIMIT).is_err());
    }

    /// The envelope is right and its payload is nonsense, as a peer with a bug could send it.
    #[test]
    fn a_sealed_mutation_never_panics(
        sample in 0..SAMPLES.len(),
        paged in any::<bool>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let envelope = match paged {
            true => encode_page(&group(), &page(3, 300)).unwrap(),
            false => encode_message(&group(), &SAMPLES[sample].1()).unwrap(),
        };
        let mut changed = envelope.to_vec();
        let end = changed.len() - 4;
        for (at, byte) in changes {
            let at = 6 + at.index(end - 6);
            changed[at] = byte;
        }
        let crc = crc32fast::hash(&changed[..end]).to_le_bytes();
        changed[end..].copy_from_slice(&crc);
        let _ = (decode_message(&changed, LIMIT), decode_page(&changed, LIMIT));
        let _ = (decode_hello(&changed), decode_welcome(&changed));
        let _ = (decode_fingerprints(&changed), decode_beat(&changed));
    }

    /// From strangers: whatever is changed in what a box or a hub says, with the right checksum.
    #[test]
    fn a_sealed_mutation_of_a_join_never_panics(
        which in 0..3usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
    ) {
        let [given, refused] = joined().map(|joined| encode_joined(&joined).unwrap());
        let envelope = [encode_join(&join()).unwrap(), given, refused][which].clone();
        let mut changed = envelope.to_vec();
        let end = changed.len() - 4;
        for (at, byte) in changes {
            changed[6 + at.index(end - 6)] = byte;
        }
        let crc = crc32fast::hash(&changed[..end]).to_le_bytes();
        changed[end..].copy_from_slice(&crc);
        if let Ok(join) = decode_join(&changed) {
            let _ = join.check();
        }
        if let Ok(joined) = decode_joined(&changed) {
            let _ = joined.check();
        }
    }

    #[test]
    fn joins_come_back(site in "\\PC{0,20}", secret: [u8; 16], request in vec(any::<u8>(), 0..2_000)) {
        let join = Join { site: SiteName::new(site), secret, request, software: String::new() };
        prop_assert_eq!(decode_join(&encode_join(&join).unwrap()).unwrap(), join);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = (decode_message(&bytes, LIMIT), decode_page(&bytes, LIMIT), decode_hello(&bytes));
        let _ = (decode_welcome(&bytes), decode_fingerprints(&bytes), decode_beat(&bytes));
        let _ = (decode_join(&bytes), decode_joined(&bytes));
    }
}
