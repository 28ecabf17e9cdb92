//! What a group's task reaches outside of itself: its service, the other sites, people.
use std::sync::Arc;

use super::conflicts::Conflicts;
use super::groups::Lines;
use super::lasting::Lasting;
use super::recent::Recent;
use crate::dedup::Fingerprint;
use crate::gateway::{Ready, Upstream};
use crate::link::Sent;
use crate::model::{Group, LogId, Request, SiteName, WriteId};
use crate::service::{Attempt, AttemptResult, Message, Note, Outside, ProbeResult};
use crate::telemetry::{Label, Metrics, ServiceMetrics};

pub(super) struct SiteOutside {
    upstream: Arc<Upstream>,
    lines: Arc<Lines>,
    metrics: Arc<ServiceMetrics>,
    recent: Recent,
    conflicts: Arc<Conflicts>,
    /// Each status of a peer says it again.
    forks: Lasting<(SiteName, LogId)>,
}

impl SiteOutside {
    pub fn new(
        upstream: &Arc<Upstream>,
        lines: &Arc<Lines>,
        metrics: &Metrics,
        conflicts: &Arc<Conflicts>,
        service: &str,
    ) -> Self {
        let metrics = metrics.service(service).expect("every configured service has its metrics");
        let (upstream, lines, conflicts) = (upstream.clone(), lines.clone(), conflicts.clone());
        Self { upstream, lines, metrics, recent: Recent::default(), conflicts, forks: Lasting::default() }
    }
}

impl Outside for SiteOutside {
    type Connection = Ready;

    async fn connect(&self) -> Result<Ready, String> {
        self.upstream.ready().await
    }

    async fn attempt(&self, attempt: Attempt, over: Option<Ready>) -> AttemptResult {
        self.recent.sent(attempt.id, &attempt.request);
        match over {
            Some(ready) => self.upstream.attempt_on(ready, attempt).await,
            None => self.upstream.attempt(attempt).await,
        }
    }

    async fn probe(&self, request: &Request) -> ProbeResult {
        self.upstream.probe(request).await
    }

    fn send(&self, to: &SiteName, group: &Group, message: Message) {
        let Some(links) = self.lines.links.get() else { return };
        match links.send(to, group, message) {
            Sent::Queued => {}
            // Losable by contract: whatever counts is said again from what is stored.
            lost => tracing::debug!(%to, %group, ?lost, "message not sent"),
        }
    }

    fn publish(&self, group: &Group, fingerprint: Fingerprint) {
        if let Some(control) = self.lines.control.get() {
            control.publish_fingerprint(group, fingerprint);
        }
    }

    fn note(&self, group: &Group, note: &Note) {
        self.metrics.note(note);
        let request = |id: &WriteId| self.recent.request_id(id);
        match note {
            Note::Unknown { id, why } => tracing::warn!(%group, %id, request_id = request(id), %why, "outcome unknown"),
            Note::StoodAside { id } => {
                tracing::info!(%group, %id, request_id = request(id), "others of its path go on beside it")
            }
            Note::KeyConflict { id, with } => {
                self.conflicts.met(group, "one key for two requests", *id, *with);
                tracing::warn!(%group, %id, request_id = request(id), %with, "one key for two requests, taken at two \
                    sites: both are applied");
            }
            Note::AnsweredDifferently { id, with } => {
                self.conflicts.met(group, "answered differently", *id, *with);
                tracing::warn!(%group, %id, request_id = request(id), %with, "one write, sent at two sites, was \
                    answered differently");
            }
            Note::Quarantined { id, reason } => {
                tracing::warn!(%group, %id, request_id = request(id), ?reason, "write quarantined")
            }
            Note::Stopped { why } => tracing::error!(%group, %why, "following stopped until a person looks"),
            Note::Failover { from, to: Some(to), why } => {
                let (from, why) = (from.as_ref().map(SiteName::as_str), why.map(Label::value));
                tracing::info!(%group, %to, from, why, "decides from now on");
            }
            Note::Failover { from, to: None, why } => {
                let (from, why) = (from.as_ref().map(SiteName::as_str), why.map(Label::value));
                tracing::warn!(%group, from, why, "no replica can be asked");
            }
            Note::Concurrent { id, with } => {
                self.conflicts.met(group, "one lane", *id, *with);
                tracing::info!(%group, %id, request_id = request(id), %with, "concurrent writes of one lane")
            }
            Note::Fork { peer, log } => {
                if !self.forks.begins((peer.clone(), *log)) {
                    return;
                }
                tracing::error!(
                    %group, %peer, %log,
                    "a peer has another past of this series: a store was restored from a copy"
                );
            }
            Note::Invalid { peer, why } => {
                tracing::error!(
                    %group, %peer, %why,
                    "a site says what cannot be: nothing of it is believed, its link is ended"
                );
                if let Some(links) = self.lines.links.get() {
                    links.refuse(peer, why);
                }
            }
            Note::Broken { log, position } => {
                tracing::error!(
                    %group, %log, position,
                    "a record of the journal is broken: other sites are asked for it"
                );
            }
            Note::Mended { id } => {
                tracing::warn!(
                    %group, %id,
                    "a broken record came again from another site: it is written anew if the journal finds that it fits"
                )
            }
            Note::TriedOnceMore { id } => {
                tracing::info!(%group, %id, request_id = request(id), "what its decider knew nothing of is decided: \
                    it is tried once more");
            }
            Note::Divergence { id } => {
                tracing::warn!(%group, %id, request_id = request(id), "a shadow was answered otherwise than the \
                    original")
            }
            Note::Accepted
            | Note::Cancelled
            | Note::Settled { .. }
            | Note::ShadowSettled { .. }
            | Note::Duplicate
            | Note::Replayed
            | Note::RefusedBehind { .. }
            | Note::AskedOrigin => {}
        }
    }
}
