//! A stand-in for the appliance, for tests of the demo alone: forwards, mirrors in order, remembers keys, fails over.
//! One lock per site makes every order trivial; a file with intents and answers makes `kill -9` survivable. Slow and
//! simple on purpose.
//!
//! The demo's tests start this very test program again, with a role in its environment: [`child`] then is the whole
//! program.
use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

use super::http::{CallError, Client, Server, read_body, request, respond};
use super::pos::{self, PosOptions};

pub const CHILD: &str = "demo::standin::child";
pub const ROLE: &str = "HOLDFAST_DEMO_TEST_ROLE";

const PATIENCE: Duration = Duration::from_secs(2);
/// The line broke while the other site decided: nobody decides until it is known how far it came.
const DOUBT: usize = usize::MAX;
/// Writes that cross the link together.
const PAGE: usize = 64;

/// Does nothing in an ordinary test run.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let arguments: Vec<&str> = role.split('\n').collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    match arguments.as_slice() {
        ["demo-pos", "--listen", listen, "--db", db, "--exit-with-stdin"] => {
            let (listen, db) = (listen.parse().unwrap(), PathBuf::from(db));
            runtime.block_on(pos::run(PosOptions { listen, db, fsync: false, exit_with_stdin: true })).unwrap();
        }
        ["run", "--config", config] => runtime.block_on(appliance(config)),
        other => panic!("unknown role {other:?}"),
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Write {
    key: String,
    method: String,
    path: String,
    body: String,
}

/// A line of the stand-in's file.
#[derive(Debug, Serialize, Deserialize)]
enum Entry {
    Intent(Write),
    /// Answered here; a success is owed to the other site.
    Done {
        key: String,
        status: u16,
        body: String,
    },
    MustFollow(usize),
    /// A write of the other site, applied here up to this number.
    Followed {
        key: String,
        number: usize,
    },
}

#[derive(Default)]
struct Log {
    answers: HashMap<String, (u16, String)>,
    open: HashMap<String, Write>,
    /// Successes in order, for the other site.
    series: Vec<Write>,
    followed: usize,
    /// What the other site had decided when it last decided for this one: this one decides again when it has followed
    /// so far.
    must_follow: usize,
}

impl Log {
    fn page(&self, from: usize) -> Vec<Write> {
        self.series.iter().skip(from).take(PAGE).cloned().collect()
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Intent(write) => {
                self.open.insert(write.key.clone(), write);
            }
            Entry::Done { key, status, body } => {
                if let Some(write) = self.open.remove(&key).filter(|_| status < 400) {
                    self.series.push(write);
                }
                self.answers.insert(key, (status, body));
            }
            Entry::MustFollow(length) => self.must_follow = length,
            Entry::Followed { key, number } => {
                self.followed = number;
                self.answers.entry(key).or_insert((200, "{}".to_owned()));
            }
        }
    }
}

struct Owner {
    log: Log,
    file: std::fs::File,
    service: Client,
    /// Writes that the other site is deciding right now.
    away: usize,
}

impl Owner {
    fn keep(&mut self, entry: Entry) {
        self.file.write_all(format!("{}\n", json!(entry)).as_bytes()).unwrap();
        self.log.take(entry);
    }

    async fn send(&mut self, write: &Write) -> Result<(u16, String), CallError> {
        let body = Bytes::from(write.body.clone());
        let mut request = request(write.method.parse().unwrap(), &write.path, body);
        request.headers_mut().insert("idempotency-key", write.key.parse().unwrap());
        let answer = self.service.send(request, PATIENCE).await?;
        Ok((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()))
    }

    async fn was_applied(&mut self, key: &str) -> Option<bool> {
        let answer = self.service.get(&format!("/by-key/{key}"), PATIENCE).await.ok()?;
        Some(answer.status.is_success())
    }

    /// Settles what a crash or a dead service left open. `false` while the service does not answer.
    async fn settle(&mut self) -> bool {
        let open: Vec<String> = self.log.open.keys().cloned().collect();
        for key in open {
            match self.was_applied(&key).await {
                Some(true) => self.keep(Entry::Done { key, status: 200, body: "{}".to_owned() }),
                Some(false) => {
                    self.log.open.remove(&key);
                }
                None => return false,
            }
        }
        true
    }

    async fn follow_page(&mut self, from: usize, page: Vec<Write>) -> bool {
        for (write, number) in page.into_iter().zip(from + 1..) {
            if self.log.followed + 1 != number || !self.follow(number, write).await {
                return false;
            }
        }
        true
    }

    /// A shadow. `false`: try again later.
    async fn follow(&mut self, number: usize, write: Write) -> bool {
        if !self.settle().await {
            return false;
        }
        let known = self.log.answers.get(&write.key).is_some_and(|(status, _)| *status < 400);
        let applied = known
            || match self.was_applied(&write.key).await {
                Some(true) => true,
                Some(false) => self.send(&write).await.is_ok_and(|(status, _)| status < 400),
                None => false,
            };
        if applied {
            self.keep(Entry::Followed { key: write.key, number });
        }
        applied
    }
}

struct Appliance {
    owner: Mutex<Owner>,
    length: watch::Sender<usize>,
    /// The hub, through the relay, at the edge.
    hub: Option<SocketAddr>,
}

async fn appliance(config: &str) {
    let config: toml::Table = std::fs::read_to_string(config).unwrap().parse().unwrap();
    let data_dir = PathBuf::from(config["data_dir"].as_str().unwrap());
    std::fs::create_dir_all(&data_dir).unwrap();
    let path = data_dir.join("standin.log");
    let mut log = Log::default();
    for line in std::fs::read_to_string(&path).unwrap_or_default().lines() {
        // The last line may be torn.
        serde_json::from_str(line).into_iter().for_each(|entry| log.take(entry));
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
    // Whatever was torn ends here.
    file.write_all(b"\n").unwrap();
    let address = |text: &str| text.rsplit('/').next().unwrap().parse::<SocketAddr>().unwrap();
    let service = Client::new(address(config["service"][0]["endpoints"][0]["url"].as_str().unwrap()));
    let hub = config.get("peer").map(|peers| address(peers[0]["link"].as_str().unwrap()));
    let length = watch::Sender::new(log.series.len());
    let it = Arc::new(Appliance { owner: Mutex::new(Owner { log, file, service, away: 0 }), length, hub });
    let mut servers = Vec::new();
    let mut listens = vec![
        config["gateway"]["listen"][0].as_str().unwrap().to_owned(),
        config["admin"]["listen"].as_str().unwrap().to_owned(),
    ];
    listens.extend(config.get("link").map(|link| link["listen"].as_str().unwrap().to_owned()));
    for listen in listens {
        let listener = TcpListener::bind(listen).await.unwrap();
        let it = Arc::clone(&it);
        servers.push(Server::start(listener, move |request| {
            let it = Arc::clone(&it);
            async move { it.serve(request).await }
        }));
    }
    match hub {
        Some(hub) => drop(tokio::join!(push(&it, hub), pull(&it, hub))),
        None => std::future::pending().await,
    }
}

/// Brings the hub what it has not followed.
async fn push(it: &Appliance, hub: SocketAddr) {
    let mut length = it.length.subscribe();
    loop {
        let mut link = Client::new(hub);
        while let Some(followed) = number(&mut link, "/link/followed").await {
            let next = it.owner.lock().await.log.page(followed);
            if next.is_empty() {
                let _ = tokio::time::timeout(PATIENCE / 10, length.changed()).await;
            } else {
                let body = Bytes::from(json!([followed, next]).to_string());
                let _ = link.send(request(http::Method::POST, "/link/follow", body), PATIENCE).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Fetches from the hub what this site has not followed.
async fn pull(it: &Appliance, hub: SocketAddr) {
    let mut link = Client::new(hub);
    loop {
        let followed = it.owner.lock().await.log.followed;
        let next = link.get(&format!("/link/series/{followed}"), PATIENCE).await.ok();
        let page: Vec<Write> = next.and_then(|next| serde_json::from_slice(&next.body).ok()).unwrap_or_default();
        if page.is_empty() || !it.owner.lock().await.follow_page(followed, page).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn number(link: &mut Client, path: &str) -> Option<usize> {
    let answer = link.get(path, PATIENCE).await.ok()?;
    Some(answer.json()?.as_u64()? as usize)
}

impl Appliance {
    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let body = String::from_utf8(read_body(body, 1 << 20).await.unwrap_or_default().to_vec()).unwrap();
        let header = head.headers.get("idempotency-key");
        let key = header.map(|key| key.to_str().unwrap().to_owned()).unwrap_or_default();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments.as_slice() {
            ["health", "ready"] => respond(StatusCode::OK, "{}"),
            ["api", "v1", "status"] => self.status().await,
            ["link", "followed"] => respond(StatusCode::OK, self.owner.lock().await.log.followed.to_string()),
            ["link", "length"] => respond(StatusCode::OK, self.owner.lock().await.log.series.len().to_string()),
            ["link", "series", from] => {
                let page = self.owner.lock().await.log.page(from.parse().unwrap());
                respond(StatusCode::OK, json!(page).to_string())
            }
            ["link", "follow"] => {
                let (from, page): (usize, Vec<Write>) = serde_json::from_str(&body).unwrap();
                let done = self.owner.lock().await.follow_page(from, page).await;
                respond(if done { StatusCode::OK } else { StatusCode::CONFLICT }, "")
            }
            ["link", "decide"] => self.write(serde_json::from_str(&body).unwrap()).await,
            _ if head.method == http::Method::GET => {
                let answer = self.owner.lock().await.service.get(&path, PATIENCE).await;
                answer.map_or_else(|_| unavailable(), |answer| respond(answer.status, answer.body))
            }
            _ => self.write(Write { key, method: head.method.to_string(), path, body }).await,
        }
    }

    async fn status(&self) -> Response<Full<Bytes>> {
        let (open, series, followed) = {
            let mut owner = self.owner.lock().await;
            owner.settle().await;
            (owner.log.open.len(), owner.log.series.len(), owner.log.followed)
        };
        let not_decided = match self.hub {
            Some(hub) => {
                let mut link = Client::new(hub);
                let theirs = number(&mut link, "/link/followed").await;
                let more = link.get(&format!("/link/series/{followed}"), PATIENCE).await;
                let behind = usize::from(more.map_or(true, |more| &more.body[..] != b"[]"));
                theirs.map_or(1, |theirs| series.abs_diff(theirs)) + behind
            }
            None => 0,
        };
        respond(StatusCode::OK, json!({ "open_writes": open, "peers": [{ "not_decided": not_decided }] }).to_string())
    }

    async fn write(&self, write: Write) -> Response<Full<Bytes>> {
        let mut owner = self.owner.lock().await;
        if let Some((status, body)) = owner.log.answers.get(&write.key) {
            return respond(StatusCode::from_u16(*status).unwrap(), body.clone());
        }
        if !owner.settle().await || owner.away > 0 || owner.log.followed < owner.log.must_follow {
            drop(owner);
            return self.elsewhere(&write).await;
        }
        let key = write.key.clone();
        owner.keep(Entry::Intent(write.clone()));
        match owner.send(&write).await {
            Ok((status, body)) => {
                owner.keep(Entry::Done { key, status, body: body.clone() });
                self.length.send_replace(owner.log.series.len());
                respond(StatusCode::from_u16(status).unwrap(), body)
            }
            Err(CallError::Connect { .. }) => {
                owner.log.open.remove(&key);
                drop(owner);
                self.elsewhere(&write).await
            }
            Err(_) => unavailable(),
        }
    }

    /// The other site decides once it has all that was decided here; this one follows when its service is back.
    async fn elsewhere(&self, write: &Write) -> Response<Full<Bytes>> {
        let Some(hub) = self.hub else { return unavailable() };
        let mut link = Client::new(hub);
        let settled = {
            let mut owner = self.owner.lock().await;
            owner.away += 1;
            if owner.log.must_follow != DOUBT {
                owner.keep(Entry::MustFollow(DOUBT));
            }
            owner.log.series.len()
        };
        let answer = match number(&mut link, "/link/followed").await == Some(settled) {
            true => {
                let body = Bytes::from(json!(write).to_string());
                link.send(request(http::Method::POST, "/link/decide", body), PATIENCE).await.ok()
            }
            false => None,
        };
        let length = number(&mut link, "/link/length").await;
        let mut owner = self.owner.lock().await;
        owner.away -= 1;
        if let Some(length) = length.filter(|_| owner.away == 0) {
            owner.keep(Entry::MustFollow(length));
        }
        let mut response = answer.map_or_else(unavailable, |answer| respond(answer.status, answer.body));
        response.headers_mut().insert("holdfast-served-by", http::HeaderValue::from_static(super::site::HUB));
        response
    }
}

fn unavailable() -> Response<Full<Bytes>> {
    respond(StatusCode::SERVICE_UNAVAILABLE, "{}")
}
