//! Reads, plain proxying, and the duties of a proxy.
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::support::*;
use crate::gateway::*;
use crate::service::AttemptResult;

#[tokio::test]
async fn a_read_passes_through_with_a_proxys_headers() {
    let service = service(|_, _| {
        vec![Step::Write(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
             Content-Length: 2\r\n\r\nhi"
                .into(),
        )]
    })
    .await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let lines = "Connection: X-Mine\r\nX-Mine: 1\r\nHoldfast-Replay: true\r\nx-envoy-internal: true\r\nTE: trailers\r\n\
        Idempotency-Key: \r\nX-Request-Id: r-1\r\n";
    let mut wire = Wire::to(gateway.address).await;
    for path in ["/a?b=c", "http://other.example:81/a?b=c"] {
        let answer = wire.ask(&get(path, lines)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
        for line in [
            "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
            "via: 1.1 holdfast\r\n",
            "holdfast-served-by: store-1\r\n",
            "date: ",
        ] {
            assert!(answer.contains(line), "{line}: {answer}");
        }
        assert!(!answer.to_ascii_lowercase().contains("x-hop"), "{answer}");
    }
    let requests = service.requests.lock().unwrap();
    for (request, host) in requests.iter().zip(["shop.example", "other.example:81"]) {
        assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
        for line in [
            format!("Host: {host}\r\n"),
            "X-Request-Id: r-1\r\n".into(),
            "traceparent: 00-".into(),
            "x-forwarded-for: 127.0.0.1\r\n".into(),
            "x-forwarded-proto: http\r\n".into(),
            format!("x-forwarded-host: {host}\r\n"),
            format!("forwarded: for=127.0.0.1;proto=http;host=\"{host}\"\r\n"),
            "via: 1.1 holdfast-".into(),
        ] {
            assert!(request.contains(&line), "{line}: {request}");
        }
        for gone in ["x-mine", "holdfast-replay", "x-envoy-internal", "connection"] {
            assert!(!request.to_ascii_lowercase().contains(gone), "{gone}: {request}");
        }
    }
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn an_appliance_that_stands_behind_itself_refuses_what_comes_back() {
    let (entry, behind) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let through = [entry.local_addr().unwrap(), behind.local_addr().unwrap()];
    // Directly, and through another appliance.
    for hops in [1, 2] {
        let first = gateway(upstream_settings(&[through[0]]), |_| {}).await;
        let second = gateway(upstream_settings(&[through[1]]), |_| {}).await;
        let next = if hops == 1 { first.address } else { second.address };
        let pipes = [pipe(&entry, next), pipe(&behind, first.address)];
        let asked = async {
            for request in [get("/a", ""), post("/a", "", "x"), get("/a", ""), post("/a", "", "y")] {
                let answer = ask(first.address, &request).await;
                assert!(answer.starts_with("HTTP/1.1 508 "), "{hops}: {answer}");
                assert!(answer.contains("\"loop-detected\""), "{hops}: {answer}");
            }
        };
        tokio::select! {
            () = asked => {}
            _ = futures_of(pipes) => {}
        }
        let broken = |fixture: &Fixture| {
            let seen = fixture.seen.lock().unwrap();
            // To the first of two it is the answer of a service, whatever the second one knows.
            let is_circle = |result: &AttemptResult| match result {
                AttemptResult::Refused(own) => own.status == 508,
                AttemptResult::Answered(answer) => hops == 2 && answer.status == 508,
                _ => false,
            };
            !seen.results.iter().all(is_circle)
        };
        assert!(!broken(&first) && !broken(&second), "{hops}: nothing was sent to any service");
    }
}

/// Carries every connection on.
async fn pipe(listener: &TcpListener, to: SocketAddr) {
    while let Ok((mut from, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut to = TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}

async fn futures_of(pipes: [impl Future<Output = ()>; 2]) {
    let [a, b] = pipes;
    tokio::join!(a, b);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let service = service(|_, _| vec![Step::Write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".into())]).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut wire = Wire::to(gateway.address).await;
    for _ in 0..2 {
        wire.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut head = [0; 2048];
        let n = tokio::io::AsyncReadExt::read(&mut wire.stream, &mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..n]).into_owned();
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("Content-Length: 1234\r\n"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }
}

#[tokio::test]
async fn trailers_pass_through() {
    let service = service(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        vec![Step::Write(format!("{head}2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"))]
    })
    .await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let answer = ask(gateway.address, &get("/a", "TE: trailers\r\nConnection: TE\r\n")).await;
    assert!(answer.contains("transfer-encoding: chunked") && answer.contains("x-sum: 7\r\n"), "{answer}");
    assert!(service.requests.lock().unwrap()[0].contains("TE: trailers"));
}

#[tokio::test]
async fn a_service_without_replicas_is_streamed_both_ways_without_a_journal() {
    let service = service(|_, request| ok(&format!("{}", request.len()))).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut wire = Wire::to(gateway.address).await;
    wire.send("POST /plain/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    wire.send("5\r\nworld\r\n0\r\n\r\n").await;
    let answer = wire.read().await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("holdfast-"), "{answer}");
    let answer = wire.ask(&post("/plain/x", "", &"x".repeat(50_000))).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let requests = service.requests.lock().unwrap();
    assert!(requests[0].contains("hello") && requests[0].contains("world"), "{}", requests[0]);
    assert!(requests[1].contains("Content-Length: 50000\r\n"));
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 0);
}

#[tokio::test]
async fn a_read_that_was_never_sent_goes_to_another_endpoint_and_one_that_broke_off_does_not() {
    let (_held, dead) = dead();
    let alive = service(|_, request| if request.contains("/break") { vec![Step::Close] } else { ok("hi") }).await;
    let gateway_ = gateway(upstream_settings(&[dead, alive.address]), |_| {}).await;
    for _ in 0..4 {
        assert!(ask(gateway_.address, &get("/a", "")).await.starts_with("HTTP/1.1 200"));
    }
    let broken = ask(gateway_.address, &get("/break", "")).await;
    assert!(broken.starts_with("HTTP/1.1 502") && broken.contains("upstream-broken"), "{broken}");
    assert_eq!(alive.requests.lock().unwrap().len(), 5);

    let nobody = gateway(upstream_settings(&[dead]), |_| {}).await;
    let refused = ask(nobody.address, &get("/a", "")).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"retry\":\"safe\"") && refused.contains("\"request_id\":\""), "{refused}");
}

#[tokio::test]
async fn reads_go_where_writes_are_decided() {
    let service = service(|_, _| ok("here")).await;
    let gateway = gateway_with(upstream_settings(&[service.address]), "cloud", |_| {}, |_| {}).await;
    let answer = ask(gateway.address, &get("/a?b", "")).await;
    assert!(answer.ends_with("cloud tx /a?b false") && answer.contains("holdfast-served-by: cloud\r\n"), "{answer}");
    assert_eq!(service.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_a_reader_has_seen_is_waited_for() {
    let service = service(|_, _| ok("here")).await;
    let token = |position| {
        let mut after = crate::model::After::new();
        after.raise(write_id(0).log, position);
        format!("holdfast-seen: {}\r\n", crate::gateway::seen::encode(&after))
    };
    for (refuse, position, status) in [(true, 5, "200"), (true, 500, "503"), (false, 500, "200")] {
        let gateway = gateway(upstream_settings(&[service.address]), |s| s.refuse_stale = refuse).await;
        let answer = ask(gateway.address, &get("/a", &token(position))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        if status == "200" {
            assert!(answer.contains(&token(position.max(DECIDED))), "{answer}");
        }
    }
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let answer = ask(gateway.address, &get("/a", "")).await;
    assert!(answer.contains(&token(DECIDED)), "whoever reads has seen what is decided here: {answer}");
    for lines in ["Holdfast-Seen: ???\r\n".to_owned(), token(1) + &token(1)] {
        let answer = ask(gateway.address, &get("/a", &lines)).await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("seen-malformed"), "{answer}");
    }
}

#[tokio::test]
async fn own_pages_unknown_routes_and_upgrades() {
    let service = service(|_, _| ok("here")).await;
    let only = |s: &mut ServiceSettings| s.matches = vec![Match { host: None, path: Some("/tx".into()) }];
    let gateway = gateway(upstream_settings(&[service.address]), only).await;
    for (request, status, says) in [
        (get("/.holdfast/writes/tok-1", ""), "200", "queued"),
        (get("/.holdfast/writes/other", ""), "404", "unknown-token"),
        (get("/.holdfast/writes/", ""), "404", "unknown-token"),
        (post("/.holdfast/writes/tok-1", "", ""), "405", "allow: GET, HEAD"),
        (get("/txs", ""), "404", "no-route"),
        (get("/tx/1", ""), "200", "here"),
        (post("/tx/1", "Expect: 200-maybe\r\n", "x"), "417", "expectation-failed"),
        (get("/tx", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), "501", "upgrade-unsupported"),
        (get("/tx", "Connection: Upgrade\r\nUpgrade: h2c\r\n"), "200", "here"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".into(), "501", "method-unsupported"),
    ] {
        let answer = ask(gateway.address, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(says), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let settings = GatewaySettings::new(site(), vec![ListenSettings { address, tls: None }]);
    let neighbours =
        Neighbours { tokens: std::sync::Arc::new(Nothing), status: std::sync::Arc::new(Nothing), peers: None };
    let Err(error) = Gateway::bind(settings, Vec::new(), neighbours).await else { panic!("the port is taken") };
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("another process"), "{text}");
}

struct Nothing;
impl Tokens for Nothing {
    fn token(&self, _: crate::model::WriteId) -> String {
        String::new()
    }
}
impl StatusPages for Nothing {
    fn status<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<http::Response<Body>>> {
        Box::pin(std::future::ready(None))
    }
}

#[tokio::test]
async fn draining_lets_requests_in_flight_end_and_closes_idle_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = service(move |_, _| [vec![Step::Pass(held.clone())], ok("late")].concat()).await;
    let mut gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut idle = Wire::to(gateway.address).await;
    let mut busy = Wire::to(gateway.address).await;
    busy.send(&get("/a", "")).await;
    until("the service is asked", || service.requests.lock().unwrap().len() == 1).await;
    gateway.stop();
    assert!(idle.is_closed().await, "nothing is under way on it");
    gate.add_permits(1);
    assert!(busy.read().await.ends_with("late"));
    assert!(gateway.running.await.unwrap());
    assert!(busy.is_closed().await);
}

#[tokio::test]
async fn http2_with_prior_knowledge_at_both_ends() {
    use http_body_util::BodyExt;
    // One gateway in front of another: the outer one's endpoint is h2c.
    let service = service(|_, _| ok("through")).await;
    let inner = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut settings = upstream_settings(&[]);
    settings.endpoints = vec![EndpointSettings::parse(&format!("h2c://{}", inner.address)).unwrap()];
    let outer = gateway(settings, |_| {}).await;

    let stream = tokio::net::TcpStream::connect(outer.address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, conn) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(conn);
    for method in ["GET", "POST"] {
        let request = http::Request::builder().method(method).uri("http://shop.example/a?b");
        let body = Body::Full("body".into());
        let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2), "{method}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "through");
    }
    let requests = service.requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|r| r.contains("Host: shop.example\r\n")), "{requests:?}");
    assert_eq!(inner.seen.lock().unwrap().writes.len(), 1);
}

#[tokio::test]
async fn a_client_that_waits_is_not_idle_and_one_that_stopped_is() {
    let service = service(|_, _| [vec![Step::Wait(SECOND / 2)], ok("late")].concat()).await;
    let short = |g: &mut GatewaySettings| (g.idle_timeout, g.body_timeout) = (SECOND / 10, SECOND / 10);
    let gateway = gateway_with(upstream_settings(&[service.address]), site().as_str(), |_| {}, short).await;
    let mut wire = Wire::to(gateway.address).await;
    assert!(wire.ask(&get("/a", "")).await.ends_with("late"));
    assert!(wire.is_closed().await);
    let mut stalled = Wire::to(gateway.address).await;
    let refused = stalled.ask("POST /tx HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
    assert!(refused.starts_with("HTTP/1.1 408") && refused.contains("request-timeout"), "{refused}");
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 0);
}

#[tokio::test]
async fn a_client_that_shuts_its_side_gets_its_answer() {
    let service = service(|_, _| [vec![Step::Wait(SECOND / 5)], ok("late")].concat()).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for request in [get("/a", ""), post("/a", "", "{}"), get("/plain/a", "")] {
        let mut wire = Wire::to(gateway.address).await;
        wire.send(&request).await;
        tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await.unwrap();
        let answer = wire.read().await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "{request}: {answer}");
        assert!(wire.is_closed().await);
    }
}

#[tokio::test]
async fn an_answer_that_stops_and_a_client_that_does_not_read_give_their_place_back() {
    let half = |_: usize, request: &str| {
        let big = request.contains("/big");
        let body = "x".repeat(if big { 16 << 20 } else { 4 });
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", if big { 16 << 20 } else { 100 });
        vec![Step::Write(head), Step::Wait(if big { SECOND / 100 } else { SOON })]
    };
    let service = service(half).await;
    let mut settings = upstream_settings(&[service.address]);
    settings.pool.in_flight = 1;
    settings.pool.connect_timeout = SECOND * 20;
    let short = |g: &mut GatewaySettings| g.idle_timeout = SECOND / 5;
    let gateway = gateway_with(settings, site().as_str(), |_| {}, short).await;
    let mut stopped = Wire::to(gateway.address).await;
    let answer = stopped.ask(&get("/half", "")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("xxxx"), "{answer}");
    // The only place at the service is free again, and taken by a client that reads nothing.
    let mut deaf = Wire::to(gateway.address).await;
    deaf.send(&get("/big", "")).await;
    until("the service has the second request", || service.requests.lock().unwrap().len() == 2).await;
    let mut next = Wire::to(gateway.address).await;
    next.send(&get("/half", "")).await;
    let of_deaf = (gateway.address.port(), deaf.stream.local_addr().unwrap().port());
    let mut kept = 0;
    until("the place is free again", || {
        kept = kept.max(unsent(of_deaf));
        service.requests.lock().unwrap().len() == 3
    })
    .await;
    assert!((1..1 << 20).contains(&kept), "the kernel keeps {kept} bytes of 16 MiB for who does not read");
}

/// Bytes that a socket of this machine has taken and its peer has not, by proc(5).
fn unsent((local, remote): (u16, u16)) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let port = |address: &str| number(address.split_once(':').unwrap().1);
    let is_it = |fields: &[&str]| (port(fields[1]), port(fields[2])) == (local.into(), remote.into());
    let sockets = sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let of_it = sockets.filter(|fields| is_it(fields)).map(|fields| number(fields[4].split_once(':').unwrap().0));
    of_it.max().unwrap_or(0)
}

#[tokio::test]
async fn a_method_that_is_neither_read_nor_write_does_not_pass_by_the_journal() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |tx| {
        let own = http::Method::from_bytes(b"MERGE").unwrap();
        tx.writes = WriteMethods::new(vec![http::Method::POST, own]);
    })
    .await;
    let ask = async |method: &str, path: &str, lines: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: 0\r\n\r\n");
        let answer = ask(gateway.address, &request).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for method in ["post", "MKCOL", "MOVE", "PROPPATCH", "LINK", "TRACE", "PUT", "get", "LOCK"] {
        assert_eq!(ask(method, "/x", "").await, "501", "{method}");
        if method != "TRACE" {
            assert_eq!(ask(method, "/plain/x", "").await, "200", "{method}: nothing is kept in step there");
        }
    }
    for lines in [
        "X-HTTP-Method-Override: DELETE\r\n",
        "X-HTTP-Method: merge\r\n",
        "X-Method-Override: PUT\r\n",
        "X_HTTP_Method_Override: DELETE\r\n",
        "X.Method_Override: PUT\r\n",
    ] {
        assert_eq!(ask("GET", "/x", lines).await, "501", "{lines}");
    }
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 0);
    for method in ["GET", "HEAD", "OPTIONS", "QUERY", "PROPFIND", "REPORT"] {
        assert_eq!(ask(method, "/x", "X-HTTP-Method-Override: GET\r\n").await, "200", "{method}");
    }
    assert_eq!(ask("MERGE", "//x/./y", "").await, "200");
    let seen = gateway.seen.lock().unwrap();
    assert_eq!((seen.writes.len(), seen.writes[0].request.method.as_str()), (1, "MERGE"));
    assert_eq!(seen.writes[0].request.target, "//x/./y", "as it was sent");
    assert_eq!(seen.writes[0].facts.lane, crate::model::Lane::of("path", b"/x/y"));
}

#[tokio::test]
async fn a_long_upload_has_its_time_while_it_moves() {
    let service = service(|_, _| ok("done")).await;
    let mut settings = upstream_settings(&[service.address]);
    // The upload takes longer than either allows, and no piece of it comes late even where the machine stands still for
    // a second.
    let limit = 2 * SECOND;
    settings.try_timeout = limit;
    let gateway = gateway_with(settings, site().as_str(), |_| {}, |g| g.idle_timeout = limit).await;
    let mut wire = Wire::to(gateway.address).await;
    wire.send("POST /plain/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let began = std::time::Instant::now();
    while began.elapsed() < limit + SECOND / 2 {
        tokio::time::sleep(SECOND / 20).await;
        wire.send("5\r\nhello\r\n").await;
    }
    assert!(wire.ask("0\r\n\r\n").await.ends_with("done"));
}

fn tls_server(
    provider: &std::sync::Arc<rustls::crypto::CryptoProvider>,
) -> (rustls_pki_types::CertificateDer<'static>, std::sync::Arc<rustls::ServerConfig>) {
    let key = rcgen::generate_simple_self_signed(vec!["shop.example".into()]).unwrap();
    let cert = key.cert.der().clone();
    let private = rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let mut server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.clone()], private).unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (cert, std::sync::Arc::new(server))
}

/// As a head: whoever says nothing, or the beginning of a handshake alone, gives its place back.
#[tokio::test]
async fn handshakes_that_do_not_come_have_the_time_of_a_head() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (_, server) = tls_server(&std::sync::Arc::new(rustls::crypto::ring::default_provider()));
    let service = service(|_, _| ok("")).await;
    let change = |g: &mut GatewaySettings| {
        g.listen[0].tls = Some(server);
        g.head_timeout = SECOND / 10;
    };
    let gateway = gateway_with(upstream_settings(&[service.address]), site().as_str(), |_| {}, change).await;
    for said in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        let ended = tokio::time::timeout(30 * SECOND, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "{said:?} is held");
    }
}

#[tokio::test]
async fn tls_speaks_what_alpn_chose() {
    use http_body_util::BodyExt;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let (cert, server) = tls_server(&provider);
    let service =
        service(|_, request| ok(if request.contains("x-forwarded-proto: https") { "https" } else { "?" })).await;
    let with_tls = |g: &mut GatewaySettings| g.listen[0].tls = Some(server);
    let gateway = gateway_with(upstream_settings(&[service.address]), site().as_str(), |_| {}, with_tls).await;
    for alpn in ["h2", "http/1.1"] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.clone()).unwrap();
        let client =
            rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![alpn.into()];
        let tcp = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
        let name = "shop.example".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
        let io = hyper_util::rt::TokioIo::new(connector.connect(name, tcp).await.unwrap());
        let request = http::Request::builder().header("host", "shop.example");
        let response = if alpn == "h2" {
            let (mut sender, conn) =
                hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(conn);
            let request = http::Request::builder().uri("https://shop.example/a");
            sender.send_request(request.body(Body::Empty).unwrap()).await.unwrap()
        } else {
            let (mut sender, conn) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(conn);
            sender.send_request(request.uri("/a").body(Body::Empty).unwrap()).await.unwrap()
        };
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "https", "{alpn}");
    }
}

#[tokio::test]
async fn a_target_has_one_form_and_no_path_is_the_root() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let ask = async |line: &str, host: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        ask(gateway.address, &request).await.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    for line in ["POST h:1", "GET h:1", "POST h", "POST urn:x", "POST ftp://h/x", "POST *", "GET *", "POST x/y"] {
        assert_eq!(ask(line, "h").await, "400", "{line}");
    }
    for host in ["a%41", "a:b:c", "[", ":80", "a:65536", "a:+80", "[::1]x"] {
        assert_eq!(ask("POST /x", host).await, "400", "{host}");
    }
    assert_eq!(service.requests.lock().unwrap().len(), 0);
    for (line, sent) in [
        ("POST http://h?q=1", "POST /?q=1 "),
        ("GET http://h?q=1", "GET /?q=1 "),
        ("PUT HTTP://h", "PUT / "),
        ("POST https://h:1/x?y", "POST /x?y "),
        ("OPTIONS *", "OPTIONS * "),
    ] {
        assert_eq!(ask(line, "h").await, "200", "{line}");
        let last = service.requests.lock().unwrap().last().cloned().unwrap_or_default();
        assert!(last.starts_with(sent), "{line}: {last}");
    }
}

#[tokio::test]
async fn a_service_says_nothing_in_our_name() {
    let service = service(|_, _| {
        let forged = "Holdfast-Loop: x\r\nHoldfast-Origin: x\r\nHoldfast-Write: forged\r\nHOLDFAST-Any: x\r\n";
        vec![Step::Write(format!("HTTP/1.1 200 OK\r\n{forged}X-Mine: x\r\nContent-Length: 0\r\n\r\n"))]
    })
    .await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for request in [get("/a", ""), post("/a", "", "x"), get("/plain/a", ""), post("/plain/a", "", "x")] {
        let answer = ask(gateway.address, &request).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 200") && answer.contains("x-mine: x"), "{answer}");
        for forged in ["holdfast-loop", "holdfast-origin", "forged", "holdfast-any"] {
            assert!(!answer.contains(forged), "{forged}: {answer}");
        }
    }
}

#[tokio::test]
async fn trailers_of_a_client_say_nothing_that_belongs_to_the_head() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let head = "POST /plain/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n";
    let trailers = "Content-Length: 9\r\nHoldfast-Replay: true\r\nholdfast_replay: true\r\nHost: evil\r\nX-Sum: 7\r\n";
    assert!(ask(gateway.address, &format!("{head}{trailers}\r\n")).await.starts_with("HTTP/1.1 200"));
    let seen = service.requests.lock().unwrap()[0].to_ascii_lowercase();
    let end = seen.split_once("0\r\n").unwrap().1;
    assert!(seen.contains("x-sum: 7\r\n"), "{seen}");
    for forbidden in ["content-length", "holdfast-replay", "holdfast_replay", "evil"] {
        assert!(!end.contains(forbidden), "{forbidden}: {seen}");
    }
}
