//! An authority for one run, and a certificate for each site.
use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};

use super::Error;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

fn failed(source: rcgen::Error) -> Error {
    Error::Certificate { source }
}

impl Authority {
    pub fn new() -> Result<Self, Error> {
        let mut params = CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(failed)?;
        CertifiedIssuer::self_signed(params, key).map(Self).map_err(failed)
    }

    /// Writes `ca.pem`, `site.pem` and `site.key`.
    pub fn issue(&self, site: &str, addresses: &[IpAddr], folder: &Path) -> Result<(), Error> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut names = vec![site.to_owned(), "localhost".to_owned()];
        names.extend(addresses.iter().map(IpAddr::to_string));
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, site);
        let certificate = params.signed_by(&key, &self.0).map_err(failed)?;
        let files = [("ca.pem", self.0.pem()), ("site.pem", certificate.pem()), ("site.key", key.serialize_pem())];
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(|source| Error::File { path, source })?;
        }
        Ok(())
    }
}
