//! What a proxy does to headers (RFC 9110 section 7.6): takes out what is meant for one hop, says who it is, and lets
//! nobody speak in our name.
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{
    CONNECTION, Entry, FORWARDED, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{Extensions, Method};
use hyper::ext::ReasonPhrase;

use super::h1::Spelling;
use super::room::{self, Share};
use super::route::is_read;
use super::spelling::Spelled;
use crate::model::Header;
use crate::service::Sender;

pub const HOLDFAST_SEEN: HeaderName = HeaderName::from_static("holdfast-seen");
pub const HOLDFAST_WRITE: HeaderName = HeaderName::from_static("holdfast-write");
pub const HOLDFAST_SERVED_BY: HeaderName = HeaderName::from_static("holdfast-served-by");
/// Names one exchange with an endpoint, anew each time, so that nobody can say it of another one.
pub const HOLDFAST_HOP: HeaderName = HeaderName::from_static("holdfast-hop");
/// On 508: an appliance found that the request had been there before, and did nothing. It says `Holdfast-Hop` of the
/// request.
pub const HOLDFAST_LOOP: HeaderName = HeaderName::from_static("holdfast-loop");
pub const HOLDFAST_ORIGIN: HeaderName = HeaderName::from_static("holdfast-origin");
pub const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const VIA_US: HeaderValue = HeaderValue::from_static("1.1 holdfast");

/// Headers that only the appliance itself may send: a client's are dropped.
fn is_private(name: &str) -> bool {
    match name.as_bytes()[0] {
        b'h' => name.starts_with("holdfast-"),
        b'x' => matches!(name, "x-wso2-cluster-header" | "x-envoy-internal" | "x-trace-key"),
        _ => false,
    }
}

/// What frameworks take for the method, whatever the request line says.
const INSTEAD: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Whether no header puts a method that may change something in the place of one that reads, in any spelling that a
/// service may take for it.
pub fn method_stays(headers: &HeaderMap) -> bool {
    let reads = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii().to_ascii_uppercase();
        Method::from_bytes(&value).is_ok_and(|method| is_read(&method))
    };
    let says = |name: &HeaderName| match plain_name(name) {
        Some(plain) => INSTEAD.contains(&plain.as_str()),
        None => INSTEAD.contains(&name.as_str()),
    };
    headers.iter().filter(|(name, _)| says(name)).all(|(_, value)| reads(value))
}

/// Headers that mean something from end to end, or that somebody on the way decides by: no client may have them taken
/// away by naming them in `Connection`, or say them again in another spelling.
fn is_relied_on(name: &str) -> bool {
    const RELIED_ON: [&str; 30 + INSTEAD.len()] = [
        "accept",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "date",
        "etag",
        "expect",
        "forwarded",
        "host",
        "idempotency-key",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "origin",
        "prefer",
        "range",
        "referer",
        "set-cookie",
        "traceparent",
        "tracestate",
        "via",
        "x-real-ip",
        "x-request-id",
        "x-session-id",
        INSTEAD[0],
        INSTEAD[1],
        INSTEAD[2],
    ];
    name.starts_with("x-forwarded-") || is_private(name) || RELIED_ON.contains(&name)
}

/// Takes out what concerns one connection only, and what `Connection` nominates. `TE: trailers` stays meaningful to the
/// next hop and is kept.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_request_hops(headers, |_| false);
}

/// The same, for a request of which `means` says what else is looked at.
pub fn strip_request_hops(headers: &mut HeaderMap, means: impl Fn(&HeaderName) -> bool) {
    if let Entry::Occupied(entry) = headers.entry(CONNECTION) {
        let (_, lines) = entry.remove_entry_mult();
        let lines: Vec<HeaderValue> = lines.collect();
        for token in lines.iter().flat_map(|line| line.as_bytes().split(|&b| b == b',')) {
            // `TE` is always nominated; what is not of this hop is not for a client to take out.
            let token = token.trim_ascii();
            let plain = token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive");
            if plain || token.eq_ignore_ascii_case(b"te") {
                continue;
            }
            if let Ok(name) = HeaderName::from_bytes(token)
                && !is_relied_on(name.as_str())
                && !means(&name)
            {
                headers.remove(name);
            }
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    if let Entry::Occupied(mut entry) = headers.entry(TE) {
        let trailers = |value: &HeaderValue| {
            value.as_bytes().split(|&b| b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
        };
        if entry.iter().any(trailers) {
            entry.insert(HeaderValue::from_static("trailers"));
        } else {
            entry.remove();
        }
    }
}

/// The name that a service behind CGI, WSGI or FastCGI cannot tell from this one: all that is neither letter nor digit
/// is one sign there. `None`: it is spelled as it should be.
fn plain_name(name: &HeaderName) -> Option<HeaderName> {
    let is_odd = |b: u8| !b.is_ascii_alphanumeric() && b != b'-';
    if !name.as_str().bytes().any(is_odd) {
        return None;
    }
    let plain: Vec<u8> = name.as_str().bytes().map(|b| if is_odd(b) { b'-' } else { b }).collect();
    HeaderName::from_bytes(&plain).ok()
}

/// Takes out headers that only we may send, and twins (`Holdfast_Replay`) of those, of what is relied on (`means`: by
/// this service), and of others that are there in their right spelling. They are rare: one pass finds out that there
/// are none.
pub fn strip_private(headers: &mut HeaderMap, means: impl Fn(&HeaderName) -> bool) {
    let is_bad = |name: &&HeaderName| {
        is_private(name.as_str())
            || plain_name(name)
                .is_some_and(|plain| is_relied_on(plain.as_str()) || means(&plain) || headers.contains_key(&plain))
    };
    let found: Vec<HeaderName> = headers.keys().filter(is_bad).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Takes out of a service's answer what only the appliance says to a client.
pub fn strip_answer(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("holdfast-")).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Takes out of a message's trailers what belongs to its head: what frames, routes or describes it, and what is not for
/// others to say (RFC 9110 section 6.5.1). In any spelling: a service may put all of them with its headers.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    const OF_THE_HEAD: [&str; 13] = [
        "age",
        "connection",
        "content-range",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "retry-after",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    let is_bad = |name: &&HeaderName| {
        let plain = plain_name(name);
        let name = plain.as_ref().unwrap_or(*name).as_str();
        is_relied_on(name) || OF_THE_HEAD.contains(&name)
    };
    let found: Vec<HeaderName> = trailers.keys().filter(is_bad).cloned().collect();
    for name in found {
        trailers.remove(name);
    }
}

pub fn new_hop() -> HeaderValue {
    HeaderValue::try_from(format!("{:016x}", fastrand::u64(..))).unwrap_or(VIA_US)
}

pub fn append_via(headers: &mut HeaderMap) {
    headers.append(VIA, VIA_US);
}

/// A new name for what stands in `Via` of what is sent to a service, borne by nobody else. A request that brings it
/// back to the same service has gone in a circle; one that a service sends on to another service has not.
pub fn via_service(service: &str) -> HeaderValue {
    let name = format!("1.1 holdfast-{:016x}.{service}", fastrand::u64(..));
    HeaderValue::try_from(name).unwrap_or(VIA_US)
}

/// Whether a request has come back that was sent with `via`.
pub fn has_come_back(headers: &HeaderMap, via: &HeaderValue) -> bool {
    let is_ours = |part: &[u8]| part.trim_ascii() == via.as_bytes();
    headers.get_all(VIA).iter().any(|line| line.as_bytes().split(|&b| b == b',').any(is_ours)) && *via != VIA_US
}

/// What a connection adds to each of its requests, written once.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: IpAddr,
    pub is_tls: bool,
    /// What its address holds.
    pub share: Arc<Share>,
    x_forwarded_for: HeaderValue,
    /// `for=…;proto=…;host="`
    forwarded: String,
}

impl Client {
    /// As limits count addresses: a network of IPv6 is one.
    pub fn sender(&self) -> Sender {
        Sender(match room::network(self.address) {
            IpAddr::V4(v4) => v4.to_bits().into(),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        })
    }

    pub fn new(address: IpAddr, is_tls: bool, share: Arc<Share>) -> Self {
        let address = address.to_canonical();
        let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        let proto = if is_tls { "https" } else { "http" };
        let x_forwarded_for = HeaderValue::try_from(address.to_string()).expect("an address is visible ASCII");
        Self { address, is_tls, share, x_forwarded_for, forwarded: format!("for={node};proto={proto};host=\"") }
    }

    /// Appends to what earlier proxies said. The client's own claims stay, to the left, where nobody should trust them.
    pub fn append_forwarded(&self, headers: &mut HeaderMap, authority: &HeaderValue) {
        headers.append(X_FORWARDED_FOR, self.x_forwarded_for.clone());
        if let Entry::Vacant(entry) = headers.entry(X_FORWARDED_PROTO) {
            entry.insert(HeaderValue::from_static(if self.is_tls { "https" } else { "http" }));
        }
        if let Entry::Vacant(entry) = headers.entry(X_FORWARDED_HOST) {
            entry.insert(authority.clone());
        }
        let mut line = Vec::with_capacity(self.forwarded.len() + authority.len() + 1);
        line.extend_from_slice(self.forwarded.as_bytes());
        line.extend_from_slice(authority.as_bytes());
        line.push(b'"');
        // An authority holds no quote, so this is always a valid value.
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(line)) {
            headers.append(FORWARDED, value);
        }
    }
}

/// Of a kept request, from what [`Client::append_forwarded`] said: the last line is ours, whatever a client said
/// before.
pub fn client_of(headers: &HeaderMap) -> Option<IpAddr> {
    headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?.parse().ok()
}

/// Headers as a request or answer is kept: in order, names as they were spelled where that is known.
pub fn keep(headers: &HeaderMap, extensions: &Extensions, without: &[HeaderName]) -> Vec<Header> {
    let mut kept = Vec::with_capacity(headers.len() + 3);
    let mut spelled = Spelled::new(extensions.get::<Spelling>());
    for (name, value) in headers {
        if !without.contains(name) {
            kept.push(Header { name: spelled.next(name), value: value.as_bytes().to_vec() });
        }
    }
    kept
}

/// Where a kept answer has the reason phrase that its service gave, if that was not the usual one. No header is named
/// so.
const REASON: &str = ":reason";

pub fn keep_reason(extensions: &Extensions, kept: &mut Vec<Header>) {
    if let Some(reason) = extensions.get::<ReasonPhrase>() {
        kept.push(Header { name: REASON.to_owned(), value: reason.as_bytes().to_vec() });
    }
}

pub fn restore_reason(kept: &[Header], into: &mut Extensions) {
    let reason = kept.iter().find(|header| header.name == REASON);
    if let Some(Ok(reason)) = reason.map(|header| ReasonPhrase::try_from(header.value.as_slice())) {
        into.insert(reason);
    }
}

/// The reverse. A line that is no header any more is left out: it came from one, so there is none.
pub fn restore(kept: &[Header], into: &mut HeaderMap) {
    into.reserve(kept.len() + 4);
    for header in kept {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_bytes(&header.value))
        {
            into.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::parts::test_support::headers;

    fn names(map: &HeaderMap) -> Vec<&str> {
        map.keys().map(|n| n.as_str()).collect()
    }

    #[test]
    fn what_concerns_one_connection_is_taken_out() {
        let mut map = headers(&[
            ("connection", "X-One, close"),
            ("connection", "te, x-two ,content-length,host"),
            ("host", "h"),
            ("content-length", "3"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "5"),
            ("proxy-connection", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("te", "gzip, Trailers"),
            ("trailer", "x"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left = names(&map);
        left.sort_unstable();
        assert_eq!(left, ["content-length", "host", "te", "trailer", "x-three"]);
        assert_eq!(map["te"], "trailers");
        let mut map = headers(&[("te", "gzip")]);
        strip_hop_by_hop(&mut map);
        assert!(map.is_empty());
    }

    #[test]
    fn nobody_speaks_in_our_name() {
        let mut map = headers(&[
            ("holdfast-replay", "true"),
            ("holdfast-anything", "x"),
            ("x-wso2-cluster-header", "x"),
            ("x-envoy-internal", "true"),
            ("x-trace-key", "x"),
            ("x-other", "x"),
            ("holdfas", "x"),
        ]);
        strip_private(&mut map, |_| false);
        let mut left = names(&map);
        left.sort_unstable();
        assert_eq!(left, ["holdfas", "x-other"]);
    }

    #[test]
    fn a_header_in_another_spelling_is_no_second_one() {
        let mut map = headers(&[
            ("holdfast_replay", "true"),
            ("holdfast.replay", "true"),
            ("holdfast-original_status", "x"),
            ("idempotency_key", "k"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x.forwarded_host", "h"),
            ("content_length", "1"),
            ("x_session_id", "s"),
            ("x_request_id", "r"),
            ("x_store", "s"),
            ("x-api-key", "right"),
            ("x_api_key", "twin"),
            ("api_key", "stays"),
            ("x_mine", "stays"),
        ]);
        strip_private(&mut map, |name| name == "x-store");
        let mut left = names(&map);
        left.sort_unstable();
        assert_eq!(left, ["api_key", "x-api-key", "x_mine"]);
    }

    #[test]
    fn a_trailer_says_nothing_that_belongs_to_the_head() {
        let mut map = headers(&[
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("host", "h"),
            ("holdfast-replay", "true"),
            ("holdfast_replay", "true"),
            ("idempotency.key", "k"),
            ("authorization", "x"),
            ("connection", "close"),
            ("x-forwarded-for", "1.2.3.4"),
            ("te", "x"),
            ("x-checksum", "stays"),
            ("grpc-status", "0"),
        ]);
        strip_trailers(&mut map);
        let mut left = names(&map);
        left.sort_unstable();
        assert_eq!(left, ["grpc-status", "x-checksum"]);
        let mut map = headers(&[("holdfast-loop", "x"), ("holdfast-anything", "x"), ("x-mine", "stays")]);
        strip_answer(&mut map);
        assert_eq!(names(&map), ["x-mine"]);
    }

    #[test]
    fn a_method_in_a_header_counts_in_every_spelling() {
        for name in ["x-http-method-override", "x_http_method_override", "x.method.override", "x_http-method"] {
            for (method, stays) in
                [("GET", true), ("head", true), ("DELETE", false), ("get, delete", false), ("", false)]
            {
                let map = headers(&[(name, "GET"), (name, method)]);
                assert_eq!(method_stays(&map), stays, "{name}: {method}");
            }
            let mut map = headers(&[(name, "DELETE"), ("connection", name)]);
            strip_request_hops(&mut map, |_| false);
            strip_private(&mut map, |_| false);
            assert_eq!(map.contains_key(name), !name.contains(['_', '.']), "{name}");
        }
    }

    #[test]
    fn connection_takes_nothing_away_that_is_relied_on() {
        let kept = [
            "idempotency-key",
            "content-type",
            "authorization",
            "cookie",
            "x-session-id",
            "x-forwarded-for",
            "x-lane",
            "traceparent",
            "x-request-id",
            "if-match",
            "holdfast-seen",
        ];
        let mut map = HeaderMap::new();
        for name in kept {
            map.append(name, HeaderValue::from_static("v"));
            map.append(CONNECTION, HeaderValue::from_str(&name.to_ascii_uppercase()).unwrap());
        }
        map.append("x-hop", HeaderValue::from_static("v"));
        map.append(CONNECTION, HeaderValue::from_static("x-hop"));
        strip_request_hops(&mut map, |name| name == "x-lane");
        let mut left = names(&map);
        left.sort_unstable();
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        assert_eq!(left, kept);
    }

    #[test]
    fn forwarding_is_appended_to_what_was_said_before() {
        let mut map = headers(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("via", "1.0 other")]);
        let host = HeaderValue::from_static("shop:80");
        Client::new("::1".parse().unwrap(), false, Arc::default()).append_forwarded(&mut map, &host);
        append_via(&mut map);
        let all = |name: &str| map.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-forwarded-for"), ["1.2.3.4", "::1"]);
        assert_eq!(all("x-forwarded-proto"), ["https"]);
        assert_eq!(all("x-forwarded-host"), ["shop:80"]);
        assert_eq!(all("forwarded"), ["for=\"[::1]\";proto=http;host=\"shop:80\""]);
        assert_eq!(all("via"), ["1.0 other", "1.1 holdfast"]);
    }

    #[test]
    fn a_request_that_comes_back_is_known_by_via() {
        let via = via_service("tx");
        let line = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("via", *line)).collect();
            has_come_back(&headers(&lines), &via)
        };
        let own = via.to_str().unwrap();
        assert!(line(&[own]) && line(&["1.0 other", &format!("1.1 holdfast, {own} , 1.1 last")]));
        assert!(!line(&[]) && !line(&["1.1 holdfast"]) && !line(&[via_service("other").to_str().unwrap()]));
    }
}
