//! A gateway, a group task that answers at once, services that misbehave on order, and a client made of bytes.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::gateway::*;
use crate::model::{After, Group, LogId, Problem, SiteName, WriteId};
use crate::service::{Attempt, AttemptResult, Command, Handle, NewWrite, Reply};

/// How far the fake group's replica says it is.
pub const DECIDED: u64 = 100;
pub const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a loaded machine; no test that passes waits for it.
pub const SOON: Duration = Duration::from_secs(60);

pub fn write_id(n: u64) -> WriteId {
    WriteId { log: LogId { store: [7; 16], incarnation: 1 }, n }
}

pub fn site() -> SiteName {
    SiteName::new("store-1")
}

pub fn upstream_settings(addresses: &[SocketAddr]) -> UpstreamSettings {
    let endpoint = |a: &SocketAddr| EndpointSettings::parse(&format!("http://{a}")).unwrap();
    UpstreamSettings {
        metrics: Arc::default(),
        service: "tx".into(),
        endpoints: addresses.iter().map(endpoint).collect(),
        pool: PoolSettings { connect_timeout: SOON, in_flight: 64, idle: 16, idle_timeout: SOON },
        try_timeout: SOON,
        health: None,
        max_replay_body: 64 << 10,
        large_answers: 1 << 20,
        probe: None,
        replay_auth: None,
        tries: 3,
    }
}

/// What the fake group has been given.
#[derive(Default)]
pub struct Seen {
    pub writes: Vec<NewWrite>,
    pub results: Vec<AttemptResult>,
}

/// Sends every write on at once; the same key gets the recorded answer.
pub fn group(upstream: Arc<Upstream>, decider: &str) -> (Handle, Arc<Mutex<Seen>>) {
    let (commands, mut receiver) = mpsc::channel(64);
    let (_, decider) = watch::channel(Some(SiteName::new(decider)));
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let noted = seen.clone();
    tokio::spawn(async move {
        let mut recorded = HashMap::new();
        let mut n = 0;
        while let Some(command) = receiver.recv().await {
            match command {
                Command::Submit { write, reply, .. } => {
                    n += 1;
                    let id = write_id(n);
                    noted.lock().unwrap().writes.push(write.clone());
                    if write.request.target.contains("queue") {
                        let _ = reply.send(Reply::Queued { id });
                        continue;
                    }
                    let mut served = After::new();
                    served.raise(id.log, n);
                    let answer = |answer, replayed| Reply::Answer {
                        id,
                        answer,
                        replayed,
                        served_by: site(),
                        seen: served.clone(),
                    };
                    if let Some((digest, first)) = write.facts.key.and_then(|key| recorded.get(&key)) {
                        let same = *digest == write.facts.digest;
                        let problem = Reply::Problem { id: Some(id), problem: Problem::KeyReused };
                        let _ = reply.send(if same { answer(Arc::clone(first), true) } else { problem });
                        continue;
                    }
                    let attempt = Attempt { id, attempt: 1, request: write.request, origin: site(), shadow: None };
                    let result = upstream.attempt(attempt).await;
                    noted.lock().unwrap().results.push(result.clone());
                    let said = match result {
                        AttemptResult::Answered(first) => {
                            write.facts.key.map(|key| recorded.insert(key, (write.facts.digest, first.clone())));
                            answer(first, false)
                        }
                        AttemptResult::Refused(own) => answer(own, false),
                        AttemptResult::NeverSent { .. } => {
                            Reply::Problem { id: None, problem: Problem::NoReplica { retry_after_s: 3 } }
                        }
                        AttemptResult::Broken { .. } => {
                            Reply::Problem { id: Some(id), problem: Problem::OutcomeUnknown }
                        }
                    };
                    let _ = reply.send(said);
                }
                Command::AwaitSeen { seen, reply, .. } => {
                    let fresh = seen.position(write_id(0).log) < 100;
                    let _ = reply.send(Reply::Go { fresh, seen });
                }
                _ => {}
            }
        }
    });
    let mut here = After::new();
    here.raise(write_id(0).log, DECIDED);
    // A watch keeps its last value when its sender is gone.
    let (_, decided) = tokio::sync::watch::channel(here);
    (Handle::new(commands, tokio::sync::mpsc::channel(1).0, decider, decided), seen)
}

struct Plainly;

impl Tokens for Plainly {
    fn token(&self, id: WriteId) -> String {
        format!("tok-{}", id.n)
    }
}

impl StatusPages for Plainly {
    fn status<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<http::Response<Body>>> {
        let known =
            token.starts_with("tok-").then(|| http::Response::new(Body::Full("{\"status\":\"queued\"}".into())));
        Box::pin(std::future::ready(known))
    }
}

/// Answers reads as the site `cloud` would.
struct Peer;

impl PeerProxy for Peer {
    fn proxy<'a>(
        &'a self,
        site: &'a SiteName,
        group: &'a Group,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Result<http::Response<Body>, PeerError>> {
        let text = format!("{site} {group} {} {:?}", request.uri(), request.headers().get("holdfast-seen").is_some());
        Box::pin(std::future::ready(Ok(http::Response::new(Body::Full(text.into())))))
    }
}

pub struct Fixture {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    pub running: tokio::task::JoinHandle<bool>,
}

impl Fixture {
    pub fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// One service `tx` for everything, another one without replicas under `/plain`.
pub async fn gateway(upstream: UpstreamSettings, change: impl FnOnce(&mut ServiceSettings)) -> Fixture {
    gateway_with(upstream, site().as_str(), change, |_| {}).await
}

pub async fn gateway_with(
    upstream: UpstreamSettings,
    decider: &str,
    change: impl FnOnce(&mut ServiceSettings),
    change_gateway: impl FnOnce(&mut GatewaySettings),
) -> Fixture {
    let upstream = Upstream::new(upstream);
    let (handle, seen) = group(upstream.clone(), decider);
    let mut settings = ServiceSettings::new("tx", vec![Match::default()]);
    settings.max_body = 10_000;
    change(&mut settings);
    let group = Group { service: "tx".into(), store: String::new() };
    let plain = Match { host: None, path: Some("/plain".into()) };
    let services = vec![
        ServiceEntry { settings, upstream: upstream.clone(), groups: Groups::One(Target { group, handle }) },
        ServiceEntry { settings: ServiceSettings::new("plain", vec![plain]), upstream, groups: Groups::Plain },
    ];
    let neighbours = Neighbours { tokens: Arc::new(Plainly), status: Arc::new(Plainly), peers: Some(Arc::new(Peer)) };
    let listen = ListenSettings { address: "127.0.0.1:0".parse().unwrap(), tls: None };
    let mut settings = GatewaySettings::new(site(), vec![listen]);
    change_gateway(&mut settings);
    let gateway = Gateway::bind(settings, services, neighbours).await.unwrap();
    let address = gateway.addresses()[0];
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(gateway.run(async move {
        let _ = stopped.await;
    }));
    Fixture { address, seen, stop: Some(stop), running }
}

/// A service made of bytes: reads one request, then does what `script` says. The request numbers count over
/// connections.
pub struct Service {
    pub address: SocketAddr,
    pub requests: Arc<Mutex<Vec<String>>>,
    pub connections: Arc<AtomicUsize>,
    /// Connections that the service has ended itself.
    pub closed: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub enum Step {
    /// Writes and keeps the connection.
    Write(String),
    Wait(Duration),
    /// Waits until the test lets one more pass.
    Pass(Arc<Semaphore>),
    /// Ends the connection.
    Close,
}

/// An address that refuses connections for as long as the socket lives: bound, so that nobody else gets it, and not
/// listening.
pub fn dead() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub fn ok(body: &str) -> Vec<Step> {
    vec![Step::Write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))]
}

pub async fn service(script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (requests, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
    let closed = Arc::<AtomicUsize>::default();
    let (noted, counted, ended, script) = (requests.clone(), connections.clone(), closed.clone(), Arc::new(script));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let (noted, ended, script) = (noted.clone(), ended.clone(), script.clone());
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Some(request) = read_message(&mut stream, &mut held, false).await {
                    let n = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(request.clone());
                        noted.len()
                    };
                    for step in script(n, &request) {
                        match step {
                            Step::Write(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
                            Step::Wait(time) => tokio::time::sleep(time).await,
                            Step::Pass(gate) => gate.acquire().await.expect("no gate is ever closed").forget(),
                            Step::Close => {
                                // Said, not only dropped: a child that is being started somewhere holds a copy for a
                                // moment.
                                let _ = stream.shutdown().await;
                                drop(stream);
                                ended.fetch_add(1, Ordering::SeqCst);
                                return;
                            }
                        }
                    }
                }
            });
        }
    });
    Service { address, requests, connections, closed }
}

/// One HTTP/1.1 message as text, chunked framing and all. `None`: the connection ended (with `partial`: what came).
pub async fn read_message(stream: &mut TcpStream, held: &mut Vec<u8>, partial: bool) -> Option<String> {
    loop {
        if let Some(length) = message_length(held) {
            let rest = held.split_off(length);
            let message = std::mem::replace(held, rest);
            return Some(String::from_utf8_lossy(&message).into_owned());
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => held.extend_from_slice(&buffer[..n]),
            _ if partial && !held.is_empty() => {
                return Some(String::from_utf8_lossy(&std::mem::take(held)).into_owned());
            }
            _ => return None,
        }
    }
}

fn message_length(held: &[u8]) -> Option<usize> {
    let head = held.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&held[..head]).to_ascii_lowercase();
    if text.starts_with("http/1.1 100") {
        return Some(head);
    }
    if text.contains("transfer-encoding: chunked") {
        let end = held[head - 2..].windows(5).position(|w| w == b"\n0\r\n\r" || w == b"0\r\n\r\n");
        let trailers = held[head..].windows(4).rposition(|w| w == b"\r\n\r\n");
        return end.map(|_| head + trailers.unwrap() + 4).or_else(|| {
            let last = held[head..].windows(5).position(|w| w == b"\r\n0\r\n")? + head + 5;
            Some(held[last..].windows(4).position(|w| w == b"\r\n\r\n")? + last + 4)
        });
    }
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let whole = head + length.unwrap_or(0);
    (held.len() >= whole).then_some(whole)
}

/// A client's connection.
pub struct Wire {
    pub stream: TcpStream,
    held: Vec<u8>,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), held: Vec::new() }
    }
    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
    pub async fn read(&mut self) -> String {
        let read = read_message(&mut self.stream, &mut self.held, true);
        tokio::time::timeout(SOON, read).await.expect("an answer in time").unwrap_or_default()
    }
    pub async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.read().await
    }
    /// Whether the other side ends the connection.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(tokio::time::timeout(SOON, self.stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
    }
}

pub async fn ask(address: SocketAddr, text: &str) -> String {
    Wire::to(address).await.ask(text).await
}

pub fn post(path: &str, lines: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: shop.example\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

pub fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} did not come true"));
}
