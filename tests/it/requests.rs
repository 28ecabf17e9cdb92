//! What clients may send, and what a service gets to see of it.
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use crate::harness::client::read_answer;
use crate::harness::{Act, Call, Gate, SOON, Scene, Two, wait_for};

#[test]
fn a_body_over_the_limit_is_refused_before_anything_is_kept() {
    let scene = Scene::one(|tx| tx.set("max_body", "\"64KiB\""));
    let limit = 64 << 10;
    for (size, status) in [(limit, 201), (limit + 1, 413), (4 << 20, 413)] {
        let told = scene.store.tell(&Call::post("/tx/sale").key(&format!("k{size}")).body(vec![b'x'; size]));
        assert_eq!(told.status, status, "{size}: {}", told.text());
        if status == 413 {
            told.expect_problem(413, "body-too-large");
        }
    }
    // Chunked, without a length to look at beforehand.
    let mut stream = TcpStream::connect(scene.store.at()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let head =
        "POST /tx/sale HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\nIdempotency-Key: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    for _ in 0..3 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    read_answer(stream, "POST", Instant::now()).unwrap().expect_problem(413, "body-too-large");
    assert_eq!(scene.service.writes().len(), 1);
    assert_eq!(scene.store.api("/writes")["writes"].as_array().unwrap().len(), 1);
}

#[test]
fn nobody_speaks_in_the_name_of_the_appliance() {
    let scene = Scene::one(|tx| tx);
    let forged = [
        "Holdfast-Replay",
        "Holdfast-Original-Time",
        "Holdfast-Original-Status",
        "Holdfast-Origin",
        "holdfast-anything",
        "X-Envoy-Internal",
        "X-Wso2-Cluster-Header",
        "X-Trace-Key",
    ];
    for method in ["POST", "GET"] {
        let call = Call::new(method, "/tx/sale").header("X-Mine", "stays");
        let call = forged.iter().fold(call, |call, name| call.header(name, "forged"));
        let told = scene.store.tell(&call);
        assert!(told.status < 300);
        let seen = scene.service.seen().into_iter().rfind(|seen| seen.target == "/tx/sale").unwrap();
        assert_eq!(seen.header("x-mine"), Some("stays"));
        for name in forged {
            assert_ne!(seen.header(name), Some("forged"), "{method} {name}");
        }
        assert!(!seen.is_shadow());
    }
}

#[test]
fn a_service_cannot_forge_our_answer_headers() {
    let scene = Scene::one(|tx| tx);
    let act = Act::answer(201).header("Holdfast-Seen", "forged").header("Holdfast-Served-By", "forged");
    let act = act.header("Idempotent-Replayed", "true");
    scene.service.at("/tx/sale", act);
    let told = scene.store.tell(&Call::post("/tx/sale").key("k")).expect(201);
    assert_eq!(told.all("holdfast-served-by"), ["store"]);
    assert!(!told.all("holdfast-seen").contains(&"forged"), "{:?}", told.headers);
    assert!(!told.replayed(), "a first answer: {:?}", told.headers);
    let again = scene.store.tell(&Call::post("/tx/sale").key("k")).expect(201);
    assert_eq!(again.all("idempotent-replayed"), ["true"]);
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused() {
    let scene = Scene::one(|tx| tx);
    let head = "POST /tx/sale HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    let shapes = [
        format!("{head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("{head}Content-Length: +3\r\n\r\nabc"),
        format!("{head}X-Folded: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"),
        format!("{head}Content-Length : 3\r\n\r\nabc"),
        "POST /tx/sale HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ];
    for shape in shapes {
        let mut stream = TcpStream::connect(scene.store.at()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(shape.as_bytes()).unwrap();
        let told = read_answer(stream, "POST", Instant::now()).unwrap_or_else(|error| panic!("{error}: {shape}"));
        assert_eq!(told.status, 400, "{shape}{}", told.text());
    }
    assert!(scene.service.writes().is_empty());
}

#[test]
fn paths_without_a_service_and_writes_of_unknown_kinds_are_told_so() {
    let scene = Scene::one(|tx| tx);
    scene.store.tell(&Call::post("/other").key("k")).expect_problem(404, "no-route");
    scene.store.tell(&Call::get("/txx")).expect_problem(404, "no-route");
    scene.store.tell(&Call::get("/.holdfast/writes/guess")).expect_problem(404, "unknown-token");
    let upgrade = Call::get("/tx/a").header("Upgrade", "websocket").header("Connection", "Upgrade");
    scene.store.tell(&upgrade).expect_problem(501, "upgrade-unsupported");
}

#[test]
fn a_client_that_hangs_up_in_the_middle_of_its_body_has_sent_nothing() {
    let scene = Scene::one(|tx| tx);
    for _ in 0..5 {
        let mut stream = TcpStream::connect(scene.store.at()).unwrap();
        let head =
            "POST /tx/sale HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: half\r\nContent-Length: 100\r\n\r\nhalf";
        stream.write_all(head.as_bytes()).unwrap();
    }
    // The whole one is new, and the only one.
    assert!(!scene.store.tell(&Call::post("/tx/sale").key("half").body("whole")).expect(201).replayed());
    assert_eq!(scene.service.writes().len(), 1);
}

#[test]
fn at_a_hub_the_store_of_a_request_must_be_named_and_known() {
    let two = Two::spawn(
        |site| site,
        |name, tx| match name {
            "cloud" => tx
                .set("store_from", "\"header:x-store\"")
                .set("replicas", "[\"{store}\", \"cloud\"]")
                .set("answer", "{ order = [\"local\"] }"),
            _ => tx,
        },
    );
    two.store.wait_peer_healthy("cloud");
    let sale = |key: &str| Call::post("/tx/sale").key(key);
    two.cloud.tell(&sale("a")).expect_problem(400, "store-missing");
    two.cloud.tell(&sale("a").header("X-Store", "elsewhere")).expect_problem(400, "store-foreign");
    two.cloud.tell(&sale("a").header("X-Store", "store")).expect(201);
    two.store.tell(&sale("b")).expect(201);
    two.wait_equal(2);
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    let mut scene = Scene::one(|tx| tx);
    let gate = Gate::default();
    scene.service.at("/tx/sale", Act::answer(201).behind(&gate));
    let waiting = Call::post("/tx/sale").key("k1").spawn(scene.store.at());
    scene.service.wait_arrived("k1");
    scene.store.process.signal("TERM");
    wait_for("it takes no more connections", SOON, || !scene.store.takes_connections());
    gate.open();
    waiting.join().unwrap().unwrap().expect(201);
    assert_eq!(scene.store.process.wait_end().code(), Some(0));
}
