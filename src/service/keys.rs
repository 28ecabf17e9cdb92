//! What this group knows of keys: the table of those that name writes, and who waits for what a key means.
use super::asking::Questions;
use super::whose::Strangers;
use crate::idempotency::KeyTable;

pub(crate) struct Keys {
    pub keys: KeyTable,
    pub questions: Questions,
    pub strangers: Strangers,
}
