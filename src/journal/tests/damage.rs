//! Wrong bytes on the disk: found by `verify`, and never taken for what was written.
use super::*;

/// A journal with two writes settled, one open, one in quarantine; closed, changed behind its back, opened again.
fn damaged(change: &str) -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    let mut ops = series(log(1), 3);
    let reason = QuarantineReason::Divergence;
    let quarantined = Quarantined { status: 500, ..Quarantined::new(id(log(1), 2), reason, "?".into(), 1) };
    ops.extend([
        Op::Request(id(log(1), 9), request("open")),
        Op::Row(Box::new(sending(id(log(1), 9)))),
        Op::Quarantine(quarantined),
        Op::Stopped(Some(Stop { kind: StopKind::Divergences, why: "why".into() })),
        Op::Age(Age { place: 5, said_below: 17, heard: Vec::new() }),
    ]);
    Store::apply(&mut journal, &group("s"), ops);
    assert!(block_on(journal.verify()).unwrap().is_whole(), "{:?}", block_on(journal.verify()));
    drop(journal);
    let database = rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    database.execute_batch(change).unwrap();
    drop(database);
    let journal = Journal::open(&options(&dir)).unwrap();
    (dir, journal)
}

/// Changes the middle of a body.
pub(super) fn bend(table: &str, rest: &str) -> String {
    let half = "length(body) / 2";
    format!(
        "UPDATE {table} SET body = CAST(substr(body, 1, {half}) || x'a5a5' || substr(body, {half} + 3) AS BLOB) {rest}"
    )
}

fn broken(journal: &Journal) -> Vec<RecordName> {
    block_on(journal.verify()).unwrap().damages.into_iter().map(|damage| damage.record).collect()
}

fn rows_ending_in(n: u64) -> String {
    format!("WHERE (id & 0xff) = {n}")
}

#[test]
fn a_broken_settled_row_is_named_ends_the_run_and_is_an_error_when_looked_up() {
    let (_dir, journal) = damaged(&bend("write", &rows_ending_in(2)));
    let write = id(log(1), 2);
    assert!(broken(&journal).contains(&RecordName::Row(write)));
    let read = Store::read_series(&journal, &group("s"), log(1), 1, 10, usize::MAX);
    assert_eq!(read.len(), 1);
    for find in [Find::Id(write), Find::Key(key(2))] {
        let error = block_on(Journal::find(&journal, &group("s"), find)).unwrap_err();
        assert!(error.to_string().contains(&write.to_string()), "{error}");
    }
    assert_eq!(journal.damages().len(), 1);
    assert_eq!(block_on(journal.list(Filter { limit: 9, ..Filter::default() })).unwrap().len(), 3);
}

#[test]
fn a_broken_open_row_comes_back_in_quarantine() {
    let (_dir, journal) = damaged(&bend("write", &rows_ending_in(9)));
    let recovered = Store::recover(&journal, &group("s"), 9);
    assert!(recovered.open.is_empty());
    let quarantined = recovered.quarantined.iter().find(|quarantined| quarantined.id == id(log(1), 9)).unwrap();
    assert_eq!(quarantined.reason, QuarantineReason::Damaged);
    assert!(quarantined.detail.contains("CRC32"), "{}", quarantined.detail);
    assert_eq!(broken(&journal), [RecordName::Row(id(log(1), 9))]);
}

#[test]
fn a_broken_request_ends_the_run_and_is_not_handed_out() {
    let (_dir, journal) = damaged(&bend("request", &rows_ending_in(3)));
    assert_eq!(broken(&journal), [RecordName::Request(id(log(1), 3))]);
    assert_eq!(Store::read_series(&journal, &group("s"), log(1), 1, 10, usize::MAX).len(), 2);
    assert_eq!(Store::find(&journal, &group("s"), Find::Id(id(log(1), 3)))[0].request, None);
}

#[test]
fn a_record_in_another_ones_place_is_broken_because_the_crc_covers_the_key() {
    let swap = "CREATE TEMP TABLE t AS SELECT id, body FROM request; \
                UPDATE request SET body = (SELECT body FROM t WHERE (t.id & 0xff) = 2) WHERE (id & 0xff) = 1";
    let (_dir, journal) = damaged(swap);
    assert_eq!(broken(&journal), [RecordName::Request(id(log(1), 1))]);
    let swap = "CREATE TEMP TABLE t AS SELECT id, body FROM write; \
                UPDATE write SET body = (SELECT body FROM t WHERE (t.id & 0xff) = 2) WHERE (id & 0xff) = 1";
    let (_dir, journal) = damaged(swap);
    assert_eq!(broken(&journal)[0], RecordName::Row(id(log(1), 1)));
    let (_dir, journal) = damaged("UPDATE grp SET service = 'other'");
    assert_eq!(
        broken(&journal).len(),
        4 + 4 + 1 + 1 + 1 + 1,
        "rows, requests, quarantine, series, stop and age are of another group"
    );
}

#[test]
fn columns_that_lie_are_found() {
    for change in ["standing = 0", "clock = 77", "lane = 5", "pos = 1", "key = 1"] {
        let (_dir, journal) = damaged(&format!("UPDATE write SET {change} {}", rows_ending_in(9)));
        assert_eq!(broken(&journal), [RecordName::Row(id(log(1), 9))], "{change}");
    }
}

#[test]
fn missing_rows_requests_and_positions_are_found() {
    let position = |position| RecordName::Position { group: group("s"), log: log(1), position };
    let (_dir, journal) = damaged(&format!("DELETE FROM write {}", rows_ending_in(2)));
    assert_eq!(broken(&journal), [position(2), RecordName::Request(id(log(1), 2))]);
    let (_dir, journal) = damaged(&format!("DELETE FROM request {}", rows_ending_in(9)));
    assert_eq!(broken(&journal), [RecordName::Request(id(log(1), 9))]);
    for n in 1..=3 {
        let (_dir, journal) = damaged(&format!("DELETE FROM place WHERE (at & 0xff) = {n}"));
        assert_eq!(broken(&journal), [RecordName::Row(id(log(1), n)), position(n)]);
        // The dense-number check at start finds the first.
        Store::recover(&journal, &group("s"), 9);
        assert_eq!(journal.damages()[0].record, position(n));
    }
}

#[test]
fn a_broken_series_is_no_base_to_go_on_from() {
    let (_dir, journal) = damaged(&bend("series", ""));
    let error = Journal::recover(&journal, &group("s"), 9, 9).unwrap_err();
    assert!(error.to_string().contains("series"), "{error}");
    assert_eq!(broken(&journal), [RecordName::Series { group: group("s"), log: log(1) }]);
}

#[test]
fn a_replaced_row_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(&options(&dir)).unwrap();
    Store::apply(&mut journal, &group("s"), series(log(1), 3));
    // A whole record, but not the one that was settled.
    let other = settled(id(log(1), 2), 2, Chain([9; 8]), 2);
    Store::apply(&mut journal, &group("s"), vec![Op::Row(Box::new(other))]);
    let position = |position| RecordName::Position { group: group("s"), log: log(1), position };
    assert_eq!(broken(&journal), [position(2)]);
}

#[test]
fn what_is_quarantined_or_stopped_stays_so_when_its_record_breaks() {
    let (_dir, journal) = damaged(&(bend("quarantine", "") + ";" + &bend("stopped", "")));
    let recovered = Store::recover(&journal, &group("s"), 9);
    assert_eq!(recovered.quarantined[0].reason, QuarantineReason::Damaged);
    let stop = recovered.stopped.unwrap();
    assert!(stop.why.contains("damaged") && stop.kind == StopKind::Doubt);
    assert_eq!(broken(&journal), [RecordName::Quarantined(id(log(1), 2)), RecordName::Stopped(group("s"))]);
}

#[test]
fn with_a_broken_age_nothing_is_begun() {
    let (_dir, journal) = damaged(&bend("age", ""));
    let error = journal.recover(&group("s"), 9, 9).unwrap_err();
    assert!(error.to_string().contains("age record of s"), "{error}");
    assert_eq!(broken(&journal), [RecordName::Age(group("s"))]);
}

#[test]
fn a_broken_name_of_the_log_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(&options(&dir)).unwrap());
    let open = || rusqlite::Connection::open(dir.path().join("holdfast.db")).unwrap();
    open().execute_batch(&bend("named", "WHERE name = 'log'")).unwrap();
    assert!(Journal::open(&options(&dir)).err().unwrap().to_string().contains("\"log\""));
    open().execute_batch("DELETE FROM named WHERE name = 'log'").unwrap();
    assert!(Journal::open(&options(&dir)).err().unwrap().to_string().contains("missing"));
}
