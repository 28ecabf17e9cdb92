//! The spelling of header names, kept where HTTP/1 meets HTTP/1: names are the same in any case, and old tills and
//! services compare them all the same. What is kept of a write has its names as they were spelled; nothing else depends
//! on the spelling.
use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{Extensions, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::h1::Spelling;
use crate::model::Header;

impl Spelling {
    /// Of a sound request head.
    pub fn of_request(head: &[u8]) -> Self {
        let mut names = BytesMut::with_capacity(head.len() / 4);
        for line in head.split(|&b| b == b'\n').skip(1) {
            if let Some(colon) = line.iter().position(|&b| b == b':') {
                names.extend_from_slice(&line[..colon]);
                names.extend_from_slice(b"\n");
            }
        }
        Self(names.freeze())
    }

    pub fn of_kept(kept: &[Header]) -> Self {
        let mut names = BytesMut::with_capacity(kept.iter().map(|header| header.name.len() + 1).sum());
        for header in kept {
            names.extend_from_slice(header.name.as_bytes());
            names.extend_from_slice(b"\n");
        }
        Self(names.freeze())
    }

    /// Nothing that a reader of names would miss.
    fn is_small(&self) -> bool {
        !self.0.iter().any(u8::is_ascii_uppercase)
    }
}

/// Gives the names of a map as they were spelled: the first line of a name its first spelling, and so on.
pub struct Spelled<'a> {
    names: Vec<Option<&'a [u8]>>,
    /// Names come mostly in the order in which they were spelled.
    at: usize,
}

impl<'a> Spelled<'a> {
    pub fn new(spelling: Option<&'a Spelling>) -> Self {
        let names = spelling.filter(|spelling| !spelling.is_small()).map(|spelling| spelling.names().map(Some));
        Self { names: names.into_iter().flatten().collect(), at: 0 }
    }

    pub fn next(&mut self, name: &HeaderName) -> String {
        let found = (self.at..self.names.len()).chain(0..self.at).find_map(|at| {
            let spelled = self.names[at].filter(|spelled| spelled.eq_ignore_ascii_case(name.as_str().as_bytes()))?;
            Some((at, spelled))
        });
        let Some((at, spelled)) = found else { return name.as_str().to_owned() };
        (self.names[at], self.at) = (None, at + 1);
        String::from_utf8_lossy(spelled).into_owned()
    }
}

/// Spellings that were met, as hyper has them: few, since each service has its own.
const MET_MAX: usize = 256;
const MET_BYTES_MAX: usize = 4 << 10;
static MET: OnceLock<Mutex<HashMap<Bytes, Extensions>>> = OnceLock::new();

/// Lets hyper write the names of an answer as they were spelled.
pub fn spell_answer(spelling: &Spelling, into: &mut Extensions) {
    if spelling.is_small() || spelling.0.len() > MET_BYTES_MAX {
        return;
    }
    let mut met = MET.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = met.get(&spelling.0) {
        return into.extend(known.clone());
    }
    let Some(read) = as_hyper_reads(spelling) else { return };
    if met.len() >= MET_MAX {
        met.clear();
    }
    met.insert(Bytes::copy_from_slice(&spelling.0), read.clone());
    into.extend(read);
}

/// hyper writes names as spelled where it has read them so, and lets nobody else say how: it is given them to read.
fn as_hyper_reads(spelling: &Spelling) -> Option<Extensions> {
    let mut head = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
    let mut lengths = 0;
    for name in spelling.names() {
        // What frames a message is read for its value; one length is as good as another.
        let Ok(known) = HeaderName::from_bytes(name) else { continue };
        let is_length = known == CONTENT_LENGTH;
        lengths += usize::from(is_length);
        if known == http::header::TRANSFER_ENCODING || (is_length && lengths > 1) {
            continue;
        }
        head.extend_from_slice(name);
        head.extend_from_slice(if is_length { b": 0\r\n" } else { b": x\r\n" });
    }
    head.extend_from_slice(b"\r\n");
    let read = Arc::<Mutex<Option<Extensions>>>::default();
    let found = read.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.into_parts().0.extensions);
        std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let names = spelling.names().count();
    let mut builder = http1::Builder::new();
    builder.preserve_header_case(true).max_headers(names.max(100)).max_buf_size(head.len().max(8 << 10));
    let connection = builder.serve_connection(Given(head.freeze()), service);
    // All is there: it is read at the first look, or never.
    let _ = pin!(connection).poll(&mut Context::from_waker(Waker::noop()));
    read.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Gives its bytes and takes whatever comes.
struct Given(Bytes);

impl Read for Given {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let length = self.0.len().min(buf.remaining());
        if length == 0 {
            return Poll::Pending;
        }
        buf.put_slice(&self.0.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl Write for Given {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelling(names: &str) -> Spelling {
        Spelling(Bytes::copy_from_slice(names.as_bytes()))
    }

    #[test]
    fn each_line_of_a_name_has_its_own_spelling() {
        let head = b"POST /a:b HTTP/1.1\r\nHost: a:1\r\nX-Till: 1\r\nSOAPAction: x:y\r\nx-TILL: 2\r\n\r\n";
        let spelling = Spelling::of_request(head);
        assert_eq!(spelling, self::spelling("Host\nX-Till\nSOAPAction\nx-TILL\n"));
        let mut spelled = Spelled::new(Some(&spelling));
        let names = ["host", "x-till", "x-till", "x-till", "via", "soapaction"];
        let names = names.map(|name| spelled.next(&HeaderName::from_static(name)));
        assert_eq!(names, ["Host", "X-Till", "x-TILL", "x-till", "via", "SOAPAction"]);
        assert_eq!(Spelled::new(None).next(&HeaderName::from_static("via")), "via");
    }

    #[test]
    fn hyper_is_given_each_spelling_once_and_what_it_cannot_read_stays_small() {
        let many = "X-A\n".repeat(150);
        for names in ["ETag\n:reason\nX-Till-Id\n", "Content-Length\nContent-LENGTH\nTransfer-Encoding\n", &many] {
            let mut into = Extensions::new();
            spell_answer(&spelling(names), &mut into);
            assert_eq!(into.len(), 1, "{names}");
        }
        for names in ["etag\n", ""] {
            let mut into = Extensions::new();
            spell_answer(&spelling(names), &mut into);
            assert!(into.is_empty(), "{names}");
        }
        let long = format!("X-{}\n", "a".repeat(MET_BYTES_MAX));
        spell_answer(&spelling(&long), &mut Extensions::new());
        let met = MET.get().unwrap().lock().unwrap();
        assert!(met.len() <= MET_MAX && !met.contains_key(long.as_bytes()));
    }
}
