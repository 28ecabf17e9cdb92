//! What this replica does with another site's outcome: sends it, compares, and tells what does not fit.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{After, Answer, Header, Item, Lane, LogId, Outcome, SiteName, Verdict, WriteId};

const FIRST: WriteId = WriteId { log: LogId { store: [2; 16], incarnation: 1 }, n: 1 };

fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b", "c"]);
    change(&mut settings);
    Bench::new(settings)
}

fn hear(bench: &mut Bench, items: Vec<Item>) -> Vec<Effect> {
    bench.hear("b", Message::Page(page_of(log(2), "b", items)))
}

fn in_lane(mut item: Item, lane: u64) -> Item {
    item.facts.lane = Lane(lane);
    item
}

fn quarantined(bench: &Bench, id: WriteId) -> Option<QuarantineReason> {
    bench.quarantined().get(&id).map(|entry| entry.reason)
}

fn with(status: u16, location: &str, body: &str) -> Answer {
    let header = |value: &str| Header { name: "location".into(), value: value.as_bytes().to_vec() };
    let headers = if location.is_empty() { Vec::new() } else { vec![header(location)] };
    Answer { headers, body: body.to_owned().into(), ..Answer::clone(&answer(status)) }
}

#[test]
fn a_shadow_says_whose_it_is_and_what_the_first_answer_was() {
    let mut bench = bench(|_| ());
    let mut item = item(log(2), 1, 0);
    item.outcome.answer = Some(Arc::new(with(201, "/sales/1", "")));
    item.facts.original_ms = 77;
    let said = hear(&mut bench, vec![item]);
    let shadow = Shadow { original_ms: 77, original_status: 201, original_location: Some(b"/sales/1".to_vec()) };
    assert_eq!((attempts(&said)[0].origin.as_str(), &attempts(&said)[0].shadow), ("b", &Some(shadow)));
    let said = bench.submit(new_write("POST", 5, 0));
    assert_eq!((attempts(&said)[0].origin.as_str(), &attempts(&said)[0].shadow), ("a", &None));
}

#[test]
fn outcomes_are_compared_by_class_by_location_and_where_wanted_by_body() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Is {
        Equal,
        Different,
    }
    use Is::*;
    let told = |answer: Answer| Outcome {
        status: answer.status,
        answer: Some(Arc::new(answer)),
        ..item(log(2), 1, 0).outcome
    };
    let omitted = Answer { omitted: Some(crate::model::Digest([0; 32])), ..with(201, "", "") };
    // decider's outcome | answered here | compare_body | replicate_all | verdict
    let table = [
        (told(with(201, "", "x")), with(200, "", "y"), false, false, Equal),
        (told(with(201, "", "x")), with(201, "", "y"), true, false, Different),
        (told(with(201, "", "x")), with(201, "", "x"), true, false, Equal),
        (told(omitted), with(201, "", "y"), true, false, Equal),
        (Outcome { told_by_probe: true, ..told(with(200, "", "x")) }, with(201, "", "y"), true, false, Equal),
        (told(with(201, "/1", "")), with(201, "/2", ""), false, false, Different),
        (told(with(201, "/1", "")), with(201, "/1", ""), false, false, Equal),
        (told(with(201, "/1", "")), with(201, "", ""), false, false, Different),
        (told(with(200, "", "")), with(201, "/2", ""), false, false, Equal),
        (told(with(201, "", "")), with(404, "", ""), false, false, Different),
        (told(with(201, "", "")), with(500, "", ""), false, false, Different),
        (told(with(404, "", "")), with(404, "", ""), false, true, Equal),
        (told(with(404, "", "")), with(201, "", ""), false, true, Different),
        (told(with(201, "", "")), with(404, "", ""), false, true, Different),
        (told(with(409, "/1", "")), with(404, "/2", ""), false, true, Different),
        (Outcome { status: 0, answer: None, ..told(answer_of(200)) }, with(404, "", ""), false, true, Equal),
    ];
    for (outcome, here, compare_body, replicate_all, is) in table {
        let mut bench = bench(|s| (s.compare_body, s.replicate_all) = (compare_body, replicate_all));
        let status = here.status;
        hear(&mut bench, vec![Item { outcome: outcome.clone(), ..item(log(2), 1, 0) }]);
        bench.attempted(FIRST, 1, AttemptResult::Answered(Arc::new(here)));
        let seen = match quarantined(&bench, FIRST) {
            None => Equal,
            Some(QuarantineReason::Divergence) => Different,
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(seen, is, "{} then {status}, {compare_body} {replicate_all}", outcome.status);
        let fate = if is == Equal { Fate::Applied } else { Fate::Quarantined(QuarantineReason::Divergence) };
        assert_eq!(bench.row(FIRST).expect("it is stored").here, Here::Decided(fate));
    }
}

fn answer_of(status: u16) -> Answer {
    Answer::clone(&answer(status))
}

/// Its decider had not seen what was applied here before.
#[test]
fn concurrent_writes_of_a_lane_are_told_and_where_wanted_quarantined() {
    for (on_concurrent, status, concurrent) in [
        (OnConcurrent::Apply, 201, true),
        (OnConcurrent::Quarantine, 201, true),
        (OnConcurrent::Quarantine, 404, false),
    ] {
        let mut bench = bench(|s| s.on_concurrent = on_concurrent);
        bench.submit(new_write("POST", 3, 0));
        bench.attempted(own(1), 1, answered(status));
        let mut after_it = in_lane(item(log(2), 2, 0), 3);
        after_it.outcome.after.raise(log(1), 1);
        let said = hear(&mut bench, vec![in_lane(item(log(2), 1, 0), 3), after_it]);
        let told =
            said.iter().any(|effect| matches!(effect, Effect::Note(Note::Concurrent { id, .. }) if *id == FIRST));
        assert_eq!(told, concurrent);
        assert_eq!(bench.core.view(bench.now).concurrent, u64::from(concurrent));
        let stays = concurrent && on_concurrent == OnConcurrent::Quarantine;
        assert_eq!(quarantined(&bench, FIRST), stays.then_some(QuarantineReason::ConcurrentWrites));
        let first = attempts(&said)[0].id.n;
        assert_eq!(first, if stays { 2 } else { 1 }, "the second comes after it");
    }
}

/// A wish that this replica refused and another took.
#[test]
fn what_was_refused_here_and_applied_elsewhere_diverges_and_what_was_not_executed_is_followed() {
    for (status, theirs, fate) in [
        (409, Verdict::Applied, Some(Fate::Quarantined(QuarantineReason::Divergence))),
        (429, Verdict::Applied, None),
        (409, Verdict::Refused, Some(Fate::Refused)),
        (201, Verdict::Applied, Some(Fate::Applied)),
        (201, Verdict::Refused, Some(Fate::Quarantined(QuarantineReason::Contrary))),
    ] {
        let mut bench = bench(|_| ());
        let mut item = in_lane(item(log(2), 1, 0), 3);
        let (facts, request) = (item.facts.clone(), request("POST", "/sales"));
        let wish = Wish { id: FIRST, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
        bench.hear("b", Message::Wish(Box::new(wish)));
        bench.attempted(FIRST, 1, answered(status));
        item.outcome.verdict = theirs;
        let said = hear(&mut bench, vec![item]);
        assert_eq!(attempts(&said).len(), usize::from(fate.is_none()), "{status} {theirs:?}");
        let here = bench.row(FIRST).expect("it is stored").here;
        assert!(fate.is_none_or(|fate| here == Here::Decided(fate)), "{status} {theirs:?}: {here:?}");
    }
}

/// What may overwrite later writes of its lane waits for a person; what adds to them does not.
#[test]
fn a_late_decision_about_a_passed_lane_is_not_applied_over_it() {
    for (method, later, applied) in
        [("PUT", true, false), ("DELETE", true, false), ("POST", true, true), ("PUT", false, true)]
    {
        let mut bench = bench(|_| ());
        let mut undecided = in_lane(item(log(2), 1, 0), 3);
        (undecided.outcome.verdict, undecided.request) = (Verdict::Undecided, None);
        let next = in_lane(item(log(2), 2, 0), if later { 3 } else { 4 });
        hear(&mut bench, vec![undecided.clone(), next.clone()]);
        bench.attempted(next.id, 1, answered(201));
        let mut decision = Item { decides: Some((FIRST, 1)), ..in_lane(item(log(2), 3, 0), 3) };
        decision.id.n = 1 | 1 << 40;
        decision.request = Some(request(method, "/sales"));
        let said = hear(&mut bench, vec![undecided, next, decision.clone()]);
        assert_eq!(attempts(&said).len() == 1, applied, "{method} {later}");
        let reason = (!applied).then_some(QuarantineReason::LateDecision);
        assert_eq!(quarantined(&bench, decision.id), reason, "{method} {later}");
    }
}

/// Seed 49285: the window was full of what came after the write that waited for a position beyond the window.
#[test]
fn what_is_named_beyond_a_gap_is_taken_up_beyond_the_window() {
    for (received_first, restarts) in [(false, false), (true, false), (true, true)] {
        let mut bench = bench(|s| (s.limits.window_items, s.limits.page_items) = (1, 1));
        let third = WriteId { log: log(3), n: 1 };
        let mut items: Vec<Item> = (1..=9).map(|position| in_lane(item(log(2), position, 0), position)).collect();
        items[0].outcome.after.add_id(third);
        let named = items[6].id;
        let mut names = in_lane(item(log(3), 1, 0), 19);
        names.outcome.after.add_stretch(crate::model::Stretch { log: log(2), first: 7, last: 7 });
        let pages = [page_of(log(2), "b", items), page_of(log(3), "b", vec![names])];
        let mut tried = Vec::new();
        for at in if received_first { [0, 1] } else { [1, 0] } {
            let said = bench.hear("b", Message::Page(pages[at].clone()));
            tried.extend(attempts(&said).iter().map(|attempt| attempt.id));
            if restarts && at == 0 {
                // Memory does not hold it any more.
                let asked = bench.restart();
                bench.journal_answers(&asked);
                bench.handle(Event::LinkUp { peer: SiteName::new("b") });
            }
        }
        assert_eq!(tried, [named], "received first: {received_first}, restarts: {restarts}");
        let live: Vec<WriteId> = bench.core.live.keys().copied().collect();
        assert_eq!(live, [FIRST, named, third], "and nothing else beyond the window");
        assert_eq!(attempts(&bench.attempted(named, 1, answered(201)))[0].id, third);
        assert_eq!(attempts(&bench.attempted(third, 1, answered(201)))[0].id, FIRST);
        for position in [1, 2, 3, 4, 5, 6, 8, 9] {
            let id = WriteId { log: log(2), n: position };
            assert!(bench.core.live.contains_key(&id), "the window goes on to {position}");
            bench.attempted(id, 1, answered(201));
        }
        assert_eq!(bench.core.mirror.series[&log(2)].decided, 9);
        assert!(bench.core.mirror.series[&log(2)].loaded_alone.is_empty());
    }
}

/// A client names what it likes, and is answered when its time is up.
#[test]
fn what_a_client_has_named_in_vain_is_waited_for_no_longer() {
    let mut bench = bench(|_| {});
    let mut write = new_write("POST", 1, 0);
    write.seen.add_id(WriteId { log: log(2), n: 9 });
    assert_eq!(attempts(&bench.submit(write)).len(), 0);
    assert_eq!(attempts(&bench.wait(20_000)).len(), 1);
    bench.attempted(own(1), 1, answered(201));
    assert!(!bench.core.replay.blocked.awaits_ids());
}

#[test]
fn a_stretch_that_the_journal_cannot_read_stops_the_replica() {
    let mut bench = bench(|s| s.limits.window_items = 1);
    bench.hear("b", Message::Page(page(log(2), "b", 1, 3)));
    let read = |from| Event::SeriesRead { log: log(2), from, items: Vec::new(), for_peer: None };
    for from in [1, 3, 4, 5] {
        bench.handle(read(from));
        assert_eq!(bench.core.view(bench.now).stopped, None, "{from} is not what it waits for");
    }
    bench.handle(read(2));
    assert!(bench.core.view(bench.now).stopped.is_some_and(|why| why.contains("cannot read position 2")));
}

#[test]
fn numbers_that_no_log_gives_are_refused() {
    use crate::model::NUMBER_MAX;
    for (n, taken) in [((1 << 40) - 1, true), (1 << 40, false), (NUMBER_MAX + 1, false)] {
        let mut bench = bench(|_| ());
        let mut item = item(log(2), 1, 0);
        item.id.n = n;
        let said = hear(&mut bench, vec![item]);
        assert_eq!(said.iter().any(|effect| matches!(effect, Effect::Note(Note::Invalid { .. }))), !taken);
        assert_eq!(bench.core.view(bench.now).series.iter().any(|s| s.log == log(2) && s.received == 1), taken);
    }
}

#[test]
fn an_unknown_shadow_waits_for_a_service_that_is_down_where_it_can_tell() {
    for (method, has_probe, waits) in [("PUT", false, true), ("POST", true, true), ("POST", false, false)] {
        let mut bench = bench(|s| s.has_probe = has_probe);
        let mut item = item(log(2), 1, 0);
        item.request = Some(request(method, "/sales"));
        hear(&mut bench, vec![item]);
        bench.attempted(FIRST, 1, broken());
        bench.handle(Event::Probed { id: FIRST, attempt: 1, result: ProbeResult::Nothing });
        bench.handle(Event::Health { healthy: false });
        for second in 0..40 {
            bench.wait(1_000);
            bench.handle(Event::Probed { id: FIRST, attempt: 1, result: ProbeResult::Nothing });
            if method == "PUT" && bench.core.live.get(&FIRST).is_some_and(|w| w.tries.attempts > 1) && second < 39 {
                break;
            }
        }
        let passed = quarantined(&bench, FIRST) == Some(QuarantineReason::UnknownOutcome);
        assert_eq!(passed, !waits, "{method} {has_probe}");
    }
}

#[test]
fn a_peer_far_ahead_of_this_site_is_no_better_decider() {
    for (ahead, decider) in [(2, "b"), (3, "a")] {
        let mut bench = bench(|s| {
            s.limits.page_items = 2;
            s.order = vec![SiteName::new("b"), SiteName::new("a")];
        });
        let (log, site) = (log(3), SiteName::new("c"));
        let chain = crate::model::Chain::default();
        bench.status(
            "b",
            true,
            vec![Cursor { log, site, received: ahead, chain, decided: ahead, want: false, again: 0 }],
        );
        assert_eq!(bench.core.view(bench.now).decider, Some(SiteName::new(decider)));
    }
}

/// Its own word would be taken for one that it was not applied.
#[test]
fn a_site_that_knows_no_more_than_the_origin_says_nothing() {
    let wish = |id: WriteId| {
        let NewWrite { facts, request, .. } = new_write("POST", u64::from(id.log.store[0]), 7);
        wish_to_decide(id, facts, request)
    };
    let words =
        |effects: &[Effect]| messages(effects).iter().filter(|(_, m)| matches!(m, Message::Word { .. })).count();
    let mut bench = bench(|_| ());
    let copied = WriteId { log: log(3), n: 1 };
    bench.hear("c", wish(copied));
    bench.attempted(copied, 1, broken());
    bench.wait(15_000);
    let said = bench.hear("b", wish(FIRST));
    assert_eq!((attempts(&said).len(), words(&said)), (0, 1), "a copy of one that nobody knows of");
    let mut settled = item(log(2), 1, 0);
    settled.facts = new_write("POST", 2, 7).facts;
    (settled.outcome.verdict, settled.request) = (Verdict::Undecided, None);
    assert_eq!(words(&hear(&mut bench, vec![settled])), 0);
}

#[test]
fn what_its_origin_settled_otherwise_is_not_sent_again() {
    let mut bench = bench(|_| ());
    let mut item = in_lane(item(log(2), 1, 0), 3);
    let (facts, request) = (item.facts.clone(), request("PUT", "/sales"));
    let wish = Wish { id: FIRST, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
    assert_eq!(attempts(&bench.hear("b", Message::Wish(Box::new(wish)))).len(), 1);
    bench.attempted(FIRST, 1, broken());
    (item.outcome.verdict, item.request) = (Verdict::Refused, None);
    hear(&mut bench, vec![item]);
    assert_eq!(attempts(&bench.wait(20_000)).len(), 0);
    assert_eq!(quarantined(&bench, FIRST), Some(QuarantineReason::UnknownOutcome));
}

/// This site has had another store, under which nothing was settled, so that no peer has a series of it. But one has
/// heard of it: what the service here holds nobody knows, and to follow from the start would apply it twice (G2).
#[test]
fn a_new_store_follows_nothing_where_a_peer_has_heard_of_an_earlier_one() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let earlier = LogId { store: [9; 16], incarnation: 1 };
    let cursor = Cursor {
        log: log(2),
        site: SiteName::new("b"),
        received: 1,
        chain: Default::default(),
        decided: 1,
        want: false,
        again: 0,
    };
    let status = Status {
        count: 99,
        log: log(2),
        state: 1,
        heard: vec![(earlier, 5)],
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 0,
        retried_ms: 0,
        cursors: vec![cursor],
        missing: Vec::new(),
    };
    bench.hear("b", Message::Status(status));
    let said = bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    assert_eq!(attempts(&said).len(), 0, "it may have been applied under the earlier store");
    assert!(bench.core.replay.stopping.is_stopped());
}
