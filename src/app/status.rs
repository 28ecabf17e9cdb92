//! `GET /.holdfast/writes/{token}`: what a client may know of its own write.
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
    accepted_ms: u64,
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
            let page = Page { state: state(row), status, accepted_ms: row.facts.original_ms };
            let body = serde_json::to_vec(&page).expect("a page of texts and numbers always serialises");
            let response = Response::builder()
                .status(StatusCode::OK)
                .header("content-type", "application/json")
                .header("cache-control", "no-store")
                .body(Body::full(body.into()));
            Some(response.expect("constant headers are valid"))
        })
    }
}
