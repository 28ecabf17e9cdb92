//! What is known of another site that holds a replica of the group.
use std::collections::BTreeMap;

use crate::model::{Chain, LogId};

/// How far a peer is with one series, as it said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCursor {
    pub received: u64,
    pub chain: Chain,
    pub decided: u64,
    pub want: bool,
    /// Pages up to here were sent on this connection.
    pub sent: u64,
    /// It asked for a page from here on once more; 0 where it did not, or has it.
    pub again: u64,
    /// A read for the next page is under way.
    pub reading: bool,
    /// When `received` advanced last: pages that were lost are sent again.
    pub progress_ms: u64,
}

impl PeerCursor {
    /// So many more items are on their way. Time without progress counts from the first of them.
    pub fn send(&mut self, items: usize, now_ms: u64) {
        if self.sent <= self.received {
            self.progress_ms = now_ms;
        }
        self.sent += items as u64;
    }
}

#[derive(Debug, Default)]
pub struct Peer {
    pub linked: bool,
    pub healthy: bool,
    /// It stopped following because of divergences, as it said.
    pub last: bool,
    /// Its tries end without an answer, as it said.
    pub hangs: bool,
    /// When it said anything last.
    pub heard_ms: u64,
    pub lag_ms: u64,
    pub retried_ms: u64,
    /// Its own log, as it said.
    pub log: Option<LogId>,
    /// Of the latest status on this connection.
    pub status_count: u64,
    /// When words and revocations that it owes an answer to were said last.
    pub words_said_ms: u64,
    pub cursors: BTreeMap<LogId, PeerCursor>,
}

impl Peer {
    /// A connection begins, or is gone: what was asked for over it is not owed any more.
    pub fn wants_nothing(&mut self) {
        for cursor in self.cursors.values_mut() {
            (cursor.sent, cursor.reading, cursor.want, cursor.again) = (cursor.received, false, false, 0);
        }
    }
}
