//! As much HTTP/1.1 as both ends of these tests need, read strictly.
use std::io::{self, BufRead};

/// Header lines as they came: in order, with their case.
pub type Headers = Vec<(String, String)>;

#[derive(Clone, Debug)]
pub struct Head {
    pub first_line: String,
    pub headers: Headers,
}

pub fn value<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

pub fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let line = line.strip_suffix("\r\n").ok_or_else(|| malformed("a line without CRLF"))?;
    Ok(Some(line.to_owned()))
}

/// `None`: the other side closed between two messages.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let Some(first_line) = line(reader)? else { return Ok(None) };
    let mut headers = Headers::new();
    loop {
        let line = line(reader)?.ok_or_else(|| malformed("closed within the headers"))?;
        if line.is_empty() {
            return Ok(Some(Head { first_line, headers }));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without a colon"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// `to_end`: a body without a length ends with the connection (answers only).
pub fn read_body(reader: &mut impl BufRead, headers: &Headers, to_end: bool) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if value(headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(reader)?.ok_or_else(|| malformed("closed within a chunk"))?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed("a chunk size"))?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk)?;
            body.extend(chunk);
            if size == 0 {
                while line(reader)?.is_some_and(|line| !line.is_empty()) {}
                return Ok(body);
            }
            line(reader)?;
        }
    }
    match value(headers, "content-length") {
        Some(length) => {
            body.resize(length.parse().map_err(|_| malformed("a content length"))?, 0);
            reader.read_exact(&mut body)?;
        }
        None if to_end => drop(reader.read_to_end(&mut body)?),
        None => {}
    }
    Ok(body)
}
