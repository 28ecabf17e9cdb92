//! What a person decides about writes that no rule can decide.
use super::aside::Aside;
use super::core::{Core, Cx, Work};
use super::late::Late;
use super::restored::OLDER_COPY;
use super::write::{Stage, Write};
use super::{Bug, Find, Found, Looking, Operation, Reply, ReqId};
use crate::journal::{Fate, Here, Op, Origin, QuarantineReason};
use crate::model::{Outcome, Verdict, WriteId, decided_by, decision_of};

/// What the log of a site takes no more of at once.
pub(super) const TOO_MANY: &str = "too many writes are under way here: once more in a moment";

/// Who gave an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Person(ReqId),
    /// A person, with one order about many writes.
    Many,
    /// Nobody: a copy of what was not applied after all, or what is tried once more.
    Rule,
}

impl By {
    fn req(self) -> Option<ReqId> {
        match self {
            By::Person(req) => Some(req),
            By::Many | By::Rule => None,
        }
    }
}

/// What became of an order.
pub(super) enum Carried {
    Done,
    /// No entry stands there (any more).
    Gone,
    Rejected(String),
    /// The journal is asked once more, and whoever gave the order hears of it then.
    GoesOn,
}

impl Core {
    pub(crate) fn operate(&mut self, cx: &mut Cx, req: ReqId, id: Option<WriteId>, operation: Operation) {
        let Some(id) = id else {
            if operation != Operation::Resume {
                return cx.reply(req, Reply::Rejected { why: "this order needs a write id".into() });
            }
            if self.age.is_forked() {
                // Others' writes that this store has forgotten would be done once more (G2).
                return cx.reply(req, Reply::Rejected { why: OLDER_COPY.to_owned() });
            }
            self.replay.stopping.resume();
            self.take_up_past(cx);
            cx.persist(Op::Stopped(None));
            self.agenda.push(Work::Shadows);
            self.mirror.statuses.say_soon();
            self.choose(cx);
            return cx.reply(req, Reply::Done);
        };
        if self.is_ordered(id) {
            return cx
                .reply(req, Reply::Rejected { why: format!("{id} is being decided, or sent by order: look again") });
        }
        let may_hold_up = self.live.contains_key(&id) || self.is_waiting_copy(id);
        if may_hold_up && !self.completer.quarantine.contains(&id) {
            match self.set_aside(cx, id, operation) {
                Ok(Aside::Quarantined) => {}
                Ok(Aside::Done) => return cx.reply(req, Reply::Done),
                Err(why) => return cx.reply(req, Reply::Rejected { why }),
            }
        }
        self.look_for_order(cx, Some(req), id, operation);
    }

    /// Its entry comes with its row, and that of what was decided late about it.
    pub(crate) fn look_for_order(&mut self, cx: &mut Cx, req: Option<ReqId>, id: WriteId, operation: Operation) {
        self.completer.orders.asks_for(id);
        self.find(cx, Find::Either(id), Looking::Operator { req, id, operation });
    }

    pub(crate) fn operator_found(
        &mut self,
        cx: &mut Cx,
        req: Option<ReqId>,
        id: WriteId,
        operation: Operation,
        rows: Vec<Found>,
    ) {
        if self.is_outdated(id) {
            return self.look_for_order(cx, req, id, operation);
        }
        match self.carry_out(cx, req.map_or(By::Rule, By::Person), id, operation, &rows) {
            Carried::Done => cx.reply_to_order(req, Reply::Done),
            Carried::Gone => {
                let why = format!("{id} is not in quarantine at this site");
                cx.reply_to_order(req, Reply::Rejected { why });
            }
            Carried::Rejected(why) => cx.reply_to_order(req, Reply::Rejected { why }),
            Carried::GoesOn => {}
        }
    }

    /// `rows`: of the write, and of what was decided late about it, as the journal has them now.
    pub(super) fn carry_out(
        &mut self,
        cx: &mut Cx,
        by: By,
        id: WriteId,
        operation: Operation,
        rows: &[Found],
    ) -> Carried {
        let read = self.take_entries(rows);
        let carried = self.carry_out_with(cx, by, id, operation, rows);
        self.leave_entries(read);
        carried
    }

    fn carry_out_with(&mut self, cx: &mut Cx, by: By, id: WriteId, operation: Operation, rows: &[Found]) -> Carried {
        let live = self.live.get(&id);
        let is_here = |stage: &Stage| {
            let asked = matches!(stage, Stage::Checking | Stage::Connecting | Stage::Sending);
            asked || matches!(stage, Stage::Judging | Stage::Unknown(_))
        };
        let is_under_way = live.is_some_and(|write| is_here(&write.stage));
        let live = live.map(|w| self.as_found(w));
        let found = live.or_else(|| rows.iter().find(|f| f.row.id == id).cloned());
        if is_under_way {
            return Carried::Rejected(format!("{id} is on its way"));
        }
        let Some(found) = found.filter(|_| self.completer.quarantine.contains(&id)) else { return Carried::Gone };
        if matches!(operation, Operation::Resend | Operation::ResendOverLater)
            && let Some(other) = self.other_entry(id)
        {
            let why = format!("{id} and {other} are one write: say of {other} first that it is applied, or discard it");
            return Carried::Rejected(why);
        }
        let decision = decision_of(id);
        let decision: Vec<Found> = rows.iter().filter(|found| found.row.id == decision).cloned().collect();
        let verdict = found.row.outcome.as_ref().map(|o| o.verdict);
        let own = found.row.origin == Origin::Settled;
        let open = own && matches!(verdict, Some(Verdict::Undecided | Verdict::MayHaveApplied));
        let is_undecided_wish =
            found.row.wish.is_some() && found.row.position.is_some() && verdict == Some(Verdict::Undecided);
        match operation {
            Operation::Applied if open => {
                // Not after what the write itself was to come after: its client may have seen what a cut keeps away
                // from here, and what it names may be decided after it. Others can follow what is decided here.
                let after = Some(self.decided_without_gaps());
                let late = Late { found, verdict: Verdict::Applied, answer: None, after, by_person: true };
                self.decide_once(cx, late, &decision);
            }
            Operation::Discard if open => {
                let late = Late { found, verdict: Verdict::Void, answer: None, after: None, by_person: true };
                self.decide_once(cx, late, &decision);
            }
            Operation::Applied if is_undecided_wish && !self.is_contrary(id) => {
                return self.order_undecided(cx, by, found, operation, false, &decision);
            }
            Operation::Applied => self.applied_here(cx, found),
            Operation::Discard => {
                self.hold_quarantine(id);
                self.rewrite_fate(cx, id, Some(found), Fate::Void);
                self.reopen(cx, id);
            }
            Operation::Resend | Operation::ResendOverLater => {
                return self.order_resend(cx, by, found, verdict, operation, &decision);
            }
            Operation::Resume => return Carried::Rejected("resume takes no write id".into()),
        }
        Carried::Done
    }

    /// What the journal was asked about a write for an order is older than what this replica has done with it since.
    pub(super) fn is_outdated(&mut self, id: WriteId) -> bool {
        self.completer.orders.has_come(id) && !self.live.contains_key(&id)
    }

    /// What is decided not to be applied anywhere is not sent here, whatever an entry says (G5).
    fn order_resend(
        &mut self,
        cx: &mut Cx,
        by: By,
        found: Found,
        verdict: Option<Verdict>,
        operation: Operation,
        decision: &[Found],
    ) -> Carried {
        let id = found.row.id;
        let is_busy = self.live.is_half_full(&self.settings.limits);
        let why = match verdict {
            _ if is_busy && by != By::Rule && !self.live.contains_key(&id) => TOO_MANY.to_owned(),
            _ if found.request.is_none() => format!("the request of {id} is not kept at this site"),
            _ if found.row.origin == Origin::Cancelled => {
                format!("{id} was decided void: its origin was told that it is not sent here; say discard")
            }
            None | Some(Verdict::Applied | Verdict::Undecided | Verdict::MayHaveApplied)
                if operation == Operation::Resend
                    && let Some(other) = self.overwrites_if_sent(&found) =>
            {
                format!(
                    "{other} of its lane is applied here, and {id} would overwrite it: say resend --over-later if it \
                     should"
                )
            }
            None | Some(Verdict::Applied) => {
                self.resend(cx, found, operation);
                return Carried::Done;
            }
            Some(Verdict::Undecided | Verdict::MayHaveApplied) => {
                return self.order_undecided(cx, by, found, operation, false, decision);
            }
            Some(verdict) => format!("its origin has settled {id} as {verdict:?}, for all sites; say discard"),
        };
        Carried::Rejected(why)
    }

    /// What of its lane was applied here after it, or beside it.
    fn overwrites_if_sent(&self, found: &Found) -> Option<WriteId> {
        let write = Write::recover(found.clone(), 0);
        let applied_over = self.applied_over(
            write.row.facts.lane,
            write.row.id,
            write.row.position,
            write.row.decides,
            write.row.outcome.as_ref(),
        );
        applied_over.filter(|_| write.overwrites() && !self.bug(Bug::ResendOverLater))
    }

    fn ask_for_decision(&mut self, cx: &mut Cx, req: Option<ReqId>, found: Found, operation: Operation) {
        let id = found.row.id;
        self.completer.orders.asks_for(id);
        let looking = Looking::Undecided { req, found: Box::new(found), operation };
        self.find(cx, Find::Id(decision_of(id)), looking);
    }

    /// The journal was asked again whether it was decided.
    pub(crate) fn decision_found(&mut self, cx: &mut Cx, asked: Looking, rows: &[Found]) {
        let Looking::Undecided { req, found, operation } = asked else { return };
        let id = found.row.id;
        if self.is_outdated(id) {
            return self.look_for_order(cx, req, id, operation);
        }
        let read = self.take_entries(std::slice::from_ref(&*found));
        let carried = self.order_undecided(cx, req.map_or(By::Rule, By::Person), *found, operation, true, rows);
        self.leave_entries(read);
        match carried {
            Carried::Done => cx.reply_to_order(req, Reply::Done),
            Carried::Rejected(why) => cx.reply_to_order(req, Reply::Rejected { why }),
            Carried::Gone | Carried::GoesOn => {}
        }
    }

    /// The write was settled as undecided: was it decided since? An entry outlives the decision, as what this replica
    /// did is for a person to say; and the entry of what was decided void is held until its copies are looked for, and
    /// a crash meanwhile brings it back.
    fn order_undecided(
        &mut self,
        cx: &mut Cx,
        by: By,
        found: Found,
        operation: Operation,
        again: bool,
        rows: &[Found],
    ) -> Carried {
        let id = found.row.id;
        let decision = decision_of(id);
        let live = self.live.get(&decision);
        let is_under_way = live.is_some_and(|write| !matches!(write.stage, Stage::Decided(_)));
        let decided = live.map(|write| &write.row.outcome).or_else(|| rows.first().map(|found| &found.row.outcome));
        let verdict = decided.and_then(|outcome| outcome.as_ref().map(|outcome| outcome.verdict));
        let here = live.map(Write::record).or_else(|| rows.first().map(|found| found.row.clone())).map(|row| row.here);
        let is_applied_so = here == Some(Here::Decided(Fate::Applied));
        if verdict.is_none() && self.lookups.was_final_lately(&decision) && !again {
            // Made and done with since the journal was read.
            self.ask_for_decision(cx, by.req(), found, operation);
            return Carried::GoesOn;
        }
        let own = found.row.origin == Origin::Settled;
        let is_unanswered = found.row.outcome.as_ref().is_some_and(|o| o.verdict == Verdict::MayHaveApplied);
        let why = match (operation, verdict) {
            (Operation::Applied, Some(Verdict::Void)) => {
                self.release_quarantine(cx, id);
                self.make_live(found, cx.ms());
                self.applied_but_void(cx, id);
                return Carried::Done;
            }
            (Operation::Applied, Some(_)) => {
                self.rewrite_fate(cx, id, Some(found), Fate::Applied);
                return Carried::Done;
            }
            (Operation::Applied, None) => {
                self.applied_here(cx, found);
                return Carried::Done;
            }
            (_, Some(Verdict::Void)) => {
                format!("{id} was decided void since, for all sites: say discard, and enter it anew if it is wanted")
            }
            _ if is_applied_so => format!("what was decided about {id} is applied here: say applied"),
            _ if is_under_way => format!("what was decided about {id} is on its way here: look again"),
            (_, None) if !own && is_unanswered => {
                format!("its origin has not decided yet what became of {id}: order it there first")
            }
            _ => {
                self.resend(cx, found, operation);
                return Carried::Done;
            }
        };
        let fate = if is_applied_so { Fate::Applied } else { Fate::Void };
        if by == By::Rule && (is_applied_so || verdict == Some(Verdict::Void)) {
            self.rewrite_fate(cx, id, Some(found), fate);
        }
        Carried::Rejected(why)
    }

    /// As it was when it was last live.
    pub(super) fn make_live(&mut self, found: Found, now_ms: u64) {
        if !self.live.contains_key(&found.row.id) {
            let write = Write::recover(found, now_ms);
            self.insert(write);
        }
    }

    fn is_contrary(&self, id: WriteId) -> bool {
        self.completer.quarantine.get(&id).is_some_and(|entry| entry.reason == QuarantineReason::Contrary)
    }

    /// An order is under way until it is carried out: a contrary one meanwhile, of the same write or of its decision,
    /// would be carried out too (G2, G5).
    pub(crate) fn is_ordered(&self, id: WriteId) -> bool {
        let held = [decided_by(id), decision_of(id)].iter().any(|other| self.completer.quarantine.is_held(other));
        held || self.is_asked_for(id) && !self.bug(Bug::ContraryOrders)
    }

    /// The journal is asked about it, for an order or for the late word of another site.
    pub(crate) fn is_asked_for(&self, id: WriteId) -> bool {
        let is_it = |other: WriteId| decided_by(other) == decided_by(id);
        let is_looked_for = self.lookups.iter().any(|looking| match looking {
            Looking::Operator { id, .. } => is_it(*id),
            Looking::Undecided { found, .. } => is_it(found.row.id),
            Looking::Late(late) => is_it(late.found.row.id),
            _ => false,
        });
        is_looked_for || self.completer.orders.ids().any(is_it)
    }

    /// Entries that are not in memory, for as long as their writes are looked at. Whoever makes a write live keeps its
    /// entry, and whoever is done with it has taken it out.
    pub(crate) fn take_entries(&mut self, rows: &[Found]) -> Vec<WriteId> {
        let mut taken = Vec::new();
        for found in rows {
            let id = found.row.id;
            let is_out = self.live.contains_key(&id)
                || self.completer.quarantine.is_held(&id)
                || self.completer.quarantine.contains(&id);
            if let Some(entry) = found.quarantined.as_ref().filter(|_| !is_out) {
                self.completer.quarantine.keep(entry.clone(), true);
                taken.push(id);
            }
        }
        taken
    }

    pub(crate) fn leave_entries(&mut self, taken: Vec<WriteId>) {
        for id in taken.into_iter().filter(|id| !self.live.contains_key(id)).collect::<Vec<_>>() {
            self.completer.quarantine.leave_memory(id);
        }
    }

    /// A write can stand in quarantine twice, as itself and as what its origin decided late. Sent for both, it would be
    /// applied twice (G2).
    fn other_entry(&self, id: WriteId) -> Option<WriteId> {
        let other = if id == decided_by(id) { decision_of(id) } else { decided_by(id) };
        self.completer.quarantine.contains(&other).then_some(other)
    }

    /// The origin hears of a wish about which this replica could not tell, and makes a decision of it where it has
    /// settled it as undecided. Where it has settled it otherwise, this replica differs, and that stays listed until a
    /// person has put it right.
    fn applied_here(&mut self, cx: &mut Cx, found: Found) {
        let id = found.row.id;
        let known = found.row.outcome.as_ref();
        let settled = found.row.position.and(known).map(|outcome| outcome.verdict);
        let others_follow = matches!(settled, Some(Verdict::Applied | Verdict::MayHaveApplied));
        if found.row.wish.is_none() || others_follow || self.is_contrary(id) {
            return self.rewrite_fate(cx, id, Some(found), Fate::Applied);
        }
        // What was decided here meanwhile may come after it elsewhere, and wait for it.
        let known = known.filter(|outcome| outcome.verdict == Verdict::Applied);
        let ours = Outcome {
            status: known.map_or(0, |outcome| outcome.status),
            ..Outcome::new(Verdict::Applied, known.map(|outcome| outcome.after.clone()).unwrap_or_default())
        };
        self.release_quarantine(cx, id);
        self.make_live(found, cx.ms());
        self.complete_wish(cx, id, ours, Fate::Applied);
        self.evict_if_final(id);
    }
}
