//! Catching up that is interrupted again and again, at either end.
use std::time::Duration;

use super::patient;
use crate::harness::tills::sale;
use crate::harness::{Act, SOON, Two, ledger, wait_for};

const WRITES: usize = 320;
const LANES: usize = 32;
const KILLS: usize = 12;
const KILLS_AT_LEAST: usize = 4;
/// Sixteen at the same time: eighty a second, however fast the appliance is.
const EACH: Duration = Duration::from_millis(200);

#[test]
fn catching_up_that_is_interrupted_again_and_again_ends_equal_and_does_nothing_twice() {
    let mut two = Two::with(patient);
    two.cut();
    let lane = |n: usize| format!("lane-{}", n % LANES);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = &two.store;
            scope.spawn(move || {
                for n in (worker..WRITES).step_by(4) {
                    store.tell(&sale(&format!("w{n}"), &lane(n))).expect(201);
                }
            });
        }
    });
    two.at_cloud.rule(|seen| seen.is_write().then(|| Act::answer(201).slow(EACH)));
    two.heal();
    wait_for("catching up has begun", SOON, || !two.at_cloud.applied().is_empty());
    let mut kills = 0;
    while kills < KILLS && two.at_cloud.applied().len() < WRITES * 3 / 4 {
        // Long enough to start and to get a little further, never to end.
        std::thread::sleep(Duration::from_millis(150 + 50 * (kills as u64 % 4)));
        match kills % 3 {
            0 | 1 => two.cloud.spawn_again(&[]),
            _ => two.store.spawn_again(&[]),
        }
        kills += 1;
    }
    assert!(kills >= KILLS_AT_LEAST, "it was done after {kills} interruptions");
    two.cloud.wait_ready();
    two.store.wait_ready();
    two.wait_equal(WRITES);
    for lane in 0..LANES {
        let keys: Vec<String> = (0..WRITES).filter(|n| n % LANES == lane).map(|n| format!("w{n}")).collect();
        // Lanes were written by one worker each, one write after the other.
        ledger::in_order(&two.at_cloud, &keys);
    }
    for site in [&two.store, &two.cloud] {
        let held = site.api("/quarantine");
        assert_eq!(held.as_array().map(Vec::len), Some(0), "{held}");
    }
}
