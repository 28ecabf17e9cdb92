//! The names of all metrics: `holdfast_<noun>_<unit>[_total]`.
//!
//! Only what happens is counted here. What *is* (backlog, lag, peers) is read from the state machines when somebody
//! asks.
use std::sync::Arc;

use super::instruments::{By, Counter, Gauge, Histogram, Label, instruments};
use crate::model::Verdict;
use crate::service::Note;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Read,
    Write,
    /// Of a service without replicas.
    Plain,
}

impl Label for RequestKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[RequestKind::Read, RequestKind::Write, RequestKind::Plain];
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            RequestKind::Read => "read",
            RequestKind::Write => "write",
            RequestKind::Plain => "plain",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    Success,
    Redirect,
    ClientError,
    ServerError,
}

impl StatusClass {
    pub fn of(status: u16) -> Self {
        match status {
            0..=299 => StatusClass::Success,
            300..=399 => StatusClass::Redirect,
            400..=499 => StatusClass::ClientError,
            _ => StatusClass::ServerError,
        }
    }
}

impl Label for StatusClass {
    const NAME: &'static str = "class";
    const ALL: &'static [Self] =
        &[StatusClass::Success, StatusClass::Redirect, StatusClass::ClientError, StatusClass::ServerError];
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            StatusClass::Success => "2xx",
            StatusClass::Redirect => "3xx",
            StatusClass::ClientError => "4xx",
            StatusClass::ServerError => "5xx",
        }
    }
}

impl Label for Verdict {
    const NAME: &'static str = "verdict";
    const ALL: &'static [Self] = &[
        Verdict::Applied,
        Verdict::Refused,
        Verdict::NotExecuted,
        Verdict::MayHaveApplied,
        Verdict::Undecided,
        Verdict::Void,
        Verdict::Duplicate,
    ];
    fn index(self) -> usize {
        self as usize
    }
    fn value(self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Refused => "refused",
            Verdict::NotExecuted => "not-executed",
            Verdict::MayHaveApplied => "may-have-applied",
            Verdict::Undecided => "undecided",
            Verdict::Void => "void",
            Verdict::Duplicate => "duplicate",
        }
    }
}

instruments! {
    /// Of one service.
    ServiceMetrics {
        requests_started: By<RequestKind, Counter>, "holdfast_requests_started_total", "Requests that were routed to the service.";
        requests_finished: By<StatusClass, Counter>, "holdfast_requests_finished_total", "Answers to clients, by class.";
        request_seconds: By<RequestKind, Histogram>, "holdfast_request_duration_seconds", "From the request's head to the answer's head.";
        attempt_seconds: Histogram, "holdfast_attempt_duration_seconds", "One try at an endpoint, to the answer's head.";
        attempts_never_sent: Counter, "holdfast_attempts_never_sent_total", "Tries that provably did not reach an endpoint.";
        attempts_broken: Counter, "holdfast_attempts_broken_total", "Tries that broke after the first byte.";
        writes_accepted: Counter, "holdfast_writes_accepted_total", "Writes of clients that got an id.";
        writes_settled: By<Verdict, Counter>, "holdfast_writes_settled_total", "Own writes that were settled.";
        shadows_settled: By<Verdict, Counter>, "holdfast_shadows_settled_total", "Foreign writes that were decided at this replica.";
        shadows_applied: Counter, "holdfast_shadows_applied_total", "Shadows that the service applied.";
        duplicates: Counter, "holdfast_writes_duplicate_total", "Copies that were recognised and not applied.";
        replayed: Counter, "holdfast_answers_replayed_total", "Answers given from the record.";
        origin_questions: Counter, "holdfast_origin_questions_total", "Questions to another site about a key.";
        concurrent: Counter, "holdfast_writes_concurrent_total", "Writes of one lane taken on both sides of a cut.";
        unknown: Counter, "holdfast_outcomes_unknown_total", "Writes whose outcome became unknown.";
        stood_aside: Counter, "holdfast_writes_stood_aside_total", "POSTs of unknown outcome beside which others of their path went on.";
        keys_conflicting: Counter, "holdfast_keys_conflicting_total", "Keys that two sites took for different requests while they were cut off.";
        answered_differently: Counter, "holdfast_copies_answered_differently_total", "Copies of one write to which two sites gave different answers.";
        quarantined: Counter, "holdfast_writes_quarantined_total", "Writes that no rule could decide.";
        divergences: Counter, "holdfast_divergences_total", "Shadows with another outcome than at the decider.";
        tried_once_more: Counter, "holdfast_tried_once_more_total", "Divergences tried again because what their decider knew nothing of was decided.";
        refused_behind: Counter, "holdfast_refused_behind_total", "Refusals decided here in a lane that has a write in quarantine.";
        stops: Counter, "holdfast_following_stopped_total", "Times that following stopped until a person looked.";
        failovers: Counter, "holdfast_failovers_total", "Changes of the deciding site.";
    }
}

instruments! {
    /// Of the node.
    NodeMetrics {
        connections_opened: Counter, "holdfast_connections_opened_total", "Client connections that were accepted.";
        connections_closed: Counter, "holdfast_connections_closed_total", "Client connections that ended.";
        requests_refused: Counter, "holdfast_requests_refused_total", "Requests refused before they reached a service.";
        journal_commits: Counter, "holdfast_journal_commits_total", "Transactions of the journal.";
        journal_batches: Counter, "holdfast_journal_batches_total", "Batches that became durable; several share a commit.";
        journal_commit_seconds: Histogram, "holdfast_journal_commit_duration_seconds", "One commit, the disk's part included.";
        journal_wait_seconds: Histogram, "holdfast_journal_wait_seconds", "Time a batch waits before its commit begins.";
        journal_damaged: Counter, "holdfast_journal_records_damaged_total", "Records whose checksum did not fit.";
        disk_free_bytes: Gauge, "holdfast_disk_free_bytes", "Free bytes on the disk of data_dir.";
        links_opened: Counter, "holdfast_links_opened_total", "Links to other sites that came up.";
        links_closed: Counter, "holdfast_links_closed_total", "Links to other sites that went down.";
        link_bytes_sent: Counter, "holdfast_link_sent_bytes_total", "Bytes of messages sent over links.";
        link_bytes_received: Counter, "holdfast_link_received_bytes_total", "Bytes of messages received over links.";
        link_messages_refused: Counter, "holdfast_link_messages_refused_total", "Messages of peers that were malformed or not theirs to send.";
        control_sent: Counter, "holdfast_control_messages_sent_total", "Hints published.";
        control_received: Counter, "holdfast_control_messages_received_total", "Hints received.";
        control_dropped: Counter, "holdfast_control_messages_dropped_total", "Hints dropped because nobody had time.";
        clock_jumps: Counter, "holdfast_clock_jumps_total", "Jumps of the wall clock against the monotonic one.";
        panics: Counter, "holdfast_request_panics_total", "Panics that ended a message, a request or a session, and not the process.";
        connections_refused: Counter, "holdfast_connections_refused_total", "Connections closed at once: the last descriptors are kept for work.";
        log_lines_lost: Counter, "holdfast_log_lines_lost_total", "Lines of log that could not be written, or came faster than they could.";
    }
}

/// Everything that is counted; shared by all.
#[derive(Debug)]
pub struct Metrics {
    pub node: NodeMetrics,
    services: Vec<(String, Arc<ServiceMetrics>)>,
}

impl Metrics {
    /// The set of services is fixed by the configuration, and so is the number of lines.
    pub fn new<'a>(services: impl IntoIterator<Item = &'a str>) -> Self {
        let services = services.into_iter().map(|name| (name.to_owned(), Arc::default())).collect();
        Self { node: NodeMetrics::default(), services }
    }

    /// Looked up once, when a service is built, not per request.
    pub fn service(&self, name: &str) -> Option<Arc<ServiceMetrics>> {
        self.services.iter().find(|(known, _)| known == name).map(|(_, metrics)| Arc::clone(metrics))
    }

    /// Prometheus text format 0.0.4.
    pub fn print(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        self.node.log_lines_lost.reach(super::Lines::standard().lost());
        self.node.connections_refused.reach(crate::descriptors::refused());
        NodeMetrics::print_all(&[(String::new(), &self.node)], &mut out);
        // Names of services are letters, digits, '-' and '_': nothing to escape.
        let sets: Vec<_> = self.services.iter().map(|(name, set)| (format!("service=\"{name}\""), &**set)).collect();
        ServiceMetrics::print_all(&sets, &mut out);
        out
    }
}

impl ServiceMetrics {
    /// Counts what a state machine reports.
    pub fn note(&self, note: &Note) {
        match note {
            Note::Accepted => self.writes_accepted.one(),
            Note::Settled { verdict, shadow: false } => self.writes_settled.of(*verdict).one(),
            Note::Settled { verdict, shadow: true } => self.shadows_settled.of(*verdict).one(),
            Note::ShadowApplied => self.shadows_applied.one(),
            Note::Duplicate => self.duplicates.one(),
            Note::Replayed => self.replayed.one(),
            Note::Concurrent { .. } => self.concurrent.one(),
            Note::Unknown { .. } => self.unknown.one(),
            Note::StoodAside { .. } => self.stood_aside.one(),
            Note::KeyConflict { .. } => self.keys_conflicting.one(),
            Note::AnsweredDifferently { .. } => self.answered_differently.one(),
            Note::Quarantined { .. } => self.quarantined.one(),
            Note::Divergence { .. } => self.divergences.one(),
            Note::TriedOnceMore { .. } => self.tried_once_more.one(),
            Note::RefusedBehind { count } => self.refused_behind.add(*count),
            Note::Stopped { .. } => self.stops.one(),
            Note::Failover { .. } => self.failovers.one(),
            Note::AskedOrigin => self.origin_questions.one(),
            // Counted where messages are read, and logged.
            Note::Fork { .. } | Note::Invalid { .. } | Note::Broken { .. } | Note::Mended { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_follow_the_rule_and_are_unique() {
        let all: Vec<_> = NodeMetrics::NAMES.iter().chain(ServiceMetrics::NAMES).collect();
        for (i, name) in all.iter().enumerate() {
            assert!(name.starts_with("holdfast_"), "{name}");
            assert!(["_total", "_seconds", "_bytes"].iter().any(|unit| name.ends_with(unit)), "{name}");
            assert!(!all[..i].contains(name), "{name} stands there twice");
        }
    }

    #[test]
    fn labels_number_themselves() {
        fn check<L: Label + std::fmt::Debug>() {
            assert!(L::ALL.iter().enumerate().all(|(i, label)| label.index() == i), "{:?}", L::ALL);
        }
        check::<RequestKind>();
        check::<StatusClass>();
        check::<Verdict>();
    }

    #[test]
    fn the_page_says_what_was_counted() {
        let metrics = Metrics::new(["a", "b"]);
        let a = metrics.service("a").unwrap();
        a.note(&Note::Settled { verdict: Verdict::Applied, shadow: false });
        a.requests_finished.of(StatusClass::of(404)).one();
        a.attempt_seconds.observe(Duration::from_micros(250));
        a.attempt_seconds.observe(Duration::from_secs(60));
        assert!(metrics.service("c").is_none());
        let page = metrics.print();
        for line in [
            "# TYPE holdfast_writes_settled_total counter",
            "holdfast_writes_settled_total{service=\"a\",verdict=\"applied\"} 1",
            "holdfast_writes_settled_total{service=\"b\",verdict=\"applied\"} 0",
            "holdfast_requests_finished_total{service=\"a\",class=\"4xx\"} 1",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"0.0001\"} 0",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"0.00025\"} 1",
            "holdfast_attempt_duration_seconds_bucket{service=\"a\",le=\"+Inf\"} 2",
            "holdfast_attempt_duration_seconds_sum{service=\"a\"} 60.00025",
            "holdfast_attempt_duration_seconds_count{service=\"a\"} 2",
            "holdfast_journal_commits_total 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        let help = page.lines().filter(|line| line.starts_with("# HELP holdfast_writes_settled_total")).count();
        assert_eq!(help, 1);
    }
}
