//! The head of an answer, read as the clients of the field read it: what curl takes is an answer. Pure.
//!
//! A service has done its work before it writes a head, so a head that is only ugly must not make an outcome unknown.
//! What cannot be passed on is left out line by line; where nothing can be passed on, the status was read all the same.
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};

/// Of a head; what clients bound it to (curl: 300 KiB).
pub const HEAD_MAX: usize = 300 << 10;
/// Header lines of a head. A map of headers takes 32,768 and panics beyond.
const LINES_MAX: usize = 4_096;

/// How the names of headers were spelled, line by line, each ended by a line feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling(pub Bytes);

impl Spelling {
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'\n').filter(|name| !name.is_empty())
    }
}

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Up to the end of the connection.
    Close,
}

#[derive(Debug)]
pub struct Head {
    pub status: u16,
    /// As it came; may be empty.
    pub reason: Bytes,
    pub headers: HeaderMap,
    pub spelling: Spelling,
    pub framing: Framing,
    /// Whether the connection may serve another request when this answer has ended. Never after anything that two
    /// readers could understand differently.
    pub keeps: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the answer does not begin with a status line")]
    NotHttp,
    /// The status was read, and nothing else of the answer can be passed on.
    #[error("answered {status}, {why}")]
    Unusable { status: u16, why: &'static str },
}

/// Length of the head at the start of `bytes`, its empty line included; `None` while that has not come. Bytes before
/// `from` were looked at already.
pub fn head_length(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    let mut at = start;
    while let Some(i) = bytes[at..].iter().position(|&b| b == b'\n') {
        let next = at + i + 1;
        match bytes.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Bytes of empty lines before a status line.
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&b| b == b'\r' || b == b'\n').count()
}

/// The status of a head that is not complete, where its first line is.
pub fn early_status(bytes: &[u8]) -> Option<u16> {
    let line = &bytes[leading_empty_lines(bytes)..];
    let end = line.iter().position(|&b| b == b'\n')?;
    status_line(&line[..end]).map(|line| line.status)
}

struct StatusLine<'a> {
    status: u16,
    is_http_11: bool,
    reason: &'a [u8],
    is_exact: bool,
}

/// `HTTP/1.1 200 OK`; also without a reason, with more blanks, in small letters, of other minor versions, and
/// `ICY 200 OK`.
fn status_line(line: &[u8]) -> Option<StatusLine<'_>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let blank = line.iter().position(|b| matches!(b, b' ' | b'\t'))?;
    let (protocol, rest) = line.split_at(blank);
    let (is_http_11, named) = match protocol {
        b"HTTP/1.1" => (true, true),
        b"HTTP/1.0" => (false, true),
        _ if protocol.eq_ignore_ascii_case(b"icy") => (false, false),
        _ if protocol.len() >= 6 && protocol[..5].eq_ignore_ascii_case(b"http/") && protocol[5].is_ascii_digit() => {
            (false, false)
        }
        _ => return None,
    };
    let rest = rest.trim_ascii_start();
    let digits = rest.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    if rest.get(3).is_some_and(u8::is_ascii_digit) || digits[0] == b'0' {
        return None;
    }
    let status = digits.iter().fold(0, |status, &b| status * 10 + u16::from(b - b'0'));
    let is_exact = named && line[blank] == b' ' && line.len() - blank == rest.len() + 1;
    Some(StatusLine { status, is_http_11, reason: rest[3..].trim_ascii(), is_exact })
}

/// Reads a whole head. `to_head`: it answers a HEAD request.
pub fn parse(head: &[u8], to_head: bool) -> Result<Head, HeadError> {
    let mut rest = &head[leading_empty_lines(head)..];
    let line = take_line(&mut rest);
    let first = status_line(line.bytes).ok_or(HeadError::NotHttp)?;
    let status = first.status;
    let unusable = |why| HeadError::Unusable { status, why };
    let is_exact = first.is_exact && line.is_exact;
    let mut lines = Lines { map: HeaderMap::new(), names: Vec::new(), is_exact, is_framed: true };
    let mut folded: Vec<u8> = Vec::new();
    let mut count = 0;
    while !rest.is_empty() {
        let line = take_line(&mut rest);
        lines.is_exact &= line.is_exact;
        if line.bytes.is_empty() {
            break;
        }
        count += 1;
        if count > LINES_MAX {
            return Err(unusable("with too many header lines"));
        }
        if !matches!(rest.first(), Some(b' ' | b'\t')) && folded.is_empty() {
            lines.add(line.bytes);
            continue;
        }
        // Continued on the next line: one line with a blank between.
        lines.is_exact = false;
        if !folded.is_empty() {
            folded.push(b' ');
        }
        folded.extend_from_slice(line.bytes.trim_ascii());
        if !matches!(rest.first(), Some(b' ' | b'\t')) {
            lines.add(&std::mem::take(&mut folded));
        }
    }
    let Lines { mut map, names, is_exact, is_framed } = lines;
    if !is_framed {
        return Err(unusable("with a control character in what frames its body"));
    }
    let (framing, is_sound) = framing(&mut map, status, to_head).map_err(unusable)?;
    let said = |what: &[u8]| {
        map.get_all(CONNECTION).iter().any(|line| {
            line.as_bytes().split(|&b| b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(what))
        })
    };
    let persistent = !said(b"close") && (first.is_http_11 || said(b"keep-alive"));
    let http_10_chunks = !first.is_http_11 && framing == Framing::Chunked;
    Ok(Head {
        status,
        reason: Bytes::copy_from_slice(first.reason),
        keeps: is_exact && is_sound && persistent && framing != Framing::Close && !http_10_chunks,
        headers: map,
        spelling: Spelling(names.into()),
        framing,
    })
}

struct Line<'a> {
    bytes: &'a [u8],
    /// Ended by CR LF.
    is_exact: bool,
}

fn take_line<'a>(rest: &mut &'a [u8]) -> Line<'a> {
    let end = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    match line.strip_suffix(b"\r") {
        Some(bytes) => Line { bytes, is_exact: true },
        None => Line { bytes: line, is_exact: false },
    }
}

struct Lines {
    map: HeaderMap,
    names: Vec<u8>,
    is_exact: bool,
    /// No line that frames the body was left out.
    is_framed: bool,
}

impl Lines {
    /// One header; what is none is left out, as clients do.
    fn add(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|&b| b == b':') else { return self.is_exact = false };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        self.is_exact &= name.len() == colon;
        let Ok(known) = HeaderName::from_bytes(name) else { return self.is_exact = false };
        let value = match HeaderValue::from_bytes(value) {
            Ok(value) => value,
            // A lone CR counts as a blank (RFC 9112 section 2.2); other control characters cannot be passed on.
            Err(_) => {
                self.is_exact = false;
                let blank: Vec<u8> = value.iter().map(|&b| if b == b'\r' { b' ' } else { b }).collect();
                let Ok(value) = HeaderValue::from_bytes(&blank) else {
                    self.is_framed &= known != TRANSFER_ENCODING && known != CONTENT_LENGTH;
                    return;
                };
                value
            }
        };
        self.names.extend_from_slice(name);
        self.names.push(b'\n');
        self.map.append(known, value);
    }
}

/// RFC 9112 section 6.3, and whether the head left no doubt. Headers that say something else than what is true are
/// taken out.
fn framing(map: &mut HeaderMap, status: u16, to_head: bool) -> Result<(Framing, bool), &'static str> {
    let (chunked, te_is_sound) = transfer_encoding(map)?;
    let length = content_length(map);
    if matches!(status, 100..=199 | 204) {
        // These have neither body nor length; bytes that follow are not theirs, and end the connection.
        let sound = map.remove(CONTENT_LENGTH).is_none() && !chunked;
        return Ok((Framing::None, sound));
    }
    if to_head || status == 304 {
        return Ok((Framing::None, te_is_sound && length.is_ok()));
    }
    match (chunked, length) {
        (true, length) => {
            map.remove(CONTENT_LENGTH);
            Ok((Framing::Chunked, te_is_sound && length == Ok(None)))
        }
        (false, Ok(Some(length))) => Ok((Framing::Length(length), te_is_sound)),
        (false, Ok(None)) => Ok((Framing::Close, false)),
        (false, Err(why)) => Err(why),
    }
}

fn transfer_encoding(map: &HeaderMap) -> Result<(bool, bool), &'static str> {
    let (mut chunked, mut is_sound) = (false, true);
    for line in map.get_all(TRANSFER_ENCODING) {
        for coding in line.as_bytes().split(|&b| b == b',') {
            let coding = coding.trim_ascii();
            if coding.eq_ignore_ascii_case(b"chunked") && !chunked {
                chunked = true;
            } else if coding.is_empty() || coding.eq_ignore_ascii_case(b"identity") {
                is_sound = false;
            } else {
                return Err("in a transfer coding that was not asked for");
            }
        }
    }
    Ok((chunked, is_sound))
}

/// One number, however often it is said.
fn content_length(map: &mut HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut found = None;
    let mut many = 0;
    for line in map.get_all(CONTENT_LENGTH) {
        for part in line.as_bytes().split(|&b| b == b',') {
            let part = part.trim_ascii();
            if part.is_empty() || part.len() > 18 || !part.iter().all(u8::is_ascii_digit) {
                return Err("with a length that is no number");
            }
            let length = part.iter().fold(0, |length: u64, &b| length * 10 + u64::from(b - b'0'));
            if found.is_some_and(|other| other != length) {
                return Err("with two lengths");
            }
            found = Some(length);
            many += 1;
        }
    }
    if let (Some(length), 2..) = (found, many) {
        map.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(found)
}
