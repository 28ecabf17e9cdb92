//! What the admin listener shows, gathered from groups, journal, links and control plane.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::AppError;
use super::attention::{self, Known};
use super::groups::{Member, Registry};
use super::numbers::{DiskNumbers, Numbers, PeerNumbers, wall_ms, within};
use super::tokens::TokenCodec;
use super::vitals::Vitals;
use super::{order, resolve};
use crate::admin::{
    AdminSource, Attention, Conflict, EndpointStatus, GroupStatus, Health, HealthState, InviteMade, InviteQuery,
    Judged, Kept, ManyOrdered, OperateError, PeerStatus, QuarantineEntry, QuarantineList, QuarantineQuery,
    QuarantineStatus, ReplicaStatus, ServiceStatus, ShowQuery, Status, StoreStatus, Teller, WriteList, WriteStatus,
    WriteSummary, WritesQuery, place,
};
use crate::config::{Config, Durability, Service};
use crate::gateway::{EndpointState, LaneRules, Upstream};
use crate::journal::{Filter, Journal, ListState, QuarantineFilter, Row, Shown};
use crate::model::{Group, KeyHash, LogId, Request, SiteName, WriteId};
use crate::privacy::Privacy;
use crate::service::{ORDERS_MAX, Operation, Reply, View};
use crate::telemetry::Metrics;

/// Entries of the quarantine in one answer.
const QUARANTINE_SHOWN: usize = 1_000;

pub(super) struct Source {
    pub(super) config: Arc<Config>,
    teller: Teller,
    pub journal: Journal,
    pub(super) registry: Arc<Registry>,
    pub(super) upstreams: BTreeMap<String, Arc<Upstream>>,
    looks: attention::Settings,
    pub(super) metrics: Arc<Metrics>,
    pub(super) state: watch::Receiver<HealthState>,
    pub tokens: TokenCodec,
    pub(super) vitals: Arc<Vitals>,
    /// Of the chain that clients are shown, where they are.
    pub(super) gateway_certificate_end_s: Option<i64>,
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
        Ok(Self {
            teller: teller(&config, tokens.secret_of_shown()),
            looks: attention::Settings::of(&config),
            gateway_certificate_end_s: config.gateway.tls.as_ref().and_then(resolve::certificate_end_s),
            config,
            journal,
            registry,
            upstreams,
            metrics,
            state,
            tokens,
            vitals: Vitals::new(),
            started: Instant::now(),
        })
    }

    pub(super) async fn views(&self) -> Vec<(Group, View)> {
        let mut views = Vec::new();
        for (group, member) in &self.registry.members {
            if let Some(mut view) = member.handle.view().await {
                if view.quarantine > 0 {
                    let firsts = within(self.journal.quarantine_firsts(group.clone())).await;
                    view.not_equal = firsts.unwrap_or_default();
                }
                view.stopped = view.stopped.map(|why| self.teller.detail(&why));
                views.push((group.clone(), view));
            }
        }
        views
    }

    fn no_service(&self, asked: &str) -> OperateError {
        let known: BTreeSet<&String> = self.registry.members.keys().map(|group| &group.service).collect();
        OperateError::UnknownService { asked: asked.to_owned(), known: known.into_iter().cloned().collect() }
    }

    /// A choice of what is not there is a slip of the pen, and no empty list.
    async fn is_there(&self, query: &QuarantineQuery) -> Result<(), OperateError> {
        let filter =
            QuarantineFilter { service: query.service.clone(), store: query.store.clone(), ..Default::default() };
        let (service, store) = (filter.service.clone(), filter.store.clone());
        let has = |group: &&Group| service.as_ref().is_none_or(|service| *service == group.service);
        let members = || self.registry.members.keys();
        if members().filter(has).any(|group| store.as_ref().is_none_or(|store| *store == group.store)) {
            return Ok(());
        }
        // Entries outlive the configuration of their service.
        if self.journal.quarantine_counts(filter).await.is_ok_and(|counts| counts.total > 0) {
            return Ok(());
        }
        let stores: BTreeSet<&str> = members().filter(has).map(|group| group.store.as_str()).collect();
        match (service, store) {
            (Some(service), _) if stores.is_empty() => Err(self.no_service(&service)),
            (service, store) => {
                let (of, store) = (service.map(|service| format!(" of {service}")), store.unwrap_or_default());
                let stores: Vec<&str> = stores.into_iter().filter(|store| !store.is_empty()).collect();
                let there = if stores.is_empty() { "none".to_owned() } else { stores.join(", ") };
                let of = of.unwrap_or_default();
                Err(OperateError::Rejected(format!("there is no store {store:?}{of} at this site, which has: {there}")))
            }
        }
    }

    /// The group that a person names: without a store the only one of its service.
    fn meant(&self, service: &str, store: &str) -> Result<Group, OperateError> {
        let of_service: Vec<&Group> = self.registry.members.keys().filter(|group| group.service == service).collect();
        match of_service.as_slice() {
            [] => Err(self.no_service(service)),
            [only] if store.is_empty() => Ok((*only).clone()),
            groups => groups.iter().find(|group| group.store == store).map(|group| (*group).clone()).ok_or_else(|| {
                let stores: Vec<&str> = groups.iter().map(|group| group.store.as_str()).collect();
                let asked = if store.is_empty() { String::new() } else { format!(", and not {store:?}") };
                let stores = stores.join(", ");
                OperateError::Rejected(format!("name one of the stores of {service} here: {stores}{asked}"))
            }),
        }
    }

    fn member(&self, group: &Group) -> Option<&Member> {
        self.registry.members.get(group)
    }

    fn peers_from(&self, numbers: Vec<PeerNumbers>) -> Vec<PeerStatus> {
        let status = |peer: PeerNumbers| PeerStatus {
            linked: peer.link.connected,
            dials: peer.link.dials,
            address: self.config.peer(&peer.link.site).and_then(|p| p.link.as_ref()).map(ToString::to_string),
            control: peer.hears,
            since_ms: Some(peer.since_ms),
            was_linked: peer.was_linked,
            not_received: peer.not_received,
            not_decided: peer.not_decided,
            lag_ms: peer.not_decided_age_ms,
            not_received_age_ms: peer.not_received_age_ms,
            last_error: peer.link.last_error,
            differs: peer.link.differs.iter().map(|d| format!("{}: {}", d.service, d.keys.join(", "))).collect(),
            site: peer.link.site,
        };
        numbers.into_iter().map(status).collect()
    }

    fn health_from(&self, numbers: &Numbers) -> Health {
        Health::new(*self.state.borrow(), attention::look_at(&self.known(numbers)))
    }

    fn known<'a>(&'a self, numbers: &'a Numbers) -> Known<'a> {
        Known { me: &self.config.site, state: *self.state.borrow(), numbers, settings: &self.looks, now_ms: wall_ms() }
    }

    /// The sites of all logs that are known here.
    fn sites(&self, views: &[(Group, View)]) -> BTreeMap<LogId, SiteName> {
        let series = views.iter().flat_map(|(_, view)| &view.series);
        let sites = series.map(|series| (series.log, series.site.clone()));
        sites.chain([(self.journal.log(), self.config.site.clone())]).collect()
    }

    fn summary(
        &self,
        group: &Group,
        row: &Row,
        request: Option<&Request>,
        sites: &BTreeMap<LogId, SiteName>,
    ) -> WriteSummary {
        let site = sites.get(&row.id.log).cloned();
        let is_own = site.as_ref() == Some(&self.config.site);
        let lane = request.and_then(|request| self.teller.lane_words(group, row, request));
        self.teller.summary(WriteSummary::new(group, row, request, (site, is_own), lane))
    }

    fn store(&self, disk: &DiskNumbers) -> StoreStatus {
        StoreStatus {
            durability: match self.config.store.durability {
                Durability::PowerLoss => "power-loss",
                Durability::ProcessCrash => "process-crash",
            },
            free_bytes: disk.free_bytes.unwrap_or(0),
            reserve_bytes: disk.reserve_bytes,
            journal_bytes: disk.journal_bytes.unwrap_or(0),
            hours_left: disk.left.map(|left| left.s / 3_600.0),
            hours_left_over_s: disk.left.map(|left| left.over_ms / 1_000),
        }
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

    /// Sites that hold a replica, but for this one.
    fn others(&self, group: &Group) -> Vec<SiteName> {
        let service = self.config.services.iter().find(|service| service.name == group.service);
        let sites = service.map(|service| service.replicas_of(group)).unwrap_or_default();
        sites.into_iter().filter(|site| *site != self.config.site).collect()
    }

    async fn judged(&self, shown: &Shown, kept: Kept<'_>) -> Option<Judged> {
        let held = shown.quarantined.as_ref()?;
        let mut entry = QuarantineEntry::new(&shown.group, held, Some(&shown.row), kept.request);
        let Group { service, store } = shown.group.clone();
        let lane = Some(shown.row.facts.lane);
        let of_lane = QuarantineFilter { service: Some(service), store: Some(store), lane, ..Default::default() };
        if let Ok(page) = self.journal.quarantine_page(of_lane, None, 1).await {
            place(&mut entry, page.entries.first().map(|first| first.entry.id), page.counts.total);
        }
        Some(self.teller.judged(entry, held, Some(kept), &self.others(&shown.group)))
    }

    fn replicas(&self, shown: &Shown, view: &View) -> Vec<ReplicaStatus> {
        let Some((position, _)) = shown.row.position else { return Vec::new() };
        let log = shown.row.id.log;
        let here = view.series.iter().find(|s| s.log == log);
        let own = here.map_or((false, false), |s| (s.received >= position, s.decided >= position));
        let own = ReplicaStatus::own(self.config.site.clone(), own, &shown.row);
        let others = view
            .cursors
            .iter()
            .filter(|c| c.log == log)
            .map(|c| ReplicaStatus::other(c.site.clone(), (c.received >= position, c.decided >= position)));
        std::iter::once(own).chain(others).collect()
    }
}

/// How a service's writes are told of, and what of them is hidden.
fn teller(config: &Config, secret: [u8; 32]) -> Teller {
    let teller = Teller::new(config.site.clone(), Privacy::new(config.masks.clone(), secret));
    config.services.iter().fold(teller, |teller, service| {
        let lanes = LaneRules::new(&service.lane);
        teller.service(&service.name, lanes, &service.idempotency.client, service.compare_body)
    })
}

fn kept<'a>(shown: &'a Shown, view: &'a View, show: ShowQuery) -> Kept<'a> {
    let of_log = view.series.iter().find(|series| series.log == shown.row.id.log);
    Kept {
        group: &shown.group,
        row: &shown.row,
        request: shown.request.as_deref(),
        origin: of_log.map(|series| &series.site),
        bodies: show.body,
    }
}

impl AdminSource for Source {
    async fn health(&self) -> Health {
        if *self.state.borrow() == HealthState::Recovering {
            return Health::new(HealthState::Recovering, Vec::new());
        }
        self.health_from(&self.numbers().await)
    }

    /// Tasks that have come to a standstill are not alive; a journal that cannot be read at the moment is no reason.
    async fn state(&self) -> HealthState {
        let state = *self.state.borrow();
        if state != HealthState::Recovering {
            for member in self.registry.members.values() {
                member.handle.view().await;
            }
        }
        state
    }

    async fn status(&self) -> Status {
        let numbers = self.numbers().await;
        let (store, health) = (self.store(&numbers.disk), self.health_from(&numbers));
        let (views, peers) = (numbers.groups, self.peers_from(numbers.peers));
        Status {
            site: self.config.site.clone(),
            realm: self.config.realm.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            health,
            store,
            peers,
            groups: views.into_iter().map(|(group, view)| GroupStatus::new(&group, view)).collect(),
        }
    }

    async fn peers(&self) -> Vec<PeerStatus> {
        self.peers_from(self.numbers().await.peers)
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
            endpoints: self.upstreams[&service.name].endpoints().into_iter().map(endpoint).collect(),
            groups: groups(&service.name),
        });
        services.collect()
    }

    async fn writes(&self, query: WritesQuery) -> Result<WriteList, OperateError> {
        let rejected = |error: String| OperateError::Rejected(error);
        let after = match &query.after {
            Some(text) => Some(text.parse::<WriteId>().map_err(|error| rejected(error.to_string()))?),
            None => None,
        };
        let groups: Vec<Option<Group>> = match &query.service {
            None => vec![None],
            Some(name) => {
                let groups: Vec<_> =
                    self.registry.members.keys().filter(|g| g.service == *name).cloned().map(Some).collect();
                if groups.is_empty() {
                    return Err(self.no_service(name));
                }
                groups
            }
        };
        let limit = query.limit();
        let mut listed = Vec::new();
        for group in groups {
            let state = query.open.then_some(ListState::Open);
            let filter = Filter { group, lane: None, state, after, limit: limit + 1 };
            listed.extend(self.journal.list(filter).await.map_err(|error| rejected(error.to_string()))?);
        }
        listed.sort_by_key(|l| std::cmp::Reverse((l.row.facts.original_ms, l.row.id)));
        let more = listed.len() > limit;
        listed.truncate(limit);
        let sites = self.sites(&self.views().await);
        let summary = |l: &crate::journal::Listed| self.summary(&l.group, &l.row, l.request.as_deref(), &sites);
        Ok(WriteList { writes: listed.iter().map(summary).collect(), more })
    }

    async fn write(&self, asked: &str, show: ShowQuery) -> Option<WriteStatus> {
        let shown = self.shown(asked).await?;
        let view = self.member(&shown.group)?.handle.view().await?;
        let row = &shown.row;
        let kept = kept(&shown, &view, show);
        let sites = self.sites(&[(shown.group.clone(), view.clone())]);
        Some(WriteStatus {
            summary: self.summary(&shown.group, row, kept.request, &sites),
            has_key: row.facts.key.is_some(),
            traceparent: row.facts.traceparent.clone(),
            repeats: row.outcome.as_ref().and_then(|outcome| outcome.repeats),
            decides: row.decides.map(|(id, _)| id),
            account: self.teller.account(kept),
            replicas: self.replicas(&shown, &view),
            quarantine: self.judged(&shown, kept).await,
        })
    }

    async fn quarantine(&self, query: QuarantineQuery) -> Result<QuarantineList, OperateError> {
        let rejected = OperateError::Rejected;
        let after = query.after.as_deref().map(|text| {
            let parts = text.split_once('/').and_then(|(since, id)| Some((since.parse().ok()?, id.parse().ok()?)));
            parts.ok_or_else(|| format!("after={text:?} is not what an answer before has given"))
        });
        let after = after.transpose().map_err(rejected)?;
        let filter = query.filter(|mark| self.teller.lane_of(mark)).map_err(rejected)?;
        self.is_there(&query).await?;
        let page = self.journal.quarantine_page(filter, after, query.limit(QUARANTINE_SHOWN));
        let page = page.await.map_err(|error| rejected(error.to_string()))?;
        Ok(QuarantineList {
            entries: page
                .entries
                .into_iter()
                .map(|listed| self.teller.entry(QuarantineEntry::listed(listed)))
                .collect(),
            total: page.counts.total,
            next: page.next.map(|(since_ms, id)| format!("{since_ms}/{id}")),
        })
    }

    async fn quarantined(&self, asked: &str, show: ShowQuery) -> Option<QuarantineStatus> {
        if let Some(shown) = self.shown(asked).await {
            let view = self.member(&shown.group)?.handle.view().await?;
            let kept = kept(&shown, &view, show);
            let judged = self.judged(&shown, kept).await;
            let (origin_site, account) = (kept.origin.cloned(), Some(self.teller.account(kept)));
            return judged.map(|judged| QuarantineStatus { judged, origin_site, account });
        }
        // Its row is broken; there may be its entry.
        let (group, held) = self.journal.quarantine_entry(asked.parse().ok()?).await.ok()??;
        let entry = QuarantineEntry::new(&group, &held, None, None);
        let judged = self.teller.judged(entry, &held, None, &self.others(&group));
        Some(QuarantineStatus { judged, origin_site: None, account: None })
    }

    async fn order_many(&self, query: QuarantineQuery, operation: Operation) -> Result<ManyOrdered, OperateError> {
        let after = query
            .after
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(order::from_text)
            .transpose()
            .map_err(OperateError::Rejected)?;
        let filter = query.filter(|mark| self.teller.lane_of(mark)).map_err(OperateError::Rejected)?;
        self.is_there(&query).await?;
        let limit = query.limit(ORDERS_MAX);
        let next = self.journal.quarantine_in_order(filter, after.clone(), limit).await;
        let mut next = next.map_err(|_| OperateError::Gone)?;
        let has_more = next.len() == limit;
        let Some(group) = next.first().map(|entry| entry.group.clone()) else { return Ok(ManyOrdered::default()) };
        let of_group = next.iter().take_while(|entry| entry.group == group).count();
        let has_more = has_more || of_group < next.len();
        next.truncate(of_group);
        let member = self.member(&group).ok_or_else(|| self.no_service(&group.service))?;
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
        let member = self.member(&group).ok_or_else(|| self.no_service(&group.service))?;
        match member.handle.operate(Some(id), operation).await {
            Reply::Done => Ok(()),
            Reply::Rejected { why } => Err(OperateError::Rejected(why)),
            _ => Err(OperateError::Gone),
        }
    }

    async fn resume(&self, service: &str, store: &str) -> Result<(), OperateError> {
        let group = self.meant(service, store)?;
        let member = self.member(&group).ok_or(OperateError::Gone)?;
        if member.handle.view().await.is_some_and(|view| view.stopped.is_none()) {
            return Err(OperateError::Rejected(format!("{group} is not stopped: there is nothing to resume")));
        }
        match member.handle.operate(None, Operation::Resume).await {
            Reply::Done => Ok(()),
            Reply::Rejected { why } => Err(OperateError::Rejected(why)),
            _ => Err(OperateError::Gone),
        }
    }

    async fn conflicts(&self) -> Vec<Conflict> {
        self.registry.conflicts.all()
    }

    async fn seen(&self) -> Vec<Attention> {
        let numbers = self.numbers().await;
        let said = attention::happened(&self.known(&numbers));
        // Only what is told here: more may have come since.
        numbers.mishaps.iter().for_each(|(of, lately)| self.vitals.saw(*of, *lately));
        self.registry.orphans.were_seen();
        said
    }

    async fn invite(&self, asked: InviteQuery) -> Result<InviteMade, OperateError> {
        super::invite::invite(&self.registry, &self.config, asked).await
    }

    async fn metrics(&self) -> String {
        let numbers = self.numbers().await;
        self.page(&numbers)
    }
}

fn endpoint(state: EndpointState) -> EndpointStatus {
    let (lasting, why) = state.trouble.unzip();
    let down_ms = lasting.map(|lasting| u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX));
    EndpointStatus { url: state.name, healthy: state.healthy, down_ms, why }
}
