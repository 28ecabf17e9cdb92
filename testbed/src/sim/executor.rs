//! What becomes of each effect: the service is asked, clients hear, messages leave, notes are counted.
use std::sync::Arc;

use holdfast::model::{After, Answer, Problem, WriteId};
use holdfast::service::{Attempt, AttemptResult, Effect, Event, Note, OnDivergence, ProbeResult, Reply, ReqId};

use super::clients::{Heard, is_invented};
use super::enumerate::Survives;
use super::history::{Method, Name, Report, Said};
use super::machine::Machine;
use super::rng::mix;
use super::site::{Job, Waiting};
use super::upstream::{Difference, Mood, difference, refuses};
use super::world::{Ev, World, name_of};

impl<M: Machine> World<M> {
    /// `false`: the process died on the way.
    pub fn execute(&mut self, site: usize, effects: Vec<Effect>) -> bool {
        for effect in effects {
            if self.rng.below(100_000) < self.rates.kill_between_effects {
                self.meets("fault: kill between two effects", site);
                self.crash(site);
                return false;
            }
            if self.stage_effect(site, &effect) == Survives::No {
                return false;
            }
            self.perform(site, effect);
        }
        true
    }

    fn perform(&mut self, site: usize, effect: Effect) {
        let life = self.sites[site].life;
        match effect {
            Effect::Persist(_) => unreachable!("the outbox keeps these"),
            Effect::Connect { id, attempt } => self.connect(site, id, attempt),
            Effect::Attempt(attempt) => self.attempt(site, attempt),
            Effect::Probe { id, attempt, request } => self.probe(site, id, attempt, name_of(&request)),
            Effect::Reply { req, reply } => self.reply(site, req, reply),
            Effect::Send { to, message } => {
                let to = self.index(&to);
                self.send(site, to, message);
            }
            Effect::Decider(_) => {}
            Effect::Publish(print) => self.publish(site, &print),
            Effect::Find { .. } | Effect::ReadSeries { .. } => {
                let delay = self.rng.range(0, self.plan.read_ms);
                self.after(delay, Ev::Read { site, life, effect: Box::new(effect) });
            }
            Effect::Note(note) => self.note(site, note),
        }
    }

    fn connect(&mut self, site: usize, id: WriteId, attempt: u32) {
        let (life, down) = (self.sites[site].life, self.sites[site].upstream.down);
        let result = if down { Err("connection refused".into()) } else { Ok(()) };
        if down {
            self.stats.hit("service: no connection");
        }
        // A kept one is there at once.
        let is_kept = self.rng.chance(700) && !self.rng.is_slow();
        let delay = if is_kept { 0 } else { self.rng.range(1, 30) };
        self.after(delay, Ev::Handle { site, life, event: Box::new(Event::Ready { id, attempt, result }) });
    }

    fn attempt(&mut self, site: usize, attempt: Attempt) {
        let name = name_of(&attempt.request);
        let node = &self.sites[site];
        let history = node.wanted[&(attempt.id, attempt.attempt)];
        let unexecuted = &self.plan.settings[site].unexecuted;
        let drawn = node.upstream.mood(&mut self.rng, &self.rates, unexecuted);
        let (down, slow, node_hangs) = (node.upstream.down, node.upstream.slow, node.upstream.hangs);
        let (id, life) = (attempt.id, node.life);
        let (mood, is_staged_slow) = self.staged_mood(drawn);
        let job = Job { site, life, id, attempt: attempt.attempt, name, history, mood, served: down, told: false };
        let index = self.jobs.len();
        self.jobs.push(job);
        self.trace.mix(u64::from(name) ^ (site as u64) << 32);
        if down {
            let result = AttemptResult::NeverSent { why: "connection refused".into() };
            return self.after(2, Ev::Attempted { job: index, result, clean: true });
        }
        // Never longer than the service's declared longest request: that is the fault model.
        let longest = self.plan.settings[site].longest_request_ms - 1;
        let mut work = self.rng.range(1, 10);
        if (slow && self.rng.chance(500)) || self.rng.chance(self.rates.slow_answer) {
            work = self.rng.range(10, longest);
        }
        if is_staged_slow {
            work = longest;
        }
        if node_hangs {
            // Until its own time for it is over, or for good.
            self.stats.hit("fault: taken and not answered");
            work = longest;
            self.jobs[index].served = self.rng.chance(500);
        }
        if !self.jobs[index].served {
            self.after(work, Ev::Serve { job: index });
        }
        let result = AttemptResult::Broken { why: "timed out".into() };
        self.after(self.plan.try_ms, Ev::Attempted { job: index, result, clean: false });
    }

    /// The service acts; whoever sent the request may be dead by now.
    pub fn serve(&mut self, job: usize) {
        let Job { site, name, mood, history, told, life, served, .. } = self.jobs[job];
        if served {
            // It went with the service that was put back.
            return;
        }
        let method = self.history.writes[&name].method;
        let (rule, keys) = (self.is_refused(name), self.plan.settings[site].idempotent);
        self.jobs[job].served = true;
        let broken = |why: &str| AttemptResult::Broken { why: why.into() };
        if mood == Mood::HangUpBefore || self.sites[site].upstream.down {
            self.stats.hit("fault: hung up before applying");
            return self.after(1, Ev::Attempted { job, result: broken("reset before the answer"), clean: false });
        }
        if let Mood::Busy | Mood::Fails { applies: false, .. } = mood {
            let status = if let Mood::Fails { status, .. } = mood { status } else { 429 };
            return self.respond(job, super::upstream::answer(status, Vec::new(), "not now"));
        }
        let is_shadow = self.history.attempts[history].shadow;
        let difference = self.difference(site, name).filter(|_| is_shadow && !rule);
        if let Some(kind) = difference {
            let met = self.history.differed.entry((site, name)).or_default();
            *met += 1;
            let refusal = match kind {
                Difference::Lasting(status) => Some(status),
                Difference::Passing { status, tries } if *met <= tries => Some(status),
                Difference::Passing { .. } | Difference::Value => None,
            };
            self.stats.hit("service: differs at a follower");
            if let Some(status) = refusal {
                // What a DELETE does not find is deleted.
                let status = if method == Method::Delete && status == 404 { 403 } else { status };
                return self.respond(job, super::upstream::answer(status, Vec::new(), "not here"));
            }
        }
        let own = if difference == Some(Difference::Value) { format!("-{site}") } else { String::new() };
        let served = self.sites[site].upstream.serve(site, name, method, rule, keys, &own);
        self.history.owners.insert(hash_of_body(&served.answer), name);
        if served.applied {
            self.history.apply(site, name, history);
            self.trace.mix(0xA1 ^ u64::from(name) ^ (site as u64) << 40);
            self.trace.line(self.now_ms, || format!("service {site} applies write w{name}"));
            if told {
                self.stats.hit("fault: still working after a timeout");
            }
            if !self.is_alive(site, life) {
                self.stats.hit("fault: applied after the appliance died");
            }
        } else if rule {
            self.stats.hit("service: refused");
        }
        match mood {
            Mood::HangUpAfter => {
                self.stats.hit("fault: hung up after applying");
                self.after(1, Ev::Attempted { job, result: broken("reset before the answer"), clean: false });
            }
            Mood::Fails { status, .. } => self.respond(job, super::upstream::answer(status, Vec::new(), "failed")),
            _ => self.respond(job, served.answer),
        }
    }

    /// Every replica refuses this write.
    fn is_refused(&self, name: Name) -> bool {
        match &self.stage {
            Some(stage) => stage.deed(name).refused,
            None => refuses(self.plan.seed, name, self.plan.refused),
        }
    }

    /// In what the service of this site differs, should it follow.
    pub fn difference(&self, site: usize, name: Name) -> Option<Difference> {
        match &self.stage {
            Some(stage) => stage.deed(name).differs.filter(|(at, _)| *at == site).map(|(_, difference)| difference),
            None => difference(self.plan.seed, site, name, self.plan.differs),
        }
    }

    fn respond(&mut self, job: usize, answer: Arc<Answer>) {
        match answer.status {
            500 => self.stats.hit("fault: answered 500"),
            502..=504 => self.stats.hit("fault: answered 502-504"),
            429 => self.stats.hit("fault: answered 429"),
            _ => {}
        }
        let clean = self.jobs[job].mood.is_clean();
        let delay = self.rng.range(1, 5);
        self.after(delay, Ev::Attempted { job, result: AttemptResult::Answered(answer), clean });
    }

    pub fn attempted(&mut self, job: usize, result: AttemptResult, clean: bool) {
        let Job { site, life, id, attempt, name, history, told, .. } = self.jobs[job];
        if told || !self.is_alive(site, life) {
            return;
        }
        self.jobs[job].told = true;
        self.sites[site].wanted.remove(&(id, attempt));
        if !clean {
            self.history.write(name).touched.insert(site);
        }
        if matches!(&result, AttemptResult::Answered(answer) if answer.status == 429) {
            self.history.write(name).turned_away = true;
        }
        let success = matches!(&result, AttemptResult::Answered(answer) if (200..400).contains(&answer.status));
        if clean {
            if success {
                let at = self.history.next();
                self.history.attempts[history].known = Some(at);
            }
            // The outcome goes into the batch that is handed over next.
            let batch = self.sites[site].batches + 1;
            self.sites[site].undurable.push((batch, history));
        }
        self.tell_core(site, Event::Attempted { id, attempt, result });
    }

    fn probe(&mut self, site: usize, id: WriteId, attempt: u32, name: Name) {
        let says_nothing = self.stage.as_mut().is_some_and(|stage| std::mem::take(&mut stage.silent));
        let (life, node) = (self.sites[site].life, &self.sites[site]);
        let result = if node.upstream.down || says_nothing {
            ProbeResult::Nothing
        } else {
            node.upstream.look_up(name).map_or(ProbeResult::NotFound, ProbeResult::Applied)
        };
        self.stats.hit("effect: probe");
        if matches!(result, ProbeResult::Applied(_)) {
            let at = self.history.next();
            self.history.probed.entry((site, name)).or_default().push(at);
        }
        let delay = self.rng.range(1, 20);
        self.after(delay, Ev::Handle { site, life, event: Box::new(Event::Probed { id, attempt, result }) });
    }

    pub fn health_check(&mut self, site: usize) {
        if self.sites[site].rests {
            return;
        }
        let healthy = !self.sites[site].upstream.down;
        self.tell_core(site, Event::Health { healthy });
    }

    pub fn reply(&mut self, site: usize, req: ReqId, reply: Reply) {
        if let Some(seen) = self.sites[site].reading.remove(&req.0) {
            if let Reply::Go { fresh, seen: carried } = reply {
                if fresh {
                    self.check_fresh(site, &seen);
                }
                self.check_carried(site, &carried);
            }
            return;
        }
        let Some(waiting) = self.sites[site].waiting.remove(&req.0) else {
            let resent = self.sites[site].resent.remove(&req.0);
            return match reply {
                Reply::Rejected { why } if why.contains("say discard") => {
                    self.stats.hit("operator: told that it is void");
                    self.sites[site].told_void.extend(resent);
                }
                Reply::Orders(ordered) => {
                    let void = ordered.rejected.into_iter().filter(|(_, why)| why.contains("say discard"));
                    self.sites[site].told_void.extend(void.map(|(id, _)| id));
                }
                Reply::Done | Reply::Rejected { .. } | Reply::Go { .. } => {}
                other => self.history.broken.push((0, format!("site {site} answered {req:?} twice: {other:?}"))),
            };
        };
        let Waiting { client, attempt, name, submission } = waiting;
        let mut seen_now = None;
        let said = match reply {
            Reply::Answer { answer, replayed, served_by, seen, .. } => {
                self.check_carried(site, &seen);
                seen_now = Some(seen);
                self.stats.hit(if replayed { "reply: replayed" } else { "reply: answer" });
                let body = hash_of_body(&answer);
                Said::Answer { status: answer.status, body, replayed, served_by: self.index(&served_by) }
            }
            Reply::Queued { .. } => {
                self.stats.hit("reply: queued");
                Said::Queued
            }
            Reply::Problem { problem, .. } => {
                self.stats.hit(problem_kind(&problem));
                Said::Problem(problem_kind(&problem))
            }
            other => return self.history.broken.push((name, format!("a write was answered {other:?}"))),
        };
        self.trace.mix(0xB2 ^ u64::from(name));
        self.trace.line(self.now_ms, || format!("site {site} tells client {client} of w{name}: {said:?}"));
        let told = self.history.tell(name, site, submission, said.clone());
        let is_lost = self.stage.as_mut().is_some_and(|stage| std::mem::take(&mut stage.answer_lost));
        if is_lost || self.rng.chance(self.rates.client_answer_loss) {
            return self.stats.hit("client: answer lost");
        }
        let delay = self.rng.range(1, 3);
        let heard = Box::new(Heard::Said { said, told, seen: seen_now });
        self.after(delay, Ev::Heard { client, attempt, heard });
    }

    fn check_carried(&mut self, site: usize, seen: &After) {
        if is_invented(seen) {
            self.history.broken.push((0, format!("site {site} carries on what nobody can have seen: {seen:?}")));
        }
    }

    pub fn reply_due(&mut self, site: usize, life: u32, req: u64, asked_ms: u64) {
        let node = &self.sites[site];
        let Some(waiting) = node.waiting.get(&req).filter(|_| self.is_alive(site, life)) else { return };
        let excused = node.excused_until_ms.max(node.paused_until_ms);
        if excused > asked_ms && self.now_ms < excused + 3_000 + self.plan.settings[site].total_ms {
            return self.after(1_000, Ev::ReplyDue { site, life, req, asked_ms });
        }
        let why = format!("site {site} did not answer within its total timeout ({} ms)", self.now_ms - asked_ms);
        let name = waiting.name;
        self.history.broken.push((name, why));
    }

    fn note(&mut self, site: usize, note: Note) {
        self.stats.hit(match &note {
            Note::Accepted => "note: accepted",
            Note::Cancelled => "note: cancelled",
            Note::Settled { verdict: holdfast::model::Verdict::Undecided, .. } => "note: settled undecided",
            Note::Settled { .. } => "note: settled",
            Note::ShadowSettled { fate: holdfast::journal::Fate::Applied } => "note: shadow applied",
            Note::ShadowSettled { .. } => "note: shadow decided",
            Note::Duplicate => "note: duplicate",
            Note::Replayed => "note: replayed",
            Note::Concurrent { .. } => "note: concurrent",
            Note::Unknown { .. } => "note: unknown",
            Note::StoodAside { .. } => "note: stood aside",
            Note::KeyConflict { .. } => "note: key conflict",
            Note::AnsweredDifferently { .. } => "note: answered differently",
            Note::Quarantined { .. } => "note: quarantined",
            Note::Divergence { .. } => "note: divergence",
            Note::TriedOnceMore { .. } => "note: tried once more",
            Note::RefusedBehind { .. } => "note: refused behind",
            Note::Stopped { .. } => "note: stopped",
            Note::Failover { .. } => "note: failover",
            Note::AskedOrigin => "note: asked origin",
            Note::Fork { .. } => "note: fork",
            Note::Invalid { .. } => "note: invalid",
            Note::Broken { .. } => "note: broken record met",
            Note::Mended { .. } => "note: broken record mended",
        });
        match note {
            Note::Quarantined { id, reason } => {
                if let Some(&name) = self.ids.get(&id) {
                    self.history.quarantine(Report { site, name, reason });
                }
            }
            // Nobody else was restored from a copy, and nobody speaks another language, in this world.
            Note::Fork { .. } if self.history.gone.is_some() => {}
            Note::Fork { peer, log } => {
                self.history.broken.push((0, format!("site {site} sees a fork of {log} at {peer}")));
            }
            Note::Stopped { why }
                if (why.contains("this one") || why.contains("differ"))
                    && self.plan.settings[site].on_divergence == OnDivergence::Quarantine =>
            {
                let what = format!("site {site} stopped for differences, which nobody asked it to: {why}");
                self.history.broken.push((0, what));
            }
            Note::Invalid { peer, why } => {
                self.history.broken.push((0, format!("site {site} cannot read what {peer} says: {why}")));
            }
            _ => {}
        }
    }
}

fn hash_of_body(answer: &Answer) -> u64 {
    answer.body.iter().fold(7, |hash, byte| mix(hash ^ u64::from(*byte)))
}

fn problem_kind(problem: &Problem) -> &'static str {
    match problem {
        Problem::KeyReused => "reply: key-reused",
        Problem::KeyOfAnother { .. } => "reply: key-of-another",
        Problem::KeyInFlight { .. } => "reply: key-in-flight",
        Problem::ReplayUnavailable => "reply: replay-unavailable",
        Problem::OriginUnreachable { .. } => "reply: origin-unreachable",
        Problem::LaneBusy { .. } => "reply: lane-busy",
        Problem::NoReplica { .. } => "reply: no-replica",
        Problem::Overloaded { .. } => "reply: overloaded",
        Problem::Stale => "reply: stale",
        Problem::OutcomeUnknown => "reply: outcome-unknown",
        Problem::OutcomePending => "reply: outcome-pending",
        Problem::DiskReserve => "reply: disk-reserve",
        Problem::StoreDown => "reply: store-down",
        Problem::JournalHeld => "reply: journal-held",
        Problem::Draining => "reply: draining",
    }
}
