//! A service with long answers that costs this process nothing: one copy of the bytes, and a small thread for each
//! connection.
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::harness::{free_port, http};

/// The length of an answer under `…/big`.
const BIG: usize = 4 << 20;
/// And under `…/long`: one that is kept, with all defaults.
const LONG: usize = 512 << 10;
const STACK: usize = 64 << 10;

pub struct Big {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Big {
    pub fn start() -> Self {
        let address = free_port();
        let listener = TcpListener::bind(address).expect("the port is free");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, body) = (stop.clone(), Arc::new(vec![b'x'; BIG]));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(SeqCst) {
                    return;
                }
                let body = body.clone();
                // Without a thread the connection is dropped: as of a service that is overloaded.
                let _ = std::thread::Builder::new().stack_size(STACK).spawn(move || serve(stream, &body));
            }
        });
        Self { address, stop }
    }
}

impl Drop for Big {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        // Wakes the accept.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: TcpStream, big: &[u8]) {
    let Ok(mut answers) = stream.try_clone() else { return };
    let _ = stream.set_nodelay(true);
    let mut requests = BufReader::with_capacity(4 << 10, stream);
    while let Ok(Some(head)) = http::read_head(&mut requests) {
        if http::read_body(&mut requests, &head.headers, false).is_err() {
            return;
        }
        let body = match &head.first_line {
            line if line.contains("/big") => big,
            line if line.contains("/long") => &big[..LONG],
            _ => b"small",
        };
        let status = if head.first_line.starts_with("GET ") { "200 OK" } else { "201 Created" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        if answers.write_all(head.as_bytes()).and_then(|()| answers.write_all(body)).is_err() {
            return;
        }
    }
}
