use super::*;
use crate::demo::sabotage::Sabotage;

fn options(sabotage: Option<Sabotage>) -> DemoOptions {
    DemoOptions {
        sabotage,
        tills_per_site: 4,
        phase: Duration::from_millis(700),
        think: Duration::from_millis(25),
        launcher: Some(Launcher::StandIn),
        ..DemoOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stand_in_that_keeps_its_promises_ends_equal() {
    let report = crate::demo::run(options(None)).await.unwrap();
    assert!(report.is_good(), "{report}");
    assert_eq!(report.exit_code(), 0);
    // Four phases in which each till sells, however slow the machine is; on an idle one it is some 900.
    assert!(report.acknowledged >= 4 * 8 && report.refused > 0, "{report}");
    assert!(report.failover.requests > 0 && report.replay.writes > 0, "{report}");
    assert_eq!(report.applied[EDGE], report.applied[HUB]);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    for field in ["accepted", "acknowledged", "applied", "lost", "duplicates", "out_of_order", "equal"] {
        assert!(json.get(field).is_some(), "{field}");
    }
    assert!(json["replay"]["writes"].is_u64() && json["replay"]["seconds"].is_f64());
    assert!(json["failover"]["requests"].is_u64() && json["failover"]["slowest_ms"].is_u64());
    assert_eq!(json["state_sha256"][EDGE], json["state_sha256"][HUB]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sabotage_is_found_and_named() {
    for kind in [Sabotage::Lose, Sabotage::Double, Sabotage::Swap, Sabotage::Stale] {
        let report = crate::demo::run(options(Some(kind))).await.unwrap();
        assert_eq!(report.exit_code(), 1, "{kind:?}: {report}");
        let sabotage = report.sabotage.as_ref().unwrap();
        assert!(sabotage.caught && !report.equal, "{kind:?}: {report}");
        assert!(report.to_string().contains(&sabotage.write.key), "{kind:?}: {report}");
        let counted = match kind {
            Sabotage::Lose => report.lost,
            Sabotage::Double => report.duplicates,
            Sabotage::Swap => report.out_of_order,
            Sabotage::Stale => report.altered,
        };
        assert!(counted > 0, "{kind:?}: {report}");
    }
}

#[test]
fn an_outage_tells_what_failed_over_from_what_was_held_back() {
    let at = Duration::from_millis;
    let told = |sent: u64, answered: u64| Told {
        key: String::new(),
        method: "POST".to_owned(),
        path: "/transactions".to_owned(),
        body_sha256: String::new(),
        till: String::new(),
        home: EDGE.to_owned(),
        sites: vec![EDGE.to_owned()],
        lane: None,
        tries: 1,
        sent: at(sent),
        answered: Some(at(answered)),
        ending: crate::demo::history::Ending::Acknowledged { status: 200 },
    };
    let history = [told(0, 90), told(95, 300), told(110, 160), told(120, 150), told(180, 400), told(210, 220)];
    let failover = Outage { from: at(100), to: at(200) }.measure(&history);
    assert_eq!((failover.requests, failover.slowest_ms), (2, 50));
    assert_eq!((failover.held_back, failover.held_back_slowest_ms), (2, 220));
}
