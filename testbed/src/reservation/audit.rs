//! What must be true of a set by itself: each reservation has the charge and the table that its state says, and nothing
//! stands for none.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// State, charges with whether they are refunded, tables, what is found.
    type Case = (&'static str, &'static [(i64, i64)], &'static [i64], &'static [Kind]);

    fn set(state: &str, charges: &[(i64, i64)], tables: &[i64]) -> Value {
        let table = if state == "confirmed" { json!(3) } else { Value::Null };
        let charge = |(cents, refunded): &(i64, i64)| json!({ "booking": "r1", "cents": cents, "refunded": refunded });
        json!({
            "booking": {
                "bookings": [{ "id": "r1", "key": "k1", "state": state, "cents": 500, "table_no": table, "opened": 1 }],
                "work": [],
            },
            "payments": { "charges": charges.iter().map(charge).collect::<Vec<_>>() },
            "restaurant": { "seats": tables.iter().map(|n| json!({ "booking": "r1", "table_no": n })).collect::<Vec<_>>() },
        })
    }

    fn kinds(set: &Value) -> Vec<Kind> {
        audit("here", &set.to_string()).into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn what_stands_without_a_reservation_or_not_at_all_is_found() {
        let cases: &[Case] = &[
            ("confirmed", &[(500, 0)], &[3], &[]),
            ("confirmed", &[(500, 1), (500, 0)], &[3], &[]),
            ("confirmed", &[(500, 0), (500, 0)], &[3], &[Kind::Duplicate]),
            ("confirmed", &[(500, 0)], &[3, 4], &[Kind::Duplicate]),
            ("confirmed", &[(500, 1)], &[3], &[Kind::Lost]),
            ("confirmed", &[(500, 0)], &[], &[Kind::Lost]),
            ("unseated", &[(500, 0)], &[], &[]),
            ("unseated", &[(500, 0)], &[3], &[Kind::Duplicate]),
            ("cancelled", &[(500, 1)], &[], &[]),
            ("cancelled", &[(500, 0)], &[], &[Kind::Duplicate]),
        ];
        for (state, charges, tables, expected) in cases {
            assert_eq!(kinds(&set(state, charges, tables)), *expected, "{state} {charges:?} {tables:?}");
        }
        let mut stray = set("confirmed", &[(500, 0)], &[3]);
        stray["booking"]["bookings"] = json!([]);
        assert_eq!(kinds(&stray), [Kind::OneSided], "charged and seated for nobody");
        let mut open = set("cancelled", &[], &[]);
        open["booking"]["work"] = json!([{ "key": "k2", "method": "POST", "path": "/reservations" }]);
        assert_eq!(kinds(&open), [Kind::OneSided], "begun and never ended");
        let twice = set("confirmed", &[(500, 0)], &[3]).to_string().replace("\"opened\":1", "\"opened\":2");
        assert_eq!(audit("here", &twice)[0].kind, Kind::Duplicate);
    }
}
