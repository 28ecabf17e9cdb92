//! What clients may hold at the same time (G6, G9): bytes of bodies and of answers, connections, requests and reads
//! that other sites answer; all of them together, and one address alone.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body waits so long for others to end before it is refused; meanwhile its client is not read from.
const PATIENCE: Duration = Duration::from_secs(1);
/// Answers up to this are not counted: they cost about as much as the connection that they go to.
const SMALL_ANSWER: usize = 16 << 10;
/// Addresses that are gone are looked for when there are so many, and again at twice as many as were left.
const SWEEP: usize = 1024;

pub struct Room {
    bytes: Arc<Semaphore>,
    /// Bytes of answers that are held whole until their clients have taken them, and of those that wait for room among
    /// them.
    answers: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    share_bytes: usize,
    shares: Shares,
    clients: Mutex<Clients>,
}

#[derive(Default)]
struct Clients {
    by_address: HashMap<IpAddr, Weak<Share>>,
    sweep_at: usize,
}

/// What one address may have at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub connections: usize,
    /// Requests from their head to the last byte of their answer.
    pub requests: usize,
    /// Of them, reads that another site answers.
    pub elsewhere: usize,
}

/// What one address holds. A network of IPv6 counts as one: its hosts cost nothing.
#[derive(Debug)]
pub struct Share {
    bytes: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    connections: AtomicUsize,
    requests: Arc<Semaphore>,
    /// Refused ones whose answers are not taken yet: as many again.
    refusals: Arc<Semaphore>,
    elsewhere: Arc<Semaphore>,
}

impl Share {
    fn new(bytes: usize, shares: Shares) -> Self {
        let room = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            bytes: room(bytes),
            answers: room(bytes),
            connections: AtomicUsize::new(0),
            requests: room(shares.requests),
            refusals: room(shares.requests),
            elsewhere: room(shares.elsewhere),
        }
    }

    /// A place for one more request; `None`: this address has all that it may have.
    pub fn request(&self) -> Option<OwnedSemaphorePermit> {
        self.requests.clone().try_acquire_owned().ok()
    }

    /// The same for one that is refused.
    pub fn refusal(&self) -> Option<OwnedSemaphorePermit> {
        self.refusals.clone().try_acquire_owned().ok()
    }

    /// A place for one more read that another site answers.
    pub fn elsewhere(&self) -> Option<OwnedSemaphorePermit> {
        self.elsewhere.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
impl Default for Share {
    fn default() -> Self {
        Self::new(1 << 20, Shares { connections: 100, requests: 100, elsewhere: 100 })
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
    pub fn new(bytes: usize, longest: usize, shares: Shares) -> Self {
        let share_bytes = (bytes / 2).max(longest).clamp(1, Semaphore::MAX_PERMITS);
        let all = || Arc::new(Semaphore::new(bytes.max(share_bytes).min(Semaphore::MAX_PERMITS)));
        let waiting = Arc::new(Semaphore::new(share_bytes));
        Self { bytes: all(), answers: all(), waiting, share_bytes, shares, clients: Mutex::default() }
    }

    /// `None`: this address has all the connections that it may have.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let share = self.share(network(address));
        let before = share.connections.fetch_add(1, Ordering::Relaxed);
        let place = Place(share);
        (before < self.shares.connections).then_some(place)
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
        let share = Arc::new(Share::new(self.share_bytes, self.shares));
        clients.by_address.insert(address, Arc::downgrade(&share));
        share
    }

    /// Takes room for `count` more bytes of a body.
    pub async fn take(&self, share: &Share, held: &mut Bytes, count: usize) -> Result<(), Full> {
        take(&share.bytes, &self.bytes, held, count).await
    }

    /// Room for an answer that is there whole, until its client has taken it. `None`: it needs none. One that is longer
    /// than a client may have takes all of that.
    pub async fn take_answer(&self, share: &Share, count: usize) -> Result<Option<Bytes>, Full> {
        if count <= SMALL_ANSWER {
            return Ok(None);
        }
        // What waits is there whole too: only so much may.
        let count = u32::try_from(count.min(self.share_bytes)).map_err(|_| Full)?;
        let _waiting = self.waiting.try_acquire_many(count).map_err(|_| Full)?;
        let mut held = Bytes::default();
        take(&share.answers, &self.answers, &mut held, count as usize).await?;
        Ok(Some(held))
    }
}

async fn take(own: &Arc<Semaphore>, all: &Arc<Semaphore>, held: &mut Bytes, count: usize) -> Result<(), Full> {
    let count = u32::try_from(count).map_err(|_| Full)?;
    let waiting = async { (own.clone().acquire_many_owned(count).await, all.clone().acquire_many_owned(count).await) };
    let Ok((Ok(own), Ok(all))) = tokio::time::timeout(PATIENCE, waiting).await else { return Err(Full) };
    put(&mut held.own, own);
    put(&mut held.all, all);
    Ok(())
}

fn put(into: &mut Option<OwnedSemaphorePermit>, more: OwnedSemaphorePermit) {
    match into {
        Some(held) => held.merge(more),
        None => *into = Some(more),
    }
}

pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { connections: 2, requests: 2, elsewhere: 1 };

    #[tokio::test]
    async fn one_address_leaves_room_for_another_and_what_is_dropped_is_free() {
        let room = Room::new(100, 10, SHARES);
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
        let room = Room::new(1, 10, SHARES);
        let place = room.enter("::1".parse().unwrap()).unwrap();
        assert_eq!(room.take(place.share(), &mut Bytes::default(), 10).await, Ok(()));
    }

    #[tokio::test]
    async fn long_answers_wait_for_room_and_short_ones_do_not() {
        let room = Room::new(100 << 10, 10, SHARES);
        let one = room.enter("10.0.0.1".parse().unwrap()).unwrap();
        let first = room.take_answer(one.share(), 1 << 20).await.unwrap().expect("it has to have room");
        assert_eq!(room.take_answer(one.share(), 17 << 10).await.unwrap_err(), Full);
        assert!(room.take_answer(one.share(), SMALL_ANSWER).await.unwrap().is_none());
        let other = room.enter("10.0.0.2".parse().unwrap()).unwrap();
        assert!(room.take_answer(other.share(), 50 << 10).await.unwrap().is_some());
        drop(first);
        assert!(room.take_answer(one.share(), 50 << 10).await.unwrap().is_some());
    }

    #[test]
    fn one_address_has_so_many_requests_and_reads_elsewhere() {
        let room = Room::new(100, 10, SHARES);
        let one = room.enter("10.0.0.1".parse().unwrap()).unwrap();
        let (first, second) = (one.share().request(), one.share().request());
        assert!(first.is_some() && second.is_some() && one.share().request().is_none());
        let other = room.enter("10.0.0.2".parse().unwrap()).unwrap();
        assert!(other.share().request().is_some());
        let refused = (one.share().refusal(), one.share().refusal());
        assert!(refused.0.is_some() && refused.1.is_some() && one.share().refusal().is_none());
        drop(first);
        assert!(one.share().request().is_some());
        let read = one.share().elsewhere();
        assert!(read.is_some() && one.share().elsewhere().is_none());
    }

    #[test]
    fn connections_count_by_address_and_by_network() {
        let room = Room::new(100, 10, SHARES);
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
