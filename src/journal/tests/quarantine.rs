//! The quarantine as people see it: pages, filters, counts, order; and what a write leaves that was never sent.
use std::time::{Duration, Instant};

use super::*;

fn entry(id: WriteId, reason: QuarantineReason, since_ms: u64) -> Op {
    Op::Quarantine(Quarantined::new(id, reason, format!("of {id}"), since_ms))
}

fn page(journal: &Journal, filter: &QuarantineFilter, after: Option<(u64, WriteId)>, limit: usize) -> QuarantinePage {
    block_on(journal.quarantine_page(filter.clone(), after, limit)).unwrap()
}

fn all_pages(journal: &Journal, filter: &QuarantineFilter, limit: usize) -> Vec<WriteId> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = page(journal, filter, after, limit);
        ids.extend(page.entries.iter().map(|listed| listed.entry.id));
        if page.next.is_none() {
            assert_eq!(page.counts.total, ids.len() as u64);
            return ids;
        }
        assert_eq!(page.entries.len(), limit);
        after = page.next;
    }
}

#[test]
fn pages_and_counts_of_each_filter_say_what_a_list_of_all_would() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let (sales, stock) = (group("sales"), Group { service: "stock".into(), store: "b".into() });
    let mut all = Vec::new();
    for (which, group) in [&sales, &stock].into_iter().enumerate() {
        for n in 1..=20 {
            let id = id(log(1 + (n % 2) as u8), n * 2 + which as u64);
            let reason = QuarantineReason::ALL[n as usize % 3];
            let since_ms = 100 + n / 4;
            Store::apply(&mut journal, group, vec![Op::Request(id, request("big")), Op::Row(Box::new(sending(id)))]);
            Store::apply(&mut journal, group, vec![entry(id, reason, since_ms)]);
            all.push((since_ms, id, group.clone(), reason));
        }
    }
    // Whose log is lower may be told either way among those of one moment.
    all.sort_by_key(|(since_ms, id, ..)| (*since_ms, id.log != log(2), id.n));
    let reason = |n: usize| Some(QuarantineReason::ALL[n]);
    for service in [None, Some("sales"), Some("stock"), Some("none")] {
        for (store, reason, since_ms) in
            [(None, None, None), (None, reason(1), None), (Some("b"), None, Some(103)), (None, reason(2), Some(104))]
        {
            let (service, store) = (service.map(str::to_owned), store.map(str::to_owned));
            let filter = QuarantineFilter { service, store, reason, since_ms, ..QuarantineFilter::default() };
            let expected = all.iter().filter(|(since, _, group, of)| {
                filter.service.as_ref().is_none_or(|wanted| *wanted == group.service)
                    && filter.store.as_ref().is_none_or(|wanted| *wanted == group.store)
                    && filter.reason.is_none_or(|wanted| wanted == *of)
                    && filter.since_ms.is_none_or(|wanted| *since >= wanted)
            });
            let expected: Vec<WriteId> = expected.map(|(_, id, ..)| *id).collect();
            for limit in [1, 7, 100] {
                assert_eq!(all_pages(&journal, &filter, limit), expected, "{filter:?} by {limit}");
            }
            let counts = block_on(journal.quarantine_counts(filter)).unwrap();
            assert_eq!((counts.total, counts.by_reason.values().sum()), (expected.len() as u64, expected.len() as u64));
        }
    }
    let first = page(&journal, &QuarantineFilter::default(), None, 1).entries.remove(0);
    assert_eq!(first.request, Some(("POST".to_owned(), "/sales".to_owned())));
    assert_eq!((first.position, first.lane), (None, Some(Lane(first.entry.id.n % 3))));
    // What was decided about the last one of a page meanwhile does not make the next one begin anew.
    let at = page(&journal, &QuarantineFilter::default(), None, 5);
    Store::apply(&mut journal, &sales, vec![Op::Release(all[4].1)]);
    assert_eq!(page(&journal, &QuarantineFilter::default(), at.next, 1).entries[0].entry.id, all[5].1);
}

#[test]
fn orders_about_many_go_by_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let g = group("s");
    // Positions run against the numbers of the writes; of two of them the entry comes before the position does.
    let (mut ops, mut chain) = (Vec::new(), Chain::default());
    ops.extend([5, 9, 30].map(|n| entry(id(log(1), n), QuarantineReason::Divergence, n)));
    for position in 1..=9 {
        let row = settled(id(log(1), 10 - position), position, chain, 1);
        chain = row.position.unwrap().1;
        ops.push(Op::Row(Box::new(row)));
    }
    ops.extend([1, 3].map(|n| entry(id(log(1), n), QuarantineReason::Divergence, n)));
    ops.push(entry(id(log(1), 7), QuarantineReason::Hole, 7));
    ops.extend([20, 25].map(|n| Op::Row(Box::new(sending(id(log(1), n))))));
    ops.extend([25, 20].map(|n| entry(id(log(1), n), QuarantineReason::Divergence, n)));
    ops.push(Op::Series(meta(log(1), 9, chain, 9)));
    Store::apply(&mut journal, &g, ops);
    let filter = QuarantineFilter { reason: Some(QuarantineReason::Divergence), ..QuarantineFilter::default() };
    for limit in [1, 2, 100] {
        let (mut order, mut after) = (Vec::new(), None);
        loop {
            let some = block_on(journal.quarantine_in_order(filter.clone(), after.clone(), limit)).unwrap();
            let Some(last) = some.last() else { break };
            after = Some(last.clone());
            order.extend(some.iter().map(|entry| (entry.id.n, entry.position)));
            Store::apply(&mut journal, &group("other"), vec![]);
        }
        let expected = [(9, Some(1)), (5, Some(5)), (3, Some(7)), (1, Some(9)), (20, None), (25, None), (30, None)];
        assert_eq!(order, expected, "by {limit}");
    }
    assert!(
        block_on(journal.verify()).unwrap().damages.iter().all(|d| !matches!(d.record, RecordName::Quarantined(_)))
    );
}

/// A list of a tenth of it took 51 s.
#[test]
fn a_full_quarantine_is_shown_at_once_and_is_not_in_memory() {
    const ENTRIES: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let g = group("s");
    for thousand in 0..ENTRIES / 1_000 {
        let ids = (1..=1_000).map(|n| id(log(1), thousand * 1_000 + n));
        let of_one = |id: WriteId| {
            let reason = if id.n.is_multiple_of(1_000) { QuarantineReason::Hole } else { QuarantineReason::Divergence };
            let row = Row { here: Here::Decided(Fate::Quarantined(reason)), ..settled(id, id.n, Chain::default(), 1) };
            [Op::Request(id, request("sale")), Op::Row(Box::new(row)), entry(id, reason, id.n)]
        };
        Store::apply(&mut journal, &g, ids.flat_map(of_one).collect());
    }
    Store::apply(&mut journal, &g, vec![Op::Series(meta(log(1), ENTRIES, Chain::default(), ENTRIES))]);
    let timed = |what: &str, ask: &mut dyn FnMut()| {
        let best = (0..5).map(|_| {
            let began = Instant::now();
            ask();
            began.elapsed()
        });
        let best = best.min().unwrap();
        // Some milliseconds on a quiet machine: `--nocapture` shows them.
        println!("{what}: {best:?}");
        assert!(best < Duration::from_millis(500), "{what} took {best:?}");
    };
    let all = QuarantineFilter::default();
    let filters = [
        all.clone(),
        QuarantineFilter { service: Some("s".into()), ..all.clone() },
        QuarantineFilter { reason: Some(QuarantineReason::Hole), ..all.clone() },
        QuarantineFilter { since_ms: Some(ENTRIES - 10), ..all.clone() },
        QuarantineFilter { reason: Some(QuarantineReason::Divergence), since_ms: Some(ENTRIES / 2), ..all.clone() },
        QuarantineFilter { firsts: true, ..all.clone() },
        QuarantineFilter { firsts: true, reason: Some(QuarantineReason::Divergence), ..all.clone() },
        QuarantineFilter { lane: Some(Lane(1)), ..all.clone() },
        QuarantineFilter { lane: Some(Lane(1)), reason: Some(QuarantineReason::Divergence), ..all.clone() },
    ];
    for (filter, expected) in filters.iter().zip([100, 100, 100, 11, 100, 3, 3, 100, 100]) {
        timed(&format!("the first page of {filter:?}"), &mut || {
            assert_eq!(page(&journal, filter, None, 100).entries.len(), expected);
        });
        timed(&format!("a later page of {filter:?}"), &mut || {
            page(&journal, filter, Some((ENTRIES - 50, id(log(1), ENTRIES - 50))), 100);
        });
    }
    timed("how many lanes", &mut || assert_eq!(block_on(journal.quarantine_firsts(g.clone())).unwrap(), 3));
    let firsts = page(&journal, &QuarantineFilter { firsts: true, ..all.clone() }, None, 100).entries;
    assert_eq!(firsts.iter().map(|listed| listed.others).sum::<u64>(), ENTRIES - 3);
    let later = page(&journal, &all, None, 9).entries.pop().unwrap();
    assert_eq!((later.behind.map(|id| id.n), later.others), (Some((later.entry.id.n - 1) % 3 + 1), 0));
    timed("ten thousand in order", &mut || {
        let order = block_on(journal.quarantine_in_order(all.clone(), None, 10_000)).unwrap();
        assert_eq!(order.len(), 10_000);
    });
    timed("one write", &mut || {
        let shown = block_on(journal.show(id(log(1), 77))).unwrap().unwrap();
        assert_eq!(shown.quarantined.unwrap().reason, QuarantineReason::Divergence);
    });
    let recovered = journal.recover(&g, 10, 100).unwrap();
    assert_eq!((recovered.quarantined.len(), recovered.quarantine.total), (100, ENTRIES));
    assert_eq!(recovered.quarantine.by_reason[&QuarantineReason::Hole], ENTRIES / 1_000);
}
