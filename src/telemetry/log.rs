//! Log lines on standard error, by way of [`Lines`].
use std::panic::PanicHookInfo;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use super::lines::{Line, Lines};
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
    let filter = EnvFilter::try_new(&filter).map_err(|source| InitError::Filter { filter, source })?;
    // What the subscriber cannot write it would complain of on standard error, and panic where that is what is broken.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Line::new(Lines::standard()))
        .log_internal_errors(false)
        .with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => lines.with_target(true).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(InitError::Twice)
}

/// Says something outside of the log: in place of `eprintln!`, which panics where nobody listens. Never waits.
pub fn say(text: &str) {
    Lines::standard().push_last(format!("{text}\n").into_bytes());
}

/// Before the process ends: what was said is written, where that can be done in a moment.
pub fn last_words() {
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
    say(&format!("thread '{}' panicked{place}:\n{message}{backtrace}", thread.name().unwrap_or("?")));
}
