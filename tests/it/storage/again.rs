//! Records that the disk has changed, fetched again from the site that has them.
use serde_json::Value;

use super::{patient, verify};
use crate::harness::tills::{Shown, sale};
use crate::harness::{Act, Appliance, Gate, Line, Receipts, SOON, Three, Two, judge, ledger, wait_for};

const WRITES: u64 = 12;
/// `write.standing`: something is left to be done with it here.
const OPEN: u64 = 1;
/// Another site's, and nothing was done with it here.
const RECEIVED: u64 = 2;
const APPLIED: u64 = 4;

fn key(position: u64) -> String {
    format!("w{position}")
}

fn database(site: &Appliance) -> rusqlite::Connection {
    rusqlite::Connection::open(site.site.data_dir().join("holdfast.db")).unwrap()
}

/// One bit in the middle of the record of a position, at a site that is not running.
#[track_caller]
fn break_record(site: &Appliance, table: &str, standing: u64, position: impl Into<Option<u64>>) {
    let (database, position) = (database(site), position.into());
    let of = "id = (SELECT id FROM write WHERE standing = ?1 AND pos IS ?2)";
    let read = format!("SELECT body FROM {table} WHERE {of}");
    let mut body: Vec<u8> = database.query_row(&read, (standing, position), |row| row.get(0)).unwrap();
    let middle = body.len() / 2;
    body[middle] ^= 1;
    let write = format!("UPDATE {table} SET body = ?3 WHERE {of}");
    assert_eq!(database.execute(&write, (standing, position, body)).unwrap(), 1);
}

/// What a site says of the series that another began.
fn series(site: &Appliance, of: &str) -> Value {
    let status = site.try_api("/status").unwrap_or_default();
    let series = status["groups"][0]["series"].as_array().cloned().unwrap_or_default();
    series.into_iter().find(|series| series["site"] == of).unwrap_or_default()
}

/// The store has received the cloud's writes and applied none; it was killed.
fn received_and_killed() -> (Two, Receipts) {
    let mut two = Two::with(patient);
    two.at_store.stop();
    wait_for("the store's service is known to be down", SOON, || {
        two.store.try_api("/status").is_some_and(|status| status["groups"][0]["healthy"] == false)
    });
    let tell = |position| (key(position), two.cloud.tell(&sale(&key(position), "office")).expect(201));
    let told = (1..=WRITES).map(tell).collect();
    wait_for("the store has received them", SOON, || series(&two.store, "cloud")["received"] == WRITES);
    two.store.kill();
    two.at_store.resume();
    (two, Receipts { told })
}

/// The store's own writes are applied at both sites; it was killed.
fn applied_and_killed() -> (Two, Receipts) {
    let mut two = Two::with(patient);
    let tell = |position| (key(position), two.store.tell(&sale(&key(position), "till")).expect(201));
    let told = (1..=WRITES).map(tell).collect();
    two.wait_equal(WRITES as usize);
    two.wait_settled();
    two.store.kill();
    (two, Receipts { told })
}

/// The store was killed while its service worked on the third of the cloud's writes, which it ends with `act` when the
/// gate is opened.
fn killed_while_sending(act: Act) -> (Two, Receipts, Gate) {
    let mut two = Two::with(|service| service.impatient().probed());
    let gate = Gate::default();
    let act = act.behind(&gate);
    two.at_store.rule(move |seen| (seen.is_write() && seen.key() == key(3)).then(|| act.clone()));
    let tell = |position| (key(position), two.cloud.tell(&sale(&key(position), "office")).expect(201));
    let told = (1..=WRITES).map(tell).collect();
    two.at_store.wait_arrived(&key(3));
    wait_for("the store has received them", SOON, || series(&two.store, "cloud")["received"] == WRITES);
    two.store.kill();
    two.at_store.as_usual();
    (two, Receipts { told }, gate)
}

fn nothing() -> Receipts {
    Receipts { told: Vec::new() }
}

/// As many broken records as that are named.
#[track_caller]
fn is_broken(site: &Appliance, records: usize) {
    let ended = verify(site.site.folder());
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains(&format!("{records} broken records:")), "{}", ended.err);
}

#[track_caller]
fn is_whole(site: &mut Appliance) {
    site.stop();
    let ended = verify(site.site.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn broken_records_that_wait_for_their_turn_are_fetched_again_and_applied_once_and_in_order() {
    let (mut two, cloud) = received_and_killed();
    // One after the other, the last one, and one of which both are broken.
    for position in [2, 6, 7, 9, WRITES] {
        break_record(&two.store, "write", RECEIVED, position);
    }
    for position in [4, 9] {
        break_record(&two.store, "request", RECEIVED, position);
    }
    is_broken(&two.store, 7);
    two.store.restart();
    two.wait_together();
    judge(&two, &nothing(), &cloud);
    for (key, _) in &cloud.told {
        assert_eq!(two.at_store.writes_of(key).len(), 1, "{key} was sent more than once");
    }
    two.wait_settled();
    is_whole(&mut two.store);
}

/// From a site that has them in its journal only. The first of all has no chain before it.
#[test]
fn when_every_record_that_waits_is_broken_all_are_fetched_again() {
    let (mut two, cloud) = received_and_killed();
    for position in 1..=WRITES {
        break_record(&two.store, "write", RECEIVED, position);
    }
    two.cloud.kill();
    two.cloud.restart();
    two.store.restart();
    two.wait_together();
    judge(&two, &nothing(), &cloud);
    two.wait_settled();
    is_whole(&mut two.store);
}

#[test]
fn a_key_whose_own_record_is_broken_gets_its_recorded_answer_once_the_other_site_has_sent_it() {
    let (mut two, store) = applied_and_killed();
    let broken = [3, WRITES];
    for position in broken {
        break_record(&two.store, "write", APPLIED, position);
    }
    is_broken(&two.store, 2);
    two.cut_line();
    two.store.restart();
    // Whether it was done nobody can say; it is not done again.
    for position in broken {
        let told = two.store.tell(&sale(&key(position), "till"));
        assert!(told.status >= 500, "{} {}", told.status, told.text());
        assert!(!told.code().is_empty(), "it is the appliance that says so: {}", told.text());
    }
    wait_for("it says what is broken", SOON, || series(&two.store, "store")["broken"] == 3);
    two.heal();
    two.wait_together();
    for position in broken {
        let mut again = None;
        wait_for("the recorded answer", SOON, || {
            again = two.store.try_tell(&sale(&key(position), "till")).filter(|told| told.status < 500);
            again.is_some()
        });
        let again = again.expect("just told");
        assert!(again.replayed(), "{:?}", again.headers);
        ledger::same_answer(&store.told[position as usize - 1].1, &again);
        for service in two.services() {
            assert_eq!(service.writes_of(&key(position)).len(), 1, "position {position} was sent again");
        }
    }
    assert_eq!(series(&two.store, "store")["broken"], Value::Null);
    judge(&two, &store, &nothing());
    is_whole(&mut two.store);
}

#[test]
fn a_site_alone_serves_beside_a_broken_record_and_says_where_it_is_until_the_line_is_back() {
    let (mut two, cloud) = received_and_killed();
    break_record(&two.store, "write", RECEIVED, 5);
    two.cut_line();
    two.store.restart();
    let shown = Shown(&two);
    two.at_store.wait_applied(&key(4));
    wait_for("it says what is broken", SOON, || series(&two.store, "cloud")["broken"] == 5);
    let tell = |n: u64| (format!("alone-{n}"), two.store.tell(&sale(&format!("alone-{n}"), "till")).expect(201));
    let store = Receipts { told: (0..5).map(tell).collect() };
    assert_eq!(two.at_store.times_applied(&key(5)), 0);
    assert_eq!(two.at_store.times_applied(&key(6)), 0, "it comes after the broken one");
    assert_eq!(series(&two.store, "cloud")["decided"], 4);
    drop(shown);
    two.heal();
    two.wait_together();
    judge(&two, &store, &cloud);
    two.wait_settled();
    assert_eq!(series(&two.store, "cloud")["broken"], Value::Null);
    is_whole(&mut two.store);
}

#[test]
fn a_request_or_a_position_that_is_missing_is_fetched_again_like_a_broken_one() {
    let (mut two, cloud) = received_and_killed();
    let of = |position: u64| format!("(SELECT id FROM write WHERE standing = {RECEIVED} AND pos = {position})");
    let gone = [format!("DELETE FROM request WHERE id = {}", of(3)), format!("DELETE FROM place WHERE id = {}", of(5))];
    database(&two.store).execute_batch(&gone.join(";")).unwrap();
    assert_eq!(verify(two.store.site.folder()).code, Some(74));
    two.store.restart();
    two.wait_together();
    judge(&two, &nothing(), &cloud);
    two.wait_settled();
    is_whole(&mut two.store);
}

/// The one in between has lost what the one behind it still needs; only the origin has it.
#[test]
fn a_site_that_hands_on_what_is_broken_gets_it_from_its_origin_first() {
    let mut three = Three::start();
    three.links[1].cut();
    wait_for("it knows that it is alone", SOON, || three.edges[1].is_linked("cloud") == Some(false));
    let tell = |position| three.edges[0].tell(&sale(&key(position), "till")).expect(201);
    (1..=WRITES).for_each(|position| drop(tell(position)));
    three.at_cloud.wait_applied(&key(WRITES));
    wait_for("the cloud has done all", SOON, || series(&three.cloud, "edge-1")["decided"] == WRITES);
    three.cloud.kill();
    for position in [1, 4] {
        break_record(&three.cloud, "write", APPLIED, position);
    }
    break_record(&three.cloud, "request", APPLIED, 6);
    three.cloud.restart();
    three.links[1].heal();
    three.wait_equal(WRITES as usize);
    let keys: Vec<String> = (1..=WRITES).map(key).collect();
    three.services().into_iter().for_each(|service| ledger::in_order(service, &keys));
    is_whole(&mut three.cloud);
}

/// It may have been applied. What another site has says which write it is, not what was done with it here.
#[test]
fn a_broken_record_of_a_write_that_was_on_its_way_waits_for_a_person_and_holds_up_nothing() {
    let (mut two, cloud, gate) = killed_while_sending(Act::answer(201));
    break_record(&two.store, "write", OPEN, 3);
    two.store.restart();
    two.wait_together();
    let shown = Shown(&two);
    two.at_store.wait_applied(&key(WRITES));
    let quarantine = two.store.api("/quarantine");
    assert_eq!(quarantine.as_array().map(Vec::len), Some(1), "{quarantine}");
    assert_eq!(quarantine[0]["reason"], "damaged");
    assert_eq!(two.at_store.writes_of(&key(3)).len(), 1, "it was not sent again");
    // The service had it, and did it.
    gate.open();
    two.at_store.wait_applied(&key(3));
    let id = quarantine[0]["id"].as_str().unwrap();
    two.store.operate(&format!("/quarantine/{id}/applied")).expect(200);
    wait_for("nobody has to be asked any more", SOON, || two.store.count("quarantine") == 0);
    let told = two.store.tell(&sale(&key(3), "office")).expect(201);
    assert!(told.replayed(), "{:?}", told.headers);
    ledger::same_answer(&cloud.told[2].1, &told);
    drop(shown);
    ledger::nothing_twice(&two.services());
    two.wait_settled();
    is_whole(&mut two.store);
}

/// As above, where nothing was done at the service: it is sent by order of a person, with the request as the other site
/// has it.
#[test]
fn a_person_may_send_a_mended_write_whose_record_and_request_were_broken() {
    let (mut two, cloud, gate) = killed_while_sending(Act::answer(503).applies(false));
    gate.open();
    break_record(&two.store, "write", OPEN, 3);
    break_record(&two.store, "request", OPEN, 3);
    two.store.restart();
    two.wait_together();
    let shown = Shown(&two);
    two.at_store.wait_applied(&key(WRITES));
    let quarantine = two.store.api("/quarantine");
    let id = quarantine[0]["id"].as_str().unwrap();
    two.store.operate(&format!("/quarantine/{id}/resend")).expect(200);
    two.at_store.wait_applied(&key(3));
    wait_for("nobody has to be asked any more", SOON, || two.store.count("quarantine") == 0);
    let (here, there) = (two.at_store.writes_of(&key(3)), two.at_cloud.writes_of(&key(3)));
    assert_eq!(here.last().map(|seen| &seen.body), there.first().map(|seen| &seen.body));
    drop(shown);
    two.wait_equal(cloud.told.len());
    two.wait_settled();
    is_whole(&mut two.store);
}

/// The other way round: what the other site has made is asked for by its key here.
#[test]
fn a_key_of_another_site_whose_record_is_broken_here_gets_its_recorded_answer() {
    let mut two = Two::with(patient);
    let tell = |position| (key(position), two.cloud.tell(&sale(&key(position), "office")).expect(201));
    let cloud = Receipts { told: (1..=WRITES).map(tell).collect() };
    two.wait_equal(WRITES as usize);
    two.wait_settled();
    two.store.kill();
    break_record(&two.store, "write", APPLIED, 7);
    two.store.restart();
    two.wait_together();
    let mut again = None;
    wait_for("the recorded answer", SOON, || {
        again = two.store.try_tell(&sale(&key(7), "office")).filter(|told| told.status < 500);
        again.is_some()
    });
    ledger::same_answer(&cloud.told[6].1, &again.expect("just told"));
    judge(&two, &nothing(), &cloud);
    is_whole(&mut two.store);
}

/// The origin knows that it was done here, and what has no position can be fetched from nobody: its position comes as a
/// new one.
#[test]
fn a_write_that_was_decided_here_for_another_site_is_not_applied_again_when_its_record_is_broken() {
    let mut two = Two::with(patient);
    two.at_cloud.stop();
    two.cloud.wait_decider("store");
    let gate = Gate::default();
    two.at_store.at("/tx/sale", Act::answer(201).behind(&gate));
    let wish = sale("wish", "office").patience(SOON).spawn(two.cloud.at());
    two.at_store.wait_arrived("wish");
    two.links.set(Line::SilentDown);
    gate.open();
    wish.join().unwrap().unwrap().expect(201);
    two.store.kill();
    two.at_store.as_usual();
    break_record(&two.store, "write", OPEN, None);
    two.cut_line();
    two.at_cloud.resume();
    two.store.restart();
    two.heal();
    two.wait_together();
    let _shown = Shown(&two);
    two.cloud.tell(&sale("next", "office")).expect(201);
    two.at_store.wait_applied("next");
    assert_eq!(two.at_store.times_applied("wish"), 1);
    let quarantine = two.store.api("/quarantine");
    assert_eq!(quarantine[0]["reason"], "damaged", "{quarantine}");
}

/// The same key at two sites that did not see each other is one write: at a third it may have been applied, whatever
/// its record says.
#[test]
fn a_copy_of_a_write_whose_record_was_broken_on_its_way_is_not_applied_beside_it() {
    let mut three = Three::start();
    three.links[1].cut();
    wait_for("it knows that it is alone", SOON, || three.edges[1].is_linked("cloud") == Some(false));
    let gate = Gate::default();
    three.at_edges[0].at("/tx/sale", Act::answer(201).behind(&gate));
    three.cloud.tell(&sale("twin", "till")).expect(201);
    three.edges[1].tell(&sale("twin", "till")).expect(201);
    three.at_edges[0].wait_arrived("twin");
    three.edges[0].kill();
    three.at_edges[0].as_usual();
    gate.open();
    three.at_edges[0].wait_applied("twin");
    break_record(&three.edges[0], "write", OPEN, 1);
    three.edges[0].restart();
    three.edges[0].wait_peer_healthy("cloud");
    wait_for("a person is asked", SOON, || three.edges[0].count("quarantine") == 1);
    wait_for("it is decided", SOON, || series(&three.edges[0], "cloud")["decided"] == 1);
    three.links[1].heal();
    three.edges[1].tell(&sale("next", "till")).expect(201);
    three.at_edges[0].wait_applied("next");
    ledger::nothing_twice(&three.services());
}

/// Decided at the other site while the service here was down. Whether it was sent here meanwhile its record would have
/// said.
#[test]
fn a_broken_own_record_that_waits_for_this_replica_is_sent_by_order_of_a_person() {
    let mut two = Two::with(patient);
    two.at_store.stop();
    two.store.wait_decider("cloud");
    let tell = |position| drop(two.store.tell(&sale(&key(position), "till")).expect(201));
    (1..=WRITES).for_each(tell);
    wait_for("all have their positions", SOON, || series(&two.cloud, "store")["received"] == WRITES);
    two.store.kill();
    two.at_store.resume();
    break_record(&two.store, "write", OPEN, 4);
    break_record(&two.store, "request", OPEN, 4);
    two.store.restart();
    two.wait_together();
    let shown = Shown(&two);
    two.at_store.wait_applied(&key(WRITES));
    wait_for("it is mended", SOON, || series(&two.store, "store")["broken"] == Value::Null);
    let quarantine = two.store.api("/quarantine");
    assert_eq!(quarantine.as_array().map(Vec::len), Some(1), "{quarantine}");
    let id = quarantine[0]["id"].as_str().unwrap();
    two.store.operate(&format!("/quarantine/{id}/resend")).expect(200);
    wait_for("nobody has to be asked any more", SOON, || two.store.count("quarantine") == 0);
    drop(shown);
    two.wait_equal(WRITES as usize);
    two.wait_settled();
    is_whole(&mut two.store);
}

/// Neither makes anything up, and both say so.
#[test]
fn what_is_broken_at_both_sites_stays_named_and_holds_up_only_what_comes_after_it() {
    let (mut two, _cloud) = received_and_killed();
    two.cloud.kill();
    break_record(&two.store, "write", RECEIVED, 5);
    break_record(&two.cloud, "write", APPLIED, 5);
    two.cloud.restart();
    two.store.restart();
    two.wait_together();
    let _shown = Shown(&two);
    two.at_store.wait_applied(&key(4));
    wait_for("both say what is broken", SOON, || {
        [&two.store, &two.cloud].iter().all(|site| series(site, "cloud")["broken"] == 5)
    });
    two.store.tell(&sale("beside", "till")).expect(201);
    two.at_cloud.wait_applied("beside");
    assert_eq!(two.at_store.times_applied(&key(5)), 0);
}

#[test]
fn a_broken_request_of_a_write_that_was_on_its_way_is_fetched_again() {
    let (mut two, cloud, gate) = killed_while_sending(Act::answer(503).applies(false));
    gate.open();
    break_record(&two.store, "request", OPEN, 3);
    two.store.restart();
    two.wait_together();
    judge(&two, &nothing(), &cloud);
    is_whole(&mut two.store);
}

/// Without it the service cannot be asked what became of it.
#[test]
fn a_broken_request_of_a_write_that_was_on_its_way_holds_up_nothing_for_long_while_the_site_is_alone() {
    let (mut two, cloud, gate) = killed_while_sending(Act::answer(201));
    gate.open();
    two.at_store.wait_applied(&key(3));
    break_record(&two.store, "request", OPEN, 3);
    two.cut_line();
    two.store.restart();
    let shown = Shown(&two);
    two.at_store.wait_applied(&key(WRITES));
    assert_eq!(two.at_store.writes_of(&key(3)).len(), 1, "it was not sent again");
    two.heal();
    two.wait_together();
    let id = two.store.api("/quarantine")[0]["id"].as_str().unwrap().to_owned();
    two.store.operate(&format!("/quarantine/{id}/applied")).expect(200);
    wait_for("it is mended", SOON, || series(&two.store, "cloud")["broken"] == Value::Null);
    drop(shown);
    judge(&two, &nothing(), &cloud);
    two.wait_settled();
    is_whole(&mut two.store);
}
