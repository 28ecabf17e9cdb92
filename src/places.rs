//! Places for connections of whoever comes: where all are taken, the one that has waited longest without work makes
//! room for the newest. Who only holds a place can so keep out nobody else.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections that stand, the oldest first.
pub(crate) struct Places {
    most: usize,
    /// So many of them for connections without work.
    idle_most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    of: BTreeMap<u64, (Arc<AtomicUsize>, Arc<Notify>)>,
}

pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    /// What is being worked on for this connection.
    busy: Arc<AtomicUsize>,
    /// Somebody else needs the place more.
    leave: Arc<Notify>,
}

impl Places {
    pub fn new(most: usize) -> Self {
        Self::with_idle(most, most)
    }

    pub fn with_idle(most: usize, idle_most: usize) -> Self {
        Self { most, idle_most, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if need be that of the oldest connection that has no work; `None` where all have some.
    pub fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken();
        let mut idle = taken.of.iter().filter(|(_, (busy, _))| busy.load(Relaxed) == 0).map(|(number, _)| *number);
        if taken.of.len() >= self.most || idle.clone().nth(self.idle_most.saturating_sub(1)).is_some() {
            let idle = idle.next()?;
            if let Some((_, leave)) = taken.of.remove(&idle) {
                leave.notify_one();
            }
        }
        let (number, busy, leave) = (taken.next, Arc::<AtomicUsize>::default(), Arc::new(Notify::new()));
        taken.next += 1;
        taken.of.insert(number, (busy.clone(), leave.clone()));
        Some(Place { places: self.clone(), number, busy, leave })
    }
}

impl Place {
    pub fn in_work(&self) -> InWork {
        InWork(self.busy.clone())
    }

    /// Comes when the connection has to go, so that another one may have its place.
    pub async fn is_needed(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().of.remove(&self.number);
    }
}

/// Says that something is worked on for a connection: who has not come so far yet keeps nobody out.
#[derive(Clone)]
pub(crate) struct InWork(Arc<AtomicUsize>);

pub(crate) struct Busy(Arc<AtomicUsize>);

impl InWork {
    pub fn begin(&self) -> Busy {
        self.0.fetch_add(1, Relaxed);
        Busy(self.0.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_without_work_makes_room_and_who_works_stays() {
        let places = Arc::new(Places::new(2));
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        let busy = first.in_work().begin();
        let third = places.take().unwrap();
        second.is_needed().await;
        let _working = third.in_work().begin();
        assert!(places.take().is_none());
        drop(busy);
        assert!(places.take().is_some());
        first.is_needed().await;
        // What has left its place to another gives back nothing that is not its own.
        drop((first, second));
        assert!(places.taken().of.len() <= 2);
    }

    #[tokio::test]
    async fn who_has_no_work_yet_takes_no_more_than_is_meant_for_such() {
        let places = Arc::new(Places::with_idle(10, 2));
        let working: Vec<_> =
            (0..5).map(|_| places.take().unwrap()).map(|place| (place.in_work().begin(), place)).collect();
        let (first, second) = (places.take().unwrap(), places.take().unwrap());
        let third = places.take().unwrap();
        first.is_needed().await;
        let _busy = third.in_work().begin();
        let _fourth = places.take().unwrap();
        assert_eq!(places.taken().of.len(), 8);
        drop((working, second));
    }
}
