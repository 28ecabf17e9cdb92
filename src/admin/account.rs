//! What a person is told of one write: who, when, what was asked and answered, what differs, what to do next.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::next::{Case, Step, steps};
use super::view::{QuarantineEntry, WriteSummary};
use crate::gateway::{LaneRule, LaneRules};
use crate::journal::{Origin, QuarantineReason, Quarantined, Row};
use crate::model::{Answer, ClientRule, ClientRules, Group, Header, Lane, Request, SiteName, Verdict, WriteId};
use crate::privacy::{self, BodyView, MASKED, Privacy};

/// Who brought a write, by its request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ClientView {
    /// Of the connection on which it came: behind a proxy, the proxy's.
    pub address: Option<IpAddr>,
    /// The rule of `idempotency.client` that found something.
    pub by: Option<String>,
    /// Stands for what it found: the same for the same client, at this site alone.
    pub mark: Option<String>,
}

/// Its lane, as the request said it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct LaneView {
    /// As in `lane` of its service.
    pub rule: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RequestView {
    pub method: String,
    pub target: String,
    pub host: String,
    pub headers: Vec<(String, String)>,
    pub body: BodyView,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AnswerView {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: BodyView,
}

/// Of any write.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Account {
    /// By the wall clock of the site that accepted it, milliseconds since 1970.
    pub accepted_ms: u64,
    pub client: Option<ClientView>,
    /// The idempotency key, where its client named one.
    pub key: Option<String>,
    /// Absent where the request does not tell it (any more).
    pub lane_said: Option<LaneView>,
    pub request: Option<RequestView>,
    /// What its decider's replica answered.
    pub deciders_answer: Option<AnswerView>,
    /// What is not kept here, and where it may be.
    pub elsewhere: Vec<String>,
}

/// A write in quarantine, for who decides about it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Judged {
    #[serde(flatten)]
    pub entry: QuarantineEntry,
    /// What this replica answered, where it is kept.
    pub answer: Option<AnswerView>,
    /// Between the decider's answer and this one, in words.
    pub differences: Vec<String>,
    /// What of answers must be equal, at this service.
    pub compared: &'static str,
    pub next: Vec<Step>,
}

/// `GET /quarantine/{id}`
#[derive(Clone, Debug, serde::Serialize)]
pub struct QuarantineStatus {
    #[serde(flatten)]
    pub judged: Judged,
    /// The site that accepted it, where its log is known here.
    pub origin_site: Option<SiteName>,
    /// Absent where nothing but the entry can be read.
    #[serde(flatten)]
    pub account: Option<Account>,
}

/// A write as the journal has it.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    pub group: &'a Group,
    pub row: &'a Row,
    pub request: Option<&'a Request>,
    pub origin: Option<&'a SiteName>,
    /// Bodies are asked for.
    pub bodies: bool,
}

struct Known {
    lanes: LaneRules,
    clients: ClientRules,
    privacy: Privacy,
    /// `compare = "body"`
    compares_bodies: bool,
}

/// Tells, and hides what is not to be shown.
pub struct Teller {
    site: SiteName,
    services: BTreeMap<String, Known>,
    privacy: Privacy,
}

impl Teller {
    pub fn new(site: SiteName, privacy: Privacy) -> Self {
        Self { site, services: BTreeMap::new(), privacy }
    }

    pub fn service(mut self, name: &str, lanes: LaneRules, clients: &[ClientRule], compares_bodies: bool) -> Self {
        let named = clients.iter().filter_map(|rule| match rule {
            ClientRule::Header(name) => Some(name),
            ClientRule::Cookie(_) => None,
        });
        let privacy = lanes.headers().fold(self.privacy.clone(), |privacy, name| privacy.and_lane(name.as_str()));
        let privacy = named.fold(privacy, |privacy, name| privacy.and_header(name));
        let known = Known { lanes, clients: ClientRules::new(clients.to_vec()), privacy, compares_bodies };
        self.services.insert(name.to_owned(), known);
        self
    }

    fn privacy(&self, group: &Group) -> &Privacy {
        self.services.get(&group.service).map_or(&self.privacy, |known| &known.privacy)
    }

    /// Why following stopped, or what was seen of a write.
    pub fn detail(&self, detail: &str) -> String {
        self.privacy.detail(detail)
    }

    pub fn entry(&self, mut entry: QuarantineEntry) -> QuarantineEntry {
        entry.target = entry.target.map(|target| self.privacy.target(&target));
        entry.detail = self.privacy.detail(&entry.detail);
        entry.lane = entry.lane_hash.map(|lane| self.privacy.lane_mark(lane));
        entry
    }

    pub fn summary(&self, mut summary: WriteSummary) -> WriteSummary {
        summary.target = summary.target.map(|target| self.privacy.target(&target));
        summary.lane = self.privacy.lane_mark(summary.lane_hash);
        summary
    }

    /// The lane that is meant by what [`Teller::summary`] and [`Teller::entry`] have shown.
    pub fn lane_of(&self, mark: &str) -> Option<Lane> {
        self.privacy.lane_of(mark)
    }

    /// Its lane as its client said it, for a list; nothing where that is not to be shown.
    pub fn lane_words(&self, group: &Group, row: &Row, request: &Request) -> Option<String> {
        let known = self.services.get(&group.service)?;
        let (rule, value) = known.lanes.said(request, row.facts.lane)?;
        match rule {
            LaneRule::Service => Some(rule.to_string()),
            rule => shown_lane(&known.privacy, rule, &value),
        }
    }

    pub fn account(&self, kept: Kept<'_>) -> Account {
        let Kept { group, row, request, bodies, .. } = kept;
        let privacy = self.privacy(group);
        let known = self.services.get(&group.service);
        let decided = row.outcome.as_ref();
        Account {
            accepted_ms: row.facts.original_ms,
            client: request.zip(known).map(|(request, known)| client(privacy, &known.clients, request)),
            key: request.filter(|_| row.facts.key.is_some()).and_then(|request| key(privacy, request)),
            lane_said: request.zip(known).and_then(|(request, known)| lane(privacy, &known.lanes, row, request)),
            request: request.map(|request| RequestView {
                method: request.method.clone(),
                target: privacy.target(&request.target),
                host: request.authority.clone(),
                headers: headers(privacy, &request.headers),
                body: privacy.body(request.header("content-type").unwrap_or_default(), &request.body, bodies),
            }),
            deciders_answer: decided.and_then(|outcome| Some(answer(privacy, outcome.answer.as_ref()?, bodies))),
            elsewhere: self.elsewhere(kept),
        }
    }

    fn elsewhere(&self, kept: Kept<'_>) -> Vec<String> {
        let mut notes = Vec::new();
        let away = kept.origin.filter(|origin| **origin != self.site);
        let there = away.map(|origin| format!(": {origin}, which accepted it, may have it")).unwrap_or_default();
        if kept.request.is_none() {
            notes.push(format!("its request is not kept here{there}"));
        }
        match &kept.row.outcome {
            None => notes.push("what its decider answered is not known here yet".to_owned()),
            Some(outcome) if outcome.status != 0 && outcome.answer.is_none() => {
                let status = outcome.status;
                notes.push(format!("its decider answered {status}; that answer was too long to travel{there}"));
            }
            Some(outcome) if outcome.told_by_probe => {
                notes.push("the decider's answer is a probe's: its own one was lost".to_owned());
            }
            Some(_) => {}
        }
        notes
    }

    /// `others`: sites that hold a replica besides this one.
    pub fn judged(
        &self,
        entry: QuarantineEntry,
        held: &Quarantined,
        kept: Option<Kept<'_>>,
        others: &[SiteName],
    ) -> Judged {
        let row = kept.map(|kept| kept.row);
        let decided = row.and_then(|row| row.outcome.as_ref());
        // What was told here before its origin settled it otherwise.
        let told = row.and_then(|row| row.ours.as_ref()?.answer.as_ref());
        let ours = held.answer.as_ref().or(told);
        let privacy = kept.map_or(&self.privacy, |kept| self.privacy(kept.group));
        let bodies = kept.is_some_and(|kept| kept.bodies);
        let theirs = decided.and_then(|outcome| outcome.answer.as_ref());
        let mut differences = match theirs.zip(ours) {
            Some((theirs, ours)) => privacy::differences(privacy, theirs, ours, bodies),
            None => Vec::new(),
        };
        let status = decided.map_or(0, |outcome| outcome.status);
        if ours.is_none() && held.reason == QuarantineReason::Divergence && held.status != 0 {
            if theirs.is_some() && status != held.status {
                differences.push(format!("status: {status} at the decider, {} here", held.status));
            }
            differences.push("this replica's answer was longer than what is kept for a person".to_owned());
        }
        let case = Case {
            id: held.id,
            reason: held.reason,
            here: &self.site,
            origin: kept.and_then(|kept| kept.origin),
            others,
            behind: entry.behind,
            waits_for: &held.unknown,
            may_be_sent: kept.is_some_and(may_be_sent),
            overwrites: kept.and_then(|kept| kept.request).is_some_and(overwrites),
        };
        let next = steps(&case);
        let answer = ours.map(|ours| answer(privacy, ours, bodies));
        let compared = match self.services.get(&entry.service) {
            Some(known) if known.compares_bodies => "the class of the status, Location, and the body",
            _ => "the class of the status, and Location",
        };
        Judged { entry: self.entry(entry), answer, differences, compared, next }
    }
}

/// As far as it can be known without the state machine, which says more when it is ordered.
fn may_be_sent(kept: Kept<'_>) -> bool {
    let verdict = kept.row.outcome.as_ref().map(|outcome| outcome.verdict);
    let open = matches!(verdict, None | Some(Verdict::Applied | Verdict::Undecided | Verdict::MayHaveApplied));
    open && kept.request.is_some() && kept.row.origin != Origin::Cancelled
}

fn overwrites(request: &Request) -> bool {
    matches!(request.method.as_str(), "PUT" | "PATCH" | "DELETE")
}

fn client(privacy: &Privacy, rules: &ClientRules, request: &Request) -> ClientView {
    // Whatever a client says there stands before it: the gateway adds its own line last.
    let mut forwarded = request.headers.iter().rev().filter(|line| line.name.eq_ignore_ascii_case("x-forwarded-for"));
    let address = forwarded.next().and_then(|line| std::str::from_utf8(&line.value).ok()?.parse().ok());
    let by = rules.named_by(request);
    ClientView { address, mark: by.map(|_| privacy.mark(&rules.who(request).0)), by: by.map(ToString::to_string) }
}

fn key(privacy: &Privacy, request: &Request) -> Option<String> {
    const NAME: &str = "idempotency-key";
    let key = crate::idempotency::text_of(request.header(NAME)?)?;
    Some(if privacy.hides_header(NAME) { MASKED.to_owned() } else { key })
}

fn lane(privacy: &Privacy, lanes: &LaneRules, row: &Row, request: &Request) -> Option<LaneView> {
    let (rule, value) = lanes.said(request, row.facts.lane)?;
    let value = shown_lane(privacy, rule, &value).unwrap_or_else(|| privacy.mark(&value));
    Some(LaneView { rule: rule.to_string(), value })
}

/// What a rule has found, unless it is not to be shown or a part of it is not.
fn shown_lane(privacy: &Privacy, rule: &LaneRule, value: &[u8]) -> Option<String> {
    let text = privacy::text_of(value);
    let is_hidden = match rule {
        LaneRule::Header(name) => privacy.header(name.as_str(), value) != text,
        LaneRule::Cookie(_) => true,
        LaneRule::JsonPointer(pointer) => {
            let tokens: Vec<String> =
                pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
            privacy.hides_json(&tokens.iter().map(String::as_str).collect::<Vec<_>>())
        }
        LaneRule::Path => privacy.target(&text) != text,
        LaneRule::PathSegment(_) => privacy.target(&format!("/{text}")) != format!("/{text}"),
        LaneRule::Service | LaneRule::JwtClaim(_) | LaneRule::ClientIp => false,
    };
    (!is_hidden).then_some(text)
}

fn headers(privacy: &Privacy, headers: &[Header]) -> Vec<(String, String)> {
    // A name that begins with a colon is a note of ours, and was no header.
    let lines = headers.iter().filter(|header| !header.name.starts_with(':'));
    lines.map(|header| (header.name.clone(), privacy.header(&header.name, &header.value))).collect()
}

fn answer(privacy: &Privacy, answer: &Answer, bodies: bool) -> AnswerView {
    let body = match &answer.omitted {
        Some(digest) => privacy.omitted(&digest.0),
        None => privacy.body(answer.header("content-type").unwrap_or_default(), &answer.body, bodies),
    };
    AnswerView { status: answer.status, headers: headers(privacy, &answer.headers), body }
}

/// Its place among those of its lane: the first of them, how many there are, and this one.
pub fn place(entry: &mut QuarantineEntry, first: Option<WriteId>, total: u64) {
    match first {
        Some(first) if first != entry.id => entry.behind = Some(first),
        Some(_) => (entry.behind, entry.others_behind) = (None, total.saturating_sub(1)),
        None => {}
    }
}

#[cfg(test)]
pub(in crate::admin) mod tests;
