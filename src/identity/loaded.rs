//! What was read of the files: whole, and fit to be shown.
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::code::Trust;
use super::expiry::{Validity, not_after, not_before};
use super::files::{Files, IdentityError, certificates, private_key};
use super::names::Names;
use super::verify::{JOIN_PROTOCOL, SiteVerifier, serves};
use crate::model::SiteName;

/// What is spoken over a connection: one that comes to the wrong port is told so by TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    Link,
    Control,
}

impl Plane {
    fn protocol(self) -> Vec<u8> {
        match self {
            Plane::Link => b"h2".to_vec(),
            Plane::Control => b"zenoh".to_vec(),
        }
    }
}

/// The identity of this site as it was read at one time.
pub(crate) struct Identity {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    listed: Arc<[SiteName]>,
    link: Arc<ServerConfig>,
    control: Arc<ServerConfig>,
    /// The first end of what is shown, seconds since 1970.
    pub not_after_s: i64,
    /// From when on it should be renewed: a third of its time is left then.
    pub renew_from_s: i64,
}

impl Identity {
    pub fn load(files: &Files, me: &SiteName, listed: &Arc<[SiteName]>) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = certificates("CA", &files.ca)?;
        let roots = Arc::new(roots(&authorities, &files.ca)?);
        let chain = certificates("certificate", &files.cert)?;
        let key = private_key(&files.key)?;
        let unusable = |what, path: &Path, why: String| IdentityError::Unusable { what, path: path.to_owned(), why };
        let names = Names::of(&chain[0]).map_err(|why| unusable("certificate", &files.cert, why))?;
        names.must_be(me, listed).map_err(|why| IdentityError::Name {
            path: files.cert.clone(),
            why: format!("{why}: it must bear the name of this site, {me}, as a DNS name (SAN)"),
        })?;
        let ends: Result<Vec<i64>, String> = chain.iter().map(not_after).collect();
        let ends = ends.map_err(|why| unusable("certificate", &files.cert, why))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unusable("CA", &files.ca, error.to_string()))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    IdentityError::OtherKey { key: files.key.clone(), cert: files.cert.clone() }
                }
                error => unusable("private key", &files.key, error.to_string()),
            })?;
        // No resumption, no 0-RTT: certificates are looked at for every connection, and nothing can be replayed.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        let server = |plane: Plane| {
            let mut server = server.clone();
            server.alpn_protocols = vec![plane.protocol()];
            Arc::new(server)
        };
        let (link, control) = (server(Plane::Link), server(Plane::Control));
        let not_after_s = ends.into_iter().min().unwrap_or(i64::MIN);
        let lasts_s = not_after_s.saturating_sub(not_before(&chain[0]).unwrap_or(not_after_s));
        let renew_from_s = not_after_s.saturating_sub(lasts_s / 3);
        let listed = listed.clone();
        Ok(Self { provider, roots, authorities, chain, key, listed, link, control, not_after_s, renew_from_s })
    }

    /// For those who dial this site: any whose chain leads to an authority. Who it is, [`Identity::speaker`] says.
    pub fn server(&self, plane: Plane) -> Arc<ServerConfig> {
        match plane {
            Plane::Link => self.link.clone(),
            Plane::Control => self.control.clone(),
        }
    }

    /// For dialling `site`: its certificate must bear that name, whatever host the URL names.
    pub fn client(&self, site: &SiteName, plane: Plane) -> Result<Arc<ClientConfig>, String> {
        let (listed, roots, provider) = (self.listed.clone(), self.roots.clone(), self.provider.clone());
        let verifier = SiteVerifier { site: site.clone(), listed, roots, provider };
        let mut client = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| error.to_string())?;
        client.alpn_protocols = vec![plane.protocol()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        Ok(Arc::new(client))
    }

    /// For a box that joins: it has nothing to show yet, and finds in what it is shown the authority that its code
    /// names.
    pub fn door(&self) -> Result<Arc<ServerConfig>, String> {
        let shown = self.chain.iter().chain(&self.authorities).cloned().collect();
        let mut server = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring speaks TLS 1.3")
            .with_no_client_auth()
            .with_single_cert(shown, self.key.clone_key())
            .map_err(|error| error.to_string())?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        server.alpn_protocols = vec![JOIN_PROTOCOL.to_vec()];
        Ok(Arc::new(server))
    }

    /// What a code must carry for its bearer to know this site, by the authority that its certificate leads to.
    pub fn trust(&self, me: &SiteName) -> Result<Trust, String> {
        let leads_to = |authority: &&CertificateDer<'static>| {
            let mut roots = RootCertStore::empty();
            let added = roots.add((*authority).clone());
            added.is_ok() && serves(&self.chain[0], &self.chain[1..], &roots, &self.provider, UnixTime::now()).is_ok()
        };
        let authority = self.authorities.iter().find(leads_to).ok_or("no box would accept this site's certificate")?;
        Ok(Trust::of(me.as_str(), authority))
    }

    /// PEM of the authorities, and of nothing else that their file may hold.
    pub fn authorities(&self) -> String {
        self.authorities.iter().map(|authority| pem_of(authority)).collect()
    }

    /// What this site shows of itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Which site of the realm shows this certificate.
    pub fn speaker(&self, peer: &CertificateDer<'_>) -> Result<SiteName, String> {
        Names::of(peer)?.speaker(&self.listed).map_err(|why| format!("the peer's certificate {why}"))
    }

    /// How long a connection with this peer's certificate may live.
    pub fn validity_with(&self, peer: &CertificateDer<'_>) -> Result<Validity, String> {
        Ok(Validity::of(self.not_after_s, not_after(peer)?))
    }
}

fn roots(authorities: &[CertificateDer<'static>], path: &Path) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(|error| IdentityError::Unusable {
            what: "CA",
            path: path.to_owned(),
            why: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn pem_of(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
