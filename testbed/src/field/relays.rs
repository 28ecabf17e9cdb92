//! The network without root: sites on the loopback, and between each two that dial a TCP relay for links and one for
//! control.
//!
//! A relay cuts as a pulled cable does that nobody tells of: bytes stay where they are, new connections are taken and
//! lead nowhere; after a cut of both directions the connections that stood are dropped when it heals, as their ends
//! would have given them up. It delays and it is thin; it cannot lose single packets.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::Error;
use super::network::{Blocked, Places};
use super::scenario::LineSpec;

/// Connections through one relay (G6).
const CONNECTIONS_MAX: usize = 64;
/// Pieces of one direction on their way.
const PIECES_MAX: usize = 256;
const PIECE_MAX: usize = 4 << 10;

/// One direction of one relay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Way {
    blocked: bool,
    spec: LineSpec,
}

struct Relay {
    address: SocketAddr,
    forth: watch::Sender<Way>,
    back: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub struct Relays {
    places: Vec<Places>,
    /// By who dials whom: for links, for control.
    relays: BTreeMap<(usize, usize), [Relay; 2]>,
}

impl Relays {
    pub async fn start(sites: usize, dials: &[(usize, usize)]) -> Result<Self, Error> {
        let failed = |source| Error::Program { what: "a relay".into(), source };
        let free = || holdfast::demo::free_address().map_err(failed);
        let mut places = Vec::with_capacity(sites);
        for _ in 0..sites {
            let [service, gateway, admin, link, control] = [free()?, free()?, free()?, free()?, free()?];
            places.push(Places { service, gateway, admin, link, control });
        }
        let mut relays = BTreeMap::new();
        for &(from, to) in dials {
            let link = Relay::start(places[to].link).await.map_err(failed)?;
            let control = Relay::start(places[to].control).await.map_err(failed)?;
            relays.insert((from, to), [link, control]);
        }
        Ok(Self { places, relays })
    }

    pub fn places(&self, site: usize) -> Places {
        self.places[site]
    }

    pub fn dial(&self, from: usize, to: usize) -> (SocketAddr, SocketAddr) {
        match self.relays.get(&(from, to)) {
            Some([link, control]) => (link.address, control.address),
            None => (self.places[to].link, self.places[to].control),
        }
    }

    pub fn block(&mut self, from: usize, to: usize, blocked: &Blocked) {
        self.change(from, to, |way, is_link| way.blocked = if is_link { blocked.link } else { blocked.control });
    }

    pub fn set_line(&mut self, from: usize, to: usize, spec: LineSpec) {
        self.change(from, to, |way, _| way.spec = spec);
    }

    /// `from` to `to` is the way forth of a relay that `from` dials, and the way back of one that `to` dials.
    fn change(&mut self, from: usize, to: usize, change: impl Fn(&mut Way, bool)) {
        for (is_link, n) in [(true, 0), (false, 1)] {
            if let Some(relays) = self.relays.get(&(from, to)) {
                relays[n].forth.send_modify(|way| change(way, is_link));
            }
            if let Some(relays) = self.relays.get(&(to, from)) {
                relays[n].back.send_modify(|way| change(way, is_link));
            }
        }
    }
}

impl Relay {
    async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let address = holdfast::demo::free_address()?;
        let listener = TcpListener::bind(address).await?;
        let ((forth, goes), (back, comes)) = (watch::channel(Way::default()), watch::channel(Way::default()));
        let task = tokio::spawn(accept(listener, target, goes, comes));
        Ok(Self { address, forth, back, task })
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, forth: watch::Receiver<Way>, back: watch::Receiver<Way>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok((near, _)) = accepted else { continue };
                connections.spawn(connection(near, target, forth.clone(), back.clone()));
            }
        }
    }
}

async fn connection(
    near: TcpStream,
    target: SocketAddr,
    mut forth: watch::Receiver<Way>,
    mut back: watch::Receiver<Way>,
) {
    // As the first packet of a connection: it does not come through before both ways are open.
    for way in [&mut forth, &mut back] {
        if way.wait_for(|way| !way.blocked).await.is_err() {
            return;
        }
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // Either end is the end of both.
    tokio::select! {
        () = pass(near_in, far_out, forth.clone()) => {}
        () = pass(far_in, near_out, back.clone()) => {}
        () = given_up(forth, back) => {}
    }
}

/// Both directions were cut and one is open again.
async fn given_up(mut forth: watch::Receiver<Way>, mut back: watch::Receiver<Way>) {
    loop {
        let (cut_forth, cut_back) = (forth.borrow_and_update().blocked, back.borrow_and_update().blocked);
        if cut_forth && cut_back {
            tokio::select! {
                _ = forth.wait_for(|way| !way.blocked) => {}
                _ = back.wait_for(|way| !way.blocked) => {}
            }
            return;
        }
        let changed = tokio::select! { changed = forth.changed() => changed, changed = back.changed() => changed };
        if changed.is_err() {
            return;
        }
    }
}

async fn pass(mut from: OwnedReadHalf, to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let (pieces, late) = mpsc::channel(PIECES_MAX);
    let delivery = tokio::spawn(deliver(late, to, way.clone()));
    let mut busy_until = Instant::now();
    let mut buffer = [0_u8; PIECE_MAX];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let Ok(now_is) = way.wait_for(|way| !way.blocked).await.map(|way| *way) else { break };
        let now = Instant::now();
        let rate = now_is.spec.rate.map_or(f64::INFINITY, |rate| rate.0 as f64);
        busy_until = busy_until.max(now) + Duration::from_secs_f64(length as f64 * 8.0 / rate);
        let jitter = now_is.spec.jitter.0.mul_f64(fastrand::f64());
        let at = busy_until + now_is.spec.delay.0 + jitter;
        if pieces.send((at, buffer[..length].to_vec())).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let _ = delivery.await;
}

async fn deliver(mut late: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    while let Some((at, piece)) = late.recv().await {
        tokio::time::sleep_until(at).await;
        if way.wait_for(|way| !way.blocked).await.is_err() || to.write_all(&piece).await.is_err() {
            return;
        }
    }
}
