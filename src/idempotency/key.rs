//! Reading a client's key.
use http::{HeaderMap, HeaderName, Method};

/// Which header carries the key where `Idempotency-Key` is absent, and how answers speak of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    #[default]
    Ietf,
    /// `x-request-id` is the key; replays carry `idempotency-status` and `x-envoy-ratelimited`.
    Envoy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    pub dialect: Dialect,
    /// A POST or PATCH without a key is refused.
    pub require_key: bool,
}

/// Why a request's key cannot be used. The key itself is never shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("{header} is empty; send 1 to 255 visible ASCII characters, bare or as a quoted string")]
    Empty { header: HeaderName },
    #[error("{header} was sent {times} times; send it once")]
    Repeated { header: HeaderName, times: usize },
    #[error("{header} has {length} characters; at most {KEY_MAX} are allowed")]
    TooLong { header: HeaderName, length: usize },
    #[error(
        "{header} is malformed at byte {at}: {what}; send 1 to 255 visible ASCII characters, bare or as a quoted string"
    )]
    Malformed { header: HeaderName, at: usize, what: &'static str },
    #[error("this service takes no {method} without an Idempotency-Key header; send a fresh UUID per operation")]
    Missing { method: Method },
}

const KEY_MAX: usize = 255;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The key that the client named, without quotes. `None`: it named none, or the method has no use for one.
pub fn read(method: &Method, headers: &HeaderMap, rules: KeyRules) -> Result<Option<String>, KeyError> {
    let always = matches!(*method, Method::POST | Method::PATCH);
    if method.is_safe() {
        return Ok(None);
    }
    let mut key = read_header(headers, IDEMPOTENCY_KEY)?;
    if key.is_none() && rules.dialect == Dialect::Envoy {
        key = read_header(headers, X_REQUEST_ID)?;
    }
    if key.is_none() && always && rules.require_key {
        return Err(KeyError::Missing { method: method.clone() });
    }
    Ok(key)
}

/// The key in a header as it is kept.
pub fn text_of(value: &[u8]) -> Option<String> {
    unquote(value).ok().filter(|key| !key.is_empty())
}

fn read_header(headers: &HeaderMap, header: HeaderName) -> Result<Option<String>, KeyError> {
    let mut values = headers.get_all(&header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let more = values.count();
    if more > 0 {
        return Err(KeyError::Repeated { header, times: more + 1 });
    }
    let key =
        unquote(value.as_bytes()).map_err(|(at, what)| KeyError::Malformed { header: header.clone(), at, what })?;
    match key.len() {
        0 => Err(KeyError::Empty { header }),
        length if length > KEY_MAX => Err(KeyError::TooLong { header, length }),
        _ => Ok(Some(key)),
    }
}

/// A structured-field string (RFC 8941 section 3.3.3) or a bare value; both mean the same key.
fn unquote(value: &[u8]) -> Result<String, (usize, &'static str)> {
    let value = value.trim_ascii();
    let Some(quoted) = value.strip_prefix(b"\"") else {
        if let Some(at) = value.iter().position(|&b| !visible(b)) {
            return Err((at, "a character that is not visible ASCII"));
        }
        if let Some(at) = value.iter().position(|&b| matches!(b, b'"' | b',' | b';')) {
            return Err((at, "a quote, comma or semicolon in a bare key"));
        }
        return Ok(value.iter().map(|&b| char::from(b)).collect());
    };
    let mut key = String::with_capacity(quoted.len());
    let mut bytes = quoted.iter().enumerate();
    while let Some((i, &byte)) = bytes.next() {
        let at = i + 1;
        match byte {
            b'"' if i + 1 == quoted.len() => return Ok(key),
            b'"' => return Err((at + 1, "something after the closing quote")),
            b'\\' => match bytes.next() {
                Some((_, &escaped @ (b'"' | b'\\'))) => key.push(char::from(escaped)),
                _ => return Err((at, "a backslash that escapes neither a quote nor a backslash")),
            },
            byte if visible(byte) => key.push(char::from(byte)),
            _ => return Err((at, "a character that is not visible ASCII")),
        }
    }
    Err((value.len(), "the closing quote is missing"))
}

fn visible(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    #[test]
    fn quoted_and_bare_keys_are_the_same() {
        let long = "k".repeat(255);
        let table: &[(&[u8], &str)] = &[
            (b"abc", "abc"),
            (b"\"abc\"", "abc"),
            (b"  abc\t", "abc"),
            (b"\"a\\\"b\\\\c\"", "a\"b\\c"),
            (b"\"a,b;c\"", "a,b;c"),
            (b"8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            (long.as_bytes(), &long),
        ];
        for (value, key) in table {
            let read = read(&Method::POST, &headers(&[("idempotency-key", value)]), KeyRules::default());
            assert_eq!(read, Ok(Some(key.to_string())));
        }
    }

    #[test]
    fn bad_keys_are_refused_and_told_apart() {
        let long = "k".repeat(256);
        let quoted_long = format!("\"{long}\"");
        let table: &[(&[u8], &str)] = &[
            (b"", "is empty"),
            (b"   ", "is empty"),
            (b"\"\"", "is empty"),
            (long.as_bytes(), "256 characters"),
            (quoted_long.as_bytes(), "256 characters"),
            (b"a b", "malformed at byte 1"),
            (b"\"a b\"", "malformed at byte 2"),
            (b"a,b", "comma"),
            (b"a\"b", "quote"),
            (b"\"abc", "closing quote is missing"),
            (b"\"abc\" ;p=1", "after the closing quote"),
            (b"\"a\\bc\"", "backslash"),
            (b"\"a\\", "backslash"),
            (b"caf\xc3\xa9", "not visible ASCII"),
        ];
        for (value, says) in table {
            let error = read(&Method::PATCH, &headers(&[("idempotency-key", value)]), KeyRules::default()).unwrap_err();
            assert!(error.to_string().contains(says), "{value:?}: {error}");
        }
        let twice = headers(&[("idempotency-key", b"a"), ("idempotency-key", b"a")]);
        assert!(matches!(read(&Method::POST, &twice, KeyRules::default()), Err(KeyError::Repeated { times: 2, .. })));
    }

    #[test]
    fn which_methods_and_headers_count() {
        let envoy = KeyRules { dialect: Dialect::Envoy, require_key: false };
        let required = KeyRules { dialect: Dialect::Ietf, require_key: true };
        let both = headers(&[("x-request-id", b"r"), ("idempotency-key", b"k")]);
        let request_id = headers(&[("x-request-id", b"r")]);
        let none = headers(&[]);
        let some = |key: &str| Ok(Some(key.to_owned()));
        assert_eq!(read(&Method::GET, &both, required), Ok(None));
        assert_eq!(read(&Method::OPTIONS, &headers(&[("idempotency-key", b"")]), required), Ok(None));
        assert_eq!(read(&Method::PUT, &both, required), some("k"));
        assert_eq!(read(&Method::DELETE, &none, required), Ok(None));
        assert_eq!(read(&Method::POST, &both, envoy), some("k"));
        assert_eq!(read(&Method::POST, &request_id, envoy), some("r"));
        assert_eq!(read(&Method::POST, &request_id, KeyRules::default()), Ok(None));
        assert_eq!(read(&Method::PATCH, &request_id, required), Err(KeyError::Missing { method: Method::PATCH }));
    }
}
