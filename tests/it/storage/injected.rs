//! System calls that fail or take their time under the running appliance (`strace -e inject`): on its files only, so
//! that a network that fails is never what is tested.
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{UnderWrites, wait_failed};
use crate::harness::{Appliance, Call, SOON, skipped, wait_for};

const LOG: &str = "holdfast.db-wal";
const DATABASE: &str = "holdfast.db";

/// Traces an appliance while it lives.
struct Injected {
    strace: Child,
    calls: PathBuf,
}

impl Drop for Injected {
    fn drop(&mut self) {
        // Has ended with what it traced, perhaps.
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

impl Injected {
    /// So often it was done.
    fn count(&self) -> usize {
        let calls = std::fs::read_to_string(&self.calls).unwrap_or_default();
        calls.matches("(INJECTED)").count() + calls.matches("(DELAYED)").count()
    }
}

/// Whether the threads of a process, or it has ended, are being traced.
fn is_traced(process: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
    tasks.flatten().all(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|id| id.trim() != "0"))
    })
}

/// Tries on something else: root, or a system that lets one trace what one did not start.
fn can_inject(what: &str) -> bool {
    let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
    let traced = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-p", &victim.id().to_string()])
        .stderr(Stdio::null())
        .spawn();
    let why = traced.map_or_else(
        |error| Some(format!("strace cannot be started ({error}; Debian: strace)")),
        |mut strace| {
            let mut ended = None;
            wait_for("strace begins or gives up", SOON, || {
                ended = strace.try_wait().unwrap();
                ended.is_some() || is_traced(victim.id())
            });
            let _ = strace.kill();
            let _ = strace.wait();
            ended.map(|_| "strace may not trace here".to_owned())
        },
    );
    let _ = victim.kill();
    let _ = victim.wait();
    if let Some(why) = &why {
        skipped(what, why);
    }
    why.is_none()
}

/// A child that nobody has waited for yet is there, as a zombie.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}

/// From now on: `how` as strace has it, e.g. `fsync:error=EIO:when=3`, for one file of the data directory.
#[track_caller]
fn inject(into: &Appliance, file: &str, how: &str) -> Injected {
    let call = how.split(':').next().unwrap();
    let calls = into.site.folder().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &format!("inject={how}")]);
    command.arg("-P").arg(std::fs::canonicalize(into.site.data_dir()).unwrap().join(file));
    command.arg("-o").arg(&calls).args(["-p", &into.process.id().to_string()]);
    let strace = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let injected = Injected { strace, calls };
    let traced = into.process.id();
    // What is injected may have ended it before anybody looks.
    wait_for("every thread is traced", SOON, || is_traced(traced) || has_ended(traced));
    injected
}

/// It ends with 74; after a restart nothing that was acknowledged is lost, and nothing was done twice.
#[track_caller]
fn ends_and_goes_on(what: &str, file: &str, how: &str) {
    if !can_inject(what) {
        return;
    }
    let mut all = UnderWrites::start();
    let injected = inject(&all.two.store, file, how);
    wait_failed(&mut all.two.store);
    assert!(injected.count() > 0, "it ended for another reason");
    drop(injected);
    all.goes_on();
}

#[test]
fn a_failing_fsync_ends_the_process_and_nothing_acknowledged_is_lost() {
    for when in ["1", "4"] {
        ends_and_goes_on("a failing fsync", LOG, &format!("fsync:error=EIO:when={when}"));
    }
}

#[test]
fn a_write_that_fails_ends_the_process_and_nothing_acknowledged_is_lost() {
    for when in ["1", "7"] {
        ends_and_goes_on("a failing write", LOG, &format!("pwrite64:error=EIO:when={when}"));
    }
}

#[test]
fn a_checkpoint_that_cannot_be_synced_ends_the_process_and_nothing_acknowledged_is_lost() {
    if !can_inject("a failing fsync of the database") {
        return;
    }
    let all = UnderWrites::start();
    // Enough to be moved when there is nothing else to do.
    all.till.wait(70);
    let injected = inject(&all.two.store, DATABASE, "fsync:error=EIO:when=1+");
    let (mut two, store, cloud) = all.rest();
    wait_failed(&mut two.store);
    assert!(injected.count() > 0, "it ended for another reason");
    drop(injected);
    two.store.restart();
    two.wait_together();
    crate::harness::judge(&two, &store, &cloud);
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_nothing_but_time() {
    if !can_inject("a disk that is full for a moment") {
        return;
    }
    let all = UnderWrites::start();
    let injected = inject(&all.two.store, LOG, "pwrite64:error=ENOSPC:when=3..5");
    wait_for("three writes found no room", SOON, || injected.count() >= 3);
    all.wait(5);
    drop(injected);
    let (two, store, cloud) = all.rest();
    crate::harness::judge(&two, &store, &cloud);
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_guess() {
    if !can_inject("failing reads") {
        return;
    }
    let mut all = UnderWrites::start();
    for file in [DATABASE, LOG] {
        let injected = inject(&all.two.store, file, "pread64:error=EIO:when=1+");
        // Not every question needs the disk: what was read before is still known.
        wait_for("a read fails", SOON, || {
            let _ = Call::get("/api/v1/writes?limit=1000").send(all.two.store.site.admin);
            injected.count() > 0 || all.two.store.process.ended().is_some()
        });
        drop(injected);
        if all.two.store.process.ended().is_some() {
            wait_failed(&mut all.two.store);
            all.two.store.restart();
        }
    }
    all.two.store.kill();
    all.goes_on();
}

#[test]
fn a_slow_disk_slows_writes_and_nothing_else() {
    if !can_inject("a slow disk") {
        return;
    }
    let all = UnderWrites::start();
    let injected = inject(&all.two.store, LOG, "fsync:delay_enter=150000");
    all.wait(5);
    let began = std::time::Instant::now();
    all.two.store.tell(&Call::get("/tx/sale")).expect(200);
    assert!(began.elapsed().as_millis() < 140, "a read waits for no disk");
    assert!(injected.count() >= 5, "{}", injected.count());
    drop(injected);
    let (two, store, cloud) = all.rest();
    crate::harness::judge(&two, &store, &cloud);
}
