//! What sites say to each other over a link about one group. Losing any of it costs time only: every sender can say it
//! again from what it has stored.
use std::sync::Arc;

use wincode::{SchemaRead, SchemaWrite};

use crate::model::{
    After, Answer, Chain, Digest, Facts, HeldState, Item, KeyHash, LogId, Outcome, Request, SiteName, Verdict, Who,
    WriteId,
};

/// How far the sender is with one series. `received` confirms: everything up to it is stored durably there.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Cursor {
    pub log: LogId,
    /// The site that began the series.
    pub site: SiteName,
    pub received: u64,
    pub chain: Chain,
    pub decided: u64,
    /// "Send me what comes next, and what comes after that."
    pub want: bool,
    /// "What I had stored from this position on is broken: send it once more." 0: nothing is.
    pub again: u64,
}

/// Said when a link comes up, when something changed, and now and then.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Status {
    /// Counts what the sender has said in this life: an older one that was overtaken says nothing.
    pub count: u64,
    /// The sender's own log.
    pub log: LogId,
    /// The state of that log's store, by a number that none of its lives gives to a later state. To be remembered, but
    /// for 0.
    pub state: u64,
    /// The highest `state` that the sender has heard of each store of the receiver.
    pub heard: Vec<(LogId, u64)>,
    /// The sender's replica can decide: healthy, and no doubt about its state.
    pub healthy: bool,
    /// It follows no more because of divergences: it decides where nobody else can.
    pub last: bool,
    /// Its tries end without an answer, or last too long: others decide if they can.
    pub hangs: bool,
    /// Age of the oldest write that the sender's replica has received and not decided, milliseconds.
    pub lag_ms: u64,
    /// How much of the last minute went into trying again what its service refuses, milliseconds: no reason for others
    /// to decide.
    pub retried_ms: u64,
    pub cursors: Vec<Cursor>,
    /// Writes of sites that the sender cannot reach, named as decided: "tell me of them."
    pub missing: Vec<WriteId>,
}

/// Positions `(from, from + items.len()]` of a series.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Page {
    pub log: LogId,
    pub site: SiteName,
    pub from: u64,
    pub items: Vec<Arc<Item>>,
}

/// A write shipped to another site for it to decide.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Wish {
    pub id: WriteId,
    /// Counts from 1 within a write: a new attempt is a new wish.
    pub attempt: u32,
    /// Its origin's `answer.after`: void when nothing was heard of the origin for so long.
    pub after_ms: u64,
    pub facts: Facts,
    /// What its `after` must at least be.
    pub must: After,
    pub request: Arc<Request>,
    /// What `must` names and the decider has not confirmed.
    pub pages: Vec<Page>,
}

/// Where a wish stands at the site that was asked.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum WishWord {
    Stored,
    Sending,
    /// With the entries that the outcome's `after` names and the origin has not confirmed.
    Done {
        outcome: Outcome,
        pages: Vec<Page>,
    },
    Unknown,
    /// It will never be sent on this attempt.
    Void,
    /// This site's replica cannot take it; nothing was stored.
    NotHere,
    /// It will never be sent: another client's write of the same key and request was, or may have been, executed there.
    OfAnother(HeldState),
}

/// What a site knows of a key, for the client and the request that it was asked about.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Known {
    Nothing,
    /// The key stands for another request.
    OtherRequest,
    /// Another client's.
    OfAnother(HeldState),
    InFlight,
    Recorded {
        id: WriteId,
        verdict: Verdict,
        repeats: Option<WriteId>,
        /// In the series of its log; 0: not known.
        position: u64,
        /// Its entry, where the other side has not confirmed it.
        pages: Vec<Page>,
        answer: Option<Arc<Answer>>,
        /// What the answer rests on.
        seen: After,
    },
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Message {
    Status(Status),
    Page(Page),
    /// Said again after a connection was lost: a known one gets the word it has.
    Wish(Box<Wish>),
    /// Do not send it. Owed until it is answered with `Void`, `Done` or `Unknown`.
    Revoke {
        id: WriteId,
        attempt: u32,
    },
    Word {
        id: WriteId,
        attempt: u32,
        word: WishWord,
    },
    Question {
        token: u64,
        key: KeyHash,
        digest: Digest,
        /// Who brings it, where the key does not say so.
        who: Option<Who>,
    },
    Reply {
        token: u64,
        known: Known,
    },
    /// What the receiver's status asked for once more ([`Cursor::again`]).
    Again(Page),
    /// A write that was decided and has no position yet ([`Status::missing`]), of this site.
    Ahead {
        site: SiteName,
        /// At position 0.
        item: Arc<Item>,
    },
    /// "Where does it stand?" Asked every third of `answer.after` while nothing is known of the outcome.
    Ask {
        id: WriteId,
        attempt: u32,
    },
}
