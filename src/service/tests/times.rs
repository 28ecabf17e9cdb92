//! What happens when, to the millisecond: the simulation only sees that it happens in the end.
use super::super::testing::*;
use super::super::*;
use crate::journal::Op;
use crate::model::{After, KeyHash, Problem, SiteName, WriteId};

fn with(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    settings.order = vec![SiteName::new("a"), SiteName::new("b")];
    change(&mut settings);
    Bench::new(settings)
}

/// Nothing of it happens within `ms` less one, and something then.
fn after<T>(bench: &mut Bench, ms: u64, seen: impl Fn(&[Effect]) -> Option<T>) -> T {
    let early = bench.wait(ms - 1);
    assert!(seen(&early).is_none(), "before {ms} ms: {early:?}");
    let said = bench.wait(1);
    seen(&said).unwrap_or_else(|| panic!("not after {ms} ms: {said:?}"))
}

fn first_attempt(effects: &[Effect]) -> Option<(WriteId, u32)> {
    attempts(effects).first().map(|attempt| (attempt.id, attempt.attempt))
}

#[test]
fn a_shadow_that_the_service_did_not_get_is_sent_again_less_and_less_often() {
    let mut bench = with(|_| ());
    let id = WriteId { log: log(2), n: 1 };
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    for (attempt, wait_ms) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1_600), (6, 3_200), (7, 5_000), (8, 5_000)] {
        bench.attempted(id, attempt, never_sent());
        assert_eq!(after(&mut bench, wait_ms, first_attempt), (id, attempt + 1));
    }
}

#[test]
fn an_unknown_write_holds_its_lane_for_the_fence_and_the_hold() {
    let mut bench = with(|_| ());
    bench.submit(new_write("POST", 1, 0));
    let said = bench.attempted(own(1), 1, broken());
    assert_eq!(problem_of(&said, 1), Some(&Problem::OutcomeUnknown), "nothing can tell");
    let quarantined =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Persist(Op::Quarantine(_)))).then_some(());
    after(&mut bench, 15_000, quarantined);
}

#[test]
fn an_unknown_put_is_sent_again_when_the_fence_ends_and_then_twice_a_second() {
    let mut bench = with(|_| ());
    bench.submit(new_write("PUT", 1, 0));
    bench.attempted(own(1), 1, broken());
    assert_eq!(after(&mut bench, 10_000, first_attempt), (own(1), 2));
    bench.attempted(own(1), 2, never_sent());
    let again = bench.wait(20_000);
    assert_eq!(first_attempt(&again), None, "its fence has begun anew, and its lane waits no longer");
}

#[test]
fn a_service_that_honours_keys_is_asked_again_twice_a_second() {
    let mut bench = with(|s| s.idempotent = true);
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(first_attempt(&bench.attempted(own(1), 1, broken())), Some((own(1), 2)), "there is no fence");
    bench.attempted(own(1), 2, never_sent());
    assert_eq!(after(&mut bench, 500, first_attempt), (own(1), 3));
}

/// It has seen the write again and again; when no more tries are made, it may be at the last one.
#[test]
fn a_service_that_honours_keys_is_given_its_time_for_the_last_try_too() {
    let quarantined =
        |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Persist(Op::Quarantine(_)))).then_some(());
    let mut bench = with(|s| s.idempotent = true);
    bench.submit(new_write("POST", 1, 0));
    let mut tries = 2;
    bench.attempted(own(1), 1, broken());
    // Fence and hold are 10 s and 5 s: one more try is under way when they end.
    bench.wait(14_900);
    bench.attempted(own(1), tries, broken());
    while let Some((_, again)) = first_attempt(&bench.wait(50)) {
        tries = again;
    }
    let said = bench.wait(5_000);
    assert_eq!((first_attempt(&said), quarantined(&said)), (None, None), "{said:?}");
    assert!(quarantined(&bench.wait(5_000)).is_some(), "10 s after the last try: {tries}");
}

#[test]
fn a_probe_is_asked_twice_a_second_and_not_while_one_is_under_way() {
    let mut bench = with(|s| s.has_probe = true);
    let probed = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Probe { .. })).then_some(());
    bench.submit(new_write("POST", 1, 0));
    assert!(probed(&bench.attempted(own(1), 1, broken())).is_some());
    assert!(probed(&bench.wait(2_000)).is_none(), "it has not answered");
    bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::Nothing });
    after(&mut bench, 500, probed);
    bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::NotFound });
    assert_eq!(first_attempt(&bench.wait(7_499)), None, "the service may be working on it until the fence ends");
    bench.wait(500);
    let again = bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::NotFound });
    assert_eq!(first_attempt(&again), None, "asked before it ended");
    bench.wait(500);
    let again = bench.handle(Event::Probed { id: own(1), attempt: 1, result: ProbeResult::NotFound });
    assert_eq!(first_attempt(&again), Some((own(1), 2)));
}

#[test]
fn a_client_waits_no_longer_than_the_total_time() {
    let mut bench = with(|_| ());
    bench.submit(new_write("POST", 1, 0));
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(after(&mut bench, 5_000, |e| problem_of(e, 2).cloned()), Problem::LaneBusy { retry_after_s: 1 });
}

#[test]
fn what_a_client_has_seen_is_waited_for_half_of_the_total_time() {
    for refuse_stale in [true, false] {
        let mut bench = with(|_| ());
        bench.says_it_has("b", log(2), 7);
        let mut seen = After::new();
        seen.raise(log(2), 7);
        let write = NewWrite { seen, refuse_stale, ..new_write("POST", 1, 0) };
        assert_eq!(first_attempt(&bench.submit(write)), None);
        if refuse_stale {
            assert_eq!(after(&mut bench, 2_500, |e| problem_of(e, 1).cloned()), Problem::Stale);
        } else {
            assert_eq!(after(&mut bench, 2_500, first_attempt), (own(1), 1));
        }
    }
}

#[test]
fn a_wish_without_a_word_is_revoked_when_its_time_is_up() {
    let mut bench = with(|s| s.order.reverse());
    let wished = bench.submit(new_write("POST", 1, 0));
    assert!(messages(&wished).iter().any(|(to, m)| *to == "b" && matches!(m, Message::Wish(_))));
    let revoked = |effects: &[Effect]| {
        let revoke = messages(effects).iter().any(|(_, m)| matches!(m, Message::Revoke { attempt: 1, .. }));
        revoke.then(|| first_attempt(effects))
    };
    assert_eq!(after(&mut bench, 800, revoked), Some((own(1), 1)), "the next in order decides");
}

#[test]
fn a_wish_that_cannot_be_sent_is_void_when_its_time_is_up() {
    let mut bench = with(|_| ());
    let NewWrite { facts, request, .. } = new_write("POST", 1, 0);
    let mut must = After::new();
    must.raise(log(3), 1);
    let wish =
        Wish { id: WriteId { log: log(2), n: 1 }, attempt: 1, after_ms: 800, facts, must, request, pages: Vec::new() };
    bench.hear("b", Message::Wish(Box::new(wish)));
    let void = |effects: &[Effect]| {
        let word = |m: &Message| matches!(m, Message::Word { word: WishWord::Void, .. });
        messages(effects).iter().any(|(_, m)| word(m)).then_some(())
    };
    after(&mut bench, 800, void);
}

/// A hint names the other site as the key's origin.
fn hinted(bench: &mut Bench, key: u8) {
    let (origin, id) = (SiteName::new("b"), WriteId { log: log(2), n: 1 });
    bench.handle(Event::Fingerprint(crate::dedup::Fingerprint { key: KeyHash([key; 16]), origin, id }));
}

fn question(effects: &[Effect]) -> Option<u64> {
    messages(effects)
        .iter()
        .find_map(|(_, m)| if let Message::Question { token, .. } = m { Some(*token) } else { None })
}

#[test]
fn an_origin_that_does_not_tell_of_a_key_is_waited_for_a_second() {
    for on_unreachable in [OnUnreachable::Accept, OnUnreachable::Refuse] {
        let mut bench = with(|s| s.on_unreachable = on_unreachable);
        hinted(&mut bench, 7);
        let asked = bench.submit(new_write("POST", 1, 7));
        assert!(question(&asked).is_some() && asked.contains(&Effect::Note(Note::AskedOrigin)));
        if on_unreachable == OnUnreachable::Accept {
            assert_eq!(after(&mut bench, 1_000, first_attempt), (own(1), 1));
        } else {
            let told = after(&mut bench, 1_000, |e| problem_of(e, 1).cloned());
            assert_eq!(told, Problem::OriginUnreachable { site: "b".into() });
        }
    }
}

#[test]
fn an_origin_that_has_the_key_in_flight_is_asked_again_soon() {
    let mut bench = with(|_| ());
    hinted(&mut bench, 7);
    let write = new_write("POST", 1, 7);
    let token = question(&bench.submit(write)).expect("there is a hint");
    let said = bench.hear("b", Message::Reply { token, known: Known::InFlight });
    assert_eq!(question(&said), None);
    let again = after(&mut bench, 20, question);
    let said = bench.hear("b", Message::Reply { token, known: Known::Nothing });
    assert_eq!(first_attempt(&said), None, "that was the answer to the first question, said again");
    let said = bench.hear("b", Message::Reply { token: again, known: Known::Nothing });
    assert_eq!(first_attempt(&said), Some((own(1), 1)));
}

#[test]
fn peers_hear_of_changes_soon_and_of_nothing_twice_a_second() {
    let mut bench = with(|_| ());
    let status =
        |effects: &[Effect]| messages(effects).iter().any(|(_, m)| matches!(m, Message::Status(_))).then_some(());
    bench.wait(1_000);
    let since = bench.core.deadline().expect("the next status") - bench.now.mono_ms;
    after(&mut bench, since, status);
    after(&mut bench, 500, status);
    bench.submit(new_write("POST", 1, 0));
    bench.attempted(own(1), 1, answered(201));
    after(&mut bench, 10, status);
    after(&mut bench, 500, status);
}

/// Retention is the longer of the two; the other site has decided the first of two writes.
#[test]
fn what_all_have_decided_is_forgotten_when_its_time_is_over() {
    let mut bench = with(|s| (s.retain_ms, s.key_ttl_ms) = (100_000, 300_000));
    for n in 1..=2 {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(201));
    }
    let chain = bench.core.mirror.series[&log(1)].tail_item(1).expect("it is settled").chain;
    let (log, site) = (log(1), SiteName::new("a"));
    let confirmed = Cursor { log, site, received: 1, chain, decided: 1, want: false, again: 0 };
    bench.status("b", true, vec![confirmed]);
    let forgets = |effects: &[Effect]| {
        let forget = |e: &Effect| match e {
            Effect::Persist(Op::Forget { up_to, older_than_ms, .. }) => Some((*up_to, *older_than_ms)),
            _ => None,
        };
        effects.iter().find_map(forget)
    };
    assert_eq!(forgets(&bench.wait(299_000 - 1_000)), None);
    let said = bench.wait(60_000);
    let (up_to, older_than_ms) = forgets(&said).expect("once a minute");
    assert_eq!(up_to, 1, "the other site has not decided the second");
    assert!(older_than_ms < 60_000, "{older_than_ms}");
}

#[test]
fn a_key_is_free_when_its_time_is_over_and_all_have_decided_its_write() {
    let mut bench = with(|s| s.key_ttl_ms = 10_000);
    bench.submit(new_write("POST", 1, 7));
    bench.attempted(own(1), 1, answered(201));
    let is_replay =
        |effects: &[Effect], req| matches!(reply_to(effects, req), Some(Reply::Answer { replayed: true, .. }));
    bench.wait(20_000);
    assert!(is_replay(&bench.submit(new_write("POST", 1, 7)), 2), "the other site has not decided it");
    let chain = bench.core.mirror.series[&log(1)].tail_item(1).expect("it is settled").chain;
    let (log, site) = (log(1), SiteName::new("a"));
    let cursor = Cursor { log, site, received: 1, chain, decided: 1, want: false, again: 0 };
    bench.status("b", true, vec![cursor]);
    assert_eq!(first_attempt(&bench.submit(new_write("POST", 1, 7))), Some((own(3), 1)));
    bench.attempted(own(3), 1, answered(201));
    bench.wait(10_000);
    assert!(is_replay(&bench.submit(new_write("POST", 1, 7)), 4), "not older than its time");
}

/// The filter has given up, so the journal is asked first, and knows nothing.
#[test]
fn a_hint_counts_also_where_the_journal_was_asked_first() {
    let mut bench = with(|s| s.limits.keys = 0);
    bench.core.idempotency.keys.stored(KeyHash([9; 16]));
    hinted(&mut bench, 7);
    let said = bench.submit(new_write("POST", 1, 7));
    assert_eq!(first_attempt(&said), None);
    let token = question(&said).expect("the other site may have it");
    let said = bench.hear("b", Message::Reply { token, known: Known::Nothing });
    assert_eq!(first_attempt(&said), Some((own(1), 1)), "not asked again");
}
