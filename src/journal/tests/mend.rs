//! Broken records that are written anew: only what the chain proves to have stood there.
use super::damage::bend;
use super::*;
use crate::journal::Found;

/// Three settled writes; closed, changed behind its back, opened again.
fn bent(change: &str) -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    Store::apply(&mut journal, &group("s"), series(log(1), 3));
    drop(journal);
    let database = rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    database.execute_batch(change).unwrap();
    drop(database);
    let journal = Journal::open(&options(&dir)).unwrap();
    (dir, journal)
}

fn bent_at(table: &str, positions: &[u64]) -> (tempfile::TempDir, Journal) {
    let bends = positions.iter().map(|n| bend(table, &format!("WHERE (id & 0xff) = {n}")));
    bent(&bends.collect::<Vec<_>>().join(";"))
}

/// As another site has it.
fn rows() -> Vec<Row> {
    let ops = series(log(1), 3).into_iter();
    ops.filter_map(|op| if let Op::Row(row) = op { Some(*row) } else { None }).collect()
}

/// With the chains of all positions from this one up to `last` for witnesses.
fn mend(journal: &mut Journal, row: &Row, last: u64) {
    let from = row.position.unwrap().0;
    let chains = rows().into_iter().filter_map(|row| row.position);
    let witnesses = chains.filter(|(position, _)| (from..=last).contains(position)).collect();
    let request = Some(request("sale"));
    Store::apply(journal, &group("s"), vec![Op::Mend { row: Box::new(row.clone()), request, witnesses }]);
}

fn is_whole(journal: &Journal) -> bool {
    block_on(journal.verify()).unwrap().is_whole()
}

#[test]
fn a_broken_row_is_written_anew_when_what_stands_around_it_proves_it() {
    for position in 1..=3 {
        let (_dir, mut journal) = bent_at("write", &[position]);
        assert!(!is_whole(&journal));
        // The last one's witness is how far the series is.
        mend(&mut journal, &rows()[position as usize - 1], (position + 1).min(3));
        assert!(is_whole(&journal), "{position}: {:?}", block_on(journal.verify()));
        assert_eq!(Store::read_series(&journal, &group("s"), log(1), 1, 9, usize::MAX).len(), 3);
    }
}

#[test]
fn neighbours_are_written_anew_by_what_stands_behind_them() {
    let (_dir, mut journal) = bent_at("write", &[1, 2]);
    mend(&mut journal, &rows()[0], 2);
    assert!(matches!(find(&journal, 1), Err(Error::Broken { position: 1, .. })), "nothing whole proves it");
    for row in &rows()[..2] {
        mend(&mut journal, row, 3);
    }
    assert!(is_whole(&journal));
}

fn find(journal: &Journal, n: u64) -> Result<Vec<Found>, Error> {
    block_on(Journal::find(journal, &group("s"), Find::Id(id(log(1), n))))
}

#[test]
fn what_the_chain_does_not_prove_changes_nothing() {
    let mut other = rows().remove(1);
    other.facts.digest = Digest([9; 32]);
    let mut fork = other.clone();
    let outcome = fork.outcome.clone().unwrap();
    let before = rows()[0].position.unwrap().1;
    fork.position = Some((2, Item::chain_over(before, 2, fork.id, &fork.facts, &outcome)));
    let mut elsewhere = rows().remove(1);
    elsewhere.id.n = 77;
    for (what, row, last) in
        [("content", &other, 3), ("past", &fork, 3), ("no witness", &rows()[1], 1), ("id", &elsewhere, 3)]
    {
        let (_dir, mut journal) = bent_at("write", &[2]);
        mend(&mut journal, row, last);
        assert!(find(&journal, 2).is_err() && find(&journal, 77).unwrap().is_empty(), "{what}");
    }
}

#[test]
fn what_was_forgotten_or_is_to_come_is_not_written() {
    let forget = Op::Forget { log: log(1), up_to: 1, older_than_ms: 99 };
    let (_dir, mut journal) = bent("");
    Store::apply(&mut journal, &group("s"), vec![forget]);
    mend(&mut journal, &rows()[0], 3);
    assert!(find(&journal, 1).unwrap().is_empty());
    let mut next = rows().remove(2);
    (next.id.n, next.position) = (4, Some((4, next.position.unwrap().1)));
    let witnesses = vec![next.position.unwrap()];
    Store::apply(&mut journal, &group("s"), vec![Op::Mend { row: Box::new(next), request: None, witnesses }]);
    assert!(find(&journal, 4).unwrap().is_empty());
}

#[test]
fn a_broken_request_is_replaced_and_its_whole_row_stays_as_it_is() {
    for change in [bend("request", "WHERE (id & 0xff) = 2"), "DELETE FROM request WHERE (id & 0xff) = 2".to_owned()] {
        let (_dir, mut journal) = bent(&change);
        let read = block_on(Journal::read_series(&journal, &group("s"), log(1), 2, 9, usize::MAX));
        assert!(matches!(read, Err(Error::Broken { position: 2, .. })), "{read:?}");
        let mut row = rows().remove(1);
        (row.settled_clock_ms, row.here) = (99, Here::Untouched);
        mend(&mut journal, &row, 3);
        assert!(is_whole(&journal));
        let found = find(&journal, 2).unwrap();
        assert_eq!((&found[0].row, found[0].request.is_some()), (&rows()[1], true));
    }
}

/// The row of a position that is only stored says nothing more than what is fetched again; any other may have been
/// begun here.
#[test]
fn recovery_tells_broken_rows_that_may_have_been_begun_from_those_that_were_only_received() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let mut ops = series(log(2), 4);
    for op in &mut ops {
        match op {
            Op::Row(row) => {
                row.origin = Origin::Foreign;
                row.here = match row.id.n {
                    1 => Here::Sending { attempt: 1, after: Default::default() },
                    3 => Here::Decided(Fate::Applied),
                    _ => Here::Untouched,
                };
            }
            Op::Series(meta) => meta.decided = 0,
            _ => {}
        }
    }
    Store::apply(&mut journal, &group("s"), ops);
    drop(journal);
    let database = rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    database.execute_batch(&(bend("write", "") + "; DELETE FROM write WHERE (id & 0xff) = 4")).unwrap();
    drop(database);
    let journal = Journal::open(&options(&dir)).unwrap();
    let recovered = Store::recover(&journal, &group("s"), 9);
    assert_eq!(recovered.broken, [(log(2), 1), (log(2), 4)]);
    let quarantined: Vec<u64> = recovered.quarantined.iter().map(|entry| entry.id.n).collect();
    assert_eq!((quarantined, recovered.decided_beyond), (vec![1, 4], vec![(log(2), 3)]), "the fourth is missing");
}

/// Of a decided one the site knows no more than that: the columns beside the record tell an applied one from a copy.
#[test]
fn a_copy_is_no_applied_write_when_it_is_written_anew() {
    let (applied, skipped) = (Here::Decided(Fate::Applied), Here::Decided(Fate::Skipped));
    for (standing, here) in [(4, &applied), (0, &skipped)] {
        for guessed in [&applied, &skipped] {
            let change = format!("UPDATE write SET standing = {standing} WHERE (id & 0xff) = 2; ");
            let (_dir, mut journal) = bent(&(change + &bend("write", "WHERE (id & 0xff) = 2")));
            mend(&mut journal, &Row { here: guessed.clone(), ..rows().remove(1) }, 3);
            assert_eq!(find(&journal, 2).unwrap()[0].row.here, *here, "guessed {guessed:?}");
            assert!(is_whole(&journal));
        }
    }
}

#[test]
fn what_was_not_plainly_untouched_is_not_written_as_such() {
    let received = "UPDATE write SET standing = 2 WHERE (id & 0xff) = 2; ";
    let another = "UPDATE write SET standing = 2, lane = 77 WHERE (id & 0xff) = 2; ";
    for (change, written) in [(received, true), (another, false), ("", false)] {
        let (_dir, mut journal) = bent(&(change.to_owned() + &bend("write", "WHERE (id & 0xff) = 2")));
        let row = Row { origin: Origin::Foreign, here: Here::Untouched, ..rows().remove(1) };
        mend(&mut journal, &row, 3);
        assert_eq!(find(&journal, 2).is_ok(), written, "{change}");
    }
    let (_dir, mut journal) = bent("DELETE FROM write WHERE (id & 0xff) = 2");
    mend(&mut journal, &Row { origin: Origin::Foreign, here: Here::Untouched, ..rows().remove(1) }, 3);
    assert!(find(&journal, 2).unwrap().is_empty());
}
