//! What failed, and may it be sent again? One table, in one function.
use std::sync::Arc;

use super::{AttemptResult, Settings};
use crate::model::{Answer, Request};

/// What an attempt proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// The service never got it.
    NeverSent { why: String },
    /// Done: 2xx, 3xx (or any answer, where `replicate = "all"`).
    Success(Arc<Answer>),
    /// A complete answer that changed nothing: 4xx, 501.
    Refused(Arc<Answer>),
    /// 500.
    MayHaveApplied(Arc<Answer>),
    /// Answered before it was executed.
    NotExecuted(Arc<Answer>),
    /// Nobody knows.
    Unknown { why: String },
}

/// `doubtful`: an earlier attempt of this write may have been applied, so a refusal of this one proves nothing, but for
/// a repeated DELETE that finds nothing to delete.
pub fn classify(result: AttemptResult, request: &Request, settings: &Settings, doubtful: bool) -> Class {
    let answer = match result {
        AttemptResult::NeverSent { why } => {
            return if doubtful { Class::Unknown { why } } else { Class::NeverSent { why } };
        }
        AttemptResult::Broken { why } => return Class::Unknown { why },
        // Whatever is configured for a service's answers: this one is not of the service.
        AttemptResult::Refused(answer) if !doubtful => return Class::Refused(answer),
        AttemptResult::Refused(_) => return Class::Unknown { why: "a repeated try could not be made".to_owned() },
        AttemptResult::Answered(answer) => answer,
    };
    let class = of_answer(answer, request, settings);
    if !doubtful {
        return class;
    }
    match class {
        Class::Success(answer) => Class::Success(answer),
        Class::Refused(answer) if request.method == "DELETE" && matches!(answer.status, 404 | 410) => {
            Class::Success(answer)
        }
        // A service that honours the key answers a repeated one with its recorded answer.
        Class::Refused(answer) if settings.idempotent => Class::Refused(answer),
        Class::Refused(answer) | Class::NotExecuted(answer) | Class::MayHaveApplied(answer) => {
            Class::Unknown { why: format!("a repeated try was answered {}", answer.status) }
        }
        Class::NeverSent { why } | Class::Unknown { why } => Class::Unknown { why },
    }
}

fn of_answer(answer: Arc<Answer>, request: &Request, settings: &Settings) -> Class {
    if settings.unexecuted.contains(&answer.status) {
        return Class::NotExecuted(answer);
    }
    if let Some(status) = grpc_status(&answer, request) {
        return of_grpc(status, answer);
    }
    match answer.status {
        200..=399 => Class::Success(answer),
        401 | 403 | 407 | 408 | 421 | 425 | 429 => Class::NotExecuted(answer),
        500 => Class::MayHaveApplied(answer),
        502..=504 => Class::Unknown { why: format!("answered {}", answer.status) },
        _ if settings.replicate_all => Class::Success(answer),
        400..=499 | 501 => Class::Refused(answer),
        // 505 and above, and answers that HTTP does not define: the service may have done anything.
        _ => Class::MayHaveApplied(answer),
    }
}

/// gRPC answers 200 and says in `grpc-status` what happened.
fn grpc_status(answer: &Answer, request: &Request) -> Option<u32> {
    if !request.header("content-type")?.starts_with(b"application/grpc") {
        return None;
    }
    std::str::from_utf8(answer.header("grpc-status")?).ok()?.parse().ok()
}

fn of_grpc(status: u32, answer: Arc<Answer>) -> Class {
    match status {
        0 => Class::Success(answer),
        // CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE, DATA_LOSS
        1 | 2 | 4 | 10 | 13 | 14 | 15 => Class::Unknown { why: format!("grpc-status {status}") },
        // RESOURCE_EXHAUSTED, PERMISSION_DENIED, UNAUTHENTICATED
        7 | 8 | 16 => Class::NotExecuted(answer),
        _ => Class::Refused(answer),
    }
}

/// Refusals that a shadow meets because of who asks, not because of what it asks: tried a few times, then a person is
/// needed.
pub fn is_about_the_caller(status: u16) -> bool {
    matches!(status, 401 | 403 | 407 | 421)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Header;
    use crate::service::testing::{answer, request, settings};

    fn name(class: Class) -> &'static str {
        match class {
            Class::NeverSent { .. } => "never-sent",
            Class::Success(_) => "success",
            Class::Refused(_) => "refused",
            Class::MayHaveApplied(_) => "may-have",
            Class::NotExecuted(_) => "not-executed",
            Class::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn the_table_of_what_failed() {
        // status | method | doubtful | verdict
        let table: &[(u16, &str, bool, &str)] = &[
            (200, "POST", false, "success"),
            (302, "POST", false, "success"),
            (404, "POST", false, "refused"),
            (409, "PUT", false, "refused"),
            (501, "POST", false, "refused"),
            (500, "POST", false, "may-have"),
            (505, "POST", false, "may-have"),
            (401, "POST", false, "not-executed"),
            (408, "POST", false, "not-executed"),
            (429, "POST", false, "not-executed"),
            (418, "POST", false, "not-executed"), // listed in outcome.unexecuted
            (502, "POST", false, "unknown"),
            (504, "PUT", false, "unknown"),
            (201, "PUT", true, "success"),
            (404, "DELETE", true, "success"),
            (410, "DELETE", true, "success"),
            (404, "DELETE", false, "refused"),
            (404, "PUT", true, "unknown"),
            (409, "PUT", true, "unknown"),
            (429, "PUT", true, "unknown"),
            (500, "PUT", true, "unknown"),
        ];
        let settings = Settings { unexecuted: vec![418], ..settings("a", &["a", "b"]) };
        for &(status, method, doubtful, want) in table {
            let got = classify(AttemptResult::Answered(answer(status)), &request(method, "/x"), &settings, doubtful);
            assert_eq!(name(got), want, "{status} {method} doubtful={doubtful}");
        }
        let never = || AttemptResult::NeverSent { why: "refused".into() };
        let post = request("POST", "/x");
        assert_eq!(name(classify(never(), &post, &settings, false)), "never-sent");
        assert_eq!(name(classify(never(), &post, &settings, true)), "unknown");
        let own = || AttemptResult::Refused(answer(400));
        let all = Settings { replicate_all: true, unexecuted: vec![400], ..settings.clone() };
        assert_eq!(name(classify(own(), &post, &all, false)), "refused");
        assert_eq!(name(classify(own(), &post, &settings, true)), "unknown");
        let broken = AttemptResult::Broken { why: "reset".into() };
        assert_eq!(name(classify(broken, &post, &settings, false)), "unknown");
    }

    #[test]
    fn with_replicate_all_every_executed_answer_is_followed() {
        let settings = Settings { replicate_all: true, ..settings("a", &["a", "b"]) };
        for (status, want) in [(404, "success"), (429, "not-executed"), (500, "may-have"), (503, "unknown")] {
            let got = classify(AttemptResult::Answered(answer(status)), &request("POST", "/x"), &settings, false);
            assert_eq!(name(got), want, "{status}");
        }
    }

    #[test]
    fn a_service_that_honours_the_key_may_refuse_a_repeated_try() {
        let settings = Settings { idempotent: true, ..settings("a", &["a", "b"]) };
        for (status, want) in [(409, "refused"), (201, "success"), (429, "unknown"), (500, "unknown")] {
            let got = classify(AttemptResult::Answered(answer(status)), &request("POST", "/x"), &settings, true);
            assert_eq!(name(got), want, "{status}");
        }
    }

    #[test]
    fn grpc_says_in_its_own_status_what_happened() {
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.as_bytes().to_vec() };
        let settings = settings("a", &["a", "b"]);
        let class = |content_type: &str, status: &str| {
            let headers = vec![header("content-type", content_type)];
            let request = Request { headers, ..Request::clone(&request("POST", "/pos.Till/Sell")) };
            let headers = if status.is_empty() { Vec::new() } else { vec![header("grpc-status", status)] };
            let answer = Arc::new(Answer { headers, ..Answer::clone(&answer(200)) });
            name(classify(AttemptResult::Answered(answer), &request, &settings, false))
        };
        let of = |status: u32| match status {
            0 => "success",
            1 | 2 | 4 | 10 | 13 | 14 | 15 => "unknown",
            7 | 8 | 16 => "not-executed",
            _ => "refused",
        };
        for status in 0..=17 {
            assert_eq!(class("application/grpc+proto", &status.to_string()), of(status), "{status}");
        }
        assert_eq!(class("application/grpc", ""), "success", "where it says nothing, HTTP does");
        assert_eq!(class("application/grpc", "five"), "success");
        assert_eq!(class("application/json", "5"), "success", "another service's header");
    }

    #[test]
    fn a_refusal_of_who_asks_is_told_from_one_of_what_is_asked() {
        let about: Vec<u16> = (400..600).filter(|&status| is_about_the_caller(status)).collect();
        assert_eq!(about, [401, 403, 407, 421]);
    }
}
