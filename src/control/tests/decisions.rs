//! Whom a node believes, and what it answers.
use std::sync::Arc;

use uuid::Uuid;

use super::{group, log, print};
use crate::control::codec::{self, Digest, Message, Question};
use crate::control::core::Node;
use crate::control::event::{Hint, Input, Output};
use crate::control::status::Counters;
use crate::control::tuning::{Identity, Tuning};
use crate::control::watch::Reopen;
use crate::model::SiteName;

pub(super) fn node(site: &str, is_hub: bool, sites: &[&str]) -> (Node, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let identity = Identity {
        realm: "acme".into(),
        site: SiteName::new(site),
        node: "n".into(),
        boot: Uuid::from_bytes([site.as_bytes()[0]; 16]),
        expects_echo: !is_hub,
        is_hub,
        sites: sites.iter().map(|site| SiteName::new(*site)).collect(),
    };
    (Node::new(identity, Tuning::default(), counters.clone(), 0), counters)
}

pub(super) fn give(node: &mut Node, now_ms: u64, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    node.handle(now_ms, input, &mut out);
    out
}

pub(super) fn said(node: &mut Node, numbers: impl Iterator<Item = u64>) -> Vec<(String, Vec<u8>)> {
    let prints = numbers.map(|n| (group(""), print("a", n))).collect();
    let out = give(node, 0, Input::Publish(prints));
    out.into_iter()
        .map(|output| match output {
            Output::Put { key, payload } => (key, payload),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn sample((key, payload): &(String, Vec<u8>)) -> Input {
    Input::Sample { key: key.clone(), payload: payload.clone() }
}

#[test]
fn a_site_is_believed_only_under_its_own_name_and_when_it_is_listed() {
    let (mut a, _) = node("a", false, &[]);
    let (key, payload) = said(&mut a, 1..=1).remove(0);
    assert_eq!(key, "holdfast/acme/fp/a/transactions");
    // key, listed sites of the hearer, believed
    let cases: [(&str, &[&str], bool); 7] = [
        (&key, &[], true),
        (&key, &["a", "b"], true),
        (&key, &["b", "c"], false),
        ("holdfast/acme/fp/c/transactions", &[], false),
        ("holdfast/acme/fp/a/other", &[], false),
        ("holdfast/acme/head/a/transactions", &[], false),
        ("holdfast/other/fp/a/transactions", &[], false),
    ];
    for (key, sites, believed) in cases {
        let (mut b, counters) = node("b", false, sites);
        let out = give(&mut b, 0, Input::Sample { key: key.to_owned(), payload: payload.clone() });
        assert_eq!(!out.is_empty(), believed, "{key} {sites:?}");
        assert_eq!(counters.foreign.load(std::sync::atomic::Ordering::Relaxed), u64::from(!believed));
    }
    let mut newer = payload.clone();
    newer[0] = 9;
    let (mut b, counters) = node("b", false, &[]);
    assert_eq!(give(&mut b, 0, Input::Sample { key: key.clone(), payload: newer }), []);
    assert_eq!(counters.invalid.load(std::sync::atomic::Ordering::Relaxed), 1);
    // Another site's write is not told under this site's name.
    let out = give(&mut a, 0, Input::Publish(vec![(group(""), print("b", 1))]));
    assert_eq!(out, []);
}

#[test]
fn batches_are_bounded_and_a_gap_is_asked_for_at_once() {
    let (mut a, _) = node("a", false, &[]);
    let (mut b, _) = node("b", false, &[]);
    let batches = said(&mut a, 1..=700);
    assert_eq!(batches.len(), 3);
    assert_eq!(give(&mut b, 10, sample(&batches[0])).len(), 1);
    let out = give(&mut b, 11, sample(&batches[2]));
    let Some(Output::Ask { key, payload }) = out.last() else { panic!("{out:?}") };
    assert_eq!(key, "holdfast/acme/digest/a/transactions");
    let Ok(Message::Question(question)) = codec::decode(payload) else { panic!() };
    assert_eq!(question.ranges, [(257, 513)]);
    let answers = a.answer(payload);
    assert_eq!(answers.len(), 1);
    let out = give(&mut b, 12, sample(&answers[0]));
    let [Output::Hint(Hint::Fingerprints { prints, .. })] = &out[..] else { panic!("{out:?}") };
    assert_eq!((prints.len(), prints[0].id.n), (256, 257));
    assert_eq!(give(&mut b, 13, sample(&answers[0])), [], "what is known is not told again");
    // Questions about one stream keep a distance.
    let digest = |end| {
        let (site, service) = (SiteName::new("a"), "transactions".to_owned());
        let digest = Message::Digest(Digest { site, boot: [b'a'; 16], service, low: 1, end });
        ("holdfast/acme/digest/a/transactions".to_owned(), codec::encode(&digest))
    };
    assert_eq!(give(&mut b, 14, sample(&digest(800))).len(), 0);
    assert_eq!(give(&mut b, 1_011, sample(&digest(701))), []);
    assert_eq!(give(&mut b, 1_011, sample(&digest(800))).len(), 1);
}

#[test]
fn nonsense_in_a_question_gets_no_answer() {
    let (mut a, _) = node("a", false, &[]);
    said(&mut a, 1..=10);
    let ask = |boot, service: &str, ranges| {
        codec::encode(&Message::Question(Question { boot, service: service.into(), ranges }))
    };
    let me = [b'a'; 16];
    assert_eq!(a.answer(&ask(me, "transactions", vec![(0, u64::MAX)])).len(), 1);
    for bad in [
        ask([9; 16], "transactions", vec![(1, 5)]),
        ask(me, "other", vec![(1, 5)]),
        ask(me, "transactions", vec![(5, 1), (11, 20), (u64::MAX, u64::MAX)]),
        vec![1, 2, 3],
    ] {
        assert_eq!(a.answer(&bad), []);
    }
}

#[test]
fn levels_are_repeated_while_fresh_and_when_somebody_comes() {
    let (mut a, _) = node("a", true, &[]);
    let level = crate::control::event::Level::Head { position: 4 };
    assert_eq!(give(&mut a, 0, Input::Level(level.id(group(""), Some(log())), level)).len(), 1);
    let mut at = |from: u64, to: u64| -> usize {
        (from..to).filter(|s| !give(&mut a, s * 1_000, Input::Tick).is_empty()).count()
    };
    assert_eq!(at(3, 33), 5, "five fresh rounds");
    give(&mut a, 33_000, Input::Session { generation: 1, open: true });
    let key = "holdfast/acme/alive/b/n/07070707070707070707070707070707".to_owned();
    let up = || Input::Token { generation: 1, key: key.clone(), up: true };
    assert_eq!(give(&mut a, 33_000, up()).len(), 1);
    assert_eq!(give(&mut a, 33_001, up()), [], "a flapping token changes nothing");
    let mut at = |from: u64, to: u64| -> usize {
        (from..to).filter(|s| !give(&mut a, s * 1_000, Input::Tick).is_empty()).count()
    };
    assert_eq!(at(34, 50), 5);
    let out = give(&mut a, 60_000, Input::Session { generation: 1, open: false });
    assert!(
        matches!(out[..], [Output::Hint(Hint::Alive { up: false, .. })]),
        "nobody is seen through a closed session"
    );
    let mut at = |from: u64, to: u64| -> usize {
        (from..to).filter(|s| !give(&mut a, s * 1_000, Input::Tick).is_empty()).count()
    };
    assert_eq!((at(61, 595), at(595, 1_190)), (0, 1), "every ten minutes");
}

#[test]
fn a_hub_echoes_beats_and_an_edge_without_echo_opens_anew() {
    let (mut edge, _) = node("e", false, &[]);
    let (mut hub, _) = node("h", true, &[]);
    give(&mut edge, 0, Input::Session { generation: 1, open: true });
    give(&mut edge, 0, Input::Hub { generation: 1, up: true });
    let (mut reopened, mut beats) = (None, 0);
    for second in 0..60 {
        if second == 25 {
            said(&mut edge, 1..=1);
        }
        for output in give(&mut edge, second * 1_000, Input::Tick) {
            match output {
                Output::Put { key, payload } if second < 20 => {
                    beats += 1;
                    assert_eq!(key, "holdfast/acme/beat/e/n");
                    let echoes = give(&mut hub, second * 1_000, Input::Sample { key, payload });
                    let [Output::Put { key, payload }] = &echoes[..] else { panic!("{echoes:?}") };
                    assert_eq!(key, "holdfast/acme/echo/h/e/n");
                    give(&mut edge, second * 1_000, sample(&(key.clone(), payload.clone())));
                }
                Output::Reopen(why) => reopened = Some((second, why)),
                _ => {}
            }
        }
    }
    assert_eq!(beats, 1, "at rest");
    let (second, why) = reopened.expect("nobody echoed for 35 s");
    assert_eq!(why, Reopen::Deaf);
    assert!((35..=50).contains(&second), "{second}");
}
