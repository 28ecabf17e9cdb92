//! Random batches on both stores: what they say must be equal at every moment, over restarts too.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Action {
    Put { write: u8, origin: u8, here: u8, verdict: u8, wished: bool, clock: u8 },
    Request { write: u8 },
    Series { log: u8, received: u8, decided: u8 },
    Quarantine { write: u8 },
    Release { write: u8 },
    DropRequest { write: u8 },
    Erase { write: u8 },
    Forget { log: u8, up_to: u8, older_than: u8 },
    ForgetCancelled { older_than: u8 },
    Stop { on: bool },
    Age { said_below: u8 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (any::<u8>(), 0..7u8, 0..6u8, 0..4u8, any::<bool>(), any::<u8>())
            .prop_map(|(write, origin, here, verdict, wished, clock)| {
                Action::Put { write, origin, here, verdict, wished, clock }
            }),
        4 => any::<u8>().prop_map(|write| Action::Request { write }),
        2 => (0..2u8, 0..9u8, 0..9u8).prop_map(|(log, received, decided)| Action::Series { log, received, decided }),
        1 => any::<u8>().prop_map(|write| Action::Quarantine { write }),
        1 => any::<u8>().prop_map(|write| Action::Release { write }),
        1 => any::<u8>().prop_map(|write| Action::DropRequest { write }),
        2 => any::<u8>().prop_map(|write| Action::Erase { write }),
        1 => (0..2u8, 0..9u8, any::<u8>()).prop_map(|(log, up_to, older_than)| Action::Forget { log, up_to, older_than }),
        1 => any::<u8>().prop_map(|older_than| Action::ForgetCancelled { older_than }),
        1 => any::<bool>().prop_map(|on| Action::Stop { on }),
        1 => any::<u8>().prop_map(|said_below| Action::Age { said_below }),
    ]
}

const WRITES: u8 = 24;

/// An id belongs to one group: even numbers to one, odd ones to the other.
fn write_of(write: u8, group: usize) -> WriteId {
    let n = u64::from(write % WRITES);
    id(log(1 + (n % 4 / 2) as u8), n / 4 * 2 + group as u64 + 2)
}

#[derive(Default)]
struct Positions(BTreeMap<WriteId, u64>, BTreeMap<(usize, LogId), u64>);

impl Positions {
    /// Given once, in order.
    fn of(&mut self, group: usize, id: WriteId) -> u64 {
        *self.0.entry(id).or_insert_with(|| {
            let next = self.1.entry((group, id.log)).or_insert(0);
            *next += 1;
            *next
        })
    }
}

fn row(id: WriteId, position: Option<u64>, origin: u8, here: u8, verdict: u8, wished: bool, clock: u8) -> Row {
    let site = SiteName::new("b");
    let mut row = sending(id);
    // Few keys, so that several writes have the same one; some have none.
    row.facts.key = (!id.n.is_multiple_of(5)).then(|| key(id.n % 5));
    row.settled_clock_ms = clock.into();
    row.wish = wished.then(|| WishHeld::new(site.clone(), 1));
    row.queued = wished;
    if wished {
        row.owed.insert(site.clone(), 2);
    }
    row.origin = match origin {
        0 => Origin::Foreign,
        1 => Origin::Accepted,
        2 => Origin::Queued,
        3 => Origin::Here,
        4 => Origin::Wished { site, attempt: 3, revoked: true },
        5 => Origin::Settled,
        _ => Origin::Cancelled,
    };
    row.here = match here {
        0 => Here::Untouched,
        1 => Here::Sending { attempt: 2, after: crate::model::After::new() },
        2 | 3 => Here::Decided(Fate::Applied),
        4 => Here::Decided(Fate::Duplicate(id)),
        _ => Here::Decided(Fate::Quarantined(QuarantineReason::Hole)),
    };
    if let Some(position) = position {
        let verdicts = [Verdict::Applied, Verdict::Applied, Verdict::Refused, Verdict::Undecided];
        row.outcome = Some(outcome(verdicts[usize::from(verdict)]));
        row.position = Some((position, Chain([position as u8; 8])));
    }
    row
}

fn op(action: &Action, group: usize, positions: &mut Positions) -> Op {
    match *action {
        Action::Put { write, origin, here, verdict, wished, clock } => {
            let id = write_of(write, group);
            let settled = matches!(origin, 0 | 5) && (positions.0.contains_key(&id) || verdict != 3);
            let position = (settled || positions.0.contains_key(&id)).then(|| positions.of(group, id));
            Op::Row(Box::new(row(id, position, origin, here, verdict, wished, clock)))
        }
        Action::Request { write } => Op::Request(write_of(write, group), request(&write.to_string())),
        Action::Series { log: which, received, decided } => {
            Op::Series(meta(log(1 + which), received.into(), Chain::default(), decided.into()))
        }
        Action::Quarantine { write } => {
            let (id, reason) = (write_of(write, group), QuarantineReason::ALL[usize::from(write % 9)]);
            let unknown = if write % 4 == 0 { vec![write_of(write / 2, group)] } else { Vec::new() };
            let since_ms = 1 + u64::from(write % 3);
            Op::Quarantine(Quarantined {
                status: 409,
                unknown,
                ..Quarantined::new(id, reason, write.to_string(), since_ms)
            })
        }
        Action::Release { write } => Op::Release(write_of(write, group)),
        Action::DropRequest { write } => Op::DropRequest(write_of(write, group)),
        // What has a position cannot be erased: another entry goes instead.
        Action::Erase { write } => match write_of(write, group) {
            id if positions.0.contains_key(&id) => Op::Release(id),
            id => Op::Erase(id),
        },
        Action::Forget { log: which, up_to, older_than } => {
            Op::Forget { log: log(1 + which), up_to: up_to.into(), older_than_ms: older_than.into() }
        }
        Action::ForgetCancelled { older_than } => Op::ForgetCancelled { older_than_ms: older_than.into() },
        Action::Stop { on } => Op::Stopped(on.then(|| Stop { kind: StopKind::Doubt, why: "why".into() })),
        Action::Age { said_below } => Op::Age(Age { place: 5, said_below: said_below.into(), heard: Vec::new() }),
    }
}

fn say(recovered: Recovered) -> String {
    format!("{recovered:#?}")
}

fn assert_equal(memory: &Memory, journal: &Journal) {
    for (which, group) in [group("even"), group("odd")].iter().enumerate() {
        for (lanes_max, quarantined_max) in [(2, 1), (100, 100)] {
            let recover = |store: &dyn Store| store.recover_some(group, lanes_max, quarantined_max);
            let both = (recover(memory), recover(journal));
            assert_eq!(say(both.0), say(both.1));
        }
        let ids = (0..WRITES).map(|write| Find::Id(write_of(write, which)));
        for find in ids.chain((0..5).map(|n| Find::Key(key(n)))) {
            let both = (Store::find(memory, group, find), Store::find(journal, group, find));
            assert_eq!(format!("{:?}", both.0), format!("{:?}", both.1), "{find:?}");
        }
        for (log, from) in [(log(1), 1), (log(1), 3), (log(2), 1), (log(2), 2)] {
            for (items_max, bytes_max) in [(3, usize::MAX), (100, 1_000)] {
                let read = |store: &dyn Store| store.read_series(group, log, from, items_max, bytes_max);
                assert_eq!(read(memory), read(journal), "{log} from {from}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_say_the_same(
        batches in proptest::collection::vec(
            (0..2usize, proptest::collection::vec(action(), 1..12), proptest::bool::weighted(0.15)), 1..12,
        ),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut memory, mut journal) = (Memory::new(), Journal::open(&options(&dir)).unwrap());
        let (groups, mut positions) = ([group("even"), group("odd")], Positions::default());
        for (which, actions, reopen) in batches {
            let ops: Vec<Op> = actions.iter().map(|action| op(action, which, &mut positions)).collect();
            let committed = Store::apply(&mut memory, &groups[which], ops.clone());
            prop_assert_eq!(committed, Store::apply(&mut journal, &groups[which], ops));
            if reopen {
                drop(journal);
                journal = Journal::open(&options(&dir)).unwrap();
            }
            assert_equal(&memory, &journal);
        }
        prop_assert!(journal.fatal().borrow().is_none());
        // Random rows break what `verify` expects of a series, but no record and no column.
        for damage in block_on(journal.verify()).unwrap().damages {
            prop_assert!(!matches!(damage.record, RecordName::Row(_) | RecordName::Database), "{}", damage);
        }
    }
}
