//! Over real zenoh on loopback: hubs that come late, restart, or do not trust.
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;
use zenoh::Wait;

use super::{Recorder, group, log, print};
use crate::control::tuning::Tuning;
use crate::control::{Control, ControlSettings, Endpoint, HubAddress, Role};
use crate::identity::tests::Ca;
use crate::identity::{Credentials, Files};
use crate::model::SiteName;

/// An address for a hub that comes late or restarts: bound and not listening for as long as it is held, so that
/// connections are refused, no other test is given the port, and a listener that allows reuse of its address, as all of
/// ours do, can have it.
fn held(tls: bool) -> (TcpSocket, Endpoint) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    socket.set_reuseaddr(true).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, Endpoint { tls, address })
}

fn start(site: &str, role: Role, tls: Option<Files>) -> (Control, Arc<Recorder>) {
    let mut settings = ControlSettings::new("acme", SiteName::new(site), "n1", role);
    settings.sites = ["cloud", "a", "b"].map(SiteName::new).to_vec();
    settings.hub_sites = vec![SiteName::new("cloud")];
    settings.tls = tls.map(|files| Credentials::open(files, settings.me.clone(), &settings.sites).unwrap());
    let recorder = Arc::new(Recorder::default());
    (Control::start(settings, recorder.clone()).unwrap(), recorder)
}

fn hub(endpoint: &Endpoint, tls: Option<Files>) -> (Control, Arc<Recorder>) {
    let listen = vec![endpoint.clone()];
    // The port may be taken for a moment after a hub's end.
    wait_for("the port is free", || TcpListener::bind(&endpoint.address).is_ok());
    start("cloud", Role::Hub { listen, peers: vec![] }, tls)
}

fn edge(site: &str, endpoint: &Endpoint, tls: Option<Files>) -> (Control, Arc<Recorder>) {
    start(site, Role::Edge { hubs: vec![at(endpoint)] }, tls)
}

fn at(endpoint: &Endpoint) -> HubAddress {
    HubAddress { site: SiteName::new("cloud"), endpoint: endpoint.clone() }
}

/// Whether `site` was last seen up, or down.
fn sees(recorder: &Recorder, site: &str, up: bool) {
    recorder.wait(&format!("{site} seen, up: {up}"), |heard| {
        heard.alive.iter().rev().find(|alive| alive.0.as_str() == site).is_some_and(|alive| alive.3 == up)
    });
}

fn hears(recorder: &Recorder, n: u64) {
    recorder.wait(&format!("fingerprint {n}"), |heard| heard.prints.iter().any(|print| print.1.id.n == n));
}

#[test]
fn hints_flow_through_a_hub_that_comes_late_and_restarts() {
    let (_held, endpoint) = held(false);
    let (a, heard_a) = edge("a", &endpoint, None);
    // Published while nobody is there: kept in the window, repaired by the digest.
    a.publish_fingerprint(&group(""), print("a", 1));
    let (b, heard_b) = edge("b", &endpoint, None);
    let (cloud, heard_cloud) = hub(&endpoint, None);
    sees(&heard_a, "b", true);
    sees(&heard_b, "a", true);
    sees(&heard_cloud, "a", true);
    hears(&heard_b, 1);
    a.publish_fingerprint(&group("s"), print("a", 2));
    a.announce_head(&group("s"), log(), 9);
    a.publish_health(&group("s"), true, 0);
    hears(&heard_b, 2);
    hears(&heard_cloud, 2);
    heard_b.wait("head and health", |heard| !heard.heads.is_empty() && !heard.health.is_empty());
    cloud.publish_fingerprint(&group("s"), print("cloud", 3));
    hears(&heard_a, 3);
    assert!(a.status().connected && a.status().trouble.is_none());

    cloud.stop();
    sees(&heard_a, "b", false);
    let (cloud, heard_cloud) = hub(&endpoint, None);
    sees(&heard_a, "b", true);
    sees(&heard_b, "a", true);
    a.publish_fingerprint(&group("s"), print("a", 4));
    hears(&heard_b, 4);
    hears(&heard_cloud, 4);
    assert_eq!(heard_b.numbers(), [1, 2, 3, 4], "each once");

    stops_promptly(&b);
    sees(&heard_a, "b", false);
    stops_promptly(&a);
    stops_promptly(&cloud);
}

/// Without waiting for zenoh's own farewell, which may take 10 s.
#[track_caller]
fn stops_promptly(control: &Control) {
    let began = Instant::now();
    control.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn stopping_without_a_hub_is_prompt() {
    let (_held, endpoint) = held(false);
    let (a, _) = edge("a", &endpoint, None);
    a.publish_fingerprint(&group(""), print("a", 1));
    stops_promptly(&a);
}

/// Waits for what no event tells.
#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A hub that passes on and says nothing itself.
fn router(endpoint: &Endpoint) -> zenoh::Session {
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", json!("router")),
        ("listen/endpoints", json!([endpoint.to_string()])),
        ("scouting/multicast/enabled", json!(false)),
        ("scouting/gossip/enabled", json!(false)),
    ] {
        config.insert_json5(key, &value.to_string()).unwrap();
    }
    zenoh::open(config).wait().unwrap()
}

#[test]
fn a_session_that_nobody_echoes_or_that_stays_alone_is_opened_anew() {
    let (_held, endpoint) = held(false);
    let silent = router(&endpoint);
    let tuning = Tuning { beat_ms: 60, deaf_ms: 1, alone_ms: 150, round_ms: 200, ..Tuning::default() };
    let settings = ControlSettings::new("acme", SiteName::new("a"), "n1", Role::Edge { hubs: vec![at(&endpoint)] });
    let a = Control::start_with(settings, Arc::new(Recorder::default()), tuning).unwrap();
    wait_for("deaf", || a.status().reopened >= 1);
    silent.close().wait().unwrap();
    let (cloud, heard_cloud) = hub(&endpoint, None);
    a.publish_fingerprint(&group(""), print("a", 1));
    hears(&heard_cloud, 1);
    cloud.stop();
    wait_for("alone", || a.status().trouble.is_some());
    let (cloud, heard_cloud) = hub(&endpoint, None);
    hears(&heard_cloud, 1);
    a.stop();
    cloud.stop();
}

#[test]
fn over_mtls_a_site_speaks_only_under_its_own_name_and_a_stranger_not_at_all() {
    let (folder, strange) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Ca::new(folder.path(), "ca"), Ca::new(strange.path(), "ca"));
    let (_held, endpoint) = held(true);
    let (cloud, heard_cloud) = hub(&endpoint, Some(ours.files("cloud", true)));
    let (a, heard_a) = edge("a", &endpoint, Some(ours.files("a", true)));
    sees(&heard_cloud, "a", true);
    sees(&heard_a, "cloud", true);
    a.publish_fingerprint(&group(""), print("a", 1));
    hears(&heard_cloud, 1);

    // A stranger's certificate has the right name and the wrong signature.
    let (b, _) = edge("b", &endpoint, Some(theirs.files("b", true)));
    b.publish_fingerprint(&group(""), print("b", 50));
    wait_for("the failure is shown", || b.status().trouble.is_some());
    assert!(!b.status().connected);
    b.stop();

    // Site b's own certificate does not let it speak as a: the hub drops it, whatever the node says of itself.
    let liar = Liar::start(&endpoint, &ours.files("b", true));

    // What was said after it has come, so what was said before it never will.
    heard_cloud.wait("b's own word", |heard| heard.prints.iter().any(|print| print.1.id.n == 61));
    heard_cloud.wait("b's own token", |heard| heard.alive.iter().any(|alive| alive.1 == "truthful"));
    let asks = bare(&endpoint, &ours.files("a", true));
    let question = asks.get(LIED_ABOUT).timeout(Duration::from_secs(5)).wait().unwrap();
    let answers = std::iter::from_fn(|| question.recv().ok()).filter(|answer| answer.result().is_ok()).count();
    assert_eq!(answers, 0, "b answers for a");
    asks.close().wait().unwrap();
    a.publish_fingerprint(&group(""), print("a", 2));
    hears(&heard_cloud, 2);
    assert_eq!(heard_cloud.numbers(), [1, 2, 61]);
    {
        let heard = heard_cloud.heard.lock().unwrap();
        assert!(heard.heads.is_empty() && heard.health.is_empty());
        assert!(heard.alive.iter().all(|alive| alive.1 != "liar"), "{:?}", heard.alive);
    }
    assert_eq!(cloud.status().foreign, 0, "the router itself refused it");
    liar.stop();
    a.stop();
    cloud.stop();
}

#[test]
fn a_certificate_counts_by_its_dns_name_alone_on_control_too() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let (_held, endpoint) = held(true);
    // Neither bears the address that is dialled, nor a common name that is a site's; the other way round counts for
    // nothing.
    let (cloud, heard) = hub(&endpoint, Some(ca.files("cloud", true)));
    let (a, _) = edge("a", &endpoint, Some(ca.files("a", true)));
    sees(&heard, "a", true);
    // Whoever shows another site's certificate at that address is not the hub that was meant, and the reason is told.
    let elsewhere = HubAddress { site: SiteName::new("b"), endpoint: endpoint.clone() };
    let (lost, _) = start("a", Role::Edge { hubs: vec![elsewhere] }, Some(ca.files("a", true)));
    let told = |control: &Control, part: &str| control.status().trouble.is_some_and(|why| why.contains(part));
    wait_for("the other name is told", || told(&lost, "the peer's certificate is for cloud, not for site b"));
    lost.stop();
    // A common name alone, which zenoh itself would believe.
    let by_common_name = ca.files("b", false);
    let as_b = std::panic::catch_unwind(|| bare(&endpoint, &by_common_name));
    assert!(as_b.is_err(), "a certificate without a DNS name was let in");
    a.stop();
    cloud.stop();
}

#[test]
fn new_certificates_are_shown_and_asked_for_without_a_new_session() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Ca::new(folder.path(), "old"), Ca::new(folder.path(), "new"));
    let (_held, endpoint) = held(true);
    let open = |name: &str, files: &Files, role| {
        let mut settings = ControlSettings::new("acme", SiteName::new(name), "n1", role);
        settings.sites = ["cloud", "a", "b"].map(SiteName::new).to_vec();
        settings.hub_sites = vec![SiteName::new("cloud")];
        let credentials = Credentials::open(files.clone(), settings.me.clone(), &settings.sites).unwrap();
        settings.tls = Some(credentials.clone());
        let recorder = Arc::new(Recorder::default());
        (Control::start(settings, recorder.clone()).unwrap(), recorder, credentials)
    };
    let replace = |files: &Files, credentials: &Credentials, site: &str| {
        let renewed = new.files(site, true);
        for (from, to) in [(renewed.ca, &files.ca), (renewed.cert, &files.cert), (renewed.key, &files.key)] {
            std::fs::copy(from, to).unwrap();
        }
        credentials.look_at_once();
    };
    let (of_cloud, of_a) = (old.files("cloud", true), old.files("a", true));
    let hub = Role::Hub { listen: vec![endpoint.clone()], peers: vec![] };
    let (cloud, heard, of_hub) = open("cloud", &of_cloud, hub.clone());
    let (a, _, of_edge) = open("a", &of_a, Role::Edge { hubs: vec![at(&endpoint)] });
    sees(&heard, "a", true);
    // The hub goes over to another authority: who comes from now on meets it, and who is there stays.
    replace(&of_cloud, &of_hub, "cloud");
    let (b, _) = edge("b", &endpoint, Some(new.files("b", true)));
    sees(&heard, "b", true);
    a.publish_fingerprint(&group(""), print("a", 1));
    hears(&heard, 1);
    // So does the edge, and comes back to a hub that knows nothing else.
    replace(&of_a, &of_edge, "a");
    cloud.stop();
    wait_for("the port is free", || TcpListener::bind(&endpoint.address).is_ok());
    let (cloud, heard, _) = open("cloud", &of_cloud, hub);
    sees(&heard, "a", true);
    a.publish_fingerprint(&group(""), print("a", 2));
    hears(&heard, 2);
    a.stop();
    b.stop();
    cloud.stop();
}

/// A bare zenoh session with a site's certificate: no code of ours looks at what it says.
fn bare(endpoint: &Endpoint, files: &Files) -> ::zenoh::Session {
    let mut zenoh = ::zenoh::Config::default();
    for (key, value) in [
        ("mode", json!("client")),
        ("scouting/multicast/enabled", json!(false)),
        ("listen/endpoints", json!([])),
        ("connect/endpoints", json!([endpoint.to_string()])),
        (
            "transport/link/tls",
            json!({
                "root_ca_certificate": files.ca, "enable_mtls": true, "verify_name_on_connect": false,
                "connect_certificate": files.cert, "connect_private_key": files.key,
            }),
        ),
    ] {
        zenoh.insert_json5(key, &value.to_string()).unwrap();
    }
    ::zenoh::open(zenoh).wait().unwrap()
}

/// Where a has its own answers.
const LIED_ABOUT: &str = "holdfast/acme/digest/a/transactions";

/// Shows b's certificate and says everything that a site may say, first under a's name and then under its own.
struct Liar {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Liar {
    fn start(endpoint: &Endpoint, files: &Files) -> Self {
        use crate::control::codec::{Batch, Digest, Message, Print, encode};
        let say = |name: &str, n: u64| {
            let (site, group, log, print) = (SiteName::new(name), group(""), log(), print(name, n));
            let prints = vec![Print { store: String::new(), key: print.key, id: print.id }];
            let (boot, service) = ([9; 16], "transactions".to_owned());
            let digest = Digest { site: site.clone(), boot, service: service.clone(), low: 1, end: 9 };
            let key = |topic: &str, last: &str| format!("holdfast/acme/{topic}/{name}/{last}");
            let of_log = log.to_string();
            let said = [
                (key("digest", "transactions"), Message::Digest(digest)),
                (key("head", &of_log), Message::Head { site: site.clone(), group: group.clone(), log, position: 7 }),
                (
                    key("health", "transactions"),
                    Message::Health { site: site.clone(), group, healthy: true, lag_ms: 5 },
                ),
                (key("fp", "transactions"), Message::Fingerprints(Batch { site, boot, service, first: 1, prints })),
            ];
            said.map(|(key, message)| (key, encode(&message)))
        };
        let (lies, [.., truth]) = (say("a", 60), say("b", 61));
        let (endpoint, files, (stop, stopped)) = (endpoint.clone(), files.clone(), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            let session = bare(&endpoint, &files);
            let answer = lies[3].1.clone();
            let answers = move |query: ::zenoh::query::Query| drop(query.reply(LIED_ABOUT, answer.clone()).wait());
            let _answering = session.declare_queryable(LIED_ABOUT).callback(answers).wait().unwrap();
            let alive =
                |site: &str, node: &str| format!("holdfast/acme/alive/{site}/{node}/{}", uuid::Uuid::new_v4().simple());
            let _lying = session.liveliness().declare_token(alive("a", "liar")).wait().unwrap();
            let _true = session.liveliness().declare_token(alive("b", "truthful")).wait().unwrap();
            lies.into_iter().for_each(|(key, lie)| session.put(key, lie).wait().unwrap());
            session.put(truth.0, truth.1).wait().unwrap();
            let _ = stopped.recv();
            session.close().wait().unwrap();
        });
        Self { stop, thread }
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

/// One way through a hub at 1,000/s; run with `--ignored --nocapture` for the numbers.
#[test]
#[ignore = "a measurement"]
fn latency_through_a_hub() {
    let (_held, endpoint) = held(false);
    let (_cloud, _) = hub(&endpoint, None);
    let (a, heard_a) = edge("a", &endpoint, None);
    let (_b, heard_b) = edge("b", &endpoint, None);
    sees(&heard_a, "b", true);
    sees(&heard_b, "a", true);
    for (every, count) in [(Duration::from_millis(1), 10_000), (Duration::from_millis(20), 200)] {
        heard_b.heard.lock().unwrap().prints.clear();
        let begin = Instant::now();
        let mut sent = Vec::new();
        for n in 0..count {
            let due = begin + every * n;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            sent.push(Instant::now());
            a.publish_fingerprint(&group(""), print("a", u64::from(n)));
        }
        heard_b.wait("all", |heard| heard.prints.len() >= count as usize);
        let heard = heard_b.heard.lock().unwrap();
        let mut took: Vec<_> = heard.prints.iter().map(|p| p.2.duration_since(sent[p.1.id.n as usize])).collect();
        took.sort_unstable();
        let at = |share: f64| took[(took.len() as f64 * share) as usize];
        println!(
            "every {every:?}: p50 {:?} p99 {:?} p99.9 {:?}, {} heard, {} questions",
            at(0.5),
            at(0.99),
            at(0.999),
            took.len(),
            _b.status().questions_asked
        );
    }
}
