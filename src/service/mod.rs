//! One state machine per group (a service, and at a hub a store): the owner of everything that decides.
//!
//! [`Core`] is pure: no clock, no IO, no await, no hash order. It is fed [`Event`]s and emits [`Effect`]s; the task in
//! `task.rs` and the simulator are two executors of the same effects. The only rule of execution: an effect becomes
//! visible only after everything persisted before it is durable ([`Outbox`]).
mod accept;
pub(crate) mod agenda;
mod aside;
mod asking;
mod chooser;
mod clients;
pub(crate) mod close;
pub(crate) mod core;
mod decide;
mod effect;
mod event;
mod handle;
mod hanging;
mod intake;
mod keys;
mod late;
mod links;
pub(crate) mod live;
mod looking;
mod message;
mod operator;
mod ordered;
pub(crate) mod orders;
mod outbox;
pub(crate) mod outcome;
pub(crate) mod peer;
pub(crate) mod plausible;
mod quarantined;
mod queue;
mod readers;
mod recent;
mod recover;
pub(crate) mod replica;
mod restored;
mod settings;
mod task;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod told;
mod unheard;
mod view;
pub(crate) mod whose;
pub(crate) mod write;

pub use crate::journal::{Find, Found};
pub use crate::model::Implausible;
pub use crate::replay::Conflicts;
pub use core::Core;
pub use effect::{Attempt, Effect, FailoverReason, Note, Ordered, Reply, Shadow};
pub use event::{Asked, AttemptResult, Event, NewWrite, Now, Operation, ProbeResult, ReqId, Sender};
pub use handle::{Command, Handle};
pub(crate) use looking::Looking;
pub use message::{Cursor, Known, Message, Page, Status, Wish, WishWord};
pub use orders::ORDERS_MAX;
pub use outbox::Outbox;
pub use settings::{Bug, Limits, OnConcurrent, OnDivergence, OnUnreachable, Settings, WhenDown};
pub use task::{Clock, Outside, Task};
pub use view::{CursorView, LackView, NextView, PeerView, SeriesView, View, WaitView};
