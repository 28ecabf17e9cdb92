//! Services: the keys that can be judged one by one.
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::check::Checked;
use super::resolve::{bytes, duration};
use super::resolve_service::{One, show};
use super::resolved::*;
use crate::gateway::{LaneRule, ScopeRule, client_rule};
use crate::model::ClientRule;
use crate::service::{Limits, OnDivergence};

/// Whether an endpoint is surely one of our own listeners. What a name or another address leads to shows at the first
/// request.
fn is_own(endpoint: &Endpoint, listen: &SocketAddr) -> bool {
    let ip =
        if endpoint.host == "localhost" { Ok(IpAddr::from([127, 0, 0, 1])) } else { endpoint.host.parse::<IpAddr>() };
    let is_here = |ip: IpAddr| ip == listen.ip() || (listen.ip().is_unspecified() && ip.is_loopback());
    endpoint.port == listen.port() && ip.is_ok_and(|ip| is_here(ip) || ip.is_unspecified())
}

impl One<'_> {
    pub(super) fn endpoints(&mut self, replicas: &[String]) -> Vec<Endpoint> {
        let own = self.has_own_replica(replicas);
        let tables = self.table.tables("endpoints");
        if own && tables.is_empty() {
            let right = "add `endpoints = [{ url = \"http://127.0.0.1:9001\" }]`";
            self.fault("endpoints", "this site has a replica, but no instance that serves it", right);
        }
        if !own && !tables.is_empty() {
            let wrong = format!("{:?} has no replica, so these are never asked", self.config.site.as_str());
            self.fault("endpoints", wrong, "add this site to replicas, or remove them");
        }
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for table in &tables {
            let Some(url) = table.text("url") else { continue };
            let Some(endpoint) = endpoint(&url, table.text("http").as_deref() == Some("2")) else {
                let right = if url.starts_with("https:") {
                    "write http://host:port: TLS to endpoints is not supported in this version"
                } else {
                    "write http://host:port"
                };
                self.report.fault(table.at("url"), &table.key("url"), format!("{url:?} is not such an address"), right);
                continue;
            };
            if endpoints.iter().any(|other| other.host == endpoint.host && other.port == endpoint.port) {
                self.report.fault(table.at("url"), &table.key("url"), "stands there twice", "list each instance once");
            }
            if let Some(listen) = self.config.gateway.listen.iter().find(|listen| is_own(&endpoint, listen)) {
                let wrong = format!("the endpoint is this appliance itself, which listens on {listen}");
                self.report.fault(table.at("url"), &table.key("url"), wrong, "name the address of the service");
            }
            endpoints.push(endpoint);
        }
        endpoints
    }

    pub(super) fn matches(&mut self) -> Vec<Match> {
        let tables = self.table.tables("match");
        if tables.is_empty() && !self.table.is_set("match") {
            return vec![Match { path: "/".to_owned(), host: None }];
        }
        tables.iter().map(|table| self.one_match(table)).collect()
    }

    fn one_match(&mut self, table: &Checked) -> Match {
        let mut path = table.text("path").unwrap_or_default();
        let clean = !path.contains(['?', '#', '*', ' ']) && !path.contains("//");
        if !path.starts_with('/') || !clean {
            let right = "write a prefix that begins with / and has no query or wildcard, for example /transactions";
            self.report.fault(table.at("path"), &table.key("path"), format!("{path:?} is not a path"), right);
        }
        while path.len() > 1 && path.ends_with('/') {
            path.pop();
        }
        let host = table.text("host").map(|host| host.to_ascii_lowercase());
        if let Some(host) = host.as_ref().filter(|host| !is_host(host)) {
            let wrong = format!("{host:?} is not a host name");
            self.report.fault(
                table.at("host"),
                &table.key("host"),
                wrong,
                "write a name without port, or *.example.com",
            );
        }
        Match { path, host }
    }

    /// Any token may be a method; CONNECT and TRACE are never passed on.
    pub(super) fn methods(&mut self, table: &Checked, name: &str, default: &[&str]) -> Vec<http::Method> {
        let texts = table.texts(name);
        let named = texts.iter().map(|(_, text)| text.as_str());
        let names: Vec<&str> = if table.is_set(name) { named.collect() } else { default.to_vec() };
        let methods = names.iter().filter_map(|name| {
            let method = http::Method::from_bytes(name.as_bytes()).ok();
            method.filter(|method| *method != http::Method::CONNECT && *method != http::Method::TRACE)
        });
        let methods: Vec<http::Method> = methods.collect();
        if methods.len() < names.len() {
            self.fault(name, "holds what is no method to pass on", "write methods like \"POST\" or \"MERGE\"");
        }
        methods
    }

    pub(super) fn lane(&mut self) -> Vec<LaneRule> {
        let texts = self.table.texts("lane");
        if texts.is_empty() {
            if self.table.is_set("lane") {
                self.fault("lane", "is empty", "write \"service\", or remove it");
            }
            return LaneRule::defaults();
        }
        let mut rules = Vec::new();
        for (_, text) in &texts {
            match text.parse::<LaneRule>() {
                Ok(rule) => rules.push(rule),
                Err(error) => self.rule_fault("lane", &error),
            }
        }
        let always = rules.iter().position(LaneRule::always_hits);
        if let Some(found) = always.filter(|i| i + 1 < rules.len()) {
            let wrong = format!("{:?} is always found, what follows is never looked at", rules[found].to_string());
            self.fault("lane", wrong, "put it last");
        }
        rules
    }

    pub(super) fn health(&mut self) -> Option<HealthCheck> {
        let table = self.table.is_set("health").then(|| self.table.table("health"))?;
        let path = table.text("path").unwrap_or_default();
        if table.is_set("path") && path.parse::<http::uri::PathAndQuery>().is_err() | !path.starts_with('/') {
            let wrong = format!("{path:?} is not a path");
            self.report.fault(table.at("path"), &table.key("path"), wrong, "write for example /health");
        }
        let count = |name: &str| table.sure(name) as u32;
        Some(HealthCheck {
            path,
            interval: duration(&table, "interval"),
            timeout: duration(&table, "timeout"),
            unhealthy: count("unhealthy"),
            healthy: count("healthy"),
        })
    }

    /// A key that is known and not read yet: whoever sets it must hear that it does nothing.
    fn not_yet(&mut self, table: &Checked, name: &str) {
        if table.is_set(name) {
            let right = "remove it, or leave it for a later version";
            self.report.warn(table.at(name), &table.key(name), "has no effect in this version", right);
        }
    }

    pub(super) fn retries(&mut self) -> Retries {
        let table = self.table.table("retry");
        self.not_yet(&table, "budget");
        self.not_yet(&table, "backoff");
        Retries { tries: table.sure("tries") as u32, budget: table.share("budget") }
    }

    pub(super) fn idempotency(&mut self, matches: &[Match]) -> Idempotency {
        let table = self.table.table("idempotency");
        let envoy = table.text("dialect").as_deref() == Some("envoy");
        let ttl = duration(&table, "ttl");
        let retain = duration(self.table, "retain");
        if self.table.is_set("retain") && ttl > retain {
            let wrong = format!("is {}, but writes are kept for {} only", show(ttl), show(retain));
            self.report.fault(table.at("ttl"), &table.key("ttl"), wrong, "raise retain, or lower ttl");
        }
        let dialect = if envoy { Dialect::Envoy } else { Dialect::Standard };
        let scope = self.scope(&table, matches);
        let client = self.client(&table);
        Idempotency { ttl, require_key: table.flag("require_key"), scope, client, dialect }
    }

    fn scope(&mut self, table: &Checked, matches: &[Match]) -> Vec<ScopeRule> {
        let mut rules = Vec::new();
        for (at, text) in table.texts("scope") {
            match text.parse::<ScopeRule>() {
                Ok(rule) => rules.push(rule),
                Err(error) => self.report.fault(at, &table.key("scope"), error.to_string(), error.right()),
            }
        }
        if table.is_set("scope") {
            return rules;
        }
        let hosts: BTreeSet<&str> = matches.iter().filter_map(|m| m.host.as_deref()).collect();
        if matches.iter().any(|m| m.host.is_none()) && self.table.is_set("replicas") {
            let wrong = "is not set, and the service takes any host: a key names one request for all of them";
            let right = "write scope = [\"host\"] where hosts are different shops, scope = [] where they are one, or \
                         hosts in match";
            self.report.warn(table.at("scope").or(self.table.at("match")), &table.key("scope"), wrong, right);
        }
        let takes_several = hosts.len() > 1 || hosts.iter().any(|host| host.starts_with("*."));
        if takes_several { vec![ScopeRule::Host] } else { Vec::new() }
    }

    fn client(&mut self, table: &Checked) -> Vec<ClientRule> {
        let mut rules = Vec::new();
        for (at, text) in table.texts("client") {
            match client_rule(&text) {
                Ok(rule) => rules.push(rule),
                Err(error) => self.report.fault(at, &table.key("client"), error.to_string(), error.right()),
            }
        }
        rules
    }

    pub(super) fn outcome(&mut self) -> Outcome {
        let table = self.table.table("outcome");
        let unexecuted: Vec<u16> = table.list("unexecuted").iter().filter_map(|node| node.status()).collect();
        let probe = table.text("probe").and_then(|text| {
            let parsed = probe(&text);
            if parsed.is_none() {
                let wrong = format!("{text:?} is not a probe");
                let right = "write GET and a path with {key} once, for example \"GET /transactions/by-key/{key}\"";
                self.report.fault(table.at("probe"), &table.key("probe"), wrong, right);
            }
            parsed
        });
        Outcome { probe, idempotent: table.flag("idempotent"), unexecuted, hold: duration(&table, "hold") }
    }

    pub(super) fn replay(&mut self) -> Replay {
        let table = self.table.table("replay");
        let auth = table.text("auth");
        if auth.as_ref().is_some_and(|auth| http::HeaderValue::from_str(auth).is_err()) {
            let right = "write for example \"Bearer ${REPLAY_TOKEN}\"";
            self.report.fault(table.at("auth"), &table.key("auth"), "cannot stand in a header", right);
        }
        Replay { share: table.share("share"), alone: table.share("alone"), auth }
    }

    pub(super) fn on_divergence(&mut self) -> OnDivergence {
        let Some(table) = self.table.table_instead("on_divergence") else { return OnDivergence::Quarantine };
        let stop = table.table("stop");
        let of = u32::try_from(stop.sure("of")).unwrap_or(u32::MAX);
        let differ = (f64::from(of) * stop.share("share")).ceil() as u32;
        if differ == 0 && stop.is_set("share") {
            let right = "write a share above 0.0, or on_divergence = \"quarantine\"";
            self.report.fault(
                stop.at("share"),
                &stop.key("share"),
                "would stop following before anything differs",
                right,
            );
        }
        OnDivergence::Stop { differ: differ.max(1), of }
    }

    pub(super) fn limits(&mut self) -> Limits {
        let table = self.table.table("limits");
        let replay = self.table.table("replay");
        let shadows = bytes(&replay, "parallel");
        let count = |name: &str| bytes(&table, name);
        Limits {
            open_writes: count("open_writes"),
            open_bytes: count("open_bytes"),
            waiters_per_key: count("waiters_per_key"),
            ring: bytes(&self.table.table("dedup"), "ring"),
            page_items: count("page_items"),
            page_bytes: count("page_bytes"),
            window_items: count("window"),
            shadows,
            // At least one, or following would stand still while clients write.
            shadows_beside_writes: ((shadows as f64 * replay.share("share")).round() as usize).max(1),
            lanes: count("lanes"),
            keys: count("keys"),
        }
    }
}

/// A name, or `*.` and a name.
fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    !name.is_empty() && !name.starts_with('.') && !name.contains([':', '/', '*', ' '])
}

fn endpoint(url: &str, h2c: bool) -> Option<Endpoint> {
    let uri: http::Uri = url.parse().ok()?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().filter(|authority| plain && !authority.as_str().contains('@'))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(80);
    let scheme = if h2c { Scheme::H2c } else { Scheme::Http1 };
    (!host.is_empty() && port != 0).then(|| Endpoint { host: host.to_owned(), port, scheme })
}

fn probe(text: &str) -> Option<Probe> {
    let (before, after) = text.strip_prefix("GET ")?.trim_start().split_once("{key}")?;
    let target = format!("{before}k{after}");
    let valid = before.starts_with('/') && !after.contains("{key}") && !target.contains(['{', '}', '#', ' ']);
    target.parse::<http::uri::PathAndQuery>().ok().filter(|_| valid)?;
    Some(Probe { before_key: before.to_owned(), after_key: after.to_owned() })
}
