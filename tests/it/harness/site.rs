//! One site: its configuration, and the appliance that runs it.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{self, Ended, Process, holdfast};
use super::{Call, SOON, Service, Told, free_port, wait_for};

/// A configuration in the making. Ports are fixed from the start, so that others can be told.
pub struct Site {
    pub name: String,
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub link: SocketAddr,
    pub control: SocketAddr,
    realm: String,
    sites: Vec<String>,
    is_hub: bool,
    has_control: bool,
    peers: Vec<String>,
    services: Vec<Service>,
    sections: Vec<(String, String)>,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Site {
    /// Of the realm `acme` with the sites `store` and `cloud`, unless said otherwise.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            gateway: free_port(),
            admin: free_port(),
            link: free_port(),
            control: free_port(),
            realm: "acme".to_owned(),
            sites: vec!["store".to_owned(), "cloud".to_owned()],
            is_hub: false,
            has_control: true,
            peers: Vec::new(),
            services: Vec::new(),
            // Nothing here loses power; tests that kill processes are what this level is for.
            sections: vec![("store".to_owned(), "durability = \"process-crash\"\nreserve = \"1MiB\"".to_owned())],
            folder: tempfile::tempdir().expect("a temporary folder"),
            environment: Vec::new(),
        }
    }
    /// One site on its own: nobody to replicate to.
    pub fn alone() -> Self {
        Self::new("store").sites(&["store"])
    }
    pub fn realm(mut self, realm: &str) -> Self {
        self.realm = realm.to_owned();
        self
    }
    pub fn sites(mut self, sites: &[&str]) -> Self {
        self.sites = sites.iter().map(|&site| site.to_owned()).collect();
        self
    }
    /// Others dial in.
    pub fn hub(mut self) -> Self {
        self.is_hub = true;
        self
    }
    pub fn admin(mut self, listen: &str) -> Self {
        self.admin = listen.parse().expect("an address");
        self
    }
    pub fn without_control(mut self) -> Self {
        self.has_control = false;
        self
    }
    /// Dials another site, links and control, at these addresses.
    pub fn dials(mut self, site: &str, link: SocketAddr, control: SocketAddr) -> Self {
        self.peers.push(format!("site = \"{site}\"\nlink = \"http://{link}\"\ncontrol = \"tcp/{control}\""));
        self
    }
    /// The lines of a `[[peer]]`.
    pub fn peer(mut self, lines: String) -> Self {
        self.peers.push(lines);
        self
    }
    pub fn service(mut self, service: Service) -> Self {
        self.services.push(service);
        self
    }
    /// A whole section; replaces the one that would be there.
    pub fn section(mut self, name: &str, lines: &str) -> Self {
        self.sections.retain(|(n, _)| n != name);
        self.sections.push((name.to_owned(), lines.to_owned()));
        self
    }
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn toml(&self) -> String {
        let sites: Vec<String> = self.sites.iter().map(|site| format!("\"{site}\"")).collect();
        let mut text = format!(
            "site = \"{}\"\ndata_dir = \"data\"\ndrain = \"20s\"\nstart_within = \"1s\"\n\n[realm]\nname = \
            \"{}\"\nsites = [{}]\n\n[gateway]\nlisten = [\"{}\"]\n\n\
             [admin]\nlisten = \"{}\"\n",
            self.name,
            self.realm,
            sites.join(", "),
            self.gateway,
            self.admin
        );
        let section = |name: &str| self.sections.iter().any(|(n, _)| n == name);
        if !section("log") {
            text.push_str("\n[log]\nfilter = \"info,holdfast=debug\"\n");
        }
        if self.is_hub && !section("link") {
            text.push_str(&format!("\n[link]\nlisten = \"{}\"\n", self.link));
        }
        if !section("control") {
            let lines = match (self.has_control, self.is_hub) {
                (false, _) => "enabled = false".to_owned(),
                (true, true) => format!("listen = \"{}\"", self.control),
                (true, false) => "enabled = true".to_owned(),
            };
            text.push_str(&format!("\n[control]\n{lines}\n"));
        }
        for (name, lines) in &self.sections {
            text.push_str(&format!("\n[{name}]\n{lines}\n"));
        }
        for peer in &self.peers {
            text.push_str(&format!("\n[[peer]]\n{peer}\n"));
        }
        text.extend(self.services.iter().map(Service::toml));
        text
    }

    /// Writes the file and gives the command that runs it.
    pub fn command(&self) -> Command {
        let file = self.folder.path().join("holdfast.toml");
        std::fs::write(&file, self.toml()).expect("write the configuration");
        let mut command = holdfast();
        command.args(["run", "--config"]).arg(file).envs(self.environment.iter().cloned());
        command
    }

    /// For a site that must not start.
    #[track_caller]
    pub fn run_to_end(&self) -> Ended {
        process::run(self.command())
    }

    /// Started, and maybe not ready yet.
    pub fn spawn(self) -> Appliance {
        let log = self.folder.path().join("holdfast.log");
        let process = Process::spawn(self.command(), &self.name, &log);
        Appliance { process, site: self }
    }

    /// Its log goes elsewhere.
    #[track_caller]
    pub fn start_with_log(self, stderr: impl Into<std::process::Stdio>) -> Appliance {
        let mut command = self.command();
        command.stdout(std::process::Stdio::null()).stderr(stderr);
        let process = Process::spawn_to(command, &self.name, &self.folder.path().join("holdfast.log"));
        let mut appliance = Appliance { process, site: self };
        appliance.wait_ready();
        appliance
    }

    #[track_caller]
    pub fn start(self) -> Appliance {
        let mut appliance = self.spawn();
        appliance.wait_ready();
        appliance
    }
}

pub struct Appliance {
    pub process: Process,
    pub site: Site,
}

impl Appliance {
    #[track_caller]
    pub fn wait_ready(&mut self) {
        wait_for(&format!("{} is ready", self.site.name), SOON, || {
            assert!(self.process.ended().is_none(), "{} ended at start", self.site.name);
            Call::get("/health/ready").send(self.site.admin).is_ok_and(|told| told.status == 200)
        });
    }
    #[track_caller]
    pub fn tell(&self, call: &Call) -> Told {
        call.told(self.site.gateway)
    }
    pub fn try_tell(&self, call: &Call) -> Option<Told> {
        call.send(self.site.gateway).ok()
    }
    pub fn at(&self) -> SocketAddr {
        self.site.gateway
    }
    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }
    #[track_caller]
    pub fn freeze(&self) {
        self.process.freeze();
    }
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }
    /// As it was left, on the same ports. It must have ended.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_with(&[]);
    }
    #[track_caller]
    pub fn restart_with(&mut self, environment: &[(&str, &str)]) {
        self.spawn_again(environment);
        self.wait_ready();
    }
    pub fn spawn_again(&mut self, environment: &[(&str, &str)]) {
        self.process.kill();
        let mut command = self.site.command();
        command.envs(environment.iter().copied());
        self.process = Process::spawn(command, &self.site.name, &self.log_path());
    }
    /// SIGTERM, and the clean end that must follow.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.signal("TERM");
        let status = self.process.wait_end();
        assert_eq!(status.code(), Some(0), "after SIGTERM");
    }
    /// With another text as configuration. It must have ended.
    #[track_caller]
    pub fn restart_as(&mut self, toml: &str) {
        let command = self.site.command();
        std::fs::write(self.site.folder.path().join("holdfast.toml"), toml).expect("write the configuration");
        self.process = Process::spawn(command, &self.site.name, &self.log_path());
        self.wait_ready();
    }

    #[track_caller]
    pub fn api(&self, path: &str) -> Value {
        Call::get(&format!("/api/v1{path}")).told(self.site.admin).expect(200).json()
    }
    /// Names of its threads.
    pub fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let name =
            |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
        tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
    }
    pub fn try_api(&self, path: &str) -> Option<Value> {
        let told = Call::get(&format!("/api/v1{path}")).patience(Duration::from_secs(10)).send(self.site.admin).ok()?;
        (told.status == 200).then(|| told.json())
    }
    #[track_caller]
    pub fn operate(&self, path: &str) -> Told {
        Call::post(&format!("/api/v1{path}")).told(self.site.admin)
    }
    /// A number of the only group.
    pub fn count(&self, field: &str) -> u64 {
        self.try_api("/status").and_then(|s| s["groups"][0][field].as_u64()).unwrap_or(u64::MAX)
    }
    /// Empty: nobody. `None`: it does not say.
    pub fn decider(&self) -> Option<String> {
        Some(self.try_api("/status")?["groups"][0]["decider"].as_str().unwrap_or_default().to_owned())
    }
    /// `None`: it does not say.
    pub fn is_linked(&self, peer: &str) -> Option<bool> {
        let status = self.try_api("/status")?;
        let peer = status["peers"].as_array()?.iter().find(|p| p["site"] == peer)?;
        peer["linked"].as_bool()
    }
    /// The group's peer is known as healthy: it may be asked to decide.
    #[track_caller]
    pub fn wait_peer_healthy(&self, peer: &str) {
        wait_for(&format!("{} knows {peer} as healthy", self.site.name), SOON, || {
            let status = self.try_api("/status").unwrap_or_default();
            let peers = status["groups"][0]["peers"].as_array().cloned().unwrap_or_default();
            peers.iter().any(|p| p["site"] == peer && p["linked"] == true && p["healthy"] == true)
        });
    }
    #[track_caller]
    pub fn wait_control(&self, peer: &str) {
        wait_for(&format!("hints reach {peer} from {}", self.site.name), SOON, || {
            let status = self.try_api("/status").unwrap_or_default();
            let peers = status["peers"].as_array().cloned().unwrap_or_default();
            peers.iter().any(|p| p["site"] == peer && p["control"] == true)
        });
    }
    #[track_caller]
    pub fn wait_decider(&self, site: &str) {
        wait_for(&format!("{} asks {site}", self.site.name), SOON, || self.decider().as_deref() == Some(site));
    }
    fn log_path(&self) -> PathBuf {
        self.site.folder.path().join("holdfast.log")
    }
    pub fn log(&self) -> String {
        self.process.log()
    }
    pub fn takes_connections(&self) -> bool {
        std::net::TcpStream::connect(self.site.gateway).is_ok()
    }
}
