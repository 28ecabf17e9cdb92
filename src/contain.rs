//! Where a panic ends less than the process.
//!
//! A panic in a group or in the journal is a state nobody has thought of: the process ends, and recovery is the normal start path.
//! A panic in what only reads and carries (a decoder, a session of a link, the control plane's node) says nothing about what is
//! stored: it ends what it stood in, and is counted. One message must not end a store (G9).
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

static CONTAINED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Of this thread: tests run beside each other.
    #[cfg(test)]
    static HERE: Cell<u64> = const { Cell::new(0) };
}

#[cfg(test)]
pub(crate) fn contained_here() -> u64 {
    HERE.get()
}

/// What was contained has panicked; the panic itself was logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bug was met while this was handled; it is in the log")]
pub struct Panicked;

/// Runs what may panic without ending the process. What it changes must be thrown away, or be good half done.
pub fn contain<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let out = Out;
    let ran = catch_unwind(AssertUnwindSafe(run));
    drop(out);
    ran.map_err(|_| {
        CONTAINED.fetch_add(1, Relaxed);
        #[cfg(test)]
        HERE.set(HERE.get() + 1);
        Panicked
    })
}

/// Whether a panic on this thread ends less than the process; for the hook that decides it.
pub fn is_contained() -> bool {
    DEPTH.get() > 0
}

/// Panics contained since the start.
pub fn contained() -> u64 {
    CONTAINED.load(Relaxed)
}

/// A future each of whose polls is contained.
pub struct Contained<F>(Pin<Box<F>>);

impl<F: Future> Contained<F> {
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match contain(|| self.0.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_what_it_stood_in_and_is_counted() {
        let before = contained();
        assert_eq!(contain(|| 7), Ok(7));
        assert!(!is_contained());
        let inner = contain(|| (is_contained(), contain(|| panic!("of a test")), is_contained()));
        assert_eq!(inner, Ok((true, Err::<(), _>(Panicked), true)));
        let future = async {
            tokio::task::yield_now().await;
            assert!(is_contained());
            panic!("of a test")
        };
        assert_eq!(Contained::new(future).await, Err::<(), _>(Panicked));
        assert!(!is_contained() && contained() >= before + 2);
    }
}
