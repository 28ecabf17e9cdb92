//! Bodies of requests and answers on a link.
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::OwnedSemaphorePermit;

use super::progress::Progress;

pub type LinkBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub(super) fn full(bytes: Bytes) -> LinkBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn empty() -> LinkBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A page is handed over in pieces, each only when the stream's window has room: so what is on the line stays bounded
/// by the window, and messages get between.
pub(super) struct Pieces {
    left: Bytes,
    /// Kept until the last piece was handed over.
    _permit: Option<OwnedSemaphorePermit>,
    /// Told of every piece that is taken, and of the end.
    progress: Option<Arc<Progress>>,
}

const PIECE_BYTES: usize = 16 << 10;

impl Pieces {
    pub fn body(bytes: Bytes, permit: Option<OwnedSemaphorePermit>) -> LinkBody {
        let pieces = Pieces { left: bytes, _permit: permit, progress: None };
        pieces.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
    }

    pub fn watched(bytes: Bytes, progress: Arc<Progress>) -> LinkBody {
        let pieces = Pieces { left: bytes, _permit: None, progress: Some(progress) };
        pieces.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = PIECE_BYTES.min(self.left.len());
        let piece = self.left.split_to(piece);
        match &self.progress {
            Some(progress) if self.left.is_empty() => progress.is_whole(),
            Some(progress) => progress.moved(),
            None => {}
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.progress.iter().for_each(|progress| progress.is_dropped());
    }
}

/// Gathers a stream of data frames until as many bytes are there as are asked for.
#[derive(Default)]
pub(super) struct Gathered {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Gathered {
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }
    /// Exactly `count` bytes, without a copy where they came in one chunk.
    pub fn take(&mut self, count: usize) -> Option<Bytes> {
        if self.bytes < count {
            return None;
        }
        self.bytes -= count;
        if let Some(first) = self.chunks.front_mut().filter(|first| first.len() > count) {
            return Some(first.split_to(count));
        }
        if self.chunks.front().is_some_and(|first| first.len() == count) {
            return self.chunks.pop_front();
        }
        let mut joined = Vec::with_capacity(count);
        while joined.len() < count {
            let mut chunk = self.chunks.pop_front().expect("the bytes were counted");
            joined.extend_from_slice(&chunk.split_to(chunk.len().min(count - joined.len())));
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
            }
        }
        Some(joined.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_over_any_boundaries() {
        let all: Vec<u8> = (0..100).collect();
        for chunk in [1, 3, 7, 50, 100] {
            let mut gathered = Gathered::default();
            let mut taken = Vec::new();
            for piece in all.chunks(chunk) {
                gathered.push(Bytes::copy_from_slice(piece));
                while let Some(ten) = gathered.take(10) {
                    assert_eq!(ten.len(), 10);
                    taken.extend_from_slice(&ten);
                }
            }
            assert_eq!(taken, all, "{chunk}");
            assert_eq!(gathered.take(1), None);
        }
    }
}
