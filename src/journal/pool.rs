//! Readers on threads of their own: a look-up never waits for the writer, and never holds it up.
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::open::Opened;
use super::reader::Reader;
use super::{Error, OpenOptions};

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

pub(super) struct Pool {
    questions: Arc<Questions>,
    /// One permit per question that may wait or be worked on.
    permits: Arc<Semaphore>,
    questions_max: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Questions {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    pub(super) fn start(opened: &Opened, options: &OpenOptions) -> Result<Self, Error> {
        let questions = Arc::new(Questions::default());
        let mut threads = Vec::new();
        for _ in 0..options.readers.max(1) {
            let mut reader = Reader::open(opened.shared.clone())?;
            let questions = questions.clone();
            let thread = std::thread::Builder::new().name("journal-reader".into()).spawn(move || {
                while let Some(job) = questions.next() {
                    // Whoever asked a question that panics is told `Closed`; the next question is none the worse.
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut reader)));
                }
            });
            let dir = options.data_dir.clone();
            threads.push(thread.map_err(|source| Error::Directory { dir, source })?);
        }
        let permits = Arc::new(Semaphore::new(options.questions_max));
        Ok(Self { questions, permits, questions_max: options.questions_max, threads: Mutex::new(threads) })
    }

    /// Waits for its turn where too many ask.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Reader) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let (sender, receiver) = oneshot::channel();
        self.questions.push(permit, question, move |answer| drop(sender.send(answer)))?;
        receiver.await.map_err(|_| Error::Closed)
    }

    pub(super) fn ask_blocking<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Reader) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let busy = |_| if self.permits.is_closed() { Error::Closed } else { Error::Busy { limit: self.questions_max } };
        let permit = self.permits.clone().try_acquire_owned().map_err(busy)?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.questions.push(permit, question, move |answer| drop(sender.send(answer)))?;
        receiver.recv().map_err(|_| Error::Closed)
    }

    pub(super) fn close(&self) {
        self.permits.close();
        self.questions.lock().closed = true;
        self.questions.asked.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                // Panics of questions were caught.
                let _ = thread.join();
            }
        }
    }
}

impl Questions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn push<T: 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        question: impl FnOnce(&mut Reader) -> T + Send + 'static,
        answer: impl FnOnce(T) + Send + 'static,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed);
        }
        state.jobs.push_back(Box::new(move |reader| {
            answer(question(reader));
            drop(permit);
        }));
        drop(state);
        self.asked.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let waited = self.asked.wait_while(self.lock(), |state| state.jobs.is_empty() && !state.closed);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).jobs.pop_front()
    }
}
