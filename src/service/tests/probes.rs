//! What a probe says of an unknown write, for each of the roles in which it was sent.
use super::super::testing::*;
use super::super::*;
use crate::journal::{Fate, Here, QuarantineReason};
use crate::model::{After, Verdict, WriteId};

fn bench() -> Bench {
    Bench::new(Settings { has_probe: true, ..settings("a", &["a", "b"]) })
}

fn probed(bench: &mut Bench, id: WriteId, result: ProbeResult) -> Vec<Effect> {
    bench.handle(Event::Probed { id, attempt: 1, result })
}

fn applied() -> ProbeResult {
    ProbeResult::Applied(answer(201))
}

const FOREIGN: WriteId = WriteId { log: crate::model::LogId { store: [2; 16], incarnation: 1 }, n: 1 };

#[test]
fn an_own_write_that_a_probe_finds_is_answered() {
    let mut bench = bench();
    bench.submit(new_write("POST", 1, 0));
    assert_eq!(reply_to(&bench.attempted(own(1), 1, broken()), 1), None, "the service may tell");
    let said = probed(&mut bench, own(1), applied());
    assert!(matches!(reply_to(&said, 1), Some(Reply::Answer { replayed: false, .. })));
    let row = bench.row(own(1)).expect("it is settled");
    assert!(row.outcome.is_some_and(|o| o.verdict == Verdict::Applied && o.told_by_probe));
    assert_eq!(attempts(&bench.submit(new_write("POST", 1, 0))).len(), 1, "its lane is free");
}

#[test]
fn a_wish_that_a_probe_finds_is_told_to_its_origin() {
    let mut bench = bench();
    let NewWrite { facts, request, .. } = new_write("POST", 1, 0);
    let wish = Wish { id: FOREIGN, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
    assert_eq!(attempts(&bench.hear("b", Message::Wish(Box::new(wish)))).len(), 1);
    let unknown = bench.attempted(FOREIGN, 1, broken());
    let words = |effects: &[Effect]| -> Vec<WishWord> {
        let word = |m: &Message| if let Message::Word { word, .. } = m { Some(word.clone()) } else { None };
        messages(effects).iter().filter_map(|(_, m)| word(m)).collect()
    };
    assert_eq!(words(&unknown), [WishWord::Unknown]);
    let said = probed(&mut bench, FOREIGN, applied());
    assert!(matches!(&words(&said)[..], [WishWord::Done { outcome, .. }] if outcome.verdict == Verdict::Applied));
}

#[test]
fn a_shadow_that_a_probe_finds_is_applied() {
    let mut bench = bench();
    bench.hear("b", Message::Page(page(log(2), "b", 1, 1)));
    bench.attempted(FOREIGN, 1, broken());
    probed(&mut bench, FOREIGN, applied());
    assert_eq!(bench.row(FOREIGN).expect("it is stored").here, Here::Decided(Fate::Applied));
    assert_eq!(bench.core.view(bench.now).series[1].decided, 1);
}

/// Its origin settled it without waiting, while it was unknown here.
#[test]
fn a_wish_that_was_settled_otherwise_and_that_a_probe_finds_is_quarantined() {
    for (verdict, fate) in [
        (Verdict::Refused, Fate::Quarantined(QuarantineReason::Contrary)),
        (Verdict::Applied, Fate::Applied),
        (Verdict::Undecided, Fate::Applied),
    ] {
        let mut bench = bench();
        let mut item = item(log(2), 1, 0);
        item.facts.lane = crate::model::Lane(1);
        let (facts, request) = (item.facts.clone(), request("POST", "/sales"));
        let wish =
            Wish { id: FOREIGN, attempt: 1, after_ms: 800, facts, must: After::new(), request, pages: Vec::new() };
        bench.hear("b", Message::Wish(Box::new(wish)));
        bench.attempted(FOREIGN, 1, broken());
        item.outcome.verdict = verdict;
        bench.hear("b", Message::Page(page_of(log(2), "b", vec![item])));
        let said = probed(&mut bench, FOREIGN, applied());
        assert_eq!(bench.row(FOREIGN).expect("it is stored").here, Here::Decided(fate), "{verdict:?}");
        let tells = messages(&said).iter().any(|(_, m)| matches!(m, Message::Word { word: WishWord::Done { .. }, .. }));
        assert_eq!(tells, verdict == Verdict::Undecided, "its origin makes a decision of it");
    }
}

#[test]
fn a_500_is_judged_by_the_probe() {
    for (result, verdict) in [
        (applied(), Verdict::Applied),
        (ProbeResult::NotFound, Verdict::Refused),
        (ProbeResult::Nothing, Verdict::MayHaveApplied),
    ] {
        let mut bench = bench();
        bench.submit(new_write("POST", 1, 0));
        let said = bench.attempted(own(1), 1, answered(500));
        assert_eq!(reply_to(&said, 1), None);
        let said = probed(&mut bench, own(1), result);
        assert!(matches!(reply_to(&said, 1), Some(Reply::Answer { answer, .. }) if answer.status == 500));
        assert_eq!(bench.row(own(1)).and_then(|row| row.outcome).map(|o| o.verdict), Some(verdict));
        assert_eq!(bench.quarantined().len(), usize::from(verdict == Verdict::MayHaveApplied));
    }
}

/// Seed 6749: the service honours keys, so it is asked and sent to at once; but it was at an earlier try still, which a
/// later
/// "not now" says nothing about.
#[test]
fn what_a_probe_does_not_find_yet_is_not_settled_by_a_refusal_of_the_next_try() {
    let mut bench = Bench::new(Settings { has_probe: true, idempotent: true, ..settings("a", &["a", "b"]) });
    bench.submit(new_write("POST", 1, 0));
    let mut tries = 1;
    let mut sent = attempts(&bench.attempted(own(1), 1, broken())).len();
    let asked =
        |bench: &mut Bench, attempt| bench.handle(Event::Probed { id: own(1), attempt, result: ProbeResult::NotFound });
    while sent == 0 {
        let said = bench.wait(100);
        sent = attempts(&said).len() + attempts(&asked(&mut bench, tries)).len();
        assert!(bench.now.mono_ms < 1_000_000);
    }
    tries += 1;
    bench.attempted(own(1), tries, answered(429));
    assert!(bench.row(own(1)).is_none_or(|row| row.position.is_none()), "the first try may be applied yet");
    let said = bench.handle(Event::Probed { id: own(1), attempt: tries, result: applied() });
    let row = bench.row(own(1)).expect("it is kept");
    let is_settled = row.outcome.is_some_and(|outcome| outcome.verdict == Verdict::Applied);
    assert!(is_settled || !attempts(&said).is_empty() || row.position.is_none());
}
