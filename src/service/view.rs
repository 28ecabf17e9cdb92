//! A picture of a group for people: `holdfast status`, the admin API, metrics.
use std::collections::BTreeMap;

use crate::journal::{Origin, Quarantined, StopKind};
use crate::mirror::Series;
use crate::model::{LogId, SiteName, WriteId};
use crate::service::core::Core;
use crate::service::write::{Stage, Write};

#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct View {
    /// Site that decides now; `None` when nobody can be asked.
    pub decider: Option<SiteName>,
    pub healthy: bool,
    /// For so long nothing is sent to this replica: a try of the life before, whose record is broken, may be under way.
    pub hidden_try_ms: Option<u64>,
    /// Why following stopped, if it did.
    pub stopped: Option<String>,
    pub stop: Option<StopKind>,
    pub lag_ms: u64,
    /// Own and foreign writes that are not settled and decided here.
    pub open_writes: usize,
    /// The open writes by where they stand.
    pub stages: BTreeMap<&'static str, usize>,
    pub queued: usize,
    pub unknown: usize,
    /// Some of the writes that wait at this replica, and for what.
    pub waits: Vec<WaitView>,
    pub series: Vec<SeriesView>,
    pub peers: Vec<PeerView>,
    /// How far each peer is with each series, as it said last, in whatever life of this store.
    pub cursors: Vec<CursorView>,
    pub quarantine: u64,
    /// Of these, entries made of records that cannot be read: the journal does not have them.
    #[serde(skip)]
    pub unreadable: Vec<Quarantined>,
    /// So many lanes, of those in quarantine.
    pub not_equal: u64,
    pub concurrent: u64,
    pub conflicts: super::Conflicts,
    pub ring: usize,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct WaitView {
    pub write: WriteId,
    /// What must be decided at this replica first.
    pub on: String,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct SeriesView {
    pub log: LogId,
    pub site: SiteName,
    pub received: u64,
    pub decided: u64,
    /// What holds up this series, if it is taken up already.
    pub next: Option<NextView>,
    /// The first position whose record is broken here and was not sent again by another site yet.
    pub broken: Option<u64>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct NextView {
    pub write: WriteId,
    pub stage: &'static str,
    /// What it waits for: another write, its lane, a place at the service.
    pub on: Option<String>,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct PeerView {
    pub site: SiteName,
    pub linked: bool,
    pub healthy: bool,
    /// Writes that this site has and the peer has not confirmed, as stored and as decided there: positions of all
    /// series known here, and own writes that have none yet and are kept here alone.
    pub not_received: u64,
    pub not_decided: u64,
    /// Age of the oldest position that the peer has not confirmed as decided, and as stored, milliseconds. What was
    /// stored in a life before this one counts from the start: the journal knows better (`lacks`).
    pub lag_ms: u64,
    pub unreceived_ms: u64,
    #[serde(skip)]
    pub lacks: Vec<LackView>,
}

/// A series of which a peer has not confirmed all.
#[derive(Clone, Copy, Debug)]
pub struct LackView {
    pub log: LogId,
    /// Here.
    pub end: u64,
    /// As confirmed.
    pub received: u64,
    pub decided: u64,
    /// So much of it was here before this life of the process.
    pub before: u64,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct CursorView {
    pub site: SiteName,
    pub log: LogId,
    pub received: u64,
    pub decided: u64,
}

impl Core {
    pub(super) fn peer_view(&self, site: &SiteName, now_ms: u64) -> PeerView {
        let peer = self.mirror.peers.get(site);
        let others = self.mirror.series.values().filter(|series| series.site != *site);
        let lacks = others.filter_map(|series| {
            let (received, decided) = series.confirmed_by(site);
            let (log, end, before) = (series.log, series.received, series.received_before);
            let lack = LackView { log, end, received, decided, before };
            (decided.min(received) < series.received).then_some(lack)
        });
        let lacks: Vec<LackView> = lacks.collect();
        // A write that was wished is at another site too.
        let alone = |write: &&Write| {
            write.stored
                && write.row.id.log == self.own
                && write.row.position.is_none()
                && matches!(write.row.origin, Origin::Queued | Origin::Here)
        };
        let alone = self.live.values().filter(alone).count() as u64;
        let count = |of: fn(&LackView) -> u64| lacks.iter().map(|lack| lack.end.saturating_sub(of(lack))).sum::<u64>();
        let oldest = |of: fn(&LackView) -> u64| {
            let ages = lacks.iter().map(|lack| self.mirror.series[&lack.log].lag_ms(of(lack), now_ms));
            ages.max().unwrap_or(0)
        };
        PeerView {
            site: site.clone(),
            linked: peer.is_some_and(|p| p.linked),
            healthy: peer.is_some_and(|p| p.healthy),
            not_received: count(|lack| lack.received) + alone,
            not_decided: count(|lack| lack.decided) + alone,
            lag_ms: oldest(|lack| lack.decided),
            unreceived_ms: oldest(|lack| lack.received),
            lacks,
        }
    }

    pub(crate) fn next_of(&self, series: &Series) -> Option<NextView> {
        let next = |write: &&Write| write.row.position.is_some_and(|(position, _)| position == series.decided + 1);
        let mut of_log =
            self.live.range(first_of(series.log)..).map(|(_, write)| write).take_while(|w| w.row.id.log == series.log);
        let write = of_log.find(next)?;
        Some(NextView { write: write.row.id, stage: write.stage_name(), on: self.waits_on(write) })
    }

    pub(super) fn waits_on(&self, write: &Write) -> Option<String> {
        match self.missing_for(write).filter(|_| write.stage == Stage::Waiting) {
            Some(dependency) => Some(dependency.to_string()),
            None => self.awaited_by(write),
        }
    }

    /// What a write that misses nothing waits for.
    fn awaited_by(&self, write: &Write) -> Option<String> {
        let here = self.replay.lanes.here(write.row.facts.lane);
        let taken =
            |by: Option<WriteId>| by.filter(|id| *id != write.row.id).map(|id| format!("its lane, which {id} has"));
        match &write.stage {
            Stage::Decided(_) | Stage::Checking | Stage::Connecting | Stage::Sending | Stage::Judging => None,
            Stage::Backoff { .. } if write.tries.refusals > 0 => {
                let (status, tries) = (write.tries.refused_with, write.tries.refusals);
                Some(format!("its service, which answered {status}: tried {tries} times, and soon again"))
            }
            Stage::Backoff { .. } => Some("its service, which did not take it: soon again".to_owned()),
            Stage::Unknown(_) => Some("word of what became of it at its service".to_owned()),
            Stage::Waiting => match taken(here) {
                Some(lane) => Some(lane),
                None if !self.replay.turns.waits(&write.row.id) => None,
                None if self.replay.stopping.is_stopped() => Some("following, which has stopped".to_owned()),
                None if !self.replica.is_healthy() && self.replica.has_healthy_endpoints() => {
                    Some("the end of a try that may be under way: its record is broken".to_owned())
                }
                None if !self.replica.is_healthy() => Some("its service, which is not healthy".to_owned()),
                None => Some("a place at the service".to_owned()),
            },
            Stage::Idle => match (&write.placing.pending, &write.row.origin) {
                (Some((site, _)), _) => Some(format!("the writes that its outcome at {site} comes after")),
                (None, Origin::Wished { site, revoked: false, .. }) => {
                    Some(format!("{site}, which was asked to decide it"))
                }
                (None, Origin::Wished { site, .. }) => Some(format!("word of {site}, which was asked to decide it")),
                (None, Origin::Queued) if write.tries.refusals > 0 => {
                    let (status, offers) = (write.tries.refused_with, write.tries.refusals);
                    Some(format!("its service, which answered {status}: offered {offers} times, and soon again"))
                }
                (None, Origin::Queued) => Some("a replica that can be asked, and its turn in the queue".to_owned()),
                (None, _) => taken(self.replay.lanes.holder(write.row.facts.lane)),
            },
        }
    }

    /// Copies first: each holds up its whole series. Then what misses something, then what waits for a service or a
    /// site.
    pub(super) fn waits(&self) -> impl Iterator<Item = WaitView> + '_ {
        let copies =
            self.replay.postponed.copies().map(|(first, copy)| WaitView { write: copy.id, on: first.to_string() });
        let blocked = self.replay.blocked.iter().map(|(write, on)| WaitView { write, on: on.to_string() });
        let others = self.live.values().filter(|write| !self.replay.blocked.is_waiting(write.row.id));
        let others = others.filter_map(|write| Some(WaitView { write: write.row.id, on: self.awaited_by(write)? }));
        copies.chain(blocked).chain(others)
    }
}

fn first_of(log: LogId) -> WriteId {
    WriteId { log, n: 0 }
}
