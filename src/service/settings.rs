//! What a group's state machine must know, resolved from the configuration.
use crate::model::{ClientRules, SiteName};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    Refuse,
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConcurrent {
    Apply,
    Quarantine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDivergence {
    /// Each is quarantined, following goes on.
    Quarantine,
    /// It stops until a person looks when so many of the last `of` outcomes that were compared differ.
    Stop { differ: u32, of: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    Accept,
    Refuse,
}

/// All durations in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    pub me: SiteName,
    /// Sites that hold a replica of this group, this one included where it does. Sorted.
    pub replicas: Vec<SiteName>,
    /// Sites in order of preference as deciders, `local` resolved to `me`.
    pub order: Vec<SiteName>,
    pub answer_after_ms: u64,
    /// A try at the service that lasts longer says that it hangs.
    pub within_ms: u64,
    /// A replica further behind than this does not decide.
    pub lag_ms: u64,
    /// Bounds every wait of a client.
    pub total_ms: u64,
    /// The longest time the service may still be working on a request: the fence of a write in doubt.
    pub longest_request_ms: u64,
    /// How long a lane waits for an unknown write after its fence.
    pub hold_ms: u64,
    /// The service honours `Idempotency-Key` itself.
    pub idempotent: bool,
    pub has_probe: bool,
    /// POSTs that only their path names make something new, whatever they were answered before.
    pub creates: bool,
    /// What names the client that brings a key (`idempotency.client`).
    pub clients: ClientRules,
    /// Statuses after which the service says that nothing was executed (`outcome.unexecuted`).
    pub unexecuted: Vec<u16>,
    pub when_down: WhenDown,
    /// `replicate = "all"`: every outcome is shadowed.
    pub replicate_all: bool,
    /// The answer's body must be equal too when outcomes are compared.
    pub compare_body: bool,
    pub on_concurrent: OnConcurrent,
    pub on_divergence: OnDivergence,
    /// Of each minute so much may go into trying shadows again in vain, alone (`replay.alone`).
    pub alone_ms: u64,
    pub on_unreachable: OnUnreachable,
    /// Receipts by peers for which an answer waits while one is connected.
    pub ack_peers: u8,
    pub key_ttl_ms: u64,
    pub retain_ms: u64,
    /// Answers larger than this are not put into pages.
    pub answer_max: usize,
    pub limits: Limits,
    /// A deliberate error that the simulation must find.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<Bug>,
}

/// Deliberate errors, each of which the simulation must find. Never compiled into the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    ResendUnknown,
    IgnoreAfter,
    AfterAtAccept,
    DeciderDoesNotWait,
    /// A wish is decided by a replica that has not decided what it must come after.
    LaggingReplicaDecides,
    /// A shadow is taken for a copy because a hint names another write of its key.
    FingerprintProves,
    /// A newer write does not wait for queued ones.
    QueueOvertaken,
    /// `after` names the own series only.
    OtherSitesIgnored,
    /// An unknown write may be sent again at once when the probe does not find it.
    NoFence,
    /// What a probe saw before the fence ended counts when it is told later.
    ProbeBelievedEarly,
    /// A refused write is shipped and followed.
    RefusalFollowed,
    /// A wish that is said to be void is sent all the same.
    RevokedWishKept,
    /// Copies of a key are one write whatever their requests say.
    CopiesDespiteDigest,
    /// What does not fit into the follower's window is dropped.
    DropAtFullWindow,
    /// A shadow that its service failed counts as applied.
    OtherClassIgnored,
    /// The next write of a lane does not wait for the one that another site was asked to decide.
    LaneFreeDuringWish,
    /// A key is free when its time is over, although another site has not decided its write.
    KeyExpiresWhileOwed,
    /// A key is free when its time is over, although nobody knows what became of its write.
    KeyExpiresWhileOpen,
    /// A decision that comes late is applied over later writes of its lane.
    LatePutApplied,
    /// A store that was put back to an older copy goes on as if nothing had happened, and gives numbers again.
    NumberReusedAfterRestore,
    /// A broken record that is fetched again counts as one of which nothing was begun here.
    BrokenTakenForNew,
    /// Of two orders about one write at once both are carried out.
    ContraryOrders,
    /// What is decided here beyond an open position is sent after that position too.
    GapsWaitedFor,
    /// A late word is made a decision of before what it comes after is here.
    LateWordAtOnce,
    /// What comes after a write that was applied ahead of its position does not name it.
    AheadNotNamed,
    /// A write that its follower refuses stops following there: two sites that do so to each other decide nothing any
    /// more.
    DivergenceStops,
    /// What is sent again after later writes of its lane is applied over them.
    ResendOverLater,
    /// A recorded answer is given to whoever brings key and request.
    AnswerToAStranger,
}

impl Settings {
    /// A lane waits so long, and no longer, for the word about a write that another site was asked to decide.
    pub(crate) fn give_up_ms(&self) -> u64 {
        self.longest_request_ms + self.hold_ms
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
    #[cfg(not(feature = "planted-bugs"))]
    #[inline(always)]
    pub(crate) fn has_bug(&self, _bug: Bug) -> bool {
        false
    }
}

/// G6: every queue has a limit. At a limit new work is refused, what was accepted is never dropped.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Client writes and wishes that are not settled yet.
    pub open_writes: usize,
    pub open_bytes: usize,
    /// Copies that wait for the same key.
    pub waiters_per_key: usize,
    /// Fingerprints in the ring.
    pub ring: usize,
    pub page_items: usize,
    pub page_bytes: usize,
    /// Items of one series in memory that wait to be applied.
    pub window_items: usize,
    /// Shadows at the service at the same time.
    pub shadows: usize,
    /// The same while clients write here (`replay.share`).
    pub shadows_beside_writes: usize,
    /// Lanes whose last writes are remembered to find concurrent ones.
    pub lanes: usize,
    /// Keys whose hashes are kept in memory.
    pub keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_writes: 16_384,
            open_bytes: 64 << 20,
            waiters_per_key: 32,
            ring: 65_536,
            page_items: 256,
            page_bytes: 1 << 20,
            window_items: 1_024,
            shadows: 16,
            shadows_beside_writes: 4,
            lanes: 65_536,
            keys: 4_000_000,
        }
    }
}
