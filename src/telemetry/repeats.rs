//! A line that comes again and again is said a few times, then counted.
//!
//! Each place in the code that logs may say so many lines a minute; of more it is said how many there were. The table
//! has one entry for each such place, so it is bounded by the program's text. What a person asked for with `debug` or
//! `trace` is never counted instead of said.
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::contain::contain;

const WINDOW: Duration = Duration::from_secs(60);
const LINES_A_WINDOW: u32 = 10;
/// Of a message, where it is only counted.
const MESSAGE_CHARS: usize = 120;
/// Of the lines that say how many there were; they are not counted themselves.
const OWN: &str = "holdfast::repeats";

/// One place in the code.
struct Place {
    level: Level,
    began: Instant,
    said: u32,
    more: u64,
    /// Of the first that was not said.
    message: String,
}

/// So many more were not said.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    level: Level,
    more: u64,
    message: String,
}

#[derive(Default)]
struct Table {
    places: HashMap<Identifier, Place>,
    /// Of windows that ended with the first line of the next one.
    due: Vec<Counted>,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    /// Something is counted.
    counted: Condvar,
}

/// The layer that keeps back what comes too often.
pub(super) struct Repeats {
    shared: Arc<Shared>,
}

static STARTED: OnceLock<Arc<Shared>> = OnceLock::new();

impl Repeats {
    pub fn start() -> Self {
        let shared = STARTED.get_or_init(|| {
            let shared = Arc::<Shared>::default();
            let counted = shared.clone();
            // Without it what is counted is said at the end of the process.
            let _ = std::thread::Builder::new().name("log-repeats".to_owned()).spawn(move || {
                let _ = contain(|| counted.say_for_ever());
            });
            shared
        });
        Self { shared: shared.clone() }
    }
}

/// What is counted and not said yet, before the process ends.
pub(super) fn say_all() {
    if let Some(shared) = STARTED.get() {
        let counted = shared.table().counted(|_| true);
        counted.iter().for_each(say);
    }
}

impl<S: Subscriber> Layer<S> for Repeats {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == OWN {
            return true;
        }
        let is_first = match self.shared.table().takes(metadata, Instant::now()) {
            Taken::Said => return true,
            Taken::Counted { is_first } => is_first,
        };
        if is_first {
            let mut message = Message::default();
            event.record(&mut message);
            self.shared.table().name(&metadata.callsite(), message.0);
            self.shared.counted.notify_one();
        }
        false
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Said,
    Counted { is_first: bool },
}

impl Table {
    fn takes(&mut self, metadata: &'static Metadata<'static>, now: Instant) -> Taken {
        let new = Place { level: *metadata.level(), began: now, said: 0, more: 0, message: String::new() };
        let place = self.places.entry(metadata.callsite()).or_insert(new);
        if now.saturating_duration_since(place.began) >= WINDOW {
            self.due.extend(place.take());
            (place.began, place.said) = (now, 0);
        }
        if place.said < LINES_A_WINDOW {
            place.said += 1;
            return Taken::Said;
        }
        place.more += 1;
        Taken::Counted { is_first: place.more == 1 }
    }

    fn name(&mut self, place: &Identifier, message: String) {
        if let Some(place) = self.places.get_mut(place) {
            place.message = message;
        }
    }

    /// Of the places whose window is over.
    fn counted(&mut self, is_over: impl Fn(&Place) -> bool) -> Vec<Counted> {
        let mut counted = std::mem::take(&mut self.due);
        counted.extend(self.places.values_mut().filter(|place| is_over(place)).filter_map(Place::take));
        counted
    }

    /// When the first window with something counted ends.
    fn next(&self) -> Option<Instant> {
        self.places.values().filter(|place| place.more > 0).map(|place| place.began + WINDOW).min()
    }
}

impl Place {
    fn take(&mut self) -> Option<Counted> {
        let more = std::mem::take(&mut self.more);
        (more > 0).then(|| Counted { level: self.level, more, message: std::mem::take(&mut self.message) })
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say_for_ever(&self) {
        let mut table = self.table();
        loop {
            let now = Instant::now();
            let counted = table.counted(|place| now.saturating_duration_since(place.began) >= WINDOW);
            if !counted.is_empty() {
                drop(table);
                counted.iter().for_each(say);
                table = self.table();
                continue;
            }
            table = match table.next() {
                None => self.counted.wait(table).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let left = next.saturating_duration_since(now);
                    self.counted.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn say(Counted { level, more, message }: &Counted) {
    match *level {
        Level::ERROR => tracing::error!(target: OWN, "{more} more like this in the last minute: {message}"),
        Level::WARN => tracing::warn!(target: OWN, "{more} more like this in the last minute: {message}"),
        _ => tracing::info!(target: OWN, "{more} more like this in the last minute: {message}"),
    }
}

/// The text of an event, without its fields.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(MESSAGE_CHARS).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_comes_too_often_is_counted_for_each_place_apart() {
        let (written, shared) = (Written::default(), Arc::<Shared>::default());
        let out = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone()).with_ansi(false);
        let repeats = Repeats { shared: shared.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(repeats).with(layer), || {
            for n in 0..25 {
                tracing::warn!(n, "again");
                tracing::debug!(n, "asked for");
            }
            tracing::warn!("another place");
            shared.table().counted(|_| true).iter().for_each(say);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("again n="), LINES_A_WINDOW as usize, "{text}");
        assert_eq!(count("asked for"), 25, "{text}");
        assert_eq!(count("another place"), 1, "{text}");
        assert_eq!(count("WARN holdfast::repeats: 15 more like this in the last minute: again"), 1, "{text}");
    }

    #[test]
    fn a_new_minute_begins_anew_and_says_what_the_last_one_kept_back() {
        let mut table = Table::default();
        let repeats = Repeats { shared: Arc::default() };
        let metadata = tracing::subscriber::with_default(tracing_subscriber::registry().with(repeats), || {
            tracing::info_span!("any").metadata().expect("spans have it")
        });
        let began = Instant::now();
        let said = |table: &mut Table, at| table.takes(metadata, at) == Taken::Said;
        assert_eq!((0..15).filter(|_| said(&mut table, began)).count(), 10);
        assert_eq!(table.next(), Some(began + WINDOW));
        assert!(said(&mut table, began + WINDOW));
        let counted = table.counted(|_| false);
        assert_eq!(counted.iter().map(|counted| counted.more).collect::<Vec<_>>(), [5]);
        assert_eq!(table.next(), None);
    }
}
