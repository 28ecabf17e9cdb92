//! The only place that wires modules together. Not built yet: each function says so and ends with exit code 70.
use crate::cli::{DemoOptions, Failure, JournalOrder};
use crate::config::Config;

/// Serves until a signal says stop.
pub fn run(config: Config) -> Result<(), Failure> {
    crate::telemetry::init(config.log_format, &config.log_filter).map_err(Failure::internal)?;
    Err(Failure::internal(format!("site {} cannot be served: the appliance is not wired yet", config.site)))
}

/// Runs the demonstration; `true` when both replicas ended equal.
pub fn demo(options: DemoOptions) -> Result<bool, Failure> {
    Err(Failure::internal(format!("the demonstration is not wired yet ({options:?})")))
}

/// Reads the journal of a site that is not running (or is: reading disturbs nothing).
pub fn journal(config: Config, order: JournalOrder) -> Result<serde_json::Value, Failure> {
    let folder = config.data_dir.display().to_string();
    Err(Failure::internal(format!("{order:?} of the journal in {folder} is not wired yet")))
}
