//! One connection to a service, and one exchange on it at a time.
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWrite, Interest};
use tokio::net::TcpStream;

use super::decode::{Decoder, Malformed, Piece};
use super::encode::{self, Outgoing};
use super::head::{self, HEAD_MAX, Head, HeadError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Read at once while a head is awaited, and while a body comes: a reader that does not read holds no more than one
/// such piece.
const READ_HEAD: usize = 8 << 10;
const READ_BODY: usize = 16 << 10;
/// A small body leaves together with its head, in one call.
const TOGETHER_MAX: usize = 16 << 10;
/// Interim answers (100, 102, 103) before the answer itself.
const INTERIM_MAX: u32 = 64;

pub struct Conn {
    stream: TcpStream,
    read: BytesMut,
}

/// Why there is no answer.
pub enum Failure<B> {
    /// Nothing has left this machine: the connection had ended, or something had come on it unasked.
    NotTaken { request: Box<Request<B>>, why: String },
    Broken {
        why: String,
        /// Not a byte of an answer came.
        silent: bool,
    },
    /// A status was read, and nothing else that could be passed on.
    Unusable { status: u16, why: String },
}

impl Conn {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, read: BytesMut::new() }
    }

    /// Where nothing was read from it.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Whether the other side has neither ended the connection nor said anything unasked. Asks the kernel: what it
    /// knows may not have reached the runtime yet.
    pub fn is_silent(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = socket2::SockRef::from(&self.stream).peek(&mut byte);
        self.read.is_empty() && matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Comes to its end when the connection does, or something is said unasked.
    pub async fn stirs(&self) {
        let stirs = || if self.is_silent() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
        // Whatever else goes wrong with a socket is a stir too.
        let _ = self.stream.async_io(Interest::READABLE, stirs).await;
    }

    /// Sends a request and reads the head of its answer. `taken` is true from the moment at which a byte may have left.
    pub async fn send<B>(self, request: Request<B>, taken: &AtomicBool) -> Result<(Head, Reply<B>), Failure<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        if !self.is_silent() {
            let why = "the connection had ended before the request".to_owned();
            return Err(Failure::NotTaken { request: Box::new(Request::from_parts(parts, body)), why });
        }
        let to_head = parts.method == http::Method::HEAD;
        let mut buffer = BytesMut::new();
        let framing = encode::head(&parts, &body.size_hint(), &mut buffer);
        let mut upload =
            Upload { pending: [buffer.freeze(), Bytes::new(), Bytes::new()], body, framing, state: UploadState::Body };
        let mut conn = self;
        let mut reading = Reading { seen: 0, interim: 0, to_head };
        let mut sent = Sent::default();
        let result =
            std::future::poll_fn(|cx| conn.poll_exchange(cx, &mut upload, &mut reading, &mut sent, taken)).await;
        match result {
            Ok(head) => {
                let mut reply = Reply {
                    decoder: Decoder::new(head.framing),
                    keeps: head.keeps,
                    conn: Some(conn),
                    upload: Some(upload).filter(|_| !sent.whole && sent.failed.is_none()),
                };
                reply.keeps &= sent.whole;
                Ok((head, reply))
            }
            Err(_) if !taken.load(Ordering::Relaxed) => {
                let why = sent.failed.unwrap_or_else(|| "the connection ended before the request".to_owned());
                Err(Failure::NotTaken { request: Box::new(Request::from_parts(parts, upload.body)), why })
            }
            Err(End::Head(HeadError::Unusable { status, why })) => {
                Err(Failure::Unusable { status, why: format!("answered {status}, {why}") })
            }
            Err(end) => {
                let silent = conn.read.is_empty() && reading.interim == 0 && !matches!(end, End::Upload(_));
                let mut why = end.to_string();
                if let Some(failed) = sent.failed {
                    why = format!("{why}, after {failed}");
                }
                Err(Failure::Broken { why, silent })
            }
        }
    }

    /// Writes and reads at the same time: a service may answer before it has read all.
    fn poll_exchange<B>(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload<B>,
        reading: &mut Reading,
        sent: &mut Sent,
        taken: &AtomicBool,
    ) -> Poll<Result<Head, End>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if !sent.whole && sent.failed.is_none() {
            match upload.poll(cx, &mut self.stream, taken) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => sent.whole = true,
                Poll::Ready(Err(UploadError::Io(error))) => {
                    sent.failed = Some(error.to_string());
                    // Where nothing left, nothing can be answered; else the answer may be there all the same.
                    if !taken.load(Ordering::Relaxed) {
                        return Poll::Ready(Err(End::Io(error)));
                    }
                }
                Poll::Ready(Err(UploadError::Body(why))) => return Poll::Ready(Err(End::Upload(why))),
            }
        }
        loop {
            if let Some(head) = reading.head(&mut self.read).map_err(End::Head)? {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_read(cx, READ_HEAD)).map_err(End::Io)? == 0 {
                return Poll::Ready(Err(End::Closed { silent: self.read.is_empty() }));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<usize>> {
        self.read.reserve(size);
        // The buffer may have made itself larger than it was asked to.
        let mut spare = (&mut self.read).limit(size);
        let read = pin!(self.stream.read_buf(&mut spare));
        read.poll(cx)
    }
}

#[derive(Default)]
struct Sent {
    whole: bool,
    failed: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Head(HeadError),
    #[error("{0}")]
    Io(io::Error),
    #[error("closed {}", if *silent { "without a byte of an answer" } else { "inside the head of its answer" })]
    Closed { silent: bool },
    #[error("the request's body broke off: {0}")]
    Upload(String),
}

/// The head of an answer, past interim ones.
struct Reading {
    /// Bytes looked at already.
    seen: usize,
    interim: u32,
    to_head: bool,
}

impl Reading {
    fn head(&mut self, bytes: &mut BytesMut) -> Result<Option<Head>, HeadError> {
        loop {
            let skip = head::leading_empty_lines(bytes);
            let Some(length) = head::head_length(&bytes[skip..], self.seen.saturating_sub(skip)) else {
                self.seen = bytes.len();
                return if bytes.len() > HEAD_MAX { Err(too_large(bytes)) } else { sane_so_far(&bytes[skip..]) };
            };
            if length > HEAD_MAX {
                return Err(too_large(bytes));
            }
            self.seen = 0;
            bytes.advance(skip);
            let head = head::parse(&bytes.split_to(length), self.to_head)?;
            match head.status {
                // Nobody asked for another protocol: what follows is none of ours to understand.
                101 => return Err(HeadError::NotHttp),
                100..=199 => {
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Err(HeadError::NotHttp);
                    }
                }
                _ => return Ok(Some(head)),
            }
        }
    }
}

fn too_large(bytes: &[u8]) -> HeadError {
    match head::early_status(bytes) {
        Some(status @ 200..) => HeadError::Unusable { status, why: "with a head that is too large" },
        _ => HeadError::NotHttp,
    }
}

/// Nonsense is not waited for to its end.
fn sane_so_far(bytes: &[u8]) -> Result<Option<Head>, HeadError> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a.eq_ignore_ascii_case(b));
    if begins(b"http/") || begins(b"icy ") { Ok(None) } else { Err(HeadError::NotHttp) }
}

/// A request on its way out.
struct Upload<B> {
    /// To be written next, in this order.
    pending: [Bytes; 3],
    body: B,
    framing: Outgoing,
    state: UploadState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UploadState {
    Body,
    LastWrite,
}

enum UploadError {
    Io(io::Error),
    Body(String),
}

impl<B> Upload<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
        taken: &AtomicBool,
    ) -> Poll<Result<(), UploadError>> {
        loop {
            // A head waits for a body that is there at once.
            let may_join =
                !taken.load(Ordering::Relaxed) && self.state == UploadState::Body && self.pending[1].is_empty();
            if may_join && let Poll::Ready(()) = self.poll_body(cx).map_err(UploadError::Body)? {
                continue;
            }
            ready!(self.poll_flush(cx, stream, taken)).map_err(UploadError::Io)?;
            if self.state == UploadState::LastWrite {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_body(cx)).map_err(UploadError::Body)?;
        }
    }

    /// Takes the next piece of the body up for writing.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if matches!(self.framing, Outgoing::Length(0)) || self.body.is_end_stream() {
            return Poll::Ready(self.end(None));
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => Poll::Ready(self.end(None)),
            Some(Err(error)) => Poll::Ready(Err(error.into().to_string())),
            Some(Ok(frame)) => Poll::Ready(match frame.into_data() {
                Ok(data) => self.data(data),
                Err(frame) => self.end(frame.trailers_ref()),
            }),
        }
    }

    fn data(&mut self, data: Bytes) -> Result<(), String> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Outgoing::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or("it is longer than announced")?;
                if *left == 0 {
                    self.state = UploadState::LastWrite;
                }
                self.pending[1] = data;
            }
            Outgoing::Chunked => {
                let size = encode::chunk_head(data.len());
                self.pending[0] = join(&self.pending[0], &size);
                self.pending[1] = data;
                self.pending[2] = Bytes::from_static(b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), String> {
        match self.framing {
            Outgoing::Length(0) => {}
            Outgoing::Length(_) => return Err("it is shorter than announced".to_owned()),
            Outgoing::Chunked => {
                let last = encode::last_chunk(trailers);
                self.pending[2] = join(&self.pending[2], &last);
            }
        }
        self.state = UploadState::LastWrite;
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream, taken: &AtomicBool) -> Poll<io::Result<()>> {
        let all: usize = self.pending.iter().map(Bytes::len).sum();
        if all > 0 && all <= TOGETHER_MAX && self.pending.iter().filter(|piece| !piece.is_empty()).count() > 1 {
            let mut joined = BytesMut::with_capacity(all);
            self.pending.iter().for_each(|piece| joined.extend_from_slice(piece));
            self.pending = [joined.freeze(), Bytes::new(), Bytes::new()];
        }
        while let Some(piece) = self.pending.iter_mut().find(|piece| !piece.is_empty()) {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, piece))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            taken.store(true, Ordering::Relaxed);
            piece.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

fn join(first: &Bytes, second: &Bytes) -> Bytes {
    if first.is_empty() {
        return second.clone();
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(first);
    both.extend_from_slice(second);
    both.freeze()
}

/// A small piece does not hold the whole buffer it was read into for as long as somebody keeps it.
fn alone(data: Bytes) -> Bytes {
    if data.len() < READ_HEAD / 4 { Bytes::copy_from_slice(&data) } else { data }
}

/// Why an answer's body is not whole.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The service stopped in the middle.
    #[error("the answer was cut short{0}")]
    Cut(String),
    /// The service said something, and it is no body.
    #[error("the framing of the answer's body is broken")]
    Malformed,
}

/// The body of an answer. Read to its end, it may give its connection back.
pub struct Reply<B> {
    conn: Option<Conn>,
    decoder: Decoder,
    keeps: bool,
    /// What of the request has not left yet.
    upload: Option<Upload<B>>,
}

impl<B> Reply<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub fn is_over(&self) -> bool {
        self.decoder == Decoder::Done
    }

    /// Bytes that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.decoder {
            Decoder::Done => Some(0),
            Decoder::Length(left) => Some(left),
            _ => None,
        }
    }

    /// The connection, where another request may go over it: the exchange ended exactly as HTTP says, and nothing more
    /// came.
    pub fn take_conn(&mut self) -> Option<Conn> {
        let is_exact = self.keeps && self.decoder == Decoder::Done && self.upload.is_none();
        let mut conn = self.conn.take().filter(|conn| is_exact && conn.read.is_empty())?;
        // An idle connection holds no memory.
        conn.read = BytesMut::new();
        Some(conn)
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(conn) = &mut self.conn else { return Poll::Ready(None) };
        if self.decoder == Decoder::Done {
            return Poll::Ready(None);
        }
        if let Some(upload) = &mut self.upload {
            match upload.poll(cx, &mut conn.stream, &AtomicBool::new(true)) {
                Poll::Pending => {}
                Poll::Ready(_) => {
                    // An answer came before the request was through: what the service still reads of it is its own
                    // affair.
                    self.upload = None;
                    self.keeps = false;
                }
            }
        }
        loop {
            match self.decoder.next(&mut conn.read, &mut self.keeps) {
                Ok(Some(Piece::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(alone(data))))),
                Ok(Some(Piece::Trailers(map))) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Ok(Some(Piece::End)) => return Poll::Ready(None),
                Err(Malformed) => {
                    self.conn = None;
                    return Poll::Ready(Some(Err(BodyError::Malformed)));
                }
                Ok(None) => {}
            }
            let size = match self.decoder {
                Decoder::Length(left) => READ_BODY.min(usize::try_from(left).unwrap_or(READ_BODY)).max(READ_HEAD),
                _ => READ_HEAD,
            };
            let cut = match ready!(conn.poll_read(cx, size)) {
                Ok(0) if self.decoder.may_end() => {
                    self.keeps = false;
                    self.decoder = Decoder::Done;
                    continue;
                }
                Ok(0) => String::new(),
                Ok(_) => continue,
                Err(error) => format!(": {error}"),
            };
            self.conn = None;
            return Poll::Ready(Some(Err(BodyError::Cut(cut))));
        }
    }
}
