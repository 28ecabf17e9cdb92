//! Wishes: own writes that another site decides.
use crate::journal::{Fate, Here, Origin, QuarantineReason};
use crate::model::{HeldState, Outcome, Problem, SiteName, Verdict, WriteId};
use crate::service::core::{Core, Cx, Work};
use crate::service::write::{Role, Stage};
use crate::service::{Bug, Effect, Find, Found, Looking, Message, Note, Reply, Wish, WishWord};

/// What is asked more often costs more than it tells.
const ASK_EVERY_MIN_MS: u64 = 20;
/// A wish of which no word has come is waited for on its way out as often as this, over one connection after the other.
const SAID_AGAIN_MAX: u32 = 3;

impl Core {
    /// Ships the write to a site for it to decide. Holds its lane here until settled or passed.
    pub(crate) fn wish(&mut self, cx: &mut Cx, id: WriteId, site: SiteName) {
        let Some(write) = self.live.get(&id) else { return };
        if self.pages_for(&site, &write.must).is_none() {
            // More than a page behind us: it cannot take it now.
            let Some(write) = self.live.get_mut(&id) else { return };
            write.placing.tried.push(site);
            return self.want_place(id);
        }
        let now = cx.ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        if write.placing.wish_attempts == 0 {
            write.placing.wished_after = write.must.ids().to_vec();
        }
        write.placing.wish_attempts = write.placing.wish_attempts.saturating_add(1);
        write.row.origin = Origin::Wished { site, attempt: write.placing.wish_attempts, revoked: false };
        write.stage = Stage::Idle;
        (write.placing.wished_ms, write.placing.asked_ms) = (now, now);
        (write.placing.leaving, write.placing.said) = (true, 0);
        write.placing.unknown_there = false;
        write.tries.pass_at_ms = None;
        self.mirror.wishes.goes_out(id);
        self.persist(cx, id);
        self.send_wish(cx, id);
        if self.bug(Bug::LaneFreeDuringWish) {
            self.release_lane(id);
        }
    }

    fn send_wish(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let (Origin::Wished { site, attempt, revoked: false, .. }, Some(request)) = (&write.row.origin, &write.request)
        else {
            return;
        };
        let wish = Wish {
            id,
            attempt: *attempt,
            after_ms: self.settings.answer_after_ms,
            facts: write.row.facts.clone(),
            must: write.must.clone(),
            request: request.clone(),
            pages: self.pages_for(site, &write.must).unwrap_or_default(),
        };
        cx.out.push(Effect::Send { to: site.clone(), message: Message::Wish(Box::new(wish)) });
    }

    /// Silence counts from when all of it has left: a long body on a thin line is no silence. One that was given up on
    /// its way may have come all the same.
    pub(crate) fn wish_left(&mut self, cx: &mut Cx, to: &SiteName, id: WriteId, attempt: u32, whole: bool) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let is_current = matches!(
            &write.row.origin,
            Origin::Wished { site, attempt: current, revoked: false } if site == to && *current == attempt
        );
        if is_current && write.stage == Stage::Idle && (whole || write.placing.leaving) {
            write.placing.leaving = false;
            (write.placing.wished_ms, write.placing.asked_ms) = (cx.ms(), cx.ms());
            self.wake_write_at(cx.ms() + self.ask_every_ms(), id);
        }
    }

    /// What was on its way out over a connection has left no more of itself than it had.
    pub(crate) fn wishes_cut_short(&mut self, cx: &Cx, peer: &SiteName) {
        for id in self.mirror.wishes.out().collect::<Vec<_>>() {
            let Some(write) = self.live.get_mut(&id) else { continue };
            let is_leaving = matches!(&write.row.origin, Origin::Wished { site, revoked: false, .. } if site == peer);
            if is_leaving && std::mem::take(&mut write.placing.leaving) {
                write.placing.wished_ms = cx.ms();
                self.wake_write_at(cx.ms() + self.ask_every_ms(), id);
            }
        }
    }

    fn ask_every_ms(&self) -> u64 {
        (self.settings.answer_after_ms / 3).max(ASK_EVERY_MIN_MS)
    }

    /// Not a word for `answer.after`, though its site was asked: the wish is revoked, durably, and the next in order
    /// decides. No word at all: its lane waits no longer.
    pub(crate) fn wish_deadline(&mut self, cx: &mut Cx, id: WriteId) {
        let now = cx.ms();
        let (after, give_up) = (self.settings.answer_after_ms, self.settings.give_up_ms());
        let ask_every = self.ask_every_ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        let is_due = write.tries.pass_at_ms.is_some_and(|at| now >= at) && write.may_be_placed();
        let Origin::Wished { site, attempt, revoked, .. } = &mut write.row.origin else {
            if is_due && write.row.origin == Origin::Here {
                self.give_up_here(cx, id);
            }
            return;
        };
        if !*revoked && !write.placing.unknown_there && write.placing.leaving {
            // It says when it has left.
            return;
        }
        if !*revoked && !write.placing.unknown_there && now < write.placing.wished_ms + after {
            let mut wake_ms = write.placing.wished_ms + after;
            if write.placing.pending.is_none() {
                if now >= write.placing.asked_ms + ask_every {
                    write.placing.asked_ms = now;
                    let (to, attempt) = (site.clone(), *attempt);
                    cx.out.push(Effect::Send { to, message: Message::Ask { id, attempt } });
                }
                wake_ms = wake_ms.min(write.placing.asked_ms + ask_every);
            }
            return self.wake_write_at(wake_ms, id);
        }
        if !*revoked && !write.placing.unknown_there {
            *revoked = true;
            let (site, attempt) = (site.clone(), *attempt);
            write.row.owed.insert(site.clone(), attempt);
            write.placing.tried.push(site.clone());
            write.tries.pass_at_ms = Some(now + give_up);
            self.persist(cx, id);
            cx.out.push(Effect::Send { to: site, message: Message::Revoke { id, attempt } });
            self.wake_write_at(now + give_up, id);
            return self.want_place(id);
        }
        if is_due && (*revoked || write.placing.unknown_there) {
            self.settle_untold(cx, id);
        }
    }

    /// It waits for its turn at this replica, and what it must come after does not come.
    fn give_up_here(&mut self, cx: &mut Cx, id: WriteId) {
        match self.live.get(&id) {
            Some(write) if !write.row.owed.is_empty() => self.settle_untold(cx, id),
            Some(write) if write.is_unsent() => self.cancel(cx, id, Problem::LaneBusy { retry_after_s: 1 }),
            _ => {}
        }
    }

    pub(crate) fn settle_untold(&mut self, cx: &mut Cx, id: WriteId) {
        let detail = "asked of another site, which has not told what became of it".to_owned();
        self.settle_undecided(cx, id, QuarantineReason::UnknownOutcome, detail);
    }

    /// This replica never got it; a site that was asked may have. A late word becomes a decision of its own.
    pub(crate) fn settle_undecided(&mut self, cx: &mut Cx, id: WriteId, reason: QuarantineReason, detail: String) {
        let Some(write) = self.live.get(&id) else { return };
        let outcome = Outcome::new(Verdict::Undecided, write.must.clone());
        self.quarantine(cx, id, reason, detail, 0);
        self.settle(cx, id, outcome, Some(Fate::Skipped));
    }

    /// Another client's write of its key and request was, or may have been, executed: this one never is, by a rule.
    pub(crate) fn is_anothers(&mut self, cx: &mut Cx, id: WriteId, state: HeldState) {
        let Some(write) = self.live.get(&id) else { return };
        if write.row.owed.is_empty() && !write.row.queued {
            return self.cancel(cx, id, Problem::KeyOfAnother { state });
        }
        // Its client has a 202, or another site may have decided it: a person looks.
        let detail = "another client's write has its key and its request, and was executed".to_owned();
        self.settle_undecided(cx, id, QuarantineReason::KeyOfAnother, detail);
    }

    /// The asked site said where the wish stands.
    pub(crate) fn word(&mut self, cx: &mut Cx, from: SiteName, id: WriteId, attempt: u32, word: WishWord) {
        let word = match word {
            WishWord::Done { outcome, pages } => {
                for page in pages {
                    self.receive_page(cx, &from, page);
                }
                return self.wish_done(cx, from, id, outcome);
            }
            word => word,
        };
        let now = cx.ms();
        let (give_up, ask_every) = (self.settings.give_up_ms(), self.ask_every_ms());
        let Some(write) = self.live.get_mut(&id) else { return };
        let current =
            matches!(&write.row.origin, Origin::Wished { site, attempt: a, .. } if *site == from && *a == attempt);
        match word {
            WishWord::Void | WishWord::NotHere | WishWord::OfAnother(_) => {
                if write.row.owed.get(&from).is_some_and(|owed| owed <= attempt) {
                    write.row.owed.remove(&from);
                }
                if current && write.placing.pending.is_none() {
                    if !write.placing.tried.contains(&from) {
                        write.placing.tried.push(from);
                    }
                    write.placing.unknown_there = false;
                    write.tries.pass_at_ms = None;
                    if let WishWord::OfAnother(state) = word {
                        return self.is_anothers(cx, id, state);
                    }
                    self.want_place(id);
                } else if write.row.owed.is_empty()
                    && write.stage == Stage::Idle
                    && write.placing.pending.is_none()
                    && write.row.origin == Origin::Here
                {
                    // Nobody has it any more, and nobody could take it.
                    self.want_place(id);
                }
            }
            WishWord::Unknown if current && !write.placing.unknown_there => {
                write.placing.unknown_there = true;
                write.tries.pass_at_ms = Some(now + give_up);
                let clients = write.brought.clients.clone();
                self.wake_write_at(now + give_up, id);
                self.stand_aside(cx, id);
                for req in clients {
                    self.answer(cx, req, Reply::Problem { id: Some(id), problem: Problem::OutcomeUnknown });
                }
            }
            WishWord::Stored | WishWord::Sending if current => {
                // It has come, and its turn will come, or its service is at it.
                write.placing.leaving = false;
                (write.placing.wished_ms, write.placing.said) = (now, 0);
                self.wake_write_at(now + ask_every, id);
            }
            WishWord::Unknown | WishWord::Stored | WishWord::Sending | WishWord::Done { .. } => {}
        }
    }

    /// A late outcome counts until another replica's `sending`.
    fn wish_done(&mut self, cx: &mut Cx, from: SiteName, id: WriteId, outcome: Outcome) {
        let (now, give_up) = (cx.ms(), self.settings.give_up_ms());
        let Some(write) = self.live.get(&id) else {
            return self.find(cx, Find::Id(id), Looking::LateWord { id, outcome });
        };
        if write.row.position.is_none() && !write.was_asked_of(&from) {
            return cx.note(Note::Invalid { peer: from, why: format!("a word about {id}, which was asked of others") });
        }
        if write.row.position.is_some() {
            let found = self.as_found(write);
            return self.late_word(cx, id, outcome, vec![found]);
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        let untouched = matches!(write.stage, Stage::Idle | Stage::Waiting) && !write.tries.doubtful;
        if untouched && write.row.outcome.is_none() {
            write.stage = Stage::Idle;
            if !matches!(&write.row.origin, Origin::Wished { site, .. } if *site == from) {
                let attempt = write.placing.wish_attempts;
                write.row.origin = Origin::Wished { site: from.clone(), attempt, revoked: true };
            }
            write.placing.pending = Some((from, outcome));
            let pass_at_ms = *write.tries.pass_at_ms.get_or_insert(now + give_up);
            self.mirror.wishes.outcome_waits(id);
            self.wake_write_at(pass_at_ms.max(now), id);
            self.mirror.wishes.look_soon();
        } else if write.role == Role::Own {
            // It is on its way to this replica. Should that turn out never to have got it, the word counts after all.
            write.placing.pending = Some((from, outcome));
        }
    }

    /// This replica did not get the write after all. A word that came meanwhile from a site that was given up on
    /// counts.
    pub(crate) fn take_late_word(&mut self, cx: &mut Cx, id: WriteId) -> bool {
        let Some(write) = self.live.get_mut(&id) else { return false };
        let Some((from, outcome)) = write.placing.pending.take() else { return false };
        write.stage = Stage::Idle;
        write.row.origin = Origin::Wished { site: from.clone(), attempt: write.placing.wish_attempts, revoked: true };
        self.persist(cx, id);
        self.wish_done(cx, from, id, outcome);
        true
    }

    /// An outcome came after the write was settled as undecided: the decision follows as a record of its own.
    pub(crate) fn late_word(&mut self, cx: &mut Cx, id: WriteId, outcome: Outcome, rows: Vec<Found>) {
        let Some(found) = rows.into_iter().find(|f| f.row.id == id) else { return };
        if outcome.tells_nothing() {
            // Its decider knows no more than this site: not that it is void. A person says what became of it.
            return;
        }
        let undecided = found.row.outcome.as_ref().is_some_and(|o| o.verdict == Verdict::Undecided);
        // A copy of a write of which nobody knew has no entry here: that is to be decided where the first one is.
        let is_copy = found.row.outcome.as_ref().is_some_and(|outcome| outcome.repeats.is_some());
        let asks = is_copy || found.quarantined.is_some();
        if !undecided || found.row.origin != Origin::Settled || !asks {
            return;
        }
        if self.is_asked_for(id) {
            // What was read for this word may be older than what an order does with the write by now.
            return;
        }
        let sent_here = found.row.here != Here::Decided(Fate::Skipped);
        if outcome.verdict != Verdict::Applied && sent_here {
            // That it was refused there says nothing about this replica, which may have applied it.
            return;
        }
        if outcome.verdict == Verdict::Applied
            && !self.may_come_after(cx, &outcome, &self.stuck())
            && !self.bug(Bug::LateWordAtOnce)
        {
            // The decider owes the word, and says it again.
            return;
        }
        let verdict = if outcome.verdict == Verdict::Applied { Verdict::Applied } else { Verdict::Void };
        // As its decider sent it: what names the write waits for the decision, which must not wait for that (G3).
        self.decide_now(cx, found, verdict, outcome.answer, Some(outcome.after), false);
    }

    /// A site that was given up on has not answered: its word, or the revocation, was lost.
    pub(crate) fn say_revocations_again(&self, cx: &mut Cx, peer: &SiteName) {
        for id in self.mirror.wishes.out() {
            if let Some(attempt) = self.live.get(&id).and_then(|write| write.row.owed.get(peer)) {
                cx.out.push(Effect::Send { to: peer.clone(), message: Message::Revoke { id, attempt } });
            }
        }
    }

    /// A new connection: what was out is said again, what is owed is owed still.
    pub(crate) fn say_wishes_again(&mut self, cx: &mut Cx, peer: &SiteName) {
        for id in self.mirror.wishes.out().collect::<Vec<_>>() {
            let Some(write) = self.live.get_mut(&id) else { continue };
            if let Some(attempt) = write.row.owed.get(peer) {
                cx.out.push(Effect::Send { to: peer.clone(), message: Message::Revoke { id, attempt } });
            } else if matches!(&write.row.origin, Origin::Wished { site, revoked: false, .. } if site == peer) {
                // A line that comes and goes must not keep it for ever from those who could decide.
                write.placing.said += 1;
                write.placing.leaving = write.placing.said <= SAID_AGAIN_MAX;
                self.send_wish(cx, id);
            }
        }
    }

    /// Who decides has changed: what was given up elsewhere and found nobody may be decided now.
    pub(crate) fn place_again(&mut self) {
        for id in self.mirror.wishes.out() {
            let Some(write) = self.live.get_mut(&id) else { continue };
            let given_up = matches!(write.row.origin, Origin::Wished { revoked: true, .. });
            if given_up && write.stage == Stage::Idle && write.placing.pending.is_none() && !write.placing.unknown_there
            {
                write.placing.tried.retain(|site| *site != self.settings.me);
                write.placing.needed = true;
                self.agenda.push(Work::Place(id));
            }
        }
    }
}
