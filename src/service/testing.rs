//! Small builders for the tests of the state machines.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    Asked, Attempt, AttemptResult, Core, Effect, Event, Find, Limits, Message, NewWrite, Now, OnConcurrent,
    OnDivergence, OnUnreachable, Page, Reply, ReqId, Settings, Status, WhenDown, Wish, WishWord,
};
use crate::journal::{Memory, Op, Quarantined, Row};
use crate::model::{
    After, Answer, Chain, Digest, Facts, Group, Item, KeyHash, Lane, LogId, Outcome, Problem, Request, SiteName,
    Verdict, WriteId,
};

pub fn settings(me: &str, replicas: &[&str]) -> Settings {
    Settings {
        me: SiteName::new(me),
        replicas: replicas.iter().map(|s| SiteName::new(*s)).collect(),
        order: vec![SiteName::new(me)],
        answer_after_ms: 800,
        within_ms: 60_000,
        lag_ms: 1_000,
        total_ms: 5_000,
        longest_request_ms: 10_000,
        hold_ms: 5_000,
        idempotent: false,
        has_probe: false,
        creates: false,
        clients: Default::default(),
        unexecuted: Vec::new(),
        when_down: WhenDown::Refuse,
        replicate_all: false,
        compare_body: false,
        on_concurrent: OnConcurrent::Apply,
        on_divergence: OnDivergence::Quarantine,
        alone_ms: 6_000,
        on_unreachable: OnUnreachable::Accept,
        ack_peers: 0,
        key_ttl_ms: 86_400_000,
        retain_ms: 7 * 86_400_000,
        answer_max: 65_536,
        limits: Limits::default(),
        #[cfg(feature = "planted-bugs")]
        bug: None,
    }
}

pub fn request(method: &str, target: &str) -> Arc<Request> {
    Arc::new(Request {
        method: method.into(),
        target: target.into(),
        authority: "pos".into(),
        headers: Vec::new(),
        body: Bytes::new(),
    })
}

pub fn answer(status: u16) -> Arc<Answer> {
    Arc::new(Answer { status, headers: Vec::new(), body: Bytes::new(), omitted: None })
}

/// An applied write as its series holds it, but for the chain.
pub fn item(log: LogId, position: u64, body_bytes: usize) -> Item {
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
    let outcome = Outcome {
        verdict: Verdict::Applied,
        after: After::new(),
        repeats: None,
        status: 201,
        answer: None,
        told_by_probe: false,
        unknown: Vec::new(),
    };
    let request = Request { body: vec![b'x'; body_bytes].into(), ..Request::clone(&request("POST", "/sales")) };
    let (id, request) = (WriteId { log, n: position }, Some(Arc::new(request)));
    Item { position, chain: Default::default(), id, facts, outcome, decides: None, request }
}

pub fn log(n: u8) -> LogId {
    LogId { store: [n; 16], incarnation: 1 }
}

pub(crate) fn id(log_of: u8, n: u64) -> WriteId {
    WriteId { log: log(log_of), n }
}

/// A write of a lane of its own; with a key where `key` is not 0.
pub fn new_write(method: &str, lane: u64, key: u8) -> NewWrite {
    let key = (key != 0).then_some(KeyHash([key; 16]));
    let facts = Facts { lane: Lane(lane), key, ..item(log(1), 1, 0).facts };
    NewWrite {
        facts,
        request: request(method, "/sales"),
        seen: After::new(),
        refuse_stale: false,
        sender: crate::service::Sender::default(),
    }
}

/// About such a write of nobody in particular.
pub fn question(token: u64, key: u8) -> Message {
    Message::Question { token, key: KeyHash([key; 16]), digest: Digest([0; 32]), who: None }
}

/// Items from `first` to `last` as their site ships them, each of a lane of its own.
pub fn page(log: LogId, site: &str, first: u64, last: u64) -> Page {
    let in_lane = |position| {
        let mut item = item(log, position, 0);
        item.facts.lane = Lane(position);
        item
    };
    let all = page_of(log, site, (1..=last).map(in_lane).collect());
    Page { from: first - 1, items: all.items[first as usize - 1..].to_vec(), ..all }
}

/// The first items of a series, with the chain over them.
pub fn page_of(log: LogId, site: &str, items: Vec<Item>) -> Page {
    let mut chain = Chain::default();
    let items = items.into_iter().map(|mut item| {
        item.chain = Item::chain_over(chain, item.position, item.id, &item.facts, &item.outcome);
        chain = item.chain;
        Arc::new(item)
    });
    Page { log, site: SiteName::new(site), from: 0, items: items.collect() }
}

/// A machine over a journal in maps, where all is durable and found at once. Its own log is [`log`]`(1)`, its clock the
/// test's.
pub struct Bench {
    pub core: Core,
    pub now: Now,
    journal: Memory,
    group: Group,
    /// Requests and writes have one number.
    last: u64,
    statuses: u64,
    pub endpoint: Endpoint,
}

/// What becomes of who wants a connection to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// There at once.
    Connects,
    Refuses,
    /// The test says when.
    IsSlow,
}

impl Bench {
    /// With a healthy service and links to all other replicas, which are healthy too.
    pub fn new(settings: Settings) -> Self {
        let group = Group { service: "pos".into(), store: String::new() };
        let journal = Memory::new();
        let now = Now { mono_ms: 1_000, wall_ms: 1_000, clock_ms: 1_000 };
        let mut effects = Vec::new();
        let peers: Vec<SiteName> = settings.replicas.iter().filter(|site| **site != settings.me).cloned().collect();
        let core = Core::recover(settings, log(1), journal.recover(&group, 64, 0), now, &mut effects);
        let mut bench = Self { core, now, journal, group, last: 0, statuses: 0, endpoint: Endpoint::Connects };
        bench.persist(&effects);
        bench.handle(Event::Health { healthy: true });
        for peer in peers {
            bench.handle(Event::LinkUp { peer: peer.clone() });
            bench.status(peer.as_str(), true, Vec::new());
        }
        bench
    }

    fn persist(&mut self, effects: &[Effect]) {
        let ops = effects.iter().filter_map(|effect| match effect {
            Effect::Persist(op) => Some(op.clone()),
            _ => None,
        });
        let committed = self.journal.apply(&self.group, &ops.collect::<Vec<Op>>());
        if !committed.forgotten_keys.is_empty() {
            self.handle(Event::Forgotten { keys: committed.forgotten_keys.into_iter().collect() });
        }
    }

    /// What the event led to, and what the journal's answers led to.
    pub fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut all = Vec::new();
        for effect in self.step(event) {
            let left = has_left(&effect);
            let answer = self.journal_says(&effect).or(left);
            all.push(effect);
            all.extend(answer.map(|answer| self.handle(answer)).unwrap_or_default());
        }
        all
    }

    /// What the event led to. The journal is not asked yet.
    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.handle(self.now, event, &mut effects);
        connect(&mut self.core, self.now, self.endpoint, &mut effects);
        self.persist(&effects);
        effects
    }

    /// What the journal answers now, where it is asked.
    pub fn journal_says(&self, effect: &Effect) -> Option<Event> {
        match effect {
            Effect::Find { token, find }
                if let Some((log, position)) = self.journal.broken_among(&self.group, *find) =>
            {
                let entry = self.journal.entry_at(&self.group, log, position).map(Box::new);
                Some(Event::Broken { log, position, entry, asked: Asked::LookUp { token: *token, find: *find } })
            }
            Effect::ReadSeries { log, from, for_peer, .. } if self.journal.is_broken(&self.group, *log, *from) => {
                let asked = for_peer.clone().map_or(Asked::ForFollower, Asked::ForPeer);
                let entry = self.journal.entry_at(&self.group, *log, *from).map(Box::new);
                Some(Event::Broken { log: *log, position: *from, entry, asked })
            }
            Effect::Find { token, find } => {
                Some(Event::Found { token: *token, rows: self.journal.find(&self.group, *find) })
            }
            Effect::ReadSeries { log, from, items_max, bytes_max, for_peer } => {
                let items = self.journal.read_series(&self.group, *log, *from, *items_max, *bytes_max);
                Some(Event::SeriesRead { log: *log, from: *from, items, for_peer: for_peer.clone() })
            }
            _ => None,
        }
    }

    /// As another version left it.
    pub fn record(&mut self, ops: &[Op]) {
        self.journal.apply(&self.group, ops);
    }

    /// As if the record of this position had got a wrong bit.
    pub fn break_at(&mut self, log: LogId, position: u64) {
        self.journal.break_at(&self.group, log, position);
    }

    /// The journal answers what it was asked, and what that led to; what it is asked then it does not answer yet.
    pub fn journal_answers(&mut self, asked: &[Effect]) -> Vec<Effect> {
        let answers: Vec<Event> = asked.iter().filter_map(|effect| self.journal_says(effect)).collect();
        answers.into_iter().flat_map(|answer| self.step(answer)).collect()
    }

    /// What the journal holds of a write.
    pub fn row(&self, id: WriteId) -> Option<Row> {
        self.journal.find(&self.group, Find::Id(id)).into_iter().next().map(|found| found.row)
    }

    /// Whether the journal holds what was asked.
    pub fn has_request(&self, id: WriteId) -> bool {
        self.journal.find(&self.group, Find::Id(id)).iter().any(|found| found.request.is_some())
    }

    /// The journal has it in quarantine.
    pub fn is_listed(&self, id: WriteId) -> bool {
        self.listed().contains_key(&id)
    }

    /// What the journal has in quarantine.
    pub fn listed(&self) -> BTreeMap<WriteId, Quarantined> {
        self.journal.quarantined(&self.group).into_iter().map(|entry| (entry.id, entry)).collect()
    }

    /// Without what a person has ordered to be sent, and which stays listed until it is on its way.
    pub fn quarantined(&self) -> BTreeMap<WriteId, Quarantined> {
        let mut listed = self.listed();
        listed.retain(|id, _| !self.core.completer.quarantine.is_held(id));
        listed.extend(self.core.view(self.now).unreadable.into_iter().map(|entry| (entry.id, entry)));
        listed
    }

    /// Goes on by so much; whatever is due on the way happens when it is due.
    pub fn wait(&mut self, ms: u64) -> Vec<Effect> {
        let until = self.now.mono_ms + ms;
        let mut all = Vec::new();
        while let Some(due) = self.core.deadline().filter(|&due| due <= until) {
            self.advance(due.saturating_sub(self.now.mono_ms));
            all.extend(self.handle(Event::Tick));
        }
        self.advance(until - self.now.mono_ms);
        all
    }

    fn advance(&mut self, ms: u64) {
        let Now { mono_ms, wall_ms, clock_ms } = self.now;
        self.now = Now { mono_ms: mono_ms + ms, wall_ms: wall_ms + ms, clock_ms: clock_ms + ms };
    }

    /// The process ends and begins again; the service is healthy, no link is up.
    pub fn restart(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let settings = self.core.settings.clone();
        self.core = Core::recover(settings, log(1), self.journal.recover(&self.group, 64, 0), self.now, &mut effects);
        self.persist(&effects);
        let asked = effects.iter().filter(|effect| matches!(effect, Effect::Find { .. }));
        let answers: Vec<Event> = asked.filter_map(|effect| self.journal_says(effect)).collect();
        effects.extend(answers.into_iter().flat_map(|answer| self.handle(answer)).collect::<Vec<_>>());
        effects.extend(self.handle(Event::Health { healthy: true }));
        effects
    }

    /// The next number is the write's and the request's.
    pub fn submit(&mut self, write: NewWrite) -> Vec<Effect> {
        self.last += 1;
        let (req, id) = (ReqId(self.last), WriteId { log: log(1), n: self.last });
        self.handle(Event::Submit { req, id, write })
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn hear(&mut self, from: &str, message: Message) -> Vec<Effect> {
        self.handle(Event::Message { from: SiteName::new(from), message })
    }

    pub fn status(&mut self, from: &str, healthy: bool, cursors: Vec<super::Cursor>) -> Vec<Effect> {
        self.status_with(from, healthy, cursors, Vec::new())
    }

    pub fn status_with(
        &mut self,
        from: &str,
        healthy: bool,
        cursors: Vec<super::Cursor>,
        missing: Vec<WriteId>,
    ) -> Vec<Effect> {
        self.statuses += 1;
        // Sites and logs are counted alike: `a` has the first.
        let log = log(from.as_bytes()[0] - b'a' + 1);
        let count = self.statuses;
        let status = Status {
            count,
            log,
            state: 1,
            heard: Vec::new(),
            healthy,
            last: false,
            hangs: false,
            lag_ms: 0,
            retried_ms: 0,
            cursors,
            missing,
        };
        self.hear(from, Message::Status(status))
    }

    /// The site says that it has so much of its own series.
    pub fn says_it_has(&mut self, from: &str, log: LogId, received: u64) -> Vec<Effect> {
        let (site, chain) = (SiteName::new(from), Chain::default());
        let cursor = super::Cursor { log, site, received, chain, decided: received, want: false, again: 0 };
        self.status(from, true, vec![cursor])
    }

    /// The attempt of an own write, or of another's, ended so.
    pub fn attempted(&mut self, id: WriteId, attempt: u32, result: AttemptResult) -> Vec<Effect> {
        self.handle(Event::Attempted { id, attempt, result })
    }
}

/// As the task does it, in the same transaction.
pub fn connect(core: &mut Core, now: Now, endpoint: Endpoint, effects: &mut Vec<Effect>) {
    let result = match endpoint {
        Endpoint::Connects => Ok(()),
        Endpoint::Refuses => Err("connection refused".to_owned()),
        Endpoint::IsSlow => return,
    };
    while let Some(at) = effects.iter().position(|effect| matches!(effect, Effect::Connect { .. })) {
        if let Effect::Connect { id, attempt } = effects.remove(at) {
            core.handle(now, Event::Ready { id, attempt, result: result.clone() }, effects);
        }
    }
}

/// A wish leaves at once.
fn has_left(effect: &Effect) -> Option<Event> {
    match effect {
        Effect::Send { to, message: Message::Wish(wish) } => {
            Some(Event::WishLeft { to: to.clone(), id: wish.id, attempt: wish.attempt, whole: true })
        }
        _ => None,
    }
}

pub fn own(n: u64) -> WriteId {
    WriteId { log: log(1), n }
}

pub fn answered(status: u16) -> AttemptResult {
    AttemptResult::Answered(answer(status))
}

pub fn never_sent() -> AttemptResult {
    AttemptResult::NeverSent { why: "connection refused".into() }
}

pub fn broken() -> AttemptResult {
    AttemptResult::Broken { why: "connection reset".into() }
}

pub fn attempts<'e>(effects: &'e [Effect]) -> Vec<&'e Attempt> {
    let attempt = |effect: &'e Effect| match effect {
        Effect::Attempt(attempt) => Some(attempt),
        _ => None,
    };
    effects.iter().filter_map(attempt).collect()
}

pub fn messages<'e>(effects: &'e [Effect]) -> Vec<(&'e str, &'e Message)> {
    let message = |effect: &'e Effect| match effect {
        Effect::Send { to, message } => Some((to.as_str(), message)),
        _ => None,
    };
    effects.iter().filter_map(message).collect()
}

/// What was told about wishes.
pub fn words(effects: &[Effect]) -> Vec<WishWord> {
    let words = messages(effects).into_iter().filter_map(|(_, message)| match message {
        Message::Word { word, .. } => Some(word.clone()),
        _ => None,
    });
    words.collect()
}

/// A wish at its first try, which need come after nothing.
pub fn wish_to_decide(id: WriteId, facts: Facts, request: Arc<Request>) -> Message {
    let must = After::new();
    Message::Wish(Box::new(Wish { id, attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() }))
}

pub fn reply_to(effects: &[Effect], req: u64) -> Option<&Reply> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { req: of, reply } if *of == ReqId(req) => Some(reply),
        _ => None,
    })
}

/// The problem that a client was told of, if it was.
pub fn problem_of(effects: &[Effect], req: u64) -> Option<&Problem> {
    match reply_to(effects, req)? {
        Reply::Problem { problem, .. } => Some(problem),
        _ => None,
    }
}
