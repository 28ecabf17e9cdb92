//! Clients that do what a script says.
use super::scenario::Deed;
use crate::sim::clients::Current;
use crate::sim::history::{Method, Write};
use crate::sim::machine::Machine;
use crate::sim::world::{Ev, World};

/// A client whose turn has not come looks again after so long.
const LOOKS_AGAIN_MS: u64 = 50;
/// A try for which the script has nothing comes so long after the one before it.
const AGAIN_MS: u64 = 30;

impl<M: Machine> World<M> {
    /// Its next write, when that is due.
    pub fn scripted_next(&mut self, client: usize) {
        let Some(stage) = &self.stage else { return };
        let ordinal = self.clients[client].ordinal as usize;
        let mut of_client = stage.scenario.deeds.iter().filter(|deed| deed.client == client);
        let Some(deed) = of_client.nth(ordinal).cloned() else { return };
        let due_ms = if deed.alone { self.serves_alone_ms.map(|ms| ms + deed.at_ms) } else { Some(deed.at_ms) };
        if due_ms.is_none_or(|ms| ms > self.now_ms) {
            let delay = due_ms.map_or(LOOKS_AGAIN_MS, |ms| ms - self.now_ms);
            return self.after(delay, Ev::ClientNext { client });
        }
        self.clients[client].ordinal += 1;
        let Deed { name, site, .. } = deed;
        let Some(write) = self.scripted_write(deed) else {
            return self.after(1, Ev::ClientNext { client });
        };
        self.history.writes.insert(name, write);
        let state = &mut self.clients[client];
        (state.site, state.current) = (site, Some(Current { name, tries: 0 }));
        self.client_send(client);
    }

    /// `None`: what it was to borrow is not there yet.
    fn scripted_write(&self, deed: Deed) -> Option<Write> {
        let (lane, key, method) = match deed.borrows {
            Some(other) => self.history.writes.get(&other).map(|other| (other.lane, other.key, other.method))?,
            None => (deed.lane, deed.key, deed.method),
        };
        Some(Write {
            client: deed.client,
            lane,
            key,
            borrowed: deed.borrows,
            method,
            creates: method == Method::Post && self.plan.settings[0].creates,
            refused_by_rule: deed.refused,
            submissions: Vec::new(),
            told: Vec::new(),
            touched: Default::default(),
            turned_away: false,
            told_at_the_end: false,
            discarded: false,
        })
    }

    /// The script wants another try although this one was answered.
    pub fn insists(&self, client: usize) -> bool {
        let (Some(stage), Some(current)) = (&self.stage, self.clients[client].current) else { return false };
        let deed = stage.deed(current.name);
        deed.insists && current.tries as usize <= deed.retry.len()
    }

    pub fn scripted_again(&mut self, client: usize) {
        let (Some(stage), Some(current)) = (&self.stage, self.clients[client].current) else { return };
        let retry = stage.deed(current.name).retry.get(current.tries as usize - 1).copied();
        let state = &mut self.clients[client];
        let (site, delay) = retry.unwrap_or((state.site, AGAIN_MS));
        (state.site, state.attempt) = (site, state.attempt + 1);
        let attempt = state.attempt;
        self.after(delay, Ev::ClientRetry { client, attempt });
    }

    pub fn scripted_done(&mut self, client: usize) {
        let Some(stage) = &self.stage else { return };
        let read = self.clients[client].current.and_then(|current| stage.deed(current.name).reads);
        if let Some(site) = read {
            self.after(2, Ev::ClientReads { client, site });
        }
        let state = &mut self.clients[client];
        (state.current, state.attempt) = (None, state.attempt + 1);
        self.after(1, Ev::ClientNext { client });
    }

    /// The client has lost its patience, and asks again at this site, if it may.
    pub fn gives_up(&mut self, client: usize, site: usize) {
        let Some(current) = self.clients[client].current else { return };
        if self.history.writes[&current.name].key.is_none() {
            return self.done(client);
        }
        let state = &mut self.clients[client];
        (state.site, state.attempt) = (site, state.attempt + 1);
        let attempt = state.attempt;
        self.after(5, Ev::ClientRetry { client, attempt });
    }
}
