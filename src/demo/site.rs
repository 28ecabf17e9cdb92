//! One site of the demo: a point-of-sale service and an appliance in front of it, both processes of their own.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Error;
use super::check::{LogLine, Replica};
use super::http::{CallError, Client};
use super::ports::{Addresses, free_address};
use super::process::{Launcher, Process, Scratch};

pub const EDGE: &str = "store-042";
pub const HUB: &str = "cloud";

const CALL_PATIENCE: Duration = Duration::from_secs(5);
const READY_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);
/// Names under which `/api/v1/status` counts what is not done yet.
const PENDING: [&str; 6] = ["open_writes", "queued", "unknown", "not_received", "not_decided", "pending"];

pub struct Site {
    pub name: &'static str,
    pub at: Addresses,
    /// Where its service listens, in this life and the next.
    pub service: SocketAddr,
    launcher: Launcher,
    folder: PathBuf,
    pos: Option<Process>,
    appliance: Option<Process>,
}

impl Site {
    /// Starts the service; the appliance follows when it is known what stands between them.
    pub async fn start(name: &'static str, launcher: &Launcher, scratch: &Scratch) -> Result<Self, Error> {
        let folder = scratch.folder(name)?;
        let port = |source| Error::Port { source };
        let (pos, service) = Process::pos(launcher, &folder, free_address().map_err(port)?).await?;
        let at = Addresses::free().map_err(port)?;
        Ok(Self { name, at, service, launcher: launcher.clone(), folder, pos: Some(pos), appliance: None })
    }

    /// `endpoint` is the service, or a proxy before it; `dial` is the way to the hub, at the edge.
    pub fn start_appliance(&mut self, endpoint: SocketAddr, dial: Option<Dial>) -> Result<(), Error> {
        let text = configuration(self.name, &self.folder.to_string_lossy(), &self.at, endpoint, dial);
        let path = self.config_path();
        std::fs::write(&path, text).map_err(|source| Error::Folder { path, source })?;
        self.restart_appliance()
    }

    fn config_path(&self) -> PathBuf {
        self.folder.join("holdfast.toml")
    }

    pub fn restart_appliance(&mut self) -> Result<(), Error> {
        self.appliance = Some(Process::appliance(&self.launcher, &self.folder, &self.config_path())?);
        Ok(())
    }

    pub async fn kill_appliance(&mut self) -> Result<(), Error> {
        match self.appliance.take() {
            Some(appliance) => appliance.kill().await,
            None => Ok(()),
        }
    }

    pub async fn kill_service(&mut self) -> Result<(), Error> {
        match self.pos.take() {
            Some(pos) => pos.kill().await,
            None => Ok(()),
        }
    }

    pub async fn restart_service(&mut self) -> Result<(), Error> {
        let (pos, _) = Process::pos(&self.launcher, &self.folder, self.service).await?;
        self.pos = Some(pos);
        Ok(())
    }

    /// Waits for `GET /health/ready` on the admin listener.
    pub async fn ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_PATIENCE;
        let mut client = Client::new(self.at.admin);
        loop {
            let answer = client.get("/health/ready", CALL_PATIENCE).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return Ok(());
            }
            self.still_runs()?;
            if Instant::now() > deadline {
                return Err(Error::NotReady { site: self.name, seconds: READY_PATIENCE.as_secs() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A child that ended without being asked to is the end of the demo.
    pub fn still_runs(&mut self) -> Result<(), Error> {
        let ended = |process: &mut Option<Process>| process.as_mut().is_some_and(Process::has_ended);
        if ended(&mut self.appliance) {
            return Err(Error::Ended { site: self.name, what: "appliance" });
        }
        if ended(&mut self.pos) {
            return Err(Error::Ended { site: self.name, what: "service" });
        }
        Ok(())
    }

    pub fn last_lines(&self, count: usize) -> String {
        super::process::last_lines(&self.folder.join("holdfast.log"), count)
    }

    /// What is not done yet, by the appliance's own account, each with its place in the status. `None` when it does not
    /// say.
    pub async fn pending(&self) -> Option<Vec<String>> {
        let status = Client::new(self.at.admin).get("/api/v1/status", CALL_PATIENCE).await.ok()?;
        if !status.status.is_success() {
            return None;
        }
        let (mut counters, mut pending) = (0, Vec::new());
        find_pending(&status.json()?, self.name, &mut counters, &mut pending);
        (counters > 0).then_some(pending)
    }

    /// Whether the service has applied the write with this key.
    pub async fn has_applied(&self, key: &str) -> bool {
        let answer = Client::new(self.service).get(&format!("/by-key/{key}"), CALL_PATIENCE).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// What the service holds, read from the service itself.
    pub async fn replica(&self) -> Result<Replica, Error> {
        let site = self.name;
        let failed = |source: CallError| Error::Service { site, source };
        let mut client = Client::new(self.service);
        let export = client.get("/export", READY_PATIENCE).await.map_err(failed)?;
        let log = client.get("/log", READY_PATIENCE).await.map_err(failed)?;
        let log: Vec<LogLine> = serde_json::from_slice(&log.body).map_err(|source| Error::Log { site, source })?;
        Ok(Replica { site: site.to_owned(), export: String::from_utf8_lossy(&export.body).into_owned(), log })
    }
}

/// Finds everything that counts unfinished work, wherever in the status it stands.
fn find_pending(status: &Value, place: &str, counters: &mut usize, pending: &mut Vec<String>) {
    match status {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_u64() {
                    Some(number) if PENDING.contains(&name.as_str()) => {
                        *counters += 1;
                        if number > 0 {
                            pending.push(format!("{place} {name} {number}"));
                        }
                    }
                    _ => find_pending(value, place, counters, pending),
                }
            }
        }
        Value::Array(elements) => {
            for element in elements {
                let name = ["service", "site"].iter().find_map(|name| element.get(name)?.as_str());
                find_pending(element, &format!("{place} {}", name.unwrap_or("-")), counters, pending);
            }
        }
        _ => {}
    }
}

/// Where the edge dials the hub.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    pub link: SocketAddr,
    pub control: SocketAddr,
}

/// The services of the demo with their lanes: a till's sales in order, a site's ledger in order across its tills.
const SERVICES: [(&str, &str); 4] =
    [("transactions", "header:x-session-id"), ("ledger", "path:2"), ("promotions", "path"), ("inventory", "path")];

fn configuration(site: &str, folder: &str, at: &Addresses, endpoint: SocketAddr, dial: Option<Dial>) -> String {
    let data_dir = toml::Value::from(format!("{folder}/data"));
    let Addresses { gateway, admin, link, control } = at;
    let (peer, order) = match dial {
        Some(dial) => (
            format!(
                "[[peer]]\nsite = \"{HUB}\"\nlink = \"http://{}\"\ncontrol = \"tcp/{}\"\n",
                dial.link, dial.control
            ),
            format!("[\"local\", \"{HUB}\"]"),
        ),
        None => {
            (format!("[link]\nlisten = \"{link}\"\n\n[control]\nlisten = \"{control}\"\n"), "[\"local\"]".to_owned())
        }
    };
    let mut text = format!(
        "site = \"{site}\"\ndata_dir = {data_dir}\n\n[realm]\nname = \"demo\"\nsites = [\"{EDGE}\", \"{HUB}\"]\n\n\
         [gateway]\nlisten = [\"{gateway}\"]\n\n[admin]\nlisten = \"{admin}\"\n\n[store]\nreserve = \"16MiB\"\n\n{peer}"
    );
    for (name, lane) in SERVICES {
        text.push_str(&format!(
            "\n[[service]]\nname = \"{name}\"\nmatch = [{{ path = \"/{name}\" }}]\n\
             endpoints = [{{ url = \"http://{endpoint}\" }}]\nreplicas = [\"{EDGE}\", \"{HUB}\"]\n\
             answer = {{ order = {order}, after = \"800ms\" }}\nlane = \"{lane}\"\nlongest_request = \"2s\"\n\
             health = {{ path = \"/health\", interval = \"200ms\", unhealthy = 2, healthy = 1 }}\n\
             timeout = {{ connect = \"500ms\", try = \"2s\", total = \"5s\" }}\n\
             outcome = {{ probe = \"GET /by-key/{{key}}\" }}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_configuration_is_what_was_meant() {
        let at = Addresses::free().unwrap();
        let dial = Dial { link: at.link, control: at.control };
        let service = "127.0.0.1:9001".parse().unwrap();
        let edge: toml::Table = configuration(EDGE, "/some \"where\"", &at, service, Some(dial)).parse().unwrap();
        assert_eq!(edge["data_dir"].as_str(), Some("/some \"where\"/data"));
        assert_eq!(edge["peer"][0]["link"].as_str(), Some(format!("http://{}", at.link).as_str()));
        assert_eq!(edge["service"][0]["answer"]["order"][1].as_str(), Some(HUB));
        assert_eq!(edge["service"][1]["lane"].as_str(), Some("path:2"));
        assert_eq!(edge["service"][0]["outcome"]["probe"].as_str(), Some("GET /by-key/{key}"));
        let hub: toml::Table = configuration(HUB, "/x", &at, service, None).parse().unwrap();
        assert_eq!(hub["link"]["listen"].as_str(), Some(at.link.to_string().as_str()));
        assert!(hub.get("peer").is_none());
    }

    #[test]
    fn pending_work_is_found_wherever_it_stands() {
        let found = |status: Value| {
            let (mut counters, mut pending) = (0, Vec::new());
            find_pending(&status, "here", &mut counters, &mut pending);
            (counters, pending.join("; "))
        };
        let groups =
            json!({"groups":[{"service":"pos","open_writes":2,"peers":[{"site":"b","not_decided":3,"linked":true}]}]});
        assert_eq!(found(groups), (2, "here pos open_writes 2; here pos b not_decided 3".into()));
        assert_eq!(found(json!({"services":[{"open_writes":0}]})), (1, String::new()));
        assert_eq!(found(json!({"ok":true})), (0, String::new()));
    }
}
