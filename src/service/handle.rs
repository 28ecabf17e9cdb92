//! How the rest of the appliance talks to a group's task.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot, watch};

use super::{Event, Message, NewWrite, Operation, Page, Reply, ReqId, View};
use crate::model::{After, Problem, SiteName, WriteId};

/// What the task receives. Bounded; every event that is a hint may be dropped by its sender when the channel is full.
#[derive(Debug)]
pub enum Command {
    Submit {
        req: ReqId,
        write: NewWrite,
        reply: oneshot::Sender<Reply>,
    },
    AwaitSeen {
        req: ReqId,
        seen: After,
        timeout_ms: u64,
        reply: oneshot::Sender<Reply>,
    },
    Operator {
        req: ReqId,
        id: Option<WriteId>,
        operation: Operation,
        reply: oneshot::Sender<Reply>,
    },
    Orders {
        req: ReqId,
        ids: Vec<WriteId>,
        operation: Operation,
        keep_going: bool,
        reply: oneshot::Sender<Reply>,
    },
    /// From links, control plane, health checks, finished attempts, journal readers.
    Event(Event),
    View(oneshot::Sender<View>),
    /// An orderly end: nothing more is sent to this replica. Answered when its service is at nothing any more, and that
    /// is durable.
    Rest(oneshot::Sender<()>),
}

/// Cheap to clone; one per group.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    pages: mpsc::Sender<(SiteName, Page)>,
    decider: watch::Receiver<Option<SiteName>>,
    decided: watch::Receiver<After>,
    last_req: Arc<AtomicU64>,
}

/// Tells the group that who waited has gone, unless it was answered.
struct Waits<'a> {
    handle: &'a Handle,
    req: ReqId,
    is_answered: bool,
}

impl Waits<'_> {
    fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.handle.hint(Event::Left { req: self.req });
        }
    }
}

impl Handle {
    pub fn new(
        commands: mpsc::Sender<Command>,
        pages: mpsc::Sender<(SiteName, Page)>,
        decider: watch::Receiver<Option<SiteName>>,
        decided: watch::Receiver<After>,
    ) -> Self {
        Self { commands, pages, decider, decided, last_req: Arc::default() }
    }

    /// Takes a client's write through its whole life; answers when the client may be answered. Dropping the future does
    /// not cancel the write.
    pub async fn submit(&self, write: NewWrite) -> Reply {
        self.ask(|req, reply| Command::Submit { req, write, reply }).await
    }

    /// Waits until this replica has decided what a reader has seen, at most `timeout_ms`.
    pub async fn await_seen(&self, seen: After, timeout_ms: u64) -> Reply {
        self.ask(|req, reply| Command::AwaitSeen { req, seen, timeout_ms, reply }).await
    }

    pub async fn operate(&self, id: Option<WriteId>, operation: Operation) -> Reply {
        self.ask(|req, reply| Command::Operator { req, id, operation, reply }).await
    }

    /// At most [`super::ORDERS_MAX`] of them.
    pub async fn order_many(&self, ids: Vec<WriteId>, operation: Operation, keep_going: bool) -> Reply {
        self.ask(|req, reply| Command::Orders { req, ids, operation, keep_going, reply }).await
    }

    /// Hands over an event; waits while the task is busy. Pages wait by themselves: what clients wait for overtakes
    /// them.
    pub async fn event(&self, event: Event) {
        // A closed channel means the appliance is shutting down: recovery will find everything that counts.
        match event {
            Event::Message { from, message: Message::Page(page) } => drop(self.pages.send((from, page)).await),
            event => drop(self.commands.send(Command::Event(event)).await),
        }
    }

    /// Hands over a hint; drops it when the task is busy.
    pub fn hint(&self, event: Event) {
        let _ = self.commands.try_send(Command::Event(event));
    }

    /// As [`Handle::event`], from where nothing may wait.
    pub fn event_later(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(Command::Event(event)) {
            let commands = self.commands.clone();
            tokio::spawn(async move { drop(commands.send(command).await) });
        }
    }

    /// For people: what stands where. `None` when the appliance is shutting down.
    pub async fn view(&self) -> Option<View> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::View(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Before an orderly end. What a service is at when the process ends is unknown to the next start.
    pub async fn rest(&self) {
        let (done, rested) = oneshot::channel();
        if self.commands.send(Command::Rest(done)).await.is_ok() {
            // The task is gone where the journal has failed: nothing is waited for then.
            let _ = rested.await;
        }
    }

    /// Where writes are decided and reads go now; `None` when no replica can be asked.
    pub fn decider(&self) -> Option<SiteName> {
        self.decider.borrow().clone()
    }

    /// What this replica has decided: whoever reads here from now on has seen as much.
    pub fn decided(&self) -> After {
        self.decided.borrow().clone()
    }

    async fn ask(&self, command: impl FnOnce(ReqId, oneshot::Sender<Reply>) -> Command) -> Reply {
        let gone = Reply::Problem { id: None, problem: Problem::Draining };
        let (reply, answer) = oneshot::channel();
        let req = ReqId(self.last_req.fetch_add(1, Ordering::Relaxed));
        if self.commands.send(command(req, reply)).await.is_err() {
            return gone;
        }
        let waits = Waits { handle: self, req, is_answered: false };
        let reply = answer.await.unwrap_or(gone);
        waits.answered();
        reply
    }
}
