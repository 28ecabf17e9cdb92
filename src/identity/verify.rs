//! The check of whom a dialled peer shows: the chain as usual, and the name against the site rather than the URL's
//! host.
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::code::Trust;
use super::names::Names;
use crate::model::SiteName;

/// Spoken at the port of links by a box that has no certificate yet (ALPN).
pub(crate) const JOIN_PROTOCOL: &[u8] = b"holdfast-join";
/// A hub shows two or three certificates beside its own, of two or three names.
const SHOWN_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct SiteVerifier {
    pub site: SiteName,
    /// All sites of the realm.
    pub listed: Arc<[SiteName]>,
    pub roots: Arc<RootCertStore>,
    pub provider: Arc<CryptoProvider>,
}

/// Whether a chain leads to one of the authorities, for a server.
pub(super) fn serves(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    provider: &CryptoProvider,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
}

impl ServerCertVerifier for SiteVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        serves(certificate, intermediates, &self.roots, &self.provider, now)?;
        let names = Names::of(certificate).map_err(rustls::Error::General)?;
        match names.must_be(&self.site, &self.listed) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(why) => Err(rustls::Error::General(format!("the peer's certificate {why}"))),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// For a box that joins: whoever shows the authority and bears the name that its code stands for is the hub, and nobody
/// else is told anything.
#[derive(Debug)]
pub(crate) struct HubVerifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    found: OnceLock<SiteName>,
}

impl HubVerifier {
    pub fn new(trust: Trust) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { trust, provider, found: OnceLock::new() }
    }

    /// Who it was.
    pub fn hub(&self) -> Option<&SiteName> {
        self.found.get()
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let names = Names::of(certificate).map_err(rustls::Error::General)?.dns;
        let named = |authority: &&CertificateDer<'_>| {
            let mut names = names.iter().take(SHOWN_MAX);
            names.find(|name| Trust::of(name, authority) == self.trust).cloned()
        };
        let found = shown.iter().take(SHOWN_MAX).find_map(|authority| Some((named(&authority)?, authority)));
        let (name, authority) = found.ok_or_else(|| {
            rustls::Error::General("it is not the hub that the code is from; it was told nothing".to_owned())
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        serves(certificate, shown, &roots, &self.provider, now)?;
        let _ = self.found.set(SiteName::new(name));
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
