//! As what a write is sent to this replica, and where it stands there.
use crate::journal::Fate;

/// As what a write is sent to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its own origin decides here.
    Own,
    /// Another site wished that we decide.
    Wish,
    /// It was decided; this replica follows.
    Shadow,
    /// A person ordered it, after its lane had passed it.
    Ordered,
}

/// What a person wants of a write that is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Resend,
    /// Whatever of its lane was applied since.
    OverLater,
}

/// An unknown outcome, and what is still tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Until then the service may still be working on an earlier try.
    pub fence_until_ms: u64,
    /// Until then it may be working on the last try. Later than the fence where a service may see a write again while
    /// it works.
    pub worked_until_ms: u64,
    /// From then on it is not tried again, and the lane waits only for what is being worked on.
    pub pass_at_ms: u64,
    /// Next probe or resend.
    pub next_ms: u64,
    /// When the probe that is under way was sent off.
    pub asked_ms: Option<u64>,
}

/// Where it stands at this replica, in this life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not to be sent here, now.
    Idle,
    /// Waits for what it must come after, for its lane, or for the replica.
    Waiting,
    /// Has its lane; the journal is asked for copies of its key.
    Checking,
    /// Has its lane, and waits for a connection. Nothing of this is durable.
    Connecting,
    Sending,
    /// Answered 500; the probe is asked whether it was applied.
    Judging,
    Backoff {
        until_ms: u64,
    },
    Unknown(Doubt),
    Decided(Fate),
}
