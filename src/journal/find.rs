//! Questions to the journal about writes, and what it found.
use std::sync::Arc;

use super::{Quarantined, Row};
use crate::model::{KeyHash, Request, WriteId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    Key(KeyHash),
    Id(WriteId),
    /// The write, and what was decided late about it: an order is about both.
    Either(WriteId),
}

/// What a look-up in the journal found.
#[derive(Clone, Debug)]
pub struct Found {
    pub row: Row,
    pub request: Option<Arc<Request>>,
    /// Its entry, where it stands in quarantine.
    pub quarantined: Option<Quarantined>,
}
