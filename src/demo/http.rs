//! The little HTTP that the demo's parts need of each other: a keep-alive client that tells apart what it was told, and
//! an accept loop that ends with its owner. Nothing here is the gateway's: what judges the appliance must not share its
//! code.
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Connections that one of the demo's servers holds at the same time; further ones wait in the listen queue (G6).
const CONNECTIONS_MAX: usize = 512;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot connect to {address}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("no answer from {address} within {after_ms} ms")]
    Timeout { address: SocketAddr, after_ms: u64 },
    #[error("connection to {address} broke")]
    Broken { address: SocketAddr, source: hyper::Error },
}

/// One complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// A client with one connection, used again while it lasts. It never retries: whoever asks must know what was sent.
pub struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Sends one request and reads the whole answer. Whatever goes wrong, the connection is given up.
    pub async fn send(&mut self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<Answer, CallError> {
        let address = self.address;
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.sender = None;
                Err(error)
            }
            Err(_) => {
                self.sender = None;
                Err(CallError::Timeout { address, after_ms: timeout.as_millis() as u64 })
            }
        }
    }

    pub async fn get(&mut self, path: &str, timeout: Duration) -> Result<Answer, CallError> {
        let mut request = request(Method::GET, path, Bytes::new());
        // An appliance tells its state only to who calls it by its own address.
        if let Ok(host) = self.address.to_string().try_into() {
            request.headers_mut().insert(http::header::HOST, host);
        }
        self.send(request, timeout).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let address = self.address;
        let broken = |source| CallError::Broken { address, source };
        let response = self.sender().await?.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, CallError> {
        let address = self.address;
        let alive = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !alive {
            self.sender = None;
        }
        match self.sender {
            Some(ref mut sender) => Ok(sender),
            None => {
                let fresh = connect(address).await?;
                Ok(self.sender.insert(fresh))
            }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, CallError> {
    let stream = TcpStream::connect(address).await.map_err(|source| CallError::Connect { address, source })?;
    // Small requests: Nagle would add 40 ms to each that follows another closely.
    stream.set_nodelay(true).map_err(|source| CallError::Connect { address, source })?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|source| CallError::Broken { address, source })?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A request as the demo's clients send it. `host` is a fixed name: no part of the demo routes by it.
pub fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("pos.demo"));
    request
}

pub fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

/// Reads a body of at most `limit` bytes; `None` when it is larger or broke off.
pub async fn read_body(body: Incoming, limit: usize) -> Option<Bytes> {
    let limited = http_body_util::Limited::new(body, limit);
    limited.collect().await.ok().map(|collected| collected.to_bytes())
}

/// A running accept loop. Dropping it closes the listener and every connection.
pub struct Server {
    task: JoinHandle<()>,
}

impl Server {
    /// Serves HTTP/1.1 on `listener`; `handler` is cloned for each connection.
    pub fn start<H, F>(listener: TcpListener, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        Self { task: tokio::spawn(accept(listener, handler)) }
    }

    /// Runs until the listener fails for good, which it does not in practice.
    pub async fn join(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away is no event here.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
