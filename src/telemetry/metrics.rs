//! The names of all metrics: `holdfast_<noun>_<unit>[_total]`.
//!
//! What happens is counted where it happens. What *is* (backlog, lag, peers) is written down when somebody asks
//! ([`Metrics::page`]), from what the wiring has gathered. There is no instrument without a writer: `tests/it/metrics`
//! drives two sites and names each that stayed at 0.
use std::sync::Arc;

#[cfg(test)]
use super::instruments::Described;
use super::instruments::{By, Counter, Gauge, Histogram, Level, instruments};
use super::labels::{AttemptResult, CertificateUse, Closed, Outcome, RequestKind, ShadowFate, StatusClass};
use super::process::ProcessMetrics;
use crate::journal::QuarantineReason;
use crate::model::Verdict;
use crate::service::{FailoverReason, Note};

instruments! {
    /// Of one service.
    ServiceMetrics {
        requests: By<RequestKind, By<StatusClass, Counter>>, "holdfast_requests_total", "Requests of clients that \
            were routed to the service, by the answer's status.";
        request_seconds: By<Outcome, Histogram>, "holdfast_request_duration_seconds", "From a request's head to its \
            answer's head, by who answered and what.";
        requests_in_flight: Level, "holdfast_requests_in_flight", "Requests of clients that are not answered yet.";
        attempts: By<AttemptResult, Counter>, "holdfast_attempts_total", "Tries at an endpoint: of reads, writes, \
            shadows and probes.";
        attempt_seconds: Histogram, "holdfast_attempt_duration_seconds", "One try at an endpoint that was reached; \
            of a read to the answer's head, else to its last byte.";
        writes_accepted: Counter, "holdfast_writes_accepted_total", "Writes of clients that came into the journal: \
            each is settled or cancelled later. What is refused before is not counted.";
        writes_cancelled: Counter, "holdfast_writes_cancelled_total", "Accepted writes that were given up: sent \
            nowhere, or taken by no service.";
        writes_settled: By<Verdict, Counter>, "holdfast_writes_settled_total", "Accepted writes that were settled, \
            each once, wherever they were decided.";
        shadows_settled: By<ShadowFate, Counter>, "holdfast_shadows_settled_total", "Writes of other sites that were \
            decided at this replica, each once.";
        duplicates: Counter, "holdfast_writes_duplicate_total", "Copies of a write of another log that were \
            recognised here and not applied.";
        replayed: Counter, "holdfast_answers_replayed_total", "Answers given from the record.";
        origin_questions: Counter, "holdfast_origin_questions_total", "Questions to another site about a key.";
        concurrent: Counter, "holdfast_writes_concurrent_total", "Writes of one lane taken on both sides of a cut.";
        unknown: Counter, "holdfast_outcomes_unknown_total", "Writes whose outcome became unknown.";
        stood_aside: Counter, "holdfast_writes_stood_aside_total", "POSTs of unknown outcome beside which others of \
            their path went on.";
        keys_conflicting: Counter, "holdfast_keys_conflicting_total", "Keys that two sites took for different \
            requests while they were cut off.";
        answered_differently: Counter, "holdfast_copies_answered_differently_total", "Copies of one write to which \
            two sites gave different answers.";
        quarantined: By<QuarantineReason, Counter>, "holdfast_writes_quarantined_total", "Writes that no rule could \
            decide.";
        quarantine: By<QuarantineReason, Gauge>, "holdfast_quarantine_reason_writes", "Writes that wait for a person \
            now, over all stores of the service.";
        divergences: Counter, "holdfast_divergences_total", "Shadows with another outcome than at the decider.";
        tried_once_more: Counter, "holdfast_tried_once_more_total", "Divergences tried again because what their \
            decider knew nothing of was decided.";
        refused_behind: Counter, "holdfast_refused_behind_total", "Refusals decided here in a lane that has a write \
            in quarantine.";
        stops: Counter, "holdfast_following_stopped_total", "Times that following stopped until a person looked.";
        failovers: By<FailoverReason, Counter>, "holdfast_failovers_total", "Times that another site decided than \
            the one before, by what was the matter with that one; order: nothing, one before it in answer.order can \
            again.";
    }
}

instruments! {
    /// Of one service and store at this site, as they are now.
    GroupMetrics {
        open: Gauge, "holdfast_open_writes", "Writes not settled and decided here.";
        queued: Gauge, "holdfast_queued_writes", "Writes answered 202 and not sent.";
        unknown: Gauge, "holdfast_unknown_writes", "Writes whose outcome nobody knows.";
        quarantine: Gauge, "holdfast_quarantine_writes", "Writes that wait for a person.";
        not_equal: Gauge, "holdfast_not_equal_lanes", "Lanes that have a write in quarantine.";
        lag: Gauge, "holdfast_replica_lag_seconds", "Age of the oldest write that this replica has received and not \
            decided.";
        healthy: Gauge, "holdfast_replica_healthy", "1 when this replica can decide.";
        stopped: Gauge, "holdfast_following_stopped", "1 when a person must look.";
        ring: Gauge, "holdfast_ring_fingerprints", "Fingerprints of recent writes that are kept to find copies.";
    }
}

instruments! {
    /// Of one other site: what it lacks, by this site's own log and what the peer confirmed, and the link to it.
    PeerMetrics {
        not_received: Gauge, "holdfast_peer_not_received_writes", "Writes kept here that the peer has not confirmed \
            as stored: what would be lost with this disk.";
        not_decided: Gauge, "holdfast_peer_not_decided_writes", "Writes kept here that the peer has not confirmed as \
            decided at its replica.";
        not_received_age: Gauge, "holdfast_peer_not_received_age_seconds", "Age of the oldest write that the peer \
            has not confirmed as stored; 0 when it has all.";
        lag: Gauge, "holdfast_peer_lag_seconds", "Age of the oldest write that the peer has not confirmed as \
            decided; 0 when it has all.";
        up: Gauge, "holdfast_link_up", "1 while the link is up.";
        since: Gauge, "holdfast_link_since_timestamp_seconds", "When the link came up, or went down; where it was \
            not up yet, when the process began.";
        round_trip: Gauge, "holdfast_link_round_trip_seconds", "Of the last beat; absent while the link is down.";
        queued_bytes: Gauge, "holdfast_link_queued_bytes", "What waits to be sent.";
        control_up: Gauge, "holdfast_control_up", "1 while hints reach the peer.";
        differs: Gauge, "holdfast_services_differ", "Services that the two sites define differently: nothing of them is exchanged.";
        sent_bytes: Counter, "holdfast_link_sent_bytes_total", "Bytes sent over the link, all included but TCP itself.";
        received_bytes: Counter, "holdfast_link_received_bytes_total", "Bytes received over the link, all included \
            but TCP itself.";
        sent: Counter, "holdfast_link_messages_sent_total", "Messages and pages handed to the line.";
        received: Counter, "holdfast_link_messages_received_total", "Messages and pages that came and were taken.";
        dropped: Counter, "holdfast_link_messages_dropped_total", "Messages and pages that were not sent: the link \
            was down or ended before they left, or a limit was reached. They are said again; while a link is known \
            to be down nothing is handed to it.";
        refused: Counter, "holdfast_link_messages_refused_total", "Messages of the peer that were malformed, not its \
            to send, or not taken in time.";
        sessions: Counter, "holdfast_link_sessions_total", "Sessions that began.";
        failed: Counter, "holdfast_link_sessions_failed_total", "Dials that led to no session, and sessions that \
            broke.";
    }
}

instruments! {
    /// Of the journal; the journal itself writes them.
    JournalMetrics {
        commits: Counter, "holdfast_journal_commits_total", "Transactions that became durable.";
        batches: Counter, "holdfast_journal_batches_total", "Batches that became durable; several share a commit.";
        committed_bytes: Counter, "holdfast_journal_committed_bytes_total", "Bytes of the batches that became \
            durable, by what they weigh in memory.";
        commit_seconds: Histogram, "holdfast_journal_commit_duration_seconds", "One commit, the disk's part included.";
        wait_seconds: Histogram, "holdfast_journal_wait_duration_seconds", "Time that the first batch of a commit \
            waited before it began.";
    }
}

instruments! {
    /// Of client connections; the gateway writes them.
    GatewayMetrics {
        connections: Level, "holdfast_connections_open", "Client connections now.";
        opened: Counter, "holdfast_connections_opened_total", "Client connections that were accepted.";
        closed_at_once: By<Closed, Counter>, "holdfast_connections_refused_total", "Connections closed at once. For \
            want of descriptors: of any listener.";
        requests_refused: Counter, "holdfast_requests_refused_total", "Requests refused before they reached a \
            service: malformed, without a route, or one too many of a client.";
    }
}

instruments! {
    /// Of the node.
    NodeMetrics {
        ready: Gauge, "holdfast_ready", "1 when ready.";
        journal_bytes: Gauge, "holdfast_journal_bytes", "Size of the journal on the disk.";
        journal_damaged: Counter, "holdfast_journal_records_damaged_total", "Records met whose checksum did not fit.";
        disk_free: Gauge, "holdfast_disk_free_bytes", "Free bytes on the disk of data_dir.";
        disk_reserve: Gauge, "holdfast_disk_reserve_bytes", "With fewer free bytes new writes are refused \
            (store.reserve).";
        disk_left: Gauge, "holdfast_disk_left_seconds", "Until no more than the reserve is free, if the disk fills \
            as in the last hour, or since the start where that is less; absent while it does not fill, and for five \
            minutes.";
        certificate_end: By<CertificateUse, Gauge>, "holdfast_certificate_end_timestamp_seconds", "When the first \
            certificate of the chain ends; absent where there is none.";
        control_sent: Counter, "holdfast_control_messages_sent_total", "Fingerprints handed to the control plane.";
        control_received: Counter, "holdfast_control_messages_received_total", "Fingerprints heard from other sites.";
        control_dropped: Counter, "holdfast_control_messages_dropped_total", "Hints dropped because a queue was full.";
        control_refused: Counter, "holdfast_control_messages_refused_total", "Hints that were damaged, of another \
            version, or not their sender's to say.";
        control_questions: Counter, "holdfast_control_repair_questions_total", "Questions asked because a digest \
            showed that fingerprints were lost.";
        control_repaired: Counter, "holdfast_control_repair_answers_total", "Such questions of others that were \
            answered.";
        control_reopened: Counter, "holdfast_control_sessions_reopened_total", "Sessions of the control plane that \
            were opened anew because nobody heard this node.";
        clock_jumps: Counter, "holdfast_clock_jumps_total", "Jumps of the wall clock against the monotonic one.";
        clock_unset: Gauge, "holdfast_clock_unset", "1 while the wall clock says a time before this software was \
            written.";
        panics: Counter, "holdfast_request_panics_total", "Panics that ended a message, a request or a session, and \
            not the process.";
        log_lines_lost: Counter, "holdfast_log_lines_lost_total", "Lines of log that could not be written, or came \
            faster than they could.";
    }
}

instruments! {
    /// Its label is the version.
    BuildMetrics {
        build: Gauge, "holdfast_build_info", "1; the version that runs.";
    }
}

/// Everything that is counted; shared by all.
#[derive(Debug)]
pub struct Metrics {
    pub node: NodeMetrics,
    pub gateway: Arc<GatewayMetrics>,
    services: Vec<(String, Arc<ServiceMetrics>)>,
}

/// What is gathered when somebody asks.
#[derive(Default)]
pub struct Gathered {
    pub journal: Arc<JournalMetrics>,
    /// By service and store.
    pub groups: Vec<((String, String), GroupMetrics)>,
    pub peers: Vec<(String, PeerMetrics)>,
}

impl Metrics {
    /// The set of services is fixed by the configuration, and so is the number of lines.
    pub fn new<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let services = services.into_iter().map(|name| (name.to_owned(), Arc::default())).collect();
        Self { node: NodeMetrics::default(), gateway: Arc::default(), services }
    }

    /// Looked up once, when a service is built, not per request.
    pub fn service(&self, name: &str) -> Option<Arc<ServiceMetrics>> {
        self.services.iter().find(|(known, _)| known == name).map(|(_, metrics)| Arc::clone(metrics))
    }

    /// Prometheus text format 0.0.4.
    pub fn page(&self, gathered: &Gathered) -> String {
        let mut out = String::with_capacity(64 << 10);
        let build = BuildMetrics::default();
        build.build.set_bit(true);
        BuildMetrics::print_all(&[(format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), &build)], &mut out);
        ProcessMetrics::print_all(&[(String::new(), &ProcessMetrics::read())], &mut out);
        NodeMetrics::print_all(&[(String::new(), &self.node)], &mut out);
        GatewayMetrics::print_all(&[(String::new(), &self.gateway)], &mut out);
        JournalMetrics::print_all(&[(String::new(), &gathered.journal)], &mut out);
        // Names of services, stores and sites are letters, digits, '-' and '_': nothing to escape.
        let peers: Vec<_> = gathered.peers.iter().map(|(site, set)| (format!("peer=\"{site}\""), set)).collect();
        PeerMetrics::print_all(&peers, &mut out);
        let of_group = |(service, store): &(String, String)| format!("service=\"{service}\",store=\"{store}\"");
        let groups: Vec<_> = gathered.groups.iter().map(|(group, set)| (of_group(group), set)).collect();
        GroupMetrics::print_all(&groups, &mut out);
        let sets: Vec<_> = self.services.iter().map(|(name, set)| (format!("service=\"{name}\""), &**set)).collect();
        ServiceMetrics::print_all(&sets, &mut out);
        out
    }
}

/// Every metric, in the order of the page, with the labels of its set.
#[cfg(test)]
pub(super) fn described() -> Vec<(&'static str, &'static [&'static str], Vec<Described>)> {
    vec![
        (
            "The node",
            &[],
            [NodeMetrics::describe(), GatewayMetrics::describe(), JournalMetrics::describe()]
                .into_iter()
                .flatten()
                .collect(),
        ),
        ("Other sites", &["peer"], PeerMetrics::describe()),
        ("Services and stores", &["service", "store"], GroupMetrics::describe()),
        ("Services", &["service"], ServiceMetrics::describe()),
        ("The version", &["version"], BuildMetrics::describe()),
        ("The process", &[], ProcessMetrics::describe()),
    ]
}

impl ServiceMetrics {
    /// Counts what a state machine reports.
    pub fn note(&self, note: &Note) {
        match note {
            Note::Accepted => self.writes_accepted.one(),
            Note::Cancelled => self.writes_cancelled.one(),
            Note::Settled { verdict } => self.writes_settled.of(*verdict).one(),
            Note::ShadowSettled { fate } => self.shadows_settled.of(ShadowFate::of(fate)).one(),
            Note::Duplicate => self.duplicates.one(),
            Note::Replayed => self.replayed.one(),
            Note::Concurrent { .. } => self.concurrent.one(),
            Note::Unknown { .. } => self.unknown.one(),
            Note::StoodAside { .. } => self.stood_aside.one(),
            Note::KeyConflict { .. } => self.keys_conflicting.one(),
            Note::AnsweredDifferently { .. } => self.answered_differently.one(),
            Note::Quarantined { reason, .. } => self.quarantined.of(*reason).one(),
            Note::Divergence { .. } => self.divergences.one(),
            Note::TriedOnceMore { .. } => self.tried_once_more.one(),
            Note::RefusedBehind { count } => self.refused_behind.add(*count),
            Note::Stopped { .. } => self.stops.one(),
            Note::Failover { from: Some(_), to: Some(_), why: Some(why) } => self.failovers.of(*why).one(),
            Note::AskedOrigin => self.origin_questions.one(),
            // Nobody decided before, or nobody does now.
            Note::Failover { .. } => {}
            // Counted where messages are read, and logged.
            Note::Fork { .. } | Note::Invalid { .. } | Note::Broken { .. } | Note::Mended { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::SiteName;

    #[test]
    fn names_follow_the_rule_and_are_unique() {
        let all: Vec<Described> = described().into_iter().flat_map(|(_, _, metrics)| metrics).collect();
        for (i, Described { name, kind, help, labels }) in all.iter().enumerate() {
            let own = ["holdfast_", "process_"].iter().any(|prefix| name.starts_with(prefix));
            assert!(own && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}: a {kind}");
            assert!(*kind != "histogram" || name.ends_with("_seconds"), "{name}");
            assert!(!name.ends_with("_info") || *name == "holdfast_build_info", "{name}");
            for unit in ["_ms", "_us", "milli", "hours", "minutes", "_kib", "_mib", "percent"] {
                assert!(!name.contains(unit), "{name}: base units alone");
            }
            assert!(
                !help.contains(['\\', '\n', '|']) && help.ends_with('.') || *help == "1; the version that runs.",
                "{name}: {help}"
            );
            // What one metric may cost, for one service, store or peer.
            assert!(labels.iter().map(|(_, values)| values.len()).product::<usize>() <= 32, "{name}");
            assert!(!all[..i].iter().any(|other| other.name == *name), "{name} stands there twice");
        }
    }

    #[test]
    fn the_page_says_what_was_counted_and_nothing_that_is_not_known() {
        let metrics = Metrics::new(["a", "b"]);
        let a = metrics.service("a").unwrap();
        a.note(&Note::Settled { verdict: Verdict::Applied });
        a.note(&Note::Failover { from: None, to: Some(SiteName::new("x")), why: None });
        let x = || Some(SiteName::new("x"));
        a.note(&Note::Failover { from: x(), to: None, why: Some(FailoverReason::Link) });
        a.note(&Note::Failover { from: x(), to: Some(SiteName::new("y")), why: Some(FailoverReason::Behind) });
        a.requests.of(RequestKind::Read).of(StatusClass::of(404)).one();
        a.attempt_seconds.observe(Duration::from_micros(250));
        a.attempt_seconds.observe(Duration::from_secs(60));
        assert!(metrics.service("c").is_none());
        let peer = PeerMetrics::default();
        peer.lag.set_ms(14_250);
        let gathered = Gathered { peers: vec![("x".to_owned(), peer)], ..Gathered::default() };
        let page = metrics.page(&gathered);
        for line in [
            "# TYPE holdfast_writes_settled_total counter",
            "holdfast_writes_settled_total{service=\"a\",verdict=\"applied\"} 1",
            "holdfast_writes_settled_total{service=\"b\",verdict=\"applied\"} 0",
            "holdfast_failovers_total{service=\"a\",reason=\"link-down\"} 0",
            "holdfast_failovers_total{service=\"a\",reason=\"behind\"} 1",
            "holdfast_requests_total{service=\"a\",kind=\"read\",class=\"4xx\"} 1",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"0.0001\"} 0",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"0.00025\"} 1",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"+Inf\"} 2",
            "holdfast_attempt_duration_seconds_sum{service=\"a\"} 60.00025",
            "holdfast_attempt_duration_seconds_count{service=\"a\"} 2",
            "holdfast_journal_commits_total 0",
            "holdfast_peer_lag_seconds{peer=\"x\"} 14.25",
            concat!("holdfast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        let help = page.lines().filter(|line| line.starts_with("# HELP holdfast_writes_settled_total")).count();
        assert_eq!(help, 1);
        assert!(!page.contains("holdfast_disk_left_seconds") && !page.contains("NaN"), "{page}");
        // No group is followed: nothing is said of groups.
        assert!(!page.contains("holdfast_open_writes"), "{page}");
    }
}
