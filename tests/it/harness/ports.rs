//! Ports that stay ours while a process that was killed is started again on them.
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the range from which the system takes ports of outgoing connections, which could come in between two starts.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address of the loopback, found by binding it; no other call in this process gets the same one.
pub fn free_port() -> SocketAddr {
    let start = (std::process::id() as u16).wrapping_mul(197);
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Relaxed).wrapping_add(start) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port on the loopback");
}
