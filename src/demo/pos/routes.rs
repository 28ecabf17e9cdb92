//! Requests in, answers out: parsing, the key, the body's hash; everything else happens in the database threads.
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::apply::hex;
use super::database::{Database, Write};
use super::operation::{self, Refusal};
use super::read;
use crate::demo::http::{read_body, respond};

/// No till sends more.
pub const BODY_MAX: usize = 256 << 10;

pub async fn serve(database: &Database, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if head.method == Method::GET || head.method == Method::HEAD {
        return get(database, path, head.uri.query()).await;
    }
    let Some(body) = read_body(body, BODY_MAX).await else {
        return refused(&Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("body is over {BODY_MAX} bytes or broken"),
        ));
    };
    let operation = match operation::parse(&head.method, path, &body) {
        Ok(operation) => operation,
        Err(refusal) => return refused(&refusal),
    };
    let write = Write {
        key: key(&head.headers).to_owned(),
        method: head.method.to_string(),
        path: path.to_owned(),
        body_sha256: hex(&Sha256::digest(&body)),
        operation,
    };
    match database.write(write).await {
        Ok(Ok(applied)) => {
            let status = StatusCode::from_u16(applied.status).unwrap_or(StatusCode::OK);
            let mut response = respond(status, applied.body);
            if let Some(location) = applied.location.and_then(|location| HeaderValue::try_from(location).ok()) {
                response.headers_mut().insert(http::header::LOCATION, location);
            }
            response
        }
        Ok(Err(refusal)) => refused(&refusal),
        Err(broken) => failed(&broken.to_string()),
    }
}

async fn get(database: &Database, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
    if path == "/health" {
        return respond(StatusCode::OK, r#"{"status":"ok"}"#);
    }
    let Some(query) = read::parse(path, query) else {
        return refused(&Refusal::new(StatusCode::NOT_FOUND, format!("there is no {path}")));
    };
    match database.read(query).await {
        Ok(answer) => respond(answer.status, answer.body),
        Err(broken) => failed(&broken.to_string()),
    }
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    respond(refusal.status, json!({ "error": refusal.error }).to_string())
}

fn failed(detail: &str) -> Response<Full<Bytes>> {
    respond(StatusCode::INTERNAL_SERVER_ERROR, json!({ "error": detail }).to_string())
}

/// The key as the client named it: the quoted and the bare form are the same.
fn key(headers: &HeaderMap) -> &str {
    let value = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
