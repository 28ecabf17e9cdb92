//! What can be done to a fleet at a step. Each prints as it is read, so that a failure can be given back on a command
//! line.
use std::fmt;
use std::str::FromStr;

use holdfast::service::Operation;

use super::scenario::Scenario;
use crate::sim::plan::Back;
use crate::sim::upstream::Mood;

/// Of the batches that a crash meets half-way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Nothing,
    /// The first of them.
    Half,
    All,
}

impl Kept {
    pub fn of(self, writing: usize) -> u64 {
        match self {
            Kept::Nothing => 0,
            Kept::Half => writing as u64 / 2,
            Kept::All => writing as u64,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Crash {
        site: usize,
        kept: Kept,
        restart_ms: u64,
    },
    /// An orderly end: its service answers what it is at, then the process ends.
    Rest {
        site: usize,
    },
    Cut {
        from: usize,
        to: usize,
        both: bool,
        ms: u64,
    },
    Isolate {
        site: usize,
        ms: u64,
    },
    Pause {
        site: usize,
        ms: u64,
    },
    Jump {
        site: usize,
        hours: i64,
    },
    /// The event of the step does not come; comes twice, once more past the next three; comes past the next three.
    Drop,
    Twice,
    Later,
    FullDisk {
        site: usize,
        ms: u64,
    },
    /// The commit under way fails, and the process with it.
    FailedSync {
        site: usize,
    },
    /// What the service does with the try of the step.
    Mood(Mood),
    Slow,
    Down {
        site: usize,
        ms: u64,
    },
    Hang {
        site: usize,
        ms: u64,
    },
    /// The probe of the step says nothing.
    Silent,
    AnswerLost,
    /// The client has lost its patience, and asks again at this site.
    GiveUp {
        client: usize,
        site: usize,
    },
    Copy {
        site: usize,
    },
    PutBack {
        site: usize,
        back: Back,
    },
    /// Records break, drawn from this number, and the process dies: a start meets them.
    Break {
        site: usize,
        draw: u64,
    },
    /// A person settles what stands in quarantine.
    Person,
    /// A person gives this order, and no other, wherever it is the right one.
    Order {
        site: usize,
        operation: Operation,
    },
}

const KEPT: [(&str, Kept); 3] = [("lost", Kept::Nothing), ("half", Kept::Half), ("kept", Kept::All)];
const BACK: [(&str, Back); 3] = [("older", Back::Older), ("both", Back::OlderWithService), ("moved", Back::Moved)];
const WAYS: [(&str, bool); 2] = [("both", true), ("one", false)];
const DONE: [(&str, bool); 2] = [("applied", true), ("not", false)];
const OPERATIONS: [(&str, Operation); 3] =
    [("applied", Operation::Applied), ("resend", Operation::Resend), ("discard", Operation::Discard)];

fn word<T: PartialEq + Copy>(table: &[(&'static str, T)], value: T) -> &'static str {
    table.iter().find(|(_, of)| *of == value).map_or("?", |(word, _)| word)
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Act::Crash { site, kept, restart_ms } => write!(f, "crash:{site}:{}:{restart_ms}", word(&KEPT, kept)),
            Act::Rest { site } => write!(f, "rest:{site}"),
            Act::Cut { from, to, both, ms } => write!(f, "cut:{from}:{to}:{}:{ms}", word(&WAYS, both)),
            Act::Isolate { site, ms } => write!(f, "isolate:{site}:{ms}"),
            Act::Pause { site, ms } => write!(f, "pause:{site}:{ms}"),
            Act::Jump { site, hours } => write!(f, "jump:{site}:{hours}"),
            Act::Drop => f.write_str("drop"),
            Act::Twice => f.write_str("twice"),
            Act::Later => f.write_str("later"),
            Act::FullDisk { site, ms } => write!(f, "full:{site}:{ms}"),
            Act::FailedSync { site } => write!(f, "failedsync:{site}"),
            Act::Mood(Mood::Well) => f.write_str("well"),
            Act::Mood(Mood::HangUpBefore) => f.write_str("hangbefore"),
            Act::Mood(Mood::HangUpAfter) => f.write_str("hangafter"),
            Act::Mood(Mood::Busy) => f.write_str("busy"),
            Act::Mood(Mood::Fails { status, applies }) => write!(f, "fails:{status}:{}", word(&DONE, applies)),
            Act::Slow => f.write_str("slow"),
            Act::Down { site, ms } => write!(f, "down:{site}:{ms}"),
            Act::Hang { site, ms } => write!(f, "hang:{site}:{ms}"),
            Act::Silent => f.write_str("silent"),
            Act::AnswerLost => f.write_str("answerlost"),
            Act::GiveUp { client, site } => write!(f, "giveup:{client}:{site}"),
            Act::Copy { site } => write!(f, "copy:{site}"),
            Act::PutBack { site, back } => write!(f, "putback:{site}:{}", word(&BACK, back)),
            Act::Break { site, draw } => write!(f, "break:{site}:{draw}"),
            Act::Person => f.write_str("person"),
            Act::Order { site, operation } => write!(f, "order:{site}:{}", word(&OPERATIONS, operation)),
        }
    }
}

/// What stands between colons, one after the other.
struct Words<'t> {
    whole: &'t str,
    left: std::str::Split<'t, char>,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> Result<&'t str, String> {
        self.left.next().ok_or_else(|| format!("`{}` is too short", self.whole))
    }

    fn number<T: FromStr>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("`{}`: `{word}` is no number that fits", self.whole))
    }

    fn of<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T, String> {
        let word = self.next()?;
        let known = || table.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let found = table.iter().find(|(of, _)| *of == word).map(|(_, value)| *value);
        found.ok_or_else(|| format!("`{}`: `{word}` is none of {}", self.whole, known()))
    }
}

impl FromStr for Act {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words { whole: text, left: text.split(':') };
        let act = match words.next()? {
            "crash" => Act::Crash { site: words.number()?, kept: words.of(&KEPT)?, restart_ms: words.number()? },
            "rest" => Act::Rest { site: words.number()? },
            "cut" => {
                let (from, to) = (words.number()?, words.number()?);
                Act::Cut { from, to, both: words.of(&WAYS)?, ms: words.number()? }
            }
            "isolate" => Act::Isolate { site: words.number()?, ms: words.number()? },
            "pause" => Act::Pause { site: words.number()?, ms: words.number()? },
            "jump" => Act::Jump { site: words.number()?, hours: words.number::<i32>()?.into() },
            "drop" => Act::Drop,
            "twice" => Act::Twice,
            "later" => Act::Later,
            "full" => Act::FullDisk { site: words.number()?, ms: words.number()? },
            "failedsync" => Act::FailedSync { site: words.number()? },
            "well" => Act::Mood(Mood::Well),
            "hangbefore" => Act::Mood(Mood::HangUpBefore),
            "hangafter" => Act::Mood(Mood::HangUpAfter),
            "busy" => Act::Mood(Mood::Busy),
            "fails" => Act::Mood(Mood::Fails { status: words.number()?, applies: words.of(&DONE)? }),
            "slow" => Act::Slow,
            "down" => Act::Down { site: words.number()?, ms: words.number()? },
            "hang" => Act::Hang { site: words.number()?, ms: words.number()? },
            "silent" => Act::Silent,
            "answerlost" => Act::AnswerLost,
            "giveup" => Act::GiveUp { client: words.number()?, site: words.number()? },
            "copy" => Act::Copy { site: words.number()? },
            "putback" => Act::PutBack { site: words.number()?, back: words.of(&BACK)? },
            "break" => Act::Break { site: words.number()?, draw: words.number()? },
            "person" => Act::Person,
            "order" => Act::Order { site: words.number()?, operation: words.of(&OPERATIONS)? },
            _ => return Err(format!("`{text}` is nothing that can be done at a step")),
        };
        match words.left.next() {
            Some(more) => Err(format!("`{text}`: what is `{more}` for?")),
            None => Ok(act),
        }
    }
}

impl Act {
    /// All sites and clients that it names are of this scenario, and no time is longer than a run.
    pub fn fits(self, scenario: &Scenario) -> bool {
        let (sites, clients) = (scenario.plan.sites(), scenario.plan.clients.len());
        let (named, ms) = match self {
            Act::Crash { site, restart_ms, .. } => (vec![site], restart_ms),
            Act::Cut { from, to, ms, .. } => (vec![from, to], ms),
            Act::Isolate { site, ms }
            | Act::Pause { site, ms }
            | Act::FullDisk { site, ms }
            | Act::Down { site, ms }
            | Act::Hang { site, ms } => (vec![site], ms),
            Act::GiveUp { client, site } if client < clients => (vec![site], 0),
            Act::GiveUp { .. } => return false,
            Act::Rest { site }
            | Act::Jump { site, .. }
            | Act::FailedSync { site }
            | Act::Copy { site }
            | Act::PutBack { site, .. }
            | Act::Break { site, .. }
            | Act::Order { site, .. } => (vec![site], 0),
            Act::Drop
            | Act::Twice
            | Act::Later
            | Act::Mood(_)
            | Act::Slow
            | Act::Silent
            | Act::AnswerLost
            | Act::Person => (Vec::new(), 0),
        };
        named.into_iter().all(|site| site < sites) && ms <= LONGEST_MS
    }
}

const LONGEST_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prints_as_it_is_read() {
        let texts = [
            "crash:0:half:20",
            "rest:1",
            "cut:0:1:one:1200",
            "isolate:2:150",
            "pause:0:350",
            "jump:1:-30",
            "drop",
            "twice",
            "later",
            "full:1:350",
            "failedsync:0",
            "well",
            "hangbefore",
            "hangafter",
            "busy",
            "fails:503:applied",
            "slow",
            "down:1:100",
            "hang:0:400",
            "silent",
            "answerlost",
            "giveup:3:1",
            "copy:1",
            "putback:1:both",
            "break:0:2",
            "person",
            "order:0:discard",
        ];
        for text in texts {
            let act: Act = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(act.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_act_is_said_and_ends_nothing() {
        for text in ["", "crash", "crash:0:all:20", "crash:x:lost:20", "drop:1", "jump:0:99999999999", "wait"] {
            assert!(text.parse::<Act>().is_err(), "{text}");
        }
    }
}
