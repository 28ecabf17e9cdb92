//! G1 to G5, judged by what clients were told and what services were asked. Never by Holdfast's own tables.
use std::collections::BTreeMap;

use super::{Told, Upstream};

/// Every key at most once (G2).
#[track_caller]
pub fn nothing_twice(upstreams: &[&Upstream]) {
    for (replica, upstream) in upstreams.iter().enumerate() {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for key in upstream.applied_keys() {
            *times.entry(key).or_default() += 1;
        }
        times.retain(|_, count| *count > 1);
        assert!(times.is_empty(), "G2: applied more than once at replica {replica}: {times:?}");
    }
}

/// Whether all replicas have applied the same set of keys (G5).
pub fn equal(upstreams: &[&Upstream]) -> bool {
    let sorted = |upstream: &&Upstream| {
        let mut keys = upstream.applied_keys();
        keys.sort();
        keys
    };
    upstreams.windows(2).all(|pair| sorted(&pair[0]) == sorted(&pair[1]))
}

/// These keys appear in this order at the replica, whatever lies between (G3).
#[track_caller]
pub fn in_order<K: AsRef<str>>(upstream: &Upstream, keys: &[K]) {
    let applied = upstream.applied_keys();
    let places: Vec<_> = keys.iter().map(|key| applied.iter().position(|k| k == key.as_ref())).collect();
    let ordered = places.iter().all(Option::is_some) && places.is_sorted();
    let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
    assert!(ordered, "G3: wanted {keys:?} in order, applied {applied:?}");
}

/// Status, body and the service's own header lines (G4). What is ours may differ.
#[track_caller]
pub fn same_answer(first: &Told, again: &Told) {
    let theirs = |told: &Told| -> Vec<(String, String)> {
        let ours = |name: &str| {
            name.starts_with("holdfast-")
                || ["date", "idempotent-replayed", "via", "connection", "content-length", "x-request-id"]
                    .contains(&name)
        };
        let lines = told.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        lines.filter(|(name, _)| !ours(name)).collect()
    };
    assert_eq!(first.status, again.status, "G4: status");
    assert_eq!(first.text(), again.text(), "G4: body");
    assert_eq!(theirs(first), theirs(again), "G4: headers");
}
