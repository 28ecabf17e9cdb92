//! Whose key it is: what the records of a key say to the client that brings it. A recorded answer is for the client
//! that brought the same; a refusal holds its key against nobody else; what was, or may have been, executed is not
//! executed for another.
use std::collections::BTreeMap;

use super::accept::RETRY_AFTER_S;
use super::core::{Core, Cx, Work};
use super::write::{Stage, Write};
use super::{Bug, Found, NewWrite, Reply, ReqId, Sender};
use crate::journal::{Fate, Here, Origin, Row};
use crate::model::{Digest, Facts, HeldState, KeyHash, Outcome, Problem, Verdict, Who, WriteId};

/// What the records of a key say.
pub(crate) enum KeyState {
    New,
    OtherRequest,
    /// The same request of another client, executed or perhaps executed.
    OfAnother(HeldState),
    /// Perhaps another client's.
    InFlight(WriteId),
    /// With its position, where one is known.
    Recorded(WriteId, Outcome, Option<u64>),
    Unknown(WriteId),
}

/// What one record says of its key; what stands first counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Success,
    Recorded,
    InFlight,
    Unknown,
}

/// For whom a key is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub digest: Digest,
    pub who: Option<Who>,
}

/// A copy that came while another client's write was in flight: judged again when that ends.
pub(crate) struct Stranger {
    req: ReqId,
    id: WriteId,
    write: NewWrite,
}

impl Stranger {
    fn weight(&self) -> usize {
        self.write.request.weight()
    }
}

/// Copies of other clients' writes in flight, by the write.
#[derive(Default)]
pub(crate) struct Strangers(BTreeMap<WriteId, Vec<Stranger>>);

impl Strangers {
    fn of(&self, first: &WriteId) -> usize {
        self.0.get(first).map_or(0, Vec::len)
    }

    fn wait(&mut self, first: WriteId, stranger: Stranger) {
        self.0.entry(first).or_default().push(stranger);
    }

    fn take_all(&mut self, first: WriteId) -> Vec<Stranger> {
        self.0.remove(&first).unwrap_or_default()
    }

    fn take(&mut self, req: ReqId) -> Option<Stranger> {
        let place = |(first, waiting): (&WriteId, &Vec<Stranger>)| {
            Some((*first, waiting.iter().position(|stranger| stranger.req == req)?))
        };
        let (first, at) = self.0.iter().find_map(place)?;
        let waiting = self.0.get_mut(&first)?;
        let stranger = waiting.remove(at);
        if waiting.is_empty() {
            self.0.remove(&first);
        }
        Some(stranger)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Core {
    pub(super) fn asker(&self, write: &NewWrite) -> Asker {
        let who = write.facts.client.as_ref().map(|_| self.settings.clients.who(&write.request));
        Asker { digest: write.facts.digest, who }
    }

    pub(crate) fn who_of(&self, write: &Write) -> Option<Who> {
        let named = write.row.facts.client.as_ref().and(write.request.as_ref());
        named.map(|request| self.settings.clients.who(request))
    }

    /// Whether a write with these facts was brought by this client. Where the scope names the client already, nothing
    /// is compared.
    pub(crate) fn is_of(&self, facts: &Facts, who: Option<Who>) -> bool {
        let same = match (&facts.client, who) {
            (Some(mark), Some(who)) => mark.is(&who),
            (None, None) => true,
            _ => false,
        };
        same || self.bug(Bug::AnswerToAStranger)
    }

    /// What is known of a key here, for a client and its request: of several recorded answers success wins, then the
    /// lower log.
    pub(crate) fn key_state(&self, cx: &Cx, key: KeyHash, asker: Asker, rows: &[Found]) -> KeyState {
        let live = self.idempotency.keys.live(&key).iter().filter_map(|id| self.live.get(id)).map(Write::record);
        let live = live.map(|row| (self.completer.quarantine.contains(&row.id), row));
        let stored = rows.iter().filter(|found| found.row.facts.key == Some(key));
        let stored = stored.filter(|found| !self.live.contains_key(&found.row.id));
        let stored = stored.map(|found| (found.quarantined.is_some(), found.row.clone()));
        let mut other = false;
        let mut of_another: Option<HeldState> = None;
        let mut ahead_of_it: Option<WriteId> = None;
        let mut best: Option<(Rank, Row)> = None;
        for (is_open, row) in live.chain(stored) {
            let Some(rank) = self.rank(cx, &row, is_open) else { continue };
            let is_same = asker.digest == row.facts.digest;
            match (rank, self.is_of(&row.facts, asker.who)) {
                // Whatever it asks for: it may be refused, and then the key is free for others.
                (Rank::InFlight, false) => ahead_of_it = ahead_of_it.or(Some(row.id)),
                (Rank::Success | Rank::Recorded, false) if is_refusal(&row) => {}
                _ if !is_same => other = true,
                (Rank::Success, false) => of_another = Some(HeldState::Done),
                (_, false) => of_another = of_another.or(Some(HeldState::Unknown)),
                (rank, true) if best.as_ref().is_none_or(|(r, b)| (rank, row.id) < (*r, b.id)) => {
                    best = Some((rank, row));
                }
                _ => {}
            }
        }
        match (best, of_another, ahead_of_it) {
            (Some((Rank::Success | Rank::Recorded, row)), ..) => {
                // Where its origin settled it otherwise, that is not the place of what is told.
                let is_settled_so = row.told() == row.outcome.as_ref();
                let position = row.position.filter(|_| is_settled_so).map(|(position, _)| position);
                KeyState::Recorded(row.id, row.told().cloned().expect("recorded"), position)
            }
            (Some((Rank::InFlight, row)), ..) => KeyState::InFlight(row.id),
            (Some((Rank::Unknown, row)), ..) => KeyState::Unknown(row.id),
            (None, Some(state), _) => KeyState::OfAnother(state),
            (None, None, _) if other => KeyState::OtherRequest,
            (None, None, Some(first)) => KeyState::InFlight(first),
            (None, None, None) => KeyState::New,
        }
    }

    /// `None` when the key is free again.
    fn rank(&self, cx: &Cx, row: &Row, is_open: bool) -> Option<Rank> {
        let is_void = row.origin == Origin::Cancelled || matches!(row.here, Here::Decided(Fate::Void));
        if is_void || self.has_expired(cx, row, is_open) {
            return None;
        }
        let Some(outcome) = row.told() else {
            let unknown =
                self.live.get(&row.id).is_none_or(|w| matches!(w.stage, Stage::Unknown(_) | Stage::Decided(_)));
            return Some(if unknown { Rank::Unknown } else { Rank::InFlight });
        };
        match outcome.verdict {
            Verdict::Applied => Some(Rank::Success),
            Verdict::Duplicate if outcome.status < 400 => Some(Rank::Success),
            Verdict::Refused | Verdict::MayHaveApplied | Verdict::Duplicate => Some(Rank::Recorded),
            Verdict::Undecided => Some(Rank::Unknown),
            Verdict::NotExecuted | Verdict::Void => None,
        }
    }

    /// A second copy of a write in flight waits; there are not too many of them. Another client's learns nothing
    /// meanwhile.
    pub(super) fn wait_for_copy(&mut self, cx: &mut Cx, req: ReqId, id: WriteId, copy: NewWrite, first: WriteId) {
        let limits = &self.settings.limits;
        let who = self.asker(&copy).who;
        let is_own = self.live.get(&first).is_some_and(|write| self.is_of(&write.row.facts, who));
        let strangers = self.idempotency.strangers.of(&first);
        let (limit, no_room) = (limits.waiters_per_key, self.live.bytes() >= limits.open_bytes);
        let in_flight = Problem::KeyInFlight { retry_after_s: RETRY_AFTER_S };
        let problem = match self.live.get_mut(&first) {
            Some(write) if write.row.queued && is_own => return self.answer(cx, req, Reply::Queued { id: first }),
            Some(write) if write.copies() + strangers >= limit || (!is_own && no_room) => in_flight,
            Some(_) if !is_own => {
                let stranger = Stranger { req, id, write: copy };
                self.live.hold(Sender::default(), stranger.weight());
                return self.idempotency.strangers.wait(first, stranger);
            }
            Some(write) => {
                write.brought.clients.push(req);
                self.clients.wait_for(req, first);
                return;
            }
            None => Problem::OutcomeUnknown,
        };
        self.answer(cx, req, Reply::Problem { id: is_own.then_some(first), problem });
    }

    pub(crate) fn call_strangers(&mut self, first: WriteId) {
        if self.idempotency.strangers.of(&first) > 0 {
            self.agenda.push(Work::Strangers(first));
        }
    }

    /// The first has ended, or is where nobody knows: what that means for others who brought its key.
    pub(crate) fn judge_strangers(&mut self, cx: &mut Cx, first: WriteId) {
        for stranger in self.idempotency.strangers.take_all(first) {
            self.live.let_go(Sender::default(), stranger.weight());
            let Stranger { req, id, write } = stranger;
            if self.clients.contains(req) {
                self.consider(cx, req, id, write, false);
            }
        }
    }

    /// Its client has gone, or its time is over, while it waited for another client's write. Whether there was one.
    pub(super) fn take_stranger(&mut self, req: ReqId) -> bool {
        let Some(stranger) = self.idempotency.strangers.take(req) else { return false };
        self.live.let_go(Sender::default(), stranger.weight());
        true
    }
}

/// Its client was told no, and nothing was changed; with `replicate = "all"` replicas repeat even that.
pub(crate) fn is_refusal(row: &Row) -> bool {
    row.told().is_some_and(|told| match told.verdict {
        Verdict::Refused => true,
        Verdict::Applied | Verdict::Duplicate => matches!(told.status, 400..=499 | 501),
        Verdict::NotExecuted | Verdict::MayHaveApplied | Verdict::Undecided | Verdict::Void => false,
    })
}
