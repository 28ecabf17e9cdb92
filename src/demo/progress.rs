//! What a person sees while the demo runs: one line that moves on a terminal, plain lines elsewhere. On standard error
//! only.
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::history::{Ending, Told};
use super::tills::Shared;

const REDRAW: Duration = Duration::from_millis(150);

/// Counted by the tills, read by the display.
#[derive(Debug, Default)]
pub struct Counters {
    pub acknowledged: AtomicU64,
    pub refused: AtomicU64,
    pub unanswered: AtomicU64,
    pub retried: AtomicU64,
    pub reads: AtomicU64,
    /// Writes that have not ended yet.
    pub waiting: AtomicU64,
}

impl Counters {
    pub fn ended(&self, told: &Told) {
        let counter = match told.ending {
            Ending::Acknowledged { .. } => &self.acknowledged,
            Ending::Refused { .. } => &self.refused,
            Ending::Unanswered => &self.unanswered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if told.tries > 1 {
            self.retried.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn line(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{:5} told ok  {:3} refused  {:3} retried  {:2} waiting",
            get(&self.acknowledged),
            get(&self.refused),
            get(&self.retried),
            get(&self.waiting)
        )
    }
}

/// The display of one phase; it ends with [`Phase::done`] or when dropped.
pub struct Phase {
    name: String,
    began: Instant,
    shared: Arc<Shared>,
    redraw: Option<JoinHandle<()>>,
}

impl Phase {
    pub fn begin(name: &str, shared: &Arc<Shared>) -> Self {
        let began = Instant::now();
        let redraw = std::io::stderr().is_terminal().then(|| {
            let (name, shared) = (name.to_owned(), Arc::clone(shared));
            tokio::spawn(async move {
                loop {
                    say(&format!("\r\x1b[2K> {}", line(&name, began, &shared)));
                    tokio::time::sleep(REDRAW).await;
                }
            })
        });
        Self { name: name.to_owned(), began, shared: Arc::clone(shared), redraw }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn done(mut self) -> Duration {
        let moving = self.stop();
        let start = if moving { "\r\x1b[2K" } else { "" };
        say(&format!("{start}  {}\n", line(&self.name, self.began, &self.shared)));
        self.began.elapsed()
    }

    fn stop(&mut self) -> bool {
        let redraw = self.redraw.take();
        redraw.inspect(JoinHandle::abort).is_some()
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        if self.stop() {
            say("\n");
        }
    }
}

fn line(name: &str, began: Instant, shared: &Shared) -> String {
    format!("{name:<58} {:5.1} s  {}", began.elapsed().as_secs_f64(), shared.progress.line())
}

fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    // Nobody reads: nothing to be done about it.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
