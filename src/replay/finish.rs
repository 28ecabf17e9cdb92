//! What an attempt at this replica led to, for the decider's own writes, for wishes and for shadows.
use std::sync::Arc;

use crate::journal::{Fate, Origin, QuarantineReason, Quarantined};
use crate::model::{Answer, LogId, Outcome, Verdict, WriteId, decided_by, is_decision};
use crate::service::core::{Core, Cx, Work};
use crate::service::outcome::{Class, classify, is_about_the_caller};
use crate::service::write::{Role, Stage};
use crate::service::{AttemptResult, Bug, Effect, Note, ProbeResult};

const BACKOFF_FIRST_MS: u64 = 50;
const BACKOFF_MAX_MS: u64 = 5_000;
/// Of this replica's answer a person is shown so much.
const ANSWER_SHOWN_MAX: usize = 4 << 10;

impl Core {
    pub(crate) fn attempted(&mut self, cx: &mut Cx, id: WriteId, attempt: u32, result: AttemptResult) {
        if self.replay.turns.leaves(id) {
            self.agenda.push(Work::Shadows);
        }
        let hung = self.hangs(cx.ms());
        self.replica.ends(id, attempt, &result, cx.ms());
        if self.hangs(cx.ms()) != hung {
            self.mirror.statuses.say_soon();
            self.choose(cx);
        }
        let Some(write) = self.live.get_mut(&id) else { return };
        if write.stage != Stage::Sending || write.tries.attempts != attempt {
            return;
        }
        let role = write.role;
        let Some(request) = write.request.clone() else { return };
        let (lane, doubtful) = (write.row.facts.lane, write.tries.doubtful);
        let class = classify(result, &request, &self.settings, doubtful);
        if let Class::Unknown { why } = class {
            return self.enter_doubt(cx, id, why);
        }
        if let Class::MayHaveApplied(answer) = &class
            && self.settings.has_probe
            && matches!(role, Role::Own | Role::Wish)
        {
            return self.judge_by_probe(cx, id, answer.clone());
        }
        self.free_place(lane, id);
        match role {
            Role::Own => self.finish_own(cx, id, class),
            Role::Wish => self.finish_wish(cx, id, class),
            Role::Shadow => self.finish_shadow(cx, id, class),
            Role::Ordered => self.finish_ordered(cx, id, class),
        }
    }

    /// The outcome that a decider's attempt proves, with what it means at this replica; `None` when it never got there.
    pub(crate) fn outcome_of(&self, id: WriteId, class: Class) -> Option<(Outcome, Fate)> {
        let (verdict, fate, answer) = match class {
            Class::Success(answer) => (Verdict::Applied, Fate::Applied, answer),
            Class::Refused(answer) => (Verdict::Refused, Fate::Refused, answer),
            Class::NotExecuted(answer) => (Verdict::NotExecuted, Fate::Refused, answer),
            Class::MayHaveApplied(answer) => {
                (Verdict::MayHaveApplied, Fate::Quarantined(QuarantineReason::MayHaveApplied), answer)
            }
            Class::NeverSent { .. } | Class::Unknown { .. } => return None,
        };
        let write = self.live.get(&id);
        let after = write.and_then(|w| w.tries.after.clone()).unwrap_or_default();
        let unknown = write.map(|w| w.tries.unknown.clone()).unwrap_or_default();
        Some((Outcome { status: answer.status, answer: Some(answer), unknown, ..Outcome::new(verdict, after) }, fate))
    }

    /// 500, and the service can tell whether it applied the write.
    fn judge_by_probe(&mut self, cx: &mut Cx, id: WriteId, answer: Arc<Answer>) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let Some(request) = write.request.clone() else { return };
        write.stage = Stage::Judging;
        write.tries.judged = Some(answer);
        cx.out.push(Effect::Probe { id, attempt: write.tries.attempts, request });
    }

    /// The service has answered, so it is no longer working on the write: not found means not applied.
    pub(crate) fn judged(&mut self, cx: &mut Cx, id: WriteId, result: ProbeResult) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let Some(answer) = write.tries.judged.take() else { return };
        let (role, lane) = (write.role, write.row.facts.lane);
        let class = match result {
            ProbeResult::Applied(_) => Class::Success(answer),
            ProbeResult::NotFound => Class::Refused(answer),
            ProbeResult::Nothing => Class::MayHaveApplied(answer),
        };
        self.free_place(lane, id);
        if role == Role::Own { self.finish_own(cx, id, class) } else { self.finish_wish(cx, id, class) }
    }

    pub(super) fn finish_own(&mut self, cx: &mut Cx, id: WriteId, class: Class) {
        if let Class::NotExecuted(answer) = &class
            && self.queue.offered() == Some(id)
            && !is_about_the_caller(answer.status)
        {
            return self.offered_in_vain(cx, id, answer.status);
        }
        match self.outcome_of(id, class) {
            Some((outcome, fate)) => {
                if let Fate::Quarantined(reason) = fate {
                    self.quarantine(cx, id, reason, "the service answered 500".into(), outcome.status);
                }
                self.settle(cx, id, outcome, Some(fate));
            }
            None => {
                // It never got here: the next in order decides, and our replica follows.
                let me = self.settings.me.clone();
                let Some(write) = self.live.get_mut(&id) else { return };
                write.stage = Stage::Idle;
                write.placing.tried.push(me);
                if let Some((site, attempt)) = write.row.owed.first() {
                    // A site that was given up on may still have decided it: a restart must ask, not cancel.
                    write.row.origin = Origin::Wished { site: site.clone(), attempt: *attempt, revoked: true };
                    self.persist(cx, id);
                    if self.take_late_word(cx, id) {
                        return;
                    }
                }
                self.want_place(id);
            }
        }
    }

    fn finish_shadow(&mut self, cx: &mut Cx, id: WriteId, class: Class) {
        // Sent ahead of its position, which has come meanwhile and says otherwise.
        let otherwise = self.live.get(&id).filter(|write| write.is_unfollowed());
        let otherwise = otherwise.and_then(|write| write.row.outcome.as_ref()).map(|outcome| outcome.verdict);
        match class {
            Class::Success(_) if let Some(theirs) = otherwise => {
                let (ours, _) = self.outcome_of(id, class).expect("a success is an outcome");
                self.applied_but(cx, id, theirs, ours);
            }
            Class::NeverSent { .. } | Class::NotExecuted(_) if otherwise.is_some() => self.skip_settled(cx, id),
            Class::Refused(_) if otherwise.is_some_and(|theirs| theirs != Verdict::Undecided) => {
                self.skip_settled(cx, id)
            }
            Class::Success(answer) => self.compare(cx, id, answer),
            Class::NeverSent { .. } => self.back_off(cx, id),
            Class::NotExecuted(answer) => self.try_again(cx, id, &answer),
            Class::MayHaveApplied(_) if self.bug(Bug::OtherClassIgnored) => self.decide_shadow(cx, id, Fate::Applied),
            Class::Refused(answer) if self.was_deleted_before(id, answer.status) => self.compare(cx, id, answer),
            // Refused for what is not here yet, it would be refused as often as it is asked.
            Class::Refused(answer) | Class::MayHaveApplied(answer)
                if self.may_be_repeated(id) && self.live[&id].tries.without.is_empty() =>
            {
                self.try_again(cx, id, &answer);
            }
            Class::Refused(answer) | Class::MayHaveApplied(answer) => {
                let detail = self.other_answer(id, answer.status);
                self.diverged(cx, id, detail, &answer);
            }
            Class::Unknown { .. } => {}
        }
    }

    /// The shadow's outcome must be of the decider's class, with its `Location`.
    fn compare(&mut self, cx: &mut Cx, id: WriteId, answer: Arc<Answer>) {
        let Some(write) = self.live.get(&id) else { return };
        let Some(outcome) = &write.row.outcome else { return };
        // A decision by a person, or by a probe, has no answer to compare with.
        let was_success = matches!(outcome.status, 0 | 200..=399);
        if self.settings.replicate_all && outcome.status != 0 && was_success != (answer.status < 400) {
            let detail = format!("the decider's replica answered {}, this one {}", outcome.status, answer.status);
            return self.diverged(cx, id, detail, &answer);
        }
        if let Some(decider) = &outcome.answer
            && (was_success || self.settings.replicate_all)
        {
            let (theirs, ours) = (decider.header("location"), answer.header("location"));
            // An outcome that a probe told has none.
            if theirs.is_some() && theirs != ours {
                // It stands in lists and logs, which are for more eyes than what clients send: without its query.
                let show = |l: Option<&[u8]>| {
                    let text = l.map(|l| String::from_utf8_lossy(l).into_owned());
                    let path = |text: String| match text.find(['?', '#']) {
                        Some(at) => format!("{}…", &text[..=at]),
                        None => text,
                    };
                    text.map_or("none".to_owned(), path)
                };
                let detail = format!("Location differs: {} at the decider, {} here", show(theirs), show(ours));
                return self.diverged(cx, id, detail, &answer);
            }
            if self.settings.compare_body
                && !outcome.told_by_probe
                && decider.omitted.is_none()
                && decider.body != answer.body
            {
                return self.diverged(cx, id, "the bodies of the answers differ".into(), &answer);
            }
        }
        self.compared(cx, id, None);
        self.decide_shadow(cx, id, Fate::Applied);
    }

    pub(crate) fn other_answer(&self, id: WriteId, ours: u16) -> String {
        let theirs = self.live.get(&id).and_then(|w| w.row.outcome.as_ref()).map_or(0, |o| o.status);
        let advice =
            if is_about_the_caller(ours) { ": the service does not know who asks, see replay.auth" } else { "" };
        format!("the decider's replica answered {theirs}, this one {ours}{advice}")
    }

    /// What it did here differs from what its decider's replica did: it waits for a person, and following goes on.
    pub(crate) fn diverged(&mut self, cx: &mut Cx, id: WriteId, detail: String, answer: &Arc<Answer>) {
        cx.note(Note::Divergence { id });
        self.compared(cx, id, Some(&detail));
        // What may have been applied is not sent again by a rule (G2).
        let is_refused = (400..500).contains(&answer.status) && !self.settings.replicate_all;
        let write = self.live.get(&id).filter(|write| is_refused && !write.tries.may_have_applied);
        let without = write.map(|write| write.tries.without.clone()).unwrap_or_default();
        let mut entry = Quarantined::new(id, QuarantineReason::Divergence, detail, cx.now.wall_ms);
        entry.status = answer.status;
        entry.answer = Some(answer.clone()).filter(|answer| answer.weight() <= ANSWER_SHOWN_MAX);
        entry.unknown = without.clone();
        self.put_into_quarantine(cx, entry);
        self.decide_shadow(cx, id, Fate::Quarantined(QuarantineReason::Divergence));
        self.await_decisions(cx, id, &without);
    }

    pub(crate) fn back_off(&mut self, cx: &mut Cx, id: WriteId) {
        let now = cx.ms();
        let Some(write) = self.live.get_mut(&id) else { return };
        let wait_ms = (BACKOFF_FIRST_MS << write.tries.attempts.min(10)).min(BACKOFF_MAX_MS);
        write.stage = Stage::Backoff { until_ms: now + wait_ms };
        // The attempt proved that nothing was executed; a crash must not find it unknown.
        self.persist(cx, id);
        self.hold_for_person(cx, id);
        self.wake_write_at(now + wait_ms, id);
    }

    /// This replica is done with a write that another decided, or that came back from its decider.
    pub(crate) fn decide_shadow(&mut self, cx: &mut Cx, id: WriteId, fate: Fate) {
        let Some(position) = self.live.get(&id).map(|write| write.row.position) else { return };
        self.note_shadow(cx, id.log, position.map(|(position, _)| position), &fate);
        self.close(cx, id, fate);
    }

    /// Once for each: what was decided ahead is counted when it has its position, and what a person has ordered to be
    /// sent again was.
    pub(crate) fn note_shadow(&self, cx: &mut Cx, log: LogId, position: Option<u64>, fate: &Fate) {
        let open = |position| self.mirror.series.get(&log).is_some_and(|series| !series.is_decided(position));
        if log != self.own && position.is_some_and(open) {
            cx.note(Note::ShadowSettled { fate: fate.clone() });
        }
    }

    /// A POST that only its path names was answered 201: others of that path share nothing with it.
    pub(crate) fn learn_creating(&mut self, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let is_201 = |outcome: &Outcome| outcome.verdict == Verdict::Applied && outcome.status == 201;
        if (write.brought.may_create || write.row.facts.creates) && write.row.outcome.as_ref().is_some_and(is_201) {
            self.replay.creating.learn(write.row.facts.lane);
        }
    }

    /// For finding concurrent writes; a late decision counts as the write that it is about.
    pub(crate) fn note_applied(&mut self, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let (id, position) = match write.row.decides {
            Some((old, position)) => (old, Some(position)),
            None => (id, write.row.position.map(|(position, _)| position)),
        };
        self.replay.lane_memory.applied(write.row.facts.lane, id, position);
    }

    /// A position of a series is decided at this replica: what waited for it may go on.
    pub(crate) fn position_decided(&mut self, cx: &mut Cx, log: crate::model::LogId, position: u64) {
        let Some(series) = self.mirror.series.get_mut(&log) else { return };
        let advanced = series.mark_decided(position);
        let decided = series.decided;
        self.mirror.statuses.say_soon();
        for id in self.replay.blocked.decided_exactly(log, position) {
            self.agenda.push(Work::Look(id));
        }
        if advanced {
            // The window has room again, whoever decided this position.
            self.agenda.push(Work::Load(log));
            self.persist_series(cx, log);
            for id in self.replay.blocked.decided(log, decided) {
                self.agenda.push(Work::Look(id));
            }
        }
        self.wake_readers(cx);
    }

    /// A write is decided at this replica, whatever its position.
    pub(crate) fn decided_id(&mut self, id: WriteId) {
        if self.completer.unknown.is_awaited(decided_by(id)) {
            self.agenda.push(Work::Unknown(decided_by(id)));
        }
        let mut woken = self.replay.blocked.decided_id(id);
        if is_decision(id) {
            woken.extend(self.replay.blocked.decided_id(decided_by(id)));
        }
        if !woken.is_empty() {
            self.mirror.wishes.look_soon();
        }
        self.told_is_decided(id);
        self.call_strangers(id);
        self.agenda.extend(woken.into_iter().map(Work::Look));
        for id in [id, decided_by(id)] {
            if self.replay.postponed.has_any_about(&id) {
                self.agenda.push(Work::Decision(id));
            }
        }
    }
}
