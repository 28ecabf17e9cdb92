//! Sites as network namespaces of this machine.
//!
//! Each has a cable (`lan0`, a veth pair) to this process's own namespace, on which its clients come in and its service
//! is read, and a TUN device (`wan0`) into the switch, on which sites reach each other. This process has left the
//! machine's network before (`sys::leave_network`), so addresses collide with nobody's. Namespaces are named
//! `hf<process>-<site>` and removed with their owner; what an owner that was killed left behind is removed by the next.
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Error;
use super::network::{CONTROL_PORT, Cut, LINK_PORT, Places, blocked};
use super::scenario::LineSpec;
use super::stage::SCRATCH;
use super::switch::{NETWORK, Switch};

const FOLDER: &str = "/run/netns";

pub struct Namespaces {
    names: Vec<String>,
    switch: Switch,
    pub has_nft: bool,
    /// The rules that nft has of each site: what has not changed is not told again.
    rules: Vec<String>,
}

/// Removes namespaces also when building them failed half-way.
struct Guard(Vec<String>);

impl Drop for Guard {
    fn drop(&mut self) {
        for (number, name) in self.0.iter().enumerate() {
            // The cable first: a namespace's own end goes some time after its name.
            let _ = ip(&["link", "del", &outside(number)]);
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn outside(site: usize) -> String {
    format!("lan{site}")
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    run("ip", arguments, None)
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> Result<(), Error> {
    let what = || format!("{program} {}", arguments.join(" "));
    let failed = |source| Error::Program { what: what(), source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).map_err(failed)?;
    }
    let ended = child.wait_with_output().map_err(failed)?;
    match ended.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
            Err(Error::ProgramSaid { what: what(), said })
        }
    }
}

fn lan(site: usize, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, site as u8, end)
}

fn wan(site: usize) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, site as u8 + 1)
}

/// What was left behind by owners that were killed: the names of their namespaces and their small disks. Files they
/// leave are kept.
fn remove_stale() {
    let is_dead = |owner: &str| {
        let is_process = !owner.is_empty() && owner.bytes().all(|b| b.is_ascii_digit());
        // A process that nobody has waited for yet still has its number, and no command line.
        is_process && std::fs::read(format!("/proc/{owner}/cmdline")).map_or(true, |line| line.is_empty())
    };
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("hf").and_then(|rest| rest.split_once('-')).map(|(owner, _)| owner);
        if owner.is_some_and(is_dead) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for at in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let owner = at.split_once(SCRATCH).and_then(|(_, rest)| rest.split('-').next());
        if owner.is_some_and(is_dead) {
            let _ = run("umount", &["-l", at], None);
        }
    }
}

impl Namespaces {
    /// The process must have left the machine's network.
    pub fn up(sites: &[String], seed: u64) -> Result<Self, Error> {
        remove_stale();
        let mut guard = Guard(Vec::new());
        ip(&["link", "set", "lo", "up"])?;
        let mut devices = Vec::with_capacity(sites.len());
        for (number, site) in sites.iter().enumerate() {
            let name = format!("hf{}-{site}", std::process::id());
            ip(&["netns", "add", &name])?;
            guard.0.push(name.clone());
            let device = super::sys::open_tun(&PathBuf::from(FOLDER).join(&name), "wan0");
            devices.push(device.map_err(|source| Error::Program { what: "a TUN device".into(), source })?);
            Self::wire(&name, number)?;
        }
        let started = Switch::start(devices, seed);
        let switch = started.map_err(|source| Error::Program { what: "the switch's threads".into(), source })?;
        let has_nft = run("nft", &["--version"], None).is_ok();
        let rules = vec![String::new(); sites.len()];
        Ok(Self { names: std::mem::take(&mut guard.0), switch, has_nft, rules })
    }

    fn wire(name: &str, number: usize) -> Result<(), Error> {
        let outside = outside(number);
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "lan0", "netns", name])?;
        ip(&["addr", "add", &format!("{}/24", lan(number, 1)), "dev", &outside])?;
        ip(&["link", "set", &outside, "up"])?;
        let inside = [
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev lan0", lan(number, 2)),
            "link set lan0 up".to_owned(),
            format!("addr add {}/24 dev wan0", wan(number)),
            "link set wan0 mtu 1400 up".to_owned(),
        ];
        for line in inside {
            ip(&[&["-n", name], line.split(' ').collect::<Vec<_>>().as_slice()].concat())?;
        }
        Ok(())
    }

    pub fn name(&self, site: usize) -> &str {
        &self.names[site]
    }

    pub fn places(&self, site: usize) -> Places {
        let at = |address: Ipv4Addr, port: u16| SocketAddr::from((address, port));
        Places {
            service: at(lan(site, 2), 9001),
            gateway: at(lan(site, 2), 8080),
            admin: at(lan(site, 2), 9797),
            link: at(wan(site), LINK_PORT),
            control: at(wan(site), CONTROL_PORT),
        }
    }

    /// Each site drops what comes from those that are cut off from it.
    pub fn apply(&mut self, cuts: &[Cut]) -> Result<(), Error> {
        let sites = self.names.len();
        for to in 0..sites {
            let mut rules = String::new();
            for from in (0..sites).filter(|from| *from != to) {
                let blocked = blocked(cuts, from, to);
                if !self.has_nft {
                    self.switch.set_cut(from, to, blocked.whole(), blocked.ports());
                } else if blocked.whole() {
                    rules.push_str(&format!("ip saddr {} drop\n", wan(from)));
                } else {
                    for port in blocked.ports() {
                        rules.push_str(&format!("ip saddr {} tcp dport {port} drop\n", wan(from)));
                        rules.push_str(&format!("ip saddr {} tcp sport {port} drop\n", wan(from)));
                    }
                }
            }
            if self.has_nft && self.rules[to] != rules {
                let hook = "type filter hook input priority 0; policy accept;";
                let text = format!(
                    "table inet cuts\ndelete table inet cuts\ntable inet cuts {{\nchain input \
                    {{\n{hook}\n{rules}}}\n}}\n"
                );
                run("ip", &["netns", "exec", &self.names[to], "nft", "-f", "-"], Some(&text))?;
                self.rules[to] = rules;
            }
        }
        Ok(())
    }

    pub fn set_line(&mut self, from: usize, to: usize, spec: LineSpec) {
        self.switch.set_line(from, to, spec);
    }

    /// Packets carried and dropped by the switch.
    pub fn counts(&self) -> (u64, u64) {
        self.switch.counts()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(Guard(std::mem::take(&mut self.names)));
    }
}
