//! The line between two sites: passes bytes on, and can be cut.
//!
//! While cut, old connections are dropped and new ones are closed at once, as by a router that says so.
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::thread::Part;
use super::{Error, require_loopback};

/// Ends for good when dropped.
pub struct Relay {
    address: SocketAddr,
    open: watch::Sender<bool>,
    _part: Part,
}

impl Relay {
    pub fn start(target: SocketAddr) -> Result<Self, Error> {
        require_loopback(target)?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Error::io("cannot listen"))?;
        listener.set_nonblocking(true).map_err(Error::io("cannot listen"))?;
        let address = listener.local_addr().map_err(Error::io("cannot listen"))?;
        let (open, state) = watch::channel(true);
        let part = Part::start("relay", move || accept(listener, target, state))?;
        Ok(Self { address, open, _part: part })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    pub fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn accept(listener: std::net::TcpListener, target: SocketAddr, state: watch::Receiver<bool>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if *state.borrow() {
            tokio::task::spawn_local(pass(stream, target, state.clone()));
        }
    }
}

async fn pass(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = state.wait_for(|open| !open) => {}
    }
}
