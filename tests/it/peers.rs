//! Whom a site speaks with, and what about.
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::harness::certificates::Authority;
use crate::harness::metrics::Page;
use crate::harness::{Call, Relay, SOON, Service, Site, Two, Upstream, holds_for, wait_for};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key)
}

/// A cloud and a store that is not what the cloud expects.
fn strangers(cloud: impl FnOnce(Site) -> Site, store: impl FnOnce(Site) -> Site) -> (Two, Upstream) {
    let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
    let hub = Site::new("cloud").hub();
    let (links, control) = (Relay::to(hub.link), Relay::to(hub.control));
    let edge = store(Site::new("store")).dials("cloud", links.address, control.address);
    let tx =
        |upstream: &Upstream, name: &str| Service::new("tx", upstream).replicas(&[name, "cloud"]).order(&["local"]);
    let name = edge.name.clone();
    let store = edge.service(tx(&at_store, &name)).start();
    let cloud = cloud(hub).service(tx(&at_cloud, "store")).start();
    (Two { store, cloud, at_store, at_cloud, links, control }, Upstream::start())
}

fn said_by(two: &Two) -> String {
    two.store.log() + &two.cloud.log()
}

#[test]
fn a_peer_of_another_realm_is_refused_and_both_serve_on() {
    let (two, _) = strangers(|cloud| cloud, |store| store.realm("other"));
    wait_for("the realm is named", SOON, || {
        said_by(&two).contains("other-realm") || said_by(&two).contains("is of realm")
    });
    two.store.tell(&sale("a")).expect(201);
    holds_for("nothing crosses", Duration::from_millis(500), || two.at_cloud.applied().is_empty());
    assert_eq!(two.store.is_linked("cloud"), Some(false));
    wait_for("an operator sees why", SOON, || {
        two.store.api("/peers")[0]["last_error"].as_str().is_some_and(|error| error.contains("realm"))
    });
}

#[test]
fn a_site_name_that_is_not_listed_is_refused() {
    let rename = |_: Site| Site::new("ghost").sites(&["ghost", "cloud"]);
    let (two, _) = strangers(|cloud| cloud, rename);
    wait_for("the name is named", SOON, || {
        two.store.api("/peers")[0]["last_error"].as_str().is_some_and(|e| e.contains("not listed"))
    });
    two.store.tell(&sale("a")).expect(201);
    holds_for("nothing crosses", Duration::from_millis(500), || two.at_cloud.applied().is_empty());
    assert!(two.cloud.log().contains("ghost"));
}

#[test]
fn sites_whose_definitions_differ_exchange_nothing_for_that_service_and_name_the_keys() {
    let two = Two::spawn(
        |site| site,
        |name, tx| match name {
            "store" => tx.set("lane", "\"service\"").set("replicate", "\"all\"").order(&["local"]),
            _ => tx.order(&["local"]),
        },
    );
    for site in [&two.store, &two.cloud] {
        wait_for("both keys are named", SOON, || site.log().contains("lane") && site.log().contains("replicate"));
    }
    two.store.tell(&sale("a")).expect(201);
    holds_for("nothing crosses", Duration::from_millis(700), || two.at_cloud.applied().is_empty());
    wait_for("an operator sees which keys differ", SOON, || {
        let peers = two.store.api("/peers");
        let reasons = |path: &str| Call::get(path).told(two.store.site.admin).json().to_string();
        peers[0]["differs"].as_array().is_some_and(|differs| !differs.is_empty())
            && peers.to_string().contains("lane")
            && reasons("/health").contains("cloud: defines services differently")
            && reasons("/api/v1/status").contains("cloud: defines services differently")
    });
    // Repaired, everything arrives.
    let Two { mut store, cloud, at_store, at_cloud, links, control } = two;
    store.kill();
    let text = store.site.toml().replace("lane = \"service\"", "lane = \"header:x-session-id\"");
    store.restart_as(&text.replace("replicate = \"all\"\n", ""));
    let two = Two { store, cloud, at_store, at_cloud, links, control };
    two.wait_equal(1);
}

/// An `[identity]` for both, over TLS: `name` is whom the store's certificate is for.
fn with_certificates(store_certificate: &str, foreign_authority: bool) -> Two {
    let authority = Authority::new();
    let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
    let cloud = Site::new("cloud").hub();
    let identity = authority.issue("cloud", cloud.folder());
    let cloud = cloud.section("identity", &identity);
    let (links, control) = (Relay::to(cloud.link), Relay::to(cloud.control));
    let peer = format!("site = \"cloud\"\nlink = \"https://{}\"\ncontrol = \"tls/{}\"", links.address, control.address);
    let store = Site::new("store").peer(peer);
    let other = Authority::new();
    let identity = if foreign_authority { &other } else { &authority }.issue(store_certificate, store.folder());
    if foreign_authority {
        // It trusts the cloud; the cloud has no reason to trust it.
        std::fs::copy(cloud.folder().join("ca.pem"), store.folder().join("ca.pem")).unwrap();
    }
    let store = store.section("identity", &identity);
    let tx = |upstream: &Upstream| Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local"]);
    let cloud = cloud.service(tx(&at_cloud)).start();
    let store = store.service(tx(&at_store)).spawn();
    Two { store, cloud, at_store, at_cloud, links, control }
}

#[test]
fn with_certificates_everything_works_over_tls() {
    let mut two = with_certificates("store", false);
    two.store.wait_ready();
    two.store.wait_peer_healthy("cloud");
    two.store.wait_control("cloud");
    two.store.tell(&sale("a")).expect(201);
    two.cloud.tell(&sale("b")).expect(201);
    two.wait_equal(2);
    // When it ends is told long before.
    let der = CertificateDer::from_pem_file(two.store.site.folder().join("site.pem")).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let end = certificate.validity().not_after.timestamp() as f64;
    let told = Page::of(&two.store).sum_where("holdfast_certificate_end_timestamp_seconds", "use=\"identity\"");
    assert_eq!(told, end);
}

#[test]
fn a_certificate_of_another_site_does_not_start() {
    let mut two = with_certificates("other", false);
    assert_eq!(two.store.process.wait_end().code(), Some(78));
    let log = two.store.log();
    assert!(log.contains("other") && log.contains("store"), "{log}");
}

#[test]
fn a_certificate_of_a_foreign_authority_is_refused_and_both_serve_on() {
    let mut two = with_certificates("store", true);
    two.store.wait_ready();
    wait_for("the cloud says why", SOON, || two.cloud.log().to_lowercase().contains("certificate"));
    two.store.tell(&sale("a")).expect(201);
    two.cloud.tell(&sale("b")).expect(201);
    holds_for("nothing crosses", Duration::from_millis(500), || {
        two.at_cloud.applied().len() == 1 && two.at_store.applied().len() == 1
    });
    assert_eq!(two.cloud.is_linked("store"), Some(false));
}

#[test]
fn a_peer_of_a_newer_envelope_version_is_told_so_and_the_site_serves_on() {
    let (two, _) = strangers(|cloud| cloud, |store| store);
    two.store.wait_peer_healthy("cloud");
    let (status, problem) = hello(two.cloud.site.link, vec![9; 64]);
    assert_eq!((status, problem["code"].as_str()), (409, Some("newer-version")), "{problem}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains('9'), "which version: {problem}");
    wait_for("an operator can read it", SOON, || two.cloud.log().contains("version 9"));
    two.store.tell(&sale("a")).expect(201);
    two.cloud.tell(&sale("b")).expect(201);
    two.wait_equal(2);
}

/// Says hello to a hub's links with these bytes.
fn hello(to: std::net::SocketAddr, bytes: Vec<u8>) -> (u16, serde_json::Value) {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let io = TokioIo::new(tokio::net::TcpStream::connect(to).await.unwrap());
        let (mut requests, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post(format!("http://{to}/link/v1/hello"));
        let request = request.body(Full::<bytes::Bytes>::new(bytes.into())).unwrap();
        let response = requests.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    })
}
