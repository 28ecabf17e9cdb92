//! The wide area in user space: IP packets go from one site's TUN device to another's as the line between them lets
//! them.
//!
//! One thread reads each device; one more delivers what is late. A line is one direction between two sites: it delays,
//! jitters, loses, is thin. It keeps packets in order, as lines do; what does not fit into a second of a thin line is
//! dropped.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::scenario::LineSpec;

/// A thin line's buffer, as time at its rate.
const BUFFER: Duration = Duration::from_secs(1);
/// Packets on their way, all lines together (G6): beyond it they are lost, as they would be.
const LATE_MAX: usize = 100_000;
const PACKET_MAX: usize = 2_048;

/// The address of a site is this and its number.
pub const NETWORK: [u8; 3] = [10, 77, 0];

#[derive(Clone, Debug, Default)]
struct Line {
    spec: LineSpec,
    /// Cut altogether, or for these ports.
    cut: bool,
    cut_ports: Vec<u16>,
    /// Until when the thin line is busy with what it has taken, and when its last packet arrives.
    busy_until: Option<Instant>,
    last_at: Option<Instant>,
}

struct Late {
    at: Instant,
    number: u64,
    to: usize,
    packet: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct State {
    /// From, to.
    lines: Vec<Vec<Line>>,
    late: BinaryHeap<Reverse<Late>>,
    random: fastrand::Rng,
    number: u64,
}

struct Shared {
    devices: Vec<File>,
    state: Mutex<State>,
    wake: Condvar,
    ended: AtomicBool,
    carried: AtomicU64,
    dropped: AtomicU64,
}

/// Dropping it stops delivery; its readers end when their devices do.
pub struct Switch(Arc<Shared>);

impl Switch {
    pub fn start(devices: Vec<File>, seed: u64) -> std::io::Result<Self> {
        let sites = devices.len();
        let lines = vec![vec![Line::default(); sites]; sites];
        let random = fastrand::Rng::with_seed(seed);
        let shared = Arc::new(Shared {
            devices,
            state: Mutex::new(State { lines, late: BinaryHeap::new(), random, number: 0 }),
            wake: Condvar::new(),
            ended: AtomicBool::new(false),
            carried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let thread = |name: String| std::thread::Builder::new().name(name).stack_size(128 << 10);
        for from in 0..sites {
            let shared = Arc::clone(&shared);
            thread(format!("line-{from}")).spawn(move || read(&shared, from))?;
        }
        let late = Arc::clone(&shared);
        thread("line-late".into()).spawn(move || deliver(&late))?;
        Ok(Self(shared))
    }

    pub fn set_line(&self, from: usize, to: usize, spec: LineSpec) {
        self.0.lock().lines[from][to].spec = spec;
    }

    pub fn set_cut(&self, from: usize, to: usize, whole: bool, ports: Vec<u16>) {
        let mut state = self.0.lock();
        let line = &mut state.lines[from][to];
        (line.cut, line.cut_ports) = (whole, ports);
    }

    /// Packets carried and dropped.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.carried.load(Relaxed), self.0.dropped.load(Relaxed))
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.ended.store(true, Relaxed);
        self.0.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, to: usize, packet: &[u8]) {
        // A device that takes nothing (its site is being removed) loses it, as a line does.
        let _ = (&self.devices[to]).write(packet);
    }
}

fn read(shared: &Shared, from: usize) {
    let mut buffer = [0_u8; PACKET_MAX];
    while !shared.ended.load(Relaxed) {
        let Ok(length) = (&shared.devices[from]).read(&mut buffer) else { return };
        let packet = &buffer[..length];
        let Some(to) = destination(packet, shared.devices.len()) else { continue };
        let mut state = shared.lock();
        match state.route(from, to, packet, Instant::now()) {
            Route::Now => {
                drop(state);
                shared.carried.fetch_add(1, Relaxed);
                shared.write(to, packet);
            }
            Route::Late => {
                drop(state);
                shared.carried.fetch_add(1, Relaxed);
                shared.wake.notify_one();
            }
            Route::Drop => {
                shared.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

fn deliver(shared: &Shared) {
    let mut state = shared.lock();
    while !shared.ended.load(Relaxed) {
        let now = Instant::now();
        let wait = match state.late.peek() {
            Some(Reverse(late)) if late.at <= now => Duration::ZERO,
            Some(Reverse(late)) => late.at - now,
            None => Duration::from_millis(200),
        };
        if wait.is_zero() {
            if let Some(Reverse(late)) = state.late.pop() {
                drop(state);
                shared.write(late.to, &late.packet);
                state = shared.lock();
            }
        } else {
            let woken = shared.wake.wait_timeout(state, wait);
            state = woken.map(|(state, _)| state).unwrap_or_else(|poisoned| poisoned.into_inner().0);
        }
    }
}

fn destination(packet: &[u8], sites: usize) -> Option<usize> {
    let is_ours = packet.len() >= 20 && packet[0] >> 4 == 4 && packet[16..19] == NETWORK;
    let number = usize::from(*packet.get(19)?);
    (is_ours && (1..=sites).contains(&number)).then(|| number - 1)
}

fn has_port(packet: &[u8], ports: &[u16]) -> bool {
    let head = usize::from(packet[0] & 0x0f) * 4;
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(head + at)?, *packet.get(head + at + 1)?]));
    matches!(packet[9], 6 | 17) && [port(0), port(2)].iter().flatten().any(|port| ports.contains(port))
}

enum Route {
    Now,
    Late,
    Drop,
}

impl State {
    fn route(&mut self, from: usize, to: usize, packet: &[u8], now: Instant) -> Route {
        let line = &mut self.lines[from][to];
        let LineSpec { delay, jitter, loss, rate } = line.spec;
        if line.cut || (!line.cut_ports.is_empty() && has_port(packet, &line.cut_ports)) {
            return Route::Drop;
        }
        if loss.0 > 0.0 && self.random.f64() < loss.0 {
            return Route::Drop;
        }
        let mut at = now + delay.0 + jitter.0.mul_f64(self.random.f64());
        if let Some(rate) = rate {
            let begins = line.busy_until.filter(|until| *until > now).unwrap_or(now);
            if begins - now > BUFFER {
                return Route::Drop;
            }
            let ends = begins + Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate.0 as f64);
            line.busy_until = Some(ends);
            at += ends - now;
        }
        // What is behind a late packet is late too.
        at = line.last_at.filter(|last| *last > at).unwrap_or(at);
        if at <= now {
            return Route::Now;
        }
        if self.late.len() >= LATE_MAX {
            return Route::Drop;
        }
        line.last_at = Some(at);
        self.number += 1;
        self.late.push(Reverse(Late { at, number: self.number, to, packet: packet.to_vec() }));
        Route::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::units::{Rate, Share, Span};

    fn packet(to: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0_u8; 1_000];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[16..20].copy_from_slice(&[10, 77, 0, to]);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet
    }

    fn state() -> State {
        let lines = vec![vec![Line::default(); 2]; 2];
        State { lines, late: BinaryHeap::new(), random: fastrand::Rng::with_seed(1), number: 0 }
    }

    #[test]
    fn packets_find_their_site() {
        assert_eq!(destination(&packet(2, 1), 2), Some(1));
        assert_eq!(destination(&packet(3, 1), 2), None);
        assert_eq!(destination(&[0x60; 40], 2), None);
        assert_eq!(destination(&[], 2), None);
    }

    #[test]
    fn a_line_cuts_a_port_a_direction_or_nothing() {
        let (mut state, now) = (state(), Instant::now());
        assert!(matches!(state.route(0, 1, &packet(2, 7443), now), Route::Now));
        state.lines[0][1].cut_ports = vec![7447];
        assert!(matches!(state.route(0, 1, &packet(2, 7447), now), Route::Drop));
        assert!(matches!(state.route(0, 1, &packet(2, 7443), now), Route::Now));
        state.lines[0][1].cut = true;
        assert!(matches!(state.route(0, 1, &packet(2, 7443), now), Route::Drop));
        assert!(matches!(state.route(1, 0, &packet(1, 7443), now), Route::Now));
    }

    #[test]
    fn a_thin_line_delays_keeps_order_and_drops_what_it_cannot_hold() {
        let (mut state, now) = (state(), Instant::now());
        let jitter = Span(Duration::from_millis(50));
        state.lines[0][1].spec = LineSpec { jitter, rate: Some(Rate(80_000)), ..LineSpec::default() };
        let dropped = (0..30).filter(|_| matches!(state.route(0, 1, &packet(2, 1), now), Route::Drop)).count();
        // A packet takes 100 ms, a second holds eleven.
        assert_eq!(dropped, 19);
        let order: Vec<u64> = std::iter::from_fn(|| state.late.pop()).map(|Reverse(late)| late.number).collect();
        assert!(order.is_sorted());
        state.lines[1][0].spec.loss = Share(0.5);
        let lost = (0..1_000).filter(|_| matches!(state.route(1, 0, &packet(1, 1), now), Route::Drop)).count();
        assert!((400..600).contains(&lost), "{lost}");
    }
}
