//! The configuration as the rest of the appliance gets it: names resolved, defaults filled in, free of contradictions.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Fault;
use crate::gateway::{LaneRule, ScopeRule, StoreFrom};
use crate::model::{ClientRule, ClientRules, Group, SiteName};
use crate::service::{Limits, OnConcurrent, OnDivergence, OnUnreachable, Settings, WhenDown};
use crate::telemetry::AccessLog;

#[derive(Clone, Debug)]
pub struct Config {
    /// The file, or "command line".
    pub source: String,
    pub site: SiteName,
    pub data_dir: PathBuf,
    pub drain: Duration,
    pub start_within: Duration,
    /// 0: one for each core.
    pub threads: usize,
    pub realm: Realm,
    pub gateway: Gateway,
    /// Where other sites dial in.
    pub link_listen: Option<SocketAddr>,
    /// How often a line at rest is tried.
    pub link_keepalive: Duration,
    pub control: Control,
    /// `None`: links and control are plain TCP.
    pub identity: Option<Identity>,
    pub peers: Vec<Peer>,
    pub store: StoreSettings,
    pub admin: Admin,
    pub log_format: LogFormat,
    pub log_filter: String,
    pub log_access: AccessLog,
    /// What people are not shown.
    pub masks: Vec<crate::privacy::Rule>,
    pub services: Vec<Service>,
    /// Allowed, but somebody should know.
    pub warnings: Vec<Fault>,
}

#[derive(Clone, Debug)]
pub struct Realm {
    pub name: String,
    /// Sorted.
    pub sites: Vec<SiteName>,
    /// Sites that others dial. Sorted.
    pub hubs: Vec<SiteName>,
}

#[derive(Clone, Debug)]
pub struct Gateway {
    pub listen: Vec<SocketAddr>,
    pub tls: Option<Tls>,
    pub limits: GatewayLimits,
}

#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    pub connections: usize,
    pub client_connections: usize,
    pub client_requests: usize,
    pub bodies: usize,
    pub headers: usize,
    pub head_bytes: usize,
    pub head_timeout: Duration,
    pub body_timeout: Duration,
    pub idle_timeout: Duration,
}

#[derive(Clone, Debug)]
pub struct Control {
    pub enabled: bool,
    pub listen: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub struct Identity {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Ask for renewals over links.
    pub renew: bool,
    pub renewals: Option<Renewals>,
}

/// What a hub signs renewals with.
#[derive(Clone, Debug)]
pub struct Renewals {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub days: u32,
}

impl Identity {
    pub fn files(&self) -> crate::identity::Files {
        crate::identity::Files { ca: self.ca.clone(), cert: self.cert.clone(), key: self.key.clone() }
    }
}

#[derive(Clone, Debug)]
pub struct Peer {
    pub site: SiteName,
    /// `http://host:port` or `https://host:port`. `None`: that site dials this one.
    pub link: Option<http::Uri>,
    /// zenoh endpoint, `tcp/host:port` or `tls/host:port`; only where `link` is set.
    pub control: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    PowerLoss,
    ProcessCrash,
}

#[derive(Clone, Debug)]
pub struct StoreSettings {
    pub durability: Durability,
    pub reserve_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    pub token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub matches: Vec<Match>,
    pub endpoints: Vec<Endpoint>,
    /// As written, `{store}` included; empty: a plain proxy without journal.
    pub replicas: Vec<String>,
    pub store: StoreRule,
    /// Methods that change state.
    pub write_methods: Vec<http::Method>,
    pub answer: Answer,
    /// First hit counts.
    pub lane: Vec<LaneRule>,
    pub creates: bool,
    pub when_down: WhenDown,
    pub longest_request: Duration,
    pub health: Option<HealthCheck>,
    pub retries: Retries,
    pub timeouts: Timeouts,
    pub idempotency: Idempotency,
    pub outcome: Outcome,
    pub replicate_all: bool,
    pub on_concurrent: OnConcurrent,
    pub on_divergence: OnDivergence,
    pub on_unreachable: OnUnreachable,
    pub stale: Stale,
    pub ack_peers: u8,
    pub retain: Duration,
    pub max_body_bytes: usize,
    pub max_replay_body_bytes: usize,
    pub answer_max_bytes: usize,
    pub compare_body: bool,
    pub replay: Replay,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Without a slash at its end, but "/" itself.
    pub path: String,
    /// In lower case; `*.example.com` takes every name below it.
    pub host: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/2 in the clear, with prior knowledge.
    H2c,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
    pub scheme: Scheme,
}

/// Which store a request of a service belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreRule {
    /// The service has no stores.
    None,
    /// Every request here is this store's.
    Fixed(SiteName),
    /// A hub asks the request; any other store is foreign.
    FromRequest { from: StoreFrom, stores: Vec<SiteName> },
}

#[derive(Clone, Debug)]
pub struct Answer {
    /// As written or by default: `local`, names, `{store}`.
    pub order: Vec<String>,
    pub after: Duration,
    pub within: Duration,
    pub lag: Duration,
}

#[derive(Clone, Debug)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy: u32,
    pub healthy: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Retries {
    pub tries: u32,
    pub budget: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    pub per_try: Duration,
    pub total: Duration,
    pub idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Standard,
    Envoy,
}

#[derive(Clone, Debug)]
pub struct Idempotency {
    pub ttl: Duration,
    pub require_key: bool,
    /// What is part of a key beside service and store.
    pub scope: Vec<ScopeRule>,
    /// What names the client that brings it.
    pub client: Vec<ClientRule>,
    pub dialect: Dialect,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub probe: Option<Probe>,
    pub idempotent: bool,
    pub unexecuted: Vec<u16>,
    pub hold: Duration,
}

/// `GET /transactions/by-key/{key}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub before_key: String,
    pub after_key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    Proceed,
    Refuse,
}

#[derive(Clone, Debug)]
pub struct Replay {
    pub share: f64,
    /// Part of each minute that may go into trying again in vain.
    pub alone: f64,
    pub auth: Option<String>,
}

// === impl Service ===

impl Service {
    /// What a key can be told apart by: nothing, or each host by its name. What only a request tells is not among them.
    pub fn key_scopes(&self) -> Vec<Vec<(String, Vec<u8>)>> {
        match &self.idempotency.scope[..] {
            [] => vec![Vec::new()],
            [host @ ScopeRule::Host] => {
                let hosts = self.matches.iter().filter_map(|m| m.host.as_deref());
                hosts.map(|name| vec![(host.to_string(), name.as_bytes().to_vec())]).collect()
            }
            _ => Vec::new(),
        }
    }

    /// No replicas: no journal, no keys, no shadows.
    pub fn is_plain(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Every state machine this site needs for the service: one, or at a hub one for each store. Empty for a plain
    /// proxy.
    pub fn groups(&self) -> Vec<Group> {
        let group = |store: &str| Group { service: self.name.clone(), store: store.to_owned() };
        match (&self.store, self.is_plain()) {
            (_, true) => Vec::new(),
            (StoreRule::None, false) => vec![group("")],
            (StoreRule::Fixed(store), false) => vec![group(store.as_str())],
            (StoreRule::FromRequest { stores, .. }, false) => stores.iter().map(|s| group(s.as_str())).collect(),
        }
    }

    /// Sites that hold a replica of the group, sorted.
    pub fn replicas_of(&self, group: &Group) -> Vec<SiteName> {
        let mut sites: Vec<_> = self.replicas.iter().map(|name| fill(name, &group.store)).collect();
        sites.sort();
        sites
    }

    /// What the group's state machine must know at `site`.
    pub fn settings(&self, site: &SiteName, group: &Group) -> Settings {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let name = |entry: &String| if entry == "local" { site.clone() } else { fill(entry, &group.store) };
        let replicas = self.replicas_of(group);
        let mut order: Vec<SiteName> = Vec::new();
        for decider in self.answer.order.iter().map(name).filter(|decider| replicas.contains(decider)) {
            if !order.contains(&decider) {
                order.push(decider);
            }
        }
        Settings {
            me: site.clone(),
            replicas,
            order,
            answer_after_ms: ms(self.answer.after),
            within_ms: ms(self.answer.within),
            lag_ms: ms(self.answer.lag),
            total_ms: ms(self.timeouts.total),
            longest_request_ms: ms(self.longest_request),
            hold_ms: ms(self.outcome.hold),
            idempotent: self.outcome.idempotent,
            has_probe: self.outcome.probe.is_some(),
            creates: self.creates,
            clients: ClientRules::new(self.idempotency.client.clone()),
            unexecuted: self.outcome.unexecuted.clone(),
            when_down: self.when_down,
            replicate_all: self.replicate_all,
            compare_body: self.compare_body,
            on_concurrent: self.on_concurrent,
            on_divergence: self.on_divergence,
            alone_ms: (self.replay.alone * 60_000.0) as u64,
            on_unreachable: self.on_unreachable,
            ack_peers: self.ack_peers,
            key_ttl_ms: ms(self.idempotency.ttl),
            retain_ms: ms(self.retain),
            answer_max: self.answer_max_bytes,
            limits: self.limits,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

fn fill(name: &str, store: &str) -> SiteName {
    SiteName::new(if name == "{store}" { store } else { name })
}

impl Probe {
    /// The target for a key; the caller has escaped it.
    pub fn target(&self, key: &str) -> String {
        format!("{}{key}{}", self.before_key, self.after_key)
    }
}
