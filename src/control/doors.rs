//! The doors of control: TLS of our own in front of zenoh.
//!
//! zenoh checks the dialled host's name where sites are named otherwise, would take a certificate of any authority of
//! the Web where it does not, reads a listening certificate once, and is silent about what fails. So it never meets the
//! network: it dials and listens on loopback, and at a door the bytes change into a connection between two sites that
//! is checked by the rule of [`crate::identity`], with the certificate of this moment. At a hub the door goes on to the
//! router as the site that it has found behind the certificate, and the router's access control knows it by that name.
//!
//! Hints only, so nothing here is retried: a connection that ends, ends at both sides, and zenoh dials again.
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::inner::Inner;
use super::settings::{ControlError, ControlSettings, Endpoint, HubAddress, Role};
use crate::contain::contained_in;
use crate::descriptors::{self, Use};
use crate::identity::{Credentials, Plane, Validity};
use crate::model::SiteName;
use crate::places::Places;

/// TCP and TLS to another site: zenoh waits 5 s for all of it.
const CONNECT: Duration = Duration::from_secs(4);
/// What a connection may still take to carry what was said last.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Connections of other sites, as zenoh's own `max_sessions`.
const CONNECTIONS: usize = 10_000;
/// Connections of this site's own zenoh to one hub: one, and what is left of the ones before.
const OWN_CONNECTIONS: usize = 64;
const BACKLOG: u32 = 1_024;

/// Opened once for the life of a control plane; sessions come and go behind it.
pub(super) struct Doors {
    /// A thread of their own: hints must not wait for clients, nor clients for hints.
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    /// For zenoh, in place of what the settings say.
    pub through: Through,
    /// Held, so that nobody else is given the router's port while no session is open.
    _router: Option<TcpSocket>,
}

/// What zenoh is told in place of the addresses of other sites.
pub(super) struct Through {
    /// Where it listens.
    pub listen: Vec<Endpoint>,
    /// Where it dials.
    pub dial: Vec<Endpoint>,
    /// `transport/link/tls`.
    pub tls: serde_json::Value,
    /// Where other sites dial.
    pub outside: Vec<String>,
}

struct Shared {
    credentials: Arc<Credentials>,
    inner: Inner,
    /// As whom a site comes to the router.
    known: Mutex<BTreeMap<SiteName, Arc<ClientConfig>>>,
    /// Why a hub cannot be reached, until it is.
    trouble: Mutex<BTreeMap<String, String>>,
    refused: AtomicU64,
    open: watch::Sender<usize>,
}

impl Doors {
    /// `None` where nothing is over TLS.
    pub fn open(settings: &ControlSettings) -> Result<Option<Self>, ControlError> {
        let (listen, dial): (&[Endpoint], &[HubAddress]) = match &settings.role {
            Role::Off => return Ok(None),
            Role::Edge { hubs } => (&[], hubs),
            Role::Hub { listen, peers } => (listen, peers),
        };
        let Some(credentials) = settings.tls.clone() else { return Ok(None) };
        if !listen.iter().chain(dial.iter().map(|hub| &hub.endpoint)).any(|endpoint| endpoint.tls) {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(2)
            .thread_name("control-tls")
            .enable_all()
            .build()
            .map_err(ControlError::Thread)?;
        let shared = Arc::new(Shared {
            credentials,
            inner: Inner::new()?,
            known: Mutex::default(),
            trouble: Mutex::default(),
            refused: AtomicU64::new(0),
            open: watch::Sender::new(0),
        });
        let tls = shared.inner.zenoh(&settings.me)?;
        let mut through = Through { listen: Vec::new(), dial: Vec::new(), tls, outside: Vec::new() };
        let mut router = None;
        {
            let _in_it = runtime.enter();
            for hub in dial {
                through.dial.push(match hub.endpoint.tls {
                    true => outward(&runtime, &shared, hub)?,
                    false => hub.endpoint.clone(),
                });
            }
            for endpoint in listen {
                if !endpoint.tls {
                    through.listen.push(endpoint.clone());
                    continue;
                }
                if router.is_none() {
                    let (held, address) = hold().map_err(ControlError::Thread)?;
                    through.listen.push(Endpoint { tls: true, address: address.to_string() });
                    router = Some((held, address));
                }
                let (_, inside) = router.as_ref().expect("it was made just now");
                through.outside.push(inward(&runtime, &shared, endpoint, *inside)?.to_string());
            }
        }
        Ok(Some(Self { runtime: Some(runtime), shared, through, _router: router.map(|(held, _)| held) }))
    }

    /// Why hubs are not reached, as of now.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let each: Vec<String> = trouble.iter().map(|(hub, why)| format!("{hub}: {why}")).collect();
        (!each.is_empty()).then(|| each.join("; "))
    }

    /// Waits a moment until what was said last has left.
    pub fn drain(&self) {
        let Some(runtime) = &self.runtime else { return };
        let mut open = self.shared.open.subscribe();
        let closed = async { drop(open.wait_for(|open| *open == 0).await) };
        let _ = runtime.block_on(async { timeout(LAST_WORDS, closed).await });
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A port of loopback that nobody else is given; zenoh, which allows reuse, can listen there.
fn hold() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.set_reuseaddr(true)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// The door to a hub; says where zenoh finds it.
fn outward(runtime: &Runtime, shared: &Arc<Shared>, hub: &HubAddress) -> Result<Endpoint, ControlError> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    let listener = listener.map_err(ControlError::Thread)?;
    let address = listener.local_addr().map_err(ControlError::Thread)?;
    let inside = shared.inner.server(&hub.site)?;
    runtime.spawn(go_out(shared.clone(), listener, inside, Arc::new(hub.clone())));
    Ok(Endpoint { tls: true, address: address.to_string() })
}

async fn go_out(shared: Arc<Shared>, listener: TcpListener, inside: Arc<ServerConfig>, hub: Arc<HubAddress>) {
    let places = Arc::new(Places::new(OWN_CONNECTIONS));
    loop {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                descriptors::accept_failed("control", &error).await;
                continue;
            }
        };
        let Some(place) = places.take().filter(|_| descriptors::kept(Use::Link, &tcp)) else { continue };
        let (shared, inside, hub) = (shared.clone(), inside.clone(), hub.clone());
        tokio::spawn(contained_in(async move {
            let _ = tcp.set_nodelay(true);
            // Only this process's own zenoh comes further.
            let near = tokio::select! {
                near = timeout(CONNECT, TlsAcceptor::from(inside).accept(tcp)) => near,
                () = place.is_needed() => return,
            };
            let Ok(Ok(near)) = near else { return };
            let _busy = place.in_work().begin();
            let far = timeout(CONNECT, reach(&shared, &hub)).await;
            let far = far.unwrap_or_else(|_| Err(format!("no answer within {} s", CONNECT.as_secs())));
            shared.note(&hub, far.as_ref().err());
            if let Ok((far, validity)) = far {
                shared.carry(near, far, validity).await;
            }
        }));
    }
}

type Secured = tokio_rustls::client::TlsStream<TcpStream>;

async fn reach(shared: &Shared, hub: &HubAddress) -> Result<(Secured, Validity), String> {
    let tcp = TcpStream::connect(&hub.endpoint.address).await.map_err(|error| error.to_string())?;
    let _ = tcp.set_nodelay(true);
    let host = hub.endpoint.address.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
    let host = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let identity = shared.credentials.current();
    let client = identity.client(&hub.site, Plane::Control)?;
    let far = TlsConnector::from(client).connect(host, tcp).await.map_err(|error| format!("TLS: {error}"))?;
    let shown =
        far.get_ref().1.peer_certificates().and_then(|chain| chain.first()).ok_or("it showed no certificate")?;
    let validity = identity.validity_with(shown)?;
    Ok((far, validity))
}

/// The door for other sites; says where they find it.
fn inward(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    router: SocketAddr,
) -> Result<Endpoint, ControlError> {
    let failed = |source| ControlError::Listen { endpoint: endpoint.clone(), source };
    let listener = std::net::ToSocketAddrs::to_socket_addrs(&endpoint.address)
        .and_then(|mut addresses| addresses.next().ok_or_else(|| io::Error::other("it has no address")))
        .and_then(|address| {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        })
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    runtime.spawn(let_in(shared.clone(), listener, router));
    Ok(Endpoint { tls: true, address: address.to_string() })
}

async fn let_in(shared: Arc<Shared>, listener: TcpListener, router: SocketAddr) {
    // Each takes three descriptors: its own, and two on the way to the router.
    let (most, strangers) = (descriptors::share(8, 64..=CONNECTIONS), descriptors::share(16, 32..=1_000));
    let places = Arc::new(Places::with_idle(most, strangers));
    loop {
        let (tcp, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                descriptors::accept_failed("control", &error).await;
                continue;
            }
        };
        if !descriptors::kept(Use::Link, &tcp) {
            continue;
        }
        let Some(place) = places.take() else {
            shared.refuse(remote, "too many connections");
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(contained_in(async move {
            let _ = tcp.set_nodelay(true);
            let in_work = place.in_work();
            let came = tokio::select! {
                came = timeout(CONNECT, receive(&shared, tcp, router)) => came,
                // Whoever it is had shown nothing yet, and there are many of them.
                () = place.is_needed() => return,
            };
            match came.unwrap_or_else(|_| Err("TLS handshake took too long".to_owned())) {
                Ok((far, near, validity)) => {
                    let _busy = in_work.begin();
                    shared.carry(near, far, validity).await;
                }
                Err(why) => shared.refuse(remote, &why),
            }
        }));
    }
}

type Came = (tokio_rustls::server::TlsStream<TcpStream>, Secured, Validity);

/// A site, and a connection to the router that is taken for its own.
async fn receive(shared: &Shared, tcp: TcpStream, router: SocketAddr) -> Result<Came, String> {
    let identity = shared.credentials.current();
    let far = TlsAcceptor::from(identity.server(Plane::Control)).accept(tcp).await;
    let far = far.map_err(|error| format!("TLS: {error}"))?;
    let shown =
        far.get_ref().1.peer_certificates().and_then(|chain| chain.first()).ok_or("it showed no certificate")?;
    let site = identity.speaker(shown)?;
    let validity = identity.validity_with(shown)?;
    let tcp = TcpStream::connect(router).await.map_err(|error| format!("the router is not there yet: {error}"))?;
    let _ = tcp.set_nodelay(true);
    let as_site = shared.known_as(&site).map_err(|error| error.to_string())?;
    let near = TlsConnector::from(as_site).connect(ServerName::IpAddress(router.ip().into()), tcp).await;
    Ok((far, near.map_err(|error| format!("the router: {error}"))?, validity))
}

impl Shared {
    fn known_as(&self, site: &SiteName) -> Result<Arc<ClientConfig>, ControlError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(site) {
            return Ok(client.clone());
        }
        let client = self.inner.client(site)?;
        known.insert(site.clone(), client.clone());
        Ok(client)
    }

    /// Says how it stands with a hub where that has changed.
    fn note(&self, hub: &HubAddress, why: Option<&String>) {
        let name = format!("{} at {}", hub.site, hub.endpoint);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) if trouble.get(&name) == Some(why) => {}
            Some(why) => {
                tracing::warn!(hub = %hub.site, at = %hub.endpoint, "control: not reached (hints are lost meanwhile, \
                    nothing else): {why}");
                trouble.insert(name, why.clone());
            }
            None => {
                if trouble.remove(&name).is_some() {
                    tracing::info!(hub = %hub.site, at = %hub.endpoint, "control: reached again");
                }
            }
        }
    }

    /// Logs the 1st, 2nd, 4th, 8th …: strangers cannot fill the log.
    fn refuse(&self, remote: SocketAddr, why: &str) {
        let n = self.refused.fetch_add(1, Relaxed) + 1;
        if n.is_power_of_two() {
            tracing::warn!(%remote, n, "control connection refused: {why}");
        }
    }

    /// Until one of the two ends, or a certificate does: then the other hears what was said last, and ends too.
    async fn carry<A, B>(&self, near: A, far: B, validity: Validity)
    where
        A: AsyncRead + AsyncWrite,
        B: AsyncRead + AsyncWrite,
    {
        let _counted = Counted::new(&self.open);
        let (near, far) = (pin!(near), pin!(far));
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (tokio::io::split(near), tokio::io::split(far));
        tokio::select! {
            _ = tokio::io::copy(&mut near_in, &mut far_out) => {}
            _ = tokio::io::copy(&mut far_in, &mut near_out) => {}
            why = validity.over() => tracing::info!(%why, "a control connection ends"),
        }
        let ending = async { tokio::join!(near_out.shutdown(), far_out.shutdown()) };
        let _ = timeout(LAST_WORDS, ending).await;
    }
}

/// A connection that is carried now.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(open: &'a watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}
