//! Two stores that cannot see each other, and a cloud between them.
use crate::harness::{Call, SOON, Service, Site, Three, Upstream, ledger, wait_for};

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

#[test]
fn a_hub_of_several_stores_keeps_them_apart() {
    let names = ["edge-1", "edge-2", "cloud"];
    let (at_edges, at_cloud) = ([Upstream::start(), Upstream::start()], Upstream::start());
    let tx = |upstream: &Upstream, store: &str| {
        Service::new("tx", upstream).replicas(&[store, "cloud"]).order(&["local"]).probed()
    };
    let hub = Site::new("cloud").sites(&names).hub();
    let (link, control) = (hub.link, hub.control);
    let cloud = hub.service(tx(&at_cloud, "{store}").set("store_from", "\"header:x-store\"")).start();
    let edges = [0, 1].map(|n| {
        let site = Site::new(names[n]).sites(&names).dials("cloud", link, control);
        site.service(tx(&at_edges[n], names[n])).start()
    });
    edges.iter().for_each(|edge| edge.wait_peer_healthy("cloud"));
    // One key, three writes: a key belongs to its store.
    for edge in &edges {
        assert!(!edge.tell(&sale("same")).expect(201).replayed());
    }
    at_edges.iter().for_each(|at_edge| at_edge.wait_applied("same"));
    wait_for("both are at the cloud", SOON, || at_cloud.times_applied("same") == 2);
    for (n, edge) in names.iter().take(2).enumerate() {
        let told = cloud.tell(&sale("same").header("X-Store", edge)).expect(201);
        assert!(told.replayed(), "{edge} has sold it already");
        cloud.tell(&sale(&format!("office-{n}")).header("X-Store", edge)).expect(201);
    }
    for n in [0, 1] {
        at_edges[n].wait_applied(&format!("office-{n}"));
        assert_eq!(
            at_edges[n].applied_keys(),
            ["same".to_owned(), format!("office-{n}")],
            "nothing of the other store"
        );
    }
    assert_eq!(at_cloud.applied().len(), 4);
    assert_eq!(cloud.tell(&sale("k").header("X-Store", "cloud")).code(), "store-foreign");
}
