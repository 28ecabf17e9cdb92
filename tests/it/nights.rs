//! Nights at three in the morning: certificates that are over, and boxes that are gone, mended with nothing but the
//! commands of `docs/certificates.md` and `docs/operating.md`. Each says how many commands and how much time it took.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};

use crate::harness::process::holdfast;
use crate::harness::tills::sale;
use crate::harness::{Appliance, Relay, SOON, Service, Site, Till, Two, Upstream, holds_for, wait_for};

/// What was typed, and since when.
struct Night {
    name: &'static str,
    began: Instant,
    typed: Vec<String>,
}

impl Night {
    fn begins(name: &'static str) -> Self {
        Self { name, began: Instant::now(), typed: Vec::new() }
    }

    /// On this machine, in this folder; says what was printed.
    #[track_caller]
    fn types(&mut self, folder: &Path, command: &str) -> String {
        let (ended, said) = typed(folder, command);
        assert!(ended, "{command}\n{said}");
        self.typed.push(command.to_owned());
        said
    }

    fn ends(self) {
        let Self { name, began, typed } = self;
        println!("{name}: {} commands, {:.1} min", typed.len(), began.elapsed().as_secs_f64() / 60.0);
        typed.iter().for_each(|command| println!("    {command}"));
    }
}

fn typed(folder: &Path, command: &str) -> (bool, String) {
    let program = holdfast();
    let bin = Path::new(program.get_program()).parent().expect("it lies in a folder");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let ran = Command::new("sh").args(["-ec", command]).current_dir(folder).env("PATH", path).output().unwrap();
    (ran.status.success(), format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr)))
}

/// However wide the terminal is.
fn in_one_line(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A realm as the page of certificates makes it, whose authority lies apart, and whose hub signs and invites.
struct Realm {
    apart: tempfile::TempDir,
    at_cloud: Upstream,
    cloud: Appliance,
    links: Relay,
    control: Relay,
}

fn tx(other: &str, upstream: &Upstream) -> Service {
    Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local", other]).probed()
}

impl Realm {
    fn start() -> Self {
        let apart = tempfile::tempdir().unwrap();
        let at_cloud = Upstream::start();
        let cloud = Site::new("cloud")
            .hub()
            .section("identity", "ca = \"ca.pem\"\ncert = \"cloud.pem\"\nkey = \"cloud.key\"")
            .section("identity.renewals", "cert = \"cloud-renewals.pem\"\nkey = \"cloud-renewals.key\"\ndays = 90")
            .service(tx("store", &at_cloud));
        let hub = cloud.folder().display().to_string();
        for command in [
            "holdfast identity init --name acme --folder .".to_owned(),
            format!("holdfast identity issue cloud --folder {hub}"),
            format!("holdfast identity delegate cloud --folder {hub} --days 1095"),
        ] {
            let (ended, said) = typed(apart.path(), &command);
            assert!(ended, "{command}\n{said}");
        }
        let (links, control) = (Relay::to(cloud.link), Relay::to(cloud.control));
        Self { apart, at_cloud, cloud: cloud.start(), links, control }
    }

    /// What stands in the configuration of a store.
    fn store(&self, at_store: &Upstream) -> Site {
        let (links, control) = (self.links.address, self.control.address);
        let peer = format!("site = \"cloud\"\nlink = \"https://{links}\"\ncontrol = \"tls/{control}\"");
        let identity = "ca = \"ca.pem\"\ncert = \"store.pem\"\nkey = \"store.key\"";
        Site::new("store").peer(peer).section("identity", identity).service(tx("cloud", at_store))
    }

    fn issue(&self, store: &Site) {
        let command = format!("holdfast identity issue store --folder {}", store.folder().display());
        let (ended, said) = typed(self.apart.path(), &command);
        assert!(ended, "{said}");
    }

    fn with(self, store: Appliance, at_store: Upstream) -> (tempfile::TempDir, Two) {
        let Self { apart, at_cloud, cloud, links, control } = self;
        (apart, Two { store, cloud, at_store, at_cloud, links, control })
    }

    /// Asks the hub for a code, and says the first line that was printed.
    fn invite(night: &mut Night, cloud: &Appliance) -> String {
        let admin = cloud.site.admin;
        let said = night.types(cloud.site.folder(), &format!("holdfast identity invite store --admin http://{admin}"));
        said.lines().next().unwrap_or_default().to_owned()
    }
}

/// So much is left of the time of a site's certificate, and its key is the same.
fn make_end_in(apart: &Path, folder: &Path, site: &str, left: Duration) {
    let key = |path: std::path::PathBuf| KeyPair::from_pem(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "acme");
    let authority = Issuer::new(authority, key(apart.join("ca.key")));
    let mut params = CertificateParams::new(vec![site.to_owned()]).unwrap();
    params.not_after = (std::time::SystemTime::now() + left).into();
    let signed = params.signed_by(&key(folder.join(format!("{site}.key"))), &authority).unwrap();
    std::fs::write(folder.join(format!("{site}.pem")), signed.pem()).unwrap();
}

fn write(site: &Appliance, key: &str) {
    site.tell(&sale(key, "till")).expect(201);
}

#[test]
fn a_certificate_that_is_over_is_replaced_by_a_code_and_nothing_is_started_anew() {
    let realm = Realm::start();
    let at_store = Upstream::start();
    let store = realm.store(&at_store);
    realm.issue(&store);
    make_end_in(realm.apart.path(), store.folder(), "store", Duration::from_secs(40));
    let (_apart, two) = realm.with(store.start(), at_store);
    two.wait_together();
    write(&two.store, "before");
    two.wait_equal(1);
    wait_for("the certificate is over", SOON, || two.store.log().contains("is no longer valid"));
    wait_for("the site is cut off", SOON, || two.store.is_linked("cloud") == Some(false));
    // Clients are served on, on both sides.
    write(&two.store, "at-the-store");
    write(&two.cloud, "at-the-cloud");
    let process = two.store.process.id();

    let mut night = Night::begins("a certificate that is over");
    let folder = two.store.site.folder();
    let admin = format!("--admin http://{}", two.store.site.admin);
    let said = in_one_line(&night.types(folder, &format!("holdfast status {admin}")));
    assert!(said.contains("expired on") && said.contains("no link can be opened"), "{said}");
    let code = Realm::invite(&mut night, &two.cloud);
    night.types(folder, &format!("holdfast join {code} --hub {}", two.links.address));
    two.wait_together();
    two.wait_equal(3);
    let said = night.types(folder, "holdfast identity show store.pem");
    assert!(said.contains("in 90 days") && said.contains("CN=renewals by cloud"), "{said}");
    wait_for("status has nothing to say of it", SOON, || {
        !typed(folder, &format!("holdfast status {admin}")).1.contains("certificate:")
    });
    night.ends();
    assert_eq!(two.store.process.id(), process);
    assert_eq!(two.store.log().matches(" ready").count(), 1, "it was not started anew");
}

#[test]
fn a_new_certificate_under_load_loses_nothing_and_stops_nobody() {
    let realm = Realm::start();
    let at_store = Upstream::start();
    let store = realm.store(&at_store);
    realm.issue(&store);
    make_end_in(realm.apart.path(), store.folder(), "store", Duration::from_secs(45));
    let (apart, two) = realm.with(store.start(), at_store);
    two.wait_together();
    let (here, there) = (Till::open("here", two.store.at()), Till::open("there", two.cloud.at()));
    here.wait(5);
    there.wait(5);

    let mut night = Night::begins("a new certificate under load");
    let folder = two.store.site.folder().display().to_string();
    night.types(apart.path(), &format!("holdfast identity renew store --folder {folder}"));
    // As `systemctl reload holdfast` does.
    night.types(apart.path(), &format!("kill -HUP {}", two.store.process.id()));
    wait_for("it is taken up", SOON, || two.store.log().contains("new certificate taken up"));
    // What stood ends with the certificate that it began with, if not before, and comes back with the new one.
    wait_for("it links anew", SOON, || {
        let log = two.store.log();
        log.split("new certificate taken up").nth(1).is_some_and(|after| after.contains("link is up"))
    });
    two.store.wait_peer_healthy("cloud");
    here.wait(5);
    there.wait(5);
    let (here, there) = (here.close(), there.close());
    night.ends();
    crate::harness::judge(&two, &here, &there);
}

#[test]
fn an_empty_box_takes_the_place_of_one_that_is_gone() {
    let realm = Realm::start();
    let at_store = Upstream::start();
    let store = realm.store(&at_store);
    realm.issue(&store);
    let (_apart, mut two) = realm.with(store.start(), at_store);
    two.wait_together();
    for key in ["a", "b", "c"] {
        write(&two.store, key);
        write(&two.cloud, &format!("cloud-{key}"));
    }
    two.wait_equal(6);
    two.wait_settled();
    // The machine is gone, with its disk and its service.
    two.store.kill();
    wait_for("the hub knows", SOON, || two.cloud.is_linked("store") == Some(false));

    let mut night = Night::begins("a box replaced by an empty one");
    let at_new = Upstream::start();
    let (links, control) = (two.links.address, two.control.address);
    let peer = format!("site = \"cloud\"\nlink = \"https://{links}\"\ncontrol = \"tls/{control}\"");
    let identity = "ca = \"ca.pem\"\ncert = \"store.pem\"\nkey = \"store.key\"";
    let new = Site::new("store").peer(peer).section("identity", identity).service(tx("cloud", &at_new));
    let code = Realm::invite(&mut night, &two.cloud);
    let said = night.types(new.folder(), &format!("holdfast join {code} --hub {links}"));
    assert!(said.contains("this box is store now"), "{said}");
    // Used: whoever has read it over a shoulder has nothing.
    let other = tempfile::tempdir().unwrap();
    let (ended, said) = typed(other.path(), &format!("holdfast join {code} --hub {links}"));
    assert!(!ended && said.contains("used-code"), "{said}");
    two.store = new.start();
    two.at_store = at_new;
    let admin = format!("--admin http://{}", two.store.site.admin);
    let folder = two.store.site.folder().to_owned();
    wait_for("it is told that its past is elsewhere", SOON, || {
        in_one_line(&typed(&folder, &format!("holdfast status {admin}")).1).contains("data_dir is new")
    });
    night.types(&folder, &format!("holdfast status {admin}"));
    // Its service is as empty as its disk: all of it is applied from the start.
    night.types(&folder, &format!("holdfast services resume tx {admin}"));
    two.wait_equal(6);
    two.wait_together();
    write(&two.store, "d");
    write(&two.cloud, "cloud-d");
    two.wait_equal(8);
    night.ends();
}

#[test]
fn a_store_that_joins_by_code_is_there_with_its_first_write() {
    let realm = Realm::start();
    let at_store = Upstream::start();
    let store = realm.store(&at_store);
    let mut night = Night::begins("a store that joins by code");
    let code = Realm::invite(&mut night, &realm.cloud);
    // A slip of the hand is found before anybody is asked.
    let (start, last) = code.split_at(code.len() - 1);
    let slip = format!("{start}{}", if last == "0" { "1" } else { "0" });
    let (ended, said) = typed(store.folder(), &format!("holdfast join {slip} --hub {}", realm.links.address));
    assert!(!ended && said.contains("the code is mistyped at ") && said.contains("group 14 of 14"), "{said}");
    let said = night.types(store.folder(), &format!("holdfast join {code} --hub {}", realm.links.address));
    for line in
        ["site = \"store\"", "name = \"acme\"", "cert = \"store.pem\"", "site = \"cloud\"", "https://127.0.0.1:"]
    {
        assert!(said.contains(line), "{line}:\n{said}");
    }
    let (_apart, two) = realm.with(store.start(), at_store);
    two.wait_together();
    write(&two.store, "first");
    two.wait_equal(1);
    let said = night.types(two.cloud.site.folder(), "holdfast identity show --config holdfast.toml");
    assert!(said.contains("store has joined by a code on ") && said.contains("cloud-renewals.pem"), "{said}");
    night.ends();
    holds_for("and nothing is wrong", Duration::from_millis(200), || two.store.is_linked("cloud") == Some(true));
}

#[test]
fn a_hub_signs_its_own_certificate_anew() {
    let realm = Realm::start();
    let Realm { apart, mut cloud, .. } = realm;
    cloud.stop();
    let folder = cloud.site.folder().to_owned();
    // Of its year four hours are left.
    make_end_in(apart.path(), &folder, "cloud", Duration::from_secs(4 * 3_600));
    let toml = cloud.site.toml().replace("key = \"cloud.key\"", "key = \"cloud.key\"\nrenew = true");
    cloud.restart_as(&toml);
    wait_for("it is renewed", SOON, || cloud.log().contains("new certificate taken up"));
    let (_, said) = typed(&folder, "holdfast identity show cloud.pem");
    assert!(said.contains("in 90 days") && said.contains("CN=renewals by cloud"), "{said}");
    let (ended, said) = typed(&folder, "holdfast identity show --config holdfast.toml");
    assert!(ended, "{said}");
}
