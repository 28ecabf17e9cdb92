//! The box's side of joining: its key, which never leaves it, and the files that it ends with. Whatever is interrupted,
//! the same command goes on: the key is kept, and the certificate is the last file to be there.
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::authority::{AuthorityError, Issued, common_name, write_new};
use super::examine::{Grade, date, examine};
use super::expiry::{end_s, now_s};
use super::files::{Files, certificates};
use crate::model::SiteName;

/// What a box has while it joins.
pub(crate) struct Joining {
    site: SiteName,
    folder: PathBuf,
    files: Files,
    /// What it asks to be signed.
    pub request: Vec<u8>,
}

impl Joining {
    /// The key is on the disk when this returns: a code that was used for it must not be lost with it.
    pub fn begin(site: &SiteName, folder: &Path) -> Result<Self, AuthorityError> {
        let at = |name: String| folder.join(name);
        let files = Files { ca: at("ca.pem".into()), cert: at(format!("{site}.pem")), key: at(format!("{site}.key")) };
        if files.cert.exists() && !is_over(&files.cert) {
            let right = "this box has a certificate; move the file away if it really is to join anew";
            return Err(AuthorityError::Exists { path: files.cert, right });
        }
        let key = match fs::read_to_string(&files.key) {
            // Of a join that was interrupted: its code is good for this key alone.
            Ok(text) => own_key(&files.key, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?;
                let failed = |source| AuthorityError::Write { path: folder.to_owned(), source };
                fs::create_dir_all(folder).map_err(failed)?;
                let new = at(format!(".{site}.key.new"));
                let _ = fs::remove_file(&new);
                write_new(&new, &key.serialize_pem(), 0o600)?;
                place(&new, &files.key)?;
                key
            }
            Err(source) => return Err(AuthorityError::Read { path: files.key, source }),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(site.as_str());
        params.subject_alt_names = vec![SanType::DnsName(site.as_str().try_into()?)];
        let request = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { site: site.clone(), folder: folder.to_owned(), files, request })
    }

    /// Writes what the hub has given, where it is for this site and this key and leads to the authorities given.
    pub fn finish(&self, certificate: &str, authorities: &str) -> Result<Issued, AuthorityError> {
        let new = |name: String| self.folder.join(format!(".{name}.new"));
        let (ca, cert) = (new("ca.pem".to_owned()), new(format!("{}.pem", self.site)));
        let written = self.write(&ca, authorities, &cert, certificate);
        // Left behind only where it failed.
        for new in [&ca, &cert] {
            let _ = fs::remove_file(new);
        }
        let not_after_s = written?;
        let (cert, key) = (self.files.cert.clone(), self.files.key.clone());
        Ok(Issued { site: Some(self.site.clone()), cert, key, not_after: date(not_after_s) })
    }

    fn write(&self, ca: &Path, authorities: &str, cert: &Path, certificate: &str) -> Result<i64, AuthorityError> {
        for (path, text) in [(ca, authorities), (cert, certificate)] {
            let _ = fs::remove_file(path);
            write_new(path, text, 0o644)?;
        }
        let given = Files { ca: ca.to_owned(), cert: cert.to_owned(), key: self.files.key.clone() };
        let listed = std::slice::from_ref(&self.site);
        let found = examine(&given, &self.site, listed, now_s());
        if let Some(bad) = found.into_iter().find(|finding| finding.grade == Grade::Bad) {
            return Err(AuthorityError::Given { why: bad.text });
        }
        let chain = certificates("certificate", cert)?;
        let not_after_s = end_s(&chain).unwrap_or(i64::MIN);
        if self.files.ca.exists() {
            // An installation may have brought it.
            if certificates("CA", &self.files.ca)? != certificates("CA", ca)? {
                let right = "it holds other authorities than the hub's; move it away and say the same again, this box \
                             may still use its code";
                return Err(AuthorityError::Exists { path: self.files.ca.clone(), right });
            }
        } else {
            place(ca, &self.files.ca)?;
        }
        place(cert, &self.files.cert)?;
        Ok(not_after_s)
    }
}

/// A certificate that opens nothing any more is no loss: a site whose line was cut for too long joins again as itself.
fn is_over(cert: &Path) -> bool {
    certificates("certificate", cert).ok().and_then(|chain| end_s(&chain)).is_some_and(|end_s| end_s <= now_s())
}

fn own_key(path: &Path, text: &str) -> Result<KeyPair, AuthorityError> {
    let unusable = |why: &str| AuthorityError::Unusable { path: path.to_owned(), why: why.to_owned() };
    let key = KeyPair::from_pem(text).map_err(|error| unusable(&error.to_string()))?;
    match key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
        true => Ok(key),
        false => Err(unusable("it is not of the kind that `holdfast join` makes (P-256): move it away")),
    }
}

/// Gives a whole file its name, for good.
fn place(new: &Path, path: &Path) -> Result<(), AuthorityError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let placed = fs::rename(new, path).and_then(|()| fs::File::open(folder)?.sync_all());
    placed.map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}
