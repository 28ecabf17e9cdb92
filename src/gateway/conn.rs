//! A client's connection as the HTTP parser may see it: what the strict machine refuses never gets there.
//!
//! A head is handed on only when it is complete and sound. In the usual case it came with one read and is checked in
//! place, without a copy; a head in pieces is held back. Where a head is refused the parser is given a request of our
//! own instead ([`REFUSED_METHOD`]), so that the refusal is answered like any other request, in order, and ends the
//! connection.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::h1::Spelling;
use super::path;
use super::served::Load;
use super::strict::{self, Chunks, Framing, HeadLimits, Violation};

/// The method of the request put in place of a refused head. A client that sends it itself is refused as well.
pub const REFUSED_METHOD: &str = "HOLDFAST-REFUSED";

#[derive(Clone, Copy, Debug)]
pub struct ConnLimits {
    pub head: HeadLimits,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Without any byte between two requests, and with an answer of which the client takes nothing.
    pub idle_timeout: Duration,
    /// Without any byte in the middle of a body.
    pub body_timeout: Duration,
    /// A client that has shut its sending side waits so long for an answer before it is taken for one that has gone.
    pub half_closed: Duration,
}

enum State {
    /// HTTP/2: framed by its own parser.
    Transparent,
    Head {
        begun: bool,
    },
    Length(u64),
    Chunked {
        chunks: Chunks,
        size: u64,
    },
    /// A stand-in was put in place of what was refused: nothing more is read, and the parser closes after its answer.
    /// Not an end of the stream, which the parser would take for a client that hung up.
    Refused,
    /// Over: idle for too long, or broken inside a body.
    Closed,
}

/// How long, and how much, a refused client may go on sending before the connection is dropped. Without it the unread
/// bytes would make the kernel reset the connection, and the client would lose our answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// Read from one client without a pause, then others have their turn: small frames and empty lines cost us more than
/// their sender.
const TURN_BYTES: usize = 64 << 10;

/// Reads are checked, writes pass through.
pub struct Conn<S> {
    inner: S,
    state: State,
    limits: ConnLimits,
    /// Read from the client and not yet shown to the parser; empty but for heads in pieces.
    held: Vec<u8>,
    /// How much of `held` the parser may have.
    released: usize,
    /// One timer for the whole life: moved only when it fires, so that a request costs no timer.
    timer: Pin<Box<Sleep>>,
    deadline: Option<Instant>,
    /// Requests whose answers are not complete: their client is waiting, not idle.
    load: Arc<Load>,
    /// Bytes of empty lines before the head that is coming.
    skipped: usize,
    /// Since when the client says nothing more, and waits.
    half_closed: Option<Instant>,
    /// Runs while the client takes nothing of what we send.
    untaken: Pin<Box<Sleep>>,
    is_untaken: bool,
    /// Bytes thrown away after our last one; 0 until then.
    lingering: usize,
    /// Bytes read since the client last made us wait.
    in_turn: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// `first` is what was read to tell HTTP/1.1 from HTTP/2.
    pub fn http1(inner: S, first: Vec<u8>, limits: ConnLimits, load: Arc<Load>) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.idle_timeout.min(limits.head_timeout)));
        let mut conn = Self {
            inner,
            state: State::Head { begun: false },
            limits,
            held: Vec::new(),
            released: 0,
            timer,
            deadline: None,
            load,
            skipped: 0,
            half_closed: None,
            untaken: Box::pin(tokio::time::sleep(limits.idle_timeout)),
            is_untaken: false,
            lingering: 0,
            in_turn: 0,
        };
        conn.take_first(first);
        conn
    }

    pub fn http2(inner: S, first: Vec<u8>, limits: ConnLimits) -> Self {
        let timer = Box::pin(tokio::time::sleep(limits.idle_timeout));
        let released = first.len();
        Self {
            inner,
            state: State::Transparent,
            limits,
            held: first,
            released,
            timer,
            deadline: None,
            load: Arc::default(),
            skipped: 0,
            half_closed: None,
            untaken: Box::pin(tokio::time::sleep(limits.idle_timeout)),
            is_untaken: false,
            lingering: 0,
            in_turn: 0,
        }
    }

    fn take_first(&mut self, first: Vec<u8>) {
        let mut bytes = first;
        let mut buf = ReadBuf::new(&mut bytes);
        let all = buf.capacity();
        buf.set_filled(all);
        // A broken chunk so early shows at the next read.
        if self.check(&mut buf, 0).is_err() {
            self.state = State::Closed;
        }
        let passed = buf.filled().to_vec();
        // What may pass stands before what is held.
        self.held.splice(0..0, passed.iter().copied());
        self.released += passed.len();
    }

    /// Looks at what was read into `buf` after `start`; takes out again what the parser must not see yet, or ever.
    fn check(&mut self, buf: &mut ReadBuf<'_>, start: usize) -> io::Result<()> {
        let mut at = start;
        while at < buf.filled().len() {
            let bytes = &buf.filled()[at..];
            match &mut self.state {
                State::Transparent => return Ok(()),
                State::Refused | State::Closed => buf.set_filled(at),
                State::Length(left) => {
                    let here = (*left).min(bytes.len() as u64);
                    *left -= here;
                    at += here as usize;
                    if *left == 0 {
                        self.state = State::Head { begun: false };
                    }
                }
                State::Chunked { chunks, size } => match chunks.feed(size, bytes) {
                    Ok(taken) => {
                        at += taken;
                        if *chunks == Chunks::End {
                            self.state = State::Head { begun: false };
                        }
                    }
                    Err(violation) => {
                        buf.set_filled(at);
                        self.state = State::Closed;
                        return Err(io::Error::new(io::ErrorKind::InvalidData, violation.detail()));
                    }
                },
                State::Head { .. } => match self.check_head_in_place(bytes) {
                    Some(length) => at += length,
                    None => {
                        self.held.extend_from_slice(bytes);
                        buf.set_filled(at);
                        self.check_held(0);
                    }
                },
            }
        }
        Ok(())
    }

    /// The usual case: nothing held, and a whole sound head in one read. Its length, empty lines before it included.
    fn check_head_in_place(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.held.len() > self.released {
            return None;
        }
        let skip = strict::leading_empty_lines(bytes);
        let length = strict::head_length(&bytes[skip..], 0)?;
        let head = &bytes[skip..skip + length];
        if skip + length > self.limits.head.bytes || !strict::first_line(head).is_ascii() {
            return None;
        }
        let framing = strict::check_head(head, self.limits.head).ok()?;
        self.load.head_came(Spelling::of_request(head));
        self.state = after_head(framing);
        Some(skip + length)
    }

    /// Releases from what is held all that is complete and sound. `fresh`: where bytes begin that were not looked at
    /// yet.
    fn check_held(&mut self, mut fresh: usize) {
        loop {
            let unseen = &self.held[self.released..];
            if unseen.is_empty() {
                return;
            }
            match &mut self.state {
                State::Transparent | State::Refused | State::Closed => return,
                State::Length(left) => {
                    let here = (*left).min(unseen.len() as u64);
                    *left -= here;
                    self.released += here as usize;
                    if *left == 0 {
                        self.state = State::Head { begun: false };
                    }
                }
                State::Chunked { chunks, size } => match chunks.feed(size, unseen) {
                    Ok(taken) => {
                        self.released += taken;
                        if *chunks == Chunks::End {
                            self.state = State::Head { begun: false };
                        }
                    }
                    Err(_) => {
                        self.held.truncate(self.released);
                        self.state = State::Closed;
                    }
                },
                State::Head { begun } => {
                    // Empty lines are let go as they come: they count for the head's size and time, and are not kept.
                    let skip = strict::leading_empty_lines(unseen);
                    self.held.drain(self.released..self.released + skip);
                    self.skipped += skip;
                    fresh = fresh.saturating_sub(skip).max(self.released);
                    let head = &self.held[self.released..];
                    let from = fresh - self.released;
                    let Some(length) = strict::head_length(head, from) else {
                        let is_bare = |(i, &b): (usize, &u8)| b == b'\n' && (i == 0 || head[i - 1] != b'\r');
                        if head.iter().enumerate().skip(from).any(is_bare) {
                            self.refuse(Violation::LineEnd);
                        } else if self.skipped + head.len() > self.limits.head.bytes {
                            self.refuse(Violation::HeadTooLarge);
                        } else if !*begun {
                            *begun = true;
                            self.deadline = Some(Instant::now() + self.limits.head_timeout);
                        }
                        return;
                    };
                    if self.skipped + length > self.limits.head.bytes {
                        return self.refuse(Violation::HeadTooLarge);
                    }
                    match strict::check_head(&head[..length], self.limits.head) {
                        Ok(framing) => {
                            self.load.head_came(Spelling::of_request(&head[..length]));
                            let length = self.spell_in_ascii(length);
                            self.released += length;
                            fresh = self.released;
                            self.skipped = 0;
                            self.state = after_head(framing);
                            self.deadline = None;
                        }
                        Err(violation) => return self.refuse(violation),
                    }
                }
            }
        }
    }

    /// Percent-encodes what is beyond ASCII in the request line of the head that begins after what was released: the
    /// parser takes UTF-8 alone, and old clients send what they like. The head's length after it.
    fn spell_in_ascii(&mut self, length: usize) -> usize {
        let head = &self.held[self.released..self.released + length];
        let line = strict::first_line(head);
        if line.is_ascii() {
            return length;
        }
        let (sent, spelled) = (line.len(), path::in_ascii(line));
        let grown = length - sent + spelled.len();
        self.held.splice(self.released..self.released + sent, spelled.into_bytes());
        grown
    }

    /// Puts a request of our own where the refused head was; nothing after it is ever looked at.
    fn refuse(&mut self, violation: Violation) {
        self.held.truncate(self.released);
        let number = violation.number();
        let stand_in = format!("{REFUSED_METHOD} /{number} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
        self.held.extend_from_slice(stand_in.as_bytes());
        self.released = self.held.len();
        self.load.head_came(Spelling::default());
        self.state = State::Refused;
    }

    /// Moves what was released into the parser's buffer; whether there was anything.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let length = self.released.min(buf.remaining());
        if length == 0 {
            return false;
        }
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.released -= length;
        true
    }

    /// After our last byte: takes what still comes and throws it away, within limits.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lingering == 0 {
            self.lingering = 1;
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        let mut bytes = [0; 4096];
        while self.lingering < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.lingering += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }

    /// Between requests, in heads and in bodies a client may not be silent for ever. While it waits for us it may.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (begun, idle) = match self.state {
            State::Head { begun } => (begun, self.limits.idle_timeout),
            // A little more than whoever reads the body waits, who can still answer.
            State::Length(_) | State::Chunked { .. } => (false, self.limits.body_timeout + LINGER),
            State::Transparent | State::Refused | State::Closed => return Poll::Pending,
        };
        let waits_for_us = matches!(self.state, State::Head { begun: false });
        let mut deadline = *self.deadline.get_or_insert_with(|| Instant::now() + idle);
        loop {
            if self.timer.deadline() > deadline {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if waits_for_us && self.load.open() > 0 {
                deadline = now + idle;
                self.deadline = Some(deadline);
            } else if now >= deadline {
                break;
            }
            self.timer.as_mut().reset(deadline);
        }
        if begun {
            self.refuse(Violation::HeadTimeout);
        } else {
            self.state = State::Closed;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// A head of which bytes keep coming: its time is over all the same.
    fn refuse_when_late(&mut self) {
        if matches!(self.state, State::Head { begun: true }) && self.deadline.is_some_and(|d| Instant::now() >= d) {
            self.refuse(Violation::HeadTimeout);
        }
    }

    /// The client has shut its sending side. It may be waiting for an answer, or have gone; nobody can tell until we
    /// send something. `Ready`: it is over.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let between = matches!(self.state, State::Head { begun: false }) && self.held.len() == self.released;
        if !between || self.load.open() == 0 {
            return Poll::Ready(Ok(()));
        }
        let since = *self.half_closed.get_or_insert_with(Instant::now);
        self.timer.as_mut().reset(since + self.limits.half_closed);
        ready!(self.timer.as_mut().poll(cx));
        self.state = State::Closed;
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    /// Of a write that could not go on: too long without a byte that the client took, it is over.
    fn poll_taken<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.is_untaken = false;
            // An answer is on its way: a client that has gone is found by it.
            self.half_closed = None;
            return polled;
        }
        if !self.is_untaken {
            self.is_untaken = true;
            self.untaken.as_mut().reset(Instant::now() + self.limits.idle_timeout);
        }
        self.untaken.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

fn after_head(framing: Framing) -> State {
    match framing {
        Framing::Length(0) => State::Head { begun: false },
        Framing::Length(length) => State::Length(length),
        Framing::Chunked => State::Chunked { chunks: Chunks::new(), size: 0 },
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Conn<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_over(buf) || matches!(this.state, State::Closed) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, State::Refused) {
                return Poll::Pending;
            }
            if this.in_turn >= TURN_BYTES {
                this.in_turn = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let start = buf.filled().len();
            match Pin::new(&mut this.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() == start => return this.poll_half_closed(cx),
                Poll::Ready(Ok(())) => {
                    this.in_turn += buf.filled().len() - start;
                    if !matches!(this.state, State::Head { begun: true }) {
                        this.deadline = None;
                    }
                    let held_before = this.held.len();
                    if held_before > 0 {
                        this.held.extend_from_slice(&buf.filled()[start..]);
                        buf.set_filled(start);
                        this.check_held(held_before);
                    } else {
                        this.check(buf, start)?;
                    }
                    this.refuse_when_late();
                    if buf.filled().len() > start {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.in_turn = 0;
                    ready!(this.poll_deadline(cx));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Conn<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.poll_taken(cx, polled)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        if polled.is_ready() {
            return polled;
        }
        self.poll_taken(cx, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        let is_unread = !matches!(this.state, State::Transparent | State::Head { begun: false });
        if is_unread || this.lingering > 0 {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.poll_taken(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn limits() -> ConnLimits {
        ConnLimits {
            head: HeadLimits { bytes: 1024, headers: 100 },
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            half_closed: Duration::from_secs(60),
        }
    }

    /// To the end, or to the end of a stand-in.
    async fn read_all(conn: &mut Conn<tokio::io::DuplexStream>, all: &mut Vec<u8>) -> io::Result<()> {
        while !String::from_utf8_lossy(all).contains("host: refused\r\nconnection: close\r\n\r\n") {
            if conn.read_buf(all).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn seen(pieces: &[&[u8]], first: &[u8]) -> (String, bool) {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        let mut conn = Conn::http1(server, first.to_vec(), limits(), Arc::default());
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|p| p.to_vec()).collect();
        let client = tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut all = Vec::new();
        let failed = read_all(&mut conn, &mut all).await.is_err();
        client.await.unwrap();
        (String::from_utf8(all).unwrap(), failed)
    }

    const TWO: &[u8] = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\
        PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test]
    async fn sound_requests_pass_unchanged_however_they_are_cut() {
        let text = String::from_utf8(TWO.to_vec()).unwrap();
        for cut in 0..TWO.len() {
            assert_eq!(seen(&[&TWO[..cut], &TWO[cut..]], b"").await, (text.clone(), false), "{cut}");
            assert_eq!(seen(&[&TWO[cut..]], &TWO[..cut]).await, (text.clone(), false), "first {cut}");
        }
        let bytes: Vec<&[u8]> = TWO.chunks(1).collect();
        assert_eq!(seen(&bytes, b"").await, (text, false));
    }

    #[tokio::test]
    async fn a_refused_head_never_passes_and_ends_the_connection_after_what_came_before() {
        let bad = b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut all = TWO.to_vec();
        all.extend_from_slice(bad);
        for cut in 0..all.len() {
            let (text, _) = seen(&[&all[..cut], &all[cut..]], b"").await;
            assert!(!text.contains("/bad") && !text.contains("/after"), "{cut}: {text}");
            assert!(text.starts_with(std::str::from_utf8(TWO).unwrap()), "{cut}: {text}");
            assert!(text[TWO.len()..].starts_with("HOLDFAST-REFUSED /7 "), "{cut}: {text}");
        }
        let (text, _) = seen(&[b"GET / HTTP/1.1\nHost: a\n\n"], b"").await;
        assert!(text.starts_with("HOLDFAST-REFUSED /9 "), "{text}");
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(2000));
        let (text, _) = seen(&[long.as_bytes()], b"").await;
        assert!(text.starts_with("HOLDFAST-REFUSED /12 "), "{text}");
    }

    #[tokio::test]
    async fn a_bad_chunk_is_an_error_of_the_body() {
        let (text, failed) =
            seen(&[b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"0x1\r\nGET /"], b"").await;
        assert!(failed && !text.contains("GET /"), "{text}");
    }

    #[tokio::test]
    async fn a_slow_head_is_refused_and_an_idle_connection_closed() {
        let (head_timeout, idle_timeout) = (Duration::from_millis(40), Duration::from_millis(120));
        let limits = ConnLimits { head_timeout, idle_timeout, ..limits() };
        let (mut client, server) = tokio::io::duplex(1024);
        let mut conn = Conn::http1(server, Vec::new(), limits, Arc::default());
        client.write_all(b"GET / HT").await.unwrap();
        let begin = Instant::now();
        let mut text = Vec::new();
        read_all(&mut conn, &mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("HOLDFAST-REFUSED /13 "), "{text}");
        assert!(begin.elapsed() >= head_timeout);

        let (_client, server) = tokio::io::duplex(1024);
        let mut conn = Conn::http1(server, Vec::new(), limits, Arc::default());
        let begin = Instant::now();
        assert_eq!(conn.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert!(begin.elapsed() >= idle_timeout);
    }

    #[tokio::test]
    async fn empty_lines_before_a_head_count_for_its_size_and_time_and_are_not_kept() {
        let (mut client, server) = tokio::io::duplex(1024);
        let mut conn = Conn::http1(server, Vec::new(), limits(), Arc::default());
        let sending = tokio::spawn(async move { while client.write_all(b"\r\n\r\n\r\n").await.is_ok() {} });
        let mut all = Vec::new();
        read_all(&mut conn, &mut all).await.unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(text.starts_with("HOLDFAST-REFUSED /12 "), "{text}");
        assert!(conn.held.capacity() <= 4096, "{}", conn.held.capacity());
        drop(conn);
        sending.await.unwrap();

        let late = ConnLimits { head_timeout: Duration::from_millis(40), ..limits() };
        let (mut client, server) = tokio::io::duplex(1024);
        let mut conn = Conn::http1(server, Vec::new(), late, Arc::default());
        let sending = tokio::spawn(async move {
            while client.write_all(b"\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let mut all = Vec::new();
        read_all(&mut conn, &mut all).await.unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(text.starts_with("HOLDFAST-REFUSED /1"), "{text}");
        drop(conn);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn bytes_beyond_ascii_in_a_target_are_encoded_however_they_are_cut() {
        let sent =
            b"GET /caf\xc3\xa9?q=\xfc HTTP/1.1\r\nHost: a\r\nX: caf\xc3\xa9\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
        let expected = "GET /caf%C3%A9?q=%FC HTTP/1.1\r\nHost: a\r\nX: café\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
        for cut in 0..sent.len() {
            assert_eq!(seen(&[&sent[..cut], &sent[cut..]], b"").await, (expected.to_owned(), false), "{cut}");
            assert_eq!(seen(&[&sent[cut..]], &sent[..cut]).await, (expected.to_owned(), false), "first {cut}");
        }
    }

    #[tokio::test]
    async fn who_sends_without_a_pause_lets_others_have_their_turn() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut conn = Conn::http2(server, Vec::new(), limits());
        client.write_all(&vec![b'x'; 3 * TURN_BYTES]).await.unwrap();
        drop(client);
        let (mut read, mut turns) = (0, 0);
        let mut bytes = vec![0; 16 << 10];
        let all = std::future::poll_fn(|cx| {
            loop {
                let mut buf = ReadBuf::new(&mut bytes);
                match Pin::new(&mut conn).poll_read(cx, &mut buf) {
                    Poll::Ready(Ok(())) if buf.filled().is_empty() => return Poll::Ready(read),
                    Poll::Ready(Ok(())) => read += buf.filled().len(),
                    Poll::Ready(Err(error)) => panic!("{error}"),
                    Poll::Pending => {
                        turns += 1;
                        return Poll::Pending;
                    }
                }
            }
        });
        assert_eq!(all.await, 3 * TURN_BYTES);
        assert!(turns >= 3, "{turns} turns");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left() {
        let short = ConnLimits { idle_timeout: Duration::from_millis(40), ..limits() };
        let (_client, server) = tokio::io::duplex(16);
        let mut conn = Conn::http1(server, Vec::new(), short, Arc::default());
        let begin = Instant::now();
        let error = conn.write_all(&[b'x'; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= short.idle_timeout);
    }

    #[tokio::test]
    async fn a_client_that_shut_its_side_is_waited_for_and_not_for_ever() {
        let short = ConnLimits { half_closed: Duration::from_millis(60), ..limits() };
        let load = Arc::<Load>::default();
        let (mut client, server) = tokio::io::duplex(1024);
        let mut conn = Conn::http1(server, Vec::new(), short, load.clone());
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut head = [0; 64];
        assert!(conn.read(&mut head).await.unwrap() > 0);
        let busy = crate::gateway::served::Busy::new(&load, None);
        let begin = Instant::now();
        assert_eq!(conn.read(&mut head).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(begin.elapsed() >= short.half_closed);
        drop(busy);
        let (client, server) = tokio::io::duplex(1024);
        drop(client);
        let mut conn = Conn::http1(server, Vec::new(), short, load);
        assert_eq!(conn.read(&mut head).await.unwrap(), 0, "nobody waits: the end is the end");
    }
}
