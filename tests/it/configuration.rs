//! What must not start does not, and says why: everything at once, with the exit code that the reason has.
use crate::harness::process::{holdfast, run};
use crate::harness::{Service, Site, Upstream};

fn check_and_run(site: &Site) -> [crate::harness::process::Ended; 2] {
    let ran = site.run_to_end();
    let mut check = holdfast();
    check.args(["check", "--config"]).arg(site.folder().join("holdfast.toml"));
    [ran, run(check)]
}

#[test]
fn every_problem_of_a_file_is_named_at_once() {
    let service = Upstream::start();
    let tx = Service::new("tx", &service)
        .replicas(&["store", "nowhere"])
        .set("lanes", "\"path\"")
        .set("when_down", "\"panic\"")
        .set("longest_request", "\"soon\"")
        .set("timeout", "{ try = \"9s\", total = \"1s\" }");
    let site = Site::new("elsewhere").service(tx).section("gatewey", "x = 1").section("admin.tls", "x = 1");
    for ended in check_and_run(&site) {
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let said = ended.out + &ended.err;
        for wanted in ["elsewhere", "nowhere", "lanes", "when_down", "longest_request", "gatewey", "timeout"] {
            assert!(said.contains(wanted), "{wanted} is not named in:\n{said}");
        }
        assert!(said.contains("holdfast.toml:"), "no file and line in:\n{said}");
    }
}

#[test]
fn impossible_combinations_are_refused() {
    let service = Upstream::start();
    let tx = || Service::new("tx", &service).replicas(&["store", "cloud"]);
    // what is wrong | the site | what the message must name
    let table: [(&str, Site, &[&str]); 6] = [
        (
            "an admin listener for the world without a token",
            Site::alone().admin("0.0.0.0:1").service(Service::new("tx", &service)),
            &["admin", "token"],
        ),
        ("two services of one name", Site::new("store").hub().service(tx()).service(tx()), &["tx"]),
        (
            "a site twice",
            Site::new("store").sites(&["store", "store"]).service(Service::new("tx", &service)),
            &["sites"],
        ),
        (
            "https without an identity",
            Site::new("store").peer("site = \"cloud\"\nlink = \"https://127.0.0.1:1\"".to_owned()).service(tx()),
            &["link", "identity"],
        ),
        (
            "a decider without a replica",
            Site::new("store").sites(&["store", "cloud", "third"]).hub().service(tx().order(&["local", "third"])),
            &["order", "third"],
        ),
        ("a peer that is no site", Site::alone().peer("site = \"other\"".to_owned()).service(tx()), &["other"]),
    ];
    for (what, site, wanted) in table {
        let ended = site.run_to_end();
        assert_eq!(ended.code, Some(78), "{what}: {ended:?}");
        for wanted in wanted {
            assert!(ended.err.contains(wanted), "{what}: {wanted} is not named in:\n{}", ended.err);
        }
    }
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_78_and_wrong_arguments_are_64() {
    // arguments | exit code
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "site = \nstore").unwrap();
    let broken = broken.to_str().unwrap();
    for (arguments, code) in [
        (["run", "--config", "/nowhere/holdfast.toml"], 78),
        (["run", "--config", broken], 78),
        (["run", "--confg", broken], 64),
        (["runn", "--config", broken], 64),
    ] {
        let mut command = holdfast();
        command.args(arguments);
        let ended = run(command);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(!ended.err.is_empty());
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let service = Upstream::start();
    let tx = || Service::new("tx", &service).replicas(&["store", "cloud"]);
    for what in ["gateway", "admin", "link", "control"] {
        let site = Site::new("store").hub().service(tx());
        let taken = match what {
            "gateway" => site.gateway,
            "admin" => site.admin,
            "link" => site.link,
            _ => site.control,
        };
        let _listener = std::net::TcpListener::bind(taken).unwrap();
        let ended = site.run_to_end();
        assert_eq!(ended.code, Some(75), "{what}: {ended:?}");
        assert!(ended.err.contains(&taken.port().to_string()), "{what}: {}", ended.err);
        let doubled = ended.err.lines().find(|line| line.matches("os error").count() > 1);
        assert_eq!(doubled, None, "{what}");
    }
}

#[test]
fn a_file_for_a_data_folder_is_named_by_check_and_start() {
    let service = Upstream::start();
    let site = Site::alone().service(Service::new("tx", &service).replicas(&["store"]));
    std::fs::write(site.data_dir(), "").unwrap();
    let ended = site.run_to_end();
    let said = format!("{} is a file", site.data_dir().display());
    assert!(ended.code == Some(75) && ended.err.contains(&said), "{ended:?}");
    let mut check = holdfast();
    check.args(["check", "--config"]).arg(site.folder().join("holdfast.toml"));
    let ended = run(check);
    assert!(ended.code == Some(75) && ended.out.contains(&said), "{ended:?}");
}

#[test]
fn a_data_folder_in_use_is_left_alone() {
    let service = Upstream::start();
    let first = Site::alone().service(Service::new("tx", &service).replicas(&["store"])).start();
    let other = Site::alone().service(Service::new("tx", &service).replicas(&["store"]));
    let text = other.toml().replace("\"data\"", &format!("{:?}", first.site.data_dir()));
    let file = other.folder().join("same.toml");
    std::fs::write(&file, text).unwrap();
    for words in [["run", "--config"].as_slice(), &["journal", "verify", "--config"]] {
        let mut command = holdfast();
        command.args(words).arg(&file);
        let ended = run(command);
        assert_eq!(ended.code, Some(75), "{ended:?}");
        assert!(ended.err.contains("in use"), "{}", ended.err);
    }
    first.tell(&crate::harness::Call::post("/tx/a").key("a")).expect(201);
}

#[test]
fn the_short_form_serves_without_a_file() {
    let service = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let (listen, admin) = (crate::harness::free_port(), crate::harness::free_port());
    let mut command = holdfast();
    command.current_dir(folder.path()).args(["run", "--site", "store", "--upstream"]);
    command.arg(format!("http://{}", service.address));
    command.args(["--listen", &listen.to_string(), "--admin-listen", &admin.to_string()]);
    let _running = crate::harness::process::Process::spawn(command, "short", &folder.path().join("log"));
    let call = crate::harness::Call::post("/anything").key("short");
    crate::harness::wait_for("it serves", crate::harness::SOON, || call.send(listen).is_ok_and(|t| t.status == 201));
}
