//! Answers too large to keep (§9.9), held for a moment for the client that waits for them. Memory only: after a crash the
//! retry gets 409 `replay-unavailable`, as every retry does.
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::model::WriteId;

/// Bounded in bytes; the oldest goes first. Few at a time, so a list is enough.
pub struct LargeAnswers {
    bytes_max: usize,
    held: Mutex<VecDeque<(WriteId, Bytes)>>,
}

impl LargeAnswers {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: Mutex::default() }
    }

    pub fn put(&self, id: WriteId, body: Bytes) {
        let mut held = self.lock();
        held.retain(|(other, _)| *other != id);
        held.push_back((id, body));
        while held.iter().map(|(_, body)| body.len()).sum::<usize>() > self.bytes_max {
            held.pop_front();
        }
    }

    pub fn take(&self, id: WriteId) -> Option<Bytes> {
        let mut held = self.lock();
        let at = held.iter().position(|(other, _)| *other == id)?;
        held.remove(at).map(|(_, body)| body)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(WriteId, Bytes)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogId;

    #[test]
    fn the_oldest_goes_when_there_are_too_many_bytes_and_each_is_taken_once() {
        let id = |n| WriteId { log: LogId { store: [0; 16], incarnation: 1 }, n };
        let large = LargeAnswers::new(10);
        large.put(id(1), Bytes::from_static(b"12345"));
        large.put(id(2), Bytes::from_static(b"12345"));
        large.put(id(3), Bytes::from_static(b"1"));
        assert_eq!(large.take(id(1)), None);
        assert_eq!(large.take(id(2)), Some(Bytes::from_static(b"12345")));
        assert_eq!(large.take(id(2)), None);
        large.put(id(4), Bytes::from_static(b"12345678901"));
        assert_eq!(large.take(id(4)), None);
    }
}
