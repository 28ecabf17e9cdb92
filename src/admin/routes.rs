//! The addresses.
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body::Body as _;
use tokio::sync::Semaphore;

use super::audit::audited;
use super::guard::{Guard, is_addressed};
use super::listen::ClientAddress;
use super::source::{AdminSource, OperateError};
use super::view::{HealthState, InviteQuery, QuarantineQuery, ShowQuery, WritesQuery};
use crate::model::{Problem, WriteId};
use crate::places::InWork;
use crate::problem::{self, Cause};
use crate::service::Operation;

/// Operators, probes and one or two scrapers; more is an accident.
pub const IN_FLIGHT_MAX: usize = 64;
/// In every answer: by this commands tell an appliance from whatever else answers at an address.
pub const HOLDFAST_ADMIN: HeaderName = HeaderName::from_static("holdfast-admin");
/// Beside a list: how long all its pages are together, and where the next one begins.
const HOLDFAST_TOTAL: HeaderName = HeaderName::from_static("holdfast-total");
const HOLDFAST_NEXT: HeaderName = HeaderName::from_static("holdfast-next");
/// Orders are short.
const BODY_BYTES_MAX: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub fn router<S: AdminSource>(source: Arc<S>, guard: Guard) -> Router {
    let api = Router::new()
        .route("/status", get(status::<S>))
        .route("/peers", get(peers::<S>))
        .route("/services", get(services::<S>))
        .route("/conflicts", get(conflicts::<S>))
        .route("/seen", post(seen::<S>))
        .route("/services/{service}/resume", post(resume::<S>))
        .route("/identity/invites", post(invite::<S>))
        .route("/writes", get(writes::<S>))
        .route("/writes/{id}", get(write::<S>))
        .route("/quarantine", get(quarantine::<S>))
        .route("/quarantine/{id}", get(quarantined::<S>).post(order_many::<S>))
        .route("/quarantine/{id}/{operation}", post(operate::<S>));
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let routes = Router::new()
        .route("/health/live", get(live::<S>))
        .route("/health/ready", get(ready::<S>))
        .route("/health", get(health::<S>))
        .route("/metrics", get(metrics::<S>))
        .nest("/api/v1", api)
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .layer(middleware::from_fn_with_state((guard, in_flight), admit))
        .with_state(source);
    Router::new().fallback_service(routes).layer(middleware::from_fn(finished))
}

async fn admit(State((guard, in_flight)): State<(Guard, Arc<Semaphore>)>, request: Request, next: Next) -> Response {
    let allowed =
        is_addressed(&request).and_then(|()| guard.check(request.method(), request.uri().path(), request.headers()));
    if let Err(cause) = allowed {
        let client = request.extensions().get::<ClientAddress>().map(|client| client.0);
        tracing::warn!(?client, path = request.uri().path(), why = cause.code().name(), "admin request refused");
        return refuse(cause);
    }
    let request = match with_body(request).await {
        Ok(request) => request,
        Err(cause) => return refuse(cause),
    };
    let _busy = request.extensions().get::<InWork>().map(InWork::begin);
    match in_flight.try_acquire() {
        Ok(_permit) if request.method() == Method::POST => audited(guard.by(), request, next).await,
        Ok(_permit) => next.run(request).await,
        Err(_) => refuse(Problem::Overloaded { what: "admin requests" }.into()),
    }
}

/// Nothing is worked on before it is here whole: a slow body holds its connection, and nobody's place among those in
/// flight.
async fn with_body(request: Request) -> Result<Request, Cause> {
    let (head, body) = request.into_parts();
    let too_large = Cause::BodyTooLarge { limit_bytes: BODY_BYTES_MAX };
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large);
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(_)) => Err(too_large),
        Err(_) => Err(Cause::RequestTimeout),
    }
}

/// An error of this listener, with a fresh request id.
pub(super) fn refuse(cause: Cause) -> Response {
    let request_id = uuid::Uuid::now_v7().to_string();
    problem::response(&cause, &request_id).map(Body::new)
}

async fn nothing(request: Request) -> Response {
    refuse(Cause::NotFound { path: request.uri().path().to_owned() })
}

/// Which methods the address has, [`finished`] knows.
async fn other_method(request: Request) -> Response {
    let (method, allowed) = (request.method().to_string(), String::new());
    refuse(Cause::MethodNotAllowed { method, allowed })
}

async fn finished(request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let mut response = in_our_words(method, next.run(request).await);
    response.headers_mut().insert(HOLDFAST_ADMIN, HeaderValue::from_static("1"));
    response
}

/// Some refusals are the router's own. Which methods an address has, it says in `Allow`, behind whoever wrote the
/// answer: outside of it they come into the text.
fn in_our_words(method: String, response: Response) -> Response {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let (allowed, kind) = (text(ALLOW), text(CONTENT_TYPE));
    match allowed.filter(|_| response.status() == StatusCode::METHOD_NOT_ALLOWED) {
        Some(allowed) => refuse(Cause::MethodNotAllowed { method, allowed: allowed.replace(',', ", ") }),
        None if response.status().is_client_error() && kind != Some("application/problem+json") => {
            refuse(Cause::BadRequest { what: "its address or its query cannot be read" })
        }
        None => response,
    }
}

fn up_or_down(up: bool, state: HealthState) -> Response {
    let status = if up { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "state": state }))).into_response()
}

async fn live<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    let state = source.state().await;
    up_or_down(state.is_live(), state)
}

async fn ready<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    let state = source.state().await;
    up_or_down(state.is_ready(), state)
}

async fn health<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    let health = source.health().await;
    let status = if health.state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn status<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    Json(source.status().await).into_response()
}

async fn peers<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    Json(source.peers().await).into_response()
}

async fn services<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    Json(source.services().await).into_response()
}

async fn conflicts<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    Json(source.conflicts().await).into_response()
}

async fn seen<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    Json(source.seen().await).into_response()
}

async fn writes<S: AdminSource>(
    State(source): State<Arc<S>>,
    query: Result<Query<WritesQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refuse(Cause::BadRequest { what: "the query may have service, open, after and limit (from 1)" });
    };
    match source.writes(query).await {
        Ok(list) => Json(list).into_response(),
        Err(error) => carried_out(Err(error), ""),
    }
}

type Show = Result<Query<ShowQuery>, axum::extract::rejection::QueryRejection>;

const SHOW: &str = "the query may have body=true";

async fn write<S: AdminSource>(State(source): State<Arc<S>>, Path(asked): Path<String>, show: Show) -> Response {
    let Ok(Query(show)) = show else { return refuse(Cause::BadRequest { what: SHOW }) };
    match source.write(&asked, show).await {
        Some(write) => Json(write).into_response(),
        None => refuse(Cause::UnknownWrite { asked }),
    }
}

type Chosen = Result<Query<QuarantineQuery>, axum::extract::rejection::QueryRejection>;

const CHOICE: &str = "the query may have service, store, reason, since_ms, lane, firsts, after, limit (from 1), and \
                      for orders keep_going and all";
const UNCHOSEN: &str = "an order about many names at least one of service, store, reason, since_ms or lane, or says \
                        all=true; one about a single write is POST /api/v1/quarantine/{id}/{order}";

async fn quarantine<S: AdminSource>(State(source): State<Arc<S>>, query: Chosen) -> Response {
    let Ok(Query(query)) = query else { return refuse(Cause::BadRequest { what: CHOICE }) };
    match source.quarantine(query).await {
        Ok(list) => {
            let mut response = Json(list.entries).into_response();
            let headers = response.headers_mut();
            headers.insert(HOLDFAST_TOTAL, list.total.into());
            if let Some(next) = list.next.and_then(|next| HeaderValue::try_from(next).ok()) {
                headers.insert(HOLDFAST_NEXT, next);
            }
            response
        }
        Err(error) => carried_out(Err(error), ""),
    }
}

async fn order_many<S: AdminSource>(
    State(source): State<Arc<S>>,
    Path(operation): Path<String>,
    query: Chosen,
) -> Response {
    let Ok(Query(query)) = query else { return refuse(Cause::BadRequest { what: CHOICE }) };
    let Some(operation) = operation_named(&operation) else {
        return refuse(Cause::NotFound { path: format!("/api/v1/quarantine/{operation}") });
    };
    if !query.all && !query.chooses() {
        return refuse(Cause::BadRequest { what: UNCHOSEN });
    }
    match source.order_many(query, operation).await {
        Ok(ordered) => Json(ordered).into_response(),
        Err(error) => carried_out(Err(error), ""),
    }
}

fn operation_named(name: &str) -> Option<Operation> {
    match name {
        "applied" => Some(Operation::Applied),
        "resend" => Some(Operation::Resend),
        "resend-over-later" => Some(Operation::ResendOverLater),
        "discard" => Some(Operation::Discard),
        _ => None,
    }
}

async fn quarantined<S: AdminSource>(State(source): State<Arc<S>>, Path(asked): Path<String>, show: Show) -> Response {
    let Ok(Query(show)) = show else { return refuse(Cause::BadRequest { what: SHOW }) };
    match source.quarantined(&asked, show).await {
        Some(entry) => Json(entry).into_response(),
        None => refuse(Cause::UnknownWrite { asked }),
    }
}

async fn operate<S: AdminSource>(
    State(source): State<Arc<S>>,
    Path((asked, operation)): Path<(String, String)>,
) -> Response {
    let Some(operation) = operation_named(&operation) else {
        return refuse(Cause::NotFound { path: format!("/api/v1/quarantine/{asked}/{operation}") });
    };
    let Ok(id) = asked.parse::<WriteId>() else { return refuse(Cause::UnknownWrite { asked }) };
    carried_out(source.operate(id, operation).await, &asked)
}

#[derive(serde::Deserialize)]
struct Store {
    #[serde(default)]
    store: String,
}

async fn resume<S: AdminSource>(
    State(source): State<Arc<S>>,
    Path(service): Path<String>,
    Query(store): Query<Store>,
) -> Response {
    carried_out(source.resume(&service, &store.store).await, &service)
}

async fn invite<S: AdminSource>(
    State(source): State<Arc<S>>,
    query: Result<Query<InviteQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refuse(Cause::BadRequest {
            what: "the query has site, hours and secret (SHA-256 of the code's secret)",
        });
    };
    match source.invite(query).await {
        Ok(made) => Json(made).into_response(),
        Err(error) => carried_out(Err(error), ""),
    }
}

fn carried_out(result: Result<(), OperateError>, asked: &str) -> Response {
    match result {
        Ok(()) => Json(serde_json::json!({ "done": true })).into_response(),
        Err(OperateError::UnknownWrite(_)) => refuse(Cause::UnknownWrite { asked: asked.to_owned() }),
        Err(OperateError::UnknownService { asked, known }) => refuse(Cause::UnknownService { asked, known }),
        Err(OperateError::Rejected(why)) => refuse(Cause::OperationRejected { why }),
        Err(OperateError::Gone) => refuse(Problem::Draining.into()),
    }
}

async fn metrics<S: AdminSource>(State(source): State<Arc<S>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], source.metrics().await).into_response()
}
