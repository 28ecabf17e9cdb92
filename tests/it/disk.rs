//! A disk that runs full, and one that fails.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Act, Appliance, Call, Gate, SOON, Scene, skipped, wait_for};

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

/// From now on no file of this process takes a byte: a disk that fails, for which nobody has to be root.
#[track_caller]
fn fail_writes(of: &Appliance) -> bool {
    let limited = Command::new("prlimit").arg("--fsize=1").arg(format!("--pid={}", of.process.id())).status();
    limited.is_ok_and(|status| status.success())
}

/// The service has the write, and the journal fails before the outcome is in it: the client is told what the service
/// said.
#[test]
fn a_journal_that_fails_after_a_write_was_sent_costs_no_client_its_answer() {
    for probe in [true, false] {
        let mut scene = Scene::one(|tx| if probe { tx.impatient().probed() } else { tx.impatient() });
        let gate = Gate::default();
        scene.service.at("/tx/sale", Act::answer(201).header("X-Till", "4711").behind(&gate));
        let with_key = Call::post("/tx/sale").key("k1").lane("one");
        let without = Call::post("/tx/sale").lane("two");
        let asked = [with_key.spawn(scene.store.at()), without.spawn(scene.store.at())];
        wait_for("both have arrived", SOON, || scene.service.writes().len() == 2);
        if !fail_writes(&scene.store) {
            return skipped("a disk that fails", "prlimit (util-linux) cannot be run here");
        }
        gate.open();
        for asked in asked {
            let told = asked.join().unwrap().expect("an answer").expect(201);
            assert_eq!(told.header("x-till"), Some("4711"), "as the service said it: {:?}", told.headers);
        }
        assert_eq!(scene.store.process.wait_end().code(), Some(74));
        assert_eq!(scene.service.applied().len(), 2);

        scene.service.as_usual();
        scene.store.restart();
        if probe {
            // By the key that each of them had, its own or one of ours.
            wait_for("the probe has told", SOON, || scene.store.count("open_writes") == 0);
            assert_eq!(scene.store.count("quarantine"), 0);
            with_key.told(scene.store.at()).expect(200);
        } else {
            let told = with_key.told(scene.store.at()).expect_problem(504, "outcome-unknown");
            assert!(told.header("retry-after").is_some(), "{:?}", told.headers);
            let address = format!("/.holdfast/writes/{}", told.header("holdfast-write").expect("an address"));
            assert_eq!(scene.store.tell(&Call::get(&address)).status, 200);
            wait_for("a person is asked about both", SOON, || scene.store.count("quarantine") == 2);
        }
        assert_eq!(scene.service.applied().len(), 2, "nothing was sent again");
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.filter(|meta| meta.is_file()).map(|meta| meta.len()).sum()
}

/// Nobody looks at the health of the service: each write finds out for itself, or for a moment does not even try.
#[test]
fn a_service_that_is_down_does_not_fill_the_disk() {
    const WRITES: usize = 10_000;
    const CLIENTS: usize = 8;
    let mut scene = Scene::one(|tx| tx.without("health"));
    scene.store.tell(&Call::post("/tx/sale").key("before")).expect(201);
    scene.service.stop();
    let (before, at) = (bytes_below(&scene.store.site.data_dir()), scene.store.at());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            std::thread::spawn(move || {
                for n in 0..WRITES / CLIENTS {
                    let call = Call::post("/tx/sale").key(&format!("c{client}-{n}")).lane(&format!("till-{client}"));
                    call.body(vec![b'x'; 2_000]).told(at).expect(503);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let grown = bytes_below(&scene.store.site.data_dir()).saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes more");
    scene.service.resume();
    wait_for("it is sent", SOON, || scene.store.tell(&Call::post("/tx/sale").key("c0-0")).status == 201);
}
