//! Files of a stopped site that are cut short, gone, or not its own.
use std::path::{Path, PathBuf};

use super::{UnderWrites, verify};
use crate::harness::tills::sale;
use crate::harness::{Appliance, Receipts, SOON, Two, ledger, wait_for};

fn file(site: &Appliance, name: &str) -> PathBuf {
    site.site.data_dir().join(name)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Everything is at both sites, the store was killed in the middle of nothing.
fn at_rest_and_killed() -> (Two, Receipts, Receipts) {
    let (mut two, store, cloud) = UnderWrites::start().rest();
    two.wait_settled();
    two.store.kill();
    (two, store, cloud)
}

#[test]
fn explore() {
    for what in ["truncate", "delete-wal", "delete-db", "swap", "shm", "older", "older-all"] {
        eprintln!("=== {what}");
        let (mut two, store, _cloud) = at_rest_and_killed();
        let wal = file(&two.store, "holdfast.db-wal");
        let length = std::fs::metadata(&wal).unwrap().len();
        match what {
            "truncate" => std::fs::File::options().write(true).open(&wal).unwrap().set_len(length / 2).unwrap(),
            "delete-wal" => std::fs::remove_file(&wal).unwrap(),
            "delete-db" => std::fs::remove_file(file(&two.store, "holdfast.db")).unwrap(),
            "swap" => {
                two.cloud.kill();
                std::fs::remove_dir_all(two.store.site.data_dir()).unwrap();
                copy(&two.cloud.site.data_dir(), &two.store.site.data_dir());
                two.cloud.restart();
            }
            "shm" => std::fs::remove_file(file(&two.store, "holdfast.db-shm")).unwrap(),
            "older" => {
                let aside = two.store.site.folder().join("older");
                copy(&two.store.site.data_dir(), &aside);
                two.store.restart();
                for n in 0..5 {
                    two.store.tell(&sale(&format!("later{n}"), "till")).expect(201);
                }
                two.at_cloud.wait_applied("later4");
                two.store.kill();
                std::fs::remove_dir_all(two.store.site.data_dir()).unwrap();
                std::fs::rename(&aside, two.store.site.data_dir()).unwrap();
            }
            _ => continue,
        }
        let ended = verify(two.store.site.folder());
        eprintln!("verify {:?} {} {}", ended.code, ended.out, ended.err);
        two.store.spawn_again(&[]);
        std::thread::sleep(std::time::Duration::from_secs(3));
        eprintln!("ended: {:?}", two.store.process.ended());
        eprintln!("status {:?}", two.store.try_api("/status"));
        let told = two.store.try_tell(&sale("new", "till"));
        eprintln!("new: {:?}", told.map(|t| (t.status, t.text())));
        let key = &store.told.last().unwrap().0;
        let told = two.store.try_tell(&sale(key, "till"));
        eprintln!("old: {:?} {}", told.map(|t| (t.status, t.text(), t.replayed())), two.at_store.times_applied(key));
        for line in two.store.log().lines().filter(|l| l.contains("ERROR") || l.contains("WARN")).rev().take(8) {
            eprintln!("   {line}");
        }
        for line in two.cloud.log().lines().filter(|l| l.contains("ERROR") || l.contains("WARN")).rev().take(4) {
            eprintln!("  C {line}");
        }
    }
}
