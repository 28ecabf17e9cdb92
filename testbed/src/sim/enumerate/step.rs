//! The steps of a run, and what can go wrong at each.
//!
//! A step is one event that reaches a site or its service, or one effect that leaves it. It is named by what it is,
//! its site, and how many such there were there: `deliver-page@1.3` is the third page that reaches site 1. So a name
//! outlives a change of the product by which a status more is sent.
use std::fmt;
use std::str::FromStr;

use holdfast::service::Message;

use super::act::{Act, Kept};
use super::scenario::Scenario;
use crate::sim::plan::Back;
use crate::sim::upstream::Mood;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Status,
    Page,
    Wish,
    Revoke,
    Word,
    Question,
    Reply,
    Again,
    Ahead,
    Ask,
}

impl Kind {
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Status(_) => Kind::Status,
            Message::Page(_) => Kind::Page,
            Message::Wish(_) => Kind::Wish,
            Message::Revoke { .. } => Kind::Revoke,
            Message::Word { .. } => Kind::Word,
            Message::Question { .. } => Kind::Question,
            Message::Reply { .. } => Kind::Reply,
            Message::Again(_) => Kind::Again,
            Message::Ahead { .. } => Kind::Ahead,
            Message::Ask { .. } => Kind::Ask,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    Arrive,
    Ready,
    Probed,
    Tick,
    Synced,
    Read,
    LinkUp,
    LinkDown,
    Health,
    Hint,
    /// A wish has left.
    Left,
    Serve,
    Attempted,
    Deliver(Kind),
    // Effects.
    Attempt,
    Probe,
    Answer,
    Send(Kind),
}

const PLAIN: [(&str, What); 16] = [
    ("arrive", What::Arrive),
    ("ready", What::Ready),
    ("probed", What::Probed),
    ("tick", What::Tick),
    ("synced", What::Synced),
    ("read", What::Read),
    ("linkup", What::LinkUp),
    ("linkdown", What::LinkDown),
    ("health", What::Health),
    ("hint", What::Hint),
    ("left", What::Left),
    ("serve", What::Serve),
    ("attempted", What::Attempted),
    ("attempt", What::Attempt),
    ("probe", What::Probe),
    ("answer", What::Answer),
];
const KINDS: [(&str, Kind); 10] = [
    ("status", Kind::Status),
    ("page", Kind::Page),
    ("wish", Kind::Wish),
    ("revoke", Kind::Revoke),
    ("word", Kind::Word),
    ("question", Kind::Question),
    ("reply", Kind::Reply),
    ("again", Kind::Again),
    ("ahead", Kind::Ahead),
    ("ask", Kind::Ask),
];
const DELIVER: &str = "deliver-";
const SEND: &str = "send-";

fn name<T: PartialEq + Copy>(table: &[(&'static str, T)], of: T) -> &'static str {
    table.iter().find(|(_, known)| *known == of).map_or("?", |(name, _)| name)
}

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, of)| *of)
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            What::Deliver(kind) => write!(f, "{DELIVER}{}", name(&KINDS, kind)),
            What::Send(kind) => write!(f, "{SEND}{}", name(&KINDS, kind)),
            plain => f.write_str(name(&PLAIN, plain)),
        }
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = |prefix: &str| text.strip_prefix(prefix).and_then(|kind| named(&KINDS, kind));
        let message = kind(DELIVER).map(What::Deliver).or_else(|| kind(SEND).map(What::Send));
        named(&PLAIN, text).or(message).ok_or_else(|| format!("`{text}` is no step"))
    }
}

impl What {
    fn is_effect(self) -> bool {
        matches!(self, What::Attempt | What::Probe | What::Answer | What::Send(_))
    }
}

/// The name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub what: What,
    pub site: usize,
    /// Counted from 1.
    pub nth: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}.{}", self.what, self.site, self.nth)
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let why = || format!("`{text}` is not WHAT@SITE.NTH");
        let (what, place) = text.split_once('@').ok_or_else(why)?;
        let (site, nth) = place.split_once('.').ok_or_else(why)?;
        let (site, nth) = (site.parse().map_err(|_| why())?, nth.parse().map_err(|_| why())?);
        Ok(At { what: what.parse()?, site, nth })
    }
}

/// What is done at which steps, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<(At, Act)>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|(at, act)| format!("{at}={act}")).collect();
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let (at, act) = part.split_once('=').ok_or_else(|| format!("`{part}` is not STEP=FAULT"))?;
            Ok((at.parse()?, act.parse()?))
        };
        text.split(',').filter(|part| !part.is_empty()).map(one).collect::<Result<_, String>>().map(Faults)
    }
}

/// A step that was met, and what decides about what can go wrong there.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub at: At,
    /// Who sent it, or gets it.
    pub peer: usize,
    /// Batches under way to the disk of this site.
    pub writing: usize,
    /// Clients that wait, as bits.
    pub waiting: u32,
}

/// Longer than everything that waits for silence; and a moment.
const LONG_MS: u64 = 1_200;
const SHORT_MS: u64 = 150;
const PAUSE_MS: u64 = 350;
const RESTART_MS: u64 = 20;
const DAYS: [i64; 2] = [30, -30];

/// What can go wrong at a step. `wide`: also what nearly repeats something else, which the second of two faults leaves
/// out.
pub fn faults_at(step: &Step, scenario: &Scenario, wide: bool) -> Vec<Act> {
    let (what, site) = (step.at.what, step.at.site);
    let mut acts = Vec::new();
    if scenario.restores {
        restores(step, &mut acts);
    }
    if what != What::Hint {
        crashes(step, wide, &mut acts);
    }
    match what {
        What::Deliver(_) => delivered(step, scenario, wide, &mut acts),
        What::Hint | What::Left => acts.extend([Act::Drop, Act::Later]),
        What::Attempt => attempts(site, scenario, wide, &mut acts),
        What::Probe => acts.push(Act::Silent),
        What::Answer => acts.push(Act::AnswerLost),
        What::Synced => {
            acts.push(Act::Later);
            if wide {
                acts.extend([Act::FullDisk { site, ms: PAUSE_MS }, Act::FailedSync { site }]);
                acts.push(Act::Pause { site, ms: PAUSE_MS });
                acts.extend([1, 2].map(|draw| Act::Break { site, draw }));
            }
        }
        What::Attempted | What::Read | What::Ready | What::Probed => {
            acts.push(Act::Later);
            if wide {
                acts.push(Act::Pause { site, ms: PAUSE_MS });
            }
        }
        What::LinkUp | What::LinkDown | What::Health if wide => acts.push(Act::Later),
        What::Arrive if wide => acts.extend(DAYS.map(|hours| Act::Jump { site, hours })),
        What::LinkUp | What::LinkDown | What::Health | What::Arrive | What::Tick | What::Serve | What::Send(_) => {}
    }
    if wide && matches!(what, What::Attempt | What::Serve | What::Arrive | What::Deliver(Kind::Wish | Kind::Page)) {
        acts.push(Act::Rest { site });
    }
    if wide && scenario.plan.operator && matches!(what, What::Deliver(_) | What::Synced | What::Attempted) {
        acts.push(Act::Person);
    }
    impatient(step, scenario, wide, &mut acts);
    acts
}

fn crashes(step: &Step, wide: bool, acts: &mut Vec<Act>) {
    let site = step.at.site;
    let crash = |kept, restart_ms| Act::Crash { site, kept, restart_ms };
    acts.extend([crash(Kept::Nothing, RESTART_MS), crash(Kept::Nothing, LONG_MS)]);
    if step.writing > 0 {
        acts.push(crash(Kept::All, RESTART_MS));
    }
    if wide && step.writing > 0 {
        acts.push(crash(Kept::All, LONG_MS));
    }
    if wide && step.writing > 1 {
        acts.push(crash(Kept::Half, RESTART_MS));
    }
}

fn restores(step: &Step, acts: &mut Vec<Act>) {
    let site = step.at.site;
    if step.at.what == What::Synced {
        acts.push(Act::Copy { site });
    }
    if matches!(step.at.what, What::Deliver(_) | What::Synced) {
        acts.extend([Back::Older, Back::OlderWithService, Back::Moved].map(|back| Act::PutBack { site, back }));
    }
}

fn delivered(step: &Step, scenario: &Scenario, wide: bool, acts: &mut Vec<Act>) {
    let (site, peer) = (step.at.site, step.peer);
    acts.extend([Act::Drop, Act::Twice, Act::Later]);
    acts.push(Act::Cut { from: peer, to: site, both: true, ms: LONG_MS });
    if wide {
        acts.push(Act::Cut { from: peer, to: site, both: true, ms: SHORT_MS });
        acts.push(Act::Cut { from: peer, to: site, both: false, ms: LONG_MS });
        acts.push(Act::Cut { from: site, to: peer, both: false, ms: LONG_MS });
        acts.push(Act::Pause { site, ms: PAUSE_MS });
        acts.extend(DAYS.map(|hours| Act::Jump { site, hours }));
        acts.extend([1, 2].map(|draw| Act::Break { site, draw }));
    }
    if scenario.plan.sites() > 2 {
        acts.extend([peer, site].map(|site| Act::Isolate { site, ms: LONG_MS }));
    }
}

fn attempts(site: usize, scenario: &Scenario, wide: bool, acts: &mut Vec<Act>) {
    // What says that nothing was executed is true where the configuration says so.
    let unexecuted = &scenario.plan.settings[site].unexecuted;
    let fails = |status| {
        let applies = [true, false].into_iter().filter(move |applies| !(*applies && unexecuted.contains(&status)));
        applies.map(move |applies| Act::Mood(Mood::Fails { status, applies }))
    };
    acts.extend([Mood::HangUpBefore, Mood::HangUpAfter].map(Act::Mood));
    acts.extend(fails(500));
    acts.extend([Act::Slow, Act::Down { site, ms: LONG_MS }]);
    if wide {
        acts.push(Act::Mood(Mood::Busy));
        acts.extend(fails(503));
        acts.extend([Act::Down { site, ms: SHORT_MS }, Act::Hang { site, ms: PAUSE_MS }]);
    }
}

/// Each client that waits asks again, at each site.
fn impatient(step: &Step, scenario: &Scenario, wide: bool, acts: &mut Vec<Act>) {
    let what = step.at.what;
    let moves_on = matches!(what, What::Deliver(_) | What::Synced | What::Attempted | What::Serve | What::Tick);
    if what.is_effect() || !(moves_on || wide) {
        return;
    }
    for client in (0..scenario.plan.clients.len()).filter(|client| (step.waiting >> client) & 1 == 1) {
        acts.extend((0..scenario.plan.sites()).map(|site| Act::GiveUp { client, site }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_print_as_they_are_read() {
        for (plain, _) in PLAIN {
            let text = format!("{plain}@1.3=drop");
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        let text = "deliver-page@1.3=twice,send-word@0.12=crash:0:kept:20";
        assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        assert_eq!("".parse::<Faults>(), Ok(Faults::default()));
    }

    #[test]
    fn what_are_no_faults_is_said() {
        for text in ["drop", "1=drop", "deliver@1.3=drop", "deliver-page@1=drop", "deliver-page@x.1=drop", "read@0.1="]
        {
            assert!(text.parse::<Faults>().is_err(), "{text}");
        }
    }
}
