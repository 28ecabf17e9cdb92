//! Small builders for the tests of the state machines.
use std::sync::Arc;

use bytes::Bytes;

use super::{Limits, OnConcurrent, OnDivergence, OnUnreachable, Settings, WhenDown};
use crate::model::{After, Answer, Digest, Facts, Item, Lane, LogId, Outcome, Request, SiteName, Verdict, WriteId};

pub fn settings(me: &str, replicas: &[&str]) -> Settings {
    Settings {
        me: SiteName::new(me),
        replicas: replicas.iter().map(|s| SiteName::new(*s)).collect(),
        order: vec![SiteName::new(me)],
        answer_after_ms: 800,
        lag_ms: 1_000,
        total_ms: 5_000,
        longest_request_ms: 10_000,
        hold_ms: 5_000,
        idempotent: false,
        has_probe: false,
        unexecuted: Vec::new(),
        when_down: WhenDown::Refuse,
        replicate_all: false,
        compare_body: false,
        on_concurrent: OnConcurrent::Apply,
        on_divergence: OnDivergence::Stop,
        on_unreachable: OnUnreachable::Accept,
        ack_peers: 0,
        key_ttl_ms: 86_400_000,
        retain_ms: 7 * 86_400_000,
        answer_max: 65_536,
        limits: Limits::default(),
        #[cfg(feature = "planted-bugs")]
        bug: None,
    }
}

pub fn request(method: &str, target: &str) -> Arc<Request> {
    Arc::new(Request {
        method: method.into(),
        target: target.into(),
        authority: "pos".into(),
        headers: Vec::new(),
        body: Bytes::new(),
    })
}

pub fn answer(status: u16) -> Arc<Answer> {
    Arc::new(Answer { status, headers: Vec::new(), body: Bytes::new(), omitted: None })
}

/// An applied write as its series holds it, but for the chain.
pub fn item(log: LogId, position: u64, body_bytes: usize) -> Item {
    let facts = Facts {
        lane: Lane::WHOLE_SERVICE,
        key: None,
        digest: Digest([0; 32]),
        original_ms: 0,
        traceparent: None,
        renews: Vec::new(),
    };
    let outcome = Outcome {
        verdict: Verdict::Applied,
        after: After::new(),
        repeats: None,
        status: 201,
        answer: None,
        told_by_probe: false,
    };
    let request = Request { body: vec![b'x'; body_bytes].into(), ..Request::clone(&request("POST", "/sales")) };
    let (id, request) = (WriteId { log, n: position }, Some(Arc::new(request)));
    Item { position, chain: Default::default(), id, facts, outcome, decides: None, request }
}
