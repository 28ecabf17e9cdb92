//! Files of a stopped site that are cut short, gone, or not its own.
use std::path::{Path, PathBuf};

use super::{UnderWrites, verify};
use crate::harness::tills::sale;
use crate::harness::{Appliance, Receipts, SOON, Two, judge, ledger, wait_for};

fn file(site: &Appliance, name: &str) -> PathBuf {
    site.site.data_dir().join(name)
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Everything is at both sites, then the store was killed.
pub(super) fn at_rest_and_killed() -> (Two, Receipts, Receipts) {
    let (mut two, store, cloud) = UnderWrites::start().rest();
    two.wait_settled();
    two.store.kill();
    (two, store, cloud)
}

/// What the other site decides is answered here: this store may number it.
const NEW: &str = "data_dir is new";

/// It serves, takes no writes by itself, and says why; what was acknowledged is applied once at both, whoever asks.
#[track_caller]
pub(super) fn takes_no_writes_because(two: &mut Two, why: &str, (store, cloud): (&Receipts, &Receipts)) {
    two.store.spawn_again(&[]);
    wait_for("it says why it takes no writes", SOON, || {
        two.store.try_api("/status").is_some_and(|status| {
            status["groups"][0]["stopped"].as_str().is_some_and(|text| text.contains(why))
                && status["health"]["reasons"].to_string().contains(why)
        })
    });
    let told = two.store.tell(&sale("new", "till"));
    match why {
        NEW => drop(told.expect(201)),
        _ => assert!(["store-down", "outcome-pending"].contains(&told.code().as_str()), "{}", told.text()),
    }
    two.cloud.tell(&sale("new-at-cloud", "office")).expect(201);
    for (key, first) in store.told.iter().rev().take(4) {
        let again = two.store.tell(&sale(key, "till"));
        let same = again.status == first.status && again.body == first.body;
        // Where the answer is lost and only `sending` is left, the service was asked whether it knows the key, and said
        // so.
        let probed = two.at_store.seen().iter().any(|seen| seen.target == format!("/by-key/{key}"));
        assert!(same || again.status >= 500 || again.status == 200 && probed, "{key}: {}", again.text());
    }
    store.same_answers(two.cloud.at(), "till");
    for receipts in [store, cloud] {
        two.services().into_iter().for_each(|service| receipts.wait_applied_in_order(service));
    }
    ledger::nothing_twice(&two.services());
}

const LATER_PAST: &str = "cloud knows a later past of this site than its own store";

/// Twice, by `verify` and by the start; with the code for a disk and with these words.
#[track_caller]
pub(super) fn refused_because(site: &Appliance, words: &[&str]) {
    for ended in [verify(site.site.folder()), site.site.run_to_end()] {
        assert_eq!(ended.code, Some(74), "{ended:?}");
        for word in words {
            assert!(ended.err.contains(word), "no {word:?} in {}", ended.err);
        }
    }
}

#[test]
fn a_write_ahead_log_cut_short_lost_or_damaged_is_named_before_anything_is_done_again() {
    let (mut two, store, cloud) = at_rest_and_killed();
    let log = file(&two.store, "holdfast.db-wal");
    let whole = std::fs::read(&log).unwrap();
    let way_out = "Put the file back, or begin anew";
    for part in [2, 3, 10] {
        std::fs::write(&log, &whole[..whole.len() / part]).unwrap();
        refused_because(&two.store, &["holdfast.db-wal was cut short", way_out]);
    }
    std::fs::remove_file(&log).unwrap();
    refused_because(&two.store, &["holdfast.db-wal is missing", way_out]);
    for part in 1..8 {
        let mut flipped = whole.clone();
        flipped[32 + whole.len() / 10 * part] ^= 1 << part;
        std::fs::write(&log, flipped).unwrap();
        refused_because(&two.store, &["holdfast.db-wal is damaged at frame", way_out]);
    }
    // As it says.
    std::fs::write(&log, &whole).unwrap();
    two.store.restart();
    two.wait_together();
    judge(&two, &store, &cloud);
}

#[test]
fn without_its_index_a_lost_write_ahead_log_is_noticed_by_what_the_other_site_knows() {
    for keep in ["half", "nothing"] {
        // Only the store's own: what it had applied of others it would apply again, and nobody could know.
        let mut two = Two::with(super::patient);
        let told = (0..20)
            .map(|n| format!("till-{n}"))
            .map(|key| (key.clone(), two.store.tell(&sale(&key, "till")).expect(201)));
        let store = Receipts { told: told.collect() };
        two.wait_equal(20);
        two.wait_settled();
        two.store.kill();
        std::fs::remove_file(file(&two.store, "holdfast.db-shm")).unwrap();
        let log = file(&two.store, "holdfast.db-wal");
        let length = std::fs::metadata(&log).unwrap().len();
        match keep {
            "half" => std::fs::File::options().write(true).open(&log).unwrap().set_len(length / 2).unwrap(),
            _ => std::fs::remove_file(&log).unwrap(),
        }
        takes_no_writes_because(&mut two, LATER_PAST, (&store, &Receipts { told: Vec::new() }));
    }
}

#[test]
fn a_way_back_from_a_newer_version_keeps_the_writes_that_are_pending() {
    let mut two = Two::with(super::patient);
    two.cut();
    for n in 0..5 {
        two.store.tell(&sale(&format!("till-{n}"), "till")).expect(201);
    }
    two.store.kill();
    let version = |number: u32| -> u32 {
        let database = rusqlite::Connection::open(file(&two.store, "holdfast.db")).unwrap();
        let before = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        database.pragma_update(None, "user_version", number).unwrap();
        before
    };
    let before = version(99);
    refused_because(&two.store, &["has schema version 99", "start the newer binary"]);
    version(before);
    two.store.restart();
    two.heal();
    two.wait_equal(5);
}

#[test]
fn a_database_that_is_gone_is_missed_and_then_the_site_waits_for_a_person() {
    let (mut two, store, cloud) = at_rest_and_killed();
    std::fs::remove_file(file(&two.store, "holdfast.db")).unwrap();
    refused_because(&two.store, &["holdfast.db is missing", "put the file back"]);
    // As it says.
    std::fs::remove_dir_all(two.store.site.data_dir()).unwrap();
    let ended = verify(two.store.site.folder());
    assert_eq!(ended.code, Some(74), "nothing is not a whole journal: {ended:?}");
    assert!(ended.err.contains("there is no journal"), "{}", ended.err);
    takes_no_writes_because(&mut two, NEW, (&store, &cloud));
}

#[test]
fn the_journal_of_another_site_is_refused_by_its_name() {
    let (mut two, store, cloud) = at_rest_and_killed();
    let (data, aside) = (two.store.site.data_dir(), two.store.site.folder().join("own"));
    std::fs::rename(&data, &aside).unwrap();
    two.cloud.kill();
    copy(&two.cloud.site.data_dir(), &data);
    two.cloud.restart();
    refused_because(&two.store, &["is the journal of site \"cloud\", and this is site \"store\""]);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    two.store.restart();
    two.wait_together();
    judge(&two, &store, &cloud);
}

#[test]
fn a_lost_shared_memory_file_is_made_anew() {
    let (mut two, store, cloud) = at_rest_and_killed();
    std::fs::remove_file(file(&two.store, "holdfast.db-shm")).unwrap();
    assert_eq!(verify(two.store.site.folder()).code, Some(0));
    two.store.restart();
    two.wait_together();
    two.store.tell(&sale("new", "till")).expect(201);
    judge(&two, &store, &cloud);
}
