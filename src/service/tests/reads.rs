//! Reads that must not be older than what their client has seen, and what people see.
use super::super::testing::*;
use super::super::*;
use crate::model::{After, Verdict, WriteId};

fn seen(position: u64) -> After {
    let mut seen = After::new();
    seen.raise(log(2), position);
    seen
}

fn reads(bench: &mut Bench, req: u64, seen: After) -> Vec<Effect> {
    let deadline_ms = bench.now.mono_ms + 700;
    bench.handle(Event::AwaitSeen { req: ReqId(req), seen, deadline_ms })
}

#[test]
fn a_read_waits_for_what_its_client_has_seen_and_no_longer() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    assert_eq!(reply_to(&reads(&mut bench, 1, After::new()), 1), Some(&Reply::Go { fresh: true }));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 2)));
    for req in 2..=3 {
        assert_eq!(reply_to(&reads(&mut bench, req, seen(req - 1)), req), None, "it is not decided here yet");
    }
    let said = bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    assert_eq!(reply_to(&said, 2), Some(&Reply::Go { fresh: true }));
    assert_eq!(reply_to(&said, 3), None);
    assert_eq!(reply_to(&bench.wait(699), 3), None);
    assert_eq!(reply_to(&bench.wait(1), 3), Some(&Reply::Go { fresh: false }));
    assert_eq!(reply_to(&reads(&mut bench, 4, seen(1)), 4), Some(&Reply::Go { fresh: true }), "at once");
}

/// Each read looks for the copy in the journal; it waits for the write that it repeats, once.
#[test]
fn a_copy_that_is_named_again_and_again_waits_once() {
    let mut bench = Bench::new(settings("a", &["a", "b", "c"]));
    let (first, copy) = (WriteId { log: log(3), n: 1 }, WriteId { log: log(2), n: 1 });
    let mut item = item(log(2), 1, 0);
    (item.outcome.verdict, item.outcome.repeats, item.request) = (Verdict::Duplicate, Some(first), None);
    bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
    for req in 1..=3 {
        let mut seen = After::new();
        seen.add_id(copy);
        assert_eq!(reply_to(&reads(&mut bench, req, seen), req), None, "it is not decided here yet");
    }
    assert_eq!(bench.core.copies_waiting[&first].len(), 1);
}

#[test]
fn a_write_whose_client_has_seen_what_is_decided_here_does_not_wait() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    bench.submit(NewWrite { seen: seen(1), refuse_stale: true, ..new_write("POST", 9, 0) });
    assert!(bench.core.live[&own(1)].seen.is_empty());
}

#[test]
fn the_view_counts_what_stands_where() {
    let mut bench = Bench::new(Settings { when_down: WhenDown::Queue, ..settings("a", &["a", "b", "c"]) });
    bench.submit(new_write("POST", 11, 0));
    bench.attempted(own(1), 1, broken());
    bench.submit(new_write("POST", 12, 0));
    bench.attempted(own(2), 1, answered(201));
    bench.hear("b", Message::Page(page(log(2), "b", 1, 5)));
    bench.attempted(crate::model::WriteId { log: log(2), n: 1 }, 1, answered(201));
    bench.handle(Event::Health { healthy: false });
    for n in 3..=5 {
        assert!(matches!(reply_to(&bench.submit(new_write("POST", 10 + n, 0)), n), Some(Reply::Queued { .. })), "{n}");
    }
    let site = crate::model::SiteName::new;
    let cursor = |of, at, received, decided| {
        let chain = crate::model::Chain::default();
        Cursor { log: log(of), site: site(at), received, chain, decided, want: false, again: 0 }
    };
    bench.status("c", true, vec![cursor(1, "a", 0, 0)]);
    bench.core.peers.get_mut(&site("c")).expect("it is linked").cursors.get_mut(&log(1)).expect("told").received = 1;
    bench.status("b", false, Vec::new());
    bench.wait(70);
    let view = bench.core.view(bench.now);
    assert_eq!((view.queued, view.unknown, view.open_writes), (3, 1, 8));
    let series: Vec<_> = view.series.iter().map(|s| (s.log, s.received, s.decided)).collect();
    assert_eq!(series, [(log(1), 1, 1), (log(2), 5, 1)]);
    let peers: Vec<_> =
        view.peers.iter().map(|p| (p.site.as_str(), p.healthy, p.not_received, p.not_decided)).collect();
    assert_eq!(peers, [("b", false, 1, 1), ("c", true, 5, 6)], "b's own series it has");
    assert_eq!((view.lag_ms, view.stages["queued"], view.stages["shadow-sending"]), (70, 3, 4));
}
