//! The admin listener: health, metrics, the API.
//!
//! Owns the addresses, their JSON and who may ask. Knows nothing of journals and state machines: all it shows comes
//! from an [`AdminSource`]. May assume that the source answers within its own limits; promises to take at most
//! [`IN_FLIGHT_MAX`] requests at a time (G6) over few connections ([`listen`]), and to change nothing but by a POST
//! that no foreign web page can cause. Holds no state.
mod account;
mod audit;
mod guard;
mod listen;
mod next;
mod routes;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod view;
pub(crate) mod words;

pub use account::{
    Account, AnswerView, ClientView, Judged, Kept, LaneView, QuarantineStatus, RequestView, Teller, place,
};
pub use guard::Guard;
pub use next::Step;
pub use routes::{HOLDFAST_ADMIN, IN_FLIGHT_MAX, router};
pub use source::{AdminSource, OperateError};
pub use view::{
    Attention, Conflict, EndpointStatus, Grade, GroupStatus, Health, HealthState, InviteMade, InviteQuery, ManyOrdered,
    PeerStatus, QuarantineEntry, QuarantineList, QuarantineQuery, ReplicaStatus, ServiceStatus, ShowQuery, Status,
    StoreStatus, WriteList, WriteStatus, WriteSummary, WritesQuery,
};

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;

/// Serves until `stop` ends, then lets requests in flight finish.
pub async fn serve<S: AdminSource>(
    listener: TcpListener,
    source: Arc<S>,
    token: Option<String>,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    listen::serve(listener, router(source, Guard::new(token)), listen::Limits::default(), stop).await;
}
