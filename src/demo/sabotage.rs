//! A proxy between one appliance and its service that tampers with exactly one write, so that the demo's judge is seen
//! to judge.
//!
//! It passes everything on unchanged until it is armed, then waits for a write that suits, tampers, and is honest
//! again. It stands at the hub, whose service is never killed: the only thing wrong there is what it did.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;
use tokio::net::TcpListener;

use super::http::{Answer, CallError, Client, Server, read_body, respond};
use super::pos::BODY_MAX;

const PATIENCE: Duration = Duration::from_secs(10);
/// Idle connections kept to the service (G6).
const IDLE_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sabotage {
    /// Answers a success and forwards nothing.
    Lose,
    /// Forwards twice.
    Double,
    /// Holds a ledger write back until the next one of that ledger has passed.
    Swap,
    /// Forwards an older body in place of the new one.
    Stale,
}

impl std::str::FromStr for Sabotage {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "lose" => Ok(Self::Lose),
            "double" => Ok(Self::Double),
            "swap" => Ok(Self::Swap),
            "stale" => Ok(Self::Stale),
            _ => Err(format!("{word:?} is not a sabotage: lose, double, swap or stale")),
        }
    }
}

/// The write that was tampered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tampered {
    pub kind: Sabotage,
    pub site: String,
    pub key: String,
    pub method: String,
    pub path: String,
}

/// Dropping it ends the proxy.
pub struct Saboteur {
    address: SocketAddr,
    state: Arc<State>,
    _server: Server,
}

impl Saboteur {
    pub async fn start(kind: Sabotage, site: &str, upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let plan = Plan { kind, site: site.to_owned(), ..Plan::new(kind) };
        let state = Arc::new(State { upstream, idle: Mutex::default(), plan: Mutex::new(plan) });
        let shared = Arc::clone(&state);
        let server = Server::start(listener, move |request| {
            let state = Arc::clone(&shared);
            async move { state.serve(request).await }
        });
        Ok(Self { address, state, _server: server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the next write that suits is tampered with.
    pub fn arm(&self) {
        lock(&self.state.plan).armed = true;
    }

    pub fn tampered(&self) -> Option<Tampered> {
        let plan = lock(&self.state.plan);
        plan.tampered.clone().filter(|_| plan.held.is_none())
    }
}

/// A request that can be sent more than once.
#[derive(Clone, Debug)]
struct Kept {
    head: Parts,
    body: Bytes,
}

impl Kept {
    fn to_request(&self) -> Request<Full<Bytes>> {
        let mut head = self.head.clone();
        // The body's length is set anew; the connection is another one.
        for name in [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING, http::header::CONNECTION] {
            head.headers.remove(name);
        }
        Request::from_parts(head, Full::new(self.body.clone()))
    }
}

/// What to do with a request.
#[derive(Debug)]
enum Act {
    Forward,
    /// Answer with this and forward nothing (now).
    Pretend(StatusCode),
    Twice,
    /// Forward with another body.
    With(Bytes),
    /// Forward, and then this one.
    AndThen(Box<Kept>),
}

struct Plan {
    kind: Sabotage,
    site: String,
    armed: bool,
    tampered: Option<Tampered>,
    held: Option<Kept>,
    /// Last body of each promotion that passed.
    bodies: HashMap<String, Bytes>,
}

impl Plan {
    fn new(kind: Sabotage) -> Self {
        Self { kind, site: String::new(), armed: false, tampered: None, held: None, bodies: HashMap::new() }
    }

    /// Pure but for its own memory: decides, and remembers what it did.
    fn decide(&mut self, kept: &Kept) -> Act {
        let path = kept.head.uri.path().to_owned();
        let before = match kept.head.method {
            Method::PUT if path.starts_with("/promotions/") => self.bodies.insert(path.clone(), kept.body.clone()),
            _ => None,
        };
        if let Some(held) = self.held.take_if(|held| same_ledger(held.head.uri.path(), &path)) {
            return Act::AndThen(Box::new(held));
        }
        if !self.armed || self.tampered.is_some() {
            return Act::Forward;
        }
        let is_post = kept.head.method == Method::POST;
        let act = match self.kind {
            Sabotage::Lose if is_post && path.starts_with("/inventory/") => Act::Pretend(StatusCode::OK),
            Sabotage::Double if is_post && path.starts_with("/inventory/") => Act::Twice,
            Sabotage::Swap if is_post && path.starts_with("/ledger/") => {
                self.held = Some(kept.clone());
                Act::Pretend(StatusCode::OK)
            }
            Sabotage::Stale => match before {
                Some(older) if older != kept.body => Act::With(older),
                _ => return Act::Forward,
            },
            _ => return Act::Forward,
        };
        self.tampered = Some(Tampered {
            kind: self.kind,
            site: self.site.clone(),
            key: key(&kept.head),
            method: kept.head.method.to_string(),
            path,
        });
        act
    }
}

fn same_ledger(left: &str, right: &str) -> bool {
    let site = |path: &str| path.strip_prefix("/ledger/").and_then(|rest| rest.split('/').next().map(str::to_owned));
    site(left).is_some() && site(left) == site(right)
}

fn key(head: &Parts) -> String {
    let value = head.headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.trim_matches('"').to_owned()
}

struct State {
    upstream: SocketAddr,
    idle: Mutex<Vec<Client>>,
    plan: Mutex<Plan>,
}

impl State {
    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Some(body) = read_body(body, BODY_MAX).await else {
            return respond(StatusCode::PAYLOAD_TOO_LARGE, "{}");
        };
        let kept = Kept { head, body };
        let act = lock(&self.plan).decide(&kept);
        match act {
            Act::Forward => self.forward(&kept).await,
            Act::Pretend(status) => respond(status, "{}"),
            Act::Twice => {
                let first = self.forward(&kept).await;
                self.forward(&kept).await;
                first
            }
            Act::With(body) => self.forward(&Kept { body, ..kept }).await,
            Act::AndThen(held) => {
                let answer = self.forward(&kept).await;
                self.forward(&held).await;
                answer
            }
        }
    }

    async fn forward(&self, kept: &Kept) -> Response<Full<Bytes>> {
        match self.call(kept).await {
            Ok(answer) => {
                let mut response = respond(answer.status, answer.body);
                for name in [http::header::CONTENT_TYPE, http::header::LOCATION] {
                    if let Some(value) = answer.headers.get(&name) {
                        response.headers_mut().insert(name, value.clone());
                    }
                }
                response
            }
            Err(error) => respond(StatusCode::BAD_GATEWAY, format!("{{\"error\":\"{error}\"}}")),
        }
    }

    async fn call(&self, kept: &Kept) -> Result<Answer, CallError> {
        let idle = lock(&self.idle).pop();
        let mut client = idle.unwrap_or_else(|| Client::new(self.upstream));
        let answer = client.send(kept.to_request(), PATIENCE).await?;
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX {
            idle.push(client);
        }
        Ok(answer)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::http::request;
    use crate::demo::pos::{self, PosOptions};
    use serde_json::{Value, json};

    async fn send(client: &mut Client, key: &str, method: Method, path: &str, body: &Value) -> u16 {
        let mut request = request(method, path, Bytes::from(body.to_string()));
        request.headers_mut().insert("idempotency-key", format!("\"{key}\"").parse().unwrap());
        client.send(request, PATIENCE).await.unwrap().status.as_u16()
    }

    /// Sends the same writes through each kind of sabotage and reads the keys and the state that the service has then.
    async fn through(kind: Sabotage) -> (Vec<String>, Value, Tampered) {
        let dir = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = PosOptions { listen, db: dir.path().join("pos.db"), fsync: false, exit_with_stdin: false };
        let (service, _server) = pos::start(&options).await.unwrap();
        let saboteur = Saboteur::start(kind, "cloud", service).await.unwrap();
        let mut client = Client::new(saboteur.address());
        let writes = [
            ("before", Method::POST, "/inventory/4001001", json!({"add":1})),
            ("promo-1", Method::PUT, "/promotions/p1", json!({"name":"a","percent":1})),
            ("move-1", Method::POST, "/inventory/4001001", json!({"add":10})),
            ("move-2", Method::POST, "/inventory/4001001", json!({"add":100})),
            ("count-1", Method::POST, "/ledger/s/4001001", json!({"op":"set","n":3})),
            ("other", Method::POST, "/ledger/t/4001001", json!({"op":"set","n":3})),
            ("count-2", Method::POST, "/ledger/s/4001002", json!({"op":"add","n":3})),
            ("promo-2", Method::PUT, "/promotions/p1", json!({"name":"a","percent":2})),
            ("promo-3", Method::PUT, "/promotions/p1", json!({"name":"a","percent":3})),
        ];
        for (index, (key, method, path, body)) in writes.into_iter().enumerate() {
            if index == 1 {
                saboteur.arm();
            }
            assert_eq!(send(&mut client, key, method, path, &body).await, 200, "{key}");
        }
        let mut direct = Client::new(service);
        let log = direct.get("/log", PATIENCE).await.unwrap().json().unwrap();
        let keys = log.as_array().unwrap().iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
        let export = direct.get("/export", PATIENCE).await.unwrap().json().unwrap();
        (keys, export, saboteur.tampered().unwrap())
    }

    #[tokio::test]
    async fn each_kind_tampers_with_one_write_and_says_which() {
        let (keys, _, tampered) = through(Sabotage::Lose).await;
        let rest = ["count-1", "other", "count-2", "promo-2", "promo-3"];
        assert_eq!(keys, [&["before", "promo-1", "move-2"], &rest[..]].concat());
        assert_eq!((tampered.key.as_str(), tampered.path.as_str()), ("move-1", "/inventory/4001001"));

        let (keys, ..) = through(Sabotage::Double).await;
        assert_eq!(keys, [&["before", "promo-1", "move-1", "move-1", "move-2"], &rest[..]].concat());

        let (keys, _, tampered) = through(Sabotage::Swap).await;
        let start = ["before", "promo-1", "move-1", "move-2"];
        assert_eq!(keys, [&start[..], &["other", "count-2", "count-1", "promo-2", "promo-3"]].concat());
        assert_eq!((tampered.key.as_str(), tampered.kind), ("count-1", Sabotage::Swap));

        let (keys, export, tampered) = through(Sabotage::Stale).await;
        assert_eq!(keys, [&start[..], &rest[..]].concat());
        assert_eq!((tampered.key.as_str(), tampered.method.as_str()), ("promo-2", "PUT"));
        // The older body is no new revision: the state differs although a later write put the content right.
        assert_eq!(export["promotions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn words_for_sabotage() {
        assert_eq!("swap".parse(), Ok(Sabotage::Swap));
        assert!("burn".parse::<Sabotage>().unwrap_err().contains("lose, double, swap or stale"));
    }
}
