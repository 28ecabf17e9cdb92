//! A client that knows exactly what it sent and what it was told. It never retries by itself.
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::SOON;
use super::http::{self, Headers};

/// Why a client was told nothing.
#[derive(Debug)]
pub enum Failed {
    Connect(std::io::Error),
    Broken(std::io::Error),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::Connect(error) => write!(f, "cannot connect: {error}"),
            Failed::Broken(error) => write!(f, "no answer: {error}"),
        }
    }
}

/// An answer as the client saw it.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Told {
    pub fn header(&self, name: &str) -> Option<&str> {
        http::value(&self.headers, name)
    }
    pub fn all(&self, name: &str) -> Vec<&str> {
        http::values(&self.headers, name)
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }
    /// `code` of a problem of the appliance itself; empty for an answer of the service.
    pub fn code(&self) -> String {
        let ours = self.header("content-type") == Some("application/problem+json");
        if ours { self.json()["code"].as_str().unwrap_or_default().to_owned() } else { String::new() }
    }
    pub fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
    /// A problem of the appliance, complete as RFC 9457 and the design want it.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{:?}\n{}", self.headers, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().is_some_and(|t| t.ends_with(code)), "{problem}");
        for field in ["title", "detail", "origin", "retry", "request_id"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {problem}");
        }
        self
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    target: String,
    host: String,
    headers: Headers,
    body: Vec<u8>,
    patience: Duration,
}

impl Call {
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "127.0.0.1".to_owned(),
            headers: Headers::new(),
            body: Vec::new(),
            patience: SOON,
        }
    }
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }
    pub fn post(target: &str) -> Self {
        Self::new("POST", target)
    }
    pub fn put(target: &str) -> Self {
        Self::new("PUT", target)
    }
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }
    pub fn lane(self, lane: &str) -> Self {
        self.header("X-Session-Id", lane)
    }
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut head =
            format!("{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.method, self.target, self.host);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD" | "DELETE") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Connects and sends; the answer is not read. Dropping the stream is a client that hangs up.
    pub fn begin(&self, to: SocketAddr) -> Result<TcpStream, Failed> {
        let mut stream = TcpStream::connect(to).map_err(Failed::Connect)?;
        stream.set_nodelay(true).map_err(Failed::Connect)?;
        stream.set_read_timeout(Some(self.patience)).map_err(Failed::Connect)?;
        // A refusal may come, and the connection go, before the body is out.
        let sent = stream.write_all(&self.bytes());
        if sent.is_err() && self.body.len() < 1 << 16 {
            sent.map_err(Failed::Broken)?;
        }
        Ok(stream)
    }

    pub fn send(&self, to: SocketAddr) -> Result<Told, Failed> {
        let started = Instant::now();
        let stream = self.begin(to)?;
        read_answer(stream, &self.method, started).map_err(Failed::Broken)
    }

    #[track_caller]
    pub fn told(&self, to: SocketAddr) -> Told {
        self.send(to).unwrap_or_else(|failed| panic!("{} {}: {failed}", self.method, self.target))
    }

    /// Sends on a thread of its own.
    pub fn spawn(&self, to: SocketAddr) -> std::thread::JoinHandle<Result<Told, Failed>> {
        let call = self.clone();
        std::thread::spawn(move || call.send(to))
    }
}

pub fn read_answer(stream: TcpStream, method: &str, started: Instant) -> std::io::Result<Told> {
    let mut reader = BufReader::new(stream);
    let closed = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "closed without an answer");
    loop {
        let head = http::read_head(&mut reader)?.ok_or_else(closed)?;
        let status = head.first_line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(closed)?;
        if (100..200).contains(&status) {
            continue;
        }
        let has_body = method != "HEAD" && status != 204 && status != 304;
        let body = if has_body { http::read_body(&mut reader, &head.headers, true)? } else { Vec::new() };
        return Ok(Told { status, headers: head.headers, body, took: started.elapsed() });
    }
}
