//! Load: clients that behave as tills do, keep their key over all tries, and record what they were told.
//!
//! A client sends its next write only when the last one has ended, at the pace that the scenario asks for; what a fault
//! held up it catches up with. Everything follows from its seed and the answers it gets.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use holdfast::demo::history::{Ending, History, Told};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::guest::Guest;
use super::http::{Answer, Connection, request};
use super::scenario::Mix;

/// A client waits longer than the appliance bounds any wait (`timeout.total`).
const PATIENCE: Duration = Duration::from_secs(6);
const BACKOFF_FIRST: Duration = Duration::from_millis(40);
const BACKOFF_MAX: Duration = Duration::from_millis(400);
/// So many writes behind its pace a client makes up for; the rest of a long outage is not asked for.
const BEHIND_MAX: u32 = 20;
/// Articles of the demo's shop, few so that clients meet.
const ARTICLES: [(&str, i64); 6] =
    [("4001001", 119), ("4001003", 229), ("4002003", 129), ("4003001", 179), ("4004003", 149), ("4005002", 129)];

/// Shared by all clients of a run.
#[derive(Debug, Default)]
pub struct Shared {
    pub history: History,
    /// Writes that have been begun, and tries.
    pub begun: AtomicU64,
    pub tries: AtomicU64,
    /// Writes that a client asked about once more, and those of them whose second answer at the same site was another
    /// one (G4).
    pub asked_again: AtomicU64,
    pub other_answers: AtomicU64,
}

/// Who a client is and whom it may ask.
#[derive(Clone, Debug)]
pub struct Place {
    /// Also the lane of its sales. Begins with `owner` and a dot.
    pub till: String,
    /// Whose data it writes: its site, or with a hub its store.
    pub owner: String,
    pub home: String,
    pub home_at: SocketAddr,
    /// Sites that hold the same data; asked with the same key when its own gives no answer.
    pub others: Vec<(String, SocketAddr)>,
    /// Say in a header which store is meant.
    pub names_store: bool,
    /// Looks after promotions too.
    pub leads: bool,
    pub mix: Mix,
    pub pace: Duration,
    pub give_up: Duration,
}

pub struct Client {
    place: Place,
    random: fastrand::Rng,
    connection: Connection,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    writes: u64,
    sales: u64,
    sale: Option<Sale>,
    guest: Guest,
}

/// A sale that is being rung up.
struct Sale {
    path: String,
    lines: u32,
    open_cents: i64,
}

pub struct Draft {
    pub method: Method,
    pub path: String,
    pub body: Bytes,
    pub lane: Option<String>,
    /// It commutes, so any site may be asked, and now and then an answer is lost.
    pub anywhere: bool,
}

impl Client {
    pub fn new(place: Place, seed: u64, shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Self {
        let connection = Connection::new(place.home_at);
        let random = fastrand::Rng::with_seed(seed);
        let guest = Guest::new(&place.till, &place.owner, place.leads, place.mix);
        Self { place, random, connection, shared, stop, writes: 0, sales: 0, sale: None, guest }
    }

    /// Writes until told to stop.
    pub async fn run(mut self) {
        let pace = self.place.pace;
        let mut due = Instant::now() + pace.mul_f64(self.random.f64());
        while !*self.stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                _ = self.stop.changed() => break,
            }
            self.step().await;
            let earliest = Instant::now().checked_sub(pace * BEHIND_MAX).unwrap_or(due);
            due = (due + pace).max(earliest);
        }
    }

    async fn step(&mut self) {
        match self.place.mix {
            Mix::Stock => return self.receive_goods().await,
            Mix::Guests | Mix::PayFirst => return self.visit().await,
            Mix::Tills => {}
        }
        match self.random.u32(0..100) {
            0..20 => self.count().await,
            20..32 => self.receive_goods().await,
            32..37 if self.place.leads => self.promote().await,
            _ => self.sell().await,
        }
    }

    /// The next request of its sale. After a refusal or no word it begins another one.
    async fn sell(&mut self) {
        let lane = Some(self.place.till.clone());
        let draft = |method, path: String, body: &Value| {
            let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
            Draft { method, path, body, lane: lane.clone(), anywhere: false }
        };
        let Some(mut sale) = self.sale.take() else {
            self.sales += 1;
            let id = format!("{}-{:05}", self.place.till, self.sales);
            let body = json!({ "id": id, "till": self.place.till });
            let path = format!("/transactions/{id}");
            if self.write(draft(Method::POST, "/transactions".to_owned(), &body)).await.is_some() {
                self.sale = Some(Sale { path, lines: 0, open_cents: 0 });
            }
            return;
        };
        let Sale { path, lines, open_cents } = &mut sale;
        let answer = if *lines < 4 && (*lines == 0 || self.random.u32(0..100) < 60) {
            let (sku, _) = self.random.choice(ARTICLES).unwrap_or(ARTICLES[0]);
            let line = json!({ "sku": sku, "quantity": self.random.u32(1..4) });
            *lines += 1;
            self.write(draft(Method::POST, format!("{path}/lines"), &line)).await
        } else if self.random.u32(0..100) < 15 {
            let change = json!({ "customer": format!("c{:03}", self.random.u32(0..200)), "discount_percent": 10 });
            self.write(draft(Method::PUT, path.clone(), &change)).await
        } else {
            let payment = json!({ "method": "card", "cents": *open_cents });
            self.write(draft(Method::POST, format!("{path}/payments"), &payment)).await
        };
        let open = answer.and_then(|answer| answer.get("open_cents")?.as_i64());
        self.sale = open.filter(|open| *open > 0).map(|open_cents| Sale { open_cents, ..sale });
    }

    /// The next request of a guest.
    async fn visit(&mut self) {
        let draft = self.guest.next(&mut self.random);
        let restaurant = draft.lane.clone();
        if let Some(answer) = self.write(draft).await {
            self.guest.told(restaurant, &answer);
        }
    }

    /// In the ledger of its owner, among the counts of its other clients there.
    async fn count(&mut self) {
        let (sku, _) = self.random.choice(ARTICLES).unwrap_or(ARTICLES[0]);
        // Clients at a hub count in a book of their own: what two sites take of one lane at once has no order.
        let book = if self.place.home == self.place.owner {
            self.place.owner.clone()
        } else {
            format!("{}.{}", self.place.owner, self.place.home)
        };
        let entry = format!("{}-{}", self.place.till, self.writes);
        let body = match self.random.u32(0..3) {
            0 => json!({ "op": "set", "n": self.random.i32(1..500), "entry": entry }),
            1 => json!({ "op": "multiply", "n": self.random.i32(2..7), "entry": entry }),
            _ => json!({ "op": "add", "n": self.random.i32(-20..40), "entry": entry }),
        };
        let (path, body) = (format!("/ledger/{book}/{sku}"), Bytes::from(body.to_string()));
        self.write(Draft { method: Method::POST, path, body, lane: Some(book), anywhere: false }).await;
    }

    async fn receive_goods(&mut self) {
        let (sku, _) = self.random.choice(ARTICLES).unwrap_or(ARTICLES[0]);
        let body = Bytes::from(json!({ "add": self.random.i32(1..25) }).to_string());
        self.write(Draft { method: Method::POST, path: format!("/inventory/{sku}"), body, lane: None, anywhere: true })
            .await;
    }

    async fn promote(&mut self) {
        let path = format!("/promotions/{}-{}", self.place.till, self.random.u32(0..3));
        let body = Bytes::from(json!({ "name": "Wine week", "percent": self.random.i32(5..40) }).to_string());
        let lane = Some(path.clone());
        self.write(Draft { method: Method::PUT, path, body, lane, anywhere: false }).await;
    }

    /// The answer's JSON when it succeeded.
    async fn write(&mut self, draft: Draft) -> Option<Value> {
        self.writes += 1;
        self.shared.begun.fetch_add(1, Relaxed);
        let key = format!("{}-{:06}-{:08x}", self.place.till, self.writes, self.random.u32(..));
        let mut told = Told {
            served_by: None,
            key,
            method: draft.method.to_string(),
            path: draft.path.clone(),
            body_sha256: hex(&Sha256::digest(&draft.body)),
            till: self.place.till.clone(),
            home: self.place.home.clone(),
            sites: Vec::with_capacity(1),
            lane: draft.lane.clone(),
            tries: 0,
            sent: self.shared.history.now(),
            answered: None,
            ending: Ending::Unanswered,
        };
        let answer = self.until_told(&draft, &mut told).await;
        let is_good = matches!(told.ending, Ending::Acknowledged { .. });
        self.shared.history.record(told);
        answer.filter(|_| is_good)
    }

    async fn until_told(&mut self, draft: &Draft, told: &mut Told) -> Option<Value> {
        let deadline = told.sent + self.place.give_up;
        let mut backoff = BACKOFF_FIRST;
        let mut loses_answer = self.random.u32(0..100) < 8;
        let mut lost = None;
        while self.shared.history.now() < deadline {
            // What commutes may be asked at another site every second time; a lost answer is asked for at the same one
            // too.
            let away = draft.anywhere && told.tries % 2 == 1 && (lost.is_none() || self.random.bool());
            let answer = self.attempt(draft, told, away).await;
            if let Some(answer) = answer
                && let Some(ending) = ending(&answer)
            {
                if std::mem::take(&mut loses_answer) {
                    lost = Some(answer).filter(|_| !away);
                    continue;
                }
                if let Some(lost) = lost.filter(|_| !away) {
                    self.compare(&lost, &answer, told);
                }
                told.answered = Some(self.shared.history.now());
                told.ending = ending;
                return answer.json();
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + self.random.f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        None
    }

    fn compare(&self, lost: &Answer, answer: &Answer, told: &Told) {
        self.shared.asked_again.fetch_add(1, Relaxed);
        if (lost.status, &lost.body) != (answer.status, &answer.body) {
            self.shared.other_answers.fetch_add(1, Relaxed);
            let text = |answer: &Answer| format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
            let (first, second) = (text(lost), text(answer));
            eprintln!("  {} {} {}: first {first}, then {second}", told.key, told.method, told.path);
        }
    }

    async fn attempt(&mut self, draft: &Draft, told: &mut Told, away: bool) -> Option<Answer> {
        let away = (away && !self.place.others.is_empty())
            .then(|| self.place.others[told.tries as usize / 2 % self.place.others.len()].clone());
        let site = away.as_ref().map_or(&self.place.home, |(name, _)| name);
        if !told.sites.contains(site) {
            told.sites.push(site.clone());
        }
        told.tries += 1;
        self.shared.tries.fetch_add(1, Relaxed);
        let mut request = request(draft.method.clone(), &draft.path, draft.body.clone());
        let headers = request.headers_mut();
        headers.insert("idempotency-key", HeaderValue::try_from(&told.key).ok()?);
        headers.insert("x-session-id", HeaderValue::try_from(&self.place.till).ok()?);
        if self.place.names_store {
            headers.insert("x-store", HeaderValue::try_from(&self.place.owner).ok()?);
        }
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match away {
            Some((_, at)) => Connection::new(at).send(request, PATIENCE).await,
            None => self.connection.send(request, PATIENCE).await,
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How an answer ends a write; `None`: ask again.
fn ending(answer: &Answer) -> Option<Ending> {
    let status = answer.status.as_u16();
    match status {
        202 | 408 | 425 | 429 => None,
        200..=399 => Some(Ending::Acknowledged { status }),
        400..=499 if asks_for_another_try(answer) => None,
        400..=499 => Some(Ending::Refused { status }),
        _ => None,
    }
}

/// The appliance's own error page that says that the same key may be tried again, such as 409 for a copy in flight.
fn asks_for_another_try(answer: &Answer) -> bool {
    let kind = answer.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some(problem) = answer.json().filter(|_| kind.starts_with("application/problem+json")) else { return false };
    let origin = problem["origin"].as_str().unwrap_or_default();
    matches!(origin, "appliance" | "peer") && problem["retry"].as_str() != Some("never")
}
