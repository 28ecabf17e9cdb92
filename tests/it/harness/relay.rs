//! A line between two sites that can be cut, or go silent, in either direction.
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::free_port;

const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Line {
    Open = 0,
    /// Connections are dropped, new ones refused: a pulled cable and a router that says so.
    Cut = 1,
    /// Nothing passes and nobody is told: a pulled cable.
    Silent = 2,
    /// What the dialling side sends does not arrive; the other direction works.
    SilentUp = 3,
    /// The reverse.
    SilentDown = 4,
}

struct State {
    line: AtomicU8,
    stop: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl State {
    fn line(&self) -> Line {
        match self.line.load(SeqCst) {
            0 => Line::Open,
            1 => Line::Cut,
            2 => Line::Silent,
            3 => Line::SilentUp,
            _ => Line::SilentDown,
        }
    }
    fn drop_streams(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            // Gone already, perhaps.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(target: SocketAddr) -> Self {
        let address = free_port();
        let state = Arc::new(State { line: AtomicU8::new(0), stop: AtomicBool::new(false), streams: Mutex::default() });
        let shared = state.clone();
        let accepting = Some(std::thread::spawn(move || accept(address, target, &shared)));
        Self { address, state, accepting }
    }

    pub fn set(&self, line: Line) {
        self.state.line.store(line as u8, SeqCst);
        if line == Line::Cut {
            self.state.drop_streams();
        }
    }
    pub fn cut(&self) {
        self.set(Line::Cut);
    }
    pub fn heal(&self) {
        self.set(Line::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.stop.store(true, SeqCst);
        self.state.drop_streams();
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// The listener exists only while the line is not cut.
fn accept(address: SocketAddr, target: SocketAddr, state: &Arc<State>) {
    let mut listener: Option<TcpListener> = None;
    while !state.stop.load(SeqCst) {
        if state.line() == Line::Cut {
            listener = None;
            // A connection accepted while the order to cut came.
            state.drop_streams();
        } else if listener.is_none() {
            listener = TcpListener::bind(address).ok();
        }
        let accepted = listener.as_ref().map(|listener| {
            listener.set_nonblocking(true).expect("a fresh listener");
            listener.accept()
        });
        match accepted {
            Some(Ok((near, _))) => carry(near, target, state),
            _ => std::thread::sleep(TICK / 2),
        }
    }
}

fn carry(near: TcpStream, target: SocketAddr, state: &Arc<State>) {
    let Ok(far) = TcpStream::connect(target) else { return };
    let pair = || -> std::io::Result<_> {
        for stream in [&near, &far] {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TICK))?;
        }
        state.streams.lock().unwrap().extend([near.try_clone()?, far.try_clone()?]);
        Ok(((near.try_clone()?, far.try_clone()?), (far, near)))
    };
    let Ok((up, down)) = pair() else { return };
    for ((from, to), silent) in [(up, Line::SilentUp), (down, Line::SilentDown)] {
        let state = state.clone();
        std::thread::spawn(move || pump(from, to, silent, &state));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, silent: Line, state: &State) {
    let mut buffer = [0; 16 << 10];
    while !state.stop.load(SeqCst) {
        let line = state.line();
        if line == Line::Silent || line == silent {
            std::thread::sleep(TICK / 2);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                // Read just before the line went silent: it waits on this side, as in a queue of a router.
                while [Line::Silent, silent].contains(&state.line()) && !state.stop.load(SeqCst) {
                    std::thread::sleep(TICK / 2);
                }
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            // Interrupted: the machine, or this process, stood still.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(_) => break,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
