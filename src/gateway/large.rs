//! Room for long answers to writes while they come in, and answers too large to keep, held for a moment for the client
//! that waits for them. Memory only: after a crash the retry gets 409 `replay-unavailable`, as every retry does.
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::WriteId;

/// Bounded in bytes, over all that comes in, waits, and goes out. The oldest that waits goes first. Few at a time, so a
/// list is enough.
pub struct LargeAnswers {
    room: Arc<Semaphore>,
    held: Mutex<VecDeque<(WriteId, Large)>>,
}

/// A whole answer, and the room that it takes for as long as it lives.
pub struct Large {
    pub body: Bytes,
    pub room: Option<OwnedSemaphorePermit>,
}

impl LargeAnswers {
    pub fn new(bytes_max: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))), held: Mutex::default() }
    }

    /// Room for `count` more bytes, if need be that of answers which nobody has come for. Whether there is so much.
    pub fn grow(&self, room: &mut Option<OwnedSemaphorePermit>, count: usize) -> bool {
        let Ok(count) = u32::try_from(count) else { return false };
        loop {
            match (self.room.clone().try_acquire_many_owned(count), &mut *room) {
                (Ok(more), Some(room)) => room.merge(more),
                (Ok(more), none) => *none = Some(more),
                (Err(_), _) => match self.lock().pop_front() {
                    Some(_) => continue,
                    None => return false,
                },
            }
            return true;
        }
    }

    pub fn put(&self, id: WriteId, large: Large) {
        let mut held = self.lock();
        held.retain(|(other, _)| *other != id);
        held.push_back((id, large));
    }

    pub fn take(&self, id: WriteId) -> Option<Large> {
        let mut held = self.lock();
        let at = held.iter().position(|(other, _)| *other == id)?;
        held.remove(at).map(|(_, large)| large)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(WriteId, Large)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    fn id(n: u64) -> WriteId {
        WriteId { log: LogId { store: [0; 16], incarnation: 1 }, n }
    }

    fn put(large: &LargeAnswers, n: u64, body: &'static [u8]) -> bool {
        let mut room = None;
        let has_room = large.grow(&mut room, body.len());
        if has_room {
            large.put(id(n), Large { body: Bytes::from_static(body), room });
        }
        has_room
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_bytes_and_each_is_taken_once() {
        let large = LargeAnswers::new(10);
        assert!(put(&large, 1, b"12345") && put(&large, 2, b"12345") && put(&large, 3, b"1"));
        assert!(large.take(id(1)).is_none());
        let taken = large.take(id(2)).unwrap();
        assert_eq!(taken.body, "12345");
        assert!(large.take(id(2)).is_none());
        assert!(!put(&large, 4, b"12345678901"), "it never fits");
        // What is on its way to a client has its room still.
        assert!(!put(&large, 5, b"123456"));
        drop(taken);
        assert!(put(&large, 5, b"123456"));
    }
}
