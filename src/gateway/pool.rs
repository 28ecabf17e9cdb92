//! Connections to one endpoint, bounded, kept alive, and exact about whether a request was sent.
//!
//! A request was *never sent* only if no byte of it left, or the endpoint said that it did not take it. A connection
//! serves another request only when its last exchange ended exactly as HTTP says and nothing has come on it since.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::header::HeaderMap;
use http::{Request, Response};
use hyper::ext::ReasonPhrase;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Body;
use super::endpoint::EndpointSettings;
use super::h1::{Conn, Failure, Head, Reply};
use super::h2::{Multiplexed, Stream};
use super::reach::{EndpointState, Trouble};
use super::rest::Rest;
use super::upstream::Upstream;
use crate::descriptors::{self, Use};

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
    /// The endpoint leads back to where the request had been; nothing was done.
    Circle {
        why: String,
    },
    /// No request to the service can be made of it; nothing was sent, and never can be.
    NoRequest {
        why: String,
    },
    /// A status was read, and nothing else that could be passed on.
    Unusable {
        status: u16,
        why: String,
    },
}

impl SendError {
    pub(super) fn why(&self) -> &str {
        match self {
            SendError::NeverSent { why, .. }
            | SendError::Broken { why }
            | SendError::TimedOut { why }
            | SendError::Circle { why }
            | SendError::NoRequest { why }
            | SendError::Unusable { why, .. } => why,
        }
    }
}

struct Idle {
    conn: Conn,
    since: Instant,
    /// The endpoint said (`Keep-Alive: timeout=…`) that it closes then.
    until: Option<Instant>,
}

pub struct Pool {
    endpoint: EndpointSettings,
    settings: PoolSettings,
    idle: Mutex<Vec<Idle>>,
    /// An endpoint may close after each answer without a word. Until a connection was seen to stay, none is used again
    /// in a hurry: its end may be on its way.
    stays: AtomicBool,
    pub(super) multiplexed: Multiplexed,
    in_flight: Arc<Semaphore>,
    healthy: AtomicBool,
    pub(super) rest: Rest,
    pub(super) trouble: Trouble,
    /// Who hears of a change of health; none for a pool that health checks use.
    pub(super) owner: Weak<Upstream>,
}

/// A place at an endpoint and a connection to it, had before a request is sent. Dropped, an unused connection goes
/// back.
pub struct Ready {
    pub(super) pool: Arc<Pool>,
    link: Option<Link>,
    permit: Option<OwnedSemaphorePermit>,
    since: Instant,
}

enum Link {
    Http1 { conn: Conn, is_fresh: bool },
    Http2(Stream),
}

/// A connection in use. Dropped, the connection is closed; finished, it goes back to its pool.
pub struct Lease {
    pool: Arc<Pool>,
    until: Option<Duration>,
    _permit: OwnedSemaphorePermit,
    /// Holds the place of a stream.
    _stream: Option<Stream>,
}

impl Lease {
    /// The answer was read to its end, and its connection may serve another request.
    pub fn finish(self, conn: Option<Conn>) {
        if let Some(conn) = conn {
            let now = Instant::now();
            self.pool.put(Idle { conn, since: now, until: self.until.map(|until| now + until) });
        }
    }
}

/// A connection had longer ago than this is looked at before it is used.
const STALE: Duration = Duration::from_micros(200);
/// A connection silent for so long after an answer was not about to be closed with it.
const SETTLED: Duration = Duration::from_millis(10);
/// One found closed earlier than this was closed with its last answer, not for having been idle.
const CLOSED_EARLY: Duration = Duration::from_secs(1);

impl Ready {
    /// Sends one request once, on another connection where this one turns out closed before a byte left. `taken` is
    /// true from the moment at which a byte may have left: whoever stops waiting before that knows that it was never
    /// sent.
    pub async fn send(mut self, mut request: Request<Body>, taken: &AtomicBool) -> Result<Response<Body>, SendError> {
        let pool = self.pool.clone();
        let Some(permit) = self.permit.take() else { return Err(never("this place was used", Some(request))) };
        let mut link = self.link.take();
        // Had before its write was written down: looked at again, for it may have ended meanwhile.
        if self.since.elapsed() > STALE
            && let Some(Link::Http1 { conn, .. }) = &link
            && !conn.is_silent()
        {
            link = match pool.link().await {
                Ok(next) => Some(next),
                Err(why) => return Err(never(&why, Some(request))),
            };
        }
        while let Some(now) = link {
            let sent = match now {
                Link::Http1 { conn, is_fresh } => match pool.send_http1(conn, is_fresh, request, taken).await {
                    Ok((head, reply)) => {
                        let until = keep_alive_timeout(&head.headers);
                        let lease = Lease { pool, until, _permit: permit, _stream: None };
                        return Ok(response(head, Body::reply(reply, lease)));
                    }
                    Err(error) => (error, is_fresh),
                },
                Link::Http2(stream) => match pool.send_http2(stream, request, taken).await {
                    Ok((answer, stream)) => {
                        let lease = Lease { pool, until: None, _permit: permit, _stream: Some(stream) };
                        return Ok(answer.map(|incoming| Body::upstream(incoming, lease)));
                    }
                    Err((error, is_fresh)) => (error, is_fresh),
                },
            };
            // A kept connection that had ended costs nothing.
            (request, link) = match sent {
                (SendError::NeverSent { request: Some(unsent), .. }, false) => match pool.link().await {
                    Ok(next) => (*unsent, Some(next)),
                    Err(why) => return Err(never(&why, Some(*unsent))),
                },
                (error, _) => return Err(error),
            };
        }
        Err(never("this place was used", Some(request)))
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(Link::Http1 { conn, .. }) = self.link.take() {
            self.pool.put(Idle { conn, since: Instant::now(), until: None });
        }
    }
}

pub(super) fn never(why: &str, request: Option<Request<Body>>) -> SendError {
    SendError::NeverSent { why: why.to_owned(), request: request.map(Box::new) }
}

fn response(head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    let standard = response.status().canonical_reason().unwrap_or_default();
    if head.reason != standard.as_bytes()
        && let Ok(reason) = ReasonPhrase::try_from(head.reason)
    {
        response.extensions_mut().insert(reason);
    }
    response.extensions_mut().insert(head.spelling);
    *response.headers_mut() = head.headers;
    response
}

/// `Keep-Alive: timeout=5`: a second less, so that our request does not cross its end.
fn keep_alive_timeout(map: &HeaderMap) -> Option<Duration> {
    let line = map.get("keep-alive")?.to_str().ok()?;
    let seconds = line.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.parse::<u32>().ok())?;
    Some(Duration::from_secs(seconds.saturating_sub(1).into()))
}

impl Pool {
    pub fn new(endpoint: EndpointSettings, settings: PoolSettings, owner: Weak<Upstream>) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(settings.in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            endpoint,
            settings,
            idle: Mutex::default(),
            stays: AtomicBool::new(false),
            multiplexed: Multiplexed::default(),
            in_flight,
            healthy: AtomicBool::new(true),
            rest: Rest::default(),
            trouble: Trouble::default(),
            owner,
        })
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
    /// By the health checks, and by what became of the last connections.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) && !self.rest.is_resting()
    }
    /// What health checks say, and what they met where it is not healthy. Whether that is a change.
    pub fn set_healthy(&self, healthy: bool, why: Option<&str>) -> bool {
        let is_change = self.healthy.swap(healthy, Ordering::Relaxed) != healthy;
        if let Some(why) = why.filter(|_| !healthy) {
            self.trouble.met(why);
        }
        self.forget_trouble();
        is_change
    }
    /// Unless there is another one still.
    pub(super) fn forget_trouble(&self) {
        if self.is_healthy() {
            self.trouble.over();
        }
    }
    pub fn state(&self) -> EndpointState {
        let healthy = self.is_healthy();
        EndpointState { name: self.name(), healthy, trouble: self.trouble.now().filter(|_| !healthy) }
    }

    /// A place and a connection: what can fail without anything having been sent fails here.
    pub async fn ready(self: &Arc<Self>) -> Result<Ready, String> {
        let permit = self.permit().await?;
        let link = self.link().await?;
        Ok(Ready { pool: self.clone(), link: Some(link), permit: Some(permit), since: Instant::now() })
    }

    async fn link(self: &Arc<Self>) -> Result<Link, String> {
        if self.endpoint.h2c { Ok(Link::Http2(self.http2().await?)) } else { self.http1().await }
    }

    /// Sends one request once; the answer's body gives the connection back when it ends. `taken`: as [`Ready::send`].
    pub async fn send(
        self: &Arc<Self>,
        request: Request<Body>,
        taken: &AtomicBool,
    ) -> Result<Response<Body>, SendError> {
        match self.ready().await {
            Ok(ready) => ready.send(request, taken).await,
            Err(why) => Err(never(&why, Some(request))),
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

    async fn http1(self: &Arc<Self>) -> Result<Link, String> {
        if let Some(conn) = self.take_idle() {
            return Ok(Link::Http1 { conn, is_fresh: false });
        }
        Ok(Link::Http1 { conn: Conn::new(self.connect().await?), is_fresh: true })
    }

    async fn send_http1(
        self: &Arc<Self>,
        conn: Conn,
        is_fresh: bool,
        request: Request<Body>,
        taken: &AtomicBool,
    ) -> Result<(Head, Reply<Body>), SendError> {
        let said = |why: String| format!("{}: {why}", self.name());
        let failure = match conn.send(request, taken).await {
            Ok(exchange) => {
                self.rest.answered();
                return Ok(exchange);
            }
            Err(failure) => failure,
        };
        Err(match failure {
            Failure::NotTaken { request, why } => {
                if is_fresh {
                    self.rest_from_now(&why);
                }
                SendError::NeverSent { why: said(why), request: Some(request) }
            }
            Failure::Broken { why, silent } => {
                if is_fresh && silent {
                    self.rest.ended_in_silence();
                }
                SendError::Broken { why: said(why) }
            }
            Failure::Unusable { status, why } => {
                self.rest.answered();
                SendError::Unusable { status, why: said(why) }
            }
        })
    }

    /// The connection used last of those that may be used again. Each is looked at, however young.
    fn take_idle(&self) -> Option<Conn> {
        let now = Instant::now();
        let mut young = Vec::new();
        let mut idle = self.lock_idle();
        let found = loop {
            let Some(last) = idle.pop() else { break None };
            let age = now.saturating_duration_since(last.since);
            if self.is_over(&last, now) {
                continue;
            }
            if !last.conn.is_silent() {
                if age < CLOSED_EARLY {
                    self.stays.store(false, Ordering::Relaxed);
                }
                continue;
            }
            if age >= SETTLED {
                self.stays.store(true, Ordering::Relaxed);
            }
            if self.stays.load(Ordering::Relaxed) {
                break Some(last.conn);
            }
            young.push(last);
        };
        idle.extend(young.into_iter().rev());
        found
    }

    fn is_over(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) > self.settings.idle_timeout
            || idle.until.is_some_and(|until| now >= until)
    }

    fn put(&self, idle: Idle) {
        let mut all = self.lock_idle();
        if all.len() < self.settings.idle {
            all.push(idle);
        }
    }

    /// A connection made to see whether the endpoint is back.
    pub(super) fn put_fresh(&self, conn: Conn) {
        self.put(Idle { conn, since: Instant::now(), until: None });
    }

    /// Closes connections that have been idle for too long, or were closed by the other side; called now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock_idle().retain(|idle| !self.is_over(idle, now) && idle.conn.is_silent());
        self.multiplexed.sweep();
    }

    /// A new connection. An endpoint that gives none is left alone for a moment.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<TcpStream, String> {
        // A health check asks for itself whether somebody stands there.
        let looks = !self.rest.is_trusted() && self.owner.strong_count() > 0;
        let connected = self.try_connect(looks).await;
        if let Err(why) = &connected {
            self.rest_from_now(why);
        }
        connected
    }

    /// `looks`: whether it is looked at for a moment first, since something may stand in front of the endpoint that
    /// takes every connection and ends those that nobody wants.
    pub(super) async fn try_connect(&self, looks: bool) -> Result<TcpStream, String> {
        let to = (self.endpoint.host.as_str(), self.endpoint.port);
        let timeout = self.settings.connect_timeout;
        let stream = match tokio::time::timeout(timeout, TcpStream::connect(to)).await {
            Ok(Ok(stream)) if descriptors::kept(Use::Upstream, &stream) => stream,
            Ok(Ok(_)) => return Err(format!("connecting to {}: no descriptors are left for it", self.name())),
            Ok(Err(error)) => return Err(format!("connecting to {}: {error}", self.name())),
            Err(_) => return Err(format!("connecting to {}: no answer within {timeout:?}", self.name())),
        };
        // Without it small requests wait for acknowledgements; a socket that refuses is about to fail anyway.
        let _ = stream.set_nodelay(true);
        if !looks || self.endpoint.h2c {
            return Ok(stream);
        }
        let conn = Conn::new(stream);
        match tokio::time::timeout(super::rest::look(timeout), conn.stirs()).await {
            Ok(()) => Err(format!("{} takes connections and ends them at once: nobody stands behind it", self.name())),
            Err(_) => Ok(conn.into_stream()),
        }
    }

    // Nothing panics while this is held; a poisoned lock would still hold whole values.
    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
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
