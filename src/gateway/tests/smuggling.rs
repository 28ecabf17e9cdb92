//! What two parsers could read differently is refused, closes the connection and never reaches a service.
use super::support::*;

#[tokio::test]
async fn smuggling_shaped_requests_are_refused_and_reach_nobody() {
    let service = service(|_, _| ok("reached")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let after = get("/smuggled", "");
    let head = |lines: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let table = [
        ("both lengths", head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n"),
        ("both, other order", head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n"),
        ("contradicting lengths", head("Content-Length: 5\r\nContent-Length: 0\r\n") + "hello"),
        ("repeated length", head("Content-Length: 5\r\nContent-Length: 5\r\n") + "hello"),
        ("list of lengths", head("Content-Length: 5, 5\r\n") + "hello"),
        ("signed length", head("Content-Length: +5\r\n") + "hello"),
        ("obs-fold", head("X: a\r\n b\r\n")),
        ("obs-fold of a length", head("Content-Length:\r\n 5\r\n") + "hello"),
        ("not ending in chunked", head("Transfer-Encoding: chunked, gzip\r\n") + "0\r\n\r\n"),
        ("more than chunked", head("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n"),
        ("chunked twice", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n"),
        ("vertical tab", head("Transfer-Encoding: \x0bchunked\r\n") + "0\r\n\r\n"),
        ("chunked in 1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("NUL in a value", head("X: a\0b\r\n")),
        ("bare CR in a value", head("X: a\rb\r\n")),
        ("bare LF", "POST /x HTTP/1.1\nHost: a\n\n".into()),
        ("bare LF hides a length", head("X: a\nContent-Length: 5\r\n") + "hello"),
        ("space before colon", head("Content-Length : 5\r\n") + "hello"),
        ("no Host", "GET /x HTTP/1.1\r\n\r\n".into()),
        ("two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into()),
        ("bad Host", "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n".into()),
        ("space in target", "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n".into()),
        ("the stand-in itself", "HOLDFAST-REFUSED /1 HTTP/1.1\r\nHost: a\r\n\r\n".into()),
    ];
    for (name, bad) in table {
        let mut wire = Wire::to(gateway.address).await;
        let answer = wire.ask(&(bad + &after)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{name}: {answer}");
        assert!(answer.contains("application/problem+json") && answer.contains("\"code\":\"bad-request\""), "{name}");
        assert!(wire.is_closed().await, "{name}");
    }
    assert_eq!(service.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn bad_chunks_are_refused_and_reach_nobody() {
    let service = service(|_, _| ok("reached")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for body in [
        "5x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello",
        "0x5\r\nhello\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloo\r\n",
        "ffffffffffffffffff\r\n",
    ] {
        for split in [false, true] {
            let mut wire = Wire::to(gateway.address).await;
            let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            if split {
                wire.send(head).await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                wire.send(body).await;
            } else {
                wire.send(&format!("{head}{body}")).await;
            }
            let answer = wire.read().await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"bad-request\""),
                "{body:?}: {answer}"
            );
            assert!(wire.is_closed().await, "{body:?}");
        }
    }
    assert_eq!(service.requests.lock().unwrap().len(), 0);
    assert_eq!(gateway.seen.lock().unwrap().writes.len(), 0);
}

#[tokio::test]
async fn requests_before_a_bad_one_are_answered_in_order() {
    let service = service(|n, _| ok(&n.to_string())).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut wire = Wire::to(gateway.address).await;
    wire.send(&(get("/1", "") + &get("/2", "") + "GET /3 HTTP/1.1\r\n\r\n" + &get("/4", ""))).await;
    for status in ["200", "200", "400"] {
        let answer = wire.read().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(wire.is_closed().await);
    assert_eq!(service.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn heads_have_limits() {
    let service = service(|_, _| ok("")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    for lines in ["x: y\r\n".repeat(101), format!("x: {}\r\n", "y".repeat(40_000))] {
        let mut wire = Wire::to(gateway.address).await;
        let answer = wire.ask(&get("/", &lines)).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("headers-too-large"), "{answer}");
    }
}
