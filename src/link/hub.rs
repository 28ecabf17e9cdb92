//! All links of a site: who is connected, who is told about it, and what the rest of the appliance calls.
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request, Uri};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::body::LinkBody;
use super::messages::left;
use super::outgoing::{Outgoing, Sent, wish_of};
use super::session::Session;
use super::{Inbound, LinkSettings, dial, serve};
use crate::identity::Identity;
use crate::model::{Group, SiteName};
use crate::service::Message;
use crate::wire::Difference;

/// How long `stop` waits for what is under way.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// How long `stop` lets queued messages leave.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("link URL {url:?} of peer {site}: {why}")]
    Url { site: SiteName, url: String, why: String },
    #[error("peer {site} is not listed in [realm] sites")]
    NotListed { site: SiteName },
    #[error("peer {site} has an https link, and this site has no [identity] to show")]
    NoIdentity { site: SiteName },
    #[error("link listener {address} cannot be opened")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// A link as people see it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LinkState {
    pub site: SiteName,
    /// This side dials.
    pub dials: bool,
    pub connected: bool,
    /// For how long it has been connected, or not.
    pub since_ms: u64,
    pub last_error: Option<String>,
    pub round_trip_us: Option<u64>,
    /// Version of the peer's software.
    pub software: Option<String>,
    /// Another one after each start of the peer.
    pub boot: Option<String>,
    /// Services whose exchange rests because their definitions differ.
    pub differs: Vec<Difference>,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub connections: u64,
    /// Dials that led to no session, and sessions that broke.
    pub failures: u64,
    pub queued: usize,
    pub queued_bytes: usize,
    /// Messages and pages that were not sent: the link was down or ended before they left, or a limit was reached.
    pub dropped: u64,
    /// Messages that came and were not taken.
    pub refused: u64,
    /// Messages and pages, over all connections.
    pub sent: u64,
    pub received: u64,
}

#[derive(Clone)]
struct Standing {
    offline_since: Instant,
    last_error: Option<String>,
    read_bytes: u64,
    written_bytes: u64,
    connections: u64,
    failures: u64,
}

pub(super) struct Peer {
    pub site: SiteName,
    /// Where to dial it.
    pub url: Option<Uri>,
    pub outgoing: Outgoing,
    /// Reads of this site's clients that are under way there.
    pub asking: Arc<Semaphore>,
    /// Messages that came and were not taken.
    pub refused: AtomicU64,
    /// Those that were.
    pub received: AtomicU64,
    /// A dial has got past TCP: with two sites that dial each other, one of the two must give way.
    pub dialling: watch::Sender<bool>,
    pub current: watch::Sender<Option<Arc<Session>>>,
    /// The session whose `up` was delivered.
    announced: watch::Sender<Option<u64>>,
    standing: Mutex<Standing>,
}

impl Peer {
    fn new(site: SiteName, url: Option<Uri>, settings: &LinkSettings) -> Self {
        let now = Instant::now();
        let standing = Standing {
            offline_since: now,
            last_error: None,
            read_bytes: 0,
            written_bytes: 0,
            connections: 0,
            failures: 0,
        };
        Self {
            site,
            url,
            outgoing: Outgoing::new(settings.limits),
            asking: Arc::new(Semaphore::new(settings.limits.reads)),
            refused: 0.into(),
            received: 0.into(),
            dialling: watch::Sender::new(false),
            current: watch::Sender::new(None),
            announced: watch::Sender::new(None),
            standing: Mutex::new(standing),
        }
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note_error(&self, error: &str) {
        let mut standing = self.standing();
        standing.last_error = Some(error.to_owned());
        standing.failures += 1;
    }

    pub fn dials_now(&self) -> bool {
        *self.dialling.borrow() || self.current.borrow().as_ref().is_some_and(|session| session.requests.is_some())
    }

    fn state(&self) -> LinkState {
        let standing = self.standing().clone();
        let current = self.current.borrow().clone();
        let meter = current.as_ref().map(|session| &session.meter);
        let (queued, queued_bytes) = self.outgoing.waiting();
        let since = current.as_ref().map_or(standing.offline_since, |session| session.since);
        let round_trip_us = current.as_ref().map(|session| session.round_trip_us.load(Relaxed)).filter(|us| *us > 0);
        LinkState {
            site: self.site.clone(),
            dials: self.url.is_some(),
            connected: current.is_some(),
            since_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            last_error: standing.last_error,
            round_trip_us,
            software: current.as_ref().map(|session| session.software.clone()),
            boot: current.as_ref().map(|session| uuid::Uuid::from_bytes(session.boot).simple().to_string()),
            read_bytes: standing.read_bytes + meter.map_or(0, |meter| meter.read_bytes.load(Relaxed)),
            written_bytes: standing.written_bytes + meter.map_or(0, |meter| meter.written_bytes.load(Relaxed)),
            connections: standing.connections,
            failures: standing.failures,
            queued,
            queued_bytes,
            dropped: self.outgoing.dropped.load(Relaxed),
            refused: self.refused.load(Relaxed),
            sent: self.outgoing.sent.load(Relaxed),
            received: self.received.load(Relaxed),
            differs: current.map(|session| session.differs.clone()).unwrap_or_default(),
        }
    }
}

pub(super) struct Hub {
    pub settings: LinkSettings,
    pub inbound: Arc<dyn Inbound>,
    pub stopping: watch::Sender<bool>,
    /// Reads of all peers that are under way here.
    pub reads: Arc<Semaphore>,
    peers: BTreeMap<SiteName, Peer>,
    sessions: AtomicU64,
}

impl Hub {
    pub fn peer(&self, site: &SiteName) -> Option<&Peer> {
        self.peers.get(site)
    }

    pub fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Relaxed) + 1
    }

    /// What this side shows and whom it trusts, for one connection.
    pub fn tls(&self) -> Option<Arc<Identity>> {
        self.settings.tls.as_ref().map(|credentials| credentials.current())
    }

    pub async fn stopped(&self) {
        // An error means that the hub is gone, which is the same.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// A request to the other side of a link that this side dialled.
    pub fn request(&self, peer: &Peer, method: Method, target: &str, body: LinkBody) -> Request<LinkBody> {
        let base = peer.url.as_ref().expect("only a side that dials makes requests");
        let (scheme, authority) = (base.scheme_str().unwrap_or("http"), base.authority().map_or("", |a| a.as_str()));
        let uri = format!("{scheme}://{authority}{target}");
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().expect("targets are escaped");
        request
    }

    /// Why this store of a peer is not spoken with: another one of the same name is, at this moment.
    pub fn other_store(&self, peer: &Peer, store: [u8; 16]) -> Option<String> {
        let current = peer.current.borrow();
        let may_live = |linked: &&Arc<Session>| linked.may_live(&self.settings.limits);
        let linked = current.as_ref().filter(may_live).filter(|linked| linked.store != store)?;
        // It is asked at once: by the next try it is known.
        peer.outgoing.stir();
        let [linked, refused] = [linked.store, store].map(|store| uuid::Uuid::from_bytes(store).simple());
        Some(format!(
            "two processes run as site {}: {} is linked with the one whose store is {linked}, and does not listen to \
             the one whose store is {refused}. Stop one of the two",
            peer.site, self.settings.me
        ))
    }

    /// The newest session of a peer's store wins: an older one may be dead without knowing it yet. On an error it is
    /// closed.
    pub fn begin(&self, peer: &Peer, session: &Arc<Session>) -> Result<(), String> {
        if let Some(why) = self.other_store(peer, session.store) {
            tracing::error!(peer = %peer.site, %why, "link refused");
            session.close(&why);
            return Err(why);
        }
        let refused: BTreeSet<String> = session.differs.iter().map(|differs| differs.service.clone()).collect();
        peer.current.send_modify(|current| {
            if let Some(old) = current.replace(session.clone()) {
                old.close("replaced by a newer connection of the same site");
            }
            peer.outgoing.open(session.id, refused);
        });
        peer.standing().connections += 1;
        tracing::info!(peer = %peer.site, software = %session.software, "link is up");
        for Difference { service, keys } in &session.differs {
            tracing::warn!(peer = %peer.site, %service, ?keys, "definitions differ: this service is not exchanged");
        }
        Ok(())
    }

    pub async fn end(&self, peer: &Peer, session: &Arc<Session>) {
        let reason = session.closed().await;
        peer.outgoing.close(session.id);
        peer.current.send_if_modified(|current| {
            let ours = current.as_ref().is_some_and(|current| current.id == session.id);
            if ours {
                *current = None;
            }
            ours
        });
        let mut standing = peer.standing();
        standing.offline_since = Instant::now();
        standing.read_bytes += session.meter.read_bytes.load(Relaxed);
        standing.written_bytes += session.meter.written_bytes.load(Relaxed);
        standing.last_error = Some(reason.clone());
        // Its own end is no failure of a link.
        standing.failures += u64::from(!*self.stopping.borrow());
        drop(standing);
        tracing::warn!(peer = %peer.site, %reason, "link is down");
    }

    /// Waits until `up` of this session was delivered.
    pub async fn announced(&self, peer: &Peer, session: &Session) {
        let _ = peer.announced.subscribe().wait_for(|announced| *announced == Some(session.id)).await;
    }
}

/// Tells the groups what the level is, never what the edges were: between two `up`s there is always a `down`.
async fn announce(hub: Arc<Hub>, site: SiteName) {
    let Some(peer) = hub.peer(&site) else { return };
    let mut current = peer.current.subscribe();
    loop {
        let session = current.borrow_and_update().clone();
        let announced = *peer.announced.borrow();
        if announced.is_some() && announced != session.as_ref().map(|session| session.id) {
            if let Some(waiting) = hub.inbound.down(&site) {
                waiting.await;
            }
            peer.announced.send_replace(None);
        }
        if let Some(session) = session.filter(|session| announced != Some(session.id)) {
            if let Some(waiting) = hub.inbound.up(&site, &session.differs) {
                waiting.await;
            }
            peer.announced.send_replace(Some(session.id));
        }
        if current.changed().await.is_err() {
            return;
        }
    }
}

/// Cheap to clone. Dropping the last clone ends all links at once; [`Links::stop`] ends them in order.
#[derive(Clone)]
pub struct Links {
    pub(super) hub: Arc<Hub>,
    tasks: Arc<Mutex<JoinSet<()>>>,
    address: Option<SocketAddr>,
}

impl Links {
    /// Opens the listener and begins to dial. Peers that cannot be reached are no error (G8).
    pub async fn start(settings: LinkSettings, inbound: Arc<dyn Inbound>) -> Result<Self, StartError> {
        let listener = match settings.listen {
            None => None,
            Some(address) => {
                let opened = TcpListener::bind(address).await;
                Some(opened.map_err(|source| StartError::Listen { address, source })?)
            }
        };
        Self::start_on(listener, settings, inbound)
    }

    /// On a listener that somebody opened, in place of the address in `settings`.
    pub fn start_on(
        listener: Option<TcpListener>,
        settings: LinkSettings,
        inbound: Arc<dyn Inbound>,
    ) -> Result<Self, StartError> {
        let mut peers = BTreeMap::new();
        for site in settings.sites.iter().filter(|site| **site != settings.me) {
            peers.insert(site.clone(), Peer::new(site.clone(), None, &settings));
        }
        for dialled in &settings.dial {
            let site = &dialled.site;
            let Some(peer) = peers.get_mut(site) else { return Err(StartError::NotListed { site: site.clone() }) };
            let url = dial::parse_url(&dialled.url).map_err(|why| StartError::Url {
                site: site.clone(),
                url: dialled.url.clone(),
                why,
            })?;
            if url.scheme_str() == Some("https") && settings.tls.is_none() {
                return Err(StartError::NoIdentity { site: site.clone() });
            }
            peer.url = Some(url);
        }
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let reads = Arc::new(Semaphore::new(settings.limits.reads_of_all));
        let hub =
            Arc::new(Hub { settings, inbound, stopping: watch::Sender::new(false), reads, peers, sessions: 0.into() });
        let mut tasks = JoinSet::new();
        for peer in hub.peers.values() {
            tasks.spawn(announce(hub.clone(), peer.site.clone()));
            if peer.url.is_some() {
                tasks.spawn(dial::keep(hub.clone(), peer.site.clone()));
            }
        }
        if let Some(listener) = listener {
            tasks.spawn(serve::listen(hub.clone(), listener));
        }
        Ok(Self { hub, tasks: Arc::new(Mutex::new(tasks)), address })
    }

    /// Where this site listens, with the port that port 0 became.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Queues a message; never waits. What is not `Queued` is lost, like anything else on a link may be.
    pub fn send(&self, to: &SiteName, group: &Group, message: Message) -> Sent {
        let wish = wish_of(&message);
        let sent = self.hub.peer(to).map_or(Sent::NoSuchSite, |peer| peer.outgoing.send(group, message));
        if sent != Sent::Queued {
            left(&self.hub, to, group, wish, false);
        }
        sent
    }

    /// A group found that a peer says what it cannot know, or must not say: the connection is over, and the peer is
    /// named.
    pub fn refuse(&self, site: &SiteName, why: &str) {
        let Some(peer) = self.hub.peer(site) else { return };
        peer.refused.fetch_add(1, Relaxed);
        if let Some(session) = peer.current.borrow().clone() {
            session.close(&format!("the peer sent what cannot be: {why}"));
        }
    }

    #[cfg(test)]
    pub(super) fn panic_in_session(&self, site: &SiteName) {
        let session = self.hub.peer(site).and_then(|peer| peer.current.borrow().clone()).expect("it is linked");
        let panics = async { crate::contain::planted::may_panic("/planted-panic/session") };
        tokio::spawn(session.guard(panics));
    }

    pub fn state(&self) -> Vec<LinkState> {
        self.hub.peers.values().map(Peer::state).collect()
    }

    /// Lets what is queued leave, for a moment; then ends all links and waits for their tasks.
    pub async fn stop(&self) {
        let flushed = async {
            let mut check = tokio::time::interval(Duration::from_millis(5));
            while self.hub.peers.values().any(|peer| peer.outgoing.waiting().0 > 0) {
                check.tick().await;
            }
        };
        let _ = tokio::time::timeout(FLUSH_WAIT, flushed).await;
        self.hub.stopping.send_replace(true);
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let all_down = async {
            for peer in self.hub.peers.values() {
                let _ = peer.announced.subscribe().wait_for(Option::is_none).await;
            }
        };
        let _ = tokio::time::timeout(STOP_WAIT, all_down).await;
        tasks.shutdown().await;
    }
}
