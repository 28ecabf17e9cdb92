//! How a decision about an earlier write is named.
use super::WriteId;

/// A decision about an earlier write is an item of its own; its id is the write's with this bit. Numbers never come
/// near it.
pub(crate) const DECISION: u64 = 1 << 40;

pub(crate) fn decision_of(id: WriteId) -> WriteId {
    WriteId { n: id.n | DECISION, ..id }
}

pub(crate) fn is_decision(id: WriteId) -> bool {
    id.n & DECISION != 0
}

/// The write that a decision is about; a write itself as it is.
pub(crate) fn decided_by(id: WriteId) -> WriteId {
    WriteId { n: id.n & !DECISION, ..id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::testing::{log, own};

    #[test]
    fn a_decision_has_the_number_of_its_write_and_a_bit() {
        let (id, decision) = (own(5), WriteId { log: log(1), n: 5 + (1 << 40) });
        assert_eq!((decision_of(id), decided_by(decision), decided_by(id)), (decision, id, id));
        assert_eq!(decision_of(decision), decision);
        assert!(is_decision(decision) && !is_decision(id));
    }
}
