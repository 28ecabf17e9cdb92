//! The message stream: both bodies of one `POST /link/v1/messages` are sequences of length (4, little endian) |
//! envelope.
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::body::{Gathered, LinkBody};
use super::hub::{Hub, Peer};
use super::outgoing::{Entry, wish_of};
use super::session::Session;
use crate::contain::contain;
use crate::model::{Group, SiteName, WriteId};
use crate::service::Message;
use crate::wire::{self, Kind};

/// Small messages that wait share a frame up to this size.
const BATCH_BYTES: usize = 32 << 10;
const LENGTH_BYTES: usize = 4;

/// Pulls from the peer's queue whenever the stream's window has room: no task and no channel in between.
struct Sending {
    hub: Arc<Hub>,
    session: Arc<Session>,
}

pub(super) fn body(hub: &Arc<Hub>, session: &Arc<Session>) -> LinkBody {
    let sending = Sending { hub: hub.clone(), session: session.clone() };
    sending.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(peer) = self.hub.peer(&self.session.peer) else { return Poll::Ready(None) };
        let mut batch = Vec::new();
        loop {
            match peer.outgoing.poll_next(self.session.id, cx) {
                Poll::Ready(Some(entry)) => append(&mut batch, entry, &self.hub, peer),
                Poll::Ready(None) if batch.is_empty() => return Poll::Ready(None),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
            if batch.len() >= BATCH_BYTES {
                break;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(batch.into()))))
    }
}

fn append(batch: &mut Vec<u8>, entry: Entry, hub: &Hub, peer: &Peer) {
    let limit = hub.settings.limits.message_bytes;
    let mut of_wish = None;
    let start = batch.len();
    batch.extend_from_slice(&[0; LENGTH_BYTES]);
    let written = match entry {
        Entry::Beat(beat) => {
            batch.extend_from_slice(&beat);
            Ok(())
        }
        Entry::Message(group, message) => {
            let written = wire::encode_message_into(batch, &group, &message);
            of_wish = wish_of(&message).map(|wish| (group, wish));
            written
        }
    };
    let length = batch.len() - start - LENGTH_BYTES;
    let refused = written.err().map(|error| error.to_string()).or_else(|| {
        // The other side would end the link over it, again and again.
        (length > limit + wire::OVERHEAD_BYTES).then(|| format!("{length} bytes, at most {limit} are accepted"))
    });
    if let Some((group, wish)) = of_wish {
        left(hub, &peer.site, &group, Some(wish), refused.is_none());
    }
    match refused {
        None => batch[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes()),
        Some(why) => {
            tracing::warn!(peer = %peer.site, %why, "message cannot be sent");
            peer.outgoing.dropped.fetch_add(1, Relaxed);
            batch.truncate(start);
        }
    }
}

/// Reads and hands over what the other side says; returns why it ended.
pub(super) async fn read(hub: &Hub, peer: &Peer, session: &Session, mut incoming: Incoming) -> String {
    let limit = hub.settings.limits.message_bytes;
    let mut gathered = Gathered::default();
    // Of the envelope that is not complete yet.
    let mut length = None;
    loop {
        let frame = match incoming.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return format!("message stream broke: {}", super::dial::chain(&error)),
            None => return "the peer ended the message stream".to_owned(),
        };
        gathered.push(frame.into_data().unwrap_or_default());
        loop {
            if length.is_none() {
                length =
                    gathered.take(LENGTH_BYTES).map(|bytes| u32::from_le_bytes(bytes[..].try_into().expect("4 bytes")));
            }
            let Some(bytes) = length.map(|length| length as usize) else { break };
            if bytes > limit + wire::OVERHEAD_BYTES {
                return format!("the peer sent a message of {bytes} bytes, at most {limit} are accepted");
            }
            let Some(envelope) = gathered.take(bytes) else { break };
            length = None;
            if let Err(why) = take(hub, peer, session, &envelope).await {
                return format!("the peer sent {why}");
            }
        }
    }
}

async fn take(hub: &Hub, peer: &Peer, session: &Session, envelope: &[u8]) -> Result<(), String> {
    let limit = hub.settings.limits.message_bytes;
    let decoded = contain(|| -> Result<_, wire::Error> {
        if wire::kind_of(envelope)? == Kind::Beat {
            if let Some(answer) = session.on_beat(wire::decode_beat(envelope)?) {
                peer.outgoing.answer(session.id, wire::encode_beat(&answer));
            }
            return Ok(None);
        }
        wire::decode_message(envelope, limit).map(Some)
    });
    let unreadable = |error| format!("what cannot be read: {}", super::dial::chain(&error));
    if let Some((group, message)) = decoded.map_err(|bug| bug.to_string())?.map_err(unreadable)? {
        hand_over(hub, peer, group, message).await.map_err(|Impossible(why)| why)?;
    }
    Ok(())
}

/// Tells a group what became of its wish on the way out.
pub(super) fn left(hub: &Hub, to: &SiteName, group: &Group, wish: Option<(WriteId, u32)>, whole: bool) {
    if let Some((id, attempt)) = wish {
        hub.inbound.left(to, group, id, attempt, whole);
    }
}

/// Whether a group took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

/// What no site says: why the session over which it came is over.
#[derive(Debug)]
pub(super) struct Impossible(pub String);

/// Gives a message to its group, if it can be at all.
pub(super) async fn hand_over(hub: &Hub, peer: &Peer, group: Group, message: Message) -> Result<Taken, Impossible> {
    // Between the decoder and the state machine, which may rely on it.
    if let Err(why) = message.check() {
        peer.refused.fetch_add(1, Relaxed);
        return Err(Impossible(format!("what cannot be, about {}: {why}", short(&group))));
    }
    Ok(hand_over_checked(hub, peer, group, message).await)
}

/// A name from outside, for a log line.
fn short(group: &Group) -> String {
    group.to_string().chars().take(100).collect()
}

async fn hand_over_checked(hub: &Hub, peer: &Peer, group: Group, message: Message) -> Taken {
    if !peer.outgoing.exchanges(&group.service) {
        peer.refused.fetch_add(1, Relaxed);
        return Taken::No;
    }
    let name = short(&group);
    let Some(waiting) = hub.inbound.message(&peer.site, group, message) else {
        if peer.refused.fetch_add(1, Relaxed).is_power_of_two() {
            tracing::error!(peer = %peer.site, group = name, "a site speaks of a group in which it has no part");
        }
        return Taken::No;
    };
    let taken = tokio::time::timeout(hub.settings.limits.inbound_wait, waiting).await.is_ok();
    if !taken {
        peer.refused.fetch_add(1, Relaxed);
        tracing::warn!(peer = %peer.site, "a group takes no messages, one was dropped");
        return Taken::No;
    }
    peer.received.fetch_add(1, Relaxed);
    Taken::Yes
}
