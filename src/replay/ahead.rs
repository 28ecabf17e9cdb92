//! Writes ahead of their position: what another site has decided as a wish, while its origin, which gives positions, is
//! out of reach.
//!
//! All that the decider does from then on names such a write by its id. Whoever cannot reach the origin would wait for
//! its position as long as it is away, behind a decider that it can reach. So it asks for the write itself, with a
//! status, and applies it as the decider told of it; what it sends from then on names it by id too. The position comes
//! with the origin's series and finds it done. Where the origin has settled it as undecided before it went out of
//! reach, what is told of is the decision that it will make of the decider's word.
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::journal::{Fate, Here, Origin, Row, WishHeld};
use crate::model::{Chain, Item, Outcome, SiteName, Verdict, WriteId, decided_by, decision_of, is_decision};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage, Write};
use crate::service::{Effect, Find, Found, Looking, Message, Note};

/// More are asked for when these are there.
const ASKED_FOR_MAX: usize = 64;

impl Core {
    /// What is to be asked for now: at once when it is met, and again when it was not told.
    pub(crate) fn ask_ahead(&mut self, cx: &Cx) -> Vec<WriteId> {
        if self.is_held() || !self.mirror.named.may_ask_ahead(cx.ms()) {
            return Vec::new();
        }
        let missing = self.missing_ahead();
        if !missing.is_empty() {
            self.mirror.named.asked_ahead(cx.ms());
        }
        missing
    }

    /// What other sites' writes, and outcomes of own ones, are known to come after, by id, and that this site does not
    /// know and cannot get from its origin. What a client names counts for nothing.
    fn missing_ahead(&self) -> Vec<WriteId> {
        let shadows = self.replay.blocked.iter().filter_map(|(id, _)| self.live.get(&id));
        let shadows = shadows.filter(|write| write.role == Role::Shadow && write.stage == Stage::Waiting);
        let pending = self.mirror.wishes.pending().filter_map(|id| self.live.get(&id)?.placing.pending.as_ref());
        let outcomes =
            shadows.filter_map(|write| write.row.outcome.as_ref()).chain(pending.map(|(_, outcome)| outcome));
        let named = outcomes.flat_map(|outcome| outcome.after.ids().iter().chain(outcome.repeats.as_ref()));
        let awaited: BTreeSet<WriteId> = named
            .chain(self.replay.postponed.firsts())
            .chain(self.mirror.named.ids())
            .copied()
            .chain(self.told_ids())
            .collect();
        let missing: Vec<WriteId> = awaited.into_iter().filter(|&id| self.is_missing_ahead(id)).collect();
        // Nobody may know the first of them.
        let first =
            if missing.len() > ASKED_FOR_MAX { self.mirror.statuses.said() as usize % missing.len() } else { 0 };
        missing.iter().cycle().skip(first).take(missing.len().min(ASKED_FOR_MAX)).copied().collect()
    }

    fn is_missing_ahead(&self, id: WriteId) -> bool {
        let is_known = self.live.contains_key(&id) || self.has_position(id) || self.is_decided(id);
        id.log != self.own && !is_known && !self.reaches_origin_of(id)
    }

    /// A site whose store was replaced makes another log.
    fn reaches_origin_of(&self, id: WriteId) -> bool {
        self.mirror.peers.values().any(|peer| peer.linked && peer.log == Some(id.log))
    }

    /// A peer waits for these.
    pub(crate) fn tell_ahead(&self, cx: &mut Cx, to: &SiteName, missing: &[WriteId]) {
        let mut bytes = 0;
        for &id in missing.iter().take(ASKED_FOR_MAX) {
            let decided = self.live.get(&id).and_then(Write::decided_ahead);
            let word = || self.live.get(&decided_by(id)).and_then(Write::word_ahead);
            if let Some((site, item)) = decided.or_else(word).filter(|(site, _)| site != to) {
                bytes += item.weight();
                if bytes > self.settings.limits.page_bytes.max(item.weight()) {
                    return;
                }
                cx.out.push(Effect::Send { to: to.clone(), message: Message::Ahead { site, item: Arc::new(item) } });
            }
        }
    }

    pub(crate) fn told_ahead(&mut self, cx: &mut Cx, from: &SiteName, site: SiteName, item: Arc<Item>) {
        let of_itself = if is_decision(item.id) { Some(decided_by(item.id)) } else { None };
        let is_sound = self.settings.replicas.contains(&site)
            && item.decides.map(|(old, _)| old) == of_itself
            && item.outcome.verdict == Verdict::Applied
            && item.request.is_some();
        if !is_sound {
            return cx.note(Note::Invalid { peer: from.clone(), why: format!("{} is told of ahead in vain", item.id) });
        }
        let is_foreign = site != self.settings.me && item.id.log != self.own;
        if self.live.is_full(&self.settings.limits) {
            return;
        }
        // Its wish, or its position that comes meanwhile, goes first.
        if is_foreign && !self.live.contains_key(&item.id) && self.lookups.word_of_origin(&item.id).is_none() {
            self.find(cx, Find::Id(item.id), Looking::Ahead { site, item, looks_at_old: false });
        }
    }

    /// The journal was asked for it, or for the write that it decides.
    pub(crate) fn ahead_found(&mut self, cx: &mut Cx, site: SiteName, item: Arc<Item>, at_old: bool, rows: &[Found]) {
        let row_of = |id: WriteId| rows.iter().map(|found| &found.row).find(|row| row.id == id);
        if self.live.contains_key(&item.id) {
            return;
        }
        match (item.decides, row_of(item.id)) {
            // Void here, it was decided elsewhere; anything else that is stored has its position.
            (_, Some(row)) if row.origin != Origin::Cancelled || row.position.is_some() => {}
            (None, row) => {
                let attempt = row.and_then(|row| row.wish.as_ref()).map_or(0, |held| held.attempt);
                self.take_up_ahead(cx, site, &item, attempt);
            }
            (Some((old, _)), _) => match self.live.get(&old).map(|write| &write.stage) {
                Some(Stage::Decided(Fate::Skipped)) => self.take_up_ahead(cx, site, &item, 0),
                Some(Stage::Decided(_)) => self.is_decided_otherwise(item.id),
                // What becomes of it here comes first (G2).
                Some(_) => {}
                None if !at_old => {
                    self.find(cx, Find::Id(old), Looking::Ahead { site, item, looks_at_old: true });
                }
                None if row_of(old).is_some_and(is_skipped) => self.take_up_ahead(cx, site, &item, 0),
                None if row_of(old).is_some_and(|row| matches!(row.here, Here::Decided(_))) => {
                    self.is_decided_otherwise(item.id);
                }
                None => {}
            },
        }
    }

    /// This replica has done with the write what it could: the decision changes nothing here.
    fn is_decided_otherwise(&mut self, decision: WriteId) {
        self.lookups.remember_final(decision);
        self.decided_id(decision);
    }

    fn take_up_ahead(&mut self, cx: &mut Cx, site: SiteName, item: &Item, attempt: u32) {
        let id = item.id;
        let mut write = Write::new(id, item.facts.clone(), item.request.clone(), Role::Shadow, cx.ms());
        write.row.wish = Some(WishHeld::new(site, attempt));
        write.row.outcome = Some(item.outcome.clone());
        write.row.decides = item.decides;
        write.stage = Stage::Waiting;
        self.insert(write);
        self.persist(cx, id);
        self.agenda.push(Work::Look(id));
        self.mirror.wishes.look_soon();
    }
}

/// Its origin settled it without knowing what became of it, and nothing was done with it here.
fn is_skipped(row: &Row) -> bool {
    row.awaits_decision() && !matches!(row.here, Here::Decided(Fate::Quarantined(_)))
}

impl Write {
    /// Another site's write that was decided, here or elsewhere, and has no position yet.
    pub(crate) fn is_decided_ahead(&self) -> bool {
        // A wish has an outcome when it is decided, and not before.
        let applied = self.row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Applied);
        self.row.origin == Origin::Foreign && self.row.position.is_none() && applied
    }

    fn decided_ahead(&self) -> Option<(SiteName, Item)> {
        let outcome = self.row.outcome.clone().filter(|_| self.is_decided_ahead())?;
        self.ahead(self.row.id, self.row.decides, outcome)
    }

    /// Decided here, and its origin settled it without our word: that will be a decision, which has no position yet.
    fn word_ahead(&self) -> Option<(SiteName, Item)> {
        let (outcome, (position, _)) = (self.row.wish.as_ref()?.owed_word.clone()?, self.row.position?);
        self.ahead(decision_of(self.row.id), Some((self.row.id, position)), outcome)
    }

    fn ahead(&self, id: WriteId, decides: Option<(WriteId, u64)>, outcome: Outcome) -> Option<(SiteName, Item)> {
        let (facts, request) = (self.row.facts.clone(), Some(self.request.clone()?));
        let item = Item { position: 0, chain: Chain::default(), id, facts, outcome, decides, request };
        Some((self.row.wish.as_ref()?.from.clone(), item))
    }
}
