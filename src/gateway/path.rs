//! One spelling of a path (RFC 3986 section 6.2.2), and what a careless service might read in it. Pure.
use std::borrow::Cow;

/// The spelling by which routes, stores, lanes and digests compare paths: unreserved bytes as they are, all others that
/// are encoded with capital digits, raw bytes beyond ASCII encoded, no dot segments, no empty segments but one at the
/// end.
pub fn canonical(path: &str) -> Cow<'_, str> {
    let plain = path.starts_with('/') && path.is_ascii() && !path.contains('%');
    if !path.starts_with('/') || (plain && !path.contains("//") && !path.contains("/.")) {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut spelled = String::with_capacity(path.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], encoded(&bytes[at..])) {
            (_, Some(byte)) => {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    spelled.push(char::from(byte));
                } else {
                    push_encoded(&mut spelled, byte);
                }
                at += 3;
                continue;
            }
            (byte, None) if byte.is_ascii() => spelled.push(char::from(byte)),
            (byte, None) => push_encoded(&mut spelled, byte),
        }
        at += 1;
    }
    Cow::Owned(without_dots(&spelled))
}

/// What the most careless of services make of a path: everything decoded, as often as it is encoded, a backslash for a
/// slash, no parameters, all in small letters, nothing after what ends a path or a C string, and no dots and blanks at
/// the ends of segments. The second reading takes what follows two slashes for a host.
pub fn careless(path: &str) -> (String, Option<String>) {
    let mut decoded = Vec::with_capacity(path.len());
    for &byte in path.as_bytes() {
        decoded.push(byte);
        // What was decoded may end what is encoded once more.
        while let Some(byte) = decoded.len().checked_sub(3).and_then(|at| encoded(&decoded[at..])) {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    let end = decoded.iter().position(|byte| matches!(byte, b'?' | b'#' | 0)).unwrap_or(decoded.len());
    let text = String::from_utf8_lossy(&decoded[..end]).to_ascii_lowercase().replace('\\', "/");
    let bare: Vec<&str> = text.split('/').map(|segment| bare(segment.split(';').next().unwrap_or_default())).collect();
    let behind_host = text.strip_prefix("//").map(|_| {
        let host = bare.iter().position(|segment| !segment.is_empty()).unwrap_or(bare.len() - 1);
        without_dots(&format!("/{}", bare[host + 1..].join("/")))
    });
    (without_dots(&bare.join("/")), behind_host)
}

/// Without what some file systems do not see at the ends of a name.
fn bare(segment: &str) -> &str {
    let is_blank = |sign: char| sign.is_whitespace() || sign.is_control();
    let segment = segment.trim_matches(is_blank);
    if matches!(segment, "." | "..") {
        return segment;
    }
    segment.trim_end_matches(|sign| sign == '.' || is_blank(sign))
}

/// Whether the path holds an encoded NUL, which ends it for some and not for others.
pub fn holds_nul(path: &str) -> bool {
    path.contains("%00")
}

/// A target whose bytes beyond ASCII are percent-encoded.
pub fn in_ascii(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len() + 8);
    for &byte in target {
        if byte.is_ascii() { text.push(char::from(byte)) } else { push_encoded(&mut text, byte) }
    }
    text
}

fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// The byte that is encoded at the start of `bytes`, if one is.
fn encoded(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? << 4 | digit(*low)?) as u8)
}

/// RFC 3986 section 5.2.4, and empty segments left out.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let ends_open = path.rsplit('/').next().is_none_or(|last| matches!(last, "" | "." | ".."));
    let mut whole = String::with_capacity(path.len());
    for segment in &kept {
        whole.push('/');
        whole.push_str(segment);
    }
    if ends_open || kept.is_empty() {
        whole.push('/');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling() {
        for (path, spelling) in [
            ("/", "/"),
            ("*", "*"),
            ("/api/items", "/api/items"),
            ("//api/items", "/api/items"),
            ("/%61pi/items", "/api/items"),
            ("/./api", "/api"),
            ("/x/../api", "/api"),
            ("/x/%2e%2E/api/", "/api/"),
            ("/api/.", "/api/"),
            ("/api/x/..", "/api/"),
            ("/../..", "/"),
            ("/api//", "/api/"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%zz%4", "/a%zz%4"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%7Eb%2D", "/a~b-"),
        ] {
            assert_eq!(canonical(path), spelling, "{path}");
            assert_eq!(canonical(spelling), spelling, "once more: {path}");
        }
    }

    #[test]
    fn a_careless_reading_goes_through_every_disguise() {
        for path in [
            "/api/items",
            "/API/items",
            "/api;a=b/items",
            "/api%2fitems",
            "/api%5Citems",
            "\\api\\items",
            "/x/..%2fapi/items",
            "/x/..;/api/items",
            "/api/items%00.png",
            "/api/items%3fx",
            "/api/items%23x",
            "/%61%70%69/items",
            "/%2561pi/items",
            "/%25252525%2561pi/../api/items",
            "/%%361pi/items",
            "/x%252f..%25252fapi/items",
            "/api%20/items",
            "/api%09/items.",
            "/api../items",
            "/api. ./items%0a",
            "/%20api/items",
            "/api%0d%0a/items",
            "/x/..%20/api/items",
        ] {
            assert_eq!(careless(path).0, "/api/items", "{path}");
        }
        for path in ["//h/api/items", "///h/api/items", "/%2fh//api/items", "/\\h/api/items", "\\/h:1/%61pi/items"] {
            assert_eq!(careless(path).1.as_deref(), Some("/api/items"), "{path}");
        }
        for (path, behind) in [("//", "/"), ("//h", "/"), ("//h/", "/"), ("///", "/")] {
            assert_eq!(careless(path).1.as_deref(), Some(behind), "{path}");
        }
        assert_eq!(careless("/h/api").1, None);
        // As long as a target may be, and encoded as deeply.
        let deep = format!("/%{}61pi", "25".repeat(30_000));
        assert_eq!(careless(&deep).0, "/api");
        assert_eq!(in_ascii(b"/M\xfcller?q=\xc3\xbc"), "/M%FCller?q=%C3%BC");
    }
}
