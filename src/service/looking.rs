//! Questions to the journal that are under way, and what goes on with each answer.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::core::{Core, Cx};
use super::late::Late;
use super::recent::{Changes, RECENT, Recent};
use super::whose::Asker;
use super::{Effect, Find, Found, NewWrite, Operation, ReqId, Wish};
use crate::model::{Item, KeyHash, Outcome, SiteName, WriteId};

/// A look-up in the journal that is under way, and what goes on afterwards.
pub(crate) enum Looking {
    Submit {
        req: ReqId,
        id: WriteId,
        write: NewWrite,
        asked: bool,
    },
    /// Copies of the key of a write that has its lane.
    Copies(WriteId),
    /// Whether this id is decided here.
    Dependency(WriteId),
    /// Whether the position of this id is stored here.
    Named(WriteId),
    Wish {
        from: SiteName,
        wish: Box<Wish>,
    },
    Revoke {
        from: SiteName,
        id: WriteId,
        attempt: u32,
    },
    Question {
        from: SiteName,
        token: u64,
        key: KeyHash,
        asker: Asker,
    },
    /// Copies of a write that turned out void: they have to be applied after all.
    Reopen(WriteId),
    /// As before, when its key is known.
    ReopenCopies(WriteId),
    /// The write that a late decision is about.
    Decision(Arc<Item>),
    /// A quarantined write that a person decides about.
    Operator {
        /// None: a copy of what a person discarded.
        req: Option<ReqId>,
        id: WriteId,
        operation: Operation,
    },
    /// Whether an undecided write about which a person has given an order was decided just now.
    Undecided {
        req: Option<ReqId>,
        found: Box<Found>,
        operation: Operation,
    },
    /// Whether what divergences wait for is decided here.
    Unknown(WriteId),
    /// One of many writes that a person decides about with one order.
    Order {
        orders: u64,
        id: WriteId,
    },
    Late(Box<Late>),
    /// Whether its origin had made a decision before this site owed its word.
    Heard(WriteId),
    /// Another site's write that was decided without a position; then the write that it decides.
    Ahead {
        site: SiteName,
        item: Arc<Item>,
        looks_at_old: bool,
    },
    /// A wish whose outcome came after it was settled.
    LateWord {
        id: WriteId,
        outcome: Outcome,
    },
}

impl Looking {
    /// What a person ordered, and for which write.
    pub(crate) fn order(&self) -> Option<(Option<ReqId>, WriteId)> {
        match self {
            Looking::Operator { req, id, .. } => Some((*req, *id)),
            Looking::Undecided { req, found, .. } => Some((*req, found.row.id)),
            _ => None,
        }
    }

    /// The foreign write of which its origin, or who decided it, has said something.
    fn said_by_origin(&self) -> Option<WriteId> {
        match self {
            Looking::Wish { wish, .. } => Some(wish.id),
            Looking::Revoke { id, .. } => Some(*id),
            Looking::Ahead { item, .. } => Some(item.id),
            _ => None,
        }
    }
}

/// The questions that are under way, each under a number of its own, and what changed since they were asked.
#[derive(Default)]
pub(crate) struct LookUps {
    last_token: u64,
    under_way: BTreeMap<u64, Looking>,
    /// Foreign writes that the journal is asked for by their wish, its revocation, or what was told of them ahead.
    by_origin: BTreeMap<WriteId, u64>,
    /// Keys of writes that left memory lately, with the last token given before: what a look-up of them found since is
    /// stale.
    left: VecDeque<(u64, KeyHash)>,
    changes: Changes,
    /// Decided lately and no longer live: a look-up under way may still ask for them.
    recently_final: Recent,
}

impl LookUps {
    /// A number that no other question of this life has.
    pub fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// A question is asked. The later word of the same origin counts: what went on with an earlier one is forgotten.
    pub fn begin(&mut self, then: Looking) -> u64 {
        let token = self.token();
        if let Some(earlier) = then.said_by_origin().and_then(|id| self.by_origin.insert(id, token)) {
            self.under_way.remove(&earlier);
        }
        self.under_way.insert(token, then);
        token
    }

    /// Its answer has come.
    pub fn end(&mut self, token: u64) -> Option<Looking> {
        let looking = self.under_way.remove(&token)?;
        if let Some(id) = looking.said_by_origin() {
            self.by_origin.remove(&id);
        }
        Some(looking)
    }

    pub fn get(&self, token: u64) -> Option<&Looking> {
        self.under_way.get(&token)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Looking> {
        self.under_way.values()
    }

    /// What its origin said of a foreign write, for which the journal is being asked.
    pub fn word_of_origin(&self, id: &WriteId) -> Option<&Looking> {
        self.by_origin.get(id).and_then(|token| self.under_way.get(token))
    }

    /// What was found would be out of date.
    pub fn forget_word_of_origin(&mut self, id: &WriteId) {
        if let Some(token) = self.by_origin.remove(id) {
            self.under_way.remove(&token);
        }
    }

    /// What was asked of the journal before does not know of it.
    pub fn key_left_memory(&mut self, key: KeyHash) {
        self.left.push_back((self.last_token, key));
        if self.left.len() > RECENT {
            self.left.pop_front();
        }
    }

    pub fn has_left_since(&self, token: u64, key: KeyHash) -> bool {
        let since = self.left.iter().rev().take_while(|(given, _)| *given >= token);
        since.into_iter().any(|(_, other)| *other == key)
    }

    /// An entry of the quarantine changed, which only the journal holds.
    pub fn entry_changed(&mut self, id: WriteId) {
        self.changes.push(self.last_token, id);
    }

    pub fn has_changed_since(&self, token: u64, id: WriteId) -> bool {
        self.changes.since(token, id)
    }

    pub fn remember_final(&mut self, id: WriteId) {
        self.recently_final.push(id);
    }

    #[cfg(test)]
    pub fn forget_final(&mut self) {
        self.recently_final = Recent::default();
    }

    pub fn was_final_lately(&self, id: &WriteId) -> bool {
        self.recently_final.contains(id)
    }
}

impl Core {
    pub(crate) fn find(&mut self, cx: &mut Cx, find: Find, then: Looking) {
        let token = self.lookups.begin(then);
        cx.out.push(Effect::Find { token, find });
    }

    /// The journal answered; `rows` of live writes are out of date and not looked at.
    pub(crate) fn found(&mut self, cx: &mut Cx, token: u64, rows: Vec<Found>) {
        let Some(looking) = self.lookups.end(token) else { return };
        if let Some(find) = self.asked_too_early(token, &looking, &rows) {
            return self.find(cx, find, looking);
        }
        match looking {
            Looking::Submit { req, id, write, asked } if self.clients.contains(req) => {
                self.judge(cx, req, id, write, rows, asked);
            }
            // Its client was answered when its time was up.
            Looking::Submit { .. } => {}
            Looking::Copies(id) => self.copies_found(cx, id, rows),
            Looking::Dependency(id) => self.dependency_found(cx, id, rows),
            Looking::Named(id) => self.named_found(cx, id, &rows),
            Looking::Wish { from, wish } => self.wish_found(cx, from, *wish, rows),
            Looking::Revoke { from, id, attempt } => self.revoke_found(cx, from, id, attempt, rows),
            Looking::Question { from, token, key, asker } => self.tell(cx, from, token, key, asker, &rows),
            Looking::Reopen(id) => self.look_for_copies(cx, id, &rows),
            Looking::ReopenCopies(id) => self.reopen_copies(cx, id, rows),
            Looking::Decision(item) => self.take_decision(cx, item, rows.into_iter().next()),
            Looking::Operator { req, id, operation } => self.operator_found(cx, req, id, operation, rows),
            asked @ Looking::Undecided { .. } => self.decision_found(cx, asked, &rows),
            Looking::Heard(id) => self.word_may_be_heard(cx, id, &rows),
            Looking::Late(late) => self.decide_late_once(cx, *late, &rows),
            Looking::Unknown(id) => self.unknown_found(cx, id, &rows),
            Looking::Order { orders, id } => self.order_found(cx, orders, id, rows),
            Looking::Ahead { site, item, looks_at_old } => self.ahead_found(cx, site, item, looks_at_old, &rows),
            Looking::LateWord { id, outcome } => self.late_word(cx, id, outcome, rows),
        }
    }

    /// A write of the same key left memory while the journal was asked: what was found may be older than that (G2). Or
    /// an entry of the quarantine changed, which only the journal holds.
    fn asked_too_early(&self, token: u64, looking: &Looking, rows: &[Found]) -> Option<Find> {
        let key = match looking {
            Looking::Submit { write, .. } => write.facts.key?,
            Looking::Copies(id) => self.live.get(id)?.row.facts.key?,
            Looking::Question { .. } => rows.first()?.row.facts.key?,
            Looking::LateWord { id, .. } => return self.has_changed(token, *id).then_some(Find::Id(*id)),
            Looking::Decision(item) => {
                let (old, _) = item.decides?;
                return self.has_changed(token, old).then_some(Find::Id(old));
            }
            _ => return None,
        };
        let has_left = self.lookups.has_left_since(token, key);
        let has_changed = rows.iter().any(|found| self.has_changed(token, found.row.id));
        ((has_left && !matches!(looking, Looking::Question { .. })) || has_changed).then_some(Find::Key(key))
    }

    fn has_changed(&self, token: u64, id: WriteId) -> bool {
        !self.live.contains_key(&id) && self.lookups.has_changed_since(token, id)
    }
}
