//! What failed, and what is never sent again on a guess.
use std::time::Duration;

use crate::harness::ledger::same_answer;
use crate::harness::{Act, Call, Cut, SOON, Scene, Service, wait_for};

fn quarantined(scene: &Scene) -> usize {
    scene.store.try_api("/quarantine").and_then(|list| list.as_array().map(Vec::len)).unwrap_or(usize::MAX)
}

#[test]
fn a_service_that_hangs_up_before_or_in_the_middle_of_its_answer_leaves_it_unknown() {
    // when it hangs up | whether it had applied it
    for (cut, applied) in [(Cut::Before, true), (Cut::Before, false), (Cut::Middle, true)] {
        let scene = Scene::one(|tx| tx.impatient().set("outcome", "{ hold = \"1s\" }"));
        scene.service.once_at("/tx/sale", Act::hang_up(cut).applies(applied).body("0123456789"));
        let call = Call::post("/tx/sale").key("k1");
        let told = scene.store.tell(&call).expect_problem(504, "outcome-unknown");
        let address = told.json()["status_address"].as_str().unwrap().to_owned();
        scene.store.tell(&call).expect_problem(504, "outcome-unknown");
        assert_eq!(scene.store.tell(&Call::get(&address)).expect(200).json()["state"], "unknown", "{cut:?}");
        // No probe, no idempotence: only a person knows.
        wait_for("it stands in quarantine", SOON, || quarantined(&scene) == 1);
        scene.store.tell(&call).expect_problem(504, "outcome-unknown");
        assert_eq!(scene.service.writes_of("k1").len(), 1, "{cut:?}: sent again on a guess");
    }
}

#[test]
fn a_person_decides_what_no_rule_can() {
    // the order | how often it is applied in the end | what a retry is told
    for (order, times, status) in [("resend", 1, 201), ("discard", 0, 201), ("applied", 0, 0)] {
        let scene = Scene::one(|tx| tx.impatient().set("outcome", "{ hold = \"1s\" }"));
        scene.service.once_at("/tx/sale", Act::hang_up(Cut::Before).applies(false));
        let call = Call::post("/tx/sale").key("k1");
        scene.store.tell(&call).expect_problem(504, "outcome-unknown");
        wait_for("it stands in quarantine", SOON, || quarantined(&scene) == 1);
        let id = scene.store.api("/quarantine")[0]["id"].as_str().unwrap().to_owned();
        scene.store.operate(&format!("/quarantine/{id}/{order}")).expect(200);
        wait_for("it is out of quarantine", SOON, || quarantined(&scene) == 0);
        wait_for(&format!("{order}: applied {times} times"), SOON, || scene.service.times_applied("k1") == times);
        match order {
            // Its outcome is on its way.
            "resend" => wait_for("the answer is known", SOON, || scene.store.tell(&call).status == status),
            // Discarded: it never happened, so the key is new again.
            "discard" => drop(scene.store.tell(&call).expect(status)),
            _ => {
                let told = scene.store.tell(&call);
                assert_ne!(told.status, 201, "{order}: nobody has seen an answer: {}", told.text());
            }
        }
        let writes = scene.service.writes_of("k1").len();
        assert_eq!(writes, if order == "applied" { 1 } else { 2 }, "{order}");
    }
}

#[test]
fn a_probe_finds_out_what_happened() {
    for (cut, applied) in [(Cut::Before, true), (Cut::Before, false), (Cut::Middle, true)] {
        let scene = Scene::one(|tx| tx.impatient().probed());
        scene.service.once_at("/tx/sale", Act::hang_up(cut).applies(applied).body("0123456789"));
        let call = Call::post("/tx/sale").key("k1");
        let first = scene.store.tell(&call);
        assert!([200, 201, 504].contains(&first.status), "{}", first.text());
        wait_for("settled", SOON, || scene.store.tell(&call).status < 300);
        let (second, third) = (scene.store.tell(&call), scene.store.tell(&call));
        same_answer(&second, &third);
        // Not applied means that it was sent once more; applied that it was not.
        assert_eq!(scene.service.times_applied("k1"), 1, "{cut:?} {applied}");
        assert_eq!(scene.service.writes_of("k1").len(), if applied { 1 } else { 2 }, "{cut:?} {applied}");
    }
}

#[test]
fn an_idempotent_method_is_sent_again_after_the_fence() {
    let scene = Scene::one(Service::impatient);
    scene.service.once_at("/tx/sale", Act::hang_up(Cut::Before).applies(true));
    let call = Call::put("/tx/sale").key("k1");
    scene.store.tell(&call).expect_problem(504, "outcome-unknown");
    wait_for("settled", SOON, || scene.store.tell(&call).status == 201);
    assert_eq!(scene.service.writes_of("k1").len(), 2);
}

#[test]
fn a_service_that_hangs_up_after_its_answer_has_answered() {
    let scene = Scene::one(|tx| tx.impatient().probed());
    scene.service.at("/tx/sale", Act::hang_up(Cut::After).body("done"));
    for n in 0..10 {
        let key = format!("k{n}");
        let call = Call::post("/tx/sale").key(&key);
        let told = scene.store.tell(&call);
        if told.status == 201 {
            assert_eq!(told.text(), "done");
        } else {
            // Sent into the connection that the service was just closing: nobody can know, until the probe does.
            told.expect_problem(504, "outcome-unknown");
            wait_for("found out", SOON, || scene.store.tell(&call).status < 300);
        }
        assert_eq!(scene.service.times_applied(&key), 1, "{key}");
    }
    assert_eq!(scene.store.tell(&Call::post("/tx/sale").key("k0")).expect(201).text(), "done");
}

#[test]
fn a_service_still_at_work_on_what_timed_out_is_not_asked_to_do_it_twice() {
    let timeout = "{ try = \"1s\", total = \"1s\" }";
    let scene = Scene::one(|tx| tx.probed().set("timeout", timeout).set("longest_request", "\"8s\"").without("health"));
    // Longer than the client waits, shorter than `longest_request`.
    scene.service.at("/tx/sale", Act::answer(201).slow(Duration::from_secs(4)));
    let call = Call::post("/tx/sale").key("k1").lane("a");
    scene.store.tell(&call).expect_problem(504, "outcome-unknown");
    assert_eq!(scene.service.times_applied("k1"), 0, "it is at work");
    scene.store.tell(&call).expect_problem(504, "outcome-unknown");
    scene.service.wait_applied("k1");
    wait_for("found out", SOON, || scene.store.tell(&call).status < 300);
    assert_eq!(scene.service.writes_of("k1").len(), 1);
    // The lane is free again.
    scene.store.tell(&Call::post("/tx/next").key("k2").lane("a")).expect(201);
}

#[test]
fn a_service_that_is_down_gets_nothing_and_the_client_is_told_so() {
    let mut scene = Scene::one(|tx| tx);
    scene.service.stop();
    scene.wait_down();
    let call = Call::post("/tx/sale").key("k1");
    let told = scene.store.tell(&call).expect_problem(503, "no-replica");
    assert!(told.header("retry-after").is_some());
    assert_eq!(told.json()["retry"], "safe");
    scene.service.resume();
    wait_for("sales go on", SOON, || scene.store.tell(&call).status == 201);
    assert_eq!(scene.service.times_applied("k1"), 1);
}

#[test]
fn when_down_queue_takes_the_write_and_applies_it_later_in_order() {
    let mut scene = Scene::one(|tx| tx.set("when_down", "\"queue\""));
    scene.service.stop();
    scene.wait_down();
    let keys = ["q1", "q2", "q3", "q4"];
    let mut pages = Vec::new();
    for key in keys {
        let told = scene.store.tell(&Call::post("/tx/sale").key(key)).expect(202);
        pages.push(told.header("location").expect("a status address").to_owned());
    }
    let state = |page: &str| scene.store.tell(&Call::get(page)).expect(200).json()["state"].as_str().map(str::to_owned);
    assert_eq!(state(&pages[0]).as_deref(), Some("queued"));
    // A copy of a queued write is the same write.
    scene.store.tell(&Call::post("/tx/sale").key("q2")).expect(202);
    scene.store.kill();
    scene.service.resume();
    scene.store.restart();
    let page = |page: &str| scene.store.tell(&Call::get(page)).expect(200).json()["state"] == "done";
    wait_for("all are done", SOON, || pages.iter().all(|address| page(address)));
    assert_eq!(scene.service.applied_keys(), keys);
    let told = scene.store.tell(&Call::post("/tx/sale").key("q1")).expect(201);
    assert!(told.replayed());
}

#[test]
fn a_lane_takes_one_write_at_a_time_and_lanes_do_not_wait_for_each_other() {
    let scene = Scene::one(|tx| tx);
    let gate = crate::harness::Gate::default();
    scene.service.at("/tx/slow", Act::answer(201).behind(&gate));
    let slow = Call::post("/tx/slow").key("slow").lane("a").spawn(scene.store.at());
    scene.service.wait_arrived("slow");
    let next = Call::post("/tx/fast").key("next").lane("a").spawn(scene.store.at());
    scene.store.tell(&Call::post("/tx/fast").key("other").lane("b")).expect(201);
    assert!(scene.service.writes_of("next").is_empty());
    gate.open();
    slow.join().unwrap().unwrap().expect(201);
    next.join().unwrap().unwrap().expect(201);
    crate::harness::ledger::in_order(&scene.service, &["other", "slow", "next"]);
}

#[test]
fn a_write_that_waits_for_its_lane_too_long_is_cancelled_for_good() {
    let scene = Scene::one(|tx| tx.set("timeout", "{ try = \"2s\", total = \"2s\" }").set("longest_request", "\"2s\""));
    scene.service.at("/tx/slow", Act::hang_up(Cut::Before).slow(Duration::from_millis(1_800)).applies(true));
    let slow = Call::post("/tx/slow").key("slow").lane("a").spawn(scene.store.at());
    scene.service.wait_arrived("slow");
    let told = scene.store.tell(&Call::post("/tx/fast").key("late").lane("a")).expect_problem(503, "lane-busy");
    assert_eq!(told.json()["retry"], "safe");
    slow.join().unwrap().unwrap().expect_problem(504, "outcome-unknown");
    assert!(scene.service.writes_of("late").is_empty(), "it was promised that nothing was sent");
}

#[test]
fn what_may_have_been_applied_stands_in_quarantine_and_holds_up_nothing() {
    let scene = Scene::one(|tx| tx);
    scene.service.once_at("/tx/sale", Act::answer(500).applies(true).body("oops"));
    let call = Call::post("/tx/sale").key("k1").lane("a");
    assert_eq!(scene.store.tell(&call).expect(500).text(), "oops");
    assert!(scene.store.tell(&call).expect(500).replayed());
    scene.store.tell(&Call::post("/tx/sale").key("k2").lane("a")).expect(201);
    wait_for("in quarantine", SOON, || quarantined(&scene) == 1);
    assert_eq!(scene.store.api("/quarantine")[0]["reason"], "may-have-applied");
}
