//! What the gateway must know, resolved from the configuration by whoever wires it.
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};

use super::body::Body;
use super::conn::ConnLimits;
use super::lane::LaneRules;
use super::route::{Match, WriteMethods};
use super::rules::{LaneRule, ScopeRule, StoreFrom};
use super::strict::HeadLimits;
use super::upstream::Upstream;
use crate::idempotency::KeyRules;
use crate::model::{ClientRules, Group, SiteName, WriteId};
use crate::service::Handle;
use crate::telemetry::{AccessLog, GatewayMetrics};

#[derive(Clone)]
pub struct GatewaySettings {
    pub site: SiteName,
    pub listen: Vec<ListenSettings>,
    /// Connections of clients at the same time, over all listeners; more wait in the kernel's queue.
    pub max_connections: usize,
    pub max_head_bytes: usize,
    pub max_headers: usize,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    /// Bytes of bodies on their way in, over all clients; one address may have half of them.
    pub max_body_bytes: usize,
    /// Connections of one client address, its requests that are under way, and of them the reads that another site
    /// answers.
    pub max_client_connections: usize,
    pub max_client_requests: usize,
    pub max_client_reads_elsewhere: usize,
    /// The longest pause in a client's body.
    pub body_timeout: Duration,
    /// How long requests in flight may go on after the signal to stop.
    pub drain: Duration,
    pub access: AccessLog,
    pub metrics: Arc<GatewayMetrics>,
}

impl GatewaySettings {
    pub fn new(site: SiteName, listen: Vec<ListenSettings>) -> Self {
        Self {
            site,
            listen,
            max_connections: 2_000,
            max_client_connections: 1_000,
            max_client_requests: 256,
            max_client_reads_elsewhere: 32,
            max_body_bytes: 64 << 20,
            max_head_bytes: 32 << 10,
            max_headers: 100,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            access: AccessLog::Off,
            metrics: Arc::default(),
        }
    }

    pub(super) fn conn_limits(&self, longest_wait: Duration) -> ConnLimits {
        ConnLimits {
            head: HeadLimits { bytes: self.max_head_bytes, headers: self.max_headers },
            head_timeout: self.head_timeout,
            idle_timeout: self.idle_timeout,
            body_timeout: self.body_timeout,
            half_closed: longest_wait + Duration::from_secs(1),
        }
    }
}

#[derive(Clone)]
pub struct ListenSettings {
    pub address: SocketAddr,
    /// With or without ALPN; `h2` and `http/1.1` are understood. Certificates may change behind its resolver.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

#[derive(Clone, Debug)]
pub struct ServiceSettings {
    pub name: String,
    pub matches: Vec<Match>,
    pub writes: WriteMethods,
    pub lane: LaneRules,
    pub keys: KeyRules,
    /// What is part of a key beside service and store (`idempotency.scope`).
    pub scope: Vec<ScopeRule>,
    /// What names the client that brings a key.
    pub clients: ClientRules,
    /// Where a hub finds the store.
    pub store_from: Option<StoreFrom>,
    pub max_body: usize,
    /// `timeout.total`.
    pub total_timeout: Duration,
    /// `stale = "refuse"`.
    pub refuse_stale: bool,
}

impl ServiceSettings {
    pub fn new(name: impl Into<String>, matches: Vec<Match>) -> Self {
        Self {
            name: name.into(),
            matches,
            writes: WriteMethods::default(),
            lane: LaneRules::new(&LaneRule::defaults()),
            keys: KeyRules::default(),
            scope: Vec::new(),
            clients: ClientRules::default(),
            store_from: None,
            max_body: 8 << 20,
            total_timeout: Duration::from_secs(5),
            refuse_stale: false,
        }
    }
}

/// One group as the gateway sees it.
#[derive(Clone, Debug)]
pub struct Target {
    pub group: Group,
    pub handle: Handle,
}

/// Who decides the writes of a service.
#[derive(Clone, Debug)]
pub enum Groups {
    /// Nobody: no replicas, no journal; everything is streamed through.
    Plain,
    /// The one group of this site; its store is filled in where the service has stores.
    One(Target),
    /// At a hub, by store.
    PerStore(HashMap<String, Target>),
}

pub struct ServiceEntry {
    pub settings: ServiceSettings,
    pub upstream: Arc<Upstream>,
    pub groups: Groups,
}

/// The unguessable token of a write, for `Holdfast-Write` and status addresses.
pub trait Tokens: Send + Sync {
    fn token(&self, id: WriteId) -> String;
}

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Answers `GET /.holdfast/writes/{token}`.
pub trait StatusPages: Send + Sync {
    /// `None`: no such write.
    fn status<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<Response<Body>>>;
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum PeerError {
    #[error("site {site} cannot be reached: {why}")]
    NeverSent { site: SiteName, why: String },
    /// Nothing was sent; a place will be free again.
    #[error("too many reads are under way to site {site}")]
    Busy { site: SiteName },
    #[error("this is no request that another site takes")]
    BadRequest,
    #[error("site {site} broke off: {why}")]
    Broken { site: SiteName, why: String },
}

/// Takes a read to the site that decides; streaming both ways. The request is in origin-form, with `Host`, the group
/// named by [`Target`], and `Holdfast-Seen` still in it.
pub trait PeerProxy: Send + Sync {
    fn proxy<'a>(
        &'a self,
        site: &'a SiteName,
        group: &'a Group,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, PeerError>>;
}

/// What the gateway needs from the rest of the appliance.
#[derive(Clone)]
pub struct Neighbours {
    pub tokens: Arc<dyn Tokens>,
    pub status: Arc<dyn StatusPages>,
    /// `None`: no links; reads stay here.
    pub peers: Option<Arc<dyn PeerProxy>>,
}
