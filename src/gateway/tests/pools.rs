//! Which connections are used again, and what an HTTP/2 endpoint proves not to have done.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::body::Body;
use super::super::endpoint::EndpointSettings;
use super::super::pool::{Pool, PoolSettings, SendError};

/// Long enough for a loaded machine; no test that passes waits for it.
const SOON: Duration = Duration::from_secs(60);

fn pool_at(listener: &TcpListener, h2c: bool, connect_timeout: Duration) -> Arc<Pool> {
    let to = listener.local_addr().unwrap();
    let endpoint = EndpointSettings { host: to.ip().to_string(), port: to.port(), h2c };
    let settings = PoolSettings { connect_timeout, in_flight: 64, idle: 16, idle_timeout: SOON };
    Pool::new(endpoint, settings, Weak::new())
}

fn post() -> Request<Body> {
    Request::post("http://shop/tx").header("x-lane", "1").body(Body::full(Bytes::from_static(b"body"))).unwrap()
}

/// The status and body of the answer, or its class.
async fn ask(pool: &Arc<Pool>) -> String {
    let asked = async {
        match pool.send(post(), &AtomicBool::new(false)).await {
            Ok(response) => whole(response).await,
            Err(SendError::NeverSent { .. }) => "never sent".into(),
            Err(_) => "broken".into(),
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("an end in time")
}

async fn whole(response: Response<Body>) -> String {
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => format!("{} {}", head.status.as_u16(), String::from_utf8_lossy(&body.to_bytes())),
        Err(_) => "broken".into(),
    }
}

/// Answers each request of each connection with what `answer` says for its number on that connection; `true`: and
/// closes.
async fn serve(
    listener: Arc<TcpListener>,
    connections: Arc<AtomicUsize>,
    answer: impl Fn(usize) -> (Vec<u8>, bool) + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    while let Ok((mut stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let answer = answer.clone();
        tokio::spawn(async move {
            for n in 1.. {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\nbody") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let (bytes, closes) = answer(n);
                let _ = stream.write_all(&bytes).await;
                if closes {
                    return;
                }
            }
        });
    }
}

async fn http1(answer: impl Fn(usize) -> (Vec<u8>, bool) + Send + Sync + 'static) -> (Arc<Pool>, Arc<AtomicUsize>) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let pool = pool_at(&listener, false, SOON);
    let connections = Arc::<AtomicUsize>::default();
    tokio::spawn(serve(listener, connections.clone(), answer));
    (pool, connections)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_service_that_closes_after_each_answer_without_a_word_loses_no_write() {
    let (pool, connections) = http1(|_| (OK.to_vec(), true)).await;
    for n in 0..500 {
        assert_eq!(ask(&pool).await, "200 ok", "{n}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 500);
}

#[tokio::test]
async fn a_service_that_keeps_connections_is_asked_over_few() {
    let (pool, connections) = http1(|_| (OK.to_vec(), false)).await;
    assert_eq!(ask(&pool).await, "200 ok");
    tokio::time::sleep(Duration::from_millis(30)).await;
    for _ in 0..100 {
        assert_eq!(ask(&pool).await, "200 ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_gets_what_came_after_another_ones_answer() {
    let stranger = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nstranger";
    let with = |answer: &[u8]| [answer, stranger].concat();
    for (name, answer, expected) in [
        ("after the body", with(OK), "200 ok"),
        ("after no body", with(b"HTTP/1.1 204 No Content\r\n\r\n"), "204 "),
        ("after a body of 304", with(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"), "304 "),
        (
            "after the last chunk",
            with(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            "200 ok",
        ),
        (
            "after both lengths",
            with(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            "200 ok",
        ),
        ("said to close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok".to_vec(), "200 ok"),
        ("of HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(), "200 ok"),
    ] {
        let (pool, connections) = http1(move |_| (answer.clone(), false)).await;
        for n in 1..=3 {
            assert_eq!(ask(&pool).await, expected, "{name}");
            // Long enough to be trusted, if silence were all that counts.
            tokio::time::sleep(Duration::from_millis(15)).await;
            assert_eq!(connections.load(Ordering::SeqCst), n, "{name}");
        }
    }
}

#[tokio::test]
async fn what_comes_later_on_an_idle_connection_ends_it() {
    let (pool, connections) = http1(|_| (OK.to_vec(), false)).await;
    // A service of its own, to speak when it should not.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = pool_at(&listener, false, SOON);
    let (first, mut service) = tokio::join!(ask(&late), async {
        let mut stream = listener.accept().await.unwrap().0;
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(OK).await.unwrap();
        stream
    });
    assert_eq!(first, "200 ok");
    service.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let (second, _service) = tokio::join!(ask(&late), async {
        let mut stream = listener.accept().await.unwrap().0;
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(OK).await.unwrap();
        stream
    });
    assert_eq!(second, "200 ok");
    assert_eq!((ask(&pool).await.as_str(), connections.load(Ordering::SeqCst)), ("200 ok", 1));
}

/// An HTTP/2 endpoint: for each connection, by number, what becomes of it.
async fn http2<F, T>(connect_timeout: Duration, serve: F) -> (Arc<Pool>, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool_at(&listener, true, connect_timeout);
    let connections = Arc::<AtomicUsize>::default();
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(count.fetch_add(1, Ordering::SeqCst) + 1, stream));
        }
    });
    (pool, connections)
}

type Respond = h2::server::SendResponse<Bytes>;

fn answer(mut respond: Respond) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(Bytes::from_static(b"ok"), true).unwrap();
}

/// Serves streams as `each` says, by their number; `false`: nothing is read or written any more.
async fn streams(stream: TcpStream, mut each: impl FnMut(usize, Respond) -> bool) {
    let Ok(mut conn) = h2::server::handshake(stream).await else { return };
    for n in 1.. {
        let Some(Ok((_request, respond))) = conn.accept().await else { return };
        if !each(n, respond) {
            return std::future::pending().await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_has_fallen_silent_is_left() {
    let (pool, connections) = http2(SOON, |connection, stream| {
        streams(stream, move |n, respond| {
            let speaks = connection > 1 || n == 1;
            if speaks {
                answer(respond);
            }
            speaks
        })
    })
    .await;
    assert_eq!(ask(&pool).await, "200 ok");
    let patience = Duration::from_millis(100);
    assert!(tokio::time::timeout(patience, ask(&pool)).await.is_err(), "the first connection is silent");
    assert_eq!(ask(&pool).await, "200 ok");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_refused_stream_was_never_sent_and_a_reset_one_is_broken() {
    let (pool, connections) = http2(SOON, |_, stream| {
        streams(stream, |n, mut respond| {
            match n {
                1 => respond.send_reset(h2::Reason::REFUSED_STREAM),
                2 => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                3 => respond.send_reset(h2::Reason::ENHANCE_YOUR_CALM),
                _ => answer(respond),
            }
            true
        })
    })
    .await;
    for expected in ["never sent", "broken", "broken", "200 ok"] {
        assert_eq!(ask(&pool).await, expected);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "a reset stream says nothing of its connection");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Takes a connection up to its first request's HEADERS and body.
async fn one_request(stream: &mut TcpStream) {
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"body") {
        assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_goaway_proves_what_was_not_done() {
    // last stream that the endpoint says it worked on | reason | class
    for (last, reason, expected) in [
        (0_u32, h2::Reason::NO_ERROR, "never sent"),
        (0, h2::Reason::ENHANCE_YOUR_CALM, "never sent"),
        (1, h2::Reason::NO_ERROR, "broken"),
        (1, h2::Reason::ENHANCE_YOUR_CALM, "broken"),
    ] {
        let (pool, _) = http2(SOON, move |_, mut stream| async move {
            one_request(&mut stream).await;
            let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
            stream.write_all(&frame(GOAWAY, 0, 0, &payload)).await.unwrap();
            let _ = stream.shutdown().await;
            let _ = stream.read(&mut [0; 1024]).await;
        })
        .await;
        assert_eq!(ask(&pool).await, expected, "last stream {last}, {reason:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_allows_no_stream_is_waited_for_and_then_never_sent() {
    let none = [0, 3, 0, 0, 0, 0];
    let (pool, connections) = http2(Duration::from_millis(200), move |_, mut stream| async move {
        stream.write_all(&frame(SETTINGS, 0, 0, &none)).await.unwrap();
        let mut all = Vec::new();
        while stream.read_buf(&mut all).await.unwrap_or(0) > 0 {}
        assert!(!all.windows(4).any(|w| w == b"body"), "no request came");
    })
    .await;
    assert_eq!(ask(&pool).await, "never sent");
    assert_eq!(ask(&pool).await, "never sent");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_http2_is_never_sent_anything() {
    let (pool, _) = http2(SOON, |_, stream| async move { drop(stream) }).await;
    assert_eq!(ask(&pool).await, "never sent");
}

#[tokio::test]
async fn no_more_streams_are_begun_than_the_endpoint_allows() {
    let (pool, _) = http2(SOON, |_, stream| async move {
        let mut conn =
            h2::server::Builder::new().max_concurrent_streams(2).handshake::<_, Bytes>(stream).await.unwrap();
        let open = Arc::<AtomicUsize>::default();
        while let Some(Ok((_, respond))) = conn.accept().await {
            let open = open.clone();
            assert!(open.fetch_add(1, Ordering::SeqCst) < 2);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                open.fetch_sub(1, Ordering::SeqCst);
                answer(respond);
            });
        }
    })
    .await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        all.spawn(async move { ask(&pool).await });
    }
    assert!(all.join_all().await.iter().all(|said| said == "200 ok"));
}
