//! Values that routing, stores, lanes and scopes take from a request. Pure.
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

/// What a rule may look at.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub path: &'a str,
    /// Host without port, as the client named it.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
    pub client: IpAddr,
    /// Empty where the body is not read before the rule runs.
    pub body: &'a [u8],
}

/// The `n`th segment of a path, counted from 1.
pub fn segment(path: &str, n: usize) -> Option<&str> {
    path.strip_prefix('/')?.split('/').nth(n - 1).filter(|segment| !segment.is_empty())
}

/// The value of a cookie, the first of that name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(COOKIE).iter().find_map(|line| {
        line.as_bytes().split(|&b| b == b';').find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(value.trim_ascii())
        })
    })
}

/// A claim of the bearer token's payload, as text. The signature is *not* checked here.
pub fn claim(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut pieces = token.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) = (pieces.next(), pieces.next(), pieces.next(), pieces.next()) else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    scalar(claims.get(name)?)
}

/// A text, number or truth value as text; nothing else names a lane or a store.
pub fn scalar(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
    .filter(|text| !text.is_empty())
}

/// An authority without its port, and without the dot that says that a name is whole.
pub fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.strip_suffix('.').filter(|host| !host.is_empty()).unwrap_or(host)
}

#[cfg(test)]
pub mod test_support {
    use super::*;
    use http::HeaderValue;

    pub fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }
    pub fn bearer(payload: &str) -> String {
        format!("Bearer e30.{}.sig", URL_SAFE_NO_PAD.encode(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::*;
    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        assert_eq!(segment("/stores/42/x", 2), Some("42"));
        assert_eq!(segment("/stores//x", 2), None);
        assert_eq!(segment("/stores", 2), None);
        assert_eq!(segment("*", 1), None);
        let map = headers(&[("cookie", "a=1; sid=x y; b=2"), ("cookie", "sid2=z")]);
        assert_eq!(cookie(&map, "sid"), Some(&b"x y"[..]));
        assert_eq!(cookie(&map, "sid2"), Some(&b"z"[..]));
        assert_eq!(cookie(&map, "si"), None);
        for (host, bare) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a.b.:80", "a.b"), ("a.", "a")]
        {
            assert_eq!(host_of(host), bare);
        }
        let map = headers(&[("authorization", &bearer(r#"{"sub":"till-7","n":4,"list":[]}"#))]);
        assert_eq!(claim(&map, "sub").as_deref(), Some("till-7"));
        assert_eq!(claim(&map, "n").as_deref(), Some("4"));
        for (name, value) in
            [("list", "Bearer a.b.c"), ("sub", "Bearer a"), ("sub", "Basic eA=="), ("sub", "Bearer e30.e30")]
        {
            assert_eq!(claim(&headers(&[("authorization", value)]), name), None);
        }
        assert_eq!(claim(&map, "list"), None);
    }
}
