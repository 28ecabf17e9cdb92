//! The link layer between two sites as the product has it, and the control plane beside it, over lines that fail.
use holdfast::dedup::Fingerprint;
use holdfast::service::{Event, Message, WishWord};

use super::history::Name;
use super::machine::Machine;
use super::rng::mix;
use super::world::{Ev, World, name_of};

impl<M: Machine> World<M> {
    /// The dialling side tries now and then; both sides notice a dead line in their own time.
    pub fn dial(&mut self, a: usize, b: usize) {
        let again = self.rng.range(100, 800);
        self.after(again, Ev::Dial { a, b });
        let lives = (self.sites[a].life, self.sites[b].life);
        let possible = self.sites[a].core.is_some()
            && self.sites[b].core.is_some()
            && !self.network.is_cut(a, b)
            && !self.network.is_cut(b, a);
        match self.network.connection(a, b) {
            Some(connection) if possible && connection.lives == lives => {}
            Some(connection) => {
                self.network.close(a, b);
                for (site, peer) in [(a, b), (b, a)] {
                    let delay = self.rng.range(1, 2_000);
                    let life = self.sites[site].life;
                    self.after(delay, Ev::LinkDown { site, peer, epoch: connection.epoch, life });
                }
            }
            None if possible => {
                let epoch = self.network.connect(a, b, lives);
                for (site, peer) in [(a, b), (b, a)] {
                    let delay = self.rng.range(1, 20);
                    let life = self.sites[site].life;
                    self.after(delay, Ev::LinkUp { site, peer, epoch, life });
                }
            }
            None => {}
        }
    }

    pub fn link_up(&mut self, site: usize, peer: usize, epoch: u32, life: u32) {
        let current = self.network.connection(site, peer).is_some_and(|c| c.epoch == epoch);
        if !current || !self.is_alive(site, life) {
            return;
        }
        if let Some(old) = self.network.believed(site, peer) {
            self.link_down(site, peer, old, life);
        }
        if self.is_alive(site, life) {
            self.network.believe(site, peer, Some(epoch));
            let peer = self.names[peer].clone();
            self.tell_core(site, Event::LinkUp { peer });
        }
    }

    pub fn link_down(&mut self, site: usize, peer: usize, epoch: u32, life: u32) {
        if self.is_alive(site, life) && self.network.believed(site, peer) == Some(epoch) {
            self.network.believe(site, peer, None);
            let peer = self.names[peer].clone();
            self.tell_core(site, Event::LinkDown { peer });
        }
    }

    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        self.stats.messages += 1;
        self.stats.hit(message_kind(&message));
        let believed = self.network.believed(from, to);
        // On a stream of its own: it starves no other, and any other may overtake it.
        let upload_ms = self.upload_ms(&message);
        if let Message::Wish(wish) = &message {
            let (id, attempt, life) = (wish.id, wish.attempt, self.sites[from].life);
            let delay = self.rng.range(0, 5) + if believed.is_some() { upload_ms } else { 0 };
            self.after(delay, Ev::WishLeft { from, life, to, id, attempt, over: believed });
        }
        let Some(epoch) = believed else { return };
        if upload_ms > 0 {
            self.stats.hit("fault: large body on a thin line");
        }
        let rates = (self.rates.message_loss, self.rates.message_repeat, self.rates.message_reorder);
        if self.rng.chance(rates.0) {
            self.history.disturb();
            return self.stats.hit("fault: message lost");
        }
        let copies = if self.rng.chance(rates.1) { 2 } else { 1 };
        if copies == 2 {
            self.stats.hit("fault: message repeated");
        }
        for _ in 0..copies {
            let overtakes = self.rng.chance(rates.2);
            let mut delay = self.plan.latency_ms + self.rng.range(0, self.plan.latency_ms);
            if overtakes {
                // A page that comes after later ones is asked for again, a while later.
                self.history.disturb();
                self.stats.hit("fault: message reordered");
                delay += self.rng.range(0, 1_000);
            }
            let overtakes = overtakes || upload_ms > 0;
            let arrival = self.network.arrival(from, to, self.now_ms + delay + upload_ms, overtakes);
            let message = Box::new(message.clone());
            self.after(arrival - self.now_ms, Ev::Deliver { from, to, epoch, message });
        }
    }

    /// How long the line is busy with a large request, or a large answer.
    fn upload_ms(&self, message: &Message) -> u64 {
        let name = match message {
            Message::Wish(wish) => Some(name_of(&wish.request)),
            Message::Word { id, word: WishWord::Done { .. }, .. } => self.ids.get(id).copied(),
            _ => None,
        };
        if let (Some(stage), Some(name)) = (&self.stage, name) {
            return if self.has_faults() { stage.deed(name).large_ms } else { 0 };
        }
        let large = self.plan.large.filter(|_| self.has_faults());
        let drawn = |name: Name| mix(self.plan.seed ^ 0x1A46E ^ (u64::from(name) << 16));
        match (name.map(drawn), large) {
            (Some(drawn), Some(large)) if drawn % 100 < large.per_cent => 100 + (drawn >> 8) % large.longest_ms,
            _ => 0,
        }
    }

    pub fn deliver(&mut self, from: usize, to: usize, epoch: u32, message: Box<Message>) {
        let current = self.network.connection(from, to).is_some_and(|c| c.epoch == epoch);
        if self.network.is_cut(from, to) || !current {
            return self.stats.hit("fault: message cut in flight");
        }
        match self.network.believed(to, from) {
            Some(known) if known == epoch => {
                let from = self.names[from].clone();
                self.tell_core(to, Event::Message { from, message: *message });
            }
            // The connection is there, this side is about to hear of it.
            _ if self.sites[to].core.is_some() => self.after(2, Ev::Deliver { from, to, epoch, message }),
            _ => self.stats.hit("fault: message cut in flight"),
        }
    }

    pub fn publish(&mut self, from: usize, print: &Fingerprint) {
        for to in (0..self.sites.len()).filter(|&to| to != from) {
            let gone = self.plan.control_off || self.network.control_cut || self.network.is_cut(from, to);
            if gone || self.rng.chance(self.rates.hint_loss) {
                self.stats.hit("fault: hint lost");
                continue;
            }
            let copies = if self.rng.chance(self.rates.hint_repeat) { 2 } else { 1 };
            for copy in 0..copies {
                let mut delay = self.plan.latency_ms + copy * self.rng.range(1, 2_000);
                if self.rng.chance(self.rates.hint_late) {
                    self.stats.hit("fault: hint late");
                    delay += self.rng.range(100, 10_000);
                }
                self.after(delay, Ev::Hint { to, print: print.clone() });
            }
            if copies == 2 {
                self.stats.hit("fault: hint repeated");
            }
        }
    }
}

fn message_kind(message: &Message) -> &'static str {
    match message {
        Message::Status(_) => "message: status",
        Message::Page(_) => "message: page",
        Message::Wish(_) => "message: wish",
        Message::Revoke { .. } => "message: revoke",
        Message::Word { .. } => "message: word",
        Message::Ask { .. } => "message: ask",
        Message::Question { .. } => "message: question",
        Message::Reply { .. } => "message: reply",
        Message::Again(_) => "message: again",
        Message::Ahead { .. } => "message: ahead",
    }
}
