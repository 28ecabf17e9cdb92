//! A start without a file:
//! `holdfast run --site a --upstream http://127.0.0.1:9001 --listen 127.0.0.1:8080 --peer b=URL`.
use std::fmt::Write;
use std::net::SocketAddr;

use super::error::ConfigError;
use super::resolve::CONTROL_PORT;
use super::resolved::Config;

/// What the command line says. One service named `default` that takes every path.
#[derive(Clone, Debug, Default)]
pub struct ShortForm {
    pub site: String,
    pub upstream: String,
    pub listen: Vec<SocketAddr>,
    /// `SITE=URL` for a site that this one dials, `SITE` for one that dials this one.
    pub peers: Vec<String>,
    pub link: Option<SocketAddr>,
    /// Absent: the address of `link` with port 7447.
    pub control: Option<SocketAddr>,
    /// Absent: `holdfast-SITE` in the current folder.
    pub data_dir: Option<String>,
    pub admin: Option<SocketAddr>,
}

impl Config {
    pub fn from_short_form(short: &ShortForm) -> Result<Config, ConfigError> {
        let text = short.to_toml();
        let folder = std::env::current_dir().unwrap_or_default();
        Config::parse(&text, "command line", &folder, &|_| None).map_err(|mut error| {
            // There is no file in which a person could look for the line.
            error.faults.iter_mut().for_each(|fault| fault.line = 0);
            error
        })
    }
}

impl ShortForm {
    /// Goes the way of every file, so that the rules are the same.
    pub fn to_toml(&self) -> String {
        let peers: Vec<(&str, Option<&str>)> = self
            .peers
            .iter()
            .map(|peer| peer.split_once('=').map_or((peer.as_str(), None), |(site, url)| (site, Some(url))))
            .collect();
        let names: Vec<&str> = std::iter::once(self.site.as_str()).chain(peers.iter().map(|peer| peer.0)).collect();
        let sites = list(&names);
        let data_dir = self.data_dir.clone().unwrap_or_else(|| format!("holdfast-{}", self.site));
        let listen: Vec<String> = self.listen.iter().map(|address| address.to_string()).collect();
        let listen = list(&listen.iter().map(String::as_str).collect::<Vec<_>>());
        let mut out = String::new();
        let mut line = |text: String| writeln!(out, "{text}").expect("a String takes everything");
        line(format!("site = {}\ndata_dir = {}", quote(&self.site), quote(&data_dir)));
        line(format!("[realm]\nname = \"default\"\nsites = {sites}"));
        line(format!("[gateway]\nlisten = {listen}"));
        if let Some(link) = self.link {
            let control = self.control.unwrap_or(SocketAddr::new(link.ip(), CONTROL_PORT));
            line(format!("[link]\nlisten = \"{link}\"\n[control]\nlisten = \"{control}\""));
        }
        if let Some(admin) = self.admin {
            line(format!("[admin]\nlisten = \"{admin}\""));
        }
        for (site, url) in &peers {
            let link = url.map_or(String::new(), |url| format!("link = {}", quote(url)));
            line(format!("[[peer]]\nsite = {}\n{link}", quote(site)));
        }
        line(format!("[[service]]\nname = \"default\"\nreplicas = {sites}"));
        line(format!("endpoints = [{{ url = {} }}]", quote(&self.upstream)));
        out
    }
}

fn quote(text: &str) -> String {
    // Nothing is taken from the environment: the shell has done that.
    toml::Value::String(text.replace("${", "$${")).to_string()
}

fn list(items: &[&str]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(", "))
}
