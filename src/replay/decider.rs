//! Deciding another site's wish.
use crate::journal::{Fate, Op, Origin, QuarantineReason, Row, WishHeld};
use crate::model::{After, Digest, Facts, Item, Lane, Outcome, Problem, SiteName, Verdict, WriteId, decision_of};
use crate::service::close::{Closing, Word};
use crate::service::core::{Core, Cx, Work};
use crate::service::outcome::Class;
use crate::service::write::{Role, Stage, Write};
use crate::service::{Bug, Effect, Find, Found, Looking, Message, Reply, Wish, WishWord};

/// An outcome that takes a while on its way is not said again, however often its origin asks.
const LONG_BYTES: usize = 16 << 10;
const LONG_AGAIN_MS: u64 = 10_000;
/// What an origin may call silence.
const SILENCE_MIN_MS: u64 = 50;
const SILENCE_MAX_MS: u64 = 600_000;

/// What is said again of a wish that is void.
fn void_word(row: Option<&Row>) -> WishWord {
    let of_another = row.and_then(|row| row.wish.as_ref()).and_then(|wish| wish.of_another);
    of_another.map_or(WishWord::Void, WishWord::OfAnother)
}

fn was_not_executed(outcome: Option<&Outcome>) -> bool {
    outcome.is_some_and(|outcome| outcome.verdict == Verdict::NotExecuted)
}

fn is_long(word: &WishWord) -> bool {
    let WishWord::Done { outcome, pages } = word else { return false };
    let items = pages.iter().flat_map(|page| &page.items).map(|item| item.weight());
    outcome.answer.as_ref().map_or(0, |answer| answer.weight()) + items.sum::<usize>() > LONG_BYTES
}

impl Core {
    /// Another site wishes that this one decides a write. Known wishes get the word they have; a late copy of one that
    /// is settled is found in the journal (G2).
    pub(crate) fn wished(&mut self, cx: &mut Cx, from: SiteName, mut wish: Wish) {
        for page in std::mem::take(&mut wish.pages) {
            self.receive_page(cx, &from, page);
        }
        if self.live.contains_key(&wish.id) {
            return self.known_wish(cx, &from, wish.id, wish.attempt);
        }
        let id = wish.id;
        if self.is_overtaken_by_word_of_origin(id, wish.attempt) {
            return;
        }
        self.find(cx, Find::Id(id), Looking::Wish { from, wish: Box::new(wish) });
    }

    /// Its revocation, or a later try, came first and is being looked up: a long wish has a stream of its own.
    fn is_overtaken_by_word_of_origin(&self, id: WriteId, attempt: u32) -> bool {
        match self.lookups.word_of_origin(&id) {
            Some(Looking::Revoke { attempt: revoked, .. }) => *revoked >= attempt,
            Some(Looking::Wish { wish, .. }) => wish.attempt > attempt,
            _ => false,
        }
    }

    pub(crate) fn wish_found(&mut self, cx: &mut Cx, from: SiteName, wish: Wish, rows: Vec<Found>) {
        if self.live.contains_key(&wish.id) {
            return self.known_wish(cx, &from, wish.id, wish.attempt);
        }
        let row = rows.iter().map(|f| &f.row).find(|r| r.id == wish.id);
        let (void, attempt) = row
            .map_or((false, 0), |r| (r.origin == Origin::Cancelled, r.wish.as_ref().map_or(u32::MAX, |w| w.attempt)));
        if row.is_none() || (void && wish.attempt > attempt) {
            self.accept_wish(cx, from, wish);
        } else if void {
            let message = Message::Word { id: wish.id, attempt: wish.attempt, word: void_word(row) };
            cx.out.push(Effect::Send { to: from, message });
        }
        // Otherwise its origin has settled it long ago: this copy was under way for a while.
    }

    fn accept_wish(&mut self, cx: &mut Cx, from: SiteName, wish: Wish) {
        let full = self.live.is_full(&self.settings.limits);
        let me = self.standing(&self.settings.me, cx.ms());
        // Who is chosen last is far behind, and catches up as far as the wish must come after.
        if full || !me.available || (me.lag_ms > self.settings.lag_ms && !me.last) {
            return self.refuse_wish(cx, from, wish.id, wish.attempt, WishWord::NotHere);
        }
        let id = wish.id;
        let mut write = Write::new(id, wish.facts, Some(wish.request), Role::Wish, cx.ms());
        write.row.wish = Some(WishHeld::new(from, wish.attempt));
        if !self.bug(Bug::LaggingReplicaDecides) {
            write.must = wish.must;
        }
        write.stage = Stage::Waiting;
        // A number from outside: so long at least that its origin can be heard, and no longer than anybody waits.
        let silence_ms = wish.after_ms.clamp(SILENCE_MIN_MS, SILENCE_MAX_MS);
        write.asker.silence_ms = silence_ms;
        self.replica.is_written(cx.ms());
        self.insert(write);
        self.persist(cx, id);
        self.wake_write_at(cx.ms() + silence_ms, id);
        self.agenda.push(Work::Look(id));
    }

    fn known_wish(&mut self, cx: &mut Cx, from: &SiteName, id: WriteId, attempt: u32) {
        let Some(write) = self.live.get_mut(&id) else { return };
        if write.row.position.is_some() {
            return;
        }
        let Some(held) = &mut write.row.wish else { return };
        if held.from != *from || attempt < held.attempt {
            return;
        }
        if attempt > held.attempt {
            held.attempt = attempt;
            if write.role != Role::Ordered {
                self.persist(cx, id);
            }
        }
        let word = self.word_of(id);
        self.say_word(cx, id, word);
    }

    pub(crate) fn word_of(&self, id: WriteId) -> WishWord {
        let Some(write) = self.live.get(&id) else { return WishWord::Void };
        match (&write.stage, &write.row.outcome) {
            (Stage::Decided(_), Some(outcome)) => {
                let to = write.row.wish.as_ref().map(|w| &w.from);
                let pages = to.map(|to| self.pages_for(to, &outcome.after).unwrap_or_default()).unwrap_or_default();
                WishWord::Done { outcome: outcome.clone(), pages }
            }
            (Stage::Decided(_) | Stage::Unknown(_), _) => WishWord::Unknown,
            // It was sent before, and nobody can take back what a person ordered.
            _ if write.role == Role::Ordered => WishWord::Unknown,
            (Stage::Sending | Stage::Judging, _) => WishWord::Sending,
            _ if write.tries.doubtful => WishWord::Unknown,
            _ => WishWord::Stored,
        }
    }

    /// The origin gave up on this site. What was not sent is void for good; what was sent is told as it is.
    pub(crate) fn revoked(&mut self, cx: &mut Cx, from: SiteName, id: WriteId, attempt: u32) {
        let Some(write) = self.live.get(&id) else {
            let later = self.lookups.word_of_origin(&id);
            if matches!(later, Some(Looking::Wish { wish, .. }) if wish.attempt > attempt) {
                return;
            }
            return self.find(cx, Find::Id(id), Looking::Revoke { from, id, attempt });
        };
        let Some(held) = &write.row.wish else { return };
        if write.row.position.is_some() || held.from != from || attempt < held.attempt {
            return;
        }
        let waits = matches!(write.stage, Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting);
        if waits && !write.tries.doubtful && write.row.outcome.is_none() && write.role == Role::Wish {
            if self.bug(Bug::RevokedWishKept) {
                return self.say_word(cx, id, WishWord::Void);
            }
            return self.void_wish(cx, id, attempt, WishWord::Void);
        }
        let word = self.word_of(id);
        self.say_word(cx, id, word);
    }

    /// The journal was asked for a revoked wish that is not live.
    pub(crate) fn revoke_found(&mut self, cx: &mut Cx, from: SiteName, id: WriteId, attempt: u32, rows: Vec<Found>) {
        if self.live.contains_key(&id) {
            return self.revoked(cx, from, id, attempt);
        }
        let row = rows.iter().map(|f| &f.row).find(|row| row.id == id);
        let void_up_to = row.and_then(|row| row.wish.as_ref()).map_or(0, |wish| wish.attempt);
        match row.map(|row| row.origin == Origin::Cancelled) {
            // Its page came: the origin has settled it.
            Some(false) => {}
            Some(true) if attempt <= void_up_to => {
                cx.out.push(Effect::Send { to: from, message: Message::Word { id, attempt, word: void_word(row) } });
            }
            // Its wish may still be under way: durable before the origin hears that it is void (G2).
            _ => self.refuse_wish(cx, from, id, attempt, WishWord::Void),
        }
    }

    /// Says that it will not be sent here, durably: a late copy of the wish must find that it is void, for its origin
    /// may have told a client so.
    fn refuse_wish(&mut self, cx: &mut Cx, from: SiteName, id: WriteId, attempt: u32, word: WishWord) {
        let facts = Facts {
            lane: Lane::WHOLE_SERVICE,
            key: None,
            digest: Digest([0; 32]),
            original_ms: 0,
            traceparent: None,
            client: None,
            renews: Vec::new(),
            creates: false,
        };
        let mut write = Write::new(id, facts, None, Role::Wish, cx.ms());
        write.row.wish = Some(WishHeld { void: true, ..WishHeld::new(from, attempt) });
        self.insert(write);
        self.void_wish(cx, id, attempt, word);
    }

    /// It will never be sent on this attempt: durable before the origin hears of it.
    pub(crate) fn void_wish(&mut self, cx: &mut Cx, id: WriteId, attempt: u32, word: WishWord) {
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.origin = Origin::Cancelled;
        let has_request = write.request.is_some();
        if let Some(held) = &mut write.row.wish {
            held.void = true;
            held.attempt = held.attempt.max(attempt);
        }
        self.close(cx, id, Closing { fate: Fate::Void, word: Word::This(word) });
        if has_request {
            // A copy of it that is under way must find that it is void, and nothing else of it.
            cx.persist(Op::DropRequest(id));
        }
    }

    /// Its origin waits for a word, and is there: while the wish waits for its lane, or the service is at it, that is
    /// said. Where it waits for what does not come here, another site may be better placed, and silence tells so.
    pub(crate) fn asked(&mut self, cx: &mut Cx, from: &SiteName, id: WriteId, attempt: u32) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let is_asked = write.row.wish.as_ref().is_some_and(|held| held.from == *from && held.attempt == attempt);
        if !is_asked || write.row.position.is_some() {
            return;
        }
        write.asker.heard_ms = cx.ms();
        let is_under_way = cx.ms() < write.asker.done_said_ms.saturating_add(LONG_AGAIN_MS);
        if self.misses_something(id) {
            return;
        }
        match self.word_of(id) {
            word if is_under_way && is_long(&word) => self.say_word(cx, id, WishWord::Sending),
            word => self.say_word(cx, id, word),
        }
    }

    fn misses_something(&self, id: WriteId) -> bool {
        let waits = |write: &&Write| write.stage == Stage::Waiting;
        self.live.get(&id).filter(waits).is_some_and(|write| self.missing_for(write).is_some())
    }

    /// Nothing was heard of its origin for its `answer.after`: what was not sent is void, for the origin has asked
    /// elsewhere, or will. So is what waited so long for something that does not come.
    pub(crate) fn held_wish_deadline(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let Some(held) = &write.row.wish else { return };
        let waits = matches!(write.stage, Stage::Waiting | Stage::Checking | Stage::Connecting);
        let waits = waits && write.role == Role::Wish;
        if !waits || write.tries.doubtful || write.row.position.is_some() || self.bug(Bug::RevokedWishKept) {
            return;
        }
        let (attempt, silence_ms) = (held.attempt, write.asker.silence_ms);
        let of_origin = self.mirror.peers.get(&held.from).map_or(0, |peer| peer.heard_ms).max(write.asker.heard_ms);
        let since_ms = if self.misses_something(id) {
            write.brought.accepted_ms
        } else {
            of_origin.max(write.brought.accepted_ms)
        };
        if cx.ms() >= since_ms + silence_ms {
            self.void_wish(cx, id, attempt, WishWord::Void);
        } else {
            self.wake_write_at(since_ms + silence_ms, id);
        }
    }

    pub(crate) fn finish_wish(&mut self, cx: &mut Cx, id: WriteId, class: Class) {
        let Some(write) = self.live.get(&id) else { return };
        if write.row.position.is_some() {
            return self.finish_settled_wish(cx, id, class);
        }
        let attempt = write.row.wish.as_ref().map_or(0, |w| w.attempt);
        match self.outcome_of(id, class) {
            Some((outcome, fate)) => self.complete_wish(cx, id, outcome, fate),
            None => self.void_wish(cx, id, attempt, WishWord::NotHere),
        }
    }

    /// The wish is decided here; its origin settles it and gives it a position.
    pub(crate) fn complete_wish(&mut self, cx: &mut Cx, id: WriteId, outcome: Outcome, fate: Fate) {
        let Some(write) = self.live.get_mut(&id) else { return };
        if write.row.position.is_some() {
            let theirs = write.row.outcome.as_ref().map_or(Verdict::Undecided, |o| o.verdict);
            self.keep_own_answer(id, &outcome);
            return match fate {
                Fate::Applied => self.applied_but(cx, id, theirs, outcome),
                fate => {
                    if theirs == Verdict::Undecided {
                        self.owe_word(cx, id, outcome);
                    }
                    self.decide_shadow(cx, id, fate);
                }
            };
        }
        let status = outcome.status;
        write.row.outcome = Some(outcome);
        if let Fate::Quarantined(reason) = fate {
            self.quarantine(cx, id, reason, format!("the service answered {status}"), status);
        }
        self.close(cx, id, Closing { fate, word: Word::AsItStands });
    }

    /// Clients of this site that sent a copy of another site's write have waited for it.
    pub(crate) fn answer_copies(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        if write.brought.clients.is_empty() || write.brought.first_client.is_some() {
            return;
        }
        let row = write.record();
        let reply = match row.told() {
            Some(outcome) if !matches!(outcome.verdict, Verdict::Undecided | Verdict::Void) => {
                self.recorded_reply(id, outcome.clone(), write.row.position.map(|(position, _)| position))
            }
            Some(_) => Reply::Problem { id: Some(id), problem: Problem::OutcomeUnknown },
            // Void: the key is free again.
            None => Reply::Problem { id: Some(id), problem: Problem::KeyInFlight { retry_after_s: 1 } },
        };
        for req in write.brought.clients.clone() {
            self.answer(cx, req, reply.clone());
        }
    }

    /// The origin settled it without our word, while it was at this replica.
    fn finish_settled_wish(&mut self, cx: &mut Cx, id: WriteId, class: Class) {
        let Some(write) = self.live.get(&id) else { return };
        let theirs = write.row.outcome.as_ref().map_or(Verdict::Undecided, |o| o.verdict);
        let ours = self.outcome_of(id, class.clone());
        if let Some((ours, _)) = &ours {
            self.keep_own_answer(id, ours);
        }
        match (theirs, class) {
            (Verdict::Undecided, Class::Refused(_) | Class::NotExecuted(_) | Class::MayHaveApplied(_)) => {
                let (outcome, fate) = ours.expect("an answer is an outcome");
                if let Fate::Quarantined(reason) = fate {
                    self.quarantine(cx, id, reason, format!("the service answered {}", outcome.status), outcome.status);
                }
                self.owe_word(cx, id, outcome);
                self.decide_shadow(cx, id, fate);
            }
            (_, Class::Success(_)) => {
                let (outcome, _) = ours.expect("a success is an outcome");
                self.applied_but(cx, id, theirs, outcome);
            }
            (Verdict::Applied, Class::NeverSent { .. } | Class::NotExecuted(_)) => {
                if let Some(write) = self.live.get_mut(&id) {
                    write.role = Role::Shadow;
                    write.stage = Stage::Waiting;
                }
                self.persist(cx, id);
                self.agenda.push(Work::Look(id));
            }
            (Verdict::Applied, Class::Refused(answer) | Class::MayHaveApplied(answer)) => {
                let detail = format!("another replica applied it, this one answered {}", answer.status);
                self.quarantine_shadow(cx, id, QuarantineReason::Divergence, detail, answer.status);
            }
            (_, Class::MayHaveApplied(answer)) => {
                let detail = format!("settled as {theirs:?} by its origin, this replica answered {}", answer.status);
                self.quarantine_shadow(cx, id, QuarantineReason::Contrary, detail, answer.status);
            }
            (_, _) => self.skip_settled(cx, id),
        }
    }

    /// Applied here; what did its origin settle?
    pub(crate) fn applied_but(&mut self, cx: &mut Cx, id: WriteId, theirs: Verdict, ours: Outcome) {
        match theirs {
            Verdict::Applied | Verdict::Duplicate => self.decide_shadow(cx, id, Fate::Applied),
            Verdict::Undecided => {
                self.owe_word(cx, id, ours);
                self.decide_shadow(cx, id, Fate::Applied);
                self.find(cx, Find::Id(decision_of(id)), Looking::Heard(id));
            }
            Verdict::Refused | Verdict::NotExecuted | Verdict::MayHaveApplied | Verdict::Void => {
                let detail = format!("applied at this replica, settled as {theirs:?} by its origin");
                self.quarantine_shadow(cx, id, QuarantineReason::Contrary, detail, ours.status);
            }
        }
    }

    /// The origin has not heard our word: it makes a decision of it, with a position of its own. Owed until that comes,
    /// and until then what is sent here names the write by id.
    fn owe_word(&mut self, cx: &mut Cx, id: WriteId, outcome: Outcome) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let Some(held) = &mut write.row.wish else { return };
        if outcome.tells_nothing() {
            // This site knows no better than its origin.
            return;
        }
        match outcome.verdict {
            Verdict::Applied => {
                held.owed_word = Some(outcome);
                self.mirror.words.owe(id);
                self.say_owed_word(cx, id);
            }
            // Saves a person the question; nothing waits for it.
            _ => {
                let word = WishWord::Done { outcome, pages: Vec::new() };
                let message = Message::Word { id, attempt: held.attempt, word };
                cx.out.push(Effect::Send { to: held.from.clone(), message });
            }
        }
    }

    fn say_owed_word(&self, cx: &mut Cx, id: WriteId) {
        let Some(held) = self.live.get(&id).and_then(|write| write.row.wish.as_ref()) else { return };
        let Some(outcome) = held.owed_word.clone() else { return };
        let word = WishWord::Done { outcome, pages: Vec::new() };
        let message = Message::Word { id, attempt: held.attempt, word };
        cx.out.push(Effect::Send { to: held.from.clone(), message });
    }

    /// Words that their origin has not made a decision of yet are said again, now and then.
    pub(crate) fn say_owed_words(&self, cx: &mut Cx, to: &SiteName) {
        let owed_to = |id: &WriteId| {
            let held = self.live.get(id).and_then(|write| write.row.wish.as_ref());
            held.is_some_and(|held| held.from == *to)
        };
        for id in self.mirror.words.owed().filter(owed_to) {
            self.say_owed_word(cx, id);
        }
    }

    /// What came of an order, or of a try that a crash cut short, may be known here after its origin's decision.
    pub(crate) fn word_may_be_heard(&mut self, cx: &mut Cx, id: WriteId, rows: &[Found]) {
        let Some(row) = rows.first().map(|found| &found.row) else { return };
        let taken_up = |position| self.mirror.series.get(&id.log).is_some_and(|series| series.is_decided(position));
        let is_owed = self.mirror.words.is_owed(&id);
        if !is_owed || !row.position.is_some_and(|(position, _)| taken_up(position)) {
            return;
        }
        let is_void = row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Void);
        if is_void {
            self.applied_but_void(cx, id);
        }
        self.word_was_heard(cx, id);
    }

    /// A person has to put this replica right.
    pub(crate) fn applied_but_void(&mut self, cx: &mut Cx, id: WriteId) {
        let detail = "applied at this replica, decided void by its origin".to_owned();
        self.quarantine_shadow(cx, id, QuarantineReason::Contrary, detail, 0);
    }

    /// Its origin's decision has come.
    pub(crate) fn word_was_heard(&mut self, cx: &mut Cx, id: WriteId) {
        if !self.mirror.words.heard(id) {
            return;
        }
        if let Some(held) = self.live.get_mut(&id).and_then(|write| write.row.wish.as_mut()) {
            held.owed_word = None;
            self.persist(cx, id);
        }
        self.evict_if_final(id);
    }

    /// The series of its origin brought a position for a write that is live here, as a wish.
    pub(crate) fn attach(&mut self, cx: &mut Cx, item: &Item) {
        let id = item.id;
        let Some(write) = self.live.get_mut(&id) else { return };
        write.row.position = Some((item.position, item.chain));
        write.row.settled_clock_ms = cx.now.clock_ms;
        let ours = write.row.outcome.replace(item.outcome.clone());
        let theirs = item.outcome.verdict;
        if let Some(ours) = &ours {
            self.keep_own_answer(id, ours);
        }
        self.mirror.words.positioned(id);
        self.replay.lane_memory.positioned(item.facts.lane, id, item.position);
        let Some(write) = self.live.get_mut(&id) else { return };
        match write.stage.clone() {
            Stage::Decided(Fate::Applied) => {
                // Before 2026-11-28 it was recorded without one that a person had said so.
                let ours =
                    ours.unwrap_or(Outcome { told_by_probe: true, ..Outcome::new(Verdict::Applied, After::new()) });
                self.applied_but(cx, id, theirs, ours);
            }
            // It was told not to be executed here, and another replica took it: this one follows.
            Stage::Decided(Fate::Refused) if theirs == Verdict::Applied && was_not_executed(ours.as_ref()) => {
                write.role = Role::Shadow;
                write.stage = Stage::Waiting;
                self.persist(cx, id);
                self.agenda.push(Work::Look(id));
            }
            Stage::Decided(Fate::Refused) if theirs == Verdict::Applied => {
                let detail = "another replica applied it, this one refused it".to_owned();
                self.quarantine_shadow(cx, id, QuarantineReason::Divergence, detail, ours.map_or(0, |o| o.status));
            }
            Stage::Decided(fate) => {
                if let (Verdict::Undecided, Some(ours)) = (theirs, ours) {
                    self.owe_word(cx, id, ours);
                }
                self.drop_request_of_refusal(cx, id);
                self.decide_shadow(cx, id, fate);
            }
            Stage::Sending | Stage::Judging | Stage::Unknown(_) => self.persist(cx, id),
            Stage::Idle | Stage::Waiting | Stage::Checking | Stage::Connecting | Stage::Backoff { .. } => {
                if write.role == Role::Ordered && theirs == Verdict::Undecided {
                    // What a person ordered goes on, and its origin hears what came of it. Its entry is held over a
                    // crash.
                    return self.persist(cx, id);
                }
                // What was ordered is superseded.
                self.release_held(cx, id);
                let Some(write) = self.live.get_mut(&id) else { return };
                if !item.is_followed() {
                    return self.skip_settled(cx, id);
                }
                write.role = Role::Shadow;
                self.persist(cx, id);
                self.agenda.push(Work::Look(id));
            }
        }
    }

    /// Its origin settled it without this site's word, or otherwise. What was recorded here stays the answer of its
    /// key: a client may have been told it, and a cut may keep the origin's decision away (G4).
    fn keep_own_answer(&mut self, id: WriteId, ours: &Outcome) {
        if let Some(write) = self.live.get_mut(&id)
            && write.row.outcome.as_ref().is_some_and(|theirs| theirs.verdict != ours.verdict)
            && ours.is_recorded()
        {
            write.row.ours = Some(ours.clone());
        }
    }
}
