//! The access log: a record of each request of a client, or of some of them.
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use http::header::{HOST, HeaderValue};
use http::request::Parts as Head;
use http::{Method, Response};

use super::headers::{HOLDFAST_SERVED_BY, IDEMPOTENT_REPLAYED};
use crate::telemetry::{self, Access, AccessLog};

/// Of so many one is recorded, where they are sampled.
const SAMPLE: u64 = 100;

pub(super) struct Recorder {
    which: AccessLog,
    seen: AtomicU64,
}

/// A request that began; recorded when it is dropped, with or without an answer.
pub(super) struct Begun {
    is_chosen: bool,
    client: IpAddr,
    method: Method,
    path: String,
    pub host: String,
    began: Instant,
    /// Known later.
    pub request_id: String,
    answer: Option<Answered>,
}

struct Answered {
    status: u16,
    service: Option<String>,
    served_by: Option<HeaderValue>,
    replayed: bool,
}

impl Recorder {
    pub fn new(which: AccessLog) -> Self {
        Self { which, seen: AtomicU64::new(0) }
    }

    /// `None`: nothing is recorded, and nothing done for it.
    pub fn begin(&self, client: IpAddr, head: &Head) -> Option<Begun> {
        let is_chosen = match self.which {
            AccessLog::Off => return None,
            AccessLog::Sampled => self.seen.fetch_add(1, Relaxed).is_multiple_of(SAMPLE),
            AccessLog::All => true,
        };
        let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
        let host = host.or_else(|| head.headers.get(HOST)?.to_str().ok().map(str::to_owned)).unwrap_or_default();
        let (method, path, began) = (head.method.clone(), head.uri.path().to_owned(), Instant::now());
        Some(Begun { is_chosen, client, method, path, host, began, request_id: String::new(), answer: None })
    }
}

impl Begun {
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn end<B>(mut self, service: Option<&str>, response: &Response<B>) {
        let headers = response.headers();
        self.answer = Some(Answered {
            status: response.status().as_u16(),
            service: service.map(str::to_owned),
            served_by: headers.get(HOLDFAST_SERVED_BY).cloned(),
            replayed: headers.contains_key(IDEMPOTENT_REPLAYED),
        });
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let answer = self.answer.as_ref();
        if !self.is_chosen && answer.is_none_or(|answer| answer.status < 500) {
            return;
        }
        telemetry::access(&Access {
            request_id: &self.request_id,
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
            service: answer.and_then(|answer| answer.service.as_deref()),
            status: answer.map(|answer| answer.status),
            served_by: answer.and_then(|answer| answer.served_by.as_ref()?.to_str().ok()),
            replayed: answer.is_some_and(|answer| answer.replayed),
            ms: (self.began.elapsed().as_secs_f64() * 1e4).round() / 10.0,
        });
    }
}
