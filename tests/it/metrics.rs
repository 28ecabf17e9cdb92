//! What the metrics page says is true: every number moves when it should, and says what it is called.
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::metrics::Page;
use crate::harness::process::Process;
use crate::harness::{
    Act, Appliance, Call, Cut, SOON, Service, Two, Upstream, free_port, holds_for, skipped, wait_for,
};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key).body(format!("sale {key}"))
}

fn number(appliance: &Appliance, name: &str) -> f64 {
    Page::of(appliance).sum(name)
}

/// Counters that no pair of healthy sites moves, and the test that does.
const ELSEWHERE: [(&str, &str, &str); 17] = [
    ("holdfast_clock_jumps_total", "tests/it/clock.rs", "an_hour_back_changes_nothing"),
    ("holdfast_connections_refused_total", "tests/it/admin.rs", "strangers_at_the_gateway_leave_descriptors_for_work"),
    ("holdfast_control_messages_dropped_total", "src/control/tests/memory.rs", "a_full_queue_drops_and_counts"),
    (
        "holdfast_control_messages_refused_total",
        "src/control/tests/decisions.rs",
        "a_site_is_believed_only_under_its_own_name_and_when_it_is_listed",
    ),
    (
        "holdfast_control_repair_answers_total",
        "src/control/tests/memory.rs",
        "what_was_lost_or_cut_off_is_repaired_by_the_digest",
    ),
    (
        "holdfast_control_repair_questions_total",
        "src/control/tests/memory.rs",
        "what_was_lost_or_cut_off_is_repaired_by_the_digest",
    ),
    (
        "holdfast_control_sessions_reopened_total",
        "src/control/tests/zenoh.rs",
        "a_session_that_nobody_echoes_or_that_stays_alone_is_opened_anew",
    ),
    (
        "holdfast_following_stopped_total",
        "src/service/tests/differences.rs",
        "a_share_of_differences_stops_following_where_it_is_asked_for",
    ),
    ("holdfast_journal_records_damaged_total", "tests/it/metrics.rs", "a_record_that_is_broken_is_counted"),
    (
        "holdfast_link_messages_dropped_total",
        "src/link/outgoing/tests.rs",
        "drops_and_counts_at_the_limit_of_messages_and_of_bytes",
    ),
    ("holdfast_link_messages_refused_total", "src/link/tests/doors.rs", "a_site_asks_sends_and_gets_only_for_itself"),
    ("holdfast_log_lines_lost_total", "tests/it/logs.rs", "a_full_disk_under_the_log_costs_lines_and_nothing_else"),
    (
        "holdfast_origin_questions_total",
        "src/service/tests/times.rs",
        "an_origin_that_does_not_tell_of_a_key_is_waited_for_a_second",
    ),
    ("holdfast_request_panics_total", "tests/it/panics.rs", "in_a_request_of_a_client_it_ends_the_connection"),
    (
        "holdfast_tried_once_more_total",
        "src/service/tests/unknown.rs",
        "a_divergence_is_tried_once_more_when_what_its_decider_did_not_know_is_decided",
    ),
    (
        "holdfast_writes_cancelled_total",
        "src/service/tests/nothing_kept.rs",
        "of_what_was_wished_and_is_void_there_the_id_is_kept",
    ),
    (
        "holdfast_writes_stood_aside_total",
        "src/service/tests/creating.rs",
        "beside_an_unknown_post_others_of_a_path_that_answers_201_go_on",
    ),
];

/// Gauges that are absent as long as nothing is known, and the test of what is said then.
const NOT_KNOWN: [(&str, &str, &str); 2] = [
    ("holdfast_disk_left_seconds", "src/app/forecast.rs", "a_steady_growth_is_gone_on_with_down_to_the_reserve"),
    ("holdfast_certificate_end_timestamp_seconds", "tests/it/peers.rs", "with_certificates_everything_works_over_tls"),
];

/// One thing of each kind that happens to two sites.
fn play(two: &mut Two, queue: &mut Upstream) {
    for key in ["a", "b"] {
        two.store.tell(&sale(key).lane("till")).expect(201);
        two.store.tell(&sale(key).lane("till")).expect(201);
    }
    two.cloud.tell(&sale("c").lane("office")).expect(201);
    two.wait_equal(3);
    two.store.tell(&Call::get("/tx/list")).expect(200);
    two.store.tell(&Call::get("/plain/x")).expect(200);
    two.store.tell(&Call::get("/nowhere")).expect(404);
    // The cloud's replica answers otherwise: it is in quarantine there, and so is what comes behind it refused.
    two.at_cloud.at("/tx/differs", Act::answer(409));
    two.store.tell(&Call::post("/tx/differs").key("d").lane("differs")).expect(201);
    wait_for("it stands in quarantine", SOON, || two.cloud.count("quarantine") == 1);
    two.cloud.tell(&Call::post("/tx/differs").key("e").lane("differs")).expect(409);
    two.at_cloud.as_usual();
    // Nobody knows at first.
    two.at_store.once_at("/tx/unknown", Act::hang_up(Cut::Middle));
    two.store.tell(&Call::post("/tx/unknown").key("u").lane("unknown"));
    two.at_store.at("/tx/broken", Act::answer(500).applies(false));
    two.store.tell(&Call::post("/tx/broken").key("x").lane("broken")).expect(500);
    two.at_store.as_usual();
    queue.stop();
    wait_for("the queue's service is down", SOON, || two.store.tell(&Call::post("/waits/x").lane("q")).status == 202);
    queue.resume();
    two.wait_settled();
    // On both sides of a cut: a copy, a key for two requests, a copy that is answered in two ways, one lane.
    two.cut();
    for site in [&two.store, &two.cloud] {
        site.tell(&sale("copy").lane("copies")).expect(201);
        site.tell(&Call::post("/tx/sale").key("key").lane("keys").body(site.site.name.clone())).expect(201);
        site.tell(&Call::put("/tx/one").key(&format!("lane-{}", site.site.name)).lane("one")).expect(201);
    }
    two.at_cloud.at("/tx/two-ways", Act::answer(200).body("another"));
    two.store.tell(&Call::post("/tx/two-ways").key("t").lane("two")).expect(201);
    two.cloud.tell(&Call::post("/tx/two-ways").key("t").lane("two")).expect(200);
    two.at_cloud.as_usual();
    two.heal();
    two.wait_together();
    two.wait_settled();
    // The store's service is down: the cloud decides.
    two.at_store.stop();
    two.store.wait_decider("cloud");
    two.store.tell(&sale("elsewhere").lane("till")).expect(201);
    two.at_store.resume();
    two.store.wait_decider("store");
    two.wait_settled();
}

fn two_with_more() -> (Two, Upstream, Upstream) {
    let (plain, queue) = (Upstream::start(), Upstream::start());
    let two = Two::spawn(
        |site| {
            if site.name != "store" {
                return site;
            }
            let waits = Service::new("waits", &queue).replicas(&[&site.name]).set("when_down", "\"queue\"");
            site.service(waits).service(Service::new("plain", &plain).without("lane").without("longest_request"))
        },
        |_, tx| tx.impatient().probed(),
    );
    two.wait_together();
    two.store.wait_control("cloud");
    two.cloud.wait_control("store");
    (two, plain, queue)
}

#[test]
fn every_number_moves_and_those_that_stay_are_named() {
    let (mut two, _plain, mut queue) = two_with_more();
    let at_start = [Page::of(&two.store), Page::of(&two.cloud)];
    // The first choice is no failover, and nothing else has happened either.
    for name in ["holdfast_failovers_total", "holdfast_writes_accepted_total", "holdfast_outcomes_unknown_total"] {
        assert!(at_start.iter().all(|page| page.has(name) && page.sum(name) == 0.0), "{name}");
    }
    play(&mut two, &mut queue);
    // The last session may be younger than its first measurement.
    let measured = |site: &Appliance| Page::of(site).has("holdfast_link_round_trip_seconds");
    wait_for("round trips are measured", SOON, || measured(&two.store) && measured(&two.cloud));
    let pages = [Page::of(&two.store), Page::of(&two.cloud)];
    let names: BTreeSet<&String> = pages.iter().flat_map(|page| page.types.keys()).collect();
    assert!(names.len() > 70, "{names:?}");
    let counts = |name: &str| pages.iter().filter_map(|page| page.types.get(name)).any(|kind| kind != "gauge");
    let still: Vec<&str> = names
        .iter()
        .map(|name| name.as_str())
        .filter(|name| counts(name) && pages.iter().all(|page| page.sum(name) == 0.0))
        .filter(|name| !ELSEWHERE.iter().any(|(elsewhere, ..)| elsewhere == name))
        .collect();
    assert!(still.is_empty(), "these stayed at 0: {still:?}");
    let sum = |name: &str, label: &str| pages.iter().map(|page| page.sum_where(name, label)).sum::<f64>();
    for (name, label, least) in [
        ("holdfast_requests_total", "kind=\"read\",class=\"2xx\"", 1.0),
        ("holdfast_requests_total", "kind=\"write\",class=\"2xx\"", 9.0),
        ("holdfast_requests_total", "kind=\"write\",class=\"4xx\"", 1.0),
        ("holdfast_requests_total", "kind=\"write\",class=\"5xx\"", 1.0),
        ("holdfast_requests_total", "kind=\"plain\",class=\"2xx\"", 1.0),
        ("holdfast_request_duration_seconds", "outcome=\"answered\"", 9.0),
        ("holdfast_request_duration_seconds", "outcome=\"replayed\"", 2.0),
        ("holdfast_request_duration_seconds", "outcome=\"failed\"", 1.0),
        ("holdfast_request_duration_seconds", "outcome=\"queued\"", 1.0),
        ("holdfast_attempts_total", "result=\"answered\"", 12.0),
        ("holdfast_attempts_total", "result=\"failed\"", 1.0),
        ("holdfast_attempts_total", "result=\"never-sent\"", 1.0),
        ("holdfast_attempts_total", "result=\"broken\"", 1.0),
        ("holdfast_writes_settled_total", "verdict=\"applied\"", 9.0),
        ("holdfast_shadows_settled_total", "fate=\"applied\"", 5.0),
        ("holdfast_shadows_settled_total", "fate=\"quarantined\"", 1.0),
        ("holdfast_shadows_settled_total", "fate=\"duplicate\"", 1.0),
        ("holdfast_quarantine_reason_writes", "reason=\"divergence\"", 1.0),
        ("holdfast_link_sessions_failed_total", "peer=\"cloud\"", 1.0),
    ] {
        assert!(sum(name, label) >= least, "{name}{{{label}}} is {}", sum(name, label));
    }
    // What was accepted is what was journalled, refusals of the play not among it: at rest all of it has its end.
    for page in &pages {
        let [accepted, settled, cancelled] =
            ["accepted", "settled", "cancelled"].map(|what| page.sum(&format!("holdfast_writes_{what}_total")));
        let refused = page.sum_where("holdfast_requests_total", "kind=\"write\"") - accepted;
        assert!(accepted > 0.0 && accepted == settled + cancelled, "{accepted}, {settled}, {cancelled}; {refused} not");
    }
    assert!(sum("holdfast_failovers_total", "reason=\"service-down\"") >= 1.0);
    assert!(sum("holdfast_failovers_total", "reason=\"order\"") >= 1.0);
    // A gauge is there, or nobody knows: what it says others test.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let documented = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    let documented: Vec<&str> = documented.collect();
    for name in &documented {
        let known = NOT_KNOWN.iter().any(|(absent, ..)| absent == name);
        assert!(known || names.contains(&(*name).to_owned()), "{name} is documented and not there");
    }
    assert!(names.iter().all(|name| documented.contains(&name.as_str())));
    for (_, file, test) in ELSEWHERE.iter().chain(&NOT_KNOWN) {
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "there is no {test} in {file}");
    }
    for name in ["holdfast_disk_free_bytes", "holdfast_journal_bytes", "process_resident_memory_bytes"] {
        assert!(pages[0].sum(name) > 4_096.0, "{name}");
    }
    assert_eq!(pages[0].sum("holdfast_disk_reserve_bytes"), f64::from(1 << 20));
    assert!(pages[0].sum("holdfast_connections_open") >= 0.0 && pages[0].sum("holdfast_requests_in_flight") == 0.0);
}

/// By the peer's confirmations and our own log, not by what the peer said of itself when it was heard last.
#[test]
fn what_a_peer_lacks_is_true_in_a_cut_and_after_a_restart_in_it() {
    let mut two = Two::start();
    for n in 0..8 {
        two.store.tell(&sale(&format!("before{n}"))).expect(201);
    }
    two.wait_settled();
    let lacks = |two: &Two| {
        let page = Page::of(&two.store);
        let of = |name: &str| page.sum(&format!("holdfast_peer_{name}"));
        (of("not_received_writes"), of("not_received_age_seconds"), of("lag_seconds"))
    };
    assert_eq!(lacks(&two), (0.0, 0.0, 0.0));
    two.cut();
    let began = Instant::now();
    for n in 0..92 {
        two.store.tell(&sale(&format!("s{n}")).lane(&format!("{n}"))).expect(201);
    }
    let oldest = Duration::from_secs(4);
    wait_for("the oldest is older", SOON, || lacks(&two).2 >= oldest.as_secs_f64());
    let (count, age, lag) = lacks(&two);
    assert_eq!(count, 92.0);
    // A moment is remembered for all that comes within 50 ms.
    assert!(
        lag <= began.elapsed().as_secs_f64() + 0.1 && age >= oldest.as_secs_f64() && age <= lag + 1.0,
        "{age} {lag}"
    );
    two.store.kill();
    two.store.restart();
    let (count, age, lag) = lacks(&two);
    assert_eq!(count, 92.0, "of 100 that this journal holds");
    assert!(age >= oldest.as_secs_f64() && lag >= oldest.as_secs_f64(), "{age} {lag}: it is older by the restart");
    let status = two.store.api("/status");
    assert_eq!((&status["peers"][0]["not_received"], &status["peers"][0]["not_decided"]), (&92.into(), &92.into()));
    two.heal();
    two.wait_settled();
    assert_eq!(lacks(&two), (0.0, 0.0, 0.0));
    assert_eq!(number(&two.store, "holdfast_link_up"), 1.0);
}

#[test]
fn the_link_says_since_when_it_is_up_or_down() {
    let two = Two::start();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let since = |two: &Two| number(&two.store, "holdfast_link_since_timestamp_seconds");
    let up = since(&two);
    assert!(up <= now() && up > now() - SOON.as_secs_f64(), "{up}");
    let before = now();
    two.cut();
    let down = since(&two);
    assert!(down >= before - 1.0 && down <= now(), "{down} and cut at {before}");
    assert_eq!(number(&two.store, "holdfast_link_up"), 0.0);
    assert!(!Page::of(&two.store).has("holdfast_link_round_trip_seconds"), "of no link there is none");
}

#[test]
fn a_record_that_is_broken_is_counted() {
    let mut two = Two::start();
    two.store.tell(&sale("a")).expect(201);
    two.wait_settled();
    assert_eq!(number(&two.store, "holdfast_journal_records_damaged_total"), 0.0);
    two.store.stop();
    let database = rusqlite::Connection::open(two.store.site.data_dir().join("holdfast.db")).unwrap();
    let changed = database.execute("UPDATE request SET body = zeroblob(length(body))", []).unwrap();
    drop(database);
    assert_eq!(changed, 1);
    two.store.restart();
    let write = two.store.api("/writes")["writes"][0]["id"].as_str().unwrap().to_owned();
    let _ = two.store.try_api(&format!("/writes/{write}"));
    wait_for("it is counted", SOON, || number(&two.store, "holdfast_journal_records_damaged_total") > 0.0);
}

fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Names, types and help as Prometheus' own linter wants them.
#[test]
fn promtool_has_nothing_against_the_page() {
    if !has("promtool") {
        return skipped("promtool check metrics", "Debian's package prometheus is not installed");
    }
    let (two, _plain, _queue) = two_with_more();
    two.store.tell(&sale("a")).expect(201);
    two.wait_settled();
    let page = Page::of(&two.store).text;
    let mut lint = Command::new("promtool");
    lint.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut lint = lint.spawn().unwrap();
    lint.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = lint.wait_with_output().unwrap();
    let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
}

#[test]
fn a_real_prometheus_scrapes_two_sites() {
    if !has("prometheus") {
        return skipped("a real Prometheus", "Debian's package prometheus is not installed");
    }
    let two = Two::start();
    two.store.tell(&sale("a")).expect(201);
    two.wait_settled();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let targets = format!("['{}', '{}']", two.store.site.admin, two.cloud.site.admin);
    let text = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: holdfast\n    \
         static_configs: [{{ targets: {targets} }}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let listen = free_port();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    command.arg(format!("--web.listen-address={listen}"));
    let _prometheus = Process::spawn(command, "prometheus", &folder.path().join("prometheus.log"));
    let query = |text: &str| -> Option<Vec<f64>> {
        let told = Call::get(&format!("/api/v1/query?query={text}")).send(listen).ok()?;
        let found = serde_json::from_slice::<serde_json::Value>(&told.body).ok()?;
        let values = found["data"]["result"].as_array()?.iter().map(|one| one["value"][1].as_str()?.parse().ok());
        values.collect()
    };
    wait_for("both are scraped", SOON, || query("up").is_some_and(|up| up == [1.0, 1.0]));
    for (text, expected) in [
        ("sum(holdfast_writes_accepted_total)", 1.0),
        ("sum(holdfast_peer_not_received_writes)", 0.0),
        ("count(holdfast_build_info)", 2.0),
        ("sum(holdfast_shadows_settled_total)", 1.0),
        ("count(process_start_time_seconds)", 2.0),
    ] {
        wait_for(text, SOON, || query(text).is_some_and(|values| values == [expected]));
    }
    holds_for("every scrape is taken", Duration::from_secs(3), || query("min(up)").is_some_and(|up| up == [1.0]));
}
