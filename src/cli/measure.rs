//! What a configuration rests on: clock, disk, files, peers.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::exit::Exit;
use crate::config::Config;
use crate::identity::{self, Finding};
use crate::journal::free_bytes;

/// Enough for a p99 that means something, few enough for a slow SD card.
const FSYNCS: usize = 200;
const BLOCK_BYTES: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that stands for so long was not ended for want of a service.
const ENDS_WITHIN: Duration = Duration::from_millis(200);
/// 2025-01-01. A clock before it was never set.
const OLDEST_TIME_S: u64 = 1_735_689_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    Ok,
    Warn,
    Bad,
}

#[derive(Debug, serde::Serialize)]
pub(super) struct Measured {
    pub what: String,
    pub grade: Grade,
    pub found: String,
    /// How a start would end with it, where it is bad.
    #[serde(skip)]
    pub exit: Exit,
    /// Numbers for scripts.
    #[serde(flatten)]
    pub numbers: serde_json::Map<String, serde_json::Value>,
}

impl Measured {
    fn new(what: impl Into<String>, grade: Grade, found: impl Into<String>) -> Self {
        Self { what: what.into(), grade, found: found.into(), exit: Exit::Config, numbers: serde_json::Map::new() }
    }
    fn of_file(finding: Finding) -> Self {
        let grade = match finding.grade {
            identity::Grade::Good => Grade::Ok,
            identity::Grade::Warning => Grade::Warn,
            identity::Grade::Bad => Grade::Bad,
        };
        let exit = if finding.may_pass { Exit::TryAgain } else { Exit::Config };
        Self { exit, ..Self::new(finding.key, grade, finding.text) }
    }
    fn disk(mut self) -> Self {
        self.exit = Exit::Disk;
        self
    }
    fn number(mut self, name: &str, value: u64) -> Self {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }
}

/// In the order in which a start needs them.
pub(super) fn all(config: &Config) -> io::Result<Vec<Measured>> {
    let now = SystemTime::now();
    let mut found = vec![clock(now, &config.data_dir)];
    found.extend(disk(&config.data_dir, config.store.reserve_bytes));
    found.extend(files(config, now));
    found.extend(config.peers.iter().filter_map(|peer| {
        let uri = peer.link.as_ref()?;
        let port = uri.port_u16().unwrap_or(443);
        Some(peer_answers(peer.site.as_str(), uri.host().unwrap_or_default(), port))
    }));
    for service in &config.services {
        let each = |e: &crate::config::Endpoint| endpoint_ends_connections(&service.name, &e.host, e.port);
        found.extend(service.endpoints.iter().filter_map(each));
    }
    Ok(found)
}

fn clock(now: SystemTime, data_dir: &Path) -> Measured {
    let since = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if since < OLDEST_TIME_S {
        let found = "was never set; order does not depend on it, times shown and certificates do";
        return Measured::new("clock", Grade::Warn, found);
    }
    let latest = fs::metadata(data_dir.join("holdfast.db")).and_then(|file| file.modified()).ok();
    match latest.and_then(|latest| latest.duration_since(now).ok()).filter(|ahead| ahead.as_secs() > 1) {
        Some(ahead) => {
            let found = format!("stands {} s before the journal's last change: it has jumped back", ahead.as_secs());
            Measured::new("clock", Grade::Warn, found)
        }
        None => Measured::new("clock", Grade::Ok, httpdate::fmt_http_date(now)),
    }
}

fn disk(data_dir: &Path, reserve_bytes: u64) -> Vec<Measured> {
    if let Some(file) = data_dir.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        let found = format!("{} cannot be a folder: {} is a file", data_dir.display(), file.display());
        return vec![Measured { exit: Exit::TryAgain, ..Measured::new("data_dir", Grade::Bad, found) }];
    }
    let folder = existing(data_dir);
    let Some(folder) = folder else {
        let found = format!("{} cannot be made: no folder above it exists", data_dir.display());
        return vec![Measured::new("data_dir", Grade::Bad, found).disk()];
    };
    let synced = match fsyncs(&folder) {
        Ok((p50, p99)) => {
            let us = |duration: Duration| duration.as_micros() as u64;
            // A write waits for two of them.
            let grade = if p99 > Duration::from_millis(100) { Grade::Warn } else { Grade::Ok };
            let found =
                format!("p50 {} µs, p99 {} µs for {FSYNCS} writes of 4 KiB in {}", us(p50), us(p99), folder.display());
            Measured::new("disk fsync", grade, found).number("p50_us", us(p50)).number("p99_us", us(p99))
        }
        Err(error) => {
            let found = format!("{} cannot be written: {error}", folder.display());
            // It may belong to somebody else until it is mounted.
            let is_anothers = error.kind() == io::ErrorKind::PermissionDenied;
            let exit = if is_anothers { Exit::TryAgain } else { Exit::Disk };
            Measured { exit, ..Measured::new("disk fsync", Grade::Bad, found) }
        }
    };
    vec![synced, space(&folder, reserve_bytes).disk()]
}

fn space(folder: &Path, reserve_bytes: u64) -> Measured {
    let mib = |bytes: u64| bytes >> 20;
    match free_bytes(folder) {
        Ok(free) if free < reserve_bytes => {
            let found = format!(
                "{} MiB free, below store.reserve of {} MiB: writes would get 507",
                mib(free),
                mib(reserve_bytes)
            );
            Measured::new("disk space", Grade::Bad, found).number("free_bytes", free)
        }
        Ok(free) => {
            let found = format!("{} MiB free, {} MiB above the reserve", mib(free), mib(free - reserve_bytes));
            let grade = if free < 2 * reserve_bytes { Grade::Warn } else { Grade::Ok };
            Measured::new("disk space", grade, found).number("free_bytes", free)
        }
        Err(error) => Measured::new("disk space", Grade::Bad, format!("cannot be found out: {error}")),
    }
}

/// The folder itself, or the nearest one above it: it is made at the first start.
fn existing(data_dir: &Path) -> Option<PathBuf> {
    let here = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    data_dir.ancestors().map(here).find(|path| path.is_dir())
}

/// p50 and p99 of appending a block and waiting for the disk, as the journal does.
fn fsyncs(folder: &Path) -> io::Result<(Duration, Duration)> {
    let path = folder.join(format!(".holdfast-check-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let times = timed_appends(file);
    fs::remove_file(&path)?;
    let mut times = times?;
    times.sort();
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

fn timed_appends(mut file: File) -> io::Result<Vec<Duration>> {
    let block = [0x5a; BLOCK_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let append = |_| {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        Ok(began.elapsed())
    };
    (0..FSYNCS).map(append).collect()
}

fn files(config: &Config, now: SystemTime) -> Vec<Measured> {
    let now_s = now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let (mut found, mut invites) = (Vec::new(), Vec::new());
    if let Some(identity) = &config.identity {
        found.extend(identity::examine(&identity.files(), &config.site, &config.realm.sites, now_s));
        if let Some(renewals) = &identity.renewals {
            found.extend(identity::examine_renewals(&renewals.cert, &renewals.key, &identity.ca, now_s));
            invites = identity::invited(&config.data_dir).trouble;
        }
    }
    if let Some(tls) = &config.gateway.tls {
        found.extend(identity::examine_listener(&tls.cert, &tls.key, now_s));
    }
    let invites = invites.into_iter().map(|why| Measured::new("invites", Grade::Warn, why));
    found.into_iter().map(Measured::of_file).chain(invites).collect()
}

/// A peer that is away is a warning only: a site starts and serves alone (G8).
fn peer_answers(site: &str, host: &str, port: u16) -> Measured {
    let what = format!("peer {site}");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let began = Instant::now();
    let addresses = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Measured::new(what, Grade::Warn, format!("{host} is not resolved: {error}")),
    };
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => {
                let us = began.elapsed().as_micros() as u64;
                return Measured::new(what, Grade::Ok, format!("{address} answers within {us} µs"))
                    .number("connect_us", us);
            }
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Measured::new(what, Grade::Warn, format!("cannot be reached: {last}"))
}

/// Something that takes every connection and ends those that nobody wants (a load balancer, docker-proxy, kube-proxy)
/// hides that the service is down: the first write that meets it was sent, as far as anybody can tell.
fn endpoint_ends_connections(service: &str, host: &str, port: u16) -> Option<Measured> {
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(ENDS_WITHIN)).ok()?;
    match stream.read(&mut [0]) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
        Ok(1..) => None,
        Ok(0) | Err(_) => {
            let found = format!(
                "{address} takes connections and ends them at once: nobody stands behind it. The outcome of the first \
                 write after a service there has ended is unknown; with health = {{ path = … }} it would be refused as \
                 safe"
            );
            Some(Measured::new(format!("endpoint of {service}"), Grade::Warn, found))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_disk_is_measured_and_left_clean() {
        let folder = tempfile::tempdir().unwrap();
        let found = disk(&folder.path().join("not/made/yet"), 1);
        assert!(found.iter().all(|m| m.grade != Grade::Bad), "{found:?}");
        assert!(found[0].numbers["p99_us"].as_u64() >= found[0].numbers["p50_us"].as_u64());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(space(folder.path(), u64::MAX).grade, Grade::Bad);
        fs::write(folder.path().join("file"), "").unwrap();
        for below in ["file", "file/below"] {
            let found = disk(&folder.path().join(below), 1);
            assert!(found.len() == 1 && found[0].exit == Exit::TryAgain && found[0].grade == Grade::Bad, "{found:?}");
            assert!(found[0].found.ends_with("file is a file"), "{found:?}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_or_jumped_back_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        assert_eq!(clock(now, folder.path()).grade, Grade::Ok);
        assert_eq!(clock(UNIX_EPOCH, folder.path()).grade, Grade::Warn);
        File::create(folder.path().join("holdfast.db")).unwrap();
        assert_eq!(clock(now - Duration::from_secs(3600), folder.path()).grade, Grade::Warn);
    }

    #[test]
    fn a_peer_that_is_away_is_a_warning() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(peer_answers("cloud", "127.0.0.1", port).grade, Grade::Ok);
        drop(listener);
        assert_eq!(peer_answers("cloud", "127.0.0.1", port).grade, Grade::Warn);
    }

    #[test]
    fn an_endpoint_that_ends_connections_is_a_warning() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(endpoint_ends_connections("tx", "127.0.0.1", port).is_none(), "it waits for a request");
        let ends = std::thread::spawn(move || listener.incoming().take(2).for_each(drop));
        let found = endpoint_ends_connections("tx", "127.0.0.1", port);
        assert!(found.is_some_and(|found| found.grade == Grade::Warn));
        ends.join().unwrap();
    }

    #[test]
    fn the_gateways_certificate_is_looked_at_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            path
        };
        let [one, other] = [0; 2].map(|_| rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap());
        let cert = file("c.pem", one.cert.pem());
        let (own, strange) =
            (file("k.pem", one.signing_key.serialize_pem()), file("o.pem", other.signing_key.serialize_pem()));
        let worst = |cert: &Path, key: &Path, now_s| {
            let found = identity::examine_listener(cert, key, now_s).into_iter().map(Measured::of_file);
            found.map(|found| found.grade).max_by_key(|grade| *grade as u8).unwrap()
        };
        let now_s = 1_767_225_600;
        assert_eq!(worst(&cert, &own, now_s), Grade::Ok);
        assert_eq!(worst(&cert, &strange, now_s), Grade::Bad);
        assert_eq!(worst(&cert, &own, i64::MAX), Grade::Bad);
        assert_eq!(worst(&own, &own, now_s), Grade::Bad);
        assert_eq!(worst(&cert, &folder.path().join("none"), now_s), Grade::Bad);
    }
}
