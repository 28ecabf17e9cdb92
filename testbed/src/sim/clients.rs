//! Tills: one write after the other, tries again under the same key, roams, hangs up, sometimes impatient.
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::model::{After, ClientMark, Digest, Facts, Header, KeyHash, Lane, LogId, Request, WriteId};
use holdfast::service::{Event, NewWrite, Sender};

use super::history::{Method, Name, Said, Write};
use super::machine::Machine;
use super::plan::{CLIENTS_MAX, ClientPlan};
use super::rng::{Rng, mix};
use super::site::Waiting;
use super::upstream::refuses;
use super::world::{Ev, World};

pub(super) struct Client {
    pub plan: ClientPlan,
    pub site: usize,
    seen: After,
    pub current: Option<Current>,
    /// Counts tries over all writes: answers to older ones reach nobody.
    pub attempt: u32,
    /// Writes begun, or left out.
    pub ordinal: Name,
    last_key: Option<Name>,
    /// The last write that it sent with a key.
    last_keyed: Option<Name>,
    /// Successes that it was told of, with what they rest on.
    successes: Vec<Name>,
}

#[derive(Clone, Copy)]
pub(super) struct Current {
    pub name: Name,
    pub tries: u32,
}

pub(super) enum Heard {
    Said {
        said: Said,
        told: usize,
        seen: Option<After>,
    },
    /// Connect refused, or the process died while the client waited.
    ConnectionLost,
}

/// No store of this fleet.
const GONE: LogId = LogId { store: [0xEE; 16], incarnation: 1 };
const NEVER: u64 = 1_000_000;

/// Nobody has, or will ever have, what this token names.
fn invented(home: usize) -> After {
    let mut seen = After::new();
    seen.raise(GONE, 7);
    seen.raise(LogId { store: [home as u8 + 1; 16], incarnation: 1 }, NEVER);
    seen.add_id(WriteId { log: GONE, n: 9 });
    seen
}

pub(super) fn is_invented(seen: &After) -> bool {
    seen.lasts().any(|(log, position)| log == GONE || position == NEVER) || seen.ids().iter().any(|id| id.log == GONE)
}

impl Client {
    pub fn new(plan: ClientPlan) -> Self {
        let seen = if plan.invents_seen { invented(plan.home) } else { After::new() };
        Client {
            site: plan.home,
            plan,
            seen,
            current: None,
            attempt: 0,
            ordinal: 0,
            last_key: None,
            last_keyed: None,
            successes: Vec::new(),
        }
    }
}

impl<M: Machine> World<M> {
    pub fn client_next(&mut self, client: usize) {
        if !self.chaos || self.clients[client].current.is_some() {
            return;
        }
        if let Some(serves_ms) = self.serves_alone_ms.filter(|&at_ms| at_ms > self.now_ms) {
            let delay = serves_ms - self.now_ms + self.rng.range(0, 500);
            return self.after(delay, Ev::ClientNext { client });
        }
        if self.stage.is_some() {
            return self.scripted_next(client);
        }
        self.clients[client].ordinal += 1;
        let name = self.clients[client].ordinal * CLIENTS_MAX + client as Name;
        let plan = self.clients[client].plan.clone();
        let mut script = self.plan.script(name);
        if !self.plan.keep.has_write(name) {
            return self.think(client, &mut script);
        }
        let method = if script.chance(plan.idempotent_methods) {
            script.pick(&[Method::Put, Method::Delete])
        } else {
            script.pick(&[Method::Post, Method::Post, Method::Patch])
        };
        let key = if script.chance(plan.keyless) {
            None
        } else if let Some(last) = self.clients[client].last_key.filter(|_| script.chance(plan.reuses_key)) {
            self.stats.hit("client: reused a key");
            Some(last)
        } else {
            Some(name)
        };
        let site = if script.chance(plan.roams) {
            self.stats.hit("client: roamed");
            script.below(self.sites.len() as u64) as usize
        } else {
            self.clients[client].site
        };
        // Drawn apart, so that a seed is otherwise what it was.
        let borrowed = self.borrowed(client, name).filter(|_| key.is_some());
        let (lane, key, method) = match borrowed.map(|other| &self.history.writes[&other]) {
            Some(other) => (other.lane, other.key, other.method),
            None => (plan.lane, key, method),
        };
        let write = Write {
            client,
            lane,
            key,
            borrowed,
            method,
            creates: method == Method::Post && self.plan.settings[0].creates,
            refused_by_rule: refuses(self.plan.seed, name, self.plan.refused),
            submissions: Vec::new(),
            told: Vec::new(),
            touched: Default::default(),
            turned_away: false,
            told_at_the_end: false,
            discarded: false,
        };
        self.history.writes.insert(name, write);
        let state = &mut self.clients[client];
        state.site = site;
        if borrowed.is_none() {
            state.last_key = key.or(state.last_key);
            state.last_keyed = key.map(|_| name).or(state.last_keyed);
        }
        state.current = Some(Current { name, tries: 0 });
        self.client_send(client);
    }

    /// Another client's write, whose key and request this client brings as if they were its own.
    fn borrowed(&mut self, client: usize, name: Name) -> Option<Name> {
        let mut script = Rng::new(mix(self.plan.seed ^ 0xB0220) ^ mix(u64::from(name)));
        let others = self.clients.len() as u64 - 1;
        if !script.chance(self.clients[client].plan.borrows_key) {
            return None;
        }
        let other = (client + 1 + script.below(others) as usize) % self.clients.len();
        let borrowed = self.clients[other].last_keyed?;
        if self.history.writes.values().any(|write| write.client == client && write.borrowed == Some(borrowed)) {
            // Its own request by now: it would be told its own answer.
            return None;
        }
        self.stats.hit("client: brought another's key");
        Some(borrowed)
    }

    pub fn client_send(&mut self, client: usize) {
        let delay = self.rng.range(1, 3);
        let state = &mut self.clients[client];
        let Some(current) = state.current.as_mut() else { return };
        current.tries += 1;
        state.attempt += 1;
        let (name, site, attempt) = (current.name, state.site, state.attempt);
        let (patience, bound) = (state.plan.patience_ms, state.plan.carries_seen && state.plan.refuse_stale);
        let submission = self.history.submit(name, site, bound);
        self.trace.line(self.now_ms, || format!("client {client} sends w{name} to site {site}"));
        self.after(delay, Ev::Arrive { client, attempt, name, submission, site });
        let patience = if self.rng.chance(self.rates.client_hang_up) {
            self.stats.hit("client: hung up");
            self.rng.range(1, 50)
        } else {
            patience
        };
        self.after(patience, Ev::ClientTimeout { client, attempt });
    }

    pub fn arrive(&mut self, client: usize, attempt: u32, name: Name, submission: usize, site: usize) {
        if self.sites[site].core.is_none() {
            return self.after(1, Ev::Heard { client, attempt, heard: Box::new(Heard::ConnectionLost) });
        }
        if self.now_ms < self.sites[site].disk_full_until_ms && self.rng.chance(700) {
            // Below the reserve the gateway refuses before anything is kept.
            self.stats.hit("reply: disk-reserve");
            let said = Said::Problem("reply: disk-reserve");
            let told = self.history.tell(name, site, submission, said.clone());
            let heard = Box::new(Heard::Said { said, told, seen: None });
            return self.after(1, Ev::Heard { client, attempt, heard });
        }
        self.history.write(name).submissions[submission].arrived = true;
        let id = self.sites[site].fresh_id(Self::log(site));
        let req = self.sites[site].fresh_req();
        // A store that is an older copy is handed numbers that it gave before, and takes nothing.
        if !self.history.is_gone(site) {
            self.ids.insert(id, name);
        }
        let (life, wall_ms) = (self.sites[site].life, self.now(site).wall_ms);
        let waiting = Waiting { client, attempt, name, submission };
        self.sites[site].waiting.insert(req.0, waiting);
        self.trace.line(self.now_ms, || format!("site {site} takes w{name} from client {client} as {id:?}"));
        let slack = 2_000 + 10 * self.plan.commit_ms;
        let due = self.plan.settings[site].total_ms + slack;
        self.after(due, Ev::ReplyDue { site, life, req: req.0, asked_ms: self.now_ms });
        if self.clients[client].plan.invents_seen {
            self.stats.hit("client: has seen what nobody has");
        }
        let write = self.new_write(client, name, wall_ms);
        self.tell_core(site, Event::Submit { req, id, write });
    }

    fn new_write(&self, client: usize, name: Name, wall_ms: u64) -> NewWrite {
        let known = &self.history.writes[&name];
        let plan = &self.clients[client].plan;
        let mut digest = [0; 32];
        let of = self.history.request_of(name);
        digest[..8].copy_from_slice(&mix(u64::from(of)).to_le_bytes());
        let request = Arc::new(Request {
            method: known.method.text().into(),
            target: format!("/w/{of}"),
            authority: "pos".into(),
            headers: vec![Header { name: "authorization".into(), value: client.to_string().into_bytes() }],
            // What the service does is told apart by it.
            body: Bytes::from(name.to_string()),
        });
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&mix(u64::from(name) ^ wall_ms).to_le_bytes());
        let who = self.plan.settings[0].clients.who(&request);
        let facts = Facts {
            lane: Lane(known.lane),
            key: known.key.map(|key| KeyHash::of(&self.group, &[], &key.to_string())),
            digest: Digest(digest),
            original_ms: wall_ms,
            traceparent: None,
            client: known.key.map(|_| ClientMark::of(salt, &who)),
            renews: Vec::new(),
            creates: known.creates,
        };
        let seen =
            if plan.carries_seen || plan.invents_seen { self.clients[client].seen.clone() } else { After::new() };
        NewWrite { facts, request, seen, refuse_stale: plan.refuse_stale, sender: Sender(1 + client as u64) }
    }

    pub fn heard(&mut self, client: usize, attempt: u32, heard: Heard) {
        let state = &mut self.clients[client];
        let Some(current) = state.current.filter(|_| state.attempt == attempt) else { return };
        match heard {
            Heard::ConnectionLost => self.try_again(client, true),
            Heard::Said { said, told, seen } => {
                if let Some(seen) = seen {
                    state.seen.merge(&seen);
                    if said.is_success() {
                        state.successes.push(current.name);
                    }
                }
                self.history.receive(current.name, told);
                match said {
                    Said::Answer { status: 429, .. } | Said::Problem(_) => self.try_again(client, false),
                    // Asks again now and then, to see whether the same answer comes.
                    Said::Answer { .. } if !self.insists(client) && self.rng.chance(900) => self.done(client),
                    Said::Queued if !self.insists(client) && self.rng.chance(600) => self.done(client),
                    _ => self.try_again(client, false),
                }
            }
        }
    }

    pub fn client_timeout(&mut self, client: usize, attempt: u32) {
        if self.clients[client].attempt == attempt && self.clients[client].current.is_some() {
            self.try_again(client, false);
        }
    }

    /// Under the same key, or not at all. Without a key only what certainly never arrived may be sent again.
    fn try_again(&mut self, client: usize, lost: bool) {
        let state = &self.clients[client];
        let Some(current) = state.current else { return };
        let known = &self.history.writes[&current.name];
        let may = known.key.is_some() || (lost && known.submissions.iter().all(|s| !s.arrived));
        if !may || current.tries >= state.plan.tries {
            return self.done(client);
        }
        if self.stage.is_some() {
            return self.scripted_again(client);
        }
        if self.rng.chance(400) {
            self.clients[client].site = self.rng.below(self.sites.len() as u64) as usize;
            self.stats.hit("client: retried elsewhere");
        } else {
            self.stats.hit("client: retried at the same site");
        }
        // Nobody waits for the old try any more.
        self.clients[client].attempt += 1;
        let attempt = self.clients[client].attempt;
        let mut delay = self.rng.range(5, 1_000);
        if self.plan.short_ttl && self.rng.chance(500) {
            self.stats.hit("client: retried when its key's time was over");
            delay += self.plan.settings[0].key_ttl_ms;
        }
        self.after(delay, Ev::ClientRetry { client, attempt });
    }

    pub fn client_retry(&mut self, client: usize, attempt: u32) {
        if self.clients[client].attempt == attempt {
            self.client_send(client);
        }
    }

    /// Reads at a site, with all that it has seen.
    pub fn client_reads(&mut self, client: usize, site: usize) {
        if self.sites[site].core.is_none() {
            return;
        }
        self.stats.hit("client: read with what it had seen");
        let req = self.sites[site].fresh_req();
        let successes = self.clients[client].successes.clone();
        self.sites[site].reading.insert(req.0, successes);
        let deadline_ms = self.now(site).mono_ms + self.plan.settings[site].total_ms / 2;
        let seen = self.clients[client].seen.clone();
        self.tell_core(site, Event::AwaitSeen { req, seen, deadline_ms });
    }

    /// The site says that its replica has all that the reader has seen.
    pub fn check_fresh(&mut self, site: usize, seen: &[Name]) {
        let applied: BTreeSet<Name> = self.history.applied[site].iter().map(|a| a.name).collect();
        let parked: BTreeSet<Name> = self.history.quarantined_once.keys().map(|report| report.name).collect();
        let missing = |name: &&Name| !applied.contains(name) && !parked.contains(name);
        if let Some(&name) = seen.iter().find(missing) {
            self.history.stale_reads.push((name, site));
        }
    }

    pub fn done(&mut self, client: usize) {
        if self.stage.is_some() {
            return self.scripted_done(client);
        }
        if self.rng.chance(self.clients[client].plan.reads) && self.clients[client].plan.carries_seen {
            let site = self.rng.below(self.sites.len() as u64) as usize;
            let delay = self.rng.range(1, 200);
            self.after(delay, Ev::ClientReads { client, site });
        }
        self.clients[client].current = None;
        self.clients[client].attempt += 1;
        let mut script = self.plan.script(self.clients[client].ordinal * CLIENTS_MAX + client as Name);
        self.think(client, &mut script);
    }

    fn think(&mut self, client: usize, script: &mut Rng) {
        let mut think = self.clients[client].plan.think_ms;
        if self.serves_alone_ms.is_some() {
            // Every lane is to be tried, not one of them a thousand times.
            think = think.max(500);
        }
        let delay = 1 + script.range(think / 2, think * 3 / 2);
        self.after(delay, Ev::ClientNext { client });
    }
}
