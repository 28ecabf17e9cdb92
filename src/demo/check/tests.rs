use super::*;
use crate::demo::history::Ending;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A ledger write of site `a`, sent and answered at these times.
fn told(key: &str, sent: u64, answered: u64) -> Told {
    Told {
        key: key.to_owned(),
        method: "POST".to_owned(),
        path: "/ledger/a/1".to_owned(),
        body_sha256: format!("hash of {key}"),
        till: "till 1".to_owned(),
        home: "a".to_owned(),
        sites: vec!["a".to_owned()],
        lane: Some("a".to_owned()),
        tries: 1,
        sent: ms(sent),
        answered: Some(ms(answered)),
        ending: Ending::Acknowledged { status: 200 },
        served_by: None,
    }
}

fn line(seq: usize, key: &str) -> LogLine {
    LogLine {
        seq: seq as i64,
        key: key.to_owned(),
        method: "POST".to_owned(),
        path: "/ledger/a/1".to_owned(),
        body_sha256: format!("hash of {key}"),
    }
}

fn replica(site: &str, keys: &[&str]) -> Replica {
    let log = keys.iter().enumerate().map(|(index, key)| line(index + 1, key)).collect();
    Replica { site: site.to_owned(), export: r#"{"a": 1, "b": 2}"#.to_owned(), log }
}

fn kinds(verdict: &Verdict) -> Vec<(Kind, &str, &str)> {
    verdict.findings.iter().map(|found| (found.kind, found.site.as_str(), found.key.as_str())).collect()
}

#[test]
fn each_planted_error_is_found_and_named() {
    // One after the other; k3 and k4 overlap.
    let history = [told("k1", 0, 10), told("k2", 20, 30), told("k3", 40, 60), told("k4", 50, 70)];
    let good: &[&str] = &["k1", "k2", "k3", "k4"];
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [(Kind, &'a str, &'a str)]);
    let cases: &[Case] = &[
        ("good", good, good, &[]),
        ("lost at b", good, &["k1", "k3", "k4"], &[(Kind::Lost, "b", "k2")]),
        (
            "lost everywhere",
            &["k1", "k2", "k3"],
            &["k1", "k2", "k3"],
            &[(Kind::Lost, "a", "k4"), (Kind::Lost, "b", "k4")],
        ),
        ("doubled at a", &["k1", "k2", "k2", "k3", "k4"], good, &[(Kind::Duplicate, "a", "k2")]),
        ("doubled later", &["k1", "k2", "k3", "k4", "k1"], good, &[(Kind::Duplicate, "a", "k1")]),
        ("swapped at b", good, &["k2", "k1", "k3", "k4"], &[(Kind::OutOfOrder, "b", "k2")]),
        (
            "swapped at both",
            &["k2", "k1", "k3", "k4"],
            &["k2", "k1", "k3", "k4"],
            &[(Kind::OutOfOrder, "a", "k2"), (Kind::OutOfOrder, "b", "k2")],
        ),
        ("last before all", good, &["k4", "k1", "k2", "k3"], &[(Kind::OutOfOrder, "b", "k4")]),
        ("overlapped, same order", &["k1", "k2", "k4", "k3"], &["k1", "k2", "k4", "k3"], &[]),
        ("overlapped, two orders", &["k1", "k2", "k4", "k3"], good, &[(Kind::OutOfOrder, "b", "k4")]),
        (
            "from nowhere",
            good,
            &["k1", "k2", "k3", "k4", "k9"],
            &[(Kind::Altered, "b", "k9"), (Kind::OneSided, "a", "k9")],
        ),
    ];
    for (name, a, b, expected) in cases {
        let verdict = check(&history, &[replica("a", a), replica("b", b)]);
        assert_eq!(&kinds(&verdict), expected, "{name}");
        assert!(verdict.equal);
        assert_eq!(verdict.is_good(), expected.is_empty(), "{name}");
    }
}

#[test]
fn another_body_under_the_same_key_is_altered() {
    let history = [told("k1", 0, 10)];
    let mut b = replica("b", &["k1"]);
    b.log[0].body_sha256 = "hash of an older one".to_owned();
    let verdict = check(&history, &[replica("a", &["k1"]), b]);
    assert_eq!(kinds(&verdict), [(Kind::Altered, "b", "k1")]);
    assert_eq!((verdict.findings[0].method.as_str(), verdict.findings[0].path.as_str()), ("POST", "/ledger/a/1"));
}

#[test]
fn unequal_states_are_unequal_and_the_form_of_the_dump_does_not_matter() {
    let mut b = replica("b", &[]);
    b.export = r#"{"b":2,"a":1}"#.to_owned();
    assert!(check(&[], &[replica("a", &[]), b.clone()]).is_good());
    b.export = r#"{"b":2,"a":7}"#.to_owned();
    let verdict = check(&[], &[replica("a", &[]), b]);
    assert!(!verdict.equal && !verdict.is_good());
    assert_ne!(verdict.state_sha256["a"], verdict.state_sha256["b"]);
}

#[test]
fn an_unanswered_write_may_be_at_both_or_none_but_not_at_one() {
    let open = Told { ending: Ending::Unanswered, answered: None, ..told("k1", 0, 0) };
    let history = [open];
    assert!(check(&history, &[replica("a", &[]), replica("b", &[])]).is_good());
    assert!(check(&history, &[replica("a", &["k1"]), replica("b", &["k1"])]).is_good());
    let verdict = check(&history, &[replica("a", &["k1"]), replica("b", &[])]);
    assert_eq!(kinds(&verdict), [(Kind::OneSided, "b", "k1")]);
}

#[test]
fn a_put_may_be_repeated_and_a_write_sent_to_both_sites_has_no_real_time_order() {
    let put = Told { method: "PUT".to_owned(), ..told("k1", 0, 10) };
    let mut a = replica("a", &["k1", "k1"]);
    a.log.iter_mut().for_each(|line| line.method = "PUT".to_owned());
    assert!(check(std::slice::from_ref(&put), &[a.clone(), a.clone()]).is_good());
    // Not after another write of its lane: that one would be undone.
    a.log.insert(1, line(2, "k2"));
    let verdict = check(&[put, told("k2", 20, 30)], &[a]);
    assert_eq!(kinds(&verdict), [(Kind::Duplicate, "a", "k1")]);

    let both = Told { sites: vec!["a".to_owned(), "b".to_owned()], lane: None, ..told("k1", 0, 10) };
    let history = [both, Told { lane: None, ..told("k2", 20, 30) }];
    assert!(check(&history, &[replica("a", &["k1", "k2"]), replica("b", &["k2", "k1"])]).is_good());
}

#[test]
fn other_services_and_other_sites_have_orders_of_their_own() {
    let elsewhere =
        Told { home: "b".to_owned(), sites: vec!["b".to_owned()], lane: Some("b".to_owned()), ..told("k2", 20, 30) };
    let history = [told("k1", 0, 10), elsewhere];
    assert!(check(&history, &[replica("a", &["k1", "k2"]), replica("b", &["k2", "k1"])]).is_good());
}
