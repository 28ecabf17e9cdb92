//! A service that does as it is told, and remembers everything that it was asked.
//!
//! Unless a rule says otherwise a write is applied and answered 201 with its number, `GET /by-key/{key}` tells whether
//! a key was applied, `GET /health` is 200, any other read is 200 with the number of applied writes.
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{self, Headers};
use super::{SOON, free_port, wait_for};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        http::value(&self.headers, name)
    }
    pub fn key(&self) -> &str {
        self.header("idempotency-key").unwrap_or_default()
    }
    pub fn is_shadow(&self) -> bool {
        self.header("holdfast-replay") == Some("true")
    }
    pub fn is_write(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
    }
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// When the service hangs up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Never: the answer is complete and the connection stays.
    No,
    /// Without a byte of an answer.
    Before,
    /// After the head and half of the body.
    Middle,
    /// After a complete answer that did not say so.
    After,
}

/// What the service does with one request.
#[derive(Clone, Debug)]
pub struct Act {
    gate: Option<Gate>,
    delay: Duration,
    applies: bool,
    status: u16,
    headers: Headers,
    body: Option<Vec<u8>>,
    cut: Cut,
}

impl Act {
    pub fn answer(status: u16) -> Self {
        Self {
            gate: None,
            delay: Duration::ZERO,
            applies: (200..400).contains(&status),
            status,
            headers: Headers::new(),
            body: None,
            cut: Cut::No,
        }
    }
    pub fn hang_up(cut: Cut) -> Self {
        Self { cut, ..Self::answer(201) }
    }
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }
    pub fn applies(mut self, applies: bool) -> Self {
        self.applies = applies;
        self
    }
    /// Works this long; it applies at the end.
    pub fn slow(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
    /// Works until the gate is opened; it applies then.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }
}

/// Holds requests until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        // Bounded, so that no thread outlives its test for long.
        let _ = self.0.1.wait_timeout_while(open, 2 * SOON, |open| !*open);
    }
}

type Rule = Box<dyn Fn(&Seen) -> Option<Act> + Send>;

#[derive(Default)]
struct Inner {
    /// Every request, probes and health checks too.
    seen: Vec<Seen>,
    /// What changed the service's state, in order.
    applied: Vec<Seen>,
    rule: Option<Rule>,
    streams: Vec<TcpStream>,
}

pub struct Upstream {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    up: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Upstream {
    pub fn start() -> Self {
        Self::start_at(free_port())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let mut upstream = Self { address, inner: Arc::default(), up: None };
        upstream.resume();
        upstream
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Asked first for every request that is not a health check; `None` is the ordinary behaviour.
    pub fn rule(&self, rule: impl Fn(&Seen) -> Option<Act> + Send + 'static) {
        self.inner().rule = Some(Box::new(rule));
    }
    /// For writes of clients and shadows to this path.
    pub fn at(&self, target: &'static str, act: Act) {
        self.rule(move |seen| (seen.is_write() && seen.target == target).then(|| act.clone()));
    }
    /// For the first such write only.
    pub fn once_at(&self, target: &'static str, act: Act) {
        let first = AtomicBool::new(true);
        self.rule(move |seen| {
            (seen.is_write() && seen.target == target && first.swap(false, SeqCst)).then(|| act.clone())
        });
    }
    pub fn as_usual(&self) {
        self.inner().rule = None;
    }

    /// Refuses connections and drops those it has: a crash. What it has applied stays.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.up.take() {
            stop.store(true, SeqCst);
            // Wakes the accept.
            drop(TcpStream::connect(self.address));
            let _ = thread.join();
            for stream in self.inner().streams.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    pub fn resume(&mut self) {
        assert!(self.up.is_none());
        let mut listener = None;
        // A child that is being started has a copy of everything that is open here, for a moment.
        wait_for("the port is free", SOON, || {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        let listener = listener.expect("just bound");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, inner) = (stop.clone(), self.inner.clone());
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    return;
                }
                let (inner, stopped) = (inner.clone(), stopped.clone());
                if let Ok(clone) = stream.try_clone() {
                    inner.lock().unwrap().streams.push(clone);
                }
                std::thread::spawn(move || serve(stream, &inner, &stopped));
            }
        });
        self.up = Some((stop, thread));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }
    /// Writes that arrived, applied or not.
    pub fn writes(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_write).collect()
    }
    pub fn writes_of(&self, key: &str) -> Vec<Seen> {
        self.writes().into_iter().filter(|seen| seen.key() == key).collect()
    }
    pub fn applied(&self) -> Vec<Seen> {
        self.inner().applied.clone()
    }
    /// Keys of applied writes, in order.
    pub fn applied_keys(&self) -> Vec<String> {
        self.inner().applied.iter().map(|seen| seen.key().to_owned()).collect()
    }
    pub fn times_applied(&self, key: &str) -> usize {
        self.inner().applied.iter().filter(|seen| seen.key() == key).count()
    }
    #[track_caller]
    pub fn wait_applied(&self, key: &str) {
        wait_for(&format!("{key} applied"), SOON, || self.times_applied(key) > 0);
    }
    #[track_caller]
    pub fn wait_arrived(&self, key: &str) {
        wait_for(&format!("{key} arrived"), SOON, || !self.writes_of(key).is_empty());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(stream: TcpStream, inner: &Mutex<Inner>, stopped: &AtomicBool) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let _ = stream.set_nodelay(true);
    let mut requests = BufReader::new(stream);
    while let Ok(Some(head)) = http::read_head(&mut requests) {
        let Ok(body) = http::read_body(&mut requests, &head.headers, false) else { return };
        let mut words = head.first_line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let seen = Seen { method, target, headers: head.headers, body };
        let act = decide(inner, &seen);
        if let Some(gate) = &act.gate {
            gate.pass();
        }
        std::thread::sleep(act.delay);
        // A service that was killed in between has done nothing.
        if stopped.load(SeqCst) {
            return;
        }
        let number = if act.applies && seen.is_write() { apply(inner, &seen) } else { 0 };
        if !answer(&mut answers, &act, number) {
            let _ = answers.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn decide(inner: &Mutex<Inner>, seen: &Seen) -> Act {
    let mut inner = inner.lock().unwrap();
    inner.seen.push(seen.clone());
    if seen.target == "/health" {
        return Act::answer(200);
    }
    if let Some(act) = inner.rule.as_ref().and_then(|rule| rule(seen)) {
        return act;
    }
    if let Some(key) = seen.target.strip_prefix("/by-key/") {
        let known = inner.applied.iter().any(|applied| applied.key() == key);
        return Act::answer(if known { 200 } else { 404 });
    }
    match seen.is_write() {
        true => Act::answer(201),
        false => Act::answer(200).body(inner.applied.len().to_string()),
    }
}

fn apply(inner: &Mutex<Inner>, seen: &Seen) -> usize {
    let mut inner = inner.lock().unwrap();
    inner.applied.push(seen.clone());
    inner.applied.len()
}

/// `false`: hang up.
fn answer(stream: &mut TcpStream, act: &Act, number: usize) -> bool {
    if act.cut == Cut::Before {
        return false;
    }
    let body = act.body.clone().unwrap_or_else(|| format!("{{\"number\":{number}}}").into_bytes());
    let mut bytes = format!("HTTP/1.1 {} As told\r\nContent-Length: {}\r\n", act.status, body.len());
    for (name, value) in &act.headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    let sent = if act.cut == Cut::Middle { &body[..body.len() / 2] } else { &body[..] };
    bytes.extend_from_slice(sent);
    stream.write_all(&bytes).is_ok() && act.cut == Cut::No
}
