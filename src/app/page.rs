//! The metrics page: what was gathered, put into its instruments.
use super::numbers::{Numbers, PeerNumbers};
use super::source::Source;
use crate::admin::HealthState;
use crate::journal::QuarantineReason;
use crate::service::View;
use crate::telemetry::{Closed, Gathered, GroupMetrics, PeerMetrics};

impl Source {
    pub(super) fn page(&self, numbers: &Numbers) -> String {
        self.write_node(numbers);
        for (name, counts) in &numbers.quarantine {
            let Some(service) = self.metrics.service(name) else { continue };
            for reason in QuarantineReason::ALL {
                let count = counts.by_reason.get(&reason).copied().unwrap_or(0);
                service.quarantine.of(reason).set_count(count);
            }
        }
        let groups =
            numbers.groups.iter().map(|(group, view)| ((group.service.clone(), group.store.clone()), of_group(view)));
        let peers = numbers.peers.iter().map(|peer| (peer.link.site.to_string(), of_peer(peer)));
        self.metrics.page(&Gathered {
            journal: self.journal.metrics(),
            groups: groups.collect(),
            peers: peers.collect(),
        })
    }

    fn write_node(&self, numbers: &Numbers) {
        let node = &self.metrics.node;
        node.ready.set_bit(*self.state.borrow() == HealthState::Ready);
        let disk = &numbers.disk;
        node.disk_free.set_known(disk.free_bytes.map(|bytes| bytes as f64));
        node.disk_reserve.set_count(disk.reserve_bytes);
        node.disk_left.set_known(disk.left.map(|left| left.s));
        node.journal_bytes.set_known(disk.journal_bytes.map(|bytes| bytes as f64));
        node.journal_damaged.reach(numbers.damaged);
        for (of, end_s) in &numbers.certificates {
            node.certificate_end.of(*of).set(*end_s as f64);
        }
        let control = &numbers.control;
        node.control_sent.reach(control.published);
        node.control_received.reach(control.heard);
        node.control_dropped.reach(control.dropped_in + control.dropped_out);
        node.control_refused.reach(control.foreign + control.invalid);
        node.control_questions.reach(control.questions_asked);
        node.control_repaired.reach(control.questions_answered);
        node.control_reopened.reach(control.reopened);
        node.clock_jumps.reach(numbers.clock.jumps);
        node.clock_unset.set_bit(numbers.clock.is_unset);
        node.panics.reach(numbers.panics);
        node.log_lines_lost.reach(numbers.log_lines_lost);
        self.metrics.gateway.closed_at_once.of(Closed::Descriptors).reach(crate::descriptors::refused());
    }
}

fn of_group(view: &View) -> GroupMetrics {
    let metrics = GroupMetrics::default();
    metrics.open.set_count(view.open_writes as u64);
    metrics.queued.set_count(view.queued as u64);
    metrics.unknown.set_count(view.unknown as u64);
    metrics.quarantine.set_count(view.quarantine);
    metrics.not_equal.set_count(view.not_equal);
    metrics.lag.set_ms(view.lag_ms);
    metrics.healthy.set_bit(view.healthy);
    metrics.stopped.set_bit(view.stopped.is_some());
    metrics.ring.set_count(view.ring as u64);
    metrics
}

fn of_peer(peer: &PeerNumbers) -> PeerMetrics {
    let (metrics, link) = (PeerMetrics::default(), &peer.link);
    metrics.not_received.set_count(peer.not_received);
    metrics.not_decided.set_count(peer.not_decided);
    metrics.not_received_age.set_ms(peer.not_received_age_ms);
    metrics.lag.set_ms(peer.not_decided_age_ms);
    metrics.up.set_bit(link.connected);
    metrics.since.set_ms(peer.since_ms);
    metrics.round_trip.set_known(link.round_trip_us.map(|us| us as f64 / 1e6));
    metrics.queued_bytes.set_count(link.queued_bytes as u64);
    metrics.control_up.set_bit(peer.hears);
    metrics.differs.set_count(link.differs.len() as u64);
    metrics.sent_bytes.reach(link.written_bytes);
    metrics.received_bytes.reach(link.read_bytes);
    metrics.sent.reach(link.sent);
    metrics.received.reach(link.received);
    metrics.dropped.reach(link.dropped);
    metrics.refused.reach(link.refused);
    metrics.sessions.reach(link.connections);
    metrics.failed.reach(link.failures);
    metrics
}
