//! The oracle is proven by hand-made histories: each wrong one is a right one with one thing changed.
use super::super::history::{Method, Write};
use super::*;

fn history(sites: usize, lanes: &[u64]) -> History {
    let mut history = History::new(sites);
    history.key_ttl_ms = u64::MAX / 2;
    history.remembers_lanes = true;
    for (n, &lane) in lanes.iter().enumerate() {
        let name = n as Name + 1;
        let write = Write {
            client: n,
            lane,
            key: Some(name),
            borrowed: None,
            method: Method::Post,
            refused_by_rule: false,
            creates: false,
            submissions: Vec::new(),
            told: Vec::new(),
            touched: BTreeSet::new(),
            turned_away: false,
            told_at_the_end: false,
            discarded: false,
        };
        history.writes.insert(name, write);
    }
    history
}

fn success(served_by: usize) -> Said {
    Said::Answer { status: 201, body: 7, replayed: false, served_by }
}

/// One try at a service, from its beginning to its answer.
fn applied(history: &mut History, name: Name, site: usize, shadow: bool) {
    let attempt = history.want(name, site, shadow);
    history.apply(site, name, attempt);
    history.attempts[attempt].known = Some(history.next());
}

/// Sent, decided, answered at one site.
fn written(history: &mut History, name: Name, site: usize) {
    let submission = history.submit(name, site, false);
    applied(history, name, site, false);
    history.tell(name, site, submission, success(site));
}

fn guarantees(history: &History) -> Vec<&'static str> {
    let mut names: Vec<_> = judge(history).into_iter().map(|violation| violation.guarantee).collect();
    names.dedup();
    names
}

fn two_in_order() -> History {
    let mut h = history(2, &[1, 2]);
    written(&mut h, 1, 0);
    written(&mut h, 2, 0);
    h
}

#[test]
fn a_right_history_is_right() {
    let mut h = two_in_order();
    applied(&mut h, 1, 1, true);
    applied(&mut h, 2, 1, true);
    assert_eq!(judge(&h), []);
}

#[test]
fn a_lost_write_breaks_g1_and_g5_and_quarantine_with_cause_excuses_it() {
    let mut h = two_in_order();
    applied(&mut h, 1, 1, true);
    assert_eq!(guarantees(&h), ["G1", "G5"]);
    let report = Report { site: 1, name: 2, reason: QuarantineReason::UnknownOutcome };
    h.quarantined_at_end.insert(report);
    h.quarantine(report);
    assert_eq!(guarantees(&h), ["honesty"], "nothing happened to write 2 at site 1");
    h.write(2).touched.insert(1);
    assert_eq!(judge(&h), []);
}

#[test]
fn a_promise_forgotten_by_its_decider_breaks_g1_even_in_quarantine() {
    let mut h = two_in_order();
    h.crash(0);
    let report = Report { site: 0, name: 2, reason: QuarantineReason::UnknownOutcome };
    h.quarantined_at_end.insert(report);
    h.quarantine(report);
    h.write(2).touched.insert(0);
    applied(&mut h, 1, 1, true);
    assert_eq!(guarantees(&h), ["G1"]);
}

#[test]
fn a_receipt_is_owed_unless_the_service_refuses_it() {
    let mut h = history(2, &[1]);
    let submission = h.submit(1, 0, false);
    h.tell(1, 0, submission, Said::Queued);
    assert_eq!(guarantees(&h), ["G1"]);
    h.write(1).refused_by_rule = true;
    assert_eq!(judge(&h), []);
}

#[test]
fn a_doubled_write_breaks_g2_and_an_idempotent_method_only_when_its_outcome_was_known() {
    let mut h = two_in_order();
    applied(&mut h, 1, 1, true);
    applied(&mut h, 2, 1, true);
    applied(&mut h, 2, 1, true);
    assert_eq!(guarantees(&h), ["G2"]);
    h.write(2).method = Method::Put;
    assert_eq!(guarantees(&h), ["G2"], "the outcome was known");
    let first = h.applied[1][1].attempt;
    h.attempts[first].known = None;
    assert_eq!(judge(&h), []);
}

#[test]
fn answered_before_sent_is_an_order_for_every_replica() {
    let mut h = two_in_order();
    applied(&mut h, 2, 1, true);
    applied(&mut h, 1, 1, true);
    assert_eq!(guarantees(&h), ["G3"]);
    assert_eq!(judge(&h)[0].writes, [1, 2]);
    // A write that was once undecided where it was decided has no promised order.
    h.write(1).touched.insert(0);
    assert_eq!(judge(&h), []);
}

#[test]
fn writes_that_overlapped_may_go_either_way() {
    let mut h = history(2, &[1, 2]);
    let (a, b) = (h.submit(1, 0, false), h.submit(2, 0, false));
    let (x, y) = (h.want(1, 0, false), h.want(2, 0, false));
    for (name, attempt, submission) in [(1, x, a), (2, y, b)] {
        h.apply(0, name, attempt);
        h.attempts[attempt].known = Some(h.next());
        h.tell(name, 0, submission, success(0));
    }
    applied(&mut h, 2, 1, true);
    applied(&mut h, 1, 1, true);
    assert_eq!(judge(&h), []);
    for write in h.writes.values_mut() {
        write.lane = 1;
    }
    assert_eq!(guarantees(&h), ["lanes", "G3"], "in one lane they may not overlap");
}

#[test]
fn what_the_decider_had_applied_comes_first_even_when_nobody_was_told() {
    let mut h = history(2, &[1, 2]);
    h.submit(1, 1, false);
    h.submit(2, 0, false);
    applied(&mut h, 1, 1, false);
    applied(&mut h, 1, 0, true);
    applied(&mut h, 2, 0, false);
    applied(&mut h, 2, 1, true);
    assert_eq!(judge(&h), []);
    h.applied[1].swap(0, 1);
    assert_eq!(guarantees(&h), ["G3"]);
}

#[test]
fn a_client_that_carries_what_it_has_seen_binds_two_sites() {
    for bound in [true, false] {
        let mut h = history(2, &[1, 2]);
        h.write(2).client = 0;
        written(&mut h, 1, 0);
        h.receive(1, 0);
        let submission = h.submit(2, 1, bound);
        applied(&mut h, 2, 1, false);
        h.tell(2, 1, submission, success(1));
        applied(&mut h, 1, 1, true);
        applied(&mut h, 2, 0, true);
        assert_eq!(guarantees(&h), if bound { vec!["G3"] } else { vec![] }, "bound {bound}");
    }
}

#[test]
fn the_same_key_gets_the_same_answer() {
    let mut h = two_in_order();
    applied(&mut h, 1, 1, true);
    applied(&mut h, 2, 1, true);
    let again = h.submit(2, 0, false);
    h.tell(2, 0, again, Said::Answer { status: 201, body: 7, replayed: true, served_by: 0 });
    assert_eq!(judge(&h), []);
    h.tell(2, 0, again, Said::Answer { status: 201, body: 8, replayed: true, served_by: 0 });
    assert_eq!(guarantees(&h), ["G4"]);
    h.write(2).told.pop();
    h.tell(2, 0, again, Said::Problem("reply: outcome-unknown"));
    assert_eq!(guarantees(&h), ["G4"]);
}

#[test]
fn a_key_with_another_request_is_an_error() {
    let mut h = two_in_order();
    h.write(2).key = Some(1);
    applied(&mut h, 1, 1, true);
    applied(&mut h, 2, 1, true);
    assert_eq!(guarantees(&h), ["G4"]);
    h.write(2).told.clear();
    h.tell(2, 0, 0, Said::Problem("reply: key-reused"));
    assert!(!guarantees(&h).contains(&"G1"), "nobody was promised write 2");
}

#[test]
fn replicas_that_differ_break_g5_even_when_nobody_was_told() {
    let mut h = history(2, &[1]);
    h.submit(1, 0, false);
    applied(&mut h, 1, 0, false);
    assert_eq!(guarantees(&h), ["G5"]);
}

#[test]
fn one_lane_of_one_site_has_one_order_whoever_decides() {
    let mut h = history(3, &[1, 1]);
    (1..=2).for_each(|name| {
        h.submit(name, 0, false);
    });
    applied(&mut h, 1, 1, false);
    applied(&mut h, 2, 2, false);
    applied(&mut h, 1, 0, true);
    applied(&mut h, 2, 0, true);
    applied(&mut h, 2, 1, true);
    applied(&mut h, 1, 2, true);
    assert_eq!(guarantees(&h), ["G3"]);
    h.write(2).lane = 2;
    assert_eq!(judge(&h), []);
}

#[test]
fn a_late_decision_is_not_applied_over_what_came_after() {
    let mut h = history(2, &[1, 1]);
    h.write(1).method = Method::Put;
    h.submit(1, 0, false);
    applied(&mut h, 1, 0, false);
    h.write(1).touched.insert(0);
    h.quarantine(Report { site: 0, name: 1, reason: QuarantineReason::UnknownOutcome });
    written(&mut h, 2, 0);
    applied(&mut h, 2, 1, true);
    applied(&mut h, 1, 1, true);
    assert_eq!(guarantees(&h), ["G3"]);
    h.write(1).method = Method::Post;
    assert_eq!(judge(&h), []);
}

#[test]
fn a_key_may_be_used_again_only_when_its_time_is_over_and_every_replica_has_its_write() {
    let at = |now_ms: u64, everywhere: bool| {
        let mut h = history(2, &[1]);
        h.key_ttl_ms = 60_000;
        written(&mut h, 1, 0);
        if everywhere {
            applied(&mut h, 1, 1, true);
        }
        h.now_ms = now_ms;
        written(&mut h, 1, 0);
        applied(&mut h, 1, 1, true);
        guarantees(&h)
    };
    assert_eq!(at(60_000, true), [""; 0]);
    assert_eq!(at(30_000, true), ["G2"]);
    assert_eq!(at(60_000, false), ["G2"], "it was owed");
}

#[test]
fn a_probe_proves_nothing_of_a_key_that_is_used_again() {
    // The key was used first by the same write, or by another.
    for first_use in [1, 2] {
        let third_use = |answered: bool| {
            let mut h = history(2, &[1, 1]);
            h.key_ttl_ms = 60_000;
            h.write(1).method = Method::Put;
            h.write(first_use).key = Some(1);
            let used = |h: &mut History, name: Name, now_ms: u64| {
                h.now_ms = now_ms;
                h.submit(name, 0, false);
                applied(h, name, 0, false);
                applied(h, name, 1, true);
            };
            used(&mut h, first_use, 0);
            h.now_ms = 60_000;
            h.submit(1, 0, false);
            let attempt = h.want(1, 0, false);
            h.apply(0, 1, attempt);
            h.attempts[attempt].known = answered.then(|| h.next());
            let probed_at = h.next();
            h.probed.entry((0, 1)).or_default().push(probed_at);
            applied(&mut h, 1, 1, true);
            h.now_ms = 120_000;
            h.submit(1, 0, false);
            // By rule, where nothing is known of the second; then the third.
            applied(&mut h, 1, 0, true);
            used(&mut h, 1, 121_000);
            guarantees(&h)
        };
        assert_eq!(third_use(false), [""; 0], "first used by {first_use}");
        assert_eq!(third_use(true), ["G2"], "first used by {first_use}");
    }
}

/// Left alone from 1,000 ms on: at each of two sites two writes of lane 1, told so.
fn left_alone(told: [&Said; 2]) -> History {
    let mut h = history(2, &[1, 1, 1, 1]);
    h.cut_off = Some(CutOff { from_ms: 1_000, until_ms: 2_000 });
    h.now_ms = 1_500;
    for (name, (site, said)) in [(0, told[0]), (1, told[1]), (0, told[0]), (1, told[1])].into_iter().enumerate() {
        let name = name as Name + 1;
        let submission = h.submit(name, site, false);
        applied(&mut h, name, 0, false);
        applied(&mut h, name, 1, false);
        h.tell(name, site, submission, said.clone());
    }
    h
}

#[test]
fn a_lane_that_stands_still_during_a_long_cut_is_found() {
    let (answered, busy) = (success(0), Said::Problem("reply: lane-busy"));
    let still = |h: &History| guarantees(h).contains(&"G8");
    assert!(!still(&left_alone([&answered, &answered])));
    let mut h = left_alone([&answered, &busy]);
    assert!(still(&h), "one site is enough");
    h.damaged.insert((0, 1));
    assert!(still(&h));
    h.damaged.insert((1, 1));
    assert!(!still(&h), "it cannot ask for what broke");
    for excuse in ["reply: stale", "reply: key-in-flight", "reply: overloaded"] {
        assert!(!still(&left_alone([&answered, &Said::Problem(excuse)])), "{excuse}");
    }
    assert!(still(&left_alone([&answered, &Said::Queued])));
    let mut h = left_alone([&answered, &busy]);
    h.cut_off = Some(CutOff { from_ms: 1_600, until_ms: 2_000 });
    assert!(!still(&h), "sent before it could be expected to be answered");
    let mut h = left_alone([&answered, &busy]);
    h.write(4).lane = 2;
    assert!(!still(&h), "a single one may have waited for what its client has seen");
}

#[test]
fn another_clients_answer_or_its_request_executed_again_breaks_g4() {
    let brings_the_first = |said: Said, is_executed: bool| {
        let mut h = history(2, &[1, 1]);
        h.owners.extend([(7, 1), (8, 2)]);
        (h.write(2).key, h.write(2).borrowed) = (Some(1), Some(1));
        written(&mut h, 1, 0);
        applied(&mut h, 1, 1, true);
        let submission = h.submit(2, 0, false);
        if is_executed {
            applied(&mut h, 2, 0, false);
            applied(&mut h, 2, 1, true);
        }
        h.tell(2, 0, submission, said);
        judge(&h).into_iter().map(|violation| violation.what).collect::<Vec<_>>()
    };
    let found = |found: Vec<String>, what: &str| found.iter().any(|violation| violation.contains(what));
    let refused = Said::Problem("reply: key-of-another");
    assert_eq!(brings_the_first(refused.clone(), false), [""; 0]);
    let replayed = Said::Answer { status: 201, body: 7, replayed: true, served_by: 0 };
    assert!(found(brings_the_first(replayed, false), "another client's answer"));
    let refusal = Said::Answer { status: 404, body: 7, replayed: true, served_by: 0 };
    assert!(found(brings_the_first(refusal, false), "another client's answer"));
    assert!(found(brings_the_first(refused, true), "another client's key and request"));
}

#[test]
fn across_a_cut_two_clients_with_one_key_and_request_stand_in_quarantine_and_nobody_else_does() {
    for is_so in [true, false] {
        let mut h = history(2, &[1, 1]);
        h.write(2).key = Some(1);
        h.write(2).borrowed = is_so.then_some(1);
        for (name, site) in [(1, 0), (2, 1)] {
            written(&mut h, name, site);
            let report = Report { site: 1 - site, name, reason: QuarantineReason::KeyOfAnother };
            h.quarantined_at_end.insert(report);
            h.quarantine(report);
        }
        assert_eq!(guarantees(&h), if is_so { vec![] } else { vec!["honesty"] });
    }
}
