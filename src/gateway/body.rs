//! The one body type of the data path: an enum, so that no request pays for a box.
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::arriving::Arriving;
use super::h1::Reply;
use super::headers::strip_trailers;
use super::pool::Lease;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longer than any site waits for its own client by default.
const PEER_PAUSE: Duration = Duration::from_secs(60);

/// A body going to an endpoint or to a client.
pub enum Body {
    Empty,
    Full(Bytes),
    /// A client's, streamed through.
    Incoming(Arriving),
    /// The same, telling by the drop of its sender when it is over: an upload may take its time.
    Upload {
        incoming: Arriving,
        ended: Option<oneshot::Sender<()>>,
    },
    /// An endpoint's, streamed through; its connection goes back to the pool at the end.
    Reply {
        reply: Box<Reply<Body>>,
        lease: Option<Lease>,
    },
    /// The same over HTTP/2.
    Upstream {
        incoming: Incoming,
        lease: Option<Lease>,
    },
    /// From anywhere else, for example a peer.
    Boxed(UnsyncBoxBody<Bytes, BoxError>),
}

/// What of an answer is handed over at once.
const PIECE: usize = 16 << 10;

struct Pieces<K> {
    left: Bytes,
    _kept: K,
}

impl<K: Unpin> http_body::Body for Pieces<K> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE.min(self.left.len());
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }
    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Body {
    /// Whole, and given out in pieces: what was taken is not held any more, and a client that stops taking is noticed.
    pub fn pieces(bytes: Bytes, kept: impl Send + Unpin + 'static) -> Self {
        Body::Boxed(Pieces { left: bytes, _kept: kept }.boxed_unsync())
    }

    /// A body that another site takes through from its client, who has a pause of its own there.
    pub fn of_peer(incoming: Incoming) -> Self {
        Body::Incoming(Arriving::new(incoming, PEER_PAUSE))
    }

    pub fn full(bytes: Bytes) -> Self {
        if bytes.is_empty() { Body::Empty } else { Body::Full(bytes) }
    }

    /// An endpoint's body; a body that is over already gives its connection back at once.
    pub fn reply(mut reply: Reply<Body>, lease: Lease) -> Self {
        if reply.is_over() {
            lease.finish(reply.take_conn());
            return Body::Empty;
        }
        Body::Reply { reply: Box::new(reply), lease: Some(lease) }
    }

    /// The same over HTTP/2.
    pub fn upstream(incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.finish(None);
            return Body::Empty;
        }
        Body::Upstream { incoming, lease: Some(lease) }
    }
}

type Taken = Option<Result<Frame<Bytes>, BoxError>>;

/// Trailers without what they may not say.
fn cleaned(mut frame: Taken) -> Taken {
    if let Some(Ok(frame)) = &mut frame
        && let Some(trailers) = frame.trailers_mut()
    {
        strip_trailers(trailers);
    }
    frame
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Incoming(incoming) => Pin::new(incoming).poll_frame(cx).map(cleaned),
            Body::Upload { incoming, ended } => {
                let frame = cleaned(ready!(Pin::new(&mut *incoming).poll_frame(cx)));
                if !matches!(frame, Some(Ok(_))) || incoming.is_end_stream() {
                    *ended = None;
                }
                Poll::Ready(frame)
            }
            Body::Reply { reply, lease } => {
                let frame = ready!(reply.poll_frame(cx));
                match &frame {
                    Some(Err(_)) => *lease = None,
                    Some(Ok(_)) if !reply.is_over() => {}
                    // At the last byte, not when somebody asks for more: a reader that knows the length may not.
                    _ => lease.take().into_iter().for_each(|lease| lease.finish(reply.take_conn())),
                }
                Poll::Ready(cleaned(frame.map(|f| f.map_err(Into::into))))
            }
            Body::Upstream { incoming, lease } => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                match &frame {
                    Some(Ok(_)) if !incoming.is_end_stream() => {}
                    _ => *lease = None,
                }
                Poll::Ready(cleaned(frame.map(|f| f.map_err(Into::into))))
            }
            Body::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(_) => false,
            Body::Reply { reply, .. } => reply.is_over(),
            Body::Incoming(incoming) | Body::Upload { incoming, .. } => incoming.is_end_stream(),
            Body::Upstream { incoming, .. } => incoming.is_end_stream(),
            Body::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Reply { reply, .. } => reply.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Body::Incoming(incoming) | Body::Upload { incoming, .. } => incoming.size_hint(),
            Body::Upstream { incoming, .. } => incoming.size_hint(),
            Body::Boxed(body) => body.size_hint(),
        }
    }
}
