//! The appliance under attack, and its figures.
use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Big, Other};
use crate::harness::{Appliance, SOON, Service, Site, wait_for};

/// What an appliance may hold under any of these attacks.
const RESIDENT_MAX_KIB: u64 = 256 << 10;
/// Far away from what another client should notice.
const SLOW: Duration = Duration::from_secs(30);
/// How long an attack is held after it has begun.
const HOLD: Duration = Duration::from_secs(3);
/// Descriptors that stay: connections to the service that are kept.
const LEFT: usize = 160;

/// One after the other: they would be measured together.
static ONE: Mutex<()> = Mutex::new(());

pub struct Victim {
    pub appliance: Appliance,
    _service: Big,
    _one: MutexGuard<'static, ()>,
}

#[derive(Clone, Copy, Debug)]
struct Figures {
    resident_kib: u64,
    peak_kib: u64,
    descriptors: usize,
}

impl Victim {
    pub fn start() -> Self {
        Self::with(|tx| tx)
    }

    #[track_caller]
    pub fn with(change: impl FnOnce(Service) -> Service) -> Self {
        Self::from(|service| {
            let tx = Service::at("tx", service.address).without("health").replicas(&["store"]);
            Site::alone().environment("RUST_LOG", "info").service(change(tx)).start()
        })
    }

    #[track_caller]
    pub fn from(start: impl FnOnce(&Big) -> Appliance) -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Many connections, of this process too.
        let _ = holdfast::descriptors::raise();
        let service = Big::start();
        let appliance = start(&service);
        Self { appliance, _service: service, _one: one }
    }

    fn figures(&self) -> Figures {
        let process = format!("/proc/{}", self.appliance.process.id());
        let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of memory");
            line.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        let descriptors = fs::read_dir(format!("{process}/fd")).expect("it runs").count();
        Figures { resident_kib: line("VmRSS:"), peak_kib: line("VmHWM:"), descriptors }
    }

    /// Lets `attack` begin, holds what it returned for a while, and lets go.
    #[track_caller]
    pub fn under<A: Send + 'static>(&self, name: &str, attack: impl FnOnce(SocketAddr) -> A + Send + 'static) {
        let at = self.appliance.at();
        let other = Other::start(at);
        std::thread::sleep(HOLD / 6);
        let quiet = other.stop();
        let before = self.figures();
        // The peak begins anew; where it may not, it is that of all attacks so far, which is no less.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.appliance.process.id()), "5");
        let other = Other::start(at);
        let attacking = std::thread::spawn(move || {
            gently();
            attack(at)
        });
        let held = attacking.join().expect("the attack itself does not fail");
        std::thread::sleep(HOLD);
        let during = self.figures();
        let met = other.stop();
        drop(held);
        wait_for(&format!("{name}: descriptors are given back"), 2 * SOON, || {
            self.figures().descriptors <= before.descriptors + LEFT
        });
        let after = self.figures();
        let mib = |kib: u64| kib >> 10;
        println!(
            "{name}: RSS {} MiB before, {} at most, {} after; descriptors {}, {}, {}; other reads p99 {:.1} ms ({} of \
             them; {:.1} ms before)",
            mib(before.resident_kib),
            mib(during.peak_kib.max(after.peak_kib)),
            mib(after.resident_kib),
            before.descriptors,
            during.descriptors,
            after.descriptors,
            met.p99().as_secs_f64() * 1e3,
            met.count(),
            quiet.p99().as_secs_f64() * 1e3,
        );
        let peak = during.peak_kib.max(after.peak_kib);
        assert!(peak < RESIDENT_MAX_KIB, "{name}: {} MiB", mib(peak));
        assert!(
            met.failures.is_empty(),
            "{name}: another client was told {:?}",
            &met.failures[..met.failures.len().min(5)]
        );
        assert!(met.count() > 0 && met.p99() < SLOW, "{name}: {:?}", met.p99());
    }
}

/// This thread is less important than all others.
pub fn gently() {
    let Ok(thread) = fs::read_link("/proc/thread-self") else { return };
    let Some(id) = thread.file_name().and_then(|id| id.to_str()) else { return };
    // Without it the figures are worse, and true.
    let _ = Command::new("renice").args(["-n", "19", "-p", id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// What each of `count` small threads makes, where it makes something. They inherit what [`gently`] said.
pub fn at_once<T: Send + 'static>(count: usize, make: impl Fn(usize) -> Option<T> + Send + Clone + 'static) -> Vec<T> {
    let threads: Vec<_> = (0..count)
        .map(|n| {
            let make = make.clone();
            std::thread::Builder::new().stack_size(128 << 10).spawn(move || make(n)).expect("a thread")
        })
        .collect();
    threads.into_iter().filter_map(|thread| thread.join().expect("it does not panic")).collect()
}
