//! The handshake's decisions, pure: whom we speak with, and what both sides agree on.
use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use super::{LinkSettings, SharedService};
use crate::model::SiteName;
use crate::wire::{self, Difference, Hello, Terms};

/// Of everything that is said after the handshake.
pub(super) const PROTOCOL: u16 = 1;
pub(super) const SOFTWARE: &str = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
/// What stands for the whole definition where one side has none.
const MISSING: &str = "service";

pub(super) fn hello_to(settings: &LinkSettings, to: &SiteName) -> Hello {
    Hello {
        protocol: PROTOCOL,
        realm: settings.realm.clone(),
        site: settings.me.clone(),
        to: to.clone(),
        boot: settings.boot,
        software: SOFTWARE.to_owned(),
        services: terms_with(&settings.services, to),
        store: settings.store,
    }
}

/// Hashes of the definitions of all services that have to do with `peer`.
fn terms_with(services: &[SharedService], peer: &SiteName) -> Vec<Terms> {
    let shared = services.iter().filter(|service| service.sites.contains(peer));
    shared
        .map(|service| {
            let keys = service.keys.iter().map(|(key, value)| (key.clone(), short_hash(value))).collect();
            Terms { service: service.name.clone(), keys }
        })
        .collect()
}

fn short_hash(value: &str) -> u64 {
    u64::from_le_bytes(Sha256::digest(value)[..8].try_into().expect("SHA-256 has 32 bytes"))
}

/// Whether to speak with who says hello, and if so which services' exchange must rest.
pub(super) fn judge(
    settings: &LinkSettings,
    hello: &Result<Hello, wire::Error>,
    speaker: Option<&Result<SiteName, String>>,
) -> Result<Vec<Difference>, Refusal> {
    let refuse = |status, code, detail| Err(Refusal::new(status, code, detail));
    let hello = match hello {
        Ok(hello) => hello,
        Err(error @ wire::Error::NewerVersion { .. }) => {
            return refuse(StatusCode::CONFLICT, "newer-version", error.to_string());
        }
        Err(error @ wire::Error::OlderVersion { .. }) => {
            return refuse(StatusCode::CONFLICT, "older-version", error.to_string());
        }
        Err(error) => return refuse(StatusCode::BAD_REQUEST, "bad-hello", format!("hello: {error}")),
    };
    if let Err(why) = hello.check() {
        return refuse(StatusCode::BAD_REQUEST, "bad-hello", format!("hello: {why}"));
    }
    let Hello { site, realm, protocol, .. } = hello;
    let me = &settings.me;
    if *protocol > PROTOCOL {
        let detail =
            format!("site {site} speaks link protocol {protocol}, site {me} up to {PROTOCOL}: upgrade {me} first");
        return refuse(StatusCode::CONFLICT, "newer-version", detail);
    }
    if *protocol < PROTOCOL {
        let detail =
            format!("site {site} speaks link protocol {protocol}, site {me} from {PROTOCOL} on: upgrade {site}");
        return refuse(StatusCode::CONFLICT, "older-version", detail);
    }
    if *realm != settings.realm {
        let detail = format!("site {site} is of realm {realm:?}, this is realm {:?}", settings.realm);
        return refuse(StatusCode::FORBIDDEN, "other-realm", detail);
    }
    if hello.to != *me {
        let detail = format!("site {site} meant to dial {}, this is {me}: its link URL is wrong", hello.to);
        return refuse(StatusCode::BAD_REQUEST, "other-site", detail);
    }
    if site == me {
        return refuse(
            StatusCode::BAD_REQUEST,
            "own-name",
            format!("another node calls itself {me}, as this one does"),
        );
    }
    if !settings.sites.contains(site) {
        let detail = format!("site {site} is not listed in [realm] sites of {me}");
        return refuse(StatusCode::BAD_REQUEST, "site-not-listed", detail);
    }
    let why = match speaker {
        Some(Ok(speaker)) if speaker != site => Some(format!("the certificate is for site {speaker}")),
        Some(Err(why)) => Some(why.clone()),
        Some(Ok(_)) | None => None,
    };
    if let Some(why) = why {
        let detail = format!("{why}; site {site} was claimed");
        return refuse(StatusCode::FORBIDDEN, "certificate-of-another-site", detail);
    }
    Ok(differences(&terms_with(&settings.services, site), &hello.services))
}

/// The keys that differ, for each service; a service that only one side shares differs in `service`.
pub(super) fn differences(ours: &[Terms], theirs: &[Terms]) -> Vec<Difference> {
    let by_name = |terms: &[Terms]| -> BTreeMap<String, BTreeMap<String, u64>> {
        terms.iter().map(|terms| (terms.service.clone(), terms.keys.clone())).collect()
    };
    let (ours, theirs) = (by_name(ours), by_name(theirs));
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differing = |name: &String| match (ours.get(name), theirs.get(name)) {
        (Some(ours), Some(theirs)) => {
            let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect()
        }
        _ => vec![MISSING.to_owned()],
    };
    let all = names.into_iter().map(|name| Difference { service: name.clone(), keys: differing(name) });
    all.filter(|difference| !difference.keys.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(service: &str, keys: &[(&str, u64)]) -> Terms {
        let keys = keys.iter().map(|(key, hash)| ((*key).to_owned(), *hash)).collect();
        Terms { service: service.to_owned(), keys }
    }

    #[test]
    fn names_what_differs_and_nothing_else() {
        let ours = [terms("a", &[("lane", 1), ("match", 2)]), terms("b", &[("lane", 1)]), terms("ours", &[])];
        let theirs = [terms("theirs", &[]), terms("b", &[("lane", 1)]), terms("a", &[("lane", 3), ("methods", 2)])];
        let found: Vec<(String, Vec<String>)> =
            differences(&ours, &theirs).into_iter().map(|d| (d.service, d.keys)).collect();
        let expected = |service: &str, keys: &[&str]| {
            (service.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>())
        };
        let service = ["service"];
        let all =
            [expected("a", &["lane", "match", "methods"]), expected("ours", &service), expected("theirs", &service)];
        assert_eq!(found, all);
        assert_eq!(differences(&ours, &ours), []);
    }

    #[test]
    fn everyone_who_may_not_speak_is_told_why() {
        let settings = LinkSettings {
            me: SiteName::new("cloud"),
            realm: "acme".into(),
            boot: [1; 16],
            store: [1; 16],
            sites: ["cloud", "store-042"].map(SiteName::new).to_vec(),
            dial: vec![],
            listen: None,
            tls: None,
            renewals: None,
            joins: None,
            services: vec![],
            limits: super::super::Limits::default(),
        };
        let good = Hello { site: SiteName::new("store-042"), ..hello_to(&settings, &settings.me) };
        let judged = |hello: Hello, speaker: Option<Result<&str, &str>>| {
            let speaker = speaker.map(|speaker| speaker.map(SiteName::new).map_err(str::to_owned));
            judge(&settings, &Ok(hello), speaker.as_ref()).map_err(|refusal| (refusal.status.as_u16(), refusal.code))
        };
        assert_eq!(judged(good.clone(), None), Ok(vec![]));
        assert_eq!(judged(good.clone(), Some(Ok("store-042"))), Ok(vec![]));
        let site = |name: &str| Hello { site: SiteName::new(name), ..good.clone() };
        // hello | status | code
        let cases = [
            (Hello { protocol: 2, ..good.clone() }, 409, "newer-version"),
            (Hello { protocol: 0, ..good.clone() }, 409, "older-version"),
            (Hello { realm: "other".into(), ..good.clone() }, 403, "other-realm"),
            (Hello { to: SiteName::new("cloud-2"), ..good.clone() }, 400, "other-site"),
            (site("cloud"), 400, "own-name"),
            (site("store-043"), 400, "site-not-listed"),
        ];
        for (hello, status, code) in cases {
            assert_eq!(judged(hello, None), Err((status, code)));
        }
        for speaker in [Ok("store-041"), Err("has no DNS name")] {
            assert_eq!(judged(good.clone(), Some(speaker)), Err((403, "certificate-of-another-site")));
        }
        let newer = judge(&settings, &Err(wire::Error::NewerVersion { got: 3 }), None).unwrap_err();
        assert_eq!((newer.status.as_u16(), newer.code), (409, "newer-version"));
        let older = judge(&settings, &Err(wire::Error::OlderVersion { got: 1 }), None).unwrap_err();
        assert_eq!((older.status.as_u16(), older.code), (409, "older-version"));
    }
}
