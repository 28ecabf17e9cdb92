//! The verdict: what clients were told against what services hold, judged by the demo's checker, for each set of sites
//! that share data.
//!
//! With a hub there is one such set for each store; the hub's service holds all of them, and is cut along the names of
//! the writes.
use std::collections::BTreeMap;

use holdfast::demo::check::{self, Finding, Kind, LogLine, Replica};
use holdfast::demo::history::{Ending, Told};
use serde_json::{Map, Value};

use super::success::Measured;

/// What one site's service holds.
pub struct Held {
    pub site: String,
    pub export: String,
    pub log: Vec<LogLine>,
}

pub struct Verdict {
    pub findings: Vec<Finding>,
    pub equal: bool,
}

/// Tables of the dump with the column that names the owner.
const OWNED: [(&str, &str); 7] = [
    ("transactions", "id"),
    ("lines", "tx"),
    ("payments", "tx"),
    ("receipts", "till"),
    ("ledger", "site"),
    ("seals", "site"),
    ("promotions", "id"),
];

/// Whether a name (of a till, a sale, a key, a book) is of this owner.
fn is_of(name: &str, owner: &str) -> bool {
    name.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

pub fn judge(history: &[Told], held: &[Held], hub: Option<&str>) -> Verdict {
    let Some(hub) = hub else {
        let replicas: Vec<Replica> = held.iter().map(whole).collect();
        return of(check::check(history, &replicas));
    };
    let mut verdict = Verdict { findings: Vec::new(), equal: true };
    let Some(at_hub) = held.iter().find(|held| held.site == hub) else { return verdict };
    let mut known = 0;
    for store in held.iter().filter(|held| held.site != hub) {
        let own: Vec<Told> = history.iter().filter(|told| is_of(&told.key, &store.site)).cloned().collect();
        let replicas = [part(store, &store.site), part(at_hub, &store.site)];
        known += replicas[1].log.len();
        let found = of(check::check(&own, &replicas));
        verdict.findings.extend(found.findings);
        // What a store's service holds beyond its own part is somebody else's.
        verdict.equal &= found.equal && replicas[0].log.len() == store.log.len();
    }
    verdict.equal &= known == at_hub.log.len() && stock_adds_up(held, hub);
    verdict
}

fn of(verdict: check::Verdict) -> Verdict {
    Verdict { equal: verdict.equal, findings: verdict.findings }
}

fn whole(held: &Held) -> Replica {
    Replica { site: held.site.clone(), export: held.export.clone(), log: held.log.clone() }
}

fn part(held: &Held, owner: &str) -> Replica {
    let log = held.log.iter().filter(|line| is_of(&line.key, owner)).cloned().collect();
    let mut dump: Map<String, Value> = serde_json::from_str(&held.export).unwrap_or_default();
    let mut kept = Map::new();
    for (table, column) in OWNED {
        let rows = dump.remove(table).and_then(|rows| rows.as_array().cloned()).unwrap_or_default();
        let own = |row: &Value| row[column].as_str().is_some_and(|name| is_of(name, owner));
        kept.insert(table.to_owned(), rows.into_iter().filter(own).collect());
    }
    Replica { site: held.site.clone(), export: Value::Object(kept).to_string(), log }
}

/// Articles are shared at the hub: there each has moved by as much as at all stores together.
fn stock_adds_up(held: &[Held], hub: &str) -> bool {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for site in held {
        let dump: Value = serde_json::from_str(&site.export).unwrap_or_default();
        for row in dump["inventory"].as_array().into_iter().flatten() {
            let moved = row["on_hand"].as_i64().unwrap_or_default() - OPENING_STOCK;
            let sign = if site.site == hub { 1 } else { -1 };
            *sums.entry(row["sku"].as_str().unwrap_or_default().to_owned()).or_default() += sign * moved;
        }
    }
    !sums.is_empty() && sums.values().all(|sum| *sum == 0)
}

/// Pieces of each article when a demo service begins.
const OPENING_STOCK: i64 = 1_000;

/// Fills in what follows from the history and the verdict.
pub fn measure(history: &[Told], verdict: &Verdict) -> Measured {
    let count = |kind: Kind| verdict.findings.iter().filter(|finding| finding.kind == kind).count();
    let mut measured = Measured {
        lost: count(Kind::Lost),
        duplicates: count(Kind::Duplicate),
        out_of_order: count(Kind::OutOfOrder),
        altered: count(Kind::Altered),
        one_sided: count(Kind::OneSided),
        equal: verdict.equal,
        requests: history.len(),
        ..Measured::default()
    };
    for told in history {
        let status = match told.ending {
            Ending::Acknowledged { status } | Ending::Refused { status } => status,
            Ending::Unanswered => 0,
        };
        *measured.by_status.entry(status).or_default() += 1;
        measured.times.extend(told.answered.map(|at| at.saturating_sub(told.sent)));
    }
    measured.times.sort_unstable();
    measured
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn told(key: &str, at_ms: u64) -> Told {
        Told {
            served_by: None,
            key: key.into(),
            method: "POST".into(),
            path: "/ledger/a/1".into(),
            body_sha256: "x".into(),
            till: key.into(),
            home: key.split('.').next().unwrap_or_default().into(),
            sites: vec![key.split('.').next().unwrap_or_default().into()],
            lane: Some("l".into()),
            tries: 1,
            sent: Duration::from_millis(at_ms),
            answered: Some(Duration::from_millis(at_ms + 5)),
            ending: Ending::Acknowledged { status: 200 },
        }
    }

    fn held(site: &str, keys: &[&str], moved: i64) -> Held {
        let line = |(n, key): (usize, &&str)| LogLine {
            seq: n as i64 + 1,
            key: (*key).into(),
            method: "POST".into(),
            path: "/ledger/a/1".into(),
            body_sha256: "x".into(),
        };
        let export = serde_json::json!({
            "receipts": keys.iter().map(|key| serde_json::json!({ "till": key, "last": 1 })).collect::<Vec<_>>(),
            "inventory": [{ "sku": "1", "on_hand": OPENING_STOCK + moved }],
        });
        Held { site: site.into(), export: export.to_string(), log: keys.iter().enumerate().map(line).collect() }
    }

    #[test]
    fn each_store_is_judged_with_its_part_of_the_hub() {
        let history = [told("a.1", 0), told("b.1", 10), told("a.2", 20)];
        let good = [held("a", &["a.1", "a.2"], 2), held("b", &["b.1"], 3), held("hub", &["b.1", "a.1", "a.2"], 5)];
        let verdict = judge(&history, &good, Some("hub"));
        assert!(verdict.equal && verdict.findings.is_empty(), "{:?}", verdict.findings);
        let cases = [
            (held("hub", &["b.1", "a.1"], 5), Kind::Lost),
            (held("hub", &["b.1", "a.2", "a.1"], 5), Kind::OutOfOrder),
            (held("hub", &["b.1", "a.1", "a.2", "a.2"], 5), Kind::Duplicate),
        ];
        for (hub, kind) in cases {
            let held = [held("a", &["a.1", "a.2"], 2), held("b", &["b.1"], 3), hub];
            let found = measure(&history, &judge(&history, &held, Some("hub")));
            let count = match kind {
                Kind::Lost => found.lost,
                Kind::OutOfOrder => found.out_of_order,
                _ => found.duplicates,
            };
            assert_eq!(count, 1, "{kind:?}");
        }
        let stock = [held("a", &["a.1", "a.2"], 2), held("b", &["b.1"], 3), held("hub", &["b.1", "a.1", "a.2"], 6)];
        assert!(!judge(&history, &stock, Some("hub")).equal, "the stock does not add up");
        let foreign =
            [held("a", &["a.1", "a.2", "b.1"], 2), held("b", &["b.1"], 3), held("hub", &["b.1", "a.1", "a.2"], 5)];
        assert!(!judge(&history, &foreign, Some("hub")).equal, "a store has what is another's");
    }
}
