//! Who waits, outside of every lane, for what its client has seen: reads, and writes before they come in.
use std::collections::{BTreeMap, VecDeque};

use super::{NewWrite, ReqId};
use crate::model::{After, LogId, WriteId};

/// Logs of which something was waited for in vain; clients may invent as many as they like.
const IN_VAIN_MAX: usize = 1_024;
/// Writes that wait so at once; more go on without.
const ARRIVALS_MAX: usize = 1_024;

/// A read that waits for its replica.
pub(crate) struct Reader {
    pub seen: After,
    pub deadline_ms: u64,
    /// Until then it also waits for what nobody here can know.
    pub brief_ms: Option<u64>,
    /// Nothing was left out of what it has seen.
    pub is_fresh: bool,
}

impl Reader {
    pub fn due_ms(&self) -> u64 {
        self.brief_ms.unwrap_or(self.deadline_ms)
    }
}

/// A client's write that waits for what its client has seen.
pub(crate) struct Arrival {
    pub id: WriteId,
    pub write: NewWrite,
    /// Until then also for what nobody here can know.
    pub until_ms: u64,
    /// Until then for the rest of it.
    pub at_most_until_ms: u64,
}

#[derive(Default)]
pub(crate) struct Readers {
    reads: BTreeMap<ReqId, Reader>,
    arrivals: BTreeMap<ReqId, Arrival>,
    /// What of a log was waited for in vain, and up to where.
    in_vain: VecDeque<(LogId, u64)>,
}

impl Readers {
    pub fn wait(&mut self, req: ReqId, reader: Reader) {
        self.reads.insert(req, reader);
    }

    pub fn take(&mut self, req: ReqId) -> Option<Reader> {
        self.reads.remove(&req)
    }

    pub fn ready(&self, may_go: impl Fn(&After) -> bool) -> Vec<ReqId> {
        self.reads.iter().filter(|(_, reader)| may_go(&reader.seen)).map(|(req, _)| *req).collect()
    }

    pub fn has_room(&self) -> bool {
        self.arrivals.len() < ARRIVALS_MAX
    }

    pub fn arrive(&mut self, req: ReqId, arrival: Arrival) {
        self.arrivals.insert(req, arrival);
    }

    pub fn arrival(&self, req: ReqId) -> Option<&Arrival> {
        self.arrivals.get(&req)
    }

    pub fn take_arrival(&mut self, req: ReqId) -> Option<Arrival> {
        self.arrivals.remove(&req)
    }

    pub fn arrivals_ready(&self, may_go: impl Fn(&After) -> bool) -> Vec<ReqId> {
        self.arrivals.iter().filter(|(_, arrival)| may_go(&arrival.write.seen)).map(|(req, _)| *req).collect()
    }

    pub fn was_in_vain(&self, log: LogId, position: u64) -> bool {
        self.in_vain.iter().any(|&(of, up_to)| of == log && position <= up_to)
    }

    pub fn give_up_on(&mut self, log: LogId, position: u64) {
        let before = self.in_vain.iter().position(|(of, _)| *of == log);
        let up_to = before.and_then(|at| self.in_vain.remove(at)).map_or(0, |(_, up_to)| up_to);
        self.in_vain.push_back((log, position.max(up_to)));
        if self.in_vain.len() > IN_VAIN_MAX {
            self.in_vain.pop_front();
        }
    }

    #[cfg(test)]
    pub fn in_vain(&self) -> usize {
        self.in_vain.len()
    }

    #[cfg(test)]
    pub fn arrivals(&self) -> usize {
        self.arrivals.len()
    }
}
