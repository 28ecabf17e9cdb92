//! One order of a person about many writes in quarantine.
//!
//! Their rows are all asked for at once, and nothing is done before all are there: then one after the other is carried
//! out, as if they had been ordered singly, in one transaction. So they go in the order in which they were named,
//! whatever the journal's readers do.
use std::collections::{BTreeMap, BTreeSet};

use super::core::{Core, Cx};
use super::operator::{By, Carried, TOO_MANY};
use super::{Find, Found, Looking, Operation, Ordered, Reply, ReqId};
use crate::model::WriteId;

/// Writes in one order; more are several.
pub const ORDERS_MAX: usize = 256;
/// More people at once are an accident.
const AT_ONCE: usize = 8;

pub(crate) struct Orders {
    req: ReqId,
    operation: Operation,
    keep_going: bool,
    ids: Vec<WriteId>,
    found: BTreeMap<WriteId, Vec<Found>>,
}

/// Orders of people that wait for rows of the journal.
#[derive(Default)]
pub(crate) struct OrdersUnderWay {
    /// About many writes, under a number of their own.
    many: BTreeMap<u64, Orders>,
    /// Writes that the journal is asked for by order of a person, and whether their rows changed since: then it is
    /// asked again.
    rows: BTreeMap<WriteId, bool>,
}

impl OrdersUnderWay {
    pub fn asks_for(&mut self, id: WriteId) {
        self.rows.insert(id, false);
    }

    pub fn row_changed(&mut self, id: WriteId) {
        if let Some(changed) = self.rows.get_mut(&id) {
            *changed = true;
        }
    }

    /// Its rows have come. Whether they are out of date.
    pub fn has_come(&mut self, id: WriteId) -> bool {
        self.rows.remove(&id) == Some(true)
    }

    /// Writes that orders about many are about.
    pub fn ids(&self) -> impl Iterator<Item = WriteId> + '_ {
        self.many.values().flat_map(|orders| orders.ids.iter().copied())
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.many.is_empty() && self.rows.is_empty()
    }
}

impl Core {
    pub(crate) fn order_many(
        &mut self,
        cx: &mut Cx,
        req: ReqId,
        mut ids: Vec<WriteId>,
        operation: Operation,
        keep_going: bool,
    ) {
        let mut known = BTreeSet::new();
        ids.retain(|id| known.insert(*id) && !self.is_ordered(*id));
        let why = if operation == Operation::Resume {
            "resume takes no write ids"
        } else if ids.len() > ORDERS_MAX {
            "too many writes in one order"
        } else if self.completer.orders.many.len() >= AT_ONCE {
            TOO_MANY
        } else {
            let number = self.token();
            let orders = Orders { req, operation, keep_going, ids: ids.clone(), found: BTreeMap::new() };
            self.completer.orders.many.insert(number, orders);
            for id in ids {
                self.completer.orders.asks_for(id);
                self.find(cx, Find::Either(id), Looking::Order { orders: number, id });
            }
            return self.carry_out_if_all_are_there(cx, number);
        };
        cx.reply(req, Reply::Rejected { why: why.to_owned() });
    }

    /// No rows: its record is broken, or it is gone.
    pub(crate) fn order_found(&mut self, cx: &mut Cx, number: u64, id: WriteId, rows: Vec<Found>) {
        if let Some(orders) = self.completer.orders.many.get_mut(&number) {
            orders.found.insert(id, rows);
            self.carry_out_if_all_are_there(cx, number);
        }
    }

    fn carry_out_if_all_are_there(&mut self, cx: &mut Cx, number: u64) {
        if self.completer.orders.many.get(&number).is_none_or(|orders| orders.found.len() < orders.ids.len()) {
            return;
        }
        let Some(Orders { req, operation, keep_going, ids, found }) = self.completer.orders.many.remove(&number) else {
            return;
        };
        let mut ordered = Ordered::default();
        for &id in &ids {
            let rows = found.get(&id).map_or(&[][..], Vec::as_slice);
            let carried = if self.is_outdated(id) {
                Carried::Rejected("it has changed just now: look again".to_owned())
            } else if self.is_ordered(id) {
                // With the write that it is about, or that is about it.
                Carried::Gone
            } else {
                self.carry_out(cx, By::Many, id, operation, rows)
            };
            match carried {
                Carried::Done | Carried::GoesOn => ordered.done += 1,
                Carried::Gone => ordered.gone += 1,
                Carried::Rejected(why) => {
                    ordered.busy = why == TOO_MANY;
                    ordered.rejected.push((id, why));
                    if ordered.busy || !keep_going {
                        break;
                    }
                }
            }
        }
        for id in &ids {
            self.completer.orders.has_come(*id);
        }
        cx.reply(req, Reply::Orders(ordered));
    }
}
