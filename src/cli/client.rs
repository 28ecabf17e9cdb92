//! Asks a running appliance over its admin listener.
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::args::{ADMIN, Ask};
use super::exit::{Exit, Failure};
use super::output::safe;
use crate::admin::HOLDFAST_ADMIN;
use crate::privacy::Privacy;
use crate::problem::Code;

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
    let authority = authority(&ask.admin)?;
    let admin = format!("http://{authority}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    let token = Token::of(ask);
    let answer = runtime.block_on(async {
        let within = timeout.as_secs();
        let slow = || Failure::new(Exit::TryAgain, format!("{admin} did not answer within {within} s"));
        tokio::time::timeout(timeout, exchange(&authority, &token, method, path)).await.unwrap_or_else(|_| Err(slow()))
    });
    let (status, headers, body) = answer?;
    let json: Value = serde_json::from_slice(&body).map_err(|error| {
        Failure::internal(format!("{admin} answered {status} with something that is not JSON: {error}"))
    })?;
    if (200..300).contains(&status) {
        return Ok((json, headers));
    }
    let text = |name: &str| json.get(name).and_then(Value::as_str).map_or("?".to_owned(), safe);
    let exit = if (400..500).contains(&status) { Exit::Usage } else { Exit::Internal };
    let said = format!("{} ({}): {}", text("title"), text("code"), text("detail"));
    Err(match json.get("code").and_then(Value::as_str) {
        Some(code) if code == Code::Unauthorized.name() => {
            Failure::new(exit, format!("{} ({code}): {}", text("title"), token.advice(&admin)))
        }
        _ => Failure::new(exit, said),
    })
}

/// What is shown to the appliance, and who has named it.
struct Token {
    value: Option<String>,
    by: &'static str,
}

impl Token {
    fn of(ask: &Ask) -> Self {
        let named = |text: &String| !text.is_empty();
        match ask.token.clone().filter(named) {
            Some(value) => Self { value: Some(value), by: "--token" },
            None => Self { value: std::env::var("HOLDFAST_TOKEN").ok().filter(named), by: "HOLDFAST_TOKEN" },
        }
    }

    /// Where it is refused.
    fn advice(&self, admin: &str) -> String {
        let first = match self.value {
            Some(_) => format!("the token of {} is not that of the appliance at {admin}", self.by),
            None => format!("the appliance at {admin} asks for its token: give it with --token, or in HOLDFAST_TOKEN"),
        };
        format!(
            "{first}; it is token under [admin] in the configuration of that appliance (where that names a variable, \
             its value is in /etc/holdfast/environment, or with K3s in the secret holdfast-admin). One without a token \
             is asked on its own machine, as http://127.0.0.1:PORT"
        )
    }
}

/// Of `--admin`. What else stands there may be a secret, and is not repeated.
fn authority(admin: &str) -> Result<Authority, Failure> {
    let wrong = || {
        let shown = Privacy::default().target(admin);
        Failure::usage(format!("--admin {shown:?} is not an address; write for example {ADMIN}"))
    };
    let uri: http::Uri = admin.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    if authority.as_str().contains('@') {
        return Err(Failure::usage(
            "--admin names nobody before its host: a token goes into --token or HOLDFAST_TOKEN",
        ));
    }
    Ok(authority.clone())
}

async fn exchange(
    authority: &Authority,
    token: &Token,
    method: Method,
    path: &str,
) -> Result<(u16, HeaderMap, Bytes), Failure> {
    let admin = format!("http://{authority}");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(|error| {
        let what = format!(
            "no appliance answers at {admin}: {error}; start it (systemctl start holdfast, or holdfast run), or name \
             the admin.listen of one that runs with --admin"
        );
        Failure::new(Exit::TryAgain, what)
    })?;
    let broken =
        |error: hyper::Error| Failure::new(Exit::TryAgain, format!("the exchange with {admin} broke: {error}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, authority.as_str());
    if let Some(value) = &token.value {
        request = request.header(AUTHORIZATION, format!("Bearer {value}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| {
        Failure::usage(format!(
            "the token of {} has signs that cannot stand in a header, such as an end of line",
            token.by
        ))
    })?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    // Of a stranger nothing more is read: it may have no end.
    if !headers.contains_key(HOLDFAST_ADMIN) {
        return Err(Failure::usage(format!(
            "{admin} answers ({status}), and is no admin listener of holdfast: name the admin.listen of an appliance \
             with --admin"
        )));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    let body =
        body.map_err(|error| Failure::new(Exit::TryAgain, format!("the answer of {admin} broke off: {error}")))?;
    Ok((status, headers, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_a_password_in_it_is_not_repeated() {
        for admin in ["http://127.0.0.1:9797", "http://[::1]:9797/", "http://appliance:1"] {
            authority(admin).unwrap();
        }
        for admin in [
            "127.0.0.1:9797",
            "https://127.0.0.1:9797",
            "nonsense",
            "http://me:s3cret@127.0.0.1:9797",
            "https://me:s3cret@127.0.0.1:9797",
            "me:s3cret@127.0.0.1",
            "http://me:s3 cret@127.0.0.1",
            "http://127.0.0.1/ ?token=s3cret",
            "",
        ] {
            let failure = authority(admin).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(!failure.to_string().contains("cret"), "{failure}");
        }
    }

    #[test]
    fn who_is_refused_is_told_where_tokens_come_from() {
        let said = |value: Option<&str>, by| Token { value: value.map(str::to_owned), by }.advice("http://a:1");
        for part in ["--token", "HOLDFAST_TOKEN", "under [admin]"] {
            assert!(said(None, "HOLDFAST_TOKEN").contains(part), "{part}");
        }
        assert!(said(Some("s3cret"), "--token").starts_with("the token of --token is not that of"));
        assert!(!said(Some("s3cret"), "HOLDFAST_TOKEN").contains("s3cret"));
    }
}
