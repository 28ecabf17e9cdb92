//! Copies of a data directory: put back when it is old, moved, or used twice.
use std::net::SocketAddr;

use super::files::{at_rest_and_killed, copy, takes_no_writes_because};
use crate::harness::process::{Process, holdfast, run};
use crate::harness::tills::sale;
use crate::harness::{Appliance, Call, SOON, Told, Two, free_port, judge, ledger, wait_for};

const LATER_PAST: &str = "cloud knows a later past of this site than its own store";
const COPY: &str = "data_dir is a copy, perhaps an old one";

/// In the place of the one that was there.
fn put_back(two: &Two, aside: &std::path::Path) {
    let data = two.store.site.data_dir();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(aside, &data).unwrap();
}

fn is_stopped_by(site: &Appliance, why: &str) -> bool {
    site.try_api("/status").is_some_and(|s| s["groups"][0]["stopped"].as_str().is_some_and(|text| text.contains(why)))
}

fn resume(site: &Appliance) -> Told {
    let group = site.api("/status")["groups"][0].clone();
    let name = |key: &str| group[key].as_str().expect("a group has a service and a store").to_owned();
    site.operate(&format!("/services/{}/resume?store={}", name("service"), name("store")))
}

#[test]
fn an_older_copy_of_the_whole_directory_takes_no_writes_and_applies_nothing_again() {
    let (mut two, mut store, mut cloud) = at_rest_and_killed();
    let aside = two.store.site.folder().join("older");
    copy(&two.store.site.data_dir(), &aside);
    two.store.restart();
    two.wait_together();
    for n in 0..5 {
        let key = format!("later-{n}");
        let told = two.store.tell(&sale(&key, "till")).expect(201);
        store.told.push((key, told));
        // The store applied these too, and the copy does not know.
        let key = format!("later-at-cloud-{n}");
        let told = two.cloud.tell(&sale(&key, "office")).expect(201);
        cloud.told.push((key, told));
    }
    two.at_cloud.wait_applied("later-4");
    two.at_store.wait_applied("later-at-cloud-4");
    two.store.kill();
    put_back(&two, &aside);
    takes_no_writes_because(&mut two, LATER_PAST, (&store, &cloud));
    let refused = resume(&two.store);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("begin anew"), "{}", refused.text());
    two.store.kill();
    // Nor after one more start.
    takes_no_writes_because(&mut two, LATER_PAST, (&store, &cloud));
}

#[test]
fn a_directory_that_was_moved_goes_on_when_the_other_site_has_spoken() {
    let (mut two, store, cloud) = at_rest_and_killed();
    let aside = two.store.site.folder().join("moved");
    copy(&two.store.site.data_dir(), &aside);
    put_back(&two, &aside);
    two.cut_line();
    two.store.spawn_again(&[]);
    wait_for("it says that it waits", SOON, || is_stopped_by(&two.store, COPY));
    assert_eq!(two.store.tell(&sale("early", "till")).expect(503).code(), "store-down");
    two.heal();
    two.wait_together();
    wait_for("it goes on", SOON, || two.store.tell(&sale("late", "till")).status == 201);
    judge(&two, &store, &cloud);
}

#[test]
fn a_directory_that_was_moved_goes_on_alone_when_a_person_says_so() {
    let (mut two, store, cloud) = at_rest_and_killed();
    let aside = two.store.site.folder().join("moved");
    copy(&two.store.site.data_dir(), &aside);
    put_back(&two, &aside);
    two.cut_line();
    two.store.spawn_again(&[]);
    wait_for("it says that it waits", SOON, || is_stopped_by(&two.store, COPY));
    // There is one store: it need not be named.
    let mut resume = holdfast();
    resume.args(["services", "resume", "tx", "--admin", &format!("http://{}", two.store.site.admin)]);
    let resumed = run(resume);
    assert_eq!((resumed.code, resumed.out.as_str()), (Some(0), "tx follows again\n"), "{resumed:?}");
    two.store.tell(&sale("alone", "till")).expect(201);
    // The place is known from now on.
    two.store.restart();
    two.store.tell(&sale("again", "till")).expect(201);
    two.heal();
    two.wait_together();
    judge(&two, &store, &cloud);
}

#[test]
fn a_copied_directory_as_a_second_node_takes_nothing() {
    let (mut two, store, cloud) = at_rest_and_killed();
    let mut twin = Twin::of(&two.store);
    two.store.restart();
    two.wait_together();
    two.cut();
    twin.start();
    for n in 0..5 {
        two.store.tell(&sale(&format!("first-{n}"), "till")).expect(201);
        assert_eq!(sale(&format!("twin-{n}"), "till").told(twin.gateway).expect(503).code(), "store-down");
    }
    two.heal();
    wait_for("the copy is told what it is", SOON, || twin.is_stopped_by(LATER_PAST));
    drop(twin);
    wait_for("the writes of the first arrive", SOON, || {
        (0..5).all(|n| two.at_cloud.times_applied(&format!("first-{n}")) == 1)
    });
    for receipts in [&store, &cloud] {
        two.services().into_iter().for_each(|service| receipts.wait_applied_in_order(service));
    }
    ledger::nothing_twice(&two.services());
}

/// A second appliance of the same site, on a copy of its data directory and in front of the same service.
struct Twin {
    gateway: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
    process: Option<Process>,
}

impl Twin {
    fn of(site: &Appliance) -> Self {
        let twin =
            Self { gateway: free_port(), admin: free_port(), folder: tempfile::tempdir().unwrap(), process: None };
        copy(&site.site.data_dir(), &twin.folder.path().join("data"));
        let text = site.site.toml().replace(&site.site.gateway.to_string(), &twin.gateway.to_string());
        let text = text.replace(&site.site.admin.to_string(), &twin.admin.to_string());
        std::fs::write(twin.folder.path().join("holdfast.toml"), text).unwrap();
        twin
    }

    #[track_caller]
    fn start(&mut self) {
        let mut command = holdfast();
        command.args(["run", "--config"]).arg(self.folder.path().join("holdfast.toml"));
        self.process = Some(Process::spawn(command, "twin", &self.folder.path().join("log")));
        wait_for("the copy serves", SOON, || {
            Call::get("/health/live").send(self.admin).is_ok_and(|told| told.status == 200)
        });
    }

    fn is_stopped_by(&self, why: &str) -> bool {
        let told = Call::get("/api/v1/status").send(self.admin);
        told.is_ok_and(|told| told.json()["groups"][0]["stopped"].as_str().is_some_and(|text| text.contains(why)))
    }
}
