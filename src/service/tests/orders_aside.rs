//! Whatever holds something up, a person may take it out of the way: it need not stand in quarantine.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here};
use crate::model::{After, Item, Lane, SiteName, Verdict, WriteId};

const FIRST: WriteId = WriteId { log: crate::model::LogId { store: [2; 16], incarnation: 1 }, n: 1 };
const SECOND: WriteId = WriteId { n: 2, ..FIRST };

fn bench() -> Bench {
    let mut settings = settings("a", &["a", "b", "c"]);
    settings.order = ["a", "b"].map(SiteName::new).to_vec();
    Bench::new(settings)
}

/// Two shadows of the other site, the second after the first, which comes after `after`.
fn two(after: After) -> Vec<Item> {
    let in_lane = |position| {
        let mut item = item(log(2), position, 0);
        item.facts.lane = Lane(position);
        item
    };
    let (mut first, mut second) = (in_lane(1), in_lane(2));
    first.outcome.after = after;
    second.outcome.after.raise(log(2), 1);
    vec![first, second]
}

fn order(id: WriteId, operation: Operation) -> Event {
    Event::Operator { req: ReqId(99), id: Some(id), operation }
}

fn tried(effects: &[Effect]) -> Vec<WriteId> {
    attempts(effects).iter().map(|attempt| attempt.id).collect()
}

/// Its name, and how a site comes into it.
type HeldUp = (&'static str, fn(&mut Bench));

/// What the first of two shadows may be in: refused for a moment, not taken, nobody knows, or waiting for what does not
/// come.
fn held_up() -> [HeldUp; 4] {
    fn begin(bench: &mut Bench, after: After) {
        bench.hear("b", Message::Page(page_of(log(2), "b", two(after))));
    }
    [
        ("refused for a moment", |bench| {
            begin(bench, After::new());
            bench.attempted(FIRST, 1, answered(429));
        }),
        ("never taken", |bench| {
            begin(bench, After::new());
            bench.attempted(FIRST, 1, never_sent());
        }),
        ("unknown", |bench| {
            begin(bench, After::new());
            bench.attempted(FIRST, 1, broken());
        }),
        ("after what does not come", |bench| {
            let mut after = After::new();
            after.raise(log(3), 7);
            begin(bench, after);
        }),
    ]
}

#[test]
fn a_shadow_that_holds_up_others_is_taken_out_of_the_way() {
    for (state, hold_up) in held_up() {
        for (operation, fate) in [
            (Operation::Applied, Some(Fate::Applied)),
            (Operation::Discard, Some(Fate::Void)),
            (Operation::Resend, None),
        ] {
            let mut bench = bench();
            hold_up(&mut bench);
            assert!(bench.core.view(bench.now).waits.iter().any(|wait| wait.write == FIRST), "{state}: status says so");
            let said = bench.handle(order(FIRST, operation));
            assert_eq!(reply_to(&said, 99), Some(&Reply::Done), "{state} {operation:?}");
            let mut sent = tried(&said);
            if operation == Operation::Resend && sent.contains(&FIRST) {
                sent.retain(|id| *id != FIRST);
            }
            assert_eq!(sent, [SECOND], "{state} {operation:?}: what comes after it goes on");
            match fate {
                Some(fate) => assert_eq!(bench.row(FIRST).map(|row| row.here), Some(Here::Decided(fate)), "{state}"),
                None => assert!(bench.core.live.contains_key(&FIRST), "{state}: it is sent again when it may be"),
            }
        }
    }
}

#[test]
fn an_own_write_that_nobody_tells_about_is_decided_by_order_before_its_time_is_up() {
    for (operation, verdict) in [(Operation::Applied, Verdict::Applied), (Operation::Discard, Verdict::Void)] {
        let mut bench = bench();
        bench.submit(new_write("POST", 1, 0));
        bench.attempted(own(1), 1, broken());
        bench.submit(new_write("POST", 1, 0));
        let said = bench.handle(order(own(1), operation));
        assert_eq!(reply_to(&said, 99), Some(&Reply::Done));
        assert_eq!(tried(&said), [own(2)], "its lane goes on");
        let items = bench.core.mirror.series[&log(1)].tail_after(1, 9, usize::MAX);
        assert_eq!(items.iter().map(|item| item.outcome.verdict).collect::<Vec<_>>(), [verdict]);
    }
}

#[test]
fn a_wish_that_nobody_answers_and_a_write_that_was_not_sent_free_their_lanes() {
    let mut bench = bench();
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 1, 0));
    assert!(bench.core.view(bench.now).waits.iter().any(|wait| wait.write == own(1) && wait.on.starts_with("b,")));
    assert_eq!(reply_to(&bench.handle(order(own(1), Operation::Discard)), 99), Some(&Reply::Done));
    assert!(!bench.core.replay.lanes.is_used(Lane(1)));

    let mut bench = self::bench();
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("POST", 1, 0));
    let said = bench.handle(order(own(2), Operation::Discard));
    assert!(problem_of(&said, 2).is_some(), "its client is told: {said:?}");
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(bench.core.live.len(), 0);
}

#[test]
fn what_is_at_the_service_or_holds_up_nothing_is_left_alone() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    let said = bench.handle(order(own(1), Operation::Discard));
    assert!(matches!(reply_to(&said, 99), Some(Reply::Rejected { why }) if why.contains("look again")));
    bench.attempted(own(1), 1, answered(201));
    let said = bench.handle(order(own(1), Operation::Discard));
    assert!(matches!(reply_to(&said, 99), Some(Reply::Rejected { .. })));
}
