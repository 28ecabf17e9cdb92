//! Reads, and everything of a service without replicas: streamed through in both directions, nothing kept.
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderValue, VIA};
use http::request::Parts as Head;
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use super::app::{App, Context};
use super::arriving::Arriving;
use super::body::Body;
use super::h1::Spelling;
use super::headers::{self, HOLDFAST_SEEN, HOLDFAST_SERVED_BY, X_REQUEST_ID};
use super::pool::SendError;
use super::refusal::{self, Refusal};
use super::route::is_read;
use super::seen;
use super::settings::{PeerError, Target};
use super::spelling::spell_answer;
use super::upstream::Upstream;
use crate::model::{After, Problem, SiteName};
use crate::problem::Cause;
use crate::service::{Handle, Reply};

impl App {
    pub(super) async fn read(
        &self,
        context: Context<'_>,
        target: Option<&Target>,
        seen: Option<(After, HeaderValue)>,
        mut head: Head,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let is_safe = is_read(&head.method) && !context.service.settings.writes.contains(&head.method);
        context.add_own_headers(&mut head.headers);
        head.headers.insert(HOST, context.authority.clone());
        head.version = Version::HTTP_11;
        let spelling = head.extensions.remove::<Spelling>();
        head.extensions.clear();
        spelling.map(|spelling| head.extensions.insert(spelling));
        let elsewhere = match (target, &self.neighbours.peers) {
            (Some(target), Some(peers)) => {
                let decider = target.handle.decider().filter(|site| *site != self.site);
                decider.map(|site| (site, target, peers))
            }
            _ => None,
        };
        if let Some((site, target, peers)) = elsewhere {
            let what = "reads of one client that another site answers";
            let place = context.client.share.elsewhere().ok_or(Cause::from(Problem::Overloaded { what }))?;
            // Free again when the link's own place is: also when nobody takes the answer.
            head.extensions.insert(Arc::new(place));
            seen.map(|(_, token)| head.headers.insert(HOLDFAST_SEEN, token));
            headers::append_via(&mut head.headers);
            let request = Request::from_parts(head, self.streamed(body));
            let response = peers.proxy(&site, &target.group, request).await.map_err(|error| of_peer(&error))?;
            return Ok(self.pass_on(response, Some(&site)));
        }
        let seen = match (target, seen) {
            (Some(target), seen) => {
                let settings = &context.service.settings;
                let waits = Waits { timeout: settings.total_timeout, refuse_stale: settings.refuse_stale };
                Some(rests_on(&target.handle, seen.map(|(after, _)| after), waits).await?)
            }
            (None, _) => None,
        };
        head.headers.append(VIA, context.service.upstream.via().clone());
        let request = Request::from_parts(head, self.streamed(body));
        match context.service.upstream.stream(request).await {
            Ok(response) => {
                let mut response = self.pass_on(response, target.map(|_| &self.site));
                seen.map(|token| response.headers_mut().insert(HOLDFAST_SEEN, token));
                Ok(response)
            }
            Err(error) => Err(of_send(error, &context.service.settings.name, is_safe)),
        }
    }

    fn streamed(&self, body: Incoming) -> Body {
        if body.is_end_stream() { Body::Empty } else { Body::Incoming(Arriving::new(body, self.body_timeout)) }
    }

    /// What a proxy does to an answer that it passes on.
    fn pass_on(&self, response: Response<Body>, served_by: Option<&SiteName>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        head.version = Version::HTTP_11;
        let (reason, spelling) = (head.extensions.remove::<ReasonPhrase>(), head.extensions.remove::<Spelling>());
        head.extensions.clear();
        reason.map(|reason| head.extensions.insert(reason));
        if let Some(spelling) = spelling {
            spell_answer(&spelling, &mut head.extensions);
        }
        headers::strip_hop_by_hop(&mut head.headers);
        headers::append_via(&mut head.headers);
        if let Some(site) = served_by {
            let own = *site == self.site;
            let value = if own { Some(self.site_header.clone()) } else { HeaderValue::from_str(site.as_str()).ok() };
            value.map(|value| head.headers.insert(HOLDFAST_SERVED_BY, value));
        }
        Response::from_parts(head, body)
    }
}

/// How a reader waits for what it has seen elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub timeout: Duration,
    /// `stale = "refuse"`.
    pub refuse_stale: bool,
}

/// Waits until this replica has decided what the reader has seen; then says what the answer will rest on: that, and
/// what is decided here before the service is asked.
async fn rests_on(handle: &Handle, seen: Option<After>, waits: Waits) -> Result<HeaderValue, Cause> {
    let mut known = After::new();
    if let Some(seen) = seen {
        match handle.await_seen(seen, waits.timeout.as_millis() as u64).await {
            // What nobody can know is not carried on.
            Reply::Go { fresh, seen } if fresh || !waits.refuse_stale => known = seen,
            Reply::Problem { problem, .. } => return Err(problem.into()),
            _ => return Err(Problem::Stale.into()),
        }
    }
    let mut after = handle.decided();
    after.merge(&known);
    Ok(HeaderValue::try_from(seen::encode(&after)).expect("base64url is visible ASCII"))
}

/// A read that another site took for us, because this one decides: the other half of [`App::read`].
pub async fn read_for_peer(
    handle: &Handle,
    upstream: &Upstream,
    waits: Waits,
    mut request: Request<Body>,
) -> Response<Body> {
    let request_id = request.headers().get(X_REQUEST_ID).cloned();
    let answer = async {
        let seen = request.headers_mut().remove(HOLDFAST_SEEN);
        let seen = seen.map(|token| seen::decode(token.as_bytes())).transpose().map_err(|_| Cause::SeenMalformed)?;
        let token = rests_on(handle, seen, waits).await?;
        let is_safe = request.method().is_safe();
        let sent = upstream.stream(request).await;
        let mut response = sent.map_err(|error| of_send(error, &upstream.settings.service, is_safe))?;
        response.headers_mut().insert(HOLDFAST_SEEN, token);
        Ok(response)
    };
    answer.await.unwrap_or_else(|refusal: Refusal| {
        // The link carries other reads too: nothing here ends it.
        let refusal = Refusal { close: false, ..refusal };
        refusal::response(&refusal, request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(), None)
    })
}

/// Of what is streamed: only what was never sent is safe to repeat, unless it changes nothing anyway (`read`). The
/// reason is for the operator; the client learns what it may do.
fn of_send(error: SendError, service: &str, read: bool) -> Refusal {
    let service = service.to_owned();
    match error {
        SendError::NeverSent { why, .. } => {
            tracing::debug!(service, why, "a request was never sent");
            Cause::UpstreamUnreachable { service }.into()
        }
        SendError::Circle { .. } => Cause::LoopDetected.into(),
        SendError::NoRequest { why } => {
            tracing::debug!(service, why, "no request can be made of it");
            Cause::BadRequest { what: "no request to the service can be made of it" }.into()
        }
        SendError::Broken { why } | SendError::Unusable { why, .. } => {
            tracing::debug!(service, why, "a request broke off");
            Refusal::closing(Cause::UpstreamBroken { service, read })
        }
        SendError::TimedOut { why } => {
            tracing::debug!(service, why, "a request was not answered in time");
            Refusal::closing(Cause::UpstreamTimeout { service, read })
        }
    }
}

fn of_peer(error: &PeerError) -> Cause {
    tracing::debug!(%error, "a read could not be taken to the deciding site");
    match error {
        PeerError::Busy { .. } => Problem::Overloaded { what: "reads that another site answers" }.into(),
        PeerError::BadRequest => Cause::BadRequest { what: "it cannot be passed on to the site that answers it" },
        PeerError::NeverSent { site, .. } | PeerError::Broken { site, .. } => {
            Cause::PeerUnreachable { site: site.as_str().to_owned() }
        }
    }
}
