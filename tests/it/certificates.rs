//! Certificates as an operator meets them: what is wrong is said before and at the start, an end is told, new files are
//! taken up, and each command of `docs/certificates.md` does what the page says.
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, SanType};

use crate::harness::certificates::Authority;
use crate::harness::process::{Ended, Process, holdfast, run};
use crate::harness::{Call, Relay, SOON, Service, Site, Two, Upstream, holds_for, skipped, wait_for};

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

/// With a code where a person would be asked for one.
fn told(command: &str, code: &str, folder: &Path, path: &str) -> std::process::Output {
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(folder).env("PATH", path);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut asked = shell.stdin.take().unwrap();
    // Most ask for nothing.
    let _ = asked.write_all(format!("{code}\n").as_bytes());
    drop(asked);
    shell.wait_with_output().unwrap()
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
        if command.contains("identity invite") {
            typed.push_str(&format!(" --admin http://{}", play.cloud.admin));
        }
        if command.contains("--folder replaced") {
            // Its code was made as for a new one.
            let again = format!("holdfast identity invite kiosk --admin http://{}", play.cloud.admin);
            let ran = Command::new("sh").args(["-ec", &again]).env("PATH", &path).output().unwrap();
            play.code = String::from_utf8_lossy(&ran.stdout).lines().next().unwrap_or_default().to_owned();
        }
        let ran = told(&typed, &play.code, &folder, &path);
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
            _ if command.contains("identity renew ") => {
                assert!(said.contains("wrote store/store.pem") && said.contains("store.key, which stays"), "{said}");
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

/// A hub at which boxes may join, in its folder with all that it signs with.
fn hub(upstream: &Upstream) -> Site {
    let authority = Authority::named("acme");
    let cloud = Site::new("cloud").sites(&["store", "cloud", "kiosk"]).hub();
    let identity = authority.issue("cloud", cloud.folder());
    authority.write_key(&cloud.folder().join("ca.key"));
    let mut delegate = holdfast();
    delegate.args(["identity", "delegate", "cloud", "--days", "1000"]).current_dir(cloud.folder());
    let ended = run(delegate);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let renewals = "cert = \"cloud-renewals.pem\"\nkey = \"cloud-renewals.key\"";
    let tx = Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    cloud.section("identity", &identity).section("identity.renewals", renewals).service(tx)
}

#[test]
fn a_code_that_nobody_sees_is_said_and_one_is_read_where_nobody_looks() {
    let upstream = Upstream::start();
    let hub = hub(&upstream).start();
    let admin = format!("http://{}", hub.site.admin);
    let invite = |out: Stdio, output: &str| {
        let mut command = holdfast();
        command.args(["identity", "invite", "kiosk", "--admin", &admin, "-o", output]);
        let ended = command.stdout(out).stderr(Stdio::piped()).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned(), {
            String::from_utf8_lossy(&ended.stderr).into_owned()
        })
    };
    let (code, shown, _) = invite(Stdio::piped(), "table");
    assert_eq!(code, Some(0));
    assert!(!shown.contains("holdfast join CODE") && shown.contains("holdfast join --hub HOST[:PORT]"), "{shown}");
    let first = shown.lines().next().unwrap().to_owned();

    // `| true`: no code is made, so the one before is good; on a full disk it is made, and said to be lost.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, _, said) = invite(writer.into(), "table");
    assert!(code == Some(74) && said.contains("none was made"), "{code:?} {said}");

    // The whole of what was printed will do; and the code stands in nobody's arguments.
    let folder = tempfile::tempdir().unwrap();
    let join = |code: &str, dash: bool| {
        let mut command = holdfast();
        command.arg("join").args(dash.then_some("-")).args(["--hub", &hub.site.link.to_string(), "--folder"]);
        command.arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(code.as_bytes());
        let ended = child.wait_with_output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    assert_eq!(join("", false).0, Some(64));
    let (code, said) = join(&format!("\n  {shown}"), false);
    assert!(code == Some(0) && said.contains("this box is kiosk now"), "{said}");
    let (code, said) = join(&first, true);
    assert!(code == Some(64) && said.contains("kiosk.pem is there already"), "{said}");

    let (code, _, said) = invite(std::fs::File::create("/dev/full").unwrap().into(), "json");
    assert!(code == Some(74) && said.contains("is lost; it ended the one before"), "{code:?} {said}");
}

/// On a terminal it is asked for, and not shown.
#[test]
fn a_code_that_is_typed_is_not_shown() {
    if Command::new("script").arg("--version").output().is_err() {
        return skipped("a code that is typed", "there is no script(1), which gives a terminal");
    }
    let join = format!("{} join --hub 127.0.0.1:9; stty -a", holdfast().get_program().display());
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &join, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = Vec::new();
    let mut until = |part: &str| {
        let mut some = [0; 1_024];
        while !String::from_utf8_lossy(&seen).contains(part) {
            let read = screen.read(&mut some).unwrap();
            assert!(read > 0, "{part}: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&some[..read]);
        }
    };
    until("it is not shown");
    keys.write_all(b"kiosk.SECRET\n").unwrap();
    // What is wrong with it names no more than it must; and the terminal is as before.
    until("letters and digits behind the site's name");
    until("echoke");
    let seen = String::from_utf8_lossy(&seen).into_owned();
    for wrong in ["SECRET\r", "-isig", "-echo "] {
        assert!(!seen.contains(wrong), "{wrong}: {seen}");
    }
    drop(keys);
    let _ = child.wait();
}

#[test]
fn a_damaged_file_of_invitations_is_named_everywhere_and_kept() {
    let upstream = Upstream::start();
    let site = hub(&upstream);
    std::fs::create_dir_all(site.data_dir()).unwrap();
    let file = site.data_dir().join("invites.json");
    std::fs::write(&file, "{\"kiosk\": half a line").unwrap();
    let asked = |site: &Site, words: &[&str]| {
        std::fs::write(site.folder().join("holdfast.toml"), site.toml()).unwrap();
        let mut command = holdfast();
        run({
            command.args(words).args(["--config"]).arg(site.folder().join("holdfast.toml"));
            command
        })
    };
    let name = file.display().to_string();
    let checked = asked(&site, &["check"]);
    assert!(
        checked.code == Some(0) && checked.out.contains(&format!("{name} is no file of invitations")),
        "{checked:?}"
    );
    assert!(checked.out.lines().next().unwrap().contains("warning"), "{checked:?}");
    let shown = asked(&site, &["identity", "show"]);
    assert!(shown.err.contains(&format!("{name} is no file of invitations")), "{shown:?}");
    let hub = site.start();
    let aside = format!("{name}.damaged-1");
    wait_for("it is looked at", SOON, || Call::get("/health").told(hub.site.admin).text().contains(&aside));
    assert!(hub.log().contains(&format!("moved aside to {aside}")), "{}", hub.log());
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), "{\"kiosk\": half a line");
    let mut invite = holdfast();
    invite.args(["identity", "invite", "kiosk", "--admin", &format!("http://{}", hub.site.admin)]);
    assert_eq!(run(invite).code, Some(0));
    std::fs::remove_file(&aside).unwrap();
    wait_for("nobody needs it", SOON, || !Call::get("/health").told(hub.site.admin).text().contains(&aside));
}

/// `check` ends as a start does: 75 where a file may come, 78 where only a change helps.
#[test]
fn check_and_a_start_end_alike_and_the_first_line_is_true() {
    type Harm = fn(&Path);
    let cases: [(&str, Harm, i32); 4] = [
        ("none", |_| {}, 0),
        ("a key that is not there", |folder| std::fs::remove_file(folder.join("site.key")).unwrap(), 75),
        (
            "a pipe for a certificate",
            |folder| {
                std::fs::remove_file(folder.join("site.pem")).unwrap();
                assert!(Command::new("mkfifo").arg(folder.join("site.pem")).status().unwrap().success());
            },
            75,
        ),
        (
            "a key of another",
            |folder| {
                let cert = std::fs::read(folder.join("site.pem")).unwrap();
                drop(Authority::new().issue("store", folder));
                std::fs::write(folder.join("site.pem"), cert).unwrap();
            },
            78,
        ),
    ];
    let upstream = Upstream::start();
    for (what, harm, code) in cases {
        let site = store(&upstream, |folder| Authority::new().issue("store", folder));
        harm(site.folder());
        let checked = check(&site);
        assert_eq!(checked.code, Some(code), "{what}: {checked:?}");
        let first = checked.out.lines().next().unwrap_or_default();
        assert_eq!(first.contains("has no problems"), code == 0, "{what}: {first}");
        if code != 0 {
            let ended = run(site.command());
            assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
        }
    }
}
