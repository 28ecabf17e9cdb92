//! Connections between sites, and what is wrong with the lines below them.
use std::collections::{BTreeMap, BTreeSet};

/// One connection per pair, as the link layer keeps it. Each side learns of its beginning and its end on its own.
#[derive(Debug, Default)]
pub struct Network {
    /// Directed: nothing gets from the first to the second.
    cut: BTreeSet<(usize, usize)>,
    /// Cut for good.
    never: Option<(usize, usize)>,
    /// Cut off from all others, whatever is mended, until all is.
    isolated: Option<usize>,
    /// By pair, lower site first: the latest connection and the lives of the two ends it was made for.
    connections: BTreeMap<(usize, usize), Connection>,
    /// By (site, peer): the connection that the site's state machine was last told of, while it was not told of its
    /// end.
    told: BTreeMap<(usize, usize), u32>,
    /// When the last message of a direction arrives, so that lines keep their order.
    last_arrival: BTreeMap<(usize, usize), u64>,
    pub control_cut: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub epoch: u32,
    pub lives: (u32, u32),
    pub closed: bool,
}

pub fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    pub fn new(never: Option<(usize, usize)>) -> Self {
        Self { never, ..Self::default() }
    }

    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        let isolated = self.isolated.is_some_and(|site| site == from || site == to);
        isolated || self.cut.contains(&(from, to)) || self.never == Some(pair(from, to))
    }
    pub fn isolate(&mut self, site: usize) {
        self.isolated = Some(site);
    }
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }
    pub fn mend(&mut self, from: usize, to: usize) {
        self.cut.remove(&(from, to));
    }
    pub fn mend_all(&mut self) {
        self.cut.clear();
        self.isolated = None;
        self.control_cut = false;
    }

    pub fn connection(&self, a: usize, b: usize) -> Option<Connection> {
        self.connections.get(&pair(a, b)).copied().filter(|c| !c.closed)
    }

    /// A new connection; returns its number.
    pub fn connect(&mut self, a: usize, b: usize, lives: (u32, u32)) -> u32 {
        let key = pair(a, b);
        let epoch = self.connections.get(&key).map_or(1, |c| c.epoch + 1);
        self.connections.insert(key, Connection { epoch, lives, closed: false });
        self.last_arrival.remove(&(a, b));
        self.last_arrival.remove(&(b, a));
        epoch
    }

    pub fn close(&mut self, a: usize, b: usize) {
        if let Some(connection) = self.connections.get_mut(&pair(a, b)) {
            connection.closed = true;
        }
    }

    /// The connection that `site` believes to have to `peer`.
    pub fn believed(&self, site: usize, peer: usize) -> Option<u32> {
        self.told.get(&(site, peer)).copied()
    }
    pub fn believe(&mut self, site: usize, peer: usize, epoch: Option<u32>) {
        match epoch {
            Some(epoch) => self.told.insert((site, peer), epoch),
            None => self.told.remove(&(site, peer)),
        };
    }
    /// A dead process believes nothing.
    pub fn forget_site(&mut self, site: usize) {
        self.told.retain(|(s, _), _| *s != site);
    }

    /// When a message sent now arrives, given its own delay: in order, unless it may overtake.
    pub fn arrival(&mut self, from: usize, to: usize, at_ms: u64, overtakes: bool) -> u64 {
        let last = self.last_arrival.entry((from, to)).or_default();
        if overtakes {
            return at_ms;
        }
        *last = at_ms.max(*last);
        *last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_order_and_connections_are_numbered() {
        let mut network = Network::new(Some((1, 2)));
        assert!(network.is_cut(2, 1) && !network.is_cut(0, 1));
        assert_eq!(network.connect(1, 0, (1, 1)), 1);
        assert_eq!(network.arrival(0, 1, 50, false), 50);
        assert_eq!(network.arrival(0, 1, 20, false), 50);
        assert_eq!(network.arrival(0, 1, 20, true), 20);
        network.close(0, 1);
        assert!(network.connection(0, 1).is_none());
        assert_eq!(network.connect(0, 1, (1, 2)), 2);
        network.cut(0, 1);
        assert!(network.is_cut(0, 1) && !network.is_cut(1, 0));
        network.isolate(0);
        network.mend(1, 0);
        assert!(network.is_cut(0, 1) && network.is_cut(1, 0));
        network.mend_all();
        assert!(!network.is_cut(0, 1) && network.is_cut(1, 2));
    }
}
