//! What became of one attempt: the events that decide whether a write may be sent again.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::support::*;
use crate::gateway::*;
use crate::model::{Header, Request};
use crate::service::{Attempt, AttemptResult, ProbeResult, Shadow};

fn attempt(path: &str, shadow: Option<Shadow>) -> Attempt {
    let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
    let request = Arc::new(Request {
        method: "POST".into(),
        target: path.into(),
        authority: "shop.example".into(),
        headers: vec![
            header("idempotency-key", "\"a/b\""),
            header("if-match", "\"1\""),
            header("if-unmodified-since", "x"),
            header("authorization", "Bearer old"),
            header("set", "1"),
            header("set", "2"),
        ],
        body: "body".into(),
    });
    Attempt { id: write_id(1), attempt: 1, request, origin: site(), shadow }
}

#[tokio::test]
async fn how_a_service_ends_decides_the_class() {
    let text = |text: &str| Step::Write(text.to_owned());
    let cases: Vec<(&str, Vec<Step>, &str)> = vec![
        ("closes before the answer", vec![Step::Close], "broken"),
        ("closes in the status line", vec![text("HTTP/1.1 200"), Step::Close], "broken"),
        ("closes in the headers", vec![text("HTTP/1.1 200 OK\r\nContent-Le"), Step::Close], "broken"),
        ("closes in the body", vec![text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Step::Close], "broken"),
        (
            "closes in a chunk",
            vec![text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"), Step::Close],
            "broken",
        ),
        (
            "closes before the last chunk",
            vec![text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), Step::Close],
            "broken",
        ),
        ("answers nonsense", vec![text("nonsense\r\n\r\n"), Step::Close], "broken"),
        ("never answers", vec![Step::Wait(600 * SECOND)], "broken"),
        (
            "stops in the body",
            vec![text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), Step::Wait(600 * SECOND)],
            "broken",
        ),
        (
            "closes after the answer",
            vec![text("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"), Step::Close],
            "200 done",
        ),
        (
            "ends the body by closing",
            vec![text("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndone"), Step::Close],
            "200 done",
        ),
        (
            "says 100 first",
            vec![text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")],
            "201 ",
        ),
        ("fails", vec![text("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")], "500 no"),
        ("has no body", vec![text("HTTP/1.1 204 No Content\r\n\r\n")], "204 "),
    ];
    for (name, steps, expected) in cases {
        let hangs = matches!(steps.last(), Some(Step::Wait(_)));
        let service = service(move |_, _| steps.clone()).await;
        let mut settings = upstream_settings(&[service.address]);
        if hangs {
            settings.try_timeout = SECOND / 4;
        }
        let upstream = Upstream::new(settings);
        let result = match upstream.attempt(attempt("/tx", None)).await {
            AttemptResult::Answered(answer) => {
                format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
            }
            AttemptResult::Broken { .. } => "broken".into(),
            AttemptResult::NeverSent { why } => format!("never sent: {why}"),
            AttemptResult::Refused(own) => format!("refused: {}", own.status),
        };
        assert_eq!(result, expected, "{name}");
        until("the service has read it", || !service.requests.lock().unwrap().is_empty()).await;
        assert_eq!(service.requests.lock().unwrap().len(), 1, "{name}: sent once");
    }
}

#[tokio::test]
async fn what_was_never_sent_is_tried_at_every_endpoint_once() {
    let ((_a, a), (_b, b)) = (dead(), dead());
    let never = Upstream::new(upstream_settings(&[a, b])).attempt(attempt("/", None)).await;
    assert!(matches!(&never, AttemptResult::NeverSent { why } if why.contains("connecting to")), "{never:?}");
    let alive = service(|_, _| ok("x")).await;
    let upstream = Upstream::new(upstream_settings(&[a, alive.address, b]));
    for _ in 0..6 {
        assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Answered(_)));
    }
    let none = Upstream::new(upstream_settings(&[])).attempt(attempt("/", None)).await;
    assert!(matches!(none, AttemptResult::NeverSent { .. }));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_nothing() {
    // Closes every connection after its answer, when the client has put it aside, without having said so.
    let gate = Arc::new(Semaphore::new(0));
    let close = gate.clone();
    let service =
        service(move |n, _| [ok(&n.to_string()), vec![Step::Pass(close.clone()), Step::Close]].concat()).await;
    let upstream = Upstream::new(upstream_settings(&[service.address]));
    for n in 1..=20_u32 {
        let result = upstream.attempt(attempt("/", None)).await;
        assert!(matches!(&result, AttemptResult::Answered(a) if a.body == n.to_string()), "{n}: {result:?}");
        gate.add_permits(1);
        until("the service closed", || service.closed.load(Ordering::SeqCst) == n as usize).await;
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn a_kept_connection_that_closes_on_the_next_request_is_broken_and_not_sent_again() {
    let service = service(|n, _| if n == 2 { vec![Step::Close] } else { ok("x") }).await;
    let upstream = Upstream::new(upstream_settings(&[service.address]));
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Answered(_)));
    // A connection is used again when it has been seen to stay.
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Broken { .. }));
    assert_eq!(service.requests.lock().unwrap().len(), 2);
    assert_eq!(service.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_shadow_is_known_as_one_and_has_no_conditions() {
    let service = service(|_, _| ok("x")).await;
    let mut settings = upstream_settings(&[service.address]);
    settings.replay_auth = Some(http::HeaderValue::from_static("Bearer replay"));
    let upstream = Upstream::new(settings);
    let shadow = Shadow { original_ms: 0, original_status: 201, original_location: Some(b"/tx/1".to_vec()) };
    upstream.attempt(attempt("/tx", None)).await;
    upstream.attempt(attempt("/tx", Some(shadow))).await;
    let requests = service.requests.lock().unwrap();
    for line in [
        "holdfast-replay: true\r\n",
        "holdfast-original-time: 1970-01-01T00:00:00.000Z\r\n",
        "holdfast-original-status: 201\r\n",
        "holdfast-original-location: /tx/1\r\n",
        "authorization: Bearer replay\r\n",
    ] {
        assert!(requests[1].contains(line) && !requests[0].contains(line), "{line}: {requests:?}");
    }
    for line in [
        "idempotency-key: \"a/b\"\r\n",
        "holdfast-origin: store-1\r\n",
        "set: 1\r\nset: 2\r\n",
        "Host: shop.example\r\n",
    ] {
        assert!(requests.iter().all(|r| r.contains(line)), "{line}: {requests:?}");
    }
    assert!(requests[0].contains("if-match") && !requests[1].contains("if-match"));
    assert!(requests[0].contains("if-unmodified-since") && !requests[1].contains("if-unmodified-since"));
}

#[tokio::test]
async fn a_probe_asks_by_key_and_believes_only_clear_words() {
    let service = service(|n, _| {
        let status = ["200 OK", "404 Not Found", "500 No", "302 Found"][n - 1];
        vec![Step::Write(format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\nx"))]
    })
    .await;
    let mut settings = upstream_settings(&[service.address]);
    settings.probe = Some("GET /by-key/{key}".parse().unwrap());
    let upstream = Upstream::new(settings);
    let request = attempt("/tx", None).request;
    assert!(matches!(upstream.probe(&request).await, ProbeResult::Applied(a) if a.body == "x"));
    assert_eq!(upstream.probe(&request).await, ProbeResult::NotFound);
    assert_eq!(upstream.probe(&request).await, ProbeResult::Nothing);
    assert_eq!(upstream.probe(&request).await, ProbeResult::Nothing);
    assert!(service.requests.lock().unwrap()[0].starts_with("GET /by-key/a%2Fb HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_full_pool_is_never_sent() {
    let head = Step::Write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".into());
    let service = service(move |_, _| vec![head.clone(), Step::Wait(600 * SECOND)]).await;
    let mut settings = upstream_settings(&[service.address]);
    settings.pool.in_flight = 1;
    // Given up by the pool, or by the time for one try: nothing was sent either way.
    let cases = [(3 * SECOND, SOON), (SOON, 3 * SECOND)].map(|(connect_timeout, try_timeout)| {
        settings.pool.connect_timeout = connect_timeout;
        settings.try_timeout = try_timeout;
        let upstream = Upstream::new(settings.clone());
        async move {
            let read = hyper::Request::get("http://shop.example/").body(Body::Empty).unwrap();
            // An answer whose body has not ended holds its place.
            let Ok(_held) = upstream.stream(read).await else { panic!("the service answers reads") };
            upstream.attempt(attempt("/", None)).await
        }
    });
    let [by_the_pool, by_the_try] = cases;
    for result in <[_; 2]>::from(tokio::join!(by_the_pool, by_the_try)) {
        assert!(matches!(result, AttemptResult::NeverSent { .. }), "{result:?}");
    }
    assert!(service.requests.lock().unwrap().iter().all(|head| head.starts_with("GET")));
}

#[tokio::test]
async fn health_is_asked_for_and_reported() {
    let sick = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = sick.clone();
    let service = service(move |_, _| {
        let status = if state.load(Ordering::SeqCst) { "503 No" } else { "200 OK" };
        vec![Step::Write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))]
    })
    .await;
    let mut settings = upstream_settings(&[service.address]);
    let interval = Duration::from_millis(5);
    settings.health =
        Some(HealthSettings { path: "/health".into(), interval, timeout: SOON, unhealthy: 2, healthy: 2 });
    let upstream = Upstream::new(settings);
    let _checks = upstream.spawn_checks();
    let mut healthy = upstream.healthy();
    sick.store(true, Ordering::SeqCst);
    tokio::time::timeout(SOON, healthy.wait_for(|h| !*h)).await.unwrap().unwrap();
    let asked = service.requests.lock().unwrap().iter().filter(|r| r.starts_with("POST")).count();
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::NeverSent { .. }));
    assert_eq!(service.requests.lock().unwrap().iter().filter(|r| r.starts_with("POST")).count(), asked);
    sick.store(false, Ordering::SeqCst);
    tokio::time::timeout(SOON, healthy.wait_for(|h| *h)).await.unwrap().unwrap();
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Answered(_)));
}

#[tokio::test]
async fn a_connection_is_had_before_anything_is_sent() {
    let service = service(|_, _| ok("x")).await;
    let upstream = Upstream::new(upstream_settings(&[service.address]));
    let Ok(ready) = upstream.ready().await else { panic!("the service takes connections") };
    until("it is connected", || service.connections.load(Ordering::SeqCst) == 1).await;
    assert!(service.requests.lock().unwrap().is_empty());
    assert!(matches!(upstream.attempt_on(ready, attempt("/", None)).await, AttemptResult::Answered(_)));
    assert_eq!(service.connections.load(Ordering::SeqCst), 1);
    let (_socket, address) = dead();
    let nobody = Upstream::new(upstream_settings(&[address])).ready().await;
    assert!(nobody.is_err_and(|why| why.contains("connecting to")));
}

#[tokio::test]
async fn an_answer_that_cannot_be_passed_on_is_known_by_its_status() {
    let head = |status: &str| format!("HTTP/1.1 {status}\r\n");
    let long = format!("X: {}\r\n", "x".repeat(400_000));
    for (name, answer, expected) in [
        ("two lengths", head("201 Made") + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", (201, true)),
        ("a head that is too large", head("201 Made") + &long + "Content-Length: 2\r\n\r\nok", (201, true)),
        ("no chunks where some were said", head("201 Made") + "Transfer-Encoding: chunked\r\n\r\nok!", (201, true)),
        ("a coding nobody asked for", head("201 Made") + "Transfer-Encoding: gzip\r\n\r\nok", (201, true)),
        (
            "a control character before its coding",
            head("201 Made") + "Transfer-Encoding: \x0bchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            (201, true),
        ),
        ("a control character in its length", head("201 Made") + "Content-Length: 2\x01\r\n\r\nok", (201, true)),
        ("a refusal", head("409 No") + "Content-Length: x\r\n\r\nno", (409, false)),
    ] {
        let service = service(move |_, _| vec![Step::Write(answer.clone())]).await;
        let upstream = Upstream::new(upstream_settings(&[service.address]));
        let AttemptResult::Answered(answer) = upstream.attempt(attempt("/", None)).await else { panic!("{name}") };
        assert_eq!((answer.status, answer.omitted.is_some()), expected, "{name}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_left_alone_until_it_is_back() {
    let (socket, address) = dead();
    let upstream = Upstream::new(upstream_settings(&[address]));
    let mut healthy = upstream.healthy();
    assert!(*healthy.borrow_and_update());
    let first = upstream.ready().await;
    assert!(first.is_err_and(|why| why.contains("connecting to")));
    assert!(!*healthy.borrow_and_update(), "said at once");
    for _ in 0..10_000 {
        assert!(upstream.ready().await.is_err_and(|why| why.contains("no endpoint of tx is healthy")));
    }
    let listener = socket.listen(16).unwrap();
    tokio::time::timeout(SOON, healthy.wait_for(|healthy| *healthy)).await.expect("asked again").unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                read_message(&mut stream, &mut Vec::new(), false).await?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()
            });
        }
    });
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Answered(_)));
}

#[tokio::test]
async fn a_proxy_before_nobody_costs_one_write_its_outcome_and_only_after_an_answer() {
    // Takes the connection, waits for the request, and ends it, as a load balancer does whose service is gone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stands = Arc::<AtomicBool>::default();
    let behind = stands.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let behind = behind.clone();
            tokio::spawn(async move {
                if !behind.load(Ordering::SeqCst) {
                    let _ = tokio::time::timeout(Duration::from_millis(2), stream.read(&mut [0; 4096])).await;
                    return;
                }
                let _ = read_message(&mut stream, &mut Vec::new(), false).await;
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    let mut settings = upstream_settings(&[address]);
    // Each write on a connection of its own.
    settings.pool.idle = 0;
    let upstream = Upstream::new(settings);
    let refused = async || {
        for _ in 0..20 {
            let later = upstream.attempt(attempt("/", None)).await;
            assert!(matches!(later, AttemptResult::NeverSent { .. }), "{later:?}");
        }
    };
    refused().await;
    stands.store(true, Ordering::SeqCst);
    let mut healthy = upstream.healthy();
    tokio::time::timeout(SOON, healthy.wait_for(|healthy| *healthy)).await.expect("asked again").unwrap();
    assert!(matches!(upstream.attempt(attempt("/", None)).await, AttemptResult::Answered(_)));
    stands.store(false, Ordering::SeqCst);
    let ended = upstream.attempt(attempt("/", None)).await;
    assert!(matches!(ended, AttemptResult::Broken { .. }), "{ended:?}");
    refused().await;
}

/// An endpoint of HTTP/2 that answers 201, and how many requests it has had.
async fn http2_service() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut connection = ::h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let answer = http::Response::builder().status(201).body(()).unwrap();
                    let _ = respond.send_response(answer, true);
                }
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_write_of_which_no_request_can_be_made_is_refused_once_and_for_all() {
    let first = service(|_, _| ok("x")).await;
    let (second, asked) = http2_service().await;
    let mut over_http2 = upstream_settings(&[second]);
    over_http2.endpoints[0].h2c = true;
    for (target, authority, settings) in [
        ("?q=1", "shop.example", upstream_settings(&[first.address, first.address])),
        ("/x y", "shop.example", upstream_settings(&[first.address])),
        ("/x", "a\u{1}", upstream_settings(&[first.address])),
        ("?q=1", "shop.example", over_http2.clone()),
        ("/x", "a%41", over_http2.clone()),
        ("/x", "a:b:c", over_http2.clone()),
        ("/x", "[", over_http2.clone()),
    ] {
        let upstream = Upstream::new(settings);
        let mut bad = attempt(target, None);
        let request = Request { authority: authority.into(), ..Request::clone(&bad.request) };
        bad.request = Arc::new(request);
        let AttemptResult::Refused(own) = upstream.attempt(bad).await else { panic!("{target} at {authority}") };
        assert_eq!(own.status, 400, "{target} at {authority}");
        assert!(String::from_utf8_lossy(&own.body).contains("\"bad-request\""), "{own:?}");
        let next = upstream.attempt(attempt("/x", None)).await;
        assert!(matches!(next, AttemptResult::Answered(_)), "{target} at {authority}: {next:?}");
    }
    assert_eq!((first.requests.lock().unwrap().len(), asked.load(Ordering::SeqCst)), (3, 4));
}

/// A service that has done its work may pass on what an appliance said to a request of its own.
#[tokio::test]
async fn only_who_answers_this_very_exchange_is_believed_that_nothing_was_done() {
    let hop = |request: &str| {
        let line = request.lines().find(|line| line.starts_with("holdfast-hop: ")).expect("each exchange has a name");
        line["holdfast-hop: ".len()..].to_owned()
    };
    let stale = Arc::<Mutex<String>>::default();
    let service = service(move |_, request| {
        let named = hop(request);
        let before = std::mem::replace(&mut *stale.lock().unwrap(), named.clone());
        let said = match request.split(' ').nth(1) {
            Some("/right") => named,
            Some("/stale") => before,
            Some("/none") => return vec![Step::Write("HTTP/1.1 508 No\r\nContent-Length: 2\r\n\r\nno".into())],
            _ => "true".to_owned(),
        };
        vec![Step::Write(format!("HTTP/1.1 508 No\r\nHoldfast-Loop: {said}\r\nContent-Length: 2\r\n\r\nno"))]
    })
    .await;
    let upstream = Upstream::new(upstream_settings(&[service.address, service.address]));
    for (n, path, believed) in
        [(1, "/any", false), (2, "/stale", false), (3, "/none", false), (4, "/right", true), (5, "/stale", false)]
    {
        let result = upstream.attempt(attempt(path, None)).await;
        let status = match &result {
            AttemptResult::Answered(answer) if !believed => answer.status,
            AttemptResult::Refused(own) if believed => own.status,
            _ => panic!("{path}: {result:?}"),
        };
        assert_eq!((status, service.requests.lock().unwrap().len()), (508, n), "{path}: sent once");
    }
}
