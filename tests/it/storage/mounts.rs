//! File systems of a test's own, as root: one that loses its power, one that turns read-only.
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{UnderWrites, files, wait_failed};
use crate::harness::{Till, is_root, judge, skipped};

/// An ext4 in a file. Unmounted when dropped.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(at: &Path) -> Result<Self, String> {
        let image = at.with_extension("ext4");
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        std::fs::File::create(&image).and_then(|file| file.set_len(512 << 20)).map_err(|error| error.to_string())?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).output();
        let made = made.map_err(|error| format!("mkfs.ext4 cannot be started ({error}; Debian: e2fsprogs)"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        let disk = Self { image, at: at.to_owned() };
        disk.mount()?;
        Ok(disk)
    }

    /// By a loop device of its own each time: a copy of the mount that another process has, in a mount namespace that
    /// it made meanwhile, keeps the former one, and with it the file system that has lost its power.
    fn mount(&self) -> Result<(), String> {
        let run = |command: &mut Command| -> Result<String, String> {
            let ended = command.output().map_err(|error| error.to_string())?;
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
            if ended.status.success() { Ok(text(ended.stdout)) } else { Err(text(ended.stderr)) }
        };
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&self.image))?;
        let mounted = run(Command::new("mount").args(["-o", "errors=remount-ro", &device]).arg(&self.at));
        // While it is mounted that only means: goes with it.
        run(Command::new("losetup").args(["--detach", &device]))?;
        mounted.map(drop)
    }

    /// Loses everything that was not synced, at once, as a loss of power would.
    #[allow(unsafe_code)]
    fn cut_power(&self) {
        use std::os::fd::AsRawFd;
        const FS_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        let no_log_flush: u32 = 2;
        let file = std::fs::File::open(&self.at).unwrap();
        // SAFETY: a valid descriptor, and the argument is a number that outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_SHUTDOWN, &no_log_flush) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// With everything that used it ended: what the disk itself holds.
    #[track_caller]
    fn remount(&self) {
        let unmounted = Command::new("umount").arg(&self.at).output().unwrap();
        assert!(unmounted.status.success(), "{unmounted:?}");
        self.mount().unwrap();
    }

    /// As the kernel does when it finds its structures damaged.
    fn turn_read_only(&self) -> Result<(), String> {
        let found = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.at).output();
        let device = String::from_utf8(found.map_err(|error| error.to_string())?.stdout).unwrap_or_default();
        let device = device.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(&trigger, "made by a test").map_err(|error| format!("{trigger}: {error}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the appliance may still have it open for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

/// A pair under writes, the store on a disk of its own.
fn on_own_disk(what: &str) -> Option<(Disk, UnderWrites)> {
    if !is_root() {
        skipped(what, "a file system can be mounted by root only");
        return None;
    }
    let made = std::cell::RefCell::new(None);
    let all = UnderWrites::on(|site| {
        if site.name == "store" {
            *made.borrow_mut() = Some(Disk::make(&site.data_dir()));
        }
        site
    });
    match made.into_inner().expect("the store was made") {
        Ok(disk) => Some((disk, all)),
        Err(why) => {
            skipped(what, why.trim());
            None
        }
    }
}

/// `HOLDFAST_POWER_CUTS=100` for more of them.
#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged() {
    let cycles = std::env::var("HOLDFAST_POWER_CUTS").map_or(8, |number| number.parse().expect("a number"));
    let Some((disk, mut all)) = on_own_disk("a loss of power on ext4") else { return };
    let mut receipts = Vec::new();
    let mut open = std::collections::VecDeque::new();
    for cycle in 0..cycles {
        // A lane of its own: those of before may have to find out first what became of what was under way.
        let till = Till::open(&format!("cut{cycle}"), all.two.store.at());
        till.wait(5);
        // An fsync that FS_IOC_SHUTDOWN meets on its way may return success for what is lost: a loss of power answers
        // nobody.
        all.two.store.freeze();
        disk.cut_power();
        all.two.store.kill();
        disk.remount();
        all.two.store.restart();
        open.push_back(till);
        if open.len() > 2 {
            receipts.extend(open.pop_front().map(Till::close));
        }
    }
    receipts.extend(open.into_iter().map(Till::close));
    all.wait(3);
    let (two, store, cloud) = all.rest();
    for receipts in &receipts {
        two.services().into_iter().for_each(|service| receipts.wait_applied_in_order(service));
    }
    judge(&two, &store, &cloud);
    let told: usize = receipts.iter().chain([&store, &cloud]).map(|receipts| receipts.told.len()).sum();
    eprintln!("{cycles} losses of power, {told} writes acknowledged, none lost, none twice");
    drop((two, disk));
}

#[test]
fn a_disk_that_turns_read_only_ends_the_process_and_is_named_at_the_start() {
    let Some((disk, mut all)) = on_own_disk("a disk that turns read-only") else { return };
    // Some milliseconds pass before it is read-only, and an fsync in between may return success for what is lost.
    all.two.store.freeze();
    let turned = disk.turn_read_only();
    all.two.store.thaw();
    if let Err(why) = turned {
        return skipped("a disk that turns read-only", &why);
    }
    wait_failed(&mut all.two.store);
    files::refused_because(&all.two.store, &["Read-only file system"]);
    disk.remount();
    all.goes_on();
    drop(disk);
}
