//! What clients may hold at the same time (G6, G9): bytes of bodies and connections, all of them together and one address alone.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body waits so long for others to end before it is refused; meanwhile its client is not read from.
const PATIENCE: Duration = Duration::from_secs(1);
/// Addresses that are gone are looked for when there are so many, and again at twice as many as were left.
const SWEEP: usize = 1024;

pub struct Room {
    bytes: Arc<Semaphore>,
    share_bytes: usize,
    share_connections: usize,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_address: HashMap<IpAddr, Weak<Share>>,
    sweep_at: usize,
}

/// What one address holds. A network of IPv6 counts as one: its hosts cost nothing.
#[derive(Debug)]
pub struct Share {
    bytes: Arc<Semaphore>,
    connections: AtomicUsize,
}

#[cfg(test)]
impl Default for Share {
    fn default() -> Self {
        Self { bytes: Arc::new(Semaphore::new(1 << 20)), connections: AtomicUsize::new(0) }
    }
}

/// A connection's place in its client's share.
pub struct Place(Arc<Share>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Place {
    pub fn share(&self) -> &Arc<Share> {
        &self.0
    }
}

/// Bytes of one body. Dropped, they are free again.
#[derive(Debug, Default)]
pub struct Bytes {
    all: Option<OwnedSemaphorePermit>,
    own: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Room {
    /// One address may have half of `bytes`, and always `longest`, one body of the longest kind.
    pub fn new(bytes: usize, longest: usize, share_connections: usize) -> Self {
        let share_bytes = (bytes / 2).max(longest).clamp(1, Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(bytes.max(share_bytes).min(Semaphore::MAX_PERMITS)));
        Self { bytes: all, share_bytes, share_connections, clients: Mutex::default() }
    }

    /// `None`: this address has all the connections that it may have.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let share = self.share(network(address));
        let before = share.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(share);
        (before < self.share_connections).then_some(place)
    }

    fn share(&self, address: IpAddr) -> Arc<Share> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = clients.by_address.get(&address).and_then(Weak::upgrade) {
            return share;
        }
        if clients.by_address.len() >= clients.sweep_at.max(SWEEP) {
            clients.by_address.retain(|_, share| share.strong_count() > 0);
            clients.sweep_at = 2 * clients.by_address.len();
        }
        let bytes = Arc::new(Semaphore::new(self.share_bytes));
        let share = Arc::new(Share { bytes, connections: AtomicUsize::new(0) });
        clients.by_address.insert(address, Arc::downgrade(&share));
        share
    }

    /// Takes room for `count` more bytes of a body.
    pub async fn take(&self, share: &Share, held: &mut Bytes, count: usize) -> Result<(), Full> {
        let count = u32::try_from(count).map_err(|_| Full)?;
        let waiting = async {
            let own = share.bytes.clone().acquire_many_owned(count).await;
            let all = self.bytes.clone().acquire_many_owned(count).await;
            (own, all)
        };
        let Ok((Ok(own), Ok(all))) = tokio::time::timeout(PATIENCE, waiting).await else { return Err(Full) };
        put(&mut held.own, own);
        put(&mut held.all, all);
        Ok(())
    }
}

fn put(into: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match into {
        Some(held) => held.merge(more),
        None => *into = Some(more),
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_leaves_room_for_another_and_what_is_dropped_is_free() {
        let room = Room::new(100, 10, 2);
        let one = room.enter("10.0.0.1".parse().unwrap()).unwrap();
        let mut held = Bytes::default();
        assert_eq!(room.take(one.share(), &mut held, 30).await, Ok(()));
        assert_eq!(room.take(one.share(), &mut held, 20).await, Ok(()));
        assert_eq!(room.take(one.share(), &mut Bytes::default(), 1).await, Err(Full));
        let other = room.enter("::ffff:10.0.0.2".parse().unwrap()).unwrap();
        let mut others = Bytes::default();
        assert_eq!(room.take(other.share(), &mut others, 50).await, Ok(()));
        drop(held);
        assert_eq!(room.take(one.share(), &mut Bytes::default(), 50).await, Ok(()));
        drop(others);
        // A body of the longest kind always has room in the end.
        let room = Room::new(1, 10, 1);
        let place = room.enter("::1".parse().unwrap()).unwrap();
        assert_eq!(room.take(place.share(), &mut Bytes::default(), 10).await, Ok(()));
    }

    #[test]
    fn connections_count_by_address_and_by_network() {
        let room = Room::new(100, 10, 2);
        let enter = |address: &str| room.enter(address.parse().unwrap());
        let (first, second) = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(first.is_some() && second.is_some() && enter("2001:db8::3").is_none());
        assert!(enter("2001:db8:0:1::1").is_some() && enter("10.0.0.1").is_some());
        drop(first);
        assert!(enter("2001:db8::3").is_some());
        for n in 0..10_000_u32 {
            drop(room.enter(std::net::Ipv4Addr::from_bits(n).into()));
        }
        let kept = room.clients.lock().unwrap().by_address.len();
        assert!(kept <= 2 * SWEEP, "{kept} addresses of clients that are gone");
    }
}
