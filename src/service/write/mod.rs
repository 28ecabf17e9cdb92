//! A write while it is not final: what the journal knows of it, and where it stands in this life of the process.
mod parts;
mod stage;

use std::sync::Arc;

use super::Found;
use crate::journal::{Fate, Here, Origin, Row};
use crate::model::{After, Facts, Request, SiteName, Verdict, WriteId};

pub use parts::{Asker, Brought, Placing, Tries};
pub use stage::{Doubt, Order, Role, Stage};

#[derive(Debug)]
pub struct Write {
    /// What the journal keeps of it, but [`Row::here`], which stays untouched in memory: where it stands at this
    /// replica `stage` and `tries` tell ([`Write::record`]).
    pub row: Row,
    pub request: Option<Arc<Request>>,
    /// The row (and request) is in the journal.
    pub stored: bool,
    pub role: Role,
    pub stage: Stage,
    /// What it must at least come after before this replica, or the asked one, may send it.
    pub must: After,
    pub tries: Tries,
    pub placing: Placing,
    pub asker: Asker,
    pub brought: Brought,
    /// Another site's write names it as decided before it.
    pub is_named: bool,
    /// It holds its lane, as an own write.
    pub holds_lane: bool,
}

impl Write {
    pub fn new(id: WriteId, facts: Facts, request: Option<Arc<Request>>, role: Role, now_ms: u64) -> Self {
        let origin = if role == Role::Own { Origin::Accepted } else { Origin::Foreign };
        Self::of(Row::new(id, facts, origin), request, role, now_ms)
    }

    fn of(row: Row, request: Option<Arc<Request>>, role: Role, now_ms: u64) -> Self {
        Self {
            row,
            request,
            stored: false,
            role,
            stage: Stage::Idle,
            must: After::new(),
            tries: Tries::default(),
            placing: Placing::default(),
            asker: Asker { heard_ms: now_ms, ..Asker::default() },
            brought: Brought::at(now_ms),
            is_named: false,
            holds_lane: false,
        }
    }

    pub fn recover(found: Found, now_ms: u64) -> Self {
        let Found { mut row, request, .. } = found;
        let here = std::mem::replace(&mut row.here, Here::Untouched);
        let is_applied = row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Applied);
        let role = match (&row.origin, &row.wish, &row.position) {
            (_, _, Some(_)) => Role::Shadow,
            // Told of ahead of its position, and not applied yet.
            (Origin::Foreign, Some(_), None) if is_applied && !matches!(here, Here::Decided(_)) => Role::Shadow,
            (Origin::Foreign | Origin::Cancelled, Some(_), None) => Role::Wish,
            (Origin::Foreign, None, None) => Role::Shadow,
            _ => Role::Own,
        };
        let mut write = Self::of(row, request, role, now_ms);
        match here {
            Here::Decided(fate) => write.stage = Stage::Decided(fate),
            Here::Sending { attempt, after } => (write.tries.attempts, write.tries.after) = (attempt, Some(after)),
            Here::Untouched => {}
        }
        // Who was told what before is not remembered.
        (write.stored, write.brought.is_told_of) = (true, true);
        write
    }

    /// What the journal is to keep of it now.
    pub fn record(&self) -> Row {
        let here = match &self.stage {
            Stage::Decided(fate) => Here::Decided(fate.clone()),
            Stage::Sending | Stage::Judging | Stage::Unknown(_) => self.here_sending(),
            // A doubtful write stays unknown over a crash, whatever it waits for now.
            Stage::Backoff { .. } | Stage::Waiting | Stage::Checking | Stage::Connecting if self.tries.doubtful => {
                self.here_sending()
            }
            Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting | Stage::Backoff { .. } => {
                Here::Untouched
            }
        };
        Row { here, ..self.row.clone() }
    }

    fn here_sending(&self) -> Here {
        Here::Sending { attempt: self.tries.attempts, after: self.tries.after.clone().unwrap_or_default() }
    }

    pub fn is_final(&self) -> bool {
        self.row_is_final() && self.brought.clients.is_empty()
    }

    fn row_is_final(&self) -> bool {
        let settled = matches!(self.row.origin, Origin::Foreign | Origin::Settled | Origin::Cancelled);
        let positioned = self.row.position.is_some() || self.row.origin == Origin::Cancelled;
        let owes = self.row.wish.as_ref().is_some_and(|wish| wish.owed_word.is_some());
        settled && positioned && !owes && matches!(self.stage, Stage::Decided(_))
    }

    /// Its origin settled it as something that followers do not apply: it is never sent here (again).
    pub fn is_unfollowed(&self) -> bool {
        self.row.position.is_some()
            && self.row.outcome.as_ref().is_some_and(|outcome| outcome.verdict != Verdict::Applied)
    }

    /// As [`Row::awaits_decision`]; also while a person's order is carried out, which may make the decision: what names
    /// the write must not be applied before it (G3).
    pub fn awaits_decision(&self) -> bool {
        let decided =
            matches!(&self.stage, Stage::Decided(fate) if !matches!(fate, Fate::Skipped | Fate::Quarantined(_)));
        !decided && self.row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Undecided)
    }

    /// It is not on its way to this replica, and nobody has told what became of it elsewhere.
    pub fn may_be_placed(&self) -> bool {
        let waits = matches!(self.stage, Stage::Idle | Stage::Waiting);
        self.role == Role::Own && waits && !self.tries.doubtful && self.row.position.is_none()
    }

    /// Clients that repeat what another one has brought, and wait for its answer.
    pub fn copies(&self) -> usize {
        self.brought.clients.iter().filter(|client| self.brought.first_client != Some(**client)).count()
    }

    /// Nothing was sent anywhere: it can be given up without anybody noticing.
    pub fn is_unsent(&self) -> bool {
        let nowhere = matches!(self.row.origin, Origin::Accepted | Origin::Here);
        let waiting = matches!(self.stage, Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting);
        nowhere
            && waiting
            && !self.row.queued
            && !self.tries.doubtful
            && self.row.owed.is_empty()
            && self.row.outcome.is_none()
    }

    /// Of a write that is given up, never sent anywhere, and of which nobody has an address, the journal keeps nothing.
    pub fn leaves_nothing(&self) -> bool {
        self.role == Role::Own
            && !self.brought.is_told_of
            && !self.row.queued
            && self.placing.wish_attempts == 0
            && self.row.owed.is_empty()
    }

    /// Nobody was asked before, and this replica is about to be.
    pub fn is_at_first_try(&self) -> bool {
        self.stage == Stage::Sending
            && self.tries.attempts == 1
            && !self.tries.doubtful
            && self.placing.wish_attempts == 0
    }

    /// Whether this site has wished it of another one since it began.
    pub fn was_asked_of(&self, other: &SiteName) -> bool {
        let now = matches!(&self.row.origin, Origin::Wished { site, .. } if site == other);
        now || self.row.owed.get(other).is_some() || self.placing.tried.contains(other)
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
        match (self.role, &self.stage, &self.row.origin) {
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
        match (self.role, &self.row.outcome) {
            (Role::Shadow, Some(outcome)) => &outcome.after,
            _ => &self.must,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::WishHeld;
    use crate::model::Chain;
    use crate::service::ReqId;
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
            (|write| write.row.position = None, false),
            (|write| write.stage = Stage::Waiting, false),
            (|write| write.brought.clients.push(ReqId(1)), false),
            (|write| write.row.origin = Origin::Here, false),
            (|write| write.row.wish.as_mut().expect("it is one").owed_word = write.row.outcome.clone(), false),
        ];
        for (number, (change, is_final)) in changes.into_iter().enumerate() {
            let mut write = Write::new(item.id, item.facts.clone(), None, Role::Wish, 0);
            write.row.position = Some((1, Chain::default()));
            write.stage = Stage::Decided(Fate::Applied);
            write.row.outcome = Some(item.outcome.clone());
            write.row.wish = Some(held.clone());
            change(&mut write);
            assert_eq!(write.is_final(), is_final, "{number}");
        }
    }
}
