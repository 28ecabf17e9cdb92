//! Questions to the journal that are under way, and what goes on with each answer.
use std::sync::Arc;

use super::core::{Core, Cx};
use super::operator::Late;
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
}

impl Core {
    pub(crate) fn find(&mut self, cx: &mut Cx, find: Find, then: Looking) {
        let token = self.token();
        let looked_for = match (&then, find) {
            (Looking::Ahead { item, .. }, _) => Some(item.id),
            (Looking::Wish { .. } | Looking::Revoke { .. }, Find::Id(id)) => Some(id),
            _ => None,
        };
        if let Some(id) = looked_for
            && let Some(earlier) = self.looked_for.insert(id, token)
        {
            // The later word of the same origin counts.
            self.looking.remove(&earlier);
        }
        self.looking.insert(token, then);
        cx.out.push(Effect::Find { token, find });
    }

    /// The journal answered; `rows` of live writes are out of date and not looked at.
    pub(crate) fn found(&mut self, cx: &mut Cx, token: u64, rows: Vec<Found>) {
        let looking = self.looking.remove(&token);
        if let Some(Looking::Revoke { id, .. }) = &looking {
            self.looked_for.remove(id);
        } else if let Some(Looking::Wish { wish, .. }) = &looking {
            self.looked_for.remove(&wish.id);
        } else if let Some(Looking::Ahead { item, .. }) = &looking {
            self.looked_for.remove(&item.id);
        }
        if let Some(find) = looking.as_ref().and_then(|looking| self.asked_too_early(token, looking, &rows)) {
            let looking = looking.expect("looked at above");
            return self.find(cx, find, looking);
        }
        match looking {
            Some(Looking::Submit { req, id, write, asked }) if self.clients.contains_key(&req) => {
                self.judge(cx, req, id, write, rows, asked);
            }
            // Its client was answered when its time was up.
            Some(Looking::Submit { .. }) | None => {}
            Some(Looking::Copies(id)) => self.copies_found(cx, id, rows),
            Some(Looking::Dependency(id)) => self.dependency_found(cx, id, rows),
            Some(Looking::Named(id)) => self.named_found(cx, id, &rows),
            Some(Looking::Wish { from, wish }) => self.wish_found(cx, from, *wish, rows),
            Some(Looking::Revoke { from, id, attempt }) => self.revoke_found(cx, from, id, attempt, rows),
            Some(Looking::Question { from, token, key, asker }) => self.tell(cx, from, token, key, asker, &rows),
            Some(Looking::Reopen(id)) => self.look_for_copies(cx, id, &rows),
            Some(Looking::ReopenCopies(id)) => self.reopen_copies(cx, id, rows),
            Some(Looking::Decision(item)) => self.take_decision(cx, item, rows.into_iter().next()),
            Some(Looking::Operator { req, id, operation }) => self.operator_found(cx, req, id, operation, rows),
            Some(asked @ Looking::Undecided { .. }) => self.decision_found(cx, asked, &rows),
            Some(Looking::Heard(id)) => self.word_may_be_heard(cx, id, &rows),
            Some(Looking::Late(late)) => self.decide_late_once(cx, *late, &rows),
            Some(Looking::Unknown(id)) => self.unknown_found(cx, id, &rows),
            Some(Looking::Order { orders, id }) => self.order_found(cx, orders, id, rows),
            Some(Looking::Ahead { site, item, looks_at_old }) => self.ahead_found(cx, site, item, looks_at_old, &rows),
            Some(Looking::LateWord { id, outcome }) => self.late_word(cx, id, outcome, rows),
        }
    }

    /// A write of the same key left memory while the journal was asked: what was found may be older than that (G2). Or
    /// an entry of the quarantine changed, which only the journal holds.
    fn asked_too_early(&self, token: u64, looking: &Looking, rows: &[Found]) -> Option<Find> {
        let key = match looking {
            Looking::Submit { write, .. } => write.facts.key?,
            Looking::Copies(id) => self.live.get(id)?.facts.key?,
            Looking::Question { .. } => rows.first()?.row.facts.key?,
            Looking::LateWord { id, .. } => return self.has_changed(token, *id).then_some(Find::Id(*id)),
            Looking::Decision(item) => {
                let (old, _) = item.decides?;
                return self.has_changed(token, old).then_some(Find::Id(old));
            }
            _ => return None,
        };
        let left = |&(given, other): &(u64, KeyHash)| given >= token && other == key;
        let has_left = self.evicted_keys.iter().rev().take_while(|(given, _)| *given >= token).any(left);
        let has_changed = rows.iter().any(|found| self.has_changed(token, found.row.id));
        ((has_left && !matches!(looking, Looking::Question { .. })) || has_changed).then_some(Find::Key(key))
    }

    fn has_changed(&self, token: u64, id: WriteId) -> bool {
        !self.live.contains_key(&id) && self.changes.since(token, id)
    }
}
