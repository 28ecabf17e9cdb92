//! Tills that never stop writing, and the judgement of what they were told (G1 to G5) whatever was done to the disks.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ledger::{self, same_answer};
use super::{Call, SOON, Told, Two, Upstream, wait_for};

const PAUSE: Duration = Duration::from_millis(10);

/// One write after the other in one lane, each under a key of its own, which is asked again until it has succeeded.
/// Less than a hundred a second: the journal is what is tested.
pub struct Till {
    name: String,
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<(String, Told)>>>,
    thread: Option<JoinHandle<()>>,
}

/// What one till knows when it is closed.
pub struct Receipts {
    /// Successes, in order.
    pub told: Vec<(String, Told)>,
}

impl Till {
    pub fn open(name: &str, at: SocketAddr) -> Self {
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        let (stopped, answers, lane) = (stop.clone(), told.clone(), name.to_owned());
        let thread = std::thread::spawn(move || ring_up(&lane, at, &stopped, &answers));
        Self { name: name.to_owned(), stop, told, thread: Some(thread) }
    }

    /// Waits for so many successes more.
    #[track_caller]
    pub fn wait(&self, more: usize) {
        let count = || self.told.lock().unwrap().len();
        let before = count();
        wait_for(&format!("{more} more writes of {}", self.name), SOON, || count() >= before + more);
    }

    pub fn close(mut self) -> Receipts {
        self.stop.store(true, SeqCst);
        self.thread.take().expect("closed once").join().expect("a till does not panic");
        Receipts { told: std::mem::take(&mut *self.told.lock().unwrap()) }
    }
}

impl Drop for Till {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

pub fn sale(key: &str, lane: &str) -> Call {
    Call::post("/tx/sale").key(key).lane(lane).body(format!("sale {key}")).patience(Duration::from_secs(5))
}

fn ring_up(name: &str, at: SocketAddr, stop: &AtomicBool, told: &Mutex<Vec<(String, Told)>>) {
    for n in 0.. {
        let key = format!("{name}-{n}");
        loop {
            let stopped = stop.load(SeqCst);
            match sale(&key, name).send(at) {
                Ok(answer) if answer.status < 300 => {
                    told.lock().unwrap().push((key, answer));
                    std::thread::sleep(PAUSE);
                    break;
                }
                // It may have been done, or not.
                _ if stopped => return,
                _ => std::thread::sleep(PAUSE),
            }
        }
        if stop.load(SeqCst) {
            return;
        }
    }
}

impl Receipts {
    pub fn keys(&self) -> Vec<&str> {
        self.told.iter().map(|(key, _)| key.as_str()).collect()
    }

    /// Nothing that was acknowledged is missing at this replica (G1), and it was applied in the till's order (G3).
    #[track_caller]
    pub fn wait_applied_in_order(&self, at: &Upstream) {
        let missing = || {
            let applied: std::collections::BTreeSet<String> = at.applied_keys().into_iter().collect();
            self.keys().into_iter().filter(|key| !applied.contains(*key)).map(str::to_owned).collect::<Vec<_>>()
        };
        // A long backlog takes its time; it must only get shorter.
        let (mut left, mut deadline) = (missing(), Instant::now() + SOON);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            let now = missing();
            if now.len() < left.len() {
                deadline = Instant::now() + SOON;
            }
            left = now;
        }
        assert!(left.is_empty(), "G1: acknowledged and not applied: {left:?}");
        ledger::in_order(at, &self.keys());
    }

    /// The latest few get the same answer again (G4).
    #[track_caller]
    pub fn same_answers(&self, at: SocketAddr, lane: &str) {
        for (key, first) in self.told.iter().rev().take(3) {
            same_answer(first, &sale(key, lane).told(at).expect(first.status));
        }
    }
}

/// What operators would see at both sites, where a test fails while it lives.
pub struct Shown<'t>(pub &'t Two);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for site in [&self.0.store, &self.0.cloud] {
                for path in ["/status", "/quarantine"] {
                    eprintln!("--- {path} of {}: {}", site.site.name, site.try_api(path).unwrap_or_default());
                }
            }
        }
    }
}

/// After healing: every acknowledged write once at both replicas, in order, the same answers, nobody asks a person.
#[track_caller]
pub fn judge(two: &Two, store: &Receipts, cloud: &Receipts) {
    let _shown = Shown(two);
    for receipts in [store, cloud] {
        for service in two.services() {
            receipts.wait_applied_in_order(service);
        }
    }
    wait_for("both replicas are equal", SOON, || ledger::equal(&two.services()));
    ledger::nothing_twice(&two.services());
    store.same_answers(two.store.at(), "till");
    cloud.same_answers(two.cloud.at(), "office");
    ledger::nothing_twice(&two.services());
    for site in [&two.store, &two.cloud] {
        let held = site.api("/quarantine");
        assert_eq!(held.as_array().map(Vec::len), Some(0), "nothing has to be asked: {held}");
    }
}
