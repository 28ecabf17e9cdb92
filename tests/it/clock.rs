//! A wall clock that jumps. Order and lifetimes never depend on it.
use std::path::PathBuf;

use crate::harness::metrics;
use crate::harness::{Call, Service, Site, Upstream, ledger, skipped, wait_for};

fn libfaketime() -> Option<PathBuf> {
    let places =
        ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|arch| format!("/usr/lib/{arch}/faketime/libfaketimeMT.so.1"));
    places.into_iter().map(PathBuf::from).find(|path| path.exists())
}

#[test]
fn an_hour_back_changes_nothing() {
    let Some(library) = libfaketime() else {
        return skipped("a clock that jumps", "libfaketime is not installed");
    };
    let service = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let time = folder.path().join("time");
    std::fs::write(&time, "+0").unwrap();
    let tx = Service::new("tx", &service).replicas(&["store"]).set("idempotency", "{ ttl = \"30m\" }");
    let mut store = Site::alone()
        .service(tx)
        .environment("LD_PRELOAD", library.to_str().unwrap())
        .environment("FAKETIME_TIMESTAMP_FILE", time.to_str().unwrap())
        .environment("FAKETIME_NO_CACHE", "1")
        // Timers and sockets live by the monotonic clock, which does not jump.
        .environment("DONT_FAKE_MONOTONIC", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    let sale = |key: &str| Call::post("/tx/sale").key(key);
    let first = store.tell(&sale("before")).expect(201);
    let stamps = |store: &crate::harness::Appliance| -> Vec<i64> {
        let list = store.api("/writes");
        list["writes"].as_array().unwrap().iter().map(|w| w["original_ms"].as_i64().unwrap()).collect()
    };
    let before = stamps(&store)[0];
    for jump in ["-3600", "+7200", "-3600"] {
        std::fs::write(&time, jump).unwrap();
        store.tell(&sale(&format!("at{jump}{}", service.applied().len()))).expect(201);
        // Neither forgotten by a jump forwards nor new by one backwards.
        ledger::same_answer(&first, &store.tell(&sale("before")));
    }
    let moved = stamps(&store).iter().any(|&stamp| stamp < before - 3_000_000);
    assert!(moved, "the clock did not jump for the appliance: {:?}", stamps(&store));
    wait_for("the jumps are counted", crate::harness::SOON, || {
        metrics::Page::of(&store).sum("holdfast_clock_jumps_total") > 0.0
    });
    store.kill();
    store.restart();
    wait_for("it remembers after a restart in the past", crate::harness::SOON, || {
        store.tell(&sale("before")).replayed()
    });
    ledger::nothing_twice(&[&service]);
    assert_eq!(service.applied().len(), 4);
}
