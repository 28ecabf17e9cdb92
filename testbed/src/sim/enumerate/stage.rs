//! A script for clients, and faults at named steps, in a world in which nothing else goes wrong.
//!
//! Steps are counted from the first request of a client on, until nothing goes wrong any more; what is done at a step
//! is done just before it.
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

use holdfast::service::{Effect, Event, Operation, Reply};

use super::act::{Act, Kept};
use super::scenario::{Deed, Scenario};
use super::step::{At, Faults, Kind, Step, What};
use crate::sim::disk::Death;
use crate::sim::history::Name;
use crate::sim::machine::Machine;
use crate::sim::nemesis::Fault;
use crate::sim::plan::{Back, Restore};
use crate::sim::rng::{Pace, Rng};
use crate::sim::upstream::Mood;
use crate::sim::world::{Ev, World, name_of};

/// What may be put off is put off past so many of the next steps, and by no more than this.
const PAST: usize = 3;
const PAST_MS_MAX: u64 = 400;
/// Where nothing comes after it.
const PAST_NOTHING_MS: u64 = 20;

/// Whether the process is still there that an effect comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survives {
    Yes,
    No,
}

pub struct Stage {
    pub scenario: Arc<Scenario>,
    pub pace: Pace,
    faults: Faults,
    /// So many of them were met.
    met: usize,
    counts: BTreeMap<(What, usize), u32>,
    count: u32,
    begun: bool,
    /// Steps after so many met faults are kept; not at all without a number.
    keeps_after: Option<usize>,
    pub steps: Vec<Step>,
    // For what comes next.
    mood: Option<Mood>,
    slow: bool,
    pub silent: bool,
    pub answer_lost: bool,
    pub crash: Option<(Kept, u64)>,
}

impl Stage {
    pub fn new(scenario: Arc<Scenario>, pace: Pace, faults: Faults, keeps_after: Option<usize>) -> Self {
        Stage {
            scenario,
            pace,
            faults,
            met: 0,
            counts: BTreeMap::new(),
            count: 0,
            begun: false,
            keeps_after,
            steps: Vec::new(),
            mood: None,
            slow: false,
            silent: false,
            answer_lost: false,
            crash: None,
        }
    }

    pub fn deed(&self, name: Name) -> &Deed {
        self.scenario.deeds.iter().find(|deed| deed.name == name).expect("only what is in the script is written")
    }

    pub fn met_all(&self) -> bool {
        self.met == self.faults.0.len()
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Counts a step; what is to be done just before it.
    fn next(&mut self, what: What, site: usize, step: impl FnOnce(At) -> Step) -> (At, Option<Act>) {
        let nth = self.counts.entry((what, site)).or_default();
        *nth += 1;
        let at = At { what, site, nth: *nth };
        self.count += 1;
        if self.keeps_after.is_some_and(|met| self.met >= met) {
            self.steps.push(step(at));
        }
        let act = self.faults.0.get(self.met).filter(|(of, _)| *of == at).map(|(_, act)| *act);
        self.met += usize::from(act.is_some());
        (at, act)
    }
}

/// What a client is told, but for the words.
fn kind_of(reply: &Reply) -> impl Hash + use<> {
    let (status, problem) = match reply {
        Reply::Answer { answer, replayed, .. } => (Some((answer.status, *replayed)), None),
        Reply::Problem { problem, .. } => (None, Some(discriminant(problem))),
        _ => (None, None),
    };
    (discriminant(reply), status, problem)
}

impl<M: Machine> World<M> {
    pub fn expect_script(&mut self) {
        let Some(stage) = &self.stage else { return };
        for &(at_ms, act) in &stage.scenario.clone().script {
            self.after(at_ms, Ev::Scripted { act });
        }
    }

    /// The step that an event is, if it is one: it reaches somebody. With who has to do with it, too.
    fn step_of(&self, event: &Ev) -> Option<(What, usize, usize)> {
        let alone = |what, site: usize, is_met: bool| is_met.then_some((what, site, site));
        match *event {
            Ev::Handle { site, life, ref event } => match **event {
                Event::Ready { .. } => alone(What::Ready, site, self.is_alive(site, life)),
                _ => alone(What::Probed, site, self.is_alive(site, life)),
            },
            Ev::Tick { site, life, due_ms } => {
                let is_due = self.sites[site].tick_at_ms == Some(due_ms);
                alone(What::Tick, site, is_due && self.is_alive(site, life))
            }
            Ev::Synced { site, life } => alone(What::Synced, site, self.is_alive(site, life)),
            Ev::Read { site, life, .. } => alone(What::Read, site, self.is_alive(site, life)),
            Ev::HealthCheck { site, life } => alone(What::Health, site, self.is_alive(site, life)),
            Ev::LinkUp { site, peer, life, .. } => self.is_alive(site, life).then_some((What::LinkUp, site, peer)),
            Ev::LinkDown { site, peer, life, .. } => self.is_alive(site, life).then_some((What::LinkDown, site, peer)),
            Ev::Deliver { from, to, epoch, ref message } => {
                let current = self.network.connection(from, to).is_some_and(|c| c.epoch == epoch);
                let arrives = current && !self.network.is_cut(from, to);
                let is_known = self.network.believed(to, from) == Some(epoch);
                (arrives && is_known).then(|| (What::Deliver(Kind::of(message)), to, from))
            }
            Ev::WishLeft { from, life, to, .. } => self.is_alive(from, life).then_some((What::Left, from, to)),
            Ev::Hint { to, .. } => alone(What::Hint, to, self.sites[to].core.is_some()),
            Ev::Serve { job } => alone(What::Serve, self.jobs[job].site, !self.jobs[job].served),
            Ev::Attempted { job, .. } => {
                let it = &self.jobs[job];
                alone(What::Attempted, it.site, !it.told && self.is_alive(it.site, it.life))
            }
            Ev::Arrive { site, .. } => alone(What::Arrive, site, self.sites[site].core.is_some()),
            _ => None,
        }
    }

    fn next_step(&mut self, what: What, site: usize, peer: usize) -> Option<Act> {
        let (writing, clients) = (self.sites[site].writing, &self.clients);
        let stage = self.stage.as_mut()?;
        stage.begun |= what == What::Arrive;
        if !stage.begun {
            return None;
        }
        let (at, act) = stage.next(what, site, |at| {
            let waiting = clients.iter().enumerate().filter(|(_, client)| client.current.is_some());
            Step { at, peer, writing, waiting: waiting.fold(0, |bits, (n, _)| bits | (1 << n)) }
        });
        self.mix_in(&at);
        self.trace.line(self.now_ms, || match act {
            Some(act) => format!("step {at}: FAULT {act}"),
            None => format!("step {at}"),
        });
        act
    }

    /// Runs in which something else happened are not alike, whenever it did.
    fn mix_in(&mut self, what: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.trace.mix(hasher.finish());
    }

    /// What of an event comes now, after what is done at its step.
    pub fn stage_event(&mut self, event: Ev) -> Option<Ev> {
        if self.stage.is_none() {
            return Some(event);
        }
        self.end_those_at_rest();
        if !self.has_faults() {
            return Some(event);
        }
        let Some((what, site, peer)) = self.step_of(&event) else { return Some(event) };
        let Some(act) = self.next_step(what, site, peer) else { return Some(event) };
        match (act, event) {
            // It was given up on its way out.
            (Act::Drop, Ev::WishLeft { from, life, to, id, attempt, .. }) => {
                Some(Ev::WishLeft { from, life, to, id, attempt, over: None })
            }
            (Act::Drop, _) => {
                self.history.disturb();
                None
            }
            (Act::Twice, event) => {
                let copy = match &event {
                    Ev::Deliver { from, to, epoch, message } => {
                        Some(Ev::Deliver { from: *from, to: *to, epoch: *epoch, message: message.clone() })
                    }
                    Ev::Hint { to, print } => Some(Ev::Hint { to: *to, print: print.clone() }),
                    _ => None,
                };
                if let Some(copy) = copy {
                    self.put_off(copy);
                }
                Some(event)
            }
            (Act::Later, event) => {
                self.history.disturb();
                self.put_off(event);
                None
            }
            (act, event) => {
                self.act_at_step(act);
                Some(event)
            }
        }
    }

    fn put_off(&mut self, event: Ev) {
        let due = self.queue.iter().filter(|(_, later)| self.step_of(later).is_some()).map(|((ms, _), _)| *ms);
        let delay = due.take(PAST).last().map_or(PAST_NOTHING_MS, |ms| ms.saturating_sub(self.now_ms));
        self.after(delay.min(PAST_MS_MAX), event);
    }

    /// What is done at the step that an effect is.
    pub fn stage_effect(&mut self, site: usize, effect: &Effect) -> Survives {
        if self.stage.is_none() {
            return Survives::Yes;
        }
        let (what, peer) = match effect {
            Effect::Attempt(attempt) => {
                self.take_mood_of_script(attempt);
                (What::Attempt, site)
            }
            Effect::Probe { .. } => (What::Probe, site),
            Effect::Reply { reply, .. } => {
                self.mix_in(&kind_of(reply));
                (What::Answer, site)
            }
            Effect::Send { to, message } => (What::Send(Kind::of(message)), self.index(to)),
            _ => return Survives::Yes,
        };
        if !self.has_faults() {
            return Survives::Yes;
        }
        let life = self.sites[site].life;
        if let Some(act) = self.next_step(what, site, peer) {
            self.act_at_step(act);
        }
        if self.is_alive(site, life) { Survives::Yes } else { Survives::No }
    }

    fn take_mood_of_script(&mut self, attempt: &holdfast::service::Attempt) {
        let name = name_of(&attempt.request);
        let tries = self.history.attempts.iter().filter(|a| a.name == name && !a.shadow).count();
        let Some(stage) = &mut self.stage else { return };
        let deed = stage.deed(name);
        let is_first = attempt.attempt == 1 && attempt.shadow.is_none() && tries == 1;
        (stage.mood, stage.slow) = if is_first { (deed.mood, deed.slow) } else { (None, false) };
    }

    /// What the service does with this try, and whether it takes its time.
    pub fn staged_mood(&mut self, drawn: Mood) -> (Mood, bool) {
        match &mut self.stage {
            Some(stage) => (stage.mood.take().unwrap_or(drawn), std::mem::take(&mut stage.slow)),
            None => (drawn, false),
        }
    }

    /// A machine that is in the middle of its effects is told nothing: what a person says comes right after them.
    fn act_at_step(&mut self, act: Act) {
        match act {
            Act::Person | Act::Order { .. } | Act::Rest { .. } => self.after(0, Ev::Scripted { act }),
            act => self.act(act),
        }
    }

    pub fn act(&mut self, act: Act) {
        match act {
            Act::Crash { site, kept, restart_ms } => self.kill(site, kept, restart_ms),
            Act::Rest { site } => self.rest(site),
            Act::Cut { from, to, both, ms } => {
                let lines = [(from, to), (to, from)];
                self.cut_lines(if both { &lines } else { &lines[..1] }, ms);
            }
            Act::Isolate { site, ms } => {
                let others = (0..self.sites.len()).filter(|&other| other != site);
                let lines: Vec<_> = others.flat_map(|other| [(site, other), (other, site)]).collect();
                self.cut_lines(&lines, ms);
            }
            Act::Pause { site, ms } => self.trouble(&mut Rng::calm(Pace::Low), Fault::Pause, site, ms),
            Act::FullDisk { site, ms } => self.trouble(&mut Rng::calm(Pace::Low), Fault::FullDisk, site, ms),
            Act::Down { site, ms } => self.trouble(&mut Rng::calm(Pace::Low), Fault::ServiceDown, site, ms),
            Act::Hang { site, ms } => self.trouble(&mut Rng::calm(Pace::Low), Fault::ServiceHangs, site, ms),
            Act::FailedSync { site } => self.trouble(&mut Rng::calm(Pace::Low), Fault::FsyncError, site, 0),
            Act::Jump { site, hours } => self.sites[site].wall_offset_ms += hours * 3_600_000,
            Act::GiveUp { client, site } => self.gives_up(client, site),
            Act::Copy { site } => {
                self.plan.restore = Some(Restore { site, copied_ms: 0, back_ms: 0, back: Back::Older });
                self.copy_store();
            }
            Act::PutBack { site, back } if self.copy.is_some() => {
                self.plan.restore = Some(Restore { site, copied_ms: 0, back_ms: 0, back });
                self.put_back();
            }
            Act::PutBack { .. } => {}
            Act::Break { site, draw } => {
                if self.break_records(&mut Rng::new(draw), site) {
                    self.kill(site, Kept::Nothing, 20);
                }
            }
            Act::Person => self.look_after(),
            Act::Order { site, operation } => self.order_where_right(site, operation),
            Act::Mood(_) | Act::Slow | Act::Silent | Act::AnswerLost => self.expect_of_next(act),
            // Of an event, and that is not here.
            Act::Drop | Act::Twice | Act::Later => {}
        }
    }

    fn expect_of_next(&mut self, act: Act) {
        let Some(stage) = &mut self.stage else { return };
        match act {
            Act::Mood(mood) => stage.mood = Some(mood),
            Act::Slow => stage.slow = true,
            Act::Silent => stage.silent = true,
            Act::AnswerLost => stage.answer_lost = true,
            _ => {}
        }
    }

    fn kill(&mut self, site: usize, kept: Kept, restart_ms: u64) {
        self.stage.as_mut().expect("it is being acted").crash = Some((kept, restart_ms));
        self.die(site, Death::Process);
        self.stage.as_mut().expect("it is being acted").crash = None;
    }

    /// As `Command::Rest` of the product's task.
    fn rest(&mut self, site: usize) {
        if self.sites[site].core.is_some() && !self.sites[site].rests {
            self.sites[site].rests = true;
            self.tell_core(site, Event::Health { healthy: false });
        }
    }

    /// Whose service is at nothing any more, and all of that durable.
    fn end_those_at_rest(&mut self) {
        for site in 0..self.sites.len() {
            let node = &self.sites[site];
            let Some(core) = node.core.as_ref().filter(|_| node.rests) else { continue };
            let at_service = self.jobs.iter().any(|job| job.site == site && job.life == node.life && !job.told);
            let on_its_way = core.view().stages.keys().any(|stage| stage.ends_with("sending") || *stage == "judging");
            if !at_service && !on_its_way && node.writing == 0 && node.handed_over.is_empty() {
                self.kill(site, Kept::Nothing, 20);
            }
        }
    }

    fn order_where_right(&mut self, site: usize, operation: Operation) {
        for entry in self.entries(site) {
            let Some(&name) = self.ids.get(&entry.id) else { continue };
            if self.is_at_rest(site, name) && self.what_to_do(site, name) == operation {
                self.order(site, Some(entry.id), operation);
            }
        }
    }
}
