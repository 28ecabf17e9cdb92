//! What the service can be asked to change, parsed from a request and checked as far as that goes without the database.
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A client error: nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub error: String,
}

impl Refusal {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTransaction {
    pub id: String,
    pub till: String,
    #[serde(default)]
    pub customer: Option<String>,
    #[serde(default)]
    pub note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    pub sku: String,
    pub quantity: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    pub method: String,
    pub cents: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionChange {
    #[serde(default)]
    pub customer: Option<String>,
    #[serde(default)]
    pub discount_percent: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// A correction: breakage, a delivery.
    Add,
    /// A stocktake: this is what lies there.
    Set,
    /// Repacking: each piece becomes n.
    Multiply,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    pub op: Count,
    pub n: i64,
    #[serde(default)]
    pub entry: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    pub name: String,
    pub percent: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockMove {
    pub add: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Open(NewTransaction),
    AddLine { id: String, line: NewLine },
    Pay { id: String, payment: NewPayment },
    Change { id: String, change: TransactionChange },
    RemoveLine { id: String, n: i64 },
    Count { site: String, sku: String, entry: LedgerEntry },
    Promote { id: String, promotion: Promotion },
    Move { sku: String, by: StockMove },
}

/// Finds the operation of a write. 404 for an unknown path, 405 for a method it does not have, 400 for a bad body.
pub fn parse(method: &Method, path: &str, body: &[u8]) -> Result<Operation, Refusal> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let operation = match (method.as_str(), segments.as_slice()) {
        ("POST", ["transactions"]) => Operation::Open(json(body)?),
        ("PUT", ["transactions", id]) => Operation::Change { id: name(id)?, change: json(body)? },
        ("POST", ["transactions", id, "lines"]) => Operation::AddLine { id: name(id)?, line: json(body)? },
        ("POST", ["transactions", id, "payments"]) => Operation::Pay { id: name(id)?, payment: json(body)? },
        ("DELETE", ["transactions", id, "lines", n]) => Operation::RemoveLine { id: name(id)?, n: number(n)? },
        ("POST", ["ledger", site, sku]) => Operation::Count { site: name(site)?, sku: name(sku)?, entry: json(body)? },
        ("PUT", ["promotions", id]) => Operation::Promote { id: name(id)?, promotion: json(body)? },
        ("POST", ["inventory", sku]) => Operation::Move { sku: name(sku)?, by: json(body)? },
        (_, ["transactions" | "ledger" | "promotions" | "inventory", ..]) => {
            let error = format!("{method} is not possible on {path}");
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error));
        }
        _ => return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no {path}"))),
    };
    check(&operation)?;
    Ok(operation)
}

fn check(operation: &Operation) -> Result<(), Refusal> {
    let bad = |error: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, error));
    match operation {
        Operation::Open(new) if new.id.is_empty() || new.till.is_empty() => bad("id and till must not be empty"),
        Operation::AddLine { line, .. } if !(1..=999).contains(&line.quantity) => bad("quantity must be 1 to 999"),
        Operation::Pay { payment, .. } if payment.cents < 1 => bad("cents must be at least 1"),
        Operation::Change { change, .. } if !(0..=100).contains(&change.discount_percent) => {
            bad("discount_percent must be 0 to 100")
        }
        Operation::Promote { promotion, .. } if !(0..=100).contains(&promotion.percent) => {
            bad("percent must be 0 to 100")
        }
        Operation::Count { entry, .. } if entry.n.abs() > 1_000_000 => bad("n must be within one million"),
        Operation::Move { by, .. } if by.add.abs() > 1_000_000 => bad("add must be within one million"),
        _ => Ok(()),
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("body: {error}")))
}

fn name(segment: &str) -> Result<String, Refusal> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !segment.is_empty() && segment.len() <= 128 && segment.bytes().all(fine) {
        Ok(segment.to_owned())
    } else {
        let error = format!("{segment:?} is not a name: 1 to 128 letters, digits, '-', '_' or '.'");
        Err(Refusal::new(StatusCode::BAD_REQUEST, error))
    }
}

fn number(segment: &str) -> Result<i64, Refusal> {
    segment.parse().map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, format!("{segment:?} is not a line number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_become_operations_or_clear_refusals() {
        let cases: &[(&str, &str, &str, Result<(), u16>)] = &[
            ("POST", "/transactions", r#"{"id":"t1","till":"k1"}"#, Ok(())),
            ("POST", "/transactions", r#"{"id":"t1"}"#, Err(400)),
            ("POST", "/transactions", r#"{"id":"","till":"k1"}"#, Err(400)),
            ("POST", "/transactions", "no json", Err(400)),
            ("PATCH", "/transactions/t1", "{}", Err(405)),
            ("PUT", "/transactions/t1", r#"{"discount_percent":10}"#, Ok(())),
            ("PUT", "/transactions/t1", r#"{"discount_percent":101}"#, Err(400)),
            ("PUT", "/transactions/t 1", "{}", Err(400)),
            ("POST", "/transactions/t1/lines", r#"{"sku":"4001001","quantity":2}"#, Ok(())),
            ("POST", "/transactions/t1/lines", r#"{"sku":"4001001","quantity":0}"#, Err(400)),
            ("POST", "/transactions/t1/payments", r#"{"method":"cash","cents":100}"#, Ok(())),
            ("POST", "/transactions/t1/payments", r#"{"method":"cash","cents":-1}"#, Err(400)),
            ("DELETE", "/transactions/t1/lines/2", "", Ok(())),
            ("DELETE", "/transactions/t1/lines/two", "", Err(400)),
            ("POST", "/ledger/store/4001001", r#"{"op":"multiply","n":3}"#, Ok(())),
            ("POST", "/ledger/store/4001001", r#"{"op":"divide","n":3}"#, Err(400)),
            ("POST", "/inventory/4001001", r#"{"add":-3}"#, Ok(())),
            ("PUT", "/promotions/p1", r#"{"name":"Easter","percent":20}"#, Ok(())),
            ("POST", "/nowhere", "{}", Err(404)),
        ];
        for (method, path, body, expected) in cases {
            let method: Method = method.parse().unwrap();
            let got = parse(&method, path, body.as_bytes()).map(|_| ()).map_err(|refusal| refusal.status.as_u16());
            assert_eq!(&got, expected, "{method} {path} {body}");
        }
    }
}
