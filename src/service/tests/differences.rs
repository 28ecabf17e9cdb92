//! A write that its follower answers otherwise than its decider: tried again where that may help, then in quarantine,
//! and nothing else waits for it.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason, StopKind};
use crate::model::{After, Item, Lane, SiteName, WriteId};

fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![SiteName::new("a"), SiteName::new("b")];
    change(&mut settings);
    Bench::new(settings)
}

fn shadow(n: u64) -> WriteId {
    WriteId { log: log(2), n }
}

/// A write of lane `lane` at this position of the other site's series, after all that stands before it there.
fn of(method: &str, position: u64, lane: u64) -> Item {
    let mut item = item(log(2), position, 0);
    item.facts.lane = Lane(lane);
    item.outcome.after.raise(log(2), position - 1);
    Item { request: Some(request(method, "/sales")), ..item }
}

fn hear(bench: &mut Bench, items: Vec<Item>) -> Vec<Effect> {
    bench.hear("b", Message::Page(page_of(log(2), "b", items)))
}

/// The service gives this answer to every try of the write, for as long as it takes.
fn answers(bench: &mut Bench, id: WriteId, status: u16) -> Vec<Effect> {
    let mut all = Vec::new();
    for attempt in 1..=10 {
        let is_there = bench.core.live.get(&id).is_some_and(|write| write.tries.attempts == attempt);
        if is_there {
            all.extend(bench.attempted(id, attempt, answered(status)));
            all.extend(bench.wait(5_000));
        }
    }
    all
}

fn tried(effects: &[Effect]) -> Vec<u64> {
    attempts(effects).iter().map(|attempt| attempt.id.n).collect()
}

fn reason(bench: &Bench, id: WriteId) -> Option<QuarantineReason> {
    bench.quarantined().get(&id).map(|entry| entry.reason)
}

#[test]
fn what_a_follower_refuses_stands_in_quarantine_there_and_following_goes_on() {
    // method, answered here, tries, may be tried again
    for (method, status, tries) in [
        ("POST", 404, 1),
        ("POST", 500, 1),
        ("POST", 401, 5),
        ("POST", 403, 5),
        ("POST", 407, 5),
        ("POST", 421, 5),
        ("POST", 408, 5),
        ("POST", 425, 5),
        ("POST", 429, 5),
        ("POST", 409, 5),
        ("PUT", 404, 5),
        ("DELETE", 422, 5),
        ("PATCH", 404, 1),
    ] {
        let mut bench = bench(|s| s.unexecuted = vec![409]);
        let first = hear(&mut bench, vec![of(method, 1, 1), of("POST", 2, 2)]);
        assert_eq!(tried(&first), [1]);
        let later = answers(&mut bench, shadow(1), status);
        let again = tried(&later).iter().filter(|n| **n == 1).count();
        assert_eq!(1 + again, tries, "{method} {status}");
        assert_eq!(tried(&later).last(), Some(&2), "{method} {status}: what comes after it goes on");
        let entry = bench.quarantined()[&shadow(1)].clone();
        assert_eq!((entry.reason, entry.status), (QuarantineReason::Divergence, status));
        assert_eq!(entry.answer.as_ref().map(|answer| answer.status), Some(status), "with its own answer");
        assert!(entry.detail.contains("answered 201") && entry.detail.contains(&status.to_string()), "and the other");
        assert_eq!(entry.detail.contains("replay.auth"), matches!(status, 401 | 403 | 407 | 421), "{status}");
        let fate = Fate::Quarantined(QuarantineReason::Divergence);
        assert_eq!(bench.row(shadow(1)).map(|row| row.here), Some(Here::Decided(fate)));
        bench.attempted(shadow(2), 1, answered(201));
        bench.wait(1_000);
        let view = bench.core.view(bench.now);
        assert_eq!((view.stopped, view.decider), (None, Some(SiteName::new("a"))), "and it decides");
    }
}

/// However many, and whatever they are: `on_divergence` is "quarantine" by default.
#[test]
fn differences_in_a_row_stop_nothing() {
    let mut bench = bench(|_| ());
    for n in 1..=60 {
        let page = page(log(2), "b", n, n);
        bench.hear("b", Message::Page(page));
        bench.attempted(shadow(n), 1, answered(404));
    }
    assert_eq!((bench.core.view(bench.now).stopped, bench.quarantined().len()), (None, 60));
    assert!(bench.core.completer.quarantine.is_empty(), "the journal has them");
    assert_eq!(attempts(&bench.submit(new_write("POST", 77, 0))).len(), 1, "a client is served");
}

/// 409 to every write for good: what it costs is bounded.
#[test]
fn tries_in_vain_take_a_part_of_each_minute_and_then_each_write_is_tried_once() {
    let mut bench = bench(|s| s.unexecuted = vec![409]);
    let began_ms = bench.now.mono_ms;
    hear(&mut bench, (1..=100).map(|n| of("POST", n, n)).collect());
    let mut tries = std::collections::BTreeMap::new();
    for n in 1..=100 {
        while reason(&bench, shadow(n)).is_none() {
            let attempt = bench.core.live[&shadow(n)].tries.attempts;
            if bench.core.live[&shadow(n)].stage == crate::service::write::Stage::Sending {
                *tries.entry(n).or_insert(0) += 1;
                bench.attempted(shadow(n), attempt, answered(409));
            }
            bench.wait(10);
        }
    }
    let took_ms = bench.now.mono_ms - began_ms;
    assert!(took_ms < 20_000, "100 refusals held up what comes after them for {took_ms} ms");
    assert_eq!((tries[&1], tries[&100]), (5, 1), "{tries:?}");
}

/// Where who is logged in at one site is a stranger at the other, a stranger's refusals must not send him there.
#[test]
fn tries_of_what_is_refused_are_no_reason_for_another_site_to_decide() {
    let mut bench = bench(|_| ());
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    bench.hear("b", Message::Status(status_of("b", 1_000)));
    hear(&mut bench, (1..=20).map(|n| of("POST", n, n)).collect());
    let began_ms = bench.now.mono_ms;
    let mut retried_ms = 0;
    for n in 1..=20 {
        while reason(&bench, shadow(n)).is_none() {
            let write = &bench.core.live[&shadow(n)];
            if write.stage == crate::service::write::Stage::Sending {
                let attempt = write.tries.attempts;
                bench.attempted(shadow(n), attempt, answered(401));
            }
            let said = bench.wait(10);
            retried_ms = messages(&said).iter().fold(retried_ms, |most, (_, message)| match message {
                Message::Status(status) => most.max(status.retried_ms),
                _ => most,
            });
            assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("a")), "while {n} is tried");
        }
    }
    assert!(bench.now.mono_ms - began_ms > 2_000, "longer than `answer.lag`");
    assert!(retried_ms > 2_000, "the other site hears of it: {retried_ms} ms");
}

#[test]
fn what_another_site_tries_again_is_no_reason_to_decide_in_its_place() {
    let mut bench = bench(|s| s.order = vec![SiteName::new("b"), SiteName::new("a")]);
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let behind = Status { lag_ms: 6_000, retried_ms: 5_500, ..status_of("b", 1_000) };
    bench.hear("b", Message::Status(behind));
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("b")));
    bench.hear("b", Message::Status(Status { lag_ms: 6_000, retried_ms: 500, ..status_of("b", 1_001) }));
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("a")), "it is behind for another reason");
    bench.hear("b", Message::Status(Status { lag_ms: 6_000, retried_ms: u64::MAX, ..status_of("b", 1_002) }));
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("b")), "its own word on itself");
}

/// It may have met another shadow, so none is sent beside it.
#[test]
fn what_is_tried_again_is_tried_alone() {
    let mut bench = bench(|_| ());
    let items = (1..=4).map(|position| {
        let mut item = item(log(2), position, 0);
        item.facts.lane = Lane(position);
        item
    });
    let first = hear(&mut bench, items.collect());
    assert_eq!(tried(&first), [1, 2, 3, 4], "they overlapped at their decider");
    bench.attempted(shadow(1), 1, answered(429));
    bench.attempted(shadow(3), 1, answered(201));
    let page = page(log(2), "b", 5, 5);
    let said = bench.hear("b", Message::Page(Page { from: 4, ..page }));
    assert_eq!(tried(&said), [0; 0], "nothing is sent while it waits");
    assert_eq!(tried(&bench.wait(150)), [0; 0], "two others are still there");
    bench.attempted(shadow(2), 1, answered(201));
    assert_eq!(tried(&bench.attempted(shadow(4), 1, answered(201))), [1]);
    assert_eq!(tried(&bench.wait(2_000)), [0; 0]);
    assert_eq!(tried(&bench.attempted(shadow(1), 2, answered(201))), [5]);
    assert_eq!(bench.quarantined().len(), 0);
}

/// The service carried it out, and said 500.
#[test]
fn a_delete_that_finds_nothing_after_a_500_was_carried_out() {
    let mut bench = bench(|_| ());
    hear(&mut bench, vec![of("DELETE", 1, 1)]);
    bench.attempted(shadow(1), 1, answered(500));
    bench.wait(200);
    bench.attempted(shadow(1), 2, answered(404));
    assert_eq!(bench.row(shadow(1)).map(|row| row.here), Some(Here::Decided(Fate::Applied)));
}

/// The first was refused for a moment, and this site's own write of the lane came in between: at the decider it comes
/// after.
#[test]
fn a_try_again_does_not_overwrite_what_was_applied_meanwhile() {
    for (method, stays) in [("PUT", true), ("PATCH", true), ("DELETE", true), ("POST", false)] {
        let mut bench = bench(|_| ());
        hear(&mut bench, vec![of(method, 1, 7)]);
        bench.attempted(shadow(1), 1, answered(429));
        bench.submit(new_write("PUT", 7, 0));
        bench.attempted(own(1), 1, answered(200));
        assert_eq!(tried(&bench.wait(1_000)).len(), usize::from(!stays), "{method}");
        assert_eq!(reason(&bench, shadow(1)), stays.then_some(QuarantineReason::LateDecision), "{method}");
    }
}

#[test]
fn an_order_does_not_overwrite_what_was_applied_later_unless_it_says_so() {
    let resend = |operation| Event::Operator { req: ReqId(9), id: Some(shadow(1)), operation };
    for (method, over) in [("PUT", true), ("POST", false)] {
        let mut bench = bench(|_| ());
        hear(&mut bench, vec![of(method, 1, 7), of("PUT", 2, 7)]);
        answers(&mut bench, shadow(1), 409);
        bench.attempted(shadow(2), 1, answered(200));
        let said = bench.handle(resend(Operation::Resend));
        let is_rejected = matches!(reply_to(&said, 9), Some(Reply::Rejected { why }) if why.contains("--over-later"));
        assert_eq!((is_rejected, tried(&said).len()), (over, usize::from(!over)), "{method}");
        if over {
            assert_eq!(reason(&bench, shadow(1)), Some(QuarantineReason::Divergence), "it stays");
            assert_eq!(tried(&bench.handle(resend(Operation::ResendOverLater))), [1]);
        }
    }
}

fn stops_at_two(settings: &mut Settings) {
    settings.on_divergence = OnDivergence::Stop { differ: 2, of: 4 };
}

#[test]
fn a_share_of_differences_stops_following_where_it_is_asked_for() {
    for (statuses, stops) in [([404, 201, 201, 201, 404], false), ([201, 404, 201, 404, 201], true)] {
        let mut bench = bench(stops_at_two);
        let mut said = Vec::new();
        for (n, status) in (1..).zip(statuses) {
            bench.hear("b", Message::Page(page(log(2), "b", n, n)));
            said.extend(bench.attempted(shadow(n), 1, answered(status)));
        }
        let noted = said.iter().filter(|effect| matches!(effect, Effect::Note(Note::Stopped { .. }))).count();
        assert_eq!(noted, usize::from(stops), "{statuses:?}");
        let view = bench.core.view(bench.now);
        assert_eq!(view.stop, stops.then_some(StopKind::Divergences), "{statuses:?}: {:?}", view.stopped);
        bench.restart();
        assert_eq!(bench.core.view(bench.now).stop, stops.then_some(StopKind::Divergences), "over a restart");
    }
}

/// Stopped, with `behind` own writes that the other site decided and this replica has not applied.
fn stopped(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut bench = bench(|s| {
        stops_at_two(s);
        change(s);
    });
    hear(&mut bench, vec![of("POST", 1, 101), of("POST", 2, 102)]);
    bench.attempted(shadow(1), 1, answered(404));
    bench.attempted(shadow(2), 1, answered(404));
    assert_eq!(bench.core.view(bench.now).stop, Some(StopKind::Divergences));
    bench
}

#[test]
fn a_stopped_replica_is_chosen_last_and_never_not_at_all() {
    let mut bench = stopped(|_| ());
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("b")));
    let said = bench.wait(1_000);
    let status = messages(&said).into_iter().find_map(|(_, message)| match message {
        Message::Status(status) => Some((status.healthy, status.last)),
        _ => None,
    });
    assert_eq!(status, Some((true, true)), "and says so");
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("a")));
    assert_eq!(tried(&bench.submit(new_write("POST", 1, 0))), [1]);
    // The other one is stopped too.
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let status = Status { last: true, ..status_of("b", 1_000) };
    bench.hear("b", Message::Status(status));
    assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new("a")), "the first in order again");
}

fn status_of(site: &str, count: u64) -> Status {
    let log = log(site.as_bytes()[0] - b'a' + 1);
    let (heard, cursors, missing) = (Vec::new(), Vec::new(), Vec::new());
    Status {
        count,
        log,
        state: 1,
        heard,
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 0,
        retried_ms: 0,
        cursors,
        missing,
    }
}

#[test]
fn a_stopped_replica_follows_what_a_write_must_come_after_and_no_more() {
    let mut bench = stopped(|_| ());
    // Another site decided it, and names what it came after there; what follows is nobody's business now.
    bench.submit(new_write("POST", 9, 0));
    let mut after = After::new();
    after.raise(log(2), 3);
    let outcome = crate::model::Outcome { after, ..item(log(1), 1, 0).outcome };
    let items: Vec<Item> =
        [(1, 101), (2, 102), (3, 103), (4, 104), (5, 105)].map(|(n, lane)| of("POST", n, lane)).into();
    assert_eq!(tried(&hear(&mut bench, items)), [0; 0], "following has stopped");
    let word = WishWord::Done { outcome, pages: Vec::new() };
    bench.hear("b", Message::Word { id: own(1), attempt: 1, word });
    assert_eq!(
        bench.core.live[&own(1)].row.position.map(|(position, _)| position),
        Some(1),
        "settled, not applied here"
    );
    assert_eq!(tried(&bench.wait(2_000)), [0; 0]);
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    let said = bench.submit(new_write("POST", 10, 0));
    assert_eq!(tried(&said), [3], "what the first own write comes after");
    assert_eq!(tried(&bench.attempted(shadow(3), 1, answered(404))), [1], "quarantining what diverges");
    assert_eq!(tried(&bench.attempted(own(1), 1, answered(201))), [2], "and then the client's");
    let said = bench.attempted(own(2), 1, answered(201));
    assert!(matches!(reply_to(&said, 2), Some(Reply::Answer { .. })));
    assert_eq!(tried(&bench.wait(5_000)), [0; 0], "and nothing beyond");
    assert_eq!(bench.quarantined().len(), 3);
}

#[test]
fn a_stopped_replica_takes_a_wish_however_far_behind_it_is() {
    let mut bench = stopped(|_| ());
    hear(&mut bench, [(1, 101), (2, 102), (3, 103)].map(|(n, lane)| of("POST", n, lane)).into());
    bench.wait(10_000);
    let NewWrite { facts, request, .. } = new_write("POST", 50, 0);
    let mut must = After::new();
    must.raise(log(2), 3);
    let wish = Wish { id: shadow(9), attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() };
    let said = bench.hear("b", Message::Wish(Box::new(wish)));
    assert_eq!(tried(&said), [3]);
    assert_eq!(tried(&bench.attempted(shadow(3), 1, answered(201))), [9]);
}

/// A person has to look first: nobody knows what the service holds.
#[test]
fn in_doubt_it_neither_decides_nor_takes_wishes() {
    let mut bench = bench(|_| ());
    let cursor = Cursor {
        log: log(9),
        site: SiteName::new("a"),
        received: 5,
        chain: Default::default(),
        decided: 5,
        want: false,
        again: 0,
    };
    bench.status("b", true, vec![cursor]);
    assert_eq!(bench.core.view(bench.now).stop, Some(StopKind::Doubt));
    bench.handle(Event::LinkDown { peer: SiteName::new("b") });
    assert_eq!(bench.core.view(bench.now).decider, None);
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let NewWrite { facts, request, .. } = new_write("POST", 50, 0);
    let wish = Wish { id: shadow(9), attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
    let said = bench.hear("b", Message::Wish(Box::new(wish)));
    assert!(messages(&said).iter().any(|(_, m)| matches!(m, Message::Word { word: WishWord::NotHere, .. })));
}
