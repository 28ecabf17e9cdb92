//! sd_notify: what systemd is told under `Type=notify`.
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify<'a> {
    /// Recovery is over and all listeners are bound.
    Ready,
    /// Still alive; to be said at least twice per [`Notifier::watchdog`].
    Watchdog,
    Stopping,
    /// One line for `systemctl status`.
    Status(&'a str),
}

/// Absent where nobody listens, that is, outside of systemd.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub fn from_env() -> io::Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(None) };
        let for_us = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let microseconds = std::env::var("WATCHDOG_USEC").ok().filter(|_| for_us).and_then(|text| text.parse().ok());
        Self::connect(Path::new(&path), microseconds.map(Duration::from_micros)).map(Some)
    }

    /// `path` may name an abstract socket with a leading `@`.
    pub fn connect(path: &Path, watchdog: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match path.as_os_str().as_bytes().split_first() {
            Some((b'@', name)) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            _ => socket.connect(path)?,
        }
        // A service manager that does not read must not stop the appliance.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, watchdog })
    }

    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    pub fn say(&self, what: Notify<'_>) -> io::Result<()> {
        let text = match what {
            Notify::Ready => "READY=1".to_owned(),
            Notify::Watchdog => "WATCHDOG=1".to_owned(),
            Notify::Stopping => "STOPPING=1".to_owned(),
            Notify::Status(line) => format!("STATUS={}", line.replace('\n', " ")),
        };
        self.socket.send(text.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_each_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::connect(&path, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(notifier.watchdog(), Some(Duration::from_secs(10)));
        for (what, text) in [
            (Notify::Status("recovering\nrows"), "STATUS=recovering rows"),
            (Notify::Ready, "READY=1"),
            (Notify::Watchdog, "WATCHDOG=1"),
            (Notify::Stopping, "STOPPING=1"),
        ] {
            notifier.say(what).unwrap();
            let mut buffer = [0; 64];
            let n = manager.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], text.as_bytes());
        }
        drop(manager);
        assert!(notifier.say(Notify::Watchdog).is_err());
    }

    #[test]
    fn nobody_there_is_an_error_and_not_a_panic() {
        assert!(Notifier::connect(Path::new("/nowhere/notify"), None).is_err());
    }
}
