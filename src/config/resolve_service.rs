//! Services: what each key means together with the others.
use std::time::Duration;

use super::check::Checked;
use super::error::Report;
use super::resolve::{bytes, duration};
use super::resolved::*;
use super::units::show_ms;
use crate::gateway::{RuleError, StoreFrom};
use crate::model::SiteName;
use crate::service::{Limits, OnConcurrent, OnUnreachable, WhenDown};

const STORE: &str = "{store}";

/// Keys that mean something to a plain proxy, which keeps nothing.
const PLAIN_KEYS: [&str; 10] =
    ["name", "match", "endpoints", "replicas", "health", "balance", "retry", "timeout", "max_body", "limits"];

pub(super) fn services(report: &mut Report, root: &Checked, config: &Config) -> Vec<Service> {
    let gateway_max_body = bytes(&root.table("gateway"), "max_body");
    let mut services: Vec<Service> = Vec::new();
    let tables = root.tables("service");
    if tables.is_empty() && root.is_set("service") {
        report.fault(root.at("service"), "service", "is empty", "describe at least one [[service]]");
    }
    for table in tables {
        let service = One { report, table: &table, config }.service(gateway_max_body);
        if services.iter().any(|other| other.name == service.name) {
            let wrong = format!("there are two services named {:?}", service.name);
            report.fault(table.at("name"), &table.key("name"), wrong, "give each its own name");
        }
        overlaps(report, &table, &service, &services);
        services.push(service);
    }
    services
}

/// Longer paths and named hosts win; equal ones would make the choice an accident.
fn overlaps(report: &mut Report, table: &Checked, service: &Service, earlier: &[Service]) {
    let own = service.matches.iter().enumerate();
    for (i, one) in own {
        let elsewhere = earlier.iter().flat_map(|s| s.matches.iter().map(|m| (s.name.as_str(), m)));
        let here = service.matches[..i].iter().map(|m| (service.name.as_str(), m));
        let meets = |other: &Match| one.path == other.path && one.host == other.host;
        if let Some((name, _)) = elsewhere.chain(here).find(|(_, other)| meets(other)) {
            let host = one.host.as_deref().unwrap_or("any host");
            let wrong = format!("{} at {host} is matched by service {name:?} too", one.path);
            report.fault(table.at("match"), &table.key("match"), wrong, "tell them apart by path or host");
        }
    }
}

pub(super) struct One<'a> {
    pub report: &'a mut Report,
    pub table: &'a Checked,
    pub config: &'a Config,
}

impl One<'_> {
    pub(super) fn fault(&mut self, name: &str, wrong: impl Into<String>, right: impl Into<String>) {
        self.report.fault(self.table.at(name), &self.table.key(name), wrong, right);
    }

    fn service(&mut self, gateway_max_body: usize) -> Service {
        let table = self.table;
        let replicas = self.replicas();
        if replicas.is_empty() {
            self.only_plain_keys();
        }
        let timeouts = self.timeouts();
        let store = self.store_rule(&replicas);
        let answer = self.answer(&replicas, &timeouts);
        self.one_numbers(&replicas, &answer);
        let endpoints = self.endpoints(&replicas);
        let limits = self.limits();
        let max_body_bytes = table.number("max_body").map_or(gateway_max_body, |bytes| bytes as usize);
        self.sizes(max_body_bytes, &limits);
        let longest_request = self.longest_request(&timeouts);
        let matches = self.matches();
        let idempotency = self.idempotency(&matches);
        Service {
            name: table.text("name").unwrap_or_default(),
            matches,
            write_methods: self.methods(table, "write_methods", &["POST", "PUT", "PATCH", "DELETE"]),
            lane: self.lane(),
            creates: table.flag("creates"),
            when_down: if self.is("when_down", "queue") { WhenDown::Queue } else { WhenDown::Refuse },
            health: self.health(),
            retries: self.retries(),
            idempotency,
            outcome: self.outcome(),
            replicate_all: self.is("replicate", "all"),
            on_concurrent: if self.is("on_concurrent", "quarantine") {
                OnConcurrent::Quarantine
            } else {
                OnConcurrent::Apply
            },
            on_divergence: self.on_divergence(),
            on_unreachable: if self.is("on_unreachable", "refuse") {
                OnUnreachable::Refuse
            } else {
                OnUnreachable::Accept
            },
            stale: if self.is("stale", "refuse") { Stale::Refuse } else { Stale::Proceed },
            ack_peers: self.ack(&replicas),
            retain: duration(table, "retain"),
            max_replay_body_bytes: bytes(table, "max_replay_body"),
            answer_max_bytes: bytes(table, "answer_max"),
            compare_body: self.is("compare", "body"),
            replay: self.replay(),
            max_body_bytes,
            longest_request,
            replicas,
            store,
            answer,
            endpoints,
            timeouts,
            limits,
        }
    }

    /// Every outcome is shadowed for services that number their records: then one site has to give the numbers out.
    fn one_numbers(&mut self, replicas: &[String], answer: &Answer) {
        let several = answer.order.len() > 1 || answer.order.iter().any(|site| site == "local");
        if self.is("replicate", "all") && replicas.len() > 1 && several {
            let wrong = "two sites may decide, and give out the same numbers";
            let right =
                "name the one site that decides in answer.order, at every site, if the service numbers its records";
            self.report.warn(self.table.at("replicate"), &self.table.key("replicate"), wrong, right);
        }
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.table.text(name).as_deref() == Some(value)
    }

    fn only_plain_keys(&mut self) {
        let idle: Vec<_> = self.table.set_keys().filter(|key| !PLAIN_KEYS.contains(key)).collect();
        for key in idle {
            self.fault(key, "means nothing without replicas", "add `replicas = [\"site\", …]`, or remove it");
        }
    }

    fn replicas(&mut self) -> Vec<String> {
        let mut replicas = Vec::new();
        for (at, name) in self.table.texts("replicas") {
            let key = self.table.key("replicas");
            if name.starts_with('{') && name != STORE {
                self.report.fault(at, &key, format!("{name:?} is not a placeholder"), "write {store}");
            } else if name != STORE && !self.config.realm.sites.iter().any(|site| site.as_str() == name) {
                self.report.fault(at, &key, format!("{name:?} is not in realm.sites"), "name only listed sites");
            } else if replicas.contains(&name) {
                self.report.fault(at, &key, format!("{name:?} stands there twice"), "list each site once");
            }
            replicas.push(name);
        }
        self.reachable(&replicas);
        replicas
    }

    /// A site may get its pages from a third one, but somebody must be connected.
    fn reachable(&mut self, replicas: &[String]) {
        let config = self.config;
        let alone = config.link_listen.is_none() && config.peers.is_empty();
        if let Some(other) = replicas.iter().find(|name| alone && name.as_str() != config.site.as_str()) {
            let wrong = format!("{other:?} can never be reached: this site neither dials nor listens");
            self.fault("replicas", wrong, "add [[peer]] with `link`, or [link] listen");
        }
    }

    /// A plain proxy counts: it is its own only replica.
    pub(super) fn has_own_replica(&self, replicas: &[String]) -> bool {
        let site = self.config.site.as_str();
        let spoke = !self.config.realm.hubs.contains(&self.config.site);
        replicas.is_empty() || replicas.iter().any(|name| name == site || (name == STORE && spoke))
    }

    fn store_rule(&mut self, replicas: &[String]) -> StoreRule {
        let from = self.store_from();
        let template = replicas.iter().any(|name| name == STORE);
        let realm = &self.config.realm;
        let is_hub = |name: &str| realm.hubs.iter().any(|hub| hub.as_str() == name);
        let mut edges = replicas.iter().filter(|name| *name != STORE && !is_hub(name));
        let only_edge = edges.next().filter(|_| edges.next().is_none()).map(|name| SiteName::new(name.as_str()));
        if template && let Some(edge) = &only_edge {
            let wrong = format!("has both {STORE} and the edge site {:?}", edge.as_str());
            self.fault("replicas", wrong, "name only hubs beside {store}");
        }
        let hub_here = is_hub(self.config.site.as_str());
        match (from, template) {
            (Some(from), true) if hub_here => {
                let named = |site: &SiteName| replicas.iter().any(|name| name == site.as_str());
                let stores =
                    realm.sites.iter().filter(|site| !is_hub(site.as_str()) && !named(site)).cloned().collect();
                StoreRule::FromRequest { from, stores }
            }
            (Some(from), true) => StoreRule::FromRequest { from, stores: vec![self.config.site.clone()] },
            (Some(_), false) => {
                self.fault(
                    "store_from",
                    "names a store, but replicas has no {store}",
                    "write replicas = [\"{store}\", \"cloud\"]",
                );
                StoreRule::None
            }
            (None, true) if hub_here && !self.table.is_set("store_from") => {
                let right = "add `store_from = \"header:x-store\"` (or host, path:N)";
                self.fault("replicas", "has {store}, and this hub cannot tell which store a request means", right);
                StoreRule::None
            }
            (None, true) => StoreRule::Fixed(self.config.site.clone()),
            (None, false) => only_edge.map_or(StoreRule::None, StoreRule::Fixed),
        }
    }

    fn store_from(&mut self) -> Option<StoreFrom> {
        let parsed = self.table.text("store_from")?.parse::<StoreFrom>();
        parsed.map_err(|error| self.rule_fault("store_from", &error)).ok()
    }

    pub(super) fn rule_fault(&mut self, name: &str, error: &RuleError) {
        self.fault(name, error.to_string(), error.right());
    }

    fn answer(&mut self, replicas: &[String], timeouts: &Timeouts) -> Answer {
        let table = self.table.table("answer");
        let site = self.config.site.as_str();
        let own = self.has_own_replica(replicas);
        let spoke = !self.config.realm.hubs.contains(&self.config.site);
        let mut order: Vec<String> = Vec::new();
        for (at, name) in table.texts("order") {
            let resolved = if name == "local" || (name == STORE && spoke) { site } else { name.as_str() };
            let has_replica = replicas.iter().any(|replica| replica == resolved) || (resolved == site && own);
            if !has_replica {
                let right = format!("name sites out of replicas: local, {}", replicas.join(", "));
                self.report.fault(at, &table.key("order"), format!("{name:?} has no replica"), right);
            }
            if order.iter().any(|other| *other == name || (other == "local" && resolved == site)) {
                self.report.fault(
                    at,
                    &table.key("order"),
                    format!("{name:?} stands there twice"),
                    "name each site once",
                );
            }
            order.push(name);
        }
        if table.is_set("order") && order.is_empty() {
            self.report.fault(
                table.at("order"),
                &table.key("order"),
                "is empty",
                "name at least one site, or remove it",
            );
        }
        if !table.is_set("order") {
            order.extend(own.then(|| "local".to_owned()));
            order.extend(replicas.iter().filter(|name| *name != site && !(*name == STORE && spoke)).cloned());
        }
        let after = duration(&table, "after");
        let asks_others = replicas.len() > 1;
        if asks_others && after >= timeouts.total && table.is_set("after") {
            let wrong = format!("is not shorter than timeout.total ({})", show(timeouts.total));
            let right = "make it shorter: the client would be gone before the next site is asked";
            self.report.fault(table.at("after"), &table.key("after"), wrong, right);
        }
        let after = if table.is_set("after") { after } else { after.min(timeouts.total / 2) };
        let within = table.number("within").map_or(timeouts.per_try, Duration::from_millis);
        Answer { order, after, within, lag: duration(&table, "lag") }
    }

    fn timeouts(&mut self) -> Timeouts {
        let table = self.table.table("timeout");
        let total = duration(&table, "total");
        let per_try = table.number("try").map_or(total, Duration::from_millis);
        let connect = table.number("connect").map_or(Duration::from_secs(1).min(per_try), Duration::from_millis);
        if per_try > total {
            let wrong = format!("is longer than timeout.total ({})", show(total));
            self.report.fault(table.at("try"), &table.key("try"), wrong, "make it shorter, or total longer");
        }
        if connect > per_try {
            let wrong = format!("is longer than one try may take ({})", show(per_try));
            self.report.fault(table.at("connect"), &table.key("connect"), wrong, "make it shorter, or try longer");
        }
        Timeouts { connect, per_try, total, idle: duration(&table, "idle") }
    }

    fn longest_request(&mut self, timeouts: &Timeouts) -> Duration {
        let longest = duration(self.table, "longest_request");
        if longest < timeouts.per_try && !self.table.texts("replicas").is_empty() {
            let wrong = format!("is {}, but a try may take {}", show(longest), show(timeouts.per_try));
            let right = "a fence shorter than a try protects nothing: raise it, or lower timeout.try";
            self.fault("longest_request", wrong, right);
        }
        longest
    }

    fn ack(&mut self, replicas: &[String]) -> u8 {
        let table = self.table.table("ack");
        let peers = table.sure("peers") as u8;
        if peers > 0 && replicas.len() < 2 {
            let wrong = "waits for a receipt, but no other site has a replica";
            self.report.fault(table.at("peers"), &table.key("peers"), wrong, "add a site to replicas, or remove it");
        }
        peers
    }

    fn sizes(&mut self, max_body: usize, limits: &Limits) {
        if self.table.table("limits").is_set("open_bytes") | self.table.is_set("max_body")
            && max_body > limits.open_bytes
        {
            let wrong = "a body of max_body would never fit into limits.open_bytes";
            self.fault("limits", wrong, "raise limits.open_bytes, or lower max_body");
        }
        if self.table.is_set("answer_max") && bytes(self.table, "answer_max") > bytes(self.table, "max_replay_body") {
            let wrong = "is larger than max_replay_body: such answers are not kept";
            self.fault("answer_max", wrong, "raise max_replay_body, or lower it");
        }
    }
}

pub(super) fn show(duration: Duration) -> String {
    show_ms(duration.as_millis() as u64)
}
