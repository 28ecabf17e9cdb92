//! The records of the journal and the changes a state machine asks for.
use std::sync::Arc;

use wincode::{SchemaRead, SchemaWrite};

use crate::model::{After, Answer, Chain, Facts, HeldState, Item, LogId, Outcome, Request, SiteName, Verdict, WriteId};

/// What the origin has done with its own write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Origin {
    /// Another log's write.
    Foreign,
    /// Not sent anywhere yet; after a crash it is cancelled, nobody was told of it.
    Accepted,
    /// Not sent anywhere yet and answered 202: it must be sent.
    Queued,
    /// This site's replica decides.
    Here,
    /// Shipped as a wish; `revoked` when the origin gave up on that site.
    Wished { site: SiteName, attempt: u32, revoked: bool },
    /// Has a position.
    Settled,
    /// Never sent; the client was told so.
    Cancelled,
}

/// A wish that another site shipped here.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct WishHeld {
    pub from: SiteName,
    pub attempt: u32,
    /// Revoked, too old, or received before a restart: it will never be sent on this attempt.
    pub void: bool,
    /// Void because another client's write of its key and request was, or may have been, executed here.
    pub of_another: Option<HeldState>,
    /// What this site answered, where its origin settled the write as undecided: owed to it until its decision comes.
    pub owed_word: Option<Outcome>,
}

impl WishHeld {
    pub fn new(from: SiteName, attempt: u32) -> Self {
        Self { from, attempt, void: false, of_another: None, owed_word: None }
    }
}

/// How this replica stands with a write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Here {
    /// Nothing was sent.
    Untouched,
    /// May have been sent: durable before the first byte leaves. Found after a crash it means *unknown*. `after` was
    /// fixed in the same transaction.
    Sending { attempt: u32, after: After },
    /// Holds up nothing any more.
    Decided(Fate),
}

/// What a replica decided about a write.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub enum Fate {
    Applied,
    /// Asked, and it changed nothing.
    Refused,
    /// A position that is not to be followed.
    Skipped,
    /// A copy of a write that this replica has applied, or may have.
    Duplicate(WriteId),
    /// Will never be sent here.
    Void,
    Quarantined(QuarantineReason),
}

/// Why no rule can decide.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, SchemaRead, SchemaWrite, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantineReason {
    UnknownOutcome,
    MayHaveApplied,
    Divergence,
    /// Applied here although its origin settled it otherwise.
    Contrary,
    ConcurrentWrites,
    LateDecision,
    Damaged,
    Hole,
    /// A person took it out of the way of others.
    SetAside,
    /// Another client's write of the same key and request was executed here.
    KeyOfAnother,
}

impl QuarantineReason {
    pub const ALL: [QuarantineReason; 10] = [
        QuarantineReason::UnknownOutcome,
        QuarantineReason::MayHaveApplied,
        QuarantineReason::Divergence,
        QuarantineReason::Contrary,
        QuarantineReason::ConcurrentWrites,
        QuarantineReason::LateDecision,
        QuarantineReason::Damaged,
        QuarantineReason::Hole,
        QuarantineReason::SetAside,
        QuarantineReason::KeyOfAnother,
    ];
    /// In the tables: never given another meaning. What is added here is added to [`QuarantineReason::ALL`] too.
    pub(super) fn number(self) -> i64 {
        match self {
            QuarantineReason::UnknownOutcome => 0,
            QuarantineReason::MayHaveApplied => 1,
            QuarantineReason::Divergence => 2,
            QuarantineReason::Contrary => 3,
            QuarantineReason::ConcurrentWrites => 4,
            QuarantineReason::LateDecision => 5,
            QuarantineReason::Damaged => 6,
            QuarantineReason::Hole => 7,
            QuarantineReason::SetAside => 8,
            QuarantineReason::KeyOfAnother => 9,
        }
    }
}

/// Sites that were given up on, with the try, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Owed(Vec<(SiteName, u32)>);

impl Owed {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn get(&self, site: &SiteName) -> Option<u32> {
        self.iter().find(|(owed, _)| owed == site).map(|(_, attempt)| *attempt)
    }
    pub fn first(&self) -> Option<&(SiteName, u32)> {
        self.0.first()
    }
    pub fn iter(&self) -> impl Iterator<Item = &(SiteName, u32)> {
        self.0.iter()
    }
    pub fn insert(&mut self, site: SiteName, attempt: u32) {
        self.remove(&site);
        let at = self.0.partition_point(|(other, _)| *other < site);
        self.0.insert(at, (site, attempt));
    }
    pub fn remove(&mut self, site: &SiteName) {
        self.0.retain(|(other, _)| other != site);
    }
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The small, changing part of a write's record; the request is kept apart and never rewritten.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Row {
    pub id: WriteId,
    pub facts: Facts,
    pub origin: Origin,
    /// Its client has a 202: it must be sent in the end.
    pub queued: bool,
    /// Sites that were given up on, with the try: until they say that it is void there, each may have decided it.
    pub owed: Owed,
    pub wish: Option<WishHeld>,
    pub here: Here,
    pub outcome: Option<Outcome>,
    /// What was recorded here before its origin settled it otherwise: clients of this site may have been told (G4).
    pub ours: Option<Outcome>,
    pub position: Option<(u64, Chain)>,
    pub decides: Option<(WriteId, u64)>,
    /// The retention clock when it was settled or decided: milliseconds this node has been running, over all its lives.
    pub settled_clock_ms: u64,
}

impl Row {
    /// Of a write that nothing is known of yet but who made it.
    pub fn new(id: WriteId, facts: Facts, origin: Origin) -> Self {
        Self {
            id,
            facts,
            origin,
            queued: false,
            owed: Owed::default(),
            wish: None,
            here: Here::Untouched,
            outcome: None,
            ours: None,
            position: None,
            decides: None,
            settled_clock_ms: 0,
        }
    }
    /// The outcome that clients of this site are told: of two success counts, then what was recorded here first (G4).
    pub fn told(&self) -> Option<&Outcome> {
        let (Some(ours), Some(theirs)) = (&self.ours, &self.outcome) else { return self.outcome.as_ref() };
        Some(if ours.is_success() || !theirs.is_success() { ours } else { theirs })
    }
    /// The item of this row's position, as pages carry it. `None` before it has one.
    pub fn item(&self, request: Option<Arc<Request>>) -> Option<Item> {
        let (position, chain) = self.position?;
        let outcome = self.outcome.clone()?;
        Some(Item { position, chain, id: self.id, facts: self.facts.clone(), outcome, decides: self.decides, request })
    }
    /// This site's replica was the decider, and refused it. Of a wish that was decided here the origin's position says
    /// nothing new.
    pub(super) fn is_refusal_of_decider(&self) -> bool {
        let decided_here = self.origin == Origin::Settled || (self.wish.is_some() && self.position.is_none());
        decided_here && self.here == Here::Decided(Fate::Refused)
    }
    /// Settled as undecided: a decision will follow at a later position. Who names such a write by id has seen it
    /// applied, so it does, whatever this replica knows of it.
    pub fn awaits_decision(&self) -> bool {
        let open = matches!(self.here, Here::Untouched | Here::Decided(Fate::Skipped | Fate::Quarantined(_)));
        open && self.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Undecided)
    }
    /// Nothing is left to be done with it at this site but to keep it for answers and peers.
    pub fn is_final(&self) -> bool {
        let settled = matches!(self.origin, Origin::Foreign | Origin::Settled | Origin::Cancelled);
        let positioned = self.position.is_some() || matches!(self.origin, Origin::Cancelled);
        let owes = self.wish.as_ref().is_some_and(|wish| wish.owed_word.is_some());
        settled && positioned && !owes && matches!(self.here, Here::Decided(_))
    }
}

/// How far one series has come at this site.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct SeriesMeta {
    pub log: LogId,
    pub site: SiteName,
    /// All positions up to here are stored (for the own series: settled).
    pub received: u64,
    pub chain: Chain,
    /// All positions up to here are decided at this replica.
    pub decided: u64,
    /// Rows up to here were forgotten.
    pub forgotten: u64,
    /// Numbers, with positions (0: not known), of writes whose recorded success was told here before this replica
    /// decided them: what its clients send next comes after them (G3). Some may be decided by now.
    pub told: Vec<(u64, u64)>,
    /// What other sites have confirmed of it. For people alone: nothing is decided by it, for a peer may have been put
    /// back to an older copy since. May lag behind by a second.
    pub confirmed: Vec<Confirmed>,
}

/// So much of a series a site has confirmed as stored, and as decided at its replica.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Confirmed {
    pub site: SiteName,
    pub received: u64,
    pub decided: u64,
}

/// A write that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Quarantined {
    pub id: WriteId,
    pub reason: QuarantineReason,
    /// What was seen, for the person who decides.
    pub detail: String,
    /// Wall clock, milliseconds since 1970; 0 where the journal holds no entry: its record is broken, and this one was
    /// made at a start.
    pub since_ms: u64,
    /// Status that this replica answered; 0 where it did not.
    pub status: u16,
    /// What this replica answered, where it is short enough to be kept for a person.
    pub answer: Option<Arc<Answer>>,
    /// The first of its lane that stood in quarantine when this one came: it may be its cause. The journal writes it.
    pub behind: Option<WriteId>,
    /// Writes of which its decider did not know what had become of them when it sent this one, and that were not
    /// decided here when it was tried: when they are, it is tried once more.
    pub unknown: Vec<WriteId>,
}

impl Quarantined {
    pub fn is_written(&self) -> bool {
        self.reason != QuarantineReason::Damaged || self.since_ms > 0
    }
    pub fn new(id: WriteId, reason: QuarantineReason, detail: String, since_ms: u64) -> Self {
        Self { id, reason, detail, since_ms, status: 0, answer: None, behind: None, unknown: Vec::new() }
    }
}

/// Why following stopped at a replica; over restarts too, until a person resumes.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Stop {
    pub kind: StopKind,
    /// Shown to a person.
    pub why: String,
}

/// The later one outranks the earlier: who has looked at differences has not looked at doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, SchemaRead, SchemaWrite, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// Too many outcomes differed (`on_divergence`). The replica is chosen last as a decider; when it is chosen, it
    /// follows what the write must come after.
    Divergences,
    /// What its service holds nobody knows: it neither decides nor takes wishes.
    Doubt,
}

/// What tells whether this store was put back to an older copy of itself: see `service/restored.rs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Age {
    /// Where the store lay when it was written ([`super::Recovered::place`]); 0 when that is not known.
    pub place: u64,
    /// No life of this store has told others of a state with this number or a higher one.
    pub said_below: u64,
    /// The highest number of a state heard of each store of each site, latest stores last; may lag behind by a block.
    pub heard: Vec<(SiteName, LogId, u64)>,
}

impl Age {
    /// No file lies there: written when a peer has told that this store is stale, so that no later start takes it for
    /// current.
    pub const NOWHERE: u64 = 1;
    pub const PLACES_FROM: u64 = 2;
}

/// One change of the durable state of a group. All ops of one handled event go into one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Insert the request of a write; never changed afterwards.
    Request(WriteId, Arc<Request>),
    /// Insert or replace the row of a write.
    Row(Box<Row>),
    /// Insert or replace how far a series has come.
    Series(SeriesMeta),
    Quarantine(Quarantined),
    Release(WriteId),
    /// Delete the request of a write and keep its row: for what no follower needs and no person can order to be sent
    /// again, as a refusal. Nothing happens where it is not there.
    DropRequest(WriteId),
    /// Delete the row, the request and the quarantine entry of a write without a position, as if it had never come: for
    /// what was never sent anywhere. Nothing happens where it is not there.
    Erase(WriteId),
    /// Delete rows and requests of this series up to this position whose `settled_clock_ms` is at most `older_than_ms`.
    Forget {
        log: LogId,
        up_to: u64,
        older_than_ms: u64,
    },
    /// Delete the rows and requests of own cancelled writes as old as this.
    ForgetCancelled {
        older_than_ms: u64,
    },
    /// Stops or resumes following at this replica.
    Stopped(Option<Stop>),
    Age(Age),
    /// Write the row and the request of a position anew, as another site has them, where the record is broken and its
    /// neighbours' chain proves that this was the one; else change nothing. `witnesses`: chains of this position and of
    /// those after it, each of which follows from the one before.
    Mend {
        row: Box<Row>,
        request: Option<Arc<Request>>,
        witnesses: Vec<(u64, Chain)>,
    },
}

impl Op {
    /// What it costs to keep it until it is durable, for limits in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Op::Request(_, request) => 64 + request.weight(),
            Op::Row(row) => {
                let outcomes = row.outcome.iter().chain(&row.ours);
                let weight = |o: &Outcome| o.after.weight() + o.answer.as_ref().map_or(0, |answer| answer.weight());
                512 + outcomes.map(weight).sum::<usize>()
            }
            Op::Quarantine(entry) => {
                let answer = entry.answer.as_ref().map_or(0, |answer| answer.weight());
                256 + entry.detail.len() + answer + 32 * entry.unknown.len()
            }
            Op::Stopped(stop) => 64 + stop.as_ref().map_or(0, |stop| stop.why.len()),
            Op::Mend { row, request, witnesses } => {
                let parts = [Op::Row(row.clone()).weight(), 16 * witnesses.len()];
                parts.iter().sum::<usize>() + request.as_ref().map_or(0, |request| request.weight())
            }
            Op::Age(age) => 64 + 64 * age.heard.len(),
            Op::Series(_)
            | Op::Release(_)
            | Op::DropRequest(_)
            | Op::Erase(_)
            | Op::Forget { .. }
            | Op::ForgetCancelled { .. } => 128,
        }
    }
}
