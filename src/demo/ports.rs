//! Ports that stay ours while a process that was killed is started again on them.
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the range from which systems take ports on their own account, which could come in between two starts.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address of the loopback, found by binding it and letting it go; no other call in this process gets the same one.
pub fn free_address() -> io::Result<SocketAddr> {
    let start = (std::process::id() as u16).wrapping_mul(197);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Relaxed).wrapping_add(start) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where one appliance listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    /// Listened at by a hub; dialled by an edge.
    pub link: SocketAddr,
    pub control: SocketAddr,
}

impl Addresses {
    pub fn free() -> io::Result<Self> {
        let [gateway, admin, link, control] = [free_address()?, free_address()?, free_address()?, free_address()?];
        Ok(Self { gateway, admin, link, control })
    }
}
