//! Another client, at another address, who reads something small again and again on one connection, and writes now and
//! then.
use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::{SOON, http};

const PAUSE: Duration = Duration::from_millis(4);

/// What it met.
pub struct Met {
    reads: Vec<Duration>,
    pub failures: Vec<String>,
}

impl Met {
    /// Of a hundred reads the slowest but one.
    pub fn p99(&self) -> Duration {
        let mut reads = self.reads.clone();
        reads.sort();
        reads.get(reads.len() * 99 / 100).copied().unwrap_or(SOON)
    }
    pub fn count(&self) -> usize {
        self.reads.len()
    }
}

pub struct Other {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Met>,
}

impl Other {
    pub fn start(at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || ask(at, &stopped));
        Self { stop, thread }
    }
    pub fn stop(self) -> Met {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("it does not panic")
    }
}

/// From 127.0.0.2: limits are of an address.
fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into())?;
    socket.connect(&at.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn ask(at: SocketAddr, stopped: &AtomicBool) -> Met {
    let mut met = Met { reads: Vec::new(), failures: Vec::new() };
    let mut connection: Option<(TcpStream, BufReader<TcpStream>)> = None;
    for n in 0_u64.. {
        if stopped.load(SeqCst) {
            break;
        }
        let is_write = n % 50 == 49;
        let began = Instant::now();
        let answered = (|| {
            let (writer, reader) = match &mut connection {
                Some(connection) => connection,
                None => {
                    let stream = connect(at)?;
                    connection.insert((stream.try_clone()?, BufReader::new(stream)))
                }
            };
            let line = if is_write { "POST" } else { "GET" };
            let length = if is_write { "Content-Length: 0\r\n" } else { "" };
            write!(writer, "{line} /tx/small HTTP/1.1\r\nHost: a\r\nX-Session-Id: other\r\n{length}\r\n")?;
            let head = http::read_head(reader)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let body = http::read_body(reader, &head.headers, true)?;
            Ok::<_, std::io::Error>((head.first_line, body))
        })();
        match answered {
            Ok((line, _)) if line.contains(" 200 ") || line.contains(" 201 ") => {
                if !is_write {
                    met.reads.push(began.elapsed());
                }
            }
            Ok((line, body)) => met.failures.push(format!("{line}: {}", String::from_utf8_lossy(&body))),
            Err(error) => {
                met.failures.push(error.to_string());
                connection = None;
            }
        }
        std::thread::sleep(PAUSE);
    }
    met
}
