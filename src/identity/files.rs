//! The three PEM files of `[identity]`.
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why nobody can be shown this identity. One that has ended is none of them: a site serves alone too.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
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

pub(super) fn pem(what: &'static str, path: &Path, error: rustls_pki_types::pem::Error) -> IdentityError {
    use rustls_pki_types::pem::Error;
    match error {
        Error::NoItemsFound => {
            IdentityError::Empty { what, path: path.to_owned(), expected: "PEM section of that type" }
        }
        Error::Io(error) => IdentityError::Pem { what, path: path.to_owned(), why: error.to_string() },
        other => IdentityError::Pem { what, path: path.to_owned(), why: other.to_string() },
    }
}

/// All certificates of a file, at least one.
pub(super) fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    let certificates = read.map_err(|error| pem(what, path, error))?;
    match certificates.is_empty() {
        true => Err(IdentityError::Empty { what, path: path.to_owned(), expected: "certificate" }),
        false => Ok(certificates),
    }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| pem("private key", path, error))
}
