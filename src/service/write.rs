//! A write while it is not final: what the journal knows of it, and where it stands in this life of the process.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Found, ReqId, Sender};
use crate::journal::{Fate, Here, Origin, Row, WishHeld};
use crate::model::{After, Answer, Chain, Facts, Outcome, Request, SiteName, Verdict, WriteId};

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

#[derive(Debug)]
pub struct Write {
    pub id: WriteId,
    pub facts: Facts,
    pub request: Option<Arc<Request>>,
    pub origin: Origin,
    pub wish: Option<WishHeld>,
    pub outcome: Option<Outcome>,
    /// As [`Row::ours`].
    pub ours: Option<Outcome>,
    pub position: Option<(u64, Chain)>,
    pub decides: Option<(WriteId, u64)>,
    pub settled_clock_ms: u64,

    pub role: Role,
    pub stage: Stage,
    pub sender: Sender,
    /// What its sender has for it, in bytes; 0: nothing is counted.
    pub charged: usize,
    /// What it must at least come after before this replica, or the asked one, may send it.
    pub must: After,
    /// Fixed when it was sent here.
    pub after: Option<After>,
    /// Of what became of these this replica did not know when it was sent here to be decided.
    pub unknown: Vec<WriteId>,
    /// A shadow that was sent here without these: its decider may have had them.
    pub without: Vec<WriteId>,
    pub attempts: u32,
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
    /// Somebody has to find it a decider.
    pub needs_place: bool,
    /// A 500 that a probe judges before anybody hears of it.
    pub judged: Option<Arc<Answer>>,
    /// When a person is no longer needed for an unknown outcome to hold up its lane; set by the first doubt.
    pub pass_at_ms: Option<u64>,
    /// The row (and request) is in the journal.
    pub stored: bool,
    /// Somebody has an address of it, or may have: what became of it stays known.
    pub is_told_of: bool,
    pub clients: Vec<ReqId>,
    /// The one that brought it; others are copies.
    pub first_client: Option<ReqId>,
    /// A POST that only its path names: whether it makes something new, its answer tells.
    pub may_create: bool,
    /// What its client has seen and this replica had not decided; waited for until `seen_until_ms`.
    pub seen: After,
    pub seen_until_ms: u64,
    pub refuse_stale: bool,
    /// Deciders that could not take it, this time round.
    pub tried: Vec<SiteName>,
    /// Wishes given up whose fate is not known: site and attempt.
    pub owed: BTreeMap<SiteName, u32>,
    /// Counts wishes over all sites.
    pub wish_attempts: u32,
    /// Its client has a 202: it must be sent, whatever becomes of those who ask again.
    pub queued: bool,
    /// Its client was lost in a restart while another site was asked: what it had seen is forgotten, so nobody else may
    /// decide.
    pub orphan: bool,
    /// Another site's write names it as decided before it.
    pub is_named: bool,
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
    /// Of another site's wish: the silence of its origin that makes it void, and when the origin asked last.
    pub silence_ms: u64,
    pub heard_ms: u64,
    /// And when its outcome was said last.
    pub done_said_ms: u64,
    /// The asked site said *unknown*: it goes on finding out, nobody else is asked.
    pub unknown_there: bool,
    /// A wish's outcome that waits for the entries it comes after.
    pub pending: Option<(SiteName, Outcome)>,
    pub accepted_ms: u64,
    /// A shadow that has stood in line for a place at the service.
    pub in_turn: bool,
    /// Of the lane: holds it as an own write.
    pub holds_lane: bool,
}

impl Write {
    pub fn new(id: WriteId, facts: Facts, request: Option<Arc<Request>>, role: Role, now_ms: u64) -> Self {
        Self {
            id,
            facts,
            request,
            origin: if role == Role::Own { Origin::Accepted } else { Origin::Foreign },
            wish: None,
            outcome: None,
            ours: None,
            position: None,
            decides: None,
            settled_clock_ms: 0,
            role,
            stage: Stage::Idle,
            must: After::new(),
            after: None,
            unknown: Vec::new(),
            without: Vec::new(),
            attempts: 0,
            sender: Sender::default(),
            charged: 0,
            refusals: 0,
            refused_with: 0,
            may_have_applied: false,
            is_concurrent: false,
            by_order: None,
            doubtful: false,
            needs_place: false,
            judged: None,
            pass_at_ms: None,
            stored: false,
            is_told_of: false,
            clients: Vec::new(),
            first_client: None,
            may_create: false,
            seen: After::new(),
            seen_until_ms: 0,
            refuse_stale: false,
            tried: Vec::new(),
            owed: BTreeMap::new(),
            wish_attempts: 0,
            queued: false,
            orphan: false,
            is_named: false,
            wished_after: Vec::new(),
            wished_ms: 0,
            leaving: false,
            said: 0,
            asked_ms: 0,
            silence_ms: 0,
            heard_ms: now_ms,
            done_said_ms: 0,
            unknown_there: false,
            pending: None,
            accepted_ms: now_ms,
            in_turn: false,
            holds_lane: false,
        }
    }

    pub fn recover(found: Found, now_ms: u64) -> Self {
        let Found { row, request, .. } = found;
        let is_applied = row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Applied);
        let role = match (&row.origin, &row.wish, &row.position) {
            (_, _, Some(_)) => Role::Shadow,
            // Told of ahead of its position, and not applied yet.
            (Origin::Foreign, Some(_), None) if is_applied && !matches!(row.here, Here::Decided(_)) => Role::Shadow,
            (Origin::Foreign | Origin::Cancelled, Some(_), None) => Role::Wish,
            (Origin::Foreign, None, None) => Role::Shadow,
            _ => Role::Own,
        };
        let mut write = Self::new(row.id, row.facts, request, role, now_ms);
        write.stage = match &row.here {
            Here::Decided(fate) => Stage::Decided(fate.clone()),
            Here::Untouched | Here::Sending { .. } => Stage::Idle,
        };
        if let Here::Sending { attempt, after } = row.here {
            (write.attempts, write.after) = (attempt, Some(after));
        }
        write.queued = row.queued;
        write.owed = row.owed.into_iter().collect();
        write.origin = row.origin;
        write.wish = row.wish;
        write.outcome = row.outcome;
        write.ours = row.ours;
        write.position = row.position;
        write.decides = row.decides;
        write.settled_clock_ms = row.settled_clock_ms;
        // Who was told what before is not remembered.
        (write.stored, write.is_told_of) = (true, true);
        write
    }

    pub fn row(&self) -> Row {
        let here = match &self.stage {
            Stage::Decided(fate) => Here::Decided(fate.clone()),
            Stage::Sending | Stage::Judging | Stage::Unknown(_) => self.here_sending(),
            // A doubtful write stays unknown over a crash, whatever it waits for now.
            Stage::Backoff { .. } | Stage::Waiting | Stage::Checking | Stage::Connecting if self.doubtful => {
                self.here_sending()
            }
            Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting | Stage::Backoff { .. } => {
                Here::Untouched
            }
        };
        Row {
            id: self.id,
            facts: self.facts.clone(),
            origin: self.origin.clone(),
            queued: self.queued,
            owed: self.owed.iter().map(|(site, attempt)| (site.clone(), *attempt)).collect(),
            wish: self.wish.clone(),
            here,
            outcome: self.outcome.clone(),
            ours: self.ours.clone(),
            position: self.position,
            decides: self.decides,
            settled_clock_ms: self.settled_clock_ms,
        }
    }

    fn here_sending(&self) -> Here {
        Here::Sending { attempt: self.attempts, after: self.after.clone().unwrap_or_default() }
    }

    pub fn is_final(&self) -> bool {
        self.row_is_final() && self.clients.is_empty()
    }

    fn row_is_final(&self) -> bool {
        let settled = matches!(self.origin, Origin::Foreign | Origin::Settled | Origin::Cancelled);
        let positioned = self.position.is_some() || self.origin == Origin::Cancelled;
        let owes = self.wish.as_ref().is_some_and(|wish| wish.owed_word.is_some());
        settled && positioned && !owes && matches!(self.stage, Stage::Decided(_))
    }

    /// Its origin settled it as something that followers do not apply: it is never sent here (again).
    pub fn is_unfollowed(&self) -> bool {
        self.position.is_some() && self.outcome.as_ref().is_some_and(|outcome| outcome.verdict != Verdict::Applied)
    }

    /// As [`Row::awaits_decision`]; also while a person's order is carried out, which may make the decision: what names
    /// the write must not be applied before it (G3).
    pub fn awaits_decision(&self) -> bool {
        let decided =
            matches!(&self.stage, Stage::Decided(fate) if !matches!(fate, Fate::Skipped | Fate::Quarantined(_)));
        !decided && self.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Undecided)
    }

    /// It is not on its way to this replica, and nobody has told what became of it elsewhere.
    pub fn may_be_placed(&self) -> bool {
        let waits = matches!(self.stage, Stage::Idle | Stage::Waiting);
        self.role == Role::Own && waits && !self.doubtful && self.position.is_none()
    }

    /// Clients that repeat what another one has brought, and wait for its answer.
    pub fn copies(&self) -> usize {
        self.clients.iter().filter(|client| self.first_client != Some(**client)).count()
    }

    /// Nothing was sent anywhere: it can be given up without anybody noticing.
    pub fn is_unsent(&self) -> bool {
        let nowhere = matches!(self.origin, Origin::Accepted | Origin::Here);
        let waiting = matches!(self.stage, Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting);
        nowhere && waiting && !self.queued && !self.doubtful && self.owed.is_empty() && self.outcome.is_none()
    }

    /// Of a write that is given up, never sent anywhere, and of which nobody has an address, the journal keeps nothing.
    pub fn leaves_nothing(&self) -> bool {
        self.role == Role::Own && !self.is_told_of && !self.queued && self.wish_attempts == 0 && self.owed.is_empty()
    }

    /// Nobody was asked before, and this replica is about to be.
    pub fn is_at_first_try(&self) -> bool {
        self.stage == Stage::Sending && self.attempts == 1 && !self.doubtful && self.wish_attempts == 0
    }

    /// Whether this site has wished it of another one since it began.
    pub fn was_asked_of(&self, other: &SiteName) -> bool {
        let now = matches!(&self.origin, Origin::Wished { site, .. } if site == other);
        now || self.owed.contains_key(other) || self.tried.contains(other)
    }

    /// Its lane has passed it: it is settled as undecided, or was handed to a person.
    pub fn has_passed(&self) -> bool {
        matches!(self.stage, Stage::Decided(Fate::Quarantined(_)))
    }

    /// What its lane holds it may overwrite; a POST adds to it.
    pub fn overwrites(&self) -> bool {
        self.request.as_ref().is_some_and(|request| matches!(request.method.as_str(), "PUT" | "PATCH" | "DELETE"))
    }

    /// Where it stands, in a word for people.
    pub fn stage_name(&self) -> &'static str {
        match (self.role, &self.stage, &self.origin) {
            (Role::Own, Stage::Sending, _) => "sending",
            (Role::Own | Role::Wish, Stage::Judging, _) => "judging",
            (Role::Own, Stage::Unknown(_), _) => "unknown",
            (Role::Own, _, Origin::Queued) => "queued",
            (Role::Own, _, Origin::Wished { revoked: false, .. }) => "wished",
            (Role::Own, _, Origin::Wished { revoked: true, .. }) => "wish-revoked",
            (Role::Own, _, _) => "accepted",
            (Role::Wish, Stage::Sending, _) => "wish-sending",
            (Role::Wish, Stage::Unknown(_), _) => "wish-unknown",
            (Role::Wish, Stage::Decided(_), _) => "wish-decided",
            (Role::Wish, _, _) => "wish-held",
            (Role::Shadow, Stage::Sending, _) => "shadow-sending",
            (Role::Shadow, Stage::Unknown(_), _) => "shadow-unknown",
            (Role::Shadow, Stage::Backoff { .. }, _) => "shadow-backoff",
            (Role::Shadow, Stage::Decided(_), _) => "decided",
            (Role::Shadow, _, _) => "shadow-waiting",
            (Role::Ordered, Stage::Decided(_), _) => "decided",
            (Role::Ordered, _, _) => "ordered",
        }
    }

    pub fn weight(&self) -> usize {
        512 + self.request.as_ref().map_or(0, |r| r.weight())
    }

    /// What this replica must have decided before the write may be sent here.
    pub fn comes_after(&self) -> &After {
        match (self.role, &self.outcome) {
            (Role::Shadow, Some(outcome)) => &outcome.after,
            _ => &self.must,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{item, log, request};

    #[test]
    fn a_write_weighs_as_much_as_its_request_and_what_is_kept_of_it() {
        let item = item(log(1), 1, 100);
        let facts = || item.facts.clone();
        let without = Write::new(item.id, facts(), None, Role::Own, 0);
        let with = Write::new(item.id, facts(), item.request.clone(), Role::Own, 0);
        assert_eq!((without.weight(), with.weight()), (512, 512 + item.request.expect("it has one").weight()));
        assert!(request("POST", "/").weight() < 512);
    }

    /// What is owed to its origin keeps it.
    #[test]
    fn a_write_is_final_when_it_is_settled_positioned_decided_and_owes_nothing() {
        let item = item(log(2), 1, 0);
        let held = WishHeld::new(SiteName::new("b"), 1);
        type Change = fn(&mut Write);
        let changes: [(Change, bool); 6] = [
            (|_| (), true),
            (|write| write.position = None, false),
            (|write| write.stage = Stage::Waiting, false),
            (|write| write.clients.push(ReqId(1)), false),
            (|write| write.origin = Origin::Here, false),
            (|write| write.wish.as_mut().expect("it is one").owed_word = write.outcome.clone(), false),
        ];
        for (number, (change, is_final)) in changes.into_iter().enumerate() {
            let mut write = Write::new(item.id, item.facts.clone(), None, Role::Wish, 0);
            write.position = Some((1, Chain::default()));
            write.stage = Stage::Decided(Fate::Applied);
            write.outcome = Some(item.outcome.clone());
            write.wish = Some(held.clone());
            change(&mut write);
            assert_eq!(write.is_final(), is_final, "{number}");
        }
    }
}
