//! *Unknown* is a state of its own: fence, then what the service itself can tell, then a person.
use std::sync::Arc;

use crate::journal::{Fate, QuarantineReason};
use crate::model::{Answer, Outcome, Problem, Verdict, WriteId};
use crate::service::close::{Closing, Word};
use crate::service::core::{Core, Cx, Work};
use crate::service::outcome::Class;
use crate::service::write::{Doubt, Role, Stage};
use crate::service::{Bug, Effect, Message, Note, ProbeResult, Reply, WishWord};

/// Between two questions to a probe, or two tries to send again at a replica that cannot be reached.
const ASK_EVERY_MS: u64 = 500;

impl Core {
    /// The attempt may have been applied. The lane stays fenced: nothing else of it is sent here.
    pub(crate) fn enter_doubt(&mut self, cx: &mut Cx, id: WriteId, why: String) {
        let now = cx.ms();
        let (fence_ms, hold_ms) = (self.settings.longest_request_ms, self.settings.hold_ms);
        let no_fence = self.settings.idempotent || self.bug(Bug::NoFence);
        let may_tell = self.settings.has_probe || self.settings.idempotent;
        let Some(write) = self.live.get_mut(&id) else { return };
        // When it left nobody here knows exactly: its row had to become durable first. Not later than now.
        let fence_until_ms = if no_fence { now } else { now + fence_ms };
        let worked_until_ms = now + fence_ms;
        let pass_at_ms = *write.tries.pass_at_ms.get_or_insert(worked_until_ms + hold_ms);
        let pass_at_ms = pass_at_ms.max(fence_until_ms);
        let first = !write.tries.doubtful;
        (write.tries.doubtful, write.brought.is_told_of) = (true, true);
        // A probe is asked during the fence too, and then ends it.
        let next_ms = if self.settings.has_probe { now } else { fence_until_ms }.max(if first {
            now
        } else {
            now + ASK_EVERY_MS
        });
        write.stage = Stage::Unknown(Doubt { fence_until_ms, worked_until_ms, pass_at_ms, next_ms, asked_ms: None });
        let (role, lane, clients) = (write.role, write.row.facts.lane, write.brought.clients.clone());
        self.completer.unknown.is_unknown(id);
        self.replay.lanes.take_place(lane, id);
        self.stand_aside(cx, id);
        if first {
            self.call_strangers(id);
            cx.note(Note::Unknown { id, why });
            self.persist(cx, id);
        }
        if role == Role::Wish {
            self.say_word(cx, id, WishWord::Unknown);
        }
        if !may_tell {
            for req in clients {
                self.answer(cx, req, Reply::Problem { id: Some(id), problem: Problem::OutcomeUnknown });
            }
        }
        if self.bug(Bug::ResendUnknown) {
            self.set_stage(id, Stage::Waiting);
            return self.send(cx, id);
        }
        self.wake_write_at(next_ms.min(pass_at_ms), id);
        self.doubt_deadline(cx, id);
    }

    /// Nobody knows what became of a POST that makes something new. No other such POST of its path depends on it, here
    /// or where it was wished: they go on. It is no less fenced, asked for and settled than if its lane waited; only
    /// the others overlap with it.
    pub(crate) fn stand_aside(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id).filter(|write| write.row.facts.creates) else { return };
        let lane = write.row.facts.lane;
        if self.replay.lanes.stand_aside(lane, id) {
            self.agenda.push(Work::Lane(lane));
            cx.note(Note::StoodAside { id });
        }
    }

    /// Takes the next step of an unknown write, if one is due.
    pub(crate) fn doubt_deadline(&mut self, cx: &mut Cx, id: WriteId) {
        let now = cx.ms();
        let healthy = self.replica.is_healthy();
        let Some(write) = self.live.get_mut(&id) else { return };
        let unfollowed = write.is_unfollowed();
        let Stage::Unknown(doubt) = &mut write.stage else { return };
        let is_idempotent = self.settings.idempotent || write.request.as_ref().is_some_and(|r| r.is_idempotent());
        let can_resend = is_idempotent && !unfollowed;
        let can_tell = self.settings.has_probe || can_resend;
        if now >= doubt.pass_at_ms {
            if write.role == Role::Shadow && can_tell && !healthy {
                // The replica is down: nothing can pass it, and it may tell when it is back.
                doubt.pass_at_ms = now + self.settings.hold_ms.max(ASK_EVERY_MS);
            } else if now >= doubt.worked_until_ms {
                return self.pass(cx, id);
            }
        }
        let is_over = now >= doubt.pass_at_ms;
        let (due, fenced) = (now >= doubt.next_ms, now < doubt.fence_until_ms);
        let next = if due { now + ASK_EVERY_MS } else { doubt.next_ms };
        if due {
            doubt.next_ms = next;
        }
        // The last try may be worked on when the time for trying is over: nothing passes it before.
        let wake = next.min(if is_over { doubt.worked_until_ms } else { doubt.pass_at_ms });
        if due && can_resend && !fenced && !is_over {
            return self.send(cx, id);
        }
        if due
            && self.settings.has_probe
            && doubt.asked_ms.is_none()
            && let Some(request) = write.request.clone()
        {
            doubt.asked_ms = Some(now);
            let attempt = write.tries.attempts;
            cx.out.push(Effect::Probe { id, attempt, request });
        }
        self.wake_write_at(wake, id);
    }

    /// The service was asked whether it has the write.
    pub(crate) fn probed(&mut self, cx: &mut Cx, id: WriteId, attempt: u32, result: ProbeResult) {
        let has_early_bug = self.bug(Bug::ProbeBelievedEarly);
        // What it says of an earlier try it may have seen before this one.
        let Some(write) = self.live.get_mut(&id).filter(|write| write.tries.attempts == attempt) else { return };
        let result = match result {
            // It is asked by the key, and finds the earlier write that this one renews.
            ProbeResult::Applied(_) if !write.row.facts.renews.is_empty() => ProbeResult::Nothing,
            result => result,
        };
        if write.stage == Stage::Judging {
            return self.judged(cx, id, result);
        }
        let Stage::Unknown(doubt) = &mut write.stage else { return };
        let asked_ms = doubt.asked_ms.take();
        let worked_until_ms = doubt.worked_until_ms;
        let believed_early = has_early_bug && cx.ms() >= doubt.fence_until_ms;
        match result {
            // An earlier try was applied, and a later one may still be about to do it again, over what came next of its
            // lane.
            ProbeResult::Applied(_) if write.tries.attempts > 1 && cx.ms() < doubt.fence_until_ms => {}
            ProbeResult::Applied(answer) => self.turned_out_applied(cx, id, answer),
            // Looked at before the fence ended, the service may have done it since.
            ProbeResult::NotFound if asked_ms.is_some_and(|at| at >= doubt.fence_until_ms) || believed_early => {
                let lane = write.row.facts.lane;
                if write.is_unfollowed() {
                    // A service that honours keys has no fence for trying again, but it may still be working on this
                    // try.
                    let is_ordered = write.role == Role::Ordered;
                    if asked_ms.is_some_and(|at| at >= worked_until_ms) && is_ordered {
                        self.free_place(lane, id);
                        self.ordered_in_vain(cx, id, "the service was asked, and has not applied it", 0);
                    } else if asked_ms.is_some_and(|at| at >= worked_until_ms) {
                        // Not applied here, and its origin has settled that it shall not be.
                        self.skip_settled(cx, id);
                    }
                    return;
                }
                if !believed_early && asked_ms.is_none_or(|at| at < worked_until_ms) {
                    // So there it says nothing of what that try may still do. It is sent again as long as that may
                    // help, and asked again after.
                    return;
                }
                if write.role == Role::Own && write.placing.pending.is_some() {
                    (write.tries.doubtful, write.tries.pass_at_ms) = (false, None);
                    self.free_place(lane, id);
                    self.take_late_word(cx, id);
                    return;
                }
                // As a later try of a write that has kept its lane: its `after` stays.
                self.send(cx, id);
                if let Some(write) = self.live.get_mut(&id) {
                    (write.tries.doubtful, write.tries.pass_at_ms) = (false, None);
                }
            }
            ProbeResult::NotFound | ProbeResult::Nothing => {}
        }
    }

    fn turned_out_applied(&mut self, cx: &mut Cx, id: WriteId, answer: Arc<Answer>) {
        let Some(write) = self.live.get(&id) else { return };
        let (role, lane) = (write.role, write.row.facts.lane);
        let class = Class::Success(answer);
        match role {
            Role::Shadow | Role::Ordered => {
                if write.is_unfollowed() && role == Role::Shadow {
                    let theirs = write.row.outcome.as_ref().map_or(Verdict::Undecided, |outcome| outcome.verdict);
                    let Some((outcome, _)) = self.outcome_of(id, class) else { return };
                    self.free_place(lane, id);
                    self.applied_but(cx, id, theirs, outcome);
                } else if role == Role::Shadow {
                    self.decide_shadow(cx, id, Fate::Applied);
                } else {
                    self.free_place(lane, id);
                    self.finish_ordered(cx, id, class);
                }
            }
            Role::Own | Role::Wish => {
                let Some((mut outcome, fate)) = self.outcome_of(id, class) else { return };
                outcome.told_by_probe = true;
                self.free_place(lane, id);
                if role == Role::Own {
                    self.settle(cx, id, outcome, Some(fate));
                } else {
                    self.complete_wish(cx, id, outcome, fate);
                }
            }
        }
    }

    /// The lane waits no longer: a person decides. What was passed is never sent again by a rule.
    pub(crate) fn pass(&mut self, cx: &mut Cx, id: WriteId) {
        let Some(write) = self.live.get(&id) else { return };
        let (role, lane) = (write.role, write.row.facts.lane);
        let after = write.tries.after.clone().unwrap_or_default();
        let detail = "sent, and no answer told what became of it".to_owned();
        let reason = QuarantineReason::UnknownOutcome;
        self.free_place(lane, id);
        match role {
            Role::Shadow => self.quarantine_shadow(cx, id, reason, detail, 0),
            Role::Own => {
                self.quarantine(cx, id, reason, detail, 0);
                let outcome = Outcome::new(Verdict::Undecided, after);
                self.settle(cx, id, outcome, Some(Fate::Quarantined(reason)));
            }
            Role::Wish | Role::Ordered => {
                self.quarantine(cx, id, reason, detail, 0);
                let word = if role == Role::Wish { Word::This(WishWord::Unknown) } else { Word::None };
                self.close(cx, id, Closing { fate: Fate::Quarantined(reason), word });
            }
        }
    }

    pub(crate) fn say_word(&mut self, cx: &mut Cx, id: WriteId, word: WishWord) {
        let Some(write) = self.live.get_mut(&id) else { return };
        let Some(held) = write.row.wish.clone() else { return };
        if matches!(word, WishWord::Done { .. }) {
            write.asker.done_said_ms = cx.ms();
        }
        let message = Message::Word { id, attempt: held.attempt, word };
        cx.out.push(Effect::Send { to: held.from, message });
    }
}
