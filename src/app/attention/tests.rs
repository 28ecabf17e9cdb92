//! The list, case by case, and its order.
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::app::forecast::Left;
use crate::app::numbers::{ClockNumbers, DiskNumbers, JournalNumbers, PeerNumbers, ServiceNumbers};
use crate::app::orphans::Orphan;
use crate::app::vitals::{Lately, Mishap};
use crate::gateway::{EndpointState, Unanswered};
use crate::identity::{NearEnd, Standing};
use crate::journal::{QuarantineCounts, QuarantineReason, Space, StopKind};
use crate::link::LinkState;
use crate::model::{LogId, WriteId};
use crate::service::{SeriesView, View, WaitView};
use crate::telemetry::CertificateUse;
use crate::wire::Difference;

fn now_ms() -> u64 {
    crate::app::numbers::wall_ms()
}

fn endpoint(healthy: bool) -> EndpointState {
    let why = "connecting to 127.0.0.1:9001: refused".to_owned();
    let trouble = (!healthy).then_some((Duration::from_secs(190), why));
    EndpointState { name: "127.0.0.1:9001".to_owned(), healthy, trouble }
}

fn link(site: &str, connected: bool) -> LinkState {
    LinkState {
        site: SiteName::new(site),
        dials: true,
        connected,
        since_ms: 0,
        last_error: None,
        round_trip_us: None,
        software: None,
        boot: None,
        differs: Vec::new(),
        read_bytes: 0,
        written_bytes: 0,
        connections: 1,
        failures: 0,
        queued: 0,
        queued_bytes: 0,
        dropped: 0,
        refused: 0,
        sent: 0,
        received: 0,
    }
}

fn peer(site: &str, connected: bool) -> PeerNumbers {
    PeerNumbers {
        link: link(site, connected),
        since_ms: now_ms() - 200_500,
        was_linked: true,
        hears: true,
        not_received: 0,
        not_decided: 0,
        not_received_age_ms: 0,
        not_decided_age_ms: 0,
    }
}

fn lately(count: u64, ago_ms: u64) -> Lately {
    Lately { count, ago_ms, is_rest: false }
}

fn group(service: &str) -> Group {
    Group { service: service.to_owned(), store: String::new() }
}

/// A store that is well, with one service and one other site.
fn well() -> Numbers {
    let view = View { decider: Some(SiteName::new("store")), healthy: true, ..View::default() };
    Numbers {
        groups: vec![(group("tx"), view)],
        peers: vec![peer("cloud", true)],
        disk: DiskNumbers { free_bytes: Some(1 << 36), reserve_bytes: 1 << 29, journal_bytes: Some(0), left: None },
        quarantine: BTreeMap::new(),
        services: vec![ServiceNumbers { name: "tx".to_owned(), endpoints: vec![endpoint(true)], unanswered: None }],
        journal: JournalNumbers { space: Space::Ok, held: None, read_by: None },
        identity: None,
        certificates: Vec::new(),
        other_ends: Vec::new(),
        invites: Vec::new(),
        orphans: Vec::new(),
        mishaps: Vec::new(),
        clock: ClockNumbers { jumps: 0, last_jump_ms: 0, is_unset: false },
        control: Default::default(),
        log_lines_lost: 0,
        log_stands: None,
        panics: 0,
        damaged: 0,
    }
}

fn settings() -> Settings {
    Settings {
        file: Some("/etc/holdfast/holdfast.toml".to_owned()),
        data_dir: "/var/lib/holdfast".to_owned(),
        gateway_cert: Some("/etc/holdfast/web.pem".to_owned()),
        lags: BTreeMap::from([("tx".to_owned(), Duration::from_secs(1))]),
        listens: false,
        has_control: true,
    }
}

fn found_in(state: HealthState, numbers: &Numbers, settings: &Settings) -> Vec<Attention> {
    look_at(&Known { me: &SiteName::new("store"), state, numbers, settings, now_ms: now_ms() })
}

fn found(change: impl FnOnce(&mut Numbers)) -> Vec<Attention> {
    let mut numbers = well();
    change(&mut numbers);
    found_in(HealthState::Ready, &numbers, &settings())
}

fn view(numbers: &mut Numbers) -> &mut View {
    &mut numbers.groups[0].1
}

fn left(s: f64, over_ms: u64) -> Option<Left> {
    Some(Left { s, over_ms })
}

fn down(numbers: &mut Numbers) {
    numbers.services[0].endpoints = vec![endpoint(false)];
    view(numbers).healthy = false;
}

fn owes(numbers: &mut Numbers) {
    numbers.peers[0] = peer("cloud", false);
    let peer = &mut numbers.peers[0];
    (peer.not_received, peer.not_received_age_ms) = (92, 125_000);
    peer.link.last_error = Some("connection refused".to_owned());
}

fn certificate(numbers: &mut Numbers, left_s: i64, trouble: Option<&str>) {
    let not_after_s = (now_ms() / 1_000) as i64 + left_s;
    let cert = "/etc/holdfast/site.pem".into();
    numbers.identity = Some(Standing { not_after_s, cert, trouble: trouble.map(str::to_owned) });
}

fn other_end(left_s: i64) -> NearEnd {
    NearEnd { path: "/etc/holdfast/ca.pem".into(), what: "the authority CN=acme expires".to_owned(), left_s }
}

fn write(n: u64) -> WriteId {
    WriteId { log: LogId { store: [1; 16], incarnation: 1 }, n }
}

fn stop(numbers: &mut Numbers, kind: StopKind, why: &str) {
    let view = view(numbers);
    (view.stop, view.stopped) = (Some(kind), Some(why.to_owned()));
}

#[test]
fn a_site_that_is_well_has_nothing_to_be_looked_at() {
    assert_eq!(found(|_| {}), []);
}

type Change = fn(&mut Numbers);

/// What is wrong | grade | subject | parts of what is said | command.
const CASES: &[(Change, Grade, &str, &[&str], &str)] = &[
    (|n| n.journal.space = Space::Full, Grade::Critical, "disk", &["full", "507"], "df -h /var/lib/holdfast"),
    (|n| n.journal.space = Space::Reserve, Grade::Critical, "disk", &["store.reserve"], "df -h /var/lib/holdfast"),
    (
        |n| n.journal.held = Some(("process 7 (sqlite3)".to_owned(), 61_000)),
        Grade::Critical,
        "journal",
        &["process 7", "61 s", "503"],
        "fuser -v /var/lib/holdfast/holdfast.db",
    ),
    (
        |n| n.journal.read_by = Some(("process 7".to_owned(), 300 << 20)),
        Grade::Warning,
        "journal",
        &["process 7 reads", "300 MiB"],
        "fuser -v /var/lib/holdfast/holdfast.db",
    ),
    (
        |n| n.disk.left = left(7_200.0, 3_600_000),
        Grade::Critical,
        "disk",
        &["2 h until store.reserve", "in the last hour"],
        "df -h /var/lib/holdfast",
    ),
    // Five minutes are like no hour.
    (
        |n| n.disk.left = left(7_200.0, 312_000),
        Grade::Warning,
        "disk",
        &["2 h until store.reserve", "in the last 5 min"],
        "df -h /var/lib/holdfast",
    ),
    (|n| n.disk.left = left(172_800.0, 3_600_000), Grade::Warning, "disk", &["2 days"], "df -h /var/lib/holdfast"),
    (
        |n| stop(n, StopKind::Divergences, "too many differ"),
        Grade::Critical,
        "tx",
        &["following stopped: too many differ; when you know why, holdfast services resume tx"],
        "holdfast quarantine ls --service tx",
    ),
    (
        |n| stop(n, StopKind::Doubt, "data_dir is a copy, perhaps an old one"),
        Grade::Critical,
        "tx",
        &["following stopped: data_dir is a copy"],
        "holdfast services resume tx",
    ),
    (
        |n| stop(n, StopKind::Doubt, "cloud knows a later past of this site than its own store"),
        Grade::Critical,
        "tx",
        &["knows a later past"],
        "holdfast peers",
    ),
    (
        |n| {
            down(n);
            view(n).decider = Some(SiteName::new("cloud"));
        },
        Grade::Warning,
        "tx",
        &["no healthy endpoint at this site for 3 min", "127.0.0.1:9001: refused", "cloud decides meanwhile"],
        "holdfast services",
    ),
    (
        |n| {
            down(n);
            view(n).decider = None;
        },
        Grade::Critical,
        "tx",
        &["no healthy endpoint", "nobody else can be asked"],
        "holdfast services",
    ),
    (
        // A plain proxy has no group.
        |n| {
            down(n);
            n.groups.clear();
        },
        Grade::Critical,
        "tx",
        &["no healthy endpoint at this site"],
        "holdfast services",
    ),
    (
        |n| n.services[0].endpoints.push(endpoint(false)),
        Grade::Warning,
        "tx",
        &["1 of 2 endpoints down", "refused"],
        "holdfast services",
    ),
    (
        |n| {
            let (lasting, quiet) = (Duration::from_secs(30), Duration::from_secs(1));
            n.services[0].unanswered =
                Some(Unanswered { count: 12, lasting, quiet, why: "it answered 503".to_owned() });
        },
        Grade::Critical,
        "tx",
        &["its last 12 tries failed", "30 s", "it answered 503"],
        "holdfast services",
    ),
    (|n| view(n).decider = None, Grade::Critical, "tx", &["no replica can be asked", "503"], "holdfast peers"),
    (
        |n| view(n).hidden_try_ms = Some(12_300),
        Grade::Warning,
        "tx",
        &["may be under way", "13 s"],
        "holdfast status --watch",
    ),
    (
        |n| {
            let log = write(1).log;
            let site = SiteName::new("cloud");
            let series = SeriesView { log, site, received: 9, decided: 6, next: None, broken: Some(7) };
            view(n).series.push(series);
        },
        Grade::Warning,
        "tx",
        &["record 7 of cloud's writes is broken"],
        "holdfast quarantine ls --reason damaged --service tx",
    ),
    (
        |n| n.damaged = 2,
        Grade::Warning,
        "journal",
        &["2 records were found damaged"],
        "systemctl stop holdfast && holdfast journal verify --config /etc/holdfast/holdfast.toml",
    ),
    (
        |n| certificate(n, -60, None),
        Grade::Critical,
        "certificate",
        &["/etc/holdfast/site.pem expired"],
        "holdfast identity show /etc/holdfast/site.pem",
    ),
    (
        |n| certificate(n, 2 * 86_400, None),
        Grade::Critical,
        "certificate",
        &["expires in 2 days"],
        "holdfast identity show /etc/holdfast/site.pem",
    ),
    (
        |n| certificate(n, 20 * 86_400, None),
        Grade::Warning,
        "certificate",
        &["expires in 20 days"],
        "holdfast identity show /etc/holdfast/site.pem",
    ),
    (
        |n| certificate(n, 300 * 86_400, Some("another key")),
        Grade::Warning,
        "certificate",
        &["the new files cannot be used: another key"],
        "holdfast check --config /etc/holdfast/holdfast.toml",
    ),
    (
        |n| n.other_ends.push(other_end(20 * 86_400)),
        Grade::Warning,
        "certificate",
        &["the authority CN=acme expires"],
        "holdfast identity show /etc/holdfast/ca.pem",
    ),
    (
        |n| n.other_ends.push(other_end(-1)),
        Grade::Critical,
        "certificate",
        &["the authority CN=acme expires"],
        "holdfast identity show /etc/holdfast/ca.pem",
    ),
    (
        |n| n.certificates.push((CertificateUse::Gateway, (now_ms() / 1_000) as i64 + 86_400)),
        Grade::Critical,
        "certificate",
        &["/etc/holdfast/web.pem, which clients are shown", "24 hours"],
        "openssl x509 -noout -dates -in /etc/holdfast/web.pem",
    ),
    (
        |n| {
            let keys = vec!["lane".to_owned(), "replicate".to_owned()];
            n.peers[0].link.differs = vec![Difference { service: "tx".to_owned(), keys }];
        },
        Grade::Critical,
        "cloud",
        &["defines services differently", "tx: lane, replicate"],
        "holdfast peers --wide",
    ),
    (
        |n| {
            let group = Group { service: "sales".to_owned(), store: "store".to_owned() };
            n.orphans = vec![Orphan { group, undelivered: 20, undecided: 1, quarantined: 0 }];
        },
        Grade::Warning,
        "sales@store",
        &["20 writes that other sites have not confirmed, 1 write not decided here;", "give the service back its name"],
        "holdfast check --config /etc/holdfast/holdfast.toml",
    ),
    (
        owes,
        Grade::Warning,
        "cloud",
        &["away for 3 min", "92 writes owed", "2 min ago", "connection refused"],
        "holdfast peers --wide",
    ),
    (
        |n| n.peers[0] = peer("cloud", false),
        Grade::Warning,
        "cloud",
        &["away for 3 min, it has confirmed all writes"],
        "holdfast peers --wide",
    ),
    // A start in a cut is not the begin of the cut.
    (
        |n| {
            owes(n);
            n.peers[0].was_linked = false;
        },
        Grade::Warning,
        "cloud",
        &["not linked since the start, 3 min ago, 92 writes owed, the oldest of 2 min ago"],
        "holdfast peers --wide",
    ),
    (
        |n| (n.peers[0].not_received, n.peers[0].not_received_age_ms) = (1, 61_000),
        Grade::Warning,
        "cloud",
        &["linked for 3 min, and yet 1 write owed, the oldest of 61 s ago"],
        "holdfast peers --wide",
    ),
    (
        |n| (n.peers[0].not_decided, n.peers[0].not_decided_age_ms) = (7, 99_000),
        Grade::Warning,
        "cloud",
        &["has not decided 7 writes, the oldest of 99 s ago, and its own `holdfast status` says why"],
        "holdfast peers --wide",
    ),
    (
        |n| {
            n.peers[0].hears = false;
            n.control.trouble = Some("cloud at tls/cloud:7447: refused".to_owned());
        },
        Grade::Warning,
        "cloud",
        &["no hints", "; cloud at tls/cloud:7447: refused"],
        "holdfast peers --wide",
    ),
    (|n| n.clock.is_unset = true, Grade::Warning, "clock", &["never set"], "timedatectl"),
    (
        |n| {
            (view(n).quarantine, view(n).not_equal) = (5, 2);
            let by_reason = BTreeMap::from([(QuarantineReason::MayHaveApplied, 3), (QuarantineReason::Divergence, 2)]);
            n.quarantine.insert("tx".to_owned(), QuarantineCounts { total: 5, by_reason });
        },
        Grade::Warning,
        "tx",
        &["5 in quarantine (3 may-have-applied, 2 divergence), not equal: 2 lanes"],
        "holdfast quarantine ls --service tx",
    ),
    (
        |n| {
            view(n).lag_ms = 5_000;
            view(n).waits = vec![WaitView { write: write(7), on: "its lane".to_owned() }];
        },
        Grade::Warning,
        "tx",
        &["5 s behind: 01010101010101010101010101010101.1:7 waits for its lane"],
        "holdfast writes show 01010101010101010101010101010101.1:7",
    ),
    (|n| view(n).queued = 3, Grade::Warning, "tx", &["3 queued"], "holdfast writes ls --open --service tx"),
    (
        |n| n.mishaps.push((Mishap::LogLines, lately(7, 240_000))),
        Grade::Warning,
        "log",
        &["7 lines were dropped since the start, the last 4 min ago"],
        "journalctl -u holdfast -n 50",
    ),
    (
        |n| n.mishaps.push((Mishap::Panics, lately(1, 0))),
        Grade::Warning,
        "process",
        &["1 panic was contained"],
        "journalctl -u holdfast -g panic",
    ),
    (
        |n| {
            n.mishaps.push((Mishap::ClockJumps, lately(1, 0)));
            n.clock.last_jump_ms = -3_600_400;
        },
        Grade::Warning,
        "clock",
        &["1 jump, the last back by 60 min since the start"],
        "timedatectl",
    ),
    (
        |n| n.mishaps.push((Mishap::Connections, lately(3, 0))),
        Grade::Warning,
        "process",
        &["3 connections were closed at once"],
        "systemctl show holdfast -p LimitNOFILE",
    ),
    (
        |n| n.mishaps.push((Mishap::Keys, lately(1, 0))),
        Grade::Warning,
        "keys",
        &["1 key was used for two different requests"],
        "holdfast writes conflicts",
    ),
    (
        |n| n.mishaps.push((Mishap::Answers, lately(2, 0))),
        Grade::Warning,
        "answers",
        &["2 writes were sent at two sites and answered differently"],
        "holdfast writes conflicts",
    ),
    (
        // Not looked at over a weekend, and some were before.
        |n| {
            let days = 3 * 24 * 3_600_000;
            n.mishaps.push((Mishap::Concurrent, Lately { is_rest: true, ..lately(3, days) }));
        },
        Grade::Warning,
        "lanes",
        &[
            "3 writes were taken beside one of its lane",
            "replicas may differ since it was marked as seen, the last 3 days",
        ],
        "holdfast writes conflicts",
    ),
    (
        |n| n.log_stands = Some((Duration::from_secs(31), 120)),
        Grade::Warning,
        "log",
        &["standard error takes nothing for 31 s, 120 lines wait"],
        "systemctl status systemd-journald",
    ),
];

#[test]
fn by_how_much_a_clock_has_jumped_is_said_in_words() {
    let said = [700, -5_000, 7_200_000, -172_800_000].map(by);
    assert_eq!(said, ["forwards by 0.7 s", "back by 5.0 s", "forwards by 2 h", "back by 2 days"]);
}

#[test]
fn each_trouble_is_one_line_with_the_command_that_helps() {
    for (change, grade, subject, parts, command) in CASES {
        let found = found(change);
        let [one] = found.as_slice() else { panic!("{subject}, {parts:?}: {found:?}") };
        assert_eq!((one.grade, one.subject.as_str(), one.command.as_str()), (*grade, *subject, *command), "{one:?}");
        for part in *parts {
            assert!(one.what.contains(part), "{part}: {one:?}");
        }
        if let Some(at) = command.find("holdfast ").filter(|at| *at == 0 || command.contains("&& holdfast")) {
            let command = command.rsplit("&& ").next().unwrap_or(&command[at..]);
            crate::cli::parses(command).unwrap();
        }
    }
}

#[test]
fn what_is_over_or_can_be_no_trouble_is_not_shown() {
    let hour = 3_600_000;
    let old_lines = |n: &mut Numbers| n.mishaps.push((Mishap::LogLines, lately(7, hour + 1)));
    let old_panic = |n: &mut Numbers| n.mishaps.push((Mishap::Panics, lately(7, 24 * hour + 1)));
    let few = |n: &mut Numbers| {
        let (lasting, quiet, why) = (Duration::ZERO, Duration::ZERO, String::new());
        n.services[0].unanswered = Some(Unanswered { count: 2, lasting, quiet, why });
    };
    let long_ago = |n: &mut Numbers| {
        let (lasting, quiet, why) = (Duration::from_secs(9_000), Duration::from_secs(601), String::new());
        n.services[0].unanswered = Some(Unanswered { count: 9, lasting, quiet, why });
    };
    let no_line = |n: &mut Numbers| {
        n.peers.push(peer("edge-2", false));
        (n.peers[1].link.dials, n.peers[1].not_received) = (false, 5);
    };
    let just_linked = |n: &mut Numbers| (n.peers[0].hears, n.peers[0].since_ms) = (false, now_ms());
    let changes: [&dyn Fn(&mut Numbers); 8] = [
        &old_lines,
        &old_panic,
        &few,
        &long_ago,
        &no_line,
        &just_linked,
        &|n| n.disk.left = left(80.0 * 3_600.0, 3_600_000),
        &|n| view(n).lag_ms = 999,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut numbers = well();
        change(&mut numbers);
        assert_eq!(found_in(HealthState::Ready, &numbers, &settings()), [], "{at}");
    }
    // A clock that is not the peer's matter, and no control at all.
    let mut numbers = well();
    numbers.peers[0].hears = false;
    assert_eq!(found_in(HealthState::Ready, &numbers, &Settings { has_control: false, ..settings() }), []);
}

#[test]
fn the_most_dangerous_stands_first() {
    let mut numbers = well();
    let count = |count| lately(count, 0);
    numbers.mishaps = vec![(Mishap::LogLines, count(1))];
    owes(&mut numbers);
    down(&mut numbers);
    stop(&mut numbers, StopKind::Doubt, "data_dir is new");
    view(&mut numbers).decider = None;
    view(&mut numbers).quarantine = 1;
    view(&mut numbers).queued = 2;
    certificate(&mut numbers, 20 * 86_400, None);
    numbers.journal.space = Space::Full;
    let found = found_in(HealthState::Failed, &numbers, &settings());
    let order: Vec<(Grade, &str)> = found.iter().map(|one| (one.grade, one.subject.as_str())).collect();
    let (critical, warning) = (Grade::Critical, Grade::Warning);
    assert_eq!(
        order,
        [
            (critical, "journal"),
            (critical, "disk"),
            (critical, "tx"),
            (critical, "tx"),
            (warning, "certificate"),
            (warning, "tx"),
            (warning, "cloud"),
            (warning, "tx"),
            (warning, "log"),
        ],
        "{found:#?}"
    );
    assert!(found[2].what.contains("following stopped") && found[3].what.contains("no healthy endpoint"));
    assert!(found[5].what.contains("quarantine") && found[7].what.contains("queued"));
}

/// At a hub one service has many stores: what is true of all of them is said once.
#[test]
fn a_service_of_many_stores_is_down_once() {
    let mut numbers = well();
    down(&mut numbers);
    let view = numbers.groups[0].1.clone();
    numbers.groups = (0..200)
        .map(|n| {
            (Group { service: "tx".to_owned(), store: format!("store-{n}") }, View { decider: None, ..view.clone() })
        })
        .collect();
    let found = found_in(HealthState::Ready, &numbers, &settings());
    assert_eq!(found.len(), 1, "{found:#?}");
    numbers.groups[7].1.quarantine = 1;
    let found = found_in(HealthState::Ready, &numbers, &settings());
    assert_eq!(
        (found[1].subject.as_str(), found[1].command.as_str()),
        ("tx@store-7", "holdfast quarantine ls --service tx --store store-7")
    );
}

#[test]
fn words_of_a_shell_stay_one_word() {
    assert_eq!(
        (word("/etc/a-b_c.pem"), word("a b"), word("it's")),
        ("/etc/a-b_c.pem".into(), "'a b'".into(), "'it'\\''s'".into())
    );
}
