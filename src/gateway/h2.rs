//! The HTTP/2 connection to an endpoint: shared by many requests, left as soon as it is in doubt.
//!
//! A stream is begun only where the endpoint allows one more, so that no request waits unsent inside a connection. A
//! connection that has been without streams for a while, or on which an answer did not come in time, is given no new
//! ones: making another proves that the endpoint is there, and costs less than a write whose outcome nobody knows.
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::body::Body;
use super::pool::{Pool, SendError, describe, never};
use crate::contain::{Beside, contained_in};

/// Without streams for longer, a connection is not trusted any more: what stands between may have forgotten it.
const TRUSTED: Duration = Duration::from_secs(2);
/// While streams are open the endpoint is asked whether it is there, and has so long to say so.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether the endpoint allows a stream: at first, and later.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_SELDOM: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Multiplexed(Mutex<Option<Arc<Shared>>>);

struct Shared {
    sender: http2::SendRequest<Body>,
    streams: AtomicUsize,
    /// What the endpoint allows; none before its settings have come.
    streams_max: Arc<AtomicUsize>,
    /// Bytes handed to the kernel, and taken from it, so far.
    written: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
    in_doubt: AtomicBool,
    used: AtomicBool,
    idle_since: Mutex<Instant>,
}

/// A place for one stream on a connection.
pub struct Stream {
    shared: Arc<Shared>,
    /// Nothing was sent on this connection before.
    is_first: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        *self.shared.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn is_good(&self) -> bool {
        let in_use = self.streams.load(Ordering::Relaxed) > 0;
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        !self.sender.is_closed() && !self.in_doubt.load(Ordering::Relaxed) && (in_use || since.elapsed() < TRUSTED)
    }

    /// One more stream, where the endpoint allows it now.
    fn begin(self: &Arc<Self>) -> Option<Stream> {
        let before = self.streams.fetch_add(1, Ordering::Relaxed);
        // Counts itself out again where there is no room.
        let stream = Stream { shared: self.clone(), is_first: !self.used.load(Ordering::Relaxed) };
        let has_room = before < self.streams_max.load(Ordering::Relaxed);
        if has_room {
            self.used.store(true, Ordering::Relaxed);
        }
        has_room.then_some(stream)
    }
}

impl Multiplexed {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Shared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Option<Arc<Shared>> {
        let mut kept = self.lock();
        if kept.as_ref().is_some_and(|shared| !shared.is_good()) {
            // Streams that are open on it end there.
            *kept = None;
        }
        kept.clone()
    }

    pub fn sweep(&self) {
        self.kept();
    }
}

impl Pool {
    /// A place for a stream, within the time for connecting.
    pub(super) async fn http2(self: &Arc<Self>) -> Result<Stream, String> {
        let timeout = self.settings().connect_timeout;
        let place = async {
            loop {
                let shared = match self.multiplexed.kept() {
                    Some(shared) => shared,
                    None => self.connect_http2().await?,
                };
                // Before its settings have come an endpoint allows none: one that never speaks is found here.
                while !shared.sender.is_closed() {
                    if let Some(stream) = shared.begin() {
                        return Ok(stream);
                    }
                    tokio::time::sleep(LOOK).await;
                }
                if !shared.used.load(Ordering::Relaxed) {
                    return Err(format!("{} ended an HTTP/2 connection before it had begun", self.name()));
                }
            }
        };
        match tokio::time::timeout(timeout, place).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(why)) => {
                self.rest_from_now(&why);
                Err(why)
            }
            Err(_) => Err(format!("{} allows no HTTP/2 stream within {timeout:?}", self.name())),
        }
    }

    async fn connect_http2(self: &Arc<Self>) -> Result<Arc<Shared>, String> {
        let (written, heard) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let io = Counted { inner: self.connect().await?, written: written.clone(), heard: heard.clone() };
        // A panic in the body of one request ends its stream; the others are of other clients.
        let mut builder = http2::Builder::new(Beside::default());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(false)
            .initial_max_send_streams(0);
        let (sender, conn) = builder.handshake(TokioIo::new(io)).await.map_err(|e| describe(&e))?;
        let streams_max = Arc::<AtomicUsize>::default();
        tokio::spawn(contained_in(drive(conn, streams_max.clone())));
        let shared = Arc::new(Shared {
            sender,
            streams: AtomicUsize::new(0),
            streams_max,
            written,
            heard,
            in_doubt: AtomicBool::new(false),
            used: AtomicBool::new(false),
            idle_since: Mutex::new(Instant::now()),
        });
        *self.multiplexed.lock() = Some(shared.clone());
        Ok(shared)
    }

    /// With the answer comes the place of its stream; with an error, whether the connection is not worth another try.
    pub(super) async fn send_http2(
        &self,
        stream: Stream,
        request: Request<Body>,
        taken: &AtomicBool,
    ) -> Result<(Response<Incoming>, Stream), (SendError, bool)> {
        let shared = stream.shared.clone();
        let before = shared.written.load(Ordering::Relaxed);
        taken.store(true, Ordering::Relaxed);
        let doubt = Doubt { shared: Some(&shared), heard: shared.heard.load(Ordering::Relaxed) };
        let mut error = match shared.sender.clone().try_send_request(request).await {
            Ok(response) => {
                doubt.clear();
                return Ok((response, stream));
            }
            Err(error) => error,
        };
        if let Some(request) = error.take_message() {
            taken.store(false, Ordering::Relaxed);
            return Err((never(&format!("{} closed its connection", self.name()), Some(request)), stream.is_first));
        }
        let error = error.into_error();
        let of_stream = of_http2(&error).is_some_and(|e| e.is_reset() && e.is_remote());
        if of_stream {
            doubt.clear();
        }
        let why = format!("{}: {}", self.name(), describe(&error));
        if is_no_request(&error) {
            taken.store(false, Ordering::Relaxed);
            return Err((SendError::NoRequest { why }, true));
        }
        let nothing_left = shared.written.load(Ordering::Relaxed) == before;
        let never_sent = nothing_left || was_not_processed(&error);
        Err((if never_sent { never(&why, None) } else { SendError::Broken { why } }, true))
    }
}

/// Runs a connection to its end, and looks now and then how many streams the endpoint allows: nobody is woken when that
/// changes.
async fn drive(conn: http2::Connection<TokioIo<Counted>, Body, Beside>, streams_max: Arc<AtomicUsize>) {
    let (mut conn, mut pause) = (std::pin::pin!(conn), LOOK);
    loop {
        // What ends a connection is told to the requests that were on it.
        if tokio::time::timeout(pause, conn.as_mut()).await.is_ok() {
            return;
        }
        streams_max.store(conn.current_max_send_streams(), Ordering::Relaxed);
        pause = (pause * 2).min(LOOK_SELDOM);
    }
}

/// Whoever stops waiting for an answer leaves the connection in doubt, if nothing at all was heard on it meanwhile.
struct Doubt<'a> {
    shared: Option<&'a Shared>,
    heard: u64,
}

impl Doubt<'_> {
    fn clear(mut self) {
        self.shared = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.filter(|shared| shared.heard.load(Ordering::Relaxed) == self.heard) {
            shared.in_doubt.store(true, Ordering::Relaxed);
        }
    }
}

/// The endpoint said that it did nothing with the stream: REFUSED_STREAM, or a GOAWAY that names an earlier one as the
/// last that it worked on (RFC 9113 section 8.7).
fn was_not_processed(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|e| {
        let refused = e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM);
        // h2 says so of the streams beyond the last one only; the others learn of the end of the connection itself.
        e.is_remote() && (refused || e.is_go_away())
    })
}

/// It was refused on this side, as no request of HTTP/2. The library has only words for it.
fn is_no_request(error: &hyper::Error) -> bool {
    let words = ["malformed headers", "request URI missing scheme and authority"];
    of_http2(error)
        .is_some_and(|e| e.reason().is_none() && !e.is_io() && words.iter().any(|words| e.to_string().ends_with(words)))
}

fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Counts what is written and read.
struct Counted {
    inner: TcpStream,
    written: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
}

impl Counted {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = result {
            self.written.fetch_add(written as u64, Ordering::Relaxed);
        }
        result
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.heard.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.count(result)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.count(result)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
