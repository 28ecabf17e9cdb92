//! Opening, closing, numbers, limits and the room on the disk.
use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::model::NUMBER_MAX;

#[test]
fn a_directory_is_used_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(&dir)).unwrap();
    let error = Journal::open(&options(&dir)).err().unwrap();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(error.to_string(), format!("data directory {} is in use by another process", dir.path().display()));
    drop(journal);
    Journal::open(&options(&dir)).unwrap();
}

#[test]
fn numbers_are_never_used_twice_even_if_nothing_was_persisted() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = BTreeSet::new();
    let mut log = None;
    for life in 0..4 {
        let journal = Journal::open(&options(&dir)).unwrap();
        assert_eq!(*log.get_or_insert(journal.log()), journal.log(), "the store keeps its name");
        // More than several blocks, so that the writer has to reserve more on the way.
        for _ in 0..300 {
            let id = journal.next_id();
            assert!(id.n > 0 && seen.insert(id.n), "{id} in life {life}");
        }
    }
    assert_eq!(log.unwrap().incarnation, 1);
}

#[test]
fn numbers_are_not_used_again_when_the_write_ahead_log_is_lost() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let mut highest = 0;
    for _ in 0..300 {
        let write = journal.next_id();
        highest = write.n;
        Store::apply(&mut journal, &group("s"), vec![Op::Row(Box::new(sending(write)))]);
    }
    std::fs::copy(dir.path().join("holdfast.db"), other.path().join("holdfast.db")).unwrap();
    let damaged = Journal::open(&options(&other)).unwrap();
    assert_eq!(damaged.log(), journal.log());
    assert!(Store::recover(&damaged, &group("s"), 1).open.len() < 300, "its tail is lost");
    assert!(damaged.next_id().n > highest);
}

/// A decision's number is its write's with one bit more.
#[test]
fn a_late_decision_does_not_lift_the_numbers_of_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let write = journal.next_id();
    let decision = WriteId { n: write.n | crate::model::DECISION, ..write };
    let rows = [write, decision].map(|id| Op::Row(Box::new(sending(id))));
    Store::apply(&mut journal, &group("s"), rows.into());
    drop(journal);
    let next = Journal::open(&options(&dir)).unwrap().next_id();
    assert!(next.n > write.n && next.n < crate::model::DECISION, "{next} would be taken for a decision");
}

#[test]
fn two_stores_have_different_names() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [a, b] = dirs.each_ref().map(|dir| Journal::open(&options(dir)).unwrap().log());
    assert_ne!(a, b);
}

#[test]
fn the_retention_clock_goes_on_over_restarts_and_never_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let journal = Journal::open(&options(&dir)).unwrap();
        assert!(journal.clock_ms() >= last);
        std::thread::sleep(Duration::from_millis(15));
        last = journal.clock_ms();
        assert!(last >= 15);
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(&options(&dir)).unwrap());
    let path = dir.path().join("holdfast.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Journal::open(&options(&dir)).err().unwrap();
    assert!(error.to_string().contains("schema version 99, this binary knows versions up to 4"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// What nothing reads must not be taken for damage.
#[test]
fn an_older_schema_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(&options(&dir)).unwrap());
    let path = dir.path().join("holdfast.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = Journal::open(&options(&dir)).err().unwrap();
    assert!(error.to_string().contains("schema version 2, this binary knows versions from 4 on"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_copy_lies_in_another_place_and_what_was_renamed_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let place = |data: &std::path::Path| {
        let options = OpenOptions { data_dir: data.to_owned(), ..options(&dir) };
        Journal::open(&options).unwrap().recover(&group("s"), 1, 0).unwrap().place
    };
    let (first, renamed, copy) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
    let there = place(&first);
    assert!(there >= Age::PLACES_FROM && place(&first) == there);
    std::fs::rename(&first, &renamed).unwrap();
    assert_eq!(place(&renamed), there);
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(renamed.join("holdfast.db"), copy.join("holdfast.db")).unwrap();
    assert_ne!(place(&copy), there);
    // Over the one that was there, in the same file: only others can tell.
    std::fs::copy(copy.join("holdfast.db"), renamed.join("holdfast.db")).unwrap();
    assert_eq!(place(&renamed), there);
}

#[test]
fn other_files_are_not_taken_for_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holdfast.db");
    std::fs::write(&path, b"not a database at all, but long enough to look at").unwrap();
    assert!(matches!(Journal::open(&options(&dir)), Err(Error::NotAJournal { .. })));
    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(Journal::open(&options(&dir)), Err(Error::NotAJournal { .. })));
}

#[test]
fn the_journal_of_another_site_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let of = |site: &str| OpenOptions { site: Some(site.to_owned()), ..options(&dir) };
    let log = Journal::open(&of("store")).unwrap().log();
    let before = std::fs::read(dir.path().join("holdfast.db")).unwrap();
    let error = Journal::open(&of("cloud")).err().unwrap().to_string();
    assert!(error.contains("is the journal of site \"store\", and this is site \"cloud\""), "{error}");
    assert_eq!(std::fs::read(dir.path().join("holdfast.db")).unwrap(), before);
    assert_eq!(Journal::open(&of("store")).unwrap().log(), log);
}

#[test]
fn half_a_journal_is_not_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        matches!(Journal::open_existing(&options(&dir)), Err(Error::NoJournal { .. })),
        "nothing is made by looking"
    );
    assert!(!dir.path().join("holdfast.db").exists());
    std::fs::write(dir.path().join("holdfast.db-wal"), b"the rest of it").unwrap();
    assert!(matches!(Journal::open(&options(&dir)), Err(Error::DatabaseMissing { .. })));
}

#[test]
fn another_definition_of_a_table_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(&options(&dir)).unwrap());
    let database = rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    let change = "PRAGMA writable_schema = 1; \
                  UPDATE sqlite_schema SET sql = replace(sql, 'standing = 1', 'standing = 3') WHERE name = \
                  'write_open'";
    database.execute_batch(change).unwrap();
    drop(database);
    let error = Journal::open(&options(&dir)).err().unwrap().to_string();
    assert!(error.contains("the definition of write_open"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let error = Journal::open(&OpenOptions::new(dir.path().join("file/data"))).err().unwrap();
    assert!(error.to_string().contains("file/data"), "{error}");
}

#[test]
fn named_values_survive() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(&dir)).unwrap();
    assert_eq!(journal.meta_get("secret").unwrap(), None);
    journal.meta_put("secret", b"one").unwrap();
    journal.meta_put("secret", b"two").unwrap();
    drop(journal);
    let journal = Journal::open(&options(&dir)).unwrap();
    assert_eq!(journal.meta_get("secret").unwrap().as_deref(), Some(&b"two"[..]));
}

#[test]
fn batches_are_reported_in_order_and_share_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(&dir)).unwrap();
    let (sender, receiver) = std::sync::mpsc::sync_channel(1_000);
    for n in 1..=500 {
        let sender = sender.clone();
        let done: Done = Box::new(move |result| sender.send((n, result.is_ok())).unwrap());
        journal.commit(&Arc::new(group("s")), vec![Op::Row(Box::new(sending(id(log(1), n))))], done).unwrap();
    }
    assert_eq!(receiver.iter().take(500).collect::<Vec<_>>(), (1..=500).map(|n| (n, true)).collect::<Vec<_>>());
    let stats = block_on(journal.stats()).unwrap();
    assert_eq!((stats.open, stats.settled, stats.batches, stats.oldest_original_ms), (500, 0, 500, Some(1)));
    assert!(stats.transactions < 500, "{} transactions", stats.transactions);
}

#[test]
fn the_write_ahead_log_is_moved_beside_the_commits_and_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint_bytes = 64 << 10;
    let journal = Journal::open(&OpenOptions { checkpoint_bytes, ..options(&dir) }).unwrap();
    let g = group("s");
    let wal_bytes = || dir.path().join("holdfast.db-wal").metadata().unwrap().len();
    let (mut waiting, mut longest) = (std::collections::VecDeque::new(), 0);
    for n in 1..=600 {
        let body = Op::Request(id(log(1), n), request(&"x".repeat(20_000)));
        waiting.push_back(hand_over(&journal, &g, vec![body, Op::Row(Box::new(sending(id(log(1), n))))]));
        if waiting.len() > 4 {
            waiting.pop_front().unwrap().recv().unwrap().unwrap();
        }
        longest = longest.max(wal_bytes());
    }
    // Five batches may share the transaction that goes beyond the limit.
    assert!(longest < 8 * checkpoint_bytes + 512 * 1024, "{longest} bytes");
    let database = dir.path().join("holdfast.db").metadata().unwrap().len();
    assert!(database > 6 << 20, "{database} bytes were moved while commits followed each other");
    assert!(block_on(journal.verify()).unwrap().is_whole());
    waiting.into_iter().for_each(|receiver| drop(receiver.recv().unwrap().unwrap()));
    drop(journal);
    assert_eq!(wal_bytes_after_closing(&dir), 0);
    let journal = Journal::open(&options(&dir)).unwrap();
    assert_eq!(Store::recover(&journal, &g, 1).open.len(), 600);
}

fn wal_bytes_after_closing(dir: &tempfile::TempDir) -> u64 {
    dir.path().join("holdfast.db-wal").metadata().map_or(0, |wal| wal.len())
}

#[test]
fn a_full_queue_gives_the_batch_back_and_tells_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&OpenOptions { queue_batches_max: 2, ..options(&dir) }).unwrap();
    // The first batch's completion holds the writer until the test has seen the queue full.
    let (release, hold) = std::sync::mpsc::sync_channel::<()>(0);
    let (reached, at_hold) = std::sync::mpsc::sync_channel(0);
    let commit =
        |n, done: Done| journal.commit(&Arc::new(group("s")), vec![Op::Row(Box::new(sending(id(log(1), n))))], done);
    let first: Done = Box::new(move |_| {
        reached.send(()).unwrap();
        hold.recv().unwrap();
    });
    commit(1, first).unwrap();
    at_hold.recv().unwrap();
    commit(2, Box::new(|_| {})).unwrap();
    let returned = commit(3, Box::new(|_| {})).unwrap_err();
    assert_eq!((returned.why.clone(), returned.ops.len()), (Refusal::NoRoom, 1));
    release.send(()).unwrap();
    block_on(journal.room());
    journal.commit(&Arc::new(group("s")), returned.ops, returned.done).unwrap();
    journal.close();
    assert_eq!(commit(4, Box::new(|_| {})).unwrap_err().why, Refusal::Closed);
    assert!(matches!(block_on(Journal::find(&journal, &group("s"), Find::Id(id(log(1), 1)))), Err(Error::Closed)));
    drop(journal);
    let journal = Journal::open(&options(&dir)).unwrap();
    assert_eq!(Store::recover(&journal, &group("s"), 1).open.len(), 3, "what was handed over was written at closing");
}

#[test]
fn below_the_reserve_it_says_so_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&OpenOptions { reserve_bytes: u64::MAX, ..options(&dir) }).unwrap();
    Store::apply(&mut journal, &group("s"), series(log(1), 1));
    assert_eq!(journal.space(), Space::Reserve);
    assert!(block_on(journal.stats()).unwrap().disk_free_bytes > 0);
}

/// The write-ahead log had grown as long as the small disk allowed, and what it held was never room again.
#[test]
fn a_long_write_ahead_log_gives_its_room_back_before_anything_is_refused() {
    const RESERVE: u64 = 512 << 10;
    let dir = tempfile::tempdir().unwrap();
    let mut journal =
        Journal::open(&OpenOptions { reserve_bytes: RESERVE, checkpoint_bytes: 64 << 20, ..options(&dir) }).unwrap();
    let becomes = |journal: &Journal, space: Space| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while journal.space() != space {
            assert!(std::time::Instant::now() < deadline, "it did not become {space:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let bytes = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().len();
    let row = || vec![Op::Row(Box::new(sending(id(log(1), 1))))];
    Store::apply(&mut journal, &group("s"), vec![Op::Request(id(log(1), 1), request("x"))]);
    let reader = rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;").unwrap();
    for _ in 0..600 {
        Store::apply(&mut journal, &group("s"), row());
    }
    assert!(bytes("holdfast.db-wal") > 2 << 20);
    journal.limit_disk(bytes("holdfast.db") + bytes("holdfast.db-wal") + RESERVE / 2);
    becomes(&journal, Space::Reserve);
    reader.execute_batch("COMMIT").unwrap();
    becomes(&journal, Space::Ok);
    assert!(bytes("holdfast.db-wal") < 1 << 20);
    Store::apply(&mut journal, &group("s"), row());
    assert!(block_on(journal.verify()).unwrap().is_whole());
}

#[test]
fn a_full_disk_keeps_the_batch_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    journal.limit_pages(60);
    let g = group("s");
    let big =
        |n| vec![Op::Request(id(log(1), n), request(&"x".repeat(20_000))), Op::Row(Box::new(sending(id(log(1), n))))];
    Store::apply(&mut journal, &g, big(1));
    let waiting: Vec<_> = (2..40).map(|n| hand_over(&journal, &g, big(n))).collect();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while journal.space() != Space::Full {
        assert!(std::time::Instant::now() < deadline, "the disk was never full");
        std::thread::yield_now();
    }
    assert!(waiting.last().unwrap().try_recv().is_err(), "it waits");
    assert_eq!(Store::find(&journal, &g, Find::Id(id(log(1), 1))).len(), 1, "readers go on");
    assert!(journal.fatal().borrow().is_none());
    journal.limit_pages(100_000);
    for receiver in waiting {
        receiver.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    }
    assert_eq!(journal.space(), Space::Ok);
    assert!(block_on(journal.verify()).unwrap().is_whole());
}

#[test]
fn closing_while_the_disk_is_full_tells_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(&dir)).unwrap();
    journal.limit_pages(1);
    let big = vec![Op::Request(id(log(1), 1), request(&"x".repeat(2_000_000)))];
    let waiting = hand_over(&journal, &group("s"), big);
    journal.close();
    assert_eq!(waiting.recv().unwrap(), Err(CommitError::Closed));
}

#[test]
fn a_breach_of_the_contract_is_fatal_and_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let g = group("s");
    Store::apply(&mut journal, &g, series(log(1), 2));
    let thief = Op::Row(Box::new(settled(id(log(1), 9), 2, Chain::default(), 0)));
    let result = hand_over(&journal, &g, vec![Op::Row(Box::new(sending(id(log(1), 8)))), thief]).recv().unwrap();
    let Err(CommitError::Fatal(fatal)) = result else { panic!("{result:?}") };
    assert!(fatal.why.contains("position 2"), "{fatal}");
    let mut watch = journal.fatal();
    block_on(watch.wait_for(Option::is_some)).unwrap();
    let refused = journal.commit(&Arc::new(g.clone()), vec![], Box::new(|_| {})).unwrap_err();
    assert_eq!(refused.why, Refusal::Fatal(fatal));
    drop((journal, watch));
    assert!(dir.path().join("holdfast.db-wal").metadata().unwrap().len() > 0, "nothing is written after a failure");
    let journal = Journal::open(&options(&dir)).unwrap();
    assert!(Store::find(&journal, &g, Find::Id(id(log(1), 8))).is_empty(), "no part of the batch was kept");
    assert!(block_on(journal.verify()).unwrap().is_whole());
}

#[test]
fn numbers_that_do_not_fit_are_refused_not_bent() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&options(&dir)).unwrap();
    let far = id(log(1), NUMBER_MAX + 1);
    let result = hand_over(&journal, &group("s"), vec![Op::Row(Box::new(sending(far)))]).recv().unwrap();
    assert!(matches!(result, Err(CommitError::Fatal(_))));
}

#[test]
fn lists_are_newest_first_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    Store::apply(&mut journal, &group("a"), series(log(1), 4));
    Store::apply(&mut journal, &group("b"), vec![Op::Row(Box::new(sending(id(log(2), 9))))]);
    let list = |filter| {
        let listed = block_on(journal.list(filter)).unwrap();
        listed.iter().map(|listed| listed.row.id.n).collect::<Vec<_>>()
    };
    let all = Filter { limit: 10, ..Filter::default() };
    assert_eq!(list(all.clone()), [9, 4, 3, 2, 1]);
    assert_eq!(list(Filter { limit: 2, ..all.clone() }), [9, 4]);
    assert_eq!(list(Filter { after: Some(id(log(1), 3)), ..all.clone() }), [2, 1]);
    assert_eq!(list(Filter { after: Some(id(log(1), 77)), ..all.clone() }), [0; 0], "no such write");
    assert_eq!(list(Filter { group: Some(group("a")), lane: Some(Lane(1)), ..all.clone() }), [4, 1]);
    assert_eq!(list(Filter { state: Some(ListState::Open), ..all }), [9]);
    let shown = block_on(journal.show(id(log(1), 2))).unwrap().unwrap();
    assert_eq!((shown.group, shown.state, shown.request), (group("a"), ListState::Applied, Some(request("sale"))));
    assert_eq!(block_on(journal.show_key(key(2))).unwrap().len(), 1);
    assert!(block_on(journal.show(id(log(3), 2))).unwrap().is_none());
}
