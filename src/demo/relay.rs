//! The line between the sites: a TCP relay that can be cut and healed.
//!
//! While cut it refuses new connections and has dropped the old ones, as a pulled cable and a router that says so. One
//! relay carries one port; the demo has one for links and one for control, cut together.
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::ports::free_address;

/// Connections through one relay; two sites need a handful (G6).
const CONNECTIONS_MAX: usize = 256;
const RETRY: Duration = Duration::from_millis(5);

/// Dropping it cuts for good.
pub struct Relay {
    address: SocketAddr,
    open: watch::Sender<bool>,
    listening: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of the loopback and passes everything on to `target`.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let address = free_address()?;
        let listener = TcpListener::bind(address).await?;
        let (open, is_open) = watch::channel(true);
        let (listens, listening) = watch::channel(true);
        let task = tokio::spawn(run(listener, address, target, is_open, listens));
        Ok(Self { address, open, listening, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when nothing passes any more and new connections are refused.
    pub async fn cut(&mut self) {
        self.set(false).await;
    }

    /// Returns when connections are taken again.
    pub async fn heal(&mut self) {
        self.set(true).await;
    }

    async fn set(&mut self, open: bool) {
        self.open.send_replace(open);
        // Ends with an error only when the task has ended: then it is cut.
        let _ = self.listening.wait_for(|listening| *listening == open).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut is_open: watch::Receiver<bool>,
    listens: watch::Sender<bool>,
) {
    let mut listener = Some(listener);
    loop {
        if let Some(listener) = listener.take() {
            listens.send_replace(true);
            carry(&listener, target, &mut is_open).await;
            close(listener);
        }
        listens.send_replace(false);
        if is_open.wait_for(|open| *open).await.is_err() {
            return;
        }
        listener = rebind(address).await;
    }
}

/// Carries connections until the relay is cut; all of them end with it.
async fn carry(listener: &TcpListener, target: SocketAddr, is_open: &mut watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = is_open.wait_for(|open| !open) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                let Ok((mut near, _)) = accepted else { continue };
                connections.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(target).await else { return };
                    let _ = (near.set_nodelay(true), far.set_nodelay(true));
                    // Either side's end, clean or not, is the other side's end.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    }
    connections.shutdown().await;
}

/// Refuses connections from now on. Dropping it is not enough: a process that is just being started holds a copy for a
/// moment.
fn close(listener: TcpListener) {
    if let Ok(listener) = listener.into_std() {
        // The same call for a listening socket, which the standard library has for connected ones only.
        let _ = std::net::TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
    }
}

/// The port was ours a moment ago; should something hold it, the line stays down a little longer.
async fn rebind(address: SocketAddr) -> Option<TcpListener> {
    let listener = TcpListener::bind(address).await.ok();
    if listener.is_none() {
        tokio::time::sleep(RETRY).await;
    }
    listener
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, word: &[u8]) -> io::Result<()> {
        let mut back = vec![0; word.len()];
        stream.write_all(word).await?;
        stream.read_exact(&mut back).await?;
        assert_eq!(back, word);
        Ok(())
    }

    #[tokio::test]
    async fn a_cut_drops_old_connections_and_refuses_new_ones_until_healed() {
        let mut relay = Relay::start(echo().await).await.unwrap();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(relay.address()).await.unwrap();
            says(&mut stream, b"hello").await.unwrap();
            relay.cut().await;
            assert!(says(&mut stream, b"anyone?").await.is_err());
            assert!(TcpStream::connect(relay.address()).await.is_err());
            relay.heal().await;
            let mut stream = TcpStream::connect(relay.address()).await.unwrap();
            says(&mut stream, b"back").await.unwrap();
        }
        let address = relay.address();
        drop(relay);
        let refused = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), refused).await.expect("dropping it cuts for good");
    }
}
