//! Joining: a box that has no certificate yet asks, at the port of links, for its first one. A stranger says one thing
//! and hears one thing; it never comes as far as a link, and has the place of one that has not opened any.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::dial::chain;
use super::hub::Hub;
use crate::contain::contain;
use crate::identity::{Credentials, Invites, Refused, Renewals, Request, now_s};
use crate::model::SiteName;
use crate::telemetry::{self, Audit};
use crate::wire::{self, Given, Join, Joined, Kind};

/// Before a wrong code is answered. Its secret has 128 bits: this is for the log, and for whoever reads it.
const PAUSE: Duration = Duration::from_secs(1);
/// Of a name that a stranger gives, in a line of log.
const SHOWN_MAX: usize = 64;

/// What a hub needs to let boxes join.
#[derive(Clone, Debug)]
pub struct Joins {
    pub invites: Arc<Invites>,
    pub renewals: Arc<Renewals>,
}

/// One envelope, of the kind that is expected and no longer than it may be.
pub(super) async fn read<T: AsyncRead + Unpin>(io: &mut T, kind: Kind, limit: usize) -> Result<Bytes, String> {
    let mut header = [0; wire::HEADER_BYTES];
    io.read_exact(&mut header).await.map_err(|error| chain(&error))?;
    let length = wire::length_of(header, kind, limit).map_err(|error| error.to_string())?;
    let mut envelope = vec![0; length];
    envelope[..header.len()].copy_from_slice(&header);
    io.read_exact(&mut envelope[header.len()..]).await.map_err(|error| chain(&error))?;
    Ok(envelope.into())
}

/// Its end with it: whoever reads knows that nothing more comes.
pub(super) async fn write<T: AsyncWrite + Unpin>(io: &mut T, envelope: &[u8]) -> Result<(), String> {
    let written = async {
        io.write_all(envelope).await?;
        io.shutdown().await
    };
    written.await.map_err(|error: std::io::Error| chain(&error))
}

/// One join, over a connection on which this site has shown who it is.
pub(super) async fn serve<T>(hub: &Hub, joins: &Joins, mut io: T, remote: Option<SocketAddr>) -> Result<(), String>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let within = hub.settings.limits.connect;
    let Some(credentials) = hub.settings.tls.clone() else { return Err("this site has no identity".to_owned()) };
    let asked = timeout(within, read(&mut io, Kind::Join, wire::JOIN_BYTES_MAX)).await;
    let asked = asked.map_err(|_| "a box that joins said nothing")?.map_err(|why| format!("join: {why}"))?;
    let join = contain(|| wire::decode_join(&asked)).map_err(|bug| bug.to_string())?;
    let join = join.map_err(|error| format!("join: {error}"))?;
    join.check().map_err(|why| format!("join: {why}"))?;
    let (joins, me, realm) = (joins.clone(), hub.settings.me.clone(), hub.settings.realm.clone());
    let judged = tokio::task::spawn_blocking(move || {
        let judged = contain(|| judge(&joins, &credentials, &join, &me, realm)).map_err(|bug| bug.to_string());
        (join.site, judged)
    });
    let (site, judged) = judged.await.map_err(|error| error.to_string())?;
    let answer = match judged? {
        Ok((given, until)) => {
            note(&site, remote, 200, serde_json::json!({ "certificate_until": until }));
            tracing::info!(%site, remote = address(remote), %until, "a box has joined by its code");
            Joined::Given(given)
        }
        Err(NotGiven { knows, code, detail }) => {
            let named: String = site.as_str().chars().take(SHOWN_MAX).collect();
            tracing::warn!(site = ?named, remote = address(remote), code, "a box may not join: {detail}");
            // A stranger who guesses must not push other records out.
            if knows {
                note(&site, remote, 403, serde_json::json!({ "code": code, "detail": detail }));
            } else {
                tokio::time::sleep(PAUSE).await;
            }
            Joined::Refused { code: code.to_owned(), detail }
        }
    };
    let answer = wire::encode_joined(&answer).map_err(|error| error.to_string())?;
    timeout(within, write(&mut io, &answer)).await.map_err(|_| "a box that joins takes no answer".to_owned())?
}

fn address(remote: Option<SocketAddr>) -> String {
    remote.map_or_else(|| "unknown".to_owned(), |remote| remote.to_string())
}

/// Among what people ordered: the code is the order of whoever made it.
fn note(site: &SiteName, remote: Option<SocketAddr>, status: u16, result: serde_json::Value) {
    telemetry::audit(&Audit {
        request_id: &uuid::Uuid::now_v7().to_string(),
        client: remote.map(|remote| remote.ip()),
        by: "join code",
        order: "join",
        choice: site.as_str(),
        status,
        result,
    });
}

#[derive(Debug)]
struct NotGiven {
    /// It has shown the secret of the invitation.
    knows: bool,
    code: &'static str,
    detail: String,
}

impl From<Refused> for NotGiven {
    fn from(refused: Refused) -> Self {
        let knows = !matches!(refused, Refused::Unknown);
        Self { knows, code: refused.code(), detail: refused.to_string() }
    }
}

/// The secret first: nothing else that a stranger sends is looked into. Its use is on the disk before anything is
/// signed. Blocks.
fn judge(
    joins: &Joins,
    credentials: &Credentials,
    join: &Join,
    me: &SiteName,
    realm: String,
) -> Result<(Given, String), NotGiven> {
    let now_s = now_s();
    joins.invites.knows(&join.site, &join.secret, now_s)?;
    let refused = |code, detail| NotGiven { knows: true, code, detail };
    let request = Request::read(&join.request)
        .map_err(|why| refused("bad-request", format!("the certificate request cannot be used: {why}")))?;
    joins.invites.redeem(&join.site, &join.secret, &request.key_hash, now_s)?;
    let (certificate, until) = joins
        .renewals
        .sign(&join.site, &request)
        .map_err(|error| refused("cannot-sign", format!("{me} cannot sign: {error}")))?;
    let authorities = credentials.current().authorities();
    Ok((Given { hub: me.clone(), realm, certificate, authorities }, until))
}
