//! Reads that another site decides, streamed both ways over the link. The side that dialled asks directly; what the
//! other side asks is handed to a request that was parked there (`parked.rs`).
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::LinkBody;
use super::dial::chain;
use super::hub::Hub;
use super::refusal::{REFUSED_HEADER, Refusal};
use super::session::Session;
use super::watched::Watched;
use super::{Links, NotRead, parked};
use crate::model::{Group, SiteName};

pub(super) const PATH: &str = "/link/v1/proxy";
pub(super) const SERVICE: HeaderName = HeaderName::from_static("holdfast-link-service");
pub(super) const STORE: HeaderName = HeaderName::from_static("holdfast-link-store");
pub(super) const TARGET: HeaderName = HeaderName::from_static("holdfast-link-target");
pub(super) const REFUSED: HeaderName = HeaderName::from_static(REFUSED_HEADER);

/// The refusal of what is no request that can be passed on.
pub const BAD_READ: &str = "bad-read";

/// The refusal that says that a place will be free again.
pub(super) const BUSY: &str = "busy";

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no link to {0}")]
    NotConnected(SiteName),
    /// As many as may be, by this site's count or by the other's.
    #[error("too many reads are under way to {0}")]
    Busy(SiteName),
    #[error("the request cannot be passed on: {0}")]
    Unsendable(&'static str),
    #[error("site {site} refuses the read: {code}")]
    Refused { site: SiteName, code: String },
    #[error("link to {site} broke: {why}")]
    Broken { site: SiteName, why: String },
}

impl Links {
    /// Passes a read on to the site that decides it. `request` has its target in origin-form or absolute-form and no
    /// hop-by-hop headers; the caller bounds the wait. A place of the caller's among its extensions is given back with
    /// the link's.
    pub async fn read<B>(
        &self,
        to: &SiteName,
        group: &Group,
        request: Request<B>,
    ) -> Result<Response<LinkBody>, ReadError>
    where
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let away = || ReadError::NotConnected(to.clone());
        let peer = self.hub.peer(to).ok_or_else(away)?;
        let session = peer.current.borrow().clone().ok_or_else(away)?;
        let place = peer.asking.clone().try_acquire_owned().map_err(|_| ReadError::Busy(to.clone()))?;
        peer.outgoing.stir();
        let (mut parts, body) = request.into_parts();
        let place = (place, parts.extensions.remove::<Arc<OwnedSemaphorePermit>>());
        let value = |text: &str, what| HeaderValue::from_str(text).map_err(|_| ReadError::Unsendable(what));
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let own = [
            (SERVICE, value(&group.service, "the service's name is not a header value")?),
            (STORE, value(&group.store, "the store's name is not a header value")?),
            (TARGET, value(target, "the target is not a header value")?),
        ];
        let body = body.map_err(Into::into).boxed_unsync();
        let mut headers = parts.headers;
        headers.extend(own);
        let pause = self.hub.settings.limits.read_pause;
        let watched =
            |response: Response<LinkBody>| response.map(|body| Watched::new(body, place, pause).boxed_unsync());
        let Some(mut requests) = session.requests.clone() else {
            return parked::ask(&session, parts.method, headers, body).await.map(watched);
        };
        let mut request = self.hub.request(peer, parts.method, PATH, body);
        *request.headers_mut() = headers;
        let broken = |error: hyper::Error| ReadError::Broken { site: to.clone(), why: chain(&error) };
        let response = tokio::select! {
            response = requests.send_request(request) => response.map_err(broken)?,
            // A connection over a dead line lives on for as long as anything is asked over it.
            why = session.closed() => return Err(ReadError::Broken { site: to.clone(), why }),
        };
        if let Some(code) = response.headers().get(&REFUSED) {
            return Err(refused_by(to, code));
        }
        Ok(watched(response.map(|body| body.map_err(Into::into).boxed_unsync())))
    }
}

pub(super) fn refused_by(site: &SiteName, code: &HeaderValue) -> ReadError {
    match code.as_bytes() {
        code if code == BUSY.as_bytes() => ReadError::Busy(site.clone()),
        code => ReadError::Refused { site: site.clone(), code: String::from_utf8_lossy(code).into_owned() },
    }
}

/// Headers that only the appliance itself says to a service; a site passes on reads of its clients, and speaks to our
/// service in nobody's name. What a reader has seen is the reader's.
fn is_ours(name: &HeaderName) -> bool {
    // As a service reads it that cannot tell one sign from another.
    let name = name.as_str().replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    let private = ["x-wso2-cluster-header", "x-envoy-internal", "x-trace-key"];
    name != "holdfast-seen" && (name.starts_with("holdfast-") || private.contains(&name.as_str()))
}

/// The answering side of a read: of the asker's own groups, with a method that reads, and as a client would say it. The
/// whole table of who may ask what for whom is in `docs/who-may-ask.md`, and a test has each of its cells.
pub(super) async fn serve(
    hub: &Hub,
    session: &Session,
    room: &Arc<Semaphore>,
    request: Request<Incoming>,
) -> Result<Response<LinkBody>, Refusal> {
    let refuse = |status, code, detail: String| Refusal::new(status, code, detail);
    let (mut parts, body) = request.into_parts();
    let mut own = |name: HeaderName| take_header(&mut parts.headers, name);
    let group = Group { service: own(SERVICE)?, store: own(STORE)? };
    let target = own(TARGET)?;
    let is_path = target.starts_with('/') || (target == "*" && parts.method == Method::OPTIONS);
    let uri = target.parse::<Uri>().ok().filter(|_| is_path);
    parts.uri = uri.ok_or_else(|| refuse(StatusCode::BAD_REQUEST, BAD_READ, format!("{target:?} is no target")))?;
    match hub.inbound.may_read(&session.peer, &group, &parts.method, &parts.headers) {
        Ok(()) => {}
        Err(NotRead::Group) => {
            let detail = format!("{} has no part in {group}", session.peer);
            return Err(refuse(StatusCode::FORBIDDEN, "not-yours", detail));
        }
        Err(NotRead::Method) => {
            let detail = format!("{} as it is sent may change something: writes go by the journal", parts.method);
            return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "not-a-read", detail));
        }
    }
    let private: Vec<HeaderName> = parts.headers.keys().filter(|name| is_ours(name)).cloned().collect();
    private.into_iter().for_each(|name| drop(parts.headers.remove(name)));
    if !hub.peer(&session.peer).is_some_and(|peer| peer.outgoing.exchanges(&group.service)) {
        let detail = format!("the definitions of {} differ", group.service);
        return Err(refuse(StatusCode::CONFLICT, "not-exchanged", detail));
    }
    let busy = |_| refuse(StatusCode::SERVICE_UNAVAILABLE, BUSY, "too many reads are under way".into());
    let places =
        (room.clone().try_acquire_owned().map_err(busy)?, hub.reads.clone().try_acquire_owned().map_err(busy)?);
    let mut response = hub.inbound.read(&session.peer, group, Request::from_parts(parts, body)).await;
    // Only this link may say that it refused.
    response.headers_mut().remove(&REFUSED);
    let pause = hub.settings.limits.read_pause;
    Ok(response.map(|body| Watched::new(body, places, pause).boxed_unsync()))
}

/// Takes one of the link's own headers out of a request.
pub(super) fn take_header(headers: &mut HeaderMap, name: HeaderName) -> Result<String, Refusal> {
    let value = headers.remove(&name);
    let text = value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned);
    text.ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, BAD_READ, format!("header {name} is missing")))
}

/// A body that keeps something until its last byte was taken, or nobody wants it any more.
pub(super) struct Held<B, K> {
    pub body: B,
    pub _keep: K,
}

impl<B, K> Body for Held<B, K>
where
    B: Body<Data = bytes::Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    K: Unpin,
{
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
