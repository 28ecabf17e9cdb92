//! What of a write is not durable, by whom it concerns.
use std::sync::Arc;

use super::Order;
use crate::model::{After, Answer, Outcome, SiteName, WriteId};
use crate::service::{ReqId, Sender};

/// What this replica has tried of it.
#[derive(Debug, Default)]
pub struct Tries {
    pub attempts: u32,
    /// Fixed when it was sent here.
    pub after: Option<After>,
    /// Of what became of these this replica did not know when it was sent here to be decided.
    pub unknown: Vec<WriteId>,
    /// A shadow that was sent here without these: its decider may have had them.
    pub without: Vec<WriteId>,
    /// Answers, in this life, after which it was, or is, tried again.
    pub refusals: u32,
    pub refused_with: u16,
    /// One of them may have been given after it was applied: 500.
    pub may_have_applied: bool,
    /// It was counted as concurrent.
    pub is_concurrent: bool,
    /// A person ordered it to be sent.
    pub by_order: Option<Order>,
    /// An attempt may have been applied and nothing has disproved it.
    pub doubtful: bool,
    /// A 500 that a probe judges before anybody hears of it.
    pub judged: Option<Arc<Answer>>,
    /// When a person is no longer needed for an unknown outcome to hold up its lane; set by the first doubt.
    pub pass_at_ms: Option<u64>,
    /// A shadow that has stood in line for a place at the service.
    pub in_turn: bool,
}

/// How an own write finds a site that decides it.
#[derive(Debug, Default)]
pub struct Placing {
    /// Somebody has to find it a decider.
    pub needed: bool,
    /// Deciders that could not take it, this time round.
    pub tried: Vec<SiteName>,
    /// Counts wishes over all sites.
    pub wish_attempts: u32,
    /// Its client was lost in a restart while another site was asked: what it had seen is forgotten, so nobody else may
    /// decide.
    pub orphan: bool,
    /// Wishes decided here, of positions that were not known when the first site was asked.
    pub wished_after: Vec<WriteId>,
    /// When the asked site was heard of it last; before that, when the present wish had left.
    pub wished_ms: u64,
    /// Of the present wish: it is still on its way out, so that its site cannot have spoken.
    pub leaving: bool,
    /// How often it was said over a connection without a word of its site.
    pub said: u32,
    /// When its site was asked last where it stands.
    pub asked_ms: u64,
    /// The asked site said *unknown*: it goes on finding out, nobody else is asked.
    pub unknown_there: bool,
    /// A wish's outcome that waits for the entries it comes after.
    pub pending: Option<(SiteName, Outcome)>,
}

/// Of another site's wish: what its origin heard, and when it was heard of.
#[derive(Debug, Default)]
pub struct Asker {
    /// The silence of its origin that makes it void.
    pub silence_ms: u64,
    /// When the origin asked last.
    pub heard_ms: u64,
    /// When its outcome was said last.
    pub done_said_ms: u64,
}

/// Who brought it, and who waits for its answer.
#[derive(Debug, Default)]
pub struct Brought {
    pub accepted_ms: u64,
    pub sender: Sender,
    /// What its sender has for it, in bytes; 0: nothing is counted.
    pub charged: usize,
    pub clients: Vec<ReqId>,
    /// The one that brought it; others are copies.
    pub first_client: Option<ReqId>,
    /// Somebody has an address of it, or may have: what became of it stays known.
    pub is_told_of: bool,
    /// A POST that only its path names: whether it makes something new, its answer tells.
    pub may_create: bool,
    /// What its client has seen and this replica had not decided; waited for until `seen_until_ms`.
    pub seen: After,
    pub seen_until_ms: u64,
    pub refuse_stale: bool,
}

impl Brought {
    pub fn at(accepted_ms: u64) -> Self {
        Self { accepted_ms, ..Self::default() }
    }
}
