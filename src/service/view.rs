//! A picture of a group for people: `holdfast status`, the admin API, metrics.
use std::collections::BTreeMap;

use crate::journal::Quarantined;
use crate::mirror::Series;
use crate::model::{LogId, SiteName, WriteId};
use crate::service::core::Core;
use crate::service::write::{Stage, Write};

#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct View {
    /// Site that decides now; `None` when nobody can be asked.
    pub decider: Option<SiteName>,
    pub healthy: bool,
    /// Why following stopped, if it did.
    pub stopped: Option<String>,
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
    /// How far each peer is with each series, as it said last.
    pub cursors: Vec<CursorView>,
    #[serde(skip)]
    pub quarantined: Vec<Quarantined>,
    pub quarantine: usize,
    pub concurrent: u64,
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
    pub lag_ms: u64,
    /// Positions of all series known here that the peer has not confirmed as stored, and as decided.
    pub not_received: u64,
    pub not_decided: u64,
}

#[derive(Clone, Debug, serde::Serialize)]
pub struct CursorView {
    pub site: SiteName,
    pub log: LogId,
    pub received: u64,
    pub decided: u64,
}

impl Core {
    pub(crate) fn next_of(&self, series: &Series) -> Option<NextView> {
        let next = |write: &&Write| write.position.is_some_and(|(position, _)| position == series.decided + 1);
        let mut of_log =
            self.live.range(first_of(series.log)..).map(|(_, write)| write).take_while(|w| w.id.log == series.log);
        let write = of_log.find(next)?;
        Some(NextView { write: write.id, stage: write.stage_name(), on: self.waits_on(write) })
    }

    fn waits_on(&self, write: &Write) -> Option<String> {
        if write.stage != Stage::Waiting {
            return None;
        }
        if let Some(dependency) = self.missing_for(write) {
            return Some(dependency.to_string());
        }
        match self.lanes.get(&write.facts.lane).and_then(|lane| lane.here).filter(|id| *id != write.id) {
            Some(other) => Some(format!("its lane, which {other} has")),
            None if self.shadows_waiting.contains(&write.id) => Some("a place at the service".to_owned()),
            None => None,
        }
    }
}

fn first_of(log: LogId) -> WriteId {
    WriteId { log, n: 0 }
}
