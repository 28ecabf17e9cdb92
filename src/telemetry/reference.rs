//! `docs/metrics.md`, generated from the instruments.
use std::fmt::Write;

use super::metrics::described;

const INTRODUCTION: &str = "# Metrics

<!-- Generated from `src/telemetry/metrics.rs`: `UPDATE_DOCS=1 cargo test --lib telemetry::` writes it anew. -->

`GET /metrics` of the admin listener (`admin.listen`) answers in Prometheus' text format. Counters begin at 0 with the
process. What stands under *also by* is the metric's own label with all of its values; names of services, stores and
peers come from the configuration, so the number of lines is fixed by it. A gauge whose value is not known is absent.
";

pub(super) fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for (title, labels, metrics) in described() {
        let by = match labels {
            [] => String::new(),
            labels => {
                format!(", by {}", labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(" and "))
            }
        };
        write!(out, "\n## {title}{by}\n\n| metric | type | also by | meaning |\n|---|---|---|---|\n").expect(WRITES);
        for metric in metrics {
            let of = |(label, values): &(&str, Vec<&str>)| format!("`{label}`: {}", values.join(", "));
            let also: Vec<String> = metric.labels.iter().map(of).collect();
            writeln!(out, "| `{}` | {} | {} | {} |", metric.name, metric.kind, also.join("; "), metric.help)
                .expect(WRITES);
        }
    }
    out
}

const WRITES: &str = "a String takes everything";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_what_the_instruments_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let page = super::markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == page,
            "docs/metrics.md is out of date: UPDATE_DOCS=1 cargo test --lib telemetry:: writes it anew"
        );
    }
}
