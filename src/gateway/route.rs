//! Which service a request is for, whether it is a write, and for which store. Pure.
use http::Method;

use super::parts::{self, Parts};
use super::path;
use super::rules::StoreFrom;

/// One entry of a service's `match`. Both parts absent: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// In lower case, without port; `*.example.com` takes any name below.
    pub host: Option<String>,
    /// Whole segments: `/a` takes `/a` and `/a/b`, not `/ab`.
    pub path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("service {service:?}: path {path:?} must begin with a slash and hold no query")]
    Path { service: String, path: String },
    #[error("services {first:?} and {second:?} both match host {host:?} and path {path:?}")]
    Twice { first: String, second: String, host: String, path: String },
    #[error("the path can be read in two ways, which lead to different services")]
    TwoWays,
    #[error("no store in the request: {from} is missing or empty")]
    StoreMissing { from: String },
    #[error("store {store:?}, named by {from}, does not belong to this service here")]
    StoreForeign { from: String, store: String },
}

#[derive(Clone, Debug)]
struct Entry {
    host: Option<String>,
    /// Without a slash at the end; `""` takes everything.
    prefix: String,
    service: usize,
}

/// All matches of all services, the most specific first.
#[derive(Clone, Debug, Default)]
pub struct Router {
    entries: Vec<Entry>,
    any_host: bool,
}

impl Router {
    /// `services`: names and matches; a request is routed to their index.
    pub fn new(services: &[(&str, &[Match])]) -> Result<Self, RouteError> {
        let mut entries: Vec<Entry> = Vec::new();
        for (service, (name, matches)) in services.iter().enumerate() {
            for one in *matches {
                let path = one.path.as_deref().unwrap_or("/");
                if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
                    return Err(RouteError::Path { service: name.to_string(), path: path.to_owned() });
                }
                let prefix = path::canonical(path).trim_end_matches('/').to_owned();
                let host = one.host.as_ref().map(|host| host.to_ascii_lowercase());
                if let Some(other) = entries.iter().find(|e| e.host == host && e.prefix == prefix) {
                    return Err(RouteError::Twice {
                        first: services[other.service].0.to_owned(),
                        second: name.to_string(),
                        host: host.unwrap_or_else(|| "*".to_owned()),
                        path: path.to_owned(),
                    });
                }
                entries.push(Entry { host, prefix, service });
            }
        }
        // A named host before a pattern before any; then the longest of each, so the first match is the best.
        let rank = |e: &Entry| e.host.as_ref().map_or((0, 0), |h| (if h.starts_with("*.") { 1 } else { 2 }, h.len()));
        entries.sort_by_key(|e| std::cmp::Reverse((rank(e), e.prefix.len())));
        let any_host = entries.iter().any(|e| e.host.is_some());
        Ok(Self { entries, any_host })
    }

    /// The index of the service for this host (without port) and path, as it was sent. Its one spelling decides. Where
    /// a less careful reading would lead to a more specific door of another service, nobody can say whose request it
    /// is.
    pub fn route(&self, host: &str, sent: &str) -> Result<Option<usize>, RouteError> {
        let found = self.find(host, &path::canonical(sent), false);
        let (careless, behind_host) = path::careless(sent);
        let others = [(Some(sent), false), (Some(&*careless), true), (behind_host.as_deref(), true)];
        let others = others.map(|(path, any_case)| self.find(host, path?, any_case));
        let is_better = |other: &&Entry| {
            found.is_some_and(|found| other.service != found.service && other.prefix.len() > found.prefix.len())
        };
        if path::holds_nul(sent) || others.iter().flatten().any(is_better) {
            return Err(RouteError::TwoWays);
        }
        Ok(found.map(|entry| entry.service))
    }

    fn find(&self, host: &str, path: &str, any_case: bool) -> Option<&Entry> {
        let lower;
        let host = if self.any_host && host.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            &lower
        } else {
            host
        };
        self.entries.iter().find(|e| e.takes_host(host) && e.takes_path(path, any_case))
    }
}

impl Entry {
    fn takes_host(&self, host: &str) -> bool {
        match self.host.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_prefix('*') {
                Some(below) => host.len() > below.len() && host.ends_with(below),
                None => host == pattern,
            },
        }
    }
    fn takes_path(&self, path: &str, any_case: bool) -> bool {
        let Some((start, rest)) = path.split_at_checked(self.prefix.len()) else { return false };
        let is_same = if any_case { start.eq_ignore_ascii_case(&self.prefix) } else { start == self.prefix };
        is_same && (self.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }
}

/// Methods that can change a service's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteMethods(Vec<Method>);

impl Default for WriteMethods {
    fn default() -> Self {
        Self(vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
    }
}

/// Methods that change nothing, by their definition: what a service with replicas takes beside its writes.
pub fn is_read(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "QUERY" | "PROPFIND" | "REPORT")
}

impl WriteMethods {
    pub fn new(methods: Vec<Method>) -> Self {
        Self(methods)
    }
    pub fn contains(&self, method: &Method) -> bool {
        self.0.contains(method)
    }
}

impl StoreFrom {
    /// The store that a request names; `is_known` says whether it is one of this service's.
    pub fn extract(&self, parts: &Parts<'_>, is_known: impl Fn(&str) -> bool) -> Result<String, RouteError> {
        let (from, store) = match self {
            StoreFrom::Header(name) => {
                let mut values = parts.headers.get_all(name).iter();
                // Two stores are none: neither may be preferred.
                let one = values.next().filter(|_| values.next().is_none());
                (format!("header {name}"), one.and_then(|v| v.to_str().ok()).map(str::to_owned))
            }
            StoreFrom::Host => {
                let first = parts.host.split('.').next().unwrap_or_default();
                ("the host's first label".to_owned(), Some(first.to_ascii_lowercase()))
            }
            StoreFrom::PathSegment(n) => {
                (format!("path segment {n}"), parts::segment(parts.path, *n).map(str::to_owned))
            }
        };
        match store.filter(|store| !store.is_empty()) {
            None => Err(RouteError::StoreMissing { from }),
            Some(store) if is_known(&store) => Ok(store),
            // Shown back to its sender: cut, whatever it was.
            Some(store) => Err(RouteError::StoreForeign { from, store: store.chars().take(64).collect() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::parts::test_support::*;

    fn path(path: &str) -> Match {
        Match { host: None, path: Some(path.into()) }
    }
    fn host(host: &str, path: &str) -> Match {
        Match { host: Some(host.into()), path: Some(path.into()) }
    }

    #[test]
    fn the_longest_whole_segments_win_and_hosts_come_first() {
        let router = Router::new(&[
            ("root", &[path("/")]),
            ("a", &[path("/a"), path("/x/y/")]),
            ("ab", &[path("/a/b")]),
            ("host", &[host("Shop.example", "/a")]),
            ("below", &[host("*.example", "/")]),
        ])
        .unwrap();
        for (host, path, service) in [
            ("h", "/", 0),
            ("h", "/ab", 0),
            ("h", "/a", 1),
            ("h", "/a/", 1),
            ("h", "/a/c", 1),
            ("h", "/a/b", 2),
            ("h", "/a/b/c", 2),
            ("h", "/a/bc", 1),
            ("h", "/x/y", 1),
            ("h", "/x/yz", 0),
            ("shop.example", "/a/b", 3),
            ("SHOP.example", "/a", 3),
            ("shop.example", "/b", 4),
            ("x.example", "/a", 4),
            (".example", "/a", 1),
            ("h", "*", 0),
        ] {
            assert_eq!(router.route(host, path), Ok(Some(service)), "{host}{path}");
        }
        let narrow = Router::new(&[("a", &[path("/a")])]).unwrap();
        assert_eq!(narrow.route("h", "/b"), Ok(None));
    }

    #[test]
    fn no_spelling_of_a_path_goes_around_its_service() {
        let router =
            Router::new(&[("rest", &[path("/")]), ("api", &[path("/api")]), ("old", &[path("/API/old")])]).unwrap();
        for (sent, service) in [
            ("//api/items", Some(1)),
            ("/%61pi/items", Some(1)),
            ("/./api", Some(1)),
            ("/x/../api", Some(1)),
            ("/x/%2e%2e/api", Some(1)),
            ("///%61%70%69//items", Some(1)),
            ("/api;a=b/items", None),
            ("/api%2fitems", None),
            ("/api%5citems", None),
            ("/api\\items", None),
            ("/\\api/items", None),
            ("/x%2f..%2fapi", None),
            ("/API/items", None),
            ("/x/..;/api/items", None),
            ("/api%3fx", None),
            ("/api%00x", None),
            ("/x%00", None),
            ("/%2561pi/items", None),
            ("/%252561pi/items", None),
            ("/%252e%252e/api", None),
            ("/api%20/items", None),
            ("/api./items", None),
            ("/api%09", None),
            ("/api%0a/items", None),
            ("/%20api", None),
            ("//h/api/items", None),
            ("/%2fh/api/items", None),
            ("/\\h/api/items", None),
            ("/api/../x", None),
            ("/API/old/x", Some(2)),
            // Odd, and the same for everybody.
            ("/x;a=b", Some(0)),
            ("/x%2Fy%2e%2e", Some(0)),
            ("//x//y", Some(0)),
            ("/x./%20y%2520", Some(0)),
            ("//h/x", Some(0)),
            ("//api/items/api", Some(1)),
            ("/api/a%2Fb;c=d//e/../f", Some(1)),
            ("/apis", Some(0)),
        ] {
            let expected = service.ok_or(RouteError::TwoWays);
            assert_eq!(router.route("h", sent), expected.map(Some), "{sent}");
        }
        let alone = Router::new(&[("all", &[host("shop.example", "/")])]).unwrap();
        for sent in ["*", "/a/../b/./c", "/a%2Fb%2e%2e", "//a//b", "/a;x=1", "/A\\b"] {
            assert_eq!(alone.route("shop.example", sent), Ok(Some(0)), "{sent}");
        }
    }

    #[test]
    fn impossible_matches_are_refused() {
        assert!(matches!(Router::new(&[("a", &[path("a")])]), Err(RouteError::Path { .. })));
        let twice = Router::new(&[("a", &[path("/a")]), ("b", &[path("/a/")])]).unwrap_err();
        assert!(twice.to_string().contains("\"a\" and \"b\" both match"), "{twice}");
    }

    #[test]
    fn a_store_is_taken_from_the_request_and_must_be_known() {
        let map = headers(&[("x-store", "store-1"), ("two", "store-1"), ("two", "store-1")]);
        let parts = Parts {
            path: "/api/store-1/x",
            host: "Store-1.example",
            headers: &map,
            client: "127.0.0.1".parse().unwrap(),
            body: b"",
        };
        let extract = |from: &str| from.parse::<StoreFrom>().unwrap().extract(&parts, |store| store == "store-1");
        for from in ["header:X-Store", "host", "path:2"] {
            assert_eq!(extract(from).as_deref(), Ok("store-1"), "{from}");
        }
        for from in ["header:x-other", "header:two", "path:9"] {
            assert!(matches!(extract(from), Err(RouteError::StoreMissing { .. })), "{from}");
        }
        assert!(matches!(extract("path:1"), Err(RouteError::StoreForeign { .. })));
    }
}
