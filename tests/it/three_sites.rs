//! Two stores that cannot see each other, and a cloud between them.
use crate::harness::{Call, Three, ledger};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key).body(key.to_owned())
}

#[test]
fn writes_of_one_edge_reach_the_other_through_the_cloud() {
    let three = Three::start();
    let keys: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
    for key in &keys {
        three.edges[0].tell(&sale(key).lane("a")).expect(201);
        three.edges[1].tell(&sale(&format!("b{key}")).lane("b")).expect(201);
    }
    three.cloud.tell(&sale("c")).expect(201);
    three.wait_equal(21);
    ledger::in_order(&three.at_edges[1], &keys);
    ledger::in_order(&three.at_cloud, &keys);
}

#[test]
fn an_edge_that_was_away_gets_what_the_other_one_sold() {
    let mut three = Three::start();
    three.links[1].cut();
    for n in 0..10 {
        three.edges[0].tell(&sale(&format!("a{n}"))).expect(201);
        three.edges[1].tell(&sale(&format!("b{n}"))).expect(201);
    }
    // Its origin is gone by the time it comes back: the cloud passes it on.
    three.at_cloud.wait_applied("a9");
    three.edges[0].kill();
    three.links[1].heal();
    three.at_edges[1].wait_applied("a9");
    three.edges[0].restart();
    three.wait_equal(20);
}

#[test]
fn cause_and_effect_keep_their_order_across_three_sites() {
    let three = Three::start();
    // Each is sent when its cause was seen at that site (G3).
    three.edges[0].tell(&sale("cause")).expect(201);
    three.at_edges[1].wait_applied("cause");
    three.edges[1].tell(&sale("effect")).expect(201);
    three.at_cloud.wait_applied("effect");
    three.cloud.tell(&sale("end")).expect(201);
    three.wait_equal(3);
    for service in three.services() {
        ledger::in_order(service, &["cause", "effect", "end"]);
    }
}

#[test]
fn a_retry_at_the_third_site_is_the_same_write() {
    let three = Three::start();
    let first = three.edges[0].tell(&sale("k")).expect(201);
    three.at_edges[1].wait_applied("k");
    let again = three.edges[1].tell(&sale("k")).expect(201);
    assert!(again.replayed());
    ledger::same_answer(&first, &again);
    three.wait_equal(1);
}
