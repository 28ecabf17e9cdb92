//! From a checked file to a [`Config`]: names looked up, contradictions found.
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::check::{Checked, Checker};
use super::error::{ConfigError, Report};
use super::resolve_service::services;
use super::resolved::*;
use super::table::ROOT;
use crate::model::SiteName;
use crate::telemetry::AccessLog;

/// Where control listens at a hub unless the configuration says otherwise.
pub(super) const CONTROL_PORT: u16 = 7447;

/// Far more than thousands of services take.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A pipe or a device may have no end.
fn read(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let invalid = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(invalid(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| invalid(error.to_string()))
}

impl Config {
    /// Reads a file. `${NAME}` in values comes from the environment; paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let text = read(path).map_err(|error| {
            let mut report = Report::new(&file, "");
            report.fault(None, "", format!("cannot be read: {error}"), "name a readable TOML file with --config");
            ConfigError { faults: report.faults }
        })?;
        // What is read here is also shown where another folder is the current one.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let config = Config::parse(&text, &file, &folder, &|name| std::env::var(name).ok())?;
        Ok(Config { source: path.display().to_string(), ..config })
    }

    /// Pure: `env` answers for the environment, no file is touched.
    pub fn parse(
        text: &str,
        file: &str,
        folder: &Path,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut report = Report::new(file, text);
        let (tree, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let at = error.span().map(|span| span.start);
            report.fault(at, "", format!("is not TOML: {}", error.message().replace('\n', ", ")), "correct the syntax");
        }
        if !errors.is_empty() {
            // What follows a syntax error cannot be judged: keys may be missing because they could not be read.
            return Err(ConfigError { faults: report.sorted().0 });
        }
        let mut checker = Checker { report: &mut report, env };
        let root = checker.table(tree.get_ref(), &ROOT, "", None);
        let config = Resolver { report: &mut report, folder }.config(&root, file);
        let (faults, warnings) = report.sorted();
        if faults.is_empty() { Ok(Config { warnings, ..config }) } else { Err(ConfigError { faults }) }
    }

    pub fn peer(&self, site: &SiteName) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.site == *site)
    }
}

pub(super) struct Resolver<'a> {
    pub report: &'a mut Report,
    pub folder: &'a Path,
}

pub(super) fn duration(table: &Checked, name: &str) -> Duration {
    Duration::from_millis(table.sure(name))
}

pub(super) fn bytes(table: &Checked, name: &str) -> usize {
    usize::try_from(table.sure(name)).unwrap_or(usize::MAX)
}

impl Resolver<'_> {
    /// Missing and faulty values have been reported: whatever stands in for them is never used.
    fn config(&mut self, root: &Checked, file: &str) -> Config {
        let site = SiteName::new(root.text("site").unwrap_or_default());
        let link_listen = address(&root.table("link"), "listen");
        let identity = root.is_set("identity").then(|| {
            let table = root.table("identity");
            let renewals = table.is_set("renewals").then(|| {
                let table = table.table("renewals");
                let days = u32::try_from(table.sure("days")).unwrap_or(u32::MAX);
                Renewals { cert: self.path(&table, "cert"), key: self.path(&table, "key"), days }
            });
            let (ca, cert, key) = (self.path(&table, "ca"), self.path(&table, "cert"), self.path(&table, "key"));
            Identity { ca, cert, key, renew: table.flag("renew"), renewals }
        });
        let peers = self.peers(root, &site, link_listen.is_some(), identity.is_some());
        let asks_nobody = |identity: &Identity| identity.renew && identity.renewals.is_none();
        if identity.as_ref().is_some_and(asks_nobody) && peers.iter().all(|peer| peer.link.is_none()) {
            let (at, wrong) = (root.table("identity").at("renew"), "means nothing at a site that dials nobody");
            self.report.fault(at, "identity.renew", wrong, "remove it, and renew by hand");
        }
        let realm = self.realm(root, &site, &peers, link_listen.is_some());
        let control = self.control(root, link_listen);
        if identity.is_none() {
            self.plain(root, link_listen, &control, &peers);
        }
        let config = Config {
            source: file.to_owned(),
            data_dir: self.path(root, "data_dir"),
            drain: duration(root, "drain"),
            start_within: duration(root, "start_within"),
            threads: bytes(root, "threads"),
            gateway: self.gateway(&root.table("gateway")),
            store: self.store(&root.table("store")),
            admin: self.admin(&root.table("admin")),
            log_format: match root.table("log").text("format").as_deref() {
                Some("json") => LogFormat::Json,
                _ => LogFormat::Text,
            },
            log_filter: root.table("log").text("filter").unwrap_or_default(),
            log_access: match root.table("log").text("access").as_deref() {
                Some("all") => AccessLog::All,
                Some("sampled") => AccessLog::Sampled,
                _ => AccessLog::Off,
            },
            masks: self.masks(&root.table("privacy")),
            services: Vec::new(),
            warnings: Vec::new(),
            site,
            realm,
            link_listen,
            link_keepalive: duration(&root.table("link"), "keepalive"),
            control,
            identity,
            peers,
        };
        let services = services(self.report, root, &config);
        self.same_address_twice(root, &config);
        Config { services, ..config }
    }

    /// Without [identity] nobody shows who he is: what that exposes, for each address.
    fn plain(&mut self, root: &Checked, link: Option<SocketAddr>, control: &Control, peers: &[Peer]) {
        const RIGHT: &str = "add [identity] with ca, cert and key, or let nobody else reach this network";
        let who = |host: &str| match host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(address) if address.is_loopback() => "every user of this machine",
            _ => "whoever is on the way",
        };
        if let Some(listen) = link {
            let wrong = format!(
                "links at {listen} are neither encrypted nor authenticated: {} can speak as any site of the realm, \
                 read and decide its writes, and read from the services here",
                who(&listen.ip().to_string())
            );
            self.report.warn(root.at("link"), "link.listen", wrong, RIGHT);
        }
        if let Some(listen) = control.listen {
            let wrong = format!(
                "control at {listen} is neither encrypted nor authenticated: {} can hear which sites write when, and \
                 say hints in any site's name",
                who(&listen.ip().to_string())
            );
            self.report.warn(root.at("control"), "control.listen", wrong, RIGHT);
        }
        for (peer, table) in peers.iter().zip(root.tables("peer")) {
            let host = |uri: &http::Uri| uri.host().unwrap_or_default().to_owned();
            if let Some(uri) = &peer.link {
                let wrong = format!(
                    "the link to {} at {uri} is neither encrypted nor authenticated: {} can read and change all that \
                     the two sites exchange, requests and answers with their credentials included",
                    peer.site,
                    who(&host(uri))
                );
                self.report.warn(table.at("link"), &table.key("link"), wrong, RIGHT);
            }
            if let Some(address) = peer.control.as_ref().filter(|_| control.enabled) {
                let host = address.split_once('/').and_then(|(_, at)| at.rsplit_once(':')).map_or("", |(host, _)| host);
                let wrong = format!(
                    "control of {} at {address} is neither encrypted nor authenticated: {} can hear hints and say them \
                     in any site's name",
                    peer.site,
                    who(host)
                );
                self.report.warn(table.at("control").or(table.at("link")), &table.key("control"), wrong, RIGHT);
            }
        }
    }

    fn path(&self, table: &Checked, name: &str) -> PathBuf {
        self.folder.join(table.text(name).unwrap_or_default())
    }

    fn realm(&mut self, root: &Checked, site: &SiteName, peers: &[Peer], listens: bool) -> Realm {
        let table = root.table("realm");
        let mut sites: Vec<SiteName> = Vec::new();
        for (at, name) in table.texts("sites") {
            if name.starts_with('{') {
                self.report.fault(
                    at,
                    "realm.sites",
                    format!("{name:?} is a placeholder"),
                    "list every site by its name",
                );
            } else if sites.iter().any(|known| known.as_str() == name) {
                self.report.fault(at, "realm.sites", format!("{name:?} stands there twice"), "list each site once");
            } else {
                sites.push(SiteName::new(name));
            }
        }
        let known = table.is_set("sites");
        let listed = sites.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
        if known && root.is_set("site") && !sites.contains(site) {
            let wrong = format!("{:?} is not in realm.sites", site.as_str());
            self.report.fault(root.at("site"), "site", wrong, format!("use one of {listed}, or add it there"));
        }
        for (peer, table) in peers.iter().zip(root.tables("peer")) {
            if known && table.is_set("site") && !sites.contains(&peer.site) {
                let wrong = format!("{:?} is not in realm.sites", peer.site.as_str());
                self.report.fault(table.at("site"), &table.key("site"), wrong, format!("use one of {listed}"));
            }
        }
        let mut hubs: Vec<SiteName> = if table.is_set("hubs") {
            self.explicit_hubs(root, &sites, site, peers, listens)
        } else {
            let own = listens.then(|| site.clone());
            own.into_iter().chain(peers.iter().filter(|p| p.link.is_some()).map(|p| p.site.clone())).collect()
        };
        sites.sort();
        hubs.sort();
        hubs.dedup();
        Realm { name: table.text("name").unwrap_or_default(), sites, hubs }
    }

    fn explicit_hubs(
        &mut self,
        root: &Checked,
        sites: &[SiteName],
        site: &SiteName,
        peers: &[Peer],
        listens: bool,
    ) -> Vec<SiteName> {
        let table = root.table("realm");
        let mut hubs = Vec::new();
        for (at, name) in table.texts("hubs") {
            let hub = SiteName::new(name);
            if !sites.contains(&hub) {
                let wrong = format!("{:?} is not in realm.sites", hub.as_str());
                self.report.fault(at, "realm.hubs", wrong, "name only listed sites");
            }
            hubs.push(hub);
        }
        if listens && !hubs.contains(site) {
            let wrong = format!("this site listens for links, but {:?} is not in realm.hubs", site.as_str());
            self.report.fault(table.at("hubs"), "realm.hubs", wrong, "add it, or remove [link]");
        }
        for peer in peers.iter().filter(|peer| peer.link.is_some() && !hubs.contains(&peer.site)) {
            let wrong =
                format!("this site dials {:?}, which is not in realm.hubs and therefore dials itself", peer.site.0);
            self.report.fault(
                table.at("hubs"),
                "realm.hubs",
                wrong,
                "add it, or remove the peer's `link`: one side dials",
            );
        }
        hubs
    }

    fn peers(&mut self, root: &Checked, site: &SiteName, listens: bool, identity: bool) -> Vec<Peer> {
        let mut peers: Vec<Peer> = Vec::new();
        for table in root.tables("peer") {
            let name = SiteName::new(table.text("site").unwrap_or_default());
            if name == *site && table.is_set("site") {
                self.report.fault(table.at("site"), &table.key("site"), "is this site itself", "name another site");
            }
            let link = table.text("link").and_then(|text| self.link(&table, &text, identity));
            if !table.is_set("link") && !listens {
                let wrong = "this site neither dials it nor listens for links";
                let right = "add `link = \"https://host:port\"`, or [link] listen where it dials this site";
                self.report.fault(table.at, &table.key("link"), wrong, right);
            }
            if let Some(first) = peers.iter().find(|peer| peer.site == name) {
                let (wrong, right) = if first.link.is_some() == link.is_some() {
                    ("stands there twice", "describe each peer once")
                } else {
                    ("both listens and dials for this pair", "of a pair one side dials: keep one of the two")
                };
                self.report.fault(table.at("site"), &table.key("site"), format!("{name} {wrong}"), right);
            }
            let control = self.peer_control(&table, link.as_ref(), identity);
            peers.push(Peer { site: name, link, control });
        }
        peers
    }

    fn link(&mut self, table: &Checked, text: &str, identity: bool) -> Option<http::Uri> {
        let at = table.at("link");
        let key = table.key("link");
        let right = "write https://host:port, or http://host:port without [identity]";
        let parsed = text.parse::<http::Uri>().ok().filter(|uri| {
            uri.port_u16().is_some() && uri.host().is_some_and(|h| !h.is_empty()) && matches!(uri.path(), "" | "/")
        });
        let Some(uri) = parsed.filter(|uri| uri.query().is_none()) else {
            self.report.fault(at, &key, format!("{text:?} is not the address of a link"), right);
            return None;
        };
        match (uri.scheme_str(), identity) {
            (Some("https"), true) | (Some("http"), false) => {}
            (Some("https"), false) => {
                let right = "add [identity] with ca, cert and key: both sides of a link show a certificate";
                self.report.fault(at, &key, "is https, but there is no [identity]", right);
            }
            (Some("http"), true) => {
                self.report.fault(at, &key, "is plain http although there is an [identity]", "write https://");
            }
            _ => self.report.fault(at, &key, format!("{text:?} is not the address of a link"), right),
        }
        Some(uri)
    }

    fn peer_control(&mut self, table: &Checked, link: Option<&http::Uri>, identity: bool) -> Option<String> {
        let wanted = if identity { "tls" } else { "tcp" };
        let Some(text) = table.text("control") else {
            return link.and_then(|uri| uri.host()).map(|host| format!("{wanted}/{host}:{CONTROL_PORT}"));
        };
        let address = text.split_once('/').filter(|(_, address)| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        });
        match address {
            Some((scheme, _)) if scheme == wanted => return Some(text),
            Some(("tls", _)) => {
                self.report.fault(
                    table.at("control"),
                    &table.key("control"),
                    "is tls, but there is no [identity]",
                    "add [identity]",
                );
            }
            Some(("tcp", _)) => {
                let wrong = "is plain tcp although there is an [identity]";
                self.report.fault(table.at("control"), &table.key("control"), wrong, "write tls/host:port");
            }
            _ => {
                let wrong = format!("{text:?} is not the address of a control plane");
                self.report.fault(
                    table.at("control"),
                    &table.key("control"),
                    wrong,
                    format!("write {wanted}/host:port"),
                );
            }
        }
        None
    }

    fn control(&mut self, root: &Checked, link_listen: Option<SocketAddr>) -> Control {
        let table = root.table("control");
        let listen = address(&table, "listen");
        if listen.is_some() && !table.flag("enabled") {
            let wrong = "control has an address to listen at, but is not enabled";
            self.report.fault(table.at("enabled"), "control.enabled", wrong, "remove one of the two");
        }
        if listen.is_some() && link_listen.is_none() {
            let right = "add [link] listen, or remove it: only a hub runs a router";
            self.report.fault(table.at("listen"), "control.listen", "stands without [link] listen", right);
        }
        Control { enabled: table.flag("enabled"), listen }
    }

    fn gateway(&mut self, table: &Checked) -> Gateway {
        let limits = table.table("limits");
        let tls = table.is_set("tls").then(|| table.table("tls"));
        Gateway {
            listen: table.texts("listen").into_iter().filter_map(|(_, text)| text.parse().ok()).collect(),
            tls: tls.map(|tls| Tls { cert: self.path(&tls, "cert"), key: self.path(&tls, "key") }),
            limits: GatewayLimits {
                connections: bytes(&limits, "connections"),
                client_connections: bytes(&limits, "client_connections"),
                client_requests: bytes(&limits, "client_requests"),
                bodies: bytes(&limits, "bodies"),
                headers: bytes(&limits, "headers"),
                head_bytes: bytes(&limits, "head"),
                head_timeout: duration(&limits, "head_timeout"),
                body_timeout: duration(&limits, "body_timeout"),
                idle_timeout: duration(&limits, "idle_timeout"),
            },
        }
    }

    fn store(&mut self, table: &Checked) -> StoreSettings {
        let url = table.text("url").unwrap_or_default();
        if url.starts_with("postgres") {
            self.report.fault(
                table.at("url"),
                "store.url",
                "PostgreSQL is not supported in this version",
                "write \"sqlite\"",
            );
        } else if url != "sqlite" {
            self.report.fault(table.at("url"), "store.url", format!("{url:?} is not a store"), "write \"sqlite\"");
        }
        let durability = match table.text("durability").as_deref() {
            Some("process-crash") => Durability::ProcessCrash,
            _ => Durability::PowerLoss,
        };
        StoreSettings { durability, reserve_bytes: table.sure("reserve") }
    }

    fn admin(&mut self, table: &Checked) -> Admin {
        let listen = address(table, "listen").expect("the table of keys has a valid default");
        let token = table.text("token");
        if token.is_none() && !listen.ip().is_loopback() {
            let wrong = format!("is missing although admin listens at {listen}, which is not loopback");
            self.report.fault(table.at("listen"), "admin.token", wrong, "set a token, or listen at 127.0.0.1");
        }
        if token.as_ref().is_some_and(|token| token.len() < 16 || !token.bytes().all(|b| b.is_ascii_graphic())) {
            let wrong = "is shorter than 16 characters, or has characters other than visible ASCII";
            self.report.fault(table.at("token"), "admin.token", wrong, "write at least 16 random letters and digits");
        }
        Admin { listen, token }
    }

    fn masks(&mut self, table: &Checked) -> Vec<crate::privacy::Rule> {
        let mut rules = Vec::new();
        for (at, text) in table.texts("mask") {
            match text.parse() {
                Ok(rule) => rules.push(rule),
                Err(error) => {
                    let error: crate::privacy::RuleError = error;
                    self.report.fault(at, "privacy.mask", error.to_string(), error.right());
                }
            }
        }
        rules
    }

    fn same_address_twice(&mut self, root: &Checked, config: &Config) {
        let gateway = config.gateway.listen.iter().map(|a| (*a, "gateway.listen", root.table("gateway").at("listen")));
        let link = config.link_listen.map(|a| (a, "link.listen", root.table("link").at("listen")));
        let control = config.control.listen.map(|a| (a, "control.listen", root.table("control").at("listen")));
        let admin = (config.admin.listen, "admin.listen", root.table("admin").at("listen"));
        let all: Vec<_> = gateway.chain(link).chain(control).chain([admin]).collect();
        for (i, (address, key, at)) in all.iter().enumerate() {
            let clash = |other: &SocketAddr| {
                let same_ip =
                    other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
                address.port() != 0 && other.port() == address.port() && same_ip
            };
            if let Some((other, used, _)) = all[..i].iter().find(|(other, ..)| clash(other)) {
                let wrong = format!("{address} is taken by {used} ({other})");
                self.report.fault(*at, key, wrong, "give each listener its own port");
            }
        }
    }
}

fn address(table: &Checked, name: &str) -> Option<SocketAddr> {
    table.text(name).and_then(|text| text.parse().ok())
}
