//! The suite of the store contract, run on both implementations, and what only SQLite can get wrong.
mod contract;
mod damage;
mod kill;
mod mend;
mod model;
mod quarantine;
mod sqlite;
mod strangers;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::journal::{Find, Found};
use crate::model::{Answer, Chain, Digest, Facts, Group, Item, KeyHash, Outcome, Request, SiteName, Verdict, WriteId};

pub(super) trait Store {
    fn apply(&mut self, group: &Group, ops: Vec<Op>) -> Committed;
    fn recover_some(&self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Recovered;
    fn recover(&self, group: &Group, lanes_max: usize) -> Recovered {
        self.recover_some(group, lanes_max, usize::MAX)
    }
    fn find(&self, group: &Group, find: Find) -> Vec<Found>;
    fn read_series(&self, group: &Group, log: LogId, from: u64, items_max: usize, bytes_max: usize) -> Vec<Arc<Item>>;
}

impl Store for Memory {
    fn apply(&mut self, group: &Group, ops: Vec<Op>) -> Committed {
        Memory::apply(self, group, &ops)
    }
    fn recover_some(&self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Recovered {
        Memory::recover(self, group, lanes_max, quarantined_max)
    }
    fn find(&self, group: &Group, find: Find) -> Vec<Found> {
        Memory::find(self, group, find)
    }
    fn read_series(&self, group: &Group, log: LogId, from: u64, items_max: usize, bytes_max: usize) -> Vec<Arc<Item>> {
        Memory::read_series(self, group, log, from, items_max, bytes_max)
    }
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Hands a batch over; the receiver gets what became of it.
pub(super) fn hand_over(
    journal: &Journal,
    group: &Group,
    ops: Vec<Op>,
) -> std::sync::mpsc::Receiver<Result<Committed, CommitError>> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    journal.commit(&Arc::new(group.clone()), ops, Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver
}

impl Store for Journal {
    fn apply(&mut self, group: &Group, ops: Vec<Op>) -> Committed {
        hand_over(self, group, ops).recv().unwrap().unwrap()
    }
    fn recover_some(&self, group: &Group, lanes_max: usize, quarantined_max: usize) -> Recovered {
        // The other store lies nowhere.
        Recovered { place: 0, ..Journal::recover(self, group, lanes_max, quarantined_max).unwrap() }
    }
    fn find(&self, group: &Group, find: Find) -> Vec<Found> {
        block_on(Journal::find(self, group, find)).unwrap()
    }
    fn read_series(&self, group: &Group, log: LogId, from: u64, items_max: usize, bytes_max: usize) -> Vec<Arc<Item>> {
        match block_on(Journal::read_series(self, group, log, from, items_max, bytes_max)) {
            // The other store does not tell what is missing from what is to come.
            Err(Error::Broken { .. }) => Vec::new(),
            read => read.unwrap(),
        }
    }
}

/// Small, and without fsync: what these tests look at does not depend on it.
pub(super) fn options(dir: &tempfile::TempDir) -> OpenOptions {
    OpenOptions {
        durability: Durability::ProcessCrash,
        reserve_bytes: 0,
        readers: 1,
        id_block: 64,
        ..OpenOptions::new(dir.path())
    }
}

pub(super) fn group(service: &str) -> Group {
    Group { service: service.into(), store: String::new() }
}

pub(super) fn log(n: u8) -> LogId {
    LogId { store: [n; 16], incarnation: 1 }
}

pub(super) fn id(log: LogId, n: u64) -> WriteId {
    WriteId { log, n }
}

pub(super) fn key(n: u64) -> KeyHash {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    KeyHash(bytes)
}

pub(super) fn request(body: &str) -> Arc<Request> {
    Arc::new(Request {
        method: "POST".into(),
        target: "/sales".into(),
        authority: "till".into(),
        headers: vec![crate::model::Header { name: "a".into(), value: b"b".to_vec() }],
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

/// An own write that is being sent to this site's replica.
pub(super) fn sending(id: WriteId) -> Row {
    let facts = Facts {
        lane: Lane(id.n % 3),
        key: Some(key(id.n)),
        digest: Digest([7; 32]),
        original_ms: id.n,
        traceparent: None,
        client: None,
        renews: Vec::new(),
        creates: false,
    };
    Row {
        id,
        facts,
        origin: Origin::Here,
        queued: false,
        owed: Default::default(),
        wish: None,
        here: Here::Sending { attempt: 1, after: crate::model::After::new() },
        outcome: None,
        ours: None,
        position: None,
        decides: None,
        settled_clock_ms: 0,
    }
}

pub(super) fn outcome(verdict: Verdict) -> Outcome {
    let answer = Answer { status: 201, headers: Vec::new(), body: Bytes::from_static(b"made"), omitted: None };
    Outcome {
        verdict,
        after: Default::default(),
        repeats: None,
        status: 201,
        answer: Some(Arc::new(answer)),
        told_by_probe: false,
        unknown: Vec::new(),
    }
}

/// Settled, applied here, and chained.
pub(super) fn settled(id: WriteId, position: u64, previous: Chain, clock_ms: u64) -> Row {
    let row = sending(id);
    let outcome = outcome(Verdict::Applied);
    let chain = Item::chain_over(previous, position, id, &row.facts, &outcome);
    Row {
        origin: Origin::Settled,
        here: Here::Decided(Fate::Applied),
        outcome: Some(outcome),
        position: Some((position, chain)),
        settled_clock_ms: clock_ms,
        ..row
    }
}

pub(super) fn meta(log: LogId, received: u64, chain: Chain, decided: u64) -> SeriesMeta {
    let (told, confirmed) = (Vec::new(), Vec::new());
    SeriesMeta { log, site: SiteName::new("a"), received, chain, decided, forgotten: 0, told, confirmed }
}

/// Ops that put a whole series of settled writes, numbers and positions from 1.
pub(super) fn series(log: LogId, length: u64) -> Vec<Op> {
    let mut chain = Chain::default();
    let mut ops = Vec::new();
    for n in 1..=length {
        let row = settled(id(log, n), n, chain, n);
        chain = row.position.unwrap().1;
        ops.extend([Op::Request(row.id, request("sale")), Op::Row(Box::new(row))]);
    }
    ops.push(Op::Series(meta(log, length, chain, length)));
    ops
}
