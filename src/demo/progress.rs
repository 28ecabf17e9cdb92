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

    /// The most telling first: the last ones are left out where there is no room.
    fn parts(&self) -> [String; 4] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            format!("{:5} told ok", get(&self.acknowledged)),
            format!("{:3} refused", get(&self.refused)),
            format!("{:3} retried", get(&self.retried)),
            format!("{:2} waiting", get(&self.waiting)),
        ]
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
    // What stands before it, and the cursor behind it.
    let width = width().map(|columns| columns.saturating_sub(3));
    fit(name, began.elapsed().as_secs_f64(), &shared.progress.parts(), width)
}

/// A line that is longer than its terminal would be wrapped, and could not be drawn over.
fn fit(name: &str, seconds: f64, parts: &[String], width: Option<usize>) -> String {
    const NAME: usize = 58;
    const NAME_LEAST: usize = 24;
    let length = name.chars().count();
    let mut shown = parts.len();
    loop {
        let rest: String = parts[..shown].iter().map(|part| format!("  {part}")).collect();
        let rest = format!(" {seconds:5.1} s{rest}");
        let room = width.map_or(NAME, |width| NAME.min(width.saturating_sub(rest.chars().count())));
        if room >= length.min(NAME_LEAST) || width.is_none() {
            let name = if width.is_none() { name.to_owned() } else { cut(name, room) };
            return format!("{name:<room$}{rest}");
        }
        if shown == 0 {
            return cut(&format!("{}{rest}", cut(name, room)), width.unwrap_or(NAME));
        }
        shown -= 1;
    }
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    if room == 0 { kept } else { format!("{kept}…") }
}

/// Columns of the terminal that is standard error; it may change at any time. `None`: it is none.
#[allow(unsafe_code)]
fn width() -> Option<usize> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is ours, and the kernel writes no more than this structure.
    let answered = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &mut size) };
    // One that does not know its width is as most are.
    Some(if answered == 0 && size.ws_col > 0 { usize::from(size.ws_col) } else { 80 })
}

fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    // Nobody reads: nothing to be done about it.
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_every_width() {
        let counters = Counters::default();
        counters.acknowledged.store(123_456, Ordering::Relaxed);
        let parts = counters.parts();
        for name in ["drain", "the link is back: each catches up with the other, whatever that may take it"] {
            for columns in 0..200 {
                let line = fit(name, 1234.5, &parts, Some(columns));
                assert!(line.chars().count() <= columns, "{columns}: {line:?}");
            }
            let plain = fit(name, 1.0, &parts, None);
            assert!(plain.contains("told ok") && plain.ends_with(" 0 waiting"), "{plain}");
        }
        let narrow = fit("together: both sites sell", 1.0, &parts, Some(77));
        assert!(narrow.starts_with("together: both sites") && narrow.contains("123456 told ok"), "{narrow}");
        assert_eq!(fit("together: both sites sell", 1.0, &parts, Some(20)), "together: b…   1.0 s");
    }
}
