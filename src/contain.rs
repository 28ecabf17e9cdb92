//! Where a panic ends less than the process.
//!
//! A panic in a group or in the journal is a state nobody has thought of: the process ends, and recovery is the normal
//! start path. A panic in what only reads and carries (a decoder, a client's connection, a session of a link, the
//! control plane) says nothing about what is stored: it ends what it stood in, and is counted. One message must not end
//! a store (G9).
//!
//! Containing goes with polling, not with spawning: each task that handles what came from outside says [`contained_in`]
//! itself.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::sync::Notify;

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

/// Counts a panic that somebody else's code contains.
pub fn note() {
    CONTAINED.fetch_add(1, Relaxed);
}

/// Panics contained since the start.
pub fn contained() -> u64 {
    CONTAINED.load(Relaxed)
}

/// Runs a future each of whose polls is contained.
pub async fn contained_in<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    let poll = |cx: &mut Context<'_>| match contain(|| future.as_mut().poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    };
    std::future::poll_fn(poll).await
}

/// Runs what belongs to one HTTP/2 connection beside it: its requests at a server, the bodies of requests at a client.
/// Spawned plainly, a panic in one of them would end the process.
#[derive(Clone, Debug, Default)]
pub struct Beside(Arc<Notify>);

impl Beside {
    /// Comes when something beside this connection has panicked.
    pub async fn panicked(&self) {
        self.0.notified().await;
    }
}

impl<F> hyper::rt::Executor<F> for Beside
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let told = self.0.clone();
        tokio::spawn(async move {
            if contained_in(future).await.is_err() {
                told.notify_one();
            }
        });
    }
}

/// A panic that tests plant: whoever is sent `/planted-panic/NAME` panics. What is kept is whether it was contained.
#[cfg(test)]
pub(crate) mod planted {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    static CONTAINED: Mutex<BTreeMap<String, bool>> = Mutex::new(BTreeMap::new());
    const MARK: &str = "/planted-panic/";

    pub(crate) fn may_panic(path: &str) {
        let Some(name) = path.strip_prefix(MARK) else { return };
        let mut all = CONTAINED.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), super::is_contained());
        drop(all);
        panic!("planted: {name}");
    }

    /// Whether the panic of this name has happened, and whether it was contained.
    pub(crate) fn was_contained(name: &str) -> Option<bool> {
        CONTAINED.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
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
        assert_eq!(contained_in(future).await, Err::<(), _>(Panicked));
        assert!(!is_contained() && contained() >= before + 2);
    }
}
