//! Connections to the admin listener, bounded in number, bytes and time.
//!
//! Whoever reaches the address may connect, with a token or without; none of them must cost the gateway its
//! descriptors, nor lock the operator out. So there are few places, a connection has to say something soon and to take
//! what it is told, and where all places are taken the one that has waited longest without a request makes room for the
//! newest.
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::contain::contained_in;
use crate::descriptors::{self, Use};
use crate::failpoint;
use crate::places::{Place, Places};

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Operators, dashboards, probes and scrapers; more is an accident or an attack.
    pub connections: usize,
    /// For a head, whole; counted from when the connection stands, or the answer before it was given.
    pub head: Duration,
    pub head_bytes: usize,
    pub headers: usize,
    /// Of an answer nothing was taken for so long.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (head, stalled) = (Duration::from_secs(10), Duration::from_secs(30));
        Self { connections: 128, head, head_bytes: 16 << 10, headers: 64, stalled }
    }
}

/// Serves until `stop` ends, then lets requests in flight finish.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let places = Arc::new(Places::new(limits.connections));
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = stop.as_mut() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) if descriptors::kept(Use::Admin, &stream) => {
                if let Some(place) = places.take() {
                    let client = ClientAddress(remote.ip().to_canonical());
                    let connection = connection((stream, client), router.clone(), limits, place, stopped.clone());
                    connections.spawn(contained_in(connection));
                }
            }
            Ok(_) => {}
            Err(error) => descriptors::accept_failed("admin", &error).await,
        }
    }
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub IpAddr);

async fn connection(
    (stream, client): (TcpStream, ClientAddress),
    router: Router,
    limits: Limits,
    place: Place,
    mut stopped: watch::Receiver<bool>,
) {
    // A socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let in_work = place.in_work();
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        #[cfg(test)]
        crate::contain::planted::may_panic(request.uri().path());
        failpoint::hit("admin-request");
        request.extensions_mut().insert(in_work.clone());
        request.extensions_mut().insert(client);
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.headers)
        .half_close(true)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.stalled)), service);
    let mut serving = pin!(serving);
    // An error means that nobody is there to say it, which is the same.
    let stops = async move { drop(stopped.wait_for(|stop| *stop).await) };
    // A connection that ends badly ended for its client too, which alone can do something about it.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = place.is_needed() => {}
        () = stops => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// A stream that breaks when its other end takes nothing for too long.
struct Patient {
    inner: TcpStream,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(inner: TcpStream, patience: Duration) -> Self {
        Self { inner, patience, stalled: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let until = Instant::now() + self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.judge(cx, written)
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
