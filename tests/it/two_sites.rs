//! Two sites that lose each other and find each other again.
use std::time::Duration;

use crate::harness::ledger::{self, same_answer};
use crate::harness::{Act, Call, Gate, Line, SOON, Two, wait_for};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key).body(format!("sale {key}"))
}

#[test]
fn writes_are_shadowed_both_ways_and_in_order() {
    let two = Two::start();
    let keys: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
    for key in &keys {
        two.store.tell(&sale(key).lane("till-1")).expect(201);
    }
    for n in 0..5 {
        two.cloud.tell(&sale(&format!("c{n}")).lane("office")).expect(201);
    }
    two.wait_equal(25);
    ledger::in_order(&two.at_cloud, &keys);
    ledger::in_order(&two.at_store, &["c0", "c1", "c2", "c3", "c4"]);
    let shadow = two.at_cloud.applied().into_iter().find(|seen| seen.key() == "s0").unwrap();
    assert!(shadow.is_shadow());
    assert_eq!((shadow.text().as_str(), shadow.target.as_str()), ("sale s0", "/tx/sale"));
    assert_eq!(shadow.header("holdfast-original-status"), Some("201"));
    assert!(shadow.header("holdfast-original-time").is_some_and(|time| time.contains('T')));
    let own = two.at_store.applied().into_iter().find(|seen| seen.key() == "s0").unwrap();
    assert!(!own.is_shadow());
}

#[test]
fn both_sides_of_a_cut_go_on_and_are_equal_after_it() {
    let two = Two::start();
    two.store.tell(&sale("before")).expect(201);
    two.wait_equal(1);
    two.cut();
    let keys: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    for key in &keys {
        two.store.tell(&sale(key).lane("till-1")).expect(201);
    }
    for n in 0..10 {
        two.cloud.tell(&sale(&format!("c{n}")).lane("office")).expect(201);
    }
    assert_eq!(two.at_cloud.applied().len(), 11);
    two.heal();
    two.wait_equal(41);
    ledger::in_order(&two.at_cloud, &keys);
}

/// What it is at when the process ends would be unknown to the next start, and hold up all that comes after.
#[test]
fn an_orderly_end_waits_for_what_the_service_is_at_and_sends_nothing_more() {
    let mut two = Two::start();
    let gate = Gate::default();
    two.at_cloud.at("/tx/sale", Act::answer(201).behind(&gate));
    two.store.tell(&sale("a").lane("till-1")).expect(201);
    let at_cloud = |two: &Two| {
        let sales = two.at_cloud.seen().into_iter().filter(|seen| seen.target == "/tx/sale");
        sales.map(|seen| seen.key().to_owned()).collect::<Vec<_>>()
    };
    wait_for("the cloud's service is at it", SOON, || at_cloud(&two) == ["a"]);
    two.cloud.process.signal("TERM");
    wait_for("it ends", SOON, || two.cloud.log().contains("a second signal ends at once"));
    // Of another lane, so nothing but the end holds it back.
    two.store.tell(&sale("b").lane("till-2")).expect(201);
    assert!(two.cloud.process.ended().is_none(), "{}", two.cloud.log());
    gate.open();
    assert_eq!(two.cloud.process.wait_end().code(), Some(0), "{}", two.cloud.log());
    assert_eq!(at_cloud(&two), ["a"], "nothing more was sent");
    two.cloud.restart();
    two.wait_equal(2);
    assert_eq!(two.cloud.count("quarantine"), 0);
    assert!(!two.cloud.log().contains("outcome unknown"), "{}", two.cloud.log());
}

/// Nothing waits without a word about what for.
#[test]
fn a_replica_that_falls_behind_says_so_and_what_it_waits_for() {
    let two = Two::start();
    let gate = Gate::default();
    two.at_cloud.at("/tx/sale", Act::answer(201).behind(&gate));
    two.store.tell(&sale("a")).expect(201);
    two.store.tell(&sale("b")).expect(201);
    let reasons = || Call::get("/health").told(two.cloud.site.admin).json()["reasons"].to_string();
    wait_for("the cloud says that it is behind", SOON, || {
        let said = reasons();
        said.contains("s behind") && said.contains("waits for")
    });
    gate.open();
    wait_for("and that it is no more", 2 * SOON, || !reasons().contains("s behind"));
}

#[test]
fn a_silent_line_is_noticed_and_nothing_is_lost_on_it() {
    for line in [Line::Silent, Line::SilentUp, Line::SilentDown] {
        let two = Two::start();
        two.store.tell(&sale("a")).expect(201);
        two.wait_equal(1);
        two.links.set(line);
        for key in ["b", "c"] {
            two.store.tell(&sale(key)).expect(201);
            two.cloud.tell(&sale(&format!("{key}{key}"))).expect(201);
        }
        two.wait_apart();
        two.store.tell(&sale("d")).expect(201);
        two.links.heal();
        two.wait_equal(6);
    }
}

#[test]
fn a_retry_at_the_other_site_gets_the_first_answer() {
    let two = Two::start();
    let first = two.store.tell(&sale("k1")).expect(201);
    // At once: the shadow may be there, or only the fingerprint, or neither.
    let again = two.cloud.tell(&sale("k1")).expect(201);
    two.wait_equal(1);
    same_answer(&first, &two.cloud.tell(&sale("k1")));
    two.cloud.tell(&Call::post("/tx/sale").key("k1").body("other")).expect_problem(422, "key-reused");
    if again.replayed() {
        same_answer(&first, &again);
    }
}

#[test]
fn retries_across_sites_under_load_are_one_write_each() {
    let two = Two::start();
    two.store.wait_control("cloud");
    for n in 0..40 {
        let call = sale(&format!("k{n}")).lane(&format!("till-{}", n % 4));
        let (here, there) = if n % 2 == 0 { (&two.store, &two.cloud) } else { (&two.cloud, &two.store) };
        let first = call.spawn(here.at());
        std::thread::sleep(Duration::from_millis(n % 10));
        let second = call.spawn(there.at());
        first.join().unwrap().unwrap().expect(201);
        let second = second.join().unwrap().unwrap();
        assert!([201, 409].contains(&second.status), "{}", second.text());
    }
    two.wait_equal(40);
}

#[test]
fn copies_taken_on_both_sides_of_a_cut_become_one() {
    let two = Two::start();
    two.cut();
    let here = two.store.tell(&sale("same")).expect(201);
    let there = two.cloud.tell(&sale("same")).expect(201);
    assert!(!here.replayed() && !there.replayed());
    two.store.tell(&sale("after")).expect(201);
    two.heal();
    two.wait_equal(2);
    let (here, there) = (two.store.tell(&sale("same")), two.cloud.tell(&sale("same")));
    assert_eq!((here.status, there.status), (201, 201));
    assert!(here.replayed() && there.replayed());
}

#[test]
fn while_the_service_is_down_the_other_site_answers_and_then_no_longer() {
    let mut two = Two::start();
    two.store.tell(&sale("before")).expect(201);
    two.wait_equal(1);
    two.at_store.stop();
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let call = sale(&format!("d{n}")).lane("till-1");
        let mut told = two.store.tell(&call);
        if told.status != 201 {
            // The very first may meet the moment at which nobody knows yet; its key makes asking again harmless.
            assert!(n == 0 && [503, 504].contains(&told.status), "{n}: {} {}", told.status, told.text());
            wait_for("the other site answers", SOON, || {
                told = two.store.tell(&call);
                told.status == 201
            });
        }
        assert_eq!(told.header("holdfast-served-by"), Some("cloud"), "{n}");
        slowest = slowest.max(told.took);
    }
    assert!(slowest < Duration::from_secs(10), "none waits for the end of its time: {slowest:?}");
    two.at_store.resume();
    two.wait_equal(11);
    two.store.wait_decider("store");
    let told = two.store.tell(&sale("back")).expect(201);
    assert_eq!(told.header("holdfast-served-by"), Some("store"));
    two.wait_equal(12);
    ledger::in_order(&two.at_store, &["before", "d0", "d9", "back"]);
}

#[test]
fn a_failover_that_is_cut_off_in_flight_decides_once() {
    let mut two = Two::start();
    two.at_store.stop();
    two.store.wait_decider("cloud");
    let gate = Gate::default();
    two.at_cloud.at("/tx/sale", Act::answer(201).behind(&gate));
    let waiting = sale("k1").spawn(two.store.at());
    two.at_cloud.wait_arrived("k1");
    two.cut();
    gate.open();
    let told = waiting.join().unwrap().unwrap();
    assert!([503, 504].contains(&told.status), "nobody could know: {} {}", told.status, told.text());
    two.at_store.resume();
    two.store.wait_decider("store");
    two.heal();
    wait_for("the first outcome is found", SOON, || two.store.tell(&sale("k1")).status == 201);
    two.wait_equal(1);
    same_answer(&two.store.tell(&sale("k1")), &two.cloud.tell(&sale("k1")));
}

#[test]
fn nobody_can_decide_queue() {
    let mut two = Two::with(|tx| tx.set("when_down", "\"queue\""));
    two.at_store.stop();
    two.store.wait_decider("cloud");
    two.cut();
    wait_for("nobody can be asked", SOON, || two.store.decider().as_deref() == Some(""));
    let page = two.store.tell(&sale("q1")).expect(202).header("location").unwrap().to_owned();
    two.store.tell(&sale("q2")).expect(202);
    two.heal();
    wait_for("done at the other site", SOON, || two.store.tell(&Call::get(&page)).json()["state"] == "done");
    two.at_store.resume();
    two.wait_equal(2);
    ledger::in_order(&two.at_store, &["q1", "q2"]);
    ledger::in_order(&two.at_cloud, &["q1", "q2"]);
}

#[test]
fn a_client_reads_its_own_writes_at_the_other_site() {
    let two = Two::with(|tx| tx.impatient().set("stale", "\"refuse\""));
    let seen = two.store.tell(&sale("k1")).expect(201).header("holdfast-seen").unwrap().to_owned();
    let read = Call::get("/tx/count").header("Holdfast-Seen", &seen);
    assert_eq!(two.cloud.tell(&read).expect(200).text(), "1", "it waits until the shadow is applied");
    two.cut();
    let seen = two.store.tell(&sale("k2")).expect(201).header("holdfast-seen").unwrap().to_owned();
    let read = Call::get("/tx/count").header("Holdfast-Seen", &seen);
    two.cloud.tell(&read).expect_problem(503, "stale");
    assert_eq!(two.cloud.tell(&Call::get("/tx/count")).expect(200).text(), "1", "without a token it is served");
    two.heal();
    wait_for("fresh again", SOON, || two.cloud.tell(&read).status == 200);
    assert_eq!(two.cloud.tell(&read).text(), "2");
    two.cloud.tell(&Call::get("/tx/count").header("Holdfast-Seen", "junk!")).expect_problem(400, "seen-malformed");
}

#[test]
fn a_site_that_was_killed_catches_up() {
    let mut two = Two::start();
    two.cloud.kill();
    for n in 0..20 {
        two.store.tell(&sale(&format!("s{n}"))).expect(201);
    }
    two.store.kill();
    two.cloud.restart();
    two.store.restart();
    two.wait_equal(20);
    assert!(two.cloud.tell(&sale("s7")).expect(201).replayed());
}

#[test]
fn a_site_serves_with_every_other_one_unreachable() {
    // G8: also through a restart.
    let mut two = Two::spawn(|site| site, |_, tx| tx);
    two.links.cut();
    two.control.cut();
    two.cloud.kill();
    two.store.kill();
    two.store.restart();
    wait_for("it serves alone", SOON, || two.store.tell(&sale("alone")).status == 201);
    two.cloud.restart();
    two.heal();
    two.wait_equal(1);
}

#[test]
fn the_other_site_refuses_what_the_first_accepted() {
    let two = Two::start();
    two.at_cloud.at("/tx/sale", Act::answer(409));
    two.store.tell(&sale("k1").lane("a")).expect(201);
    wait_for("a divergence", SOON, || two.cloud.count("quarantine") == 1);
    let held = two.cloud.api("/quarantine");
    assert_eq!(held[0]["reason"], "divergence", "{held}");
    two.at_cloud.as_usual();
    two.store.tell(&sale("k2").lane("a")).expect(201);
    two.at_cloud.wait_applied("k2");
    let id = held[0]["id"].as_str().unwrap();
    two.cloud.operate(&format!("/quarantine/{id}/resend")).expect(200);
    two.wait_equal(2);
}

#[test]
fn a_refusal_is_not_shadowed() {
    let two = Two::start();
    two.at_store.at("/tx/bad", Act::answer(422));
    two.store.tell(&Call::post("/tx/bad").key("bad")).expect(422);
    two.store.tell(&sale("good")).expect(201);
    two.wait_equal(1);
    assert!(two.at_cloud.writes_of("bad").is_empty());
    assert!(two.store.tell(&Call::post("/tx/bad").key("bad")).expect(422).replayed());
}

#[test]
fn with_one_receipt_a_success_survives_the_loss_of_the_machine_that_told_it() {
    let mut two = Two::with(|tx| tx.set("ack", "{ peers = 1 }"));
    for n in 0..5 {
        two.store.tell(&sale(&format!("k{n}"))).expect(201);
    }
    // The machine and its disk: what was told is at the other site, though nobody waited for it to be applied there.
    two.store.kill();
    std::fs::remove_dir_all(two.store.site.data_dir()).unwrap();
    for n in 0..5 {
        two.at_cloud.wait_applied(&format!("k{n}"));
    }
    ledger::nothing_twice(&[&two.at_cloud]);
    // Nobody to wait for: it goes on alone.
    wait_for("the cloud knows that it is alone", SOON, || two.cloud.is_linked("store") == Some(false));
    two.cloud.tell(&sale("alone")).expect(201);
}

#[test]
fn retries_at_the_other_site_after_a_kill_are_the_same_writes() {
    let mut two = Two::start();
    let calls: Vec<Call> = (0..10).map(|n| sale(&format!("k{n}")).lane("till-1")).collect();
    for call in &calls {
        two.store.tell(call).expect(201);
    }
    two.store.kill();
    // Some have come across and are replayed, some may not have: those are copies, which become one write on healing.
    for call in &calls {
        two.cloud.tell(call).expect(201);
    }
    two.store.restart();
    two.wait_equal(10);
    let here: Vec<_> = calls.iter().map(|call| two.store.tell(call).expect(201)).collect();
    assert!(here.iter().all(|told| told.replayed()));
    for (call, told) in calls.iter().zip(&here) {
        let there = two.cloud.tell(call).expect(201);
        assert!(there.replayed());
        assert_eq!(there.status, told.status);
    }
    assert_eq!(two.at_store.applied().len(), 10);
}
