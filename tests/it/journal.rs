//! A journal that was damaged, copied, or left behind.
use std::path::Path;

use crate::harness::process::{Ended, holdfast, run};
use crate::harness::{Call, SOON, Scene, Service, Two, wait_for};

fn journal(order: &str, folder: &Path) -> Ended {
    let mut command = holdfast();
    command.args(["journal", order, "-o", "json", "--config"]).arg(folder.join("holdfast.toml"));
    run(command)
}

/// Bends two bytes in the middle of the latest record.
fn damage(data: &Path, table: &str) {
    let database = rusqlite::Connection::open(data.join("holdfast.db")).unwrap();
    let half = "length(body) / 2";
    let changed = database
        .execute(
            &format!(
                "UPDATE {table} SET body = CAST(substr(body, 1, {half}) || x'a5a5' || substr(body, {half} + 3) AS \
                BLOB) \
                 WHERE id = (SELECT max(id) FROM {table})"
            ),
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn verify_and_stats_of_a_whole_journal() {
    let mut scene = Scene::one(|tx| tx);
    for n in 0..5 {
        scene.store.tell(&Call::post("/tx/sale").key(&format!("k{n}"))).expect(201);
    }
    scene.store.stop();
    let ended = journal("verify", scene.store.site.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((report["broken"].as_u64(), report["rows"].as_u64()), (Some(0), Some(5)), "{report}");
    assert_eq!(journal("stats", scene.store.site.folder()).code, Some(0));
}

#[test]
fn a_damaged_record_is_named_and_the_site_goes_on() {
    for table in ["write", "request"] {
        let mut scene = Scene::one(Service::impatient);
        let mut ids = Vec::new();
        for n in 0..3 {
            scene.store.tell(&Call::post("/tx/sale").key(&format!("k{n}"))).expect(201);
        }
        for write in scene.store.api("/writes")["writes"].as_array().unwrap() {
            ids.push(write["id"].as_str().unwrap().to_owned());
        }
        scene.store.kill();
        damage(&scene.store.site.data_dir(), table);
        let ended = journal("verify", scene.store.site.folder());
        assert_eq!(ended.code, Some(74), "{table}: {ended:?}");
        ids.sort();
        assert!(ended.err.contains(ids.last().unwrap()), "{table}: {} is not named in {}", ids[2], ended.err);
        assert!(!ended.err.contains(&ids[0]), "{table}: a whole record is named in {}", ended.err);
        scene.store.restart();
        scene.store.tell(&Call::post("/tx/sale").key("k9")).expect(201);
        assert!(scene.store.tell(&Call::post("/tx/sale").key("k0")).expect(201).replayed());
        // What cannot be read is not guessed at: no second application, no made-up answer.
        let told = scene.store.tell(&Call::post("/tx/sale").key("k2"));
        assert!(told.status == 201 && told.replayed() || told.status >= 400, "{table}: {}", told.text());
        assert_eq!(scene.service.times_applied("k2"), 1, "{table}");
    }
}

#[test]
fn a_file_that_is_no_journal_is_left_alone() {
    let mut scene = Scene::one(|tx| tx);
    scene.store.stop();
    let file = scene.store.site.data_dir().join("holdfast.db");
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(scene.store.site.data_dir().join(format!("holdfast.db{end}")));
    }
    std::fs::write(&file, b"this is a shopping list, not a database, and long enough to be looked at").unwrap();
    let ended = scene.store.site.run_to_end();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains("holdfast.db"), "{}", ended.err);
    assert!(std::fs::read(&file).unwrap().starts_with(b"this is a shopping list"));
}

#[test]
fn a_newer_schema_is_refused_with_a_clear_message() {
    let mut scene = Scene::one(|tx| tx);
    scene.store.stop();
    let database = rusqlite::Connection::open(scene.store.site.data_dir().join("holdfast.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    drop(database);
    let ended = scene.store.site.run_to_end();
    assert_eq!(ended.code, Some(74), "{ended:?}");
    assert!(ended.err.contains("99"), "{}", ended.err);
}

#[test]
fn a_store_whose_disk_was_replaced_begins_a_new_log_and_numbers_are_not_used_twice() {
    let mut two = Two::start();
    for n in 0..3 {
        two.store.tell(&Call::post("/tx/sale").key(&format!("old{n}"))).expect(201);
    }
    two.wait_equal(3);
    two.store.kill();
    std::fs::remove_dir_all(two.store.site.data_dir()).unwrap();
    two.store.restart();
    wait_for("it serves", SOON, || two.store.tell(&Call::post("/tx/sale").key("new")).status == 201);
    two.at_cloud.wait_applied("new");
    assert_eq!(two.at_cloud.times_applied("new"), 1);
    assert_eq!(two.at_cloud.applied().len(), 4);
}
