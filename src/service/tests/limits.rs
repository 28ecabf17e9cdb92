//! G6: at each limit new work is refused or waits, and is taken again when there is room.
use super::super::testing::*;
use super::super::*;
use crate::journal::Op;
use crate::model::{Problem, SiteName, WriteId};

fn with(change: impl FnOnce(&mut Settings)) -> Bench {
    let mut settings = settings("a", &["a", "b"]);
    change(&mut settings);
    Bench::new(settings)
}

fn is_overloaded(effects: &[Effect], req: u64) -> bool {
    matches!(problem_of(effects, req), Some(Problem::Overloaded { .. }))
}

fn wish(n: u64) -> Message {
    let NewWrite { facts, request, .. } = new_write("POST", 100 + n, 0);
    wish_to_decide(WriteId { log: log(2), n }, facts, request)
}

#[test]
fn no_more_writes_are_open_than_the_limit_says() {
    let mut bench = with(|s| s.limits.open_writes = 2);
    for lane in 1..=2 {
        assert_eq!(attempts(&bench.submit(new_write("POST", lane, 0))).len(), 1);
    }
    assert!(is_overloaded(&bench.submit(new_write("POST", 3, 0)), 3));
    let said = bench.hear("b", wish(1));
    assert_eq!(words(&said), [WishWord::NotHere]);
    assert!(said.iter().any(|effect| matches!(effect, Effect::Persist(Op::Row(_)))), "a late copy must find it void");
    assert!(reply_to(&bench.attempted(own(1), 1, answered(201)), 1).is_some());
    assert_eq!(attempts(&bench.submit(new_write("POST", 3, 0))).len(), 1);
}

#[test]
fn no_more_bytes_are_open_than_the_limit_says() {
    let mut bench = with(|s| s.limits.open_bytes = 1);
    bench.submit(new_write("POST", 1, 0));
    assert!(is_overloaded(&bench.submit(new_write("POST", 2, 0)), 2));
    assert_eq!(words(&bench.hear("b", wish(1))), [WishWord::NotHere]);
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&bench.submit(new_write("POST", 2, 0))).len(), 1, "what was answered weighs nothing");
    bench.attempted(own(3), 1, answered(201));
    assert_eq!(attempts(&bench.hear("b", wish(2))).len(), 1);
}

#[test]
fn no_more_copies_wait_for_a_key_than_the_limit_says() {
    let mut bench = with(|s| s.limits.waiters_per_key = 2);
    for req in 1..=3 {
        assert_eq!(reply_to(&bench.submit(new_write("POST", 1, 7)), req), None);
    }
    assert!(matches!(problem_of(&bench.submit(new_write("POST", 1, 7)), 4), Some(Problem::KeyInFlight { .. })));
    let said = bench.attempted(own(1), 1, answered(201));
    for (req, copy) in [(1, false), (2, true), (3, true)] {
        assert!(matches!(reply_to(&said, req), Some(Reply::Answer { replayed, .. }) if *replayed == copy), "{req}");
    }
}

/// Own writes here lately: `replay.share`.
#[test]
fn shadows_leave_clients_their_part_of_the_replica() {
    let mut bench = with(|s| (s.limits.shadows, s.limits.shadows_beside_writes) = (3, 1));
    assert_eq!(attempts(&bench.hear("b", Message::Page(page(log(2), "b", 1, 2)))).len(), 2, "nobody writes");
    bench.submit(new_write("POST", 50, 0));
    bench.attempted(own(1), 1, answered(201));
    let shadow = |n| WriteId { log: log(2), n };
    assert_eq!(attempts(&bench.hear("b", Message::Page(page(log(2), "b", 3, 9)))).len(), 0, "there is one too many");
    assert_eq!(attempts(&bench.attempted(shadow(1), 1, answered(201))).len(), 0, "the other is there still");
    let next = bench.attempted(shadow(2), 1, answered(201));
    assert_eq!(attempts(&next).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [shadow(3)], "in order");
    assert_eq!(attempts(&bench.wait(999)).len(), 0);
    let later = bench.wait(1_000);
    let ids: Vec<WriteId> = attempts(&later).iter().map(|attempt| attempt.id).collect();
    assert_eq!(ids, [shadow(4), shadow(5)], "no client has written for a second");
}

#[test]
fn the_follower_takes_up_no_more_than_its_window() {
    let mut bench = with(|s| s.limits.window_items = 2);
    let shadow = |n| WriteId { log: log(2), n };
    assert_eq!(attempts(&bench.hear("b", Message::Page(page(log(2), "b", 1, 5)))).len(), 2);
    assert_eq!(attempts(&bench.attempted(shadow(2), 1, answered(201))).len(), 0, "the first is still open");
    let next = bench.attempted(shadow(1), 1, answered(201));
    assert_eq!(attempts(&next).iter().map(|attempt| attempt.id).collect::<Vec<_>>(), [shadow(3), shadow(4)]);
}

/// The peer has stored so much of this site's series, and wants more.
fn confirmed(bench: &Bench, received: u64) -> Vec<Cursor> {
    let (log, site) = (log(1), SiteName::new("a"));
    let chain = bench.core.mirror.series[&log].tail_item(received).map(|item| item.chain).unwrap_or_default();
    vec![Cursor { log, site, received, chain, decided: received, want: true, again: 0 }]
}

fn pages(effects: &[Effect]) -> Vec<(u64, usize)> {
    let pages = messages(effects).into_iter().filter_map(|(_, message)| match message {
        Message::Page(page) => Some((page.from, page.items.len())),
        _ => None,
    });
    pages.collect()
}

#[test]
fn a_peer_gets_four_pages_ahead_of_what_it_confirms_and_lost_ones_again() {
    let mut bench = with(|s| s.limits.page_items = 2);
    for n in 1..=13 {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(201));
    }
    let (nothing, two) = (confirmed(&bench, 0), confirmed(&bench, 2));
    assert_eq!(pages(&bench.status("b", true, nothing)), [(0, 2), (2, 2), (4, 2), (6, 2)]);
    assert_eq!(pages(&bench.status("b", true, two.clone())), [(8, 2)]);
    bench.wait(1_499);
    assert_eq!(pages(&bench.status("b", true, two.clone())), [], "they are under way");
    bench.wait(1);
    assert_eq!(pages(&bench.status("b", true, two)), [(2, 2), (4, 2), (6, 2), (8, 2)]);
}

/// The newest are in memory after a restart neither.
#[test]
fn pages_of_what_is_not_in_memory_are_read_from_the_journal() {
    let mut bench = with(|s| s.limits.page_items = 2);
    for n in 1..=5 {
        bench.submit(new_write("POST", n, 0));
        bench.attempted(own(n), 1, answered(201));
    }
    bench.restart();
    bench.handle(Event::LinkUp { peer: SiteName::new("b") });
    let nothing = confirmed(&bench, 0);
    assert_eq!(pages(&bench.status("b", true, nothing)), [(0, 2), (2, 2), (4, 1)]);
    bench.submit(new_write("POST", 6, 0));
    let said = bench.attempted(WriteId { n: 6, ..own(6) }, 1, answered(201));
    assert_eq!(pages(&said), [(5, 1)]);
}

fn from(sender: u64, lane: u64) -> NewWrite {
    NewWrite { sender: Sender(sender), ..new_write("POST", lane, 0) }
}

/// One client whose writes nobody answers must leave room for those of others (G9).
#[test]
fn one_sender_has_half_of_the_places_and_of_the_bytes() {
    let mut bench = with(|s| s.limits.open_writes = 4);
    for n in 1..=2 {
        assert_eq!(attempts(&bench.submit(from(7, n))).len(), 1);
    }
    let refused = bench.submit(from(7, 3));
    let what = Problem::Overloaded { what: "open writes of this client" };
    assert_eq!(problem_of(&refused, 3), Some(&what));
    assert_eq!(attempts(&bench.submit(from(8, 4))).len(), 1, "another one has room");
    bench.attempted(own(1), 1, answered(201));
    assert_eq!(attempts(&bench.submit(from(7, 5))).len(), 1, "what was answered counts no more");

    let weight = {
        let mut bench = with(|_| ());
        bench.submit(from(7, 1));
        bench.core.live.bytes()
    };
    let mut bench = with(|s| s.limits.open_bytes = 4 * weight);
    bench.submit(from(7, 1));
    bench.submit(from(7, 2));
    assert!(is_overloaded(&bench.submit(from(7, 3)), 3));
    assert_eq!(attempts(&bench.submit(from(8, 4))).len(), 1);
    bench.attempted(own(1), 1, answered(201));
    bench.attempted(own(2), 1, answered(201));
    bench.attempted(own(4), 1, answered(201));
    assert!(!bench.core.live.has_senders(), "nothing is left of who has gone");
}

/// Who sends many to one lane takes turns with who sends one.
#[test]
fn senders_take_turns_in_a_lane() {
    let mut bench = with(|_| ());
    for _ in 0..50 {
        bench.submit(from(7, 1));
    }
    let others = [bench.submit(from(8, 1)), bench.submit(from(9, 1)), bench.submit(from(8, 1))];
    assert!(others.iter().all(|said| attempts(said).is_empty()), "the lane is taken");
    let mut order = vec![1];
    while order.len() < 8 {
        let said = bench.attempted(own(order[order.len() - 1]), 1, answered(201));
        order.push(attempts(&said)[0].id.n);
    }
    assert_eq!(order, [1, 2, 51, 52, 3, 53, 4, 5]);
}
