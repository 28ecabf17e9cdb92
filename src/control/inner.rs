//! The certificates with which zenoh and the doors know each other, inside of one process. Their authority lives in its
//! memory, for as long as it does: whoever else on this machine connects to a door's inner side can show nothing.
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::settings::ControlError;
use crate::model::SiteName;

pub(super) struct Inner {
    issuer: CertifiedIssuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// What stands for a site in here: zenoh reads its common name.
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    pem: String,
}

fn failed(error: impl std::fmt::Display) -> ControlError {
    ControlError::Inner(error.to_string())
}

impl Inner {
    pub fn new() -> Result<Self, ControlError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = common_name("inside of one holdfast");
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).map_err(failed)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { issuer, roots: Arc::new(roots), provider })
    }

    fn pair(&self, site: &SiteName) -> Result<Pair, ControlError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(site.as_str());
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let key = KeyPair::generate().map_err(failed)?;
        let made = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Pair { chain: vec![made.der().clone()], pem: made.pem(), key })
    }

    /// For a door at which zenoh takes it for `site`.
    pub fn server(&self, site: &SiteName) -> Result<Arc<ServerConfig>, ControlError> {
        let pair = self.pair(site)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone());
        let server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(verifier.build().map_err(failed)?)
            .with_single_cert(pair.chain, der(&pair.key));
        server.map(Arc::new).map_err(failed)
    }

    /// For speaking to zenoh as `site`.
    pub fn client(&self, site: &SiteName) -> Result<Arc<ClientConfig>, ControlError> {
        let pair = self.pair(site)?;
        let client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(pair.chain, der(&pair.key));
        client.map(Arc::new).map_err(failed)
    }

    /// `transport/link/tls` of this site's own zenoh.
    pub fn zenoh(&self, me: &SiteName) -> Result<Value, ControlError> {
        let pair = self.pair(me)?;
        let (certificate, key) = (STANDARD.encode(pair.pem), STANDARD.encode(pair.key.serialize_pem()));
        Ok(json!({
            "root_ca_certificate_base64": STANDARD.encode(self.issuer.pem()), "enable_mtls": true,
            // Without it zenoh would take any certificate that an authority of the Web has signed.
            "verify_name_on_connect": true,
            "connect_certificate_base64": certificate, "connect_private_key_base64": key,
            "listen_certificate_base64": certificate, "listen_private_key_base64": key,
        }))
    }
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
