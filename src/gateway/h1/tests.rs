//! Answers as old services give them, over real sockets, beside what curl makes of the same bytes.
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::head::Spelling;
use super::*;

/// Answers the one request of one connection with `raw`, then ends it, or keeps it open.
async fn serve(raw: Vec<u8>, close: bool) -> Conn {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        stream.write_all(&raw).await.unwrap();
        if !close {
            let _ = stream.read(&mut [0]).await;
        }
    });
    Conn::new(TcpStream::connect(to).await.unwrap())
}

async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(b"\r\n\r\nbody") {
        assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0, "the request came whole");
    }
    all
}

fn post(method: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri("/tx").header("host", "a");
    request.body(Full::new(Bytes::from_static(b"body"))).unwrap()
}

async fn whole(reply: &mut Reply<Full<Bytes>>) -> Result<Vec<u8>, BodyError> {
    let mut all = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| reply.poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            all.extend_from_slice(&data);
        }
    }
    Ok(all)
}

/// `200 reason | body`, and whether the connection may be used again.
async fn said(conn: Conn, method: &str) -> (String, bool) {
    let exchange = async {
        match conn.send(post(method), &AtomicBool::new(false)).await {
            Ok((head, mut reply)) => {
                let text = format!("{} {}", head.status, String::from_utf8_lossy(&head.reason));
                match whole(&mut reply).await {
                    Ok(body) => (format!("{text} | {}", String::from_utf8_lossy(&body)), reply.take_conn().is_some()),
                    Err(BodyError::Malformed) => (format!("{text} | malformed"), false),
                    Err(BodyError::Cut(_)) => (format!("{text} | cut"), false),
                }
            }
            Err(Failure::Unusable { status, .. }) => (format!("{status} unusable"), false),
            Err(Failure::Broken { .. }) => ("broken".into(), false),
            Err(Failure::NotTaken { why, .. }) => (format!("not taken: {why}"), false),
        }
    };
    tokio::time::timeout(Duration::from_secs(60), exchange).await.expect("an end in time")
}

/// name, the head after which `\r\nContent-Length: 2\r\n\r\nok` or the like is written out, what curl 8 says of it (0:
/// an error), what is read here, and whether the connection may be used again.
fn table() -> Vec<(&'static str, Vec<u8>, u16, &'static str, bool)> {
    let ok = |head: &str| format!("{head}\r\nContent-Length: 2\r\n\r\nok").into_bytes();
    let line = |line: &str| ok(&format!("HTTP/1.1 201 Created\r\n{line}"));
    let many = (0..500).map(|n| format!("X-{n}: {n}\r\n")).collect::<String>();
    let good = "201 Created | ok";
    vec![
        ("plain", ok("HTTP/1.1 201 Created"), 201, good, true),
        ("no reason", ok("HTTP/1.1 201 "), 201, "201  | ok", true),
        ("no blank after the status", ok("HTTP/1.1 201"), 201, "201  | ok", true),
        ("two blanks", ok("HTTP/1.1  201 Created"), 201, good, false),
        ("a tab", ok("HTTP/1.1\t201 Created"), 0, good, false),
        ("bytes over 0x7f in the reason", ok("HTTP/1.1 201 Cr\u{e9}\u{e9}"), 201, "201 Cr\u{e9}\u{e9} | ok", true),
        ("HTTP/1.0", ok("HTTP/1.0 201 Created"), 201, good, false),
        ("HTTP/1.0, kept", ok("HTTP/1.0 201 Created\r\nConnection: Keep-Alive"), 201, good, true),
        ("HTTP/1.1, to be closed", line("Connection: foo, Close"), 201, good, false),
        ("small letters", ok("http/1.1 201 Created"), 200, good, false),
        ("another minor version", ok("HTTP/1.2 201 Created"), 0, good, false),
        ("ICY", ok("ICY 201 Created"), 0, good, false),
        ("bare line feeds", b"HTTP/1.1 201 Created\nContent-Length: 2\n\nok".to_vec(), 201, good, false),
        ("one bare line feed", b"HTTP/1.1 201 Created\nContent-Length: 2\r\n\r\nok".to_vec(), 201, good, false),
        ("a line continued", line("X: a\r\n b\r\n\tc"), 201, good, false),
        ("a blank before the colon", line("X : a"), 201, good, false),
        ("a blank in the name", line("X Y: a"), 201, good, false),
        ("an odd name", line("(x@y): a"), 201, good, false),
        ("no name", line(": a"), 201, good, false),
        ("no colon", line("nonsense"), 0, good, false),
        ("no value", line("X:"), 201, good, true),
        ("bytes over 0x7f in a value", line("X: caf\u{e9}"), 201, good, true),
        ("a control character in a value", line("X: a\u{1}b"), 201, good, false),
        ("a lone CR in a value", line("X: a\rb"), 201, good, false),
        ("NUL in a value", line("X: a\0b"), 0, good, false),
        ("500 headers", line(many.trim_end()), 201, good, true),
        ("a header of 90 kB", line(&format!("X: {}", "x".repeat(90_000))), 201, good, true),
        ("a head of 400 kB", line(&format!("X: {}", "x".repeat(400_000))), 0, "201 unusable", false),
        ("10,000 headers", line("X: y\r\n".repeat(10_000).trim_end()), 201, "201 unusable", false),
        ("the length twice", line("Content-Length: 2"), 201, good, true),
        ("two lengths", line("Content-Length: 3"), 201, "201 unusable", false),
        (
            "a length that is none",
            b"HTTP/1.1 201 Created\r\nContent-Length: two\r\n\r\nok".to_vec(),
            0,
            "201 unusable",
            false,
        ),
        ("identity", line("Transfer-Encoding: identity"), 201, good, false),
        (
            "chunks",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec(),
            201,
            good,
            true,
        ),
        (
            "chunks with blanks",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n".to_vec(),
            201,
            good,
            false,
        ),
        (
            "chunks with bare line feeds",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n".to_vec(),
            201,
            good,
            false,
        ),
        (
            "chunks with extension and trailer",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n".to_vec(),
            201,
            good,
            true,
        ),
        (
            "chunks and a length",
            line("Transfer-Encoding: chunked")
                .iter()
                .copied()
                .take_while(|&b| b != b'!')
                .collect::<Vec<u8>>()
                .strip_suffix(b"ok")
                .unwrap()
                .iter()
                .chain(b"2\r\nok\r\n0\r\n\r\n")
                .copied()
                .collect(),
            201,
            good,
            false,
        ),
        (
            "no chunks where some were said",
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nok".to_vec(),
            0,
            "201 Created | malformed",
            false,
        ),
        (
            "an interim answer first",
            [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".as_slice(), &ok("HTTP/1.1 201 Created")].concat(),
            201,
            good,
            true,
        ),
        ("an empty line first", [b"\r\n".as_slice(), &ok("HTTP/1.1 201 Created")].concat(), 0, good, true),
        (
            "bytes after the body",
            [ok("HTTP/1.1 201 Created").as_slice(), b"HTTP/1.1 500 No\r\n\r\n"].concat(),
            201,
            good,
            false,
        ),
        (
            "a body where none may be",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            204,
            "204 No Content | ",
            false,
        ),
        ("four digits", ok("HTTP/1.1 2010 Created"), 0, "broken", false),
        (
            "a protocol nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n".to_vec(),
            0,
            "broken",
            false,
        ),
        ("nonsense", b"nonsense\r\n\r\n".to_vec(), 0, "broken", false),
    ]
}

#[tokio::test]
async fn what_curl_takes_is_an_answer() {
    let mut wrong = Vec::new();
    for (name, raw, curl, expected, kept) in table() {
        let got = said(serve(raw, false).await, "POST").await;
        let read = got.0.split(' ').next().and_then(|status| status.parse::<u16>().ok());
        if got != (expected.to_owned(), kept) || (curl != 0 && read.is_none()) {
            wrong.push(format!("{name}: {got:?}, curl {curl}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `CURL=curl cargo test …` compares the column above with the program itself.
#[tokio::test]
async fn the_column_of_curl_is_true() {
    let Some(curl) = std::env::var_os("CURL") else { return };
    let mut wrong = Vec::new();
    for (name, raw, recorded, _, _) in table() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let service = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            let _ = stream.write_all(&raw).await;
        });
        let url = format!("http://{to}/tx");
        let arguments = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", "body", &url];
        let said = tokio::process::Command::new(&curl).args(arguments).output().await.unwrap();
        service.await.unwrap();
        let status = String::from_utf8_lossy(&said.stdout).parse::<u16>().unwrap_or(0);
        let status = if said.status.success() { status } else { 0 };
        if status != recorded {
            wrong.push(format!("{name}: {status}, exit {:?}", said.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_cut() {
    for (raw, expected) in [
        ("", "broken"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "broken"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "200 OK | cut"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "200 OK | cut"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "200 OK | cut"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n", "200 OK | he"),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "200 OK | to the end"),
    ] {
        assert_eq!(said(serve(raw.into(), true).await, "POST").await, (expected.to_owned(), false), "{raw:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_whatever_it_says() {
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    assert_eq!(said(serve(raw.into(), false).await, "HEAD").await, ("200 OK | ".to_owned(), true));
    let with_body = format!("{raw}0123456789");
    assert_eq!(said(serve(with_body.into(), false).await, "HEAD").await, ("200 OK | ".to_owned(), false));
}

#[tokio::test]
async fn interim_answers_are_bounded() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000);
    let raw = format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(said(serve(raw.into(), false).await, "POST").await.0, "broken");
}

#[tokio::test]
async fn what_comes_before_a_request_keeps_the_request_from_leaving() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for unasked in [&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..], b""] {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut service, _) = listener.accept().await.unwrap();
        service.write_all(unasked).await.unwrap();
        drop(service);
        let conn = Conn::new(stream);
        conn.stirs().await;
        assert!(!conn.is_silent());
        let taken = AtomicBool::new(false);
        let sent = conn.send(post("POST"), &taken).await;
        assert!(matches!(sent, Err(Failure::NotTaken { .. })));
        assert!(!taken.into_inner());
    }
}

#[tokio::test]
async fn an_answer_before_the_request_is_through_is_taken_and_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 100]).await;
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    });
    let body = Full::new(Bytes::from(vec![b'x'; 32 << 20]));
    let request = Request::post("/tx").header("host", "a").body(body).unwrap();
    let Ok((head, mut reply)) = Conn::new(stream).send(request, &AtomicBool::new(false)).await else {
        panic!("it is answered")
    };
    assert_eq!(head.status, 413);
    assert_eq!(whole(&mut reply).await.unwrap(), b"no");
    assert!(reply.take_conn().is_none());
}

#[tokio::test]
async fn a_request_goes_out_as_it_came() {
    let empty = || Full::new(Bytes::new());
    let spelling = Spelling(Bytes::from_static(b"Host\nX-Till-Id\nSOAPAction\ncontent-LENGTH\nX-Till-Id\nGone\n"));
    let spelled = Request::post("/a?b")
        .header("x-till-id", "1")
        .header("host", "h")
        .header("x-till-id", "2")
        .header("soapaction", "x")
        .header("via", "1.1 us")
        .extension(spelling)
        .body(Full::new(Bytes::from_static(b"body")))
        .unwrap();
    for (request, expected) in [
        (
            spelled,
            "POST /a?b HTTP/1.1\r\nHost: h\r\nX-Till-Id: 1\r\nSOAPAction: x\r\ncontent-LENGTH: 4\r\nX-Till-Id: 2\r\n\
             via: 1.1 us\r\n\r\nbody",
        ),
        (
            Request::post("/").header("host", "h").body(empty()).unwrap(),
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        (Request::delete("/").header("host", "h").body(empty()).unwrap(), "DELETE / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (
            Request::delete("/").header("host", "h").header("content-length", "0").body(empty()).unwrap(),
            "DELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        ),
        (Request::get("/").header("host", "h").body(empty()).unwrap(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut service, _) = listener.accept().await.unwrap();
        let asked = tokio::spawn(async move { Conn::new(stream).send(request, &AtomicBool::new(false)).await.is_ok() });
        let mut came = vec![0; expected.len()];
        service.read_exact(&mut came).await.unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), expected);
        service.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert!(asked.await.unwrap());
    }
}
