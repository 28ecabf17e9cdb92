//! Everything a group's state machine can learn.
use std::sync::Arc;

use super::Message;
use crate::dedup::Fingerprint;
use crate::journal::{Found, Quarantined};
use crate::model::{After, Answer, Facts, Item, LogId, Request, SiteName, WriteId};

/// The time, twice: monotonic since this process began for every decision, wall for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    pub mono_ms: u64,
    /// Milliseconds since 1970. Written down, never compared for safety.
    pub wall_ms: u64,
    /// The retention clock: milliseconds this node has been running, over all its lives.
    pub clock_ms: u64,
}

/// A client that waits; unique within one life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReqId(pub u64);

/// A client's write as the gateway read it.
#[derive(Clone, Debug)]
pub struct NewWrite {
    /// [`Facts::creates`] says of it only that it may: a POST that nothing but its path names.
    pub facts: Facts,
    pub request: Arc<Request>,
    /// What the client has seen (`Holdfast-Seen`).
    pub seen: After,
    /// `stale = "refuse"`: answer 503 rather than go on without what was seen.
    pub refuse_stale: bool,
    pub sender: Sender,
}

/// The client address that a write came from, so that what one takes is counted apart (G9). Known in this life alone; 0
/// is nobody in particular, of whom nothing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender(pub u64);

/// What became of one attempt at an endpoint. All endpoints were tried when it says `NeverSent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// No byte of the request left this machine, or the endpoint proved that it did not take it.
    NeverSent {
        why: String,
    },
    Answered(Arc<Answer>),
    /// It did nothing and never will: no request can be made of it, or it came back to where it had been. The answer is
    /// our own.
    Refused(Arc<Answer>),
    /// Reset, timeout or truncation after the first byte was sent.
    Broken {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// 2xx: applied, and this is the outcome.
    Applied(Arc<Answer>),
    /// 404.
    NotFound,
    /// Anything else says nothing.
    Nothing,
}

/// What the journal was asked when it met a broken record.
#[derive(Clone, Debug)]
pub enum Asked {
    ForFollower,
    ForPeer(SiteName),
    LookUp { token: u64, find: super::Find },
}

/// What a person decided about a quarantined write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// "It was applied": record it so.
    Applied,
    /// "It was not applied, send it now."
    Resend,
    /// The same, over whatever of its lane was applied since.
    ResendOverLater,
    /// "It was not applied and shall not be."
    Discard,
    /// Follow again after a stop.
    Resume,
}

#[derive(Clone, Debug)]
pub enum Event {
    /// A client's write. `id` is fresh: never used before, by any life of this log.
    Submit {
        req: ReqId,
        id: WriteId,
        write: NewWrite,
    },
    /// Whoever waited for an answer has gone. A hint: what it waits for is bounded all the same.
    Left {
        req: ReqId,
    },
    /// A read that must wait until this replica has decided `seen`.
    AwaitSeen {
        req: ReqId,
        seen: After,
        deadline_ms: u64,
    },
    /// Answer to [`super::Effect::Connect`]; `Err`: why there is no connection.
    Ready {
        id: WriteId,
        attempt: u32,
        result: Result<(), String>,
    },
    Attempted {
        id: WriteId,
        attempt: u32,
        result: AttemptResult,
    },
    /// `attempt`: the try after which it was asked.
    Probed {
        id: WriteId,
        attempt: u32,
        result: ProbeResult,
    },
    /// Answer to [`super::Effect::Find`]: all rows that matched.
    Found {
        token: u64,
        rows: Vec<Found>,
    },
    /// Answer to [`super::Effect::ReadSeries`]: dense from `from` on, empty when there is nothing.
    SeriesRead {
        log: LogId,
        from: u64,
        items: Vec<Arc<Item>>,
        for_peer: Option<SiteName>,
    },
    /// The journal cannot answer: the record of this position is broken.
    Broken {
        log: LogId,
        position: u64,
        /// Its entry in quarantine, if it has one that can be read.
        entry: Option<Box<Quarantined>>,
        asked: Asked,
    },
    /// Answer to [`crate::journal::Op::Forget`]: keys ([`crate::model::KeyHash::short`]) that are gone with their rows.
    Forgotten {
        keys: Vec<u64>,
    },
    /// The endpoints of this site's replica are healthy, or not.
    Health {
        healthy: bool,
    },
    LinkUp {
        peer: SiteName,
    },
    LinkDown {
        peer: SiteName,
    },
    Message {
        from: SiteName,
        message: Message,
    },
    /// What became of a wish on its way out: all of it has left but for what the line itself holds, or it was given up
    /// (a limit, a stream that stood still): then it may have come all the same. [`Event::LinkDown`] says it of all
    /// that was under way.
    WishLeft {
        to: SiteName,
        id: WriteId,
        attempt: u32,
        whole: bool,
    },
    /// A hint from the control plane (G7: decides nothing).
    Fingerprint(Fingerprint),
    Operator {
        req: ReqId,
        id: Option<WriteId>,
        operation: Operation,
    },
    /// One order about many writes that stand in quarantine, at most [`super::ORDERS_MAX`]. They are carried out one
    /// after the other as they stand here, up to the first that is rejected, or all that are not.
    Orders {
        req: ReqId,
        ids: Vec<WriteId>,
        operation: Operation,
        keep_going: bool,
    },
    /// A deadline has passed, or simply some time.
    Tick,
}
