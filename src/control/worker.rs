//! The control thread: owns the node's decisions, feeds them and carries out what they say.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::core::Node;
use super::doors::Doors;
use super::event::{Input, Output};
use super::handle::{ControlEvents, tell};
use super::inbox::{Inbound, Inbox, Work};
use super::session::{Opener, Zenoh};
use super::settings::{ControlError, ControlSettings, Role};
use super::status::{Counters, Shown};
use super::tuning::{Identity, Tuning};
use super::watch::Reopen;

/// What carries messages between nodes: zenoh, or memory. May lose anything; must not block for longer than a few
/// milliseconds.
pub(super) trait Carrier {
    fn put(&mut self, key: String, payload: Vec<u8>);
    /// Asks the nodes that answer under `key`; their answers come back as samples.
    fn ask(&mut self, key: String, payload: Vec<u8>);
    fn reopen(&mut self, why: Reopen);
}

/// One node: decisions, queue and carrier. Turned by a thread or by [`super::Memory`].
pub(super) struct Worker<C> {
    pub node: Node,
    pub carrier: C,
    pub inbox: Arc<Inbox>,
    events: Arc<dyn ControlEvents>,
    shown: Arc<Shown>,
    out: Vec<Output>,
}

impl<C: Carrier> Worker<C> {
    pub fn new(node: Node, carrier: C, inbox: Arc<Inbox>, events: Arc<dyn ControlEvents>, shown: Arc<Shown>) -> Self {
        Self { node, carrier, inbox, events, shown, out: Vec::new() }
    }

    /// Handles what there is. What others said goes first: a fingerprint is worth most while it is young.
    pub fn turn(&mut self, now_ms: u64, work: Work) {
        for inbound in work.inbound {
            match inbound {
                Inbound::Input(input) => self.input(now_ms, input),
                Inbound::Question { payload, reply } => reply(self.node.answer(&payload)),
            }
        }
        if !work.prints.is_empty() {
            self.input(now_ms, Input::Publish(work.prints));
        }
        for (id, level) in work.levels {
            self.input(now_ms, Input::Level(id, level));
        }
        if self.node.deadline_ms() <= now_ms {
            self.input(now_ms, Input::Tick);
        }
        self.shown.connected.store(self.node.connected(), Ordering::Relaxed);
    }

    pub fn input(&mut self, now_ms: u64, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.node.handle(now_ms, input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Put { key, payload } => self.carrier.put(key, payload),
                Output::Ask { key, payload } => self.carrier.ask(key, payload),
                Output::Hint(hint) => tell(&*self.events, hint),
                Output::Reopen(why) => self.carrier.reopen(why),
            }
        }
        self.out = out;
    }
}

impl ControlSettings {
    pub(super) fn identity(&self) -> Identity {
        let (expects_echo, is_hub) = match &self.role {
            Role::Edge { .. } => (true, false),
            Role::Hub { peers, .. } => (!peers.is_empty(), true),
            Role::Off => (false, false),
        };
        let sites = self.sites.clone();
        let (realm, site, node, boot) = (self.realm.clone(), self.me.clone(), self.node.clone(), self.boot);
        Identity { realm, site, node, boot, expects_echo, is_hub, sites }
    }
}

/// Starts the control thread and the first attempt to open a session. `alive` is dropped when both have ended.
pub(super) fn spawn(
    settings: ControlSettings,
    tuning: Tuning,
    events: Arc<dyn ControlEvents>,
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    shown: Arc<Shown>,
    alive: SyncSender<()>,
) -> Result<(), ControlError> {
    let node = Node::new(settings.identity(), tuning, counters.clone(), 0);
    let doors = Doors::open(&settings)?;
    let opener = Opener::new(Arc::new(settings), doors, inbox.clone(), counters, shown.clone());
    let carrier = Zenoh::start(opener, alive).map_err(ControlError::Thread)?;
    let worker = Worker::new(node, carrier, inbox, events, shown);
    std::thread::Builder::new().name("control".to_owned()).spawn(move || run(worker)).map_err(ControlError::Thread)?;
    Ok(())
}

fn run(mut worker: Worker<Zenoh>) {
    let start = Instant::now();
    loop {
        let due = start + Duration::from_millis(worker.node.deadline_ms());
        let work = worker.inbox.wait(due);
        let stop = work.stop;
        worker.turn(start.elapsed().as_millis() as u64, work);
        if stop {
            worker.carrier.close();
            return;
        }
    }
}
