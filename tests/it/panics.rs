//! A bug that is met, a panic: where only something was read or carried it ends what it stood in; in a group or the
//! journal it ends the process, and the restart is the recovery (G9).
//!
//! `cargo test --features failpoints --test it panics`
use std::io::Read;

use crate::harness::{Appliance, Call, SOON, Scene, wait_for};

fn panics(appliance: &Appliance) -> f64 {
    let page = Call::get("/metrics").told(appliance.site.admin).expect(200).text();
    let line = page.lines().find_map(|line| line.strip_prefix("holdfast_request_panics_total "));
    line.expect("it is counted").parse().expect("a number")
}

fn logged(appliance: &Appliance) -> usize {
    appliance.process.log().matches("planted at").count()
}

#[test]
fn in_a_request_of_a_client_it_ends_the_connection() {
    for (point, is_admin) in [("request:2", false), ("admin-request:9", true)] {
        let mut scene = Scene::with(|site| site.environment("HOLDFAST_PANIC", point), |tx| tx);
        let at = if is_admin { scene.store.site.admin } else { scene.store.at() };
        let call = if is_admin { Call::get("/health/live") } else { Call::get("/tx/sale") };
        let mut known = call.begin(at).unwrap();
        let mut unanswered = 0;
        wait_for("the bug is met", SOON, || {
            unanswered += usize::from(call.send(at).is_err());
            logged(&scene.store) == 1
        });
        assert!(unanswered <= 1, "{unanswered} were not answered");
        let mut answer = String::new();
        let _ = known.read_to_string(&mut answer);
        scene.store.tell(&Call::post("/tx/sale").key("after")).expect(201);
        assert_eq!(panics(&scene.store), 1.0);
        assert_eq!(logged(&scene.store), 1);
        scene.store.stop();
    }
}

#[test]
fn in_a_group_it_ends_the_process_and_nothing_is_lost_or_doubled() {
    let mut scene = Scene::with(|site| site.environment("HOLDFAST_PANIC", "before-reply:2"), |tx| tx.probed());
    let call = |n: u32| Call::post("/tx/sale").key(&format!("k{n}"));
    scene.store.tell(&call(1)).expect(201);
    assert!(call(2).send(scene.store.at()).is_err());
    let status = scene.store.process.wait_end();
    assert!(!status.success(), "{status}");
    assert_eq!(logged(&scene.store), 1);
    scene.store.spawn_again(&[("HOLDFAST_PANIC", "none")]);
    scene.store.wait_ready();
    for n in [1, 2] {
        wait_for("the key is answered", SOON, || scene.store.try_tell(&call(n)).is_some_and(|told| told.status < 300));
    }
    crate::harness::ledger::nothing_twice(&[&scene.service]);
}
