//! What the control plane must know, resolved from the configuration, and what can be wrong with it.
use std::fmt;
use std::net::TcpListener;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::names::NAME_BYTES_MAX;
use crate::identity::Credentials;
use crate::model::SiteName;

/// `tls/host:7447` or `tcp/host:7447`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub tls: bool,
    /// `host:port`; an IPv6 address in brackets.
    pub address: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a control endpoint: expected tls/<host>:<port> or tcp/<host>:<port>, for example \
     tls/cloud.example.com:7447"
)]
pub struct ParseEndpointError(String);

impl FromStr for Endpoint {
    type Err = ParseEndpointError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (protocol, address) = text.split_once('/')?;
            let tls = match protocol {
                "tls" => true,
                "tcp" => false,
                _ => return None,
            };
            let (host, port) = address.rsplit_once(':')?;
            port.parse::<u16>().ok()?;
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let valid = match v6 {
                Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(plain),
            };
            valid.then(|| Endpoint { tls, address: address.to_owned() })
        };
        parse().ok_or_else(|| ParseEndpointError(text.to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", if self.tls { "tls" } else { "tcp" }, self.address)
    }
}

/// Where a hub of another site is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    pub site: SiteName,
    pub endpoint: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Dials out, to the first hub that answers.
    Edge { hubs: Vec<HubAddress> },
    /// Has the router. Of two hubs only one lists the other: mutual dialling can leave a session that is deaf one way.
    Hub { listen: Vec<Endpoint>, peers: Vec<HubAddress> },
    /// No control plane: everything works, duplicates cost more questions.
    Off,
}

impl Role {
    /// The addresses of the hubs that this node dials, for people.
    pub(super) fn dialled(&self) -> String {
        let (Role::Edge { hubs: dialled } | Role::Hub { peers: dialled, .. }) = self else { return String::new() };
        dialled.iter().map(|hub| hub.endpoint.address.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Whose hints are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hear {
    Everyone,
    /// An edge of a large fleet hears the sites that share its services, not a thousand other stores. Hubs hear
    /// everyone.
    Only(Vec<SiteName>),
}

#[derive(Clone, Debug)]
pub struct ControlSettings {
    pub realm: String,
    pub me: SiteName,
    pub node: String,
    /// New in each life of the process.
    pub boot: Uuid,
    pub role: Role,
    pub tls: Option<Arc<Credentials>>,
    /// How often a line over which nothing is said is kept alive (`link.keepalive`).
    pub keepalive: Duration,
    pub hear: Hear,
    /// `[realm] sites`: who may speak. Empty: anybody (a start without a file).
    pub sites: Vec<SiteName>,
    /// Those of `sites` that have hubs: with TLS, only they may pass on what others say.
    pub hub_sites: Vec<SiteName>,
}

/// As long as nobody says otherwise.
const KEEPALIVE: Duration = Duration::from_secs(25);

impl ControlSettings {
    /// A control plane over plain TCP that hears everyone.
    pub fn new(realm: impl Into<String>, me: SiteName, node: impl Into<String>, role: Role) -> Self {
        Self {
            realm: realm.into(),
            me,
            node: node.into(),
            boot: Uuid::new_v4(),
            role,
            tls: None,
            keepalive: KEEPALIVE,
            hear: Hear::Everyone,
            sites: Vec::new(),
            hub_sites: Vec::new(),
        }
    }
}

/// Why a control plane cannot start. An unreachable hub is none of them.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("{what} name of {bytes} bytes is too long or empty: expected 1 to {NAME_BYTES_MAX}")]
    Name { what: &'static str, bytes: usize },
    #[error("an edge needs at least one hub to dial: set `control` of a peer, or the role off")]
    NoHub,
    #[error("a hub needs at least one address to listen on, for example tls/0.0.0.0:7447")]
    NoListen,
    #[error("control endpoint {0} is over TLS, but there is no [identity] with ca, cert and key")]
    TlsWithoutIdentity(Endpoint),
    #[error("listen on {endpoint} for control: {source}")]
    Listen { endpoint: Endpoint, source: std::io::Error },
    #[error("start the control thread: {0}")]
    Thread(std::io::Error),
    #[error("make the certificates of the control plane's inside: {0}")]
    Inner(String),
}

impl ControlSettings {
    /// Everything that can be told without another node.
    pub fn check(&self) -> Result<(), ControlError> {
        for (what, name) in [("realm", self.realm.as_str()), ("site", self.me.as_str()), ("node", &self.node)] {
            if name.is_empty() || name.len() > NAME_BYTES_MAX {
                return Err(ControlError::Name { what, bytes: name.len() });
            }
        }
        let (listen, dial): (&[Endpoint], &[HubAddress]) = match &self.role {
            Role::Off => return Ok(()),
            Role::Edge { hubs } if hubs.is_empty() => return Err(ControlError::NoHub),
            Role::Edge { hubs } => (&[], hubs),
            Role::Hub { listen, .. } if listen.is_empty() => return Err(ControlError::NoListen),
            Role::Hub { listen, peers } => (listen, peers),
        };
        let mut endpoints = listen.iter().chain(dial.iter().map(|hub| &hub.endpoint));
        if let (None, Some(endpoint)) = (&self.tls, endpoints.find(|endpoint| endpoint.tls)) {
            return Err(ControlError::TlsWithoutIdentity(endpoint.clone()));
        }
        for endpoint in listen {
            // zenoh would log and go on without the listener.
            let bound = TcpListener::bind(&endpoint.address);
            bound.map_err(|source| ControlError::Listen { endpoint: endpoint.clone(), source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_back_and_others_are_refused() {
        for good in ["tls/cloud.example.com:7447", "tcp/127.0.0.1:0", "tcp/[::1]:7447"] {
            assert_eq!(good.parse::<Endpoint>().map(|e| e.to_string()), Ok(good.to_owned()));
        }
        let bad = [
            "",
            "cloud:7447",
            "udp/a:1",
            "tls/a",
            "tls/:7447",
            "tls/a:99999",
            "tls/a:7447#iface=x",
            "tcp/[x]:1",
            "tls/a/b:1",
        ];
        for bad in bad {
            assert_eq!(bad.parse::<Endpoint>(), Err(ParseEndpointError(bad.to_owned())));
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        let settings = |role| ControlSettings::new("acme", SiteName::new("a"), "n", role);
        let tls: Endpoint = "tls/127.0.0.1:0".parse().unwrap();
        assert!(matches!(settings(Role::Edge { hubs: vec![] }).check(), Err(ControlError::NoHub)));
        let none = Role::Hub { listen: vec![], peers: vec![] };
        assert!(matches!(settings(none).check(), Err(ControlError::NoListen)));
        let edge = settings(Role::Edge { hubs: vec![HubAddress { site: SiteName::new("b"), endpoint: tls }] });
        assert!(matches!(edge.check(), Err(ControlError::TlsWithoutIdentity(_))));
        let mut long = settings(Role::Off);
        long.node = "x".repeat(256);
        assert!(matches!(long.check(), Err(ControlError::Name { what: "node", bytes: 256 })));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = vec![Endpoint { tls: false, address: taken.local_addr().unwrap().to_string() }];
        assert!(matches!(settings(Role::Hub { listen, peers: vec![] }).check(), Err(ControlError::Listen { .. })));
    }
}
