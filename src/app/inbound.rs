//! What comes in from other sites, by links and by the control plane, and the group it is for.
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use uuid::Uuid;

use http_body_util::BodyExt;

use super::groups::Registry;
use crate::control::ControlEvents;
use crate::dedup::Fingerprint;
use crate::gateway::{Body, BoxFuture, PeerError, PeerProxy, is_read, method_stays, read_for_peer};
use crate::link::{BAD_READ, Inbound, LinkBody, NotRead, ReadError, Waiting};
use crate::model::{Group, LogId, SiteName, WriteId};
use crate::service::{Event, Handle, Message};
use crate::wire::Difference;

impl Registry {
    /// Groups that this node and the peer share, but those of services whose definitions differ.
    fn shared_with(&self, peer: &SiteName, differs: &[Difference]) -> Vec<Handle> {
        let agreed = |group: &Group| !differs.iter().any(|d| d.service == group.service);
        let shared = self.members.iter().filter(|(group, member)| member.peers.contains(peer) && agreed(group));
        shared.map(|(_, member)| member.handle.clone()).collect()
    }

    fn tell_all(handles: Vec<Handle>, event: impl Fn() -> Event + Send + 'static) -> Option<Waiting> {
        Some(Box::pin(async move {
            for handle in handles {
                handle.event(event()).await;
            }
        }))
    }
}

impl Inbound for Registry {
    fn message(&self, from: &SiteName, group: Group, message: Message) -> Option<Waiting> {
        let member = self.members.get(&group).filter(|member| member.peers.contains(from))?;
        let (handle, from) = (member.handle.clone(), from.clone());
        Some(Box::pin(async move { handle.event(Event::Message { from, message }).await }))
    }

    fn up(&self, peer: &SiteName, differs: &[Difference]) -> Option<Waiting> {
        let site = peer.clone();
        Self::tell_all(self.shared_with(peer, differs), move || Event::LinkUp { peer: site.clone() })
    }

    fn down(&self, peer: &SiteName) -> Option<Waiting> {
        let site = peer.clone();
        Self::tell_all(self.shared_with(peer, &[]), move || Event::LinkDown { peer: site.clone() })
    }

    fn left(&self, to: &SiteName, group: &Group, wish: WriteId, attempt: u32, whole: bool) {
        if let Some(member) = self.members.get(group) {
            member.handle.event_later(Event::WishLeft { to: to.clone(), id: wish, attempt, whole });
        }
    }

    fn may_read(&self, from: &SiteName, group: &Group, method: &Method, headers: &HeaderMap) -> Result<(), NotRead> {
        let member = self.members.get(group).filter(|member| member.peers.contains(from)).ok_or(NotRead::Group)?;
        let reads = is_read(method) && !member.writes.contains(method) && method_stays(headers);
        if reads { Ok(()) } else { Err(NotRead::Method) }
    }

    fn read(&self, _from: &SiteName, group: Group, request: Request<Incoming>) -> Waiting<Response<LinkBody>> {
        let member = self.members.get(&group);
        let member = member.map(|member| (member.handle.clone(), member.upstream.clone(), member.waits));
        Box::pin(async move {
            let response = match member {
                Some((handle, upstream, waits)) => {
                    read_for_peer(&handle, &upstream, waits, request.map(Body::of_peer)).await
                }
                // It was asked for by `may_read`, and groups do not go.
                None => {
                    let mut response = Response::new(Body::Empty);
                    *response.status_mut() = http::StatusCode::BAD_GATEWAY;
                    response
                }
            };
            response.map(|body| body.boxed_unsync())
        })
    }
}

impl ControlEvents for Registry {
    fn fingerprint(&self, group: &Group, fingerprint: Fingerprint) {
        if let Some(member) = self.members.get(group) {
            member.handle.hint(Event::Fingerprint(fingerprint));
        }
    }

    /// Links are kept connected, so there is nothing to wake.
    fn head(&self, _site: &SiteName, _group: &Group, _log: LogId, _position: u64) {}

    fn alive(&self, site: &SiteName, _node: &str, _boot: Uuid, up: bool) {
        let mut alive = self.alive.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if up {
            alive.insert(site.clone());
        } else {
            alive.remove(site);
        }
    }

    fn health(&self, _site: &SiteName, _group: &Group, _healthy: bool, _lag_ms: u64) {}
}

impl PeerProxy for Registry {
    fn proxy<'a>(
        &'a self,
        site: &'a SiteName,
        group: &'a Group,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, PeerError>> {
        Box::pin(async move {
            let never = |why: String| PeerError::NeverSent { site: site.clone(), why };
            let Some(links) = self.lines.links.get() else { return Err(never("no links yet".into())) };
            match links.read(site, group, request).await {
                Ok(response) => Ok(response.map(Body::Boxed)),
                Err(ReadError::Busy(site)) => Err(PeerError::Busy { site }),
                Err(ReadError::Broken { why, .. }) => Err(PeerError::Broken { site: site.clone(), why }),
                Err(ReadError::Unsendable(_)) => Err(PeerError::BadRequest),
                Err(ReadError::Refused { code, .. }) if code == BAD_READ => Err(PeerError::BadRequest),
                Err(error) => Err(never(error.to_string())),
            }
        })
    }
}
