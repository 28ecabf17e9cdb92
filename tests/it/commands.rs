//! Commands as they are documented, by the real binary.
use crate::harness::process::{Ended, holdfast, run};
use crate::harness::{Act, Appliance, Call, SOON, Scene, wait_for};

fn command(appliance: Option<&Appliance>, words: &str) -> Ended {
    let mut command = holdfast();
    command.args(words.split(' '));
    if let Some(appliance) = appliance {
        command.args(["--admin", &format!("http://{}", appliance.site.admin)]);
    }
    run(command)
}

#[test]
fn what_is_not_stopped_is_not_resumed_and_what_is_not_there_is_named() {
    let scene = Scene::one(|tx| tx);
    // words | what is said
    for (words, said) in [
        ("services resume tx", "is not stopped"),
        ("services resume tx --store store", "is not stopped"),
        ("services resume tx --store elsewhere", "name one of the stores of tx here: store, and not \"elsewhere\""),
        ("services resume nothing", "(unknown-service): there is no service \"nothing\""),
        ("writes ls --service nothing", "(unknown-service)"),
        ("writes show nothing", "(unknown-write)"),
        ("writes ls --limit 0", "0 asks for nothing"),
    ] {
        let ended = command(Some(&scene.store), words);
        assert_eq!(ended.code, Some(64), "{words}: {ended:?}");
        assert!(ended.err.contains(said), "{words}: {}", ended.err);
    }
}

#[test]
fn errors_are_explained_and_shells_are_served_without_an_appliance() {
    let page = command(None, "explain https://holdfast.dev/errors/no-replica");
    assert_eq!(page.code, Some(0), "{page:?}");
    assert!(page.out.starts_with("# `no-replica`") && page.out.contains("## What the operator does"), "{}", page.out);
    let all = command(None, "explain").out;
    assert!(all.lines().count() > 30 && all.contains("key-reused"), "{all}");
    assert_eq!(command(None, "explain nothing").code, Some(64));
    for shell in ["bash", "zsh", "fish"] {
        let script = command(None, &format!("completions {shell}"));
        assert!(script.code == Some(0) && script.out.contains("quarantine"), "{shell}: {script:?}");
    }
}

#[test]
fn a_status_page_says_when_to_ask_again_and_where_what_was_made_is() {
    let mut scene = Scene::one(|tx| tx.set("when_down", "\"queue\""));
    scene.service.at("/tx/orders", Act::answer(201).header("Location", "orders/7"));
    scene.service.stop();
    scene.wait_down();
    let receipt = scene.store.tell(&Call::post("/tx/orders").key("o")).expect(202);
    let address = receipt.header("location").expect("a status address").to_owned();
    assert_eq!(receipt.header("retry-after"), Some("5"));
    let said = receipt.json();
    assert_eq!((&said["state"], &said["status"]), (&"queued".into(), &serde_json::Value::Null));
    assert_eq!(said["status_address"], address.as_str());
    let page = || scene.store.tell(&Call::get(&address)).expect(200);
    assert_eq!(page().header("retry-after"), Some("5"));
    assert_eq!(page().json()["state"], "queued");
    scene.service.resume();
    wait_for("it is done", SOON, || page().json()["state"] == "done");
    let done = page();
    assert_eq!((done.header("retry-after"), done.header("location")), (None, Some("/tx/orders/7")));
    assert_eq!((&done.json()["status"], &done.json()["location"]), (&201.into(), &"/tx/orders/7".into()));
    let refused = scene.store.tell(&Call::post(&address).key("p")).expect_problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET, HEAD"));
}
