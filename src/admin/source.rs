//! Where the admin listener gets what it shows.
use std::future::Future;

use super::account::QuarantineStatus;
use super::view::{
    Attention, Conflict, Health, HealthState, InviteMade, InviteQuery, ManyOrdered, PeerStatus, QuarantineList,
    QuarantineQuery, ServiceStatus, ShowQuery, Status, WriteList, WriteStatus, WritesQuery,
};
use crate::model::WriteId;
use crate::service::Operation;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    #[error("no write {0} is kept here")]
    UnknownWrite(WriteId),
    #[error("there is no service {asked:?} at this site")]
    UnknownService { asked: String, known: Vec<String> },
    /// The state machine's own words.
    #[error("{0}")]
    Rejected(String),
    /// The journal or a task is gone.
    #[error("the appliance is about to stop")]
    Gone,
}

/// Implemented where modules are wired together, over `service::Handle` and the journal's readers.
pub trait AdminSource: Send + Sync + 'static {
    fn health(&self) -> impl Future<Output = Health> + Send;
    /// For probes: without all that a person must know.
    fn state(&self) -> impl Future<Output = HealthState> + Send;
    fn status(&self) -> impl Future<Output = Status> + Send;
    fn peers(&self) -> impl Future<Output = Vec<PeerStatus>> + Send;
    fn services(&self) -> impl Future<Output = Vec<ServiceStatus>> + Send;
    fn writes(&self, query: WritesQuery) -> impl Future<Output = Result<WriteList, OperateError>> + Send;
    /// `asked` is a write id, a status token or a client's key as it was sent.
    fn write(&self, asked: &str, show: ShowQuery) -> impl Future<Output = Option<WriteStatus>> + Send;
    /// Oldest first, all groups. `Err` says what of the query cannot be answered.
    fn quarantine(&self, query: QuarantineQuery) -> impl Future<Output = Result<QuarantineList, OperateError>> + Send;
    /// Also where nothing else of the write can be read. `asked`: as for [`AdminSource::write`].
    fn quarantined(&self, asked: &str, show: ShowQuery) -> impl Future<Output = Option<QuarantineStatus>> + Send;
    /// Carries out an order about the next so many that the query names, in order of their positions.
    fn order_many(
        &self,
        query: QuarantineQuery,
        operation: Operation,
    ) -> impl Future<Output = Result<ManyOrdered, OperateError>> + Send;
    fn operate(&self, id: WriteId, operation: Operation) -> impl Future<Output = Result<(), OperateError>> + Send;
    /// Follow again after a stop. An empty `store` stands for the only one.
    fn resume(&self, service: &str, store: &str) -> impl Future<Output = Result<(), OperateError>> + Send;
    /// The last conflicts that were found here.
    fn conflicts(&self) -> impl Future<Output = Vec<Conflict>> + Send;
    /// What has happened and was not marked as seen yet, which it is now.
    fn seen(&self) -> impl Future<Output = Vec<Attention>> + Send;
    /// Lets a box join, at a hub that signs.
    fn invite(&self, asked: InviteQuery) -> impl Future<Output = Result<InviteMade, OperateError>> + Send;
    /// The metrics page, as Prometheus text.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}
