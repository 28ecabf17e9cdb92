//! What must be true of a set by itself: each reservation has the charge and the table that its state says, and nothing stands for none.
//!
//! Two replicas that are both wrong in the same way are equal; this finds them. Pure.
use std::collections::BTreeMap;

use holdfast::demo::check::{Finding, Kind};
use serde_json::Value;

#[derive(Debug, Default)]
struct Stands {
    charged: Vec<i64>,
    tables: Vec<i64>,
}

/// `export` is the gateway's.
pub fn audit(site: &str, export: &str) -> Vec<Finding> {
    let dump: Value = serde_json::from_str(export).unwrap_or_default();
    let mut stands: BTreeMap<String, Stands> = BTreeMap::new();
    for charge in list(&dump["payments"]["charges"]).iter().filter(|charge| charge["refunded"] == 0) {
        stands.entry(text(&charge["booking"])).or_default().charged.extend(charge["cents"].as_i64());
    }
    for seat in list(&dump["restaurant"]["seats"]) {
        stands.entry(text(&seat["booking"])).or_default().tables.extend(seat["table_no"].as_i64());
    }
    let mut findings = Vec::new();
    let mut found = |kind: Kind, key: String, id: &str, detail: String| {
        let path = format!("/reservations/{id}");
        findings.push(Finding { kind, site: site.to_owned(), key, method: "POST".to_owned(), path, detail });
    };
    for work in list(&dump["booking"]["work"]) {
        found(Kind::OneSided, text(&work["key"]), "", "begun and never ended".to_owned());
    }
    for booking in list(&dump["booking"]["bookings"]) {
        let (id, key, state) = (text(&booking["id"]), text(&booking["key"]), text(&booking["state"]));
        let stands = stands.remove(&id).unwrap_or_default();
        if let Some(opened) = booking["opened"].as_i64().filter(|opened| *opened != 1) {
            found(Kind::Duplicate, key.clone(), &id, format!("reserved {opened} times"));
        }
        let charged: Vec<i64> = booking["cents"].as_i64().filter(|_| state != "cancelled").into_iter().collect();
        let tables: Vec<i64> = booking["table_no"].as_i64().into_iter().collect();
        for (what, wanted, stands) in [("charges", charged, stands.charged), ("tables", tables, stands.tables)] {
            if wanted != stands {
                let kind = if stands.len() < wanted.len() { Kind::Lost } else { Kind::Duplicate };
                found(kind, key.clone(), &id, format!("{state}: {what} {stands:?} stand, not {wanted:?}"));
            }
        }
    }
    for (id, stands) in stands {
        found(Kind::OneSided, String::new(), &id, format!("no reservation, yet {stands:?}"));
    }
    findings
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
