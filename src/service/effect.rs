//! Everything a group's state machine can want.
use std::sync::Arc;

use super::{Message, ReqId};
use crate::dedup::Fingerprint;
use crate::journal::{Find, Op};
use crate::model::{After, Answer, LogId, Problem, Request, SiteName, WriteId};

/// What a shadow carries beyond the original request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    pub original_ms: u64,
    pub original_status: u16,
    pub original_location: Option<Vec<u8>>,
}

/// Send this write to an endpoint of this site's replica, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub id: WriteId,
    /// Counts from 1 within a write; comes back in the result.
    pub attempt: u32,
    pub request: Arc<Request>,
    pub origin: SiteName,
    pub shadow: Option<Shadow>,
}

/// What a client, a reader or an operator gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// An answer of the service. `seen` is what it rests on.
    Answer {
        id: WriteId,
        answer: Arc<Answer>,
        replayed: bool,
        served_by: SiteName,
        seen: After,
    },
    /// 202: kept, will be sent.
    Queued {
        id: WriteId,
    },
    Problem {
        id: Option<WriteId>,
        problem: Problem,
    },
    /// A read may go on; `fresh` when the replica has decided what the reader has seen.
    Go {
        fresh: bool,
        /// What of that anybody can know: an answer carries on no more.
        seen: After,
    },
    /// The operator's order was carried out.
    Done,
    /// It could not be, and why.
    Rejected {
        why: String,
    },
    /// Of many orders.
    Orders(Ordered),
}

/// What became of one order about many writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ordered {
    pub done: u64,
    /// Were not in quarantine any more.
    pub gone: u64,
    /// What was rejected, and why: with what stands behind the first of them nothing was done, unless it was to be gone
    /// on.
    pub rejected: Vec<(WriteId, String)>,
    /// Nothing is wrong, but too much is under way: from the rejected one on once more in a moment.
    pub busy: bool,
}

/// Why a site does not decide any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverReason {
    /// It is not linked with this site.
    Link,
    /// Its service cannot be reached.
    Service,
    /// Its service is asked and does not answer.
    Hangs,
    /// It does not follow any more.
    Stopped,
    /// More than `answer.lag`.
    Behind,
    /// Nothing: one before it in `answer.order` can decide again.
    Order,
}

/// Things that are counted, shown or logged, never acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A client's write is in the journal; what was refused before is not.
    Accepted,
    /// One that was accepted is given up: it was sent nowhere, or nobody took it.
    Cancelled,
    /// An accepted write, once, wherever it was decided.
    Settled {
        verdict: crate::model::Verdict,
    },
    /// A write of another site is decided at this replica, for the first time.
    ShadowSettled {
        fate: crate::journal::Fate,
    },
    Duplicate,
    Replayed,
    Concurrent {
        id: WriteId,
        with: WriteId,
    },
    Unknown {
        id: WriteId,
        why: String,
    },
    /// Two sites took one key for different requests while they were cut off from each other: both are applied.
    KeyConflict {
        id: WriteId,
        with: WriteId,
    },
    /// A copy was answered otherwise at the other site, before the two knew of each other.
    AnsweredDifferently {
        id: WriteId,
        with: WriteId,
    },
    /// Other POSTs of its path go on beside it.
    StoodAside {
        id: WriteId,
    },
    Quarantined {
        id: WriteId,
        reason: crate::journal::QuarantineReason,
    },
    Divergence {
        id: WriteId,
    },
    /// What its decider knew nothing of is decided here: it is tried once more.
    TriedOnceMore {
        id: WriteId,
    },
    /// This site refused so many writes in lanes of which an entry stands in quarantine.
    RefusedBehind {
        count: u64,
    },
    Stopped {
        why: String,
    },
    /// Another site decides from now on, or none can be asked. `from`: who decided last, where that is another site
    /// than `to`; at the start nobody was.
    Failover {
        from: Option<SiteName>,
        to: Option<SiteName>,
        /// What is the matter with `from`.
        why: Option<FailoverReason>,
    },
    AskedOrigin,
    /// A peer's cursor or chain does not fit: one of the two was restored from a copy.
    Fork {
        peer: SiteName,
        log: LogId,
    },
    Invalid {
        peer: SiteName,
        why: String,
    },
    /// The record of this position is broken here, and asked for at other sites.
    Broken {
        log: LogId,
        position: u64,
    },
    /// It came again from another site; written anew if the journal finds that it fits.
    Mended {
        id: WriteId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Goes into the transaction of this event.
    Persist(Op),

    /// Have a connection to an endpoint of this site's replica: what finds none leaves nothing in the journal. Nothing
    /// is sent, so it waits for nothing; answered by [`super::Event::Ready`].
    Connect {
        id: WriteId,
        /// The number that the attempt will have.
        attempt: u32,
    },

    // Visible outside, or reading what was persisted: only after all that was persisted before is durable.
    Attempt(Attempt),
    Probe {
        id: WriteId,
        attempt: u32,
        request: Arc<Request>,
    },
    Reply {
        req: ReqId,
        reply: Reply,
    },
    Send {
        to: SiteName,
        message: Message,
    },

    // Harmless at any time.
    /// Who decides from now on: reads go there. `None`: nobody can be asked.
    Decider(Option<SiteName>),
    Publish(Fingerprint),
    Find {
        token: u64,
        find: Find,
    },
    /// Read the series from `from` on, at most so many items and bytes. With requests.
    ReadSeries {
        log: LogId,
        from: u64,
        items_max: usize,
        bytes_max: usize,
        for_peer: Option<SiteName>,
    },
    Note(Note),
}

impl Effect {
    /// Whether it has to wait until everything persisted before is durable.
    pub fn waits_for_disk(&self) -> bool {
        // Look-ups wait too, so that they see all that was persisted before.
        let at_once =
            matches!(self, Effect::Connect { .. } | Effect::Decider(_) | Effect::Publish(_) | Effect::Note(_));
        !at_once && !matches!(self, Effect::Persist(_))
    }
}
