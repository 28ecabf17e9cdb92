//! One till: rings up baskets, retries as real tills do, and records what it was told.
//!
//! Everything it does follows from its seed and the answers it gets. A write keeps its key over all tries; the next one
//! is sent only when the last one has ended, so a till's writes have an order that nobody may change.
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::catalogue::PRODUCTS;
use super::history::{Ending, Told};
use super::http::{Answer, Client, request};
use super::pos::hex;
use super::tills::Shared;

/// A till waits longer than the appliance bounds any wait of a client (`timeout.total`).
const PATIENCE: Duration = Duration::from_secs(6);
const BACKOFF_FIRST: Duration = Duration::from_millis(40);
const BACKOFF_MAX: Duration = Duration::from_millis(400);
/// Articles that the site counts: few, so that tills meet.
const COUNTED: usize = 6;

/// Where a till stands and whom it can ask.
#[derive(Clone, Debug)]
pub struct Place {
    pub till: String,
    pub home: String,
    pub home_address: SocketAddr,
    pub other: String,
    pub other_address: SocketAddr,
    /// The site's first till also looks after its promotions.
    pub leads: bool,
}

pub struct Till {
    place: Place,
    random: fastrand::Rng,
    client: Client,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    writes: u64,
}

/// How far a write may go when its own site does not answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Only its own site: its order against others counts.
    Home,
    /// Now and then the answer gets lost and the other site is asked with the same key. Only for what commutes.
    BothSites,
}

struct Draft {
    method: Method,
    path: String,
    body: Bytes,
    lane: Option<String>,
    reach: Reach,
}

impl Till {
    pub fn new(place: Place, seed: u64, shared: Arc<Shared>, stop: watch::Receiver<bool>) -> Self {
        let client = Client::new(place.home_address);
        Self { place, random: fastrand::Rng::with_seed(seed), client, shared, stop, writes: 0 }
    }

    /// Sells until told to stop, then finishes what it has begun.
    pub async fn run(mut self) {
        let mut sale = 0;
        while !self.closes() {
            sale += 1;
            self.sell(sale).await;
            if !self.closes() && self.random.u32(0..100) < 60 {
                self.count().await;
            }
            if !self.closes() && self.random.u32(0..100) < 40 {
                self.receive_goods().await;
            }
            if !self.closes() && self.place.leads && self.random.u32(0..100) < 50 {
                self.promote().await;
            }
        }
    }

    fn closes(&self) -> bool {
        *self.stop.borrow()
    }

    async fn sell(&mut self, sale: u64) -> Option<()> {
        let id = format!("{}-{sale:04}", self.place.till);
        let path = format!("/transactions/{id}");
        let opening = json!({ "id": id, "till": self.place.till });
        self.sale(Method::POST, "/transactions".to_owned(), &opening).await?;
        let mut open_cents = 0;
        for _ in 0..self.random.u32(1..5) {
            let product = self.random.choice(PRODUCTS)?;
            let line = json!({ "sku": product.sku, "quantity": self.random.u32(1..4) });
            open_cents = open_of(&self.sale(Method::POST, format!("{path}/lines"), &line).await?)?;
        }
        if self.random.u32(0..100) < 6 {
            // A bar code that nobody knows: 404.
            self.sale(Method::POST, format!("{path}/lines"), &json!({ "sku": "9999999", "quantity": 1 })).await;
        }
        if self.random.u32(0..100) < 15 {
            let line = json!({ "sku": PRODUCTS[0].sku, "quantity": 1 });
            let answer = self.sale(Method::POST, format!("{path}/lines"), &line).await?;
            let n = answer.get("n")?.as_i64()?;
            open_cents = open_of(&self.sale(Method::DELETE, format!("{path}/lines/{n}"), &Value::Null).await?)?;
        }
        if self.random.u32(0..100) < 20 {
            let change = json!({ "customer": format!("c{:03}", self.random.u32(0..200)), "discount_percent": 10 });
            open_cents = open_of(&self.sale(Method::PUT, path.clone(), &change).await?)?;
        }
        self.pay(&path, open_cents).await?;
        if self.random.u32(0..100) < 30 && self.client.get(&path, PATIENCE).await.is_ok() {
            self.shared.progress.reads.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn pay(&mut self, path: &str, open_cents: i64) -> Option<()> {
        let path = format!("{path}/payments");
        if self.random.u32(0..100) < 5 {
            // One zero too many: 409.
            self.sale(Method::POST, path.clone(), &json!({ "method": "cash", "cents": open_cents * 10 })).await;
        }
        let mut rest = open_cents;
        if self.random.u32(0..100) < 15 && open_cents > 200 {
            let voucher = json!({ "method": "voucher", "cents": 100 });
            rest = open_of(&self.sale(Method::POST, path.clone(), &voucher).await?)?;
        }
        if rest > 0 {
            let method = if self.random.bool() { "card" } else { "cash" };
            self.sale(Method::POST, path, &json!({ "method": method, "cents": rest })).await?;
        }
        Some(())
    }

    /// A count or correction in the site's ledger, among those of its other tills.
    async fn count(&mut self) {
        let sku = PRODUCTS[self.random.usize(0..COUNTED)].sku;
        let entry = format!("{}-{}", self.place.till, self.writes);
        let body = match self.random.u32(0..3) {
            0 => json!({ "op": "set", "n": self.random.i32(1..500), "entry": entry }),
            1 => json!({ "op": "multiply", "n": self.random.i32(2..7), "entry": entry }),
            _ => json!({ "op": "add", "n": self.random.i32(-20..40), "entry": entry }),
        };
        let path = format!("/ledger/{}/{sku}", self.place.home);
        let lane = Some(self.place.home.clone());
        self.write(Draft { method: Method::POST, path, body: text(&body), lane, reach: Reach::Home }).await;
    }

    /// Both sites book deliveries for the same stock: increments, in any order.
    async fn receive_goods(&mut self) {
        let path = format!("/inventory/{}", self.random.choice(PRODUCTS).map_or("", |product| product.sku));
        let body = text(&json!({ "add": self.random.i32(1..25) }));
        self.write(Draft { method: Method::POST, path, body, lane: None, reach: Reach::BothSites }).await;
    }

    async fn promote(&mut self) {
        let path = format!("/promotions/{}-{}", self.place.home, self.random.u32(0..3));
        let name = self.random.choice(["Breakfast", "Barbecue", "Wine week", "Spring cleaning"]).unwrap_or("Sale");
        let body = text(&json!({ "name": name, "percent": self.random.i32(5..40) }));
        let lane = Some(path.clone());
        self.write(Draft { method: Method::PUT, path, body, lane, reach: Reach::Home }).await;
    }

    /// A write of the current sale; the answer's JSON when it succeeded.
    async fn sale(&mut self, method: Method, path: String, body: &Value) -> Option<Value> {
        let body = if body.is_null() { Bytes::new() } else { text(body) };
        let lane = Some(self.place.till.clone());
        self.write(Draft { method, path, body, lane, reach: Reach::Home }).await
    }

    async fn write(&mut self, draft: Draft) -> Option<Value> {
        let think = self.shared.think;
        tokio::time::sleep(think.mul_f64(0.5 + self.random.f64())).await;
        self.writes += 1;
        let key = format!("{}-{:06}-{:08x}", self.place.till, self.writes, self.random.u32(..));
        let mut told = Told {
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
            served_by: None,
        };
        self.shared.progress.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = self.until_told(&draft, &mut told).await;
        self.shared.progress.waiting.fetch_sub(1, Ordering::Relaxed);
        self.shared.progress.ended(&told);
        self.shared.history.record(told);
        answer
    }

    /// Tries with the same key until somebody says how it ended, or the till gives up.
    async fn until_told(&mut self, draft: &Draft, told: &mut Told) -> Option<Value> {
        let deadline = told.sent + self.shared.give_up;
        let mut backoff = BACKOFF_FIRST;
        let mut loses_answer = draft.reach == Reach::BothSites && self.random.u32(0..100) < 12;
        while self.shared.history.now() < deadline {
            let away = draft.reach == Reach::BothSites && told.tries > 0 && told.tries % 2 == 1;
            let answer = self.attempt(draft, told, away).await;
            if let Some(answer) = answer.filter(|_| !std::mem::take(&mut loses_answer))
                && let Some(ending) = ending(&answer)
            {
                told.answered = Some(self.shared.history.now());
                told.ending = ending;
                let served_by = answer.headers.get("holdfast-served-by").and_then(|site| site.to_str().ok());
                told.served_by = served_by.map(str::to_owned);
                return answer.json().filter(|_| told.is_acknowledged());
            }
            tokio::time::sleep(backoff.mul_f64(0.5 + self.random.f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        None
    }

    async fn attempt(&mut self, draft: &Draft, told: &mut Told, away: bool) -> Option<Answer> {
        let site = if away { &self.place.other } else { &self.place.home };
        if !told.sites.contains(site) {
            told.sites.push(site.clone());
        }
        told.tries += 1;
        let mut request = request(draft.method.clone(), &draft.path, draft.body.clone());
        let headers = request.headers_mut();
        headers.insert("idempotency-key", HeaderValue::try_from(&told.key).ok()?);
        headers.insert("x-session-id", HeaderValue::try_from(&self.place.till).ok()?);
        if !draft.body.is_empty() {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let sent = if away {
            Client::new(self.place.other_address).send(request, PATIENCE).await
        } else {
            self.client.send(request, PATIENCE).await
        };
        sent.ok()
    }
}

fn text(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

fn open_of(answer: &Value) -> Option<i64> {
    answer.get("open_cents")?.as_i64()
}

/// How an answer ends a write; `None` when the till must ask again.
fn ending(answer: &Answer) -> Option<Ending> {
    let status = answer.status.as_u16();
    match status {
        202 => None,
        200..=399 => Some(Ending::Acknowledged { status }),
        408 | 425 | 429 => None,
        400..=499 if asks_for_another_try(answer) => None,
        400..=499 => Some(Ending::Refused { status }),
        _ => None,
    }
}

/// An error page that is the appliance's own and says that the same key may be tried again, such as 409 for a copy in
/// flight.
fn asks_for_another_try(answer: &Answer) -> bool {
    let kind = answer.headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some(problem) = answer.json().filter(|_| kind.starts_with("application/problem+json")) else { return false };
    let field = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    matches!(field("origin").as_str(), "appliance" | "peer") && field("retry") != "never"
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};

    #[test]
    fn a_till_knows_when_to_ask_again() {
        let problem = |retry: &str| format!(r#"{{"origin":"appliance","retry":"{retry}"}}"#);
        let cases = [
            (200, "{}".to_owned(), Some(Ending::Acknowledged { status: 200 })),
            (201, "{}".to_owned(), Some(Ending::Acknowledged { status: 201 })),
            (202, "{}".to_owned(), None),
            (404, "{}".to_owned(), Some(Ending::Refused { status: 404 })),
            (409, "{}".to_owned(), Some(Ending::Refused { status: 409 })),
            (409, problem("same-key"), None),
            (422, problem("never"), Some(Ending::Refused { status: 422 })),
            (429, "{}".to_owned(), None),
            (500, "{}".to_owned(), None),
            (503, problem("safe"), None),
            (504, problem("unknown"), None),
        ];
        for (status, body, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            let status = StatusCode::from_u16(status).unwrap();
            let answer = Answer { status, headers, body: Bytes::from(body.clone()) };
            assert_eq!(ending(&answer), expected, "{status} {body}");
        }
    }
}
