//! The three PEM files of `[identity]`.
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Far more than the authorities of a realm take.
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why nobody can be shown this identity. One that has ended is none of them: a site serves alone too.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("{what} {path:?} cannot be read: {source}")]
    Read { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} {path:?} cannot be read as PEM: {why}")]
    Pem { what: &'static str, path: PathBuf, why: String },
    #[error("{what} {path:?} holds no {expected}")]
    Empty { what: &'static str, path: PathBuf, expected: &'static str },
    #[error("{what} {path:?} is not usable: {why}")]
    Unusable { what: &'static str, path: PathBuf, why: String },
    #[error("private key {key:?} does not belong to certificate {cert:?}")]
    OtherKey { key: PathBuf, cert: PathBuf },
    #[error("certificate {path:?} {why}")]
    Name { path: PathBuf, why: String },
}

impl IdentityError {
    /// The file is not there, or not for this user: it may be at another time, without a change of the configuration.
    pub fn may_pass(&self) -> bool {
        matches!(self, IdentityError::Read { .. })
    }
}

/// What is in a file. In a pipe there may never be anything, and whoever opened it would wait: it is refused.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text"))
}

fn read_pem(what: &'static str, path: &Path) -> Result<Vec<u8>, IdentityError> {
    read(path).map_err(|source| IdentityError::Read { what, path: path.to_owned(), source })
}

fn pem(what: &'static str, expected: &'static str, path: &Path, error: rustls_pki_types::pem::Error) -> IdentityError {
    match error {
        rustls_pki_types::pem::Error::NoItemsFound => IdentityError::Empty { what, path: path.to_owned(), expected },
        other => IdentityError::Pem { what, path: path.to_owned(), why: other.to_string() },
    }
}

/// All certificates of a file, at least one.
pub(super) fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let text = read_pem(what, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| pem(what, "certificate", path, error))?;
    match certificates.is_empty() {
        true => Err(IdentityError::Empty { what, path: path.to_owned(), expected: "certificate" }),
        false => Ok(certificates),
    }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    let text = read_pem("private key", path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| pem("private key", "private key", path, error))
}
