//! A disk that runs full.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Call, SOON, Scene, skipped, wait_for};

#[test]
fn below_the_reserve_writes_are_refused_and_reads_go_on() {
    let scene = Scene::with(|site| site.section("store", "reserve = \"1000000GiB\""), |tx| tx);
    let told = scene.store.tell(&Call::post("/tx/sale").key("k1")).expect_problem(507, "disk-reserve");
    assert!(told.header("retry-after").is_some());
    scene.store.tell(&Call::get("/tx/sale")).expect(200);
    assert!(scene.service.writes().is_empty());
    let health = Call::get("/health").told(scene.store.site.admin).json();
    assert!(health["reasons"].to_string().contains("reserve"), "{health}");
}

/// A small file system of its own; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let options = format!("size={size}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output().ok()?.status;
        status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the appliance may still have it open for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_writes_go_on_when_there_is_room() {
    let mut mounted = None;
    let site = |site: crate::harness::Site| {
        mounted = Tmpfs::mount(&site.data_dir(), "24m");
        site
    };
    let scene = Scene::with(site, |tx| tx.set("health", "{ path = \"/health\", interval = \"200ms\" }"));
    let Some(Tmpfs(folder)) = &mounted else {
        return skipped("a full disk", "no tmpfs can be mounted here");
    };
    scene.store.tell(&Call::post("/tx/sale").key("before")).expect(201);
    // Somebody else takes the room.
    let ballast = folder.join("ballast");
    let block = vec![0; 64 << 10];
    {
        use std::io::Write;
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&block).is_ok() {}
    }
    let mut refused = 0;
    wait_for("writes are refused", SOON, || {
        let told = scene.store.try_tell(&Call::post("/tx/sale").key(&format!("full{refused}")).body(vec![b'x'; 4096]));
        refused += 1;
        told.is_some_and(|told| told.status == 507 || told.status == 503)
    });
    scene.store.tell(&Call::get("/tx/sale")).expect(200);
    std::fs::remove_file(&ballast).unwrap();
    wait_for("writes are taken again", SOON, || {
        scene.store.try_tell(&Call::post("/tx/sale").key("after")).is_some_and(|told| told.status == 201)
    });
    assert!(scene.store.tell(&Call::post("/tx/sale").key("before")).expect(201).replayed());
    crate::harness::ledger::nothing_twice(&[&scene.service]);
    drop(scene);
}
