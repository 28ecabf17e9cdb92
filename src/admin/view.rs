//! What the API shows. Field names are part of the interface: scripts read them.
use std::num::NonZeroUsize;

use super::account::{Account, Judged};
use super::words;
use crate::journal::{Fate, Here, Origin, QuarantineFilter, QuarantineListed, QuarantineReason, Quarantined, Row};
use crate::model::{Group, Lane, SiteName, Verdict, WriteId};
use crate::service::{Ordered, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Reading the journal; nothing is served yet.
    Recovering,
    Ready,
    Draining,
    /// About to end because the store or a task failed.
    Failed,
}

impl HealthState {
    pub fn is_ready(self) -> bool {
        self == HealthState::Ready
    }
    pub fn is_live(self) -> bool {
        self != HealthState::Failed
    }
}

/// How soon somebody must come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Clients are refused, what was acknowledged is at risk, or both will be soon.
    Critical,
    Warning,
    #[default]
    Ok,
}

/// Something that a person must know.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Attention {
    pub grade: Grade,
    /// A service (and store), a site, `disk`, `journal`, `certificate`, `clock`, …
    pub subject: String,
    /// What is the matter, since when, and how much of it.
    pub what: String,
    /// What to type next.
    pub command: String,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Health {
    pub state: HealthState,
    /// That of the worst.
    pub grade: Grade,
    /// What a person should look at, the most dangerous first; empty when all is well. Other sites being away is no
    /// reason to be unready (G8).
    pub reasons: Vec<String>,
    /// The same in parts, with what to do.
    pub look_at: Vec<Attention>,
}

impl Health {
    pub fn new(state: HealthState, look_at: Vec<Attention>) -> Self {
        let reasons = look_at.iter().map(|one| format!("{}: {}", one.subject, one.what)).collect();
        let grade = look_at.iter().map(|one| one.grade).min().unwrap_or_default();
        Self { state, grade, reasons, look_at }
    }
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    pub site: SiteName,
    pub realm: String,
    pub version: &'static str,
    pub uptime_s: u64,
    pub health: Health,
    pub store: StoreStatus,
    pub groups: Vec<GroupStatus>,
    pub peers: Vec<PeerStatus>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreStatus {
    pub durability: &'static str,
    pub free_bytes: u64,
    pub reserve_bytes: u64,
    pub journal_bytes: u64,
    /// Until the reserve is reached, if the disk fills as in the last hour, or since the start; `null` while it does
    /// not, or too little is known.
    pub hours_left: Option<f64>,
    /// And how long that time was.
    pub hours_left_over_s: Option<u64>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct GroupStatus {
    pub service: String,
    pub store: String,
    #[serde(flatten)]
    pub view: View,
}

impl GroupStatus {
    pub fn new(group: &Group, view: View) -> Self {
        Self { service: group.service.clone(), store: group.store.clone(), view }
    }
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct ServiceStatus {
    pub name: String,
    pub replicas: Vec<String>,
    /// As in the configuration: host and path.
    pub matches: Vec<String>,
    pub endpoints: Vec<EndpointStatus>,
    /// Empty for a plain proxy.
    pub groups: Vec<GroupStatus>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct EndpointStatus {
    pub url: String,
    pub healthy: bool,
    /// For how long it has not been healthy, and what was met last.
    pub down_ms: Option<u64>,
    pub why: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct PeerStatus {
    pub site: SiteName,
    pub linked: bool,
    /// This site dials; else the other one does.
    pub dials: bool,
    pub address: Option<String>,
    /// Hints reach it.
    pub control: bool,
    /// When `linked` last changed, wall clock, milliseconds since 1970; where it was not linked since its start, that.
    pub since_ms: Option<u64>,
    /// Since this site's start.
    pub was_linked: bool,
    /// Writes kept here that it has not confirmed as stored, over all groups: what would be lost with this disk. And as
    /// decided there.
    pub not_received: u64,
    pub not_decided: u64,
    /// Age of the oldest that it has not confirmed as decided, and as stored, by this site's own log.
    pub lag_ms: u64,
    pub not_received_age_ms: u64,
    pub last_error: Option<String>,
    /// Services that the two sites define differently, with the keys: nothing of them is exchanged.
    pub differs: Vec<String>,
}

/// What two sites did with one lane, key or write, each without the other.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Conflict {
    /// When it was found here: wall clock, milliseconds since 1970.
    pub at_ms: u64,
    pub service: String,
    pub store: String,
    /// `one lane`, `one key for two requests`, `answered differently`.
    pub what: &'static str,
    pub write: WriteId,
    pub with: WriteId,
}

/// `?service=&open=true&after=&limit=`
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WritesQuery {
    pub service: Option<String>,
    /// Only writes that are not settled and decided here.
    pub open: bool,
    /// Continue behind this id.
    pub after: Option<String>,
    /// Absent: 100; at most 1,000.
    pub limit: Option<NonZeroUsize>,
}

impl WritesQuery {
    pub fn limit(&self) -> usize {
        self.limit.map_or(100, NonZeroUsize::get).min(1_000)
    }
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct WriteList {
    /// Latest first.
    pub writes: Vec<WriteSummary>,
    /// There are more: ask with `after` set to the last id.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct WriteSummary {
    pub id: WriteId,
    pub service: String,
    pub store: String,
    pub method: Option<String>,
    pub target: Option<String>,
    /// Where its origin stands with it: accepted, queued, here, wished, settled, cancelled; foreign: another site's.
    pub origin: &'static str,
    /// Where this replica stands with it.
    pub here: &'static str,
    /// The site that accepted it, where it is known.
    pub origin_site: Option<SiteName>,
    /// Who accepted it, and where that site stands with it; and what this replica has done: in words.
    pub origin_words: String,
    pub decided_words: String,
    /// As its client said it, where that is known and no secret.
    pub lane_words: Option<String>,
    /// Stands for it, at this site alone: set by the [`super::Teller`].
    pub lane: String,
    /// Not for people: values could be tried out.
    #[serde(skip)]
    pub lane_hash: Lane,
    pub verdict: Option<Verdict>,
    /// What the decider's replica answered.
    pub status: Option<u16>,
    pub position: Option<u64>,
    pub original_ms: u64,
}

impl WriteSummary {
    /// `from`: the site of its log; `lane_words`: as its client said it.
    pub fn new(
        group: &Group,
        row: &Row,
        request: Option<&crate::model::Request>,
        (from, is_own): (Option<SiteName>, bool),
        lane_words: Option<String>,
    ) -> Self {
        Self {
            id: row.id,
            service: group.service.clone(),
            store: group.store.clone(),
            method: request.map(|request| request.method.clone()),
            target: request.map(|request| request.target.clone()),
            origin_words: words::origin(row, is_own, from.as_ref()),
            decided_words: words::decided(row),
            origin_site: from,
            lane_words,
            lane: String::new(),
            lane_hash: row.facts.lane,
            origin: origin_name(&row.origin),
            here: here_name(&row.here),
            verdict: row.outcome.as_ref().map(|outcome| outcome.verdict),
            status: row.outcome.as_ref().map(|outcome| outcome.status).filter(|status| *status != 0),
            position: row.position.map(|(position, _)| position),
            original_ms: row.facts.original_ms,
        }
    }
}

fn origin_name(origin: &Origin) -> &'static str {
    match origin {
        Origin::Foreign => "foreign",
        Origin::Accepted => "accepted",
        Origin::Queued => "queued",
        Origin::Here => "here",
        Origin::Wished { .. } => "wished",
        Origin::Settled => "settled",
        Origin::Cancelled => "cancelled",
    }
}

fn here_name(here: &Here) -> &'static str {
    match here {
        Here::Untouched => "untouched",
        Here::Sending { .. } => "sending",
        Here::Decided(Fate::Applied) => "applied",
        Here::Decided(Fate::Refused) => "refused",
        Here::Decided(Fate::Skipped) => "skipped",
        Here::Decided(Fate::Duplicate(_)) => "duplicate",
        Here::Decided(Fate::Void) => "void",
        Here::Decided(Fate::Quarantined(_)) => "quarantined",
    }
}

/// One write with all that is known of it here.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WriteStatus {
    #[serde(flatten)]
    pub summary: WriteSummary,
    pub has_key: bool,
    pub traceparent: Option<String>,
    /// The write of which this one is a copy.
    pub repeats: Option<WriteId>,
    /// The earlier write about which this one is the late decision.
    pub decides: Option<WriteId>,
    #[serde(flatten)]
    pub account: Account,
    pub replicas: Vec<ReplicaStatus>,
    pub quarantine: Option<Judged>,
}

/// What is known here of one replica, by its cursors.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ReplicaStatus {
    pub site: SiteName,
    pub received: bool,
    /// It has gone on past it: what it was decided to be there, this does not say, and it may be in quarantine there.
    pub decided: bool,
    /// What became of it there, in words, as far as that is known here.
    pub decided_words: String,
}

impl ReplicaStatus {
    pub fn own(site: SiteName, (received, decided): (bool, bool), row: &Row) -> Self {
        Self { site, received, decided, decided_words: words::decided(row) }
    }

    pub fn other(site: SiteName, (received, decided): (bool, bool)) -> Self {
        let words = if decided { "decided or held there" } else { "not yet" };
        Self { site, received, decided, decided_words: words.to_owned() }
    }
}

/// `?body=true`, of one write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShowQuery {
    /// Bodies too, as far as they are text and not masked.
    pub body: bool,
}

/// `?service=&store=&reason=&since_ms=&lane=&firsts=true&after=&limit=`, for a page of the quarantine and for orders
/// about many.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineQuery {
    pub service: Option<String>,
    pub store: Option<String>,
    pub reason: Option<QuarantineReason>,
    pub since_ms: Option<u64>,
    /// As `GET /writes/{id}` of this site says it in `lane`.
    pub lane: Option<String>,
    /// Of each lane the first alone.
    pub firsts: bool,
    /// Go on there: the `next` of the answer before.
    pub after: Option<String>,
    /// Absent: 1,000, which is the most; of orders 256.
    pub limit: Option<NonZeroUsize>,
    /// Orders: not only up to the first that is rejected.
    pub keep_going: bool,
    /// Orders: about whatever there is, since nothing is chosen.
    pub all: bool,
}

impl QuarantineQuery {
    pub fn limit(&self, most: usize) -> usize {
        self.limit.map_or(most, NonZeroUsize::get).min(most)
    }

    /// Whether it leaves anything out. What was left out of an order by mistake must not be an order about everything.
    pub fn chooses(&self) -> bool {
        let Self { service, store, reason, since_ms, lane, .. } = self;
        let names = service.is_some() || store.is_some() || lane.is_some();
        names || reason.is_some() || since_ms.is_some_and(|since_ms| since_ms > 0)
    }

    /// `Err` says what cannot be read. `lane_of`: what is meant by what was shown.
    pub fn filter(&self, lane_of: impl Fn(&str) -> Option<Lane>) -> Result<QuarantineFilter, String> {
        let lane =
            |text: &String| lane_of(text).ok_or_else(|| format!("{text:?} is no lane: it has 16 hexadecimal digits"));
        Ok(QuarantineFilter {
            service: self.service.clone(),
            store: self.store.clone(),
            reason: self.reason,
            since_ms: self.since_ms,
            lane: self.lane.as_ref().map(lane).transpose()?,
            firsts: self.firsts,
        })
    }
}

/// A page of the quarantine. The API gives the entries as a list, and the rest as headers.
#[derive(Clone, Debug, Default)]
pub struct QuarantineList {
    pub entries: Vec<QuarantineEntry>,
    /// On all pages.
    pub total: u64,
    /// Absent on the last page.
    pub next: Option<String>,
}

/// What became of orders about the next so many.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ManyOrdered {
    #[serde(flatten)]
    pub ordered: Ordered,
    /// Where to go on; absent at the end, and behind what was rejected.
    pub next: Option<String>,
}

/// `?site=&secret=&hours=`: a box may join.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InviteQuery {
    pub site: String,
    /// SHA-256 of the code's secret, hexadecimal; the secret itself stays where it was made.
    pub secret: String,
    pub hours: u32,
}

/// What the code must say beside its secret.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct InviteMade {
    pub site: SiteName,
    pub hub: SiteName,
    pub until: String,
    /// By what the box knows this hub.
    pub trust: String,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct QuarantineEntry {
    pub id: WriteId,
    pub service: String,
    pub store: String,
    pub reason: QuarantineReason,
    pub detail: String,
    pub since_ms: u64,
    /// What this replica answered, if it did.
    pub status: Option<u16>,
    pub method: Option<String>,
    pub target: Option<String>,
    /// Stands for it, at this site alone: set by the [`super::Teller`].
    pub lane: Option<String>,
    /// Not for people: values could be tried out.
    #[serde(skip)]
    pub lane_hash: Option<Lane>,
    /// The first of its lane, where that is another one: it may be its cause.
    pub behind: Option<WriteId>,
    /// It is the first, and so many of its lane stand behind it.
    pub others_behind: u64,
    /// When these are decided here it is tried once more.
    pub waits_for: Vec<WriteId>,
}

impl QuarantineEntry {
    /// `row`: the write's, where it is kept.
    pub fn new(group: &Group, held: &Quarantined, row: Option<&Row>, request: Option<&crate::model::Request>) -> Self {
        Self {
            id: held.id,
            service: group.service.clone(),
            store: group.store.clone(),
            reason: held.reason,
            detail: held.detail.clone(),
            since_ms: held.since_ms,
            status: Some(held.status).filter(|status| *status != 0),
            method: request.map(|request| request.method.clone()),
            target: request.map(|request| request.target.clone()),
            lane: None,
            lane_hash: row.map(|row| row.facts.lane),
            behind: held.behind,
            others_behind: 0,
            waits_for: held.unknown.clone(),
        }
    }

    pub fn listed(listed: QuarantineListed) -> Self {
        let (method, target) = listed.request.unzip();
        Self {
            method,
            target,
            lane_hash: listed.lane,
            behind: listed.behind,
            others_behind: listed.others,
            ..Self::new(&listed.group, &listed.entry, None, None)
        }
    }
}
