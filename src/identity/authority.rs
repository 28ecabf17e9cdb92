//! A small authority of one's own: its key is a file that the operator keeps apart, and only `holdfast identity` reads
//! it.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::examine::{DAY_S, date};
use super::expiry::{not_after, now_s};
use super::files::{IdentityError, certificates, read, read_text};
use super::request::{PublicKey, Request};
use super::verify::serves;
use crate::model::SiteName;

/// Clocks of stores stand up to so far behind.
const BEFORE: Duration = Duration::from_secs(3_600);

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{path} is there already, and is not overwritten: {right}")]
    Exists { path: PathBuf, right: &'static str },
    #[error("read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{folder} cannot be a folder: {file} is a file")]
    NotAFolder { folder: PathBuf, file: PathBuf },
    #[error("another `holdfast join` is at work in {folder}: wait for its end, and look there")]
    Busy { folder: PathBuf },
    #[error(transparent)]
    File(#[from] IdentityError),
    #[error("{path} is not usable: {why}")]
    Unusable { path: PathBuf, why: String },
    #[error("{key} is not the key of the authority {cert}")]
    OtherKey { key: PathBuf, cert: PathBuf },
    #[error("the authority {path} itself ends on {until}: ask for fewer days, or make a new authority")]
    EndsBefore { path: PathBuf, until: String },
    #[error("what site {site} shows cannot be signed anew: {why}")]
    Shown { site: SiteName, why: String },
    #[error("what the hub has signed is not usable: {why}. Nothing was written; this box may still use its code")]
    Given { why: String },
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

impl AuthorityError {
    /// As [`IdentityError::may_pass`].
    pub fn may_pass(&self) -> bool {
        match self {
            AuthorityError::Read { .. } => true,
            AuthorityError::File(error) => error.may_pass(),
            _ => false,
        }
    }
}

/// What was made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Issued {
    pub site: Option<SiteName>,
    pub cert: PathBuf,
    pub key: PathBuf,
    pub not_after: String,
}

/// An authority as its two files say it.
pub struct Authority {
    cert: PathBuf,
    pem: String,
    pub(super) not_after_s: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Writes `ca.pem` and `ca.key` to a folder; what is there already stays.
    pub fn init(folder: &Path, name: &str, days: u32) -> Result<Issued, AuthorityError> {
        let (cert, key_file) = (folder.join("ca.pem"), folder.join("ca.key"));
        for path in [&cert, &key_file] {
            if path.exists() {
                let right = "an authority is made once; move the file away if it is really to be another";
                return Err(AuthorityError::Exists { path: path.clone(), right });
            }
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let not_after_s = lasts(&mut params, days);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        make_folder(folder)?;
        write_new(&key_file, &key.serialize_pem(), 0o600)?;
        write_new(&cert, &pem, 0o644)?;
        Ok(Issued { site: None, cert, key: key_file, not_after: date(not_after_s) })
    }

    /// As the configuration names them.
    pub fn open(cert: &Path, key_file: &Path) -> Result<Self, AuthorityError> {
        read(key_file).map_err(|source| AuthorityError::Read { path: key_file.to_owned(), source })?;
        Self::open_by_hand(cert, key_file)
    }

    /// As a person names them, who may have the key come through a pipe.
    pub fn open_by_hand(cert: &Path, key_file: &Path) -> Result<Self, AuthorityError> {
        let unread = |path: &Path| {
            let path = path.to_owned();
            move |source| AuthorityError::Read { path, source }
        };
        let unusable = |path: &Path, why: String| AuthorityError::Unusable { path: path.to_owned(), why };
        let pem = read_text(cert).map_err(unread(cert))?;
        let key = fs::read_to_string(key_file).map_err(unread(key_file))?;
        let certificate = certificates("CA", cert)?.swap_remove(0);
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|error| unusable(cert, error.to_string()))?;
        let key = KeyPair::from_pem(&key).map_err(|error| unusable(key_file, error.to_string()))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::OtherKey { key: key_file.to_owned(), cert: cert.to_owned() });
        }
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let name = name.ok_or_else(|| unusable(cert, "it has no common name".to_owned()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let not_after_s = not_after(&certificate).map_err(|why| unusable(cert, why))?;
        Ok(Self { cert: cert.to_owned(), pem, not_after_s, issuer: Issuer::new(params, key) })
    }

    /// A key and a certificate for a site, in `folder`; both are new.
    pub fn issue(&self, site: &SiteName, folder: &Path, days: u32) -> Result<Issued, AuthorityError> {
        let (cert, key_file) = (folder.join(format!("{site}.pem")), folder.join(format!("{site}.key")));
        for path in [&cert, &key_file] {
            if path.exists() {
                let right = "`holdfast identity renew` replaces a certificate";
                return Err(AuthorityError::Exists { path: path.clone(), right });
            }
        }
        let key = KeyPair::generate()?;
        let (pem, not_after_s) = self.sign(site, &key, days)?;
        make_folder(folder)?;
        write_new(&key_file, &key.serialize_pem(), 0o600)?;
        write_new(&cert, &pem, 0o644)?;
        let ca = folder.join("ca.pem");
        if !ca.exists() {
            write_new(&ca, &self.pem, 0o644)?;
        }
        Ok(Issued { site: Some(site.clone()), cert, key: key_file, not_after: date(not_after_s) })
    }

    /// An authority for a hub, that signs renewals over links, and nothing below it.
    pub fn delegate(&self, hub: &SiteName, folder: &Path, days: u32) -> Result<Issued, AuthorityError> {
        let [cert, key_file] = ["pem", "key"].map(|kind| folder.join(format!("{hub}-renewals.{kind}")));
        for path in [&cert, &key_file] {
            if path.exists() {
                let right = "move it away if it is really to be another";
                return Err(AuthorityError::Exists { path: path.clone(), right });
            }
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("renewals by {hub}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.use_authority_key_identifier_extension = true;
        let not_after_s = lasts(&mut params, days);
        self.must_outlast(not_after_s)?;
        let key = KeyPair::generate()?;
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        make_folder(folder)?;
        write_new(&key_file, &key.serialize_pem(), 0o600)?;
        write_new(&cert, &pem, 0o644)?;
        Ok(Issued { site: Some(hub.clone()), cert, key: key_file, not_after: date(not_after_s) })
    }

    fn must_outlast(&self, not_after_s: i64) -> Result<(), AuthorityError> {
        match not_after_s > self.not_after_s {
            true => Err(AuthorityError::EndsBefore { path: self.cert.clone(), until: date(self.not_after_s) }),
            false => Ok(()),
        }
    }

    /// A new certificate for the key that the site has: one file changes, so no running site ever sees half of a pair.
    pub fn renew(&self, site: &SiteName, folder: &Path, days: u32) -> Result<Issued, AuthorityError> {
        let (cert, key_file) = (folder.join(format!("{site}.pem")), folder.join(format!("{site}.key")));
        let key = read_text(&key_file).map_err(|source| AuthorityError::Read { path: key_file.clone(), source })?;
        let key = KeyPair::from_pem(&key)
            .map_err(|error| AuthorityError::Unusable { path: key_file.clone(), why: error.to_string() })?;
        let (pem, not_after_s) = self.sign(site, &key, days)?;
        let new = folder.join(format!(".{site}.pem.new"));
        let failed = |source| AuthorityError::Write { path: cert.clone(), source };
        // What an interrupted renewal left is worth nothing.
        let _ = fs::remove_file(&new);
        write_new(&new, &pem, 0o644)?;
        fs::rename(&new, &cert).map_err(failed)?;
        Ok(Issued { site: Some(site.clone()), cert, key: key_file, not_after: date(not_after_s) })
    }

    /// Signs for a running site, over its link: the same key, for as many days as this authority has been given for
    /// that, or for as long as it lasts itself. With what stands between the new certificate and the realm's authority.
    fn renew_shown(
        &self,
        site: &SiteName,
        shown: &CertificateDer<'_>,
        days: u32,
    ) -> Result<(String, String), AuthorityError> {
        let key = PublicKey::shown(shown).map_err(|why| AuthorityError::Shown { site: site.clone(), why })?;
        self.sign_below(site, &key, days)
    }

    /// For no longer than this authority lasts itself, and with it.
    fn sign_below(&self, site: &SiteName, key: &PublicKey, days: u32) -> Result<(String, String), AuthorityError> {
        let left = u32::try_from(self.not_after_s.saturating_sub(now_s()) / DAY_S).unwrap_or(0);
        if left == 0 {
            return Err(AuthorityError::EndsBefore { path: self.cert.clone(), until: date(self.not_after_s) });
        }
        let (pem, not_after_s) = self.sign(site, key, days.min(left))?;
        Ok((format!("{pem}{}", self.pem), date(not_after_s)))
    }

    /// Whether what is signed here will be accepted with these authorities.
    pub(super) fn leads_to(&self, authorities: &[CertificateDer<'_>]) -> Result<(), String> {
        let signs = || -> Result<CertificateDer<'static>, AuthorityError> {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::DnsName("nobody".try_into()?)];
            params.is_ca = IsCa::ExplicitNoCa;
            params.not_before = (SystemTime::now() - BEFORE).into();
            params.not_after = (SystemTime::now() + BEFORE).into();
            Ok(params.signed_by(&KeyPair::generate()?, &self.issuer)?.der().clone())
        };
        let signed = signs().map_err(|error| error.to_string())?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().map(|one| one.clone().into_owned()));
        let between = certificates("certificate", &self.cert).map_err(|error| error.to_string())?;
        let provider = rustls::crypto::ring::default_provider();
        serves(&signed, &between, &roots, &provider, UnixTime::now()).map_err(|error| error.to_string())
    }

    fn sign(&self, site: &SiteName, key: &impl PublicKeyData, days: u32) -> Result<(String, i64), AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(site.as_str());
        params.subject_alt_names = vec![SanType::DnsName(site.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let not_after_s = lasts(&mut params, days);
        self.must_outlast(not_after_s)?;
        let made = params.signed_by(key, &self.issuer)?;
        // An authority that somebody else made may have a name that was not written as it is here.
        let provider = rustls::crypto::ring::default_provider();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(certificates("CA", &self.cert)?);
        serves(made.der(), &[], &roots, &provider, UnixTime::now()).map_err(|error| AuthorityError::Unusable {
            path: self.cert.clone(),
            why: format!(
                "it was not made by `holdfast identity init`, and what it signs here is not accepted: {error}"
            ),
        })?;
        Ok((made.pem(), not_after_s))
    }
}

pub(super) fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// From a little before now on, for so many days; says the end in seconds since 1970.
fn lasts(params: &mut CertificateParams, days: u32) -> i64 {
    let now = SystemTime::now();
    let end_s = now_s().saturating_add(i64::from(days) * DAY_S);
    params.not_before = (now - BEFORE).into();
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(end_s).unwrap_or(0));
    end_s
}

/// What a hub signs renewals with, and for how long.
pub struct Renewals {
    authority: Authority,
    days: u32,
}

impl std::fmt::Debug for Renewals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewals").field("cert", &self.authority.cert).field("days", &self.days).finish()
    }
}

impl Renewals {
    pub fn open(cert: &Path, key: &Path, days: u32) -> Result<Self, AuthorityError> {
        Ok(Self { authority: Authority::open(cert, key)?, days })
    }

    /// A certificate for the key in `shown`, as PEM with all that stands between it and the realm's authority, and when
    /// it ends.
    pub(crate) fn renew(
        &self,
        site: &SiteName,
        shown: &CertificateDer<'_>,
    ) -> Result<(String, String), AuthorityError> {
        self.authority.renew_shown(site, shown, self.days)
    }

    /// The same for the key of a box that asks for its first certificate.
    pub(crate) fn sign(&self, site: &SiteName, request: &Request) -> Result<(String, String), AuthorityError> {
        self.authority.sign_below(site, &request.key, self.days)
    }
}

/// With all folders above it.
pub(super) fn make_folder(folder: &Path) -> Result<(), AuthorityError> {
    fs::create_dir_all(folder).map_err(|source| {
        let file = folder.ancestors().find(|path| path.exists() && !path.is_dir());
        match file {
            Some(file) => AuthorityError::NotAFolder { folder: folder.to_owned(), file: file.to_owned() },
            None => AuthorityError::Write { path: folder.to_owned(), source },
        }
    })
}

/// A file that was not there; it is on the disk when this returns.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}
