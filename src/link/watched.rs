//! A body that gives its place back when nobody takes it: who stops reading holds nothing for longer than a pause may
//! take.
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::body::LinkBody;
use super::progress::Progress;
use crate::contain::contained_in;

/// `K` is the place, and goes with the body.
pub(super) struct Watched<K> {
    inner: Arc<Inner<K>>,
    watch: AbortHandle,
}

struct Inner<K> {
    held: Mutex<Option<(LinkBody, K)>>,
    progress: Arc<Progress>,
    /// Whoever takes it waits for more: then it is the other end that is silent, for which others look.
    waits: AtomicBool,
    /// In order, or by an error that was told.
    ended: AtomicBool,
}

impl<K> Inner<K> {
    fn held(&self) -> MutexGuard<'_, Option<(LinkBody, K)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("nothing of the answer was taken for too long")]
struct NotTaken;

impl<K: Send + 'static> Watched<K> {
    pub fn new(body: LinkBody, place: K, pause: Duration) -> Self {
        let held = Mutex::new(Some((body, place)));
        let inner = Arc::new(Inner { held, progress: Progress::new(), waits: false.into(), ended: false.into() });
        let watched = inner.clone();
        let watch = tokio::spawn(contained_in(async move {
            loop {
                watched.progress.silence(pause).await;
                if !watched.waits.load(Relaxed) {
                    break;
                }
                watched.progress.moved();
            }
            drop(watched.held().take());
        }));
        Self { inner, watch: watch.abort_handle() }
    }
}

impl<K> Drop for Watched<K> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl<K: Send + Unpin + 'static> Body for Watched<K> {
    type Data = bytes::Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
        let mut held = self.inner.held();
        let Some((body, _)) = held.as_mut() else {
            let ended = self.inner.ended.load(Relaxed);
            return Poll::Ready((!ended).then(|| Err(NotTaken.into())));
        };
        let polled = Pin::new(body).poll_frame(cx);
        self.inner.waits.store(polled.is_pending(), Relaxed);
        self.inner.progress.moved();
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            // Whatever is done with it from here on, its place is free.
            *held = None;
            self.inner.ended.store(true, Relaxed);
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        let ended = self.inner.ended.load(Relaxed);
        self.inner.held().as_ref().map_or(ended, |(body, _)| body.is_end_stream())
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.held().as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    #[tokio::test]
    async fn the_place_of_who_does_not_read_comes_back_and_that_of_who_waits_does_not() {
        let places = Arc::new(Semaphore::new(1));
        let pause = Duration::from_millis(50);
        let place = || places.clone().try_acquire_owned().unwrap();
        let idle = Watched::new(super::super::body::full("unread".into()), place(), pause);
        tokio::time::timeout(Duration::from_secs(60), places.acquire()).await.unwrap().unwrap().forget();
        places.add_permits(1);
        assert!(idle.collect().await.is_err());

        // A silent service: the reader is there, and waits.
        let (send, receive) = mpsc::channel(1);
        let body = Chunks(receive).boxed_unsync();
        let reading = tokio::spawn(Watched::new(body, place(), pause).collect());
        tokio::time::sleep(pause * 6).await;
        assert_eq!(places.available_permits(), 0);
        send.send("late".into()).await.unwrap();
        drop(send);
        assert_eq!(reading.await.unwrap().unwrap().to_bytes(), "late");
        assert_eq!(places.available_permits(), 1);
    }

    struct Chunks(mpsc::Receiver<bytes::Bytes>);

    impl Body for Chunks {
        type Data = bytes::Bytes;
        type Error = Box<dyn std::error::Error + Send + Sync>;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
        }
    }
}
