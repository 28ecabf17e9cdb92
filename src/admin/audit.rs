//! What people ordered, as records among the lines of log.
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

use super::listen::ClientAddress;
use super::routes::refuse;
use crate::privacy::Privacy;
use crate::problem::Cause;
use crate::telemetry::{self, Audit};

/// Answers to orders are short.
const RESULT_BYTES_MAX: usize = 256 << 10;

/// Carries out an order and keeps a record of it, whatever came of it. The record stands before the answer is given.
pub(super) async fn audited(by: &'static str, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<ClientAddress>().map(|client| client.0);
    // What an invitation is told of its code's secret is for its own file.
    let choice = Privacy::default().query(request.uri().query().unwrap_or_default());
    let order = request.uri().path().to_owned();
    let request_id = uuid::Uuid::now_v7().to_string();
    let response = next.run(request).await;
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, RESULT_BYTES_MAX).await else { return refuse(Cause::Internal) };
    let mut result: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    // What was refused has an id already.
    let request_id = result.get("request_id").and_then(|id| id.as_str()).map_or(request_id, str::to_owned);
    if let Some(problem) = result.as_object_mut().filter(|_| !head.status.is_success()) {
        problem.retain(|name, _| matches!(name.as_str(), "code" | "detail"));
    }
    telemetry::audit(&Audit {
        request_id: &request_id,
        client,
        by,
        order: &order,
        choice: &choice,
        status: head.status.as_u16(),
        result,
    });
    Response::from_parts(head, Body::from(bytes))
}
