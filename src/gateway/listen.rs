//! Listeners and connections: accept, tell HTTP/1.1 from HTTP/2, serve, drain.
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::conn::{Conn, ConnLimits};
use super::headers::Client;
use super::room::{Place, Share};
use super::route::RouteError;
use super::served::{Answers, Busy, Load, Served};
use super::settings::{GatewaySettings, ListenSettings, Neighbours, ServiceEntry};
use crate::contain::{Beside, contained_in};
use crate::descriptors::{self, Use};
use crate::telemetry::{Closed, GatewayMetrics};

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot listen on {address}: {source}{}", hint(source))]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("gateway.listen is empty; name at least one address")]
    NoAddress,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port, choose another one in gateway.listen",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this address does not belong to this machine",
        _ => "",
    }
}

/// Bound and ready to run.
pub struct Gateway {
    listeners: Vec<(TcpListener, Option<TlsAcceptor>)>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    max_connections: usize,
    drain: Duration,
}

struct Shared {
    app: Arc<App>,
    limits: ConnLimits,
    http1: http1::Builder,
    max_head_bytes: u32,
    connections: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one client connection at the same time: the least that RFC 9113 section 6.5.2 advises.
const H2_STREAMS_MAX: u32 = 100;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Served>, std::convert::Infallible>> + Send>>;

/// What one connection may have sent that nobody has read yet, and one stream of it.
const H2_CONNECTION_WINDOW: u32 = 256 << 10;
const H2_STREAM_WINDOW: u32 = 64 << 10;
/// What is kept of one answer that the client has not made room for.
const H2_SEND_BUFFER: usize = 16 << 10;
/// The same for HTTP/1, where a whole head must fit in on the way in.
const H1_BUFFER: usize = 32 << 10;
const H1_HEADERS: usize = 100;
/// What the kernel keeps of an answer that cannot be sent yet: 4 MiB otherwise, for each client that does not read, and
/// to fill them all at once would take all that the machine can copy. What is on its way is not bounded by it.
const UNSENT_BYTES: u32 = 128 << 10;
/// Told to go, an HTTP/2 client gets so long to end what it began.
const GOODBYE: Duration = Duration::from_secs(5);
/// A silent HTTP/2 client is asked whether it is there.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// To a client address that has all the connections it may have, and where the last descriptors are kept for work.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl Gateway {
    /// Takes all addresses or none.
    pub async fn bind(
        settings: GatewaySettings,
        services: Vec<ServiceEntry>,
        neighbours: Neighbours,
    ) -> Result<Self, GatewayError> {
        let mut bound = Vec::new();
        for &ListenSettings { address, .. } in &settings.listen {
            let error = |source| GatewayError::Listen { address, source };
            bound.push(TcpListener::bind(address).await.map_err(error)?);
        }
        Self::on(bound, settings, services, neighbours)
    }

    /// On listeners that somebody opened, one for each of `settings.listen`.
    pub fn on(
        bound: Vec<TcpListener>,
        settings: GatewaySettings,
        services: Vec<ServiceEntry>,
        neighbours: Neighbours,
    ) -> Result<Self, GatewayError> {
        let app = App::new(&settings, services, neighbours)?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for (listener, listen) in bound.into_iter().zip(&settings.listen) {
            let error = |source| GatewayError::Listen { address: listen.address, source };
            addresses.push(listener.local_addr().map_err(error)?);
            listeners.push((listener, listen.tls.clone().map(TlsAcceptor::from)));
        }
        if listeners.is_empty() {
            return Err(GatewayError::NoAddress);
        }
        let mut http1 = http1::Builder::new();
        http1.max_buf_size(H1_BUFFER.max(settings.max_head_bytes + 1024));
        if settings.max_headers > H1_HEADERS {
            // The parser's own limit, which costs an allocation for each request where it is moved.
            http1.max_headers(settings.max_headers);
        }
        let max_connections = settings.max_connections.clamp(1, u32::MAX as usize);
        let shared = Arc::new(Shared {
            limits: settings.conn_limits(app.longest_wait()),
            app,
            http1,
            max_head_bytes: u32::try_from(settings.max_head_bytes).unwrap_or(u32::MAX),
            connections: Arc::new(Semaphore::new(max_connections)),
            stopping: watch::Sender::new(false),
        });
        Ok(Self { listeners, addresses, shared, max_connections, drain: settings.drain })
    }

    /// As bound: with the real port where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`, then lets requests in flight end within `drain`. Whether all did.
    pub async fn run(self, stop: impl Future<Output = ()>) -> bool {
        let mut accepting = JoinSet::new();
        for (listener, tls) in self.listeners {
            accepting.spawn(accept(listener, tls, self.shared.clone()));
        }
        stop.await;
        accepting.shutdown().await;
        self.shared.stopping.send_replace(true);
        let all = self.shared.connections.acquire_many(self.max_connections as u32);
        tokio::time::timeout(self.drain, all).await.is_ok()
    }
}

impl Shared {
    /// `beside`: what runs the connection's requests.
    fn http2(&self, beside: Beside) -> http2::Builder<Beside> {
        let mut http2 = http2::Builder::new(beside);
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(H2_PING_INTERVAL)
            .max_concurrent_streams(H2_STREAMS_MAX)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER)
            .max_header_list_size(self.max_head_bytes);
        http2
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = shared.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let metrics = &shared.app.metrics;
                metrics.opened.one();
                let kept = descriptors::kept(Use::Client, &stream);
                let place = shared.app.room.enter(peer.ip()).filter(|_| kept);
                if place.is_none() && kept {
                    metrics.closed_at_once.of(Closed::Address).one();
                }
                match place {
                    Some(place) => {
                        let place = (permit, place);
                        tokio::spawn(contained_in(connection(stream, peer.ip(), tls.clone(), shared.clone(), place)));
                    }
                    None if tls.is_none() => {
                        // Whether it can be said or not, there is no place.
                        let _ = stream.try_write(NO_PLACE);
                    }
                    None => {}
                }
            }
            Err(error) => descriptors::accept_failed("gateway", &error).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    place: (OwnedSemaphorePermit, Place),
) {
    let _open = Open::new(&shared.app.metrics);
    // Without it small answers wait for acknowledgements; a socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
    let Some(tls) = tls else {
        serve(stream, client(peer, false, &place.1), false, &shared).await;
        return drop(place);
    };
    let mut stopping = shared.stopping.subscribe();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(shared.limits.head_timeout, tls.accept(stream)) => accepted,
        () = stopped(&mut stopping) => return drop(place),
    };
    if let Ok(Ok(stream)) = accepted {
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, client(peer, true, &place.1), is_h2, &shared).await;
    }
    drop(place);
}

/// Counts a connection as long as it lives.
struct Open(Arc<GatewayMetrics>);

impl Open {
    fn new(metrics: &Arc<GatewayMetrics>) -> Self {
        metrics.connections.enter();
        Self(metrics.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.leave();
    }
}

fn client(peer: IpAddr, is_tls: bool, place: &Place) -> Client {
    Client::new(peer, is_tls, Arc::<Share>::clone(place.share()))
}

async fn serve<S>(mut stream: S, client: Client, is_h2: bool, shared: &Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = shared.stopping.subscribe();
    let mut first = Vec::new();
    let mut is_preface = is_h2;
    if !is_h2 {
        let timeout = shared.limits.idle_timeout.min(shared.limits.head_timeout);
        let sniffed = tokio::select! {
            sniffed = tokio::time::timeout(timeout, sniff(&mut stream, &mut first)) => sniffed,
            () = stopped(&mut stopping) => return,
        };
        match sniffed {
            Ok(Ok(found)) => is_preface = found,
            _ => return,
        }
    }
    let (app, client, load) = (shared.app.clone(), Arc::new(client), Arc::<Load>::default());
    let (count, idle_timeout) = (load.clone(), shared.limits.idle_timeout);
    let over = Arc::<Notify>::default();
    let overrun = over.clone();
    let answers = is_preface.then(Arc::<Answers>::default);
    let offered = answers.clone();
    let service = service_fn(move |mut request: Request<Incoming>| -> Answering {
        count.next_head().map(|spelling| request.extensions_mut().insert(spelling));
        let place = client.share.request();
        let is_full = place.is_none();
        let place = place.or_else(|| client.share.refusal());
        if place.is_none() && offered.is_some() {
            // It takes not even its refusals: its connection ends, and nothing more is made for it.
            overrun.notify_one();
            return Box::pin(std::future::pending());
        }
        let busy = Busy::new(&count, place);
        let serve =
            move |body, answers: Option<Arc<Answers>>| Served::new(body, busy, answers.as_deref(), idle_timeout);
        if is_full {
            let response = app.busy(&request).map(|body| serve(body, offered.clone()));
            return Box::pin(std::future::ready(Ok(response)));
        }
        let (app, client, answers) = (app.clone(), client.clone(), offered.clone());
        // Of many KiB; an HTTP/2 stream would keep room for it to its last byte, and for one that is refused.
        Box::pin(async move { Ok(app.answer(&client, request).await.map(|body| serve(body, answers))) })
    });
    // A connection that ends badly ended for its client too, which alone can do something about it.
    if let Some(answers) = answers {
        let io = TokioIo::new(Conn::http2(stream, first, shared.limits));
        let beside = Beside::default();
        let mut conn = pin!(shared.http2(beside.clone()).serve_connection(io, service));
        let is_stopped = tokio::select! {
            _ = conn.as_mut() => return,
            () = beside.panicked() => return,
            () = over.notified() => return,
            () = stopped(&mut stopping) => true,
            () = idle(&load, &answers, idle_timeout) => false,
        };
        conn.as_mut().graceful_shutdown();
        if is_stopped {
            // What is in flight may end; a client that takes nothing is not waited for.
            tokio::select! {
                _ = conn => {}
                () = beside.panicked() => {}
                () = idle(&load, &answers, idle_timeout) => {}
            }
        } else {
            let ended = async {
                tokio::select! { _ = conn => {}, () = beside.panicked() => {} }
            };
            let _ = tokio::time::timeout(GOODBYE, ended).await;
        }
    } else {
        let io = TokioIo::new(Conn::http1(stream, first, shared.limits, load));
        let mut conn = pin!(shared.http1.serve_connection(io, service));
        tokio::select! {
            _ = conn.as_mut() => {}
            () = stopped(&mut stopping) => {
                conn.as_mut().graceful_shutdown();
                let _ = conn.await;
            }
        }
    }
}

/// Comes when no request was open for `timeout`; until then takes back answers that the client does not take.
async fn idle(load: &Load, answers: &Answers, timeout: Duration) {
    let tick = (timeout / 8).max(Duration::from_millis(10));
    let (mut since, mut begun) = (tokio::time::Instant::now(), load.begun());
    loop {
        tokio::time::sleep(tick).await;
        answers.take_back(timeout);
        if load.open() > 0 || load.begun() != begun {
            (since, begun) = (tokio::time::Instant::now(), load.begun());
        } else if since.elapsed() >= timeout {
            return;
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives as long as the connections' shared state.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Reads until it is clear whether the client speaks HTTP/2 with prior knowledge. What was read is in `first`.
async fn sniff<S: AsyncRead + Unpin>(stream: &mut S, first: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; H2_PREFACE.len()];
    loop {
        let read = stream.read(&mut buffer[..H2_PREFACE.len() - first.len()]).await?;
        first.extend_from_slice(&buffer[..read]);
        if !H2_PREFACE.starts_with(first) || read == 0 {
            return Ok(false);
        }
        if first.len() == H2_PREFACE.len() {
            return Ok(true);
        }
    }
}
