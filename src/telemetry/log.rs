//! Log lines on standard error.
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;

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
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_span_events(FmtSpan::NONE);
    match format {
        LogFormat::Text => lines.with_target(true).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(InitError::Twice)
}
