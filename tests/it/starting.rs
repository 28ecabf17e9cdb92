//! A start waits for what another moment may give, says it once, and ends with 75 where it does not come: the service
//! manager goes on from there.
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::process::{Process, run};
use crate::harness::{Appliance, Call, SOON, Service, Site, Upstream, is_root, skipped, wait_for};

const WAITS: &str = "the start waits for this";

/// A site whose start has a minute.
fn command(site: &Site, change: impl FnOnce(String) -> String) -> Command {
    let command = site.command();
    let toml = change(site.toml().replace("start_within = \"1s\"", "start_within = \"60s\""));
    std::fs::write(site.folder().join("holdfast.toml"), toml).unwrap();
    command
}

fn spawn(site: Site, change: impl FnOnce(String) -> String) -> Appliance {
    let (command, log) = (command(&site, change), site.folder().join("holdfast.log"));
    Appliance { process: Process::spawn(command, "store", &log), site }
}

#[track_caller]
fn waits(appliance: &Appliance, for_what: &str) {
    wait_for("it says what it waits for", SOON, || {
        appliance.log().lines().any(|line| line.contains(WAITS) && line.contains(for_what))
    });
}

#[track_caller]
fn serves(appliance: &mut Appliance) {
    appliance.wait_ready();
    appliance.tell(&Call::post("/tx/a").key("a")).expect(201);
    assert_eq!(appliance.log().matches(WAITS).count(), 1, "once: {}", appliance.log());
    appliance.stop();
}

fn alone(service: &Upstream) -> Site {
    Site::alone().service(Service::new("tx", service).replicas(&["store"]))
}

#[test]
fn a_port_that_is_let_go_is_taken() {
    let service = Upstream::start();
    for of in ["gateway.listen", "admin.listen"] {
        let site = alone(&service);
        let held = std::net::TcpListener::bind(if of == "admin.listen" { site.admin } else { site.gateway }).unwrap();
        let mut appliance = spawn(site, |toml| toml);
        waits(&appliance, of);
        drop(held);
        serves(&mut appliance);
    }
}

#[test]
fn a_data_folder_that_another_process_lets_go_is_taken() {
    let service = Upstream::start();
    let mut first = alone(&service).start();
    let data = first.site.data_dir();
    let mut second = spawn(alone(&service), |toml| toml.replace("\"data\"", &format!("{data:?}")));
    waits(&second, "in use");
    first.stop();
    serves(&mut second);
}

/// As a mount point looks before its disk is there: it leads nowhere.
#[test]
fn a_data_folder_that_comes_later_is_used() {
    let service = Upstream::start();
    let site = alone(&service);
    let disk = site.folder().join("disk");
    std::os::unix::fs::symlink(&disk, site.data_dir()).unwrap();
    let mut appliance = spawn(site, |toml| toml);
    waits(&appliance, "data directory");
    std::fs::create_dir(&disk).unwrap();
    serves(&mut appliance);
}

#[test]
fn a_certificate_that_comes_later_is_read() {
    let service = Upstream::start();
    let site = alone(&service);
    let authority = crate::harness::certificates::Authority::new();
    let identity = authority.issue("store", site.folder());
    let (key, away) = (site.folder().join("site.key"), site.folder().join("away.key"));
    let site = site.section("identity", &identity);
    std::fs::rename(&key, &away).unwrap();
    let mut appliance = spawn(site, |toml| toml);
    waits(&appliance, "site.key");
    std::fs::rename(&away, &key).unwrap();
    serves(&mut appliance);
}

#[test]
fn what_does_not_come_ends_the_start_with_75() {
    let service = Upstream::start();
    let site = alone(&service);
    std::os::unix::fs::symlink(site.folder().join("disk"), site.data_dir()).unwrap();
    let ended = run(site.command());
    assert_eq!(ended.code, Some(75), "{ended:?}");
    assert_eq!(ended.err.matches(WAITS).count(), 1, "{}", ended.err);
}

/// A box after a reboot whose address comes by DHCP, late.
#[test]
fn an_address_that_the_machine_gets_later_is_served() {
    if !is_root() {
        return skipped("an address that comes late", "a network namespace needs root");
    }
    const ADDRESS: &str = "198.51.100.7";
    let service = Upstream::start();
    let site = alone(&service);
    let gateway = site.gateway;
    let inner = command(&site, |toml| toml.replace(&gateway.to_string(), &format!("{ADDRESS}:{}", gateway.port())));
    let mut outer = Command::new("unshare");
    outer.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    let process = Process::spawn(outer, "store", &site.folder().join("holdfast.log"));
    let mut appliance = Appliance { process, site };
    let id = appliance.process.id().to_string();
    wait_for("the namespace is there, or cannot be", SOON, || {
        appliance.process.ended().is_some() || appliance.log().contains(WAITS)
    });
    if appliance.process.ended().is_some() && !appliance.log().contains("holdfast") {
        return skipped("an address that comes late", "no network namespace can be made here");
    }
    waits(&appliance, ADDRESS);
    let add = format!("ip addr add {ADDRESS}/32 dev lo");
    let added = Command::new("nsenter").args(["--net", "-t", &id, "sh", "-c", &add]).status().unwrap();
    assert!(added.success());
    wait_for("it is ready", SOON, || {
        appliance.log().lines().any(|line| line.ends_with("ready") || line.contains(" ready "))
    });
    std::thread::sleep(Duration::from_millis(10));
    assert!(appliance.process.ended().is_none(), "{}", appliance.log());
    appliance.stop();
}
