//! RFC 9113 section 8.2 and section 8.3, a rule at a time, by a client that speaks HTTP/2 in bytes: what it may not say
//! reaches nobody.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::*;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub struct Http2(TcpStream);

impl Http2 {
    pub async fn to(gateway: &Fixture) -> Self {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut client = Self(stream);
        client.frame(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The other side may have had enough already.
        let _ = self.0.write_all(&frame).await;
    }

    pub async fn ask(&mut self, lines: &[(&str, &[u8])]) {
        let mut block = Vec::new();
        for (name, value) in lines {
            // Literal, not indexed, not packed.
            block.extend([0, name.len() as u8]);
            block.extend(name.as_bytes());
            block.push(value.len() as u8);
            block.extend(*value);
        }
        self.frame(HEADERS, END_STREAM | END_HEADERS, 1, &block).await;
    }

    /// Whether the other side ends the connection.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let reading = self.0.read_to_end(&mut rest);
        tokio::time::timeout(SOON, reading).await.is_ok()
    }

    /// Whether stream 1 is answered at all; `false`: it, or the connection, was given up.
    pub async fn is_answered(&mut self) -> bool {
        let reading = async {
            loop {
                let mut head = [0; 9];
                if self.0.read_exact(&mut head).await.is_err() {
                    return false;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                if self.0.read_exact(&mut payload).await.is_err() {
                    return false;
                }
                match head[3] {
                    HEADERS => return true,
                    RST_STREAM | GOAWAY => return false,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(SOON, reading).await.expect("an answer, or an end")
    }
}

type Lines<'a> = Vec<(&'a str, &'a [u8])>;

fn request<'a>(more: &[(&'a str, &'a [u8])]) -> Lines<'a> {
    let mut lines: Lines<'a> =
        vec![(":method", b"GET"), (":scheme", b"http"), (":authority", b"shop.example"), (":path", b"/x")];
    lines.extend(more);
    lines
}

fn changed<'a>(name: &str, value: Option<&'a [u8]>) -> Lines<'a> {
    let mut lines = request(&[]);
    match value {
        Some(value) => lines.iter_mut().filter(|(n, _)| *n == name).for_each(|line| line.1 = value),
        None => lines.retain(|(n, _)| *n != name),
    }
    lines
}

#[tokio::test]
async fn what_http2_may_not_say_reaches_nobody() {
    let service = service(|_, _| ok("reached")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let without_authority = |host: &'static [u8]| {
        let mut lines = changed(":authority", None);
        lines.push(("host", host));
        lines
    };
    let mut late = request(&[("a", b"b")]);
    late.swap(3, 4);
    let table: Vec<(&str, Lines<'_>)> = vec![
        ("a capital in a name", request(&[("X-A", b"b")])),
        ("a space in a name", request(&[("x a", b"b")])),
        ("connection", request(&[("connection", b"close")])),
        ("keep-alive", request(&[("keep-alive", b"5")])),
        ("proxy-connection", request(&[("proxy-connection", b"close")])),
        ("transfer-encoding", request(&[("transfer-encoding", b"chunked")])),
        ("upgrade", request(&[("upgrade", b"h2c")])),
        ("te", request(&[("te", b"gzip")])),
        ("te beside trailers", request(&[("te", b"trailers, gzip")])),
        ("a late pseudo-header", late),
        ("a repeated :path", request(&[(":path", b"/y")])),
        ("an unknown pseudo-header", request(&[(":status", b"200")])),
        ("an invented pseudo-header", request(&[(":more", b"x")])),
        ("no :method", changed(":method", None)),
        ("no :scheme", changed(":scheme", None)),
        ("no :path", changed(":path", None)),
        ("an empty :path", changed(":path", Some(b""))),
        (":path without a slash", changed(":path", Some(b"x"))),
        (":path that is a query", changed(":path", Some(b"?x"))),
        ("* for a GET", changed(":path", Some(b"*"))),
        ("a scheme of another world", changed(":scheme", Some(b"gopher"))),
        ("a length without a body", request(&[("content-length", b"3")])),
        ("an empty length", request(&[("content-length", b"")])),
        ("a port that is none", changed(":authority", Some(b"shop.example:99999"))),
        ("a method in another spelling", request(&[("x_http_method_override", b"DELETE")])),
        ("two lengths", request(&[("content-length", b"0"), ("content-length", b"0")])),
        ("CR in a value", request(&[("x", b"a\rb")])),
        ("LF in a value", request(&[("x", b"a\nb")])),
        ("NUL in a value", request(&[("x", b"a\0b")])),
        ("space before a value", request(&[("x", b" a")])),
        ("tab after a value", request(&[("x", b"a\t")])),
        ("two hosts", request(&[("host", b"shop.example"), ("host", b"shop.example")])),
        ("Host and :authority differ", request(&[("host", b"other.example")])),
        ("a user in :authority", changed(":authority", Some(b"me@shop.example"))),
        ("a list in :authority", changed(":authority", Some(b"a,b"))),
        ("neither Host nor :authority", changed(":authority", None)),
        ("a quote in Host", without_authority(b"evil\";for=1.2.3.4;host=\"x")),
        ("a space in Host", without_authority(b"a b")),
        ("raw bytes in Host", without_authority(b"sh\xf6p")),
        ("an empty Host", without_authority(b"")),
        ("a slash in Host", without_authority(b"a/b")),
        ("a list in Host", without_authority(b"a,b")),
        ("a user in Host", without_authority(b"me@a")),
    ];
    for (name, lines) in table {
        let mut client = Http2::to(&gateway).await;
        client.ask(&lines).await;
        client.is_answered().await;
        assert_eq!(service.requests.lock().unwrap().len(), 0, "{name} was passed on");
    }
}

#[tokio::test]
async fn what_http2_may_say_reaches_the_service_as_http1_would_say_it() {
    let service = service(|_, _| ok("reached")).await;
    let gateway = gateway(upstream_settings(&[service.address]), |_| {}).await;
    let mut client = Http2::to(&gateway).await;
    let crumbs: Lines<'_> =
        vec![("cookie", b"a=1"), ("cookie", b"b=2"), ("te", b"trailers"), ("host", b"SHOP.example")];
    let mut lines = request(&crumbs);
    lines[3].1 = "/café?q=1".as_bytes();
    client.ask(&lines).await;
    assert!(client.is_answered().await);
    let seen = service.requests.lock().unwrap()[0].to_ascii_lowercase();
    assert!(seen.starts_with("get /caf%c3%a9?q=1 http/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\ncookie: a=1; b=2\r\n") && seen.contains("\r\nhost: shop.example\r\n"), "{seen}");
}

#[tokio::test]
async fn an_http2_connection_without_requests_is_closed() {
    let service = service(|_, _| ok("")).await;
    let settings = upstream_settings(&[service.address]);
    let gateway = gateway_with(settings, site().as_str(), |_| {}, |g| g.idle_timeout = SECOND / 10).await;
    let mut client = Http2::to(&gateway).await;
    client.frame(6, 0, 0, &[0; 8]).await;
    assert!(!client.is_answered().await, "told to go");
}
