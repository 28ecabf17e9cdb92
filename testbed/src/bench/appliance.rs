//! Appliances, their configurations, and the demo's service, as processes.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use holdfast::demo::Addresses;

use super::process::{Process, Scratch};
use super::traffic::{ORDERS, TRANSACTIONS, get};
use super::{Error, Options};

pub const EDGE: &str = "store-042";
pub const HUB: &str = "cloud";
const BUILD: &str = "build it: cargo build --release --bin holdfast; or name it: --holdfast PATH";
const ASK: Duration = Duration::from_secs(2);

/// Which service an appliance stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `/orders`, no replicas: nothing but a proxy.
    Plain,
    /// `/orders`, on this site's disk only.
    Journalled,
    /// `/orders`, here and at the other site.
    Mirrored,
    /// `/transactions`, the demo's service, here and at the other site.
    PointOfSale,
}

#[derive(Clone, Copy, Debug)]
pub enum Durability {
    PowerLoss,
    ProcessCrash,
}

/// How a site of a pair meets the other one.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    Alone,
    /// Listens.
    Hub,
    /// Dials link and control.
    Edge {
        link: SocketAddr,
        control: SocketAddr,
    },
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub service: Service,
    pub durability: Durability,
    /// Worker threads; 0: one for each core.
    pub threads: u16,
    /// Whether hints are exchanged.
    pub control: bool,
}

pub struct Appliance {
    pub process: Process,
    pub at: Addresses,
    pub config: PathBuf,
}

impl Appliance {
    /// `name` is that of its folder; returns when the appliance is ready.
    pub fn start(
        options: &Options,
        scratch: &Scratch,
        name: &str,
        setup: Setup,
        role: Role,
        upstream: SocketAddr,
    ) -> Result<Self, Error> {
        let folder = scratch.folder(name)?;
        let at = Addresses::free().map_err(|source| Error::Port { source })?;
        let config = folder.join("holdfast.toml");
        let text = configuration(&folder, &at, setup, role, upstream);
        std::fs::write(&config, text).map_err(Error::file("write", &config))?;
        let mut command = Command::new(options.holdfast()?);
        command.args(["run", "--config"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process::start(name, &folder, BUILD, command)?;
        process.wait_until(|| get(at.admin, "/health/ready", ASK).is_ok_and(|(status, _)| status.is_success()))?;
        Ok(Self { process, at, config })
    }
}

/// Starts the demo's service, with fsync.
pub fn point_of_sale(options: &Options, folder: &Path) -> Result<(Process, SocketAddr), Error> {
    let mut command = Command::new(options.holdfast()?);
    command.args(["demo-pos", "--listen", "127.0.0.1:0", "--exit-with-stdin", "--db"]).arg(folder.join("pos.db"));
    Process::start_listening("pos", folder, BUILD, command)
}

fn configuration(folder: &Path, at: &Addresses, setup: Setup, role: Role, upstream: SocketAddr) -> String {
    let Addresses { gateway, admin, link, control } = at;
    let site = if matches!(role, Role::Hub) { HUB } else { EDGE };
    // A JSON string is a TOML string.
    let data_dir = serde_json::Value::from(folder.join("data").to_string_lossy());
    let durability = match setup.durability {
        Durability::PowerLoss => "power-loss",
        Durability::ProcessCrash => "process-crash",
    };
    let enabled = setup.control;
    let neighbours = match role {
        Role::Alone => String::new(),
        Role::Hub => {
            let listen = if enabled { format!("listen = \"{control}\"\n") } else { String::new() };
            format!("[link]\nlisten = \"{link}\"\n\n[control]\nenabled = {enabled}\n{listen}")
        }
        Role::Edge { link, control } => {
            let dial = if enabled { format!("control = \"tcp/{control}\"\n") } else { String::new() };
            format!("[control]\nenabled = {enabled}\n\n[[peer]]\nsite = \"{HUB}\"\nlink = \"http://{link}\"\n{dial}")
        }
    };
    let sites = if matches!(role, Role::Alone) { format!("\"{EDGE}\"") } else { format!("\"{EDGE}\", \"{HUB}\"") };
    format!(
        "site = \"{site}\"\ndata_dir = {data_dir}\nthreads = {}\n\n[realm]\nname = \"bench\"\nsites = [{sites}]\n\n\
         [gateway]\nlisten = [\"{gateway}\"]\n\n[admin]\nlisten = \"{admin}\"\n\n[log]\nfilter = \"warn\"\n\n\
         [store]\ndurability = \"{durability}\"\nreserve = \"16MiB\"\n\n{neighbours}\n{}",
        setup.threads,
        service(setup.service, upstream)
    )
}

fn service(service: Service, upstream: SocketAddr) -> String {
    let (name, path, replicas) = match service {
        Service::Plain => ("orders", ORDERS, String::new()),
        Service::Journalled => ("orders", ORDERS, format!("\"{EDGE}\"")),
        Service::Mirrored => ("orders", ORDERS, format!("\"{EDGE}\", \"{HUB}\"")),
        Service::PointOfSale => ("transactions", TRANSACTIONS, format!("\"{EDGE}\", \"{HUB}\"")),
    };
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\nmatch = [{{ path = \"{path}\" }}]\nendpoints = [{{ url = \
        \"http://{upstream}\" }}]\n"
    );
    if service != Service::Plain {
        text.push_str(&format!("replicas = [{replicas}]\nlane = \"header:x-session-id\"\nlongest_request = \"5s\"\n"));
    }
    if service == Service::PointOfSale {
        text.push_str("outcome = { probe = \"GET /by-key/{key}\" }\n");
    }
    text
}
