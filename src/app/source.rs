//! What the admin listener shows, gathered from groups, journal, links and control plane.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::AppError;
use super::groups::{Member, Registry};
use super::order;
use super::tokens::TokenCodec;
use crate::admin::{
    AdminSource, EndpointStatus, GroupStatus, Health, HealthState, ManyOrdered, OperateError, PeerStatus,
    QuarantineEntry, QuarantineList, QuarantineQuery, ReplicaStatus, ServiceStatus, Status, StoreStatus, WriteList,
    WriteStatus, WriteSummary, WritesQuery,
};
use crate::config::{Config, Durability, Service};
use crate::gateway::Upstream;
use crate::journal::{Filter, Journal, ListState, Shown, Space};
use crate::model::{Group, KeyHash, WriteId};
use crate::service::{ORDERS_MAX, Operation, Reply, View};
use crate::telemetry::Metrics;

/// Entries of the quarantine in one answer.
const QUARANTINE_SHOWN: usize = 1_000;

pub(super) struct Source {
    config: Arc<Config>,
    pub journal: Journal,
    registry: Arc<Registry>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    metrics: Arc<Metrics>,
    state: watch::Receiver<HealthState>,
    pub tokens: TokenCodec,
    started: Instant,
}

impl Source {
    pub fn new(
        config: Arc<Config>,
        journal: Journal,
        registry: Arc<Registry>,
        upstreams: BTreeMap<String, Arc<Upstream>>,
        metrics: Arc<Metrics>,
        state: watch::Receiver<HealthState>,
    ) -> Result<Self, AppError> {
        let dir = config.data_dir.display().to_string();
        let tokens =
            TokenCodec::open(&journal).map_err(|source| AppError::Journal { dir, source: Box::new(source) })?;
        Ok(Self { config, journal, registry, upstreams, metrics, state, tokens, started: Instant::now() })
    }

    async fn views(&self) -> Vec<(Group, View)> {
        let mut views = Vec::new();
        for (group, member) in &self.registry.members {
            if let Some(mut view) = member.handle.view().await {
                if view.quarantine > 0 {
                    view.not_equal = self.journal.quarantine_firsts(group.clone()).await.unwrap_or_default();
                }
                views.push((group.clone(), view));
            }
        }
        views
    }

    fn member(&self, group: &Group) -> Option<&Member> {
        self.registry.members.get(group)
    }

    fn peers_from(&self, views: &[(Group, View)]) -> Vec<PeerStatus> {
        let Some(links) = self.registry.lines.links.get() else { return Vec::new() };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let concerned = |site: &crate::model::SiteName| self.registry.members.values().any(|m| m.peers.contains(site));
        let states = links.state().into_iter().filter(|state| state.dials || state.connected || concerned(&state.site));
        states
            .map(|state| {
                let of = |value: fn(&crate::service::PeerView) -> u64| {
                    views.iter().flat_map(|(_, v)| &v.peers).filter(|p| p.site == state.site).map(value)
                };
                PeerStatus {
                    linked: state.connected,
                    dials: state.dials,
                    address: self.config.peer(&state.site).and_then(|p| p.link.as_ref()).map(ToString::to_string),
                    control: self.registry.hears(&state.site),
                    since_ms: Some(now_ms.saturating_sub(state.since_ms)),
                    not_received: of(|p| p.not_received).sum(),
                    not_decided: of(|p| p.not_decided).sum(),
                    lag_ms: of(|p| p.lag_ms).max().unwrap_or(0),
                    last_error: state.last_error,
                    differs: state.differs.iter().map(|d| format!("{}: {}", d.service, d.keys.join(", "))).collect(),
                    site: state.site,
                }
            })
            .collect()
    }

    fn health_from(&self, views: &[(Group, View)], peers: &[PeerStatus]) -> Health {
        let mut reasons = Vec::new();
        match self.journal.space() {
            Space::Ok => {}
            Space::Reserve => reasons.push("disk: less than store.reserve is free, new writes get 507".to_owned()),
            Space::Full => reasons.push("disk: full".to_owned()),
        }
        if let Some(held) = &*self.journal.held().borrow() {
            let seconds = held.since.elapsed().as_secs();
            reasons.push(format!(
                "journal: {} has held the lock of its database for {seconds} s, new writes get 503",
                held.by
            ));
        }
        if let Some((by, bytes)) = self.journal.read_by() {
            reasons.push(format!(
                "journal: {by} reads its database, the write-ahead log (WAL) has grown to {} MiB",
                bytes >> 20
            ));
        }
        for (group, view) in views {
            if let Some(why) = &view.stopped {
                reasons.push(format!("{group}: following stopped: {why}"));
            }
            if let Some(left_ms) = view.hidden_try_ms {
                reasons.push(format!(
                    "{group}: a try of before the start may be under way, its record is broken: nothing is sent to \
                     this replica for {} s",
                    left_ms.div_ceil(1_000)
                ));
            }
            if !view.healthy {
                reasons.push(format!("{group}: no healthy endpoint at this site"));
            }
            reasons.extend(self.waits_too_long(group, view));
            if view.quarantine > 0 {
                reasons.push(format!("{group}: {} in quarantine, not equal: {}", view.quarantine, view.not_equal));
            }
        }
        for peer in peers {
            reasons.extend(peer.differs.iter().map(|differs| {
                format!("{}: defines services differently, nothing of them is exchanged: {differs}", peer.site)
            }));
        }
        Health { state: *self.state.borrow(), reasons }
    }

    /// Beyond `answer.lag` another site decides in this one's place, and what is queued has a receipt and no more:
    /// for what the first of them waits.
    fn waits_too_long(&self, group: &Group, view: &View) -> Option<String> {
        let service = self.config.services.iter().find(|service| service.name == group.service)?;
        let lag = Duration::from_millis(view.lag_ms);
        let what = match (lag > service.answer.lag, view.queued) {
            (true, 0) => format!("{} s behind", lag.as_secs()),
            (true, queued) => format!("{} s behind, {queued} queued", lag.as_secs()),
            (false, 0) => return None,
            (false, queued) => format!("{queued} queued"),
        };
        let first =
            view.waits.first().map_or_else(String::new, |wait| format!(": {} waits for {}", wait.write, wait.on));
        Some(format!("{group}: {what}{first}"))
    }

    async fn store(&self) -> StoreStatus {
        let stats = self.journal.stats().await.ok();
        StoreStatus {
            durability: match self.config.store.durability {
                Durability::PowerLoss => "power-loss",
                Durability::ProcessCrash => "process-crash",
            },
            free_bytes: stats.as_ref().map_or(0, |s| s.disk_free_bytes),
            reserve_bytes: self.config.store.reserve_bytes,
            journal_bytes: stats.as_ref().map_or(0, |s| s.pages * s.page_bytes + s.wal_bytes),
            hours_left: stats.as_ref().and_then(|s| self.hours_left(s)),
        }
    }

    /// From what was accepted since the oldest row that is kept; a store that is young says nothing.
    fn hours_left(&self, stats: &crate::journal::Stats) -> Option<f64> {
        const YOUNG: Duration = Duration::from_secs(600);
        let oldest = UNIX_EPOCH + Duration::from_millis(stats.oldest_original_ms?);
        let age = SystemTime::now().duration_since(oldest).ok().filter(|age| *age >= YOUNG)?;
        let used = (stats.pages - stats.free_pages) * stats.page_bytes;
        let free = stats.disk_free_bytes.saturating_sub(self.config.store.reserve_bytes);
        Some(free as f64 / (used as f64 / age.as_secs_f64()) / 3_600.0)
    }

    async fn shown(&self, asked: &str) -> Option<Shown> {
        let id = asked.parse().ok().or_else(|| self.tokens.decode(asked));
        if let Some(id) = id {
            return self.journal.show(id).await.ok()?;
        }
        for group in self.registry.members.keys() {
            let service = self.config.services.iter().find(|service| service.name == group.service);
            for scope in service.map(Service::key_scopes).unwrap_or_default() {
                let shown = self.journal.show_key(KeyHash::of(group, &scope, asked)).await.ok()?;
                // Of several clients' the one that was executed is asked for.
                let refused = |shown: &Shown| shown.row.outcome.as_ref().is_some_and(|told| !told.is_success());
                if let Some(shown) = shown.into_iter().min_by_key(refused) {
                    return Some(shown);
                }
            }
        }
        None
    }

    fn replicas(&self, shown: &Shown, view: &View) -> Vec<ReplicaStatus> {
        let Some((position, _)) = shown.row.position else { return Vec::new() };
        let log = shown.row.id.log;
        let here = view.series.iter().find(|s| s.log == log);
        let own = ReplicaStatus {
            site: self.config.site.clone(),
            received: here.is_some_and(|s| s.received >= position),
            decided: here.is_some_and(|s| s.decided >= position),
        };
        let others = view.cursors.iter().filter(|c| c.log == log).map(|c| ReplicaStatus {
            site: c.site.clone(),
            received: c.received >= position,
            decided: c.decided >= position,
        });
        std::iter::once(own).chain(others).collect()
    }
}

impl AdminSource for Source {
    async fn health(&self) -> Health {
        if *self.state.borrow() == HealthState::Recovering {
            return Health { state: HealthState::Recovering, reasons: Vec::new() };
        }
        let views = self.views().await;
        self.health_from(&views, &self.peers_from(&views))
    }

    async fn status(&self) -> Status {
        let views = self.views().await;
        let peers = self.peers_from(&views);
        Status {
            site: self.config.site.clone(),
            realm: self.config.realm.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            health: self.health_from(&views, &peers),
            store: self.store().await,
            peers,
            groups: views.into_iter().map(|(group, view)| GroupStatus::new(&group, view)).collect(),
        }
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        self.peers_from(&self.views().await)
    }

    async fn services(&self) -> Vec<ServiceStatus> {
        let views = self.views().await;
        let groups = |name: &str| {
            views.iter().filter(|(g, _)| g.service == name).map(|(g, v)| GroupStatus::new(g, v.clone())).collect()
        };
        let services = self.config.services.iter().map(|service| ServiceStatus {
            name: service.name.clone(),
            replicas: service.replicas.clone(),
            matches: service
                .matches
                .iter()
                .map(|m| format!("{}{}", m.host.as_deref().unwrap_or("*"), m.path))
                .collect(),
            endpoints: self.upstreams[&service.name]
                .endpoints()
                .map(|(url, healthy)| EndpointStatus { url, healthy })
                .collect(),
            groups: groups(&service.name),
        });
        services.collect()
    }

    async fn writes(&self, query: WritesQuery) -> Result<WriteList, String> {
        let after = match &query.after {
            Some(text) => Some(text.parse::<WriteId>().map_err(|error| error.to_string())?),
            None => None,
        };
        let groups: Vec<Option<Group>> = match &query.service {
            None => vec![None],
            Some(name) => {
                let groups: Vec<_> =
                    self.registry.members.keys().filter(|g| g.service == *name).cloned().map(Some).collect();
                if groups.is_empty() {
                    return Err(format!("no service {name:?} is followed here"));
                }
                groups
            }
        };
        let limit = query.limit();
        let mut listed = Vec::new();
        for group in groups {
            let state = query.open.then_some(ListState::Open);
            let filter = Filter { group, lane: None, state, after, limit: limit + 1 };
            listed.extend(self.journal.list(filter).await.map_err(|error| error.to_string())?);
        }
        listed.sort_by_key(|l| std::cmp::Reverse((l.row.facts.original_ms, l.row.id)));
        let more = listed.len() > limit;
        listed.truncate(limit);
        let summary = |l: &crate::journal::Listed| {
            let mut summary = WriteSummary::new(&l.group, &l.row, None);
            (summary.method, summary.target) = l.request.clone().unzip();
            summary
        };
        Ok(WriteList { writes: listed.iter().map(summary).collect(), more })
    }

    async fn write(&self, asked: &str) -> Option<WriteStatus> {
        let shown = self.shown(asked).await?;
        let view = self.member(&shown.group)?.handle.view().await?;
        let row = &shown.row;
        let request = shown.request.as_deref();
        Some(WriteStatus {
            summary: WriteSummary::new(&shown.group, row, request),
            lane: format!("{:016x}", row.facts.lane.0),
            has_key: row.facts.key.is_some(),
            traceparent: row.facts.traceparent.clone(),
            repeats: row.outcome.as_ref().and_then(|outcome| outcome.repeats),
            decides: row.decides.map(|(id, _)| id),
            replicas: self.replicas(&shown, &view),
            quarantine: shown
                .quarantined
                .as_ref()
                .map(|held| QuarantineEntry::new(&shown.group, held, Some(row), request)),
        })
    }

    async fn quarantine(&self, query: QuarantineQuery) -> Result<QuarantineList, String> {
        let after = query.after.as_deref().map(|text| {
            let parts = text.split_once('/').and_then(|(since, id)| Some((since.parse().ok()?, id.parse().ok()?)));
            parts.ok_or_else(|| format!("after={text:?} is not what an answer before has given"))
        });
        let page = self.journal.quarantine_page(query.filter()?, after.transpose()?, query.limit(QUARANTINE_SHOWN));
        let page = page.await.map_err(|error| error.to_string())?;
        Ok(QuarantineList {
            entries: page.entries.into_iter().map(QuarantineEntry::listed).collect(),
            total: page.counts.total,
            next: page.next.map(|(since_ms, id)| format!("{since_ms}/{id}")),
        })
    }

    async fn quarantined(&self, id: WriteId) -> Option<QuarantineEntry> {
        let (group, held) = self.journal.quarantine_entry(id).await.ok()??;
        Some(QuarantineEntry::new(&group, &held, None, None))
    }

    async fn order_many(&self, query: QuarantineQuery, operation: Operation) -> Result<ManyOrdered, OperateError> {
        let after = query
            .after
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(order::from_text)
            .transpose()
            .map_err(OperateError::Rejected)?;
        let filter = query.filter().map_err(OperateError::Rejected)?;
        let limit = query.limit(ORDERS_MAX);
        let next = self.journal.quarantine_in_order(filter, after.clone(), limit).await;
        let mut next = next.map_err(|_| OperateError::Gone)?;
        let has_more = next.len() == limit;
        let Some(group) = next.first().map(|entry| entry.group.clone()) else { return Ok(ManyOrdered::default()) };
        let of_group = next.iter().take_while(|entry| entry.group == group).count();
        let has_more = has_more || of_group < next.len();
        next.truncate(of_group);
        let member = self.member(&group).ok_or(OperateError::UnknownService(group.service))?;
        let ids = next.iter().map(|entry| entry.id).collect();
        match member.handle.order_many(ids, operation, query.keep_going).await {
            Reply::Orders(ordered) if ordered.busy => {
                let at = next.iter().position(|entry| ordered.rejected.last().is_some_and(|(id, _)| entry.id == *id));
                let before = at.and_then(|at| at.checked_sub(1)).map(|at| &next[at]);
                let on = before.or(after.as_ref()).map(order::to_text).unwrap_or_default();
                Ok(ManyOrdered { ordered, next: Some(on) })
            }
            Reply::Orders(ordered) => {
                let stops = !ordered.rejected.is_empty() && !query.keep_going;
                let on = next.last().filter(|_| has_more && !stops).map(order::to_text);
                Ok(ManyOrdered { ordered, next: on })
            }
            Reply::Rejected { why } => Err(OperateError::Rejected(why)),
            _ => Err(OperateError::Gone),
        }
    }

    async fn operate(&self, id: WriteId, operation: Operation) -> Result<(), OperateError> {
        let group = match self.journal.quarantine_group(id).await.map_err(|_| OperateError::Gone)? {
            Some(group) => group,
            None => return Err(OperateError::UnknownWrite(id)),
        };
        let member = self.member(&group).ok_or(OperateError::UnknownService(group.service))?;
        match member.handle.operate(Some(id), operation).await {
            Reply::Done => Ok(()),
            Reply::Rejected { why } => Err(OperateError::Rejected(why)),
            _ => Err(OperateError::Gone),
        }
    }

    async fn resume(&self, service: &str, store: &str) -> Result<(), OperateError> {
        let group = Group { service: service.to_owned(), store: store.to_owned() };
        let member = self.member(&group).ok_or_else(|| OperateError::UnknownService(service.to_owned()))?;
        match member.handle.operate(None, Operation::Resume).await {
            Reply::Done => Ok(()),
            Reply::Rejected { why } => Err(OperateError::Rejected(why)),
            _ => Err(OperateError::Gone),
        }
    }

    fn metrics(&self) -> String {
        let node = &self.metrics.node;
        node.panics.raise_to(crate::contain::contained());
        let states = self.registry.lines.links.get().map(crate::link::Links::state).unwrap_or_default();
        node.link_messages_refused.raise_to(states.iter().map(|state| state.refused).sum());
        self.metrics.print()
    }
}
