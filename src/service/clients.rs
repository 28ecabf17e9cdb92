//! The clients of this site that wait for an answer to a write, from when they come until they are answered once.
use std::collections::BTreeMap;

use super::{Reply, ReqId};
use crate::model::WriteId;

struct Client {
    /// What it waits for; none while its key is asked for, or while its answer waits for receipts.
    write: Option<WriteId>,
    deadline_ms: u64,
}

#[derive(Default)]
pub(crate) struct Clients {
    by_req: BTreeMap<ReqId, Client>,
    /// Answers that wait for receipts of peers (`ack`), by position.
    receipts: BTreeMap<u64, Vec<(ReqId, Reply)>>,
}

impl Clients {
    pub fn come(&mut self, req: ReqId, deadline_ms: u64) {
        self.by_req.insert(req, Client { write: None, deadline_ms });
    }

    pub fn contains(&self, req: ReqId) -> bool {
        self.by_req.contains_key(&req)
    }

    pub fn wait_for(&mut self, req: ReqId, id: WriteId) {
        if let Some(client) = self.by_req.get_mut(&req) {
            client.write = Some(id);
        }
    }

    pub fn write_of(&self, req: ReqId) -> Option<WriteId> {
        self.by_req.get(&req)?.write
    }

    /// It is answered: what it waited for, and until when. `None`: it was before.
    pub fn leave(&mut self, req: ReqId) -> Option<(Option<WriteId>, u64)> {
        self.by_req.remove(&req).map(|client| (client.write, client.deadline_ms))
    }

    /// The answer is there and waits until peers have stored what stands up to this position. Returns the write that
    /// its client waits for no more.
    pub fn await_receipt(&mut self, position: u64, req: ReqId, reply: Reply) -> Option<WriteId> {
        self.receipts.entry(position).or_default().push((req, reply));
        self.by_req.get_mut(&req)?.write.take()
    }

    pub fn await_receipts(&self) -> bool {
        !self.receipts.is_empty()
    }

    /// Peers have stored all up to this position: the answers that waited for it.
    pub fn received(&mut self, up_to: u64) -> Vec<(ReqId, Reply)> {
        let mut released = Vec::new();
        while let Some(entry) = self.receipts.first_entry()
            && *entry.key() <= up_to
        {
            released.extend(entry.remove());
        }
        released
    }

    /// Its time is over: what it would have been told with a receipt.
    pub fn take_receipt(&mut self, req: ReqId) -> Option<Reply> {
        let position = *self.receipts.iter().find(|(_, replies)| replies.iter().any(|(r, _)| *r == req))?.0;
        let replies = self.receipts.get_mut(&position)?;
        let at = replies.iter().position(|(r, _)| *r == req)?;
        let (_, reply) = replies.remove(at);
        if replies.is_empty() {
            self.receipts.remove(&position);
        }
        Some(reply)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_req.len()
    }
}
