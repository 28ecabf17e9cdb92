//! Whole installations: one, two or three sites with their services and the lines between them.
use super::{Appliance, Relay, SOON, Service, Site, Upstream, ledger, wait_for};

/// One site with one service, which is replicated to nobody but journalled.
pub struct Scene {
    pub service: Upstream,
    pub store: Appliance,
}

impl Scene {
    #[track_caller]
    pub fn one(change: impl FnOnce(Service) -> Service) -> Self {
        Self::with(|site| site, change)
    }
    #[track_caller]
    pub fn with(site: impl FnOnce(Site) -> Site, change: impl FnOnce(Service) -> Service) -> Self {
        let service = Upstream::start();
        let store = site(Site::alone().service(change(Service::new("tx", &service).replicas(&["store"])))).start();
        wait_for("the service is healthy", SOON, || healthy(&store));
        Self { service, store }
    }
}

impl Scene {
    /// The appliance has noticed that its service is gone.
    #[track_caller]
    pub fn wait_down(&self) {
        wait_for("the service is known to be down", SOON, || {
            self.store.try_api("/status").is_some_and(|status| status["groups"][0]["healthy"] == false)
        });
    }
}

pub fn healthy(appliance: &Appliance) -> bool {
    appliance.try_api("/status").is_some_and(|status| status["groups"][0]["healthy"] == true)
}

/// A store that dials a cloud. Fields are dropped in this order: appliances first.
pub struct Two {
    pub store: Appliance,
    pub cloud: Appliance,
    pub at_store: Upstream,
    pub at_cloud: Upstream,
    pub links: Relay,
    pub control: Relay,
}

impl Two {
    /// Both decide locally first.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(|service| service)
    }
    #[track_caller]
    pub fn with(change: impl Fn(Service) -> Service) -> Self {
        let two = Self::spawn(|site| site, |_, service| change(service));
        two.wait_together();
        two
    }
    /// `service` is told the site's name. Ready, and maybe not linked.
    #[track_caller]
    pub fn spawn(site: impl Fn(Site) -> Site, service: impl Fn(&str, Service) -> Service) -> Self {
        let (at_store, at_cloud) = (Upstream::start(), Upstream::start());
        let cloud = Site::new("cloud").hub();
        let (links, control) = (Relay::to(cloud.link), Relay::to(cloud.control));
        let store = Site::new("store").dials("cloud", links.address, control.address);
        let tx = |name: &str, other: &str, upstream: &Upstream| {
            let tx = Service::new("tx", upstream).replicas(&["store", "cloud"]).order(&["local", other]).probed();
            service(name, tx)
        };
        let mut cloud = site(cloud).service(tx("cloud", "store", &at_cloud)).spawn();
        let mut store = site(store).service(tx("store", "cloud", &at_store)).spawn();
        cloud.wait_ready();
        store.wait_ready();
        Self { store, cloud, at_store, at_cloud, links, control }
    }
    #[track_caller]
    pub fn wait_together(&self) {
        self.store.wait_peer_healthy("cloud");
        self.cloud.wait_peer_healthy("store");
        self.store.wait_decider("store");
        self.cloud.wait_decider("cloud");
    }
    #[track_caller]
    pub fn wait_apart(&self) {
        wait_for("the sites know that they are apart", SOON, || {
            self.store.is_linked("cloud") == Some(false) && self.cloud.is_linked("store") == Some(false)
        });
    }
    pub fn cut(&self) {
        self.cut_line();
        self.wait_apart();
    }
    /// Where one of the sites is not there to notice.
    pub fn cut_line(&self) {
        self.links.cut();
        self.control.cut();
    }
    pub fn heal(&self) {
        self.links.heal();
        self.control.heal();
    }
    pub fn services(&self) -> [&Upstream; 2] {
        [&self.at_store, &self.at_cloud]
    }
    /// Each knows that the other has decided everything.
    #[track_caller]
    pub fn wait_settled(&self) {
        wait_for("nothing is owed to the other site", SOON, || {
            [&self.store, &self.cloud].iter().all(|site| {
                let status = site.try_api("/status").unwrap_or_default();
                let group = &status["groups"][0];
                let peers = group["peers"].as_array().cloned().unwrap_or_default();
                group["open_writes"] == 0 && peers.iter().all(|p| p["not_decided"] == 0 && p["not_received"] == 0)
            })
        });
    }
    /// G2 and G5: as many writes at both, the same ones, each once.
    #[track_caller]
    pub fn wait_equal(&self, writes: usize) {
        wait_for(&format!("both replicas have the same {writes} writes"), SOON, || {
            self.at_store.applied_keys().len() >= writes && ledger::equal(&self.services())
        });
        ledger::nothing_twice(&self.services());
        assert_eq!(self.at_store.applied_keys().len(), writes, "{:?}", self.at_store.applied_keys());
    }
}

/// Two stores that cannot see each other, and a cloud that both dial.
pub struct Three {
    pub edges: [Appliance; 2],
    pub cloud: Appliance,
    pub at_edges: [Upstream; 2],
    pub at_cloud: Upstream,
    pub links: [Relay; 2],
}

impl Three {
    #[track_caller]
    pub fn start() -> Self {
        let names = ["edge-1", "edge-2", "cloud"];
        let tx = |upstream: &Upstream| Service::new("tx", upstream).replicas(&names).order(&["local"]).probed();
        let (at_edges, at_cloud) = ([Upstream::start(), Upstream::start()], Upstream::start());
        let cloud = Site::new("cloud").sites(&names).hub().service(tx(&at_cloud));
        let links = [Relay::to(cloud.link), Relay::to(cloud.link)];
        let control = cloud.control;
        let edge = |index: usize| {
            // The other edge is listed and a replica, and never reached: neither dials the other.
            let site = Site::new(names[index]).sites(&names).dials("cloud", links[index].address, control);
            site.service(tx(&at_edges[index])).spawn()
        };
        let mut edges = [edge(0), edge(1)];
        let mut cloud = cloud.spawn();
        cloud.wait_ready();
        for edge in &mut edges {
            edge.wait_ready();
            edge.wait_peer_healthy("cloud");
        }
        Self { edges, cloud, at_edges, at_cloud, links }
    }
    pub fn services(&self) -> [&Upstream; 3] {
        [&self.at_edges[0], &self.at_edges[1], &self.at_cloud]
    }
    #[track_caller]
    pub fn wait_equal(&self, writes: usize) {
        wait_for(&format!("all three replicas have the same {writes} writes"), SOON, || {
            self.at_cloud.applied_keys().len() >= writes && ledger::equal(&self.services())
        });
        ledger::nothing_twice(&self.services());
        assert_eq!(self.at_cloud.applied_keys().len(), writes);
    }
}
