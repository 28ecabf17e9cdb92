//! Who may ask.
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Version};
use sha2::{Digest, Sha256};

use crate::problem::Cause;

/// With a token: whoever has it. Without one the listener is loopback (the configuration sees to that), and the danger
/// is a web page in a browser on this machine: it can post to 127.0.0.1 and can give its own name that address.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Hashed, so that comparing takes the same time whatever was sent.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub fn new(token: Option<String>) -> Self {
        Self { token: token.map(|token| Sha256::digest(token).into()) }
    }

    /// How whoever passed has shown that he may.
    pub fn by(&self) -> &'static str {
        if self.token.is_some() { "admin.token" } else { "loopback" }
    }

    /// Probes have no token and learn nothing but up or down.
    pub fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Cause> {
        if matches!(path, "/health/live" | "/health/ready") && matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let allowed = match self.token {
            Some(token) => bearer(headers).is_some_and(|sent| <[u8; 32]>::from(Sha256::digest(sent)) == token),
            None => names_loopback(headers) && !comes_from_a_page(headers),
        };
        if allowed { Ok(()) } else { Err(Cause::Unauthorized) }
    }
}

/// RFC 9112 section 3.2: one Host, which is an address; of a target in absolute form the same one. HTTP/1.0, which some
/// probes speak, may have none: browsers, against whom names are checked, do not speak it.
pub(super) fn is_addressed<B>(request: &Request<B>) -> Result<(), Cause> {
    let refused = |what| Err(Cause::BadRequest { what });
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_10 && request.uri().authority().is_none() => return Ok(()),
        (None, _) => return refused("the request has no Host"),
        (Some(_), Some(_)) => return refused("the request has more than one Host"),
        (Some(host), None) => host.to_str().ok().and_then(authority),
    };
    let Some(host) = host else { return refused("its Host is not a name or address with an optional port") };
    match request.uri().authority() {
        Some(target) if *target != host => refused("its target and its Host name different authorities"),
        _ => Ok(()),
    }
}

fn authority(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let rest = text.strip_prefix(authority.host())?;
    let is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (is_port && !authority.host().is_empty()).then_some(authority)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    host.is_none_or(|host: http::uri::Authority| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        let name = name.strip_suffix('.').unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
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
    fn a_request_names_whom_it_asks_once() {
        // version | target | hosts | allowed
        let one = Version::HTTP_11;
        for (version, target, hosts, allowed) in [
            (one, "/", &["127.0.0.1:9797"][..], true),
            (one, "/", &["[::1]:9797"], true),
            (one, "/", &["10.1.2.3"], true),
            (one, "/", &["any.name"], true),
            (one, "/", &[], false),
            (one, "/", &["a", "a"], false),
            (one, "/", &[""], false),
            (one, "/", &["a b"], false),
            (one, "/", &["a:70000"], false),
            (one, "/", &["a:"], false),
            (one, "/", &["user@a"], false),
            (one, "/", &["a/b"], false),
            (one, "/", &["[::1"], false),
            (one, "http://a:1/", &["A:1"], true),
            (one, "http://a:1/", &["a:2"], false),
            (one, "http://evil.example/", &["localhost"], false),
            (Version::HTTP_10, "/", &[], true),
            (Version::HTTP_10, "http://a/", &[], false),
            (Version::HTTP_10, "/", &["a", "b"], false),
        ] {
            let mut request = Request::builder().version(version).uri(target);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let judged = is_addressed(&request.body(()).unwrap());
            assert_eq!(judged.is_ok(), allowed, "{version:?} {target} {hosts:?}");
        }
    }

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
            (None, "/api/v1/status", &[("host", "LocalHost.:9797")][..], true),
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
