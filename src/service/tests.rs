//! What takes more than the simulator's world: single events, and what the machine says.
use super::testing::{answer, item, request, settings};
use super::*;
use crate::journal::{Age, Here, Memory, Op, Origin, Row, SeriesMeta};
use crate::model::{After, Chain, Group, LogId, Outcome, SiteName, Verdict, WriteId};

mod ahead;
mod copies;
mod creating;
mod cut;
mod differences;
mod following;
mod limits;
mod mending;
mod nothing_kept;
mod orders;
mod orders_aside;
mod orders_elsewhere;
mod owed;
mod probes;
mod reads;
mod receipts;
mod silence;
mod times;
mod told;
mod unknown;
mod whose;
mod wishes;
mod wrong_numbers;

const NOW: Now = Now { mono_ms: 1_000, wall_ms: 1_000, clock_ms: 1_000 };

fn log(n: u8) -> LogId {
    LogId { store: [n; 16], incarnation: 1 }
}

fn handle(core: &mut Core, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    core.handle(NOW, event, &mut out);
    super::testing::connect(core, NOW, super::testing::Endpoint::Connects, &mut out);
    out
}

fn linked_core() -> Core {
    let group = Group { service: "pos".into(), store: String::new() };
    let recovered = Memory::new().recover(&group, 64, usize::MAX);
    let order = vec![SiteName::new("a"), SiteName::new("b")];
    let settings = Settings { order, ..settings("a", &["a", "b"]) };
    let mut core = Core::recover(settings, log(1), recovered, NOW, &mut Vec::new());
    handle(&mut core, Event::Health { healthy: true });
    handle(&mut core, Event::LinkUp { peer: SiteName::new("b") });
    core
}

/// The peer says how much it has of a series that site `a` has made.
fn status(of: LogId, count: u64) -> Event {
    let cursor = Cursor {
        log: of,
        site: SiteName::new("a"),
        received: 3,
        chain: Chain([3; 8]),
        decided: 3,
        want: false,
        again: 0,
    };
    let status = Status {
        count,
        log: log(2),
        state: 1,
        heard: Vec::new(),
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 0,
        retried_ms: 0,
        cursors: vec![cursor],
        missing: Vec::new(),
    };
    Event::Message { from: SiteName::new("b"), message: Message::Status(status) }
}

fn wants(effects: &[Effect], log: LogId) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Send { message: Message::Status(status), .. } => status.cursors.iter().any(|c| c.log == log && c.want),
        _ => false,
    })
}

#[test]
fn a_new_store_in_front_of_a_service_with_a_past_waits_for_a_person() {
    let (mut core, past) = (linked_core(), log(9));
    let said = handle(&mut core, status(past, 1));
    let stopped = core.view(NOW).stopped.expect("what the service holds nobody knows (G2)");
    assert!(stopped.contains("data_dir is new") && stopped.contains(&past.to_string()), "{stopped}");
    assert!(said.iter().any(|effect| matches!(effect, Effect::Persist(Op::Stopped(Some(_))))), "over a restart too");
    let page = Page { log: past, site: SiteName::new("a"), from: 0, items: Vec::new() };
    handle(&mut core, Event::Message { from: SiteName::new("b"), message: Message::Page(page) });
    assert!(core.view(NOW).series.iter().all(|series| series.log != past), "nothing of it is taken");

    let resume = Event::Operator { req: ReqId(1), id: None, operation: Operation::Resume };
    let said = handle(&mut core, resume);
    assert!(said.contains(&Effect::Reply { req: ReqId(1), reply: Reply::Done }));
    assert_eq!(core.view(NOW).stopped, None);
    handle(&mut core, status(past, 2));
    let later = Now { mono_ms: 10_000, ..NOW };
    let mut said = Vec::new();
    core.handle(later, Event::Tick, &mut said);
    assert!(wants(&said, past), "a person has said that the service is empty: {said:?}");
}

#[test]
fn a_store_that_others_know_more_of_takes_no_more_writes() {
    let mut core = linked_core();
    let said = handle(&mut core, status(log(1), 1));
    assert!(said.iter().any(|effect| matches!(effect, Effect::Note(Note::Fork { .. }))));
    assert!(core.view(NOW).stopped.is_some_and(|why| why.contains("knows a later past")));
    // Nor does a person let it go on: it would do once more what it has forgotten.
    handle(&mut core, Event::LinkDown { peer: SiteName::new("b") });
    let said = handle(&mut core, Event::Operator { req: ReqId(1), id: None, operation: Operation::Resume });
    let why = said.iter().find_map(|effect| match effect {
        Effect::Reply { req: ReqId(1), reply: Reply::Rejected { why } } => Some(why),
        _ => None,
    });
    assert!(why.is_some_and(|why| why.contains("older copy")), "{said:?}");
    assert!(core.view(NOW).stopped.is_some());
}

/// The other site decides meanwhile, and what it answers comes after what this site made with its earlier store.
#[test]
fn a_new_store_with_a_past_answers_what_the_other_site_decides() {
    let (mut core, past, id) = (linked_core(), log(9), WriteId { log: log(1), n: 1 });
    handle(&mut core, status(past, 1));
    let facts = item(log(1), 1, 0).facts;
    let write = NewWrite {
        facts,
        request: request("POST", "/sales"),
        seen: After::new(),
        refuse_stale: false,
        sender: Sender::default(),
    };
    let said = handle(&mut core, Event::Submit { req: ReqId(1), id, write });
    let wished = |effect: &Effect| matches!(effect, Effect::Send { message: Message::Wish(wish), .. } if wish.id == id);
    assert!(said.iter().any(wished), "this replica has stopped: {said:?}");
    let mut outcome = Outcome { answer: Some(answer(201)), ..item(log(1), 1, 0).outcome };
    outcome.after.raise(past, 3);
    let word = Message::Word { id, attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } };
    let said = handle(&mut core, Event::Message { from: SiteName::new("b"), message: word });
    let answered = |effect: &Effect| matches!(effect, Effect::Reply { req: ReqId(1), reply: Reply::Answer { .. } });
    assert!(said.iter().any(answered), "{said:?}");
}

/// A store that lay at place 5 when it was written, has said statuses below 33, and lies at `place` now.
fn moved_core(place: u64) -> Core {
    let group = Group { service: "pos".into(), store: String::new() };
    let mut memory = Memory::new();
    memory.apply(&group, &[Op::Age(Age { place: 5, said_below: 33, heard: Vec::new() })]);
    memory.move_to(place);
    let settings = Settings { order: vec![SiteName::new("a")], ..settings("a", &["a", "b", "c"]) };
    let mut core = Core::recover(settings, log(1), memory.recover(&group, 64, usize::MAX), NOW, &mut Vec::new());
    handle(&mut core, Event::Health { healthy: true });
    for peer in ["b", "c"] {
        handle(&mut core, Event::LinkUp { peer: SiteName::new(peer) });
    }
    core
}

fn speaks(from: &str, heard: u64) -> Event {
    let (log, heard) = (log(2), vec![(log(1), heard)]);
    hears(from, log, heard)
}

fn hears(from: &str, log: LogId, heard: Vec<(LogId, u64)>) -> Event {
    let status = Status {
        count: 1,
        log,
        state: 1,
        heard,
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 0,
        retried_ms: 0,
        cursors: Vec::new(),
        missing: Vec::new(),
    };
    Event::Message { from: SiteName::new(from), message: Message::Status(status) }
}

fn is_taken(core: &mut Core, n: u64) -> bool {
    let id = WriteId { log: log(1), n };
    let write = NewWrite {
        facts: item(log(1), 1, 0).facts,
        request: request("POST", "/sales"),
        seen: After::new(),
        refuse_stale: false,
        sender: Sender::default(),
    };
    let said = handle(core, Event::Submit { req: ReqId(n), id, write });
    let refused = |effect: &Effect| {
        matches!(effect, Effect::Reply { reply: Reply::Problem { problem: crate::model::Problem::StoreDown, .. }, .. })
    };
    assert!(said.iter().any(|effect| refused(effect) || matches!(effect, Effect::Attempt(_))), "{said:?}");
    !said.iter().any(refused)
}

#[test]
fn a_copy_does_nothing_before_all_others_have_spoken() {
    let mut core = moved_core(6);
    assert!(!is_taken(&mut core, 1), "it may be an old one");
    handle(&mut core, speaks("b", 32));
    assert!(!is_taken(&mut core, 2), "c may know more");
    let said = handle(&mut core, speaks("c", 0));
    assert!(said.iter().any(|effect| matches!(effect, Effect::Persist(Op::Age(age)) if age.place == 6)));
    assert!(is_taken(&mut core, 3) && core.view(NOW).stopped.is_none());
    assert!(is_taken(&mut moved_core(5), 1), "where it was");
}

/// Its own disk was replaced, say: what this store has forgotten it has forgotten too.
#[test]
fn a_site_that_has_never_heard_of_a_copy_cannot_tell_how_old_it_is() {
    let mut core = moved_core(6);
    handle(&mut core, speaks("b", 32));
    handle(&mut core, hears("c", log(3), vec![(log(7), 32)]));
    assert!(!is_taken(&mut core, 1));
}

#[test]
fn a_site_is_remembered_from_the_first_that_it_says() {
    let mut core = moved_core(5);
    let said = handle(&mut core, speaks("b", 32));
    let heard = [(SiteName::new("b"), log(2), 1)];
    let kept = |effect: &Effect| matches!(effect, Effect::Persist(Op::Age(age)) if age.heard == heard);
    assert!(said.iter().any(kept), "{said:?}");
}

#[test]
fn a_copy_of_which_others_have_heard_more_is_stale_for_good() {
    let mut core = moved_core(6);
    handle(&mut core, speaks("c", 0));
    let said = handle(&mut core, speaks("b", 33));
    assert!(said.iter().any(|effect| matches!(effect, Effect::Persist(Op::Age(age)) if age.place == Age::NOWHERE)));
    handle(&mut core, speaks("b", 33));
    assert!(!is_taken(&mut core, 1));
    let resume = Event::Operator { req: ReqId(9), id: None, operation: Operation::Resume };
    let said = handle(&mut core, resume);
    assert!(
        said.iter().any(|effect| matches!(effect, Effect::Reply { reply: Reply::Rejected { .. }, .. })),
        "{said:?}"
    );
}

#[test]
fn a_person_may_say_that_a_copy_is_the_latest() {
    let mut core = moved_core(6);
    let resume = Event::Operator { req: ReqId(9), id: None, operation: Operation::Resume };
    assert!(handle(&mut core, resume).contains(&Effect::Reply { req: ReqId(9), reply: Reply::Done }));
    assert!(is_taken(&mut core, 1));
    // They remember more after all.
    handle(&mut core, speaks("b", 99));
    assert!(core.view(NOW).stopped.is_some_and(|why| why.contains("knows a later past")));
    assert!(!is_taken(&mut core, 2));
}

#[test]
fn what_peers_remember_of_this_site_is_below_what_it_has_reserved_and_rest_costs_nothing() {
    let mut core = moved_core(5);
    let (mut reserved, mut state) = (33 + 16, 33);
    for n in 1..200 {
        let changes = n % 3 == 0;
        if changes {
            core.age.changes();
        }
        let now = Now { mono_ms: 1_000 + n * 600, ..NOW };
        let mut said = Vec::new();
        core.handle(now, Event::Tick, &mut said);
        state += u64::from(changes);
        for effect in said {
            match effect {
                Effect::Persist(op) => match op {
                    Op::Age(age) if changes => reserved = age.said_below,
                    op => panic!("written down at rest: {op:?}"),
                },
                Effect::Send { message: Message::Status(status), .. } => {
                    assert_eq!(status.state, state);
                    assert!(state < reserved, "{state} of {reserved}");
                }
                _ => {}
            }
        }
    }
    assert_eq!(state, 33 + 66);
}

/// A write of site `b`, and a copy of it that site `b` answered for this one: both have their positions, neither is
/// decided here.
fn a_copy_and_its_first() -> (Core, Vec<Effect>) {
    let group = Group { service: "pos".into(), store: String::new() };
    let (first, copy) = (item(log(2), 1, 0), item(log(1), 1, 0));
    let outcome = Outcome { verdict: Verdict::Duplicate, repeats: Some(first.id), ..copy.outcome.clone() };
    let row = |item: &crate::model::Item, origin, outcome| Row {
        id: item.id,
        facts: item.facts.clone(),
        origin,
        queued: false,
        owed: Default::default(),
        wish: None,
        here: Here::Untouched,
        outcome: Some(outcome),
        ours: None,
        position: Some((item.position, item.chain)),
        decides: None,
        settled_clock_ms: 1,
    };
    let series = |log, site| {
        Op::Series(SeriesMeta {
            log,
            site: SiteName::new(site),
            received: 1,
            chain: Chain::default(),
            decided: 0,
            forgotten: 0,
            told: Vec::new(),
            confirmed: Vec::new(),
        })
    };
    let mut memory = Memory::new();
    let ops = [
        Op::Request(first.id, request("POST", "/sales")),
        Op::Row(Box::new(row(&first, Origin::Foreign, first.outcome.clone()))),
        Op::Row(Box::new(row(&copy, Origin::Settled, outcome))),
        series(log(1), "a"),
        series(log(2), "b"),
    ];
    memory.apply(&group, &ops);
    let mut said = Vec::new();
    let settings = settings("a", &["a", "b"]);
    let core = Core::recover(settings, log(1), memory.recover(&group, 64, usize::MAX), NOW, &mut said);
    (core, said)
}

/// Who has read the copy's answer has read that of the first (G3): found by seed 1114, where the site had restarted in
/// between.
#[test]
fn a_copy_waits_for_its_first_over_a_restart() {
    let (mut core, mut said) = a_copy_and_its_first();
    let mut seen = After::new();
    seen.raise(log(1), 1);
    said.extend(handle(&mut core, Event::AwaitSeen { req: ReqId(1), seen: seen.clone(), deadline_ms: 5_000 }));
    said.extend(handle(&mut core, Event::Health { healthy: true }));
    let mut first = None;
    let fresh = Effect::Reply { req: ReqId(1), reply: Reply::Go { fresh: true, seen } };
    // The journal answers what it is asked.
    while let Some(effect) = said.pop() {
        assert_ne!(effect, fresh, "the first is not even sent");
        match effect {
            Effect::ReadSeries { log, from, .. } => {
                let items = vec![std::sync::Arc::new(item(log, from, 0))];
                said.extend(handle(&mut core, Event::SeriesRead { log, from, items, for_peer: None }));
            }
            Effect::Find { token, .. } => said.extend(handle(&mut core, Event::Found { token, rows: Vec::new() })),
            Effect::Attempt(attempt) => first = Some(attempt),
            _ => {}
        }
    }
    let Attempt { id, attempt, .. } = first.expect("the first is sent");
    let result = AttemptResult::Answered(answer(200));
    let said = handle(&mut core, Event::Attempted { id, attempt, result });
    assert!(said.contains(&fresh), "{said:?}");
    assert_eq!(core.view(NOW).open_writes, 0);
}
