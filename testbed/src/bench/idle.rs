//! What silence costs: bytes of one store's line while nothing happens, with all headers, and the CPU of a hub to which
//! many idle stores are linked.
//!
//! Everything stands in a network namespace of this process's own. The line is a cable into a second one, the store's;
//! its bytes are the kernel's own count, so link, control, TLS, TCP and IP are in it (Ethernet's header is taken off).
//! Before silence is measured both sites have taken writes and exchanged them.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, StatusCode, Uri};

use super::process::{Process, Scratch};
use super::{Error, Options, Verdict, own_program, traffic, word};
use crate::field::certificates::Authority;
use crate::field::sys;

const HUB: &str = "cloud";
const LINE: &str = "line0";
const HUB_AT: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
const STORE_AT: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
const GATEWAY: u16 = 8080;
const ADMIN: u16 = 9797;
const LINK: u16 = 7443;
const CONTROL: u16 = 7447;
const SERVICE: u16 = 9001;
const ETHERNET_BYTES: u64 = 14;
/// Of a day, one store's line.
const BAR_BYTES: f64 = 15e6;
const BEYOND_BYTES: f64 = 1e6;
/// Of a core, a hub with 100 stores.
const BAR_CPU: f64 = 0.01;
const BEYOND_CPU: f64 = 0.002;
const ASK: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    options: Options,
    /// How long silence is measured
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// How long after the last write it begins: until everything is confirmed and nothing is repeated any more
    #[arg(long, default_value_t = 40)]
    settle: u64,
    /// Stores of the hub whose CPU is measured; 0: only the line is
    #[arg(long, default_value_t = 100)]
    stores: u8,
    /// `link.keepalive` of both sides [default: the product's]
    #[arg(long)]
    keepalive: Option<String>,
    /// The line with the link alone too, so that both planes can be told apart
    #[arg(long)]
    apart: bool,
}

pub fn measure(arguments: &Arguments) -> Result<Verdict, Error> {
    let failed = |source: std::io::Error| network("a network namespace of this process's own", source.to_string());
    sys::leave_network().map_err(failed)?;
    ip(&["link", "set", "lo", "up"])?;
    let scratch = arguments.options.scratch()?;
    let mut reached = line(arguments, &scratch, true)?;
    if arguments.apart {
        line(arguments, &scratch, false)?;
    }
    if arguments.stores > 0 {
        reached &= hub(arguments, &scratch)?;
    }
    Ok(Some(reached))
}

fn network(what: &str, why: String) -> Error {
    Error::Network { what: what.to_owned(), why }
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    let what = || format!("ip {}", arguments.join(" "));
    let done = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|source| network(&what(), source.to_string()))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    if done.status.success() { Ok(()) } else { Err(network(&what(), said)) }
}

/// The store's namespace, with its end of the line; goes when this is dropped.
struct Store(String);

impl Store {
    fn connect() -> Result<Self, Error> {
        let store = Self(format!("hfidle{}", std::process::id()));
        ip(&["netns", "add", &store.0])?;
        ip(&["link", "add", LINE, "type", "veth", "peer", "name", LINE, "netns", &store.0])?;
        // No addresses of their own, so no neighbours are looked for over IPv6.
        ip(&["link", "set", LINE, "addrgenmode", "none"])?;
        ip(&["-n", &store.0, "link", "set", LINE, "addrgenmode", "none"])?;
        ip(&["addr", "add", &format!("{HUB_AT}/24"), "dev", LINE])?;
        ip(&["link", "set", LINE, "up"])?;
        ip(&["-n", &store.0, "addr", "add", &format!("{STORE_AT}/24"), "dev", LINE])?;
        ip(&["-n", &store.0, "link", "set", LINE, "up"])?;
        ip(&["-n", &store.0, "link", "set", "lo", "up"])?;
        Ok(store)
    }

    fn run(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", LINE]);
        let _ = ip(&["netns", "del", &self.0]);
    }
}

/// Bytes and packets of both directions of the line, as its hub's end has counted them.
fn counted() -> Result<(u64, u64), Error> {
    let path = "/proc/thread-self/net/dev";
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(LINE)?.strip_prefix(':'));
    let numbers: Vec<u64> = line.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    match numbers[..] {
        [read, read_packets, _, _, _, _, _, _, written, written_packets, ..] => {
            Ok((read + written, read_packets + written_packets))
        }
        _ => Err(network("the count of the line", "there is none".to_owned())),
    }
}

/// An appliance, and who can be asked there.
struct Site {
    name: String,
    at: Ipv4Addr,
    folder: PathBuf,
}

impl Site {
    fn make(scratch: &Scratch, authority: &Authority, name: &str, at: Ipv4Addr) -> Result<Self, Error> {
        let folder = scratch.folder(name)?;
        let addresses = [IpAddr::from(at), Ipv4Addr::LOCALHOST.into()];
        let issued = authority.issue(name, &addresses, &folder);
        issued.map_err(|error| network("certificates", error.to_string()))?;
        Ok(Self { name: name.to_owned(), at, folder })
    }

    fn configure(&self, arguments: &Arguments, sites: &[String], has_control: bool) -> Result<PathBuf, Error> {
        let Self { name, at, folder } = self;
        let is_hub = name == HUB;
        let keepalive = arguments.keepalive.as_ref().map(|text| format!("keepalive = \"{text}\"\n"));
        let keepalive = keepalive.unwrap_or_default();
        let listen =
            |is_meant: bool, port| if is_meant { format!("listen = \"{at}:{port}\"\n") } else { String::new() };
        let link = format!("[link]\n{}{keepalive}", listen(is_hub, LINK));
        let link = if is_hub || arguments.keepalive.is_some() { link } else { String::new() };
        let peer = format!(
            "[[peer]]\nsite = \"{HUB}\"\nlink = \"https://{HUB_AT}:{LINK}\"\n{}",
            if has_control { format!("control = \"tls/{HUB_AT}:{CONTROL}\"\n") } else { String::new() }
        );
        let peer = if is_hub { String::new() } else { peer };
        let (replicas, store_from) = match is_hub {
            true => ("\"{store}\"".to_owned(), "store_from = \"header:x-store\"\n"),
            false => (format!("\"{name}\""), ""),
        };
        let sites: Vec<String> = sites.iter().map(|site| format!("\"{site}\"")).collect();
        let text = format!(
            "site = \"{name}\"\ndata_dir = \"{data}\"\nthreads = 1\n\n[realm]\nname = \"idle\"\nsites = [{sites}]\n\
             hubs = [\"{HUB}\"]\n\n[gateway]\nlisten = [\"{at}:{GATEWAY}\"]\n\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\n\
             [log]\nfilter = \"warn\"\n\n[store]\nreserve = \"16MiB\"\n\n[identity]\nca = \"ca.pem\"\n\
             cert = \"site.pem\"\nkey = \"site.key\"\n\n{link}\n[control]\nenabled = {has_control}\n{control}\n{peer}\n\
             [[service]]\nname = \"orders\"\nmatch = [{{ path = \"/orders\" }}]\n\
             endpoints = [{{ url = \"http://127.0.0.1:{SERVICE}\" }}]\nreplicas = [{replicas}, \"{HUB}\"]\n{store_from}\
             lane = \"header:x-session-id\"\nlongest_request = \"5s\"\n",
            data = folder.join("data").display(),
            sites = sites.join(", "),
            admin = self.admin().port(),
            control = listen(is_hub && has_control, CONTROL),
        );
        let path = folder.join("holdfast.toml");
        std::fs::write(&path, text).map_err(Error::file("write", &path))?;
        Ok(path)
    }

    /// Of those in this process's namespace each has a port of its own.
    fn admin(&self) -> SocketAddr {
        let [_, _, _, last] = self.at.octets();
        (Ipv4Addr::LOCALHOST, ADMIN + u16::from(last)).into()
    }

    fn start(&self, mut command: Command, config: &Path) -> Result<Process, Error> {
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        Process::start(&self.name, &self.folder, "name it: --holdfast PATH", command)
    }

    fn wait_until_ready(&self, process: &mut Process) -> Result<(), Error> {
        let gateway = SocketAddr::from((self.at, GATEWAY));
        process.wait_for_port(gateway)
    }

    /// A few writes are answered, so that there is something that both sites know.
    fn writes(&self, store: &str, run: &str) -> Result<(), Error> {
        for n in 0..5 {
            let lane = HeaderValue::from_static("till-1");
            let body = Bytes::from_static(&[b'x'; 1_024]);
            let mut request = traffic::post(Uri::from_static("/orders"), &format!("{run}-{n}"), lane, body);
            let store = HeaderValue::from_str(store).expect("names of sites are plain");
            request.headers_mut().insert("x-store", store);
            let answered = traffic::ask((self.at, GATEWAY).into(), request, ASK);
            if answered.as_ref().is_none_or(|(status, _, _)| *status != StatusCode::CREATED) {
                let said = answered.map_or("nothing".to_owned(), |(status, _, _)| status.to_string());
                return Err(Error::NoAnswer { what: format!("{}, which said {said}", self.name) });
            }
        }
        Ok(())
    }
}

fn service(folder: &Path, mut command: Command) -> Result<Process, Error> {
    command.args(["upstream", "--listen", &format!("127.0.0.1:{SERVICE}")]);
    Process::start_listening("service", folder, "it is this program", command).map(|(process, _)| process)
}

fn line(arguments: &Arguments, scratch: &Scratch, has_control: bool) -> Result<bool, Error> {
    let authority = Authority::new().map_err(|error| network("certificates", error.to_string()))?;
    let part = scratch.folder(if has_control { "both" } else { "link" })?;
    let part = Scratch::create(Some(&part), arguments.options.keep)?;
    let wire = Store::connect()?;
    let sites = ["store-001".to_owned(), HUB.to_owned()];
    let store = Site::make(&part, &authority, &sites[0], STORE_AT)?;
    let cloud = Site::make(&part, &authority, HUB, HUB_AT)?;
    let (holdfast, testbed) = (arguments.options.holdfast()?, own_program()?);
    let _services = (service(&cloud.folder, Command::new(&testbed))?, service(&store.folder, wire.run(&testbed))?);
    let mut at_cloud = cloud.start(Command::new(&holdfast), &cloud.configure(arguments, &sites, has_control)?)?;
    cloud.wait_until_ready(&mut at_cloud)?;
    let mut at_store = store.start(wire.run(&holdfast), &store.configure(arguments, &sites, has_control)?)?;
    store.wait_until_ready(&mut at_store)?;
    std::thread::sleep(Duration::from_secs(3));
    let run = traffic::run_name("idle");
    store.writes(&sites[0], &format!("{run}-store"))?;
    cloud.writes(&sites[0], &format!("{run}-cloud"))?;
    std::thread::sleep(Duration::from_secs(arguments.settle));
    let before = counted()?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let after = counted()?;
    let packets = after.1 - before.1;
    let bytes = after.0 - before.0 - ETHERNET_BYTES * packets;
    let a_day = bytes as f64 * 86_400.0 / arguments.seconds as f64;
    let what = if has_control { "link and control" } else { "link alone" };
    println!(
        "a line at rest, {what}: {bytes} bytes in {packets} packets in {} s, {:.2} MB a day: {}",
        arguments.seconds,
        a_day / 1e6,
        verdict(a_day, BAR_BYTES, BEYOND_BYTES)
    );
    Ok(a_day <= BAR_BYTES)
}

fn verdict(figure: f64, bar: f64, beyond: f64) -> String {
    if figure <= beyond { "beyond the bar".to_owned() } else { format!("bar {}", word(figure <= bar)) }
}

fn hub(arguments: &Arguments, scratch: &Scratch) -> Result<bool, Error> {
    let authority = Authority::new().map_err(|error| network("certificates", error.to_string()))?;
    let part = scratch.folder("hub")?;
    let part = Scratch::create(Some(&part), arguments.options.keep)?;
    let stores = arguments.stores.min(200);
    let mut sites: Vec<String> = (1..=stores).map(|n| format!("store-{n:03}")).collect();
    sites.push(HUB.to_owned());
    // All of it on the loopback: no line is measured.
    ip(&["addr", "add", &format!("{HUB_AT}/32"), "dev", "lo"])?;
    let cloud = Site::make(&part, &authority, HUB, HUB_AT)?;
    let _service = service(&cloud.folder, Command::new(own_program()?))?;
    let holdfast = arguments.options.holdfast()?;
    let mut at_cloud = cloud.start(Command::new(&holdfast), &cloud.configure(arguments, &sites, true)?)?;
    cloud.wait_until_ready(&mut at_cloud)?;
    let mut running = Vec::new();
    for (n, name) in (1_u8..).zip(&sites[..usize::from(stores)]) {
        let at = Ipv4Addr::new(127, 79, 1, n + 1);
        let store = Site::make(&part, &authority, name, at)?;
        let mut process = store.start(Command::new(&holdfast), &store.configure(arguments, &sites, true)?)?;
        store.wait_until_ready(&mut process)?;
        running.push((store, process));
    }
    std::thread::sleep(Duration::from_secs(5));
    let run = traffic::run_name("idle");
    for (store, _) in &running {
        store.writes(&store.name, &format!("{run}-{}", store.name))?;
    }
    std::thread::sleep(Duration::from_secs(arguments.settle));
    let before = at_cloud.cpu()?;
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let spent = (at_cloud.cpu()? - before).seconds() / arguments.seconds as f64;
    println!(
        "a hub with {stores} stores at rest: {:.2} % of a core in {} s: {}",
        spent * 100.0,
        arguments.seconds,
        verdict(spent, BAR_CPU, BEYOND_CPU)
    );
    ip(&["addr", "del", &format!("{HUB_AT}/32"), "dev", "lo"])?;
    Ok(spent <= BAR_CPU)
}
