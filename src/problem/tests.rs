use std::path::Path;

use http_body_util::BodyExt;

use super::*;
use crate::model::Problem;

/// The body as JSON.
fn json(response: Response<Full<Bytes>>) -> serde_json::Value {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/errors");
    let mut pages: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    pages.sort();
    let mut codes: Vec<String> = Code::ALL.iter().map(|code| format!("{}.md", code.name())).collect();
    codes.sort();
    assert_eq!(pages, codes);
    for code in Code::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{}.md", code.name()))).unwrap();
        for part in [
            format!("# `{}`", code.name()),
            code.title().to_owned(),
            code.status().as_u16().to_string(),
            "## What was done".to_owned(),
            "## What the client may do".to_owned(),
            "## What the operator does".to_owned(),
        ] {
            assert!(page.contains(&part), "{}.md lacks {part:?}", code.name());
        }
    }
}

#[test]
fn a_problem_carries_all_its_members() {
    let cause = Cause::Write {
        problem: Problem::OutcomeUnknown,
        envoy: false,
        status_address: Some("/.holdfast/writes/abc".into()),
    };
    let response = response(&cause, "req-1");
    assert_eq!(response.status(), 504);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert_eq!(response.headers()["retry-after"], "5");
    let body = json(response);
    assert_eq!(
        body,
        serde_json::json!({
            "type": "https://holdfast.dev/errors/outcome-unknown",
            "title": "It is not known whether the request was carried out",
            "status": 504,
            "detail": "the request was sent and no answer came; ask the status address, or send it again with the same \
                       key",
            "code": "outcome-unknown",
            "origin": "upstream",
            "retry": "unknown",
            "request_id": "req-1",
            "status_address": "/.holdfast/writes/abc",
        })
    );
}

#[test]
fn dialects_differ_in_the_status_of_a_reused_key() {
    let cause = |envoy| Cause::Write { problem: Problem::KeyReused, envoy, status_address: None };
    assert_eq!(response(&cause(false), "").status(), 422);
    assert_eq!(response(&cause(true), "").status(), 409);
}

#[test]
fn safe_is_said_only_where_nothing_was_sent() {
    // cause | retry | Retry-After
    for (cause, retry, after) in [
        (Cause::from(Problem::KeyInFlight { retry_after_s: 3 }), Retry::SameKey, Some("3")),
        (Cause::from(Problem::NoReplica { retry_after_s: 7 }), Retry::Safe, Some("7")),
        (Cause::from(Problem::Overloaded { what: "open writes" }), Retry::Safe, Some("1")),
        (Cause::from(Problem::StoreDown), Retry::SameKey, Some("5")),
        (Cause::from(Problem::JournalHeld), Retry::SameKey, Some("5")),
        (Cause::from(Problem::DiskReserve), Retry::Safe, Some("60")),
        (Cause::UpstreamBroken { service: "tx".into(), read: false }, Retry::Unknown, None),
        (Cause::UpstreamBroken { service: "tx".into(), read: true }, Retry::Safe, None),
        (Cause::Internal, Retry::Unknown, None),
        (Cause::KeyRequired, Retry::Never, None),
    ] {
        assert_eq!(cause.retry(), retry, "{cause:?}");
        let response = response(&cause, "r");
        let header = response.headers().get("retry-after").map(|value| value.to_str().unwrap());
        assert_eq!(header, after, "{cause:?}");
        assert_eq!(json(response)["retry"], serde_json::to_value(retry).unwrap());
    }
}

#[test]
fn the_admin_api_says_how_to_authenticate() {
    assert_eq!(response(&Cause::Unauthorized, "r").headers()["www-authenticate"], "Bearer");
}
