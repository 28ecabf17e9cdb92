//! G9 on the control plane: messages of every kind with numbers that no node says, through the decoder into a node's
//! decisions.
use std::sync::atomic::Ordering::Relaxed;

use super::decisions::{give, node, said};
use super::{group, log, print};
use crate::control::codec::{self, Batch, Digest, Message, Print, Question};
use crate::control::event::{Hint, Input, Output};
use crate::model::{KeyHash, NUMBER_MAX, SiteName, WriteId};

const MESSAGES: usize = 100_000;
const NUMBERS: [u64; 12] =
    [0, 1, 2, 1_000, (1 << 32) - 1, 1 << 32, NUMBER_MAX, NUMBER_MAX + 1, 1 << 62, 1 << 63, u64::MAX - 2, u64::MAX];

/// `SEED=n` repeats a run.
fn rng() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn batch(first: u64, count: u64) -> Message {
    let print = |n| Print { store: String::new(), key: KeyHash([7; 16]), id: WriteId { log: log(), n } };
    let (site, service) = (SiteName::new("b"), "transactions".to_owned());
    Message::Fingerprints(Batch { site, boot: [9; 16], service, first, prints: (1..=count).map(print).collect() })
}

fn honest() -> Vec<(String, Message)> {
    let (site, group, service) = (SiteName::new("b"), group(""), "transactions".to_owned());
    let key = |topic: &str, last: &str| format!("holdfast/acme/{topic}/b/{last}");
    let of_log = log().to_string();
    vec![
        (key("fp", "transactions"), batch(5, 3)),
        (key("digest", "transactions"), batch(2, 2)),
        (key("head", &of_log), Message::Head { site: site.clone(), group: group.clone(), log: log(), position: 7 }),
        (
            key("cursor", &of_log),
            Message::Cursor { site: site.clone(), group: group.clone(), log: log(), received: 7, decided: 6 },
        ),
        (key("health", "transactions"), Message::Health { site: site.clone(), group, healthy: true, lag_ms: 5 }),
        (
            key("digest", "transactions"),
            Message::Digest(Digest { site: site.clone(), boot: [9; 16], service: service.clone(), low: 1, end: 9 }),
        ),
        (key("fp", "x"), Message::Question(Question { boot: [b'a'; 16], service, ranges: vec![(1, 2), (3, 9)] })),
        (key("beat", "n"), Message::Beat { site, node: "n".into(), boot: [9; 16] }),
    ]
}

/// With numbers written over what stands somewhere in it; its checksum is right again.
fn mutated(rng: &mut fastrand::Rng, payload: &[u8]) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for _ in 0..rng.usize(1..4) {
        let number = if rng.u8(..) < 200 { NUMBERS[rng.usize(..NUMBERS.len())] } else { rng.u64(..) };
        let width = [8, 8, 4, 1][rng.usize(..4)].min(bytes.len() - 5);
        let at = 5 + rng.usize(..=bytes.len() - 5 - width);
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
    let crc = crc32fast::hash(&bytes[5..]);
    bytes[1..5].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn no_message_ends_a_node_and_what_is_true_is_heard_afterwards() {
    let mut rng = rng();
    let honest: Vec<(String, Vec<u8>)> = honest().iter().map(|(key, m)| (key.clone(), codec::encode(m))).collect();
    let (mut a, counters) = node("a", true, &["a", "b"]);
    said(&mut a, 1..=20);
    let mut now_ms = 0;
    for _ in 0..MESSAGES {
        let (key, payload) = &honest[rng.usize(..honest.len())];
        let payload = if rng.u8(..) < 40 { payload.clone() } else { mutated(&mut rng, payload) };
        now_ms += rng.u64(..50);
        for answer in a.answer(&payload) {
            assert!(codec::decode(&answer.1).is_ok());
        }
        for output in give(&mut a, now_ms, Input::Sample { key: key.clone(), payload }) {
            match output {
                Output::Hint(Hint::Fingerprints { prints, .. }) => {
                    assert!(prints.iter().all(|print| print.id.n <= NUMBER_MAX && print.origin.as_str() == "b"));
                }
                Output::Hint(Hint::Head { position, .. }) => assert!(position <= NUMBER_MAX),
                Output::Hint(Hint::Cursor { received, decided, .. }) => {
                    assert!(decided <= received && received <= NUMBER_MAX)
                }
                _ => {}
            }
        }
        give(&mut a, now_ms, Input::Tick);
    }
    assert_eq!(crate::contain::contained_here(), 0, "a panic was met and contained");
    assert!(counters.invalid.load(Relaxed) > MESSAGES as u64 / 20, "{counters:?}");
    let (mut b, _) = node("b", false, &[]);
    let prints = (1..=3).map(|n| (group(""), print("b", n))).collect();
    let said = give(&mut b, 0, Input::Publish(prints));
    let [Output::Put { key, payload }] = &said[..] else { panic!("{said:?}") };
    let heard = give(&mut a, now_ms, Input::Sample { key: key.clone(), payload: payload.clone() });
    assert!(matches!(&heard[0], Output::Hint(Hint::Fingerprints { prints, .. }) if prints.len() == 3), "{heard:?}");
}

/// One such message, heard by all, ended every appliance of a fleet.
#[test]
fn a_batch_at_the_end_of_all_numbers_is_refused() {
    for first in [u64::MAX, u64::MAX - 1, u64::MAX - 3, 1 << 63] {
        let (mut a, counters) = node("a", false, &[]);
        let key = "holdfast/acme/fp/b/transactions".to_owned();
        let payload = codec::encode(&batch(first, 2));
        assert_eq!(give(&mut a, 0, Input::Sample { key, payload }), []);
        assert_eq!(counters.invalid.load(Relaxed), 1);
    }
}

/// The table of who may say what: under another site's key, of each kind, nothing is believed.
#[test]
fn nobody_speaks_under_the_key_of_another() {
    for (key, message) in honest() {
        if matches!(message, Message::Question(_)) {
            continue;
        }
        let payload = codec::encode(&message);
        for (key, sites, believed) in [
            (key.clone(), &["a", "b"][..], true),
            (key.clone(), &["a"][..], false),
            (key.replacen("/b/", "/c/", 1), &["a", "b", "c"][..], false),
            (key.replacen("/acme/", "/other/", 1), &["a", "b"][..], false),
        ] {
            let (mut a, counters) = node("a", true, sites);
            let out = give(&mut a, 0, Input::Sample { key: key.clone(), payload: payload.clone() });
            assert_eq!(counters.foreign.load(Relaxed), u64::from(!believed), "{key} {sites:?} {message:?}");
            assert!(believed || out.is_empty(), "{key}: {out:?}");
        }
    }
}

#[test]
fn a_panic_over_a_question_ends_the_question_alone() {
    let (mut a, _) = node("a", true, &["a", "b"]);
    said(&mut a, 1..=20);
    let ask = |service: &str| {
        codec::encode(&Message::Question(Question { boot: [b'a'; 16], service: service.into(), ranges: vec![(1, 9)] }))
    };
    assert!(a.answer(&ask("/planted-panic/question")).is_empty());
    assert_eq!(crate::contain::planted::was_contained("question"), Some(true));
    assert!(!a.answer(&ask("transactions")).is_empty());
}

#[test]
fn threads_of_zenoh_are_told_from_others() {
    use crate::control::is_of_zenoh;
    for (thread, expected) in [("rx-0", true), ("tx-1", true), ("app-0", true), ("control", false), ("apply", false)] {
        assert_eq!(is_of_zenoh(Some(thread)), expected, "{thread}");
    }
    assert!(!is_of_zenoh(None));
}
