//! G9 by volume: heads of requests and tokens of clients that nobody sends, however they are cut. A failure prints its
//! seed.
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gateway::conn::{Conn, ConnLimits};
use crate::gateway::seen;
use crate::gateway::served::Load;
use crate::gateway::strict::HeadLimits;
use crate::model::{After, LogId, NUMBER_MAX, Stretch, WriteId};
use crate::service::testing::{Bench, log, new_write, settings};
use crate::service::{Event, NewWrite, ReqId};

const HEADS: usize = 50_000;
const TOKENS: usize = 30_000;
/// Tokens that one machine is shown before the next begins.
const ROUND: usize = 64;

/// `SEED=n` repeats a run.
pub fn rng() -> fastrand::Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Bytes that mean something in a head, put in, over, or in place of others; lines twice; an end that does not come.
pub fn mutated(rng: &mut fastrand::Rng, bytes: &[u8]) -> Vec<u8> {
    const TELLING: &[u8] = b"\r\n\r\n\0 \t:;,0123456789abcdefHTTP/1.\x0b\x7f\x80\xff\"()<>@%#?";
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(..bytes.len().max(1)).min(bytes.len());
        let byte = if rng.u8(..) < 200 { TELLING[rng.usize(..TELLING.len())] } else { rng.u8(..) };
        match rng.u8(..6) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => {
                let lines: Vec<&[u8]> = bytes.split_inclusive(|&b| b == b'\n').collect();
                let line = lines[rng.usize(..lines.len())].to_vec();
                bytes.splice(at..at, line);
            }
            3 if rng.u8(..) < 60 => bytes.truncate(at),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => bytes.push(byte),
        }
        if bytes.is_empty() {
            bytes.push(byte);
        }
    }
    bytes
}

/// Pieces, then an end; takes whatever is written.
struct Given(VecDeque<Vec<u8>>);

impl AsyncRead for Given {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Given {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn limits() -> ConnLimits {
    let long = Duration::from_secs(3600);
    ConnLimits {
        head: HeadLimits { bytes: 2_048, headers: 20 },
        head_timeout: long,
        idle_timeout: long,
        body_timeout: long,
        half_closed: long,
    }
}

/// What the parser may see, how many heads of it there are, and whether it ended with an error.
fn passes(pieces: Vec<Vec<u8>>) -> (Vec<u8>, usize, bool) {
    let load = Arc::<Load>::default();
    let mut conn = Conn::http1(Given(pieces.into()), Vec::new(), limits(), load.clone());
    let (mut all, mut failed) = (Vec::new(), false);
    let mut bytes = [0; 512];
    loop {
        let mut buf = ReadBuf::new(&mut bytes);
        match Pin::new(&mut conn).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => all.extend_from_slice(buf.filled()),
            Poll::Ready(Err(_)) => {
                failed = true;
                break;
            }
            // Over, or refused, which never ends.
            Poll::Ready(Ok(())) | Poll::Pending => break,
        }
    }
    let heads = std::iter::from_fn(|| load.next_head()).count();
    (all, heads, failed)
}

/// Without the empty lines that go on with a head which comes whole, and up to a refusal: a head with two faults is
/// refused for the one that is met first.
fn canonical(passed: &[u8]) -> Vec<u8> {
    const REFUSED: &[u8] = b"HOLDFAST-REFUSED";
    let at = passed.windows(REFUSED.len()).position(|bytes| bytes == REFUSED);
    let passed = at.map_or(passed, |at| &passed[..at]);
    let (mut all, ..) = passes(passed.iter().map(|&byte| vec![byte]).collect());
    if at.is_some() {
        all.extend_from_slice(REFUSED);
    }
    all
}

fn cut(rng: &mut fastrand::Rng, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rng.usize(1..=rest.len().min(40)));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces
}

/// Method, target and header lines of the first request, as the parser behind us reads it.
fn as_parsed(bytes: &[u8]) -> Option<(String, String, usize)> {
    let seen = Arc::<Mutex<Option<_>>>::default();
    let noted = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let first = (request.method().to_string(), request.uri().to_string(), request.headers().len());
        noted.lock().unwrap().get_or_insert(first);
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<bytes::Bytes>::new())))
    });
    let given = TokioIo::new(Given([bytes.to_vec()].into()));
    let serving = std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(given, service));
    let _ = serving.poll(&mut Context::from_waker(Waker::noop()));
    seen.lock().unwrap().take()
}

#[tokio::test]
async fn no_head_gets_past_the_strict_machine_that_the_parser_would_read_otherwise() {
    let mut rng = rng();
    let honest: [&[u8]; 5] = [
        b"GET /tx/1?a=b HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n",
        b"POST /tx HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nX-Till: 1\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: \
            a\r\n\r\n",
        b"PUT /tx HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\nGET / \
            HTTP/1.0\r\n\r\n",
        b"\r\n\r\nDELETE http://a/x HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nExpect: 100-continue\r\n\r\n",
        b"QUERY /caf\xc3\xa9 HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: c=d\r\nX:\t\r\n\r\n",
    ];
    let (mut sound, mut refused) = (0, 0);
    for _ in 0..HEADS {
        let one = honest[rng.usize(..honest.len())];
        let bytes = mutated(&mut rng, one);
        let (whole, heads, failed) = passes(vec![bytes.clone()]);
        let (pieces, heads_again, failed_again) = passes(cut(&mut rng, &bytes));
        let (plain, plain_again) = (canonical(&whole), canonical(&pieces));
        let sent = String::from_utf8_lossy(&bytes);
        // What came before a broken chunk may have been handed on or not.
        if failed || failed_again {
            assert!(plain.starts_with(&plain_again) || plain_again.starts_with(&plain), "{sent:?}");
        } else {
            assert_eq!((&plain, heads), (&plain_again, heads_again), "{sent:?}");
        }
        if plain.starts_with(b"HOLDFAST-REFUSED") || heads == 0 || plain.is_empty() {
            refused += 1;
            continue;
        }
        sound += 1;
        let text = String::from_utf8_lossy(&plain);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        // What it does not take at all it answers with 400, and reads nothing after it.
        if let Some(parsed) = as_parsed(&whole) {
            assert_eq!((parsed.0.as_str(), parsed.2), (method, lines.count()), "{text:?}");
            assert!(target.starts_with(&parsed.1) || parsed.1.starts_with(target) || target.contains("//"), "{text:?}");
        }
    }
    println!("of {HEADS} heads {sound} were sound, {refused} not");
    assert!(sound > HEADS / 20 && refused > HEADS / 20, "{sound} {refused}");
}

#[test]
fn no_token_of_what_was_seen_ends_a_machine() {
    let mut rng = rng();
    let other = |n| LogId { store: [n; 16], incarnation: 1 };
    let mut after = After::new();
    after.raise(log(1), 3);
    after.raise(other(2), 7);
    after.add_stretch(Stretch { log: other(2), first: 9, last: 12 });
    after.add_id(WriteId { log: other(3), n: 5 });
    let honest = URL_SAFE_NO_PAD.decode(seen::encode(&after)).unwrap();
    let numbers = [0, 1, 8, NUMBER_MAX - 1, NUMBER_MAX, NUMBER_MAX + 1, 1 << 62, u64::MAX];
    let machine = || Bench::new(settings("a", &["a", "b"]));
    let (mut bench, mut taken) = (machine(), 0);
    for n in 0..TOKENS {
        if n % ROUND == 0 {
            bench = machine();
        }
        let mut bytes = honest.clone();
        for _ in 0..rng.usize(1..4) {
            let number = if rng.bool() { numbers[rng.usize(..numbers.len())] } else { rng.u64(..) };
            let width = [8, 8, 4, 1][rng.usize(..4)];
            let at = if rng.bool() { 5 + 28 * rng.usize(..5) + 20 } else { rng.usize(..=bytes.len() - width) };
            bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        let mut token = URL_SAFE_NO_PAD.encode(&bytes).into_bytes();
        if n % 8 == 0 {
            let at = rng.usize(..token.len());
            token[at] = rng.u8(..);
        }
        let Ok(seen) = seen::decode(&token) else { continue };
        taken += 1;
        assert!(seen.positions().iter().all(|&(_, position)| position <= NUMBER_MAX));
        let deadline_ms = bench.now.mono_ms + rng.u64(1..5_000);
        bench.handle(Event::AwaitSeen { req: ReqId(1_000_000 + n as u64), seen: seen.clone(), deadline_ms });
        bench.submit(NewWrite { seen, ..new_write("POST", n as u64, 0) });
        bench.wait(rng.u64(1..2_000));
    }
    println!("of {TOKENS} tokens {taken} were taken");
    assert!(taken > TOKENS / 20 && taken < TOKENS, "{taken}");
}
