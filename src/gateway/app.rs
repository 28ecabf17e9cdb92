//! The way of one request through the gateway, up to where reads and writes part.
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts as Head;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};
use hyper::body::Incoming;

use super::access::{Begun, Recorder};
use super::body::Body;
use super::conn::REFUSED_METHOD;
use super::counted::Counted;
use super::headers::{self, Client, HOLDFAST_HOP, HOLDFAST_LOOP, HOLDFAST_SEEN, TRACEPARENT, X_REQUEST_ID};
use super::http2;
use super::parts::{self, Parts};
use super::path;
use super::refusal::{self, Refusal};
use super::room::{Room, Shares};
use super::route::{self, RouteError, Router};
use super::rules::{ScopeRule, StoreFrom};
use super::seen;
use super::settings::{GatewaySettings, Groups, Neighbours, ServiceEntry, Target};
use super::strict::{self, Violation};
use super::time;
use crate::failpoint;
use crate::model::{After, Problem, SiteName};
use crate::problem::Cause;
use crate::telemetry::{GatewayMetrics, RequestKind};

/// Where a client asks how its write stands.
pub const STATUS_PATH: &str = "/.holdfast/writes/";

/// Shared by all connections; never changes (a reload builds a new one).
pub struct App {
    pub(super) site: SiteName,
    pub(super) site_header: HeaderValue,
    pub(super) router: Router,
    pub(super) services: Vec<ServiceEntry>,
    pub(super) neighbours: Neighbours,
    pub(super) body_timeout: Duration,
    max_headers: usize,
    pub(super) room: Room,
    access: Recorder,
    pub(super) metrics: Arc<GatewayMetrics>,
}

impl App {
    pub fn new(
        settings: &GatewaySettings,
        services: Vec<ServiceEntry>,
        neighbours: Neighbours,
    ) -> Result<Arc<Self>, RouteError> {
        let matches: Vec<_> =
            services.iter().map(|s| (s.settings.name.as_str(), s.settings.matches.as_slice())).collect();
        let router = Router::new(&matches)?;
        // Site names are checked by the configuration; one that is no header value is not shown.
        let site = settings.site.clone();
        let site_header = HeaderValue::from_str(site.as_str()).unwrap_or(HeaderValue::from_static("-"));
        let longest = services.iter().map(|service| service.settings.max_body).max().unwrap_or(0);
        let shares = Shares {
            connections: settings.max_client_connections,
            requests: settings.max_client_requests,
            elsewhere: settings.max_client_reads_elsewhere,
        };
        let room = Room::new(settings.max_body_bytes, longest, shares);
        let (body_timeout, max_headers) = (settings.body_timeout, settings.max_headers);
        let (access, metrics) = (Recorder::new(settings.access), settings.metrics.clone());
        Ok(Arc::new(Self {
            site,
            site_header,
            router,
            services,
            neighbours,
            body_timeout,
            max_headers,
            room,
            access,
            metrics,
        }))
    }

    /// The longest that a client may have to wait for the head of an answer.
    pub(super) fn longest_wait(&self) -> Duration {
        self.services.iter().map(|service| service.settings.total_timeout).max().unwrap_or_default()
    }

    /// To a client that has as many requests under way as it may have.
    pub fn busy(&self, request: &Request<Incoming>) -> Response<Body> {
        self.metrics.requests_refused.one();
        let request_id = request_id(&mut request.headers().clone());
        let refusal = Refusal::from(Cause::from(Problem::Overloaded { what: "requests of one client" }));
        refusal::response(&refusal, request_id.to_str().unwrap_or_default(), None)
    }

    pub async fn answer(&self, client: &Client, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        #[cfg(test)]
        crate::contain::planted::may_panic(head.uri.path());
        failpoint::hit("request");
        let mut begun = self.access.begin(client.address, &head);
        let note = |begun: &mut Option<Begun>, id: &str| {
            if let Some(begun) = begun {
                begun.request_id = id.to_owned();
            }
        };
        let response = if let Some(violation) = refused(&head) {
            self.metrics.requests_refused.one();
            let request_id = time::uuid_v7(time::wall_ms()).to_string();
            note(&mut begun, &request_id);
            refusal::response(&of_violation(violation), &request_id, None)
        } else {
            let request_id = request_id(&mut head.headers);
            note(&mut begun, request_id.to_str().unwrap_or_default());
            let hop = head.headers.get(HOLDFAST_HOP).cloned();
            let mut counted = None;
            let result = self.route_and_answer(client, head, body, &request_id, &mut counted).await;
            match (&result, &mut counted) {
                (_, Some(counted)) => counted.answered(&result),
                (Err(_), None) => self.metrics.requests_refused.one(),
                // A page of our own.
                (Ok(_), None) => {}
            }
            result.unwrap_or_else(|refusal| {
                let id = request_id.to_str().unwrap_or_default();
                let mut response = refusal::response(&refusal, id, None);
                // To the appliance that sent it, by the name that this one exchange has there.
                if let (Cause::LoopDetected, Some(hop)) = (&refusal.cause, hop) {
                    response.headers_mut().insert(HOLDFAST_LOOP, hop);
                }
                response
            })
        };
        if let Some(begun) = begun {
            let routed = self.router.route(parts::host_of(&begun.host), begun.path()).ok().flatten();
            begun.end(routed.map(|index| self.services[index].settings.name.as_str()), &response);
        }
        response
    }

    /// `counted`: from where on it is a request of a service.
    async fn route_and_answer<'a>(
        &'a self,
        client: &Client,
        mut head: Head,
        body: Incoming,
        request_id: &HeaderValue,
        counted: &mut Option<Counted<'a>>,
    ) -> Result<Response<Body>, Refusal> {
        if head.version == Version::HTTP_2 {
            http2::check(&mut head, self.max_headers)?;
        }
        let authority = take_authority(&mut head)?;
        let path = path::canonical(head.uri.path()).into_owned();
        if path.starts_with("/.holdfast/") {
            return self.own_page(&head.method, &path).await;
        }
        refuse_upgrades(&head)?;
        if head.headers.get(EXPECT).is_some_and(|e| !e.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(Refusal::closing(Cause::ExpectationFailed));
        }
        let host = parts::host_of(authority.to_str().unwrap_or_default());
        let Some(index) = self.router.route(host, head.uri.path()).map_err(of_route)? else {
            return Err(Cause::NoRoute { host: host.to_owned(), path: head.uri.path().to_owned() }.into());
        };
        let service = &self.services[index];
        let writes = service.settings.writes.contains(&head.method);
        let kind = RequestKind::of(&head.method, writes, !matches!(service.groups, Groups::Plain));
        *counted = Some(Counted::new(&service.upstream.settings.metrics, kind));
        if headers::has_come_back(&head.headers, service.upstream.via()) {
            return Err(Cause::LoopDetected.into());
        }
        let target = self.target(service, &head, host, &path, client)?;
        let seen = take_seen(&mut head.headers)?;
        // Also in a spelling that is taken out.
        let changes = !headers::method_stays(&head.headers);
        clean(&mut head.headers, service);
        let context = Context { service, client, authority, request_id, path };
        match target {
            Some(target) if service.settings.writes.contains(&head.method) => {
                self.write(context, target, seen.map(|(after, _)| after), head, body).await
            }
            Some(_) if !route::is_read(&head.method) || changes => {
                // What it does to a replica is not known, and nothing passes by the journal.
                Err(Refusal::closing(Cause::MethodUnsupported { method: head.method.to_string() }))
            }
            target => self.read(context, target, seen, head, body).await,
        }
    }

    /// The group that a request belongs to; `None` for a service without replicas.
    fn target<'a>(
        &self,
        service: &'a ServiceEntry,
        head: &Head,
        host: &str,
        path: &str,
        client: &Client,
    ) -> Result<Option<&'a Target>, Refusal> {
        match &service.groups {
            Groups::Plain => Ok(None),
            Groups::One(target) => Ok(Some(target)),
            Groups::PerStore(stores) => {
                let parts = Parts { path, host, headers: &head.headers, client: client.address, body: b"" };
                let none = || Cause::StoreMissing { from: "store_from of the service".to_owned() };
                let from = service.settings.store_from.as_ref().ok_or_else(none)?;
                let store = from.extract(&parts, |store| stores.contains_key(store)).map_err(of_route)?;
                Ok(stores.get(&store))
            }
        }
    }

    async fn own_page(&self, method: &Method, path: &str) -> Result<Response<Body>, Refusal> {
        let token = path.strip_prefix(STATUS_PATH).filter(|t| !t.is_empty() && t.len() <= 128);
        let token = token.ok_or(Cause::UnknownToken)?;
        if method != Method::GET && method != Method::HEAD {
            let (method, allowed) = (method.to_string(), "GET, HEAD".to_owned());
            return Err(Cause::MethodNotAllowed { method, allowed }.into());
        }
        Ok(self.neighbours.status.status(token).await.ok_or(Cause::UnknownToken)?)
    }
}

/// What the two ways have in common.
pub(super) struct Context<'a> {
    pub service: &'a ServiceEntry,
    pub client: &'a Client,
    pub authority: HeaderValue,
    pub request_id: &'a HeaderValue,
    /// The target's path in its one spelling: lanes, stores and digests compare by it.
    pub path: String,
}

impl Context<'_> {
    pub fn id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }

    /// What every request says to its service beyond what the client said.
    pub fn add_own_headers(&self, map: &mut HeaderMap) {
        self.client.append_forwarded(map, &self.authority);
        if !map.contains_key(TRACEPARENT)
            && let Ok(value) = HeaderValue::try_from(time::traceparent())
        {
            map.insert(TRACEPARENT, value);
        }
    }
}

/// The stand-in for a head that was refused.
fn refused(head: &Head) -> Option<Violation> {
    if head.method.as_str() != REFUSED_METHOD {
        return None;
    }
    let number = head.uri.path().trim_start_matches('/').parse().ok();
    Some(number.and_then(Violation::from_number).unwrap_or(Violation::RequestLine))
}

fn of_violation(violation: Violation) -> Refusal {
    Refusal::closing(match violation.status() {
        431 => Cause::HeadersTooLarge,
        408 => Cause::RequestTimeout,
        _ => Cause::BadRequest { what: violation.detail() },
    })
}

fn of_route(error: RouteError) -> Cause {
    match error {
        RouteError::TwoWays => Cause::BadRequest { what: "the path can be read in two ways; send it plainly" },
        RouteError::StoreMissing { from } => Cause::StoreMissing { from },
        RouteError::StoreForeign { store, .. } => Cause::StoreForeign { store },
        // Only found while routes are built.
        RouteError::Path { .. } | RouteError::Twice { .. } => Cause::Internal,
    }
}

/// The client's own id where it is one, else a new one; either way it is in the headers from here on.
fn request_id(map: &mut HeaderMap) -> HeaderValue {
    let mut values = map.get_all(X_REQUEST_ID).iter();
    if let (Some(value), None) = (values.next(), values.next())
        && (1..=255).contains(&value.len())
        && value.as_bytes().iter().all(|b| (0x21..=0x7e).contains(b))
    {
        return value.clone();
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    let text = time::uuid_v7(time::wall_ms()).hyphenated().encode_lower(&mut buffer);
    let value = HeaderValue::from_str(text).expect("a UUID is visible ASCII");
    // In the envoy dialect the client's line is its key: malformed or repeated, it is refused there, not replaced here.
    if !map.contains_key(X_REQUEST_ID) {
        map.insert(X_REQUEST_ID, value.clone());
    }
    value
}

/// What the client called the service; the target becomes origin-form, `Host` leaves the headers (RFC 9112 section
/// 3.2.2).
fn take_authority(head: &mut Head) -> Result<HeaderValue, Refusal> {
    let bad = |what: &'static str| Refusal::closing(Cause::BadRequest { what });
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return Err(bad(Violation::Host.detail()));
    }
    head.headers.remove(HOST);
    let sound = |value: &HeaderValue| strict::check_host(value.as_bytes()).is_ok();
    let Some(authority) = head.uri.authority() else {
        check_path(head)?;
        return match host {
            Some(host) if sound(&host) => Ok(host),
            Some(_) => Err(bad(Violation::Host.detail())),
            None if head.version == Version::HTTP_10 => Ok(HeaderValue::from_static("localhost")),
            None => Err(bad(Violation::Host.detail())),
        };
    };
    if authority.as_str().contains('@') {
        return Err(bad("a target may not name a user"));
    }
    let value = HeaderValue::from_str(authority.as_str()).ok().filter(sound);
    let value = value.ok_or_else(|| bad(Violation::Host.detail()))?;
    let is_other = |host: HeaderValue| !host.as_bytes().eq_ignore_ascii_case(value.as_bytes());
    if head.version == Version::HTTP_2 && host.is_some_and(is_other) {
        return Err(bad("Host and :authority differ"));
    }
    if head.method == Method::CONNECT {
        return Ok(value);
    }
    // A bare authority is a target of CONNECT alone (RFC 9112 section 3.2.3).
    if !head.uri.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https") {
        return Err(bad("a target must be a path, or an address of http or https"));
    }
    let path = match head.uri.path_and_query().map(PathAndQuery::as_str) {
        None | Some("") => Some(PathAndQuery::from_static("/")),
        // No path is the root (RFC 9112 section 3.2.1).
        Some(query) if query.starts_with('?') => format!("/{query}").parse().ok(),
        Some(_) => head.uri.path_and_query().cloned(),
    };
    head.uri = Uri::from(path.ok_or_else(|| bad("the target is too long"))?);
    check_path(head)?;
    Ok(value)
}

/// A path from the root, or `*` for OPTIONS.
fn check_path(head: &Head) -> Result<(), Refusal> {
    let path = head.uri.path();
    if path.starts_with('/') || head.method == Method::CONNECT || (path == "*" && head.method == Method::OPTIONS) {
        return Ok(());
    }
    Err(Refusal::closing(Cause::BadRequest { what: "the path must begin with a slash" }))
}

/// WebSockets and tunnels are not carried yet. An offer of h2c may be ignored (RFC 9110 section 7.8).
fn refuse_upgrades(head: &Head) -> Result<(), Refusal> {
    if head.method == Method::CONNECT {
        return Err(Refusal::closing(Cause::MethodUnsupported { method: head.method.to_string() }));
    }
    let Some(upgrade) = head.headers.get(UPGRADE) else { return Ok(()) };
    let nominated = head.headers.get_all(CONNECTION).iter().any(|line| {
        line.as_bytes().split(|&b| b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    if nominated && !upgrade.as_bytes().eq_ignore_ascii_case(b"h2c") {
        return Err(Cause::UpgradeUnsupported.into());
    }
    Ok(())
}

/// `Holdfast-Seen` with its text, out of the headers.
fn take_seen(map: &mut HeaderMap) -> Result<Option<(After, HeaderValue)>, Refusal> {
    let mut values = map.get_all(HOLDFAST_SEEN).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    if more.is_some() {
        return Err(Cause::SeenMalformed.into());
    }
    let (after, value) = (seen::decode(value.as_bytes()).map_err(|_| Cause::SeenMalformed)?, value.clone());
    map.remove(HOLDFAST_SEEN);
    Ok(Some((after, value)))
}

fn clean(map: &mut HeaderMap, service: &ServiceEntry) {
    let settings = &service.settings;
    let means = |name: &HeaderName| {
        let of_store = matches!(&settings.store_from, Some(StoreFrom::Header(header)) if header == name);
        let of_scope = settings.scope.iter().any(|rule| matches!(rule, ScopeRule::Header(header) if header == name));
        of_store || of_scope || settings.lane.reads_header(name) || settings.clients.reads_header(name.as_str())
    };
    headers::strip_request_hops(map, means);
    headers::strip_private(map, means);
    // The gateway itself answers 100 when it begins to read the body.
    map.remove(EXPECT);
}
