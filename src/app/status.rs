//! `GET /.holdfast/writes/{token}`: what a client may know of its own write.
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};

use super::source::Source;
use crate::gateway::{Body, BoxFuture, StatusPages, Tokens};
use crate::journal::{Fate, Here, Origin, Row};
use crate::model::{Verdict, WriteId};

/// Where a write stands, in a client's words.
#[derive(serde::Serialize)]
struct Page {
    /// `pending`, `queued`, `unknown`, `done`, `refused`, `not-applied`, `cancelled`.
    state: &'static str,
    /// What the service answered.
    status: Option<u16>,
    /// Of what the service has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    accepted_ms: u64,
}

/// When it may stand otherwise. What waits for a person or another site takes longer than what is at work.
fn retry_after_s(state: &str) -> Option<u32> {
    match state {
        "pending" => Some(1),
        "queued" | "unknown" => Some(5),
        _ => None,
    }
}

/// `Location` of the service's answer, as seen from the page: what is relative there was so to the write's target.
fn location(row: &Row, target: Option<&str>) -> Option<String> {
    let answer = row.outcome.as_ref()?.answer.as_ref()?;
    let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("location"))?;
    let text = std::str::from_utf8(&header.value).ok().filter(|text| !text.is_empty())?;
    let is_whole =
        text.starts_with('/') || text.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
    if is_whole {
        return Some(text.to_owned());
    }
    let path = target?.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{folder}/{}", text.strip_prefix("./").unwrap_or(text)))
}

fn state(row: &Row) -> &'static str {
    let verdict = row.outcome.as_ref().map(|outcome| outcome.verdict);
    match (&row.origin, verdict) {
        (Origin::Cancelled, _) => "cancelled",
        (_, Some(Verdict::Applied)) => "done",
        (_, Some(Verdict::Duplicate)) => "done",
        (_, Some(Verdict::Refused | Verdict::NotExecuted)) => "refused",
        (_, Some(Verdict::Void)) => "not-applied",
        // A person, or a late word, may have decided since: the row here tells.
        (_, Some(Verdict::Undecided | Verdict::MayHaveApplied)) => match &row.here {
            Here::Decided(Fate::Applied) => "done",
            Here::Decided(Fate::Void) => "not-applied",
            _ => "unknown",
        },
        (Origin::Queued, None) => "queued",
        (_, None) => match &row.here {
            Here::Sending { .. } | Here::Decided(_) => "unknown",
            Here::Untouched => "pending",
        },
    }
}

impl Tokens for Source {
    fn token(&self, id: WriteId) -> String {
        self.tokens.encode(id)
    }
}

impl StatusPages for Source {
    fn status<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Response<Body>>> {
        Box::pin(async move {
            let id = self.tokens.decode(token)?;
            let shown = self.journal.show(id).await.ok()??;
            let row = &shown.row;
            let status = row.outcome.as_ref().map(|outcome| outcome.status).filter(|status| *status != 0);
            let state = state(row);
            let target = shown.request.as_ref().map(|request| request.target.as_str());
            let location = location(row, target).filter(|_| state == "done");
            let page = Page { state, status, location, accepted_ms: row.facts.original_ms };
            let body = serde_json::to_vec(&page).expect("a page of texts and numbers always serialises");
            let response = Response::builder()
                .status(StatusCode::OK)
                .header("content-type", "application/json")
                .header("cache-control", "no-store")
                .body(Body::full(body.into()));
            let mut response = response.expect("constant headers are valid");
            if let Some(seconds) = retry_after_s(state) {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            if let Some(location) = page.location.and_then(|location| HeaderValue::try_from(location).ok()) {
                response.headers_mut().insert(LOCATION, location);
            }
            Some(response)
        })
    }
}
