//! Listeners and connections: accept, tell HTTP/1.1 from HTTP/2, serve, drain.
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::app::App;
use super::body::{Busy, Served};
use super::conn::{Conn, ConnLimits};
use super::headers::Client;
use super::route::RouteError;
use super::settings::{GatewaySettings, Neighbours, ServiceEntry};

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
    http2: http2::Builder<TokioExecutor>,
    connections: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams of one client connection at the same time.
const H2_STREAMS_MAX: u32 = 256;
/// A silent HTTP/2 client is asked whether it is there.
const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Out of file descriptors, for example: accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Gateway {
    /// Takes all addresses or none.
    pub async fn bind(
        settings: GatewaySettings,
        services: Vec<ServiceEntry>,
        neighbours: Neighbours,
    ) -> Result<Self, GatewayError> {
        let app = App::new(settings.site.clone(), services, neighbours, settings.body_timeout)?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for listen in &settings.listen {
            let address = listen.address;
            let error = |source| GatewayError::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(error)?;
            addresses.push(listener.local_addr().map_err(error)?);
            listeners.push((listener, listen.tls.clone().map(TlsAcceptor::from)));
        }
        if listeners.is_empty() {
            return Err(GatewayError::NoAddress);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(H2_PING_INTERVAL)
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(settings.max_head_bytes as u32);
        let max_connections = settings.max_connections.clamp(1, u32::MAX as usize);
        let shared = Arc::new(Shared {
            app,
            limits: settings.conn_limits(),
            http1: http1::Builder::new(),
            http2,
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

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let Ok(permit) = shared.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer.ip(), tls.clone(), shared.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    permit: OwnedSemaphorePermit,
) {
    // Without it small answers wait for acknowledgements; a socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        serve(stream, Client::new(peer, false), false, &shared).await;
        return drop(permit);
    };
    let mut stopping = shared.stopping.subscribe();
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(shared.limits.head_timeout, tls.accept(stream)) => accepted,
        () = stopped(&mut stopping) => return drop(permit),
    };
    if let Ok(Ok(stream)) = accepted {
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, Client::new(peer, true), is_h2, &shared).await;
    }
    drop(permit);
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
    let (app, client, busy) = (shared.app.clone(), Arc::new(client), Arc::<AtomicUsize>::default());
    let count = busy.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, client, busy) = (app.clone(), client.clone(), Busy::new(&count));
        async move {
            let response = app.answer(&client, request).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| Served::new(body, busy)))
        }
    });
    // A connection that ends badly ended for its client too, which alone can do something about it.
    if is_preface {
        let io = TokioIo::new(Conn::http2(stream, first, shared.limits));
        let mut conn = pin!(shared.http2.serve_connection(io, service));
        tokio::select! {
            _ = conn.as_mut() => {}
            () = stopped(&mut stopping) => {
                conn.as_mut().graceful_shutdown();
                let _ = conn.await;
            }
        }
    } else {
        let io = TokioIo::new(Conn::http1(stream, first, shared.limits, busy));
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
