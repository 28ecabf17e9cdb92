//! Throw-away certificates: an authority and one certificate per site.
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        Self::named("an authority")
    }

    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `ca.pem`, `site.pem`, `site.key` for a site of this name, and gives the lines of `[identity]`.
    pub fn issue(&self, name: &str, folder: &Path) -> String {
        self.issue_with(name, folder, |_| {})
    }

    /// For the commands that sign with it.
    pub fn write_key(&self, path: &Path) {
        std::fs::write(path, self.0.key().serialize_pem()).unwrap();
    }

    /// Ends so long from now on, or ended so long ago.
    pub fn issue_until(&self, name: &str, folder: &Path, left_s: i64) -> String {
        self.issue_with(name, folder, |params| {
            let now = SystemTime::now();
            let left = Duration::from_secs(left_s.unsigned_abs());
            params.not_after = if left_s < 0 { now - left } else { now + left }.into();
        })
    }

    /// The name of the site is its only DNS name; the common name says nothing.
    pub fn issue_with(&self, name: &str, folder: &Path, change: impl FnOnce(&mut CertificateParams)) -> String {
        use std::os::unix::fs::PermissionsExt;
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a machine");
        change(&mut params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let write = |file: &str, text: String| std::fs::write(folder.join(file), text).unwrap();
        write("ca.pem", self.0.pem());
        write("site.pem", certificate.pem());
        write("site.key", key.serialize_pem());
        std::fs::set_permissions(folder.join("site.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        "ca = \"ca.pem\"\ncert = \"site.pem\"\nkey = \"site.key\"".to_owned()
    }
}
