use super::*;
use crate::model::{Chain, KeyHash, SiteName, WriteId};
use crate::service::Cursor;

fn group(service: &str) -> Group {
    Group { service: service.into(), store: String::new() }
}
fn log(n: u8) -> LogId {
    LogId { store: [n; 16], incarnation: 1 }
}
fn ask(n: u64) -> Message {
    Message::Revoke { id: WriteId { log: log(1), n }, attempt: 1 }
}
fn status(lag_ms: u64, wants: &[(u8, u64, bool)]) -> Message {
    let cursor = |&(n, received, want): &(u8, u64, bool)| Cursor {
        log: log(n),
        site: SiteName::new("a"),
        received,
        chain: Chain::default(),
        decided: 0,
        want,
        again: 0,
    };
    Message::Status(Status {
        count: 7,
        log: log(9),
        state: 1,
        heard: Vec::new(),
        healthy: true,
        last: false,
        hangs: false,
        lag_ms,
        retried_ms: 0,
        cursors: wants.iter().map(cursor).collect(),
        missing: Vec::new(),
    })
}
/// A page over as many positions as it pretends; the items do not matter here.
fn page(n: u8, from: u64, items: usize) -> Message {
    let item = crate::model::Item {
        position: 1,
        chain: Chain::default(),
        id: WriteId { log: log(n), n: 1 },
        facts: crate::model::Facts {
            lane: crate::model::Lane(1),
            key: None,
            digest: crate::model::Digest([0; 32]),
            original_ms: 0,
            traceparent: None,
            client: None,
            renews: Vec::new(),
            creates: false,
        },
        outcome: crate::model::Outcome {
            verdict: crate::model::Verdict::Applied,
            after: crate::model::After::new(),
            repeats: None,
            status: 200,
            answer: None,
            told_by_probe: false,
            unknown: Vec::new(),
        },
        decides: None,
        request: None,
    };
    let items = std::iter::repeat_n(std::sync::Arc::new(item), items).collect();
    Message::Page(Page { log: log(n), site: SiteName::new("a"), from, items })
}
fn outgoing(limits: Limits) -> Outgoing {
    let outgoing = Outgoing::new(limits);
    outgoing.open(1, BTreeSet::from(["refused".to_owned()]));
    outgoing
}
fn drained(outgoing: &Outgoing) -> Vec<Message> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut all = Vec::new();
    while let Poll::Ready(Some(Entry::Message(_, message))) = outgoing.poll_next(1, &mut cx) {
        all.push(message);
    }
    all
}

#[test]
fn drops_and_counts_at_the_limit_of_messages_and_of_bytes() {
    let few = outgoing(Limits { queue_messages: 2, ..Limits::default() });
    let sent: Vec<Sent> = (0..4).map(|n| few.send(&group("s"), ask(n))).collect();
    assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Full]);
    assert_eq!(few.dropped.load(Relaxed), 2);
    assert_eq!(drained(&few), [ask(0), ask(1)]);
    assert_eq!(few.waiting(), (0, 0));
    let small = outgoing(Limits { queue_bytes: 300, ..Limits::default() });
    let sent: Vec<Sent> = (0..3).map(|n| small.send(&group("s"), ask(n))).collect();
    assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Full]);
}

#[test]
fn nothing_is_queued_for_a_peer_that_is_away_or_for_a_service_that_rests() {
    let outgoing = outgoing(Limits::default());
    assert_eq!(outgoing.send(&group("refused"), ask(1)), Sent::NotExchanged);
    outgoing.send(&group("s"), ask(1));
    outgoing.close(9);
    assert_eq!(outgoing.send(&group("s"), ask(2)), Sent::Queued);
    outgoing.close(1);
    assert_eq!(outgoing.send(&group("s"), ask(3)), Sent::NotConnected);
    assert!(matches!(outgoing.poll_next(1, &mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    outgoing.open(2, BTreeSet::new());
    assert_eq!(outgoing.waiting(), (0, 0));
    // Two at once, two that were waiting when the line was cut.
    assert_eq!((outgoing.dropped.load(Relaxed), outgoing.sent.load(Relaxed)), (4, 0));
}

#[test]
fn of_several_statuses_of_a_group_the_newest_leaves_in_the_place_of_the_first() {
    let outgoing = outgoing(Limits::default());
    outgoing.send(&group("s"), status(1, &[]));
    outgoing.send(&group("s"), ask(1));
    outgoing.send(&group("t"), status(5, &[]));
    outgoing.send(&group("s"), status(2, &[]));
    assert_eq!(drained(&outgoing), [status(2, &[]), ask(1), status(5, &[])]);
}

#[test]
fn wants_follow_the_statuses() {
    let outgoing = outgoing(Limits { series: 2, ..Limits::default() });
    let series = |n| Series { group: group("s"), log: log(n) };
    outgoing.send(&group("s"), status(1, &[(1, 7, true), (2, 8, false)]));
    assert_eq!((outgoing.wants(), outgoing.wanted_from(&series(1))), (vec![series(1)], Some(7)));
    outgoing.send(&group("s"), status(1, &[(1, 9, true), (2, 8, true), (3, 1, true)]));
    assert_eq!((outgoing.wants(), outgoing.wanted_from(&series(1))), (vec![series(1), series(2)], Some(9)));
    outgoing.send(&group("other"), status(1, &[]));
    outgoing.send(&group("s"), status(1, &[(2, 8, true)]));
    assert_eq!(outgoing.wants(), [series(2)]);
}

#[test]
fn pages_wait_in_turn_and_a_new_start_replaces_what_waits() {
    let outgoing = outgoing(Limits { queue_pages: 2, ..Limits::default() });
    let send = |n, from, items| outgoing.send(&group("s"), page(n, from, items));
    let sent = [send(1, 0, 2), send(1, 2, 2), send(1, 4, 2), send(2, 0, 1)];
    assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Queued]);
    let next = || outgoing.next_page(1).map(|(_, page)| (page.log.store[0], page.from));
    assert_eq!([next(), next(), next(), next()], [Some((1, 0)), Some((2, 0)), Some((1, 2)), None]);
    assert_eq!(outgoing.waiting(), (0, 0));
    // The sender starts again.
    assert_eq!([send(1, 10, 2), send(1, 4, 2), send(1, 6, 2)], [Sent::Queued; 3]);
    let series = Series { group: group("s"), log: log(1) };
    assert_eq!(outgoing.page_of(1, &series, 6).map(|page| page.from), Some(6), "the first is known there already");
    assert_eq!(outgoing.page_of(1, &series, 6), None);
    assert_eq!(outgoing.waiting(), (0, 0));
}

#[test]
fn every_message_weighs_something() {
    let question =
        Message::Question { token: 1, key: KeyHash([0; 16]), digest: crate::model::Digest([0; 32]), who: None };
    assert!(weight(&question) > 0 && weight(&page(1, 0, 3)) > 3 * 256);
}
