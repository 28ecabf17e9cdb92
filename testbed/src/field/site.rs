//! One site: a service, an appliance before it, and the disk under both. All of them survive the processes.
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use holdfast::demo::check::LogLine;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::fronted::{self, Fronted};
use super::http::Connection;
use super::network::Places;
use super::process::{Process, last_lines};
use super::scenario::Services;
use super::{Error, sys};

const PATIENCE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// A slow service runs this long between its halts.
const AWAKE: Duration = Duration::from_millis(40);
/// Names under which the status counts what is not done yet.
const PENDING: [&str; 6] = ["open_writes", "queued", "unknown", "not_received", "not_decided", "pending"];

/// So long a charge takes after the money has moved, so that a set that is killed dies there too.
const BANK_MS: &str = "40";

/// What the configuration needs to know of the others.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub sites: Vec<String>,
    /// Sites that others dial. Each site could only guess at those of the others.
    pub dialled: Vec<String>,
    /// With a hub, each store shares its data with the hub alone.
    pub hub: Option<String>,
    /// Whose service is asked first, if not one's own.
    pub first: Option<String>,
}

/// Where a site dials another one.
#[derive(Clone, Debug)]
pub struct Dial {
    pub site: String,
    pub link: std::net::SocketAddr,
    pub control: std::net::SocketAddr,
}

pub struct Site {
    pub name: String,
    pub at: Places,
    binary: PathBuf,
    folder: PathBuf,
    prefix: Vec<String>,
    services: Services,
    environment: Vec<(String, String)>,
    token: String,
    service: Option<Process>,
    appliance: Option<Process>,
    slow: Option<JoinHandle<()>>,
    disk: Option<Tmpfs>,
    applied: HashSet<String>,
    log_read: i64,
}

/// A file system in memory, of its own size. Gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(at: &Path, bytes: u64) -> Result<Self, Error> {
        std::fs::create_dir_all(at).map_err(|source| Error::File { path: at.to_owned(), source })?;
        let options = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        let failed = |source| Error::Program { what: "mount -t tmpfs".into(), source };
        match mounted.map_err(failed)?.success() {
            true => Ok(Self(at.to_owned())),
            false => Err(failed(std::io::ErrorKind::PermissionDenied.into())),
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process may have it open for a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub fn faketime() -> Option<PathBuf> {
    let places =
        ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|arch| format!("/usr/lib/{arch}/faketime/libfaketimeMT.so.1"));
    places.into_iter().map(PathBuf::from).find(|path| path.exists())
}

impl Site {
    pub fn new(
        name: &str,
        at: Places,
        binary: &Path,
        folder: PathBuf,
        prefix: Vec<String>,
        services: Services,
    ) -> Self {
        Self {
            name: name.to_owned(),
            at,
            binary: binary.to_owned(),
            folder,
            prefix,
            services,
            environment: Vec::new(),
            token: format!("{:032x}", fastrand::u128(..)),
            service: None,
            appliance: None,
            slow: None,
            disk: None,
            applied: HashSet::new(),
            log_read: 0,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The journal gets a disk of this size of its own.
    pub fn give_disk(&mut self, bytes: u64) -> Result<(), Error> {
        self.disk = Some(Tmpfs::mount(&self.folder.join("data"), bytes)?);
        Ok(())
    }

    /// The appliance's wall clock can be moved; the monotonic one goes on, as in a real machine.
    pub fn give_clock(&mut self, library: &Path) -> Result<(), Error> {
        let file = self.folder.join("clock");
        std::fs::write(&file, "+0").map_err(|source| Error::File { path: file.clone(), source })?;
        let settings = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        self.environment = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Ok(())
    }

    pub fn set_clock(&self, jump_s: i64) -> Result<(), Error> {
        let path = self.folder.join("clock");
        std::fs::write(&path, format!("{jump_s:+}")).map_err(|source| Error::File { path, source })
    }

    pub fn configure(&self, fleet: &Fleet, dials: &[Dial]) -> Result<(), Error> {
        let path = self.folder.join("holdfast.toml");
        let text = self.toml(fleet, dials);
        std::fs::write(&path, text).map_err(|source| Error::File { path, source })
    }

    fn toml(&self, fleet: &Fleet, dials: &[Dial]) -> String {
        let Self { name, at, token, .. } = self;
        let reserve = if self.disk.is_some() { "4MiB" } else { "16MiB" };
        let mut text = format!(
            "site = \"{name}\"\ndata_dir = \"data\"\n\n[realm]\nname = \"testbed\"\nsites = {:?}\nhubs = {:?}\n\n\
             [gateway]\nlisten = [\"{}\"]\n\n[admin]\nlisten = \"{}\"\ntoken = \"{token}\"\n\n[store]\nreserve = \
             \"{reserve}\"\n\n\
             [identity]\nca = \"ca.pem\"\ncert = \"site.pem\"\nkey = \"site.key\"\n",
            fleet.sites, fleet.dialled, at.gateway, at.admin
        );
        if fleet.dialled.contains(name) {
            text.push_str(&format!("\n[link]\nlisten = \"{}\"\n\n[control]\nlisten = \"{}\"\n", at.link, at.control));
        }
        for dial in dials {
            text.push_str(&format!(
                "\n[[peer]]\nsite = \"{}\"\nlink = \"https://{}\"\ncontrol = \"tls/{}\"\n",
                dial.site, dial.link, dial.control
            ));
        }
        let hub = fleet.hub.as_deref();
        let (replicas, mut order, store_from) = match hub {
            Some(hub) if hub == name => (vec!["{store}", hub], vec!["local"], "store_from = \"header:x-store\"\n"),
            Some(hub) => (vec![name.as_str(), hub], vec!["local", hub], ""),
            None => {
                let others = fleet.sites.iter().filter(|site| *site != name).map(String::as_str);
                (fleet.sites.iter().map(String::as_str).collect(), ["local"].into_iter().chain(others).collect(), "")
            }
        };
        if let Some(first) = fleet.first.as_deref().filter(|first| first != name) {
            order.retain(|site| *site != first);
            order.insert(0, first);
        }
        for Fronted { name, paths, lane, more } in fronted::of(self.services) {
            let paths: Vec<String> = paths.iter().map(|path| format!("{{ path = \"{path}\" }}")).collect();
            let paths = paths.join(", ");
            text.push_str(&format!(
                "\n[[service]]\nname = \"{name}\"\nmatch = [{paths}]\n\
                 endpoints = [{{ url = \"http://{}\" }}]\nreplicas = {replicas:?}\n{store_from}\
                 answer = {{ order = {order:?}, after = \"800ms\" }}\nlane = \"{lane}\"\n{more}\
                 health = {{ path = \"/health\", interval = \"200ms\", unhealthy = 3, healthy = 1 }}\n\
                 timeout = {{ connect = \"500ms\", try = \"2s\", total = \"5s\" }}\n\
                 outcome = {{ probe = \"GET /by-key/{{key}}\" }}\n",
                at.service
            ));
        }
        text
    }

    fn line(&self, program: &Path, arguments: &[&str]) -> Vec<String> {
        let program = program.display().to_string();
        self.prefix.iter().cloned().chain([program]).chain(arguments.iter().map(|a| (*a).to_owned())).collect()
    }

    pub fn start_service(&mut self) -> Result<(), Error> {
        let listen = self.at.service.to_string();
        let line = match self.services {
            Services::Retail => {
                let db = self.folder.join("pos.db").display().to_string();
                self.line(&self.binary, &["demo-pos", "--listen", &listen, "--db", &db, "--exit-with-stdin"])
            }
            Services::Reservation => {
                let failed = |source| Error::Program { what: "finding this program".into(), source };
                let own = std::env::current_exe().map_err(failed)?;
                let dir = self.folder.display().to_string();
                let set = ["reservation", "all", "--listen", &listen, "--dir", &dir];
                self.line(&own, &[&set[..], &["--bank-ms", BANK_MS, "--exit-with-stdin"]].concat())
            }
        };
        self.service = Some(Process::spawn(&line, &[], &self.folder.join("service.log"))?);
        Ok(())
    }

    pub fn start_appliance(&mut self) -> Result<(), Error> {
        let config = self.folder.join("holdfast.toml").display().to_string();
        let line = self.line(&self.binary, &["run", "--config", &config]);
        self.appliance = Some(Process::spawn(&line, &self.environment, &self.folder.join("holdfast.log"))?);
        Ok(())
    }

    pub async fn kill_service(&mut self) {
        self.end_slow();
        if let Some(service) = self.service.take() {
            service.kill().await;
        }
    }

    pub async fn kill_appliance(&mut self) {
        if let Some(appliance) = self.appliance.take() {
            appliance.kill().await;
        }
    }

    pub fn runs(&self) -> (bool, bool) {
        (self.service.is_some(), self.appliance.is_some())
    }

    pub fn pause(&self) {
        self.appliance.iter().for_each(|appliance| appliance.signal(libc::SIGSTOP));
    }

    pub fn go_on(&self) {
        self.appliance.iter().for_each(|appliance| appliance.signal(libc::SIGCONT));
    }

    /// The service stands still for `delay` again and again.
    pub fn slow(&mut self, delay: Duration) {
        self.end_slow();
        let Some(process) = self.service.as_ref().map(Process::id) else { return };
        self.slow = Some(tokio::spawn(async move {
            loop {
                let _ = sys::signal(process, libc::SIGSTOP);
                tokio::time::sleep(delay).await;
                let _ = sys::signal(process, libc::SIGCONT);
                tokio::time::sleep(AWAKE).await;
            }
        }));
    }

    pub fn end_slow(&mut self) {
        if let Some(slow) = self.slow.take() {
            slow.abort();
            self.service.iter().for_each(|service| service.signal(libc::SIGCONT));
        }
    }

    /// Somebody else takes all room that is left.
    pub async fn fill_disk(&self) {
        let Some(Tmpfs(at)) = &self.disk else { return };
        let ballast = at.join("ballast");
        let fill = move || {
            use std::io::Write as _;
            let Ok(mut file) = std::fs::File::create(ballast) else { return };
            for size in [1 << 20, 4 << 10] {
                let block = vec![0_u8; size];
                while file.write_all(&block).is_ok() {}
            }
        };
        let _ = tokio::task::spawn_blocking(fill).await;
    }

    pub fn free_disk(&self) {
        if let Some(Tmpfs(at)) = &self.disk {
            let _ = std::fs::remove_file(at.join("ballast"));
        }
    }

    pub async fn service_ready(&self) -> Result<(), Error> {
        self.until("service", "service.log", async || {
            let answer = Connection::new(self.at.service).get("/health", None, CALL).await;
            answer.is_some_and(|answer| answer.status.is_success())
        })
        .await
    }

    pub async fn appliance_ready(&self) -> Result<(), Error> {
        self.until("appliance", "holdfast.log", async || self.is_ready().await).await
    }

    pub async fn is_ready(&self) -> bool {
        let answer = Connection::new(self.at.admin).get("/health/ready", None, CALL).await;
        answer.is_some_and(|answer| answer.status.is_success())
    }

    async fn until(&self, what: &'static str, log: &str, holds: impl AsyncFn() -> bool) -> Result<(), Error> {
        let began = Instant::now();
        while !holds().await {
            if began.elapsed() > PATIENCE {
                let last_lines = last_lines(&self.folder.join(log), 15);
                return Err(Error::NotReady { site: self.name.clone(), what, seconds: PATIENCE.as_secs(), last_lines });
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// A child that ended without being asked to.
    pub fn ended(&mut self) -> Option<Error> {
        let ended = |process: &mut Option<Process>| {
            let process = process.as_mut()?;
            process.has_ended().then(|| process.last_lines(15))
        };
        let last_lines = ended(&mut self.appliance).or_else(|| ended(&mut self.service))?;
        Some(Error::Ended { site: self.name.clone(), last_lines })
    }

    pub async fn status(&self) -> Option<Value> {
        let answer = Connection::new(self.at.admin).get("/api/v1/status", Some(&self.token), CALL).await?;
        answer.status.is_success().then(|| answer.json()).flatten()
    }

    /// Whether all peers that it dials, or is dialled by, are linked.
    pub async fn is_linked(&self) -> bool {
        let Some(status) = self.status().await else { return false };
        let peers = status["peers"].as_array().cloned().unwrap_or_default();
        peers.iter().all(|peer| peer["linked"] == true)
    }

    /// What is not done yet, by the appliance's own account, and how much stands in quarantine. `None`: no word.
    pub async fn pending(&self) -> Option<(Vec<String>, u64)> {
        let status = self.status().await?;
        let (mut pending, mut quarantine) = (Vec::new(), 0);
        find_pending(&status["groups"], &self.name, &mut pending, &mut quarantine);
        Some((pending, quarantine))
    }

    async fn read_service(&self, path: &str) -> Result<String, Error> {
        let answer = Connection::new(self.at.service).get(path, None, PATIENCE).await;
        match answer.filter(|answer| answer.status.is_success()) {
            Some(answer) => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            None => Err(Error::Service { site: self.name.clone(), detail: format!("GET {path} has no answer") }),
        }
    }

    async fn read_log(&self, after: i64) -> Result<Vec<LogLine>, Error> {
        let text = self.read_service(&format!("/log?after={after}")).await?;
        let wrong = |error: serde_json::Error| Error::Service { site: self.name.clone(), detail: error.to_string() };
        serde_json::from_str(&text).map_err(wrong)
    }

    /// Keys that the service has applied; reads what is new in its log. A service that is down tells nothing new.
    pub async fn applied(&mut self) -> &HashSet<String> {
        if let Ok(lines) = self.read_log(self.log_read).await {
            for line in lines {
                self.log_read = self.log_read.max(line.seq);
                self.applied.insert(line.key);
            }
        }
        &self.applied
    }

    /// Everything that the service holds: its dump and its log.
    pub async fn holds(&self) -> Result<(String, Vec<LogLine>), Error> {
        Ok((self.read_service("/export").await?, self.read_log(0).await?))
    }

    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.folder.join("holdfast.log"), count)
    }
}

fn find_pending(status: &Value, place: &str, pending: &mut Vec<String>, quarantine: &mut u64) {
    match status {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_u64() {
                    Some(number) if number > 0 && PENDING.contains(&name.as_str()) => {
                        pending.push(format!("{place} {name} {number}"));
                    }
                    Some(number) if name == "quarantine" => *quarantine += number,
                    _ => find_pending(value, place, pending, quarantine),
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                let name = ["service", "store", "site"].iter().filter_map(|name| element.get(name)?.as_str());
                let place = name.fold(place.to_owned(), |place, name| format!("{place} {name}"));
                find_pending(element, &place, pending, quarantine);
            }
        }
        _ => {}
    }
}
