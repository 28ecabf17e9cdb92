//! An answer on its way to a client: as long as it lives, its connection is busy. A service that falls silent in the
//! middle of it, and a client that does not take it, cost no more than a pause.
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::body::{Body, BoxError};
use super::h1::Spelling;

#[derive(Debug, thiserror::Error)]
enum Stalled {
    #[error("the service fell silent in the middle of its answer")]
    Service,
    #[error("the client did not take the answer")]
    Client,
}

/// Counts one request of a connection, and of its client, from its head to the last byte of its answer.
pub struct Busy(Arc<Load>, #[expect(dead_code, reason = "a place until it is dropped")] Option<OwnedSemaphorePermit>);

/// What a connection is at.
#[derive(Default)]
pub struct Load {
    open: AtomicUsize,
    begun: AtomicUsize,
    /// How the names in each head were spelled that the parser was given, and has not handed on yet.
    heads: Mutex<VecDeque<Spelling>>,
}

impl Load {
    /// Requests whose answers are not complete.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
    /// One more head goes to the parser.
    pub fn head_came(&self, spelling: Spelling) {
        lock(&self.heads).push_back(spelling);
    }
    /// Of the head that the parser hands on now.
    pub fn next_head(&self) -> Option<Spelling> {
        lock(&self.heads).pop_front()
    }
    /// Requests so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Busy {
    pub fn new(load: &Arc<Load>, place: Option<OwnedSemaphorePermit>) -> Self {
        load.open.fetch_add(1, Ordering::Relaxed);
        load.begun.fetch_add(1, Ordering::Relaxed);
        Self(load.clone(), place)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an answer holds, and gives back when nobody takes it.
struct Held {
    body: Option<(Body, Busy)>,
    /// Since when it is the client's turn to take something.
    offered: Instant,
    is_offered: bool,
}

/// The answers of one HTTP/2 connection. There a client that closes its window holds up one stream, and nobody would
/// look at it again; in HTTP/1 the connection itself notices.
#[derive(Default)]
pub struct Answers(Mutex<Vec<Weak<Mutex<Held>>>>);

impl Answers {
    /// Takes back what was offered before `pause` began.
    pub fn take_back(&self, pause: Duration) {
        let mut all = lock(&self.0);
        all.retain(|held| {
            let Some(held) = held.upgrade() else { return false };
            let mut held = lock(&held);
            if held.is_offered && held.offered.elapsed() >= pause {
                held.body = None;
            }
            held.body.is_some()
        });
    }
}

enum Place {
    Own(Body, #[expect(dead_code, reason = "counts until it is dropped")] Busy),
    Shared(Arc<Mutex<Held>>),
}

pub struct Served {
    place: Place,
    pause: Duration,
    /// Runs while the service is silent.
    silence: Option<Pin<Box<Sleep>>>,
}

impl Served {
    /// `answers`: of the connection, where it is HTTP/2. `pause`: the longest silence of the service, or of the client
    /// there.
    pub fn new(body: Body, busy: Busy, answers: Option<&Answers>, pause: Duration) -> Self {
        let place = match answers {
            None => Place::Own(body, busy),
            Some(answers) => {
                let held = Held { body: Some((body, busy)), offered: Instant::now(), is_offered: true };
                let held = Arc::new(Mutex::new(held));
                lock(&answers.0).push(Arc::downgrade(&held));
                Place::Shared(held)
            }
        };
        Self { place, pause, silence: None }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl Place {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        match self {
            Place::Own(body, _) => Pin::new(body).poll_frame(cx),
            Place::Shared(held) => {
                let mut held = lock(held);
                let Some((body, _)) = &mut held.body else {
                    return Poll::Ready(Some(Err(Stalled::Client.into())));
                };
                let polled = Pin::new(body).poll_frame(cx);
                held.is_offered = matches!(polled, Poll::Ready(Some(Ok(_))));
                held.offered = Instant::now();
                polled
            }
        }
    }
}

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let polled = this.place.poll(cx);
        if polled.is_ready() {
            this.silence = None;
            return polled;
        }
        let pause = this.pause;
        let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        silence.as_mut().poll(cx).map(|()| Some(Err(Stalled::Service.into())))
    }
    fn is_end_stream(&self) -> bool {
        match &self.place {
            Place::Own(body, _) => body.is_end_stream(),
            Place::Shared(held) => lock(held).body.as_ref().is_some_and(|(body, _)| body.is_end_stream()),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match &self.place {
            Place::Own(body, _) => body.size_hint(),
            Place::Shared(held) => {
                lock(held).body.as_ref().map_or_else(SizeHint::default, |(body, _)| body.size_hint())
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
            Poll::Pending
        }
    }

    fn silent() -> Body {
        Body::Boxed(Silent.boxed_unsync())
    }

    const PAUSE: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_that_stops_half_way_ends_after_a_pause() {
        let load = Arc::<Load>::default();
        let mut served = Served::new(silent(), Busy::new(&load, None), None, PAUSE);
        let begin = Instant::now();
        let error = served.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("fell silent"), "{error}");
        assert!(begin.elapsed() >= PAUSE);
        drop(served);
        assert_eq!((load.open(), load.begun()), (0, 1));
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_is_given_back_and_what_a_service_owes_is_not() {
        let (load, answers) = (Arc::<Load>::default(), Answers::default());
        let mut untaken = Served::new(Body::full("x".into()), Busy::new(&load, None), Some(&answers), LONG);
        let mut asked = Served::new(silent(), Busy::new(&load, None), Some(&answers), LONG);
        assert!(tokio::time::timeout(PAUSE, asked.frame()).await.is_err());
        answers.take_back(LONG);
        assert_eq!(load.open(), 2);
        answers.take_back(PAUSE);
        assert_eq!(load.open(), 1);
        assert!(untaken.frame().await.unwrap().unwrap_err().to_string().contains("did not take"));
    }
}
