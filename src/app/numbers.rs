//! All numbers that this site says of itself, gathered at one moment: whoever shows one (status, health, metrics) takes
//! it from here, so that no two of them say different things.
//!
//! What a peer lacks is counted from this site's own log and what the peer has confirmed, never from what the peer says
//! of itself; both are in the journal, so that a restart in a cut forgets nothing.
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::forecast::Left;
use super::orphans::Orphan;
use super::source::Source;
use super::vitals::{Lately, Mishap};
use super::wall_clock;
use crate::control::ControlStatus;
use crate::gateway::{EndpointState, Unanswered, Upstream};
use crate::identity::{NearEnd, Standing};
use crate::journal::{Aged, QuarantineCounts, QuarantineFilter, QuarantineReason, Space};
use crate::link::LinkState;
use crate::model::{Group, LogId};
use crate::service::{LackView, OnConcurrent, PeerView, View};
use crate::telemetry::CertificateUse;

/// What the journal does not tell in this time is not known: a page of numbers must come also when the journal cannot
/// be read.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) struct Numbers {
    /// What each service and store says of itself; its `peers` with the ages that the journal knows.
    pub groups: Vec<(Group, View)>,
    pub peers: Vec<PeerNumbers>,
    pub disk: DiskNumbers,
    /// What stands in quarantine now, by service.
    pub quarantine: BTreeMap<String, QuarantineCounts>,
    /// Each service of the configuration at its endpoints here.
    pub services: Vec<ServiceNumbers>,
    pub journal: JournalNumbers,
    /// What stands in the way of certificates; `None` without `[identity]`.
    pub identity: Option<Standing>,
    /// When the first certificate of each chain ends, seconds since 1970.
    pub certificates: Vec<(CertificateUse, i64)>,
    /// Of authorities, and of what a hub signs with: those whose ends are near.
    pub other_ends: Vec<NearEnd>,
    /// What is wrong with the file of invitations of a hub.
    pub invites: Vec<String>,
    /// Of no service any more, and with something left that nobody has marked as seen.
    pub orphans: Vec<Orphan>,
    /// What has been counted that should not happen, with when it was.
    pub mishaps: Vec<(Mishap, Lately)>,
    pub clock: ClockNumbers,
    pub control: ControlStatus,
    /// Lines of log that nobody will ever read, since the start.
    pub log_lines_lost: u64,
    /// Standard error takes no line, for so long, and so many wait.
    pub log_stands: Option<(Duration, usize)>,
    /// Panics that did not end the process, since the start.
    pub panics: u64,
    /// Records met whose checksum did not fit, since the start.
    pub damaged: u64,
}

/// Of one other site, over all services and stores that it shares with this one.
pub(super) struct PeerNumbers {
    pub link: LinkState,
    /// When the link came up, or went down; where it was not up since, when this process began. Wall clock,
    /// milliseconds since 1970.
    pub since_ms: u64,
    /// In this life of the process.
    pub was_linked: bool,
    /// Hints reach it.
    pub hears: bool,
    /// Writes that this site keeps and the peer has not confirmed as stored: what would be lost with this disk.
    pub not_received: u64,
    /// And as decided at its replica.
    pub not_decided: u64,
    /// Age of the oldest of each, milliseconds; 0 where there is none.
    pub not_received_age_ms: u64,
    pub not_decided_age_ms: u64,
}

pub(super) struct ServiceNumbers {
    pub name: String,
    pub endpoints: Vec<EndpointState>,
    /// Its last requests, where none of them was answered.
    pub unanswered: Option<Unanswered>,
}

pub(super) struct JournalNumbers {
    pub space: Space,
    /// Who keeps it from writing, and for how long, milliseconds.
    pub held: Option<(String, u64)>,
    /// Who reads it for so long that the write-ahead log grows, and how long that is, bytes.
    pub read_by: Option<(String, u64)>,
}

pub(super) struct DiskNumbers {
    /// Of the disk of `data_dir`; `None` where the journal does not tell.
    pub free_bytes: Option<u64>,
    /// `store.reserve`.
    pub reserve_bytes: u64,
    /// The database and its write-ahead log.
    pub journal_bytes: Option<u64>,
    /// Until no more than the reserve is free, if the disk goes on filling; `None`: it does not fill, or too little is
    /// known.
    pub left: Option<Left>,
}

pub(super) struct ClockNumbers {
    /// Jumps of the wall clock since the start.
    pub jumps: u64,
    /// By how much at the last of them, milliseconds.
    pub last_jump_ms: i64,
    /// It was never set.
    pub is_unset: bool,
}

impl Source {
    pub(super) async fn numbers(&self) -> Numbers {
        let mut groups = self.views().await;
        self.age(&mut groups).await;
        let usage = within(self.journal.usage()).await;
        let quarantine = self.quarantine_by_service(&groups).await;
        let (log_lines_lost, panics) = (crate::telemetry::Lines::standard().lost(), crate::contain::contained());
        Numbers {
            services: self.service_numbers(),
            journal: self.journal_numbers(),
            identity: self.registry.certificate(),
            invites: self.registry.invites_trouble(),
            orphans: self.registry.orphans.unseen().to_vec(),
            mishaps: self.mishaps(&groups),
            peers: self.peer_numbers(&groups),
            disk: DiskNumbers {
                free_bytes: usage.map(|usage| usage.disk_free_bytes),
                reserve_bytes: self.config.store.reserve_bytes,
                journal_bytes: usage.map(|usage| usage.journal_bytes),
                left: self.vitals.left(self.config.store.reserve_bytes),
            },
            quarantine,
            certificates: self.certificates(),
            other_ends: self.registry.other_ends(),
            clock: ClockNumbers {
                jumps: self.vitals.clock_jumps(),
                last_jump_ms: self.vitals.last_clock_jump_ms(),
                is_unset: wall_clock::is_unset(wall_ms()),
            },
            control: self.registry.lines.control.get().map(|control| control.status()).unwrap_or_default(),
            log_lines_lost,
            log_stands: crate::telemetry::Lines::standard().stands(),
            panics,
            damaged: self.journal.damages().len() as u64,
            groups,
        }
    }

    fn service_numbers(&self) -> Vec<ServiceNumbers> {
        let of = |(name, upstream): (&String, &Arc<Upstream>)| ServiceNumbers {
            name: name.clone(),
            endpoints: upstream.endpoints(),
            unanswered: upstream.unanswered(),
        };
        self.upstreams.iter().map(of).collect()
    }

    fn journal_numbers(&self) -> JournalNumbers {
        let held = self.journal.held();
        let held = held.borrow().as_ref().map(|held| (held.by.clone(), held.since.elapsed().as_millis() as u64));
        JournalNumbers { space: self.journal.space(), held, read_by: self.journal.read_by() }
    }

    fn mishaps(&self, groups: &[(Group, View)]) -> Vec<(Mishap, Lately)> {
        let sum = |of: fn(&View) -> u64| groups.iter().map(|(_, view)| of(view)).sum::<u64>();
        let counts = [
            (Mishap::ClockJumps, self.vitals.clock_jumps()),
            (Mishap::LogLines, crate::telemetry::Lines::standard().lost()),
            (Mishap::Panics, crate::contain::contained()),
            (Mishap::Connections, crate::descriptors::refused()),
            (Mishap::Keys, sum(|view| view.conflicts.keys)),
            (Mishap::Answers, sum(|view| view.conflicts.answers)),
            (Mishap::Concurrent, self.applied_beside(groups)),
        ];
        let lately = |(of, count)| Some((of, self.vitals.lately(of, count)?));
        counts.into_iter().filter_map(lately).collect()
    }

    /// Concurrent writes that were applied, in another order than elsewhere; others stand in quarantine.
    fn applied_beside(&self, groups: &[(Group, View)]) -> u64 {
        let applies = |name: &str| {
            let service = self.config.services.iter().find(|service| service.name == name);
            service.is_some_and(|service| service.on_concurrent == OnConcurrent::Apply)
        };
        groups.iter().filter(|(group, _)| applies(&group.service)).map(|(_, view)| view.concurrent).sum()
    }

    /// What of each peer this site's groups know.
    fn peer_numbers(&self, groups: &[(Group, View)]) -> Vec<PeerNumbers> {
        let Some(links) = self.registry.lines.links.get() else { return Vec::new() };
        let now_ms = wall_ms();
        let concerned = |site: &crate::model::SiteName| self.registry.members.values().any(|m| m.peers.contains(site));
        let states = links.state().into_iter().filter(|link| link.dials || link.connected || concerned(&link.site));
        let numbers = states.map(|link| {
            let of = |value: fn(&PeerView) -> u64| {
                groups.iter().flat_map(|(_, view)| &view.peers).filter(|peer| peer.site == link.site).map(value)
            };
            PeerNumbers {
                since_ms: now_ms.saturating_sub(link.since_ms),
                was_linked: link.connections > 0,
                hears: self.registry.hears(&link.site),
                not_received: of(|peer| peer.not_received).sum(),
                not_decided: of(|peer| peer.not_decided).sum(),
                not_received_age_ms: of(|peer| peer.unreceived_ms).max().unwrap_or(0),
                not_decided_age_ms: of(|peer| peer.lag_ms).max().unwrap_or(0),
                link,
            }
        });
        numbers.collect()
    }

    /// A group knows how old is what came in this life of the process; the journal knows of the lives before.
    async fn age(&self, groups: &mut [(Group, View)]) {
        let mut asked: Vec<(Group, LogId, u64)> = Vec::new();
        for (group, view) in &*groups {
            let positions = view.peers.iter().flat_map(|peer| &peer.lacks).flat_map(of_lives_before);
            asked.extend(positions.map(|(log, at)| (group.clone(), log, at)));
        }
        if asked.is_empty() {
            return;
        }
        let Some(ages) = within(self.journal.ages(asked.clone())).await else { return };
        let now = Moment { clock_ms: self.journal.clock_ms(), wall_ms: wall_ms() };
        let ages = asked.into_iter().zip(ages).filter_map(|(of, aged)| Some((of, now.age_ms(aged?))));
        let ages: BTreeMap<(Group, LogId, u64), u64> = ages.collect();
        for (group, view) in groups {
            let age_ms = |log, at: u64| ages.get(&(group.clone(), log, at.saturating_add(1))).copied().unwrap_or(0);
            for peer in &mut view.peers {
                for lack in &peer.lacks {
                    peer.unreceived_ms = peer.unreceived_ms.max(age_ms(lack.log, lack.received));
                    peer.lag_ms = peer.lag_ms.max(age_ms(lack.log, lack.decided));
                }
            }
        }
    }

    async fn quarantine_by_service(&self, groups: &[(Group, View)]) -> BTreeMap<String, QuarantineCounts> {
        let mut by_service = BTreeMap::new();
        for (group, view) in groups {
            if !by_service.contains_key(&group.service) {
                let filter = QuarantineFilter { service: Some(group.service.clone()), ..QuarantineFilter::default() };
                let Some(counts) = within(self.journal.quarantine_counts(filter)).await else { continue };
                by_service.insert(group.service.clone(), counts);
            }
            // The journal has no entries for what it cannot read.
            let unreadable = view.unreadable.len() as u64;
            if let Some(counts) = by_service.get_mut(&group.service).filter(|_| unreadable > 0) {
                counts.total += unreadable;
                *counts.by_reason.entry(QuarantineReason::Damaged).or_default() += unreadable;
            }
        }
        by_service
    }

    fn certificates(&self) -> Vec<(CertificateUse, i64)> {
        let identity = self.registry.certificate().map(|standing| standing.not_after_s);
        let ends = [(CertificateUse::Identity, identity), (CertificateUse::Gateway, self.gateway_certificate_end_s)];
        ends.into_iter().filter_map(|(of, end_s)| Some((of, end_s?))).collect()
    }
}

pub(super) async fn within<T>(asked: impl Future<Output = Result<T, crate::journal::Error>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
}

pub(super) fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// The first position of a series that a peer has not stored, and that it has not decided, where they were here before
/// this life of the process.
fn of_lives_before(lack: &LackView) -> impl Iterator<Item = (LogId, u64)> {
    let (log, before) = (lack.log, lack.before);
    let positions = [lack.received, lack.decided].map(|at| at.saturating_add(1));
    positions.into_iter().filter(move |at| *at <= before).map(move |at| (log, at))
}

/// What the clocks say.
#[derive(Clone, Copy)]
struct Moment {
    /// The retention clock, which stands while the process does not run, and falls back a little in a crash.
    clock_ms: u64,
    wall_ms: u64,
}

impl Moment {
    /// How old a write of a life before is: the time that nothing ran counts too, which the wall clock alone knows.
    fn age_ms(self, of: Aged) -> u64 {
        let ran_ms = if of.clock_ms == 0 { 0 } else { self.clock_ms.saturating_sub(of.clock_ms) };
        let was_set = !wall_clock::is_unset(of.original_ms);
        if was_set { ran_ms.max(self.wall_ms.saturating_sub(of.original_ms)) } else { ran_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_write_of_a_life_before_counts_the_time_that_nothing_ran() {
        let wall_ms = 1_800_000_000_000;
        let now = Moment { clock_ms: 100_000, wall_ms };
        // settled at (retention clock), accepted at (wall clock) | age
        for (clock_ms, original_ms, age_ms) in [
            // Before a night without power.
            (59_000, wall_ms - 36_000_000, 36_000_000),
            // The retention clock fell back in a crash.
            (100_500, wall_ms - 4_000, 4_000),
            // The wall clock was put back, or was not set then.
            (59_000, wall_ms + 5_000, 41_000),
            (59_000, 3_000, 41_000),
            // Another site's, received and not decided here.
            (0, wall_ms - 9_000, 9_000),
            (0, 0, 0),
        ] {
            assert_eq!(now.age_ms(Aged { original_ms, clock_ms }), age_ms, "{clock_ms} {original_ms}");
        }
    }

    #[test]
    fn the_journal_is_asked_about_lives_before_alone() {
        let lack = |received, decided, before| {
            let log = LogId { store: [1; 16], incarnation: 1 };
            let lack = LackView { log, end: 9, received, decided, before };
            of_lives_before(&lack).map(|(_, at)| at).collect::<Vec<_>>()
        };
        assert_eq!((lack(2, 1, 9), lack(5, 1, 3), lack(5, 4, 0)), (vec![3, 2], vec![2], vec![]));
        assert_eq!(lack(u64::MAX, 9, u64::MAX), [u64::MAX, 10]);
    }
}
