//! Clients: N keep-alive connections in a closed loop, or at a fixed rate without hiding what a slow answer holds up.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::thread::single_threaded;
use super::{Error, Histogram, require_loopback};

/// Connections of one plan; more would measure the kernel.
const CONNECTIONS_MAX: usize = 4_096;
/// Of an answer that was no success, kept for a person.
const SAID_BYTES_MAX: usize = 400;
/// After a connection broke, so that a dead target is asked and not stormed.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Which request is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// 0, 1, 2 … over all connections, each once.
    pub n: u64,
    pub connection: usize,
}

pub type Maker = Arc<dyn Fn(Ticket) -> Request<Full<Bytes>> + Send + Sync>;

#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each connection sends the next request when it has the answer.
    Closed,
    /// So many requests per second over all connections. A request that had to wait for a free connection is
    /// measured from when it was due.
    PerSecond(f64),
}

#[derive(Clone)]
pub struct Plan {
    pub target: SocketAddr,
    pub connections: usize,
    pub threads: usize,
    pub pace: Pace,
    pub requests_max: u64,
    pub duration_max: Duration,
    pub timeout: Duration,
    pub make: Maker,
    /// Keep each latency with its time, at most `requests_max` of them.
    pub keep_samples: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub answered: Instant,
    pub latency: Duration,
    pub status: u16,
}

#[derive(Debug, Default)]
pub struct Report {
    pub statuses: BTreeMap<u16, u64>,
    /// Connections refused, or closed before the answer was complete.
    pub broken: u64,
    pub timeouts: u64,
    /// Beginning of the first answer of each status that is no success.
    pub said: BTreeMap<u16, String>,
    /// Of complete answers, whatever their status.
    pub latency: Histogram,
    pub samples: Vec<Sample>,
    pub elapsed: Duration,
}

impl Report {
    pub fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub fn successes(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    pub fn per_second(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Everything that was not a success, for a person; `None` when there is nothing to tell.
    pub fn complaints(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        let failed = self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status));
        parts.extend(failed.map(|(status, count)| format!("{count} x {status}")));
        for (count, what) in [(self.broken, "broken"), (self.timeouts, "timed out")] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        parts.extend(self.said.iter().map(|(status, said)| format!("first {status}: {said}")));
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn merge(&mut self, other: Report) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (status, said) in other.said {
            self.said.entry(status).or_insert(said);
        }
        self.broken += other.broken;
        self.timeouts += other.timeouts;
        self.latency.merge(&other.latency);
        self.samples.extend(other.samples);
    }
}

/// Runs a plan to its end.
pub fn run(plan: &Plan) -> Result<Report, Error> {
    require_loopback(plan.target)?;
    if plan.connections == 0 || plan.connections > CONNECTIONS_MAX || plan.threads == 0 || plan.requests_max == 0 {
        return Err(Error::EmptyPlan);
    }
    let shared = Arc::new(Shared { plan: plan.clone(), next: AtomicU64::new(0), began: Instant::now() });
    let threads = plan.threads.min(plan.connections);
    let mut report = Report::default();
    let results = std::thread::scope(|scope| {
        let spawn = |thread: usize| {
            let shared = shared.clone();
            scope.spawn(move || run_thread(&shared, (thread..shared.plan.connections).step_by(threads)))
        };
        let running: Vec<_> = (0..threads).map(spawn).collect();
        running.into_iter().map(|thread| thread.join().expect("a load thread does not panic")).collect::<Vec<_>>()
    });
    for result in results {
        report.merge(result?);
    }
    report.elapsed = shared.began.elapsed();
    Ok(report)
}

struct Shared {
    plan: Plan,
    next: AtomicU64,
    began: Instant,
}

impl Shared {
    /// The next request and when it is due; `None` at the end of the plan.
    fn next(&self) -> Option<(u64, Instant)> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let due = match self.plan.pace {
            Pace::Closed => Instant::now(),
            Pace::PerSecond(rate) => self.began + Duration::from_secs_f64(n as f64 / rate),
        };
        let over = n >= self.plan.requests_max || due.duration_since(self.began) >= self.plan.duration_max;
        (!over).then_some((n, due))
    }
}

fn run_thread(shared: &Arc<Shared>, connections: impl Iterator<Item = usize>) -> Result<Report, Error> {
    let runtime = single_threaded()?;
    let tasks = LocalSet::new();
    let running: Vec<_> = connections.map(|index| tasks.spawn_local(run_connection(shared.clone(), index))).collect();
    let mut report = Report::default();
    tasks.block_on(&runtime, async {
        for task in running {
            report.merge(task.await.expect("a load task does not panic"));
        }
    });
    Ok(report)
}

async fn run_connection(shared: Arc<Shared>, index: usize) -> Report {
    let plan = &shared.plan;
    let mut report = Report::default();
    let mut connection = Connection::new(plan.target);
    let mut body = Vec::with_capacity(SAID_BYTES_MAX);
    while let Some((n, due)) = shared.next() {
        let mut from = due;
        if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
            // The timer's own lateness (up to 1 ms) is not the target's.
            from = Instant::now();
        }
        let request = (plan.make)(Ticket { n, connection: index });
        match tokio::time::timeout(plan.timeout, connection.send(request, &mut body)).await {
            Ok(Some(status)) => {
                let answered = Instant::now();
                let latency = answered - from;
                *report.statuses.entry(status.as_u16()).or_default() += 1;
                if !status.is_success() {
                    report.said.entry(status.as_u16()).or_insert_with(|| String::from_utf8_lossy(&body).into_owned());
                }
                report.latency.record(latency);
                if plan.keep_samples {
                    report.samples.push(Sample { answered, latency, status: status.as_u16() });
                }
            }
            Ok(None) => {
                report.broken += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
            Err(_) => {
                report.timeouts += 1;
                connection = Connection::new(plan.target);
            }
        }
    }
    report
}

/// One connection, made when first used and again after it broke. Requests are never repeated. Needs a [`LocalSet`].
pub struct Connection {
    target: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub fn new(target: SocketAddr) -> Self {
        Self { target, sender: None }
    }

    /// Sends and reads the whole answer; `body` gets the beginning of it. `None`: refused or broken.
    async fn send(&mut self, request: Request<Full<Bytes>>, body: &mut Vec<u8>) -> Option<StatusCode> {
        body.clear();
        let keep = |chunk: &[u8]| body.extend(chunk.iter().take(SAID_BYTES_MAX.saturating_sub(body.len())));
        let exchanged = self.exchange(request, keep).await;
        exchanged.map(|(status, _, _)| status)
    }

    /// Sends and keeps headers and body. `None`: refused or broken.
    pub async fn ask(&mut self, request: Request<Full<Bytes>>) -> Option<(StatusCode, HeaderMap, Vec<u8>)> {
        let mut body = Vec::new();
        let (status, headers, ()) = self.exchange(request, |chunk| body.extend_from_slice(chunk)).await?;
        Some((status, headers, body))
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        mut chunk: impl FnMut(&[u8]),
    ) -> Option<(StatusCode, HeaderMap, ())> {
        // Taken out: whatever ends this early also ends the connection.
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await.ok()?;
        let (head, mut body) = response.into_parts();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame.ok()?.data_ref() {
                chunk(data);
            }
        }
        self.sender = Some(sender);
        Some((head.status, head.headers, ()))
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.target).await.ok()?;
        // Small requests: Nagle's algorithm would be what is measured.
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(connection);
        Some(sender)
    }
}
