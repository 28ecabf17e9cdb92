//! A zenoh configuration from our settings. Every value that differs from zenoh's default has its reason here.
use serde_json::{Value, json};

use super::doors::Through;
use super::names::Keys;
use super::settings::{ControlSettings, Endpoint, HubAddress, Role};
use crate::descriptors;
use crate::model::SiteName;

/// zenoh takes a node for dead that missed so many.
const KEEPALIVES: u64 = 4;
/// A hub that was dialled says so many times more seldom that it lives than who dialled it.
const WHO_DIALS_NOBODY: u32 = 6;

/// Pairs of configuration key and value, in the order in which they are inserted.
/// What is over TLS goes through doors: zenoh is told of those.
pub(super) fn config(settings: &ControlSettings, through: Option<&Through>, jitter: f64) -> Vec<(&'static str, Value)> {
    let plain = |hubs: &[HubAddress]| hubs.iter().map(|hub| hub.endpoint.clone()).collect::<Vec<_>>();
    let (mode, listen, connect) = match &settings.role {
        Role::Hub { listen, peers } => ("router", listen.clone(), plain(peers)),
        Role::Edge { hubs } => ("client", Vec::new(), plain(hubs)),
        Role::Off => ("client", Vec::new(), Vec::new()),
    };
    let (listen, connect) = match through {
        Some(through) => (through.listen.clone(), through.dial.clone()),
        None => (listen, connect),
    };
    let text = |endpoints: &[Endpoint]| endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>();
    // zenoh has no jitter of its own: a thousand stores would come back in step.
    let spread = |ms: f64| (ms * (0.5 + jitter)).round() as u64;
    let dials_nobody = matches!(&settings.role, Role::Hub { peers, .. } if peers.is_empty());
    let every = settings.keepalive * if dials_nobody { WHO_DIALS_NOBODY } else { 1 };
    let keepalive_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX / KEEPALIVES);
    let mut config = vec![
        ("mode", json!(mode)),
        ("scouting/multicast/enabled", json!(false)),
        ("scouting/gossip/enabled", json!(false)),
        // A router sleeps this long when it opens.
        ("scouting/delay", json!(0)),
        ("listen/endpoints", json!(text(&listen))),
        ("listen/timeout_ms", json!(0)),
        ("listen/exit_on_failure", json!(true)),
        ("connect/endpoints", json!(text(&connect))),
        (
            "connect/retry",
            json!({"period_init_ms": spread(250.0), "period_max_ms": spread(4_000.0), "period_increase_factor": 2}),
        ),
        ("timestamping/enabled", json!(false)),
        ("adminspace/enabled", json!(false)),
        ("queries_default_timeout", json!(5_000)),
        ("transport/unicast/open_timeout", json!(5_000)),
        // Reached with 1,000 stores; the refusal is silent. Where descriptors are few, who says nothing takes few.
        ("transport/unicast/max_sessions", json!(descriptors::share(4, 64..=10_000))),
        ("transport/unicast/accept_pending", json!(descriptors::share(16, 32..=1_000))),
        ("transport/unicast/accept_timeout", json!(5_000)),
        ("transport/unicast/max_links", json!(1)),
        // Two batches and one millisecond lose hints at every scheduling hiccup.
        ("transport/link/tx/queue/size/data_high", json!(8)),
        ("transport/link/tx/queue/size/data", json!(8)),
        ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", json!(5_000)),
        ("transport/link/rx/max_message_size", json!(4 << 20)),
        // A line may be metered. Who dials keeps it from being forgotten on the way, so what a hub says at rest serves
        // only to find a dead hub, and our own beats do that once something was said.
        ("transport/link/tx/lease", json!(KEEPALIVES * keepalive_ms)),
        ("transport/link/tx/keep_alive", json!(KEEPALIVES)),
    ];
    // An edge tries each hub once per attempt and we try again; -1 would block `open` until a hub is there. A hub with
    // unreachable peers dials in the background.
    let timeout_ms = if mode == "client" { 0 } else { -1 };
    config.extend([("connect/timeout_ms", json!(timeout_ms)), ("connect/exit_on_failure", json!(mode == "client"))]);
    let endpoints = || listen.iter().chain(&connect);
    let protocols: Vec<&str> = [("tls", true), ("tcp", false)]
        .into_iter()
        .filter(|p| endpoints().any(|e| e.tls == p.1))
        .map(|p| p.0)
        .collect();
    config.push(("transport/link/protocols", json!(protocols)));
    if let Some(through) = through {
        config.push(("transport/link/tls", through.tls.clone()));
        if matches!(settings.role, Role::Hub { .. }) && !settings.sites.is_empty() {
            config.push(("access_control", access_control(settings)));
        }
    }
    config
}

/// A site hears everything and speaks only under its own name, by the common name that its door gave it; sites with
/// hubs pass on what others say. The match is literal: one subject per site.
fn access_control(settings: &ControlSettings) -> Value {
    let keys = Keys::new(&settings.realm);
    let speaking = ["put", "reply", "declare_queryable", "liveliness_token"];
    // A rule's key must include the declared key, or the declaration is not shown and puts are dropped at their writer.
    let hearing = ["declare_subscriber", "query", "declare_liveliness_subscriber", "liveliness_query"];
    let everything = [keys.everything()];
    let mut rules = vec![
        json!({"id": "hear", "messages": hearing, "flows": ["ingress", "egress"], "permission": "allow",
               "key_exprs": everything}),
        json!({"id": "pass-on", "messages": speaking, "flows": ["egress"], "permission": "allow",
               "key_exprs": everything}),
        json!({"id": "speak-for-all", "messages": speaking, "flows": ["ingress"], "permission": "allow",
               "key_exprs": everything}),
    ];
    let (mut subjects, mut policies) = (Vec::new(), Vec::new());
    let is_hub = |site: &SiteName| *site == settings.me || settings.hub_sites.contains(site);
    for (i, site) in settings.sites.iter().enumerate() {
        let (subject, speak) = (format!("site-{i}"), format!("speak-{i}"));
        subjects.push(json!({"id": subject, "cert_common_names": [site.as_str()]}));
        let speak = if is_hub(site) {
            "speak-for-all".to_owned()
        } else {
            rules.push(json!({"id": speak, "messages": speaking, "flows": ["ingress"], "permission": "allow",
                              "key_exprs": [keys.spoken_by(site)]}));
            speak
        };
        policies.push(json!({"rules": ["hear", "pass-on", speak], "subjects": [subject]}));
    }
    json!({"enabled": true, "default_permission": "deny", "rules": rules, "subjects": subjects, "policies": policies})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doors::Doors;
    use crate::identity::tests::Ca;

    fn insert_all(settings: &ControlSettings, through: Option<&Through>) {
        let mut zenoh = zenoh::Config::default();
        for (key, value) in config(settings, through, 0.5) {
            zenoh.insert_json5(key, &value.to_string()).unwrap_or_else(|error| panic!("{key}: {error}"));
        }
    }

    #[test]
    fn zenoh_knows_every_key() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint: Endpoint = "tls/127.0.0.1:0".parse().unwrap();
        let hub = HubAddress { site: SiteName::new("b"), endpoint: endpoint.clone() };
        for role in [Role::Hub { listen: vec![endpoint], peers: vec![hub.clone()] }, Role::Edge { hubs: vec![hub] }] {
            let mut settings = ControlSettings::new("acme", SiteName::new("a"), "n", role);
            insert_all(&settings, None);
            settings.sites = vec![SiteName::new("a"), SiteName::new("b")];
            settings.hub_sites = vec![SiteName::new("a")];
            settings.tls = Some(Ca::new(folder.path(), "ca").credentials("a", &settings.sites));
            let doors = Doors::open(&settings).unwrap().unwrap();
            insert_all(&settings, Some(&doors.through));
        }
    }
}
