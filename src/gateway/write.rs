//! Writes: read whole, described (lane, key, digest), handed to their group, and answered with what it says.
use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts as Head;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::app::{App, Context};
use super::arriving::{Arriving, ClientSilent};
use super::body::Body;
use super::headers::{self, IDEMPOTENCY_KEY, TRACEPARENT};
use super::parts::{self, Parts};
use super::refusal::Refusal;
use super::room;
use super::rules::ScopeRule;
use super::settings::Target;
use super::time;
use super::upstream::own_header;
use crate::idempotency::{self, KeyError};
use crate::model::{After, ClientMark, Facts, KeyHash, Problem, Request};
use crate::problem::Cause;
use crate::service::NewWrite;

impl App {
    pub(super) async fn write(
        &self,
        context: Context<'_>,
        target: &Target,
        seen: Option<After>,
        mut head: Head,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let settings = &context.service.settings;
        let key = idempotency::read(&head.method, &head.headers, settings.keys).map_err(|e| of_key(&e))?;
        // Until the group has said what became of the write, and has its own limits for what it keeps.
        let mut room = room::Bytes::default();
        let body = self.read_body(&context, &head.headers, body, &mut room).await?;
        context.add_own_headers(&mut head.headers);
        let facts = facts(&context, target, &head, key.as_deref(), &body);
        let request = Arc::new(request(&context, head, key, body));
        // Nothing here verifies who asks: what the request brings names its client (`idempotency.client`).
        let client =
            facts.key.map(|_| ClientMark::of(uuid::Uuid::new_v4().into_bytes(), &settings.clients.who(&request)));
        let write = NewWrite {
            facts: Facts { client, ..facts },
            request,
            seen: seen.unwrap_or_default(),
            refuse_stale: settings.refuse_stale,
            sender: context.client.sender(),
        };
        // A client that hangs up drops this future; the group goes on with the write.
        let reply = target.handle.submit(write).await;
        Ok(self.reply(&context, reply).await)
    }

    /// The whole body, or a refusal before anything is kept.
    async fn read_body(
        &self,
        context: &Context<'_>,
        map: &HeaderMap,
        body: Incoming,
        room: &mut room::Bytes,
    ) -> Result<Bytes, Refusal> {
        let max = context.service.settings.max_body;
        let announced = map.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if announced.is_some_and(|length| length > max as u64) {
            return Err(too_large(max));
        }
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let announced = announced.unwrap_or(0) as usize;
        let mut body = Arriving::new(body, self.body_timeout);
        let mut first = Bytes::new();
        let mut more = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| of_body(&*error))?.into_data() else { continue };
            self.room.take(&context.client.share, room, data.len()).await.map_err(|room::Full| no_room())?;
            if first.len().max(more.len()) + data.len() > max {
                return Err(too_large(max));
            }
            if first.is_empty() {
                first = data;
                continue;
            }
            if more.is_empty() {
                // Not more than is there already: what was announced may never come.
                more.reserve(announced.min(FIRST_ROOM).max(first.len() + data.len()));
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        Ok(if more.is_empty() { first } else { more.freeze() })
    }
}

/// Made for a body at once when it comes in pieces.
const FIRST_ROOM: usize = 64 << 10;

fn of_body(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Refusal {
    if error.is::<ClientSilent>() {
        return Refusal::closing(Cause::RequestTimeout);
    }
    Refusal::closing(Cause::BadRequest { what: "the body broke off, or its chunks are malformed" })
}

fn no_room() -> Refusal {
    Refusal::closing(Problem::Overloaded { what: "bodies on their way in" }.into())
}

fn too_large(limit_bytes: usize) -> Refusal {
    Refusal::closing(Cause::BodyTooLarge { limit_bytes })
}

fn of_key(error: &KeyError) -> Cause {
    Cause::KeyMalformed {
        what: match error {
            KeyError::Missing { .. } => return Cause::KeyRequired,
            KeyError::Empty { .. } => "it is empty",
            KeyError::Repeated { .. } => "it was sent more than once",
            KeyError::TooLong { .. } => "it is longer than 255 characters",
            KeyError::Malformed { what, .. } => what,
        },
    }
}

fn facts(context: &Context<'_>, target: &Target, head: &Head, key: Option<&str>, body: &Bytes) -> Facts {
    let map = &head.headers;
    let host = parts::host_of(context.authority.to_str().unwrap_or_default());
    let parts = Parts { path: &context.path, host, headers: map, client: context.client.address, body };
    let content_type = map.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let store = &target.group.store;
    // One spelling: a retry that only spells its path differently is the same request.
    let spelled = match head.uri.query() {
        Some(query) => Cow::Owned(format!("{}?{query}", context.path)),
        None => Cow::Borrowed(context.path.as_str()),
    };
    let digest = idempotency::of_request(head.method.as_str(), &spelled, content_type, store, body);
    let scope = || -> Vec<(String, Vec<u8>)> {
        let value = |rule: &ScopeRule| (rule.to_string(), rule.value(&parts).unwrap_or_default());
        context.service.settings.scope.iter().map(value).collect()
    };
    let hash = |key| KeyHash::of(&target.group, &scope(), key);
    let (lane, by_path) = context.service.settings.lane.find(&parts);
    Facts {
        lane,
        key: key.map(hash),
        digest,
        client: None,
        original_ms: time::wall_ms(),
        traceparent: map.get(TRACEPARENT).and_then(|v| v.to_str().ok()).map(str::to_owned),
        renews: Vec::new(),
        creates: by_path && head.method == http::Method::POST,
    }
}

fn path_and_query(head: &Head) -> &str {
    head.uri.path_and_query().map_or("/", |p| p.as_str())
}

/// The request as every replica will get it.
fn request(context: &Context<'_>, head: Head, key: Option<String>, body: Bytes) -> Request {
    // A length of none is said again where the client said it.
    let without = if body.is_empty() { &[][..] } else { &[CONTENT_LENGTH][..] };
    let mut kept = headers::keep(&head.headers, &head.extensions, without);
    if !head.headers.contains_key(IDEMPOTENCY_KEY) {
        // In the envoy dialect the request id is the key.
        let key = key.unwrap_or_else(|| time::uuid_v7(time::wall_ms()).to_string());
        kept.push(own_header(&IDEMPOTENCY_KEY, &key));
    }
    Request {
        method: head.method.as_str().to_owned(),
        target: path_and_query(&head).to_owned(),
        authority: context.authority.to_str().unwrap_or_default().to_owned(),
        headers: kept,
        body,
    }
}
