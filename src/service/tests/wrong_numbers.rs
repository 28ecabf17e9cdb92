//! G9: a number from outside is checked before it is believed. Messages of every kind with numbers that no site says,
//! through the decoder and the checks into a real machine: none ends it, none makes it write down what the journal
//! cannot keep, and what was never true leaves no trace.
use std::sync::Arc;

use super::super::testing::*;
use super::super::*;
use crate::journal::{Confirmed, Memory, Op, SeriesMeta};
use crate::model::{After, Chain, Group, LogId, NUMBER_MAX, Outcome, SiteName, Stretch, Verdict, WriteId, decision_of};
use crate::wire;

const MESSAGES: usize = 100_000;
/// Messages that one machine hears before the next begins.
const ROUND: usize = 64;

/// `SEED=n` repeats a run.
fn rng() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Where arithmetic and limits change, and all that is beyond every store.
const NUMBERS: [u64; 18] = [
    0,
    1,
    2,
    3,
    5,
    64,
    (1 << 32) - 1,
    1 << 32,
    (1 << 40) - 1,
    1 << 40,
    1 << 43,
    NUMBER_MAX - 1,
    NUMBER_MAX,
    NUMBER_MAX + 1,
    1 << 62,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

fn group() -> Group {
    Group { service: "pos".into(), store: String::new() }
}
fn id(l: u8, n: u64) -> WriteId {
    WriteId { log: log(l), n }
}
fn outcome(after: After) -> Outcome {
    Outcome {
        verdict: Verdict::Applied,
        after,
        repeats: None,
        status: 201,
        answer: Some(answer(201)),
        told_by_probe: false,
        unknown: Vec::new(),
    }
}
fn after() -> After {
    let mut after = After::new();
    after.raise(log(1), 1);
    after.raise(log(2), 2);
    after.add_stretch(Stretch { log: log(2), first: 4, last: 5 });
    after.add_id(id(2, 9));
    after
}
fn cursor(l: u8, site: &str, received: u64) -> Cursor {
    let (log, site) = (log(l), SiteName::new(site));
    Cursor { log, site, received, chain: Chain::default(), decided: received, want: true, again: 0 }
}
fn wish(n: u64, pages: Vec<Page>) -> Message {
    let NewWrite { facts, request, .. } = new_write("POST", n.wrapping_add(100), 7);
    Message::Wish(Box::new(Wish { id: id(2, n), attempt: 1, after_ms: 800, facts, must: After::new(), request, pages }))
}
fn status(count: u64, heard: Vec<(LogId, u64)>, cursors: Vec<Cursor>) -> Message {
    let missing = vec![id(1, 1)];
    Message::Status(Status {
        count,
        log: log(2),
        state: 3,
        heard,
        healthy: true,
        last: false,
        hangs: false,
        lag_ms: 4,
        retried_ms: 0,
        cursors,
        missing,
    })
}

/// What a healthy `b` may say to an `a` that has asked it for the first of its writes.
fn honest() -> Vec<Message> {
    let word = |word| Message::Word { id: own(1), attempt: 1, word };
    let recorded = Known::Recorded {
        id: id(2, 3),
        verdict: Verdict::Applied,
        repeats: None,
        position: 3,
        pages: vec![page(log(2), "b", 1, 3)],
        answer: None,
        seen: after(),
    };
    let mut late = item(log(2), 2, 5);
    (late.id, late.decides) = (decision_of(id(2, 1)), Some((id(2, 1), 1)));
    let mut first = item(log(2), 1, 5);
    (first.outcome.verdict, first.outcome.after) = (Verdict::Undecided, after());
    let decision = page_of(log(2), "b", vec![first, late]);
    let mut ahead = item(log(3), 7, 5);
    ahead.position = 0;
    vec![
        status(u64::MAX / 2, vec![(log(1), 0)], vec![cursor(2, "b", 3), cursor(1, "a", 0)]),
        Message::Page(page(log(2), "b", 1, 3)),
        Message::Page(decision),
        Message::Again(page(log(2), "b", 1, 2)),
        wish(7, Vec::new()),
        wish(8, vec![page(log(3), "c", 1, 2)]),
        Message::Revoke { id: id(2, 7), attempt: 1 },
        Message::Ask { id: id(2, 8), attempt: 1 },
        word(WishWord::Stored),
        word(WishWord::Done { outcome: outcome(after()), pages: vec![page(log(2), "b", 1, 2)] }),
        word(WishWord::Unknown),
        word(WishWord::Void),
        question(5, 7),
        Message::Reply { token: 1, known: recorded },
        Message::Ahead { site: SiteName::new("c"), item: Arc::new(ahead) },
    ]
}

/// The envelope with numbers written over what stands at a few places of its payload; its checksum is right again.
fn mutated(rng: &mut fastrand::Rng, envelope: &[u8]) -> Vec<u8> {
    let mut bytes = envelope.to_vec();
    let payload = 6..bytes.len() - 4;
    for _ in 0..rng.usize(1..4) {
        let number = if rng.u8(..) < 200 { NUMBERS[rng.usize(..NUMBERS.len())] } else { rng.u64(..) };
        let width = [8, 8, 8, 4, 1][rng.usize(..5)].min(payload.len());
        let at = payload.start + rng.usize(..=payload.len() - width);
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
    let end = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Three sites, of which `a` asks `b` first.
fn bench() -> Bench {
    let mut bench =
        Bench::new(Settings { order: ["b", "a"].map(SiteName::new).to_vec(), ..settings("a", &["a", "b", "c"]) });
    bench.submit(new_write("POST", 1, 1));
    bench
}

fn keeps_bounds(effects: &[Effect]) {
    for effect in effects {
        let Effect::Persist(op) = effect else { continue };
        let numbers = match op {
            Op::Row(row) => vec![row.id.n, row.position.map_or(0, |(position, _)| position)],
            Op::Request(id, _) | Op::Release(id) => vec![id.n],
            Op::Series(meta) => vec![meta.received, meta.decided, meta.forgotten],
            Op::Quarantine(entry) => vec![entry.id.n],
            _ => Vec::new(),
        };
        assert!(numbers.iter().all(|&number| number <= NUMBER_MAX), "{op:?}");
    }
}

#[test]
fn no_message_ends_a_machine_or_makes_it_write_what_cannot_be_kept() {
    let mut rng = rng();
    let honest: Vec<Vec<u8>> = honest().iter().map(|m| wire::encode_message(&group(), m).unwrap().to_vec()).collect();
    let (mut machine, mut heard, mut refused, mut held) = (bench(), 0, 0, 0);
    for n in 0..MESSAGES {
        if n % ROUND == 0 {
            held += usize::from(
                machine.core.replay.stopping.is_stopped() || machine.core.is_held() || machine.core.age.is_forked(),
            );
            machine = bench();
        }
        let envelope = &honest[rng.usize(..honest.len())];
        let bytes = if rng.u8(..) < 40 { envelope.clone() } else { mutated(&mut rng, envelope) };
        let Ok((_, message)) = wire::decode_message(&bytes, 1 << 20) else { continue };
        let sound = message.check().is_ok();
        (heard, refused) = (heard + 1, refused + usize::from(!sound));
        let from = ["b", "b", "b", "c"][rng.usize(..4)];
        let mut effects = machine.hear(from, message);
        if rng.u8(..) < 20 {
            effects.extend(machine.wait(rng.u64(1..3_000)));
        }
        if rng.u8(..) < 8 {
            effects.extend(machine.restart());
            effects.extend(machine.handle(Event::LinkUp { peer: SiteName::new("b") }));
        }
        let begun: Vec<(WriteId, u32)> =
            attempts(&effects).iter().map(|attempt| (attempt.id, attempt.attempt)).collect();
        for (id, attempt) in begun {
            let result = [answered(201), answered(404), answered(500), broken(), never_sent()][rng.usize(..5)].clone();
            effects.extend(machine.attempted(id, attempt, result));
        }
        keeps_bounds(&effects);
    }
    println!(
        "{heard} heard, {refused} refused by their numbers alone, {held} machines of {} stopped",
        MESSAGES / ROUND
    );
    assert!(
        heard > MESSAGES / 3 && refused > heard / 20,
        "{heard} {refused}: the numbers do not get where they should"
    );
}

/// What cannot be, of each kind; and a site that hears nothing else goes on as if it had heard nothing.
#[test]
fn what_cannot_be_is_refused_and_named_and_an_honest_exchange_goes_on() {
    let past = |f: &dyn Fn(u64) -> Message| [NUMBER_MAX + 1, 1 << 62, 1 << 63, u64::MAX].map(f);
    let mut lies: Vec<Message> = Vec::new();
    lies.extend(past(&|n| Message::Revoke { id: id(2, n), attempt: 1 }));
    lies.extend(past(&|n| Message::Ask { id: id(2, n), attempt: 1 }));
    lies.extend(past(&|n| wish(n, Vec::new())));
    lies.extend(past(&|n| status(9, vec![(log(1), n)], Vec::new())));
    lies.extend(past(&|n| status(9, Vec::new(), vec![cursor(1, "a", n)])));
    lies.extend(past(&|n| status(9, Vec::new(), vec![Cursor { again: n, ..cursor(2, "b", 3) }])));
    lies.extend(past(&|n| status(9, Vec::new(), vec![Cursor { decided: n, ..cursor(2, "b", 3) }])));
    lies.extend(past(&|n| Message::Page(Page { from: n - 1, ..page(log(2), "b", 1, 3) })));
    lies.extend(past(&|n| Message::Again(Page { from: n, items: Vec::new(), ..page(log(2), "b", 1, 3) })));
    lies.extend(past(&|n| wish(5, vec![Page { from: n, items: Vec::new(), ..page(log(3), "c", 1, 1) }])));
    lies.extend(past(&|n| {
        let mut after = After::new();
        after.raise(log(3), n);
        Message::Word { id: own(1), attempt: 1, word: WishWord::Done { outcome: outcome(after), pages: Vec::new() } }
    }));
    lies.extend(past(&|n| {
        let mut item = item(log(3), n, 1);
        item.position = 0;
        Message::Ahead { site: SiteName::new("c"), item: Arc::new(item) }
    }));
    // Within bounds, and what this site knows speaks against it.
    let before = page(log(3), "c", 1, 2);
    lies.extend([
        wish_of(own(5)),
        Message::Revoke { id: own(77), attempt: 1 },
        wish_of(id(3, 5)),
        Message::Revoke { id: id(3, 77), attempt: 1 },
        Message::Ask { id: own(77), attempt: 1 },
        Message::Ask { id: id(3, 77), attempt: 1 },
        Message::Status(Status { log: log(1), ..plain_status() }),
        Message::Status(Status { log: log(3), ..plain_status() }),
        status(9, Vec::new(), vec![cursor(3, "b", 9)]),
        status(9, Vec::new(), vec![cursor(1, "b", 0)]),
        Message::Page(Page { site: SiteName::new("b"), ..page(log(3), "c", 1, 3) }),
        Message::Page({
            let mut item = item(log(2), 1, 0);
            item.id = decision_of(item.id);
            page_of(log(2), "b", vec![item])
        }),
        Message::Page(Page { log: log(3), ..page(log(2), "b", 1, 3) }),
    ]);
    let mut bench = bench();
    bench.hear("c", Message::Page(before));
    let revoked = bench.wait(1_000);
    assert!(attempts(&revoked).len() <= 1);
    let view = |bench: &Bench| {
        (bench.core.mirror.series.len(), bench.core.live.len(), bench.core.replay.stopping.stop().cloned())
    };
    let known = view(&bench);
    for lie in lies {
        let effects = bench.hear("b", lie.clone());
        assert!(
            matches!(&effects[..], [Effect::Note(Note::Invalid { peer, .. })] if peer.as_str() == "b"),
            "{lie:?}: {effects:?}"
        );
        assert_eq!(view(&bench), known, "{lie:?}");
    }
    assert_eq!(bench.row(own(77)), None);
    bench.status("b", false, vec![cursor(2, "b", 0)]);
    let said = bench.submit(new_write("POST", 55, 0));
    assert_eq!(attempts(&said).len(), 1, "{said:?}");
    assert!(reply_to(&bench.attempted(own(2), 1, answered(201)), 2).is_some());
    bench.hear("b", Message::Page(page(log(2), "b", 1, 3)));
    assert_eq!(bench.core.mirror.series[&log(2)].received, 3);
}

fn wish_of(id: WriteId) -> Message {
    let Message::Wish(mut wish) = wish(1, Vec::new()) else { unreachable!("made as one") };
    wish.id = id;
    Message::Wish(wish)
}
fn plain_status() -> Status {
    match status(9, Vec::new(), Vec::new()) {
        Message::Status(status) => status,
        _ => unreachable!("made as one"),
    }
}

/// Only who was asked decides; another member's word about it is nobody's.
#[test]
fn a_word_of_a_site_that_was_not_asked_decides_nothing() {
    let mut bench = bench();
    let done = |status| {
        let outcome = Outcome { status, ..outcome(After::new()) };
        Message::Word { id: own(1), attempt: 1, word: WishWord::Done { outcome, pages: Vec::new() } }
    };
    let effects = bench.hear("c", done(202));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Note(Note::Invalid { .. }))), "{effects:?}");
    assert!(reply_to(&effects, 1).is_none());
    let effects = bench.hear("b", done(201));
    assert!(matches!(reply_to(&effects, 1), Some(Reply::Answer { answer, .. }) if answer.status == 201), "{effects:?}");
}

/// A peer that truthfully knows more of this site's log than it does itself is how an older copy is found out.
#[test]
fn what_can_be_stays_evidence_of_an_older_copy() {
    for evidence in [status(9, vec![(log(1), 5_000)], Vec::new()), status(9, Vec::new(), vec![cursor(1, "a", 5_000)])] {
        let mut bench = bench();
        bench.hear("b", evidence);
        assert!(bench.core.age.is_forked() && bench.core.replay.stopping.is_stopped());
    }
}

/// A long wish has a stream of its own, so its revocation may come first, while the journal is asked or after.
#[test]
fn a_revocation_that_comes_before_its_wish_makes_it_void() {
    let (revoke, word) = (Message::Revoke { id: id(2, 7), attempt: 1 }, WishWord::Void);
    let is_void = |effects: &[Effect]| {
        let said = messages(effects);
        said.iter().any(|(to, message)| *to == "b" && matches!(message, Message::Word { word: w, .. } if *w == word))
    };
    for asked_later in [false, true] {
        let mut bench = bench();
        let asked = bench.step(Event::Message { from: SiteName::new("b"), message: revoke.clone() });
        let mut all = Vec::new();
        if !asked_later {
            all.extend(bench.journal_answers(&asked));
        }
        let wished = bench.step(Event::Message { from: SiteName::new("b"), message: wish(7, Vec::new()) });
        if asked_later {
            all.extend(bench.journal_answers(&asked));
        }
        all.extend(bench.journal_answers(&wished));
        assert!(is_void(&all) && attempts(&all).is_empty(), "{asked_later}: {all:?}");
        all = bench.hear("b", wish(7, Vec::new()));
        assert!(is_void(&all) && attempts(&all).is_empty());
        let Message::Wish(mut again) = wish(7, Vec::new()) else { unreachable!("made as one") };
        again.attempt = 2;
        assert_eq!(attempts(&bench.hear("b", Message::Wish(again))).len(), 1, "the next try is another wish");
    }
}

/// Records whose checksums fit and whose numbers do not, as far as the journal's own checks let them through.
#[test]
fn no_number_in_a_journal_ends_a_start() {
    let mut rng = rng();
    let journal = Memory::new();
    let number = |rng: &mut fastrand::Rng| NUMBERS[rng.usize(..NUMBERS.len())];
    for _ in 0..5_000 {
        let mut recovered = journal.recover(&group(), 16, 16);
        for (l, site) in [(1, "a"), (2, "b"), (3, "c")] {
            let (received, decided, forgotten) = (number(&mut rng), number(&mut rng), number(&mut rng));
            let (log, site) = (log(l), SiteName::new(site));
            let meta = SeriesMeta {
                log,
                site,
                received,
                chain: Chain::default(),
                decided,
                forgotten,
                told: vec![(number(&mut rng), number(&mut rng))],
                confirmed: vec![Confirmed {
                    site: SiteName::new("b"),
                    received: number(&mut rng),
                    decided: number(&mut rng),
                }],
            };
            if crate::journal::plausible::check_meta(&meta).is_ok() {
                recovered.series.push(meta);
            }
            recovered.decided_beyond.push((log, number(&mut rng).min(NUMBER_MAX)));
            let id = WriteId { log, n: number(&mut rng) };
            recovered.lanes.push((crate::model::Lane(number(&mut rng)), id, number(&mut rng)));
            recovered.broken.push((log, number(&mut rng)));
        }
        recovered.age.said_below = number(&mut rng);
        recovered.age.heard = vec![(SiteName::new("b"), log(2), number(&mut rng))];
        let now = Now { mono_ms: 1_000, wall_ms: number(&mut rng), clock_ms: number(&mut rng) };
        let mut out = Vec::new();
        let mut core = Core::recover(settings("a", &["a", "b", "c"]), log(1), recovered, now, &mut out);
        for peer in ["b", "c"].map(SiteName::new) {
            core.handle(now, Event::LinkUp { peer }, &mut out);
        }
        core.handle(now, Event::Health { healthy: true }, &mut out);
        core.handle(now, Event::Message { from: SiteName::new("b"), message: honest().remove(0) }, &mut out);
        keeps_bounds(&out);
    }
}
