//! A service that does nothing but count, answer 201, and, where asked, put each body on the disk first.
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};

use super::thread::Part;
use super::{Error, require_loopback};

/// Bodies that wait for the disk; further requests wait on their connections.
const DISK_QUEUE_MAX: usize = 1_024;
/// Keys that are remembered; beyond it a measurement is too long for this service.
const KEYS_MAX: usize = 1_000_000;
const POLL: Duration = Duration::from_millis(5);

#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    pub listen: SocketAddr,
    /// Told in each answer, so that a client knows which replica it comes from.
    pub name: String,
    /// Append each body to this file and `fdatasync` before the answer; what waits shares one.
    pub sync_to: Option<PathBuf>,
    /// Count applications of each `Idempotency-Key`.
    pub count_keys: bool,
}

impl UpstreamOptions {
    /// On a free port, without a disk.
    pub fn named(name: &str) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen, name: name.to_owned(), sync_to: None, count_keys: false }
    }
}

/// A running service; ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    _part: Part,
}

struct State {
    name: String,
    requests: AtomicU64,
    connections: AtomicU64,
    keys: Option<Mutex<HashMap<Vec<u8>, u32>>>,
    disk: Option<mpsc::Sender<(Bytes, oneshot::Sender<bool>)>>,
}

impl Upstream {
    pub fn start(options: UpstreamOptions) -> Result<Self, Error> {
        require_loopback(options.listen)?;
        let listener = std::net::TcpListener::bind(options.listen).map_err(Error::io("cannot listen"))?;
        listener.set_nonblocking(true).map_err(Error::io("cannot listen"))?;
        let address = listener.local_addr().map_err(Error::io("cannot listen"))?;
        let state = Arc::new(State {
            name: options.name,
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            keys: options.count_keys.then(Mutex::default),
            disk: options.sync_to.map(start_disk).transpose()?,
        });
        let served = state.clone();
        let part = Part::start("upstream", move || accept(listener, served))?;
        Ok(Self { address, state, _part: part })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Requests whose body has come completely.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted since the start. A proxy that does not keep them pays for each anew.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many requests were counted; whether they were.
    pub fn wait_for(&self, requests: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.requests() < requests {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    /// How often each key was applied: (keys applied once, keys applied more often).
    pub fn key_counts(&self) -> (usize, usize) {
        let keys = self.state.keys.as_ref().map(lock);
        let count = |test: fn(u32) -> bool| keys.iter().flat_map(|keys| keys.values()).filter(|n| test(**n)).count();
        (count(|n| n == 1), count(|n| n > 1))
    }
}

/// A poisoned lock only means that a counter's thread ended.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        state.connections.fetch_add(1, Ordering::Relaxed);
        let state = state.clone();
        tokio::task::spawn_local(async move {
            let service = hyper::service::service_fn(|request| serve(&state, request));
            // A client that goes away is no event here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn serve(state: &State, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let (Some(data), true) = (frame.data_ref(), state.disk.is_some()) {
                    kept.extend_from_slice(data);
                }
            }
            Err(_) => return Ok(answer(StatusCode::BAD_REQUEST, Bytes::new())),
        }
    }
    if head.method == http::Method::GET {
        return Ok(answer(StatusCode::OK, Bytes::from_static(b"{}")));
    }
    if let Some(disk) = &state.disk {
        let (done, written) = oneshot::channel();
        let sent = disk.send((kept.into(), done)).await.is_ok();
        if !sent || written.await != Ok(true) {
            return Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new()));
        }
    }
    if let (Some(keys), Some(key)) = (&state.keys, head.headers.get("idempotency-key")) {
        let mut keys = lock(keys);
        if keys.len() < KEYS_MAX {
            *keys.entry(key.as_bytes().to_vec()).or_default() += 1;
        }
    }
    let number = state.requests.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(answer(StatusCode::CREATED, format!("{{\"at\":\"{}\",\"n\":{number}}}", state.name).into()))
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn start_disk(path: PathBuf) -> Result<mpsc::Sender<(Bytes, oneshot::Sender<bool>)>, Error> {
    let file =
        File::options().create(true).append(true).open(path).map_err(Error::io("cannot open the upstream's file"))?;
    let (jobs, queue) = mpsc::channel(DISK_QUEUE_MAX);
    let thread = std::thread::Builder::new().name("upstream-disk".to_owned()).spawn(move || write_loop(file, queue));
    thread.map(|_| jobs).map_err(Error::io("cannot start a thread"))
}

fn write_loop(mut file: File, mut queue: mpsc::Receiver<(Bytes, oneshot::Sender<bool>)>) {
    let mut bytes = Vec::new();
    let mut waiting = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut job = Some(first);
        while let Some((body, done)) = job {
            bytes.extend_from_slice(&body);
            waiting.push(done);
            job = queue.try_recv().ok();
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data()).is_ok();
        bytes.clear();
        for done in waiting.drain(..) {
            // Nobody waits any more when the client has gone.
            let _ = done.send(written);
        }
    }
}
