//! Renewals: the side that dialled asks for a new certificate, for the key that it has shown on this very connection.
//! There is nothing to say with it: whom the certificate is for, and which key is in it, the handshake has proven.
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use super::Links;
use super::body::{LinkBody, empty, full};
use super::dial::chain;
use super::hub::Hub;
use super::refusal::{Refusal, describe};
use super::session::Session;
use crate::model::SiteName;

pub(super) const PATH: &str = "/link/v1/renewal";
/// A certificate and those between it and its authority.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// One is enough; the rest is for one that was lost on its way, or could not be written.
pub(super) const OF_ONE_CONNECTION: u32 = 8;

impl Links {
    /// Asks a site that this one dials to sign anew what this one shows: PEM.
    pub async fn renew(&self, at: &SiteName) -> Result<String, String> {
        let peer = self.hub.peer(at).ok_or("it is no site of the realm")?;
        let session = peer.current.borrow().clone().ok_or("it is not linked")?;
        let mut requests = session.requests.clone().ok_or("it dials this site, and only who dials can ask")?;
        let request = self.hub.request(peer, Method::POST, PATH, empty());
        let asking = async {
            let response = requests.send_request(request).await.map_err(|error| chain(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            match status {
                StatusCode::OK => String::from_utf8(body.to_vec()).map_err(|error| error.to_string()),
                status => Err(describe(status, &body)),
            }
        };
        timeout(self.hub.settings.limits.connect, asking).await.map_err(|_| "it does not answer".to_owned())?
    }
}

/// For whom is linked, what it has shown on this connection, and how many renewals are left to it there.
pub(super) fn serve(
    hub: &Hub,
    session: &Session,
    shown: Option<&CertificateDer<'_>>,
    left: &AtomicU32,
) -> Result<Response<LinkBody>, Refusal> {
    let me = &hub.settings.me;
    let (Some(signer), Some(shown)) = (&hub.settings.renewals, shown) else {
        let detail = format!("{me} signs no certificates: it has no identity.renewals");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "no-renewals", detail));
    };
    if left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
        let detail = format!("{OF_ONE_CONNECTION} certificates were signed over this connection: connect anew");
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "renewed-already", detail));
    }
    match signer.renew(&session.peer, shown) {
        Ok((pem, until)) => {
            tracing::info!(peer = %session.peer, %until, "a certificate was renewed");
            Ok(Response::new(full(pem.into())))
        }
        Err(error) => {
            tracing::error!(peer = %session.peer, %error, "a certificate cannot be renewed");
            let detail = format!("{me} cannot sign: {error}");
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "renewal-failed", detail))
        }
    }
}
