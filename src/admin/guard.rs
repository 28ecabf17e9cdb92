//! Who may ask.
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use crate::problem::Cause;

/// With a token: whoever has it. Without one the listener is loopback (the configuration sees to that), and the danger is a
/// web page in a browser on this machine: it can post to 127.0.0.1 and can give its own name that address.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Hashed, so that comparing takes the same time whatever was sent.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub fn new(token: Option<String>) -> Self {
        Self { token: token.map(|token| Sha256::digest(token).into()) }
    }

    /// Probes have no token and learn nothing but up or down.
    pub fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Cause> {
        if matches!(path, "/health/live" | "/health/ready") && method == Method::GET {
            return Ok(());
        }
        let allowed = match self.token {
            Some(token) => bearer(headers).is_some_and(|sent| <[u8; 32]>::from(Sha256::digest(sent)) == token),
            None => names_loopback(headers) && !comes_from_a_page(headers),
        };
        if allowed { Ok(()) } else { Err(Cause::Unauthorized) }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    host.is_none_or(|host: http::uri::Authority| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    })
}

/// Browsers send `Origin` with every request that a page makes across sites.
fn comes_from_a_page(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    headers.get(ORIGIN).is_some_and(|origin| origin.to_str().ok() != Some(&format!("http://{host}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_and_a_foreign_page_does_not() {
        let token = Some("0123456789abcdef");
        // token | path | headers | allowed
        for (token, path, headers, allowed) in [
            (token, "/metrics", &[("authorization", "Bearer 0123456789abcdef")][..], true),
            (token, "/metrics", &[("authorization", "Bearer 0123456789abcdeF")][..], false),
            (token, "/metrics", &[][..], false),
            (token, "/health/ready", &[][..], true),
            (token, "/health", &[][..], false),
            (None, "/api/v1/status", &[("host", "127.0.0.1:9797")][..], true),
            (None, "/api/v1/status", &[("host", "[::1]:9797")][..], true),
            (None, "/api/v1/status", &[("host", "evil.example:9797")][..], false),
            (None, "/api/v1/status", &[("host", "localhost:9797"), ("origin", "http://localhost:9797")][..], true),
            (None, "/api/v1/status", &[("host", "localhost:9797"), ("origin", "https://evil.example")][..], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().unwrap());
            }
            let guard = Guard::new(token.map(str::to_owned));
            assert_eq!(guard.check(&Method::GET, path, &map).is_ok(), allowed, "{path} {headers:?}");
        }
    }
}
