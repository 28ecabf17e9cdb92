//! The accepting side: listen, check who speaks, answer the requests of the link.
use std::convert::Infallible;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::body::{LinkBody, empty, full};
use super::dial::chain;
use super::hub::Hub;
use super::meter::{Meter, Metered};
use super::refusal::Refusal;
use super::session::{self, Session};
use super::{hello, join, large, messages, pages, parked, proxy, renewal};
use crate::contain::{Beside, Panicked, contain, contained_in};
use crate::descriptors::{self, Use};
use crate::identity::{JOIN_PROTOCOL, Plane, Validity};
use crate::model::SiteName;
use crate::places::{Busy, InWork, Places};
use crate::wire;

pub(super) const HELLO: &str = "/link/v1/hello";
pub(super) const MESSAGES: &str = "/link/v1/messages";
/// What HTTP/2 itself may buffer for one stream: small, so that what is urgent is not behind it.
pub(super) const SEND_BUFFER_BYTES: usize = 64 << 10;
/// The one refusal that is no mistake: the other side's own connection is about to carry the link.
pub(super) const ALREADY_DIALLED: &str = "already-dialled";
/// The other refusal that may pass by itself: when the process that is linked ends.
pub(super) const TWO_STORES: &str = "two-stores";
/// Reads carry their client's headers.
pub(super) const HEADERS_BYTES_MAX: u32 = 64 << 10;
const HELLO_BYTES_MAX: usize = 1 << 20;
/// Posted pages of one peer that are unpacked at the same time.
const PAGES_AT_ONCE: usize = 4;

/// Connections without a link yet: so much of all descriptors. Where many sites dial at once there are many of them.
const STRANGERS_SHARE: u64 = 16;
const STRANGERS_LEAST: usize = 32;

/// How far a connection has come.
enum Phase {
    New,
    Greeted(Arc<Session>),
    Open(Arc<Session>, #[expect(dead_code, reason = "counts until it is dropped")] Busy),
}

struct Connection {
    hub: Arc<Hub>,
    meter: Arc<Meter>,
    /// What the client has shown; `None` on plain TCP.
    shown: Option<Shown>,
    renewals: AtomicU32,
    phase: Mutex<Phase>,
    /// A connection without a link makes room for others.
    in_work: InWork,
    opened: tokio::sync::Notify,
    pages: Semaphore,
    large: Semaphore,
    reads: Arc<Semaphore>,
}

struct Shown {
    certificate: CertificateDer<'static>,
    /// Whom it speaks for, or why for nobody.
    speaker: Result<SiteName, String>,
    validity: Validity,
}

/// Accepts connections until the site stops.
pub(super) async fn listen(hub: Arc<Hub>, listener: TcpListener) {
    let most = hub.settings.limits.connections;
    let strangers = descriptors::share(STRANGERS_SHARE, most.min(STRANGERS_LEAST)..=most);
    let places = Arc::new(Places::with_idle(most, strangers));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = hub.stopped() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                descriptors::accept_failed("link", &error).await;
                continue;
            }
        };
        if !descriptors::kept(Use::Link, &tcp) {
            continue;
        }
        let Some(place) = places.take() else {
            tracing::warn!(
                %remote, limit = hub.settings.limits.connections,
                "too many link connections, one was closed"
            );
            continue;
        };
        let hub = hub.clone();
        connections.spawn(async move {
            let accepted = contained_in(accept(hub, tcp, place.in_work()));
            let ended = tokio::select! {
                ended = accepted => ended.unwrap_or_else(|bug| Err(bug.to_string())),
                // Whoever it is had opened no link yet, and there are many of them.
                () = place.is_needed() => return tracing::debug!(%remote, "a connection without a link made room"),
            };
            if let Err(error) = ended {
                tracing::warn!(%remote, %error, "link connection failed");
            }
        });
    }
    // Sessions are told to close by whoever stops the hub; their tasks end with the connections.
    let _ = timeout(Duration::from_millis(500), async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(hub: Arc<Hub>, tcp: TcpStream, in_work: InWork) -> Result<(), String> {
    let _ = tcp.set_nodelay(true);
    let remote = tcp.peer_addr().ok();
    let meter = Meter::new();
    let metered = Metered { inner: tcp, meter: meter.clone() };
    let Some(tls) = hub.tls() else { return serve(hub, meter, metered, in_work, None).await };
    let accepting = async {
        let begun = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), metered).await?;
        let offers =
            |protocol| begun.client_hello().alpn().is_some_and(|mut offered| offered.any(|one| one == protocol));
        let joins = hub.settings.joins.as_ref().filter(|_| offers(JOIN_PROTOCOL));
        let server = match joins {
            Some(_) => tls.door().map_err(std::io::Error::other)?,
            None => tls.server(Plane::Link),
        };
        Ok::<_, std::io::Error>((begun.into_stream(server).await?, joins))
    };
    let secured = timeout(hub.settings.limits.connect, accepting).await.map_err(|_| "TLS handshake took too long")?;
    let (secured, joins) = secured.map_err(|error| format!("TLS: {}", chain(&error)))?;
    if let Some(joins) = joins {
        return join::serve(&hub, joins, secured, remote).await;
    }
    let certificates = secured.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|chain| chain.first()).ok_or("TLS: no client certificate")?;
    let speaker = tls.speaker(certificate);
    let validity = tls.validity_with(certificate).map_err(|why| format!("client certificate: {why}"))?;
    let shown = Shown { certificate: certificate.clone().into_owned(), speaker, validity };
    serve(hub, meter, secured, in_work, Some(shown)).await
}

async fn serve<T>(hub: Arc<Hub>, meter: Arc<Meter>, io: T, in_work: InWork, shown: Option<Shown>) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = hub.settings.limits;
    let connection = Arc::new(Connection {
        hub,
        meter,
        shown,
        renewals: AtomicU32::new(renewal::OF_ONE_CONNECTION),
        phase: Mutex::new(Phase::New),
        in_work,
        opened: tokio::sync::Notify::new(),
        pages: Semaphore::new(PAGES_AT_ONCE),
        large: Semaphore::new(limits.large_at_once),
        reads: Arc::new(Semaphore::new(limits.reads)),
    });
    let handler = connection.clone();
    let service = service_fn(move |request| {
        let connection = handler.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    // Reads of many clients come over one link: a panic in one request ends its stream, one in the session the link.
    let serving = http2::Builder::new(Beside::default())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes())
        .max_concurrent_streams(limits.streams())
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let watching = async {
        // Two waits of the dialling side: its hello, and its message stream.
        if timeout(limits.connect * 2, connection.opened.notified()).await.is_err() {
            return Err("no link was opened over it".to_owned());
        }
        if let Some(session) = connection.open() {
            session.closed().await;
        }
        Ok(())
    };
    let ended = tokio::select! {
        served = serving => served.map_err(|error| chain(&error)),
        watched = watching => watched,
    };
    if let Some(session) = connection.open() {
        session.close(ended.as_ref().err().map_or("the peer closed the connection", |error| error));
    }
    ended
}

/// The answer to a fetch that was parked in vain.
fn nothing() -> Response<LinkBody> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

impl Connection {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Option<Arc<Session>> {
        match &*self.phase() {
            Phase::Open(session, _) => Some(session.clone()),
            Phase::New | Phase::Greeted(_) => None,
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<LinkBody> {
        #[cfg(test)]
        crate::contain::planted::may_panic(request.uri().path());
        let answered = match (request.method(), request.uri().path()) {
            (&Method::POST, HELLO) => self.greet(request.into_body()).await,
            (&Method::POST, MESSAGES) => self.messages(request.into_body()),
            (&Method::POST, pages::PATH) => self.take_page(request.into_body()).await,
            (&Method::GET, pages::PATH) => self.give_page(request.uri().query().unwrap_or_default()).await,
            (&Method::POST, large::PATH) => self.take_large(request.into_body()).await,
            (&Method::GET, large::PATH) => self.give_large().await,
            (&Method::GET, parked::PATH) => self.park_read().await,
            (&Method::POST, parked::PATH) => self.answered_read(request).await,
            (&Method::POST, renewal::PATH) => self.renew(),
            (_, proxy::PATH) => self.read(request).await,
            (method, path) => {
                let detail = format!("{method} {path} is not part of a link of version {}", hello::PROTOCOL);
                Err(Refusal::new(StatusCode::NOT_FOUND, "no-such-path", detail))
            }
        };
        answered.unwrap_or_else(Refusal::into_response)
    }

    fn session(&self) -> Result<Arc<Session>, Refusal> {
        let early = || Refusal::new(StatusCode::FORBIDDEN, "no-link", "open the message stream first");
        self.open().filter(|session| !session.is_closed()).ok_or_else(early)
    }

    async fn greet(&self, body: Incoming) -> Result<Response<LinkBody>, Refusal> {
        let settings = &self.hub.settings;
        let body = Limited::new(body, HELLO_BYTES_MAX).collect().await;
        let unreadable = |error| Refusal::new(StatusCode::BAD_REQUEST, "bad-hello", format!("hello: {error}"));
        let body = body.map_err(unreadable)?.to_bytes();
        let bug = |bug: Panicked| Refusal::new(StatusCode::BAD_REQUEST, "bad-hello", bug.to_string());
        let hello = contain(|| wire::decode_hello(&body)).map_err(bug)?;
        let judged = hello::judge(settings, &hello, self.shown.as_ref().map(|shown| &shown.speaker))
            .and_then(|differs| self.give_way(&hello, differs))
            .and_then(|differs| self.one_store(&hello, differs));
        let (differs, hello) = match (judged, hello) {
            (Ok(differs), Ok(hello)) => (differs, hello),
            (Err(refusal), hello) => {
                let site = hello.map(|hello| hello.site.0).unwrap_or_default();
                match refusal.code {
                    ALREADY_DIALLED => tracing::info!(peer = %site, why = %refusal.detail, "second link refused"),
                    code => tracing::error!(peer = %site, code, why = %refusal.detail, "link refused"),
                }
                return Err(refusal);
            }
            (Ok(_), Err(error)) => return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-hello", error.to_string())),
        };
        let who = (hello.site, hello.boot, hello.store, hello.software);
        let carried = (self.meter.clone(), self.shown.as_ref().map(|shown| shown.validity.clone()));
        let session = Session::new(self.hub.next_session(), who, differs.clone(), carried, None);
        *self.phase() = Phase::Greeted(session);
        let software = hello::SOFTWARE.to_owned();
        let welcome =
            wire::Welcome { site: settings.me.clone(), boot: settings.boot, software, differs, store: settings.store };
        let internal =
            |error: wire::Error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "welcome", error.to_string());
        Ok(Response::new(full(wire::encode_welcome(&welcome).map_err(internal)?)))
    }

    /// Where both sides dial, the one with the smaller name keeps its connection.
    fn give_way<T>(&self, hello: &Result<wire::Hello, wire::Error>, differs: T) -> Result<T, Refusal> {
        let Ok(hello) = hello else { return Ok(differs) };
        let me = &self.hub.settings.me;
        match self.hub.peer(&hello.site) {
            Some(peer) if *me < hello.site && peer.dials_now() => {
                let detail = format!("{me} dials {} itself", hello.site);
                Err(Refusal::new(StatusCode::CONFLICT, ALREADY_DIALLED, detail))
            }
            _ => Ok(differs),
        }
    }

    /// A store that is not the one whose connection lives is of a second process under this name: to listen to it would
    /// set both sites in doubt of what the first one holds.
    fn one_store<T>(&self, hello: &Result<wire::Hello, wire::Error>, differs: T) -> Result<T, Refusal> {
        let Ok(hello) = hello else { return Ok(differs) };
        let other = self.hub.peer(&hello.site).and_then(|peer| self.hub.other_store(peer, hello.store));
        other.map_or(Ok(differs), |why| Err(Refusal::new(StatusCode::CONFLICT, TWO_STORES, why)))
    }

    fn messages(&self, body: Incoming) -> Result<Response<LinkBody>, Refusal> {
        let mut phase = self.phase();
        let Phase::Greeted(session) = &*phase else {
            return Err(Refusal::new(StatusCode::CONFLICT, "no-hello", "say hello first, and open one message stream"));
        };
        let session = session.clone();
        if let Some(peer) = self.hub.peer(&session.peer) {
            let two = |why| Refusal::new(StatusCode::CONFLICT, TWO_STORES, why);
            self.hub.begin(peer, &session).map_err(two)?;
        }
        *phase = Phase::Open(session.clone(), self.in_work.begin());
        drop(phase);
        tokio::spawn(session::run(self.hub.clone(), session.clone(), body));
        self.opened.notify_one();
        Ok(Response::new(messages::body(&self.hub, &session)))
    }

    async fn take_page(&self, body: Incoming) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        let _turn = self.pages.acquire().await;
        pages::accept(&self.hub, &session, body).await.map(|()| Response::new(empty()))
    }

    async fn give_page(&self, query: &str) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        let page = pages::serve(&self.hub, &session, query).await?;
        let status = if page.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let mut response = Response::new(page.unwrap_or_else(empty));
        *response.status_mut() = status;
        Ok(response)
    }

    async fn take_large(&self, body: Incoming) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        let _turn = self.large.acquire().await;
        large::accept(&self.hub, &session, body).await.map(|()| Response::new(empty()))
    }

    async fn give_large(&self) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        Ok(large::serve(&self.hub, &session).await.unwrap_or_else(nothing))
    }

    async fn park_read(&self) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        Ok(parked::park(&self.hub, &session).await.unwrap_or_else(nothing))
    }

    async fn answered_read(&self, request: Request<Incoming>) -> Result<Response<LinkBody>, Refusal> {
        parked::answered(&*self.session()?, request).await
    }

    fn renew(&self) -> Result<Response<LinkBody>, Refusal> {
        let shown = self.shown.as_ref().map(|shown| &shown.certificate);
        renewal::serve(&self.hub, &*self.session()?, shown, &self.renewals)
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Response<LinkBody>, Refusal> {
        let session = self.session()?;
        proxy::serve(&self.hub, &session, &self.reads, request).await
    }
}
