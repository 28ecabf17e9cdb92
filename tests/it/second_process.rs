//! A second process under a site's name, with a data folder of its own: it must not set the first one, or its peers, in
//! doubt.
use std::time::Duration;

use crate::harness::process::{Process, holdfast, run};
use crate::harness::{Appliance, Call, SOON, Two, free_port, holds_for, ledger, wait_for};

fn sale(key: &str) -> Call {
    Call::post(&format!("/tx/{key}")).key(key)
}

fn is_followed(appliance: &Appliance) -> bool {
    appliance.try_api("/status").is_some_and(|status| status["groups"][0]["stopped"].is_null())
}

fn links_opened(two: &Two) -> usize {
    two.cloud.log().lines().filter(|line| line.contains("link is up")).count()
}

#[track_caller]
fn both_go_on(two: &Two, key: &str) {
    for (appliance, name) in [(&two.store, "store"), (&two.cloud, "cloud")] {
        appliance.tell(&sale(&format!("{key}-{name}"))).expect(201);
        assert!(is_followed(appliance), "{name} stopped following: {}", appliance.log());
    }
    wait_for("both replicas are equal", SOON, || {
        let all = [&two.at_store, &two.at_cloud];
        all.iter().all(|at| at.applied_keys().iter().any(|k| k.starts_with(key))) && ledger::equal(&all)
    });
}

#[test]
fn a_start_that_fails_for_its_ports_disturbs_nobody() {
    let two = Two::start();
    both_go_on(&two, "before");
    let (opened, toml) = (links_opened(&two), two.store.site.toml());
    // All of them, one at a time: what is bound last must not be found out after something was said.
    for kept in ["gateway", "admin", "both"] {
        let mut text = toml.replace("\"data\"", &format!("\"data-{kept}\""));
        let mut other =
            |address: std::net::SocketAddr| text = text.replace(&address.to_string(), &free_port().to_string());
        match kept {
            "gateway" => other(two.store.site.admin),
            "admin" => other(two.store.site.gateway),
            _ => {}
        }
        let file = two.store.site.folder().join("second.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = holdfast();
        command.args(["run", "--config"]).arg(&file);
        let ended = run(command);
        assert_eq!(ended.code, Some(75), "{kept}: {ended:?}");
        assert!(ended.err.contains("another process has this port"), "{kept}: {}", ended.err);
    }
    both_go_on(&two, "after");
    assert_eq!(links_opened(&two), opened, "no link was opened by who could not start");
}

#[test]
fn a_second_store_of_a_linked_site_is_refused_and_named() {
    let two = Two::start();
    both_go_on(&two, "before");
    let opened = links_opened(&two);
    let mut text = two.store.site.toml().replace("\"data\"", "\"second\"");
    let (gateway, admin) = (free_port(), free_port());
    for (first, second) in [(two.store.site.gateway, gateway), (two.store.site.admin, admin)] {
        text = text.replace(&first.to_string(), &second.to_string());
    }
    let (file, log) = (two.store.site.folder().join("second.toml"), two.store.site.folder().join("second.log"));
    std::fs::write(&file, text).unwrap();
    let mut command = holdfast();
    command.args(["run", "--config"]).arg(&file);
    let second = Process::spawn(command, "second", &log);
    let why = "two processes run as site store";
    wait_for("both sides say it", SOON, || second.log().contains(why) && two.cloud.log().contains(why));
    holds_for("the first stays linked", Duration::from_millis(500), || two.store.is_linked("cloud") == Some(true));
    both_go_on(&two, "during");
    drop(second);
    both_go_on(&two, "after");
    assert_eq!(links_opened(&two), opened, "the first one's link was not touched");
}
