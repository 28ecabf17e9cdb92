//! The body of an answer, cut out of the bytes of its connection. Pure.
use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::head::Framing;

/// Of one chunk's size line, and of all trailers together.
const LINE_MAX: usize = 8 << 10;
const TRAILERS_MAX: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    Length(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Close,
    Done,
}

#[derive(Debug)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
}

/// Bytes that are no body of the kind that the head announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Decoder::Done,
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::ChunkSize,
            Framing::Close => Decoder::Close,
        }
    }

    /// Whether the answer is whole if the connection ends here.
    pub fn may_end(&self) -> bool {
        // After the last chunk only trailers can be missing.
        matches!(self, Decoder::Close | Decoder::Done | Decoder::Trailers)
    }

    /// The next piece; `None`: more bytes are needed. `exact` becomes false at what HTTP does not say but clients take.
    pub fn next(&mut self, bytes: &mut BytesMut, exact: &mut bool) -> Result<Option<Piece>, Malformed> {
        loop {
            match *self {
                Decoder::Done => return Ok(Some(Piece::End)),
                _ if bytes.is_empty() => return Ok(None),
                Decoder::Close => return Ok(Some(Piece::Data(bytes.split().freeze()))),
                Decoder::Length(left) => {
                    let (data, left) = take(bytes, left);
                    *self = if left == 0 { Decoder::Done } else { Decoder::Length(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                Decoder::ChunkData(left) => {
                    let (data, left) = take(bytes, left);
                    *self = if left == 0 { Decoder::ChunkEnd } else { Decoder::ChunkData(left) };
                    return Ok(Some(Piece::Data(data)));
                }
                Decoder::ChunkSize => {
                    // Nonsense is not waited for to its end.
                    if !bytes[0].is_ascii_hexdigit() {
                        return Err(Malformed);
                    }
                    let Some(line) = line(bytes, LINE_MAX, exact)? else { return Ok(None) };
                    let size = chunk_size(&line, exact)?;
                    *self = if size == 0 { Decoder::Trailers } else { Decoder::ChunkData(size) };
                }
                Decoder::ChunkEnd => {
                    let end = match bytes[..] {
                        [b'\r', b'\n', ..] => 2,
                        [b'\r'] => return Ok(None),
                        [b'\n', ..] => 1,
                        _ => return Err(Malformed),
                    };
                    *exact &= end == 2;
                    bytes.advance(end);
                    *self = Decoder::ChunkSize;
                }
                Decoder::Trailers => match trailers(bytes, exact)? {
                    None => return Ok(None),
                    Some(map) => {
                        *self = Decoder::Done;
                        if !map.is_empty() {
                            return Ok(Some(Piece::Trailers(map)));
                        }
                    }
                },
            }
        }
    }
}

fn take(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = left.min(bytes.len() as u64);
    (bytes.split_to(here as usize).freeze(), left - here)
}

/// A whole line without its end.
fn line(bytes: &mut BytesMut, max: usize, exact: &mut bool) -> Result<Option<BytesMut>, Malformed> {
    let Some(end) = bytes.iter().take(max).position(|&b| b == b'\n') else {
        return if bytes.len() >= max { Err(Malformed) } else { Ok(None) };
    };
    let mut line = bytes.split_to(end + 1);
    line.truncate(end);
    match line.last() {
        Some(b'\r') => line.truncate(end - 1),
        _ => *exact = false,
    }
    Ok(Some(line))
}

/// Hex digits, then perhaps blanks (old servers) and an extension.
fn chunk_size(line: &[u8], exact: &mut bool) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if !(1..=15).contains(&digits) {
        return Err(Malformed);
    }
    match line[digits..].trim_ascii_start().first() {
        None | Some(b';') => *exact &= line.get(digits).is_none_or(|&b| b == b';'),
        Some(_) => return Err(Malformed),
    }
    let hex = |&b: &u8| u64::from(char::from(b).to_digit(16).expect("a hex digit"));
    Ok(line[..digits].iter().fold(0, |size, b| size << 4 | hex(b)))
}

/// All trailers, up to their empty line. What is no header is left out.
fn trailers(bytes: &mut BytesMut, exact: &mut bool) -> Result<Option<HeaderMap>, Malformed> {
    let length = match bytes[..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return Ok(None),
        _ => match super::head::head_length(bytes, 0) {
            Some(length) if length <= TRAILERS_MAX => length,
            None if bytes.len() <= TRAILERS_MAX => return Ok(None),
            _ => return Err(Malformed),
        },
    };
    let all = bytes.split_to(length);
    let mut map = HeaderMap::new();
    for line in all[..].split(|&b| b == b'\n').take_while(|line| !matches!(line, [] | [b'\r'])) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii())) {
            map.append(name, value);
        }
    }
    *exact &= all.ends_with(b"\r\n");
    Ok(Some(map))
}
