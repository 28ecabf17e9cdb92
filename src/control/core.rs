//! The control plane's decisions: batches, digests and questions, levels that are repeated, whom to believe. Pure.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::codec::{self, Batch, CodecError, Digest, Message, Print, Question};
use super::event::{Hint, Input, Level, LevelId, Output};
use super::heard::{StreamId, Streams};
use super::names::{Keys, Topic};
use super::status::Counters;
use super::tuning::{Identity, Tuning};
use super::watch::Watch;
use crate::contain::contain;
use crate::dedup::Fingerprint;
use crate::model::{Group, SiteName};

/// Own fingerprints of one service: the last `window`, numbered from 1 in each boot.
#[derive(Debug)]
struct Sent {
    /// The number of the first in `recent`.
    low: u64,
    recent: VecDeque<Print>,
    /// Rounds in which the digest still goes out.
    fresh: u8,
}

impl Sent {
    fn end(&self) -> u64 {
        self.low.saturating_add(self.recent.len() as u64)
    }
}

#[derive(Debug)]
pub struct Node {
    me: Identity,
    keys: Keys,
    tuning: Tuning,
    allowed: BTreeSet<SiteName>,
    sent: BTreeMap<String, Sent>,
    streams: Streams,
    levels: BTreeMap<LevelId, (Level, u8)>,
    alive: BTreeSet<(SiteName, String, Uuid)>,
    watch: Watch,
    beat_due_ms: u64,
    round_due_ms: u64,
    /// When everything is repeated, fresh or not.
    all_due_ms: u64,
    counters: Arc<Counters>,
}

impl Node {
    pub fn new(me: Identity, tuning: Tuning, counters: Arc<Counters>, now_ms: u64) -> Self {
        // Nodes that start together must not speak together: the boot id, which is random, gives the phase.
        let phase = u64::from_le_bytes(me.boot.as_bytes()[..8].try_into().expect("16 bytes"));
        Self {
            keys: Keys::new(&me.realm),
            allowed: me.sites.iter().cloned().collect(),
            sent: BTreeMap::new(),
            streams: Streams::new(tuning.streams),
            levels: BTreeMap::new(),
            alive: BTreeSet::new(),
            watch: Watch::new(me.expects_echo, !me.is_hub, &tuning),
            beat_due_ms: now_ms + phase % tuning.beat_ms.max(1),
            round_due_ms: now_ms + phase % tuning.round_ms.max(1),
            all_due_ms: now_ms + tuning.all_every_ms(),
            me,
            tuning,
            counters,
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn deadline_ms(&self) -> u64 {
        self.beat_due_ms.min(self.round_due_ms)
    }

    pub fn connected(&self) -> bool {
        self.watch.connected()
    }

    pub fn handle(&mut self, now_ms: u64, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Publish(prints) => self.publish(now_ms, prints, out),
            Input::Level(id, level) => self.level(now_ms, id, level, out),
            Input::Sample { key, payload } => {
                let before = out.len();
                // Hints decide nothing: what was half done of one is no harm.
                if contain(|| self.sample(now_ms, &key, &payload, out)).is_err() {
                    out.truncate(before);
                    self.counters.invalid(&key, &CodecError::Bug);
                }
            }
            Input::Token { generation, key, up } => {
                // The panic says itself what it was.
                let _ = contain(|| self.token(now_ms, generation, &key, up, out));
            }
            Input::Session { generation, open } => {
                self.session(now_ms, generation, open, out);
                self.is_looked_after(now_ms);
            }
            Input::Hub { generation, up } => {
                if self.watch.hub(now_ms, generation, up) {
                    // Somebody may listen who has heard nothing yet.
                    self.refresh(now_ms);
                    (self.beat_due_ms, self.round_due_ms) =
                        (now_ms, self.round_due_ms.min(now_ms + self.tuning.round_ms / 4));
                }
                self.is_looked_after(now_ms);
            }
            Input::Tick => self.tick(now_ms, out),
        }
    }

    /// Answers a question under one of this node's digest keys.
    pub fn answer(&mut self, payload: &[u8]) -> Vec<(String, Vec<u8>)> {
        contain(|| self.answer_to(payload)).unwrap_or_default()
    }

    fn answer_to(&self, payload: &[u8]) -> Vec<(String, Vec<u8>)> {
        let question = match codec::decode(payload) {
            Ok(Message::Question(question)) => question,
            Ok(_) => return Vec::new(),
            Err(error) => {
                self.counters.invalid("question", &error);
                return Vec::new();
            }
        };
        // Another node of this site: it answers itself.
        if question.boot != *self.me.boot.as_bytes() {
            return Vec::new();
        }
        #[cfg(test)]
        crate::contain::planted::may_panic(&question.service);
        let Some(sent) = self.sent.get(&question.service) else { return Vec::new() };
        let key = self.keys.service(Topic::Digest, &self.me.site, &question.service);
        let mut room = self.tuning.answer;
        let mut answers = Vec::new();
        // The newest first: they are the likeliest to be retried.
        for &(from, to) in question.ranges.iter().take(self.tuning.question_ranges).rev() {
            let (from, mut to) = (from.max(sent.low), to.min(sent.end()));
            while from < to && room > 0 {
                let count = (to - from).min(self.tuning.batch as u64).min(room as u64);
                let first = to - count;
                let prints = sent.recent.range((first - sent.low) as usize..).take(count as usize).cloned().collect();
                answers.push((key.clone(), codec::encode(&self.batch(&question.service, first, prints))));
                to = first;
                room -= count as usize;
            }
        }
        self.counters.add(&self.counters.questions_answered, 1);
        answers
    }

    // === speaking ===

    /// Something is to be repeated, and a hub to say that it hears.
    fn is_fresh(&mut self, now_ms: u64) {
        self.round_due_ms = self.round_due_ms.min(now_ms + self.tuning.round_ms);
        self.watch.says();
        self.is_looked_after(now_ms);
    }

    /// Where anything is open, the session is looked at every few seconds.
    fn is_looked_after(&mut self, now_ms: u64) {
        if !self.watch.rests() {
            self.beat_due_ms = self.beat_due_ms.min(now_ms + self.tuning.beat_ms);
        }
    }

    fn publish(&mut self, now_ms: u64, prints: Vec<(Group, Fingerprint)>, out: &mut Vec<Output>) {
        self.is_fresh(now_ms);
        let mut fresh: BTreeMap<String, Vec<Print>> = BTreeMap::new();
        for (group, print) in prints {
            // A site speaks only for itself: receivers would not believe anything else.
            if print.origin != self.me.site {
                self.counters.add(&self.counters.foreign, 1);
                continue;
            }
            let print = Print { store: group.store, key: print.key, id: print.id };
            fresh.entry(group.service).or_default().push(print);
        }
        for (service, prints) in fresh {
            if !self.sent.contains_key(&service) && self.sent.len() >= self.tuning.services {
                self.counters.add(&self.counters.dropped_out, prints.len() as u64);
                continue;
            }
            let key = self.keys.service(Topic::Fingerprints, &self.me.site, &service);
            for chunk in prints.chunks(self.tuning.batch) {
                let fresh = self.tuning.fresh_rounds;
                let sent = self.sent.entry(service.clone()).or_insert(Sent { low: 1, recent: VecDeque::new(), fresh });
                sent.fresh = fresh;
                let first = sent.end();
                sent.recent.extend(chunk.iter().cloned());
                while sent.recent.len() > self.tuning.window {
                    sent.recent.pop_front();
                    sent.low += 1;
                }
                let message = self.batch(&service, first, chunk.to_vec());
                out.push(Output::Put { key: key.clone(), payload: codec::encode(&message) });
            }
            self.counters.add(&self.counters.published, prints.len() as u64);
        }
    }

    fn batch(&self, service: &str, first: u64, prints: Vec<Print>) -> Message {
        let (site, boot) = (self.me.site.clone(), *self.me.boot.as_bytes());
        Message::Fingerprints(Batch { site, boot, service: service.to_owned(), first, prints })
    }

    fn level(&mut self, now_ms: u64, id: LevelId, level: Level, out: &mut Vec<Output>) {
        if !self.levels.contains_key(&id) && self.levels.len() >= self.tuning.levels {
            self.counters.add(&self.counters.dropped_out, 1);
            return;
        }
        self.is_fresh(now_ms);
        out.push(self.say(&id, &level));
        self.levels.insert(id, (level, self.tuning.fresh_rounds));
    }

    fn say(&self, (_, group, log): &LevelId, level: &Level) -> Output {
        let (site, group) = (self.me.site.clone(), group.clone());
        let (key, message) = match (*log, level) {
            (Some(log), &Level::Head { position }) => {
                (self.keys.log(Topic::Head, &site, log), Message::Head { site, group, log, position })
            }
            (Some(log), &Level::Cursor { received, decided }) => {
                (self.keys.log(Topic::Cursor, &site, log), Message::Cursor { site, group, log, received, decided })
            }
            (_, &Level::Health { healthy, lag_ms }) => {
                let key = self.keys.service(Topic::Health, &site, &group.service);
                (key, Message::Health { site, group, healthy, lag_ms })
            }
            (None, Level::Head { .. } | Level::Cursor { .. }) => unreachable!("heads and cursors are made with a log"),
        };
        Output::Put { key, payload: codec::encode(&message) }
    }

    fn refresh(&mut self, now_ms: u64) {
        self.is_fresh(now_ms);
        let fresh = self.tuning.fresh_rounds;
        self.sent.values_mut().for_each(|sent| sent.fresh = fresh);
        self.levels.values_mut().for_each(|level| level.1 = fresh);
    }

    fn tick(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        if now_ms >= self.beat_due_ms {
            if self.me.expects_echo && self.watch.connected() {
                let (site, node, boot) = (self.me.site.clone(), self.me.node.clone(), *self.me.boot.as_bytes());
                let key = self.keys.beat(&site, &node);
                out.push(Output::Put { key, payload: codec::encode(&Message::Beat { site, node, boot }) });
                self.watch.asks(now_ms);
            }
            let every_ms = if self.watch.rests() { self.tuning.rest_beat_ms } else { self.tuning.beat_ms };
            self.beat_due_ms = now_ms + every_ms;
            if let Some(reopen) = self.watch.check(now_ms, &self.tuning) {
                self.counters.add(&self.counters.reopened, 1);
                out.push(Output::Reopen(reopen));
            }
        }
        if now_ms >= self.round_due_ms {
            self.speak_round(now_ms, out);
            let is_fresh =
                self.sent.values().any(|sent| sent.fresh > 0) || self.levels.values().any(|(_, fresh)| *fresh > 0);
            self.round_due_ms = if is_fresh { now_ms + self.tuning.round_ms } else { self.all_due_ms };
        }
    }

    fn speak_round(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let slow = now_ms >= self.all_due_ms;
        if slow {
            self.all_due_ms = now_ms + self.tuning.all_every_ms();
        }
        for (service, sent) in &mut self.sent {
            if !slow && sent.fresh == 0 {
                continue;
            }
            sent.fresh = sent.fresh.saturating_sub(1);
            let (site, boot) = (self.me.site.clone(), *self.me.boot.as_bytes());
            let key = self.keys.service(Topic::Digest, &site, service);
            let digest = Digest { site, boot, service: service.clone(), low: sent.low, end: sent.end() };
            out.push(Output::Put { key, payload: codec::encode(&Message::Digest(digest)) });
        }
        let due: Vec<_> = self.levels.iter().filter(|(_, (_, fresh))| slow || *fresh > 0).collect();
        out.extend(due.into_iter().map(|(id, (level, _))| self.say(id, level)));
        self.levels.values_mut().for_each(|(_, fresh)| *fresh = fresh.saturating_sub(1));
    }

    // === hearing ===

    fn session(&mut self, now_ms: u64, generation: u64, open: bool, out: &mut Vec<Output>) {
        self.watch.session(now_ms, generation, open);
        if !open {
            // Nobody is seen through a closed session.
            let gone = std::mem::take(&mut self.alive);
            out.extend(
                gone.into_iter().map(|(site, node, boot)| Output::Hint(Hint::Alive { site, node, boot, up: false })),
            );
        }
    }

    fn token(&mut self, now_ms: u64, generation: u64, key: &str, up: bool, out: &mut Vec<Output>) {
        if !self.watch.is_current(generation) {
            return;
        }
        let Some((site, node, boot)) = self.keys.parse_alive(key) else { return };
        if (site == self.me.site && node == self.me.node) || !self.may_speak(&site) {
            return;
        }
        let id = (site.clone(), node.clone(), boot);
        // Tokens flap around a failover; only changes are told.
        let changed =
            if up { self.alive.len() < self.tuning.nodes && self.alive.insert(id) } else { self.alive.remove(&id) };
        if changed {
            if up {
                self.refresh(now_ms);
            }
            out.push(Output::Hint(Hint::Alive { site, node, boot, up }));
        }
    }

    fn may_speak(&self, site: &SiteName) -> bool {
        self.allowed.is_empty() || self.allowed.contains(site)
    }

    fn sample(&mut self, now_ms: u64, key: &str, payload: &[u8], out: &mut Vec<Output>) {
        let message = match codec::decode(payload) {
            Ok(message) => message,
            Err(error) => return self.counters.invalid(key, &error),
        };
        if !self.is_genuine(key, &message) {
            return self.counters.misplaced(key);
        }
        match message {
            Message::Fingerprints(batch) => self.batch_heard(now_ms, batch, out),
            Message::Digest(digest) => self.digest_heard(now_ms, digest, out),
            Message::Head { site, group, log, position } => {
                out.push(Output::Hint(Hint::Head { site, group, log, position }));
            }
            Message::Cursor { site, group, log, received, decided } => {
                out.push(Output::Hint(Hint::Cursor { site, group, log, received, decided }));
            }
            Message::Health { site, group, healthy, lag_ms } => {
                out.push(Output::Hint(Hint::Health { site, group, healthy, lag_ms }));
            }
            Message::Beat { site, node, boot } => {
                if self.me.is_hub {
                    let key = self.keys.echo(Some(&self.me.site), &site, &node);
                    out.push(Output::Put { key, payload: codec::encode(&Message::Echo { site, node, boot }) });
                }
            }
            Message::Echo { boot, .. } => {
                if boot == *self.me.boot.as_bytes() {
                    self.watch.echo(&self.tuning);
                    if self.watch.rests() {
                        self.beat_due_ms = now_ms + self.tuning.rest_beat_ms;
                    }
                }
            }
            Message::Question(_) => {}
        }
    }

    /// A message stands under the key of the site it names, and that site is one of the realm.
    fn is_genuine(&self, key: &str, message: &Message) -> bool {
        let keys = &self.keys;
        let (site, expected) = match message {
            Message::Fingerprints(Batch { site, service, .. }) => {
                // Answers to questions come under the key that was asked.
                let answer = keys.service(Topic::Digest, site, service);
                let asked = if key == answer { answer } else { keys.service(Topic::Fingerprints, site, service) };
                (site, asked)
            }
            Message::Digest(Digest { site, service, .. }) => (site, keys.service(Topic::Digest, site, service)),
            Message::Head { site, log, .. } => (site, keys.log(Topic::Head, site, *log)),
            Message::Cursor { site, log, .. } => (site, keys.log(Topic::Cursor, site, *log)),
            Message::Health { site, group, .. } => (site, keys.service(Topic::Health, site, &group.service)),
            Message::Beat { site, node, .. } => (site, keys.beat(site, node)),
            Message::Echo { site, node, .. } => {
                let tail = keys.echo(None, site, node);
                let (before, after) = tail.split_once('*').expect("made with a star");
                return *site == self.me.site && key.starts_with(before) && key.ends_with(after);
            }
            Message::Question(_) => return false,
        };
        key == expected && self.may_speak(site)
    }

    fn batch_heard(&mut self, now_ms: u64, batch: Batch, out: &mut Vec<Output>) {
        if batch.boot == *self.me.boot.as_bytes() || batch.prints.is_empty() {
            return;
        }
        let Batch { site, boot, service, first, prints } = batch;
        let end = first.saturating_add(prints.len() as u64);
        let id = StreamId { site, service, boot };
        let stream = self.streams.stream(now_ms, id.clone());
        let numbered = (first..end).zip(prints);
        let new: Vec<Print> = numbered.filter(|(n, _)| !stream.heard.contains(*n)).map(|(_, print)| print).collect();
        let newest = stream.heard.newest();
        stream.heard.insert(first, end);
        self.counters.add(&self.counters.heard, new.len() as u64);
        let mut groups = new.into_iter().peekable();
        while let Some(print) = groups.next() {
            let group = Group { service: id.service.clone(), store: print.store.clone() };
            let into = |p: Print| Fingerprint { key: p.key, origin: id.site.clone(), id: p.id };
            let mut prints = vec![into(print)];
            while let Some(print) = groups.next_if(|next| next.store == group.store) {
                prints.push(into(print));
            }
            out.push(Output::Hint(Hint::Fingerprints { group, prints }));
        }
        // A gap within what was followed already: no need to wait for the digest.
        if newest.is_some_and(|newest| newest < first) {
            let low = newest.expect("just looked");
            self.ask(now_ms, id, low, end, out);
        }
    }

    fn digest_heard(&mut self, now_ms: u64, digest: Digest, out: &mut Vec<Output>) {
        if digest.boot == *self.me.boot.as_bytes() {
            return;
        }
        let Digest { site, boot, service, low, end } = digest;
        let id = StreamId { site, service, boot };
        self.streams.stream(now_ms, id.clone()).heard.forget_below(low);
        self.ask(now_ms, id, low, end, out);
    }

    fn ask(&mut self, now_ms: u64, id: StreamId, low: u64, end: u64, out: &mut Vec<Output>) {
        let stream = self.streams.stream(now_ms, id.clone());
        let mut ranges = stream.heard.missing(low, end);
        if ranges.is_empty() || now_ms < stream.ask_from_ms {
            return;
        }
        stream.ask_from_ms = now_ms + self.tuning.ask_every_ms;
        ranges.drain(..ranges.len().saturating_sub(self.tuning.question_ranges));
        let key = self.keys.service(Topic::Digest, &id.site, &id.service);
        let question = Question { boot: id.boot, service: id.service, ranges };
        self.counters.add(&self.counters.questions_asked, 1);
        out.push(Output::Ask { key, payload: codec::encode(&Message::Question(question)) });
    }
}
