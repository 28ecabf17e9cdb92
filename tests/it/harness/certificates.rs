//! Throw-away certificates: an authority and one certificate per site.
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `ca.pem`, `site.pem`, `site.key` for a site of this name at loopback, and gives the lines of
    /// `[identity]`.
    pub fn issue(&self, name: &str, folder: &Path) -> String {
        let key = KeyPair::generate().unwrap();
        let names = vec![name.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let write = |file: &str, text: String| std::fs::write(folder.join(file), text).unwrap();
        write("ca.pem", self.0.pem());
        write("site.pem", certificate.pem());
        write("site.key", key.serialize_pem());
        "ca = \"ca.pem\"\ncert = \"site.pem\"\nkey = \"site.key\"".to_owned()
    }
}
