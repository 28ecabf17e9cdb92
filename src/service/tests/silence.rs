//! When an asked site is silent, and when it, its service or the line only takes its time.
use super::super::testing::*;
use super::super::*;
use crate::model::{After, Answer, Outcome, Problem, SiteName, WriteId};

fn with(order: &[&str], change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = order.iter().map(|site| SiteName::new(*site)).collect();
    change(&mut settings);
    Bench::new(settings)
}

fn count(effects: &[Effect], is_meant: impl Fn(&Message) -> bool) -> usize {
    messages(effects).iter().filter(|(_, message)| is_meant(message)).count()
}

fn wishes(effects: &[Effect]) -> usize {
    count(effects, |message| matches!(message, Message::Wish(_)))
}

/// How often it was asked where the wish stands, and revoked.
fn asked_and_revoked(effects: &[Effect]) -> (usize, usize) {
    let asked = count(effects, |message| matches!(message, Message::Ask { attempt: 1, .. }));
    (asked, count(effects, |message| matches!(message, Message::Revoke { .. })))
}

fn says(bench: &mut Bench, word: WishWord) -> Vec<Effect> {
    bench.hear("b", Message::Word { id: own(1), attempt: 1, word })
}

fn done() -> WishWord {
    WishWord::Done { outcome: Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome }, pages: Vec::new() }
}

fn is_answered(effects: &[Effect]) -> bool {
    matches!(reply_to(effects, 1), Some(Reply::Answer { replayed: false, .. }))
}

fn link(bench: &mut Bench, is_up: bool) -> Vec<Effect> {
    let peer = SiteName::new("b");
    bench.handle(if is_up { Event::LinkUp { peer } } else { Event::LinkDown { peer } })
}

#[test]
fn a_service_that_takes_longer_than_answer_after_is_no_silence() {
    let mut bench = with(&["b"], |_| ());
    assert_eq!(wishes(&bench.submit(new_write("POST", 1, 0))), 1);
    for n in 0..18 {
        assert_eq!(asked_and_revoked(&bench.wait(270)), (1, 0), "{n}");
        says(&mut bench, if n < 3 { WishWord::Stored } else { WishWord::Sending });
    }
    assert!(is_answered(&says(&mut bench, done())), "after 4.9 s");
}

#[test]
fn a_site_that_says_nothing_though_it_is_asked_is_given_up() {
    let mut bench = with(&["b", "a"], |_| ());
    bench.submit(new_write("POST", 1, 0));
    bench.wait(270);
    says(&mut bench, WishWord::Stored);
    assert_eq!(asked_and_revoked(&bench.wait(799)), (3, 0));
    let said = bench.wait(1);
    assert_eq!((asked_and_revoked(&said), attempts(&said).len()), ((0, 1), 1), "the next in order decides");
}

/// The first write, whose wish leaves when the test says so.
fn leaving(order: &[&str]) -> Bench {
    let mut bench = with(order, |_| ());
    let said = bench.step(Event::Submit { req: ReqId(1), id: own(1), write: new_write("POST", 1, 0) });
    assert_eq!(wishes(&said), 1);
    bench
}

#[test]
fn silence_counts_from_when_a_wish_has_left() {
    for whole in [true, false] {
        let mut bench = leaving(&["b", "a"]);
        assert_eq!(asked_and_revoked(&bench.wait(4_900)), (0, 0), "a large body on a thin line");
        bench.handle(Event::WishLeft { to: SiteName::new("b"), id: own(1), attempt: 1, whole });
        assert_eq!(asked_and_revoked(&bench.wait(799)), (3, 0));
        assert_eq!((asked_and_revoked(&bench.wait(1)), whole), ((0, 1), whole));
    }
}

#[test]
fn what_its_line_was_cut_from_has_left() {
    let mut bench = leaving(&["b", "a"]);
    bench.wait(300);
    link(&mut bench, false);
    assert_eq!(asked_and_revoked(&bench.wait(799)).1, 0, "it may be back in a moment");
    assert_eq!(attempts(&bench.wait(1)).len(), 1);
}

#[test]
fn a_line_that_comes_and_goes_keeps_a_wish_from_nobody_for_ever() {
    let mut bench = leaving(&["b", "a"]);
    let mut sent = 0;
    for _ in 0..8 {
        sent += attempts(&link(&mut bench, false)).len() + attempts(&bench.wait(400)).len();
        // It would leave over this one.
        let up = bench.step(Event::LinkUp { peer: SiteName::new("b") });
        sent += attempts(&up).len() + attempts(&bench.wait(400)).len();
    }
    assert_eq!(sent, 1);
}

fn theirs() -> WriteId {
    WriteId { log: log(2), n: 1 }
}

/// `b`'s first write.
fn wish(lane: u64, after_ms: u64, must: After) -> Message {
    let NewWrite { facts, request, .. } = new_write("POST", lane, 0);
    Message::Wish(Box::new(Wish { id: theirs(), attempt: 1, after_ms, facts, must, request, pages: Vec::new() }))
}

fn ask(bench: &mut Bench) -> Vec<WishWord> {
    words(&bench.hear("b", Message::Ask { id: theirs(), attempt: 1 }))
}

#[test]
fn a_wish_waits_for_its_lane_for_as_long_as_its_origin_asks() {
    let mut bench = with(&["a"], |_| ());
    bench.submit(new_write("POST", 1, 0));
    bench.hear("b", wish(1, 300, After::new()));
    for _ in 0..40 {
        assert_eq!(words(&bench.wait(200)), []);
        assert_eq!(ask(&mut bench), [WishWord::Stored]);
    }
    let said = bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&said).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [theirs()]);
    bench.wait(5_000);
    assert_eq!(ask(&mut bench), [WishWord::Sending]);
    let said = bench.attempted(theirs(), 1, answered(201));
    assert!(matches!(words(&said)[..], [WishWord::Done { .. }]));
}

#[test]
fn a_wish_whose_origin_is_silent_for_what_it_calls_silence_is_void() {
    // What it says is a number from outside.
    for (after_ms, silence_ms) in [(300, 300), (0, 50), (u64::MAX, 600_000)] {
        let mut bench = with(&["a"], |_| ());
        bench.submit(new_write("POST", 1, 0));
        bench.hear("b", wish(1, after_ms, After::new()));
        assert_eq!(words(&bench.wait(silence_ms - 1)), [], "{after_ms}");
        assert_eq!(words(&bench.wait(1)), [WishWord::Void], "{after_ms}");
    }
}

/// Another site may be better placed: to say nothing lets it decide.
#[test]
fn a_wish_that_waits_for_what_does_not_come_here_is_silent() {
    let mut bench = with(&["a"], |_| ());
    let mut must = After::new();
    must.raise(log(2), 5);
    bench.hear("b", wish(1, 300, must));
    bench.wait(200);
    assert_eq!(ask(&mut bench), []);
    assert_eq!(words(&bench.wait(100)), [WishWord::Void]);
}

/// It would fill a thin line with copies of itself.
#[test]
fn a_long_outcome_under_way_is_not_said_again_whenever_it_is_asked_for() {
    for (bytes, is_long) in [(100, false), (100_000, true)] {
        let mut bench = with(&["a"], |_| ());
        bench.hear("b", wish(1, 300, After::new()));
        let long = Answer { body: vec![b'x'; bytes].into(), ..Answer::clone(&answer(201)) };
        let said = bench.attempted(theirs(), 1, AttemptResult::Answered(long.into()));
        assert!(matches!(words(&said)[..], [WishWord::Done { .. }]));
        for n in 0..60 {
            bench.wait(200);
            let said = ask(&mut bench);
            let is_again = matches!(said[..], [WishWord::Done { .. }]);
            assert_eq!(is_again, !is_long || n == 49, "{n}: {said:?}");
            assert!(is_again || said == [WishWord::Sending]);
        }
    }
}

fn says_that_it_hangs(effects: &[Effect]) -> Vec<bool> {
    let statuses = messages(effects).into_iter().filter_map(|(_, message)| match message {
        Message::Status(status) => Some(status.hangs),
        _ => None,
    });
    statuses.collect()
}

#[test]
fn while_a_service_takes_and_does_not_answer_others_decide_other_writes() {
    let mut bench = with(&["a", "b"], |settings| settings.within_ms = 2_000);
    assert_eq!(attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1);
    assert!(!says_that_it_hangs(&bench.wait(2_000)).contains(&true));
    assert!(says_that_it_hangs(&bench.wait(600)).contains(&true));
    let said = bench.submit(new_write("POST", 2, 0));
    assert_eq!((wishes(&said), attempts(&said).len()), (1, 0));
    assert!(is_answered(&bench.attempted(own(1), 1, answered(201))), "this one stays where it is");
    assert_eq!(attempts(&bench.submit(new_write("POST", 3, 0))).len(), 1);
}

#[test]
fn a_site_that_says_that_its_service_does_not_answer_is_asked_where_nobody_else_can() {
    for is_well in [true, false] {
        let mut bench = with(&["b", "a"], |_| ());
        bench.handle(Event::Health { healthy: is_well });
        let status = Status {
            count: 1_000,
            log: log(2),
            state: 1,
            heard: Vec::new(),
            healthy: true,
            last: false,
            hangs: true,
            lag_ms: 0,
            retried_ms: 0,
            cursors: Vec::new(),
            missing: Vec::new(),
        };
        bench.hear("b", Message::Status(status));
        let said = bench.submit(new_write("POST", 1, 0));
        assert_eq!((attempts(&said).len(), wishes(&said)), if is_well { (1, 0) } else { (0, 1) });
    }
}

/// For as long as the cut lasts its lane is held, so that nobody overtakes it; but nobody waits in vain.
#[test]
fn who_stands_behind_a_write_that_was_under_way_at_the_cut_is_queued() {
    let mut bench = with(&["b"], |settings| {
        (settings.when_down, settings.hold_ms) = (WhenDown::Queue, 7 * 86_400_000);
    });
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(reply_to(&bench.submit(new_write("POST", 1, 0)), 2), None, "in line");
    let said = link(&mut bench, false);
    assert_eq!(reply_to(&said, 2), Some(&Reply::Queued { id: own(2) }));
    for (req, lane) in [(3, 1), (4, 1), (5, 2)] {
        let said = bench.submit(new_write("POST", lane, 0));
        assert_eq!(reply_to(&said, req), Some(&Reply::Queued { id: own(req) }), "{req}");
    }
    assert_eq!(problem_of(&bench.wait(6_000), 1), Some(&Problem::OutcomePending));
    bench.wait(3_600_000);
    link(&mut bench, true);
    bench.status("b", true, Vec::new());
    let said = says(&mut bench, done());
    assert_eq!(wishes(&said), 1, "the next in order of acceptance");
    let ids: Vec<WriteId> =
        (1..=5).map(own).filter(|id| bench.core.live.get(id).is_some_and(|w| w.row.queued)).collect();
    assert_eq!(ids, [2, 3, 4, 5].map(own));
}
