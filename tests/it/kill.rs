//! `kill -9` and loss of power at each step of a write's life, and G1 to G4 judged from outside afterwards: nothing
//! that was acknowledged is lost, nothing is applied twice at a replica, the same key gets the same answer.
//!
//! Loss of power: the database is on a disk of the crate `powerloss`, in every life, and what was not synced ends with
//! the process.
//!
//! `cargo test --features failpoints --test it kill -- --test-threads 6`
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::ledger::{self, same_answer};
use crate::harness::{Appliance, Call, SOON, Scene, Site, Told, Two};

const KEYS: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dies {
    Store,
    Cloud,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Kill,
    PowerLoss,
}

impl By {
    fn prepare(self, site: Site, seed: u64) -> Site {
        match self {
            By::Kill => site,
            By::PowerLoss => powerless(site.section("store", "durability = \"power-loss\"\nreserve = \"1MiB\""), seed),
        }
    }
}

/// What this site does not sync is lost with its process.
fn powerless(site: Site, seed: u64) -> Site {
    site.environment("HOLDFAST_POWER_LOSS", &seed.to_string())
}

/// What clients do: one till at the store, one at the cloud, keys of their own, the same key until they know.
struct Clients {
    calls: Vec<(bool, Call)>,
    told: BTreeMap<usize, Told>,
    /// What those who were not answered were told last.
    refused: BTreeMap<usize, String>,
    /// Somebody had to come again before it was told anything: after others, then.
    came_again: bool,
}

impl Clients {
    fn new(at_cloud_too: bool) -> Self {
        let call = |n: usize| {
            let at_cloud = at_cloud_too && n % 3 == 2;
            let lane = if at_cloud { "office" } else { "till" };
            (at_cloud, Call::post("/tx/sale").key(&format!("k{n}")).lane(lane).patience(Duration::from_secs(5)))
        };
        Self {
            calls: (0..KEYS).map(call).collect(),
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
            came_again: false,
        }
    }

    /// One round over all keys; a success that was told before must be told again (G4).
    fn round(&mut self, two: &Two) {
        for (n, (at_cloud, call)) in self.calls.iter().enumerate() {
            let site = if *at_cloud { &two.cloud } else { &two.store };
            let told = match call.send(site.at()) {
                Ok(told) => told,
                Err(failed) => {
                    self.came_again |= !self.told.contains_key(&n);
                    self.refused.insert(n, failed.to_string());
                    continue;
                }
            };
            if told.status >= 300 {
                self.came_again |= !self.told.contains_key(&n);
                self.refused.insert(n, told.text());
                continue;
            }
            self.refused.remove(&n);
            match self.told.get(&n) {
                Some(first) => same_answer(first, &told),
                None => drop(self.told.insert(n, told)),
            }
        }
    }
}

/// Ends `dies` at the nth time it comes to the point, heals everything, and judges.
#[track_caller]
fn dies_at(by: By, point: &str, nth: u32, dies: Dies, local_service_is_down: bool) {
    let name = format!("{point}:{nth}");
    let seed = name.bytes().fold(dies as u64, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte));
    // The lane waits until the killed one is back: what it passes would stay without an answer for its client.
    let mut two = Two::spawn(
        |site| by.prepare(site, seed),
        |_, tx| tx.hasty().set("outcome", "{ probe = \"GET /by-key/{key}\", hold = \"30s\" }"),
    );
    two.wait_together();
    if local_service_is_down {
        two.at_store.stop();
        two.store.wait_decider("cloud");
    }
    for appliance in dying(&mut two, dies) {
        appliance.spawn_again(&[("HOLDFAST_FAILPOINT", &name)]);
    }
    let mut clients = Clients::new(!local_service_is_down);
    let deadline = Instant::now() + SOON;
    while dying(&mut two, dies).any(|appliance| appliance.process.ended().is_none()) {
        assert!(Instant::now() < deadline, "{name} was never reached");
        clients.round(&two);
    }
    for appliance in dying(&mut two, dies) {
        assert!(appliance.log().contains(&format!("failpoint {name}")), "it ended for another reason");
    }
    let acknowledged: Vec<usize> = clients.told.keys().copied().collect();
    dying(&mut two, dies).for_each(Appliance::restart);
    if local_service_is_down {
        two.at_store.resume();
    }
    let deadline = Instant::now() + SOON;
    while clients.told.len() < KEYS {
        let Clients { told, refused, .. } = &clients;
        let known: Vec<_> = told.keys().collect();
        assert!(
            Instant::now() < deadline,
            "{name}: only {known:?} know, {acknowledged:?} before: {refused:#?}\n{}",
            state(&two)
        );
        clients.round(&two);
    }
    two.wait_equal(KEYS);
    clients.round(&two);
    if by == By::PowerLoss {
        // Nobody is the poorer for it who knows an answer, whatever was still on its way to the disk.
        [&mut two.store, &mut two.cloud].into_iter().for_each(Appliance::restart);
        two.wait_together();
        clients.round(&two);
        assert!(clients.refused.is_empty(), "{name}: {:#?}", clients.refused);
        two.wait_equal(KEYS);
    }
    for site in [&two.store, &two.cloud] {
        let held = site.api("/quarantine");
        assert_eq!(held.as_array().map(Vec::len), Some(0), "{name}: the probe knows everything: {held}");
    }
    let till: Vec<String> =
        clients.calls.iter().enumerate().filter(|(_, (c, _))| !c).map(|(n, _)| format!("k{n}")).collect();
    let sent_in_order = acknowledged.len() == KEYS && !clients.came_again;
    if sent_in_order {
        ledger::in_order(&two.at_cloud, &till);
    }
}

/// What operators would see, for a test that fails.
fn state(two: &Two) -> String {
    let of = |site: &Appliance| {
        ["/status", "/quarantine", "/writes"].map(|path| format!("{path}: {:?}", site.try_api(path)))
    };
    format!("store {:#?}\ncloud {:#?}", of(&two.store), of(&two.cloud))
}

fn dying(two: &mut Two, dies: Dies) -> impl Iterator<Item = &mut Appliance> {
    let store = (dies != Dies::Cloud).then_some(&mut two.store);
    store.into_iter().chain((dies != Dies::Store).then_some(&mut two.cloud))
}

fn before_a_commit_is_handed_over(by: By) {
    for nth in [1, 2, 5] {
        dies_at(by, "before-commit", nth, Dies::Store, false);
    }
}

fn after_a_commit_is_durable_and_before_its_effects(by: By) {
    for nth in [1, 2, 5] {
        dies_at(by, "after-commit", nth, Dies::Store, false);
    }
}

fn around_an_attempt(by: By) {
    for (point, nth) in [("before-attempt", 1), ("before-attempt", 3), ("after-attempt", 1), ("after-attempt", 2)] {
        dies_at(by, point, nth, Dies::Store, false);
    }
}

fn around_a_shadow(by: By) {
    for (point, nth) in [("before-shadow", 1), ("before-shadow", 2), ("after-shadow", 1), ("after-shadow", 3)] {
        dies_at(by, point, nth, Dies::Cloud, false);
    }
}

fn before_the_client_is_told(by: By) {
    for nth in [1, 3] {
        dies_at(by, "before-reply", nth, Dies::Store, false);
    }
}

fn before_a_page_or_a_status_is_sent(by: By) {
    for (point, nth, dies) in [
        // Only the first is sure to come: what is settled before the link is up goes in one.
        ("before-page", 1, Dies::Store),
        ("before-status", 2, Dies::Cloud),
        ("before-status", 4, Dies::Cloud),
    ] {
        dies_at(by, point, nth, dies, false);
    }
}

fn around_a_wish_at_its_origin(by: By) {
    for (point, nth) in [("before-wish", 1), ("before-wish", 2), ("after-commit", 3), ("before-reply", 1)] {
        dies_at(by, point, nth, Dies::Store, true);
    }
}

// Of a decider each point apart: its clients wait for a site that is dead, so they take their time, and may take it
// together.

fn a_decider_before_it_sends_a_wish(by: By) {
    dies_at(by, "before-attempt", 1, Dies::Cloud, true);
}

fn a_decider_after_it_sent_a_wish(by: By) {
    dies_at(by, "after-attempt", 1, Dies::Cloud, true);
}

fn a_decider_before_its_first_word(by: By) {
    dies_at(by, "before-word", 1, Dies::Cloud, true);
}

fn a_decider_before_its_second_word(by: By) {
    dies_at(by, "before-word", 2, Dies::Cloud, true);
}

fn a_decider_after_a_commit(by: By) {
    dies_at(by, "after-commit", 2, Dies::Cloud, true);
}

fn both_sites_at_the_same_step(by: By) {
    for (point, nth) in [("before-commit", 2), ("after-commit", 2), ("after-attempt", 1), ("before-reply", 1)] {
        dies_at(by, point, nth, Dies::Both, false);
    }
}

/// Each step twice: with `kill -9`, and with the power gone.
macro_rules! walk {
    ($($step:ident)*) => {
        mod killed {
            $(#[test] fn $step() { super::$step(super::By::Kill); })*
        }
        mod powerless {
            $(#[test] fn $step() { super::$step(super::By::PowerLoss); })*
        }
    };
}

walk! {
    before_a_commit_is_handed_over
    after_a_commit_is_durable_and_before_its_effects
    around_an_attempt
    around_a_shadow
    before_the_client_is_told
    before_a_page_or_a_status_is_sent
    around_a_wish_at_its_origin
    a_decider_before_it_sends_a_wish
    a_decider_after_it_sent_a_wish
    a_decider_before_its_first_word
    a_decider_before_its_second_word
    a_decider_after_a_commit
    both_sites_at_the_same_step
}

/// That the disk loses anything at all, and only what the level of durability does not promise.
#[test]
fn a_power_loss_takes_what_the_durability_does_not_promise() {
    let kept = |durability: &str| {
        let store = format!("durability = \"{durability}\"\nreserve = \"1MiB\"");
        let mut scene = Scene::with(|site| powerless(site.section("store", &store), 1), |tx| tx);
        for n in 0..20 {
            scene.store.tell(&Call::post("/tx/sale").key(&format!("k{n}"))).expect(201);
        }
        scene.store.kill();
        scene.store.restart();
        scene.store.api("/writes")["writes"].as_array().expect("a list").len()
    };
    assert_eq!(kept("power-loss"), 20);
    let kept = kept("process-crash");
    assert!(kept < 20, "all {kept} writes are there, so the power was not lost");
}
