//! Certificates as an operator meets them: what is wrong is said before and at the start, an end is told, new files are
//! taken up, and each command of `docs/certificates.md` does what the page says.
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};

use crate::harness::certificates::Authority;
use crate::harness::process::{Ended, Process, holdfast, run};
use crate::harness::{Call, Relay, SOON, Service, Site, Two, Upstream, holds_for, wait_for};

const DAY: i64 = 86_400;

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key)
}

/// A store with an identity, whose hub is away.
fn store(upstream: &Upstream, identity: impl FnOnce(&Path) -> String) -> Site {
    let peer = "site = \"cloud\"\nlink = \"https://127.0.0.1:9\"\ncontrol = \"tls/127.0.0.1:9\"".to_owned();
    let store = Site::new("store").peer(peer);
    let lines = identity(store.folder());
    let tx = Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    store.section("identity", &lines).service(tx)
}

fn check(site: &Site) -> Ended {
    std::fs::write(site.folder().join("holdfast.toml"), site.toml()).unwrap();
    let mut check = holdfast();
    check.args(["check", "--config"]).arg(site.folder().join("holdfast.toml"));
    run(check)
}

fn name(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn check_says_in_one_line_what_is_wrong_with_a_certificate() {
    let upstream = Upstream::start();
    let (ours, theirs) = (Authority::named("ours"), Authority::named("theirs"));
    let soon = std::time::SystemTime::now() + Duration::from_secs(7_200);
    type Change = Box<dyn Fn(&mut CertificateParams)>;
    let with = |change: Change| move |folder: &Path| Authority::named("ours").issue_with("store", folder, &*change);
    // what is wrong | the files | exit code of check | how the line begins | what else it says
    type Case = (&'static str, Box<dyn FnOnce(&Path) -> String>, i32, &'static str, &'static str);
    let cases: Vec<Case> = vec![
        (
            "of a foreign authority",
            Box::new(move |folder| {
                let elsewhere = tempfile::tempdir().unwrap();
                theirs.issue("other", elsewhere.path());
                let lines = ours.issue("store", folder);
                std::fs::copy(elsewhere.path().join("ca.pem"), folder.join("ca.pem")).unwrap();
                lines
            }),
            78,
            "identity.cert",
            "was signed by CN=ours, which is none of the authorities in",
        ),
        (
            "another key",
            Box::new(|folder| {
                let authority = Authority::new();
                authority.issue("store", folder);
                let cert = std::fs::read(folder.join("site.pem")).unwrap();
                let lines = authority.issue("store", folder);
                std::fs::write(folder.join("site.pem"), cert).unwrap();
                lines
            }),
            78,
            "identity.key",
            "does not belong to certificate",
        ),
        (
            "another site",
            Box::new(with(Box::new(|params| params.subject_alt_names = vec![name("cloud")]))),
            78,
            "identity.cert",
            "is for cloud, not for site store: it must bear store as a DNS name (SAN)",
        ),
        (
            "a common name alone",
            Box::new(with(Box::new(|params| {
                params.subject_alt_names.clear();
                params.distinguished_name.push(rcgen::DnType::CommonName, "store");
            }))),
            78,
            "identity.cert",
            "has no DNS name (SAN); its common name \"store\" does not count",
        ),
        (
            "two sites",
            Box::new(with(Box::new(|params| params.subject_alt_names.push(name("cloud"))))),
            78,
            "identity.cert",
            "is for two sites of the realm, cloud and store: a certificate speaks for one",
        ),
        (
            "for servers alone",
            Box::new(with(Box::new(|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }))),
            78,
            "identity.cert",
            "is not made for clientAuth",
        ),
        (
            "expired",
            Box::new(|folder| Authority::new().issue_until("store", folder, -3 * DAY)),
            78,
            "identity.cert",
            "expired 3 days ago, on ",
        ),
        (
            "not valid yet",
            Box::new(with(Box::new(move |params| params.not_before = soon.into()))),
            78,
            "identity.cert",
            "in 2 hours: is the clock right?",
        ),
        (
            "valid for two days",
            Box::new(|folder| Authority::new().issue_until("store", folder, 2 * DAY)),
            0,
            "identity.cert",
            "expires in 2 days, on ",
        ),
        (
            "a key for everybody",
            Box::new(|folder| {
                use std::os::unix::fs::PermissionsExt;
                let lines = Authority::new().issue("store", folder);
                std::fs::set_permissions(folder.join("site.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
                lines
            }),
            0,
            "identity.key",
            "may be read or changed by others than its owner: `chmod 600 ",
        ),
        ("nothing", Box::new(|folder| Authority::new().issue("store", folder)), 0, "identity.cert", "expires in "),
    ];
    for (what, files, code, line, said) in cases {
        let site = store(&upstream, files);
        let ended = check(&site);
        assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
        let found = ended.out.lines().any(|told| told.starts_with(line) && told.contains(said));
        assert!(found, "{what}: no line with {said:?} in\n{}", ended.out);
        let quiet = ended.out.lines().filter(|told| told.starts_with("identity.") && !told.contains(" ok ")).count();
        assert_eq!(quiet, usize::from(what != "nothing"), "{what}: one line and no more\n{}", ended.out);
    }
}

#[test]
fn an_end_that_is_near_or_over_is_told_everywhere_and_the_site_serves() {
    let upstream = Upstream::start();
    for (left_s, said) in [(2 * DAY, "expires in 2 days"), (-3 * DAY, "no link can be opened until it is renewed")] {
        let mut site = store(&upstream, |folder| Authority::new().issue_until("store", folder, left_s)).start();
        site.wait_ready();
        wait_for("the log says so", SOON, || site.log().contains(said));
        wait_for("health and status say so", SOON, || {
            let told = |path: &str| Call::get(path).told(site.site.admin).text();
            told("/health").contains(said) && told("/api/v1/status").contains(said)
        });
        site.tell(&sale(&left_s.to_string())).expect(201);
        assert_eq!(site.log().matches(said).count(), 1, "once:\n{}", site.log());
    }
}

#[test]
fn new_files_are_taken_up_without_a_restart_and_a_bad_pair_is_said_once() {
    let authority = Authority::new();
    let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
    let cloud = Site::new("cloud").hub();
    let identity = authority.issue_until("cloud", cloud.folder(), 45);
    let cloud = cloud.section("identity", &identity);
    let (links, control) = (Relay::to(cloud.link), Relay::to(cloud.control));
    let peer = format!("site = \"cloud\"\nlink = \"https://{}\"\ncontrol = \"tls/{}\"", links.address, control.address);
    let store = Site::new("store").peer(peer);
    let identity = authority.issue_until("store", store.folder(), 45);
    let store = store.section("identity", &identity);
    let tx = |upstream: &Upstream| Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    let cloud = cloud.service(tx(&at_cloud)).start();
    let store = store.service(tx(&at_store)).start();
    let two = Two { store, cloud, at_store, at_cloud, links, control };
    two.store.wait_peer_healthy("cloud");
    two.store.wait_control("cloud");
    two.store.tell(&sale("a")).expect(201);
    two.wait_equal(1);

    // A key that is not the certificate's: said, and nothing changes.
    let folder = two.store.site.folder();
    let old_key = std::fs::read(folder.join("site.key")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    authority.issue("other", elsewhere.path());
    std::fs::copy(elsewhere.path().join("site.key"), folder.join("site.key")).unwrap();
    let complaint = "the new certificate files cannot be used";
    wait_for("it is said", SOON, || two.store.log().contains(complaint));
    std::fs::write(folder.join("site.key"), old_key).unwrap();

    // The old ones end, and both planes go on with the new ones.
    authority.issue("store", folder);
    authority.issue("cloud", two.cloud.site.folder());
    two.store.process.signal("HUP");
    for site in [&two.store, &two.cloud] {
        wait_for("it is taken up", SOON, || site.log().contains("new certificate taken up"));
    }
    wait_for("the old ones are over", SOON, || two.store.log().contains("is no longer valid"));
    two.store.wait_peer_healthy("cloud");
    two.store.wait_control("cloud");
    two.cloud.wait_control("store");
    two.cloud.tell(&sale("b")).expect(201);
    two.wait_equal(2);
    holds_for("nothing is said twice", Duration::from_millis(200), || two.store.log().matches(complaint).count() == 1);
    assert_eq!(two.store.is_linked("cloud"), Some(true));
}

#[test]
fn a_hub_renews_the_certificate_of_its_store_over_the_link() {
    let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
    let authority = Authority::named("acme");
    let cloud = Site::new("cloud").hub();
    let identity = authority.issue("cloud", cloud.folder());
    authority.write_key(&cloud.folder().join("ca.key"));
    let mut delegate = holdfast();
    delegate.args(["identity", "delegate", "cloud", "--days", "1000"]).current_dir(cloud.folder());
    let ended = run(delegate);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let renewals = "cert = \"cloud-renewals.pem\"\nkey = \"cloud-renewals.key\"";
    let cloud = cloud.section("identity", &identity).section("identity.renewals", renewals);
    let (links, control) = (Relay::to(cloud.link), Relay::to(cloud.control));
    let peer = format!("site = \"cloud\"\nlink = \"https://{}\"\ncontrol = \"tls/{}\"", links.address, control.address);
    let store = Site::new("store").peer(peer);
    // Of its fifty years four hours are left.
    let identity = authority.issue_until("store", store.folder(), 4 * 3_600);
    let store = store.section("identity", &format!("{identity}\nrenew = true"));
    let tx = |upstream: &Upstream| Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    let cloud = cloud.service(tx(&at_cloud)).start();
    let store = store.service(tx(&at_store)).start();
    wait_for("it is renewed", SOON, || store.log().contains("new certificate taken up"));
    assert!(cloud.log().contains("a certificate was renewed"));
    let mut show = holdfast();
    show.args(["identity", "show"]).arg(store.site.folder().join("site.pem"));
    let shown = run(show);
    assert!(shown.out.contains("in 90 days") && shown.out.contains("CN=renewals by cloud"), "{shown:?}");
    // With the new one as with the old.
    let two = Two { store, cloud, at_store, at_cloud, links, control };
    two.cut();
    two.wait_apart();
    two.heal();
    two.store.wait_peer_healthy("cloud");
    two.store.wait_control("cloud");
    two.store.tell(&sale("a")).expect(201);
    two.wait_equal(1);
}

#[test]
fn sighup_does_not_end_a_site_without_an_identity() {
    let upstream = Upstream::start();
    let mut site =
        Site::new("store").hub().service(Service::new("tx", &upstream).replicas(&["store", "cloud"])).start();
    site.wait_ready();
    site.process.signal("HUP");
    wait_for("it is said", SOON, || site.log().contains("SIGHUP"));
    site.tell(&sale("a")).expect(201);
}

/// What joins it and what is joined, besides the page's own words.
struct Play {
    /// Ends before its folder goes.
    running: Vec<Process>,
    folder: std::path::PathBuf,
    upstream: Upstream,
    /// Their configurations: the store of the page, and its hub.
    store: Site,
    cloud: Site,
    /// As it was printed last.
    code: String,
}

impl Play {
    /// The sections that the page shows, without their heads.
    fn section<'p>(page: &'p str, name: &str) -> &'p str {
        let text = page.split(&format!("```toml\n[{name}]\n")).nth(1).and_then(|rest| rest.split("```").next());
        text.unwrap_or_else(|| panic!("the page shows [{name}]")).trim()
    }

    fn new(page: &str) -> Self {
        let upstream = Upstream::start();
        let sites = ["store", "cloud", "kiosk"];
        let identity = Self::section(page, "identity");
        let kiosk = Service::new("kx", &upstream).replicas(&["kiosk", "cloud"]).order(&["local"]);
        let cloud = Site::new("cloud")
            .sites(&sites)
            .hub()
            .section("identity", &identity.replace("store", "cloud"))
            .section("identity.renewals", Self::section(page, "identity.renewals"))
            .service(Service::new("tx", &upstream).replicas(&["store", "cloud"]).order(&["local"]))
            .service(kiosk);
        let peer = format!("site = \"cloud\"\nlink = \"https://{}\"\ncontrol = \"tls/{}\"", cloud.link, cloud.control);
        let store = Site::new("store")
            .sites(&sites)
            .peer(peer)
            .section("identity", identity)
            .service(Service::new("tx", &upstream).replicas(&["store", "cloud"]).order(&["local"]));
        let folder = store.folder().to_owned();
        Self { running: Vec::new(), folder, upstream, store, cloud, code: String::new() }
    }

    fn run(&mut self, site: &str, toml: &str) {
        let file = self.folder.join(site).join("holdfast.toml");
        std::fs::write(&file, toml).unwrap();
        let mut run = holdfast();
        run.args(["run", "--config"]).arg(file);
        let started = Process::spawn(run, site, &self.folder.join(format!("{site}.log")));
        wait_for(&format!("{site} is ready"), SOON, || started.log().contains("ready"));
        self.running.push(started);
    }

    /// Beside what `join` printed there are services, and ports that nobody else has.
    fn kiosk(&self, printed: &str) -> (Site, String) {
        let said = printed.split_once("beside its services:\n").and_then(|(_, rest)| rest.split_once("\nnext: "));
        let (said, _) = said.unwrap_or_else(|| panic!("{printed}"));
        let kiosk = Site::new("kiosk");
        let service = Service::new("kx", &self.upstream).replicas(&["kiosk", "cloud"]).order(&["local"]);
        let more = format!(
            "[gateway]\nlisten = [\"{}\"]\n[admin]\nlisten = \"{}\"\n[control]\nenabled = false\n{}",
            kiosk.gateway,
            kiosk.admin,
            service.toml()
        );
        (kiosk, format!("data_dir = \"data\"\n{said}\n{more}"))
    }
}

/// Over since yesterday, for the key that is there.
fn make_expire(folder: &Path, site: &str) {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = rcgen::DistinguishedName::new();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "acme");
    let authority = rcgen::Issuer::new(authority, rcgen::KeyPair::from_pem(&read("authority/ca.key")).unwrap());
    let key = rcgen::KeyPair::from_pem(&read(&format!("{site}/{site}.key"))).unwrap();
    let mut params = CertificateParams::new(vec![site.to_owned()]).unwrap();
    params.not_after = (std::time::SystemTime::now() - Duration::from_secs(86_400)).into();
    let over = params.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join(format!("{site}/{site}.pem")), over.pem()).unwrap();
}

/// The page is a play in one folder, from the first command to the last.
#[test]
fn each_command_of_the_page_of_certificates_does_what_it_says() {
    let page = include_str!("../../docs/certificates.md");
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    assert!(commands.len() > 8, "the page has lost its commands");
    let mut play = Play::new(page);
    let folder = play.folder.clone();
    let binary = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap().to_owned();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let taken_up = |store: &Process| store.log().matches("new certificate taken up").count();
    for command in commands {
        if command.starts_with("systemctl reload") {
            play.running[0].signal("HUP");
            wait_for("new certificate", SOON, || taken_up(&play.running[0]) == 1);
            continue;
        }
        let is_over = command == "holdfast identity invite store";
        if is_over {
            make_expire(&folder, "store");
        }
        let mut typed = command.replace("cloud.example.com:7443", &play.cloud.link.to_string());
        typed = typed.replace("join CODE", &format!("join {}", play.code));
        if command.contains("identity invite") {
            typed.push_str(&format!(" --admin http://{}", play.cloud.admin));
        }
        if command.contains("--folder replaced") {
            // Its code was made as for a new one.
            let again = format!("holdfast identity invite kiosk --admin http://{}", play.cloud.admin);
            let ran = Command::new("sh").args(["-ec", &again]).env("PATH", &path).output().unwrap();
            let code = String::from_utf8_lossy(&ran.stdout).lines().next().unwrap_or_default().to_owned();
            typed = typed.replace(&play.code, &code);
        }
        let ran = Command::new("sh").args(["-ec", &typed]).current_dir(&folder).env("PATH", &path).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{typed}\n{said}");
        match command {
            _ if command.contains("issue store ") => {
                let toml = play.store.toml();
                play.run("store", &toml);
            }
            _ if command.contains("delegate cloud ") => {
                let toml = play.cloud.toml();
                play.run("cloud", &toml);
            }
            _ if command.contains("identity invite") => {
                play.code = said.lines().next().unwrap_or_default().to_owned();
                assert!(!play.running[1].log().contains(&play.code), "the code is in the log");
            }
            _ if command.contains("--folder kiosk") => {
                let (kiosk, toml) = play.kiosk(&said);
                play.run("kiosk", &toml);
                wait_for("the first write travels", SOON, || {
                    let told = Call::post("/kx/sale").key("first").send(kiosk.gateway);
                    told.is_ok_and(|told| told.status == 201) && play.upstream.times_applied("first") == 2
                });
            }
            _ if command.contains("join") && command.contains("--folder store") => {
                wait_for("it is taken up", SOON, || taken_up(&play.running[0]) == 2);
            }
            _ if command.contains("identity show") => {
                assert!(said.contains("CN=acme") && said.contains("in 365 days"), "{command}\n{said}");
            }
            _ => {}
        }
    }
    let hub = play.running[1].log();
    for said in ["a code was made by which a box can join", "a box has joined by its code", "\"log\":\"audit\""] {
        assert!(hub.contains(said), "{said}:\n{hub}");
    }
    play.running.iter_mut().for_each(Process::kill);
}
