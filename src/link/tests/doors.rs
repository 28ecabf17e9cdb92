//! Who may ask what for whom (`docs/who-may-ask.md`), cell by cell, with the certificate of another site; and that a
//! place which nobody uses, and a session whose certificate is over, do not stay.
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use super::kit::*;
use super::refusals::{Ca, https, secured};
use crate::identity::{Files, Identity, Plane};
use crate::link::{Limits, LinkSettings, ReadError, SharedService};
use crate::model::{Group, WriteId};
use crate::service::Message;
use crate::wire::{self, samples};

/// What is written to it, until the sender goes.
struct Stream(mpsc::Receiver<Bytes>);

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// A peer that keeps to no rule but those of HTTP/2.
struct Raw {
    requests: SendRequest<Either<Full<Bytes>, Stream>>,
    messages: mpsc::Sender<Bytes>,
    _answers: Incoming,
}

impl Raw {
    /// Shows `files`, says that it is `name`, and opens its message stream.
    async fn open(cloud: &Site, name: &str, files: &Files) -> Self {
        let shown = Identity::load(files, &site(name), &all(hub()).sites.into()).unwrap();
        let tcp = tokio::net::TcpStream::connect(cloud.links.local_addr().unwrap()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(shown.client(&site("cloud"), Plane::Link).unwrap());
        let host = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let io = connector.connect(host, tcp).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
        let (mut requests, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let settings = LinkSettings { me: site(name), ..all(edge(cloud.url())) };
        let hello = wire::encode_hello(&super::super::hello::hello_to(&settings, &site("cloud"))).unwrap();
        let hello = Request::post("http://hub/link/v1/hello").body(Either::Left(Full::new(hello))).unwrap();
        assert_eq!(requests.send_request(hello).await.unwrap().status(), 200);
        let (messages, stream) = mpsc::channel(64);
        let stream = Request::post("http://hub/link/v1/messages").body(Either::Right(Stream(stream))).unwrap();
        let answers = requests.send_request(stream).await.unwrap();
        assert_eq!(answers.status(), 200);
        Self { requests, messages, _answers: answers.into_body() }
    }

    /// The status, where the connection did not end over it.
    async fn post(&mut self, path: &str, body: Bytes) -> u16 {
        let request = Request::post(format!("http://hub{path}")).body(Either::Left(Full::new(body))).unwrap();
        self.requests.send_request(request).await.map_or(400, |answer| answer.status().as_u16())
    }

    async fn renewal(&mut self) -> (u16, String) {
        let answer = self.ask("POST", "/link/v1/renewal", &[], Bytes::new()).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(format!("http://hub{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.requests.send_request(request.body(Either::Left(Full::new(body))).unwrap()).await.unwrap()
    }

    async fn read(&mut self, method: &str, service: &str, store: &str, more: &[(&str, &str)]) -> (u16, String, String) {
        let own =
            [("holdfast-link-service", service), ("holdfast-link-store", store), ("holdfast-link-target", "/x?y")];
        let answer = self.ask(method, "/link/v1/proxy", &[&own, more].concat(), Bytes::new()).await;
        let header =
            |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        (answer.status().as_u16(), header("holdfast-link-refused"), header("x-said-in-our-name"))
    }

    async fn say(&self, group: &Group, message: &Message) {
        let envelope = wire::encode_message(group, message).unwrap();
        let length = u32::try_from(envelope.len()).unwrap().to_le_bytes();
        self.messages.send([&length[..], &envelope].concat().into()).await.unwrap();
    }
}

fn all(settings: LinkSettings) -> LinkSettings {
    let sites = ["cloud", "store-042", "store-043"].map(site).to_vec();
    let services = settings.services.into_iter().map(|service| SharedService { sites: sites.clone(), ..service });
    LinkSettings { services: services.collect(), sites, ..settings }
}
fn group_of(store: &str) -> Group {
    Group { store: store.into(), ..group() }
}

#[tokio::test]
async fn a_site_asks_sends_and_gets_only_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    // This peer has no heartbeat.
    let limits = Limits { park: Duration::from_millis(50), dead_after: SOON, ..hub().limits };
    let cloud = secured(all(LinkSettings { limits, ..hub() }), ca.files("cloud", true));
    let mut cloud = start(cloud).await;
    let mut raw = Raw::open(&cloud, "store-043", &ca.files("store-043", true)).await;
    cloud.up("store-043").await;

    // Reads: method | service | store | status | code
    for (method, service, store, status, code) in [
        ("GET", "transactions", "store-043", 203, ""),
        ("QUERY", "transactions", "store-043", 203, ""),
        ("GET", "transactions", "store-042", 403, "not-yours"),
        ("GET", "transactions", "", 403, "not-yours"),
        ("GET", "../admin", "store-042", 403, "not-yours"),
        ("DELETE", "transactions", "store-043", 405, "not-a-read"),
        ("DELETE", "transactions", "store-042", 403, "not-yours"),
    ] {
        let (got, refused, _) = raw.read(method, service, store, &[]).await;
        assert_eq!((got, refused.as_str()), (status, code), "{method} {service} {store}");
    }
    let forged = [
        ("holdfast-replay", "true"),
        ("holdfast_replay", "true"),
        ("holdfast.replay", "true"),
        ("holdfast-origin", "cloud"),
        ("x-envoy-internal", "true"),
        ("holdfast-seen", "kept"),
    ];
    assert_eq!(
        raw.read("GET", "transactions", "store-043", &forged).await,
        (203, String::new(), "holdfast-seen".into())
    );
    for name in ["x-http-method-override", "x_http_method_override", "x.method_override"] {
        let (got, refused, _) = raw.read("GET", "transactions", "store-043", &[(name, "DELETE")]).await;
        assert_eq!((got, refused.as_str()), (405, "not-a-read"), "{name}");
    }
    let whole = [
        ("holdfast-link-service", "transactions"),
        ("holdfast-link-store", "store-043"),
        ("holdfast-link-target", "*"),
    ];
    for (method, status) in [("OPTIONS", 203), ("GET", 400)] {
        assert_eq!(raw.ask(method, "/link/v1/proxy", &whole, Bytes::new()).await.status(), status, "{method} *");
    }
    for target in ["http://elsewhere/", "x", ""] {
        let own = [("holdfast-link-service", "transactions"), ("holdfast-link-store", "store-043")];
        let own = [&own[..], &[("holdfast-link-target", target)]].concat();
        assert_eq!(raw.ask("GET", "/link/v1/proxy", &own, Bytes::new()).await.status(), 400, "{target:?}");
    }

    // What is fetched is one's own, whatever is named.
    for path in ["/link/v1/large", "/link/v1/reads"] {
        assert_eq!(raw.ask("GET", path, &[], Bytes::new()).await.status(), 204, "{path}");
    }
    let series = format!("/link/v1/pages?service=transactions&store=store-042&series={}&from=0", samples::log());
    assert_eq!(raw.ask("GET", &series, &[], Bytes::new()).await.status(), 204);
    // An answer to a read that was handed to another session.
    let stray = [("holdfast-link-read", "0"), ("holdfast-link-status", "200")];
    assert_eq!(raw.ask("POST", "/link/v1/reads", &stray, Bytes::new()).await.status(), 404);

    // What is sent for another store reaches nobody, by whatever way; for its own it does.
    let refused = cloud.state("store-043").refused + 1;
    for (refused, (name, make)) in (refused..).zip(samples::SAMPLES) {
        raw.say(&group_of("store-042"), &make()).await;
        until(|| cloud.state("store-043").refused == refused, || format!("{name} was taken")).await;
    }
    let page = wire::encode_page(&group_of("store-042"), &samples::page(1, 1)).unwrap();
    assert_eq!(raw.ask("POST", "/link/v1/pages", &[], page).await.status(), 503);
    let wish = wire::encode_message(&group_of("store-042"), &samples::wish(9)).unwrap();
    assert_eq!(raw.ask("POST", "/link/v1/large", &[], wish).await.status(), 503);
    for (method, path) in
        [("PUT", "/link/v1/pages"), ("DELETE", "/link/v1/large"), ("GET", "/"), ("POST", "/link/v2/hello")]
    {
        assert_eq!(raw.ask(method, path, &[], Bytes::new()).await.status(), 404, "{method} {path}");
    }
    // A site that has nothing to sign with signs nothing.
    let (status, problem) = raw.renewal().await;
    assert!(status == 404 && problem.contains("no-renewals"), "{status} {problem}");
    let own = Message::Revoke { id: WriteId { log: samples::log(), n: 3 }, attempt: 1 };
    raw.say(&group_of("store-043"), &own).await;
    assert_eq!(cloud.told().await, Told::Message(site("store-043"), group_of("store-043"), own));
}

#[tokio::test]
async fn who_says_what_cannot_be_is_disconnected_and_named_and_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let limits = Limits { dead_after: SOON, ..hub().limits };
    let mut cloud = start(secured(all(LinkSettings { limits, ..hub() }), ca.files("cloud", true))).await;
    let mut store = start(secured(all(edge(https(&cloud))), ca.files("store-042", true))).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    let id = |n| WriteId { log: samples::log(), n };
    let far = Message::Revoke { id: id(1 << 44), attempt: 1 };
    let page = {
        let mut page = samples::page(0, 0);
        page.from = u64::MAX - 1;
        page
    };
    let files = ca.files("store-043", true);
    for way in ["messages", "pages", "large"] {
        let mut raw = Raw::open(&cloud, "store-043", &files).await;
        cloud.up("store-043").await;
        let status = match way {
            "messages" => {
                raw.say(&group_of("store-043"), &far).await;
                400
            }
            "pages" => {
                let page = wire::encode_page(&group_of("store-043"), &page).unwrap();
                raw.post("/link/v1/pages", page).await
            }
            _ => {
                let far = wire::encode_message(&group_of("store-043"), &far).unwrap();
                raw.post("/link/v1/large", far).await
            }
        };
        assert_eq!(status, 400, "{way}");
        cloud.down("store-043").await;
        cloud.fails_with("store-043", "what cannot be").await;
        assert!(cloud.state("store-043").refused >= 1);
    }
    // As a group finds out by what it knows.
    let _raw = Raw::open(&cloud, "store-043", &files).await;
    cloud.up("store-043").await;
    cloud.links.refuse(&site("store-043"), "it speaks for another");
    cloud.down("store-043").await;
    cloud.fails_with("store-043", "it speaks for another").await;
    // The other store has noticed nothing.
    store.send("cloud", Message::Revoke { id: id(7), attempt: 1 });
    assert_eq!(cloud.message().await, Message::Revoke { id: id(7), attempt: 1 });
    assert_eq!(cloud.state("store-042").connections, 1);
}

#[tokio::test]
async fn places_of_readers_that_do_not_read_come_back_and_a_full_set_is_no_outage() {
    let limits = Limits { reads: 2, read_pause: Duration::from_secs(2), ..hub().limits };
    let mut cloud = start(LinkSettings { limits, ..hub() }).await;
    let mut store = start(LinkSettings { limits, ..edge(cloud.url()) }).await;
    cloud.up("store-042").await;
    store.up("cloud").await;
    for (asking, asked) in [(&store, "cloud"), (&cloud, "store-042")] {
        let read = || {
            let request =
                Request::builder().method(Method::GET).uri("/x").body(Full::new(Bytes::from(vec![b'x'; 300_000])));
            let (links, to) = (asking.links.clone(), site(asked));
            async move { links.read(&to, &group(), request.unwrap()).await }
        };
        let unread = [read().await.unwrap(), read().await.unwrap()];
        let full = read().await.map(drop).unwrap_err();
        assert!(matches!(full, ReadError::Busy(_)), "{full}");
        // Their clients hold the answers, and take nothing of them.
        let free = async {
            loop {
                match read().await {
                    Ok(answer) => break answer,
                    Err(ReadError::Busy(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let answer = tokio::time::timeout(SOON, free).await.expect("the places came back");
        assert!(answer.into_body().collect().await.unwrap().to_bytes().len() > 600_000);
        // Of the two at least the one whose place it was; the other's pause may not be over yet.
        let mut told = 0;
        for unread in unread {
            told += usize::from(unread.into_body().collect().await.is_err());
        }
        assert!(told >= 1, "who comes back is told that the rest is not there");
    }
}

#[tokio::test]
async fn a_renewal_is_for_the_name_and_the_key_that_were_shown_and_few_are_signed() {
    let folder = tempfile::tempdir().unwrap();
    let realm = crate::identity::Authority::init(folder.path(), "acme", 100).unwrap();
    let authority = crate::identity::Authority::open(&realm.cert, &realm.key).unwrap();
    let files = |name: &str| {
        let issued = authority.issue(&site(name), &folder.path().join(name), 50).unwrap();
        Files { ca: realm.cert.clone(), cert: issued.cert, key: issued.key }
    };
    let delegated = authority.delegate(&site("cloud"), folder.path(), 90).unwrap();
    let renewals = crate::identity::Renewals::open(&delegated.cert, &delegated.key, 60).unwrap();
    let limits = Limits { dead_after: SOON, ..hub().limits };
    let signs = LinkSettings { renewals: Some(std::sync::Arc::new(renewals)), limits, ..hub() };
    let mut cloud = start(secured(all(signs), files("cloud"))).await;
    let own = files("store-043");
    let mut raw = Raw::open(&cloud, "store-043", &own).await;
    cloud.up("store-043").await;
    // There is nothing in which another could be named.
    let (status, pem) = raw.renewal().await;
    assert_eq!(status, 200, "{pem}");
    let renewed = crate::identity::Credentials::open(own.clone(), site("store-043"), &all(hub()).sites).unwrap();
    let before = renewed.standing().not_after_s;
    renewed.replace(&pem).unwrap();
    assert!(renewed.standing().not_after_s > before + 8 * 86_400);
    while raw.renewal().await.0 == 200 {}
    let (status, problem) = raw.renewal().await;
    assert!(status == 429 && problem.contains("renewed-already"), "{status} {problem}");
    // What was signed links as well as what the realm's authority signed.
    drop(raw);
    cloud.down("store-043").await;
    let _again = Raw::open(&cloud, "store-043", &own).await;
    cloud.up("store-043").await;
}

#[tokio::test]
async fn a_session_ends_with_the_certificate_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let valid = Duration::from_secs(8);
    {
        let (of_cloud, of_store) = (ca.files("cloud", true), ca.files_until("store-042", true, valid));
        let mut cloud = start(secured(hub(), of_cloud)).await;
        let mut store = start(secured(edge(https(&cloud)), of_store)).await;
        cloud.up("store-042").await;
        store.up("cloud").await;
        cloud.down("store-042").await;
        store.down("cloud").await;
        // Whichever side noticed first; and there is no way back with it.
        store.fails_with("cloud", "").await;
        let ended = |state: crate::link::LinkState| state.last_error.unwrap_or_default();
        let (here, there) = (ended(store.state("cloud")), ended(cloud.state("store-042")));
        assert!([&here, &there].iter().any(|why| why.contains("valid") || why.contains("xpired")), "{here} / {there}");
        until(|| !store.state("cloud").connected, || format!("{:?}", store.state("cloud"))).await;
        store.fails_with("cloud", "alert").await;
    }
}

#[tokio::test]
async fn a_panic_in_one_request_ends_its_stream_and_one_in_what_runs_for_a_session_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let limits = Limits { dead_after: SOON, ..hub().limits };
    let mut cloud = start(secured(all(LinkSettings { limits, ..hub() }), ca.files("cloud", true))).await;
    let mut raw = Raw::open(&cloud, "store-043", &ca.files("store-043", true)).await;
    cloud.up("store-043").await;
    let request = Request::get("http://hub/planted-panic/link").body(Either::Left(Full::new(Bytes::new()))).unwrap();
    assert!(raw.requests.send_request(request).await.is_err());
    assert_eq!(crate::contain::planted::was_contained("link"), Some(true));
    assert_eq!(raw.read("GET", "transactions", "store-043", &[]).await.0, 203);
    assert_eq!(cloud.state("store-043").connections, 1);

    let mut store = start(secured(all(edge(https(&cloud))), ca.files("store-042", true))).await;
    store.up("cloud").await;
    cloud.up("store-042").await;
    store.links.panic_in_session(&site("cloud"));
    store.down("cloud").await;
    store.fails_with("cloud", "a bug was met").await;
    assert_eq!(crate::contain::planted::was_contained("session"), Some(true));
    store.up("cloud").await;
    assert_eq!(raw.read("GET", "transactions", "store-043", &[]).await.0, 203);
}
