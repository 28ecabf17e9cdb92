//! One `[[service]]` of a configuration.
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
    /// Takes everything below `/NAME`; quick to judge health, patient for 2 s in all.
    pub fn new(name: &str, upstream: &Upstream) -> Self {
        Self { name: name.to_owned(), keys: Vec::new() }
            .set("match", &format!("[{{ path = \"/{name}\" }}]"))
            .set("endpoints", &format!("[{{ url = \"http://{}\" }}]", upstream.address))
            .set("lane", "\"header:x-session-id\"")
            .set("health", "{ path = \"/health\", interval = \"100ms\", unhealthy = 2, healthy = 1 }")
            .set("timeout", "{ connect = \"500ms\", try = \"1s\", total = \"3s\" }")
            .set("longest_request", "\"1s\"")
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
        self.set("answer", &format!("{{ order = {order}, after = \"800ms\" }}"))
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
