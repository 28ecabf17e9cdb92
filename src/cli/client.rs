//! Asks a running appliance over its admin listener.
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::args::Ask;
use super::exit::{Exit, Failure};

/// A page of 1,000 writes has less.
const ANSWER_MAX_BYTES: usize = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn get(ask: &Ask, path: &str) -> Result<Value, Failure> {
    get_within(ask, path, TIMEOUT)
}

pub(super) fn get_within(ask: &Ask, path: &str, timeout: Duration) -> Result<Value, Failure> {
    Ok(call(ask, Method::GET, path, timeout)?.0)
}

/// A list that may be longer than this answer: how long it is, and where it goes on.
pub(super) fn page(ask: &Ask, path: &str) -> Result<(Value, u64, Option<String>), Failure> {
    let (value, headers) = call(ask, Method::GET, path, TIMEOUT)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let total = header("holdfast-total").and_then(|total| total.parse().ok()).unwrap_or_default();
    Ok((value, total, header("holdfast-next")))
}

pub(super) fn post(ask: &Ask, path: &str) -> Result<Value, Failure> {
    Ok(call(ask, Method::POST, path, TIMEOUT)?.0)
}

/// One segment of a path or one value of a query.
pub(super) fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn call(ask: &Ask, method: Method, path: &str, timeout: Duration) -> Result<(Value, HeaderMap), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let token = ask.token.clone().or_else(|| std::env::var("HOLDFAST_TOKEN").ok());
    let answer = runtime.block_on(async {
        let within = timeout.as_secs();
        tokio::time::timeout(timeout, exchange(&ask.admin, token, method, path))
            .await
            .unwrap_or_else(|_| Err(Failure::internal(format!("{} did not answer within {within} s", ask.admin))))
    });
    let (status, headers, body) = answer?;
    let json: Value = serde_json::from_slice(&body).map_err(|error| {
        Failure::internal(format!(
            "{} answered {status} with something that is not JSON: {error}; is it an admin listener?",
            ask.admin
        ))
    })?;
    if (200..300).contains(&status) {
        return Ok((json, headers));
    }
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
    let exit = if (400..500).contains(&status) { Exit::Usage } else { Exit::Internal };
    Err(Failure::new(exit, format!("{} ({}): {}", text("title"), text("code"), text("detail"))))
}

async fn exchange(
    admin: &str,
    token: Option<String>,
    method: Method,
    path: &str,
) -> Result<(u16, HeaderMap, Bytes), Failure> {
    let wrong =
        || Failure::usage(format!("--admin {admin:?} is not an address; write for example http://127.0.0.1:9797"));
    let uri: http::Uri = admin.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(|error| {
        Failure::internal(format!(
            "no appliance answers at {admin}: {error}; start it, or name its admin.listen with --admin"
        ))
    })?;
    let broken = |error: hyper::Error| Failure::internal(format!("the exchange with {admin} broke: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request =
        request.body(Empty::<Bytes>::new()).map_err(|_| Failure::usage("the token cannot stand in a header"))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    let body = body.map_err(|error| Failure::internal(format!("the answer of {admin} broke off: {error}")))?;
    Ok((status, headers, body.to_bytes()))
}
