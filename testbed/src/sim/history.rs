//! What was seen from outside: what clients sent and were told, what services applied, what stands in quarantine.
use std::collections::{BTreeMap, BTreeSet};

use holdfast::journal::QuarantineReason;

/// The number of a client's write; its body names it, so every application can be traced back.
pub type Name = u32;
/// Everything that is recorded gets the next moment: a total order over all sites.
pub type Moment = u64;

/// A request is taken up by its site within this time, or its client was told something.
const LOOKS_WITHIN_MS: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Post,
    Patch,
    Put,
    Delete,
}

impl Method {
    pub fn text(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
        }
    }
    pub fn is_idempotent(self) -> bool {
        matches!(self, Method::Put | Method::Delete)
    }
}

/// One try of a client.
#[derive(Clone, Debug)]
pub struct Submission {
    pub site: usize,
    pub at: Moment,
    pub at_ms: u64,
    /// The appliance got it: it was up.
    pub arrived: bool,
    /// It carried `Holdfast-Seen` with all that the client was told, and `stale = "refuse"`.
    pub bound: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// An answer of a service, with a hash of its body, and the site whose replica gave it.
    Answer {
        status: u16,
        body: u64,
        replayed: bool,
        served_by: usize,
    },
    Queued,
    Problem(&'static str),
}

impl Said {
    pub fn is_success(&self) -> bool {
        matches!(self, Said::Answer { status: 200..=399, .. })
    }
}

#[derive(Clone, Debug)]
pub struct Told {
    pub site: usize,
    /// Index of the submission that it answers.
    pub submission: usize,
    pub at: Moment,
    /// When the client read it; not when the answer was lost or the client gone.
    pub received: Option<Moment>,
    pub said: Said,
}

#[derive(Clone, Debug)]
pub struct Write {
    pub client: usize,
    pub lane: u64,
    /// The key's number; a client that reuses a key gives two writes one number.
    pub key: Option<Name>,
    /// Another client's write, whose key and request this one brings.
    pub borrowed: Option<Name>,
    pub method: Method,
    pub refused_by_rule: bool,
    /// A POST that makes something new: it may overlap with others of its lane.
    pub creates: bool,
    pub submissions: Vec<Submission>,
    pub told: Vec<Told>,
    /// Sites at which an attempt of it ended without a clean answer: the causes that honesty asks for.
    pub touched: BTreeSet<usize>,
    /// A service answered 429: nothing was executed, and a receipt is worth no more than that.
    pub turned_away: bool,
    /// Its client was told what the service said when that could not be written down any more: it is unknown
    /// afterwards.
    pub told_at_the_end: bool,
    /// A person decided that it shall not be done, before any client was told more than that it is queued.
    pub discarded: bool,
}

/// One try of a state machine at its service.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub name: Name,
    pub site: usize,
    pub shadow: bool,
    /// When the machine wanted it: `after` is fixed at this moment.
    pub wanted: Moment,
    pub wanted_ms: u64,
    /// When the machine learned of a clean success.
    pub known: Option<Moment>,
}

#[derive(Clone, Copy, Debug)]
pub struct Application {
    pub name: Name,
    pub attempt: usize,
    pub at: Moment,
    pub at_ms: u64,
}

/// A write that stands in quarantine at the end, or stood there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Report {
    pub site: usize,
    pub name: Name,
    pub reason: QuarantineReason,
}

/// A site whose store was put back to an older copy: it takes and applies nothing any more.
#[derive(Clone, Copy, Debug)]
pub struct Gone {
    pub site: usize,
    pub copied: Moment,
    pub back: Moment,
}

/// One site was cut off for long and nothing else was wrong: what was sent then had to be answered.
#[derive(Clone, Copy, Debug)]
pub struct CutOff {
    pub from_ms: u64,
    pub until_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub sites: usize,
    /// The service honours `Idempotency-Key` itself.
    pub idempotent: bool,
    pub quarantines_concurrent: bool,
    /// What was applied last in each lane is remembered for all lanes.
    pub remembers_lanes: bool,
    pub key_ttl_ms: u64,
    /// Of the world's clock, for what is promised in time.
    pub now_ms: u64,
    pub replicates_all: bool,
    moment: Moment,
    pub writes: BTreeMap<Name, Write>,
    /// Per site, in order.
    pub applied: Vec<Vec<Application>>,
    pub attempts: Vec<Attempt>,
    /// Per site: when it crashed.
    pub crashes: Vec<Vec<Moment>>,
    /// With the moment at which it was first seen there.
    pub quarantined_once: BTreeMap<Report, Moment>,
    pub quarantined_at_end: BTreeSet<Report>,
    /// When a line, a process or a disk first gave trouble; before, no site had a reason not to hear of another.
    pub disturbed: Option<Moment>,
    /// Writes that a reader had seen, at sites that served it as fresh without having them.
    pub stale_reads: Vec<(Name, usize)>,
    pub gone: Option<Gone>,
    pub cut_off: Option<CutOff>,
    /// How often the service of a follower answered otherwise than the decider's, by itself.
    pub differed: BTreeMap<(usize, Name), u64>,
    /// When a probe told a site that its service has a write.
    pub probed: BTreeMap<(usize, Name), Vec<Moment>>,
    /// Writes whose record broke, and where.
    pub damaged: BTreeSet<(usize, Name)>,
    /// At the end another site waits for what only the store that is gone knew.
    pub hindered: bool,
    /// By a hash of its body: whose answer it is that a service has given.
    pub owners: BTreeMap<u64, Name>,
    /// Errors that need no judge: asserts of the world itself.
    pub broken: Vec<(Name, String)>,
}

impl History {
    pub fn new(sites: usize) -> Self {
        Self { sites, applied: vec![Vec::new(); sites], crashes: vec![Vec::new(); sites], ..Self::default() }
    }

    pub fn is_gone(&self, site: usize) -> bool {
        self.gone.is_some_and(|gone| gone.site == site)
    }

    /// It was taken at the site whose store is gone, and the copy that came back knows nothing of its outcome: a disk
    /// that was lost before a peer confirmed receipt loses what only it had.
    pub fn went_with_the_store(&self, name: Name) -> bool {
        let Some(Gone { site, copied, back }) = self.gone else { return false };
        let write = &self.writes[&name];
        let taken = write.submissions.iter().any(|s| s.site == site && s.at < back);
        taken && !write.told.iter().any(|told| told.site == site && told.at < copied && told.said.is_success())
    }

    pub fn next(&mut self) -> Moment {
        self.moment += 1;
        self.moment
    }

    pub fn submit(&mut self, name: Name, site: usize, bound: bool) -> usize {
        let (at, at_ms) = (self.next(), self.now_ms);
        let submissions = &mut self.write(name).submissions;
        submissions.push(Submission { site, at, at_ms, arrived: false, bound });
        submissions.len() - 1
    }

    pub fn tell(&mut self, name: Name, site: usize, submission: usize, said: Said) -> usize {
        let at = self.next();
        let told = &mut self.write(name).told;
        told.push(Told { site, submission, at, received: None, said });
        told.len() - 1
    }

    pub fn receive(&mut self, name: Name, told: usize) {
        let at = self.next();
        self.write(name).told[told].received = Some(at);
    }

    pub fn want(&mut self, name: Name, site: usize, shadow: bool) -> usize {
        let wanted = self.next();
        self.attempts.push(Attempt { name, site, shadow, wanted, wanted_ms: self.now_ms, known: None });
        self.attempts.len() - 1
    }

    pub fn apply(&mut self, site: usize, name: Name, attempt: usize) {
        let (at, at_ms) = (self.next(), self.now_ms);
        self.applied[site].push(Application { name, attempt, at, at_ms });
    }

    pub fn quarantine(&mut self, report: Report) {
        let at = self.next();
        self.quarantined_once.entry(report).or_insert(at);
    }

    pub fn disturb(&mut self) {
        let at = self.next();
        self.disturbed.get_or_insert(at);
    }

    pub fn crash(&mut self, site: usize) {
        let at = self.next();
        self.crashes[site].push(at);
    }

    /// A client sent it again when its key may have been free.
    pub fn asked_after_expiry(&self, name: Name) -> bool {
        let last = self.writes[&name].submissions.last();
        last.is_some_and(|last| self.may_look_after_expiry(name, last.at_ms))
    }

    /// What was sent then may be looked at by a site when the key of `name` is free.
    pub fn may_look_after_expiry(&self, name: Name, at_ms: u64) -> bool {
        let first_ms = self.writes[&name].submissions.first().map_or(0, |s| s.at_ms);
        at_ms + LOOKS_WITHIN_MS >= first_ms + self.key_ttl_ms
    }

    /// Whose request it is: that of another client's write, where this one brings it.
    pub fn request_of(&self, name: Name) -> Name {
        self.writes[&name].borrowed.unwrap_or(name)
    }

    pub fn write(&mut self, name: Name) -> &mut Write {
        self.writes.get_mut(&name).expect("a write is registered before anything happens to it")
    }
}
