//! The box's side of joining: its key, which never leaves it, and the files that it ends with. Whatever is interrupted,
//! the same command goes on: the key is kept and never replaced, one join at a time is at work in a folder, and the
//! certificate is the last file to be there.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, SanType};

use super::authority::{AuthorityError, Issued, common_name, make_folder, write_new};
use super::examine::{Grade, date, examine, naming};
use super::expiry::{end_s, now_s};
use super::files::{Files, IdentityError, certificates, read_text};
use crate::model::SiteName;

/// What a box has while it joins.
pub(crate) struct Joining {
    site: SiteName,
    folder: PathBuf,
    files: Files,
    /// What it asks to be signed.
    pub request: Vec<u8>,
    /// Held until it has ended.
    _alone: fs::File,
}

impl Joining {
    /// The key is on the disk when this returns: a code that was used for it must not be lost with it.
    pub fn begin(site: &SiteName, folder: &Path) -> Result<Self, AuthorityError> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let at = |name: String| folder.join(name);
        let files = Files { ca: at("ca.pem".into()), cert: at(format!("{site}.pem")), key: at(format!("{site}.key")) };
        make_folder(folder)?;
        let alone = alone_in(folder)?;
        if let Some(right) = in_the_way(&files.cert) {
            return Err(AuthorityError::Exists { path: files.cert, right });
        }
        let key = own_key(&files.key, &at(format!(".{site}.key.new")))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(site.as_str());
        params.subject_alt_names = vec![SanType::DnsName(site.as_str().try_into()?)];
        let request = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { site: site.clone(), folder: folder.to_owned(), files, request, _alone: alone })
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
            // Nobody finds these names: the files are gone when this is read.
            let why = naming(&naming(&bad.text, cert, "the certificate"), ca, "the ca.pem that it gave");
            let hint = if why.contains(" expired ") { ": is the clock of this box right?" } else { "" };
            return Err(AuthorityError::Given { why: format!("{why}{hint}") });
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

/// Of two joins at once one would use up its code for a key and the other ask with it, too, or for another: the later
/// one is told to wait.
fn alone_in(folder: &Path) -> Result<fs::File, AuthorityError> {
    let opened = fs::File::open(folder).map_err(|source| AuthorityError::Read { path: folder.to_owned(), source })?;
    match opened.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(AuthorityError::Busy { folder: folder.to_owned() }),
        // Some file systems lock no folders: a key is never replaced there, either.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(opened),
    }
}

/// Why the certificate that is there stays. One that opens nothing any more is no loss: a site whose line was cut for
/// too long joins again as itself.
fn in_the_way(cert: &Path) -> Option<&'static str> {
    match certificates("certificate", cert) {
        Ok(chain) => match end_s(&chain).is_some_and(|end_s| end_s <= now_s()) {
            true => None,
            false => Some("this box has a certificate; move the file away if it really is to join anew"),
        },
        Err(IdentityError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
        Err(IdentityError::Empty { .. }) => Some("there is no certificate in it: move it away, and say the same again"),
        Err(_) => Some("it cannot be read as a certificate: move it away, and say the same again"),
    }
}

/// The key of this box: that of a join that was interrupted, whose code is good for this key alone, or a new one.
fn own_key(path: &Path, new: &Path) -> Result<KeyPair, AuthorityError> {
    let failed = |source| AuthorityError::Write { path: path.to_owned(), source };
    let text = match read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_file(new);
            write_new(new, &KeyPair::generate()?.serialize_pem(), 0o600)?;
            place_first(new, path).map_err(failed)?;
            // Whosever it is: nobody will ever have another.
            read_text(path)
        }
        text => text,
    };
    let text = text.map_err(|source| AuthorityError::Read { path: path.to_owned(), source })?;
    let unusable = |why: String| AuthorityError::Unusable {
        path: path.to_owned(),
        why: format!("{why}: move it away, and say the same again (a code that was used with it needs another)"),
    };
    if text.trim().is_empty() {
        return Err(unusable("it is empty".to_owned()));
    }
    let key = KeyPair::from_pem(&text).map_err(|error| unusable(error.to_string()))?;
    match key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
        true => Ok(key),
        false => Err(unusable("it is not of the kind that `holdfast join` makes (P-256)".to_owned())),
    }
}

/// Gives a whole file its name, for good.
fn place(new: &Path, path: &Path) -> Result<(), AuthorityError> {
    let placed = fs::rename(new, path).and_then(|()| keep(path));
    placed.map_err(|source| AuthorityError::Write { path: path.to_owned(), source })
}

/// The same where nobody else has the name; else what is there stays.
fn place_first(new: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(new, path) {
        Ok(()) => fs::remove_file(new)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(new)?,
        // A file system without links.
        Err(_) if !path.exists() => fs::rename(new, path)?,
        Err(error) => return Err(error),
    }
    keep(path)
}

fn keep(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_join_at_a_time_is_at_work_in_a_folder_and_no_key_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (SiteName::new("kiosk"), SiteName::new("till"));
        let first = Joining::begin(&one, folder.path()).unwrap();
        for site in [&one, &other] {
            let error = Joining::begin(site, folder.path()).map(drop).unwrap_err();
            assert!(matches!(error, AuthorityError::Busy { .. }), "{error}");
        }
        let key = fs::read(folder.path().join("kiosk.key")).unwrap();
        drop(first);
        drop(Joining::begin(&one, folder.path()).unwrap());
        // Where there is no lock: whoever comes later takes what is there, and leaves nothing behind.
        let new = folder.path().join("new");
        fs::write(&new, "another key").unwrap();
        place_first(&new, &folder.path().join("kiosk.key")).unwrap();
        assert_eq!(fs::read(folder.path().join("kiosk.key")).unwrap(), key);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(&new, "a key").unwrap();
        place_first(&new, &folder.path().join("till.key")).unwrap();
        assert_eq!(fs::read(folder.path().join("till.key")).unwrap(), b"a key");
        assert!(!new.exists());
    }

    #[test]
    fn what_is_in_the_way_is_named_and_said_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let site = SiteName::new("kiosk");
        let at = |name: &str| folder.path().join(name);
        let refused = |folder: &Path| Joining::begin(&site, folder).map(drop).unwrap_err().to_string();
        let fifo = |path: &Path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        type Make<'a> = &'a dyn Fn(&Path);
        // name | what is there | what is said
        let cases: [(&str, Make<'_>, &str); 6] = [
            ("kiosk.pem", &|path| fs::write(path, "").unwrap(), "there is no certificate in it: move it away"),
            ("kiosk.pem", &|path| fs::create_dir(path).unwrap(), "it cannot be read as a certificate: move it away"),
            ("kiosk.pem", &fifo, "it cannot be read as a certificate: move it away"),
            ("kiosk.key", &|path| fs::write(path, "\n").unwrap(), "it is empty: move it away"),
            ("kiosk.key", &|path| fs::write(path, "x").unwrap(), "move it away, and say the same again"),
            ("kiosk.key", &fifo, "it is no regular file"),
        ];
        for (at_case, (name, make, said)) in cases.into_iter().enumerate() {
            let folder = at(&at_case.to_string());
            fs::create_dir(&folder).unwrap();
            make(&folder.join(name));
            let error = refused(&folder);
            assert!(error.contains(said) && error.contains(name), "{name}: {error}");
        }
        fs::write(at("file"), "").unwrap();
        for below in ["file", "file/below/it"] {
            let error = Joining::begin(&site, &at(below)).map(drop).unwrap_err();
            assert!(matches!(&error, AuthorityError::NotAFolder { file, .. } if *file == at("file")), "{error}");
        }
    }
}
