//! Reads from the accepting side to the dialling one, which alone can make requests. It keeps a few
//! `GET /link/v1/reads` parked; the answer to one is the read (its body the read's body), and the read's answer comes
//! as `POST /link/v1/reads`.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};

use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::body::{LinkBody, empty};
use super::dial::chain;
use super::hub::{Hub, Peer};
use super::proxy::{self, Held, REFUSED, ReadError, refused_by, take_header};
use super::refusal::Refusal;
use super::session::Session;
use crate::contain::contained_in;

pub(super) const PATH: &str = "/link/v1/reads";
const METHOD: HeaderName = HeaderName::from_static("holdfast-link-method");
const STATUS: HeaderName = HeaderName::from_static("holdfast-link-status");
const ID: HeaderName = HeaderName::from_static("holdfast-link-read");
/// `Content-Length` of an answer without a body, as to HEAD: on a POST it would be a broken promise.
const LENGTH: HeaderName = HeaderName::from_static("holdfast-link-length");
/// Reads that wait for a parked request; more wait in their callers.
const WAITING: usize = 16;

/// A read on its way to the dialling side.
struct Read {
    id: u64,
    method: Method,
    headers: HeaderMap,
    body: LinkBody,
    answer: oneshot::Sender<Response<LinkBody>>,
}

/// The accepting side's reads of one session.
pub(super) struct Reads {
    ids: AtomicU64,
    to_park: mpsc::Sender<Read>,
    parked: Mutex<mpsc::Receiver<Read>>,
    /// Handed over and not answered; each is removed by its caller at the latest.
    unanswered: std::sync::Mutex<BTreeMap<u64, oneshot::Sender<Response<LinkBody>>>>,
}

impl Reads {
    pub fn new() -> Self {
        let (to_park, parked) = mpsc::channel(WAITING);
        Self { ids: 0.into(), to_park, parked: Mutex::new(parked), unanswered: Default::default() }
    }

    fn unanswered(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Response<LinkBody>>>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a read whose caller has its answer, or waits no longer.
struct Forget<'a>(&'a Reads, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.unanswered().remove(&self.1);
    }
}

/// Accepting side: asks the dialling side. The caller bounds the wait.
pub(super) async fn ask(
    session: &Session,
    method: Method,
    headers: HeaderMap,
    body: LinkBody,
) -> Result<Response<LinkBody>, ReadError> {
    let reads = &session.reads;
    let id = reads.ids.fetch_add(1, Relaxed);
    let (answer, answered) = oneshot::channel();
    let _forget = Forget(reads, id);
    let site = &session.peer;
    let asked = async {
        let read = Read { id, method, headers, body, answer };
        let broken = |why: &str| ReadError::Broken { site: site.clone(), why: why.to_owned() };
        reads.to_park.send(read).await.map_err(|_| broken("the link is down"))?;
        answered.await.map_err(|_| broken("the read was not answered"))
    };
    let response = tokio::select! {
        asked = asked => asked?,
        why = session.closed() => return Err(ReadError::Broken { site: site.clone(), why }),
    };
    match response.headers().get(&REFUSED) {
        None => Ok(response),
        Some(code) => Err(refused_by(site, code)),
    }
}

/// Accepting side of a parked request: `None` when there was nothing to read.
pub(super) async fn park(hub: &Hub, session: &Session) -> Option<Response<LinkBody>> {
    let next = async {
        let mut parked = session.reads.parked.lock().await;
        loop {
            let read = parked.recv().await?;
            // Whoever asked may have gone.
            if !read.answer.is_closed() {
                return Some(read);
            }
        }
    };
    let read = tokio::select! {
        read = tokio::time::timeout(hub.settings.limits.park, next) => read.ok().flatten()?,
        _ = session.closed() => return None,
    };
    session.reads.unanswered().insert(read.id, read.answer);
    let mut response = Response::new(read.body);
    *response.headers_mut() = read.headers;
    let method = HeaderValue::from_str(read.method.as_str()).expect("methods are tokens");
    response.headers_mut().extend([(METHOD, method), (ID, HeaderValue::from(read.id))]);
    Some(response)
}

/// Accepting side: the answer to a read. Answered itself when its body was taken.
pub(super) async fn answered(session: &Session, request: Request<Incoming>) -> Result<Response<LinkBody>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let bad =
        |what: &str| Refusal::new(StatusCode::BAD_REQUEST, "bad-read", format!("{what} is not a number in range"));
    let id: u64 = take_header(&mut parts.headers, ID)?.parse().map_err(|_| bad("id"))?;
    let status = take_header(&mut parts.headers, STATUS)?;
    let status =
        status.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(|| bad("status"))?;
    if let Some(length) = parts.headers.remove(&LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    let Some(answer) = session.reads.unanswered().remove(&id) else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no-such-read", format!("nobody waits for read {id}")));
    };
    let (taken, until_taken) = oneshot::channel::<()>();
    let mut response = Response::new(Held { body, _keep: taken }.boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = parts.headers;
    if answer.send(response).is_ok() {
        // The stream lives as long as this request is not answered.
        let _ = until_taken.await;
    }
    Ok(Response::new(empty()))
}

/// Dialling side: keeps requests parked and answers what comes, for as long as the session lives.
pub(super) async fn answer(hub: &Arc<Hub>, peer: &Peer, session: &Arc<Session>) -> String {
    if session.requests.is_none() {
        return std::future::pending().await;
    }
    let room = Arc::new(Semaphore::new(hub.settings.limits.reads));
    // Dropped with this future: all of it ends with the session.
    let mut parked = JoinSet::new();
    let mut answering = JoinSet::new();
    loop {
        while parked.len() < hub.settings.limits.parked_reads {
            let requests = session.requests.clone();
            let request = hub.request(peer, Method::GET, PATH, empty());
            parked.spawn(session.clone().guard(async move { requests?.send_request(request).await.ok() }));
        }
        tokio::select! {
            Some(response) = parked.join_next() => match response.ok().flatten().flatten() {
                Some(response) if response.status() == StatusCode::OK => {
                    // One read of one client: the link has others.
                    answering.spawn(contained_in(answer_one(hub.clone(), session.clone(), room.clone(), response)));
                }
                Some(response) if response.status() == StatusCode::NO_CONTENT => {}
                // Refused or broken: a pause, or the link would be asked in a loop.
                _ => tokio::time::sleep(hub.settings.limits.redial_first).await,
            },
            Some(_) = answering.join_next() => {}
        }
    }
}

async fn answer_one(hub: Arc<Hub>, session: Arc<Session>, room: Arc<Semaphore>, read: Response<Incoming>) {
    let (Some(peer), Some(mut requests)) = (hub.peer(&session.peer), session.requests.clone()) else { return };
    let (mut parts, body) = read.into_parts();
    let own = (take_header(&mut parts.headers, ID), take_header(&mut parts.headers, METHOD));
    let (Ok(id), Ok(Ok(method))) = (own.0, own.1.map(|method| method.parse::<Method>())) else {
        tracing::warn!(peer = %peer.site, "a read came without its number or method");
        return;
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.headers_mut() = parts.headers;
    let response = proxy::serve(&hub, &session, &room, request).await.unwrap_or_else(Refusal::into_response);
    let (mut parts, body) = response.into_parts();
    if let Some(length) = parts.headers.remove(CONTENT_LENGTH) {
        let name = if body.is_end_stream() { LENGTH } else { CONTENT_LENGTH };
        parts.headers.insert(name, length);
    }
    let mut request = hub.request(peer, Method::POST, PATH, body);
    *request.headers_mut() = parts.headers;
    let status = HeaderValue::from(parts.status.as_u16());
    let Ok(id) = HeaderValue::from_str(&id) else { return };
    request.headers_mut().extend([(STATUS, status), (ID, id)]);
    if let Err(error) = requests.send_request(request).await {
        tracing::debug!(peer = %peer.site, error = %chain(&error), "answer to a read was not taken");
    }
}
