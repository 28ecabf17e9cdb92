//! Requests in, answers out, and how one service asks another.
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use holdfast::demo::http::{Answer, CallError, Client, read_body, request, respond};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::problem::{Kind, Problem};
use super::store::{self, Store};

pub type Reply = Response<Full<Bytes>>;

const BODY_MAX: usize = 64 << 10;
/// What ties a call to the one it is made for. Services pass it on.
const CONTEXT: [&str; 3] = ["idempotency-key", "x-request-id", "traceparent"];

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub key: String,
    pub context: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub async fn read(request: Request<Incoming>) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let Some(body) = read_body(body, BODY_MAX).await else {
            return Err(Problem::new(Kind::TooLarge, format!("over {BODY_MAX} bytes, or broken off")));
        };
        let mut context = HeaderMap::new();
        for name in CONTEXT {
            context.extend(head.headers.get(name).map(|value| (http::HeaderName::from_static(name), value.clone())));
        }
        let (path, query) = (head.uri.path().to_owned(), head.uri.query().map(str::to_owned));
        Ok(Self { method: head.method, path, query, key: key(&context).to_owned(), context, body })
    }

    /// A write as it was kept, to be carried on after a crash.
    pub fn again(method: Method, path: String, key: String, body: String) -> Self {
        let mut context = HeaderMap::new();
        context
            .extend(HeaderValue::try_from(&key).ok().map(|value| (http::HeaderName::from_static(CONTEXT[0]), value)));
        Self { method, path, query: None, key, context, body: body.into() }
    }

    pub fn segments(&self) -> Vec<&str> {
        self.path.trim_matches('/').split('/').collect()
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| Problem::new(Kind::BadRequest, format!("body: {error}")))
    }

    pub fn body_sha256(&self) -> String {
        format!("{:x}", Sha256::digest(&self.body))
    }

    pub fn unknown(&self) -> Problem {
        Problem::new(Kind::NotFound, format!("{} {} is nothing here", self.method, self.path))
    }
}

/// The key as the client named it: the quoted and the bare form are the same.
fn key(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTEXT[0]).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// Ids, restaurants, slots, guests: they stand in paths and headers.
pub fn named(what: &str, name: &str) -> Result<(), Problem> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=128).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    let detail = format!("{what} {name:?} is no name: 1 to 128 letters, digits, '-', '_' or '.'");
    Err(Problem::new(Kind::BadRequest, detail))
}

pub fn told(status: StatusCode, body: &Value) -> Reply {
    respond(status, body.to_string())
}

pub fn created(location: &str, body: &Value) -> Reply {
    let mut reply = told(StatusCode::CREATED, body);
    reply.headers_mut().extend(HeaderValue::try_from(location).ok().map(|at| (http::header::LOCATION, at)));
    reply
}

/// What every one of the four tells about itself: its health, its log, what it holds, what became of a key.
pub async fn common(store: &Store, tables: &'static [(&str, &str)], asked: &Asked) -> Result<Reply, Problem> {
    if asked.method != Method::GET {
        return Err(asked.unknown());
    }
    let body = match asked.segments().as_slice() {
        ["health"] => json!({ "status": "ok" }),
        ["export"] => store.run(|db| store::dump(db, tables)).await?,
        ["log"] => {
            let after = after(asked)?;
            let select = "select seq, key, method, path, body_sha256 from log where seq > ?1 order by seq";
            store.run(move |db| store::rows(db, select, [after])).await?.into()
        }
        [collection, "by-key", key] => {
            let (collection, key) = ((*collection).to_owned(), (*key).to_owned());
            let found = store.run(move |db| store::by_key(db, &collection, &key)).await?;
            let Some(logged) = found else { return Err(asked.unknown()) };
            return Ok(told(probed(logged.status), &json!({ "status": logged.status, "answer": logged.answer })));
        }
        _ => return Err(asked.unknown()),
    };
    Ok(told(StatusCode::OK, &body))
}

pub fn after(asked: &Asked) -> Result<i64, Problem> {
    let text = asked.query.as_deref().and_then(|query| query.strip_prefix("after=")).unwrap_or("0");
    text.parse().map_err(|_| Problem::new(Kind::BadRequest, format!("after={text} is no number")))
}

/// What a probe is told: applied, or, where a problem changed something, neither yes nor no.
fn probed(status: u16) -> StatusCode {
    if status < 400 { StatusCode::OK } else { StatusCode::CONFLICT }
}

/// Another service, and how long it may take.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: &'static str,
    pub at: SocketAddr,
    pub patience: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It cannot have done anything.
    NeverSent,
    /// It may have done it.
    NoWord,
}

impl Peer {
    /// Whatever the other one says.
    pub async fn ask(&self, method: Method, path: &str, for_whom: &Asked, body: Bytes) -> Result<Answer, Silence> {
        let mut request = request(method, path, body);
        request.headers_mut().extend(for_whom.context.clone());
        request.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match Client::new(self.at).send(request, self.patience).await {
            Ok(answer) => Ok(answer),
            Err(CallError::Connect { .. }) => Err(Silence::NeverSent),
            Err(_) => Err(Silence::NoWord),
        }
    }

    /// A 5xx says as little as no answer.
    pub async fn call(&self, method: Method, path: &str, for_whom: &Asked, body: Bytes) -> Result<Answer, Silence> {
        let answer = self.ask(method, path, for_whom, body).await?;
        if answer.status.is_server_error() { Err(Silence::NoWord) } else { Ok(answer) }
    }

    pub async fn post(&self, path: &str, for_whom: &Asked, body: &Value) -> Result<Answer, Silence> {
        self.call(Method::POST, path, for_whom, body.to_string().into()).await
    }

    /// What it did for this key, if anything.
    pub async fn by_key(&self, collection: &str, for_whom: &Asked) -> Result<Option<Value>, Silence> {
        let path = format!("/{collection}/by-key/{}", for_whom.key);
        let answer = self.call(Method::GET, &path, for_whom, Bytes::new()).await?;
        match answer.status.as_u16() {
            200 => Ok(answer.json().map(|told| told["answer"].clone())),
            404 => Ok(None),
            _ => Err(Silence::NoWord),
        }
    }

    pub fn silent(&self, silence: Silence) -> Problem {
        match silence {
            Silence::NeverSent => Problem::new(Kind::NotReachable, format!("{} is out of reach", self.name)),
            Silence::NoWord => Problem::new(Kind::NoWord, format!("{} gave no word", self.name)),
        }
    }
}

/// Passes on what another service said, as it said it.
pub fn passed_on(answer: Answer) -> Reply {
    let mut reply = respond(answer.status, answer.body);
    for name in [http::header::CONTENT_TYPE, http::header::LOCATION, super::problem::DOWNSTREAM_RESOURCE] {
        if let Some(value) = answer.headers.get(&name) {
            reply.headers_mut().insert(name, value.clone());
        }
    }
    reply
}
