//! `ack = { peers = n }`: who is told before another site has the write, and who is not.
use super::super::testing::*;
use super::super::*;
use crate::model::SiteName;

fn bench(ack_peers: u8) -> Bench {
    Bench::new(Settings { ack_peers, ..settings("a", &["a", "b", "c"]) })
}

fn submit(bench: &mut Bench, n: u64, status: u16) -> Vec<Effect> {
    bench.submit(new_write("POST", n, 0));
    bench.attempted(own(n), 1, answered(status))
}

/// The peer has stored so much of the own series.
fn confirmed(bench: &mut Bench, peer: &str, received: u64) -> Vec<Effect> {
    let (log, site) = (log(1), SiteName::new("a"));
    let items = bench.core.mirror.series[&log].tail_item(received);
    let chain = items.map(|item| item.chain).unwrap_or_default();
    bench.status(peer, true, vec![Cursor { log, site, received, chain, decided: 0, want: false, again: 0 }])
}

fn told(effects: &[Effect]) -> Vec<u64> {
    let reply = |effect: &Effect| match effect {
        Effect::Reply { req, .. } => Some(req.0),
        _ => None,
    };
    effects.iter().filter_map(reply).collect()
}

#[test]
fn a_success_is_told_when_enough_peers_have_it() {
    let mut bench = bench(2);
    for n in 1..=3 {
        assert_eq!(told(&submit(&mut bench, n, 201)), [0; 0]);
    }
    assert_eq!(told(&confirmed(&mut bench, "b", 2)), [0; 0]);
    assert_eq!(told(&confirmed(&mut bench, "c", 1)), [1]);
    assert_eq!(told(&confirmed(&mut bench, "c", 3)), [2], "the lower of the two counts");
    assert_eq!(told(&confirmed(&mut bench, "b", 3)), [3]);
    assert_eq!(told(&submit(&mut bench, 4, 404)), [4], "nothing is to be received of a refusal");
}

#[test]
fn while_no_peer_is_linked_nobody_waits_for_receipts() {
    let mut bench = bench(1);
    assert_eq!(told(&submit(&mut bench, 1, 201)), [0; 0]);
    assert_eq!(told(&bench.handle(Event::LinkDown { peer: SiteName::new("b") })), [0; 0]);
    assert_eq!(told(&bench.handle(Event::LinkDown { peer: SiteName::new("c") })), [1]);
    assert_eq!(told(&submit(&mut bench, 2, 201)), [2]);
}

#[test]
fn an_answer_that_waits_for_a_receipt_is_told_when_the_time_is_up() {
    let mut bench = bench(1);
    submit(&mut bench, 1, 201);
    submit(&mut bench, 2, 201);
    assert_eq!(told(&bench.wait(4_999)), [0; 0]);
    let said = bench.wait(1);
    assert_eq!(told(&said), [1, 2]);
    assert!(matches!(reply_to(&said, 1), Some(Reply::Answer { replayed: false, .. })));
    assert_eq!(told(&confirmed(&mut bench, "b", 2)), [0; 0], "once");
}
