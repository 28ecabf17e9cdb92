//! Messages that are longer than a window, each on a stream of its own: a wish with the body of a photo takes seconds
//! on a thin line, and what stands behind it (other wishes, and the revocations that must not be late) would count as
//! silence.
//!
//! Like pages, the dialling side posts its own and fetches the other side's; nothing here keeps an order with other
//! messages, nor need it: what overtakes whom is the state machine's business (a revocation before its wish makes it
//! void).
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tokio::task::JoinSet;

use super::body::{LinkBody, Pieces, empty};
use super::hub::{Hub, Peer};
use super::messages::{Impossible, Taken, hand_over, left};
use super::outgoing::wish_of;
use super::pages::{HEAVY_BYTES, PAUSE, ask};
use super::progress::Progress;
use super::refusal::Refusal;
use super::session::Session;
use crate::contain::contain;
use crate::model::Group;
use crate::service::Message;
use crate::wire;

pub(super) const PATH: &str = "/link/v1/large";

async fn pack(group: &Group, message: Message, limit: usize) -> Result<Bytes, String> {
    let group = group.clone();
    let encoded = tokio::task::spawn_blocking(move || contain(|| wire::encode_message(&group, &message))).await;
    let encoded = encoded.map_err(|error| error.to_string())?.map_err(|bug| bug.to_string())?;
    let bytes = encoded.map_err(|error| error.to_string())?;
    match bytes.len() > limit + wire::OVERHEAD_BYTES {
        true => Err(format!("{} bytes, at most {limit} are accepted", bytes.len())),
        false => Ok(bytes),
    }
}

async fn unpack(body: Bytes, limit: usize) -> Result<(Group, Message), String> {
    let decoded = match body.len() >= HEAVY_BYTES {
        true => tokio::task::spawn_blocking(move || contain(|| wire::decode_message(&body, limit))).await,
        false => Ok(contain(|| wire::decode_message(&body, limit))),
    };
    let decoded = decoded.map_err(|error| error.to_string())?.map_err(|bug| bug.to_string())?;
    decoded.map_err(|error| super::dial::chain(&error))
}

/// Dialling side: posts what waits, a few at a time, for as long as the session lives.
pub(super) async fn post(hub: &Arc<Hub>, peer: &Peer, session: &Arc<Session>) -> String {
    if session.requests.is_none() {
        return std::future::pending().await;
    }
    // Dropped with this future: all of it ends with the session.
    let mut posts = JoinSet::new();
    loop {
        let queued = peer.outgoing.large_queued.notified();
        tokio::pin!(queued);
        // Registered before the look, so that a message queued in between wakes us.
        queued.as_mut().enable();
        while posts.len() < hub.settings.limits.large_at_once
            && let Some((group, message)) = peer.outgoing.next_large(session.id)
        {
            let posting = post_one(hub.clone(), session.clone(), group, message);
            posts.spawn(session.clone().guard(posting));
        }
        tokio::select! {
            () = queued => {}
            Some(_) = posts.join_next() => {}
        }
    }
}

async fn post_one(hub: Arc<Hub>, session: Arc<Session>, group: Group, message: Message) {
    let (Some(peer), Some(requests)) = (hub.peer(&session.peer), &session.requests) else { return };
    let limits = &hub.settings.limits;
    let wish = wish_of(&message);
    let posted = async {
        let bytes = pack(&group, message, limits.message_bytes).await?;
        let progress = Progress::new();
        let request = hub.request(peer, Method::POST, PATH, Pieces::watched(bytes, progress.clone()));
        tokio::select! {
            asked = ask(requests, request) => asked.map(drop),
            () = progress.silence(limits.stalled) => {
                Err(format!("nothing of it was taken for {} s", limits.stalled.as_secs()))
            }
        }
    };
    let posted = posted.await;
    if let Err(error) = &posted {
        tracing::warn!(peer = %session.peer, %group, %error, "a long message was not taken");
        peer.outgoing.dropped.fetch_add(1, Relaxed);
    }
    left(&hub, &session.peer, &group, wish, posted.is_ok());
}

/// Dialling side: keeps one fetch parked, and another one as soon as that is answered, up to as many as may be under
/// way.
pub(super) async fn fetch(hub: &Arc<Hub>, session: &Arc<Session>) -> String {
    if session.requests.is_none() {
        return std::future::pending().await;
    }
    let (mut parked, mut taking) = (JoinSet::new(), JoinSet::new());
    loop {
        if parked.is_empty() && taking.len() < hub.settings.limits.large_at_once {
            parked.spawn(session.clone().guard(fetch_one(hub.clone(), session.clone())));
        }
        tokio::select! {
            Some(fetched) = parked.join_next() => match fetched {
                Ok(Some(Ok(Some(body)))) => {
                    taking.spawn(session.clone().guard(take(hub.clone(), session.clone(), body)));
                }
                Ok(Some(Ok(None))) => {}
                Ok(Some(Err(error))) => {
                    tracing::warn!(peer = %session.peer, %error, "fetch of long messages failed");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(None) | Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = taking.join_next() => {}
        }
    }
}

async fn fetch_one(hub: Arc<Hub>, session: Arc<Session>) -> Result<Option<Incoming>, String> {
    let (Some(peer), Some(requests)) = (hub.peer(&session.peer), &session.requests) else { return Ok(None) };
    let response = ask(requests, hub.request(peer, Method::GET, PATH, empty())).await?;
    Ok((response.status() == StatusCode::OK).then(|| response.into_body()))
}

/// Reads one message and hands it over. What cannot be read ends the session, as on the message stream.
async fn take(hub: Arc<Hub>, session: Arc<Session>, body: Incoming) {
    if let Err(refusal) = receive(&hub, &session, body).await {
        tracing::warn!(peer = %session.peer, why = %refusal.detail, "a long message was not taken");
    }
}

async fn receive(hub: &Hub, session: &Session, body: Incoming) -> Result<(), Refusal> {
    let limit = hub.settings.limits.message_bytes;
    let bad = |why: String| {
        session.close(&format!("the peer sent what cannot be read: {why}"));
        Refusal::new(StatusCode::BAD_REQUEST, "bad-message", why)
    };
    let body = Limited::new(body, limit + wire::OVERHEAD_BYTES).collect().await;
    let broken = |error| Refusal::new(StatusCode::BAD_REQUEST, "bad-message", format!("message: {error}"));
    let (group, message) = unpack(body.map_err(broken)?.to_bytes(), limit).await.map_err(bad)?;
    let Some(peer) = hub.peer(&session.peer) else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "site-not-listed", String::new()));
    };
    let taken = hand_over(hub, peer, group, message).await;
    let taken = taken.map_err(|Impossible(why)| {
        session.close(&format!("the peer sent {why}"));
        Refusal::new(StatusCode::BAD_REQUEST, "implausible", why)
    });
    match taken? {
        Taken::Yes => Ok(()),
        Taken::No => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not-taken", "its group takes no messages now")),
    }
}

/// Accepting side of a post.
pub(super) async fn accept(hub: &Hub, session: &Session, body: Incoming) -> Result<(), Refusal> {
    receive(hub, session, body).await
}

/// Accepting side of a fetch: parked until there is a message; `None` after the parking time.
pub(super) async fn serve(hub: &Arc<Hub>, session: &Arc<Session>) -> Option<Response<LinkBody>> {
    let peer = hub.peer(&session.peer)?;
    let limits = hub.settings.limits;
    let parked = async {
        loop {
            let queued = peer.outgoing.large_queued.notified();
            tokio::pin!(queued);
            queued.as_mut().enable();
            if let Some(next) = peer.outgoing.next_large(session.id) {
                return next;
            }
            queued.await;
        }
    };
    let (group, message) = tokio::select! {
        next = tokio::time::timeout(limits.park, parked) => next.ok()?,
        _ = session.closed() => return None,
    };
    let wish = wish_of(&message);
    let bytes = match pack(&group, message, limits.message_bytes).await {
        Ok(bytes) => bytes,
        Err(why) => {
            tracing::warn!(peer = %peer.site, %group, %why, "message cannot be sent");
            peer.outgoing.dropped.fetch_add(1, Relaxed);
            left(hub, &peer.site, &group, wish, false);
            return None;
        }
    };
    let progress = Progress::new();
    let body = Pieces::watched(bytes, progress.clone());
    let (hub, site) = (hub.clone(), peer.site.clone());
    tokio::spawn(async move {
        let whole = progress.ended(limits.stalled).await;
        left(&hub, &site, &group, wish, whole);
    });
    Some(Response::new(body))
}
