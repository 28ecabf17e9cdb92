//! G7: hints may all be lost, and may come late; only time is lost with them.
use crate::harness::{Call, SOON, Two, ledger, wait_for};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key)
}

#[test]
fn without_a_control_plane_everything_still_works() {
    let two = Two::spawn(|site| site.without_control(), |_, tx| tx);
    two.wait_together();
    let first = two.store.tell(&sale("a")).expect(201);
    two.at_cloud.wait_applied("a");
    let again = two.cloud.tell(&sale("a")).expect(201);
    assert!(again.replayed());
    ledger::same_answer(&first, &again);
    two.cloud.tell(&sale("b")).expect(201);
    two.wait_equal(2);
}

/// On two threads zenoh's TLS links race (`control/threads.rs`).
#[test]
fn zenoh_reads_and_writes_on_one_thread() {
    let two = Two::start();
    two.store.wait_control("cloud");
    two.cloud.wait_control("store");
    for site in [&two.store, &two.cloud] {
        let threads = site.threads();
        let of = |name: &str| threads.iter().filter(|thread| thread.starts_with(name)).count();
        assert_eq!((of("tx-"), of("rx-")), (1, 0), "{threads:?}");
    }
}

#[test]
fn control_lost_while_links_live() {
    let two = Two::start();
    two.store.wait_control("cloud");
    two.control.cut();
    for n in 0..10 {
        two.store.tell(&sale(&format!("k{n}"))).expect(201);
        // At once at the other side, without a fingerprint: at worst a copy that is found out.
        let again = two.cloud.tell(&sale(&format!("k{n}")));
        assert!([201, 409].contains(&again.status), "{}", again.text());
    }
    two.wait_equal(10);
    two.control.heal();
    two.store.wait_control("cloud");
}

#[test]
fn links_lost_while_control_lives() {
    let two = Two::start();
    two.store.wait_control("cloud");
    two.cloud.wait_control("store");
    two.links.cut();
    two.wait_apart();
    two.store.tell(&sale("a")).expect(201);
    // The fingerprint says that the store has it; the store cannot be asked: taken, and made one on healing.
    two.cloud.tell(&sale("a")).expect(201);
    two.cloud.tell(&sale("b")).expect(201);
    two.links.heal();
    two.wait_equal(2);
}

#[test]
fn on_unreachable_refuse_takes_no_copy_of_what_another_site_holds() {
    let two = Two::with(|tx| tx.set("on_unreachable", "\"refuse\""));
    two.store.wait_control("cloud");
    two.cloud.wait_control("store");
    // One that crosses shows that fingerprints flow.
    two.store.tell(&sale("first")).expect(201);
    two.wait_equal(1);
    two.links.cut();
    two.wait_apart();
    two.store.tell(&sale("a")).expect(201);
    wait_for("the fingerprint is there", SOON, || two.cloud.count("ring") == 2);
    two.cloud.tell(&sale("a")).expect_problem(409, "origin-unreachable");
    two.links.heal();
    two.wait_equal(2);
    assert!(two.cloud.tell(&sale("a")).expect(201).replayed());
}
