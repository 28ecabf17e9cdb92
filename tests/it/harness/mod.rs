//! What the tests put around real appliances: services that misbehave on order, lines that break, clients made of
//! bytes.
//!
//! Nothing here shares code with the product: what judges it must not repeat its mistakes. Everything is blocking and
//! ends with its owner, also on a panic: processes are killed by id, folders removed; a failing test shows the ends of
//! the logs.
pub mod certificates;
pub mod client;
pub mod http;
pub mod ledger;
pub mod metrics;
pub mod ports;
pub mod process;
pub mod relay;
pub mod scene;
pub mod service;
pub mod site;
pub mod skip;
pub mod tills;
pub mod upstream;
pub mod wait;

pub use client::{Call, Told};
pub use ports::free_port;
pub use relay::{Line, Relay};
pub use scene::{Scene, Three, Two};
pub use service::Service;
pub use site::{Appliance, Site};
pub use skip::{is_root, skipped};
pub use tills::{Receipts, Till, judge};
pub use upstream::{Act, Cut, Gate, Upstream};
pub use wait::{SOON, holds_for, wait_for};
