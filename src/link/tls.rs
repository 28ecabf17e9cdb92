//! mTLS between sites: both show a certificate of the realm's CA, and its name must be the site that speaks.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use super::expiry::Validity;
use crate::model::SiteName;

/// PEM files of this site (`[identity]`).
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} {path:?} cannot be read as PEM: {why}")]
    Pem { what: &'static str, path: PathBuf, why: String },
    #[error("{what} {path:?} holds no {expected}")]
    Empty { what: &'static str, path: PathBuf, expected: &'static str },
    #[error("{what} {path:?} is not usable: {why}")]
    Unusable { what: &'static str, path: PathBuf, why: String },
    #[error(
        "certificate {path:?} is for {names:?}, this site is {me}: its DNS name (or else its common name) must be the \
         site's"
    )]
    OtherSite { path: PathBuf, names: Vec<String>, me: SiteName },
}

/// The loaded identity of this site.
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub server: Arc<ServerConfig>,
    cert: PathBuf,
}

impl Tls {
    /// How long a connection with this peer's certificate may live.
    pub fn validity_with(&self, peer: &CertificateDer<'_>) -> Result<Validity, String> {
        Validity::of(&self.chain[0], peer)
    }

    /// When the first certificate of the chain ends, seconds since 1970.
    pub fn end_s(&self) -> Option<i64> {
        super::expiry::end_s(&self.chain)
    }
}

impl Tls {
    pub fn load(files: &TlsFiles, me: &SiteName) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots(&files.ca)?);
        let chain = certificates("certificate", &files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| pem("private key", &files.key, error))?;
        let names = names_of(&chain[0]).map_err(|why| TlsError::Unusable {
            what: "certificate",
            path: files.cert.clone(),
            why,
        })?;
        if !names.iter().any(|name| name == me.as_str()) {
            return Err(TlsError::OtherSite { path: files.cert.clone(), names, me: me.clone() });
        }
        let unusable = |what, path: &Path, why: String| TlsError::Unusable { what, path: path.to_owned(), why };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unusable("CA", &files.ca, error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable("private key", &files.key, error.to_string()))?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        // No resumption, no 0-RTT: certificates are looked at for every connection, and nothing can be replayed.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        Ok(Self { provider, roots, chain, key, server: Arc::new(server), cert: files.cert.clone() })
    }

    /// For dialling `site`: its certificate must carry that name, whatever host the URL names.
    pub fn client(&self, site: &SiteName) -> Result<Arc<ClientConfig>, TlsError> {
        let verifier = SiteVerifier { site: site.clone(), roots: self.roots.clone(), provider: self.provider.clone() };
        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| TlsError::Unusable {
                what: "certificate",
                path: self.cert.clone(),
                why: error.to_string(),
            })?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        Ok(Arc::new(client))
    }
}

fn pem(what: &'static str, path: &Path, error: rustls_pki_types::pem::Error) -> TlsError {
    use rustls_pki_types::pem::Error;
    match error {
        Error::NoItemsFound => TlsError::Empty { what, path: path.to_owned(), expected: "PEM section of that type" },
        Error::Io(error) => TlsError::Pem { what, path: path.to_owned(), why: error.to_string() },
        other => TlsError::Pem { what, path: path.to_owned(), why: other.to_string() },
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    let certificates = read.map_err(|error| pem(what, path, error))?;
    match certificates.is_empty() {
        true => Err(TlsError::Empty { what, path: path.to_owned(), expected: "certificate" }),
        false => Ok(certificates),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("CA", path)? {
        roots.add(certificate).map_err(|error| TlsError::Unusable {
            what: "CA",
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The sites that a certificate may speak for: its DNS names, or where it has none its common name.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let alternative = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
    let dns: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect();
    if !dns.is_empty() {
        return Ok(dns);
    }
    Ok(parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect())
}

/// Checks the chain as usual, and the name against the site rather than the URL's host.
#[derive(Debug)]
struct SiteVerifier {
    site: SiteName,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
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
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        let names = names_of(certificate).map_err(rustls::Error::General)?;
        if names.iter().any(|name| name == self.site.as_str()) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!("the peer's certificate is for {names:?}, expected site {}", self.site)))
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
