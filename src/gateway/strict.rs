//! What may reach the HTTP/1.1 parser: a byte machine that follows the framing of a connection and refuses every head
//! or chunk that two parsers could read differently (RFC 9112 section 2.2, section 5, section 6, section 7.1, section
//! 11.2).
//!
//! hyper alone accepts some of these silently: it drops `Content-Length` beside `Transfer-Encoding`, folds equal
//! repeated lengths into one, takes a bare LF for a line end and `gzip, chunked` for chunked. Pure: no IO.

use http::uri::Authority;

/// Why a message is refused. All but the last three are smuggling-shaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    BothLengths,
    RepeatedLength,
    InvalidLength,
    TransferEncoding,
    ObsFold,
    HeaderName,
    HeaderValue,
    Host,
    RequestLine,
    LineEnd,
    Chunk,
    TooManyHeaders,
    HeadTooLarge,
    HeadTimeout,
}

const ALL: [Violation; 14] = [
    Violation::BothLengths,
    Violation::RepeatedLength,
    Violation::InvalidLength,
    Violation::TransferEncoding,
    Violation::ObsFold,
    Violation::HeaderName,
    Violation::HeaderValue,
    Violation::Host,
    Violation::RequestLine,
    Violation::LineEnd,
    Violation::Chunk,
    Violation::TooManyHeaders,
    Violation::HeadTooLarge,
    Violation::HeadTimeout,
];

impl Violation {
    pub fn number(self) -> u8 {
        self as u8
    }
    pub fn from_number(number: u8) -> Option<Self> {
        ALL.get(usize::from(number)).copied()
    }
    pub fn status(self) -> u16 {
        match self {
            Violation::TooManyHeaders | Violation::HeadTooLarge => 431,
            Violation::HeadTimeout => 408,
            _ => 400,
        }
    }
    pub fn detail(self) -> &'static str {
        match self {
            Violation::BothLengths => "Content-Length and Transfer-Encoding exclude each other; send one of them",
            Violation::RepeatedLength => "Content-Length may be sent once only",
            Violation::InvalidLength => "Content-Length must be one decimal number",
            Violation::TransferEncoding => "the only Transfer-Encoding taken is one \"chunked\", in HTTP/1.1",
            Violation::ObsFold => "a header may not be continued on the next line",
            Violation::HeaderName => "a header name must be a token, directly followed by a colon",
            Violation::HeaderValue => "a header value holds a control character",
            Violation::Host => "HTTP/1.1 needs exactly one Host header with a host and an optional port",
            Violation::RequestLine => "the request line must be METHOD SP TARGET SP HTTP/1.1",
            Violation::LineEnd => "lines must end in CR LF",
            Violation::Chunk => "the chunked body is malformed",
            Violation::TooManyHeaders => "too many header lines",
            Violation::HeadTooLarge => "request line and headers are too large",
            Violation::HeadTimeout => "the request's headers did not arrive in time",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub bytes: usize,
    pub headers: usize,
}

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

/// Length of the head at the start of `bytes`, its empty line included; `None` while that has not come.
pub fn head_length(bytes: &[u8], from: usize) -> Option<usize> {
    // Three bytes back: the terminator may have begun in what was there before.
    let start = from.saturating_sub(3);
    bytes[start..].windows(4).position(|w| w == b"\r\n\r\n").map(|i| start + i + 4)
}

/// The request line, without its end.
pub fn first_line(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|&b| b == b'\r').unwrap_or(head.len());
    &head[..end]
}

/// Bytes of empty lines before a request line, which RFC 9112 section 2.2 lets a server skip.
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    let mut skip = 0;
    while bytes[skip..].starts_with(b"\r\n") {
        skip += 2;
    }
    skip
}

/// Checks a whole head, its empty line included.
pub fn check_head(head: &[u8], limits: HeadLimits) -> Result<Framing, Violation> {
    let mut rest = head;
    let line = take_line(&mut rest)?;
    let is_http_11 = check_request_line(line)?;
    let (mut hosts, mut length, mut chunked, mut count) = (0_u32, None, false, 0_usize);
    loop {
        let line = take_line(&mut rest)?;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > limits.headers {
            return Err(Violation::TooManyHeaders);
        }
        let (name, value) = split_header(line)?;
        // The lengths of the four names that frame a message; all others need no look.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                hosts += 1;
                check_host(value)?;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if length.is_some() {
                    return Err(Violation::RepeatedLength);
                }
                length = Some(parse_length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if chunked || !is_http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Violation::TransferEncoding);
                }
                chunked = true;
            }
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && is_http_11) {
        return Err(Violation::Host);
    }
    match (length, chunked) {
        (Some(_), true) => Err(Violation::BothLengths),
        (None, true) => Ok(Framing::Chunked),
        (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
    }
}

/// The next line without its CR LF.
fn take_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Violation> {
    let end = rest.iter().position(|&b| b == b'\n').ok_or(Violation::LineEnd)?;
    let line = rest[..end].strip_suffix(b"\r").ok_or(Violation::LineEnd)?;
    *rest = &rest[end + 1..];
    Ok(line)
}

fn check_request_line(line: &[u8]) -> Result<bool, Violation> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Violation::RequestLine);
    };
    let target_is_sound = !target.is_empty() && target.iter().all(|&b| b > 0x20 && b != 0x7f && b != b'#');
    if method.is_empty() || !method.iter().all(|&b| TOKEN[usize::from(b)]) || !target_is_sound {
        return Err(Violation::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err(Violation::RequestLine),
    }
}

fn split_header(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Violation::ObsFold);
    }
    let colon = line.iter().position(|&b| !TOKEN[usize::from(b)]).ok_or(Violation::HeaderName)?;
    if colon == 0 || line[colon] != b':' {
        return Err(Violation::HeaderName);
    }
    let value = &line[colon + 1..];
    if !value.iter().all(|&b| (b >= 0x20 && b != 0x7f) || b == b'\t') {
        return Err(Violation::HeaderValue);
    }
    Ok((&line[..colon], value.trim_ascii()))
}

/// A host and an optional port, of bytes that nobody reads as anything else, and in a form that every request to a
/// service can have.
pub fn check_host(value: &[u8]) -> Result<(), Violation> {
    let sound = |&b: &u8| b.is_ascii_alphanumeric() || b".-_:[]~!$&'()*+;=".contains(&b);
    if !value.iter().all(sound) {
        return Err(Violation::Host);
    }
    let authority = Authority::try_from(value).map_err(|_| Violation::Host)?;
    let is_port = match &value[authority.host().len()..] {
        b"" | b":" => true,
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit) && authority.port_u16().is_some(),
        _ => false,
    };
    if authority.host().is_empty() || !is_port { Err(Violation::Host) } else { Ok(()) }
}

pub fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::InvalidLength);
    }
    Ok(value.iter().fold(0, |length, &b| length * 10 + u64::from(b - b'0')))
}

/// Follows a chunked body to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        bytes: u16,
    },
    SizeLf {
        last: bool,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, `bytes` of trailers so far.
    TrailerStart {
        bytes: u16,
    },
    Trailer {
        bytes: u16,
        name: bool,
    },
    TrailerLf {
        bytes: u16,
    },
    EndLf,
    End,
}

const EXTENSION_MAX: u16 = 1024;
const TRAILERS_MAX: u16 = 8192;

impl Chunks {
    pub fn new() -> Self {
        Chunks::Size { value: 0, digits: 0 }
    }

    /// Takes bytes up to the end of the body; returns how many belong to it. `self` is [`Chunks::End`] when it is over.
    pub fn feed(&mut self, size_so_far: &mut u64, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() && *self != Chunks::End {
            if let Chunks::Data { left } = *self {
                let here = left.min((bytes.len() - at) as u64);
                at += here as usize;
                *self = if here == left { Chunks::DataCr } else { Chunks::Data { left: left - here } };
                continue;
            }
            *self = self.step(size_so_far, bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// `size` remembers the chunk's size while its line is read to the end.
    fn step(self, size: &mut u64, byte: u8) -> Result<Self, Violation> {
        let next = match (self, byte) {
            (Chunks::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                let digit = char::from(byte).to_digit(16).expect("a hex digit");
                Chunks::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Chunks::Size { value, digits: 1.. }, b'\r') => {
                *size = value;
                Chunks::SizeLf { last: value == 0 }
            }
            (Chunks::Size { value, digits: 1.. }, b';') => {
                *size = value;
                Chunks::Extension { bytes: 0 }
            }
            (Chunks::Extension { .. }, b'\r') => Chunks::SizeLf { last: *size == 0 },
            (Chunks::Extension { bytes }, b'\t' | 0x20..=0x7e) if bytes < EXTENSION_MAX => {
                Chunks::Extension { bytes: bytes + 1 }
            }
            (Chunks::SizeLf { last: false }, b'\n') => Chunks::Data { left: *size },
            (Chunks::SizeLf { last: true }, b'\n') => Chunks::TrailerStart { bytes: 0 },
            (Chunks::DataCr, b'\r') => Chunks::DataLf,
            (Chunks::DataLf, b'\n') => Chunks::new(),
            (Chunks::TrailerStart { .. }, b'\r') => Chunks::EndLf,
            (Chunks::TrailerStart { bytes }, _) if TOKEN[usize::from(byte)] => {
                Chunks::Trailer { bytes: bytes + 1, name: true }
            }
            (Chunks::Trailer { bytes, name: true }, _) if bytes < TRAILERS_MAX && TOKEN[usize::from(byte)] => {
                Chunks::Trailer { bytes: bytes + 1, name: true }
            }
            (Chunks::Trailer { bytes, name: true }, b':') => Chunks::Trailer { bytes, name: false },
            (Chunks::Trailer { bytes, name: false }, b'\r') => Chunks::TrailerLf { bytes },
            (Chunks::Trailer { bytes, name: false }, b'\t' | 0x20..=0x7e | 0x80..) if bytes < TRAILERS_MAX => {
                Chunks::Trailer { bytes: bytes + 1, name: false }
            }
            (Chunks::TrailerLf { bytes }, b'\n') if bytes < TRAILERS_MAX => Chunks::TrailerStart { bytes },
            (Chunks::EndLf, b'\n') => Chunks::End,
            _ => return Err(Violation::Chunk),
        };
        Ok(next)
    }
}

/// RFC 9110 section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 32 << 10, headers: 100 };

    fn check(head: &str) -> Result<Framing, Violation> {
        check_head(head.as_bytes(), LIMITS)
    }

    #[test]
    fn sound_heads_pass_with_their_framing() {
        for (head, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nHost: a.:\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nHost: a_b~;c:65535\r\n\r\n", Framing::Length(0)),
            ("POST /a?b HTTP/1.1\r\nhost: a:80\r\ncontent-length: 12\r\n\r\n", Framing::Length(12)),
            ("POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("GET /caf\u{e9}?q=\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET http://a/b HTTP/1.1\r\nHost: a\r\nX: \t caf\u{e9}\r\nY:\r\n\r\n", Framing::Length(0)),
        ] {
            assert_eq!(check(head), Ok(framing), "{head:?}");
        }
    }

    #[test]
    fn smuggling_shaped_heads_are_refused() {
        let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let many = "x: y\r\n".repeat(100);
        for (head, violation) in [
            (with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), Violation::BothLengths),
            (with("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"), Violation::BothLengths),
            (with("Content-Length: 3\r\nContent-Length: 4\r\n"), Violation::RepeatedLength),
            (with("Content-Length: 3\r\nContent-Length: 3\r\n"), Violation::RepeatedLength),
            (with("Content-Length: 3, 3\r\n"), Violation::InvalidLength),
            (with("Content-Length: +3\r\n"), Violation::InvalidLength),
            (with("Content-Length: 0x3\r\n"), Violation::InvalidLength),
            (with("Content-Length: \r\n"), Violation::InvalidLength),
            (with("Content-Length: 9999999999999999999\r\n"), Violation::InvalidLength),
            (with("Transfer-Encoding: gzip, chunked\r\n"), Violation::TransferEncoding),
            (with("Transfer-Encoding: chunked, identity\r\n"), Violation::TransferEncoding),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Violation::TransferEncoding),
            (with("Transfer-Encoding: xchunked\r\n"), Violation::TransferEncoding),
            (with("Transfer-Encoding:\r\n"), Violation::TransferEncoding),
            (with("X: a\r\n b\r\n"), Violation::ObsFold),
            (with("X: a\r\n\tb\r\n"), Violation::ObsFold),
            (with("Content-Length : 3\r\n"), Violation::HeaderName),
            (with("Content Length: 3\r\n"), Violation::HeaderName),
            (with(": 3\r\n"), Violation::HeaderName),
            (with("no-colon\r\n"), Violation::HeaderName),
            (with("X: a\0b\r\n"), Violation::HeaderValue),
            (with("X: a\rb\r\n"), Violation::HeaderValue),
            (with("X: a\x7fb\r\n"), Violation::HeaderValue),
            (with("X: a\nContent-Length: 3\r\n"), Violation::LineEnd),
            (with("Host: b\r\n"), Violation::Host),
            (with(&many), Violation::TooManyHeaders),
            ("GET / HTTP/1.1\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a%41\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a:b:c\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: [\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: :80\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n".into(), Violation::Host),
            ("GET / HTTP/1.1\r\nHost: a:x\r\n\r\n".into(), Violation::Host),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLine),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), Violation::RequestLine),
            ("GET /#a HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLine),
            ("GET /\n HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::LineEnd),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLine),
            ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n".into(), Violation::RequestLine),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Violation::TransferEncoding),
        ] {
            assert_eq!(check(&head), Err(violation), "{head:?}");
        }
        for violation in ALL {
            assert_eq!(Violation::from_number(violation.number()), Some(violation));
        }
    }

    #[test]
    fn chunked_bodies_are_followed_to_their_end_however_they_are_cut() {
        let sound = "5\r\nhello\r\n00a;x=y\r\n0123456789\r\n0\r\nA: b\r\n\r\n";
        for step in 1..sound.len() {
            let (mut chunks, mut size, mut taken) = (Chunks::new(), 0, 0);
            for piece in sound.as_bytes().chunks(step) {
                taken += chunks.feed(&mut size, piece).unwrap();
            }
            assert_eq!((chunks, taken), (Chunks::End, sound.len()));
        }
        let pipelined = format!("{sound}GET / ");
        assert_eq!(Chunks::new().feed(&mut 0, pipelined.as_bytes()), Ok(sound.len()));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for bad in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhello\n",
            "fffffffffffffffff\r\n",
            "5;a\nb\r\nhello\r\n",
            "0\r\n\n",
            "0\r\nA b: c\r\n\r\n",
            "0\r\n A: b\r\n\r\n",
            "0\r\nA: b\n\r\n",
        ] {
            assert_eq!(Chunks::new().feed(&mut 0, bad.as_bytes()), Err(Violation::Chunk), "{bad:?}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_across_reads() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        assert_eq!(head_length(head, 0), Some(head.len() - 4));
        for cut in 1..head.len() - 4 {
            assert_eq!(head_length(&head[..cut], 0), None);
            assert_eq!(head_length(head, cut), Some(head.len() - 4), "{cut}");
        }
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
    }
}
