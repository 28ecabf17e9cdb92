//! Who may not speak here, and what each side is told.
use std::collections::BTreeMap;
use std::time::Duration;

use super::kit::*;
use crate::identity::{Credentials, Files, Identity, Plane};
use crate::link::{Dial, LinkSettings, Links, Sent, SharedService};
use crate::model::SiteName;
use crate::wire::Difference;
use crate::wire::samples::SAMPLES;

pub(super) use crate::identity::tests::Ca;

pub(super) fn secured(settings: LinkSettings, files: Files) -> LinkSettings {
    let credentials = Credentials::open(files, settings.me.clone(), &settings.sites).unwrap();
    LinkSettings { tls: Some(credentials), ..settings }
}
pub(super) fn https(site: &Site) -> String {
    site.url().replace("http://", "https://")
}

#[tokio::test]
async fn mutual_tls_links_two_sites_that_show_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let mut cloud = start(secured(hub(), ca.files("cloud", true))).await;
    let mut store = start(secured(edge(https(&cloud)), ca.files("store-042", true))).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    assert_eq!(store.send("cloud", SAMPLES[3].1()), Sent::Queued);
    assert_eq!(cloud.message().await, SAMPLES[3].1());
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Ca::new(folder.path(), "ours"), Ca::new(folder.path(), "theirs"));
    let mut cloud = start(secured(hub(), ours.files("cloud", true))).await;
    // The edge does not trust the hub.
    let store = start(secured(edge(https(&cloud)), theirs.files("store-042", true))).await;
    store.fails_with("cloud", "UnknownIssuer").await;
    // The hub does not trust the edge, which trusts the hub.
    let mixed = Files { ca: ours.folder.join("ca.pem"), ..theirs.files("store-042", true) };
    let store = start(secured(edge(https(&cloud)), mixed)).await;
    // TLS says UnknownCA or DecryptError; which one depends on whether the two authorities share a name.
    store.fails_with("cloud", "alert").await;
    cloud.silent_for(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn a_certificate_of_another_site_is_refused_by_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let mut sites = settings("cloud").sites;
    sites.push(site("store-043"));
    let all = |settings: LinkSettings| LinkSettings { sites: sites.clone(), ..settings };
    let mut cloud = start(secured(all(hub()), ca.files("cloud", true))).await;
    // Claims to be what its certificate does not say: its own start would refuse it, so it is forged here.
    let (files, listed) = (ca.files("store-043", true), sites.clone());
    let error = Credentials::open(files.clone(), site("store-042"), &listed).unwrap_err().to_string();
    assert!(error.contains("store-043.pem") && error.contains("is for store-043, not for site store-042"), "{error}");
    let shown = Identity::load(&files, &site("store-043"), &listed.into()).unwrap();
    let tcp = tokio::net::TcpStream::connect(cloud.links.local_addr().unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(shown.client(&site("cloud"), Plane::Link).unwrap());
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let io = connector.connect(name, tcp).await.unwrap();
    let hello = super::super::hello::hello_to(&edge(https(&cloud)), &site("cloud"));
    let hello = crate::wire::encode_hello(&hello).unwrap().to_vec();
    let (status, problem) = raw(io, "/link/v1/hello", hello).await;
    let expected = "the certificate is for site store-043; site store-042 was claimed";
    assert!(status == 403 && problem.contains(expected), "{status} {problem}");
    // The dialled host is another site.
    let mut wrong = secured(all(settings("store-042")), ca.files("store-042", true));
    wrong.dial = vec![Dial { site: site("store-043"), url: https(&cloud) }];
    let store = start(wrong).await;
    store.fails_with("store-043", "the peer's certificate is for cloud, not for site store-043").await;
    cloud.silent_for(Duration::from_millis(50)).await;
}

struct Nobody;
impl crate::link::Inbound for Nobody {
    fn message(
        &self,
        _: &SiteName,
        _: crate::model::Group,
        _: crate::service::Message,
    ) -> Option<crate::link::Waiting> {
        None
    }
    fn up(&self, _: &SiteName, _: &[Difference]) -> Option<crate::link::Waiting> {
        None
    }
    fn down(&self, _: &SiteName) -> Option<crate::link::Waiting> {
        None
    }
    fn may_read(
        &self,
        _: &SiteName,
        _: &crate::model::Group,
        _: &http::Method,
        _: &http::HeaderMap,
    ) -> Result<(), crate::link::NotRead> {
        Err(crate::link::NotRead::Group)
    }
    fn left(&self, _: &SiteName, _: &crate::model::Group, _: crate::model::WriteId, _: u32, _: bool) {}
    fn read(
        &self,
        _: &SiteName,
        _: crate::model::Group,
        _: http::Request<hyper::body::Incoming>,
    ) -> crate::link::Waiting<http::Response<crate::link::LinkBody>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn plain_and_tls_do_not_mix_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let mut cloud = start(secured(hub(), ca.files("cloud", true))).await;
    let plain = start(edge(cloud.url())).await;
    plain.fails_with("cloud", "(does the peer expect https?)").await;
    cloud.silent_for(Duration::from_millis(100)).await;
    let plain_hub = start(hub()).await;
    let store = start(secured(edge(https(&plain_hub)), ca.files("store-042", true))).await;
    store.fails_with("cloud", "TLS to").await;
}

#[test]
fn unusable_certificate_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let good = ca.files("cloud", true);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty.pem"), "").unwrap();
    std::fs::write(path("broken.pem"), "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").unwrap();
    let other_key = ca.files("store-042", true).key;
    // files | parts of the error
    let cases = [
        (Files { ca: path("missing.pem"), ..good.clone() }, ["CA", "missing.pem", "No such file"]),
        (Files { cert: path("empty.pem"), ..good.clone() }, ["certificate", "empty.pem", "holds no certificate"]),
        (Files { cert: path("broken.pem"), ..good.clone() }, ["certificate", "broken.pem", "cannot be read"]),
        (Files { key: good.cert.clone(), ..good.clone() }, ["private key", "cloud.pem", "holds no private key"]),
        (Files { key: other_key, ..good.clone() }, ["private key", "store-042.key", "does not belong to"]),
    ];
    for (files, parts) in cases {
        let error = Credentials::open(files, site("cloud"), &hub().sites).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}, expected {parts:?}");
    }
}

#[tokio::test]
async fn impossible_settings_are_refused_at_the_start() {
    let error = |settings| async {
        Links::start(settings, std::sync::Arc::new(Nobody)).await.err().expect("an error").to_string()
    };
    let dial = |name: &str, url: &str| LinkSettings {
        dial: vec![Dial { site: site(name), url: url.into() }],
        ..settings("store-042")
    };
    assert!(error(dial("cloud", "cloud:1")).await.contains("expected https://host:port"));
    assert!(error(dial("cloud", "https://a:1")).await.contains("no [identity] to show"));
    assert!(error(dial("moon", "http://a:1")).await.contains("not listed in [realm] sites"));
    let taken = start(hub()).await;
    let again = LinkSettings { listen: taken.links.local_addr(), ..hub() };
    assert!(error(again).await.contains("cannot be opened"));
}

#[tokio::test]
async fn another_realm_and_an_unlisted_site_are_refused() {
    let mut cloud = start(hub()).await;
    let store = start(LinkSettings { realm: "other".into(), ..edge(cloud.url()) }).await;
    store.fails_with("cloud", "other-realm (403 Forbidden): site store-042 is of realm \"other\"").await;
    let mut unlisted = LinkSettings { me: site("store-099"), ..edge(cloud.url()) };
    unlisted.sites.push(site("store-099"));
    let store = start(unlisted).await;
    store.fails_with("cloud", "site-not-listed (400 Bad Request): site store-099 is not listed").await;
    assert_eq!(store.send("cloud", SAMPLES[3].1()), Sent::NotConnected);
    cloud.silent_for(Duration::from_millis(100)).await;
}

/// Speaks raw HTTP/2 to a hub, as a site with another idea of the protocol would.
async fn raw<T>(io: T, path: &str, body: Vec<u8>) -> (u16, String)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (mut requests, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://hub{path}")).body(Full::new(body.into())).unwrap();
    let request: http::Request<Full<bytes::Bytes>> = request;
    let response = requests.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    if status != 200 {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_newer_version_and_nonsense_are_refused_with_the_reason() {
    let mut cloud = start(hub()).await;
    let hello = super::super::hello::hello_to(&edge(cloud.url()), &site("cloud"));
    let newer_protocol = crate::wire::Hello { protocol: 9, ..hello.clone() };
    let newer_protocol = crate::wire::encode_hello(&newer_protocol).unwrap().to_vec();
    let mut newer_envelope = crate::wire::encode_hello(&hello).unwrap().to_vec();
    newer_envelope[0] = 9;
    // path | body | status | part of the problem
    let cases = [
        ("/link/v1/hello", newer_protocol, 409, "speaks link protocol 9"),
        ("/link/v1/hello", newer_envelope, 409, "envelope of version 9"),
        ("/link/v1/hello", b"{}".to_vec(), 409, "newer-version"),
        ("/link/v1/hello", vec![], 400, "cut off"),
        ("/link/v1/messages", vec![], 409, "no-hello"),
        ("/link/v1/pages", vec![], 403, "no-link"),
        ("/link/v1/proxy", vec![], 403, "no-link"),
        ("/link/v2/hello", vec![], 404, "no-such-path"),
    ];
    for (path, body, status, part) in cases {
        let (got, problem) =
            raw(tokio::net::TcpStream::connect(cloud.links.local_addr().unwrap()).await.unwrap(), path, body).await;
        assert!(got == status && problem.contains(part), "{path}: {got} {problem}");
    }
    cloud.silent_for(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_service_whose_definitions_differ_rests_and_the_others_go_on() {
    let service = |name: &str, lane: &str| SharedService {
        name: name.into(),
        sites: vec![site("cloud"), site("store-042")],
        keys: BTreeMap::from([("lane".into(), lane.into()), ("methods".into(), "POST".into())]),
    };
    let mut cloud =
        start(LinkSettings { services: vec![service("transactions", "path"), service("stock", "path")], ..hub() })
            .await;
    let services = vec![service("stock", "service"), service("transactions", "path")];
    let mut store = start(LinkSettings { services, ..edge(cloud.url()) }).await;
    let differs = vec![Difference { service: "stock".into(), keys: vec!["lane".into()] }];
    assert_eq!(cloud.told().await, Told::Up(site("store-042"), differs.clone()));
    assert_eq!(store.told().await, Told::Up(site("cloud"), differs.clone()));
    assert_eq!((cloud.state("store-042").differs, store.state("cloud").differs), (differs.clone(), differs));
    let stock = crate::model::Group { service: "stock".into(), store: String::new() };
    let message = SAMPLES[3].1();
    assert_eq!(store.links.send(&site("cloud"), &stock, message.clone()), Sent::NotExchanged);
    assert_eq!(cloud.links.send(&site("store-042"), &stock, message.clone()), Sent::NotExchanged);
    assert_eq!(store.send("cloud", message.clone()), Sent::Queued);
    assert_eq!(cloud.message().await, message);
}
