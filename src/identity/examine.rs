//! What can be said of certificate files without asking anybody: for `holdfast check`, for a start, for `holdfast
//! identity show`.
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;

use super::authority::Authority;
use super::files::{Files, IdentityError, certificates, private_key};
use super::names::Names;
use super::verify::serves;
use crate::model::SiteName;

/// From so long before its end on, a certificate is worth a warning.
pub const EXPIRES_SOON_S: i64 = 30 * DAY_S;
pub(super) const DAY_S: i64 = 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    Good,
    Warning,
    /// With it no link can be opened.
    Bad,
}

/// One thing that is to be said of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The key of the configuration that names the file.
    pub key: &'static str,
    pub grade: Grade,
    pub text: String,
    /// The file is not there, or not for this user: a start waits for it.
    pub may_pass: bool,
}

impl Finding {
    fn new(key: &'static str, grade: Grade, path: &Path, text: impl AsRef<str>) -> Self {
        Self { key, grade, text: format!("{} {}", path.display(), text.as_ref()), may_pass: false }
    }

    fn of_error(key: &'static str, error: &IdentityError) -> Self {
        Self { key, grade: Grade::Bad, text: error.to_string(), may_pass: error.may_pass() }
    }
}

/// What was said of a file, with another name for it: one by which it is known, in place of one for a moment.
pub(super) fn naming(text: &str, file: &Path, name: &str) -> String {
    text.replace(&format!("{file:?}"), name).replace(&file.display().to_string(), name)
}

/// All that is to be said, in the order of the keys; a file of which nothing bad is known says when it ends.
pub fn examine(files: &Files, me: &SiteName, listed: &[SiteName], now_s: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    let read = |found: &mut Vec<Finding>, key, what, path: &Path| match certificates(what, path) {
        Ok(certificates) => Some(certificates),
        Err(error) => {
            found.push(Finding::of_error(key, &error));
            None
        }
    };
    let authorities = read(&mut found, "identity.ca", "CA", &files.ca);
    if let Some(authorities) = &authorities {
        found.extend(authorities.iter().map(|authority| of_authority(authority, &files.ca, now_s)));
    }
    let chain = read(&mut found, "identity.cert", "certificate", &files.cert);
    if let Some(chain) = &chain {
        let before = found.len();
        of_chain(&mut found, chain, authorities.as_deref(), files, me, listed, now_s);
        if found.len() == before {
            let ends = chain.iter().filter_map(|one| parse(one).ok()).map(|one| one.validity().not_after.timestamp());
            found.push(ending("identity.cert", &files.cert, ends.min().unwrap_or(i64::MIN), now_s));
        }
    }
    found.extend(of_key("identity.key", &files.key, &files.cert, chain.as_deref()));
    found
}

/// The same for the gateway's own certificate, which clients judge: whether its key is its own, and when it ends.
pub fn examine_listener(cert: &Path, key: &Path, now_s: i64) -> Vec<Finding> {
    let (of_cert, of_its_key) = ("gateway.tls.cert", "gateway.tls.key");
    let chain = certificates("certificate", cert);
    let mut found = match &chain {
        Ok(chain) => {
            let end = |one| parse(one).map(|one| ending(of_cert, cert, one.validity().not_after.timestamp(), now_s));
            let ends =
                chain.iter().map(|one| end(one).unwrap_or_else(|why| Finding::new(of_cert, Grade::Bad, cert, why)));
            let mut ends: Vec<Finding> = ends.collect();
            ends.dedup();
            ends
        }
        Err(error) => vec![Finding::of_error(of_cert, error)],
    };
    found.extend(of_key(of_its_key, key, cert, chain.as_deref().ok()));
    found
}

/// What a hub signs with: whether it can, whether the realm will accept it, and until when.
pub fn examine_renewals(cert: &Path, key: &Path, ca: &Path, now_s: i64) -> Vec<Finding> {
    let label = "identity.renewals";
    let authority = match Authority::open(cert, key) {
        Ok(authority) => authority,
        Err(error) => {
            let may_pass = error.may_pass();
            return vec![Finding { key: label, grade: Grade::Bad, text: error.to_string(), may_pass }];
        }
    };
    let mut found = vec![ending(label, cert, authority.not_after_s, now_s)];
    // One that is over, or a file that cannot be read, is said by itself.
    if let Ok(authorities) = certificates("CA", ca)
        && found[0].grade != Grade::Bad
        && let Err(why) = authority.leads_to(&authorities)
    {
        let said = format!("signs what nobody accepts with the authorities in {}: {why}", ca.display());
        found = vec![Finding::new(label, Grade::Bad, cert, said)];
    }
    found.extend(of_key(label, key, cert, None).into_iter().filter(|finding| finding.grade != Grade::Good));
    found
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    x509_parser::parse_x509_certificate(certificate).map(|(_, parsed)| parsed).map_err(|error| error.to_string())
}

fn of_authority(certificate: &CertificateDer<'_>, path: &Path, now_s: i64) -> Finding {
    let key = "identity.ca";
    let parsed = match parse(certificate) {
        Ok(parsed) => parsed,
        Err(why) => return Finding::new(key, Grade::Bad, path, why),
    };
    if !parsed.is_ca() {
        let said = format!("({}) is no authority's certificate: it may not sign others", parsed.subject());
        return Finding::new(key, Grade::Bad, path, said);
    }
    // Nobody looks at an authority's end in a handshake; whoever keeps it should.
    let mut found = ending(key, path, parsed.validity().not_after.timestamp(), now_s);
    if found.grade == Grade::Bad {
        found.grade = Grade::Warning;
    }
    found
}

/// When something ends, and how grave that is now.
fn ending(key: &'static str, path: &Path, not_after_s: i64, now_s: i64) -> Finding {
    let left_s = not_after_s.saturating_sub(now_s);
    let (grade, said) = match left_s {
        ..=0 => (Grade::Bad, format!("expired {} ago, on {}", span(left_s.saturating_neg()), date(not_after_s))),
        1..EXPIRES_SOON_S => (Grade::Warning, format!("expires in {}, on {}", span(left_s), date(not_after_s))),
        _ => (Grade::Good, format!("expires in {}", span(left_s))),
    };
    Finding::new(key, grade, path, said)
}

fn of_chain(
    found: &mut Vec<Finding>,
    chain: &[CertificateDer<'_>],
    authorities: Option<&[CertificateDer<'_>]>,
    files: &Files,
    me: &SiteName,
    listed: &[SiteName],
    now_s: i64,
) {
    let mut bad = |text: String| found.push(Finding::new("identity.cert", Grade::Bad, &files.cert, text));
    let (names, parsed) = match (Names::of(&chain[0]), parse(&chain[0])) {
        (Ok(names), Ok(parsed)) => (names, parsed),
        (Err(why), _) | (_, Err(why)) => return bad(why),
    };
    if let Err(why) = names.must_be(me, listed) {
        bad(format!("{why}: it must bear {me} as a DNS name (SAN)"));
    }
    let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    // A chain is looked at in the certificate's own time: what its end says is said apart.
    let then = now_s.clamp(begin, end.max(begin));
    if let Some(why) = authorities.and_then(|authorities| chain_fault(chain, authorities, then, &parsed)) {
        bad(format!("{why} {}", files.ca.display()));
    }
    if let Some(why) = usage_fault(&parsed) {
        bad(why);
    }
    if begin > now_s {
        bad(format!("is not valid before {}, in {}: is the clock right?", date(begin), span(begin - now_s)));
    }
    for certificate in chain {
        let Ok(parsed) = parse(certificate) else { return };
        let said = ending("identity.cert", &files.cert, parsed.validity().not_after.timestamp(), now_s);
        if said.grade != Grade::Good {
            found.push(said);
        }
    }
}

/// Why a chain does not lead to an authority; the name of the file of authorities follows.
fn chain_fault(
    chain: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    then_s: i64,
    leaf: &X509Certificate<'_>,
) -> Option<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities.iter().map(|one| one.clone().into_owned()));
    let roots = Arc::new(roots);
    let then = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(then_s).unwrap_or(0)));
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().ok()?;
    let shows = verifier.verify_client_cert(&chain[0], &chain[1..], then).map(drop);
    let both = serves(&chain[0], &chain[1..], &roots, &provider, then).and(shows);
    match both.err()? {
        // Said by `usage_fault`, in words.
        rustls::Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => None,
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some(format!("was signed by {}, which is none of the authorities in", leaf.issuer()))
        }
        // What signed it has the same name and another key.
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            Some(format!("was signed with another key than that of {} in", leaf.issuer()))
        }
        rustls::Error::InvalidCertificate(why) => Some(format!("is not accepted ({why:?}) with the authorities in")),
        other => Some(format!("is not accepted ({other}) with the authorities in")),
    }
}

/// A site dials and is dialled.
fn usage_fault(parsed: &X509Certificate<'_>) -> Option<String> {
    let usage = parsed.extended_key_usage().ok()??.value;
    let missing: Vec<&str> = [("serverAuth", usage.server_auth), ("clientAuth", usage.client_auth)]
        .into_iter()
        .filter(|(_, has)| !has && !usage.any)
        .map(|(name, _)| name)
        .collect();
    let needs = "its extended key usage must hold serverAuth and clientAuth, or be absent";
    (!missing.is_empty()).then(|| format!("is not made for {}: {needs}", missing.join(" and ")))
}

fn of_key(label: &'static str, path: &Path, cert: &Path, chain: Option<&[CertificateDer<'_>]>) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let finding = |grade, text: &str| Finding::new(label, grade, path, text);
    let key = match private_key(path) {
        Ok(key) => key,
        Err(error) => return vec![Finding::of_error(label, &error)],
    };
    let mut found = Vec::new();
    let signing = match rustls::crypto::ring::sign::any_supported_type(&key) {
        Ok(signing) => signing,
        Err(error) => return vec![finding(Grade::Bad, &format!("is not usable: {error}"))],
    };
    let leaf = chain.and_then(|chain| parse(&chain[0]).ok());
    let ours = signing.public_key().map(|public| public.to_vec());
    if let (Some(leaf), Some(ours)) = (leaf, ours)
        && leaf.public_key().raw != ours
    {
        let other = IdentityError::OtherKey { key: path.to_owned(), cert: cert.to_owned() };
        found.push(Finding::of_error(label, &other));
    }
    match std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o077) {
        Ok(0) => {}
        Ok(_) => {
            let said = format!("may be read or changed by others than its owner: `chmod 600 {}`", path.display());
            found.push(finding(Grade::Warning, &said));
        }
        Err(error) => found.push(finding(Grade::Bad, &error.to_string())),
    }
    if found.is_empty() {
        found.push(finding(Grade::Good, "is the certificate's, and its owner's alone"));
    }
    found
}

/// A certificate, for people and scripts.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    pub subject: String,
    /// DNS names: whom it speaks for.
    pub names: Vec<String>,
    pub issuer: String,
    pub is_authority: bool,
    pub not_before: String,
    pub not_after: String,
    pub not_after_s: i64,
    /// Until its end; below 0 since then.
    pub left_s: i64,
    /// SHA-256 of the certificate.
    pub fingerprint: String,
}

/// The certificates of a file, in its order.
pub fn show(path: &Path, now_s: i64) -> Result<Vec<Shown>, IdentityError> {
    let shown = |certificate: &CertificateDer<'_>| -> Result<Shown, String> {
        let parsed = parse(certificate)?;
        let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let hash = Sha256::digest(certificate.as_ref());
        Ok(Shown {
            subject: parsed.subject().to_string(),
            names: Names::of(certificate)?.dns,
            issuer: parsed.issuer().to_string(),
            is_authority: parsed.is_ca(),
            not_before: date(begin),
            not_after: date(end),
            not_after_s: end,
            left_s: end.saturating_sub(now_s),
            fingerprint: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    };
    certificates("certificate", path)?
        .iter()
        .map(shown)
        .collect::<Result<_, _>>()
        .map_err(|why| IdentityError::Unusable { what: "certificate", path: path.to_owned(), why })
}

/// As people count it: 2 days, 5 hours, 3 minutes.
pub(crate) fn span(s: i64) -> String {
    let rounded = |unit: i64| s.saturating_add(unit / 2) / unit;
    let (n, unit) = match s {
        129_600.. => (rounded(DAY_S), "day"),
        5_400.. => (rounded(3_600), "hour"),
        _ => (rounded(60), "minute"),
    };
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

pub(super) fn date(s: i64) -> String {
    let seconds = u64::try_from(s).ok().filter(|s| *s < 253_402_300_800);
    let time = seconds.and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
    time.map_or_else(|| format!("second {s} of 1970"), httpdate::fmt_http_date)
}
