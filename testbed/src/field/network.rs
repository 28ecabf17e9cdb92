//! The network of a run, of either kind, and the cuts that are in force. Cuts overlap: what one ends another may still
//! hold.
use std::net::{IpAddr, SocketAddr};

use super::Error;
use super::namespaces::Namespaces;
use super::relays::Relays;
use super::scenario::{Direction, LineSpec, Plane};

/// Ports of links and control in a namespace, where every site has the same.
pub const LINK_PORT: u16 = 7443;
pub const CONTROL_PORT: u16 = 7447;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub from: usize,
    pub to: usize,
    pub direction: Direction,
    pub port: Option<Plane>,
}

/// What is cut from one site to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    pub link: bool,
    pub control: bool,
}

impl Blocked {
    pub fn whole(&self) -> bool {
        self.link && self.control
    }

    pub fn ports(&self) -> Vec<u16> {
        let ports = [(self.link, LINK_PORT), (self.control, CONTROL_PORT)];
        ports.iter().filter(|(blocked, _)| *blocked).map(|(_, port)| *port).collect()
    }
}

pub fn blocked(cuts: &[Cut], from: usize, to: usize) -> Blocked {
    let mut blocked = Blocked::default();
    for cut in cuts {
        let there = (cut.from, cut.to) == (from, to);
        let back = cut.direction == Direction::Both && (cut.to, cut.from) == (from, to);
        if there || back {
            blocked.link |= cut.port != Some(Plane::Control);
            blocked.control |= cut.port != Some(Plane::Link);
        }
    }
    blocked
}

pub enum Kind {
    Namespaces(Namespaces),
    Relays(Relays),
}

pub struct Network {
    pub kind: Kind,
    sites: usize,
    cuts: Vec<Cut>,
}

/// Where a site's parts listen, and where it dials.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub service: SocketAddr,
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub link: SocketAddr,
    pub control: SocketAddr,
}

impl Network {
    pub fn new(kind: Kind, sites: usize) -> Self {
        Self { kind, sites, cuts: Vec::new() }
    }

    pub fn places(&self, site: usize) -> Places {
        match &self.kind {
            Kind::Namespaces(namespaces) => namespaces.places(site),
            Kind::Relays(relays) => relays.places(site),
        }
    }

    /// Where `from` finds `to`'s link and control.
    pub fn dial(&self, from: usize, to: usize) -> (SocketAddr, SocketAddr) {
        match &self.kind {
            Kind::Namespaces(namespaces) => {
                let at = namespaces.places(to);
                (at.link, at.control)
            }
            Kind::Relays(relays) => relays.dial(from, to),
        }
    }

    /// Addresses that a site's certificate names.
    pub fn addresses(&self, site: usize) -> Vec<IpAddr> {
        vec![self.places(site).link.ip()]
    }

    /// What stands before a program so that it runs at a site.
    pub fn prefix(&self, site: usize) -> Vec<String> {
        match &self.kind {
            Kind::Namespaces(namespaces) => ["ip", "netns", "exec", namespaces.name(site)].map(str::to_owned).into(),
            Kind::Relays(_) => Vec::new(),
        }
    }

    pub fn cut(&mut self, cut: Cut) -> Result<(), Error> {
        self.cuts.push(cut);
        self.apply()
    }

    pub fn end_cut(&mut self, cut: &Cut) -> Result<(), Error> {
        if let Some(place) = self.cuts.iter().position(|held| held == cut) {
            self.cuts.remove(place);
        }
        self.apply()
    }

    pub fn heal(&mut self) -> Result<(), Error> {
        self.cuts.clear();
        self.apply()
    }

    fn apply(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Namespaces(namespaces) => namespaces.apply(&self.cuts),
            Kind::Relays(relays) => {
                for from in 0..self.sites {
                    (0..self.sites).for_each(|to| relays.block(from, to, &blocked(&self.cuts, from, to)));
                }
                Ok(())
            }
        }
    }

    /// Both directions.
    pub fn set_line(&mut self, a: usize, b: usize, spec: LineSpec) {
        for (from, to) in [(a, b), (b, a)] {
            match &mut self.kind {
                Kind::Namespaces(namespaces) => namespaces.set_line(from, to, spec),
                Kind::Relays(relays) => relays.set_line(from, to, spec),
            }
        }
    }

    /// Packets that the switch carried and dropped (what nft drops is not among them).
    pub fn packets(&self) -> Option<(u64, u64)> {
        match &self.kind {
            Kind::Namespaces(namespaces) => Some(namespaces.counts()),
            Kind::Relays(_) => None,
        }
    }

    /// How cuts are made, for the report.
    pub fn means(&self) -> &'static str {
        match &self.kind {
            Kind::Namespaces(namespaces) if namespaces.has_nft => {
                "namespaces, cuts by nft, lines by a user-space switch"
            }
            Kind::Namespaces(_) => "namespaces, cuts and lines by a user-space switch (no nft here)",
            Kind::Relays(_) => "loopback, cuts and lines by relays",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_overlap_and_have_a_direction_and_a_port() {
        let whole = Cut { from: 0, to: 1, direction: Direction::Both, port: None };
        let control = Cut { from: 0, to: 1, direction: Direction::Both, port: Some(Plane::Control) };
        let one_way = Cut { from: 1, to: 0, direction: Direction::OneWay, port: None };
        assert_eq!(blocked(&[], 0, 1), Blocked::default());
        assert!(blocked(std::slice::from_ref(&whole), 1, 0).whole());
        assert_eq!(blocked(std::slice::from_ref(&control), 1, 0).ports(), [CONTROL_PORT]);
        assert!(blocked(std::slice::from_ref(&one_way), 1, 0).whole() && !blocked(&[one_way], 0, 1).whole());
        assert!(blocked(&[control, whole], 0, 1).whole());
    }
}
