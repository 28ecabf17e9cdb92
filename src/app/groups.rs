//! All groups of this node, and what they need to be reached.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::AppError;
use super::conflicts::Conflicts;
use super::orphans::Orphans;
use super::outside::SiteOutside;
use crate::config::{Config, Service, Stale};
use crate::control::Control;
use crate::gateway::{Upstream, Waits};
use crate::identity::{Credentials, Ends, NearEnd, Standing, now_s};
use crate::journal::Journal;
use crate::link::{Joins, Links};
use crate::model::{Group, SiteName};
use crate::service::{Clock, Event, Handle, Task};
use crate::telemetry::Metrics;

/// What leads out of this node; set once, right after start.
#[derive(Default)]
pub(super) struct Lines {
    pub links: OnceLock<Links>,
    pub control: OnceLock<Control>,
    /// What this site shows other sites; never set where it has no `[identity]`.
    pub credentials: OnceLock<Arc<Credentials>>,
    /// Certificates beside this site's own.
    pub ends: OnceLock<Arc<Ends>>,
    /// Never set where this site signs nothing.
    pub joins: OnceLock<Joins>,
}

pub(super) struct Member {
    pub handle: Handle,
    /// Other sites with a replica.
    pub peers: Vec<SiteName>,
    /// Methods of the service that go by the journal.
    pub writes: Vec<http::Method>,
    pub upstream: Arc<Upstream>,
    /// For reads that other sites bring here.
    pub waits: Waits,
}

pub(super) struct Registry {
    pub members: BTreeMap<Group, Member>,
    pub lines: Arc<Lines>,
    pub conflicts: Arc<Conflicts>,
    /// In the journal, and of no service.
    pub orphans: Orphans,
    /// Sites with a node on the control plane now.
    pub alive: Mutex<BTreeSet<SiteName>>,
}

impl Registry {
    /// Recovers every group and starts its task. Blocks for as long as reading the journal takes.
    pub fn recover(
        config: &Config,
        journal: &Journal,
        clock: &Clock,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, AppError> {
        let (lines, conflicts) = (Arc::new(Lines::default()), Arc::<Conflicts>::default());
        let mut members = BTreeMap::new();
        for service in &config.services {
            for group in service.groups() {
                let upstream = &upstreams[&service.name];
                let outside = SiteOutside::new(upstream, &lines, metrics, &conflicts, &service.name);
                let member = member(config, service, &group, journal, clock, upstream, outside)?;
                members.insert(group, member);
            }
        }
        let failed =
            |source| AppError::Journal { dir: config.data_dir.display().to_string(), source: Box::new(source) };
        let orphans = Orphans::find(journal, &members.keys().collect(), &config.site).map_err(failed)?;
        Ok(Self { members, lines, conflicts, orphans, alive: Mutex::default() })
    }

    /// Nothing more is sent to services. Returns when they have answered what they are at, and that is durable.
    pub async fn rest(&self) {
        let mut resting = tokio::task::JoinSet::new();
        for member in self.members.values() {
            let handle = member.handle.clone();
            resting.spawn(async move { handle.rest().await });
        }
        let _ = resting.join_all().await;
    }

    pub fn connect(&self, links: Links, control: Control) {
        // Set once, before anything else runs that could race.
        let _ = self.lines.links.set(links);
        let _ = self.lines.control.set(control);
    }

    /// When this site's certificate ends, and whether new files are in trouble.
    pub fn certificate(&self) -> Option<Standing> {
        self.lines.credentials.get().map(|credentials| credentials.standing())
    }

    /// What is wrong with the file of invitations.
    pub fn invites_trouble(&self) -> Vec<String> {
        self.lines.joins.get().map(|joins| joins.invites.trouble()).unwrap_or_default()
    }

    /// Other certificates whose ends are near.
    pub fn other_ends(&self) -> Vec<NearEnd> {
        self.lines.ends.get().map(|ends| ends.near(now_s())).unwrap_or_default()
    }

    pub fn hears(&self, site: &SiteName) -> bool {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).contains(site)
    }
}

fn member(
    config: &Config,
    service: &Service,
    group: &Group,
    journal: &Journal,
    clock: &Clock,
    upstream: &Arc<Upstream>,
    outside: SiteOutside,
) -> Result<Member, AppError> {
    let settings = service.settings(&config.site, group);
    let peers = settings.replicas.iter().filter(|site| **site != config.site).cloned().collect();
    let recovered = Task::recover(group.clone(), settings, journal.clone(), clock.clone(), Arc::new(outside));
    let dir = config.data_dir.display().to_string();
    let (task, handle) = recovered.map_err(|source| AppError::Journal { dir, source: Box::new(source) })?;
    tokio::spawn(task.run());
    tokio::spawn(watch_health(upstream.clone(), handle.clone()));
    let waits = Waits { timeout: service.timeouts.total, refuse_stale: service.stale == Stale::Refuse };
    let writes = service.write_methods.clone();
    Ok(Member { handle, peers, writes, upstream: upstream.clone(), waits })
}

/// Tells the group about its endpoints, at once and at every change.
async fn watch_health(upstream: Arc<Upstream>, handle: Handle) {
    let mut health = upstream.healthy();
    loop {
        let healthy = *health.borrow_and_update();
        handle.event(Event::Health { healthy }).await;
        if health.changed().await.is_err() {
            return;
        }
    }
}
