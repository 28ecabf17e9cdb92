//! From the configuration's words to each module's own settings.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use uuid::Uuid;

use super::AppError;
use super::groups::Registry;
use crate::config::{Config, Dialect, Durability, Scheme, Service, Stale, StoreRule, Tls, fleet_digest};
use crate::control::{ControlSettings, Hear, HubAddress, Role};
use crate::gateway::{
    EndpointSettings, GatewaySettings, Groups, HealthSettings, LaneRules, ListenSettings, Match, PoolSettings,
    ServiceEntry, ServiceSettings, Target, Upstream, UpstreamSettings, WriteMethods,
};
use crate::idempotency::{self, KeyRules};
use crate::identity::{Credentials, Ends, Files, INVITES_FILE, Invites, Renewals};
use crate::journal::OpenOptions;
use crate::link::{Dial, Joins, LinkSettings, SharedService};
use crate::model::{ClientRules, SiteName};
use crate::telemetry::{Metrics, ServiceMetrics};

/// Requests at one endpoint at the same time.
const IN_FLIGHT_PER_ENDPOINT: usize = 1_024;
const IDLE_PER_ENDPOINT: usize = 128;
/// Memory for answers that are too large to keep, while their clients wait.
const LARGE_ANSWERS_BYTES: usize = 64 << 20;

pub(super) fn journal(config: &Config) -> OpenOptions {
    OpenOptions {
        site: Some(config.site.to_string()),
        durability: match config.store.durability {
            Durability::PowerLoss => crate::journal::Durability::PowerLoss,
            Durability::ProcessCrash => crate::journal::Durability::ProcessCrash,
        },
        reserve_bytes: config.store.reserve_bytes,
        ..OpenOptions::new(&config.data_dir)
    }
}

pub(super) fn upstreams(config: &Config, metrics: &Metrics) -> Result<BTreeMap<String, Arc<Upstream>>, AppError> {
    let upstream = |service: &Service| {
        let counted = metrics.service(&service.name).expect("every configured service has its metrics");
        Ok((service.name.clone(), Upstream::new(upstream(service, counted)?)))
    };
    config.services.iter().map(upstream).collect()
}

fn upstream(service: &Service, metrics: Arc<ServiceMetrics>) -> Result<UpstreamSettings, AppError> {
    let auth = service.replay.auth.as_ref().map(|auth| {
        let invalid = |_| AppError::Setting(format!("replay.auth of {} is no header value", service.name));
        http::HeaderValue::from_str(auth).map_err(invalid)
    });
    let probe = service.outcome.probe.as_ref().map(|probe| {
        let text = format!("GET {}", probe.target("{key}"));
        text.parse().map_err(|error| AppError::Setting(format!("outcome.probe of {}: {error}", service.name)))
    });
    let endpoint = |e: &crate::config::Endpoint| EndpointSettings {
        host: e.host.clone(),
        port: e.port,
        h2c: e.scheme == Scheme::H2c,
    };
    Ok(UpstreamSettings {
        service: service.name.clone(),
        endpoints: service.endpoints.iter().map(endpoint).collect(),
        pool: PoolSettings {
            connect_timeout: service.timeouts.connect,
            in_flight: IN_FLIGHT_PER_ENDPOINT,
            idle: IDLE_PER_ENDPOINT,
            idle_timeout: service.timeouts.idle,
        },
        try_timeout: service.timeouts.per_try,
        tries: service.retries.tries as usize,
        health: service.health.as_ref().map(|health| HealthSettings {
            path: health.path.clone(),
            interval: health.interval,
            timeout: health.timeout,
            unhealthy: health.unhealthy,
            healthy: health.healthy,
        }),
        max_replay_body: service.max_replay_body_bytes,
        large_answers: LARGE_ANSWERS_BYTES,
        probe: probe.transpose()?,
        replay_auth: auth.transpose()?,
        metrics,
    })
}

pub(super) fn services(
    config: &Config,
    registry: &Registry,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
) -> Result<Vec<ServiceEntry>, AppError> {
    let entry = |service: &Service| {
        let upstream = upstreams[&service.name].clone();
        Ok(ServiceEntry { settings: service_settings(service), upstream, groups: groups(service, registry) })
    };
    config.services.iter().map(entry).collect()
}

fn groups(service: &Service, registry: &Registry) -> Groups {
    let target = |group: crate::model::Group| {
        let handle = registry.members.get(&group).expect("every group was recovered").handle.clone();
        Target { group, handle }
    };
    let mut targets = service.groups().into_iter().map(target);
    match (&service.store, service.is_plain()) {
        (_, true) => Groups::Plain,
        (StoreRule::FromRequest { .. }, _) => {
            Groups::PerStore(targets.map(|t| (t.group.store.clone(), t)).collect::<HashMap<_, _>>())
        }
        _ => targets.next().map_or(Groups::Plain, Groups::One),
    }
}

fn service_settings(service: &Service) -> ServiceSettings {
    let store_from = match &service.store {
        StoreRule::FromRequest { from, .. } => Some(from.clone()),
        _ => None,
    };
    let matches = service.matches.iter().map(|m| Match { host: m.host.clone(), path: Some(m.path.clone()) }).collect();
    ServiceSettings {
        writes: WriteMethods::new(service.write_methods.clone()),
        lane: LaneRules::new(&service.lane),
        keys: KeyRules {
            dialect: match service.idempotency.dialect {
                Dialect::Standard => idempotency::Dialect::Ietf,
                Dialect::Envoy => idempotency::Dialect::Envoy,
            },
            require_key: service.idempotency.require_key,
        },
        scope: service.idempotency.scope.clone(),
        clients: ClientRules::new(service.idempotency.client.clone()),
        store_from,
        max_body: service.max_body_bytes,
        total_timeout: service.timeouts.total,
        refuse_stale: service.stale == Stale::Refuse,
        ..ServiceSettings::new(&service.name, matches)
    }
}

pub(super) fn gateway(config: &Config, metrics: &Metrics) -> Result<GatewaySettings, AppError> {
    let tls = config.gateway.tls.as_ref().map(server_tls).transpose()?;
    let listen = |&address| ListenSettings { address, tls: tls.clone() };
    let limits = &config.gateway.limits;
    Ok(GatewaySettings {
        max_connections: limits.connections,
        max_client_connections: limits.client_connections,
        max_client_requests: limits.client_requests,
        // Half of what may be under way to one site.
        max_client_reads_elsewhere: crate::link::Limits::default().reads / 2,
        max_body_bytes: limits.bodies,
        max_head_bytes: limits.head_bytes,
        max_headers: limits.headers,
        head_timeout: limits.head_timeout,
        idle_timeout: limits.idle_timeout,
        body_timeout: limits.body_timeout,
        drain: config.drain,
        access: config.log_access,
        metrics: metrics.gateway.clone(),
        ..GatewaySettings::new(config.site.clone(), config.gateway.listen.iter().map(listen).collect())
    })
}

fn server_tls(tls: &Tls) -> Result<Arc<rustls::ServerConfig>, AppError> {
    let wrong = |path: &Path, why: String| AppError::Setting(format!("{}: {why}", path.display()));
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
        .map_err(|error| wrong(&tls.cert, format!("{error:?}")))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, format!("{error:?}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AppError::Setting(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.cert, error.to_string()))?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

/// When the chain that clients are shown ends; a file that cannot be read is an error elsewhere.
pub(super) fn certificate_end_s(tls: &Tls) -> Option<i64> {
    let chain = CertificateDer::pem_file_iter(&tls.cert).and_then(|certs| certs.collect::<Result<Vec<_>, _>>()).ok()?;
    crate::identity::end_s(&chain)
}

/// Read and checked; the same for links and control.
pub(super) fn credentials(config: &Config) -> Result<Option<Arc<Credentials>>, AppError> {
    let open = |files: Files| Credentials::open(files, config.site.clone(), &config.realm.sites);
    config.identity.as_ref().map(|identity| open(identity.files())).transpose().map_err(AppError::Identity)
}

/// What this site signs with, for others and for itself.
fn renewals(config: &Config) -> Result<Option<Arc<Renewals>>, AppError> {
    let renewals = config.identity.as_ref().and_then(|identity| identity.renewals.as_ref());
    let open = |renewals: &crate::config::Renewals| Renewals::open(&renewals.cert, &renewals.key, renewals.days);
    renewals.map(open).transpose().map(|opened| opened.map(Arc::new)).map_err(AppError::Renewals)
}

/// Whom a hub lets join, where it can sign.
pub(super) fn joins(config: &Config) -> Result<Option<Joins>, AppError> {
    let file = config.data_dir.join(INVITES_FILE);
    let invites = || Arc::new(Invites::open(file, config.site.clone(), &config.realm.sites));
    Ok(renewals(config)?.map(|renewals| Joins::new(invites(), renewals)))
}

/// What else ends some day.
pub(super) fn ends(config: &Config) -> Arc<Ends> {
    let identity = config.identity.as_ref();
    let renewals = identity.and_then(|identity| identity.renewals.as_ref()).map(|renewals| renewals.cert.clone());
    let gateway = config.gateway.tls.as_ref().map(|tls| tls.cert.clone());
    Ends::of(identity.map(|identity| identity.ca.clone()), renewals, gateway)
}

pub(super) fn links(
    config: &Config,
    registry: &Registry,
    store: [u8; 16],
    tls: Option<Arc<Credentials>>,
    joins: Option<Joins>,
) -> Result<LinkSettings, AppError> {
    let dial = config
        .peers
        .iter()
        .filter_map(|peer| peer.link.as_ref().map(|url| Dial { site: peer.site.clone(), url: url.to_string() }));
    Ok(LinkSettings {
        me: config.site.clone(),
        realm: config.realm.name.clone(),
        boot: *Uuid::new_v4().as_bytes(),
        store,
        sites: config.realm.sites.clone(),
        dial: dial.collect(),
        listen: config.link_listen,
        tls,
        renewals: joins.as_ref().map(|joins| joins.renewals.clone()),
        joins,
        services: config.services.iter().flat_map(|service| shared(config, service, registry)).collect(),
        limits: crate::link::Limits { keepalive: config.link_keepalive, ..crate::link::Limits::default() },
    })
}

/// What must agree, for each site apart: two sites compare what concerns both.
fn shared(config: &Config, service: &Service, registry: &Registry) -> Vec<SharedService> {
    let mut sites: Vec<SiteName> = registry
        .members
        .iter()
        .filter(|(group, _)| group.service == service.name)
        .flat_map(|(_, member)| member.peers.iter().cloned())
        .collect();
    sites.sort();
    sites.dedup();
    let terms = |site: SiteName| SharedService {
        name: service.name.clone(),
        keys: fleet_digest(service, [&config.site, &site]).into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        sites: vec![site],
    };
    sites.into_iter().map(terms).collect()
}

/// Those with whom this site shares groups, and those that it dials.
fn shares_with(config: &Config) -> Vec<SiteName> {
    let of_service = |service: &Service| {
        let groups = service.groups().into_iter();
        groups.flat_map(|group| service.settings(&config.site, &group).replicas).collect::<Vec<_>>()
    };
    let shared = config.services.iter().flat_map(of_service).filter(|site| *site != config.site);
    let all: BTreeSet<SiteName> = shared.chain(config.peers.iter().map(|peer| peer.site.clone())).collect();
    all.into_iter().collect()
}

pub(super) fn control(config: &Config, tls: Option<Arc<Credentials>>) -> Result<ControlSettings, AppError> {
    let wrong = |error: crate::control::ParseEndpointError| AppError::Setting(error.to_string());
    let dialled: Vec<HubAddress> = config
        .peers
        .iter()
        .filter_map(|peer| Some((&peer.site, peer.control.as_ref()?)))
        .map(|(site, text)| Ok(HubAddress { site: site.clone(), endpoint: text.parse()? }))
        .collect::<Result<_, _>>()
        .map_err(wrong)?;
    let role = match (config.control.enabled, config.control.listen) {
        (false, _) => Role::Off,
        (true, Some(listen)) => {
            let protocol = if config.identity.is_some() { "tls" } else { "tcp" };
            let listen = format!("{protocol}/{listen}").parse().map_err(wrong)?;
            Role::Hub { listen: vec![listen], peers: dialled }
        }
        (true, None) if dialled.is_empty() => Role::Off,
        (true, None) => Role::Edge { hubs: dialled },
    };
    let settings = ControlSettings::new(&config.realm.name, config.site.clone(), config.site.as_str(), role);
    Ok(ControlSettings {
        tls,
        keepalive: config.link_keepalive,
        // A thousand stores must not hear each other over lines that are metered.
        hear: Hear::Only(shares_with(config)),
        sites: config.realm.sites.clone(),
        hub_sites: config.realm.hubs.clone(),
        ..settings
    })
}
