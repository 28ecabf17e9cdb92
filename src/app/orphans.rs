//! Groups of the journal that the configuration has no service for any more: a service was renamed, taken out, or given
//! other replicas. What of their writes has gone everywhere is history; of the rest nobody would hear again.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::journal::{self, Journal, Recovered};
use crate::model::{Group, SiteName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    pub group: Group,
    /// Writes of this site that not every site that had heard of the group has confirmed as decided there.
    pub undelivered: u64,
    /// Writes that are not decided at this replica.
    pub undecided: u64,
    pub quarantined: u64,
}

impl Orphan {
    fn of(recovered: &Recovered, group: Group, me: &SiteName) -> Self {
        let (mut undelivered, mut undecided) = (0_u64, 0_u64);
        for series in &recovered.series {
            undecided = undecided.saturating_add(series.received.saturating_sub(series.decided));
            if series.site == *me {
                let confirmed = series.confirmed.iter().map(|of| of.decided.min(of.received)).min();
                undelivered = undelivered.saturating_add(series.received.saturating_sub(confirmed.unwrap_or(0)));
            }
        }
        // What has no position is in no series.
        let open = recovered.open.iter().filter(|found| found.row.position.is_none()).count() as u64;
        Self { group, undelivered, undecided: undecided.saturating_add(open), quarantined: recovered.quarantine.total }
    }

    fn is_history(&self) -> bool {
        (self.undelivered, self.undecided, self.quarantined) == (0, 0, 0)
    }
}

/// As a start found them.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    found: Vec<Orphan>,
    /// Until the next start.
    seen: AtomicBool,
}

impl Orphans {
    /// Those that have something left. Blocks.
    pub fn find(journal: &Journal, configured: &BTreeSet<&Group>, me: &SiteName) -> Result<Self, journal::Error> {
        let mut found = Vec::new();
        for group in journal.groups()?.into_iter().filter(|group| !configured.contains(group)) {
            let orphan = Orphan::of(&journal.recover(&group, 0, 0)?, group, me);
            if !orphan.is_history() {
                tracing::error!(
                    group = %orphan.group, undelivered = orphan.undelivered, undecided = orphan.undecided,
                    quarantined = orphan.quarantined,
                    "no service of the configuration has these writes any more: nothing becomes of them"
                );
                found.push(orphan);
            }
        }
        Ok(Self { found, seen: AtomicBool::default() })
    }

    pub fn unseen(&self) -> &[Orphan] {
        if self.seen.load(Relaxed) { &[] } else { &self.found }
    }

    /// A person knows.
    pub fn were_seen(&self) {
        self.seen.store(true, Relaxed);
    }
}
