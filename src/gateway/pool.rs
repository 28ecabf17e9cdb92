//! Connections to one endpoint, bounded, kept alive, and exact about whether a request was sent.
//!
//! A request was *never sent* (§6) only if no connection took it: connecting failed, or hyper gave the message back because
//! its connection had closed before taking it. Once taken, every failure is *broken*, however early.
use std::net::TcpStream as StdTcpStream;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Body;
use crate::descriptors::{self, Use};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSettings {
    pub host: String,
    pub port: u16,
    /// HTTP/2 with prior knowledge.
    pub h2c: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {url:?}: {what}; use http://HOST[:PORT] or h2c://HOST[:PORT]")]
pub struct EndpointError {
    url: String,
    what: &'static str,
}

impl EndpointSettings {
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let error = |what| EndpointError { url: url.to_owned(), what };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| error("no scheme"))?;
        let h2c = match scheme {
            "http" => false,
            "h2c" => true,
            _ => return Err(error("this scheme is not supported")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(error("a path, query or user has no place here"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| error("bad port"))?),
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || port == 0 {
            return Err(error("no host or port 0"));
        }
        Ok(Self { host: host.to_owned(), port, h2c })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    pub connect_timeout: Duration,
    /// Requests at one endpoint at the same time; more wait for `connect_timeout`, then they are never sent.
    pub in_flight: usize,
    /// Idle connections kept.
    pub idle: usize,
    /// An idle connection older than this is not used again: shorter than what servers usually grant.
    pub idle_timeout: Duration,
}

/// Why there is no answer.
pub enum SendError {
    /// With the request, where it still exists.
    NeverSent {
        why: String,
        request: Option<Box<Request<Body>>>,
    },
    Broken {
        why: String,
    },
    /// Broken by our own patience: no answer within the time for one try.
    TimedOut {
        why: String,
    },
}

struct Idle {
    sender: http1::SendRequest<Body>,
    socket: StdTcpStream,
    since: Instant,
}

pub struct Pool {
    endpoint: EndpointSettings,
    settings: PoolSettings,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Option<http2::SendRequest<Body>>>,
    in_flight: Arc<Semaphore>,
    healthy: AtomicBool,
}

/// A place at an endpoint and a connection to it, had before a request is sent. Dropped, an unused connection is closed.
pub struct Ready {
    pub(super) pool: Arc<Pool>,
    conn: Conn,
    permit: OwnedSemaphorePermit,
}

enum Conn {
    Http1 { sender: http1::SendRequest<Body>, socket: StdTcpStream, is_fresh: bool },
    Http2 { sender: http2::SendRequest<Body>, is_fresh: bool },
}

/// A connection in use. Dropped, the connection is closed; finished, it goes back to its pool.
pub struct Lease {
    pool: Arc<Pool>,
    /// `None`: HTTP/2, shared with others.
    conn: Option<(http1::SendRequest<Body>, StdTcpStream)>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer was read to its end.
    pub fn finish(mut self) {
        let Some((sender, socket)) = self.conn.take() else { return };
        if sender.is_closed() {
            return;
        }
        let mut idle = self.pool.lock_idle();
        if idle.len() < self.pool.settings.idle {
            idle.push(Idle { sender, socket, since: Instant::now() });
        }
    }
}

impl Ready {
    /// Sends one request once, on another connection where this one turns out closed before it took it. `taken`: as
    /// [`Pool::send`].
    pub async fn send(self, mut request: Request<Body>, taken: &AtomicBool) -> Result<Response<Body>, SendError> {
        let Self { pool, mut conn, permit } = self;
        loop {
            taken.store(true, Ordering::Relaxed);
            let is_fresh = match conn {
                Conn::Http1 { mut sender, socket, is_fresh } => match sender.try_send_request(request).await {
                    Ok(response) => {
                        let lease = Lease { pool, conn: Some((sender, socket)), _permit: permit };
                        return Ok(response.map(|incoming| Body::upstream(incoming, lease)));
                    }
                    Err(error) => {
                        request = pool.not_taken(error, is_fresh)?;
                        is_fresh
                    }
                },
                Conn::Http2 { mut sender, is_fresh } => match sender.try_send_request(request).await {
                    Ok(response) => {
                        let lease = Lease { pool, conn: None, _permit: permit };
                        return Ok(response.map(|incoming: Incoming| Body::upstream(incoming, lease)));
                    }
                    Err(error) => {
                        request = pool.not_taken(error, is_fresh)?;
                        *pool.lock_shared() = None;
                        is_fresh
                    }
                },
            };
            debug_assert!(!is_fresh, "a fresh connection is not replaced");
            taken.store(false, Ordering::Relaxed);
            let next = if pool.endpoint.h2c { pool.http2().await } else { pool.http1().await };
            conn = match next {
                Ok(conn) => conn,
                Err(why) => return Err(SendError::NeverSent { why, request: Some(Box::new(request)) }),
            };
        }
    }
}

/// From this age on an idle connection is asked whether the other side has closed it: fresher ones are not worth a call.
const PEEK_AFTER: Duration = Duration::from_millis(1);
/// How long a connection whose answer is read may still be busy before it is given up.
const BUSY_MAX: Duration = Duration::from_millis(5);

impl Pool {
    pub fn new(endpoint: EndpointSettings, settings: PoolSettings) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(settings.in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let (idle, shared) = (Mutex::default(), Mutex::default());
        Arc::new(Self { endpoint, settings, idle, shared, in_flight, healthy: AtomicBool::new(true) })
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.endpoint.host, self.endpoint.port)
    }
    pub fn endpoint(&self) -> &EndpointSettings {
        &self.endpoint
    }
    pub fn settings(&self) -> PoolSettings {
        self.settings
    }
    pub fn is_h2c(&self) -> bool {
        self.endpoint.h2c
    }
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
    /// Whether that is a change.
    pub fn set_healthy(&self, healthy: bool) -> bool {
        self.healthy.swap(healthy, Ordering::Relaxed) != healthy
    }

    /// A place and a connection: what can fail without anything having been sent fails here.
    pub async fn ready(self: &Arc<Self>) -> Result<Ready, String> {
        let permit = self.permit().await?;
        let conn = if self.endpoint.h2c { self.http2().await? } else { self.http1().await? };
        Ok(Ready { pool: self.clone(), conn, permit })
    }

    /// Sends one request once; the answer's body gives the connection back when it ends. `taken` is true from the moment at
    /// which a connection may have taken the request: whoever stops waiting before that knows that it was never sent.
    pub async fn send(
        self: &Arc<Self>,
        request: Request<Body>,
        taken: &AtomicBool,
    ) -> Result<Response<Body>, SendError> {
        match self.ready().await {
            Ok(ready) => ready.send(request, taken).await,
            Err(why) => Err(SendError::NeverSent { why, request: Some(Box::new(request)) }),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, String> {
        if let Ok(permit) = self.in_flight.clone().try_acquire_owned() {
            return Ok(permit);
        }
        match tokio::time::timeout(self.settings.connect_timeout, self.in_flight.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(format!("{} already serves {} requests of ours", self.name(), self.settings.in_flight)),
        }
    }

    async fn http1(&self) -> Result<Conn, String> {
        if let Some((sender, socket)) = self.take_idle().await {
            return Ok(Conn::Http1 { sender, socket, is_fresh: false });
        }
        let (sender, socket) = self.connect().await?;
        Ok(Conn::Http1 { sender, socket, is_fresh: true })
    }

    async fn http2(&self) -> Result<Conn, String> {
        let kept = self.lock_shared().clone().filter(|sender| !sender.is_closed());
        match kept {
            Some(sender) => Ok(Conn::Http2 { sender, is_fresh: false }),
            None => Ok(Conn::Http2 { sender: self.connect_h2().await?, is_fresh: true }),
        }
    }

    /// The request, where a kept connection turned out closed before it took it: then another one is tried.
    fn not_taken(&self, mut error: TrySendError<Request<Body>>, is_fresh: bool) -> Result<Request<Body>, SendError> {
        match error.take_message() {
            Some(request) if !is_fresh => Ok(request),
            Some(request) => {
                let why = format!("{} closed a fresh connection before it took the request", self.name());
                Err(SendError::NeverSent { why, request: Some(Box::new(request)) })
            }
            None => {
                let error = error.into_error();
                let why = format!("{}: {}", self.name(), describe(&error));
                let refused = is_refused_stream(&error);
                Err(if refused { SendError::NeverSent { why, request: None } } else { SendError::Broken { why } })
            }
        }
    }

    async fn take_idle(&self) -> Option<(http1::SendRequest<Body>, StdTcpStream)> {
        loop {
            let Idle { mut sender, socket, since } = self.lock_idle().pop()?;
            let age = since.elapsed();
            if sender.is_closed() || age > self.settings.idle_timeout {
                continue;
            }
            // Nothing may be waiting to be read on an idle connection: neither an end nor bytes.
            let is_silent = || matches!(socket.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
            if age >= PEEK_AFTER && !is_silent() {
                continue;
            }
            if sender.is_ready() || matches!(tokio::time::timeout(BUSY_MAX, sender.ready()).await, Ok(Ok(()))) {
                return Some((sender, socket));
            }
        }
    }

    /// Closes connections that have been idle for too long; called now and then.
    pub fn sweep(&self) {
        let limit = self.settings.idle_timeout;
        self.lock_idle().retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() <= limit);
    }

    async fn connect(&self) -> Result<(http1::SendRequest<Body>, StdTcpStream), String> {
        let (stream, socket) = self.connect_tcp().await?;
        let (sender, conn) = http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|e| describe(&e))?;
        tokio::spawn(async move {
            // What ends a connection is told to the request that was on it.
            let _ = conn.await;
        });
        Ok((sender, socket))
    }

    async fn connect_tcp(&self) -> Result<(TcpStream, StdTcpStream), String> {
        let to = (self.endpoint.host.as_str(), self.endpoint.port);
        let timeout = self.settings.connect_timeout;
        let stream = match tokio::time::timeout(timeout, TcpStream::connect(to)).await {
            Ok(Ok(stream)) if descriptors::kept(Use::Upstream, &stream) => stream,
            Ok(Ok(_)) => return Err(format!("connecting to {}: no descriptors are left for it", self.name())),
            Ok(Err(error)) => return Err(format!("connecting to {}: {error}", self.name())),
            Err(_) => return Err(format!("connecting to {}: no answer within {timeout:?}", self.name())),
        };
        let socket = stream.set_nodelay(true).and_then(|()| stream.as_fd().try_clone_to_owned());
        match socket {
            Ok(socket) => Ok((stream, StdTcpStream::from(socket))),
            Err(error) => Err(format!("connecting to {}: {error}", self.name())),
        }
    }

    async fn connect_h2(&self) -> Result<http2::SendRequest<Body>, String> {
        let (stream, _) = self.connect_tcp().await?;
        let handshake = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
        let (sender, conn) = handshake.await.map_err(|e| describe(&e))?;
        tokio::spawn(async move {
            let _ = conn.await;
        });
        *self.lock_shared() = Some(sender.clone());
        Ok(sender)
    }

    // Nothing panics while these are held; a poisoned lock would still hold whole values.
    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn lock_shared(&self) -> MutexGuard<'_, Option<http2::SendRequest<Body>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with what is behind it.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// The endpoint said that it did not take the stream (RFC 9113 §8.7).
fn is_refused_stream(error: &hyper::Error) -> bool {
    let inner = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    inner.is_some_and(|e| e.is_remote() && e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_from_urls() {
        let endpoint = |host: &str, port, h2c| Ok(EndpointSettings { host: host.into(), port, h2c });
        for (url, expected) in [
            ("http://127.0.0.1:9001", endpoint("127.0.0.1", 9001, false)),
            ("http://svc", endpoint("svc", 80, false)),
            ("h2c://[::1]:81/", endpoint("::1", 81, true)),
            ("http://[::1]", endpoint("::1", 80, false)),
        ] {
            assert_eq!(EndpointSettings::parse(url), expected);
        }
        for bad in ["", "svc:80", "https://svc", "http://", "http://a/b", "http://a:x", "http://a:0", "http://u@a"] {
            assert!(EndpointSettings::parse(bad).unwrap_err().to_string().contains("use http://"), "{bad}");
        }
    }
}
