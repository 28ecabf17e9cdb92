//! What both stores must do, by example.
use super::*;

/// Runs a test on a fresh store of each kind.
fn on_both(test: impl Fn(&mut dyn Store)) {
    test(&mut Memory::new());
    let dir = tempfile::tempdir().unwrap();
    test(&mut Journal::open(&options(&dir)).unwrap());
}

fn put(row: Row) -> Op {
    Op::Row(Box::new(row))
}

#[test]
fn an_unknown_group_is_empty() {
    on_both(|store| {
        let nothing = store.recover(&group("x"), 10);
        assert!(nothing.series.is_empty() && nothing.open.is_empty() && nothing.keys.is_empty());
        assert!(store.find(&group("x"), Find::Key(key(1))).is_empty());
        assert!(store.read_series(&group("x"), log(1), 1, 10, 1000).is_empty());
    });
}

#[test]
fn a_write_is_open_until_it_is_final_and_found_all_the_time() {
    on_both(|store| {
        let (g, write) = (group("s"), id(log(1), 7));
        store.apply(&g, vec![Op::Request(write, request("one")), put(sending(write))]);
        let recovered = store.recover(&g, 10);
        assert_eq!(recovered.open.len(), 1);
        assert_eq!(recovered.open[0].row, sending(write));
        assert_eq!(recovered.open[0].request, Some(request("one")));
        assert_eq!(recovered.keys, [key(7).short()]);

        let row = settled(write, 1, Chain::default(), 5);
        // The second request changes nothing: requests are immutable.
        store.apply(&g, vec![Op::Request(write, request("two")), put(row.clone())]);
        store.apply(&g, vec![Op::Series(meta(log(1), 1, row.position.unwrap().1, 1))]);
        let recovered = store.recover(&g, 10);
        assert!(recovered.open.is_empty());
        assert_eq!(recovered.lanes, [(row.facts.lane, write, 1)]);
        for find in [Find::Id(write), Find::Key(key(7))] {
            let found = store.find(&g, find);
            assert_eq!((found.len(), &found[0].row, &found[0].request), (1, &row, &Some(request("one"))));
        }
        assert!(store.find(&group("other"), Find::Id(write)).is_empty(), "another group does not see it");
    });
}

#[test]
fn foreign_rows_that_nothing_was_done_with_are_read_with_their_series_only() {
    on_both(|store| {
        let g = group("s");
        let foreign = |n, here| Row { origin: Origin::Foreign, here, ..settled(id(log(2), n), n, Chain::default(), 0) };
        let rows = [
            foreign(1, Here::Decided(Fate::Applied)),
            foreign(2, Here::Untouched),
            foreign(3, Here::Sending { attempt: 1, after: crate::model::After::new() }),
            foreign(4, Here::Decided(Fate::Refused)),
            Row { wish: Some(WishHeld::new(SiteName::new("b"), 1)), ..foreign(5, Here::Untouched) },
        ];
        let ops = rows.iter().flat_map(|row| [Op::Request(row.id, request("r")), put(row.clone())]);
        store.apply(&g, ops.chain([Op::Series(meta(log(2), 5, Chain::default(), 1))]).collect());
        let recovered = store.recover(&g, 10);
        let open: Vec<u64> = recovered.open.iter().map(|found| found.row.id.n).collect();
        assert_eq!((open, recovered.decided_beyond), (vec![3, 5], vec![(log(2), 4)]));
        let items = store.read_series(&g, log(2), 2, 10, usize::MAX);
        assert_eq!(items.iter().map(|item| item.position).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert!(items.iter().all(|item| item.request.is_some()));
    });
}

/// A wish that was revoked before it came leaves a row that knows nothing of the write.
#[test]
fn a_row_that_learns_its_facts_later_is_found_by_its_key_and_counts_for_its_lane() {
    on_both(|store| {
        let g = group("s");
        let known = settled(id(log(2), 1), 1, Chain::default(), 5);
        let facts = Facts { lane: Lane(0), key: None, digest: Digest([0; 32]), original_ms: 0, ..known.facts.clone() };
        let unknown = Row { facts, origin: Origin::Foreign, here: Here::Untouched, ..sending(known.id) };
        assert_ne!(known.facts.lane, unknown.facts.lane);
        store.apply(&g, vec![put(unknown)]);
        assert!(store.find(&g, Find::Key(key(1))).is_empty());
        store.apply(&g, vec![put(known.clone()), Op::Series(meta(log(2), 1, Chain::default(), 1))]);
        let found = store.find(&g, Find::Key(key(1)));
        assert_eq!(
            found.iter().map(|found| &found.row).collect::<Vec<_>>(),
            [&known],
            "a copy would be applied again (G2)"
        );
        let recovered = store.recover(&g, 10);
        assert_eq!((recovered.keys, recovered.lanes), (vec![key(1).short()], vec![(known.facts.lane, known.id, 1)]));
    });
}

#[test]
fn a_series_is_read_densely_and_within_limits() {
    on_both(|store| {
        let g = group("s");
        store.apply(&g, series(log(1), 6));
        let positions = |from, items_max, bytes_max| {
            let items = store.read_series(&g, log(1), from, items_max, bytes_max);
            items.iter().map(|item| item.position).collect::<Vec<_>>()
        };
        let weight = store.read_series(&g, log(1), 1, 1, 0)[0].weight();
        assert_eq!(positions(1, 100, usize::MAX), [1, 2, 3, 4, 5, 6]);
        assert_eq!(positions(2, 3, usize::MAX), [2, 3, 4]);
        assert_eq!(positions(5, 100, weight), [5], "one item always");
        assert_eq!(positions(1, 100, weight * 3), [1, 2, 3]);
        assert_eq!((positions(7, 100, usize::MAX), positions(1, 0, usize::MAX)), (vec![], vec![]));
        assert!(positions(u64::MAX, 100, usize::MAX).is_empty());
    });
}

#[test]
fn followers_get_requests_and_skipped_positions_go_without() {
    on_both(|store| {
        let g = group("s");
        let refused =
            Row { outcome: Some(outcome(Verdict::Refused)), ..settled(id(log(1), 1), 1, Chain::default(), 0) };
        let without_request = settled(id(log(1), 3), 3, Chain::default(), 0);
        let applied = settled(id(log(1), 2), 2, Chain::default(), 0);
        let requests = [1, 2].map(|n| Op::Request(id(log(1), n), request("r")));
        store.apply(&g, requests.into_iter().chain([put(refused), put(applied), put(without_request)]).collect());
        let items = store.read_series(&g, log(1), 1, 10, usize::MAX);
        let requests: Vec<bool> = items.iter().map(|item| item.request.is_some()).collect();
        assert_eq!(requests, [false, true], "position 3 cannot be followed: it ends the run");
    });
}

#[test]
fn forgetting_takes_old_rows_tells_which_keys_vanished_and_keeps_what_is_needed() {
    on_both(|store| {
        let g = group("s");
        let mut ops = series(log(1), 6);
        // Another write has the key of write 2; write 3 is in quarantine; write 5 is not final.
        let mut copy = settled(id(log(2), 9), 1, Chain::default(), 100);
        copy.facts.key = Some(key(2));
        let unsettled = Row {
            here: Here::Sending { attempt: 2, after: crate::model::After::new() },
            ..settled(id(log(1), 5), 5, Chain::default(), 5)
        };
        let reason = QuarantineReason::Divergence;
        let quarantined = Quarantined { status: 500, ..Quarantined::new(id(log(1), 3), reason, "?".into(), 1) };
        ops.extend([put(copy), put(unsettled), Op::Quarantine(quarantined.clone())]);
        store.apply(&g, ops);
        assert_eq!(store.recover(&g, 9).quarantined, [quarantined]);

        let committed = store.apply(&g, vec![Op::Forget { log: log(1), up_to: 6, older_than_ms: 5 }]);
        assert_eq!(committed.forgotten_keys, {
            let mut keys = [key(1).short(), key(4).short()];
            keys.sort_unstable();
            keys
        });
        assert!(!committed.more_to_forget);
        let left: Vec<bool> = (1..=6).map(|n| !store.find(&g, Find::Id(id(log(1), n))).is_empty()).collect();
        assert_eq!(left, [false, false, true, false, true, true]);
        let series = |store: &dyn Store| store.recover(&g, 9).series[0].clone();
        assert_eq!(series(store).forgotten, 4);
        assert!(store.read_series(&g, log(1), 1, 10, 10_000).is_empty());

        // A machine that does not know yet how much was forgotten does not take it back.
        store.apply(&g, vec![Op::Series(meta(log(1), 6, Chain::default(), 6)), Op::Release(id(log(1), 3))]);
        assert_eq!((series(store).forgotten, series(store).decided), (4, 6));
        let committed = store.apply(&g, vec![Op::Forget { log: log(1), up_to: 3, older_than_ms: 5 }]);
        assert_eq!(committed.forgotten_keys, [key(3).short()]);
    });
}

/// A person who is asked about the write years later must not contradict what was decided.
#[test]
fn what_was_decided_about_a_write_in_quarantine_is_not_forgotten() {
    on_both(|store| {
        let g = group("s");
        let decision = crate::model::decision_of(id(log(1), 1));
        let rows = [settled(id(log(1), 1), 1, Chain::default(), 1), settled(decision, 2, Chain::default(), 2)];
        let reason = QuarantineReason::UnknownOutcome;
        let entry = Quarantined::new(id(log(1), 1), reason, "?".into(), 1);
        let ops = [Op::Series(meta(log(1), 2, Chain::default(), 2)), Op::Quarantine(entry)];
        store.apply(&g, ops.into_iter().chain(rows.map(put)).collect());
        let forget = || vec![Op::Forget { log: log(1), up_to: 2, older_than_ms: 9 }];
        let mut left = |ops| {
            store.apply(&g, ops);
            store.find(&g, Find::Id(decision)).len()
        };
        assert_eq!(left(forget()), 1);
        left(vec![Op::Release(id(log(1), 1))]);
        assert_eq!(left(forget()), 0);
    });
}

#[test]
fn one_op_forgets_a_bounded_number_of_rows() {
    on_both(|store| {
        let g = group("s");
        store.apply(&g, series(log(1), FORGET_ROWS_MAX as u64 + 5));
        let forget = || vec![Op::Forget { log: log(1), up_to: u64::MAX, older_than_ms: u64::MAX }];
        let first = store.apply(&g, forget());
        assert_eq!((first.forgotten_keys.len(), first.more_to_forget), (FORGET_ROWS_MAX, true));
        let second = store.apply(&g, forget());
        assert_eq!((second.forgotten_keys.len(), second.more_to_forget), (5, false));
        assert_eq!(store.apply(&g, forget()), Committed::default());
    });
}

#[test]
fn cancelled_writes_are_forgotten_by_age() {
    on_both(|store| {
        let g = group("s");
        let cancelled = |n, clock| Row {
            origin: Origin::Cancelled,
            here: Here::Decided(Fate::Void),
            settled_clock_ms: clock,
            ..sending(id(log(1), n))
        };
        store.apply(&g, vec![put(cancelled(1, 10)), put(cancelled(2, 20)), put(sending(id(log(1), 3)))]);
        assert_eq!(store.recover(&g, 1).open.len(), 1);
        let committed = store.apply(&g, vec![Op::ForgetCancelled { older_than_ms: 10 }]);
        assert_eq!(committed.forgotten_keys, [key(1).short()]);
        assert_eq!(store.find(&g, Find::Id(id(log(1), 2))).len(), 1);
    });
}

#[test]
fn lanes_come_latest_settled_first_and_bounded() {
    on_both(|store| {
        let g = group("s");
        store.apply(&g, series(log(1), 6));
        store.apply(&g, series(log(2), 2));
        // Lanes are n % 3, clocks are n.
        let last = |lane, log, n| (Lane(lane), id(log, n), n);
        let expected = [last(0, log(1), 6), last(2, log(1), 5), last(1, log(1), 4), last(2, log(2), 2)];
        assert_eq!(store.recover(&g, 4).lanes, expected);
        assert_eq!(store.recover(&g, 2).lanes, expected[..2]);
    });
}

#[test]
fn a_stop_is_kept_until_it_is_lifted() {
    on_both(|store| {
        let g = group("s");
        let stop = Stop { kind: StopKind::Divergences, why: "half of fifty differ".into() };
        store.apply(&g, vec![Op::Stopped(Some(stop.clone()))]);
        assert_eq!(store.recover(&g, 1).stopped, Some(stop));
        store.apply(&g, vec![Op::Stopped(None)]);
        assert_eq!(store.recover(&g, 1).stopped, None);
    });
}

#[test]
fn the_age_that_was_written_last_is_kept() {
    on_both(|store| {
        let g = group("s");
        assert_eq!(store.recover(&g, 1).age, Age::default());
        for said_below in [17, 33] {
            let age = Age {
                place: 5,
                said_below,
                heard: vec![(SiteName::new("b"), log(2), 4), (SiteName::new("c"), log(1), 8)],
            };
            store.apply(&g, vec![Op::Age(age.clone())]);
            assert_eq!(store.recover(&g, 1).age, age);
        }
        assert_eq!(store.recover(&group("other"), 1).age, Age::default());
    });
}

#[test]
fn the_memory_loses_a_suffix_of_whole_batches_in_a_crash() {
    let (g, mut memory) = (group("s"), Memory::new());
    for n in 1..=3 {
        memory.queue(&g, vec![put(sending(id(log(1), n)))]);
    }
    memory.sync_one().unwrap();
    assert_eq!(memory.unsynced(), 2);
    memory.crash();
    assert_eq!((memory.unsynced(), memory.recover(&g, 1, 0).open.len()), (0, 1));
}

/// A service that is down must not fill the disk with what never reached it.
#[test]
fn what_is_erased_leaves_nothing() {
    on_both(|store| {
        let (g, gone, kept) = (group("s"), id(log(1), 7), id(log(1), 9));
        // Both have one key: of the first it is known until the second goes too.
        let same_key = |id| Row { facts: Facts { key: Some(key(7)), ..sending(id).facts }, ..sending(id) };
        let reason = QuarantineReason::Divergence;
        let entry = Quarantined::new(gone, reason, "?".into(), 1);
        let rows = [gone, kept].map(|id| [Op::Request(id, request("r")), put(same_key(id))]);
        store.apply(&g, rows.into_iter().flatten().chain([Op::Quarantine(entry)]).collect());
        assert_eq!(store.apply(&g, vec![Op::Erase(gone)]), Committed { quarantine: -1, ..Committed::default() });
        assert!(store.find(&g, Find::Id(gone)).is_empty());
        let recovered = store.recover(&g, 9);
        assert_eq!((recovered.open.len(), recovered.quarantine.total), (1, 0));
        // Written in the same batch, by itself, and where there is none.
        let other = id(log(2), 1);
        let committed = store.apply(
            &g,
            vec![
                Op::Request(other, request("r")),
                put(sending(other)),
                Op::Erase(other),
                Op::Erase(kept),
                Op::Erase(gone),
            ],
        );
        let mut keys = committed.forgotten_keys;
        keys.sort_unstable();
        let mut expected = [key(1).short(), key(7).short()];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        let recovered = store.recover(&g, 9);
        assert!(recovered.open.is_empty() && recovered.keys.is_empty() && recovered.quarantined.is_empty());
        // It may come again, and has the request that it then has.
        store.apply(&g, vec![Op::Request(gone, request("again")), put(sending(gone))]);
        assert_eq!(store.find(&g, Find::Id(gone))[0].request, Some(request("again")));
    });
}

#[test]
fn a_refusal_is_kept_without_its_request() {
    on_both(|store| {
        let (g, write) = (group("s"), id(log(1), 1));
        let refused = Row {
            outcome: Some(outcome(Verdict::Refused)),
            here: Here::Decided(Fate::Refused),
            ..settled(write, 1, Chain::default(), 0)
        };
        let metas = Op::Series(meta(log(1), 1, refused.position.unwrap().1, 1));
        store.apply(&g, vec![Op::Request(write, request("r")), put(refused.clone()), Op::DropRequest(write), metas]);
        let found = store.find(&g, Find::Key(key(1)));
        assert_eq!(
            (found.len(), &found[0].row, &found[0].request),
            (1, &refused, &None),
            "its answer is there for a retry"
        );
        assert_eq!(store.read_series(&g, log(1), 1, 9, usize::MAX).len(), 1, "followers pass it");
        store.apply(&g, vec![Op::DropRequest(write), Op::DropRequest(id(log(3), 1))]);
        let committed = store.apply(&g, vec![Op::Forget { log: log(1), up_to: 1, older_than_ms: 0 }]);
        assert_eq!(committed.forgotten_keys, [key(1).short()]);
    });
}

/// Of each lane one entry is the first; the others, as they come, name it, and the next takes its place when it is
/// gone. Who refuses a write beside one of them may do so for its sake.
#[test]
fn an_entry_names_the_first_of_its_lane() {
    on_both(|store| {
        let g = group("s");
        let of_lane = |n: u64, lane: u64| {
            let row = sending(id(log(1), n));
            Row { facts: Facts { lane: Lane(lane), ..row.facts.clone() }, ..row }
        };
        let rows = (1..=6).map(|n| put(of_lane(n, if n == 4 { 9 } else { 8 }))).collect();
        store.apply(&g, rows);
        let enter = |n: u64, since_ms: u64| {
            Op::Quarantine(Quarantined::new(id(log(1), n), QuarantineReason::Divergence, "?".into(), since_ms))
        };
        let behind = |store: &dyn Store| -> Vec<(u64, Option<u64>)> {
            let entries = store.recover(&g, 9).quarantined;
            entries.iter().map(|entry| (entry.id.n, entry.behind.map(|id| id.n))).collect()
        };
        let more = |count| Committed { quarantine: count, ..Committed::default() };
        assert_eq!(store.apply(&g, vec![enter(1, 5), enter(2, 6), enter(4, 6)]), more(3));
        assert_eq!(behind(&*store), [(1, None), (2, Some(1)), (4, None)]);
        // The same again is no other one; the first is the first still.
        assert_eq!(store.apply(&g, vec![enter(1, 7), enter(3, 4)]), more(1));
        assert_eq!(behind(&*store), [(1, None), (2, Some(1)), (3, Some(1)), (4, None)]);
        // What is older comes next.
        assert_eq!(store.apply(&g, vec![Op::Release(id(log(1), 1)), Op::Release(id(log(1), 1)), enter(5, 9)]), more(0));
        assert_eq!(behind(&*store), [(2, Some(1)), (3, Some(1)), (4, None), (5, Some(3))]);
        let refusal = |n: u64, lane: u64| {
            let mut row = of_lane(n, lane);
            row.here = Here::Decided(Fate::Refused);
            row.wish = Some(WishHeld::new(SiteName::new("b"), 1));
            put(row)
        };
        let refused = store.apply(&g, vec![refusal(10, 8), refusal(11, 8), refusal(12, 7), put(of_lane(13, 8))]);
        assert_eq!(refused, Committed { refused_behind: 2, ..Committed::default() });
        let all = [2, 3, 5].map(|n| Op::Release(id(log(1), n)));
        assert_eq!(store.apply(&g, all.to_vec()), more(-3));
        assert_eq!(store.apply(&g, vec![refusal(14, 8)]), Committed::default());
        assert_eq!(store.apply(&g, vec![enter(6, 1)]), more(1));
        assert_eq!(behind(&*store), [(4, None), (6, None)]);
    });
}
