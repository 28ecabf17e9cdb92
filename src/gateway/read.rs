//! Reads, and everything of a service without replicas: streamed through in both directions, nothing kept.
use http::header::{HOST, HeaderValue};
use http::request::Parts as Head;
use http::{Request, Response, Version};
use hyper::body::Incoming;

use super::app::{App, Context};
use super::body::Body;
use super::headers::{self, HOLDFAST_SEEN, HOLDFAST_SERVED_BY};
use super::pool::SendError;
use super::refusal::Refusal;
use super::settings::{PeerError, Target};
use crate::model::{After, Problem, SiteName};
use crate::problem::Cause;
use crate::service::Reply;

impl App {
    pub(super) async fn read(
        &self,
        context: Context<'_>,
        target: Option<&Target>,
        seen: Option<(After, HeaderValue)>,
        mut head: Head,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        let is_safe = !context.service.settings.writes.contains(&head.method);
        context.add_own_headers(&mut head.headers);
        head.headers.insert(HOST, context.authority.clone());
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let elsewhere = match (target, &self.neighbours.peers) {
            (Some(target), Some(peers)) => {
                let decider = target.handle.decider().filter(|site| *site != self.site);
                decider.map(|site| (site, target, peers))
            }
            _ => None,
        };
        if let Some((site, target, peers)) = elsewhere {
            seen.map(|(_, token)| head.headers.insert(HOLDFAST_SEEN, token));
            headers::append_via(&mut head.headers);
            let request = Request::from_parts(head, streamed(body));
            let response = peers.proxy(&site, &target.group, request).await.map_err(|error| of_peer(&error))?;
            return Ok(self.pass_on(response, Some(&site)));
        }
        if let (Some(target), Some((after, _))) = (target, &seen) {
            self.await_seen(&context, target, after.clone()).await?;
        }
        headers::append_via(&mut head.headers);
        let request = Request::from_parts(head, streamed(body));
        match context.service.upstream.stream(request).await {
            Ok(response) => {
                let mut response = self.pass_on(response, target.map(|_| &self.site));
                // What the reader had seen, it has still seen.
                seen.map(|(_, token)| response.headers_mut().insert(HOLDFAST_SEEN, token));
                Ok(response)
            }
            Err(error) => Err(of_send(error, &context.service.settings.name, is_safe)),
        }
    }

    async fn await_seen(&self, context: &Context<'_>, target: &Target, seen: After) -> Result<(), Refusal> {
        let settings = &context.service.settings;
        let timeout_ms = settings.total_timeout.as_millis() as u64;
        match target.handle.await_seen(seen, timeout_ms).await {
            Reply::Go { fresh } if fresh || !settings.refuse_stale => Ok(()),
            Reply::Problem { problem, .. } => Err(Cause::from(problem).into()),
            _ => Err(Cause::from(Problem::Stale).into()),
        }
    }

    /// What a proxy does to an answer that it passes on.
    fn pass_on(&self, response: Response<Body>, served_by: Option<&SiteName>) -> Response<Body> {
        let (mut head, body) = response.into_parts();
        head.version = Version::HTTP_11;
        head.extensions.clear();
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

fn streamed(body: Incoming) -> Body {
    use http_body::Body as _;
    if body.is_end_stream() { Body::Empty } else { Body::Incoming(body) }
}

/// §6 for what is streamed: only what was never sent is safe to repeat, unless it changes nothing anyway (`read`). The
/// reason is for the operator; the client learns what it may do.
fn of_send(error: SendError, service: &str, read: bool) -> Refusal {
    let service = service.to_owned();
    match error {
        SendError::NeverSent { why, .. } => {
            tracing::debug!(service, why, "a request was never sent");
            Cause::UpstreamUnreachable { service }.into()
        }
        SendError::Broken { why } => {
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
        PeerError::NeverSent { site, .. } | PeerError::Broken { site, .. } => {
            Cause::PeerUnreachable { site: site.as_str().to_owned() }
        }
    }
}
