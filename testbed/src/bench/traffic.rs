//! The requests of the measurements: 1 KiB POSTs with a key of their own and a lane.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use tokio::task::LocalSet;

use super::Error;
use crate::load::{Connection, Maker, Pace, Plan, Ticket};

pub const BODY_BYTES: usize = 1_024;
pub const TIMEOUT: Duration = Duration::from_secs(10);
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LANE: HeaderName = HeaderName::from_static("x-session-id");

/// Path of the service in front of the counting upstream.
pub const ORDERS: &str = "/orders";
/// Path of the demo's service.
pub const TRANSACTIONS: &str = "/transactions";

/// The same 1 KiB body each time.
pub fn orders(run: String, lanes: usize) -> Maker {
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let uri = Uri::from_static(ORDERS);
    let lanes = lane_names("lane", lanes);
    Arc::new(move |ticket| post(uri.clone(), &format!("{run}-{}", ticket.n), lane(&lanes, ticket), body.clone()))
}

/// A new transaction of the demo's service, padded to 1 KiB; its receipt depends on the order of writes of its till,
/// which is the lane.
pub fn transactions(run: String, site: &str, lanes: usize) -> Maker {
    let uri = Uri::from_static(TRANSACTIONS);
    let lanes = lane_names(site, lanes);
    Arc::new(move |ticket| {
        let key = format!("{run}-{}", ticket.n);
        let lane = lane(&lanes, ticket);
        let till = lane.to_str().unwrap_or_default();
        let mut body = format!("{{\"id\":\"{key}\",\"till\":\"{till}\",\"note\":\"");
        let padding = BODY_BYTES.saturating_sub(body.len() + 2);
        body.extend(std::iter::repeat_n('x', padding));
        body.push_str("\"}");
        post(uri.clone(), &key, lane, body.into())
    })
}

/// One request with a key; for a service that is not told what it is.
pub fn post(uri: Uri, key: &str, lane: HeaderValue, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.reserve(4);
    headers.insert(header::HOST, HeaderValue::from_static("bench.test"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(KEY, HeaderValue::from_str(key).expect("keys are made of letters, digits and hyphens"));
    headers.insert(LANE, lane);
    request
}

fn lane_names(prefix: &str, lanes: usize) -> Vec<HeaderValue> {
    let name = |n| HeaderValue::from_str(&format!("{prefix}-{n}")).expect("lanes are named by letters and digits");
    (0..lanes.max(1)).map(name).collect()
}

/// By connection and not by request: with as many lanes as connections, the connections of a closed loop never wait for
/// each other.
fn lane(lanes: &[HeaderValue], ticket: Ticket) -> HeaderValue {
    lanes[ticket.connection % lanes.len()].clone()
}

/// A plan that ends by its number of requests.
pub fn closed(target: std::net::SocketAddr, connections: usize, requests: u64, make: Maker) -> Plan {
    Plan {
        target,
        connections,
        threads: 1,
        pace: Pace::Closed,
        requests_max: requests,
        duration_max: Duration::from_secs(300),
        timeout: TIMEOUT,
        make,
        keep_samples: false,
    }
}

/// One question from outside of any runtime.
pub fn ask(
    target: std::net::SocketAddr,
    request: Request<Full<Bytes>>,
    patience: Duration,
) -> Option<(StatusCode, HeaderMap, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let question = async { tokio::time::timeout(patience, Connection::new(target).ask(request)).await.ok().flatten() };
    LocalSet::new().block_on(&runtime, question)
}

pub fn get(target: std::net::SocketAddr, path: &str, patience: Duration) -> Result<(StatusCode, Vec<u8>), Error> {
    let what = || Error::NoAnswer { what: format!("GET {path} at {target}") };
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = path.parse().map_err(|_| what())?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("bench.test"));
    ask(target, request, patience).map(|(status, _, body)| (status, body)).ok_or_else(what)
}

/// Part of every key of one run, so that a journal or a service that is used again sees new ones.
pub fn run_name(what: &str) -> String {
    format!("{what}-{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[test]
    fn transactions_are_json_of_one_kibibyte_with_a_key_and_a_lane_each() {
        let make = transactions("run".to_owned(), "store", 3);
        for n in [0, 7, 12_345] {
            let request = make(Ticket { n, connection: n as usize });
            assert_eq!(request.headers()[KEY], format!("run-{n}"));
            assert_eq!(request.headers()[LANE], format!("store-{}", n % 3));
            let body = LocalSet::new().block_on(
                &tokio::runtime::Builder::new_current_thread().build().unwrap(),
                request.into_body().collect(),
            );
            let body = body.unwrap().to_bytes();
            assert_eq!(body.len(), BODY_BYTES);
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["till"], format!("store-{}", n % 3));
        }
    }
}
