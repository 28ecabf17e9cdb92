//! A request as bytes: what came in goes out.
use std::io::Write as _;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::SizeHint;

use super::head::Spelling;

/// How a request's body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Bytes that are left.
    Length(u64),
    Chunked,
}

/// Request line and headers, `Host` first, the others in the order and spelling in which they came where that is known.
pub fn head(parts: &Parts, body: &SizeHint, into: &mut BytesMut) -> Outgoing {
    let outgoing = body.exact().map_or(Outgoing::Chunked, Outgoing::Length);
    into.reserve(256 + parts.headers.len() * 48);
    into.put_slice(parts.method.as_str().as_bytes());
    into.put_u8(b' ');
    match parts.uri.path_and_query() {
        Some(target) => into.put_slice(target.as_str().as_bytes()),
        None => into.put_u8(b'/'),
    }
    into.put_slice(b" HTTP/1.1\r\n");
    let map = &parts.headers;
    for value in map.get_all(HOST) {
        line(into, b"Host", value.as_bytes());
    }
    let spelling = parts.extensions.get::<Spelling>();
    let framing = framing(&parts.method, map, outgoing);
    let mut lines = Lines { into, map, framing: framing.as_deref(), framed: false };
    match spelling {
        None => lines.all(),
        Some(spelling) => lines.spelled(spelling),
    }
    into.put_slice(b"\r\n");
    outgoing
}

/// The line that frames the body. An empty one is announced where the method expects a body (RFC 9110 section 8.6), or
/// the client did.
fn framing(method: &Method, map: &HeaderMap, outgoing: Outgoing) -> Option<String> {
    match outgoing {
        Outgoing::Chunked => Some("chunked".to_owned()),
        Outgoing::Length(0) => {
            let expects = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
            (expects || map.contains_key(CONTENT_LENGTH)).then(|| "0".to_owned())
        }
        Outgoing::Length(length) => Some(length.to_string()),
    }
}

struct Lines<'a> {
    into: &'a mut BytesMut,
    map: &'a HeaderMap,
    framing: Option<&'a str>,
    framed: bool,
}

impl Lines<'_> {
    fn all(&mut self) {
        for (name, value) in self.map {
            if !is_ours(name) {
                line(self.into, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.frame(None);
    }

    /// Each name as it was spelled, in that order; then what was added since.
    fn spelled(&mut self, spelling: &Spelling) {
        let mut told: Vec<(HeaderName, usize)> = Vec::with_capacity(self.map.len());
        for spelled in spelling.names() {
            let Ok(name) = HeaderName::from_bytes(spelled) else { continue };
            if is_ours(&name) {
                self.frame(Some((&name, spelled)));
                continue;
            }
            let at = match told.iter_mut().find(|(known, _)| *known == name) {
                Some((_, many)) => many,
                None => {
                    told.push((name.clone(), 0));
                    &mut told.last_mut().expect("just pushed").1
                }
            };
            if let Some(value) = self.map.get_all(&name).iter().nth(*at) {
                *at += 1;
                line(self.into, spelled, value.as_bytes());
            }
        }
        for name in self.map.keys().filter(|name| !is_ours(name)) {
            let many = told.iter().find(|(known, _)| known == name).map_or(0, |(_, many)| *many);
            for value in self.map.get_all(name).iter().skip(many) {
                line(self.into, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.frame(None);
    }

    /// Once, where the client had it, else at the end.
    fn frame(&mut self, spelled: Option<(&HeaderName, &[u8])>) {
        let Some(value) = self.framing.filter(|_| !self.framed) else { return };
        let name = if value == "chunked" { TRANSFER_ENCODING } else { CONTENT_LENGTH };
        let written = match spelled {
            // As nearly everybody writes them: some services compare with case.
            None if name == CONTENT_LENGTH => &b"Content-Length"[..],
            None => &b"Transfer-Encoding"[..],
            Some((known, spelled)) if *known == name => spelled,
            Some(_) => return,
        };
        line(self.into, written, value.as_bytes());
        self.framed = true;
    }
}

fn is_ours(name: &HeaderName) -> bool {
    name == HOST || name == CONTENT_LENGTH || name == TRANSFER_ENCODING
}

fn line(into: &mut BytesMut, name: &[u8], value: &[u8]) {
    into.put_slice(name);
    into.put_slice(b": ");
    into.put_slice(value);
    into.put_slice(b"\r\n");
}

/// What stands before the bytes of a chunk.
pub fn chunk_head(length: usize) -> Bytes {
    let mut text = Vec::with_capacity(18);
    // Writing to a vector does not fail.
    let _ = write!(text, "{length:x}\r\n");
    text.into()
}

/// The end of a chunked body.
pub fn last_chunk(trailers: Option<&HeaderMap>) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        line(&mut bytes, name.as_str().as_bytes(), value.as_bytes());
    }
    bytes.put_slice(b"\r\n");
    bytes.freeze()
}
