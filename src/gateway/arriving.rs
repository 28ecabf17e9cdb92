//! A client's body on its way in: a client that falls silent in the middle of it does not hold a place for ever.
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::body::BoxError;

#[derive(Debug, thiserror::Error)]
#[error("the client fell silent in the middle of its request")]
pub struct ClientSilent;

/// `pause` counts while somebody waits for the next piece, and begins anew with each.
pub struct Arriving {
    incoming: Incoming,
    pause: Duration,
    silence: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub fn new(incoming: Incoming, pause: Duration) -> Self {
        Self { incoming, pause, silence: None }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.silence = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let pause = this.pause;
        let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        silence.as_mut().poll(cx).map(|()| Some(Err(ClientSilent.into())))
    }
    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
