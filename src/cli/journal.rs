//! `holdfast journal verify | stats`: reads the journal of a site that is not running.
use serde_json::{Value, json};

use super::Failure;
use super::args::JournalOrder;
use super::exit::with_causes;
use crate::app;
use crate::config::Config;

pub(super) fn read(config: &Config, order: JournalOrder) -> Result<Value, Failure> {
    let journal = app::open_journal(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(Failure::internal)?;
    match order {
        JournalOrder::Stats => {
            let stats = runtime.block_on(journal.stats()).map_err(|error| Failure::disk(with_causes(&error)))?;
            serde_json::to_value(stats).map_err(Failure::internal)
        }
        JournalOrder::Verify => {
            let report = runtime.block_on(journal.verify()).map_err(|error| Failure::disk(with_causes(&error)))?;
            let damages: Vec<String> = report.damages.iter().map(ToString::to_string).collect();
            if !report.is_whole() {
                return Err(Failure::disk(format!("{} broken records:\n{}", report.broken, damages.join("\n"))));
            }
            Ok(json!({
                "rows": report.rows,
                "requests": report.requests,
                "positions": report.positions,
                "quarantined": report.quarantined,
                "broken": report.broken,
            }))
        }
    }
}
