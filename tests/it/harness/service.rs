//! One `[[service]]` of a configuration.
use std::net::SocketAddr;

use super::Upstream;

#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    keys: Vec<(String, String)>,
}

fn list(items: &[&str]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}

impl Service {
    /// Takes everything below `/NAME`; quick to see that a service is gone, and more patient with one that answers late
    /// than any loaded machine needs.
    pub fn new(name: &str, upstream: &Upstream) -> Self {
        Self::at(name, upstream.address)
    }
    pub fn at(name: &str, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), keys: Vec::new() }
            .set("match", &format!("[{{ path = \"/{name}\" }}]"))
            .set("endpoints", &format!("[{{ url = \"http://{address}\" }}]"))
            .set("lane", "\"header:x-session-id\"")
            .set(
                "health",
                "{ path = \"/health\", interval = \"100ms\", timeout = \"10s\", unhealthy = 2, healthy = 1 }",
            )
            .set("timeout", "{ connect = \"10s\", try = \"10s\", total = \"20s\" }")
            .set("longest_request", "\"10s\"")
    }
    /// Soon sends again, or asks about, what may have been lost: for tests of unknown outcomes, in which no service
    /// works for long.
    pub fn impatient(self) -> Self {
        self.set("timeout", "{ connect = \"3s\", try = \"3s\", total = \"6s\" }").set("longest_request", "\"3s\"")
    }
    /// The value as TOML.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(k, _)| k != key);
        self
    }
    pub fn replicas(self, sites: &[&str]) -> Self {
        self.set("replicas", &list(sites))
    }
    pub fn order(self, sites: &[&str]) -> Self {
        let order = list(sites);
        self.set("answer", &format!("{{ order = {order}, after = \"5s\" }}"))
    }
    /// Gives up soon on everything: for clients that ask again until they know.
    pub fn hasty(mut self) -> Self {
        for (key, value) in &mut self.keys {
            if key == "answer" {
                *value = value.replace("5s", "800ms");
            }
        }
        self.set("timeout", "{ connect = \"500ms\", try = \"2s\", total = \"3s\" }").set("longest_request", "\"2s\"")
    }
    /// Unknown outcomes are found out by asking the service.
    pub fn probed(self) -> Self {
        self.set("outcome", "{ probe = \"GET /by-key/{key}\", hold = \"3s\" }")
    }
    pub fn toml(&self) -> String {
        let mut text = format!("\n[[service]]\nname = \"{}\"\n", self.name);
        for (key, value) in &self.keys {
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }
}
