//! The little HTTP that clients and the judge need. Nothing here is the gateway's: what judges the appliance must not
//! share its code.
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

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

/// One connection, used again while it lasts. It never retries: whoever asks must know what was sent.
pub struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// `None`: no answer, for whatever reason; the connection is given up.
    pub async fn send(&mut self, request: Request<Full<Bytes>>, patience: Duration) -> Option<Answer> {
        let answer = tokio::time::timeout(patience, self.exchange(request)).await.ok().flatten();
        if answer.is_none() {
            self.sender = None;
        }
        answer
    }

    pub async fn get(&mut self, path: &str, token: Option<&str>, patience: Duration) -> Option<Answer> {
        let mut request = request(Method::GET, path, Bytes::new());
        let headers = request.headers_mut();
        headers.insert(http::header::HOST, self.address.to_string().try_into().ok()?);
        if let Some(token) = token {
            headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").try_into().ok()?);
        }
        self.send(request, patience).await
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let alive = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !alive {
            let stream = TcpStream::connect(self.address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let (head, body) = self.sender.as_mut()?.send_request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: head.status, headers: head.headers, body })
    }
}

pub fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
    request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("pos.testbed"));
    request
}
