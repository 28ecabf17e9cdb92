//! The addresses of this site. All are taken before anything else is done, and listened at before a word is said to
//! another site: a start that cannot have its addresses must disturb nobody, least of all a healthy process of the same
//! site.
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::AppError;
use crate::config::Config;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// Taken: nobody else can listen there. Nobody can connect either, so no client waits for a recovery that may take
/// minutes.
struct Held {
    /// The key that names it.
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

pub(super) struct HeldAddresses {
    gateway: Vec<Held>,
    admin: Held,
    link: Option<Held>,
}

pub(super) struct Listeners {
    pub gateway: Vec<TcpListener>,
    pub admin: TcpListener,
    pub link: Option<TcpListener>,
}

impl HeldAddresses {
    pub fn take(config: &Config) -> Result<Self, AppError> {
        let gateway = config.gateway.listen.iter().map(|&address| Held::take("gateway.listen", address));
        Ok(Self {
            gateway: gateway.collect::<Result<_, _>>()?,
            admin: Held::take("admin.listen", config.admin.listen)?,
            link: config.link_listen.map(|address| Held::take("link.listen", address)).transpose()?,
        })
    }

    pub fn listen(self) -> Result<Listeners, AppError> {
        Ok(Listeners {
            gateway: self.gateway.into_iter().map(Held::listen).collect::<Result<_, _>>()?,
            admin: self.admin.listen()?,
            link: self.link.map(Held::listen).transpose()?,
        })
    }
}

impl Held {
    fn take(key: &'static str, address: SocketAddr) -> Result<Self, AppError> {
        let taken = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // As any server: connections of the process before linger for minutes. Who listens there now is found all
            // the same.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = taken().map_err(|source| AppError::Listen { key, address, source })?;
        Ok(Self { key, address, socket })
    }

    fn listen(self) -> Result<TcpListener, AppError> {
        let Self { key, address, socket } = self;
        socket.listen(BACKLOG).map_err(|source| AppError::Listen { key, address, source })
    }
}

/// Another time may be better: a port that another process has, an address that the machine does not have yet.
pub(super) fn may_pass(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable)
}

pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; this machine does not have the address, or not yet",
        _ => "",
    }
}
