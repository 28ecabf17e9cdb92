//! What a group said about a write, as HTTP.
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};

use super::app::{App, Context, STATUS_PATH};
use super::body::Body;
use super::h1::Spelling;
use super::headers::{self, HOLDFAST_SEEN, HOLDFAST_SERVED_BY, HOLDFAST_WRITE, IDEMPOTENT_REPLAYED, X_REQUEST_ID};
use super::large::Large;
use super::refusal;
use super::seen;
use super::spelling::spell_answer;
use crate::idempotency::Dialect;
use crate::model::{After, Answer, Problem, SiteName, WriteId};
use crate::problem::Cause;
use crate::service::Reply;
use crate::telemetry::Outcome;

const IDEMPOTENCY_STATUS: HeaderName = HeaderName::from_static("idempotency-status");
const X_ENVOY_RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
/// Seconds, as the page at the status address says them.
const QUEUED_RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const TRUE: HeaderValue = HeaderValue::from_static("true");

impl App {
    pub(super) async fn reply(&self, context: &Context<'_>, reply: Reply) -> Response<Body> {
        match reply {
            Reply::Answer { id, answer, replayed, served_by, seen } => {
                let Some(body) = self.whole(context, id, &answer, replayed) else {
                    return self.problem(context, Some(id), &Problem::ReplayUnavailable);
                };
                // A client that takes nothing of what it asked for holds no more of it than its share.
                let Ok(room) = self.room.take_answer(&context.client.share, body.body.len()).await else {
                    return self.problem(context, Some(id), &Problem::OutcomePending);
                };
                let body = match room {
                    None => Body::full(body.body),
                    room => Body::pieces(body.body, (room, body.room)),
                };
                self.service_answer(context, (id, &answer, body), replayed, &served_by, &seen)
            }
            Reply::Queued { id } => self.queued(context, id),
            Reply::Problem { id, problem } => self.problem(context, id, &problem),
            Reply::Go { .. } | Reply::Done | Reply::Rejected { .. } | Reply::Orders(_) => {
                tracing::error!(
                    service = context.service.settings.name,
                    request_id = context.id(),
                    ?reply,
                    "a group answered a write with something else"
                );
                refusal::response(&Cause::Internal.into(), context.id(), None)
            }
        }
    }

    /// Only the first asker can have what is too large to keep, and only where it was received.
    fn whole(&self, context: &Context<'_>, id: WriteId, answer: &Answer, replayed: bool) -> Option<Large> {
        match answer.omitted {
            None => Some(Large { body: answer.body.clone(), room: None }),
            Some(_) => context.service.upstream.take_large_answer(id).filter(|_| !replayed),
        }
    }

    /// Status, header lines and body as first sent, with what is ours.
    fn service_answer(
        &self,
        context: &Context<'_>,
        (id, answer, body): (WriteId, &Answer, Body),
        replayed: bool,
        served_by: &SiteName,
        seen: &After,
    ) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        headers::restore_reason(&answer.headers, response.extensions_mut());
        spell_answer(&Spelling::of_kept(&answer.headers), response.extensions_mut());
        if replayed {
            response.extensions_mut().insert(Outcome::Replayed);
        }
        let map = response.headers_mut();
        headers::restore(&answer.headers, map);
        mark(map, context.service.settings.keys.dialect, replayed);
        headers::append_via(map);
        let own = *served_by == self.site;
        let site = if own { Ok(self.site_header.clone()) } else { HeaderValue::from_str(served_by.as_str()) };
        insert(map, HOLDFAST_SERVED_BY, site);
        insert(map, HOLDFAST_SEEN, HeaderValue::try_from(seen::encode(seen)));
        insert(map, HOLDFAST_WRITE, HeaderValue::try_from(self.neighbours.tokens.token(id)));
        response
    }

    /// A receipt, not a success.
    fn queued(&self, context: &Context<'_>, id: WriteId) -> Response<Body> {
        let token = self.neighbours.tokens.token(id);
        let address = format!("{STATUS_PATH}{token}");
        let body = serde_json::json!({ "state": "queued", "status": null, "status_address": address });
        let mut response = Response::new(Body::Full(body.to_string().into()));
        *response.status_mut() = StatusCode::ACCEPTED;
        response.extensions_mut().insert(Outcome::Queued);
        let map = response.headers_mut();
        map.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        map.insert(RETRY_AFTER, QUEUED_RETRY_AFTER);
        insert(map, LOCATION, HeaderValue::try_from(address));
        insert(map, HOLDFAST_WRITE, HeaderValue::try_from(token));
        insert(map, HOLDFAST_SERVED_BY, Ok::<_, http::Error>(self.site_header.clone()));
        map.insert(X_REQUEST_ID, context.request_id.clone());
        response
    }

    fn problem(&self, context: &Context<'_>, id: Option<WriteId>, problem: &Problem) -> Response<Body> {
        let envoy = context.service.settings.keys.dialect == Dialect::Envoy;
        let token = id.map(|id| self.neighbours.tokens.token(id));
        let status_address = token.as_ref().map(|token| format!("{STATUS_PATH}{token}"));
        let cause = Cause::Write { problem: problem.clone(), envoy, status_address };
        let mut response = refusal::response(&cause.into(), context.id(), token.as_deref());
        if envoy && response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            response.headers_mut().insert(IDEMPOTENCY_STATUS, HeaderValue::from_static("false"));
        }
        response
    }
}

/// Whether an answer is a replay is for us to say, whatever the service says of itself.
fn mark(map: &mut HeaderMap, dialect: Dialect, replayed: bool) {
    let ours: &[HeaderName] = match dialect {
        Dialect::Ietf => &[IDEMPOTENT_REPLAYED],
        Dialect::Envoy => &[IDEMPOTENT_REPLAYED, IDEMPOTENCY_STATUS, X_ENVOY_RATELIMITED],
    };
    for name in ours {
        if replayed {
            map.insert(name, TRUE);
        } else {
            map.remove(name);
        }
    }
}

/// Text of ours is always a header value; if it were not, the answer goes without it rather than not at all.
fn insert<E>(map: &mut HeaderMap, name: HeaderName, value: Result<HeaderValue, E>) {
    if let Ok(value) = value {
        map.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_say_that_its_answer_is_a_replay() {
        let says = ["idempotent-replayed", "idempotency-status", "x-envoy-ratelimited"];
        // dialect | replayed | the value of each in the end
        for (dialect, replayed, expected) in [
            (Dialect::Ietf, false, [None, Some("no"), Some("no")]),
            (Dialect::Ietf, true, [Some("true"), Some("no"), Some("no")]),
            (Dialect::Envoy, false, [None, None, None]),
            (Dialect::Envoy, true, [Some("true"), Some("true"), Some("true")]),
        ] {
            let mut map = HeaderMap::new();
            for name in says {
                map.append(name, HeaderValue::from_static("no"));
                map.append(name, HeaderValue::from_static("no"));
            }
            mark(&mut map, dialect, replayed);
            let left = says.map(|name| map.get(name).map(|value| value.to_str().unwrap()));
            assert_eq!(left, expected, "{dialect:?} {replayed}");
            assert!(!replayed || map.get_all("idempotent-replayed").iter().count() == 1);
        }
    }
}
