//! A part of a measurement: one thread, one single-threaded runtime, ended and joined when its owner drops it.
use std::future::Future;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::Error;

pub struct Part {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Part {
    /// Runs the future that `start` makes until it ends or this is dropped. Tasks that it spawns end with it.
    pub fn start<F: Future<Output = ()>>(
        name: &str,
        start: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, Error> {
        let runtime = single_threaded()?;
        let (end, ended) = oneshot::channel();
        let body = move || {
            let run = async {
                tokio::select! {
                    () = start() => {}
                    _ = ended => {}
                }
            };
            LocalSet::new().block_on(&runtime, run);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        let thread = thread.map_err(Error::io("cannot start a thread"))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the part has been printed already.
            let _ = thread.join();
        }
    }
}

pub fn single_threaded() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(Error::io("cannot start a runtime"))
}
