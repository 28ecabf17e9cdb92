//! What two sites must agree on for a service before they exchange a single write.
use std::collections::BTreeMap;

use super::resolved::{Dialect, Service, StoreRule};
use crate::model::SiteName;

/// By name of the key, so that a difference can be named. Both sites must produce the same text for each.
pub fn fleet_digest(service: &Service, between: [&SiteName; 2]) -> BTreeMap<&'static str, String> {
    let list = |items: Vec<String>| items.join(",");
    let mut methods: Vec<_> = service.write_methods.iter().map(|method| method.as_str().to_owned()).collect();
    methods.sort();
    let dialect = match service.idempotency.dialect {
        Dialect::Standard => "standard",
        Dialect::Envoy => "envoy",
    };
    let (store, replicas) = shared_groups(service, between);
    BTreeMap::from([
        ("replicas", list(replicas)),
        ("store_from", list(store)),
        ("lane", list(service.lane.iter().map(|rule| rule.to_string()).collect())),
        ("write_methods", list(methods)),
        ("idempotency.dialect", dialect.to_owned()),
        ("idempotency.scope", list(service.idempotency.scope.iter().map(|rule| rule.to_string()).collect())),
        ("idempotency.client", list(service.idempotency.client.iter().map(|rule| rule.to_string()).collect())),
        ("replicate", if service.replicate_all { "all" } else { "success" }.to_owned()),
    ])
}

/// Stores whose writes both sites hold, and the sites of those groups. A hub and a spoke describe them differently, and
/// other spokes are none of the spoke's business.
fn shared_groups(service: &Service, between: [&SiteName; 2]) -> (Vec<String>, Vec<String>) {
    let (mut stores, mut replicas) = (Vec::new(), Vec::new());
    for group in service.groups() {
        let sites = service.replicas_of(&group);
        if between.iter().all(|site| sites.contains(site)) {
            stores.push(group.store);
            replicas.extend(sites.into_iter().map(|site| site.0));
        }
    }
    if matches!(service.store, StoreRule::None) {
        stores.clear();
    }
    replicas.sort();
    replicas.dedup();
    (stores, replicas)
}
