//! Sites, services and lines that take their time, and tokens that name what is no more.
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::harness::{Act, Call, Gate, SOON, Scene, Two, ledger, wait_for};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key).body(format!("sale {key}"))
}

/// The store alone decides; a word of it is waited for no longer than a moment.
fn one_decider(when_down: &str) -> Two {
    let two = Two::spawn(
        |site| site,
        |_, tx| {
            tx.set("answer", "{ order = [\"store\"], after = \"300ms\" }")
                .set("outcome", "{ hold = \"7d\" }")
                .set("when_down", &format!("\"{when_down}\""))
        },
    );
    two.store.wait_peer_healthy("cloud");
    two.cloud.wait_peer_healthy("store");
    two.cloud.wait_decider("store");
    two
}

#[test]
fn a_service_that_takes_longer_than_answer_after_answers_clients_of_both_sites() {
    let two = one_decider("refuse");
    two.at_store.at("/tx/sale", Act::answer(201).slow(Duration::from_secs(2)));
    let waiting: Vec<_> = (0..3).map(|n| sale(&format!("k{n}")).lane("till-1").spawn(two.cloud.at())).collect();
    for told in waiting {
        let told = told.join().unwrap().unwrap().expect(201);
        assert_eq!(told.header("holdfast-served-by"), Some("store"), "one after the other, in their lane");
    }
    two.wait_equal(3);
}

#[test]
fn nobody_waits_in_vain_behind_a_write_that_was_under_way_at_the_cut() {
    let two = one_decider("queue");
    let gate = Gate::default();
    two.at_store.once_at("/tx/sale", Act::answer(201).behind(&gate));
    let first = sale("k0").lane("till-1").spawn(two.cloud.at());
    two.at_store.wait_arrived("k0");
    two.cut();
    for n in 1..=4 {
        two.cloud.tell(&sale(&format!("k{n}")).lane("till-1")).expect(202);
    }
    // Done there before a try's time is over; nobody here can hear of it.
    gate.open();
    first.join().unwrap().unwrap().expect_problem(504, "outcome-pending");
    two.heal();
    two.wait_equal(5);
    ledger::in_order(&two.at_store, &["k0", "k1", "k2", "k3", "k4"]);
}

/// What a client saw at a store that is gone: `Holdfast-Seen` with one position.
fn gone() -> String {
    let mut token = vec![2, 1, 0, 0, 0];
    token.extend([0xEE; 16]);
    token.extend(1_u32.to_le_bytes());
    token.extend(7_u64.to_le_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

#[test]
fn what_nobody_can_know_any_more_is_waited_for_once_and_not_passed_on() {
    // Far from the 10 s and 20 s that reads and writes may take here.
    const BRIEFLY: Duration = Duration::from_secs(5);
    let scene = Scene::one(|tx| tx);
    let read = Call::get("/tx/count").header("Holdfast-Seen", &gone());
    for _ in 0..3 {
        let told = scene.store.tell(&read).expect(200);
        assert!(told.took < BRIEFLY, "{:?}", told.took);
        let carried = URL_SAFE_NO_PAD.decode(told.header("holdfast-seen").expect("it rests on something")).unwrap();
        assert!(!carried.windows(16).any(|bytes| bytes == [0xEE; 16]), "{carried:?}");
    }
    let write = sale("k1").lane("till-1").header("Holdfast-Seen", &gone());
    assert!(scene.store.tell(&write).expect(201).took < BRIEFLY);
    wait_for("it is applied", SOON, || scene.service.applied_keys().len() == 1);
}
