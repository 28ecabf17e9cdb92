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
    let report = crate::demo::run(options(None), |_| {}).await.unwrap();
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
        let report = crate::demo::run(options(Some(kind)), |_| {}).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stays_up_serves_and_says_what_to_try() {
    let (options, scratch) = (options(None), Scratch::create(false).unwrap());
    let mut stage = Stage::build(&options, &Launcher::StandIn, &scratch).await.unwrap();
    stage.open_shops().await.unwrap();
    let (text, edge, hub) = (stage.to_try("holdfast", scratch.path()), stage.edge.at.gateway, stage.hub.service);
    for part in [&format!("http://{edge}/transactions"), &format!("http://{hub}/transactions/mine"), "Ctrl-C"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // As the text has it.
    let tried = async {
        let body = bytes::Bytes::from_static(br#"{"id": "mine", "till": "me"}"#);
        let mut sale = crate::demo::http::request(http::Method::POST, "/transactions", body);
        sale.headers_mut().insert("idempotency-key", http::HeaderValue::from_static("mine"));
        let sold = crate::demo::http::Client::new(edge).send(sale, CATCH_UP_PATIENCE).await.unwrap();
        assert!(sold.status.is_success(), "{}", sold.status);
        let mut at_hub = crate::demo::http::Client::new(hub);
        while !at_hub.get("/transactions/mine", CATCH_UP_PATIENCE).await.unwrap().status.is_success() {
            tokio::time::sleep(POLL).await;
        }
    };
    stage.stay(tried).await.unwrap();
}

#[test]
fn failed_over_is_what_the_other_site_carried_out() {
    let at = Duration::from_millis;
    let told = |sent: u64, answered: u64, served_by: &str, sites: &[&str]| Told {
        key: String::new(),
        method: "POST".to_owned(),
        path: "/transactions".to_owned(),
        body_sha256: String::new(),
        till: String::new(),
        home: EDGE.to_owned(),
        sites: sites.iter().map(|&site| site.to_owned()).collect(),
        lane: None,
        tries: 1,
        sent: at(sent),
        answered: Some(at(answered)),
        ending: crate::demo::history::Ending::Acknowledged { status: 200 },
        served_by: Some(served_by.to_owned()),
    };
    let home: &[&str] = &[EDGE];
    let history = [
        told(0, 90, EDGE, home),
        // The death met it in flight, and the hub carried it out.
        told(95, 300, HUB, home),
        told(110, 160, HUB, home),
        // Answered by the dead service's last word, or from a record: neither failed over nor waited.
        told(99, 130, EDGE, home),
        told(180, 400, EDGE, home),
        told(210, 220, HUB, home),
        // Its till went to the other site itself.
        told(120, 150, HUB, &[EDGE, HUB]),
    ];
    let failover = Outage { from: at(100), to: at(200) }.measure(&history);
    assert_eq!((failover.requests, failover.slowest_ms), (2, 205));
    assert_eq!((failover.held_back, failover.held_back_slowest_ms), (1, 220));
}
