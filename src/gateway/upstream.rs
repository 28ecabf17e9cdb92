//! The client side of one service at this site: its endpoints, and what became of a request sent there.
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderName, HeaderValue, TE, VIA};
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::error::Elapsed;

use super::body::{Body, BoxError};
use super::endpoint::EndpointSettings;
use super::h1::{BodyError, Spelling};
use super::headers::{self, HOLDFAST_HOP, HOLDFAST_LOOP, X_REQUEST_ID};
use super::large::{Large, LargeAnswers};
use super::pool::{Pool, PoolSettings, Ready, SendError};
use super::reach::{EndpointState, Reach, Unanswered};
use crate::contain::contained_in;
use crate::model::{Answer, Digest, Header, WriteId};
use crate::problem::{self, Cause};
use crate::service::{Attempt, AttemptResult, ProbeResult};
use crate::telemetry::{AttemptResult as Counted, ServiceMetrics};

#[derive(Clone, Debug)]
pub struct HealthSettings {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    /// So many failures in a row make an endpoint unhealthy, so many successes healthy again.
    pub unhealthy: u32,
    pub healthy: u32,
}

#[derive(Clone, Debug)]
pub struct UpstreamSettings {
    pub service: String,
    pub endpoints: Vec<EndpointSettings>,
    pub pool: PoolSettings,
    /// One try, from the first byte sent to the last byte of the answer (streamed: to its head).
    pub try_timeout: Duration,
    /// Endpoints tried for one request that was never sent, the first included.
    pub tries: usize,
    pub health: Option<HealthSettings>,
    /// Answers to writes up to this are kept for replays.
    pub max_replay_body: usize,
    /// Bytes of larger answers kept in memory for clients that wait for them, over all of this service.
    pub large_answers: usize,
    /// `outcome.probe`, for example `/transactions/by-key/{key}`.
    pub probe: Option<ProbeTemplate>,
    /// `replay.auth`: in place of the client's `Authorization` in shadows.
    pub replay_auth: Option<HeaderValue>,
    pub metrics: Arc<ServiceMetrics>,
}

/// `GET /transactions/by-key/{key}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTemplate {
    before: String,
    after: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outcome.probe {0:?} must look like \"GET /path/{{key}}\", with {{key}} once")]
pub struct ProbeTemplateError(String);

impl std::str::FromStr for ProbeTemplate {
    type Err = ProbeTemplateError;
    fn from_str(text: &str) -> Result<Self, ProbeTemplateError> {
        let parse = || {
            let (before, after) = text.strip_prefix("GET ")?.trim().split_once("{key}")?;
            let sound =
                before.starts_with('/') && !after.contains('{') && format!("{before}{after}").parse::<Uri>().is_ok();
            sound.then(|| Self { before: before.to_owned(), after: after.to_owned() })
        };
        parse().ok_or_else(|| ProbeTemplateError(text.to_owned()))
    }
}

impl ProbeTemplate {
    /// Every byte of the key but unreserved ones is percent-encoded: a key cannot leave its segment.
    pub fn target(&self, key: &[u8]) -> String {
        let mut target = self.before.clone();
        for &byte in key {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
        target + &self.after
    }
}

pub struct Upstream {
    pub(super) settings: UpstreamSettings,
    pub(super) pools: Vec<Arc<Pool>>,
    next: AtomicUsize,
    healthy: watch::Sender<bool>,
    reach: Reach,
    large: LargeAnswers,
    /// Our name in `Via` of what is sent.
    via: HeaderValue,
}

/// A body up to this is expected to be there at once.
const SHORT_UPLOAD: u64 = 64 << 10;

/// Why a streamed request has no answer.
pub type StreamError = SendError;

impl Upstream {
    pub fn new(settings: UpstreamSettings) -> Arc<Self> {
        let large = LargeAnswers::new(settings.large_answers);
        let healthy = watch::Sender::new(!settings.endpoints.is_empty());
        Arc::new_cyclic(|owner| {
            let pool = |e: &EndpointSettings| Pool::new(e.clone(), settings.pool, owner.clone());
            let pools = settings.endpoints.iter().map(pool).collect();
            let via = headers::via_service(&settings.service);
            Self { settings, pools, next: AtomicUsize::new(0), healthy, reach: Reach::default(), large, via }
        })
    }

    /// Whether any endpoint is healthy, and every change of that.
    pub fn healthy(&self) -> watch::Receiver<bool> {
        self.healthy.subscribe()
    }

    pub(super) fn note_health(&self) {
        let healthy = self.pools.iter().any(|pool| pool.is_healthy());
        let is_change = self.healthy.send_if_modified(|now| std::mem::replace(now, healthy) != healthy);
        if is_change && healthy {
            // What its last requests met was true of then.
            self.reach.answered();
        }
    }

    /// Our name in `Via` of what is sent to this service.
    pub(super) fn via(&self) -> &HeaderValue {
        &self.via
    }

    /// `Some`: the answer is of an appliance that refused to go in a circle, so that nothing was done. It says the name
    /// of this very exchange, which a service that had the request does not do in its own.
    fn circle(
        &self,
        pool: &Pool,
        hop: Option<&HeaderValue>,
        head: &http::response::Parts,
        request_id: Option<&str>,
    ) -> Option<SendError> {
        let said = head.headers.get(HOLDFAST_LOOP);
        let is_circle = head.status == http::StatusCode::LOOP_DETECTED && said.is_some() && said == hop;
        is_circle.then(|| {
            let why = format!("{} leads back to where the request had been: check endpoints", pool.name());
            tracing::warn!(service = self.settings.service, request_id, why, "a request was sent in a circle");
            SendError::Circle { why }
        })
    }

    /// Each endpoint, for people.
    pub fn endpoints(&self) -> Vec<EndpointState> {
        self.pools.iter().map(|pool| pool.state()).collect()
    }

    /// The last requests, where none of them was answered.
    pub fn unanswered(&self) -> Option<Unanswered> {
        self.reach.unanswered()
    }

    /// The body of an answer too large to keep, once, for the client that waits for it.
    pub(super) fn take_large_answer(&self, id: WriteId) -> Option<Large> {
        self.large.take(id)
    }

    /// Healthy endpoints, each once and `tries` at most, beginning with the next in turn.
    fn candidates(&self) -> impl Iterator<Item = &Arc<Pool>> {
        let count = self.pools.len();
        let start = if count > 1 { self.next.fetch_add(1, Ordering::Relaxed) % count } else { 0 };
        (0..count)
            .map(move |i| &self.pools[(start + i) % count])
            .filter(|pool| pool.is_healthy())
            .take(self.settings.tries)
    }

    /// One try of a streamed request. Its time begins to run when the request is there whole, for long uploads too.
    async fn send_streamed(
        &self,
        pool: &Arc<Pool>,
        mut request: Request<Body>,
        taken: &AtomicBool,
    ) -> Result<Result<Response<Body>, SendError>, Elapsed> {
        let try_timeout = self.settings.try_timeout;
        let is_long = request.body().size_hint().exact().is_none_or(|length| length > SHORT_UPLOAD);
        let uploaded = match request.body_mut() {
            Body::Incoming(_) if is_long => {
                let (sender, uploaded) = tokio::sync::oneshot::channel();
                request = request.map(|body| match body {
                    Body::Incoming(incoming) => Body::Upload { incoming, ended: Some(sender) },
                    other => other,
                });
                uploaded
            }
            _ => return tokio::time::timeout(try_timeout, pool.send(request, taken)).await,
        };
        let mut sent = pin!(pool.send(request, taken));
        tokio::select! {
            result = sent.as_mut() => return Ok(result),
            _ = uploaded => {}
        }
        tokio::time::timeout(try_timeout, sent).await
    }

    /// Streams a request through, in origin-form and with `Host`; tries the next endpoint only when it was never sent.
    pub async fn stream(&self, mut request: Request<Body>) -> Result<Response<Body>, StreamError> {
        let mut why = self.nobody();
        let request_id = request.headers().get(X_REQUEST_ID).cloned();
        let request_id = request_id.as_ref().and_then(|id| id.to_str().ok());
        let mut is_tried = false;
        for pool in self.candidates() {
            is_tried = true;
            let hop = headers::new_hop();
            request.headers_mut().insert(HOLDFAST_HOP, hop.clone());
            if pool.is_h2c() {
                to_h2(&mut request).map_err(|why| SendError::NoRequest { why })?;
            }
            let (taken, began) = (AtomicBool::new(false), Instant::now());
            let sent = self.send_streamed(pool, request, &taken).await;
            self.count(began, &taken, sent.as_ref().map(|sent| sent.as_ref().map(|head| head.status().as_u16())).ok());
            match sent {
                Ok(Err(SendError::NeverSent { why: reason, request: Some(unsent) })) => {
                    request = *unsent;
                    why = reason;
                }
                Ok(Ok(response)) => {
                    let (mut head, body) = response.into_parts();
                    if let Some(error) = self.circle(pool, Some(&hop), &head, request_id) {
                        return Err(error);
                    }
                    headers::strip_answer(&mut head.headers);
                    return Ok(Response::from_parts(head, body));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let why = self.timed_out(pool);
                    let taken = taken.into_inner();
                    return Err(if taken {
                        SendError::TimedOut { why }
                    } else {
                        SendError::NeverSent { why, request: None }
                    });
                }
            }
        }
        if !is_tried {
            self.settings.metrics.attempts.of(Counted::NeverSent).one();
            self.reach.failed(None);
        }
        Err(SendError::NeverSent { why, request: Some(Box::new(request)) })
    }

    /// A place and a connection at one of the endpoints, before anything is written down. `Err`: why there is none.
    pub async fn ready(&self) -> Result<Ready, String> {
        let (mut why, mut is_tried) = (self.nobody(), false);
        for pool in self.candidates() {
            is_tried = true;
            match tokio::time::timeout(self.settings.try_timeout, pool.ready()).await {
                Ok(Ok(ready)) => return Ok(ready),
                Ok(Err(reason)) => why = reason,
                Err(_) => why = format!("{}: no connection within {:?}", pool.name(), self.settings.try_timeout),
            }
        }
        self.settings.metrics.attempts.of(Counted::NeverSent).one();
        self.reach.failed(Some(why.as_str()).filter(|_| is_tried));
        Err(why)
    }

    /// What one try proved. `sent`: the status of the answer, or why there is none; `None`: the time was over.
    fn count(&self, began: Instant, taken: &AtomicBool, sent: Option<Result<u16, &SendError>>) {
        let result = match sent {
            Some(Ok(status)) => Counted::of(status),
            Some(Err(SendError::NeverSent { .. } | SendError::Circle { .. } | SendError::NoRequest { .. })) => {
                Counted::NeverSent
            }
            Some(Err(SendError::Broken { .. } | SendError::TimedOut { .. } | SendError::Unusable { .. })) => {
                Counted::Broken
            }
            None if taken.load(Ordering::Relaxed) => Counted::Broken,
            None => Counted::NeverSent,
        };
        self.settings.metrics.attempts.of(result).one();
        self.note_reach(sent);
        if result != Counted::NeverSent {
            self.settings.metrics.attempt_seconds.observe(began.elapsed());
        }
    }

    fn note_reach(&self, sent: Option<Result<u16, &SendError>>) {
        match sent {
            // Whoever stands before the service says so of it.
            Some(Ok(status @ 502..=504)) => self.reach.failed(Some(&format!("it answered {status}"))),
            Some(Ok(_) | Err(SendError::Unusable { .. })) => self.reach.answered(),
            // It is the request's fault.
            Some(Err(SendError::NoRequest { .. })) => {}
            Some(Err(error)) => self.reach.failed(Some(error.why())),
            None => {
                let within = self.settings.try_timeout;
                self.reach.failed(Some(&format!("no whole answer within {within:?}")));
            }
        }
    }

    /// Sends a write to an endpoint, once; to another one only where it was never sent.
    pub async fn attempt(&self, attempt: Attempt) -> AttemptResult {
        match self.ready().await {
            Ok(ready) => self.attempt_on(ready, attempt).await,
            Err(why) => AttemptResult::NeverSent { why },
        }
    }

    /// The same, on a connection that is there already.
    pub async fn attempt_on(&self, mut ready: Ready, attempt: Attempt) -> AttemptResult {
        let mut tries = 1..=self.settings.tries.max(1);
        loop {
            let pool = ready.pool.clone();
            let request = match self.write_request(&attempt, pool.is_h2c()) {
                Ok(request) => request,
                // Tried once more it would be none again, and hold up all others for ever.
                Err(why) => return self.refused(&attempt, Cause::BadRequest { what: NO_REQUEST }, &why).await,
            };
            let (taken, began) = (AtomicBool::new(false), Instant::now());
            let keep_for = attempt.shadow.is_none().then_some(attempt.id);
            let exchange = self.exchange(ready, request, keep_for, &taken);
            let exchanged = tokio::time::timeout(self.settings.try_timeout, exchange).await;
            self.count(began, &taken, exchanged.as_ref().map(|done| done.as_ref().map(|answer| answer.status)).ok());
            let why = match exchanged {
                Ok(Ok(answer)) => return AttemptResult::Answered(Arc::new(answer)),
                Ok(Err(SendError::NeverSent { why, .. })) => why,
                Ok(Err(SendError::Circle { why })) => return self.refused(&attempt, Cause::LoopDetected, &why).await,
                Ok(Err(SendError::NoRequest { why })) => {
                    return self.refused(&attempt, Cause::BadRequest { what: NO_REQUEST }, &why).await;
                }
                Ok(Err(SendError::Broken { why } | SendError::TimedOut { why } | SendError::Unusable { why, .. })) => {
                    return AttemptResult::Broken { why };
                }
                Err(_) if taken.into_inner() => return AttemptResult::Broken { why: self.timed_out(&pool) },
                Err(_) => self.timed_out(&pool),
            };
            tries.next();
            match self.ready().await {
                Ok(other) if !tries.is_empty() => ready = other,
                _ => return AttemptResult::NeverSent { why },
            }
        }
    }

    /// Our own answer to a write that goes nowhere.
    async fn refused(&self, attempt: &Attempt, cause: Cause, why: &str) -> AttemptResult {
        tracing::warn!(service = self.settings.service, id = %attempt.id, why, "a write is refused here");
        let request_id = attempt.request.header("x-request-id").and_then(|id| std::str::from_utf8(id).ok());
        let (head, body) = problem::response(&cause, request_id.unwrap_or_default()).into_parts();
        let headers = headers::keep(&head.headers, &head.extensions, &[]);
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_else(|never| match never {});
        AttemptResult::Refused(Arc::new(Answer { status: head.status.as_u16(), headers, body, omitted: None }))
    }

    /// Asks the service whether a write was applied. Says nothing without a probe, a key or a clear word.
    pub async fn probe(&self, write: &crate::model::Request) -> ProbeResult {
        let (Some(probe), Some(key)) = (&self.settings.probe, write.header("idempotency-key")) else {
            return ProbeResult::Nothing;
        };
        let key = key.strip_prefix(b"\"").and_then(|k| k.strip_suffix(b"\"")).unwrap_or(key);
        let target = probe.target(key);
        for pool in self.candidates() {
            let Ok(mut request) = Request::builder().uri(&target).body(Body::Empty) else { break };
            let map = request.headers_mut();
            let Ok(host) = HeaderValue::from_str(&write.authority) else { break };
            map.insert(HOST, host);
            for name in ["authorization", "cookie", "x-request-id", "traceparent"] {
                if let Some(Ok(value)) = write.header(name).map(HeaderValue::from_bytes) {
                    map.insert(HeaderName::from_static(name), value);
                }
            }
            if let Some(auth) = &self.settings.replay_auth {
                map.insert(http::header::AUTHORIZATION, auth.clone());
            }
            map.append(VIA, self.via.clone());
            if pool.is_h2c() && to_h2(&mut request).is_err() {
                break;
            }
            let (taken, began) = (AtomicBool::new(false), Instant::now());
            let asked = async {
                match pool.ready().await {
                    Ok(ready) => self.exchange(ready, request, None, &taken).await,
                    Err(why) => Err(SendError::NeverSent { why, request: None }),
                }
            };
            let asked = tokio::time::timeout(self.settings.try_timeout, asked).await;
            self.count(began, &taken, asked.as_ref().map(|done| done.as_ref().map(|answer| answer.status)).ok());
            match asked {
                Ok(Ok(answer)) if (200..300).contains(&answer.status) => return ProbeResult::Applied(Arc::new(answer)),
                Ok(Ok(answer)) if answer.status == 404 => return ProbeResult::NotFound,
                Ok(Err(SendError::NeverSent { .. })) => {}
                _ => break,
            }
        }
        ProbeResult::Nothing
    }

    /// One request and its whole answer. A panic over what a service answers ends its connection: what the service did
    /// is not known.
    async fn exchange(
        &self,
        ready: Ready,
        request: Request<Body>,
        keep_for: Option<WriteId>,
        taken: &AtomicBool,
    ) -> Result<Answer, SendError> {
        let exchanged = contained_in(self.exchange_uncontained(ready, request, keep_for, taken)).await;
        exchanged.unwrap_or_else(|bug| Err(SendError::Broken { why: bug.to_string() }))
    }

    async fn exchange_uncontained(
        &self,
        ready: Ready,
        request: Request<Body>,
        keep_for: Option<WriteId>,
        taken: &AtomicBool,
    ) -> Result<Answer, SendError> {
        let pool = ready.pool.clone();
        let request_id = request.headers().get(X_REQUEST_ID).cloned();
        let request_id = request_id.as_ref().and_then(|id| id.to_str().ok());
        #[cfg(test)]
        crate::contain::planted::may_panic(request.uri().path());
        let hop = request.headers().get(HOLDFAST_HOP).cloned();
        let (mut head, body) = match ready.send(request, taken).await {
            Err(SendError::Unusable { status, why }) => return Ok(self.unusable(status, &why, request_id)),
            sent => sent?.into_parts(),
        };
        if let Some(error) = self.circle(&pool, hop.as_ref(), &head, request_id) {
            return Err(error);
        }
        let collected = match collect(body, self.settings.max_replay_body, &self.large).await {
            Ok(collected) => collected,
            // Not cut short: the service has said all that it had to say.
            Err(error) if matches!(error.downcast_ref(), Some(BodyError::Malformed)) => {
                let why = format!("{}: {error}", pool.name());
                return Ok(self.unusable(head.status.as_u16(), &why, request_id));
            }
            Err(error) => {
                let why = super::pool::describe(&*error);
                return Err(SendError::Broken { why: format!("{}: {why}", pool.name()) });
            }
        };
        headers::strip_hop_by_hop(&mut head.headers);
        headers::strip_answer(&mut head.headers);
        let mut kept = headers::keep(&head.headers, &head.extensions, &[CONTENT_LENGTH, DATE, CONNECTION]);
        headers::keep_reason(&head.extensions, &mut kept);
        let (body, omitted) = match collected {
            Collected::Small(body) => (body, None),
            Collected::Large { digest, whole } => {
                if let (Some(id), Some(large)) = (keep_for, whole) {
                    self.large.put(id, large);
                }
                (Bytes::new(), Some(digest))
            }
        };
        Ok(Answer { status: head.status.as_u16(), headers: kept, body, omitted })
    }

    /// What an answer says of which only the status can be passed on. The outcome of a write is known by it.
    fn unusable(&self, status: u16, why: &str, request_id: Option<&str>) -> Answer {
        tracing::warn!(
            service = self.settings.service,
            request_id,
            why,
            "an answer cannot be passed on, but for its status"
        );
        // A success may have said what the client must know: it is told that the answer is not there, not that it was
        // empty.
        let omitted = (status < 400).then(|| crate::idempotency::of_body(b""));
        Answer { status, headers: Vec::new(), body: Bytes::new(), omitted }
    }

    fn write_request(&self, attempt: &Attempt, h2c: bool) -> Result<Request<Body>, String> {
        let write = &attempt.request;
        let bad = |error: http::Error| format!("this write is no HTTP request any more: {error}");
        let mut request = Request::builder()
            .method(write.method.as_str())
            .uri(write.target.as_str())
            .body(Body::full(write.body.clone()))
            .map_err(bad)?;
        let map = request.headers_mut();
        headers::restore(&write.headers, map);
        map.insert(HOST, HeaderValue::from_str(&write.authority).map_err(|e| bad(e.into()))?);
        map.insert(
            headers::HOLDFAST_ORIGIN,
            HeaderValue::from_str(attempt.origin.as_str()).map_err(|e| bad(e.into()))?,
        );
        if let Some(shadow) = &attempt.shadow {
            self.shadow_headers(map, shadow).map_err(|e| bad(e.into()))?;
        }
        map.append(VIA, self.via.clone());
        map.insert(HOLDFAST_HOP, headers::new_hop());
        if h2c {
            to_h2(&mut request)?;
        } else {
            request.extensions_mut().insert(Spelling::of_kept(&write.headers));
        }
        Ok(request)
    }

    /// What makes a shadow known as one. Conditions were judged at the decider and would judge another state here.
    fn shadow_headers(
        &self,
        map: &mut HeaderMap,
        shadow: &crate::service::Shadow,
    ) -> Result<(), http::header::InvalidHeaderValue> {
        map.remove(http::header::IF_MATCH);
        map.remove(http::header::IF_UNMODIFIED_SINCE);
        map.insert("holdfast-replay", HeaderValue::from_static("true"));
        map.insert("holdfast-original-time", HeaderValue::from_str(&super::time::rfc3339_ms(shadow.original_ms))?);
        map.insert("holdfast-original-status", HeaderValue::from(shadow.original_status));
        if let Some(location) = &shadow.original_location {
            map.insert("holdfast-original-location", HeaderValue::from_bytes(location)?);
        }
        if let Some(auth) = &self.settings.replay_auth {
            map.insert(http::header::AUTHORIZATION, auth.clone());
        }
        Ok(())
    }

    fn nobody(&self) -> String {
        format!("no endpoint of {} is healthy", self.settings.service)
    }
    fn timed_out(&self, pool: &Pool) -> String {
        format!("{}: no whole answer within {:?}", pool.name(), self.settings.try_timeout)
    }
}

const NO_REQUEST: &str = "no request to the service can be made of it";

/// HTTP/2 names the authority in the target, and has no header for it. `Err`: it cannot be said in HTTP/2.
pub(super) fn to_h2(request: &mut Request<Body>) -> Result<(), String> {
    let Some(host) = request.headers_mut().remove(HOST) else { return Ok(()) };
    let bad = |error: http::Error| format!("this is no HTTP/2 request: {error}");
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(host.as_bytes().try_into().map_err(|error: http::uri::InvalidUri| bad(error.into()))?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| bad(error.into()))?;
    request.headers_mut().remove(TE).filter(|te| te == "trailers").map(|te| request.headers_mut().insert(TE, te));
    *request.version_mut() = http::Version::HTTP_2;
    Ok(())
}

enum Collected {
    Small(Bytes),
    /// `whole`: unless there was no room for it, not even for a moment.
    Large {
        digest: Digest,
        whole: Option<Large>,
    },
}

/// Of each answer so much comes in without asking for room.
const ROOM_FOR_EACH: usize = 64 << 10;

/// Reads a body to its end: up to `small` it is kept, beyond it is kept for the one who waits, and where `large` has no
/// room it is only digested: waiting for room could be waiting for each other. An error means truncation.
async fn collect(mut body: Body, small: usize, large: &LargeAnswers) -> Result<Collected, BoxError> {
    use sha2::Digest as _;
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut beyond: Option<sha2::Sha256> = None;
    let mut room = None;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Ok(data) = frame.into_data() else { continue };
        let there = first.len().max(more.len());
        if let Some(hash) = &mut beyond {
            hash.update(&data);
        } else if there + data.len() > ROOM_FOR_EACH && !large.grow(&mut room, data.len()) {
            let so_far = if more.is_empty() { &first[..] } else { &more[..] };
            beyond = Some(sha2::Sha256::new_with_prefix(so_far).chain_update(&data));
            (first, more, room) = (Bytes::new(), BytesMut::new(), None);
        } else if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.reserve(body.size_hint().lower().min(small as u64) as usize + first.len() + data.len());
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    if let Some(hash) = beyond {
        return Ok(Collected::Large { digest: Digest(hash.finalize().into()), whole: None });
    }
    let whole = if more.is_empty() { first } else { more.freeze() };
    if whole.len() <= small {
        return Ok(Collected::Small(whole));
    }
    let digest = crate::idempotency::of_body(&whole);
    Ok(Collected::Large { digest, whole: Some(Large { body: whole, room }) })
}

/// The headers that a write's request carries to the service beyond the client's, in the request itself so that every
/// replica gets the same.
pub fn own_header(name: &HeaderName, value: &str) -> Header {
    Header { name: name.as_str().to_owned(), value: value.as_bytes().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_templates_of_one_key() {
        let probe: ProbeTemplate = "GET /transactions/by-key/{key}?x=1".parse().unwrap();
        assert_eq!(probe.target(b"a/b c\xc3\xa9-._~"), "/transactions/by-key/a%2Fb%20c%C3%A9-._~?x=1");
        for bad in ["/x/{key}", "POST /x/{key}", "GET x/{key}", "GET /x", "GET /{key}/{key}", "GET /a b/{key}"] {
            assert!(bad.parse::<ProbeTemplate>().is_err(), "{bad}");
        }
    }
}
