//! What a person must know of this site, in order of danger: the one list that `/health`, LOOK AT of `holdfast status`,
//! `holdfast status --check` and the API show.
//!
//! Pure: a function of the numbers that all of them are made of, and of some of the configuration. Whatever is added to
//! the numbers because it may go wrong has its line here, with the command that helps.
mod certificates;
mod peers;
mod services;
mod site;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::numbers::Numbers;
use crate::admin::{Attention, Grade, HealthState};
use crate::config::Config;
use crate::model::{Group, SiteName};
pub(super) use site::by;

/// What of the configuration the list depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// `None`: started without one.
    pub file: Option<String>,
    pub data_dir: String,
    pub gateway_cert: Option<String>,
    /// `answer.lag` of each service.
    pub lags: BTreeMap<String, Duration>,
    /// Other sites may dial this one.
    pub listens: bool,
    pub has_control: bool,
}

impl Settings {
    pub fn of(config: &Config) -> Self {
        Self {
            file: Some(config.source.clone()).filter(|source| source != "command line"),
            data_dir: config.data_dir.display().to_string(),
            gateway_cert: config.gateway.tls.as_ref().map(|tls| tls.cert.display().to_string()),
            lags: config.services.iter().map(|service| (service.name.clone(), service.answer.lag)).collect(),
            listens: config.link_listen.is_some(),
            has_control: config.control.enabled,
        }
    }

    /// A command about the configuration file.
    fn with_file(&self, command: &str) -> String {
        match &self.file {
            Some(file) => format!("{command} --config {}", word(file)),
            None => "journalctl -u holdfast -n 50".to_owned(),
        }
    }
}

/// All that is known at one moment.
pub(super) struct Known<'a> {
    pub me: &'a SiteName,
    pub state: HealthState,
    pub numbers: &'a Numbers,
    pub settings: &'a Settings,
    /// Wall clock, milliseconds since 1970.
    pub now_ms: u64,
}

/// The most dangerous first: by grade, and then in the order in which they stand here.
pub(super) fn look_at(known: &Known<'_>) -> Vec<Attention> {
    let mut found = List::default();
    site::state(known, &mut found);
    site::journal(known, &mut found);
    services::orphans(known, &mut found);
    services::stopped(known, &mut found);
    services::endpoints(known, &mut found);
    site::disk(known, &mut found);
    certificates::all(known, &mut found);
    peers::differ(known, &mut found);
    services::damage(known, &mut found);
    site::clock(known, &mut found);
    services::quarantine(known, &mut found);
    peers::away(known, &mut found);
    services::waits(known, &mut found);
    site::log(known, &mut found);
    site::mishaps(known, &mut found);
    let mut found = found.0;
    found.sort_by_key(|one| one.grade);
    found
}

/// What has happened, and is shown until it is old or was seen.
pub(super) fn happened(known: &Known<'_>) -> Vec<Attention> {
    let mut found = List::default();
    services::orphans(known, &mut found);
    site::mishaps(known, &mut found);
    found.0
}

#[derive(Default)]
struct List(Vec<Attention>);

impl List {
    fn add(&mut self, grade: Grade, subject: impl ToString, what: impl Into<String>, command: impl Into<String>) {
        let (subject, what, command) = (subject.to_string(), what.into(), command.into());
        self.0.push(Attention { grade, subject, what, command });
    }
    fn critical(&mut self, subject: impl ToString, what: impl Into<String>, command: impl Into<String>) {
        self.add(Grade::Critical, subject, what, command);
    }
    fn warning(&mut self, subject: impl ToString, what: impl Into<String>, command: impl Into<String>) {
        self.add(Grade::Warning, subject, what, command);
    }
}

/// As one word of a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

impl Known<'_> {
    /// Its service has one group here: nobody has to say which.
    fn is_only(&self, group: &Group) -> bool {
        self.numbers.groups.iter().filter(|(other, _)| other.service == group.service).count() == 1
    }

    /// The service, and the store where there are several.
    fn name(&self, group: &Group) -> String {
        if self.is_only(group) { group.service.clone() } else { group.to_string() }
    }

    /// A command about it.
    fn about(&self, command: &str, group: &Group) -> String {
        let store = if self.is_only(group) { String::new() } else { format!(" --store {}", word(&group.store)) };
        format!("{command} {}{store}", word(&group.service))
    }
}

/// `1 write`, `2 writes`.
fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
