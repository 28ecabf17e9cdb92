//! What stands at one position of a series, and what becomes of a write on the way there.
use std::sync::Arc;

use wincode::{SchemaRead, SchemaWrite};

use super::{After, Answer, Chain, ClientMark, Digest, KeyHash, Lane, Request, WriteId};

/// Of the writes that are unknown at a decider each item names so many, the latest.
pub const UNKNOWN_MAX: usize = 16;

/// What is known of a write from its acceptance on, the same at every site.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Facts {
    pub lane: Lane,
    /// `None` when the client named no key: such a write has no copies.
    pub key: Option<KeyHash>,
    pub digest: Digest,
    /// Who brought the key, where the scope does not name it already.
    pub client: Option<ClientMark>,
    /// Wall clock of the origin at acceptance, milliseconds since 1970. For display and `Holdfast-Original-Time` only.
    pub original_ms: u64,
    pub traceparent: Option<String>,
    /// Earlier writes of the key whose time was over at the origin when this one came: of these it is no copy.
    pub renews: Vec<WriteId>,
    /// A POST that makes something new at its path, and shares nothing with others of that path: while nobody knows
    /// what became of it, other such POSTs do not wait.
    pub creates: bool,
}

/// How a write was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, SchemaRead, SchemaWrite, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The decider's replica answered with success (or with anything, where `replicate = "all"`): followers apply it.
    Applied,
    /// A recorded answer that changed nothing.
    Refused,
    /// Answered without being executed; the key is released.
    NotExecuted,
    /// 500: answered, may have applied; in quarantine at its origin.
    MayHaveApplied,
    /// Unknown when its lane passed it; a decision may follow at a later position.
    Undecided,
    /// Known not to have been applied anywhere.
    Void,
    /// A copy of another write, which has the answer.
    Duplicate,
}

/// What a decider found out, or what an origin settled.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Fixed by the decider when it sent the write.
    pub after: After,
    /// The write of which this one is a copy; none where that was answered and may have been applied, or not (500).
    pub repeats: Option<WriteId>,
    /// Of the decider's answer; 0 where there was none.
    pub status: u16,
    /// What the client got; in pages up to `answer_max`.
    pub answer: Option<Arc<Answer>>,
    /// The answer is a probe's, not the write's own: followers have nothing to compare theirs with.
    pub told_by_probe: bool,
    /// Of what became of these its decider did not know when it sent the write, as far as it goes back.
    pub unknown: Vec<WriteId>,
}

impl Outcome {
    /// Nothing is known of it but this: no answer, no status.
    pub fn new(verdict: Verdict, after: After) -> Self {
        Self { verdict, after, repeats: None, status: 0, answer: None, told_by_probe: false, unknown: Vec::new() }
    }
    /// It was applied, or is a copy of one that was: that is what its client is told.
    pub fn is_success(&self) -> bool {
        match self.verdict {
            Verdict::Applied => true,
            Verdict::Duplicate => self.status < 400,
            Verdict::Refused | Verdict::NotExecuted | Verdict::MayHaveApplied | Verdict::Undecided | Verdict::Void => {
                false
            }
        }
    }
    /// It is the answer to whoever brings the key again.
    pub fn is_recorded(&self) -> bool {
        !matches!(self.verdict, Verdict::NotExecuted | Verdict::Undecided | Verdict::Void)
    }
    /// Whether it was applied, or is a copy of one that was, nobody can tell by it.
    pub fn tells_nothing(&self) -> bool {
        match self.verdict {
            Verdict::Undecided | Verdict::MayHaveApplied => true,
            Verdict::Duplicate => self.repeats.is_none(),
            Verdict::Applied | Verdict::Refused | Verdict::NotExecuted | Verdict::Void => false,
        }
    }
}

/// One position of a series: what a page carries.
#[derive(Clone, Debug, PartialEq, Eq, SchemaRead, SchemaWrite)]
pub struct Item {
    pub position: u64,
    /// Over this and all earlier positions.
    pub chain: Chain,
    pub id: WriteId,
    pub facts: Facts,
    pub outcome: Outcome,
    /// This is a decision about an earlier position of the same series, settled `Undecided` or `MayHaveApplied` then.
    pub decides: Option<(WriteId, u64)>,
    /// Present where followers must apply it.
    pub request: Option<Arc<Request>>,
}

impl Item {
    /// The chain over this position, given the one before. Taken over the facts that decide; contents have their own
    /// CRC.
    pub fn chain_over(previous: Chain, position: u64, id: WriteId, facts: &Facts, outcome: &Outcome) -> Chain {
        let decisive = (
            (position, id, facts.lane, facts.digest, facts.client),
            (outcome.verdict, &outcome.after, outcome.repeats, outcome.status),
        );
        previous.next(&wincode::serialize(&decisive).expect("plain data always serialises"))
    }
    /// What it costs to keep it, for limits in bytes.
    pub fn weight(&self) -> usize {
        let answer = self.outcome.answer.as_ref().map_or(0, |a| a.weight());
        256 + self.request.as_ref().map_or(0, |r| r.weight()) + answer
    }
    /// Whether followers apply it (skipped positions count as decided).
    pub fn is_followed(&self) -> bool {
        self.outcome.verdict == Verdict::Applied
    }
}
