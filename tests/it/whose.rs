//! Whose answer it is (G4): what a client was told is told to nobody else, whatever key and request they bring.
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::harness::ledger::same_answer;
use crate::harness::{Act, Call, Gate, SOON, Scene, Told, Two, wait_for};

fn sale(key: &str) -> Call {
    Call::post("/tx/sale").key(key).body("lines")
}

fn bearer(call: Call, token: &str) -> Call {
    call.header("Authorization", &format!("Bearer {token}"))
}

/// A token in which anybody may write anything.
fn token(subject: &str, signature: &str) -> String {
    let part = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{signature}", part(r#"{"alg":"RS256"}"#.into()), part(format!(r#"{{"sub":"{subject}"}}"#)))
}

/// Nothing of the other client's write but how far it came.
#[track_caller]
fn is_told_nothing(told: Told, state: &str) {
    let told = told.expect_problem(409, "key-of-another");
    let problem = told.json();
    assert_eq!(problem["state"], state);
    assert!(problem.get("status_address").is_none(), "{problem}");
    let names = ["set-cookie", "location", "holdfast-write", "holdfast-seen", "idempotent-replayed", "retry-after"];
    assert_eq!(names.map(|name| told.header(name)), [None; 6], "{:?}", told.headers);
}

/// The same over HTTP/2: status, code of the problem, and what is told in headers.
fn over_http2(call: &[(&str, &str)], to: SocketAddr) -> (u16, String, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(to).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut request = http::Request::post(format!("http://127.0.0.1:{}/tx/sale", to.port()));
        for (name, value) in call {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::from("lines"))).expect("it is one");
        let answer = sender.send_request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let names = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let code =
            serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|b| Some(b["code"].as_str()?.to_owned()));
        (status, code.unwrap_or_default(), names)
    })
}

#[test]
fn what_one_client_was_answered_is_told_to_no_other() {
    let mut scene = Scene::one(|tx| tx);
    let secret = Act::answer(201).header("Set-Cookie", "sid=secret").header("Location", "/tx/1").body("mine");
    scene.service.at("/tx/sale", secret);
    let till = token("till-7", "signed");
    let first = scene.store.tell(&bearer(sale("k1"), &till)).expect(201);
    let others = [
        sale("k1"),
        bearer(sale("k1"), "other"),
        bearer(sale("k1"), &token("till-7", "forged")),
        sale("k1").header("Cookie", "sid=secret"),
        bearer(sale("k1"), &till).header("Authorization", "Bearer other"),
        bearer(sale("k1"), &till).header("Connection", "authorization").header("authorization", "Bearer x"),
    ];
    for restarted in [false, true] {
        for other in &others {
            is_told_nothing(scene.store.tell(other), "done");
        }
        let (bearer_of_first, forged) = (format!("Bearer {till}"), format!("Bearer {}", token("till-7", "forged")));
        for credentials in [None, Some("Bearer other"), Some(&*forged)] {
            let mut lines = vec![("idempotency-key", "k1")];
            lines.extend(credentials.map(|value| ("authorization", value)));
            let (status, code, names) = over_http2(&lines, scene.store.at());
            assert_eq!((status, code.as_str()), (409, "key-of-another"), "{credentials:?}");
            assert!(!names.iter().any(|name| ["set-cookie", "holdfast-write"].contains(&name.as_str())), "{names:?}");
        }
        let again = scene.store.tell(&bearer(sale("k1"), &till));
        assert!(again.replayed());
        same_answer(&first, &again);
        let (status, _, names) =
            over_http2(&[("idempotency-key", "k1"), ("authorization", &bearer_of_first)], scene.store.at());
        assert_eq!((status, names.contains(&"idempotent-replayed".to_owned())), (201, true));
        if !restarted {
            scene.store.kill();
            scene.store.restart();
        }
    }
    assert_eq!(scene.service.writes().len(), 1);
}

#[test]
fn what_names_a_client_can_be_set() {
    let scene = Scene::one(|tx| tx.set("idempotency", "{ client = [\"header:x-till\", \"cookie:till\"] }"));
    let refreshed = |token: &str| bearer(sale("k1"), token).header("X-Till", "7");
    scene.store.tell(&refreshed("one")).expect(201);
    assert!(scene.store.tell(&refreshed("two")).expect(201).replayed(), "a new token of the same till");
    is_told_nothing(scene.store.tell(&bearer(sale("k1"), "one").header("X-Till", "8")), "done");
    scene.store.tell(&sale("k2").header("Cookie", "csrf=1; till=7")).expect(201);
    assert!(scene.store.tell(&sale("k2").header("Cookie", "till=7; csrf=2")).expect(201).replayed());
    is_told_nothing(scene.store.tell(&sale("k2").header("Cookie", "csrf=1")), "done");
}

#[test]
fn two_shops_on_two_hosts_both_sell_under_one_key() {
    let hosts = "[{ host = \"a.shop\", path = \"/tx\" }, { host = \"b.shop\", path = \"/tx\" }]";
    let scene = Scene::one(|tx| tx.set("match", hosts));
    let at = |host: &str| sale("checkout-1").host(host);
    for host in ["a.shop", "b.shop"] {
        assert!(!scene.store.tell(&at(host)).expect(201).replayed(), "{host}");
    }
    for host in ["a.shop", "A.Shop:8080", "a.shop.", "b.shop"] {
        assert!(scene.store.tell(&at(host)).expect(201).replayed(), "{host} is spelled otherwise, and the same");
    }
    assert_eq!(scene.service.writes().len(), 2);
}

#[test]
fn a_scope_keeps_the_keys_of_customers_apart() {
    let scene = Scene::one(|tx| tx.set("idempotency", "{ scope = [\"header:x-shop\"] }"));
    let of = |shop: &str| sale("1").header("X-Shop", shop).header("Connection", "x-shop");
    for shop in ["a", "b"] {
        assert!(!scene.store.tell(&of(shop)).expect(201).replayed(), "{shop}");
    }
    assert!(scene.store.tell(&of("a")).expect(201).replayed());
    assert_eq!(scene.service.writes().len(), 2);
}

#[test]
fn a_planted_refusal_holds_nobody_up() {
    let scene = Scene::one(|tx| tx);
    scene.service.once_at("/tx/sale", Act::answer(422).body("nonsense"));
    let nonsense = bearer(Call::post("/tx/sale").key("sale-4711").body("nonsense"), "planter");
    scene.store.tell(&nonsense).expect(422);
    let honest = bearer(sale("sale-4711"), "till");
    assert!(!scene.store.tell(&honest).expect(201).replayed());
    assert!(scene.store.tell(&honest).expect(201).replayed());
    assert!(scene.store.tell(&nonsense).expect(422).replayed(), "its own answer");
    assert_eq!(scene.service.writes().len(), 2);
}

#[test]
fn who_comes_while_anothers_is_in_flight_waits_for_what_becomes_of_it() {
    for (status, told) in [(201, 409), (404, 201)] {
        let scene = Scene::one(|tx| tx);
        let gate = Gate::default();
        scene.service.once_at("/tx/sale", Act::answer(status).behind(&gate));
        let first = bearer(sale("k1"), "one").spawn(scene.store.at());
        scene.service.wait_arrived("k1");
        let second = bearer(sale("k1"), "two").spawn(scene.store.at());
        gate.open();
        first.join().unwrap().unwrap().expect(status);
        let second = second.join().unwrap().unwrap().expect(told);
        assert_eq!((second.replayed(), second.code() == "key-of-another"), (false, told == 409));
        assert_eq!(scene.service.writes_of("k1").len(), if told == 409 { 1 } else { 2 });
    }
}

#[test]
fn at_the_other_site_a_stranger_is_told_as_little() {
    let two = Two::start();
    let first = two.store.tell(&bearer(sale("k1"), "one")).expect(201);
    two.wait_equal(1);
    is_told_nothing(two.cloud.tell(&bearer(sale("k1"), "two")), "done");
    is_told_nothing(two.cloud.tell(&sale("k1")), "done");
    same_answer(&first, &two.cloud.tell(&bearer(sale("k1"), "one")).expect(201));
    two.wait_equal(1);
}

#[test]
fn two_clients_with_one_key_across_a_cut_are_two_sales_of_which_a_person_decides() {
    let two = Two::start();
    two.cut();
    let here = two.store.tell(&bearer(sale("1"), "one")).expect(201);
    let there = two.cloud.tell(&bearer(sale("1"), "two")).expect(201);
    assert!(!here.replayed() && !there.replayed());
    two.heal();
    for site in [&two.store, &two.cloud] {
        wait_for("the other one waits for a person", SOON, || site.count("quarantine") == 1);
        assert_eq!(site.api("/quarantine")[0]["reason"], "key-of-another");
    }
    // Each is told its own at both sites, and nobody the other's.
    for site in [&two.store, &two.cloud] {
        for (token, mine) in [("one", &here), ("two", &there)] {
            assert_eq!(site.tell(&bearer(sale("1"), token)).expect(201).text(), mine.text(), "{token}");
        }
        is_told_nothing(site.tell(&sale("1")), "done");
    }
    assert_eq!(two.services().map(|service| service.writes_of("1").len()), [1, 1]);
    for site in [&two.store, &two.cloud] {
        let id = site.api("/quarantine")[0]["id"].as_str().unwrap().to_owned();
        site.operate(&format!("/quarantine/{id}/resend")).expect(200);
        wait_for("it is sent", SOON, || site.count("quarantine") == 0);
    }
    assert_eq!(two.services().map(|service| service.writes_of("1").len()), [2, 2]);
}

#[test]
fn a_wish_whose_key_is_anothers_at_its_decider_is_executed_by_nobody() {
    let two = Two::spawn(|site| site, |name, tx| if name == "store" { tx.order(&["cloud", "local"]) } else { tx });
    two.store.wait_peer_healthy("cloud");
    two.cloud.wait_peer_healthy("store");
    two.store.wait_decider("cloud");
    let gate = Gate::default();
    two.at_cloud.once_at("/tx/sale", Act::answer(201).behind(&gate));
    let first = bearer(sale("k1"), "one").spawn(two.cloud.at());
    two.at_cloud.wait_arrived("k1");
    // Without a hint it would go there as a wish; with one it is asked for. Either way it learns nothing and is not
    // executed.
    two.control.cut();
    let second = bearer(sale("k1"), "two").spawn(two.store.at());
    gate.open();
    first.join().unwrap().unwrap().expect(201);
    is_told_nothing(second.join().unwrap().unwrap(), "done");
    two.wait_equal(1);
    assert_eq!(two.services().map(|service| service.writes_of("k1").len()), [1, 1]);
}
