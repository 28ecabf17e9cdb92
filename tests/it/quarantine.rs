//! A service that fails everything it is asked: what stands in quarantine is as much as the disk holds, and stops
//! nobody.
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::process::holdfast;
use crate::harness::upstream::Seen;
use crate::harness::{Act, Appliance, Call, SOON, Scene, Two, wait_for};

/// Far more than a list shows at once, and than one order is about.
const FAILED: u64 = 10_000;
const CLIENTS: u64 = 16;

fn failed(n: u64) -> Call {
    Call::post("/tx/fail").key(&format!("f{n}")).lane(&format!("till-{}", n % 50)).body("rope")
}

fn fail_all(scene: &Scene, count: u64) {
    scene.service.at("/tx/fail", Act::answer(500));
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= count {
                        return;
                    }
                    let told = failed(n).told(scene.store.at());
                    assert_eq!(told.status, 500, "{}", told.text());
                }
            });
        }
    });
}

fn command(scene: &Scene, words: &[&str]) -> (String, Duration) {
    let mut command: Command = holdfast();
    command.arg("quarantine").args(words).args(["--admin", &format!("http://{}", scene.store.site.admin)]);
    let began = Instant::now();
    let output = command.output().expect("it runs");
    let took = began.elapsed();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {text}{error}");
    (text.into_owned(), took)
}

fn sale(scene: &Scene, key: &str) {
    scene.store.tell(&Call::post("/tx/sale").key(key).lane("till-1").body("rope")).expect(201);
}

#[test]
fn ten_thousand_failures_stop_nobody_and_are_decided_at_once() {
    let scene = Scene::one(|tx| tx);
    fail_all(&scene, FAILED);
    assert_eq!(scene.store.count("quarantine"), FAILED);
    assert_eq!(scene.store.count("not_equal"), 50, "lanes");
    sale(&scene, "after");
    // Far from what a person waits for; the list took 51 s once.
    let (shown, took) = command(&scene, &["ls"]);
    assert!(shown.contains(&format!("{FAILED} in quarantine")) && took < Duration::from_secs(5), "{took:?}: {shown}");
    assert_eq!(shown.lines().filter(|line| line.contains("may-have-applied")).count(), 50, "one line for each lane");
    assert!(shown.lines().any(|line| line.contains(" 199 ")), "{shown}");
    let listed = scene.store.api("/quarantine?limit=7");
    assert_eq!(listed.as_array().map(Vec::len), Some(7));
    let lane = listed[0]["lane"].as_str().unwrap();
    assert_eq!(scene.store.api(&format!("/quarantine?lane={lane}")).as_array().map(Vec::len), Some(200));
    // What is wanted is said first, and nothing is done.
    let choice = ["--service", "tx", "--reason", "may-have-applied", "--since", "1h"];
    let (preview, _) = command(&scene, &[&["discard"], &choice[..]].concat());
    assert!(preview.contains(&format!("{FAILED} would be discarded")), "{preview}");
    assert_eq!(scene.store.count("quarantine"), FAILED);
    let (said, took) = command(&scene, &[&["discard", "--yes"], &choice[..]].concat());
    assert!(said.contains(&format!("{FAILED} are discarded")), "{said}");
    println!("{FAILED} discarded in {took:?}");
    wait_for("nothing is left", SOON, || scene.store.count("quarantine") == 0);
    assert!(took < Duration::from_secs(60), "{took:?}");
    sale(&scene, "later");
    assert_eq!(scene.service.applied_keys(), ["after", "later"], "none was sent again");
}

#[test]
fn many_are_sent_again_in_order_and_a_restart_forgets_none() {
    let mut scene = Scene::one(|tx| tx);
    fail_all(&scene, 600);
    scene.store.kill();
    scene.store.restart();
    wait_for("they stand there still", SOON, || scene.store.count("quarantine") == 600);
    scene.service.as_usual();
    let (said, _) = command(&scene, &["resend", "--service", "tx", "--yes"]);
    assert!(said.contains("600 are sent again"), "{said}");
    wait_for("all are applied", SOON, || scene.service.applied_keys().len() == 600);
    wait_for("nothing is left", SOON, || scene.store.count("quarantine") == 0);
    // Those of a lane go in the order of their positions, which is that in which the service failed them.
    let of_lane = |seen: Vec<Seen>, lane: &str| -> Vec<String> {
        let of_it = seen.into_iter().filter(|seen| seen.header("x-session-id") == Some(lane));
        of_it.map(|seen| seen.key().to_owned()).collect()
    };
    for lane in ["till-0", "till-7", "till-49"] {
        let failed = of_lane(scene.service.writes(), lane)[..12].to_vec();
        assert_eq!(of_lane(scene.service.applied(), lane), failed, "{lane}");
    }
}

/// A slip of the pen in a choice is no empty list, of which an order would be done.
#[test]
fn a_choice_of_what_is_not_there_names_what_is() {
    let scene = Scene::one(|tx| tx);
    fail_all(&scene, 2);
    let refused = |words: &[&str], said: &str| {
        let mut command: Command = holdfast();
        command.args(words).args(["--admin", &format!("http://{}", scene.store.site.admin)]);
        let output = command.output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {error}");
        assert!(error.contains(said), "{words:?}: {error}");
    };
    let services = "\"ty\" at this site, which has: tx";
    refused(&["quarantine", "ls", "--service", "ty"], services);
    refused(&["quarantine", "discard", "--service", "ty"], services);
    refused(&["quarantine", "discard", "--service", "ty", "--yes"], services);
    refused(&["quarantine", "resend", "--service", "ty", "--reason", "divergence", "--yes"], services);
    refused(&["writes", "ls", "--service", "ty"], services);
    refused(&["services", "resume", "ty"], services);
    let stores = "no store \"elsewhere\"";
    refused(&["quarantine", "ls", "--store", "elsewhere"], stores);
    refused(&["quarantine", "discard", "--service", "tx", "--store", "elsewhere", "--yes"], stores);
    refused(&["services", "resume", "tx", "--store", "elsewhere"], "elsewhere");
    refused(&["quarantine", "ls", "--reason", "divergense"], "may-have-applied");
    assert_eq!(scene.store.count("quarantine"), 2);
}

fn refused_behind(site: &Appliance) -> u64 {
    let page = Call::get("/metrics").told(site.site.admin).expect(200).text();
    let of_it = page.lines().filter(|line| line.starts_with("holdfast_refused_behind_total{"));
    of_it.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().expect("a number")).sum()
}

/// A create that was refused here left the rest of its lane refused too: entries that named nothing, and what this site
/// decided itself (404, told to its client, followed by nobody) stood nowhere.
#[test]
fn what_a_refused_create_leaves_behind_it_is_one_line_and_counted() {
    let two = Two::start();
    two.at_store.rule(|seen| (seen.is_write() && seen.target.starts_with("/tx/orders")).then(|| Act::answer(404)));
    let order = |call: Call, key: &str| call.key(key).lane("order-7").body("rope");
    two.cloud.tell(&order(Call::post("/tx/orders"), "made")).expect(201);
    wait_for("the store cannot follow", SOON, || two.store.count("quarantine") == 1);
    two.store.tell(&order(Call::put("/tx/orders/7"), "here")).expect(404);
    two.store.tell(&Call::put("/tx/orders/7").key("else").lane("another").body("rope")).expect(404);
    wait_for("its own refusal is counted", SOON, || refused_behind(&two.store) == 1);
    two.cloud.tell(&order(Call::put("/tx/orders/7"), "there")).expect(201);
    wait_for("nor the next", SOON, || two.store.count("quarantine") == 2);
    assert_eq!((two.store.count("not_equal"), two.cloud.count("quarantine")), (1, 0));
    assert_eq!((refused_behind(&two.store), refused_behind(&two.cloud)), (1, 0));
    let firsts = two.store.api("/quarantine?firsts=true");
    assert_eq!(firsts.as_array().map(Vec::len), Some(1), "{firsts}");
    assert_eq!((&firsts[0]["target"], &firsts[0]["others_behind"]), (&"/tx/orders".into(), &1.into()), "{firsts}");
    let all = two.store.api("/quarantine");
    assert_eq!((all.as_array().map(Vec::len), &all[1]["behind"]), (Some(2), &firsts[0]["id"]), "{all}");
}
