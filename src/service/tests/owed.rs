//! What a peer lacks, by what this site has and the peer has confirmed; and what is counted of who decides.
use super::super::testing::*;
use super::super::*;
use crate::journal::Fate;
use crate::model::{Chain, SiteName, WriteId};

fn b() -> SiteName {
    SiteName::new("b")
}

/// (not received, not decided, oldest not received, oldest not decided).
fn lacks(bench: &Bench) -> (u64, u64, u64, u64) {
    let view = bench.core.view(bench.now);
    let peer = &view.peers[0];
    (peer.not_received, peer.not_decided, peer.unreceived_ms, peer.lag_ms)
}

/// Writes that are settled here, from this number on.
fn settle(bench: &mut Bench, count: u64) {
    for _ in 0..count {
        let n = bench.last() + 1;
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(201));
    }
}

fn confirm(bench: &mut Bench, received: u64, decided: u64) {
    let chain = match received {
        0 => Chain::default(),
        _ => bench.core.mirror.series[&log(1)].tail_item(received).expect("it is kept in memory").chain,
    };
    let cursor = Cursor { log: log(1), site: SiteName::new("a"), received, chain, decided, want: false, again: 0 };
    bench.status("b", true, vec![cursor]);
}

#[test]
fn the_age_of_what_is_not_delivered_grows_whatever_the_peer_said_of_itself() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    settle(&mut bench, 3);
    confirm(&mut bench, 3, 3);
    assert_eq!(lacks(&bench), (0, 0, 0, 0));
    bench.handle(Event::LinkDown { peer: b() });
    bench.wait(1_000);
    settle(&mut bench, 10);
    bench.wait(14_000);
    assert_eq!(lacks(&bench), (10, 10, 14_000, 14_000));
}

#[test]
fn what_is_stored_there_and_not_decided_is_behind_and_not_lost() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    settle(&mut bench, 5);
    bench.wait(2_000);
    confirm(&mut bench, 5, 1);
    assert_eq!(lacks(&bench), (0, 4, 0, 2_000));
}

#[test]
fn what_is_owed_is_known_after_a_restart_in_a_cut() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    settle(&mut bench, 8);
    confirm(&mut bench, 8, 7);
    bench.handle(Event::LinkDown { peer: b() });
    settle(&mut bench, 92);
    bench.restart();
    let (not_received, not_decided, ..) = lacks(&bench);
    assert_eq!((not_received, not_decided), (92, 93));
    let cursors = bench.core.view(bench.now).cursors;
    assert_eq!(cursors.iter().map(|c| (c.received, c.decided)).collect::<Vec<_>>(), [(8, 7)]);
}

/// Killed while all is well: at most a second of confirmations is not known any more.
#[test]
fn what_a_peer_confirms_is_written_down_once_a_second_and_not_in_idle_times() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    settle(&mut bench, 4);
    confirm(&mut bench, 4, 4);
    let series = |effects: Vec<Effect>| {
        let is_series = |effect: &Effect| matches!(effect, Effect::Persist(crate::journal::Op::Series(_)));
        effects.iter().filter(|effect| is_series(effect)).count()
    };
    assert_eq!(series(bench.wait(2_000)), 1);
    assert_eq!(series(bench.wait(10_000)), 0);
    bench.restart();
    assert_eq!(lacks(&bench).0, 0);
}

/// A 202 is a promise that stands on this disk alone.
#[test]
fn what_is_queued_or_unknown_here_is_owed_too() {
    let mut bench = Bench::new(Settings { when_down: WhenDown::Queue, ..settings("a", &["a", "b"]) });
    bench.submit(new_write("POST", 7, 0));
    bench.attempted(own(1), 1, broken());
    bench.handle(Event::Health { healthy: false });
    bench.submit(new_write("POST", 8, 0));
    assert_eq!(lacks(&bench).0, 2);
    bench.restart();
    assert_eq!(lacks(&bench).0, 2);
}

fn failovers(effects: &[Effect]) -> Vec<(Option<&str>, Option<&str>, Option<FailoverReason>)> {
    let failover = |effect| match effect {
        &Effect::Note(Note::Failover { ref from, ref to, why }) => {
            Some((from.as_ref().map(SiteName::as_str), to.as_ref().map(SiteName::as_str), why))
        }
        _ => None,
    };
    effects.iter().filter_map(failover).collect()
}

#[test]
fn the_first_choice_is_no_failover_and_neither_is_a_site_that_comes_back() {
    let order = ["a", "b"].map(SiteName::new).to_vec();
    let mut bench = Bench::new(Settings { order, ..settings("a", &["a", "b"]) });
    let first = bench.restart();
    assert_eq!(failovers(&first), [(None, Some("a"), None)]);
    let down = bench.handle(Event::Health { healthy: false });
    assert_eq!(failovers(&down), [(Some("a"), None, Some(FailoverReason::Service))], "nobody can be asked");
    let back = bench.handle(Event::Health { healthy: true });
    assert_eq!(failovers(&back), [(None, Some("a"), None)], "the same as before");
    bench.handle(Event::LinkUp { peer: b() });
    bench.status("b", true, Vec::new());
    let other = bench.handle(Event::Health { healthy: false });
    assert_eq!(failovers(&other), [(Some("a"), Some("b"), Some(FailoverReason::Service))]);
    let again = bench.handle(Event::Health { healthy: true });
    assert_eq!(failovers(&again), [(Some("b"), Some("a"), Some(FailoverReason::Order))]);
    bench.handle(Event::Health { healthy: false });
    let cut = bench.handle(Event::LinkDown { peer: b() });
    assert_eq!(failovers(&cut), [(Some("b"), None, Some(FailoverReason::Link))]);
}

#[test]
fn each_foreign_write_is_counted_once_by_what_became_of_it_here() {
    let mut bench = Bench::new(settings("a", &["a", "b"]));
    let mut refused = item(log(2), 3, 0);
    refused.outcome.verdict = crate::model::Verdict::Refused;
    refused.request = None;
    let mut items: Vec<_> = (1..=2).map(|position| item(log(2), position, 0)).collect();
    items.push(refused);
    let mut said = bench.hear("b", Message::Page(page_of(log(2), "b", items)));
    let theirs = |n| WriteId { log: log(2), n };
    said.extend(bench.attempted(theirs(1), 1, answered(201)));
    said.extend(bench.attempted(theirs(2), 1, answered(409)));
    said.extend(bench.handle(Event::Operator { req: ReqId(90), id: Some(theirs(2)), operation: Operation::Applied }));
    settle(&mut bench, 1);
    let mut fates: Vec<String> = Vec::new();
    for effect in &said {
        if let Effect::Note(Note::ShadowSettled { fate }) = effect {
            fates.push(match fate {
                Fate::Quarantined(_) => "quarantined".to_owned(),
                fate => format!("{fate:?}"),
            });
        }
    }
    fates.sort();
    assert_eq!(fates, ["Applied", "Skipped", "quarantined"]);
}
