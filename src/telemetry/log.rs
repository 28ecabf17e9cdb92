//! Log lines on standard error, by way of [`Lines`].
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::form::{self, Priority};
use super::lines::{Line, Lines};
use super::repeats::{self, Repeats};
use crate::config::LogFormat;

/// What an end waits for its last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("log.filter {filter:?} is not a filter such as \"info\" or \"info,holdfast::link=debug\"")]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logging was set up before")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Once per process. `RUST_LOG` comes before `filter`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), InitError> {
    let filter = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty()).unwrap_or_else(|| filter.to_owned());
    let filter = EnvFilter::try_new(quiet(&filter)).map_err(|source| InitError::Filter { filter, source })?;
    // What the subscriber cannot write it would complain of on standard error, and panic where that is what is broken.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Standard)
        .with_ansi(form::has_colours())
        .log_internal_errors(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(Repeats::start()).with(lines);
    subscriber.try_init().map_err(|error| InitError::Twice(error.into()))
}

/// zenoh tells of every attempt to reach a hub, in words of its own. What of it counts is said by `control`. Who asks
/// for its words gets them.
fn quiet(filter: &str) -> String {
    if filter.contains("zenoh") { filter.to_owned() } else { format!("{filter},zenoh=error") }
}

struct Standard;

impl<'a> MakeWriter<'a> for Standard {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line::new(Lines::standard(), Priority::Info)
    }
    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line {
        Line::new(Lines::standard(), metadata.level().into())
    }
}

/// Says something outside of the log: in place of `eprintln!`, which panics where nobody listens. Never waits.
pub fn say(text: &str) {
    Lines::standard().push_last(form::lines(text, Priority::Info));
}

/// As [`say`], of what is allowed and worth a thought.
pub fn say_warning(text: &str) {
    Lines::standard().push_last(form::lines(text, Priority::Warning));
}

/// As [`say`], of what went wrong.
pub fn say_error(text: &str) {
    Lines::standard().push_last(form::lines(text, Priority::Error));
}

/// Before the process ends: what was said is written, where that can be done in a moment.
pub fn last_words() {
    repeats::say_all();
    Lines::standard().flush(LAST_WORDS);
}

/// What a panic says of itself, as std's own hook does. That one writes to standard error, and would wait for it.
pub fn say_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    let place = info.location().map_or_else(String::new, |at| format!(" at {at}"));
    let message = info.payload_as_str().unwrap_or("with something that is no text");
    say_error(&format!("thread '{}' panicked{place}:\n{message}{backtrace}", thread.name().unwrap_or("?")));
}
